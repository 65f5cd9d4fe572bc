"""Simulated false-positive rates of the two-way test where its assumptions fail, printed beside p values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import log
from pathlib import Path

from distxfer.measure import MIN_FAMILIES, Crossed

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


@dataclass(frozen=True)
class FalsePositives:
    """False-positive rates at a nominal 5 % in the nearest simulated setting; `rates` are fractions by description."""

    n_languages: int
    n_families: int
    n_seeds: int
    rates: Mapping[str, float]

    def record(self) -> dict[str, object]:
        """Return it as JSON data."""
        return {**vars(self), "rates": dict(self.rates)}


def false_positives(test: Crossed) -> FalsePositives | None:
    """Return the simulated rates of a test like this one; None if it has no p or one language.

    The nearest setting is by the ratio of numbers of languages, then of seeds; adding seeds was simulated for 3, then 5. For a
    test with too few families for random families, the setting also has too few.
    """
    if test.p is None or test.n_languages < 2:
        return None
    simulated, families = _simulation()
    sizes = [size for size in simulated if (families[size] < MIN_FAMILIES) == (test.note is not None)]
    size = min(sizes, key=lambda size: abs(log(int(size) / test.n_languages)))
    seeds = min(simulated[size], key=lambda count: abs(log(int(count) / test.n_seeds)))
    independent = test.n_families is None or test.note is not None
    names = {**(_INDEPENDENT if independent else {}), **_ALWAYS, **({} if test.n_items else _FIXED_ITEMS)}
    column = "languages" if independent else "families"
    rates = {}
    for structure, words in names.items():
        by_structure = simulated[size][seeds] if structure in simulated[size][seeds] else simulated[size]["5"]
        rates[words] = round(by_structure[structure][column] / 100, 4)
    return FalsePositives(int(size), families[size], int(seeds), rates)


@cache
def _simulation() -> tuple[_Rates, Mapping[str, int]]:
    """Return the rates in percent by number of languages, number of seeds, structure and test; and numbers of families."""
    content = json.loads(_FILE.read_text(encoding="utf-8"))
    return content["rates"], content["families"]
