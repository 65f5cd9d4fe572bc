"""The test of a method against the baseline on complete scores, Holm's correction, and tests as JSON data."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from distxfer.analysis.cells import Full, Group
from distxfer.analysis.error_rates import false_positives
from distxfer.languages import lineage
from distxfer.measure import MIN_FAMILIES, Crossed, crossed, crossed_unpaired, holm

MIN_TARGETS = 4  # languages that can stand for other languages; with fewer, each one is read by itself


def tested(group: Group, method: str, full: Full) -> Crossed:
    """Return the test of a method against the baseline, with random seeds, languages within families, and items if known.

    It has no interval and no p on 2 or 3 languages (see `ranked`).
    """
    a, b = full.scores[method], full.scores[group.baseline]
    families = families_of(full.languages)
    if not group.paired:
        return ranked(crossed_unpaired(a, b, families=families))
    weights = {method: 1.0, group.baseline: -1.0}
    items = None if group.items is None else group.items.differences(weights, full.languages, full.seeds)
    return ranked(crossed(a - b, families=families, items=items))


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


def holm_over(tests: Sequence[Crossed]) -> list[float | None]:
    """Return Holm-corrected p values; None for tests without p."""
    adjusted = iter(holm([test.p for test in tests if test.p is not None]))
    return [None if test.p is None else next(adjusted) for test in tests]


def test_record(test: Crossed) -> dict[str, object]:
    """Return a test as JSON data."""
    return {
        "effect": test.effect,
        "low": test.low,
        "high": test.high,
        "p": test.p,
        "n_seeds": test.n_seeds,
        "n_languages": test.n_languages,
        "seed_share": test.seed_share,
        "reason": test.reason,
        "note": test.note,
        "n_families": test.n_families,
        "by_family": None if test.by_family is None else _family_record(test.by_family),
        "n_items": test.n_items,
        "item_share": test.item_share,
        "false_positive_rates": None if (rates := false_positives(test)) is None else rates.record(),
    }


def row_record(row: Any) -> dict[str, Any]:
    """Return a dataclass with a field `test` as JSON data: the test's fields in its place, tuples as lists."""
    record: dict[str, Any] = {}
    for name, value in vars(row).items():
        record |= test_record(value) if name == "test" else {name: list(value) if isinstance(value, tuple) else value}
    return record


def _family_record(test: Crossed) -> dict[str, object]:
    return {"effect": test.effect, "low": test.low, "high": test.high, "p": test.p, "reason": test.reason}
