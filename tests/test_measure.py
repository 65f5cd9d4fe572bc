"""The measurement core: invariances, definitions written out as oracles, closed forms, known answers, messages."""

import json
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from distxfer import measure
from distxfer.errors import InputError, unknown

seeds = st.integers(0, 2**32 - 1)
either = pytest.mark.parametrize("unbiased", [True, False])


def given(*args, **kwargs):
    return lambda test: hypothesis.settings(max_examples=25, deadline=None)(hypothesis.given(*args, **kwargs)(test))


def normal(seed, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def related(seed, n=12, d1=5, d2=7):
    """Two representations that share structure, away from the origin."""
    x = normal(seed, n, d1)
    return x + 3, x @ normal(seed + 1, d1, d2) + normal(seed + 2, n, d2) - 1


def orthogonal(seed, d):
    return torch.linalg.qr(normal(seed, d, d))[0]


def message(call, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# --- similarity ---------------------------------------------------------------------------------------------------


def hsic_song(K, L):
    """HSIC_1 exactly as Song et al. 2012 define it, on Gram matrices without their diagonals."""
    n = len(K)
    K, L, one = K - np.diag(np.diag(K)), L - np.diag(np.diag(L)), np.ones(len(K))
    trace = np.trace(K @ L)
    sums = (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
    return (trace + sums - 2 / (n - 2) * (one @ K @ L @ one)) / (n * (n - 3))


def hsic_gram(K, L):
    """HSIC_0 = tr(K H L H) / (n-1)^2, Kornblith et al. 2019, eq. 3."""
    n = len(K)
    H = np.eye(n) - 1 / n
    return np.trace(K @ H @ L @ H) / (n - 1) ** 2


def cka_oracle(x, y, hsic):
    x, y = x.double().numpy(), y.double().numpy()
    K, L = x @ x.T, y @ y.T
    return hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))


@pytest.mark.parametrize(("hsic", "unbiased"), [(hsic_song, True), (hsic_gram, False)])
@pytest.mark.parametrize("shape", [(4, 3, 2), (5, 60, 40), (12, 5, 7), (64, 6, 3), (32, 384, 384)])
def test_cka_is_its_definition_in_feature_and_in_gram_space(shape, hsic, unbiased):
    x, y = related(0, *shape)
    assert measure.cka(x, y, unbiased=unbiased).item() == pytest.approx(cka_oracle(x, y, hsic), rel=1e-9, abs=1e-12)


@either
@given(seed=seeds, log_scale=st.floats(-6, 6), shift=st.floats(-50, 50), n=st.integers(4, 40))
def test_cka_invariances(unbiased, seed, log_scale, shift, n):
    seed = seed % 10**6
    x, y = related(seed, n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    expected = measure.cka(x, y, unbiased=unbiased).item()
    for a, b in (
        (x @ orthogonal(seed, 5), y @ orthogonal(seed + 1, 7)),
        (x * 10**log_scale, -y),
        (x + shift * normal(seed, 5), y),
        (x[order], y[order]),
        (y, x),
    ):
        assert measure.cka(a, b, unbiased=unbiased).item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@either
@given(seed=seeds)
def test_cka_of_itself_is_one(unbiased, seed):
    x, _ = related(seed % 10**6)
    assert measure.cka(x, x.clone(), unbiased=unbiased).item() == 1.0


def test_cka_of_the_bias_that_the_unbiased_form_removes():
    pairs = [(normal(2 * i, 32, 384), normal(2 * i + 1, 32, 384)) for i in range(20)]
    unbiased = torch.stack([measure.cka(x, y) for x, y in pairs])
    assert unbiased.abs().max() < 0.12
    assert abs(unbiased.mean()) < 0.03
    assert unbiased.min() < 0  # legitimate, and never clamped
    assert min(measure.cka(x, y, unbiased=False) for x, y in pairs) > 0.9


def test_cka_is_not_invariant_under_scaling_of_columns():
    x = normal(0, 40, 5)
    assert measure.cka(x * torch.tensor([1, 1, 1, 1, 50.0]), x) < 0.7


@either
def test_cka_in_float32_far_from_the_origin(unbiased):
    x, y = (torch.round(z * 256) / 256 for z in related(3, 32, 16, 16))  # multiples of 1/256: the shift is exact
    expected = measure.cka(x, y, unbiased=unbiased)
    shifted = measure.cka((x + 1000).float(), (y - 3000).float(), unbiased=unbiased)
    assert shifted.dtype == torch.float64
    assert shifted.item() == pytest.approx(expected.item(), abs=1e-9)


def test_cka_of_a_batch_of_layers_is_the_cka_of_each():
    x, y = normal(0, 2, 3, 10, 4), normal(1, 2, 3, 10, 5)
    result = measure.cka(x, y)
    assert result.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert result[i, j].item() == pytest.approx(measure.cka(x[i, j], y[i, j]).item(), abs=1e-12)


def test_cka_survives_extreme_scales():
    x, y = related(1)
    expected = measure.cka(x, y).item()
    assert measure.cka(x * 1e-120, y * 1e120).item() == pytest.approx(expected, abs=1e-12)


@either
@pytest.mark.parametrize("shape", [(6, 3, 2), (5, 8, 9)])
def test_cka_gradient(unbiased, shape):
    x, y = (z.requires_grad_() for z in related(0, *shape))
    assert torch.autograd.gradcheck(lambda a, b: measure.cka(a, b, unbiased=unbiased), (x, y))


@either
@pytest.mark.parametrize("shape", [(12, 5), (8, 40)])
def test_cka_gradient_is_zero_where_both_are_equal(unbiased, shape):
    x = normal(0, *shape, dtype=torch.float32).requires_grad_()
    value = measure.cka(x, x.detach().clone(), unbiased=unbiased)
    value.backward()
    assert value.item() == 1.0
    assert x.grad.abs().max() < 1e-6  # finite, and the maximum


def test_cka_gradient_of_a_batch_survives_an_undefined_layer():
    x = normal(0, 2, 8, 4)
    x[0] = 1.0
    x.requires_grad_()
    value = measure.cka(x, normal(1, 2, 8, 4))
    assert value.isnan().tolist() == [True, False]
    value[1].backward()
    assert x.grad.isfinite().all()
    assert x.grad[1].abs().max() > 0


@pytest.mark.parametrize("x", [torch.full((8, 3), 0.1), torch.full((8, 3), 0.1, dtype=torch.float64), torch.eye(8)])
def test_cka_without_structure_is_nan_with_a_reason(x):
    y = normal(0, 8, 3)
    reason = (
        "the self-similarity of `{}` is 0: its rows are all the same, or all equally similar to each other, "
        "so there is no structure to compare"
    )
    assert measure.cka(x, y).isnan()
    assert measure.cka(y, x).isnan()
    assert measure.cka_reason(x, y) == reason.format("x")
    assert measure.cka_reason(y, x) == reason.format("y")
    assert measure.cka_reason(y, y) is None


def test_cka_refuses():
    x, y = related(0)
    assert message(measure.cka, x[:3], y[:3]) == ("`x` has 3 rows; unbiased CKA needs at least 4: give more sentences.")
    assert message(measure.cka, x[:1], y[:1], unbiased=False) == (
        "`x` has 1 rows; biased CKA needs at least 2: give more sentences."
    )
    assert message(measure.cka, x, y[:8]) == (
        "`x` has the shape (12, 5) and `y` (8, 7); expected the same number of rows in both: "
        "row i of one belongs to row i of the other."
    )
    assert message(measure.cka, x[0], y[0]) == (
        "`x` has the shape (5,); expected (..., rows, dimensions), none of them 0: give one row per sentence."
    )
    for bad in (torch.nan, torch.inf):
        y[2, 3] = bad
        assert message(measure.cka, x, y) == (
            "`y` holds 1 values that are NaN or infinite; expected finite representations: "
            "look for a run that diverged, or for a sentence without tokens in the pooling."
        )


def test_standardise_defuses_an_outlier_dimension():
    x, y = normal(0, 200, 20), normal(1, 200, 20)
    x[:, 3] = y[:, 7] = 60 * normal(2, 200)
    assert measure.cka(x, y) > 0.99
    assert measure.top_dimension_share(x) > 0.98
    assert abs(measure.cka(measure.standardise(x), measure.standardise(y))) < 0.1
    assert measure.top_dimension_share(measure.standardise(x)) == pytest.approx(1 / 20)


@given(seed=seeds)
def test_standardise(seed):
    x = normal(seed, 3, 9, 4) * torch.tensor([1e-3, 1, 50, 0]) + 0.1
    z = measure.standardise(x)
    assert torch.allclose(z.mean(-2), torch.zeros(3, 4, dtype=z.dtype), atol=1e-12)
    assert torch.allclose(z.var(-2, correction=0)[:, :3], torch.ones(3, 3, dtype=z.dtype))
    assert z[..., 3].eq(0).all()
    assert torch.allclose(measure.standardise(x * 7 - 2), z, atol=1e-9)


def test_standardise_gradient():
    x = normal(0, 5, 3).requires_grad_()
    assert torch.autograd.gradcheck(measure.standardise, (x,))
    constant = torch.ones(5, 3, requires_grad=True)
    measure.standardise(constant).sum().backward()
    assert constant.grad.eq(0).all()


def test_top_dimension_share():
    x = torch.tensor([[1.0, 3, 9], [-1, -3, 9]])
    assert measure.top_dimension_share(x) == pytest.approx(0.9)
    assert np.isnan(measure.top_dimension_share(torch.ones(4, 3)))
    assert message(measure.top_dimension_share, torch.ones(2, 4, 3)) == (
        "`x` has the shape (2, 4, 3); expected (rows, dimensions): give one layer at a time."
    )


def test_cosine_drift():
    x = torch.tensor([[1.0, 0], [1, 0], [1, 0], [2, 2]])
    y = torch.tensor([[5.0, 0], [0, 3], [-1, 0], [1, 0]])
    expected = torch.tensor([0, 1, 2, 1 - 0.5**0.5], dtype=torch.float64)
    assert torch.allclose(measure.cosine_drift(x, y), expected)
    a, b = normal(0, 6, 9), normal(1, 6, 9)
    assert torch.allclose(measure.cosine_drift(a, b), 1 - torch.cosine_similarity(a, b))
    assert measure.cosine_drift(a, a.clone()).eq(0).all()
    assert torch.autograd.gradcheck(measure.cosine_drift, (a.requires_grad_(), b.requires_grad_()))


def test_normalised_mse():
    x, y = torch.tensor([[3.0, 4], [0, 1], [2, 0]]), torch.tensor([[3.0, 4], [0, 2], [0, 1]])
    assert measure.normalised_mse(x, y).tolist() == [0, 0.25, 5]
    assert measure.normalised_mse(normal(0, 4, 6, 9), normal(1, 4, 6, 9)).shape == (4, 6)
    a, b = normal(0, 6, 9).requires_grad_(), normal(1, 6, 9).requires_grad_()
    assert torch.autograd.gradcheck(measure.normalised_mse, (a, b))


def test_drifts_refuse():
    x = normal(0, 3, 2)
    zero = x.clone()
    zero[1] = 0
    assert message(measure.normalised_mse, x, zero) == (
        "`y` has 1 rows that are all zeros; expected rows with a direction: "
        "look for a sentence without tokens in the pooling."
    )
    assert measure.normalised_mse(zero, x)[1].item() == pytest.approx(1)
    assert message(measure.cosine_drift, zero, x).startswith("`x` has 1 rows that are all zeros;")
    assert message(measure.cosine_drift, x, normal(0, 3, 4)) == (
        "`x` has 2 dimensions per row and `y` has 4; expected the same: compare layers of one width, or use cka."
    )


# --- alignment ----------------------------------------------------------------------------------------------------


def retrieval_oracle(source, target):
    """Every candidate of every query, one by one."""
    unit = [torch.nn.functional.normalize(z.double(), dim=-1).numpy() for z in (source, target)]
    result, n = [], len(source)
    for strong in (False, True):
        for queries, answers in (unit, unit[::-1]):
            hits = 0
            for i in range(n):
                rivals = [answers[j] for j in range(n) if j != i]
                rivals += [queries[j] for j in range(n) if j != i] if strong else []
                hits += all(queries[i] @ answers[i] > queries[i] @ rival for rival in rivals)
            result.append(hits / n)
    return result


def parts(result):
    return [result.weak_forward, result.weak_backward, result.strong_forward, result.strong_backward]


@given(seed=seeds, n=st.integers(2, 20), noise=st.floats(0.2, 2), chunk=st.sampled_from([1, 3, 7, 1024]))
def test_retrieval_is_brute_force(seed, n, noise, chunk):
    seed = seed % 10**6
    x = normal(seed, n, 6)
    y = x + noise * normal(seed + 1, n, 6) + 0.5 * normal(seed + 2, 6)
    result = measure.retrieval(x, y, chunk=chunk)
    assert parts(result) == retrieval_oracle(x, y)
    rotation = orthogonal(seed, 6)
    assert measure.retrieval(3 * x @ rotation, y @ rotation, chunk=chunk) == result


def test_retrieval_of_known_answers():
    x = normal(0, 50, 16)
    same = measure.retrieval(x, x.clone(), chunk=16)
    assert parts(same) == [1, 1, 1, 1]
    assert (same.n, same.chance_weak, same.chance_strong) == (50, 1 / 50, 1 / 99)
    # Sentences that cluster by language: each still finds its translation, but its own language is nearer.
    language = 2 * torch.eye(2, dtype=torch.float64)
    unit = torch.nn.functional.normalize(x)
    source, target = (torch.cat([unit, row.expand(50, 2)], dim=1) for row in language)
    assert parts(measure.retrieval(source, target)) == [1, 1, 0, 0]
    # A cyclic shift of the pairing: nothing is found.
    assert parts(measure.retrieval(x, x.roll(1, 0))) == [0, 0, 0, 0]


def test_retrieval_counts_ties_as_misses():
    assert parts(measure.retrieval(torch.ones(5, 3), torch.ones(5, 3))) == [0, 0, 0, 0]
    x = normal(0, 600, 48, dtype=torch.float32)
    x[7] = 3 * x[400]  # the same direction: neither can tell which of the two translations is its own
    assert parts(measure.retrieval(x, x.clone(), chunk=500)) == [598 / 600] * 4


def test_retrieval_is_asymmetric():
    source, target = torch.tensor([[1.0, 0], [1, 0.2]]), torch.tensor([[1.0, 0.3], [1, 0.25]])
    result = measure.retrieval(source, target)
    assert (result.weak_forward, result.weak_backward) == (0.5, 0.5)
    source, target = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[1.0, 0.1], [1, 0.2]])
    result = measure.retrieval(source, target)
    assert (result.weak_forward, result.weak_backward) == (1.0, 0.5)


def test_retrieval_refuses():
    x = normal(0, 3, 2)
    assert message(measure.retrieval, x[:1], x[:1]) == (
        "`source` has the shape (1, 2); expected (sentences, dimensions) with at least 2 sentences: "
        "give more sentences, and one layer at a time."
    )
    assert message(measure.retrieval, x, x, chunk=0) == (
        "`chunk` is 0; expected at least 1: give the number of queries to work on at a time."
    )
    assert message(measure.retrieval, x, x[:2]).startswith("`source` has the shape (3, 2) and `target` (2, 2);")
    assert message(measure.retrieval, x, normal(0, 3, 4)).startswith("`source` has 2 dimensions per row and `target`")
    assert message(measure.retrieval, x, x * 0).startswith("`target` has 3 rows that are all zeros;")


# --- transfer -----------------------------------------------------------------------------------------------------

SCORES = {"deu": 0.8, "fra": 0.7, "jpn": 0.5, "khm": 0.4}
DISTANCES = {"eng": 0.0, "deu": 0.1, "fra": 0.2, "jpn": 0.4, "khm": 0.5}


def test_transfer_summary():
    summary = measure.transfer_summary(SCORES, 0.9, DISTANCES, ["deu", "fra"], ["jpn", "khm"])
    assert summary == pytest.approx(
        {"source": 0.9, "target_mean": 0.6, "near_mean": 0.75, "far_mean": 0.45, "gap": 0.3, "distance_slope": -1.0}
    )
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=3, max_size=9))
def test_distance_slope_is_least_squares(rows):
    names = [f"l{i}" for i in range(len(rows))]
    scores, distances = (dict(zip(names, column, strict=True)) for column in zip(*rows, strict=True))
    slope = measure.transfer_summary(scores, 1, distances, [], [])["distance_slope"]
    values = np.array(list(distances.values()))
    if np.ptp(values) == 0:
        assert slope is None
    elif np.ptp(values) > 1e-3:
        assert slope == pytest.approx(stats.linregress(values, list(scores.values())).slope, abs=1e-6)


def test_transfer_summary_has_none_where_there_is_no_number():
    summary = measure.transfer_summary({"deu": 0.8, "fra": 0.7}, 0.9, DISTANCES, [], ["fra"])
    assert (summary["near_mean"], summary["far_mean"], summary["distance_slope"]) == (None, 0.7, None)
    constant = dict.fromkeys(SCORES, 0.3)
    assert measure.transfer_summary(SCORES, 0.9, constant, [], [])["distance_slope"] is None
    assert measure.transfer_summary(SCORES, 0.9, dict.fromkeys(SCORES, 0), [], [])["distance_slope"] is None


def test_transfer_summary_refuses():
    assert message(measure.transfer_summary, {}, 0.9, {}, [], []) == (
        "`scores` is empty; expected the score of each target language: give at least one."
    )
    assert message(measure.transfer_summary, {"deu": 1, "nan": 1}, 0.9, DISTANCES, [], []) == (
        "`nan` has a score but no distance; expected a distance for each target: "
        "leave the language out, or bring its distance."
    )
    assert message(measure.transfer_summary, SCORES | {"jpn": np.nan}, 0.9, DISTANCES, [], []) == (
        "The score of `jpn` is nan; expected a finite number: leave the language out, or run it again."
    )
    assert message(measure.transfer_summary, SCORES, 0.9, DISTANCES | {"deu": np.inf}, [], []) == (
        "The distance of `deu` is inf; expected a finite number: leave the language out, or run it again."
    )
    assert message(measure.transfer_summary, SCORES, np.nan, DISTANCES, [], []).startswith("The score of `source`")
    assert message(measure.transfer_summary, SCORES, 0.9, DISTANCES, ["jpm"], []) == str(
        unknown("Target language", "jpm", SCORES)
    )


def test_relative_transfer():
    assert measure.relative_transfer(0.6, 0.8) == pytest.approx(-0.25)
    assert measure.relative_transfer(0.0, 0.8) == -1
    assert measure.relative_transfer(0.5, 0.0) is None
    assert message(measure.relative_transfer, np.nan, 0.5).startswith("The score of `target` is nan;")


def test_accuracy_and_macro_f1_by_hand():
    labels, predictions = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]
    assert measure.accuracy(labels, predictions) == pytest.approx(4 / 6)
    assert measure.macro_f1(labels, predictions, 3) == pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3)
    assert measure.macro_f1(labels, predictions, 9) == measure.macro_f1(labels, predictions, 3)
    assert measure.macro_f1([0, 0, 1], [0, 0, 0], 2) == pytest.approx((4 / 5 + 0) / 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_macro_f1_is_its_definition(rows):
    scores = []
    for c in range(4):
        tp = sum(a == c and b == c for a, b in rows)
        fp, fn = sum(b == c != a for a, b in rows), sum(a == c != b for a, b in rows)
        if tp + fp + fn:
            precision, recall = tp / (tp + fp or 1), tp / (tp + fn or 1)
            scores.append(2 * precision * recall / (precision + recall or 1))
    labels, predictions = zip(*rows, strict=True)
    assert measure.macro_f1(labels, predictions, 4) == pytest.approx(np.mean(scores))


def test_scores_refuse():
    assert message(measure.accuracy, [], []) == (
        "`labels` has the shape (0,) and `predictions` (0,); expected one of each per example, "
        "and at least one example: check which examples were scored."
    )
    assert message(measure.macro_f1, [0, 1], [0], 2).startswith("`labels` has the shape (2,) and `predictions` (1,);")
    assert message(measure.macro_f1, [0, 1], [0, 2], 2) == (
        "`predictions` holds the class `2`; expected an integer from 0 to 1: "
        "check that labels and predictions number the same classes."
    )


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(1, n))))
def test_is_collapsed_is_the_binomial_test(case):
    correct, n, majority = case
    p = stats.binomtest(correct, n, majority / n, alternative="greater").pvalue
    assert measure.is_collapsed(correct, n, majority) == (p > 0.05)


def test_is_collapsed():
    assert measure.is_collapsed(400, 1000, 400)
    assert measure.is_collapsed(420, 1000, 400)
    assert not measure.is_collapsed(430, 1000, 400)
    assert measure.is_collapsed(0, 10, 5)
    assert measure.is_collapsed(4, 4, 2)  # even all right is within noise: 1/16
    assert not measure.is_collapsed(5, 5, 2)
    assert measure.is_collapsed(10, 10, 10)  # one class only: nothing to learn, nothing shown
    assert message(measure.is_collapsed, 11, 10, 5) == (
        "`correct` is 11, `majority` is 5 and `n` is 10; expected 0 <= correct <= n and 1 <= majority <= n: "
        "count all three on the same examples."
    )


# --- statistics ---------------------------------------------------------------------------------------------------


def test_crossed_by_hand():
    # Row means 2, 4, 6; column means 3, 5; grand mean 4. MS_seed = 2 (4 + 0 + 4) / 2 = 8, MS_language = 3 (1 + 1) / 1
    # = 6; the residuals are +-0.5, 0, so MS_error = 4 * 0.25 / 2 = 0.5. V = 8 + 6 - 0.5 = 13.5, Var = 13.5 / 6 = 2.25,
    # df = 13.5^2 / (64/2 + 36/1 + 0.25/2) = 2.6751...: capped at max(2, 1) = 2.
    result = measure.crossed([[1.5, 2.5], [3, 5], [4.5, 7.5]])
    assert (result.effect, result.standard_error) == (4, pytest.approx(1.5))
    assert (result.df, result.n_seeds, result.n_languages, result.reason) == (2, 3, 2, None)
    assert result.p == pytest.approx(2 * stats.t.sf(4 / 1.5, 2))
    assert (result.low, result.high) == pytest.approx(
        (4 - 1.5 * stats.t.ppf(0.975, 2), 4 + 1.5 * stats.t.ppf(0.975, 2))
    )


def mean_squares(d):
    s, n = d.shape
    residual = d - d.mean(1, keepdims=True) - d.mean(0) + d.mean()
    return n * d.mean(1).var(ddof=1), s * d.mean(0).var(ddof=1), (residual**2).sum() / ((s - 1) * (n - 1))


@given(seed=seeds, s=st.integers(3, 6), n=st.integers(2, 8), scales=st.tuples(*[st.floats(0, 2)] * 2))
def test_crossed_is_conservative_and_invariant(seed, s, n, scales):
    g = np.random.default_rng(seed)
    d = g.normal(size=(s, n)) + scales[0] * g.normal(size=(s, 1)) + scales[1] * g.normal(size=n)
    result = measure.crossed(d)
    ms_seed, ms_language, ms_error = mean_squares(d)
    scaled = result.standard_error**2 * s * n
    for bound in (ms_seed, ms_language, ms_error, ms_seed + ms_language - ms_error):
        assert scaled >= bound * (1 - 1e-9)
    assert 1 <= result.df <= max(s - 1, n - 1)
    assert result.low < result.effect < result.high
    assert (result.p < 0.05) == (result.low > 0 or result.high < 0)
    shuffled = measure.crossed(-100 * g.permutation(g.permutation(d, axis=0), axis=1))
    assert shuffled.p == pytest.approx(result.p, rel=1e-6)
    assert shuffled.standard_error == pytest.approx(100 * result.standard_error)


def test_crossed_with_one_language_is_the_t_test_over_seeds():
    d = [0.3, 0.1, 0.4, 0.2]
    result, expected = measure.crossed([[x] for x in d]), stats.ttest_1samp(d, 0)
    assert (result.p, result.df) == (pytest.approx(expected.pvalue), 3)
    assert (result.low, result.high) == pytest.approx(tuple(expected.confidence_interval()))


@pytest.mark.parametrize("n", [1, 2])
def test_crossed_gives_no_ranking_below_three_seeds(n):
    result = measure.crossed([[1.0, 2, 3]] * n)
    assert (result.effect, result.n_seeds, result.n_languages) == (2, n, 3)
    assert (result.standard_error, result.df, result.low, result.high, result.p) == (None,) * 5
    assert result.reason == f"no ranking: {n} seeds, and at least 3 are needed"
    assert measure.two_way_bootstrap([[1.0, 2, 3]] * n) == (None, None)


@pytest.mark.parametrize("n_languages", [1, 4])
def test_crossed_of_differences_that_do_not_vary(n_languages):
    same = measure.crossed(np.zeros((5, n_languages)))
    assert (same.effect, same.low, same.high, same.p) == (0, 0, 0, 1)
    constant = measure.crossed(np.full((5, n_languages), 0.1))
    assert (constant.effect, constant.p) == (pytest.approx(0.1), None)
    assert constant.reason == (
        "no ranking: all differences are the same, so there is no noise to compare the effect with"
    )


@pytest.mark.parametrize(("seed_sd", "language_sd", "error_sd"), [(0.5, 0.8, 0.5), (1, 0, 0.5), (0, 1, 0.5), (0, 0, 1)])
def test_crossed_keeps_its_false_positive_rate(seed_sd, language_sd, error_sd):
    g = np.random.default_rng(0)
    draws = 600
    tables = (
        g.normal(scale=error_sd, size=(draws, 5, 12))
        + g.normal(scale=seed_sd, size=(draws, 5, 1))
        + g.normal(scale=language_sd, size=(draws, 1, 12))
    )
    results = [measure.crossed(table) for table in tables]
    assert np.mean([r.p < 0.05 for r in results]) <= 0.08
    pooled = np.mean([stats.ttest_1samp(table.ravel(), 0).pvalue < 0.05 for table in tables])
    assert (pooled > 0.2) == (seed_sd + language_sd > 0)  # what the crossed test protects from
    shifted = [measure.crossed(table + 2) for table in tables[:200]]
    assert np.mean([r.p < 0.05 for r in shifted]) > 0.8  # and it still finds what is there


def test_two_way_bootstrap():
    g = np.random.default_rng(1)
    d = 2 + g.normal(size=(6, 1)) + g.normal(size=(6, 10))
    low, high = measure.two_way_bootstrap(d, seed=3)
    assert low < d.mean() < high
    assert measure.two_way_bootstrap(d, seed=3) == (low, high)
    assert measure.two_way_bootstrap(d, seed=4) != (low, high)
    assert measure.two_way_bootstrap(np.full((3, 4), 0.5)) == pytest.approx((0.5, 0.5))
    loop = np.random.default_rng(5)
    means = [d[np.ix_(loop.integers(6, size=6), loop.integers(10, size=10))].mean() for _ in range(4000)]
    assert measure.two_way_bootstrap(d, draws=4000) == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.08)
    assert message(measure.two_way_bootstrap, d, draws=10) == (
        "`draws` is 10; expected at least 100: the ends of the interval need that many."
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_statsmodels(p):
    assert measure.holm(p) == pytest.approx(list(multipletests(p, method="holm")[1]), abs=1e-15)


def test_holm():
    assert measure.holm([]) == []
    assert measure.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    for bad in (np.nan, 1.5, -0.1):
        assert message(measure.holm, [0.1, bad]) == (
            f"`{bad}` is not a p value; expected a number from 0 to 1: leave out comparisons without a test."
        )


def test_interval():
    table = np.array([[0.5, 0.7], [0.6, 0.9], [0.55, 0.65]])
    expected = stats.ttest_1samp(table.mean(axis=1), 0).confidence_interval()
    assert measure.interval(table) == pytest.approx((0.65, expected.low, expected.high))
    assert measure.interval(table[:1]) == (pytest.approx(0.6), None, None)


@pytest.mark.parametrize("function", [measure.crossed, measure.two_way_bootstrap, measure.interval])
def test_tables_refuse(function):
    assert message(function, [1.0, 2.0]) == (
        "The table has the shape (2,); expected (seeds, languages), at least one of each: "
        "give one row per seed and one column per language."
    )
    assert message(function, [[1.0, 2.0], [3.0, np.nan]]) == (
        "The cell of row 1 and column 1 is `nan`; expected a finite number in every cell: "
        "leave out the seed or the language that is incomplete."
    )


# --- the package --------------------------------------------------------------------------------------------------


def test_public_names():
    assert measure.__all__ == sorted(measure.__all__)
    assert set(measure.__all__) <= set(dir(measure))
    for name in measure.__all__:
        assert getattr(measure, name).__doc__, name
    with pytest.raises(AttributeError, match=r"module 'distxfer\.measure' has no attribute 'ckq'"):
        _ = measure.ckq


def test_torch_is_imported_on_first_use_only():
    code = "import sys, distxfer.measure as m; m.holm([0.1]); assert 'torch' not in sys.modules; m.cka; import torch"
    subprocess.run([sys.executable, "-c", code], check=True)
