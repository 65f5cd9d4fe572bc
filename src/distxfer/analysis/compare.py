"""Comparison of methods with a baseline by the two-way test on seeds x languages, for each model and task."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distxfer.analysis.cells import Full, Group, complete, middle_of, pair, wide
from distxfer.analysis.items import Items
from distxfer.analysis.parts import Part, parts_of
from distxfer.analysis.significance import MIN_TARGETS, holm_over, test_record, tested
from distxfer.analysis.survival import Survival, survival
from distxfer.analysis.survival_warnings import survival_warnings
from distxfer.errors import InputError, listed, unknown
from distxfer.languages import (
    Distance,
    canonical,
    check_distance,
    distance,
    distance_warnings,
    permutation_groups,
    permuted_within,
)
from distxfer.measure import Correlation, Crossed, correlate, two_way_bootstrap
from distxfer.results.score_tables import Score

_OBSERVED = ("genetic", "geographic")  # distances that are never imputed
_DRAWS = 1999  # permutations per correlation: p is known to about half a percent near 5 %


@dataclass(frozen=True)
class Comparison:
    """A method against the baseline on one subset of languages: `all`, `near` or `far`.

    `p_holm` is corrected over the methods of the same model, task and subset. `bootstrap` is the interval of
    `two_way_bootstrap`, for paired runs. `collapsed` counts collapsed runs; None if unknown. `dropped` lists what was left out,
    and why. `survives` has the leave-one-out effects and the effect on the macro-averaged score.

    Fewer than 4 languages do not generalise: a subset of 2 or 3 has no interval and no p. If `all` has so few, `each` has the
    effect on each language over seeds, with Holm's correction over the languages of all such methods.
    """

    model: str
    task: str
    baseline: str
    method: str
    subset: str
    test: Crossed
    p_holm: float | None
    bootstrap: tuple[float | None, float | None]
    collapsed: int | None
    dropped: tuple[str, ...]
    survives: Survival
    each: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Transfer:
    """A method's mean score over seeds and languages, and its correlation, and that of its gain, with distance.

    The means of one model and task share their languages: those that no run lacks, after `complete`; None if there are none.
    Correlations are over the languages with a known distance. `dropped` lists what was left out, the same for all methods.
    """

    model: str
    task: str
    method: str
    mean: float | None
    by_distance: Correlation
    gain_by_distance: Correlation | None
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Comparisons:
    """All comparisons of one table, and what they are based on; `fractions` is whether no score exceeds 1."""

    metric: str
    fractions: bool
    selection: str
    source: str
    distance: str
    paired: bool
    comparisons: tuple[Comparison, ...]
    transfers: tuple[Transfer, ...]
    notes: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings on effects that depend on one class, language or family."""
        return survival_warnings(self.comparisons, 100.0 if self.fractions else 1.0)

    def records(self) -> dict[str, Any]:
        """Return the comparisons as JSON data; effects in the unit of the scores."""
        return {
            "metric": self.metric,
            "selection": self.selection,
            "source": self.source,
            "distance": self.distance,
            "paired": self.paired,
            "comparisons": [_record(row) for row in self.comparisons],
            "transfer": [_transfer_record(row) for row in self.transfers],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


def compare(
    scores: pd.DataFrame | Sequence[Score],
    baseline: str,
    *,
    metric: str = "",
    source: str = "eng",
    distance_name: str = "syntactic",
    imputed: bool = True,
    matrix: Path | None = None,
    paired: bool = False,
    selection: str = "not known",
    items: Items | None = None,
) -> Comparisons:
    """Compare each method with the baseline on all, near and far target languages, for each model and task.

    `scores` is a tidy table with the columns of `Score`: from `read_scores`, or the rows of one split of `load_results`.

    `paired` means that runs of equal seed share data order and initial weights: the test is `crossed` on their differences,
    otherwise `crossed_unpaired`. With `items` (see `read_items`) the test items are random, too. Near languages are those up to
    the median distance of the baseline's targets. Holm's correction is over the methods of one model, task and subset. Seeds and
    languages with missing scores are dropped until the table of method and baseline is complete (see `complete`); near and far
    are subsets of that table. Correlations with distance are Spearman's, over languages, with permutations within
    `languages.permutation_groups`.

    Raises InputError for an unknown baseline or metric, or a table with one method.
    """
    check_distance(distance_name, matrix)
    table, metric = _of_metric(pd.DataFrame(scores), metric)
    start = canonical(source)
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
        notes += lacking
        middle = middle_of(tables[baseline], far_from)
        group = Group(str(model), str(task), baseline, tables, far_from, middle, paired, items=items)
        group_comparisons, left_out = compared(group)
        comparisons += group_comparisons
        notes += left_out
        transfers += transfers_of(group)
    if not comparisons:
        raise InputError(
            f"Nothing is left to compare with `{baseline}`: {listed(notes, '; ')}. Give scores of the same languages"
            " (paired: and seeds)."
        )
    return Comparisons(
        metric=metric,
        fractions=bool(table["value"].abs().max() <= 1),
        selection=selection,
        source=start,
        distance=distance_label("matrix" if matrix else distance_name, imputed),
        paired=paired,
        comparisons=tuple(comparisons),
        transfers=tuple(transfers),
        notes=tuple(dict.fromkeys(notes)),
    )


def _of_metric(table: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, str]:
    metrics = sorted(table["metric"].unique())
    if metric and metric not in metrics:
        raise unknown("Metric", metric, metrics)
    if not metric and len(metrics) > 1:
        raise InputError(f"The table has the metrics {listed(metrics)}. Choose one with `--metric`.")
    metric = metric or metrics[0]
    return table[table["metric"] == metric].astype({"value": float}), metric


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


def distance_label(name: str, imputed: bool) -> str:
    """Return the name of a distance, marked if gaps are imputed."""
    return f"{name} (imputed)" if imputed and name not in (*_OBSERVED, "matrix") else name


def distances_of(
    source: str, languages: Iterable[str], name: str, imputed: bool, matrix: Path | None
) -> tuple[dict[str, float], list[str]]:
    """Return the distances of all languages that have one, and notes on missing and unreliable distances."""
    distances: dict[str, Distance] = {}
    notes = []
    for language in sorted(languages):
        try:
            distances[language] = distance(source, language, name, imputed=imputed, matrix=matrix)
        except InputError as error:
            notes.append(f"`{language}` is neither near nor far: {error}")
    values = {language: entry.value for language, entry in distances.items()}
    return values, [*notes, *distance_warnings(distances.values())]


def compared(group: Group) -> tuple[list[Comparison], list[str]]:
    """Return all comparisons of a group, and a note for each that has no scores."""
    rows: list[Comparison] = []
    notes = []
    pairs = {method: pair(group, method) for method in group.others}
    for subset in ("all", "near", "far"):
        outcomes = [_comparison(group, method, subset, full) for method, full in pairs.items()]
        rows += _corrected([outcome for outcome in outcomes if isinstance(outcome, Comparison)])
        notes += [outcome for outcome in outcomes if isinstance(outcome, str)]
    few = [row.method for row in rows if row.subset == "all" and row.test.n_languages < MIN_TARGETS]
    scores = {method: group.scores[method] for method in group.scores if method in (*few, group.baseline)}
    parts, _ = parts_of(replace(group, scores=scores), lambda code: code, together=True)
    each = {method: tuple(part for part in parts if part.method == method) for method in few}
    return [replace(row, each=each.get(row.method, ())) if row.subset == "all" else row for row in rows], notes


def _corrected(rows: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons with Holm's correction, also for the effects on the macro-averaged score."""
    macro = {row.method: row.survives.macro for row in rows if row.survives.macro}
    of_macro = dict(zip(macro, holm_over(list(macro.values())), strict=True))
    return [
        replace(row, p_holm=p, survives=replace(row.survives, macro_p_holm=of_macro.get(row.method)))
        for row, p in zip(rows, holm_over([row.test for row in rows]), strict=True)
    ]


def _comparison(group: Group, method: str, subset: str, full: Full) -> Comparison | str:
    """Return one comparison, or a note if method and baseline share no complete scores."""
    part = full.of(lambda code: group.belongs(code, subset))
    if part.empty:
        without = f" without {listed(part.dropped)}" if part.dropped else ""
        return f"{group.model}, {group.task}: `{method}` on {subset} is left out: no paired scores remain{without}"
    sample = len(part.languages) == 1 or len(part.languages) >= MIN_TARGETS
    return Comparison(
        model=group.model,
        task=group.task,
        baseline=group.baseline,
        method=method,
        subset=subset,
        test=tested(group, method, part),
        p_holm=None,
        bootstrap=(
            two_way_bootstrap(part.scores[method] - part.scores[group.baseline])
            if group.paired and sample
            else (None, None)
        ),
        collapsed=None if group.collapsed is None else group.collapsed[method],
        dropped=part.dropped,
        survives=survival(group, method, part),
    )


def transfers_of(group: Group) -> list[Transfer]:
    """Return each method's mean and its correlation with distance, over the languages that no run lacks."""
    full = complete(group.scores, paired=False)
    means = {
        name: dict(zip(full.languages, (float(column.mean()) for column in table.T), strict=True))
        for name, table in full.scores.items()
        if len(table)
    }
    base = means.get(group.baseline, {})
    rows = []
    for name in group.scores:
        by_language = means.get(name, {})
        gains = {code: value - base[code] for code, value in by_language.items() if code in base}
        if group.paired:  # as the effects are: of the seeds that both have
            gains = _paired_gains(pair(group, name, by_language.__contains__), name, group.baseline)
        rows.append(
            Transfer(
                model=group.model,
                task=group.task,
                method=name,
                mean=float(np.mean(list(by_language.values()))) if by_language else None,
                by_distance=_correlated(by_language, group.far_from),
                gain_by_distance=_correlated(gains, group.far_from) if gains and name != group.baseline else None,
                dropped=full.dropped,
            )
        )
    return rows


def _paired_gains(full: Full, method: str, baseline: str) -> dict[str, float]:
    if full.empty:
        return {}
    gains = full.scores[method].mean(axis=0) - full.scores[baseline].mean(axis=0)
    return dict(zip(full.languages, gains.tolist(), strict=True))


def _correlated(values: Mapping[str, float], far_from: Mapping[str, float]) -> Correlation:
    codes = [code for code in values if code in far_from]
    return correlate(
        [far_from[code] for code in codes],
        [values[code] for code in codes],
        groups=permutation_groups(codes),
        draws=_DRAWS,
    )


def _record(row: Comparison) -> dict[str, object]:
    return {
        "model": row.model,
        "task": row.task,
        "baseline": row.baseline,
        "method": row.method,
        "subset": row.subset,
        **test_record(row.test),
        "p_holm": row.p_holm,
        "bootstrap_low": row.bootstrap[0],
        "bootstrap_high": row.bootstrap[1],
        "collapsed": row.collapsed,
        "dropped": list(row.dropped),
        **row.survives.record(),
        "each": [part.record() for part in row.each],
    }


def _transfer_record(row: Transfer) -> dict[str, object]:
    def record(correlation: Correlation | None) -> dict[str, object] | None:
        return None if correlation is None else {
            "r": correlation.r, "p": correlation.p, "n": correlation.n, "n_groups": correlation.n_groups,
            "permuted_within": permuted_within(correlation.n), "detectable": correlation.detectable,
            "reason": correlation.reason,
        }  # fmt: skip

    return {
        "model": row.model,
        "task": row.task,
        "method": row.method,
        "mean": row.mean,
        "dropped": list(row.dropped),
        "score_by_distance": record(row.by_distance),
        "gain_by_distance": record(row.gain_by_distance),
    }
