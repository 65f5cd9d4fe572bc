"""The effect of a method on each language or family."""

from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from distxfer.analysis.cells import Group, pair
from distxfer.analysis.significance import holm_over, row_record, tested
from distxfer.errors import listed
from distxfer.measure import Crossed


@dataclass(frozen=True)
class Part:
    """The effect of a method on one language, or on the languages of one family.

    For one language, interval and p are over seeds. In a family with several, languages are random, too; 2 or 3 of them have no
    interval and no p. `distance` is that of the language, or the mean over the family. `p_holm` is corrected over the parts of
    one method, or over those of all methods if there are too few targets to generalise. `dropped` lists what was left out of
    this part, which is completed by itself.
    """

    method: str
    part: str
    languages: tuple[str, ...]
    distance: float | None
    mean_baseline: float
    mean: float
    test: Crossed
    p_holm: float | None
    dropped: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return row_record(self)


def parts_of(
    group: Group, part_of: Callable[[str], str], *, together: bool = False
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """Return the effect of each method on each part of its languages, nearest first, and notes on parts without common seeds.

    Holm's correction is over the parts of each method, or of all methods if `together`.
    """
    rows: list[Part] = []
    notes = []
    for method in group.others:
        rows_of_method, lost = [], []
        tested_in = [set(map(str, group.scores[name])) for name in (method, group.baseline)]
        parts: dict[str, set[str]] = {}
        for code in sorted(set.union(*tested_in)):
            parts.setdefault(part_of(code), set()).add(code)
        for part, languages in parts.items():
            row = _part(group, method, part, languages)
            if row:
                rows_of_method.append(row)
            elif set.intersection(*tested_in, languages):
                lost.append(f"`{part}`")
        rows_of_method.sort(key=lambda row: (row.distance is None, row.distance or 0.0, row.part))
        rows += rows_of_method if together else _corrected(rows_of_method)
        notes += [f"`{method}` and `{group.baseline}` have no seed in common on {listed(lost)}"] if lost else []
    return tuple(_corrected(rows) if together else rows), tuple(notes)


def _corrected(parts: list[Part]) -> list[Part]:
    corrected = holm_over([part.test for part in parts])
    return [replace(part, p_holm=p) for part, p in zip(parts, corrected, strict=True)]


def _part(group: Group, method: str, part: str, languages: Container[str]) -> Part | None:
    full = pair(group, method, languages.__contains__)
    if full.empty:
        return None
    distances = [group.far_from[code] for code in full.languages if code in group.far_from]
    return Part(
        method=method,
        part=part,
        languages=full.languages,
        distance=fmean(distances) if distances else None,
        mean_baseline=float(full.scores[group.baseline].mean()),
        mean=float(full.scores[method].mean()),
        test=tested(group, method, full),
        p_holm=None,
        dropped=full.dropped,
    )
