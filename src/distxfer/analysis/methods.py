"""Comparison of finished runs: methods with the same data, model and metric, paired by seed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distxfer.analysis.cells import Group, pair, wide
from distxfer.analysis.classes import classes_of
from distxfer.analysis.compare import Comparisons, compared, transfers_of
from distxfer.analysis.matching import (
    Difference,
    Matched,
    differences,
    match,
    nothing_left,
    target_scores,
)
from distxfer.analysis.parts import Part, parts_of
from distxfer.analysis.significance import row_record
from distxfer.analysis.survival import ClassPart, class_parts, family
from distxfer.measure import Crossed, slope_over_seeds
from distxfer.results.collect import Collection
from distxfer.results.corpus import corpora
from distxfer.results.selection import selection_warnings

MACRO = "macro_f1"  # the score that weighs all classes alike


@dataclass(frozen=True)
class Slope:
    """The change of a method's gain per unit of distance, tested over seeds for fixed languages.

    It uses the seeds and languages of the comparison on all languages that have a known distance.
    """

    method: str
    test: Crossed
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class MethodComparisons:
    """All comparisons of methods with a baseline, what they are based on, and how the methods differ.

    `comparisons` has the tests on all, near and far languages and the correlations with distance. `runs` counts finished runs by
    method, `collapsed` has the seeds of collapsed runs, and `selection` is how checkpoints were selected: `last`, `source_dev` or
    `target_dev`.
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
        """Warnings on checkpoint selection; empty if all checkpoints are the last ones."""
        return selection_warnings(self.selection)

    @property
    def survival_warnings(self) -> tuple[str, ...]:
        """Warnings on effects that depend on one class, language or family."""
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
            "by_language": [part.record() for part in self.by_language],
            "by_class": [part.record() for part in self.by_class],
            "by_family": [part.record() for part in self.by_family],
            "slopes": [row_record(slope) for slope in self.slopes],
            "differences": [vars(difference) for difference in self.differences],
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
    """Compare each method of a collection with the baseline (by default the first) on common seeds and languages.

    Runs of equal seed are paired, since they share the head's initial weights, the order of examples and the task's dropout.
    Targets missing from one of the two are dropped and listed. Distances are those stored in the runs, unless others are
    requested. Collapsed runs are counted and excluded. Otherwise like `compare`.

    Raises InputError as `match` does, or if no paired scores remain.
    """
    matched = _with_classes(_of_shared_seeds(match(collection, baseline, metric, distance_name, imputed, matrix)))
    group = matched.group
    rows, notes = compared(group)
    if not rows:
        raise nothing_left(matched.baseline, (*matched.left_out, *notes))
    parts, unpaired = parts_of(group, lambda code: code)
    each = {(part.method, part.part): part for row in rows for part in row.each}
    texts = corpora({method.name: [run.data for run in method.runs] for method in matched.methods})
    comparisons = Comparisons(
        metric=matched.metric,
        fractions=matched.fractions,
        selection=" / ".join(dict.fromkeys(matched.selection.values())),
        source=matched.source,
        distance=matched.distance,
        paired=True,
        comparisons=tuple(rows),
        transfers=tuple(transfers_of(group)),
        notes=(*matched.notes, *dict.fromkeys(notes), *unpaired, *texts),
    )
    return MethodComparisons(
        comparisons=comparisons,
        baseline=group.baseline,
        runs={method.name: len(method.runs) for method in matched.methods},
        collapsed=matched.collapsed,
        selection=matched.selection,
        by_language=tuple(each.get((part.method, part.part), part) for part in parts),
        by_family=parts_of(group, family)[0],
        by_class=class_parts(group),
        slopes=_slopes(group),
        differences=tuple(
            difference
            for method in matched.methods
            if method is not matched.baseline
            for difference in differences(matched.baseline, method)
        ),
        left_out=matched.left_out,
    )


def _of_shared_seeds(matched: Matched) -> Matched:
    """Return the matched methods that share a seed with the baseline.

    Raises InputError if there are none.
    """
    scores = matched.group.scores
    seeds = scores[matched.baseline.name].index
    methods = tuple(method for method in matched.methods if scores[method.name].index.isin(seeds).any())
    apart = (
        f"`{method.name}` cannot be compared with `{matched.baseline.name}`: no seed in common, it has"
        f" {_seeds(scores[method.name].index)} and the baseline {_seeds(seeds)}."
        for method in matched.methods
        if method not in methods
    )
    left_out = (*matched.left_out, *apart)
    if len(methods) < 2:
        raise nothing_left(matched.baseline, left_out)
    group = replace(matched.group, scores={method.name: scores[method.name] for method in methods})
    return replace(matched, methods=methods, group=group, left_out=left_out)


def _with_classes(matched: Matched) -> Matched:
    """Return the matched methods with macro-averaged scores and counts by class."""
    collection = Collection(matched.methods, ())
    runs = {
        method.name: {
            str(run.seed): run for run in method.runs if str(run.seed) in matched.group.scores[method.name].index
        }
        for method in matched.methods
    }
    macro = wide(target_scores(collection, MACRO)) if matched.metric != MACRO else None
    return replace(matched, group=replace(matched.group, macro=macro, classes=classes_of(runs, matched.metric)))


def _seeds(seeds: Iterable[str]) -> str:
    return ", ".join(sorted(seeds, key=int))


def _slopes(group: Group) -> tuple[Slope, ...]:
    rows = []
    for method in group.others:
        full = pair(group, method).of(group.far_from.__contains__)
        distances = [group.far_from[code] for code in full.languages]
        test = None if full.empty else slope_over_seeds(full.scores[method] - full.scores[group.baseline], distances)
        rows += [] if test is None else [Slope(method, test, full.dropped)]
    return tuple(rows)
