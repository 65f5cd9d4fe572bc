"""What a test takes as random, in words, and what stands beside its p value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distxfer.reports._tables import p_phrase

if TYPE_CHECKING:  # it brings scipy
    from distxfer.experiments import Comparison
    from distxfer.measure import Crossed

_NAMED = 12  # methods that a note names; JSON has all


def random_factors(tests: Sequence[Crossed]) -> str:
    """Return what the tests take as random: seeds, languages in families, and the test items where they are known."""
    families = _counts([one.n_families for one in tests if one.note is None])
    items = _counts([one.n_items for one in tests])
    units = "family (the independent unit)" if families == "1" else "families (the independent units)"
    languages = f"languages in {families} {units}" if families else "languages"
    if items:
        return f"random: seeds, {languages} and {items} test items that languages share"
    return f"random: seeds and {languages}; test items fixed"


def family_notes(comparisons: Sequence[Comparison], scale: float) -> list[str]:
    """Return the mean effects over families, and where there are too few families to take them as random."""
    means = [
        f"`{one.method}` {_effect(one.test.by_family, scale)}"
        for one in comparisons
        if one.subset == "all" and one.test.by_family is not None and one.test.by_family.n_languages > 1
    ]
    more = len(means) - _NAMED
    lines = [
        f"by family (mean over families, each counts once; families are the units, no Holm): {'; '.join(means[:_NAMED])}"
        + (f"; and {more} more, which JSON has." if more > 0 else ".")
    ] * bool(means)
    return lines + few_families(comparisons)


def rate_notes(tests: Sequence[Crossed]) -> list[str]:
    """Return how often tests like these call noise a finding where their assumptions do not hold."""
    from distxfer.experiments import false_positives

    lines: dict[str, None] = {}
    for test in tests:
        found = false_positives(test)
        if found is not None:
            rates = "; ".join(f"{100 * rate:.1f} % where {structure}" for structure, rate in found.rates.items())
            lines[
                f"p <= 0.05 without any effect, as simulated (nearest setting: {found.n_languages} languages, {found.n_seeds}"
                f" seeds): {rates} (docs/statistics.md)."
            ] = None
    return list(lines)


def few_families(comparisons: Sequence[Comparison]) -> list[str]:
    """Return a note for each subset of the targets that has too few families to take them as random."""
    few = dict.fromkeys((one.subset, one.test.note) for one in comparisons if one.test.note)
    return [f"{subset}: {note}." for subset, note in few]


def _effect(test: Crossed, scale: float) -> str:
    if test.low is None or test.high is None or test.p is None:
        return f"{scale * test.effect:+.1f}"
    return f"{scale * test.effect:+.1f} [{scale * test.low:+.1f}, {scale * test.high:+.1f}], {p_phrase(test.p)}"


def _counts(numbers: Sequence[int | None]) -> str:
    there = sorted({number for number in numbers if number is not None})
    return "" if not there else str(there[0]) if len(there) == 1 else f"{there[0]} to {there[-1]}"
