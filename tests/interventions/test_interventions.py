"""The terms by themselves: against formulas written out again, and in the settings that must be refused."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from distxfer import InputError
from distxfer.interventions import Languages, empty_term, intervention_class, intervention_names
from distxfer.interventions._losses import sinkhorn_divergence
from distxfer.interventions._shared_keys import language_choice
from distxfer.languages import distances, weights
from distxfer.measure import cka
from fakes import TARGETS, FakeStep, between, bind, term

DISTANCES = between()


def test_cka_drift_is_the_reported_number(encoder):
    step = FakeStep(encoder, n=16)
    result = term(step, "drift", layers=[1, 3])
    now, before = step.encoded().pooled_layers(), step.reference(step.batch)
    expected = sum(1 - cka(before[layer], now[layer]).item() for layer in (1, 3)) / 2
    assert (result.num_items, result.per) == (1, "batch")
    assert result.loss_sum.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("measure", ["cosine", "mse"])
def test_drift_per_sentence_is_a_sum_over_sentences(encoder, measure):
    step = FakeStep(encoder)
    result = term(step, "drift", measure=measure, layers=[2])
    now, before = step.encoded().pooled(2), step.reference(step.batch)[2]
    each = (
        1 - cosine_similarity(now, before)
        if measure == "cosine"
        else (now - before).square().sum(1) / before.square().sum(1)
    )
    assert (result.num_items, result.per) == (step.n, "example")
    assert result.loss_sum.item() == pytest.approx(each.sum().item(), rel=1e-5)


def test_sinkhorn_of_sentences_is_one_item_a_batch(encoder):
    result = term(FakeStep(encoder), "align", layers=2, loss="sinkhorn", languages="jpn", batch_size=6)
    assert (result.num_items, result.per) == (1, "batch")
    assert result.loss_sum.item() > 0


def test_sinkhorn_divergence_of_points_far_apart_is_their_squared_distance():
    """p = 2: the cost is |x - y|^2 / 2, and two single points have only one plan."""
    x, y = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.6, 0.8], [0.6, 0.8]])
    assert float(sinkhorn_divergence(x, y)) == pytest.approx(0.5, rel=1e-4)
    assert float(sinkhorn_divergence(x, x)) == pytest.approx(0, abs=1e-6)
    cloud = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    assert float(sinkhorn_divergence(cloud, cloud[torch.randperm(7)])) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("weighting", ["uniform", "linear", "rank", "softmax"])
@pytest.mark.parametrize("by", ["sampling", "scaling"])
def test_languages_are_drawn_by_their_weight_or_scaled_by_it(weighting, by):
    """Both ways have the same expected objective: share times factor is the weight over the number of languages."""
    keys = intervention_class("align")(weighting=weighting, weighting_by=by)
    choice, random = language_choice(keys, Languages("eng", TARGETS), DISTANCES), np.random.default_rng(0)
    total = dict.fromkeys(TARGETS, 0.0)
    for _ in range(5000):
        language, factor = choice.draw(random)
        total[language] += factor / 5000
    expected = weights(DISTANCES.values, weighting) if weighting != "uniform" else dict.fromkeys(TARGETS, 1.0)
    assert total == pytest.approx({language: weight / 2 for language, weight in expected.items()}, abs=0.03)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("align", {"layers": 1, "loss": "l2"}),
        ("consistency", {}),
        ("drift", {"text": "pairs", "batch_size": 16}),
        ("drift", {"text": "target", "batch_size": 16}),
    ],
)
def test_a_term_is_scaled_by_the_weight_of_its_language(encoder, kind, keys):
    step, scaled = FakeStep(encoder), {}
    bound = bind(encoder, kind, weighting="linear", weighting_by="scaling", **keys)
    assert bound.languages == TARGETS
    for _ in range(8):
        loss = bound.term(step).loss_sum.item()
        scaled[step.drawn[-1][0]] = loss
    alone = {key: term(FakeStep(encoder), kind, languages=[key], **keys).loss_sum.item() for key in scaled}
    factors = {key: scaled[key] / alone[key] for key in scaled}
    assert factors == pytest.approx(weights(DISTANCES.values, "linear"), rel=1e-5)


def test_shuffled_distances_are_the_same_numbers_on_other_languages():
    many = distances("eng", ("deu", "jpn", "tur", "rus", "kor"), imputed=True)
    shuffled = many.by("shuffled").values
    assert sorted(shuffled.values()) == sorted(many.values.values())
    assert shuffled != many.values


def test_another_distance_than_the_recipes_can_weigh(encoder):
    assert bind(encoder, "align", layers=1, distance="geographic").languages == ("deu", "jpn")


def test_freeze_says_what_may_train(encoder):
    bound = bind(encoder, "freeze", layers=[1], embeddings=False)
    kept = {name for name, _ in encoder.model.named_parameters() if not bound.trains(name)}
    assert kept == {name for name, _ in encoder.model.named_parameters() if ".layer.0." in name}
    lower = bind(encoder, "freeze")
    assert not lower.trains("bert.embeddings.position_embeddings.weight")
    assert lower.trains("classifier.weight")


def test_lora_on_some_layers(encoder):
    bind(encoder, "lora", layers=[2], r=2)
    adapted = {encoder.place(name) for name, _ in encoder.model.named_parameters() if "lora_" in name}
    assert adapted == {2}


def test_every_intervention_documents_itself():
    for kind in intervention_names():
        assert "eference" in (intervention_class(kind).__doc__ or "")


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("drift", {"layers": [5]}, "`layers` names layer `5`, but this encoder has layers 1 to 4."),
        ("drift", {"layers": [1, 1]}, "`layers` names layer `1` twice. Name each layer once."),
        ("align", {"layers": 9}, "`layers` names layer `9`, but this encoder has layers 1 to 4."),
        ("freeze", {"layers": [0]}, "`layers` names layer `0`, but this encoder has layers 1 to 4."),
        ("align", {"layers": 1, "languages": ["kor"]}, "The intervention names `kor`, which is no target of this run."),
        ("align", {"layers": 1, "distance": "genetik"}, "`genetik`"),
        ("align", {"layers": 1, "languages": ["ja", "jpn"]}, "expected each once, and at least one"),
    ],
)  # fmt: skip
def test_what_this_encoder_or_these_languages_do_not_have(encoder, kind, keys, message):
    with pytest.raises(InputError, match=re.escape(message)):
        bind(encoder, kind, **keys)


def test_a_term_of_nothing_is_a_constant_unless_processes_keep_step():
    states = [torch.ones(0, 3, requires_grad=True) * 2, torch.ones(2, 3, requires_grad=True) * 2]
    for synchronized in (False, True):
        result = empty_term(SimpleNamespace(synchronized=synchronized), states, "pair")
        assert (result.loss_sum.item(), result.num_items, result.per) == (0.0, 0, "pair")
        assert result.loss_sum.requires_grad == synchronized
