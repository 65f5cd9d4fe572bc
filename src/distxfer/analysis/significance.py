"""The test of a method against the baseline: Holm's correction, simulated false-positive rates, and JSON data."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from math import log
from pathlib import Path
from typing import Any, TypeVar

from distxfer.languages import lineage
from distxfer.measure import MIN_FAMILIES, Crossed, holm

MIN_TARGETS = 4  # languages that can stand for other languages; with fewer, each one is read by itself
_Rates = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
_FILE = Path(__file__).with_name("error_rates.json")  # written by studies/simulations/structure_error_rates.py
# What the structures of the simulation are, in words. The test of languages as independent is warned of families as well.
_ALWAYS = {
    "family .9": "families share 90 % of the language variance",
    "skewed": "one language in ten gains much more than the rest",
    "peeking": "one looks after 3 seeds and again after 5",
}
_INDEPENDENT = {
    "family .3": "families share 30 % of the language variance",
    "family .6": "families share 60 % of the language variance",
}
_FIXED_ITEMS = {"items fixed": "all languages share the test items, which are not in this test"}


@dataclass(frozen=True, kw_only=True)
class Tested:
    """The test of a difference; `p_holm` is its p after Holm's correction (None without p), `dropped` what was left out."""

    test: Crossed
    p_holm: float | None = None
    dropped: tuple[str, ...] = ()

    def tested_record(self) -> dict[str, Any]:
        """Return the test, the corrected p and what was left out as JSON data."""
        return {**test_record(self.test), "p_holm": self.p_holm, "dropped": list(self.dropped)}

    def record(self) -> dict[str, Any]:
        """Return it as JSON data, with the fields of the test in its place."""
        names = [
            entry.name for entry in fields(self) if entry.compare and entry.name not in Tested.__dataclass_fields__
        ]
        return {name: plain(getattr(self, name)) for name in names} | self.tested_record()


Row = TypeVar("Row", bound=Tested)


def plain(value: Any) -> Any:
    """Return a value of a result as JSON data: dataclasses by their `record`, or by their fields."""
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "record"):
        return value.record()
    if is_dataclass(value):
        value = vars(value)
    return {key: plain(entry) for key, entry in value.items()} if isinstance(value, Mapping) else value


def corrected(rows: Iterable[Row]) -> list[Row]:
    """Return rows with Holm's correction over all of them."""
    rows = list(rows)
    adjusted = iter(holm([row.test.p for row in rows if row.test.p is not None]))
    return [replace(row, p_holm=None if row.test.p is None else next(adjusted)) for row in rows]


def families_of(languages: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the top-level family of each language; empty if it has none."""
    return [lineage(code)[:1] for code in languages]


def ranked(test: Crossed) -> Crossed:
    """Return the test, on 2 or 3 languages without interval and p: so few do not generalise.

    The same holds for the test over families with 2 or 3 families.
    """
    families = test.by_family
    if families is not None and 1 < families.n_languages < MIN_FAMILIES:
        reason = f"no ranking over {families.n_languages} families, at least {MIN_FAMILIES} are needed"
        test = replace(test, by_family=_without_ranking(families, reason))
    if not 1 < test.n_languages < MIN_TARGETS:
        return test
    reason = f"no ranking over {test.n_languages} languages, at least {MIN_TARGETS} are needed: read each one by itself"
    return _without_ranking(replace(test, by_family=None, note=None), reason)


def _without_ranking(test: Crossed, reason: str) -> Crossed:
    undefined = dict.fromkeys(("standard_error", "seed_share", "low", "high", "p", "item_share"))
    return replace(test, **undefined, reason=test.reason or reason)  # type: ignore[arg-type]


def effect_text(test: Crossed, scale: float) -> str:
    """Return an effect with its interval, if it has one."""
    if test.low is None or test.high is None:
        return f"{scale * test.effect:+.1f}"
    return f"{scale * test.effect:+.1f} [{scale * test.low:+.1f}, {scale * test.high:+.1f}]"


def interval_record(test: Crossed) -> dict[str, Any]:
    """Return effect, interval and p of a test as JSON data."""
    return {"effect": test.effect, "low": test.low, "high": test.high, "p": test.p}


def test_record(test: Crossed) -> dict[str, Any]:
    """Return a test as JSON data."""
    families, rates = test.by_family, false_positives(test)
    return {
        **interval_record(test),
        "n_seeds": test.n_seeds,
        "n_languages": test.n_languages,
        "seed_share": test.seed_share,
        "reason": test.reason,
        "note": test.note,
        "n_families": test.n_families,
        "by_family": None if families is None else {**interval_record(families), "reason": families.reason},
        "n_items": test.n_items,
        "item_share": test.item_share,
        "false_positive_rates": plain(rates),
    }


@dataclass(frozen=True)
class FalsePositives:
    """False-positive rates at a nominal 5 % in the nearest simulated setting; `rates` are fractions by description."""

    n_languages: int
    n_families: int
    n_seeds: int
    rates: Mapping[str, float]


def false_positives(test: Crossed) -> FalsePositives | None:
    """Return the simulated rates of a test like this one; None if it has no p or one language.

    The nearest setting is by the ratio of numbers of languages, then of seeds; adding seeds was simulated for 3, then 5. For a
    test with too few families for random families, the setting also has too few.
    """
    if test.p is None or test.n_languages < 2:
        return None
    simulated, families = _simulation()
    sizes = [size for size in simulated if (families[size] < MIN_FAMILIES) == (test.note is not None)]
    size = _nearest(sizes, test.n_languages)
    seeds = _nearest(list(simulated[size]), test.n_seeds)
    independent = test.n_families is None or test.note is not None
    names = {**(_INDEPENDENT if independent else {}), **_ALWAYS, **({} if test.n_items else _FIXED_ITEMS)}
    column = "languages" if independent else "families"
    rates = {}
    for structure, words in names.items():
        by_structure = simulated[size][seeds] if structure in simulated[size][seeds] else simulated[size]["5"]
        rates[words] = round(by_structure[structure][column] / 100, 4)
    return FalsePositives(int(size), families[size], int(seeds), rates)


def _nearest(numbers: Sequence[str], number: int) -> str:
    return min(numbers, key=lambda candidate: abs(log(int(candidate) / number)))


@cache
def _simulation() -> tuple[_Rates, Mapping[str, int]]:
    """Return the rates in percent by number of languages, number of seeds, structure and test; and numbers of families."""
    content = json.loads(_FILE.read_text(encoding="utf-8"))
    return content["rates"], content["families"]
