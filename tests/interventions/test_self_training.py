"""Labels that the model itself gives: which texts keep theirs, what centring does, and the loss against its formula."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import strategies

from distxfer.data import Example, Pair
from distxfer.encoders import Encoder, load_encoder
from distxfer.interventions import BoundIntervention
from fakes import bind, complaints_about
from helpers import given, message, normal
from two_forms import FakeStep, decided, kl, probabilities


@pytest.fixture(scope="module")
def encoder(tiny_without_dropout) -> Encoder:
    return decided(load_encoder("tiny", tiny_without_dropout, ("a", "b", "c"), seed=0))


@dataclass
class FakeTeacher:
    """A teacher whose logits are those given for each text."""

    texts: dict[str, list[Example]]
    of: dict[str, torch.Tensor]
    pairs: dict[str, list[Pair]]
    asked: int = 0

    def logits(self, examples) -> torch.Tensor:
        self.asked += len(examples)
        return torch.stack([self.of[example.text] for example in examples])


def teacher(**logits: torch.Tensor) -> FakeTeacher:
    """A teacher of as many texts of each language as it has rows; each pair is a source text and one of the target's."""
    texts = {key: [Example(str(row), key, f"{key} {row}") for row in range(len(rows))] for key, rows in logits.items()}
    of = {text.text: row for key, group in texts.items() for text, row in zip(group, logits[key], strict=True)}
    pairs = {
        key: [Pair(*sides) for sides in zip(texts["eng"], texts[key], strict=False)] for key in texts if key != "eng"
    }
    return FakeTeacher(texts, of, pairs)


def labels(bound: BoundIntervention, of: FakeTeacher) -> dict[str, torch.Tensor]:
    assert bound.labels is not None
    return dict(bound.labels(of))


def rows(*classes: int | None) -> list[list[float]]:
    """The one-hot rows of three classes."""
    return [[float(place == number) for place in range(3)] for number in classes]


def test_the_most_confident_of_each_class_keep_their_label(encoder):
    """Of 4 texts of the first class the 2 of the larger margin, though another class is surer; of 1 text, that one."""
    logits = torch.tensor([[3.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 0, 9], [2.5, 0, 0], [0, 0, 8], [0, 0.1, 0]])
    bound = bind(encoder, "self_training", centre=False, languages="jpn")
    assert labels(bound, teacher(eng=logits, jpn=logits))["jpn"].tolist() == rows(0, None, None, 2, 0, None, 1)


@given(strategies.integers(0, 10**6), strategies.floats(0.05, 1))
def test_labels_are_those_of_a_plain_computation(seed, share):
    """In numpy, text by text; `share` of each predicted class, of each language apart."""
    logits = {key: normal(seed + n, 20 + n, 3).float() for n, key in enumerate(("eng", "deu", "jpn"))}
    bound = bind(Unneeded, "self_training", share=share)
    given_labels = labels(bound, teacher(**logits))
    for language in ("deu", "jpn"):
        z = logits[language].numpy().astype(float)
        z = z - z.mean(axis=0) + logits["eng"].numpy().mean(axis=0)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        for number in range(3):
            alike = [row for row in range(len(p)) if p[row].argmax() == number]
            best = sorted(alike, key=lambda row: -p[row].max())
            expected = set(best[: max(1, round(share * len(alike)))])
            assert set(np.flatnonzero(given_labels[language][:, number])) == expected


class Unneeded:
    """An encoder of which binding asks one thing."""

    output = "text"


def test_to_centre_logits_is_to_centre_the_states_that_a_linear_head_reads(encoder):
    states = {key: normal(n, 40, 8) + n * normal(7, 8) for n, key in enumerate(("eng", "jpn"))}
    weight, bias = normal(8, 3, 8), normal(9, 3)
    centred = states | {"jpn": states["jpn"] - states["jpn"].mean(dim=0) + states["eng"].mean(dim=0)}
    of_states, of_logits = (
        labels(
            bind(encoder, "self_training", centre=centre, languages="jpn"),
            teacher(**{key: rows @ weight.T + bias for key, rows in some.items()}),
        )["jpn"]
        for some, centre in ((centred, False), (states, True))
    )
    assert torch.equal(of_states, of_logits)
    uncentred = teacher(**{key: rows @ weight.T + bias for key, rows in states.items()})
    without = bind(encoder, "self_training", centre=False, languages="jpn")
    assert not torch.equal(labels(without, uncentred)["jpn"], of_logits)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_fixed_teacher_labels_translations_by_the_sources_sentences(encoder, temperature):
    """A sentence that several languages translate is read once."""
    logits = normal(1, 6, 3)
    some = teacher(eng=logits, deu=normal(2, 6, 3), jpn=normal(3, 4, 3))
    given_labels = labels(bind(encoder, "teacher", temperature=temperature), some)
    expected = np.exp(logits.numpy() / temperature)
    expected /= expected.sum(axis=1, keepdims=True)
    assert given_labels["deu"].numpy() == pytest.approx(expected)
    assert given_labels["jpn"].numpy() == pytest.approx(expected[:4])
    assert some.asked == 6


@pytest.mark.parametrize("name", ["self_training", "teacher"])
def test_the_loss_is_the_divergence_of_the_labels_summed_over_texts(encoder, name):
    """With one class it is the cross-entropy."""

    class Step(FakeStep):
        def sample_labelled(self, language, n):
            self.drawn.append((language, n))
            return self.sample_pairs(language, n)[1], torch.tensor([[0.5, 0.25, 0.25], [0, 1, 0], [1, 0, 0], [0, 0, 1]])

    step = Step(encoder)
    term = bind(encoder, name, languages="jpn", batch_size=9).term(step)
    (batch,) = step.classified
    p = probabilities(encoder, batch)
    expected = [kl([0.5, 0.25, 0.25], p[0]), *(-np.log(p[row][number]) for row, number in ((1, 1), (2, 0), (3, 2)))]
    assert term.loss_sum.item() == pytest.approx(sum(expected), rel=1e-6)
    assert (term.num_items, term.per, step.drawn[0]) == (4, "example", ("jpn", 9))
    agreed = [np.argmax(row) == number for row, number in zip(p, (0, 1, 0, 2), strict=True)]
    assert term.logs["agreement"].item() == np.mean(agreed)
    assert term.logs["kl"].item() == pytest.approx(np.mean(expected))


def test_keys_that_make_no_sense_are_refused(encoder):
    for share in (0, 1.5):
        assert complaints_about("self_training", {"share": share})[0][0] == "share"
    assert complaints_about("teacher", {"temperature": 0})[0][0] == "temperature"
    assert "`kor`, which is no target of this run" in message(bind, encoder, "self_training", languages="kor")
