"""Correlations over pairs of languages: every source with every target."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from distxfer import InputError
from distxfer.measure import correlate_pairs

LANGUAGES = ("deu", "eng", "fin", "jpn", "swa")


def pairs_of(sources, targets, *, with_itself=False):
    """Return the sources and the targets of all pairs."""
    pairs = [(source, target) for source, target in product(sources, targets) if with_itself or source != target]
    return {"sources": [source for source, _ in pairs], "targets": [target for _, target in pairs]}


@pytest.mark.parametrize("with_itself", [False, True])
@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_mantel_test_by_brute_force(with_itself, method):
    random = np.random.default_rng(1)
    pairs = pairs_of(LANGUAGES, LANGUAGES, with_itself=with_itself)
    x, y = random.normal(size=(2, len(pairs["sources"])))
    result = correlate_pairs(x, y, **pairs, method=method, draws=20_000)
    oracle = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[method]
    r = oracle(x, y).statistic
    cell = {pair: place for place, pair in enumerate(zip(*pairs.values(), strict=True))}
    moved = [
        [cell[names[source], names[target]] for source, target in cell]
        for order in permutations(LANGUAGES)
        for names in [dict(zip(LANGUAGES, order, strict=True))]
    ]
    p = np.mean([abs(oracle(x, y[order]).statistic) >= abs(r) - 1e-12 for order in moved])
    assert result.r == pytest.approx(r)
    assert result.p == pytest.approx(p, abs=0.015)  # 4 standard errors of 20,000 draws
    assert (result.n, result.n_groups, result.detectable) == (len(x), 5, None)


def test_covariates_are_taken_out():
    random = np.random.default_rng(2)
    pairs = pairs_of(LANGUAGES, LANGUAGES)
    covariate, noise = random.normal(size=(2, len(pairs["sources"])))
    x, y = covariate + 0.1 * noise, covariate - 0.1 * noise
    assert correlate_pairs(x, y, **pairs, method="pearson").r > 0.9
    left = correlate_pairs(x, y, covariate, **pairs, method="pearson")
    assert left.r == pytest.approx(-1)
    assert left.p < 0.05


def test_false_positives_where_languages_have_effects_of_their_own():
    """Each value is the sum of a source's and a target's own effect: 110 pairs are as few observations as 11 languages."""
    random = np.random.default_rng(3)
    languages = [f"l{number:02}" for number in range(11)]
    pairs = pairs_of(languages, languages)
    rows, columns = (np.array([languages.index(code) for code in side]) for side in pairs.values())
    p, naive = [], []
    for _ in range(300):
        x, y = (of_source[rows] + of_target[columns] for of_source, of_target in random.normal(size=(2, 2, 11)))
        p.append(correlate_pairs(x, y, **pairs, method="pearson", draws=199).p)
        naive.append(stats.pearsonr(x, y).pvalue)
    assert np.mean(np.array(naive) <= 0.05) > 0.3
    assert np.mean(np.array(p) <= 0.05) < 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_sources_and_other_targets_do_not_change_places():
    """Two sources and two other targets can be rearranged in 4 ways, which allows no p."""
    pairs = pairs_of(["eng", "hin"], ["deu", "eng", "hin", "jpn"])
    result = correlate_pairs([1, 2, 3, 4, 5, 7], [2, 1, 4, 3, 6, 5], **pairs)
    assert result.p is None
    assert "rearranged in 4 ways only" in str(result.reason)


def test_families_stay_together():
    pairs = pairs_of(LANGUAGES, LANGUAGES)
    x, y = np.random.default_rng(4).normal(size=(2, len(pairs["sources"])))
    groups = {"deu": ("ie",), "eng": ("ie",), "fin": ("u",), "jpn": None, "swa": None}
    result = correlate_pairs(x, y, **pairs, groups=groups)
    assert result.n_groups == 4
    assert result.p is None  # 2 ways within the family, 6 of the three that have none
    assert "12 ways only" in str(result.reason)


@pytest.mark.parametrize(
    ("sources", "targets", "problem"),
    [
        (["eng", "eng", "hin"], ["deu", "jpn", "deu"], "The pair `hin` and `jpn` is missing."),
        (["eng", "eng", "hin"], ["hin", "eng", "eng"], "The pair `hin` and `hin` is missing."),
        (["eng", "eng", "eng"], ["deu", "jpn", "jpn"], "1 pairs of languages are given twice"),
    ],
)
def test_incomplete_pairs_are_refused(sources, targets, problem):
    with pytest.raises(InputError, match=problem):
        correlate_pairs([1.0, 2.0, 4.0], [1.0, 3.0, 2.0], sources=sources, targets=targets)
