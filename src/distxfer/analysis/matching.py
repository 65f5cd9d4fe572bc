"""Which methods can be compared with a baseline, and how they differ from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distxfer.analysis.cells import Cells, Group, middle_of
from distxfer.analysis.compare import distance_label, distances_of
from distxfer.analysis.items import read_items
from distxfer.analysis.one_seed import stored_answers
from distxfer.errors import InputError, unknown
from distxfer.languages import check_distance
from distxfer.results.collect import Collection, Method
from distxfer.results.distances import stored_warnings
from distxfer.results.result import Result
from distxfer.results.selection import selection_of

_SPLIT = "test"
_MEAN_OF_ITEMS = "accuracy"  # the metric that is a mean over test items
# What a method may read beside the task, and what its numbers may depend on beside its settings.
_DATA = ("task", "parallel", "distances", "files")
_MACHINE = ("device", "dtype", "processes", "cpu", "threads")
_PACKAGES = ("distxfer", "torch", "transformers", "peft")


@dataclass(frozen=True)
class Difference:
    """A setting, data set or circumstance in which a method is not like the baseline; None where one has no such thing.

    `key` is a recipe's key, `data.NAME` (the first 8 digits of a fingerprint), `run.NAME` or `package.NAME`.
    """

    method: str
    key: str
    baseline: Any
    value: Any


@dataclass(frozen=True)
class Matched:
    """A baseline and all methods that can be compared with it: their sound runs, and what was left out and why."""

    baseline: Method
    methods: tuple[Method, ...]
    group: Group
    metric: str
    source: str
    distance: str
    notes: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def selection(self) -> dict[str, str]:
        """What chose the checkpoint, by method: `last`, `source_dev` or `target_dev`."""
        return {one.name: selection_of(one.runs) for one in self.methods}

    @property
    def fractions(self) -> bool:
        """Whether no score is above 1."""
        rows = [row for cells in self.group.runs.values() for row in cells.values()]
        return all(abs(value) <= 1 for row in rows for value in row.values())

    @property
    def collapsed(self) -> dict[str, tuple[int, ...]]:
        """The seeds of the runs that learnt nothing, by method."""
        return {
            one.name: tuple(run.data["seed"] for run in one.runs if run.data["status"] == "collapsed")
            for one in self.methods
        }


def match(
    collection: Collection,
    baseline: str = "",
    metric: str = "",
    distance_name: str = "",
    imputed: bool | None = None,
    matrix: Path | None = None,
) -> Matched:
    """Return the methods of a collection that share source, task, data, model and metric with the baseline.

    The baseline is the method of that name (or recipe, or `NAME/ID`), the first where none is given; the metric is the
    baseline's, and so are the distances, unless others are asked for.

    Raises InputError for a baseline, metric or distance that is not known, a baseline without a sound run, or where no
    method is left, with the reason for each.
    """
    check_distance(distance_name or "syntactic", matrix)
    base = _chosen(collection, baseline)
    metric = metric or base.runs[0].metric
    known = {str(one["metric"]) for run in base.runs for one in run.scores if one["split"] == _SPLIT}
    if metric not in known:
        raise unknown("Metric", metric, known)
    source = str(base.runs[0].data["source"])
    cells = {one.name: sound_scores(one, metric) for one in collection.methods}
    if not cells[base.name]:
        raise InputError(
            f"All {len(base.runs)} runs of the baseline `{base.name}` collapsed: they learnt nothing to compare with."
            " Choose another with `--baseline`, or train it with other settings."
        )
    left_out = list(collection.left_out)
    methods = []
    for one in collection.methods:
        reason = None if one is base else _obstacle(base, one, cells, metric)
        if reason:
            left_out.append(f"`{one.name}` cannot be compared with `{base.name}`: {reason}.")
        else:
            methods.append(one)
    if len(methods) < 2:
        raise nothing_left(base, left_out)
    own = {one.name: cells[one.name] for one in methods}
    languages = {code for runs in own.values() for row in runs.values() for code in row}
    name, far_from, notes = _distances(base, methods, languages, distance_name, imputed, matrix)
    recipe = base.runs[0].data["recipe"]
    collapsed = {one.name: sum(run.data["status"] == "collapsed" for run in one.runs) for one in methods}
    middle = middle_of(own[base.name], far_from)
    folders = {
        (one.name, str(run.data["seed"])): dict.fromkeys(own[one.name][str(run.data["seed"])], run.folder)
        for one in methods
        for run in one.runs
        if str(run.data["seed"]) in own[one.name]
    }
    items = read_items(folders, own) if metric == _MEAN_OF_ITEMS else None
    notes = [*notes, *(items.missing if items else ())]
    names = recipe["model"]["name"], recipe["task"]["name"]
    group = Group(*names, base.name, own, far_from, middle, True, collapsed, items)
    return Matched(base, tuple(methods), group, metric, source, name, tuple(notes), tuple(left_out))


def nothing_left(baseline: Method, left_out: Sequence[str]) -> InputError:
    """Return the error for a baseline that nothing can be compared with."""
    reasons = "".join(f"\n  {one}" for one in left_out)
    return InputError(
        f"Nothing is left to compare with `{baseline.name}`{f'; {len(left_out)} left out:' if left_out else '.'}{reasons}"
        + ("\n" if left_out else " ")
        + "Name methods that have runs of the same task, data, model and source."
    )


def differences(baseline: Method, method: Method) -> tuple[Difference, ...]:
    """Return all settings, then data and circumstances, in which a method is not like the baseline."""
    own, base = _described(method), _described(baseline)
    keys = dict.fromkeys([*base, *own])
    return tuple(
        Difference(method.name, key, base.get(key), own.get(key)) for key in keys if base.get(key) != own.get(key)
    )


def _described(method: Method) -> dict[str, Any]:
    """Return a method's settings, fingerprints and circumstances; several values of one are joined."""

    def every(values: Sequence[object]) -> str | None:
        return " and ".join(sorted({str(one) for one in values if one not in (None, "")})) or None

    made = [run.data["provenance"] for run in method.runs]
    return {
        **method.settings,
        **{f"data.{key}": every([_print(run, key)[:8] for run in method.runs]) for key in _DATA},
        "run.git_commit": every([_commit(one) for one in made]),
        **{f"run.{key}": every([one.get(key) for one in made]) for key in _MACHINE},
        **{f"package.{key}": every([one.get("packages", {}).get(key) for one in made]) for key in _PACKAGES},
    }


def _commit(made: Mapping[str, Any]) -> str:
    return str(made.get("git_commit") or "")[:8] + " (changed)" * bool(made.get("git_dirty"))


def _chosen(collection: Collection, name: str) -> Method:
    """Return the method that a name means: its own, its recipe's or `NAME/ID`; the first where there is no name."""
    recipes = [(one, str(one.runs[0].data["recipe"]["name"])) for one in collection.methods]
    if not name:
        first, own = recipes[0]
        return next((method for method, recipe in recipes if recipe == own and not method.collapsed), first)
    found = [one for one, recipe in recipes if name in (one.name, f"{recipe}/{one.id}")]
    found = found or [one for one, recipe in recipes if name == recipe]
    if len(found) > 1:  # an abandoned trial does not stand in the way of the settings that learnt something
        found = [method for method in found if not method.collapsed] or found
    if len(found) > 1:
        several = "; ".join(f"`{name}/{one.id}` is {one.name}" for one in found)
        raise InputError(f"Baseline `{name}` is {len(found)} methods. Say which: {several}.")
    if not found:
        raise unknown("Baseline", name, [one.name for one in collection.methods])
    return found[0]


def sound_scores(method: Method, metric: str) -> Cells:
    """Return the test scores of the runs that did not collapse, by seed and target language."""
    found = {}
    for run in method.runs:
        scores = {
            str(one["language"]): float(one["value"])
            for one in run.scores
            if (one["split"], one["metric"]) == (_SPLIT, metric) and one["language"] != run.data["source"]
        }
        if run.data["status"] != "collapsed" and scores:
            found[str(run.data["seed"])] = scores
    return found


def _obstacle(baseline: Method, method: Method, cells: Mapping[str, Cells], metric: str) -> str | None:
    """Return why a method cannot be compared with the baseline, None where it can be."""
    first, second = baseline.runs[0], method.runs[0]
    if first.data["source"] != second.data["source"]:
        return f"it was trained on `{second.data['source']}`, the baseline on `{first.data['source']}`"
    tasks = [run.data["recipe"]["task"]["name"] for run in (first, second)]
    if tasks[0] != tasks[1]:
        return f"its task is `{tasks[1]}`, the baseline's is `{tasks[0]}`"
    models = [run.data["recipe"]["model"]["name"] for run in (first, second)]
    prints = [_print(run, "model") for run in (first, second)]
    if prints[0] != prints[1] or not all(prints):
        if models[0] != models[1]:
            return f"its model is `{models[1]}`, the baseline's is `{models[0]}`"
        if not all(prints):
            return f"whether its model `{models[1]}` is the baseline's cannot be checked: there is no fingerprint of it"
        return f"its model `{models[1]}` is of other files than the baseline's, by their fingerprints"
    if method.collapsed:
        return method.collapsed
    if not cells[method.name]:
        return f"its runs have no `{metric}` of targets"
    shared = _languages(cells[baseline.name]) & _languages(cells[method.name])
    return _other_data(first, second, shared) if shared else "it has no target language in common with the baseline"


def _languages(cells: Cells) -> set[str]:
    return {code for row in cells.values() for code in row}


def _other_data(first: Result, second: Result, shared: set[str]) -> str | None:
    """Return in what the data of two runs of one task differ, None where they are the same.

    The task's fingerprint is of all languages and labels that a run may read. So it also differs where targets or labelled
    shots do; then, and where there is none, the test examples themselves are compared.
    """
    prints = [_print(run, "task") for run in (first, second)]
    if all(prints) and prints[0] == prints[1]:
        return None
    reads = [
        (set(map(str, task["targets"])), task.get("shots", 0) != 0)
        for task in (run.data["recipe"]["task"] for run in (first, second))
    ]
    if all(prints) and reads[0] == reads[1]:
        return "its task has other data, by the fingerprints"
    try:
        one, other = (stored_answers(run.folder) for run in (first, second))
    except InputError as error:
        return f"whether its test examples are the baseline's cannot be checked: {error}"
    for language in sorted(shared):
        labels = [{example: label for example, (label, _) in run.get(language, {}).items()} for run in (one, other)]
        if labels[0] != labels[1]:
            return f"its test examples of `{language}` are not the baseline's"
    return None


def _print(run: Result, name: str) -> str:
    return str(run.data["provenance"]["fingerprints"].get(name) or "")


def _distances(
    baseline: Method,
    methods: Sequence[Method],
    languages: set[str],
    name: str,
    imputed: bool | None,
    matrix: Path | None,
) -> tuple[str, dict[str, float], list[str]]:
    """Return the name of the distance, that of each language, and notes: those stored in the runs, or others if asked for."""
    summary = baseline.runs[0].summary
    if name or matrix or imputed is not None:
        name = name or str(summary.get("distance", "syntactic"))
        if name == "matrix" and not matrix:
            raise InputError(
                "The runs have distances from a matrix of the user's own. Give it with `--matrix`, or choose `--distance`."
            )
        filled = bool(summary.get("imputed", True)) if imputed is None else imputed
        source = str(baseline.runs[0].data["source"])
        far_from, notes = distances_of(source, languages, name, filled, matrix)
        return distance_label("matrix" if matrix else name, filled), far_from, notes
    stored: dict[str, float] = {}
    label = str(summary.get("distance", ""))
    for method in (baseline, *methods):
        if str(method.runs[0].summary.get("distance", "")) == label:
            for one in method.runs[0].data["distances"]:
                stored.setdefault(str(one["language"]), float(one["value"]))
    missing = sorted(languages - set(stored))
    notes = [f"`{code}` is neither near nor far: the runs have no distance for it" for code in missing]
    kept = {code: stored[code] for code in languages & set(stored)}
    same = [one.runs[0].data for one in (baseline, *methods) if str(one.runs[0].summary.get("distance", "")) == label]
    return distance_label(label, bool(summary.get("imputed"))), kept, [*notes, *stored_warnings(same, kept)]
