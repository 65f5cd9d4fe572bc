"""The reference study: run what `recipes/study/_study.toml` lists and has not been run, and write its tables.

`python scripts/study.py` runs everything, with NAMEs only these methods, with `--tables` nothing: it writes the tables of
what is there. Each run is what `distxfer train recipe=... seed=... --results results/reference` does; one that
is done is skipped, one that was stopped goes on. The trained models are removed: the study keeps the small files.
"""

import argparse
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from distxfer.experiments import Comparison, Result, Score, compare, read_result
from distxfer.measure import interval
from distxfer.reports import Table

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "recipes" / "study"
RESULTS = ROOT / "results" / "reference"
BASELINE = "plain"
WEIGHTINGS = ("dist_align", "align_uniform", "align_shuffled")
START, END = "<!-- results: start -->\n", "<!-- results: end -->\n"


@dataclass(frozen=True)
class Outcome:
    """What one seed of a method gave: test accuracy by language, in percent, and the forward passes it took."""

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

    def outcomes(self) -> dict[int, Outcome]:
        """Return seed -> what it gave, for the seeds with which all recipes have been run."""
        found = [results(recipe) for recipe in self.recipes]
        seeds = [seed for seed in self.seeds if all(seed in one for one in found)]
        return {seed: _outcome([one[seed] for one in found]) for seed in seeds}


def main() -> None:
    """Run what is asked for, then write the tables."""
    study = read_study()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these methods")
    parser.add_argument("--tables", action="store_true", help="run nothing, write the tables")
    options = parser.parse_args()
    if unknown := set(options.names) - {one.name for one in study}:
        known = ", ".join(one.name for one in study)
        parser.error(f"the study has no method {', '.join(sorted(unknown))}; it has: {known}")
    methods = [one for one in study if one.name in options.names or not options.names]
    failed = []
    for headline in (True, False) if not options.tables else ():
        group = [one for one in methods if one.headline == headline]
        for seed in sorted({seed for one in group for seed in one.seeds}):
            for recipe in (recipe for one in group if seed in one.seeds for recipe in one.recipes):
                failed += [] if run(recipe, seed) else [f"{recipe} with seed {seed}"]
    write_tables(study)
    if failed:
        raise SystemExit(f"These runs failed, and said why above: {', '.join(failed)}.")


def read_study() -> list[Method]:
    """Return the methods of the study, in its order."""
    study = tomllib.loads((STUDY / "_study.toml").read_text(encoding="utf-8"))
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
    own = STUDY / f"{recipe}.toml"
    return str((own if own.is_file() else STUDY.parent / f"{recipe}.toml").relative_to(ROOT))


def run(recipe: str, seed: int) -> bool:
    """Do one run, unless it is done, keep of it what the study needs, and return whether it went through."""
    command = [sys.executable, "-m", "distxfer", "train", f"recipe={recipe_file(recipe)}", f"seed={seed}"]
    done = subprocess.run([*command, "--results", str(RESULTS.relative_to(ROOT))], cwd=ROOT, check=False)
    if done.returncode == 130:
        raise KeyboardInterrupt
    for folder in (RESULTS / recipe).glob(f"*-s{seed}"):
        shutil.rmtree(folder / "model", ignore_errors=True)
        (folder / "interventions.safetensors").unlink(missing_ok=True)
    return done.returncode == 0


def results(recipe: str) -> dict[int, Result]:
    """Return seed -> result; two ids would be two experiments under one name, so that is an error."""
    folder = RESULTS / recipe
    found = [one for path in sorted(folder.glob("*-s*")) if (one := read_result(path)) is not None]
    if len({one.data["id"] for one in found}) > 1:
        raise SystemExit(f"`{folder}` holds results of several recipes; remove what is old.")
    return {one.data["seed"]: one for one in found}


def _outcome(runs: Sequence[Result]) -> Outcome:
    def without_text(language: str) -> list[Result]:
        used = [one.data["recipe"]["intervention"].get("align", {}).get("languages", ()) for one in runs]
        return [one for one, languages in zip(runs, used, strict=True) if len(runs) == 1 or language not in languages]

    languages = [runs[0].data["source"], *runs[0].summary["near"], *runs[0].summary["far"]]
    return Outcome(
        accuracy={code: fmean(100 * one.score(code) for one in without_text(code)) for code in languages},
        forwards=sum(one.data["cost"]["forwards_per_step"] * one.data["cost"]["steps"] for one in runs),
        collapsed=any(one.data["status"] == "collapsed" for one in runs),
    )


def write_tables(methods: list[Method]) -> None:
    """Write the headline table into the README, and all methods into `results/study.md`."""
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    headline = table([one for one in methods if one.headline])
    readme.write_text(f"{before}{START}{headline}{END}{after}", encoding="utf-8")
    parts = [
        "# The reference study\n",
        "Written by `make study` from the files in `results/reference`; docs/statistics.md says how to read it.\n",
        table(methods),
        "\n## Does the distance help?\n",
        weighting_table(methods),
    ]
    (ROOT / "results" / "study.md").write_text("\n".join(parts), encoding="utf-8")


def comparisons(methods: list[Method], baseline: str) -> dict[tuple[str, str], Comparison]:
    """Return (method, subset) -> the comparison with the baseline, paired by seed, Holm over the methods."""
    scores = [
        Score("", "emoji", one.name, str(seed), language, "accuracy", value)
        for one in methods
        for seed, outcome in one.outcomes().items()
        if not outcome.collapsed
        for language, value in outcome.accuracy.items()
    ]
    if len({score.method for score in scores}) < 2:
        return {}
    return {(one.method, one.subset): one for one in compare(scores, baseline, paired=True).comparisons}


def table(methods: list[Method]) -> str:
    """Return one row per method that has results, in Markdown, with the note that says what the numbers are."""
    there = [one for one in methods if one.outcomes()]
    if not results(BASELINE):
        return f"`{BASELINE}` has not been run yet, so there is nothing to compare with.\n"
    first = next(iter(results(BASELINE).values()))
    far, near, source = first.summary["far"], first.summary["near"], first.data["source"]
    tests = comparisons(there, BASELINE)
    rows = []
    for one in there:
        sound = [outcome for outcome in one.outcomes().values() if not outcome.collapsed]
        collapsed = len(one.outcomes()) - len(sound)
        rows.append(
            (
                f"`{one.name}`",
                f"{len(sound)} of {len(one.seeds)}{f', {collapsed} collapsed' if collapsed else ''}",
                one.text,
                one.chosen,
                *(_mean(sound, languages) for languages in ([source], near, far)),
                *(_effect(tests.get((one.name, subset))) for subset in ("far", "all")),
                f"{fmean(outcome.forwards for outcome in sound):.0f}" if sound else "–",
            )
        )
    columns = ("recipe", "seeds", "text used", "chosen on", "English", "near", "far", "effect on far",
               "effect on all targets", "forwards")  # fmt: skip
    note = (
        f"\nTest accuracy in percent on `emoji`, {len(near) + len(far)} targets ({len(far)} far: {', '.join(far)}), last"
        " checkpoint; brackets are 95 % intervals (means: over seeds, languages fixed; effects: against `plain` with the"
        " same seed, seed and language both random; p: Holm over the methods of the table). `text used`: besides the"
        " labelled source. `chosen on`: what the settings were chosen on, `design` where they were fixed beforehand."
        " `forwards`: forward passes in all.\n"
    )
    return Table(columns=columns, rows=rows).markdown() + note


def weighting_table(methods: list[Method]) -> str:
    """Return the comparison of distance-weighted alignment with the two controls."""
    kinds = [one for one in methods if one.name in WEIGHTINGS and one.outcomes()]
    if len(kinds) < len(WEIGHTINGS):
        return f"Not all of {', '.join(WEIGHTINGS)} have been run yet.\n"
    tests = comparisons(kinds, WEIGHTINGS[0])
    rows = [
        (f"`{name}` less `{WEIGHTINGS[0]}`", *(_effect(tests.get((name, subset))) for subset in ("far", "near", "all")))
        for name in WEIGHTINGS[1:]
    ]
    return Table(columns=("control", "far", "near", "all targets"), rows=rows).markdown()


def _mean(outcomes: list[Outcome], languages: list[str]) -> str:
    values = np.array([[one.accuracy[language] for language in languages] for one in outcomes])
    if len(values) < 2:
        return f"{values.mean():.1f}" if len(values) else "–"
    mean, low, high = interval(values)
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def _effect(one: Comparison | None) -> str:
    if one is None:
        return "–"
    test = one.test
    if test.p is None or one.p_holm is None:
        return f"{test.effect:+.1f} ({test.reason})"
    p = "p < 0.001" if one.p_holm < 0.001 else f"p = {one.p_holm:.3f}"
    return f"{test.effect:+.1f} [{test.low:+.1f}, {test.high:+.1f}], {p}"


if __name__ == "__main__":
    main()
