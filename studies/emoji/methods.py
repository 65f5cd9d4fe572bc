"""The methods of the reference study and the outcomes of their runs.

New runs are written to `RUNS`; the tables are made from the runs in `TABLES`. The folders differ because the committed runs
were trained with the class `WITHOUT`, which the task no longer has, and must not be mixed with new ones. Once the study has
been repeated, set `TABLES` to `RUNS` and `WITHOUT` to "".
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

from distxfer.results.result import Result, read_result
from distxfer.results.tables import read_predictions

ROOT = Path(__file__).parents[2]
STUDY = Path(__file__).parent
RUNS = ROOT / "results"
TABLES = RUNS / "emoji-with-flags"
WITHOUT = "Flags"
RESULTS = TABLES / "reference"
EVIDENCE = STUDY / "evidence.toml"
BASELINE = "plain"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one seed of a method: test accuracy by language in percent, and the number of forward passes.

    `folders` maps a target to the run that its accuracy comes from.
    """

    folders: Mapping[str, Path]
    accuracy: Mapping[str, float]
    forwards: float
    collapsed: bool


@dataclass(frozen=True)
class Method:
    """A method of the study: its seeds, the text it uses besides the source's labels, and what its settings were chosen on.

    A method with several `recipes` trains one model with each. A target is scored by the models that had no parallel text in
    it, and the source by all of them.
    """

    name: str
    recipes: tuple[str, ...]
    seeds: tuple[int, ...]
    text: str
    chosen: str
    headline: bool

    def outcomes(self, without: str = "") -> dict[int, Outcome]:
        """Return the outcome by seed on the examples outside the class `without`, for the seeds that all recipes have."""
        return outcomes_in(RESULTS, self, without)


@cache
def outcomes_in(folder: Path, method: Method, without: str) -> dict[int, Outcome]:
    """Return the outcome by seed of a method's runs below a folder, which must not change meanwhile."""
    by_recipe = [results_in(folder / recipe) for recipe in method.recipes]
    seeds = [seed for seed in method.seeds if all(seed in runs for runs in by_recipe)]
    return {seed: _outcome([runs[seed] for runs in by_recipe], without) for seed in seeds}


def read_study(folder: Path = STUDY) -> list[Method]:
    """Return the methods of a study in the order of its `study.toml`."""
    study = tomllib.loads((folder / "study.toml").read_text(encoding="utf-8"))
    return [
        Method(
            name=row["name"],
            recipes=tuple(row.get("recipes", [row["name"]])),
            seeds=tuple(study[f"{row['group']}_seeds"]),
            text=row["text"],
            chosen=row["chosen"],
            headline=row["group"] == "headline",
        )
        for row in study["method"]
    ]


def recipe_file(recipe: str) -> str:
    """Return the path of a recipe relative to the checkout: the study's own, or a shipped one."""
    study_file = STUDY / "recipes" / f"{recipe}.toml"
    return str((study_file if study_file.is_file() else ROOT / "recipes" / f"{recipe}.toml").relative_to(ROOT))


def results(recipe: str) -> dict[int, Result]:
    """Return the results of a recipe of the study by seed."""
    return results_in(RESULTS / recipe)


def results_in(folder: Path) -> dict[int, Result]:
    """Return the results in a folder by seed. Raises SystemExit if they have different ids."""
    runs = [run for path in sorted(folder.glob("*-s*")) if (run := read_result(path)) is not None]
    if len({run.id for run in runs}) > 1:
        raise SystemExit(f"`{folder}` holds results of several recipes; remove what is old.")
    return {run.seed: run for run in runs}


def accuracy(run: Result, language: str, without: str = "") -> float:
    """Return the test accuracy in percent on a language's examples outside the class `without`."""
    return 100 * (_accuracies(run.folder, without)[language] if without else run.score(language))


@cache
def _accuracies(folder: Path, without: str) -> Mapping[str, float]:
    """Return a run's accuracy by language, as a fraction, on the examples outside the class `without`."""
    rows = read_predictions(folder).query("label != @without")
    right = rows["label"] == rows["prediction"]
    return {str(language): fmean(part) for language, part in right.groupby(rows["language"])}


def _outcome(runs: Sequence[Result], without: str) -> Outcome:
    def without_text(language: str) -> list[Result]:
        aligned = [run.recipe["intervention"].get("align", {}).get("languages", ()) for run in runs]
        return [
            run for run, languages in zip(runs, aligned, strict=True) if len(runs) == 1 or language not in languages
        ]

    languages = [runs[0].source, *runs[0].summary["near"], *runs[0].summary["far"]]
    scored_by = {code: without_text(code) for code in languages}
    return Outcome(
        folders={code: scored_by[code][0].folder for code in languages[1:] if len(scored_by[code]) == 1},
        accuracy={code: fmean(accuracy(run, code, without) for run in scored_by[code]) for code in languages},
        forwards=sum(run.cost["forwards_per_step"] * run.cost["steps"] for run in runs),
        collapsed=any(run.collapsed for run in runs),
    )
