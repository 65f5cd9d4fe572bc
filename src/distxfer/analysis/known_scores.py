"""Existing scores of a recipe's languages from finished runs, for planning before training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distxfer.config.recipe import Recipe
from distxfer.data import About, load_task, task_names, task_type_named
from distxfer.errors import InputError, listed
from distxfer.results.collect import Collection, Method, collect
from distxfer.results.result import Result
from distxfer.results.settings import settings_of
from distxfer.results.tables import sound_scores


@dataclass(frozen=True)
class KnownScores:
    """The mean test scores over the seeds of one recipe, model and task, and the standard deviation between seeds.

    `settings` names the id used if runs have several; `data` is a remark if the task's data have changed since these
    runs, or their seeds are of several versions of the arithmetic.
    """

    metric: str
    task_type: str
    scores: Mapping[str, float]
    seeds: int
    seed_sd: float | None
    test_size: int
    settings: str = ""
    data: str = ""


def known_scores(recipe: Recipe, results: Path, source: str) -> KnownScores:
    """Return the test scores of finished runs of this recipe's name, model, task and source below a folder.

    Runs of several ids are never mixed: runs on the task's present data are preferred, then runs with the recipe's settings,
    then the id with most seeds. Targets, distance and parallel text do not affect plain fine-tuning and are ignored.
    """
    try:
        collection = collect((), results)
    except InputError:  # there is none that is finished and whole; `distxfer ls runs` names those that are not
        collection = Collection((), ())
    names = recipe.name, recipe.model.name, recipe.task.name, source
    runs_of = {method.name: [run for run in method.runs if not run.collapsed] for method in collection.methods}
    candidates = [
        method
        for method in collection.methods
        if (method.recipe, method.runs[0].model, method.runs[0].task, method.runs[0].source) == names
        and runs_of[method.name]
    ]
    if not candidates:
        task_type = known_task_type(recipe)
        return KnownScores(task_type_named(task_type).metrics[0], task_type, {}, 0, None, 0)
    settings = _comparable(settings_of(recipe.resolved(complete=False)))
    same_data = {method.name: _has_same_data(runs_of[method.name][0], recipe, source) for method in candidates}

    def rank(method: Method) -> tuple[bool, bool, int]:
        same_settings = _comparable(method.settings) == settings
        return same_data[method.name] is True, same_settings, len(runs_of[method.name])

    method = max(candidates, key=rank)
    first = runs_of[method.name][0]
    of_data = {
        True: "",
        False: f"on other data than `{recipe.task.name}` has now",
        None: f"and whether `{recipe.task.name}` has changed since is not known",
    }[same_data[method.name]]
    versions = sorted({run.arithmetic for run in runs_of[method.name]})
    mixed = f"of the versions {listed(versions)} of the arithmetic" if len(versions) > 1 else ""
    scores = sound_scores(collection.scores, first.metric)
    scores = scores[scores["method"] == method.name]
    table = scores.pivot(index="seed", columns="language", values="value").dropna(axis=1)
    sizes = scores.loc[scores["language"].isin(table.columns), "n"].dropna()
    return KnownScores(
        metric=first.metric,
        task_type=first.task_type,
        scores={str(language): float(mean) for language, mean in table.mean().items()},
        seeds=len(table),
        seed_sd=float(table.var().mean() ** 0.5) if len(table) > 1 and table.size else None,
        test_size=round(sizes.mean()) if len(sizes) else 0,
        settings=f"{recipe.name}/{method.id}" if len(candidates) > 1 else "",
        data=", ".join(filter(None, (of_data, mixed))),
    )


def _has_same_data(run: Result, recipe: Recipe, source: str) -> bool | None:
    """Return whether a run's data are those of the recipe's task now, by fingerprint; None if the task cannot be read."""
    settings = run.recipe["task"]
    try:
        task = load_task(
            recipe.task.data, source, tuple(settings["targets"]), target_labels=settings.get("shots", 0) != 0
        )
    except InputError:
        return None
    return bool(task.fingerprint() == run.fingerprints.get("task"))


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that affect plain fine-tuning."""
    ignored = ("task.targets", "task.source", "distance.", "parallel.")
    return {key: value for key, value in settings.items() if not key.startswith(ignored)}


def known_task_type(recipe: Recipe) -> str:
    """Return the task type of a recipe without reading its data."""
    about = task_names().get(recipe.task.name)
    return recipe.task.type or (about.task_type if about else About.task_type)
