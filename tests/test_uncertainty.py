"""How sure a similarity is: the weighted U-statistic against all 4-tuples, coverage, and the permutation null."""

import itertools

import numpy as np
import pytest
import torch

from distxfer import measure
from distxfer.measure import MEASURES
from helpers import message, normal


def related(seed=0, n=60, d1=6, d2=4, noise=1.0):
    x = normal(seed, n, d1)
    return x + 3, x @ normal(10**6, d1, d2) + noise * normal(seed + 1, n, d2) - 1


def weighted_cka(x, y, w):
    """The ratio of the U-statistics over all 4-tuples of distinct sentences, each with the product of its weights."""

    def hsic(K, L):
        return sum(
            w[i] * w[j] * w[q] * w[r] * K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q])
            for i, j, q, r in itertools.permutations(range(len(w)), 4)
        )

    K, L = ((z @ z.T).numpy() for z in (x, y))
    return hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))


def multinomial(n, draws, seed):
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)


@pytest.mark.parametrize("n", [7, 9])
def test_draws_are_the_u_statistic_over_distinct_sentences(n):
    seed = {7: 4, 9: 3}[n]  # in which every draw has enough different sentences
    x, y = related(seed, n, 3, 2)
    expected = [weighted_cka(x, y, w) for w in multinomial(n, 6, seed)]
    result = measure.bootstrap_cka(x, y, draws=6, seed=seed)
    assert result.reason is None
    assert result.standard_error == pytest.approx(np.std(expected, ddof=1), rel=1e-9)
    assert result.value == pytest.approx(weighted_cka(x, y, np.ones(n)), abs=1e-10)
    assert result.value == pytest.approx(measure.cka(x, y).item(), abs=1e-12)


def test_draws_do_not_depend_on_the_chunks():
    x, y = related(1, 1100)  # more than two chunks of rows
    result = measure.bootstrap_cka(x, y, draws=40)
    counts = multinomial(1100, 40, 0)

    def hsic(K, L, w):  # the same sum over 4-tuples, by inclusion and exclusion as matrix products of all rows at once
        P, n, w2 = K * L, len(w), w**2
        a, b = K @ w, L @ w
        pairs = np.outer(w, w) * ((n - np.add.outer(w, w)) ** 2 - (w2.sum() - np.add.outer(w2, w2)))
        first = (pairs * P).sum()
        second = (w @ a) * (w @ b) - 4 * (w2 * a * b).sum() + 2 * w2 @ P @ w2
        triples = (n - w) * (a * b - P @ w2) - (K @ w2 * b - P @ w**3) - (a * (L @ w2) - P @ w**3)
        return first + second - 2 * (w * triples).sum()

    K, L = (((z - z.mean(0)) @ (z - z.mean(0)).T).numpy() for z in (x, y))
    np.fill_diagonal(K, 0)
    np.fill_diagonal(L, 0)
    drawn = [hsic(K, L, w) / np.sqrt(hsic(K, K, w) * hsic(L, L, w)) for w in counts.astype(float)]
    assert result.standard_error == pytest.approx(np.std(drawn, ddof=1), rel=1e-9)


def test_coverage_and_the_naive_bootstrap_that_is_biased():
    truth = measure.cka(*related(99, 200_000, noise=2.0)).item()
    assert 0.4 < truth < 0.7
    held, errors, values, naive = 0, [], [], []
    for seed in range(200):
        x, y = related(1000 + 2 * seed, 40, noise=2.0)
        result = measure.bootstrap_cka(x, y, draws=200, seed=seed)
        held += result.low <= truth <= result.high
        errors.append(result.standard_error)
        values.append(result.value)
        rows = np.random.default_rng(seed).integers(0, 40, 40)
        naive.append(measure.cka(x[rows], y[rows]).item() - result.value)
    assert 0.90 <= held / 200 <= 0.995  # .95 within three standard errors of 200 cases, and a little
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)
    assert abs(np.mean(values) - truth) < 0.02
    assert np.mean(naive) > 0.04  # repeated rows are similar to themselves


def test_interval():
    x, y = related()
    result = measure.bootstrap_cka(x, y, draws=300)
    assert result.value - result.low == pytest.approx(1.959964 * result.standard_error, rel=1e-6)
    assert result.high - result.value == pytest.approx(1.959964 * result.standard_error, rel=1e-6)
    assert result == measure.bootstrap_cka(x, y, draws=300)
    assert result != measure.bootstrap_cka(x, y, draws=300, seed=1)
    half = measure.bootstrap_cka(x, y, draws=300, level=0.5)
    assert half.high - half.value == pytest.approx(0.6744898 * result.standard_error, rel=1e-6)
    more = measure.bootstrap_cka(*related(0, 600), draws=300)
    assert more.standard_error < 0.5 * result.standard_error
    moved = measure.bootstrap_cka(7 * x - 100, y @ torch.linalg.qr(normal(5, 4, 4))[0], draws=300)
    assert moved.low == pytest.approx(result.low, abs=1e-9)
    same = measure.bootstrap_cka(x, x.clone(), draws=300)
    assert (same.value, same.low) == (1, pytest.approx(1, abs=1e-9))


def test_bootstrap_without_a_number_says_why():
    x, y = related()
    still = measure.bootstrap_cka(x, torch.ones(60, 3))
    assert (still.value, still.low, still.high, still.standard_error) == (None, None, None, None)
    assert still.reason == measure.cka_reason(x, torch.ones(60, 3))
    few = measure.bootstrap_cka(x[:5], y[:5], draws=100)
    undefined = sum(np.count_nonzero(w) < 4 for w in multinomial(5, 100, 0))
    assert undefined > 0
    found = int(few.reason.removeprefix("CKA is undefined in ").split()[0])
    assert found >= undefined  # or where a weighted self-similarity is below 0
    assert few.reason == f"CKA is undefined in {found} of 100 draws: 5 rows are too few to draw from"
    assert few.value is None


def test_bootstrap_refuses():
    x, y = related()
    assert message(measure.bootstrap_cka, x, y, draws=1) == (
        "`draws` is 1; expected at least 2: give the number of samples to draw."
    )
    assert message(measure.bootstrap_cka, x, y, level=95) == (
        "`level` is 95; expected between 0 and 1: give the share of cases to hold the truth."
    )
    assert message(measure.bootstrap_cka, x[None], y[None]) == (
        "`x` has the shape (1, 60, 6); expected (rows, dimensions): give one layer at a time."
    )
    assert message(measure.bootstrap_cka, x[:3], y[:3]) == (
        "`x` has 3 rows; unbiased CKA needs at least 4: give more sentences."
    )
    assert message(measure.bootstrap_cka, x, y[:-1]).startswith("`x` has the shape (60, 6) and `y` (59, 4);")


def test_permutation_null_of_a_relation_and_of_none():
    x, y = related()
    result = measure.permutation_null(MEASURES["cka"], x, y, draws=99)
    assert (result.value, result.p, result.draws) == (measure.cka(x, y).item(), 1 / 100, 99)
    assert abs(result.mean) < 0.03
    assert result.mean < result.extreme < result.value
    # Chance is far from 0 for biased CKA of few rows, and the null says so.
    a, b = normal(1, 20, 100), normal(2, 20, 100)
    biased = measure.permutation_null(MEASURES["cka_biased"], a, b, draws=99)
    assert biased.value > 0.7
    assert biased.mean == pytest.approx(biased.value, abs=0.03)
    assert biased.p > 0.05
    assert biased == measure.permutation_null(MEASURES["cka_biased"], a, b, draws=99)
    assert biased != measure.permutation_null(MEASURES["cka_biased"], a, b, draws=99, seed=1)
    assert measure.permutation_null(measure.rsa, x, y, draws=9).p == 1 / 10


def test_permutation_p_values_are_uniform_without_a_relation():
    values = [measure.permutation_null(measure.cka, normal(2 * i, 12, 3), normal(2 * i + 1, 12, 3), draws=19).p
              for i in range(200)]  # fmt: skip
    assert np.mean(values) == pytest.approx(0.525, abs=3 * 0.29 / 200**0.5)  # the mean of 1/20, ..., 20/20
    assert np.mean([p <= 0.1 for p in values]) == pytest.approx(0.1, abs=3 * 0.3 / 200**0.5)


def test_permutation_null_of_all_orders():
    """Three rows have six orders: with many draws, p is the share of them that are at least as similar."""
    x, y = normal(0, 3, 2), normal(1, 3, 2)
    orders = [measure.procrustes(x, y[list(order)]).item() for order in itertools.permutations(range(3))]
    share = np.mean([value >= orders[0] - 1e-12 for value in orders])
    assert measure.permutation_null(measure.procrustes, x, y, draws=3000).p == pytest.approx(share, abs=0.03)


def test_permutation_null_counts_equal_values():
    x = torch.eye(6)[:, :1].repeat(1, 2)  # all rows but one are the same: most orders of y give the same value
    result = measure.permutation_null(measure.procrustes, x, x, draws=299)
    assert result.p == pytest.approx(1 / 6, abs=0.07)
    assert result.value == pytest.approx(1)


def test_permutation_null_of_a_distance_looks_the_other_way():
    x, y = related()
    distance = measure.Measure(
        **{**vars(MEASURES["procrustes"]), "name": "distance", "larger_is_more_similar": False}
        | {"function": lambda a, b: 2 - 2 * measure.procrustes(a, b)}
    )
    result = measure.permutation_null(distance, x, y, draws=99)
    similarity = measure.permutation_null(MEASURES["procrustes"], x, y, draws=99)
    assert result.p == similarity.p == 1 / 100
    assert result.extreme == pytest.approx(2 - 2 * similarity.extreme, abs=1e-12)
    assert result.value < result.extreme < result.mean


def test_permutation_null_without_a_number_says_why():
    x, _ = related()
    still = measure.permutation_null(MEASURES["procrustes"], x, torch.ones(60, 3), draws=5)
    assert (still.value, still.mean, still.extreme, still.p) == (None, None, None, None)
    assert still.reason == "the rows of `y` are all the same, so there is no structure to compare"
    assert measure.permutation_null(measure.procrustes, x, torch.ones(60, 3), draws=5).reason == (
        "the measure is undefined in 6 of 6 orders of the rows"
    )


def test_permutation_null_refuses():
    x, y = related()
    assert message(measure.permutation_null, MEASURES["transport_distance"], x, y) == (
        "`transport_distance` does not use the rows as pairs; expected a measure that changes with their order: "
        "choose another one."
    )
    assert message(measure.permutation_null, measure.cka, x, y, draws=0) == (
        "`draws` is 0; expected at least 1: give the number of random orders."
    )
    assert message(measure.permutation_null, measure.cka, x, y[None]) == (
        "`y` has the shape (1, 60, 4); expected (rows, dimensions): give one layer at a time."
    )
    assert message(measure.permutation_null, measure.cka, x, y[:-1]).startswith("`x` has the shape (60, 6)")
