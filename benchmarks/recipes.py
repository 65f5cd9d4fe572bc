"""What a step of each shipped recipe costs, as a ratio to `plain`: measured side by side, round after round, in one run.

`python benchmarks/recipes.py [rounds]` (each round takes about half a minute on 2 cores) prints the median ratio of
each recipe and its range over the rounds. Single times mean little on a shared machine; the ratios of one round do. A recipe
with a reference encodes each text with it once: here in every step, in a run in the first epoch only.
"""

import sys
from pathlib import Path
from statistics import median

from distxfer.config.files import recipe_files
from distxfer.config.recipe import load_recipe
from distxfer.reports.tables import Table
from distxfer.runs.run import outlook


def main(rounds: int) -> None:
    """Time every recipe in turn, `rounds` times, and print the ratios."""
    recipes = sorted(recipe_files(), key=lambda name: (name != "plain", name))
    ratios: dict[str, list[float]] = {name: [] for name in recipes}
    for _ in range(rounds):
        found = {name: outlook(load_recipe(name), Path("results")) for name in recipes}
        steps = {name: one.training_seconds / sum(plan.steps for plan in one.plans) for name, one in found.items()}
        for name in recipes:
            ratios[name].append(steps[name] / steps["plain"])
    rows = [(name, median(seen), min(seen), max(seen)) for name, seen in ratios.items()]
    print(Table(("recipe", "seconds a step / plain's, median", "least", "most"), rows).text(), end="")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
