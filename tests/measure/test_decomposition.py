"""The gap over covariates: against least squares of statsmodels, and the average over orders written out."""

from itertools import permutations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.outliers_influence import variance_inflation_factor

from distxfer import measure
from helpers import given, message

seeds = st.integers(0, 2**32 - 1)


def table(seed, n, q):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, q)) + generator.standard_normal((n, 1))
    y = x @ generator.standard_normal(q) + generator.standard_normal(n)
    languages = [f"l{i}" for i in range(n)]
    named = {f"c{j}": dict(zip(languages, x[:, j].tolist(), strict=True)) for j in range(q)}
    return dict(zip(languages, y.tolist(), strict=True)), named, x, y


@given(seeds, st.integers(1, 4))
def test_decomposition_is_least_squares(seed, q):
    scores, covariates, x, y = table(seed, 15, q)
    computed = measure.decompose(scores, covariates, draws=99)
    z = lambda v: (v - v.mean(axis=0)) / v.std(axis=0)  # noqa: E731
    fit = sm.OLS(z(y), z(x)).fit()
    plain = sm.OLS(y, sm.add_constant(x)).fit()
    assert computed.r_squared == pytest.approx(plain.rsquared)
    assert computed.adjusted_r_squared == pytest.approx(plain.rsquared_adj)
    assert [part.coefficient for part in computed.parts] == pytest.approx(fit.params)
    assert [part.r for part in computed.parts] == pytest.approx([stats.pearsonr(c, y).statistic for c in x.T])
    design = sm.add_constant(x)
    assert [part.vif for part in computed.parts] == pytest.approx(
        [variance_inflation_factor(design, j + 1) for j in range(q)]
    )
    t = plain.tvalues[1:]
    assert [part.partial_r for part in computed.parts] == pytest.approx(t / np.sqrt(t**2 + plain.df_resid))


@given(seeds, st.integers(1, 4))
def test_shares_are_the_mean_over_orders_and_sum_to_r_squared(seed, q):
    scores, covariates, x, y = table(seed, 12, q)
    computed = measure.decompose(scores, covariates, draws=99)

    def explained(chosen):
        return sm.OLS(y, sm.add_constant(x[:, chosen])).fit().rsquared if chosen else 0.0

    rises = np.zeros(q)
    orders = list(permutations(range(q)))
    for order in orders:
        for place, j in enumerate(order):
            rises[j] += (explained(list(order[: place + 1])) - explained(list(order[:place]))) / len(orders)
    shares = [part.share for part in computed.parts]
    assert shares == pytest.approx(rises)
    assert sum(shares) == pytest.approx(computed.r_squared)
    assert min(shares) > -1e-9


def test_decomposition_uses_families_and_notes_what_cannot_be_told_apart():
    scores, covariates, x, y = table(3, 12, 2)
    groups = dict.fromkeys(list(scores)[:6], "IE")
    computed = measure.decompose(scores, covariates, groups=groups, draws=199)
    labels = [groups.get(language) for language in scores]
    direct = measure.correlate(x[:, 0], y, groups=labels, method="pearson", draws=199)
    assert computed.parts[0].p == direct.p
    assert computed.notes == ()
    twin = {language: value + 0.01 * i for i, (language, value) in enumerate(covariates["c0"].items())}
    noted = measure.decompose(scores, covariates | {"twin": twin}, draws=99)
    assert [note.split(" (")[0] for note in noted.notes] == [
        f"`{name}` is nearly a function of the other covariates" for name in ("c0", "twin")
    ]


def test_decompose_refuses():
    scores, covariates, _, _ = table(0, 6, 2)
    call = measure.decompose
    assert message(call, scores, {}) == "`covariates` holds 0; expected 1 to 10: choose those with a reason."
    assert message(call, dict(list(scores.items())[:4]), covariates) == (
        "`scores` holds 4 languages for 2 covariates; expected at least 5: give more languages or fewer covariates."
    )
    partly = {**covariates, "script": {language: 1.0 for language in scores if language != "l3"}}
    assert message(call, scores, partly) == (
        "`script` is nan for `l3`; expected a finite number for every language that has a score: "
        "leave out the language or the covariate."
    )
    assert message(call, scores | {"l1": np.nan}, covariates) == (
        "`scores` is nan for `l1`; expected a finite number for every language that has a score: "
        "leave out the language or the covariate."
    )
    assert message(call, scores, covariates | {"script": dict.fromkeys(scores, 1)}) == (
        "`script` is the same for all languages; expected values that differ: a constant explains nothing."
    )
    assert message(call, dict.fromkeys(scores, 0.5), covariates).startswith("`scores` is the same for all languages;")
    double = {language: 3 - 2 * value for language, value in covariates["c0"].items()}
    assert message(call, scores, covariates | {"double": double}) == (
        "The covariates `c0`, `c1`, `double` are collinear; expected none to be a linear function of the others: "
        "leave one out."
    )
