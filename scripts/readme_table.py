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
from distxfer.measure import Crossed, crossed, holm, interval
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


def sound(*methods: dict[int, Result]) -> list[int]:
    """Return the seeds with which none of the methods collapsed: a failed run is counted, never averaged in."""
    return [seed for seed in SEEDS if all(results[seed].data["status"] == "done" for results in methods)]


def scores(results: dict[int, Result], seeds: list[int], languages: list[str]) -> np.ndarray:
    """Return test accuracies, (seeds, languages), in percent."""
    return np.array([[100 * results[seed].score(language) for language in languages] for seed in seeds])


def difference(method: dict[int, Result], plain: dict[int, Result], languages: list[str]) -> np.ndarray:
    """Return the method's scores less those of plain with the same seed, (seeds, languages)."""
    seeds = sound(method, plain)
    return scores(method, seeds, languages) - scores(plain, seeds, languages)


def table(found: dict[str, dict[int, Result]]) -> str:
    """Return the table in Markdown, with the note that says what its numbers are."""
    first = found["plain"][SEEDS[0]]
    far, near = first.summary["far"], first.summary["near"]
    targets, source = [*near, *far], [first.data["source"]]
    methods = [recipe for recipe in RECIPES if recipe != "plain"]
    tests = {
        (recipe, group): crossed(difference(found[recipe], found["plain"], languages))
        for recipe in methods
        for group, languages in (("targets", targets), ("far", far))
    }
    tested = [key for key in tests if tests[key].p is not None]
    corrected = {
        (recipe, group): p
        for group in ("targets", "far")
        for among in [[recipe for recipe, tested_group in tested if tested_group == group]]
        for recipe, p in zip(among, holm([tests[recipe, group].p for recipe in among]), strict=True)
    }
    rows = []
    for recipe in RECIPES:
        means = [
            _mean(scores(found[recipe], sound(found[recipe]), languages)) for languages in (source, near, far, targets)
        ]
        effects = [
            "–" if recipe == "plain" else _effect(tests[recipe, group], corrected.get((recipe, group)))
            for group in ("targets", "far")
        ]
        costs = [one.data["cost"] for one in found[recipe].values()]
        forwards = fmean(cost["forwards_per_step"] for cost in costs)
        rows.append(
            (f"`{recipe}`", *means, *effects, f"{forwards:.1f}", f"{costs[0]['trainable_parameters'] / 1e6:.1f} M")
        )
    columns = (
        "recipe", "English", "near", "far", "all targets", "effect on all targets", "effect on far", "forwards per step",
        "trained",
    )  # fmt: skip
    collapsed = sum(one.data["status"] == "collapsed" for results in found.values() for one in results.values())
    note = (
        f"\nTest accuracy in percent on `emoji`, {len(SEEDS)} seeds, {len(targets)} targets ({len(far)} far: "
        f"{', '.join(far)}), last checkpoint; brackets are 95 % intervals (means: over seeds, languages fixed; effects: "
        "against `plain` with the same seed, seed and language both random (docs/statistics.md); p: Holm "
        f"over {len(methods)} methods). Forward passes per step: of the encoder and its reference. {collapsed} of"
        f" {len(SEEDS) * len(RECIPES)} runs collapsed (a collapsed run is averaged nowhere).\n"
    )
    return Table(columns=columns, rows=rows).markdown() + note


def _effect(test: Crossed, p: float | None) -> str:
    """Return an effect with its interval and corrected p; without them where fewer than 3 seeds are sound."""
    if p is None:
        return f"{test.effect:+.1f} ({test.reason})"
    return f"{test.effect:+.1f} [{test.low:+.1f}, {test.high:+.1f}], p = {p:.3f}"


def _mean(values: np.ndarray) -> str:
    mean, low, high = interval(values)
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
