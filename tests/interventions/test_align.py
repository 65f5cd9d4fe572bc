"""The alignment losses, against formulas written out again; and what they refuse."""

import math

import pytest
import torch
from torch import nn

from aligned import MANY, FakeStep, bind, naive_info_nce, pooled, states, term, translations
from conftest import WORDS
from distxfer.data import Example, Pair
from distxfer.encoders import Encoded
from distxfer.interventions._losses import info_nce, sinkhorn_divergence
from distxfer.measure import cka
from fakes import complaints_about
from helpers import log

# The losses


@pytest.mark.parametrize("negatives", ["weak", "strong"])
def test_info_nce_by_its_formula_is_the_mean_over_the_layers(encoder, negatives):
    step = FakeStep(encoder)
    result = term(step, layers=[1, 3], temperature=0.3, negatives=negatives)
    sides = [pooled(encoder, layer, step.given) for layer in (1, 3)]
    expected = sum(naive_info_nce(*both, 0.3, negatives == "strong") for both in sides) / 2
    assert (result.num_items, result.per) == (6, "pair")
    assert result.loss_sum.item() == pytest.approx(expected, rel=1e-4)
    cosine = sum(torch.cosine_similarity(*both).mean().item() for both in sides) / 2
    assert result.logs["cosine"] == pytest.approx(cosine, rel=1e-5)


def test_l2_is_the_mean_over_a_band_of_layers(encoder):
    step = FakeStep(encoder)
    result = term(step, layers="upper", loss="l2")
    each = [(s - t).square().mean(dim=1).sum() for s, t in (pooled(encoder, layer, step.given) for layer in (4,))]
    assert result.loss_sum.item() == pytest.approx(each[0].item(), rel=1e-5)
    all_layers = [term(step, layers=layer, loss="l2").loss_sum.item() for layer in (1, 2, 3, 4)]
    assert term(step, layers="all", loss="l2").loss_sum.item() == pytest.approx(sum(all_layers) / 4, rel=1e-6)


def test_cka_is_one_minus_the_reported_number(encoder):
    step = FakeStep(encoder, given=translations(said=MANY))
    result = term(step, layers=2, loss="cka")
    assert (result.num_items, result.per) == (1, "batch")
    assert result.loss_sum.item() == pytest.approx(1 - cka(*pooled(encoder, 2, step.given)).item(), rel=1e-4)
    few = term(FakeStep(encoder, given=step.given[:15]), layers=2, loss="cka")
    assert (few.num_items, few.loss_sum.item()) == (0, 0.0)
    again = term(FakeStep(encoder, given=[*step.given, *step.given[:7]]), layers=2, loss="cka")
    assert again.loss_sum.item() == pytest.approx(result.loss_sum.item(), rel=1e-4)
    equal = term(FakeStep(encoder, given=step.given[:1] * 20), layers=2, loss="cka")
    assert (equal.num_items, equal.loss_sum.item()) == (0, 0.0)
    one_target = [Pair(pair.source, step.given[0].target) for pair in step.given]
    assert term(FakeStep(encoder, given=one_target), layers=2, loss="cka").num_items == 0


def test_standardised_states_pass_through_a_projection(run):
    settings = ["standardise=true", "projection=4", "layers=2"]
    result = run("dist_align", "phase.finetune.steps=2", *(f"intervention.align.{setting}" for setting in settings))
    assert all(line["term/align"] > 0 for line in log(result))


def test_standardised_states_have_no_outlier_dimension(encoder, monkeypatch):
    """As in decoders, one dimension of either side is far from 0 and varies by itself: it alone hides the translations."""
    step = FakeStep(encoder)
    sides = [pooled(encoder, layer, step.given) for layer in (1, 3)]
    scored = [[(side - side.mean(0)) / side.std(0, correction=0) for side in both] for both in sides]
    result = term(step, layers=[1, 3], standardise=True)
    assert result.loss_sum.item() == pytest.approx(
        sum(naive_info_nce(*both, 0.1, False) for both in scored) / 2, rel=1e-4
    )
    cosine = sum(torch.cosine_similarity(*both).mean().item() for both in scored) / 2
    assert result.logs["cosine"] == pytest.approx(cosine, rel=1e-4)
    plain = Encoded.pooled

    def with_outlier(self, layer):
        states = plain(self, layer)
        scale = torch.ones(states.shape[1])
        scale[0] = 1e4
        return states * scale + 1e4 * (scale > 1)

    monkeypatch.setattr(Encoded, "pooled", with_outlier)
    blind, seeing = (term(step, layers=[1, 3], standardise=on) for on in (False, True))
    assert blind.loss_sum.item() / 6 == pytest.approx(math.log(6), abs=0.3)
    assert seeing.loss_sum.item() == pytest.approx(result.loss_sum.item(), rel=1e-3)


@pytest.mark.parametrize("negatives", ["weak", "strong"])
def test_pairs_that_share_a_text_are_no_negatives(encoder, negatives):
    """Each of them has the loss that it has without the others that share a text with it."""
    given = translations()
    shared = [*given, given[0], Pair(given[1].source, given[2].target)]
    result = term(FakeStep(encoder, given=shared), layers=2, negatives=negatives)
    expected = 0.0
    for pair in shared:
        texts = pair.source.text, pair.target.text
        others = [rival for rival in shared if rival.source.text != texts[0] and rival.target.text != texts[1]]
        source, target = pooled(encoder, 2, [pair, *others])
        rows = [(source, target), (target, source)]
        for mine, theirs in rows:
            rivals = torch.cat([theirs, mine[1:]]) if negatives == "strong" else theirs
            scores = torch.cosine_similarity(mine[:1], rivals) / 0.1
            expected -= scores.log_softmax(0)[0].item() / 2
    assert (result.num_items, result.per) == (len(shared), "pair")
    assert result.loss_sum.item() == pytest.approx(expected, rel=1e-4)


def test_tokens_are_clouds_without_padding_and_special_tokens(encoder):
    """Each pair by itself, unpadded, sums to the batch; which token translates which does not matter."""
    step = FakeStep(encoder)
    result = term(step, layers=[2, 3], loss="sinkhorn", unit="token")
    expected = 0.0
    for layer in (2, 3):
        for pair in step.given:
            clouds = (states(encoder, example.text, layer)[1:-1] for example in (pair.source, pair.target))
            expected += sinkhorn_divergence(*(nn.functional.normalize(cloud, dim=-1) for cloud in clouds)).item() / 2
    assert (result.num_items, result.per) == (6, "pair")
    assert result.loss_sum.item() == pytest.approx(expected, rel=1e-4)
    sides = [pooled(encoder, layer, step.given) for layer in (2, 3)]
    cosine = sum(torch.cosine_similarity(*both).mean().item() for both in sides) / 2
    assert result.logs["cosine"] == pytest.approx(cosine, rel=1e-5)


def test_points_without_weight_are_not_there_and_weights_count_points():
    points = nn.functional.normalize(torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    x, y = points[0], points[1, :3]
    weights = torch.tensor([[0.5, 0.25, 0.25, 0, 0]]), torch.full((1, 3), 1 / 3)
    doubled = torch.stack([x[0], x[0], x[1], x[2]])
    result = sinkhorn_divergence(x[None], y[None], weights)
    assert result.shape == (1,)
    assert result.item() == pytest.approx(float(sinkhorn_divergence(doubled, y)), rel=1e-4)


def test_a_text_of_special_tokens_only_is_a_cloud_of_them(encoder):
    empty = Pair(Example("1", "eng", " "), Example("1", "deu", "katze"))
    result = term(FakeStep(encoder, given=[empty]), layers=2, loss="sinkhorn", unit="token")
    assert math.isfinite(result.loss_sum.item())


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"negatives": "strong"},
        {"loss": "cka"},
        {"loss": "sinkhorn", "unit": "token"},
        {"loss": "l2"},
        {"projection": 4},
    ],
)
def test_stop_gradient_moves_the_target_only(encoder, keys):
    """The two languages share no word, so the gradient on a word's embedding says which side it came from."""

    def moved(**more):
        encoder.model.zero_grad()
        term(FakeStep(encoder, given=translations(said=MANY)), layers=2, **keys, **more).loss_sum.backward()
        gradient = encoder.base.get_input_embeddings().weight.grad
        ids = {
            key: encoder.tokenizer(WORDS[key], add_special_tokens=False)["input_ids"] for key in ("eng", "deu", "jpn")
        }
        return {key: float(gradient[torch.tensor(rows).flatten()].abs().sum()) for key, rows in ids.items()}

    free, stopped = moved(), moved(stop_gradient=True)
    assert free["eng"] > 0 < free["deu"]
    assert stopped["eng"] == 0 < stopped["deu"]
    assert free["jpn"] == stopped["jpn"] == 0


def test_the_head_stands_between_the_states_and_the_loss(encoder):
    step = FakeStep(encoder)
    bound = bind(encoder, layers=[1, 2], projection=5)
    result = bound.term(step)
    assert [tuple(parameter.shape) for parameter in bound.module.parameters()] == [(16, 16), (16,), (5, 16), (5,)]
    first, _, second = bound.module

    def project(x):
        return (x @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias

    sides = [pooled(encoder, layer, step.given) for layer in (1, 2)]
    expected = sum(naive_info_nce(project(s), project(t), 0.1, False) for s, t in sides) / 2
    assert result.loss_sum.item() == pytest.approx(expected, rel=1e-4)
    cosine = sum(torch.cosine_similarity(*both).mean().item() for both in sides) / 2
    assert result.logs["cosine"] == pytest.approx(cosine, rel=1e-5)
    assert bind(encoder, layers=1).module is None


def test_near_clouds_are_apart_in_mixed_precision_too():
    """Where a GPU computes in 16 bits, the rounding of |x - y|^2 would be all that there is."""
    draw = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(32, 384, generator=draw), dim=-1)
    y = torch.nn.functional.normalize(x + 0.005 * torch.randn(32, 384, generator=draw), dim=-1)
    plain = sinkhorn_divergence(x, y)
    with torch.autocast("cpu", torch.bfloat16):
        assert sinkhorn_divergence(x, y).item() == pytest.approx(plain.item(), rel=1e-4)


@pytest.mark.parametrize("strong", [False, True])
def test_cosines_near_one_are_told_apart_in_mixed_precision_too(strong):
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.ones(32, 384) + 0.1 * torch.randn(32, 384, generator=draw) for _ in range(2))
    plain = info_nce(x, y, 0.1, strong=strong)
    with torch.autocast("cpu", torch.bfloat16):
        assert info_nce(x, y, 0.1, strong=strong).item() == plain.item()
        halved = info_nce(x.bfloat16(), y.bfloat16(), 0.1, strong=strong)  # what a projection head gives
    assert halved.dtype == torch.float32


# Settings that make no sense


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"loss": "l2", "temperature": 0.2}, "`temperature` has no effect on the loss `l2`. Set `loss = infonce`, or"),
        ({"loss": "cka", "temperature": 0.2}, "`temperature` has no effect on the loss `cka`."),
        ({"loss": "sinkhorn", "negatives": "strong"}, "`negatives` has no effect on the loss `sinkhorn`. Set `loss ="),
        ({"loss": "l2", "projection": 8}, "`projection` = `8` would let the head lower the loss `l2` by itself"),
        ({"loss": "cka", "projection": 8}, "`projection` = `8` would let the head lower the loss `cka` by itself"),
        ({"unit": "token"}, "`unit` = `token` has no pairs of tokens, which the loss `infonce` needs."),
        ({"unit": "word", "loss": "sinkhorn"}, "`unit` = `word` finds pairs of words, which the loss"),
        ({"unit": "token", "loss": "sinkhorn", "standardise": True}, "`standardise` has no effect where `unit` is `token`."),
        ({"dictionary": "x"}, "`dictionary` has no effect where `unit` is `sentence`. Set `unit = word`, or leave it out."),
        ({"unit": "token", "loss": "sinkhorn", "alignments": "x"}, "`alignments` has no effect where `unit` is `token`."),
        ({"unit": "word", "dictionary": "x", "alignments": "x"}, "`dictionary` and `alignments` both name the word pairs"),
        (
            {"loss": "cka", "batch_size": 15},
            "`batch_size` = `15` is too small for the loss `cka`, which needs 16 pairs. Give at least 16.",
        ),
        ({"negatives": "hard"}, "is `hard`, but it should be 'weak' or 'strong'."),
        ({"projection": -1}, "is `-1`, but it should be greater than or equal to 0."),
        ({"layer": 3}, "is no key of the intervention `align`. Did you mean `layers`?"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(keys, complaint):
    ((_, text),) = complaints_about("align", keys)
    assert complaint in text
