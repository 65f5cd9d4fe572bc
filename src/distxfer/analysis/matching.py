"""Selection of methods that can be compared with a baseline, and their differences from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from distxfer.analysis.scores import Group, Wide, read_items, wide
from distxfer.analysis.significance import plain
from distxfer.errors import InputError, unknown
from distxfer.languages import Distance, check_distance, distance, distance_warnings
from distxfer.results.collect import Collection, Method
from distxfer.results.descriptions import (
    arithmetic_notes,
    caching_notes,
    selection_of,
    selection_warnings,
    stored_warnings,
)
from distxfer.results.result import Result
from distxfer.results.tables import Answers, read_answers, read_predictions, sound_scores

_MEAN_OF_ITEMS = "accuracy"  # the metric that is a mean over test items
_OBSERVED = ("genetic", "geographic", "matrix")  # distances that are never imputed
# What a method may read beside the task, and what its numbers may depend on beside its settings.
_DATA = ("task", "parallel", "distances", "files")
_MACHINE = ("device", "dtype", "processes", "cpu", "threads")
_PACKAGES = ("distxfer", "torch", "transformers", "peft")


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What an analysis of methods is based on; `fractions` is whether no score exceeds 1.

    By method: `selection` is how the checkpoints were selected (`last`, `source_dev` or `target_dev`), `runs` the number of
    finished runs, `collapsed` the seeds of collapsed ones; all empty for a table of scores. `left_out` has a line for each run
    or method that is not in the analysis.
    """

    metric: str
    fractions: bool
    source: str
    distance: str
    baseline: str
    selection: Mapping[str, str]
    runs: Mapping[str, int]
    collapsed: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def scale(self) -> float:
        """The factor that turns scores into points."""
        return 100.0 if self.fractions else 1.0

    @property
    def selected(self) -> str:
        """How the checkpoints were selected, for all methods together."""
        return " / ".join(dict.fromkeys(self.selection.values())) or "not known"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings on checkpoint selection; empty if all checkpoints are the last ones."""
        return selection_warnings(self.selection)

    def records(self) -> dict[str, Any]:
        """Return it as JSON data; effects in the unit of the scores."""
        selection = {"selection": self.selected, "selection_by_method": dict(self.selection)}
        content = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.compare}
        return {**plain(content), **selection, "warnings": list(self.warnings)}


@dataclass(frozen=True)
class Difference:
    """A setting, data set or circumstance in which a method differs from the baseline; None if one lacks it.

    `key` is a recipe's key, `data.NAME` (the first 8 digits of a fingerprint), `run.NAME` or `package.NAME`.
    """

    method: str
    key: str
    baseline: Any
    value: Any


def match(
    collection: Collection,
    baseline: str = "",
    metric: str = "",
    distance_name: str = "",
    imputed: bool | None = None,
    matrix: Path | None = None,
    *,
    shared_seeds: bool = False,
    read: Callable[[Path], Answers] = read_answers,
) -> tuple[tuple[Method, ...], Group, Basis]:
    """Return the methods of a collection that share source, task, data, model and metric with the baseline, with their scores.

    The baseline is the method (or recipe, or `NAME/ID`) of that name, by default the first. Metric and distances are the
    baseline's by default. With `shared_seeds`, methods share a seed with it, too. `read` reads predictions.

    Raises InputError for an unknown baseline, metric or distance, a baseline whose runs all collapsed, or if no method can be
    compared, with the reason for each.
    """
    check_distance(distance_name or "syntactic", matrix)
    base = _chosen(collection, baseline)
    metric = metric or base.runs[0].metric
    metrics = {str(row["metric"]) for run in base.runs for row in run.scores if row["split"] == "test"}
    if metric not in metrics:
        raise unknown("Metric", metric, metrics)
    scores = target_scores(collection, metric)
    tables = wide(scores)
    if base.name not in tables:
        raise InputError(
            f"All {len(base.runs)} runs of the baseline `{base.name}` collapsed: they learnt nothing to compare with."
            " Choose another with `--baseline`, or train it with other settings."
        )
    left_out = list(collection.left_out)
    methods = []
    for method in collection.methods:
        reason = None if method is base else _obstacle(base, method, tables, metric, shared_seeds)
        if reason:
            left_out.append(f"`{method.name}` cannot be compared with `{base.name}`: {reason}.")
        else:
            methods.append(method)
    if len(methods) < 2:
        raise nothing_left(base.name, left_out)
    tables = {method.name: tables[method.name] for method in methods}
    scores = scores[scores["method"].isin(tables)]
    label, far_from, notes = _distances(base, methods, set(scores["language"]), distance_name, imputed, matrix)
    items = read_items(scores, read=read) if metric == _MEAN_OF_ITEMS else None
    collapsed = {method.name: tuple(run.seed for run in method.runs if run.collapsed) for method in methods}
    sound = {method.name: [run for run in method.runs if not run.collapsed] for method in methods}
    group = Group(
        model=base.runs[0].model,
        task=base.runs[0].task,
        baseline=base.name,
        scores=tables,
        far_from=far_from,
        paired=True,
        collapsed={name: len(seeds) for name, seeds in collapsed.items()},
        items=items,
    )
    basis = Basis(
        metric=metric,
        fractions=bool(scores["value"].abs().max() <= 1),
        source=base.runs[0].source,
        distance=label,
        baseline=base.name,
        selection={method.name: selection_of(method.runs) for method in methods},
        runs={method.name: len(method.runs) for method in methods},
        collapsed=collapsed,
        notes=(
            *_source_notes(base, methods),
            *arithmetic_notes(sound),
            *caching_notes(sound),
            *notes,
            *(items.missing if items else ()),
        ),
        left_out=tuple(left_out),
    )
    return tuple(methods), group, basis


def _source_notes(baseline: Method, methods: Sequence[Method]) -> list[str]:
    """Return a note for each method with other sources than the baseline."""
    of_baseline = baseline.runs[0].sources
    return [
        f"`{method.name}` was trained on {', '.join(sources)}, the baseline on {', '.join(of_baseline)}: they are compared in the"
        " targets of both"
        for method in methods
        if (sources := method.runs[0].sources) != of_baseline
    ]


def target_scores(collection: Collection, metric: str) -> pd.DataFrame:
    """Return the test scores of the targets without collapsed runs, with seeds as strings."""
    scores = sound_scores(collection.scores, metric)
    return scores[scores["near_or_far"] != "source"].astype({"seed": str})


def nothing_left(baseline: str, left_out: Sequence[str]) -> InputError:
    """Return the error for a baseline without comparable methods."""
    reasons = "".join(f"\n  {line}" for line in left_out)
    left = f"; {len(left_out)} left out:{reasons}\n" if left_out else ". "
    return InputError(
        f"Nothing is left to compare with `{baseline}`{left}Name methods that have runs of the same task, data, model and source."
    )


def differences(baseline: Method, method: Method) -> list[Difference]:
    """Return all settings, data and circumstances in which a method differs from the baseline."""
    before, after = _described(baseline), _described(method)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return [Difference(method.name, key, before.get(key), after.get(key)) for key in keys]


def _described(method: Method) -> dict[str, Any]:
    """Return a method's settings, fingerprints and circumstances, with multiple values joined."""

    def joined(values: Iterable[object]) -> str | None:
        return " and ".join(sorted({str(value) for value in values if value not in (None, "")})) or None

    records = [run.provenance for run in method.runs]
    return {
        **method.settings,
        **{f"data.{key}": joined(_print(run, key)[:8] for run in method.runs) for key in _DATA},
        "run.git_commit": joined(map(_commit, records)),
        "run.arithmetic": joined(run.arithmetic for run in method.runs),
        **{f"run.{key}": joined(record.get(key) for record in records) for key in _MACHINE},
        **{f"package.{key}": joined(record.get("packages", {}).get(key) for record in records) for key in _PACKAGES},
    }


def _commit(record: Mapping[str, Any]) -> str:
    return str(record.get("git_commit") or "")[:8] + " (changed)" * bool(record.get("git_dirty"))


def _chosen(collection: Collection, name: str) -> Method:
    """Return the method with this name: its own, its recipe's or `NAME/ID`; the first method for an empty name."""
    methods = collection.methods
    if not name:
        sound = (method for method in methods if method.recipe == methods[0].recipe and not method.collapsed)
        return next(sound, methods[0])
    matches = [method for method in methods if name in (method.name, f"{method.recipe}/{method.id}")]
    matches = matches or [method for method in methods if name == method.recipe]
    if len(matches) > 1:  # an abandoned trial does not stand in the way of the settings that learnt something
        matches = [method for method in matches if not method.collapsed] or matches
    if len(matches) > 1:
        several = "; ".join(f"`{name}/{method.id}` is {method.name}" for method in matches)
        raise InputError(f"Baseline `{name}` is {len(matches)} methods. Say which: {several}.")
    if not matches:
        raise unknown("Baseline", name, [method.name for method in methods])
    return matches[0]


def _obstacle(baseline: Method, method: Method, scores: Wide, metric: str, shared_seeds: bool) -> str | None:
    """Return why a method cannot be compared with the baseline, or None."""
    first, second = baseline.runs[0], method.runs[0]
    if first.source != second.source:
        return f"it was trained on `{second.source}`, the baseline on `{first.source}`"
    if first.task != second.task:
        return f"its task is `{second.task}`, the baseline's is `{first.task}`"
    prints = [_print(run, "model") for run in (first, second)]
    if prints[0] != prints[1] or not all(prints):
        if first.model != second.model:
            return f"its model is `{second.model}`, the baseline's is `{first.model}`"
        if not all(prints):
            return (
                f"whether its model `{second.model}` is the baseline's cannot be checked: there is no fingerprint of it"
            )
        return f"its model `{second.model}` is of other files than the baseline's, by their fingerprints"
    if method.collapsed:
        return method.collapsed
    if method.name not in scores:
        return f"its runs have no `{metric}` of targets"
    before, after = scores[baseline.name], scores[method.name]
    shared = set(map(str, before)) & set(after)
    if not shared:
        return "it has no target language in common with the baseline"
    if shared_seeds and not after.index.isin(before.index).any():
        seeds, of_baseline = (", ".join(sorted(table.index, key=int)) for table in (after, before))
        return f"no seed in common, it has {seeds} and the baseline {of_baseline}"
    return _other_data(first, second, shared)


def _other_data(first: Result, second: Result, shared: set[str]) -> str | None:
    """Return how the data of two runs of one task differ, or None.

    The task's fingerprint covers all languages and labels that a run may read, so it also differs if targets or labelled shots
    do. In that case, or without a fingerprint, the test examples are compared.
    """
    prints = [_print(run, "task") for run in (first, second)]
    if all(prints) and prints[0] == prints[1]:
        return None
    reads = [
        (set(map(str, task["targets"])), task.get("shots", 0) != 0)
        for task in (run.recipe["task"] for run in (first, second))
    ]
    if all(prints) and reads[0] == reads[1]:
        return "its task has other data, by the fingerprints"
    try:
        labels = [
            read_predictions(run.folder).set_index("example_id")[["language", "label"]] for run in (first, second)
        ]
    except InputError as error:
        return f"whether its test examples are the baseline's cannot be checked: {error}"
    for language in sorted(shared):
        before, after = (table.loc[table["language"] == language, "label"].sort_index() for table in labels)
        if not before.equals(after):
            return f"its test examples of `{language}` are not the baseline's"
    return None


def _print(run: Result, name: str) -> str:
    return str(run.fingerprints.get(name) or "")


def _distances(
    baseline: Method,
    methods: Sequence[Method],
    languages: set[str],
    name: str,
    imputed: bool | None,
    matrix: Path | None,
) -> tuple[str, dict[str, float], list[str]]:
    """Return the name of the distance, its value by language, and notes: as stored in the runs, unless another is requested."""
    summary = baseline.runs[0].summary
    if name or matrix or imputed is not None:
        name = name or str(summary.get("distance", "syntactic"))
        if name == "matrix" and not matrix:
            raise InputError(
                "The runs have distances from a matrix of the user's own. Give it with `--matrix`, or choose `--distance`."
            )
        filled = bool(summary.get("imputed", True)) if imputed is None else imputed
        far_from, notes = distances_of(baseline.runs[0].source, languages, name, filled, matrix)
        return distance_label("matrix" if matrix else name, filled), far_from, notes
    label = str(summary.get("distance", ""))
    runs = [method.runs[0] for method in (baseline, *methods)]
    alike = [run for run in runs if str(run.summary.get("distance", "")) == label]
    stored = {row["language"]: row["value"] for run in reversed(alike) for row in run.distances}
    far_from = {code: stored[code] for code in languages & set(stored)}
    notes = [
        f"`{code}` is neither near nor far: the runs have no distance for it"
        for code in sorted(languages - set(stored))
    ]
    return distance_label(label, bool(summary.get("imputed"))), far_from, [*notes, *stored_warnings(alike, far_from)]


def distance_label(name: str, imputed: bool) -> str:
    """Return the name of a distance, marked if gaps are imputed."""
    return f"{name} (imputed)" if imputed and name not in _OBSERVED else name


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
