"""Correlations over languages: against scipy and statsmodels, the definitions written out, and simulations."""

from itertools import permutations

import hypothesis
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import strategies as st
from scipy import stats

from distxfer import measure
from helpers import given, message
from studies.simulations import correlation_error_rates as script

seeds = st.integers(0, 2**32 - 1)
methods = st.sampled_from(["spearman", "pearson"])
FAMILIES = [("IE", "G"), ("IE", "G"), ("IE", "R"), ("IE", "R"), ("U",), ("U",), "J", None]


def pair(seed, n, ties=False):
    x, y = np.random.default_rng(seed).standard_normal((2, n))
    return (np.round(x), np.round(y + x)) if ties else (x, y + x)


def scipy_r(x, y, method):
    return (stats.spearmanr if method == "spearman" else stats.pearsonr)(x, y).statistic


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_columns_are_correlated_as_pairs_are(method):
    x, y = np.random.default_rng(0).standard_normal((2, 8, 3))
    y[:, 1] = 2.0  # the same for all languages
    options = {"groups": FAMILIES, "method": method, "draws": 99}
    expected = [[measure.correlate(across, up, **options) for up in y.T] for across in x.T]
    assert measure.correlate_columns(x, y, **options) == expected


# --- correlate ----------------------------------------------------------------------------------------------------


@given(seeds, st.integers(4, 40), methods, st.booleans())
def test_r_is_scipys(seed, n, method, ties):
    x, y = pair(seed, n, ties)
    hypothesis.assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    computed = measure.correlate(x, y, method=method, draws=99)
    assert computed.r == pytest.approx(scipy_r(x, y, method), abs=1e-12)
    assert (computed.n, computed.n_groups, computed.method) == (n, n, method)
    assert computed.detectable == measure.detectable_correlation(n)


@hypothesis.settings(max_examples=8, deadline=None)
@hypothesis.given(seeds, methods, st.booleans())
@hypothesis.example(2625, "pearson", True)  # r is 0, and -3e-18 in floating point
def test_few_languages_are_enumerated_as_scipy_does(seed, method, ties):
    x, y = pair(seed, 6, ties)
    hypothesis.assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    expected = stats.permutation_test(
        (x,),
        lambda a: round(
            abs(scipy_r(a, y, method)), 12
        ),  # scipy calls equal what is within a *share* of r: not where r is 0
        permutation_type="pairings",
        n_resamples=np.inf,
        alternative="greater",
        vectorized=False,
    )
    assert measure.correlate(x, y, method=method, draws=720).p == pytest.approx(expected.pvalue, abs=1e-12)


def test_many_languages_are_drawn_and_agree_with_the_t_test():
    x, y = pair(3, 30)
    computed = measure.correlate(x, 0.4 * x + y - x, method="pearson")
    assert computed.p == pytest.approx(stats.pearsonr(x, 0.4 * x + y - x).pvalue, abs=0.01)
    assert measure.correlate(x, x, draws=999).p == 1 / 1000  # (1 + 0) / (draws + 1): never 0


def tree_maps(labels):
    """Every permutation that maps pairs to pairs of the same relation: how far down two languages share a path.

    The definition of keeping families together, without a tree: brute force over all permutations.
    """
    paths = [label if isinstance(label, tuple) else () if label is None else (label,) for label in labels]

    def related(i, j):
        depth = 0
        while depth < min(len(paths[i]), len(paths[j])) and paths[i][depth] == paths[j][depth]:
            depth += 1
        return depth

    n = len(paths)
    table = np.array([[-1 if i == j else related(i, j) for j in range(n)] for i in range(n)])
    return [list(p) for p in permutations(range(n)) if np.array_equal(table[np.ix_(p, p)], table)]


@pytest.mark.parametrize(
    ("labels", "ways"),
    [
        (FAMILIES[:7], 2 * 2 * 2 * 2),  # within G, within R, G with R, within U; J alone
        (["a", "a", "a", "b", "b", "b", None], 6 * 6 * 2),
        (["a", "a", "a", "a", "a", "b", None], 120 * 2),
        ([None, (), "x", "y", ("z", None), ("w", "v")], 720),  # alone is alone, whatever it is called
        (["a"] * 6, 720),
        ([("a", "b")] * 3 + [("a",)] * 3, 36),
    ],
)
def test_p_is_over_all_rearrangements_that_keep_families_together(labels, ways):
    orders = tree_maps([label if label not in ((), ("z", None)) else None for label in labels])
    assert len(orders) == ways
    x, y = pair(1, len(labels))
    computed = measure.correlate(x, y, groups=labels, method="pearson")
    if ways < 20:
        assert (computed.p, computed.reason) == (
            None,
            f"no p: the families can be rearranged in {ways} ways only, and a p of 0.05 needs 20",
        )
        assert computed.r == pytest.approx(stats.pearsonr(x, y).statistic)
    else:
        as_extreme = [abs(stats.pearsonr(x, y[order]).statistic) >= abs(computed.r) - 1e-9 for order in orders]
        assert computed.p == pytest.approx(np.mean(as_extreme))


@given(seeds)
def test_drawn_rearrangements_approach_all_of_them(seed):
    x, y = pair(seed, 8)
    groups = ["a", "a", "a", "b", "b", "b", None, None]
    exact_p = measure.correlate(x, y, groups=groups, draws=144).p
    drawn = measure.correlate(x, y, groups=groups, draws=143, seed=seed).p
    assert drawn == pytest.approx(exact_p, abs=4.5 * 0.5 / 143**0.5 + 1 / 144)


def test_relabelling_families_and_order_change_nothing():
    x, y = pair(5, 8)
    groups = ["a", "a", "a", "b", "b", "b", None, None]
    computed = measure.correlate(x, y, groups=groups)
    renamed = [{"a": 7, "b": "q", None: None}[label] for label in groups]
    assert measure.correlate(x, y, groups=renamed) == computed
    order = [7, 3, 0, 4, 6, 1, 5, 2]
    moved = measure.correlate(x[order], y[order], groups=[groups[i] for i in order])
    assert (moved.r, moved.p, moved.n_groups) == pytest.approx((computed.r, computed.p, 4))
    swapped = measure.correlate(y, x, groups=groups)
    assert (swapped.r, swapped.p) == pytest.approx((computed.r, computed.p))
    assert measure.correlate(np.exp(x), -3 * y, groups=groups).p == pytest.approx(computed.p)


def test_a_big_gap_between_families_is_no_evidence():
    """34 languages in two families that differ in everything: r is large, and says nothing."""
    noise = np.random.default_rng(0).standard_normal((2, 34))
    groups = ["a"] * 17 + ["b"] * 17
    x, y = noise + 10 * (np.arange(34) < 17)
    assert measure.correlate(x, y).p < 0.001
    computed = measure.correlate(x, y, groups=groups)
    assert computed.n_groups == 2
    assert computed.p > 0.1


def test_error_rates_of_the_script():
    """Families fool the naive test, and branches the families."""
    groups = script.paths((17, 4, 3, 2, *[1] * 8))
    # 400 runs: a true rate of 0.05 stays below 0.09 but for one time in 2000
    naive, family, branch = script.rates(groups, 0.9, 0.0, 0.0, 400, seed=1)
    assert naive > 0.2
    assert max(family, branch) < 0.09
    naive, family, branch = script.rates(groups, 0.3, 0.5, 0.0, 400, seed=2)
    assert naive > 0.12
    assert family > 0.09
    assert branch < 0.09
    _, family, branch = script.rates(groups, 0.5, 0.0, 0.6, 200, seed=3)
    assert min(family, branch) > 0.75


def test_no_number_has_a_reason():
    few = measure.correlate([1, 2, 3], [1, 3, 2])
    assert (few.r, few.p, few.detectable, few.n) == (None, None, None, 3)
    assert few.reason == "no correlation: 3 languages, and at least 4 languages are needed"
    constant = measure.correlate([0.1] * 5, [1, 2, 3, 4, 5], method="pearson")
    assert (constant.r, constant.p) == (None, None)
    assert constant.reason == "no correlation: `x` is the same for all languages"
    assert measure.correlate([1, 2, 3, 4], [2] * 4).reason == "no correlation: `y` is the same for all languages"


def test_correlate_refuses():
    assert message(measure.correlate, [1, 2], [1]) == (
        "`x` has the shape (2,) and `y` (1,); expected one value of each per language: average over seeds first."
    )
    assert message(measure.correlate, np.ones((5, 12)), np.ones((5, 12))).startswith("`x` has the shape (5, 12)")
    assert message(measure.correlate, [1, 2, 3, 4], [1, 2, np.nan, 4]) == (
        "`y` is not finite at position 2; expected a finite number for every language: leave the language out."
    )
    assert message(measure.correlate, [1, 2, 3, 4], [1, 2, 3, 4], groups=["a"]) == (
        "`groups` has 1 entries for 4 languages; expected one each: give None for none."
    )
    assert message(measure.correlate, [1, 2, 3, 4], [1, 2, 3, 4], draws=9) == (
        "`draws` is 9; expected at least 99: p values are multiples of 1 / (draws + 1)."
    )
    assert message(measure.correlate, [1, 2, 3, 4], [1, 2, 3, 4], method="spearmen") == (
        "Method `spearmen` is not known. Did you mean `spearman`? Choose from: pearson, spearman."
    )


# --- what can be found ---------------------------------------------------------------------------------------------


def test_detectable_correlation():
    assert measure.detectable_correlation(12) == pytest.approx(0.718, abs=5e-4)
    assert measure.detectable_correlation(3) is None


@pytest.mark.parametrize("n", [12, 34])
def test_detectable_is_found_in_four_of_five(n):
    rho = measure.detectable_correlation(n)
    x, noise = np.random.default_rng(n).standard_normal((2, 4000, n))
    y = rho * x + (1 - rho**2) ** 0.5 * noise
    power = np.mean(stats.pearsonr(x, y, axis=1).pvalue <= 0.05)
    assert power == pytest.approx(0.8, abs=0.03)


# --- partial correlation -------------------------------------------------------------------------------------------


@given(seeds, methods, st.integers(1, 3))
def test_partial_correlation_is_that_of_the_residuals(seed, method, q):
    x, y = pair(seed, 20)
    z = np.random.default_rng(seed + 1).standard_normal((20, q)) + x[:, None]
    computed = measure.partial_correlation(x, y, z, method=method, draws=99)
    a, b, c = (stats.rankdata(v, axis=0) if method == "spearman" else v for v in (x, y, z))
    design = sm.add_constant(c)
    expected = stats.pearsonr(sm.OLS(a, design).fit().resid, sm.OLS(b, design).fit().resid).statistic
    assert computed.r == pytest.approx(expected, abs=1e-9)
    assert computed.detectable == measure.detectable_correlation(20 - q)


def test_partial_p_is_freedman_lane_written_out():
    x, y = pair(4, 6)
    z = np.random.default_rng(9).standard_normal(6)
    computed = measure.partial_correlation(x, y, z, method="pearson")
    design = sm.add_constant(z)
    null = sm.OLS(y, design).fit()

    def t(response):
        return abs(sm.OLS(response, np.column_stack([design, x])).fit().tvalues[2])

    as_extreme = [t(null.fittedvalues + null.resid[list(p)]) >= t(y) - 1e-9 for p in permutations(range(6))]
    assert computed.p == pytest.approx(np.mean(as_extreme))


def test_partial_correlation_takes_the_common_cause_out():
    z, a, b = np.random.default_rng(2).standard_normal((3, 40))
    x, y = z + 0.3 * a, z + 0.3 * b
    assert measure.correlate(x, y, draws=999).p == 0.001
    assert measure.partial_correlation(x, y, z, draws=999).p > 0.05
    # what adds nothing changes nothing: the same covariate again, or a constant
    once = measure.partial_correlation(x, y, z, method="pearson", draws=99)
    again = measure.partial_correlation(x, y, np.column_stack([z, 2 * z, z * 0 + 7]), method="pearson", draws=99)
    assert (again.r, again.p) == pytest.approx((once.r, once.p))


def test_partial_correlation_refuses_and_has_reasons():
    x = [1.0, 2, 4, 3, 5]
    explained = measure.partial_correlation(x, [2.0, 1, 3, 5, 4], x)
    assert (explained.r, explained.p) == (None, None)
    assert explained.reason == "no correlation: `x` is the same for all languages after the covariates are taken out"
    assert measure.partial_correlation(x, x, np.eye(5)[:, :2]).reason == (
        "no correlation: 5 languages and 2 covariates, and at least 6 languages are needed"
    )
    assert message(measure.partial_correlation, x, x, np.eye(4)) == (
        "`covariates` has the shape (4, 4) for 5 languages; expected (languages,) or (languages, covariates): "
        "give one row per language."
    )
    assert message(measure.partial_correlation, x, x, [1, 2, np.inf, 4, 5]).startswith("`covariates` is not finite at")
