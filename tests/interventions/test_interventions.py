"""The terms by themselves: against formulas written out again, and in the settings that must be refused."""

import re
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cosine_similarity

from distxfer import InputError
from distxfer.interventions import empty_term, intervention_class, intervention_names, make_intervention
from distxfer.interventions._losses import sinkhorn_divergence
from distxfer.languages import distances
from distxfer.measure import cka
from fakes import FakeStep, between, bind, term

DISTANCES = between()


def test_cka_drift_is_the_reported_number(encoder):
    step = FakeStep(encoder, n=16)
    found = term(step, "drift", layers=[1, 3])
    now, before = step.encoded().pooled_layers(), step.reference(step.batch)
    expected = sum(1 - cka(before[layer], now[layer]).item() for layer in (1, 3)) / 2
    assert (found.num_items, found.per) == (1, "batch")
    assert found.loss_sum.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("measure", ["cosine", "mse"])
def test_drift_per_sentence_is_a_sum_over_sentences(encoder, measure):
    step = FakeStep(encoder)
    found = term(step, "drift", measure=measure, layers=[2])
    now, before = step.encoded().pooled(2), step.reference(step.batch)[2]
    each = (
        1 - cosine_similarity(now, before)
        if measure == "cosine"
        else (now - before).square().sum(1) / before.square().sum(1)
    )
    assert (found.num_items, found.per) == (step.n, "example")
    assert found.loss_sum.item() == pytest.approx(each.sum().item(), rel=1e-5)


def test_too_few_sentences_for_cka_count_nothing(encoder):
    found = term(FakeStep(encoder, n=3), "drift")
    assert (found.num_items, found.loss_sum.item()) == (0, 0.0)


def test_info_nce_is_symmetric_and_summed_over_pairs(encoder):
    step = FakeStep(encoder)
    found = term(step, "align", layers=2, temperature=0.2, weighting="uniform", languages=["jpn"], batch_size=6)
    source, target = (step.encode(step.of(language, step.n)).pooled(2) for language in ("eng", "jpn"))
    similarity = cosine_similarity(source[:, None], target[None], dim=-1) / 0.2
    forward = -(similarity.diag() - similarity.logsumexp(1)).sum()
    backward = -(similarity.diag() - similarity.logsumexp(0)).sum()
    assert (found.num_items, found.per) == (step.n, "pair")
    assert found.loss_sum.item() == pytest.approx((forward + backward).item() / 2, rel=1e-5)
    assert step.drawn == [("jpn", 6)]


def test_l2_and_sinkhorn(encoder):
    step = FakeStep(encoder)
    source, target = (step.encode(step.of(language, step.n)).pooled(2) for language in ("eng", "jpn"))
    found = term(step, "align", layers=2, loss="l2", languages="jpn", batch_size=6)
    assert found.loss_sum.item() == pytest.approx((source - target).square().mean(1).sum().item(), rel=1e-5)
    found = term(step, "align", layers=2, loss="sinkhorn", languages="jpn", batch_size=6)
    assert (found.num_items, found.per) == (1, "batch")
    assert found.loss_sum.item() > 0


def test_sinkhorn_divergence_of_points_far_apart_is_their_squared_distance():
    """p = 2: the cost is |x - y|^2 / 2, and two single points have only one plan."""
    x, y = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.6, 0.8], [0.6, 0.8]])
    assert float(sinkhorn_divergence(x, y)) == pytest.approx(0.5, rel=1e-4)
    assert float(sinkhorn_divergence(x, x)) == pytest.approx(0, abs=1e-6)
    cloud = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    assert float(sinkhorn_divergence(cloud, cloud[torch.randperm(7)])) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("weighting", ["uniform", "linear", "rank", "softmax"])
def test_languages_are_drawn_by_their_weight_or_scaled_by_it(encoder, weighting):
    """Both ways have the same expected objective: share times factor is the weight over the number of languages."""
    from distxfer.languages import weights

    expected = weights(DISTANCES.values, weighting) if weighting != "uniform" else {"deu": 1.0, "jpn": 1.0}
    for by in ("sampling", "scaling"):
        step, total = FakeStep(encoder), {"deu": 0.0, "jpn": 0.0}
        bound = bind(encoder, "align", layers=1, loss="l2", weighting=weighting, weighting_by=by, batch_size=4)
        plain = {
            key: term(FakeStep(encoder), "align", layers=1, loss="l2", languages=[key], batch_size=4).loss_sum.item()
            for key in total
        }
        draws = 300
        for _ in range(draws):
            value = bound.term(step).loss_sum.item()
            language, _ = step.drawn[-1]
            total[language] += value / plain[language] / draws
        assert total == pytest.approx({key: weight / 2 for key, weight in expected.items()}, abs=0.1)


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


def test_settings_that_would_do_nothing_are_refused():
    for kind, keys, complaint in (
        ("drift", {"weighting": "linear"}, "`weighting` = `linear` has no effect on the task's inputs"),
        ("drift", {"batch_size": 8}, "`batch_size` = `8` has no effect on the task's inputs"),
        ("align", {"loss": "l2", "temperature": 0.5}, "`temperature` has no effect on the loss `l2`"),
    ):
        made, complaints = make_intervention(kind, keys)
        assert made is None
        assert complaint in complaints[0][1]


def test_a_distance_that_nothing_reads_is_refused(encoder):
    with pytest.raises(InputError, match="`distance` = `genetic` has no effect where `weighting` is `uniform`"):
        bind(encoder, "align", layers=1, weighting="uniform", distance="genetic")


def test_a_term_of_nothing_is_a_constant_unless_processes_keep_step():
    states = [torch.ones(0, 3, requires_grad=True) * 2, torch.ones(2, 3, requires_grad=True) * 2]
    for synchronized in (False, True):
        found = empty_term(SimpleNamespace(synchronized=synchronized), states, "pair")
        assert (found.loss_sum.item(), found.num_items, found.per, found.loss_sum.requires_grad) == (
            0.0,
            0,
            "pair",
            synchronized,
        )
