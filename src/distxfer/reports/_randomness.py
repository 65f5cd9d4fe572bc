"""Notes on tests: their random factors, and what qualifies their p values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distxfer.errors import shortened
from distxfer.reports._tables import p_phrase

if TYPE_CHECKING:  # it brings scipy
    from distxfer.analysis.comparison import Comparison
    from distxfer.measure import Crossed


def random_factors(tests: Sequence[Crossed]) -> str:
    """Return the random factors of the tests: seeds, languages in families, and test items where they are known."""
    families = _counts([test.n_families for test in tests if test.note is None])
    items = _counts([test.n_items for test in tests])
    units = "family (the independent unit)" if families == "1" else "families (the independent units)"
    languages = f"languages in {families} {units}" if families else "languages"
    if items:
        return f"random: seeds, {languages} and {items} test items that languages share"
    return f"random: seeds and {languages}; test items fixed"


def significant(test: Crossed, p: float | None) -> bool:
    """Return whether p, corrected or not, is at most 0.05 in a test with enough families.

    A test that treats related languages as independent is never significant: docs/statistics.md has its false positives.
    """
    return p is not None and p <= 0.05 and test.note is None


def family_notes(comparisons: Sequence[Comparison], scale: float) -> list[str]:
    """Return the mean effects over families in every subset, and notes on subsets with too few families."""
    lines: list[str] = []
    for subset in dict.fromkeys(row.subset for row in comparisons):
        means = [
            f"`{row.method}` {_effect(row.test.by_family, scale)}"
            for row in comparisons
            if row.subset == subset and row.test.by_family is not None and row.test.by_family.n_languages > 1
        ]
        if means:
            where = "" if subset == "all" else f", {subset}"
            how = " (mean over families, each counts once; families are the units, no Holm)" if not lines else ""
            lines.append(f"by family{where}{how}: {shortened(means)}.")
    return lines + few_families(comparisons)


def rate_notes(tests: Sequence[Crossed]) -> list[str]:
    """Return simulated false positive rates of tests like these where their assumptions do not hold."""
    from distxfer.analysis.significance import false_positives

    lines: dict[str, None] = {}
    for test in tests:
        simulated = false_positives(test)
        if simulated is not None:
            rates = "; ".join(f"{100 * rate:.1f} % where {structure}" for structure, rate in simulated.rates.items())
            lines[
                f"False positives in simulation at p <= 0.05 (nearest setting: {simulated.n_languages} languages in"
                f" {simulated.n_families} families, {simulated.n_seeds} seeds): {rates} (docs/statistics.md)."
            ] = None
    return list(lines)


def few_families(comparisons: Sequence[Comparison]) -> list[str]:
    """Return a note for each subset with too few families to treat them as random."""
    few = dict.fromkeys((row.subset, row.test.note) for row in comparisons if row.test.note)
    return [f"{subset}: {note}." for subset, note in few]


def _effect(test: Crossed, scale: float) -> str:
    if test.low is None or test.high is None or test.p is None:
        return f"{scale * test.effect:+.1f}"
    return f"{scale * test.effect:+.1f} [{scale * test.low:+.1f}, {scale * test.high:+.1f}], {p_phrase(test.p)}"


def _counts(numbers: Sequence[int | None]) -> str:
    present = sorted({number for number in numbers if number is not None})
    return "" if not present else str(present[0]) if len(present) == 1 else f"{present[0]} to {present[-1]}"
