"""What a step of each shipped recipe costs, as a ratio to `plain`: measured side by side, round after round, in one run.

`python benchmarks/recipes.py [rounds]` (each round takes about half a minute on 2 cores). Single times mean little on a shared
machine; the ratios of one round do. A recipe with a reference encodes each text with it once: here in every step, in a run in
the first epoch only, unless its states are cached.
"""

import sys
from pathlib import Path
from statistics import median

import torch
from record import write

from distxfer.config.files import recipe_files
from distxfer.config.recipe import load_recipe
from distxfer.reports.tables import Table
from distxfer.runs.run import outlook


def main(rounds: int) -> None:
    """Time every recipe in turn, `rounds` times, and write the ratios."""
    recipes = sorted(recipe_files(), key=lambda name: (name != "plain", name))
    ratios: dict[str, list[float]] = {name: [] for name in recipes}
    for _ in range(rounds):
        forecasts = {name: outlook(load_recipe(name), Path("results")) for name in recipes}
        steps = {
            name: forecast.training_seconds / sum(plan.steps for plan in forecast.plans)
            for name, forecast in forecasts.items()
        }
        for name in recipes:
            ratios[name].append(steps[name] / steps["plain"])
    rows = [(name, *(f"{of(seen):.2f}" for of in (median, min, max))) for name, seen in ratios.items()]
    columns = ("recipe", "seconds a step / plain's, median", "least", "most")
    write("recipes", torch.get_num_threads(), [Table(columns, rows, "a step of each recipe")], ratios)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
