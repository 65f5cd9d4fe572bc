"""The comparison of methods: against formulas written out again, scipy, and the simulation of its error rates."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from distxfer import measure
from distxfer.errors import InputError
from helpers import given

seeds = st.integers(0, 2**32 - 1)
simulation = runpy.run_path(str(Path(__file__).parents[2] / "studies" / "simulations" / "error_rates.py"))


def mean_squares(d):
    s, n = d.shape
    residual = d - d.mean(1, keepdims=True) - d.mean(0) + d.mean()
    return n * d.mean(1).var(ddof=1), s * d.mean(0).var(ddof=1), (residual**2).sum() / ((s - 1) * (n - 1))


def weighted_p(t, parts):
    """The average of t tests, weighted by the variances."""
    total = sum(variance for variance, _ in parts)
    return sum(variance / total * 2 * stats.t.sf(abs(t), df) for variance, df in parts)


def test_crossed_by_hand():
    # Row means 2, 4, 6; column means 3, 5; grand mean 4. MS_seed = 2 (4 + 0 + 4) / 2 = 8, MS_language = 3 (1 + 1) / 1
    # = 6; the residuals are +-0.5, 0, so MS_error = 4 * 0.25 / 2 = 0.5. More seeds than languages, so the noise stays
    # with the languages: V_S = (8 - 0.5) / 6 = 1.25, V_L = 6 / 6 = 1, standard error 1.5.
    result = measure.crossed([[1.5, 2.5], [3, 5], [4.5, 7.5]])
    assert (result.effect, result.standard_error) == (4, pytest.approx(1.5))
    assert result.seed_share == pytest.approx(1.25 / 2.25)
    assert (result.n_seeds, result.n_languages, result.reason) == (3, 2, None)
    assert result.p == pytest.approx(weighted_p(4 / 1.5, [(1.25, 2), (1, 1)]))
    assert weighted_p((4 - result.low) / 1.5, [(1.25, 2), (1, 1)]) == pytest.approx(0.05, abs=1e-9)
    assert result.high - 4 == pytest.approx(4 - result.low)


@given(seed=seeds, s=st.integers(3, 7), n=st.integers(2, 8), scales=st.tuples(*[st.floats(0, 2)] * 2))
def test_crossed_is_its_definition_and_invariant(seed, s, n, scales):
    g = np.random.default_rng(seed)
    d = g.normal(size=(s, n)) + scales[0] * g.normal(size=(s, 1)) + scales[1] * g.normal(size=n)
    result = measure.crossed(d)
    by_seed, by_language, noise = (table / (s * n) for table in mean_squares(d))
    if s <= n:
        by_language = max(by_language - noise, 0)
    else:
        by_seed = max(by_seed - noise, 0)
    error = np.sqrt(by_seed + by_language)
    assert result.standard_error == pytest.approx(error)
    assert result.p == pytest.approx(weighted_p(d.mean() / error, [(by_seed, s - 1), (by_language, n - 1)]))
    assert result.low < result.effect < result.high
    assert (result.p < 0.05) == (result.low > 0 or result.high < 0)
    shuffled = measure.crossed(-100 * g.permutation(g.permutation(d, axis=0), axis=1))
    assert shuffled.p == pytest.approx(result.p, rel=1e-6)
    assert shuffled.standard_error == pytest.approx(100 * result.standard_error)


@given(seed=seeds, s=st.integers(3, 6), n=st.integers(2, 8))
def test_the_interval_is_the_inverse_of_the_test(seed, s, n):
    g = np.random.default_rng(seed)
    d = g.normal(size=(s, n)) + g.normal(size=(s, 1)) + 1
    result = measure.crossed(d)
    for end in (result.low, result.high):
        assert measure.crossed(d - end).p == pytest.approx(0.05, abs=1e-6)
    a, b = d, g.normal(size=(s + 1, n))
    result = measure.crossed_unpaired(a, b)
    for end in (result.low, result.high):
        assert measure.crossed_unpaired(a - end, b).p == pytest.approx(0.05, abs=1e-6)


def test_with_one_language_they_are_the_t_tests_over_seeds():
    d = [0.3, 0.1, 0.4, 0.2]
    result, expected = measure.crossed([[x] for x in d]), stats.ttest_1samp(d, 0)
    assert (result.p, result.seed_share) == (pytest.approx(expected.pvalue), 1)
    assert (result.low, result.high) == pytest.approx(tuple(expected.confidence_interval()))
    second = [0.2, 0.5, 0.9]
    result = measure.crossed_unpaired([[x] for x in d], [[x] for x in second])
    expected = stats.ttest_ind(d, second, equal_var=False)
    assert (result.p, result.n_seeds) == (pytest.approx(expected.pvalue), 3)
    assert (result.low, result.high) == pytest.approx(tuple(expected.confidence_interval()))


@given(seed=seeds, s=st.integers(3, 6), more_seeds=st.integers(0, 3), n=st.integers(6, 12))
def test_crossed_unpaired_is_its_definition(seed, s, more_seeds, n):
    g = np.random.default_rng(seed)
    a, b = (g.normal(size=(k, n)) + 2 * g.normal(size=(k, 1)) for k in (s, s + more_seeds))
    hard = 5 * g.normal(size=n)
    result = measure.crossed_unpaired(a + hard, b + hard)
    parts = [(mean_squares(table)[0] / table.size, len(table) - 1) for table in (a, b)]
    noise = sum(mean_squares(table)[2] / table.size for table in (a, b))
    gain = a.mean(0) - b.mean(0)
    of_seeds = sum(part for part, _ in parts)
    of_languages = max(gain.var(ddof=1) / n - noise, 0)
    welch = of_seeds**2 / sum(part**2 / df for part, df in parts)
    if s <= n:
        assert result.standard_error == pytest.approx(np.sqrt(of_seeds + of_languages))
        expected = weighted_p(gain.mean() / result.standard_error, [(of_seeds, welch), (of_languages, n - 1)])
        assert result.p == pytest.approx(expected)
    assert (result.effect, result.n_seeds, result.n_languages) == (pytest.approx(gain.mean()), s, n)
    assert measure.crossed_unpaired(b + hard, a + hard).p == pytest.approx(result.p)


@pytest.mark.parametrize("n", [1, 2])
def test_no_ranking_below_three_seeds(n):
    for result in (measure.crossed([[1.0, 2, 3]] * n), measure.crossed_unpaired([[1.0, 2, 3]] * n, [[0.0] * 3] * 5)):
        assert (result.effect, result.n_seeds, result.n_languages) == (2, n, 3)
        assert (result.standard_error, result.seed_share, result.low, result.high, result.p) == (None,) * 5
        assert result.reason == f"no ranking: {n} seed{'' if n == 1 else 's'}, and at least 3 are needed"
    assert measure.two_way_bootstrap([[1.0, 2, 3]] * n) == (None, None)


@pytest.mark.parametrize("n_languages", [1, 4])
def test_differences_that_do_not_vary(n_languages):
    zero, tenth = np.zeros((5, n_languages)), np.full((5, n_languages), 0.1)
    for zero_effect in (measure.crossed(zero), measure.crossed_unpaired(tenth, tenth)):
        assert (zero_effect.effect, zero_effect.low, zero_effect.high, zero_effect.p) == (0, 0, 0, 1)
    for constant in (measure.crossed(tenth), measure.crossed_unpaired(tenth, zero)):
        assert (constant.effect, constant.p) == (pytest.approx(0.1), None)
        assert constant.reason == (
            "no ranking: all differences are the same, so there is no noise to compare the effect with"
        )


@pytest.mark.parametrize(("n_seeds", "n_languages"), [(3, 8), (3, 34), (5, 13), (10, 8)])
def test_error_rates(n_seeds, n_languages):
    """2,000 draws a setting; `studies/simulations/error_rates.py` has more settings and draws, and the power."""
    for spread in ((0.0, 1.0), (1.0, 0.0), (1.0, 1.0)):
        computed = simulation["rates"](n_seeds, n_languages, spread, 2000, power=False)
        for kind in ("paired", "unpaired"):
            assert computed[kind] <= 0.06, (spread, computed)
            assert computed[kind] >= 0.025 or min(spread) == 0, (spread, computed)
        for kind in ("coverage", "coverage unpaired"):
            assert 0.93 <= computed[kind] <= 0.98, (spread, computed)
        assert computed["pooled"] > 0.15  # what the crossed test protects from


def test_the_usual_test_finds_too_much_with_three_seeds():
    computed = simulation["rates"](3, 34, (1.0, 1.0), 2000, power=True)
    assert computed["satterthwaite"] > 0.06 >= computed["paired"]
    assert computed["power"] > 0.3  # and the test still finds what is there


def test_tables_of_unequal_languages_are_refused():
    with pytest.raises(InputError) as caught:
        measure.crossed_unpaired(np.ones((3, 4)), np.ones((3, 5)))
    assert str(caught.value) == (
        "The method has 4 languages and the baseline 5; expected the same ones: keep the languages that both have."
    )


def test_mean_squares_that_differ_by_rounding_alone():
    """One sentence of six is right in one seed alone: the mean squares of sentences and of what is left are both 1/18."""
    table = np.zeros((3, 6))
    table[0, 1] = -1
    result = measure.crossed(table)
    assert result.p == pytest.approx(stats.ttest_1samp(table.mean(axis=1), 0).pvalue)
    assert result.low < result.effect < result.high
    assert result.low == pytest.approx(result.effect - stats.t.ppf(0.975, 2) * result.standard_error)
    draw = np.random.default_rng(0)
    for _ in range(200):
        computed = measure.crossed(draw.choice([-1.0, 0.0, 1.0], p=[0.15, 0.7, 0.15], size=(3, 6)))
        assert computed.p is None or 0 <= computed.p <= 1
