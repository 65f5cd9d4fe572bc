"""Families and shared items in the crossed test: against matrices, sums over pairs, and the simulation of its error rates."""

import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import linalg

from distxfer import measure
from distxfer.analysis.significance import false_positives
from distxfer.measure.variance_parts import by_family, family_labels, family_part, family_weights, item_part
from helpers import given, message

ROOT = Path(__file__).parents[2]
simulation = runpy.run_path(str(ROOT / "studies" / "simulations" / "structure_error_rates.py"))
seeds = st.integers(0, 2**32 - 1)
sizes = st.lists(st.integers(1, 5), min_size=2, max_size=7)


def cr2(y, labels):
    """The variance of a mean and its degrees of freedom as Bell and McCaffrey write them, in matrices."""
    n = len(y)
    design, bread = np.ones((n, 1)), np.array([[1 / n]])
    residual_maker = np.eye(n) - design @ bread @ design.T
    meat, columns = 0.0, []
    for label in set(labels):
        members = np.flatnonzero(labels == label)
        values, vectors = linalg.eigh(residual_maker[np.ix_(members, members)])
        root = vectors @ np.diag(values**-0.5) @ vectors.T
        meat += (design[members].T @ root @ (residual_maker @ y)[members]).item() ** 2
        columns.append(residual_maker[members].T @ root @ design[members] @ bread)
    working = np.hstack(columns)
    gram = working.T @ working
    return float(bread[0, 0] ** 2 * meat), np.trace(gram) ** 2 / (gram**2).sum()


# --- families -----------------------------------------------------------------------------------------------------


def test_family_part_by_hand():
    # Shares 1/2, 1/4, 1/4; means 1, 0, 4 around 1.5. V = (1/4)/(1/2) 1/4 + (1/16)/(3/4) (9/4 + 25/4) = 5/6, and
    # 1/df = 3/8 + (2/3)^2 - (1/4 + 2/144) = 5/9.
    computed = family_part(np.array([1.0, 1.0, 0.0, 4.0]), family_labels(["a", "a", "b", None], 4))
    assert (computed.variance, computed.df, computed.n) == (pytest.approx(5 / 6), pytest.approx(1.8), 3)


@given(seed=seeds, sizes=sizes)
def test_family_part_is_cr2_with_the_degrees_of_bell_and_mccaffrey(seed, sizes):
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    y = generator.normal(size=len(labels))
    variance, df = cr2(y, labels)
    computed = family_part(y, labels)
    assert (computed.variance, computed.df) == (pytest.approx(variance), pytest.approx(df))


@given(seed=seeds, s=st.integers(3, 6), n=st.integers(2, 9))
def test_families_of_one_language_are_the_test_over_languages(seed, s, n):
    generator = np.random.default_rng(seed)
    table = generator.normal(size=(s, n)) + generator.normal(size=n)
    alone, families = measure.crossed(table), measure.crossed(table, families=[None] * n)
    assert (families.p, families.low) == (pytest.approx(alone.p), pytest.approx(alone.low))
    assert (families.by_family.p, families.n_families, alone.n_families) == (pytest.approx(alone.p), n, None)
    second_table = generator.normal(size=(s + 1, n))
    alone, families = (measure.crossed_unpaired(table, second_table, families=groups) for groups in (None, [None] * n))
    assert families.p == pytest.approx(alone.p)


@given(seed=seeds, s=st.integers(3, 6), sizes=sizes.filter(lambda sizes: len(sizes) > 3))
def test_the_order_of_languages_and_the_unit_do_not_matter(seed, s, sizes):
    generator = np.random.default_rng(seed)
    families = np.repeat([f"family {number}" for number in range(len(sizes))], sizes)
    table = generator.normal(size=(s, len(families))) + generator.normal(size=len(sizes)).repeat(sizes) + 0.5
    result = measure.crossed(table, families=list(families))
    order = generator.permutation(len(families))
    moved = measure.crossed(-100 * table[:, order], families=[(family, "a branch") for family in families[order]])
    assert (moved.p, moved.low) == (pytest.approx(result.p, rel=1e-6), pytest.approx(-100 * result.high, rel=1e-6))
    for end in (result.low, result.high):
        assert measure.crossed(table - end, families=list(families)).p == pytest.approx(0.05, abs=1e-6)
    means = by_family(table, family_labels(list(families), len(families)))
    assert means == pytest.approx(
        np.array([[row[families == family].mean() for family in dict.fromkeys(families)] for row in table])
    )
    assert result.by_family.p == pytest.approx(measure.crossed(means).p)


def test_too_few_families_are_said():
    table = np.random.default_rng(0).normal(size=(3, 6))
    result = measure.crossed(table, families=["a", "a", "b", "b", "c", "c"])
    assert result.p == pytest.approx(measure.crossed(table).p)
    assert result.note == (
        "only 3 families. Families count as random from 4 on, so p and interval treat these languages as independent"
    )
    assert measure.crossed(table, families=["a"] * 6).note.startswith("only 1 family. Families")
    assert measure.crossed(table, families=[*list("abcdd"), None]).note is None
    assert measure.crossed(table[:2], families=["a"] * 6).reason == "no ranking: 2 seeds, and at least 3 are needed"
    assert message(measure.crossed, table, families=["a"]) == (
        "`families` has 1 entries for 6 languages; expected one each: give None for none."
    )


# --- items --------------------------------------------------------------------------------------------------------


def over_pairs(cube, weights):
    """Items in two languages and two seeds at a time, written out."""
    there = np.isfinite(cube[0])
    each = weights / there.sum(axis=1)
    residual = np.nan_to_num(cube - np.nanmean(cube, axis=2, keepdims=True))
    total = alone = products = 0.0
    for item in range(cube.shape[2]):
        for first_language in np.flatnonzero(there[:, item]):
            for second_language in np.flatnonzero(there[:, item]):
                total += each[first_language] * each[second_language]
                alone += each[first_language] ** 2 * (first_language == second_language)
                for first_seed in range(len(cube)):
                    for second_seed in range(len(cube)):
                        if first_seed != second_seed and first_language != second_language:
                            product = (
                                residual[first_seed, first_language, item]
                                * residual[second_seed, second_language, item]
                            )
                            products += each[first_language] * each[second_language] * product
    pairs, shared = len(cube) * (len(cube) - 1), int((there.sum(axis=0) > 1).sum())
    return max(0.0, products / pairs * total / (total - alone) * shared / (shared - 1))


@given(seed=seeds, s=st.integers(2, 4), sizes=st.lists(st.integers(1, 2), min_size=2, max_size=4), gaps=st.booleans())
def test_item_part_is_its_sum_over_pairs(seed, s, sizes, gaps):
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    cube = generator.normal(size=(s, len(labels), 6)) + 2 * generator.normal(size=6)
    if gaps:
        cube[:, 0, :2] = cube[:, -1, 4:] = np.nan
    for weights in (np.full(len(labels), 1 / len(labels)), family_weights(labels)):
        computed = item_part(cube, weights)
        assert computed.variance == pytest.approx(over_pairs(cube, weights), abs=1e-12)
        assert computed.n == 6 - (4 if gaps and len(labels) == 2 else 0)


def test_items_add_what_they_vary_by():
    generator = np.random.default_rng(0)
    cube = generator.normal(size=(5, 8, 50)) + 3 * generator.normal(size=50)
    table = cube.mean(axis=2)
    fixed, result = measure.crossed(table), measure.crossed(table, items=cube)
    expected = item_part(cube, np.full(8, 1 / 8))
    assert expected.variance == pytest.approx(9 / 50, rel=0.5)
    assert result.standard_error == pytest.approx((fixed.standard_error**2 + expected.variance) ** 0.5)
    assert (result.n_items, fixed.n_items) == (50, None)
    assert result.item_share == pytest.approx(expected.variance / result.standard_error**2)
    for end in (result.low, result.high):
        assert measure.crossed(table - end, items=cube - end).p == pytest.approx(0.05, abs=1e-6)


def test_items_of_one_language_each_are_no_factor():
    cube = np.full((3, 2, 4), np.nan)
    cube[:, 0, :2], cube[:, 1, 2:] = np.arange(6).reshape(3, 2), 1.0
    result = measure.crossed(cube.mean(axis=2, where=np.isfinite(cube)), items=cube)
    assert (result.n_items, result.item_share) == (None, None)


def test_items_that_do_not_fit_are_refused():
    table, cube = np.ones((3, 2)), np.ones((3, 2, 4))
    assert message(measure.crossed, table, items=cube[:2]) == (
        "`items` has the shape (2, 2, 4) and the table (3, 2); expected (seeds, languages, items) and (seeds, languages):"
        " give the difference of each item."
    )
    assert message(measure.crossed, table + 1, items=cube) == (
        "The means of `items` over the items are not the table; expected the same differences: give `items` in the table's"
        " unit, or leave them out."
    )
    cube[0, 0, 0] = np.nan
    assert message(measure.crossed, table, items=cube) == (
        "`items` has other gaps in one seed than in another, or a language without items; expected the same items in all"
        " seeds: leave out what is incomplete."
    )


# --- error rates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "n_seeds"), [(7, 3), (13, 5), (40, 3), (118, 5)])
def test_the_simulated_test_is_the_one_of_the_package(size, n_seeds):
    generator = np.random.default_rng(size)
    labels = simulation["labels_of"](size)
    (cubes,) = simulation["item_cubes"](generator, 2, n_seeds, labels, (0.1, 0.3))
    tables, variances = cubes.mean(axis=3), simulation["item_variances"](cubes)
    p = simulation["p_values"](tables, labels, variances, simulation["N_ITEMS"])
    for table, cube, simulated in zip(tables, cubes, p, strict=True):
        assert measure.crossed(table, families=list(labels), items=cube).p == pytest.approx(simulated)


def test_the_default_test_holds_its_level():
    """4,000 tables a setting of the 13 languages; the committed table has all of them and more tables."""
    for structure in ("independent", "family .3", "family .6"):
        for spread in ((0.0, 3.0), (1.0, 1.0)):
            computed = simulation["rates"](13, 5, structure, spread, 4000)
            assert 0.012 <= computed["families"] <= 0.06, (structure, spread, computed)
            assert computed["languages"] > 0.06 or structure == "independent" or spread[0], (
                structure,
                spread,
                computed,
            )
    assert simulation["rates"](13, 5, "items", (0.1, 0.1), 1000)["families"] <= 0.06


def test_the_committed_rates_are_those_of_the_simulation():
    text, package = simulation["TEXT"].read_text(), json.loads(simulation["RATES"].read_text())
    row = re.compile(r"^ +(\d+) +(\d)  ([a-z. 0-9]+?) +[\d.]+ to +([\d.]+) ±[\d.]+ +[\d.]+ to +([\d.]+) ±[\d.]+$", re.M)
    printed: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for size, n_seeds, structure, families, languages in row.findall(text):
        rates_by_structure = printed.setdefault(size, {}).setdefault(n_seeds, {})
        rates_by_structure[structure] = {"families": float(families), "languages": float(languages)}
    assert printed == package["rates"]
    assert package["families"] == {"7": 2, "13": 7, "40": 14, "118": 19}
    assert {size: sorted(rates_by_structure) for size, rates_by_structure in printed.items()} == {
        size: ["3", "5"] for size in package["families"]
    }
    for rates_by_structure in (cell for size in ("13", "40", "118") for cell in printed[size].values()):
        for structure in ("independent", "family .3", "family .6", "items"):
            assert rates_by_structure[structure]["families"] <= 6, structure
            assert rates_by_structure[structure]["languages"] > 5 or structure == "independent"


def test_the_unpaired_test_holds_its_level_with_families():
    generator = np.random.default_rng(0)
    labels = simulation["labels_of"](13)
    hits = []
    for structure in ("independent", "family .6"):
        shared = simulation["language_values"](generator, 1500, labels, structure)
        method, baseline = generator.normal(size=(2, 1500, 3, 13)) + generator.normal(size=(2, 1500, 3, 1))
        tests = [
            measure.crossed_unpaired(a + 2 * language_effects, b, families=list(labels))
            for a, b, language_effects in zip(method, baseline, shared, strict=True)
        ]
        hits.append(np.mean([test.p <= 0.05 for test in tests]))
    assert max(hits) <= 0.06


# --- what is printed beside a p value -----------------------------------------------------------------------------


def test_the_rates_beside_a_p_value_are_of_the_nearest_setting():
    package = json.loads(simulation["RATES"].read_text())["rates"]
    generator = np.random.default_rng(0)
    families = [f"family {number % 7}" for number in range(21)]
    computed = false_positives(measure.crossed(generator.normal(size=(3, 21)), families=families))
    assert (computed.n_languages, computed.n_families, computed.n_seeds) == (13, 7, 3)
    assert computed.rates == {
        "families share 90 % of the language variance": package["13"]["3"]["family .9"]["families"] / 100,
        "one language in ten gains much more than the rest": package["13"]["3"]["skewed"]["families"] / 100,
        "one looks after 3 seeds and again after 5": package["13"]["5"]["peeking"]["families"] / 100,
        "all languages share the test items, which are not in this test": package["13"]["3"]["items fixed"]["families"]
        / 100,
    }
    cube = generator.normal(size=(4, 200, 5))
    computed = false_positives(measure.crossed(cube.mean(axis=2), items=cube))
    assert (computed.n_languages, computed.n_seeds) == (118, 5)  # 4 is nearer to 5 than to 3, by their ratio
    assert list(computed.rates) == [
        "families share 30 % of the language variance",
        "families share 60 % of the language variance",
        "families share 90 % of the language variance",
        "one language in ten gains much more than the rest",
        "one looks after 3 seeds and again after 5",
    ]
    assert computed.rates["families share 60 % of the language variance"] > 0.3
    assert false_positives(measure.crossed(generator.normal(size=(3, 1)))) is None
    assert false_positives(measure.crossed(generator.normal(size=(2, 5)))) is None


def test_too_few_families_have_the_rates_of_a_simulation_with_too_few():
    package = json.loads(simulation["RATES"].read_text())["rates"]
    table = np.random.default_rng(0).normal(size=(5, 12))
    computed = false_positives(measure.crossed(table, families=["a"] * 11 + ["b"]))
    assert (computed.n_languages, computed.n_families, computed.n_seeds) == (7, 2, 5)
    assert (
        computed.rates["families share 90 % of the language variance"]
        == package["7"]["5"]["family .9"]["families"] / 100
    )
    assert computed.rates["families share 30 % of the language variance"] > 0.15
    assert false_positives(measure.crossed(table, families=list("aaabbbcccddd"))).n_languages == 13
