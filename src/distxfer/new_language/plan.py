"""A new language from beginning to end: looked at, laid down, proposed for, trained with k seeds, and judged."""

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
from distxfer.new_language.language_data import Given, Has, lay_down
from distxfer.new_language.proposal import BASELINE, Proposal, chosen, proposals
from distxfer.new_language.workspace import (
    DistanceNote,
    comment_of,
    contents,
    distance_note,
    recipe_text,
    settle,
    split_words,
    workspace_recipe,
)
from distxfer.results.corpus import corpus_lines
from distxfer.results.result import Result, read_result
from distxfer.runs.run import outlook, train
from distxfer.training import Report

Notice = Callable[[str], None]
FOLDER = "new-language"

_MOST_SEEDS = 1000  # as a sweep refuses more runs


@dataclass(frozen=True)
class Estimate:
    """What to expect of the runs: how many are to be done, the seconds they take here, the smallest gain they can show.

    `basis` says what the seconds of each recipe are estimated from, `corpora` which parallel text the recipes have.

    `expected` is the fact of the check that says which score plain fine-tuning may have; `smallest` is None where it says
    nothing.
    """

    runs: int
    seconds: float
    basis: str
    expected: Fact
    smallest: float | None
    corpora: tuple[str, ...]


@dataclass(frozen=True)
class LanguagePlan:
    """What is known of a new language and what is proposed: all that there is before training.

    `base` is plain fine-tuning on the task as it was given. `folder` holds the language's data and recipes; `recipes` are the
    files of the baseline and of what is proposed, in this order. `others` are what else could be tried. `distance` says what
    stands in for a distance that URIEL does not have. `contents` is the hash of data and recipes, by which it is seen whether
    they are still there.
    """

    key: str
    source: str
    task: str
    seeds: int
    folder: Path
    base: Recipe
    facts: Sequence[Fact]
    has: Has
    distance: DistanceNote | None
    proposal: Proposal
    others: Sequence[Proposal]
    recipes: tuple[Path, Path]
    contents: str

    @property
    def name(self) -> str:
        """The language's English name."""
        return language_name(self.key)


@dataclass(frozen=True)
class LanguageOutcome:
    """A plan that has been carried out: the runs of the baseline and of the method by seed, and how they compare.

    `use` is the recipe that `evaluation.advice` says to use, None where it is nothing; `model` is that of its first sound
    seed, chosen before any test label was looked at.
    """

    plan: LanguagePlan
    baseline: dict[int, Result]
    method: dict[int, Result]
    evaluation: Evaluation
    use: str | None
    model: Path | None


def plan_language(
    code: str, given: Given, words: Sequence[str], results: Path, *, seeds: int = 3, recipe: str = ""
) -> LanguagePlan:
    """Look at a language, lay its data down below `results`, and propose a recipe; nothing is trained.

    `words` are overrides as of `distxfer train`; `recipe` names one in place of what is proposed.

    Raises InputError for an unknown language, files that cannot be read, a recipe that cannot be used.
    """
    if seeds > _MOST_SEEDS:
        raise InputError(f"`--seeds` is {seeds}; expected at most {_MOST_SEEDS:,}, and 3 for a claim.")
    if seeds < 1:
        raise InputError(f"`--seeds` is {seeds}; expected at least 1, and 3 for a claim.")
    key = canonical(code)
    common, own = split_words(words)
    plain = shipped_folder() / f"{BASELINE}.toml"
    base = load_recipe(str(plain), common)
    source = canonical(base.task.source)
    if key == source:
        raise InputError(f"`{key}` is the source itself, which needs no transfer. Name another language.")
    folder = results / FOLDER / key
    far = distance_note(key, source, base, given)
    with tempfile.TemporaryDirectory(prefix="distxfer-") as name:
        stage = Path(name)
        has = lay_down(stage, key, source, base, given)
        proposal, others = _proposed(recipe, has, base.model.name)
        facts = _facts(key, base, results, given, far, stage)
        matrix = folder / far.file if far else None
        files = {BASELINE: plain, proposal.recipe: proposal.file}
        made = {
            name: workspace_recipe(file, folder, key, [*common, *(own if name != BASELINE else ())], has, matrix)
            for name, file in files.items()
        }
        notes = {BASELINE: comment_of(None, key), proposal.recipe: comment_of(proposal, key)}
        texts = {f"{name}.toml": recipe_text(one, notes[name]) for name, one in made.items()}
        paths = (folder / f"{BASELINE}.toml", folder / f"{proposal.recipe}.toml")
        laid = settle(stage, folder, texts | ({far.file: far.csv} if far else {}), paths)
    return LanguagePlan(
        key, source, base.task.name, seeds, folder, base, facts, has, far, proposal, others, paths, laid
    )


def estimate_language(plan: LanguagePlan, results: Path) -> Estimate:
    """Return what the runs of a plan will take, having timed a few steps of each recipe.

    `results` is where finished runs of `plain` on the same task are looked for, which say what score to expect and how seeds
    differ. Raises InputError for what only the encoder can tell of a recipe, such as a layer that it does not have.
    """
    runs, seconds, basis, texts = 0, 0.0, "", {}
    for path in plan.recipes:
        one = outlook(load_recipe(str(path)), plan.folder)
        folders = [one.folder.with_name(_with_seed(one.folder, seed)) for seed in range(plan.seeds)]
        left = sum(read_result(folder) is None for folder in folders)
        runs += left
        seconds += left * (one.training_seconds + one.measuring_seconds)
        basis = one.basis
        texts[path.stem] = [one.parallel]
    expected = next(one for one in plan.facts if one.section == "expected")
    can_be_shown = any(one.measure == "smallest_gain" and one.value is not None for one in plan.facts)
    spread, smallest = seed_spread(plan.base, results), None
    if can_be_shown and isinstance(expected.value, float) and spread is not None:
        smallest = smallest_gain(plan.has.tests, plan.seeds, accuracy=expected.value, seed_sd=spread)
    return Estimate(runs, seconds, basis, expected, smallest, tuple(corpus_lines(texts)))


def carry_out(
    plan: LanguagePlan,
    *,
    report: Report = lambda phase, step, steps, loss: None,
    notice: Notice = lambda text: None,
) -> LanguageOutcome:
    """Train the baseline and the method with every seed, in `distxfer train`'s own way, and compare them.

    Runs that are done are not run again; one that was stopped goes on. `report` and `notice` are told what is going on.

    Raises InputError where data or recipes change in between.
    """
    found: tuple[dict[int, Result], dict[int, Result]] = ({}, {})
    for seed in range(plan.seeds):
        for path, runs in zip(plan.recipes, found, strict=True):
            notice(f"{path.stem}, seed {seed} (of {plan.seeds})")
            _check_unchanged(plan)
            runs[seed] = train(load_recipe(str(path), [f"seed={seed}"]), plan.folder, report=report, notice=notice)
            _check_unchanged(plan)
    questions, classes = _test(plan)
    evaluation = evaluate(plan.key, *found, questions, output=plan.has.output, classes=classes)
    recipes = {"baseline": (BASELINE, found[0]), "method": (plan.proposal.recipe, found[1])}
    use, runs = recipes.get(evaluation.advice, (None, {}))
    sound = [run for run in runs.values() if run.data["status"] == "done"]
    return LanguageOutcome(plan, *found, evaluation, use, sound[0].folder / "model" if sound else None)


def _check_unchanged(plan: LanguagePlan) -> None:
    if contents(plan.folder, plan.recipes) != plan.contents:
        raise InputError(
            f"The data or recipes in `{plan.folder}` are not those that this call has laid down: another one has put its own"
            " there. Run this one again, and the other one with another `--results`."
        )


def _test(plan: LanguagePlan) -> tuple[dict[str, Example] | None, int]:
    """Return what the predictions of runs do not say: questions by id, with all answers and their text; how many classes."""
    if plan.has.output == "token":
        return None, 0
    task = load_task(load_recipe(str(plan.recipes[0])).task.data, plan.source, (plan.key,))
    if plan.has.output == "text":
        return None, len(task.labels)
    return {example.id: example for example in task.examples("test", plan.key)}, 0


def _proposed(recipe: str, has: Has, model: str) -> tuple[Proposal, tuple[Proposal, ...]]:
    every = proposals(has, model)
    first = chosen(recipe, has, model) if recipe else every[0]
    return first, tuple(one for one in every if one.recipe != first.recipe)


def _facts(key: str, base: Recipe, results: Path, given: Given, far: DistanceNote | None, stage: Path) -> list[Fact]:
    """Return the check of `distxfer language`, by the distance of the relatives where they stand in for the language's."""
    if far is not None and far.known:
        (stage / far.file).write_text(far.csv, encoding="utf-8", newline="\n")
        base = replace(base, distance=base.distance.model_copy(update={"matrix": str(stage / far.file)}))
    return language_facts(key, base, results, text=given.text, parallel=given.parallel)


def _with_seed(folder: Path, seed: int) -> str:
    return f"{folder.name.rpartition('-s')[0]}-s{seed}"
