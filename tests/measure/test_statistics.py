"""Transfer and statistics: against scipy, statsmodels, formulas written out again, and simulations."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from distxfer import measure
from distxfer.errors import unknown
from helpers import given, message

seeds = st.integers(0, 2**32 - 1)


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
        "The distance of `nan` is nan; expected a finite number: leave the language out, or run it again."
    )
    assert message(measure.transfer_summary, SCORES | {"jpn": np.nan}, 0.9, DISTANCES, [], []) == (
        "The score of `jpn` is nan; expected a finite number: leave the language out, or run it again."
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
    assert measure.macro_accuracy(labels, predictions) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
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


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=30))
def test_is_collapsed_over_texts_is_the_t_test(gains):
    """With spread: without, the oracle has no answer, and any gain counts."""
    if len(set(gains)) > 1:
        p = stats.ttest_1samp(gains, 0, alternative="greater").pvalue
        hypothesis.assume(abs(p - 0.05) > 1e-9)
        assert measure.is_collapsed_over_texts(gains) == (p > 0.05)
    else:
        assert measure.is_collapsed_over_texts(gains) == (gains[0] <= 0)
    assert measure.is_collapsed_over_texts(gains[:1])


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
    names = {name for name in dir(measure) if not name.startswith("_")}
    assert {"cka", "crossed", "retrieval", "correlate"} <= names
    for name in names:
        value = getattr(measure, name)
        assert value.__doc__ or not callable(value) or name == "SimilarityName", name
    with pytest.raises(AttributeError, match=r"module 'distxfer\.measure' has no attribute 'ckq'"):
        _ = measure.ckq
