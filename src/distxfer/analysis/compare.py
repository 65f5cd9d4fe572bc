"""Comparison of methods with a baseline by the two-way test on seeds x languages: from a table of scores, or finished runs."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd

from distxfer.analysis.comparison import (
    Comparison,
    Comparisons,
    Transfer,
    compared,
    slopes_of,
    transfers_of,
    unpaired_notes,
)
from distxfer.analysis.matching import differences, distance_label, distances_of, match, nothing_left, target_scores
from distxfer.analysis.scores import Group, Items, classes_of, wide
from distxfer.errors import InputError, listed, unknown
from distxfer.languages import canonical, check_distance
from distxfer.results.collect import Collection
from distxfer.results.descriptions import corpora
from distxfer.results.tables import read_answers

_MACRO = "macro_f1"  # the score that weighs all classes alike


def compare(
    scores: pd.DataFrame,
    baseline: str,
    *,
    metric: str = "",
    source: str = "eng",
    distance_name: str = "syntactic",
    imputed: bool = True,
    matrix: Path | None = None,
    paired: bool = False,
    items: Items | None = None,
) -> Comparisons:
    """Compare each method with the baseline on all, near and far target languages, for each model and task.

    `scores` is a tidy table with the columns of `read_scores`: from it, or the rows of one split of `load_results`.

    `paired` means that runs of equal seed share data order and initial weights: the test is `crossed` on their differences,
    otherwise `crossed_unpaired`. With `items` (see `read_items`) the test items are random, too. Near languages are those up to
    the median distance of the baseline's targets. Holm's correction is over the methods of one model, task and subset. Seeds and
    languages with missing scores are dropped until the table of method and baseline is complete (see `complete`); near and far
    are subsets of that table. Correlations with distance are Spearman's, over languages, with permutations within
    `languages.permutation_groups`.

    Raises InputError for an unknown baseline or metric, or a table with one method.
    """
    check_distance(distance_name, matrix)
    start = canonical(source)
    metrics = sorted(scores["metric"].unique())
    if metric and metric not in metrics:
        raise unknown("Metric", metric, metrics)
    if not metric and len(metrics) > 1:
        raise InputError(f"The table has the metrics {listed(metrics)}. Choose one with `--metric`.")
    metric = metric or metrics[0]
    table = scores[scores["metric"] == metric].astype({"value": float})
    missing = table[table["value"].isna()]
    notes = [f"seed `{row.seed}` of `{row.method}` has no score for `{row.language}`" for row in missing.itertuples()]
    comparisons: list[Comparison] = []
    transfers: list[Transfer] = []
    for (model, task), rows in _of_targets(table, baseline, start, metric).groupby(["model", "task"]):
        tables = dict(sorted(wide(rows).items()))
        if baseline not in tables:
            notes.append(f"{model}, {task}: left out, for it has no `{baseline}`")
            continue
        far_from, lacking = distances_of(start, rows["language"].unique(), distance_name, imputed, matrix)
        group = Group(str(model), str(task), baseline, tables, far_from, paired, items=items)
        group_comparisons, left_out = compared(group)
        comparisons += group_comparisons
        notes += [*lacking, *left_out]
        transfers += transfers_of(group)
    if not comparisons:
        raise InputError(
            f"Nothing is left to compare with `{baseline}`: {listed(notes, '; ')}. Give scores of the same languages"
            " (paired: and seeds)."
        )
    return Comparisons(
        metric=metric,
        fractions=bool(table["value"].abs().max() <= 1),
        source=start,
        distance=distance_label("matrix" if matrix else distance_name, imputed),
        baseline=baseline,
        selection={},
        runs={},
        collapsed={},
        notes=tuple(dict.fromkeys(notes)),
        left_out=(),
        paired=paired,
        comparisons=tuple(comparisons),
        transfers=tuple(transfers),
    )


def _of_targets(table: pd.DataFrame, baseline: str, source: str, metric: str) -> pd.DataFrame:
    """Return the scores of the target languages; raises InputError unless the baseline and another method have some."""
    targets = table[table["language"] != source].dropna(subset="value")
    methods = set(targets["method"])
    if not methods:
        raise InputError(
            f"The table has no scores of `{metric}` but in the source `{source}`. Add scores of target languages, or say which"
            " language the runs were trained on with `--source`."
        )
    if baseline not in methods:
        raise unknown("Baseline", baseline, methods)
    if len(methods) < 2:
        raise InputError(f"The table has no method beside the baseline `{baseline}`. Add the scores of another method.")
    return targets


def compare_methods(
    collection: Collection,
    baseline: str = "",
    *,
    metric: str = "",
    distance_name: str = "",
    imputed: bool | None = None,
    matrix: Path | None = None,
) -> Comparisons:
    """Compare each method of a collection with the baseline (by default the first) on common seeds and languages.

    Runs of equal seed are paired, since they share the head's initial weights, the order of examples and the task's dropout.
    Targets missing from one of the two are dropped and listed. Distances are those stored in the runs, unless others are
    requested. Collapsed runs are counted and excluded. Otherwise like `compare`.

    Raises InputError as `match` does, or if no paired scores remain.
    """
    read = cache(read_answers)
    methods, group, basis = match(
        collection, baseline, metric, distance_name, imputed, matrix, shared_seeds=True, read=read
    )
    runs = {
        method.name: {str(run.seed): run for run in method.runs if str(run.seed) in group.scores[method.name].index}
        for method in methods
    }
    macro = None if basis.metric == _MACRO else wide(target_scores(Collection(methods, ()), _MACRO))
    group = replace(group, macro=macro, classes=classes_of(runs, basis.metric, read))
    rows, notes = compared(group)
    if not rows:
        raise nothing_left(group.baseline, (*basis.left_out, *notes))
    texts = corpora({method.name: method.runs for method in methods})
    (base,) = (method for method in methods if method.name == group.baseline)
    notes = [*basis.notes, *dict.fromkeys(notes), *unpaired_notes(group), *texts]
    return Comparisons(
        **{**vars(basis), "notes": tuple(notes)},
        paired=True,
        comparisons=tuple(rows),
        transfers=tuple(transfers_of(group)),
        slopes=slopes_of(group),
        differences=tuple(row for method in methods if method is not base for row in differences(base, method)),
        group=group,
    )
