"""The map from states to typological vectors: its targets, its formula, and that it is trained."""

from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import fakes
from distxfer import RunError
from distxfer.data import Batch, Example
from distxfer.languages import distance, typological_features
from fakes import between, complaints_about
from helpers import log, message

DISTANCES = between()
bind = partial(fakes.bind, kind="typology")


class FakeStep(fakes.FakeStep):
    """One of the task's examples is a German one."""

    def said(self, *texts: tuple[str, str]) -> Batch:
        return self.collate(Example(text, language, text) for language, text in texts)

    @property
    def batch(self) -> Batch:
        return self.said(("eng", "the cat"), ("deu", "das katze rennt"), ("eng", "rose"))

    def sample_texts(self, language: str, n: int) -> Batch:
        self.drawn.append((language, n))
        return self.said(*[(language, "sono neko"), (language, "bara")][:n])


# The vectors


def test_the_vectors_are_those_that_the_distance_compares():
    """A distance that is written out again, of all pairs and in every set."""
    for name, size in (("syntactic", 103), ("phonological", 28), ("inventory", 158), ("featural", 289)):
        vectors = {key: typological_features(key, name) for key in ("eng", "deu", "jpn", "swa")}
        for key, vector in vectors.items():
            assert vector.shape == (size,)
            assert set(vector) <= {0.0, 1.0}
            other = vectors["eng"]
            cosine = vector @ other / np.sqrt((vector @ vector) * (other @ other))
            assert distance("eng", key, name, imputed=True).value == pytest.approx(1 - cosine, abs=1e-6)


def test_what_is_known_of_three_languages():
    """Order of subject, verb and object (WALS 81A), by the features that stand first in URIEL: SVO, SOV, VSO."""
    orders = {key: typological_features(key)[:3].tolist() for key in ("eng", "jpn", "gle")}
    assert orders == {"eng": [1, 0, 0], "jpn": [0, 1, 0], "gle": [0, 0, 1]}


def test_a_language_by_another_of_its_codes():
    assert np.array_equal(typological_features("ja"), typological_features("jpn"))
    assert np.array_equal(typological_features("zho_Hant"), typological_features("cmn"))


def test_a_set_or_a_language_that_is_not_there():
    assert message(typological_features, "eng", "syntax") == (
        "Set of typological features `syntax` is not known. Did you mean `syntactic`? Choose from: featural, inventory,"
        " phonological, syntactic."
    )
    assert "`xqq`" in message(typological_features, "xqq")


# The term


@pytest.mark.parametrize(("features", "layer"), [("syntactic", "last"), ("phonological", 2)])
def test_the_loss_is_the_squared_error_of_a_linear_map(encoder, features, layer):
    step = FakeStep(encoder)
    bound = bind(encoder, features=features, layer=layer, languages=["jpn"])
    result = bound.term(step)
    weight, bias = bound.module.weight.double(), bound.module.bias.double()
    number = 4 if layer == "last" else layer
    each = []
    for batch in (step.batch, step.sample_texts("jpn", 2)):
        for example, state in zip(batch.examples, step.encode(batch).pooled(number).double(), strict=True):
            vector = torch.tensor(typological_features(example.language, features))
            assert weight.shape == (len(vector), encoder.hidden_size)
            each.append(((weight @ state + bias - vector) ** 2).sum().item() / len(vector))
    assert [example.language for example in step.batch.examples] == ["eng", "deu", "eng"]
    assert (result.num_items, result.per) == (5, "example")
    assert result.loss_sum.item() == pytest.approx(sum(each), rel=1e-5)
    assert result.logs == pytest.approx({"task": sum(each[:3]) / 3, "target": sum(each[3:]) / 2}, rel=1e-5)
    assert (bound.needs, bound.languages) == ({"target_text"}, ("jpn",))


def test_the_map_and_the_encoder_have_the_gradient(encoder):
    bound = bind(encoder)
    bound.term(FakeStep(encoder)).loss_sum.backward()
    block = encoder.model.get_parameter("bert.encoder.layer.0.output.dense.weight")
    for parameter in (*bound.module.parameters(), block):
        assert parameter.grad.abs().sum() > 0


def test_a_far_languages_text_counts_as_much_as_its_weight(encoder):
    step = FakeStep(encoder)
    torch.manual_seed(0)
    bound = bind(encoder, weighting="linear", weighting_by="scaling")
    factors = {}
    for _ in range(12):
        result = bound.term(step)
        factors[step.drawn[-1][0]] = (result.loss_sum.item() - 3 * result.logs["task"]) / (2 * result.logs["target"])
    wanted = {key: 2 * value / sum(DISTANCES.values.values()) for key, value in DISTANCES.values.items()}
    assert factors == pytest.approx(wanted, rel=1e-4)


def test_what_is_refused(encoder):
    assert message(bind, encoder, layer=5) == "`layer` names layer `5`, but this encoder has layers 1 to 4."
    assert message(bind, encoder, languages=["kor"]).startswith("The intervention names `kor`, which is no target")
    assert message(bind, encoder, distance="genetic").startswith("`distance` = `genetic` has no effect")
    complaints = complaints_about("typology", {"features": "syntax", "layer": "lst"})
    assert [key for key, _ in complaints] == ["features", "layer"]


# In training


def test_the_map_is_trained_and_tells_the_languages_apart(run):
    """Better than the best constant: the mean of the vectors, which needs no state."""
    settings = [
        "phase.finetune.epochs=12", "phase.finetune.learning_rate=1e-2", "task.targets=jpn", "intervention.typology.batch_size=8",
        "diagnostics.states=0", "diagnostics.gradients=0",
    ]  # fmt: skip
    result = run("typology", *settings)
    losses = [line["term/typology"] for line in log(result)]
    english, japanese = typological_features("eng"), typological_features("jpn")
    constant = np.square((english - japanese) / 2).mean()
    assert losses[0] > constant
    assert np.mean(losses[-6:]) < 0.7 * constant
    moved = projection(result)
    assert moved["weight"].shape == (len(english), 16)
    still = projection(run("typology", *settings, "intervention.typology.weight=0", "phase.finetune.steps=1"))
    for key, value in moved.items():
        assert ((value - still[key]).abs() > 1e-3).float().mean() > 0.9


def projection(result) -> dict[str, torch.Tensor]:
    """Return the map as the run has saved it."""
    (path,) = result.folder.rglob("interventions.safetensors")
    return {name.split(".")[-1]: tensor for name, tensor in load_file(path).items()}


def test_a_map_that_would_be_all_that_trains_is_refused(run):
    with pytest.raises(RunError, match="the term would train only its own map"):
        run("typology", "intervention.freeze.layers=all")
