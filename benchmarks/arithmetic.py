"""What a change of the arithmetic changes in the scores: the same recipes and seeds trained before and after it.

`python benchmarks/arithmetic.py NAME=RESULTS NAME=RESULTS ...`; each is compared with the folder before it. Differences
are paired by seed, with t intervals of 95 %. A changed rounding or stream of draws gives other trajectories, so single seeds
differ by as much as two seeds do; their means must not.
"""

import sys
from itertools import pairwise
from pathlib import Path

import pandas as pd
from record import write
from scipy import stats

from distxfer import load_results
from distxfer.reports.tables import Table


def scores(folder: Path) -> pd.DataFrame:
    """Return accuracy in percent by recipe and seed: of the source, and the mean of the targets."""
    table = load_results(folder).scores
    test = table[(table["split"] == "test") & (table["metric"] == "accuracy")]
    part = (test["language"] == test["source"]).map({True: "source", False: "targets"})
    return 100 * test.groupby(["recipe", part.rename("part"), "seed"])["value"].mean().unstack("part")


def main(folders: dict[str, Path]) -> None:
    """Write the scores of every folder, and the differences from the one before."""
    of_folder = {name: scores(folder) for name, folder in folders.items()}
    rows, differences = [], []
    for recipe in next(iter(of_folder.values())).index.unique("recipe"):
        for part in ("source", "targets"):
            for name, table in of_folder.items():
                if recipe in table.index:
                    of_seeds = table.loc[recipe, part]
                    cells = [f"{of_seeds[seed]:.1f}" if seed in of_seeds else None for seed in range(5)]
                    rows.append((recipe, part, name, *cells, f"{of_seeds.mean():.1f}", f"{of_seeds.std():.1f}"))
            for before, name in pairwise(of_folder):
                if recipe in of_folder[name].index:
                    change = (of_folder[name] - of_folder[before]).loc[recipe, part].dropna()
                    low, high = stats.t.interval(0.95, len(change) - 1, change.mean(), stats.sem(change))
                    interval = f"{change.mean():+.1f} [{low:+.1f}, {high:+.1f}]"
                    differences.append((recipe, part, f"{name} - {before}", interval, len(change)))
    columns = ("recipe", "accuracy in %", "arithmetic", *(f"seed {seed}" for seed in range(5)), "mean", "deviation")
    tables = [
        Table(columns, rows, "accuracy by seed"),
        Table(("recipe", "accuracy in %", "difference", "mean over seeds, 95 %", "seeds"), differences, "differences"),
    ]
    measured = {
        name: table.stack().rename("value").reset_index().to_dict("records") for name, table in of_folder.items()
    }
    write("arithmetic", 1, tables, measured)


if __name__ == "__main__":
    main({name: Path(folder) for name, _, folder in (argument.partition("=") for argument in sys.argv[1:])})
