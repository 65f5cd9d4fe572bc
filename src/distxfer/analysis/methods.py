"""Finished runs against each other: methods that share data, model and metric, paired by seed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distxfer.analysis.cells import Group, pair
from distxfer.analysis.classes import classes_of
from distxfer.analysis.compare import Comparisons, compared, transfers_of
from distxfer.analysis.matching import (
    Difference,
    Matched,
    differences,
    match,
    nothing_left,
    sound_scores,
)
from distxfer.analysis.parts import Part, parts_of
from distxfer.analysis.significance import test_record
from distxfer.analysis.survival import ClassPart, class_parts, family
from distxfer.measure import Crossed, slope_over_seeds
from distxfer.results.collect import Collection
from distxfer.results.corpus import corpora
from distxfer.results.selection import selection_warnings

MACRO = "macro_f1"  # the score that weighs all classes alike


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
    by_class: tuple[ClassPart, ...]
    slopes: tuple[Slope, ...]
    differences: tuple[Difference, ...]
    left_out: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know of how the checkpoints were chosen; empty where all are the last ones."""
        return selection_warnings(self.selection)

    @property
    def survival_warnings(self) -> tuple[str, ...]:
        """Which effects one class, language or family decides; empty where that is none."""
        return self.comparisons.warnings

    def records(self) -> dict[str, Any]:
        """Return all of it as JSON data; effects in the unit of the scores, which are fractions."""
        return {
            **self.comparisons.records(),
            "baseline": self.baseline,
            "selection_by_method": dict(self.selection),
            "warnings": [*self.warnings, *self.survival_warnings],
            "runs": dict(self.runs),
            "collapsed": {name: list(seeds) for name, seeds in self.collapsed.items()},
            "by_language": [one.record() for one in self.by_language],
            "by_class": [one.record() for one in self.by_class],
            "by_family": [one.record() for one in self.by_family],
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
    found = _with_classes(_of_shared_seeds(match(collection, baseline, metric, distance_name, imputed, matrix)))
    rows, notes = compared(found.group)
    if not rows:
        raise nothing_left(found.baseline, (*found.left_out, *notes))
    parts, unpaired = parts_of(found.group, lambda code: code)
    each = {(one.method, one.part): one for row in rows for one in row.each}
    comparisons = Comparisons(
        metric=found.metric,
        fractions=found.fractions,
        selection=" / ".join(dict.fromkeys(found.selection.values())),
        source=found.source,
        distance=found.distance,
        paired=True,
        comparisons=tuple(rows),
        transfers=tuple(transfers_of(found.group)),
        notes=(
            *found.notes,
            *dict.fromkeys(notes),
            *unpaired,
            *corpora({one.name: [run.data for run in one.runs] for one in found.methods}),
        ),
    )
    return MethodComparisons(
        comparisons=comparisons,
        baseline=found.baseline.name,
        runs={one.name: len(one.runs) for one in found.methods},
        collapsed=found.collapsed,
        selection=found.selection,
        by_language=tuple(each.get((one.method, one.part), one) for one in parts),
        by_family=parts_of(found.group, family)[0],
        by_class=class_parts(found.group),
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


def _with_classes(found: Matched) -> Matched:
    """Return what was matched with the macro-averaged scores and the counts by class of its runs."""
    runs = {
        one.name: {seed: run for run in one.runs if (seed := str(run.data["seed"])) in found.group.runs[one.name]}
        for one in found.methods
    }
    macro = {one.name: sound_scores(one, MACRO) for one in found.methods} if found.metric != MACRO else None
    return replace(found, group=replace(found.group, macro=macro, classes=classes_of(runs, found.metric)))


def _seeds(seeds: Iterable[str]) -> str:
    return ", ".join(sorted(seeds, key=int))


def _slopes(group: Group) -> tuple[Slope, ...]:
    rows = []
    for method in (name for name in group.runs if name != group.baseline):
        both = pair(group, method).of(group.far_from.__contains__)
        far = [group.far_from[code] for code in both.languages]
        test = None if both.empty else slope_over_seeds(both.scores[method] - both.scores[group.baseline], far)
        rows += [] if test is None else [Slope(method, test, both.dropped)]
    return tuple(rows)
