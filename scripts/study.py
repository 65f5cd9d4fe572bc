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
START, END = "<!-- results: start -->\n", "<!-- results: end -->\n"


@dataclass(frozen=True)
class Method:
    """A recipe of the study: its seeds, the text it uses besides the source's labels, and what it was chosen on."""

    name: str
    seeds: tuple[int, ...]
    text: str
    chosen: str
    headline: bool

    @property
    def recipe(self) -> str:
        """The recipe's file, from the root of the checkout."""
        own = STUDY / f"{self.name}.toml"
        return str((own if own.is_file() else STUDY.parent / f"{self.name}.toml").relative_to(ROOT))

    def results(self) -> dict[int, Result]:
        """Return seed -> result; two ids would be two experiments under one name, so that is an error."""
        folder = RESULTS / self.name
        found = [one for path in sorted(folder.glob("*-s*")) if (one := read_result(path)) is not None]
        if len({one.data["id"] for one in found}) > 1:
            raise SystemExit(f"`{folder}` holds results of several recipes; remove what is old.")
        return {one.data["seed"]: one for one in found if one.data["seed"] in self.seeds}


def main() -> None:
    """Run what is asked for, then write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these methods")
    parser.add_argument("--tables", action="store_true", help="run nothing, write the tables")
    options = parser.parse_args()
    study = read_study()
    if unknown := set(options.names) - {one.name for one in study}:
        parser.error(
            f"the study has no method {', '.join(sorted(unknown))}; it has: {', '.join(one.name for one in study)}"
        )
    methods = [one for one in study if one.name in options.names or not options.names]
    if not options.tables:
        for headline in (True, False):
            for seed in sorted({seed for one in methods for seed in one.seeds}):
                for one in methods:
                    if one.headline == headline and seed in one.seeds:
                        run(one, seed)
    write_tables(study)


def read_study() -> list[Method]:
    """Return the methods of the study, in its order."""
    study = tomllib.loads((STUDY / "_study.toml").read_text(encoding="utf-8"))
    return [
        Method(
            one["name"], tuple(study[f"{one['group']}_seeds"]), one["text"], one["chosen"], one["group"] == "headline"
        )
        for one in study["method"]
    ]


def run(method: Method, seed: int) -> None:
    """Do one run, unless it is done, and keep of it what the study needs."""
    command = [sys.executable, "-m", "distxfer", "train", f"recipe={method.recipe}", f"seed={seed}"]
    subprocess.run([*command, "--results", str(RESULTS.relative_to(ROOT))], cwd=ROOT, check=True)
    for folder in (RESULTS / method.name).glob(f"*-s{seed}"):
        shutil.rmtree(folder / "model", ignore_errors=True)
        (folder / "interventions.safetensors").unlink(missing_ok=True)


def write_tables(methods: list[Method]) -> None:
    """Write the headline table into the README, and all methods into `results/study.md`."""
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    headline = table([one for one in methods if one.headline])
    readme.write_text(f"{before}{START}{headline}{END}{after}", encoding="utf-8")
    parts = [
        "# The reference study\n",
        "Written by `make study`; how to read it is in docs/statistics.md.\n",
        table(methods),
    ]
    parts += ["\n## Does the distance help?\n", weighting_table(methods)]
    (ROOT / "results" / "study.md").write_text("\n".join(parts), encoding="utf-8")


def comparisons(methods: list[Method], baseline: str) -> dict[tuple[str, str], Comparison]:
    """Return (method, subset) -> the comparison with the baseline, paired by seed, Holm over the methods."""
    scores = tuple(
        Score("", "emoji", one.name, str(seed), language, "accuracy", 100 * result.score(language))
        for one in methods
        for seed, result in one.results().items()
        if result.data["status"] == "done"
        for language in [*result.summary["near"], *result.summary["far"]]
    )
    found = compare(scores, baseline, paired=True, imputed=True)
    return {(one.method, one.subset): one for one in found.comparisons}


def table(methods: list[Method]) -> str:
    """Return one row per method that has results, in Markdown, with the note that says what the numbers are."""
    there = [one for one in methods if one.results()]
    first = next(iter(there[0].results().values()))
    far, near, source = first.summary["far"], first.summary["near"], first.data["source"]
    tests = comparisons(there, BASELINE)
    rows = []
    for one in there:
        results = [result for result in one.results().values() if result.data["status"] == "done"]
        means = [_mean(results, languages) for languages in ([source], near, far)]
        effects = [_effect(tests.get((one.name, subset))) for subset in ("far", "all")]
        forwards = fmean(result.data["cost"]["forwards_per_step"] * result.data["cost"]["steps"] for result in results)
        collapsed = len(one.results()) - len(results)
        seeds = f"{len(results)} of {len(one.seeds)}{f', {collapsed} collapsed' if collapsed else ''}"
        rows.append((f"`{one.name}`", seeds, one.text, one.chosen, *means, *effects, f"{forwards:.0f}"))
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
    kinds = [one for one in methods if one.name in ("dist_align", "align_uniform", "align_shuffled") and one.results()]
    if len(kinds) < 3:
        return "Not all of `dist_align`, `align_uniform` and `align_shuffled` have been run yet.\n"
    tests = comparisons(kinds, "dist_align")
    rows = [
        (
            f"`{one.name}` less `dist_align`",
            *(_effect(tests.get((one.name, subset))) for subset in ("far", "near", "all")),
        )
        for one in kinds
        if one.name != "dist_align"
    ]
    return Table(columns=("control", "far", "near", "all targets"), rows=rows).markdown()


def _mean(results: list[Result], languages: list[str]) -> str:
    values = np.array([[100 * one.score(language) for language in languages] for one in results])
    if len(values) < 2:
        return f"{values.mean():.1f}"
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
