"""What the reference study lists, in `studies/emoji`, and what its runs gave, in `results`: data for its tables.

New runs go to `RUNS`, and the tables are of the runs in `TABLES`. These are two folders: the committed runs were trained with
the class `WITHOUT`, which the task has no longer, and must not be mixed with new ones. When the study has been run anew, set
`TABLES` to `RUNS` and `WITHOUT` to "".
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from distxfer.config.recipe import load_recipe
from distxfer.results.result import Result, read_result
from distxfer.results.tables import read_predictions

ROOT = Path(__file__).parents[2]
STUDY = Path(__file__).parent
RUNS = ROOT / "results"
TABLES = RUNS / "emoji-with-flags"
WITHOUT = "Flags"
RESULTS = TABLES / "reference"
CHOICES = TABLES / "choices"
EVIDENCE = STUDY / "evidence.toml"
BASELINE = "plain"


@dataclass(frozen=True)
class Outcome:
    """What one seed of a method gave: test accuracy by language, in percent, and the forward passes it took.

    `folders` has the run that a target's accuracy is of.
    """

    folders: Mapping[str, Path]
    accuracy: Mapping[str, float]
    forwards: float
    collapsed: bool


@dataclass(frozen=True)
class Method:
    """A row of the study: its seeds, the text it uses besides the source's labels, and what it was chosen on.

    A method of several `recipes` trains one model with each, and a language's score is that of the models that had no
    parallel text in it (the source's: of all).
    """

    name: str
    recipes: tuple[str, ...]
    seeds: tuple[int, ...]
    text: str
    chosen: str
    headline: bool

    def outcomes(self, without: str = "") -> dict[int, Outcome]:
        """Return seed -> what it gave on the examples that are not of the class `without`, by the seeds that all recipes have."""
        found = [results(recipe) for recipe in self.recipes]
        seeds = [seed for seed in self.seeds if all(seed in one for one in found)]
        return {seed: _outcome([one[seed] for one in found], without) for seed in seeds}


def read_study(folder: Path = STUDY) -> list[Method]:
    """Return the methods of the study, in its order."""
    study = tomllib.loads((folder / "study.toml").read_text(encoding="utf-8"))
    return [
        Method(
            name=one["name"],
            recipes=tuple(one.get("recipes", [one["name"]])),
            seeds=tuple(study[f"{one['group']}_seeds"]),
            text=one["text"],
            chosen=one["chosen"],
            headline=one["group"] == "headline",
        )
        for one in study["method"]
    ]


def recipe_file(recipe: str) -> str:
    """Return the file of a recipe, from the root of the checkout: the study's own, or a shipped one."""
    own = STUDY / "recipes" / f"{recipe}.toml"
    return str((own if own.is_file() else ROOT / "recipes" / f"{recipe}.toml").relative_to(ROOT))


@dataclass(frozen=True)
class Candidate:
    """Settings that were tried before one was chosen: a recipe with overrides; `chosen` names the recipe that has them."""

    recipe: str
    settings: tuple[str, ...]
    seeds: tuple[int, ...]
    chosen: str

    def results(self) -> list[Result]:
        """Return its finished runs, by seed: those of whose recipe every setting is the same but the seed."""
        asked = _settings(load_recipe(recipe_file(self.recipe), self.settings).resolved(complete=False))
        found = [read_result(path) for path in sorted((CHOICES / self.recipe).glob("*-s*"))]
        own = [one for one in found if one is not None and _settings(one.data["recipe"]) == asked]
        return sorted(own, key=lambda one: int(one.data["seed"]))


def _settings(recipe: Mapping[str, Any]) -> Any:
    """Return a recipe as JSON has it, without the seed and the targets: a result lists them, a recipe may say `all`."""
    return json.loads(json.dumps({**recipe, "seed": None, "task": {**recipe["task"], "targets": None}}))


def read_choices() -> tuple[list[str], list[Candidate]]:
    """Return the target languages whose dev sets were looked at, and all that was tried, in the file's order."""
    choices = tomllib.loads((STUDY / "choices.toml").read_text(encoding="utf-8"))
    return choices["languages"], [
        Candidate(
            recipe=one["recipe"],
            settings=tuple(one.get("settings", ())),
            seeds=tuple(one.get("seeds", choices["seeds"])),
            chosen=one.get("chosen", ""),
        )
        for one in choices["candidate"]
    ]


def results(recipe: str) -> dict[int, Result]:
    """Return seed -> result of a recipe of the study."""
    return results_in(RESULTS / recipe)


def results_in(folder: Path) -> dict[int, Result]:
    """Return seed -> result; two ids would be two experiments under one name, so that is an error."""
    found = [one for path in sorted(folder.glob("*-s*")) if (one := read_result(path)) is not None]
    if len({one.data["id"] for one in found}) > 1:
        raise SystemExit(f"`{folder}` holds results of several recipes; remove what is old.")
    return {one.data["seed"]: one for one in found}


def accuracy(run: Result, language: str, without: str = "") -> float:
    """Return the test accuracy in percent on the examples of a language that are not of the class `without`."""
    return 100 * (_accuracies(run.folder, without)[language] if without else run.score(language))


@cache
def _accuracies(folder: Path, without: str) -> Mapping[str, float]:
    """Return language -> the share of right predictions in a run, over the examples that are not of the class `without`."""
    rows = read_predictions(folder).query("label != @without")
    right = rows["label"] == rows["prediction"]
    return {str(language): fmean(part) for language, part in right.groupby(rows["language"])}


def _outcome(runs: Sequence[Result], without: str) -> Outcome:
    def without_text(language: str) -> list[Result]:
        used = [one.data["recipe"]["intervention"].get("align", {}).get("languages", ()) for one in runs]
        return [one for one, languages in zip(runs, used, strict=True) if len(runs) == 1 or language not in languages]

    languages = [runs[0].data["source"], *runs[0].summary["near"], *runs[0].summary["far"]]
    return Outcome(
        folders={code: own[0].folder for code in languages[1:] if len(own := without_text(code)) == 1},
        accuracy={code: fmean(accuracy(one, code, without) for one in without_text(code)) for code in languages},
        forwards=sum(one.data["cost"]["forwards_per_step"] * one.data["cost"]["steps"] for one in runs),
        collapsed=any(one.data["status"] == "collapsed" for one in runs),
    )
