"""Areas of neighbouring languages, and the groups within which languages change places in a permutation test."""

import numpy as np
import pandas as pd
import pytest

from distxfer.analysis.compare import compare
from distxfer.data._cldr import LANGUAGES
from distxfer.languages import areas, distance, group_kind, lineage, permutation_groups, permuted_within
from distxfer.measure import correlate
from helpers import message

TARGETS = [key for key in LANGUAGES if key != "eng"]


def test_no_two_languages_of_an_area_are_far_apart():
    result = areas(TARGETS)
    assert len(set(result)) > 15
    assert list(dict.fromkeys(result)) == list(range(len(set(result))))
    members = {
        number: [key for key, area in zip(TARGETS, result, strict=True) if area == number] for number in set(result)
    }
    for member in members.values():
        for first in member:
            for second in member:
                assert distance(first, second, "geographic").value * np.pi * 6371 <= 2000 + 1
    assert {frozenset(member) for member in members.values()} == {
        frozenset(TARGETS[::-1][place] for place in np.flatnonzero(np.array(areas(TARGETS[::-1])) == number))
        for number in set(areas(TARGETS[::-1]))
    }
    assert areas(["deu", "jpn", "nld"]) == (0, 1, 0)
    assert areas(["deu", "nld", "jpn"], km=20_100) == (0, 0, 0)


def test_a_language_without_a_place_is_in_no_area():
    assert areas(["qaa", "deu", "nld"]) == (None, 0, 0)
    assert areas(["qaa", "deu"]) == (None, 0)
    assert permutation_groups(["qaa", *TARGETS])[0] == lineage("qaa")
    assert message(areas, ["no such language"]).startswith("Language code")


def test_areas_come_before_families_from_thirty_languages_on():
    assert permutation_groups(TARGETS[:29]) == [lineage(key) for key in TARGETS[:29]]
    groups = permutation_groups(TARGETS)
    assert [group[1:] for group in groups] == [lineage(key) for key in TARGETS]
    assert {group[0] for group in groups} == {f"area {number}" for number in areas(TARGETS)}
    assert (group_kind(29), group_kind(30)) == ("families", "areas")
    assert permuted_within(29) == "families and their branches"
    assert permuted_within(30) == "areas at most 2,000 km across, and the families and branches in them"


@pytest.mark.parametrize("n", [12, 40])
def test_comparisons_say_within_what_they_permute(n):
    generator = np.random.default_rng(0)
    rows = [
        ("m", "t", method, str(seed), key, "accuracy", generator.random())
        for method in ("plain", "better")
        for seed in range(3)
        for key in TARGETS[:n]
    ]
    scores = pd.DataFrame(rows, columns=["model", "task", "method", "seed", "language", "metric", "value"])
    result = compare(scores, "plain", paired=True)
    record = result.records()["transfer"][0]["score_by_distance"]
    assert record["permuted_within"] == permuted_within(n)
    keys = sorted(TARGETS[:n])
    means = scores[scores["method"] == "better"].groupby("language")["value"].mean()[keys].tolist()
    far = [distance("eng", key, imputed=True).value for key in keys]
    expected = correlate(far, means, groups=permutation_groups(keys), draws=1999)
    assert (record["r"], record["p"]) == (pytest.approx(expected.r), pytest.approx(expected.p))
