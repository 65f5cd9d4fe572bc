"""Plans the work on a new language, and carries it out: data, proposal, training with k seeds, evaluation."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from distxfer.config.files import shipped_folder
from distxfer.config.recipe import Recipe, load_recipe
from distxfer.data import Example, load_task
from distxfer.errors import InputError
from distxfer.language_facts import Fact, language_facts, seed_spread
from distxfer.languages import canonical, language_name
from distxfer.measure import smallest_gain
from distxfer.new_language.evaluate import Evaluation, evaluate
from distxfer.new_language.language_data import LanguageData, LanguageFiles, write_language_data
from distxfer.new_language.proposal import BASELINE, Proposal, chosen, proposals
from distxfer.new_language.workspace import (
    DistanceNote,
    contents,
    distance_note,
    recipe_text,
    replace_changed,
    split_words,
    workspace_recipe,
)
from distxfer.results.descriptions import corpus_lines
from distxfer.results.result import Result, read_result
from distxfer.runs.run import outlook, train
from distxfer.training import Report

Notice = Callable[[str], None]
FOLDER = "new-language"

_MOST_SEEDS = 1000  # the same limit as for sweeps


@dataclass(frozen=True)
class Estimate:
    """The expected cost of the runs: how many remain, their seconds on this machine, and the smallest gain they can show.

    `basis` says what the seconds are estimated from, `corpora` describes the parallel text of the recipes. `expected` is the
    fact with the expected score of plain fine-tuning; `smallest` is None without one.
    """

    runs: int
    seconds: float
    basis: str
    expected: Fact
    smallest: float | None
    corpora: tuple[str, ...]


@dataclass(frozen=True)
class LanguagePlan:
    """The facts on a new language, and the proposal, before training.

    `base` is plain fine-tuning on the given task. `folder` has the language's data and recipes; `recipes` are the files of
    the baseline and the proposal. `distance` is a substitute for a distance that is missing in URIEL. `contents` is the hash
    of data and recipes, which detects changes.
    """

    key: str
    source: str
    task: str
    seeds: int
    folder: Path
    base: Recipe
    facts: Sequence[Fact]
    data: LanguageData
    distance: DistanceNote | None
    proposal: Proposal
    alternatives: Sequence[Proposal]
    recipes: tuple[Path, Path]
    contents: str

    @property
    def name(self) -> str:
        """The language's English name."""
        return language_name(self.key)


@dataclass(frozen=True)
class LanguageOutcome:
    """The outcome of a plan: the runs of the baseline and the method by seed, and their comparison.

    `use` is the recipe recommended by `evaluation.advice`, or None; `model` is that of its first seed that did not collapse,
    a choice that does not depend on test labels.
    """

    plan: LanguagePlan
    baseline: dict[int, Result]
    method: dict[int, Result]
    evaluation: Evaluation
    use: str | None
    model: Path | None


def plan_language(
    code: str, files: LanguageFiles, words: Sequence[str], results: Path, *, seeds: int = 3, recipe: str = ""
) -> LanguagePlan:
    """Collect the facts on a language, write its data below `results`, and propose a recipe, without training.

    `words` are overrides as for `distxfer train`; `recipe` names a recipe to use instead of the proposal.

    Raises InputError for an unknown language, unreadable files, and a recipe that cannot be used.
    """
    if not 1 <= seeds <= _MOST_SEEDS:
        raise InputError(f"`--seeds` is {seeds}; expected 1 to {_MOST_SEEDS:,}, and at least 3 for a claim.")
    key = canonical(code)
    common, proposal_words = split_words(words)
    plain = shipped_folder() / f"{BASELINE}.toml"
    base = load_recipe(str(plain), common)
    source = base.task.single_source
    if key == source:
        raise InputError(f"`{key}` is the source itself, which needs no transfer. Name another language.")
    folder = results / FOLDER / key
    distance = distance_note(key, source, base, files)
    with tempfile.TemporaryDirectory(prefix="distxfer-") as name:
        stage = Path(name)
        data = write_language_data(stage, key, source, base, files)
        candidates = proposals(data, base.model.name)
        proposal = chosen(recipe, data, base.model.name) if recipe else candidates[0]
        alternatives = tuple(candidate for candidate in candidates if candidate.recipe != proposal.recipe)
        facts = _facts(key, base, results, files, distance, stage)
        matrix = folder / distance.file if distance else None
        sources = {BASELINE: (plain, common), proposal.recipe: (proposal.file, [*common, *proposal_words])}
        texts = {
            f"{name}.toml": recipe_text(workspace_recipe(file, folder, key, overrides, data, matrix), key)
            for name, (file, overrides) in sources.items()
        }
        paths = (folder / f"{BASELINE}.toml", folder / f"{proposal.recipe}.toml")
        digest = replace_changed(stage, folder, texts | ({distance.file: distance.csv} if distance else {}), paths)
    return LanguagePlan(
        key, source, base.task.name, seeds, folder, base, facts, data, distance, proposal, alternatives, paths, digest
    )


def estimate_language(plan: LanguagePlan, results: Path) -> Estimate:
    """Return the expected cost of a plan's runs, after timing a few steps of each recipe.

    Finished runs of `plain` on the same task in `results` determine the expected score and the variation between seeds.
    Raises InputError for errors that only loading the encoder reveals, such as a layer that it does not have.
    """
    runs, seconds, basis, texts = 0, 0.0, "", {}
    for path in plan.recipes:
        forecast = outlook(load_recipe(str(path)), plan.folder)
        identity = forecast.folder.name.rpartition("-s")[0]
        folders = [forecast.folder.with_name(f"{identity}-s{seed}") for seed in range(plan.seeds)]
        remaining = sum(read_result(folder) is None for folder in folders)
        runs += remaining
        seconds += remaining * (forecast.training_seconds + forecast.measuring_seconds)
        basis = forecast.basis
        texts[path.stem] = [forecast.parallel]
    expected = next(fact for fact in plan.facts if fact.section == "expected")
    can_be_shown = any(fact.measure == "smallest_gain" and fact.value is not None for fact in plan.facts)
    spread, smallest = seed_spread(plan.base, results), None
    if can_be_shown and isinstance(expected.value, float) and spread is not None:
        smallest = smallest_gain(plan.data.tests, plan.seeds, accuracy=expected.value, seed_sd=spread)
    return Estimate(runs, seconds, basis, expected, smallest, tuple(corpus_lines(texts)))


def carry_out(
    plan: LanguagePlan,
    *,
    report: Report = lambda phase, step, steps, loss: None,
    notice: Notice = lambda text: None,
) -> LanguageOutcome:
    """Train the baseline and the method with every seed as `distxfer train` does, and compare them.

    Finished runs are not repeated, interrupted ones are resumed. `report` and `notice` are called with the progress.

    Raises InputError if data or recipes change in between.
    """
    runs_of: tuple[dict[int, Result], dict[int, Result]] = ({}, {})
    for seed in range(plan.seeds):
        for path, runs in zip(plan.recipes, runs_of, strict=True):
            number = 1 + sum(map(len, runs_of))
            notice(f"Run {number} of {plan.seeds * len(plan.recipes)}: {path.stem}, seed {seed}.")
            _check_unchanged(plan)
            runs[seed] = train(load_recipe(str(path), [f"seed={seed}"]), plan.folder, report=report, notice=notice)
            _check_unchanged(plan)
    questions, classes = _test(plan)
    evaluation = evaluate(plan.key, *runs_of, questions, output=plan.data.output, classes=classes)
    recipes = {"baseline": (BASELINE, runs_of[0]), "method": (plan.proposal.recipe, runs_of[1])}
    use, runs = recipes.get(evaluation.advice, (None, {}))
    sound = [run for run in runs.values() if not run.collapsed]
    return LanguageOutcome(plan, *runs_of, evaluation, use, sound[0].folder / "model" if sound else None)


def _check_unchanged(plan: LanguagePlan) -> None:
    if contents(plan.folder, plan.recipes) != plan.contents:
        raise InputError(
            f"The data or recipes in `{plan.folder}` are not those that this call wrote: another call has replaced them."
            " Run this one again, and the other one with another `--results`."
        )


def _test(plan: LanguagePlan) -> tuple[dict[str, Example] | None, int]:
    """Return the questions by id (for question answering), and the number of classes (for classification)."""
    if plan.data.output == "token":
        return None, 0
    task = load_task(load_recipe(str(plan.recipes[0])).task.data, plan.source, (plan.key,))
    if plan.data.output == "text":
        return None, len(task.labels)
    return {example.id: example for example in task.examples("test", plan.key)}, 0


def _facts(
    key: str, base: Recipe, results: Path, files: LanguageFiles, distance: DistanceNote | None, stage: Path
) -> list[Fact]:
    """Return the facts of `distxfer language`, with the distance of the relatives if it replaces the language's own."""
    if distance is not None and distance.usable:
        (stage / distance.file).write_text(distance.csv, encoding="utf-8", newline="\n")
        base = replace(base, distance=base.distance.model_copy(update={"matrix": str(stage / distance.file)}))
    return language_facts(
        key, base, results, text=files.text, parallel=files.parallel, is_labelled=files.labelled is not None
    )
