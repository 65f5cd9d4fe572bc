"""Write the result table of the README from 3 seeds of each shipped recipe, running what has not been run yet.

Each run is what `distxfer train recipe=NAME seed=SEED --results results/reference` does. The table is computed from
the `result.json` files alone; effects are paired by seed and tested with the crossed design of docs/statistics.md.
"""

import subprocess
import sys
from pathlib import Path
from statistics import fmean

import numpy as np

from distxfer.experiments import Result, read_result
from distxfer.measure import crossed, holm, interval
from distxfer.reports import Table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "reference"
RECIPES = ("plain", "drift_reg", "dist_align", "freeze_lower", "lora")
SEEDS = (0, 1, 2)
START, END = "<!-- results: start -->\n", "<!-- results: end -->\n"


def main() -> None:
    """Run, collect, and write the table between its two markers in the README."""
    for seed in SEEDS:
        for recipe in RECIPES:
            command = [sys.executable, "-m", "distxfer", "train", f"recipe={recipe}", f"seed={seed}"]
            subprocess.run([*command, "--results", "results/reference"], cwd=ROOT, check=True)
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{START}{table(load())}{END}{after}", encoding="utf-8")


def load() -> dict[str, dict[int, Result]]:
    """Return recipe -> seed -> result; two ids of one recipe would be two experiments, so that is an error."""
    found: dict[str, dict[int, Result]] = {}
    for recipe in RECIPES:
        results = [one for path in sorted((RESULTS / recipe).iterdir()) if (one := read_result(path)) is not None]
        if len({one.data["id"] for one in results}) != 1 or {one.data["seed"] for one in results} != set(SEEDS):
            raise SystemExit(
                f"results/reference/{recipe} should hold one id with the seeds {SEEDS}; remove what is old."
            )
        found[recipe] = {one.data["seed"]: one for one in results}
    return found


def scores(results: dict[int, Result], languages: list[str]) -> np.ndarray:
    """Return test accuracies, (seeds, languages), in percent."""
    return np.array([[100 * results[seed].score(language) for language in languages] for seed in SEEDS])


def table(found: dict[str, dict[int, Result]]) -> str:
    """Return the table in Markdown, with the note that says what its numbers are."""
    first = found["plain"][SEEDS[0]]
    far, near = first.summary["far"], first.summary["near"]
    targets, source = [*near, *far], [first.data["source"]]
    methods = [recipe for recipe in RECIPES if recipe != "plain"]
    tests = {
        (recipe, group): crossed(scores(found[recipe], languages) - scores(found["plain"], languages))
        for recipe in methods
        for group, languages in (("targets", targets), ("far", far))
    }
    corrected = {
        group: dict(zip(methods, holm([tests[recipe, group].p for recipe in methods]), strict=True))
        for group in ("targets", "far")
    }
    rows = []
    for recipe in RECIPES:
        means = [_mean(scores(found[recipe], languages)) for languages in (source, near, far, targets)]
        effects = ["–", "–"] if recipe == "plain" else [
            f"{test.effect:+.1f} [{test.low:+.1f}, {test.high:+.1f}], p = {corrected[group][recipe]:.3f}"
            for group in ("targets", "far")
            for test in [tests[recipe, group]]
        ]  # fmt: skip
        seconds = fmean(one.data["cost"]["seconds"] for one in found[recipe].values())
        rows.append((f"`{recipe}`", *means, *effects, f"{seconds:.0f}"))
    columns = ("recipe", "English", "near", "far", "all targets", "effect on all targets", "effect on far", "seconds")
    collapsed = sum(one.data["status"] == "collapsed" for results in found.values() for one in results.values())
    note = (
        f"\nTest accuracy in percent on `emoji`, {len(SEEDS)} seeds, {len(targets)} targets ({len(far)} far: "
        f"{', '.join(far)}), last checkpoint; brackets are 95 % intervals (means: over seeds, languages fixed; effects: "
        "against `plain` with the same seed, seed and language both random, Satterthwaite degrees of freedom; p: Holm "
        f"over {len(methods)} methods). {collapsed} runs collapsed. Seconds of training on 2 CPU cores.\n"
    )
    return Table(columns=columns, rows=rows).markdown() + note


def _mean(values: np.ndarray) -> str:
    mean, low, high = interval(values)
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
