"""Finished runs against each other: methods that share data, model and metric, paired by seed."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from distxfer.errors import listed
from distxfer.experiments._comparisons._cells import Group, pair
from distxfer.experiments._comparisons._collect import Collection
from distxfer.experiments._comparisons._compare import (
    Comparisons,
    compared,
    holm_over,
    paired_test,
    test_record,
    transfers_of,
)
from distxfer.experiments._comparisons._matching import Difference, Matched, differences, match, nothing_left
from distxfer.experiments._results._selection import selection_warnings
from distxfer.languages import language_name, lineage
from distxfer.measure import Crossed, slope_over_seeds


@dataclass(frozen=True)
class Part:
    """The effect of a method on one language, or on the languages of one family.

    One language is taken as it is: interval and p are over seeds. Of a family with more, languages are random too.
    `distance` is that of the language, or the mean over the family; `p_holm` is corrected over the parts of one method.
    `dropped` says what was left out of this part, and why: each part is balanced over its own languages alone.
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


@dataclass(frozen=True)
class Slope:
    """How a method's gain goes with distance: its change per unit of distance, over seeds, the languages being fixed.

    On the same seeds and languages as the comparison on all, as far as these have a distance; `dropped` is of that.
    """

    method: str
    test: Crossed
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class MethodComparisons:
    """All comparisons of methods with a baseline, what they rest on, and how the methods differ from it.

    `comparisons` has the crossed tests on all, near and far, and the correlations with distance. `runs` counts each
    method's finished runs, `collapsed` has the seeds of those that learnt nothing, and `selection` what chose the
    checkpoint: `last`, `source_dev` or `target_dev`.
    """

    comparisons: Comparisons
    baseline: str
    runs: Mapping[str, int]
    collapsed: Mapping[str, tuple[int, ...]]
    selection: Mapping[str, str]
    by_language: tuple[Part, ...]
    by_family: tuple[Part, ...]
    slopes: tuple[Slope, ...]
    differences: tuple[Difference, ...]
    left_out: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know of how the checkpoints were chosen; empty where all are the last ones."""
        return selection_warnings(self.selection)

    def records(self) -> dict[str, Any]:
        """Return all of it as JSON data; effects in the unit of the scores, which are fractions."""
        return {
            **self.comparisons.records(),
            "baseline": self.baseline,
            "selection_by_method": dict(self.selection),
            "warnings": list(self.warnings),
            "runs": dict(self.runs),
            "collapsed": {name: list(seeds) for name, seeds in self.collapsed.items()},
            "by_language": [_part_record(one) for one in self.by_language],
            "by_family": [_part_record(one) for one in self.by_family],
            "slopes": [
                {"method": one.method, **test_record(one.test), "dropped": list(one.dropped)} for one in self.slopes
            ],
            "differences": [vars(one) for one in self.differences],
            "left_out": list(self.left_out),
        }


def compare_methods(
    collection: Collection,
    baseline: str = "",
    *,
    metric: str = "",
    distance_name: str = "",
    imputed: bool | None = None,
    matrix: Path | None = None,
) -> MethodComparisons:
    """Compare every method of a collection with the baseline (by default the first), on what both have.

    Runs of equal seed are paired, since they share the head, the order of the examples and the task's dropout; targets
    that one of the two has not are left out and named. Otherwise as `compare` does with a table of scores. Distances are
    those stored in the runs, unless others are asked for. Collapsed runs are counted, and in no mean or test.

    Raises InputError as `match` does, or where no scores are left that pair.
    """
    found = _of_shared_seeds(match(collection, baseline, metric, distance_name, imputed, matrix))
    rows, notes = compared(found.group)
    if not rows:
        raise nothing_left(found.baseline, (*found.left_out, *notes))
    by_language, unpaired = _parts(found.group, lambda code: code)
    comparisons = Comparisons(
        metric=found.metric,
        fractions=found.fractions,
        selection=" / ".join(dict.fromkeys(found.selection.values())),
        source=found.source,
        distance=found.distance,
        paired=True,
        comparisons=tuple(rows),
        transfers=tuple(transfers_of(found.group)),
        notes=(*found.notes, *dict.fromkeys(notes), *unpaired),
    )
    return MethodComparisons(
        comparisons=comparisons,
        baseline=found.baseline.name,
        runs={one.name: len(one.runs) for one in found.methods},
        collapsed=found.collapsed,
        selection=found.selection,
        by_language=by_language,
        by_family=_parts(found.group, _family)[0],
        slopes=_slopes(found.group),
        differences=tuple(
            one
            for method in found.methods
            if method is not found.baseline
            for one in differences(found.baseline, method)
        ),
        left_out=found.left_out,
    )


def _of_shared_seeds(found: Matched) -> Matched:
    """Return what was matched without the methods that have no seed of the baseline's.

    Raises InputError where none has one.
    """
    runs = found.group.runs
    own = set(runs[found.baseline.name])
    apart = [one for one in found.methods if not own & set(runs[one.name])]
    said = [
        f"`{one.name}` cannot be compared with `{found.baseline.name}`: no seed in common, it has"
        f" {_seeds(runs[one.name])} and the baseline {_seeds(own)}."
        for one in apart
    ]
    methods = tuple(one for one in found.methods if one not in apart)
    left_out = (*found.left_out, *said)
    if len(methods) < 2:
        raise nothing_left(found.baseline, left_out)
    group = replace(found.group, runs={one.name: runs[one.name] for one in methods})
    return replace(found, methods=methods, group=group, left_out=left_out)


def _seeds(seeds: Iterable[str]) -> str:
    return ", ".join(sorted(seeds, key=int))


def _family(code: str) -> str:
    """Return the widest family of a language; one that has none is a family of its own."""
    return lineage(code)[0] if lineage(code) else f"{language_name(code)} alone"


def _parts(group: Group, part_of: Callable[[str], str]) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """Return the effect of each method on each part of its languages, nearest first; and notes on parts without a pair."""
    tested = {name: {code for row in cells.values() for code in row} for name, cells in group.runs.items()}
    rows: list[Part] = []
    notes = []
    for method in (name for name in group.runs if name != group.baseline):
        own, lost = [], []
        parts: dict[str, set[str]] = {}
        for code in sorted(tested[method] | tested[group.baseline]):
            parts.setdefault(part_of(code), set()).add(code)
        for part, languages in parts.items():
            found = _part(group, method, part, languages)
            if found:
                own.append(found)
            elif tested[method] & tested[group.baseline] & languages:
                lost.append(f"`{part}`")
        own.sort(key=lambda one: (one.distance is None, one.distance or 0.0, one.part))
        corrected = holm_over([one.test for one in own])
        rows += [replace(one, p_holm=p) for one, p in zip(own, corrected, strict=True)]
        notes += [f"`{method}` and `{group.baseline}` have no seed in common on {listed(lost)}"] if lost else []
    return tuple(rows), tuple(notes)


def _part(group: Group, method: str, part: str, languages: Container[str]) -> Part | None:
    both = pair(group, method, languages.__contains__)
    if both.empty:
        return None
    known = [group.far_from[code] for code in both.languages if code in group.far_from]
    a, b = both.scores[method], both.scores[group.baseline]
    return Part(
        method=method,
        part=part,
        languages=both.languages,
        distance=fmean(known) if known else None,
        mean_baseline=float(b.mean()),
        mean=float(a.mean()),
        test=paired_test(group, method, both),
        p_holm=None,
        dropped=both.dropped,
    )


def _slopes(group: Group) -> tuple[Slope, ...]:
    rows = []
    for method in (name for name in group.runs if name != group.baseline):
        both = pair(group, method).of(group.far_from.__contains__)
        far = [group.far_from[code] for code in both.languages]
        test = None if both.empty else slope_over_seeds(both.scores[method] - both.scores[group.baseline], far)
        rows += [] if test is None else [Slope(method, test, both.dropped)]
    return tuple(rows)


def _part_record(one: Part) -> dict[str, Any]:
    return {
        "method": one.method,
        "part": one.part,
        "languages": list(one.languages),
        "distance": one.distance,
        "mean_baseline": one.mean_baseline,
        "mean": one.mean,
        **test_record(one.test),
        "p_holm": one.p_holm,
        "dropped": list(one.dropped),
    }
