"""What tables of effects share: cells with effects and p values, notes on tests and on what is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from distxfer.analysis.significance import effect_text
from distxfer.errors import shortened
from distxfer.reports.tables import p_phrase

if TYPE_CHECKING:  # it brings scipy
    from distxfer.analysis.comparison import Comparison
    from distxfer.analysis.significance import Tested
    from distxfer.measure import Crossed

_NAMES = 3  # a note names at most so many methods


def p_text(value: float | None) -> str | None:
    """Return a p value as tables show it."""
    return None if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def size_text(test: Crossed) -> str:
    """Return the numbers of seeds and languages of a test."""
    return f"{test.n_seeds} × {test.n_languages}"


def significant(test: Crossed, p: float | None) -> bool:
    """Return whether p, corrected or not, is at most 0.05 in a test with enough families.

    A test that treats related languages as independent is never significant: docs/statistics.md has its false positives.
    """
    return p is not None and p <= 0.05 and test.note is None


def starred(tested: Tested | None, scale: float) -> str | None:
    """Return an effect without its interval, with a star if it is `significant` after Holm."""
    if tested is None:
        return None
    return f"{scale * tested.test.effect:+.1f}{'*' if significant(tested.test, tested.p_holm) else ''}"


def with_p(tested: Tested | None, scale: float) -> tuple[str | None, str | None]:
    """Return an effect with its interval, and its corrected p."""
    return (None, None) if tested is None else (effect_text(tested.test, scale), p_text(tested.p_holm))


def span(numbers: Iterable[int | None]) -> str:
    """Return the smallest and the largest of the numbers, one if they are equal; empty if there are none."""
    present = sorted({number for number in numbers if number is not None})
    return "" if not present else str(present[0]) if len(present) == 1 else f"{present[0]} to {present[-1]}"


def random_factors(tests: Sequence[Crossed]) -> str:
    """Return the random factors of the tests: seeds, languages in families, and test items where they are known."""
    families = span(test.n_families for test in tests if test.note is None)
    items = span(test.n_items for test in tests)
    units = "family (the independent unit)" if families == "1" else "families (the independent units)"
    languages = f"languages in {families} {units}" if families else "languages"
    if items:
        return f"random: seeds, {languages} and {items} test items that languages share"
    return f"random: seeds and {languages}; test items fixed"


def family_means(comparisons: Sequence[Comparison], scale: float) -> list[str]:
    """Return the mean effects over families in every subset."""
    lines: list[str] = []
    for subset in dict.fromkeys(row.subset for row in comparisons):
        means = [
            f"`{row.method}` {effect_text(mean, scale)}{f', {p_phrase(mean.p)}' if mean.p is not None else ''}"
            for row in comparisons
            if row.subset == subset and (mean := row.test.by_family) is not None and mean.n_languages > 1
        ]
        if means:
            where = "" if subset == "all" else f", {subset}"
            how = " (mean over families, each counts once; families are the units, no Holm)" if not lines else ""
            lines.append(f"by family{where}{how}: {shortened(means)}.")
    return lines


def few_families(comparisons: Sequence[Comparison]) -> list[str]:
    """Return a note for each subset with too few families to treat them as random."""
    return list(dict.fromkeys(f"{row.subset}: {row.test.note}." for row in comparisons if row.test.note))


def rate_notes(tests: Sequence[Crossed]) -> list[str]:
    """Return simulated false positive rates of tests like these where assumptions fail: the largest, then all of them."""
    from distxfer.analysis.significance import false_positives

    largest: dict[str, str] = {}
    for test in tests:
        if (simulated := false_positives(test)) is not None:
            like = f"{simulated.n_languages} languages in {simulated.n_families} families, {simulated.n_seeds} seeds"
            rates = "; ".join(f"{100 * rate:.1f} % where {structure}" for structure, rate in simulated.rates.items())
            line = (
                f"False positives in simulation at p <= 0.05 (nearest setting: {like}): {rates} (docs/statistics.md)."
            )
            largest[line] = f"{100 * max(simulated.rates.values()):.1f} % ({like})"
    if not largest:
        return []
    rates = "; ".join(largest.values())
    return [f"False positive rate at p <= 0.05 where assumptions of the test fail: up to {rates}, simulated.", *largest]


def reasons_of(results: Iterable[Tested]) -> list[str]:
    """Return the reasons for missing intervals, each once."""
    return list(dict.fromkeys(f"{result.test.reason}." for result in results if result.test.reason))


def dropped_notes(dropped_by_name: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Return a note on what was left out, and of which methods where not of all."""
    entries = list(dropped_by_name)
    names = list(dict.fromkeys(name for name, _ in entries))
    parts = []
    for reason in dict.fromkeys(reason for _, dropped in entries for reason in dropped):
        without = list(dict.fromkeys(name for name, dropped in entries if reason in dropped))
        some = ", ".join(without) if len(without) <= _NAMES else f"{len(without)} of {len(names)}"
        parts.append(reason if len(without) == len(names) else f"{reason} from {some}")
    return [f"left out: {shortened(parts)}."] if parts else []


def left_out_notes(collapsed: Mapping[str, Sequence[int]], left_out: Sequence[str]) -> list[str]:
    """Return a note on collapsed runs, if any, and a counted list of what was left out."""
    failed = [f"`{name}`: seed {', '.join(map(str, seeds))}" for name, seeds in collapsed.items() if seeds]
    lines = [f"collapsed runs, excluded from means and tests: {'; '.join(failed)}."] if failed else []
    return lines + ([f"{len(left_out)} left out:", *(f"- {reason}" for reason in left_out)] if left_out else [])
