"""Which plain fine-tuning is the baseline? Train the variants of `variants.toml` and write the tables.

`python -m studies.baseline.study` trains what `scores.csv` does not have, task by task; `--tables` trains nothing. Only dev parts
are read, of English and of the development languages, which no test reports (`studies/languages.py`).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pandas as pd

from distxfer import load_results
from distxfer.data import task_languages
from studies.languages import DEVELOPMENT

HERE = Path(__file__).parent
TASKS = ("emoji", "intents", "messages")
SCORES = HERE / "scores.csv"
MARGIN = 0.005  # of the mean; among variants that differ less, the one with the fewest steps is chosen
KEYS = ["task", "variant", "seed"]


def main() -> None:
    """Train the missing runs, adding the dev scores of each, then write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tables", action="store_true", help="train nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=[*variants()])
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    options = parser.parse_args()
    if not options.tables:
        for seed in options.seeds:
            for task in options.tasks:
                for variant in options.variants:
                    add_run(task, variant, seed)
    (HERE / "table.md").write_text(table(pd.read_csv(SCORES)), encoding="utf-8")


def variants() -> dict[str, list[str]]:
    """Return the overrides of each variant."""
    content = tomllib.loads((HERE / "variants.toml").read_text(encoding="utf-8"))
    return {name: variant["settings"] for name, variant in content.items()}


def add_run(task: str, variant: str, seed: int) -> None:
    """Train a run, unless its scores are there, and append them."""
    scores = pd.read_csv(SCORES) if SCORES.exists() else pd.DataFrame(columns=KEYS)
    if (scores[KEYS] == [task, variant, seed]).all(axis=1).any():
        return
    targets = ",".join(language for language in DEVELOPMENT if language in task_languages(task))
    with tempfile.TemporaryDirectory() as results:
        words = ["recipe=plain", f"task={task}", f"task.targets={targets}", f"seed={seed}", *variants()[variant]]
        quiet = ["parallel.name=", "diagnostics.gradients=0", "diagnostics.states=0"]
        command = [sys.executable, "-m", "distxfer", "train", *words, *quiet, "--results", results]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        rows = load_results(results).scores.query("split == 'dev' and metric == 'accuracy'")
    added = rows[["language", "value", "n"]].assign(task=task, variant=variant, seed=seed)
    columns = [*KEYS, "language", "value", "n"]
    added[columns].to_csv(SCORES, mode="a", header=not SCORES.exists(), index=False, float_format="%.6f")


def table(scores: pd.DataFrame) -> str:
    """Return the means over seeds by task, of English and of the development languages, and what the rule chooses."""
    group = scores["language"].where(scores["language"] == "eng", "development")
    by_run = scores.groupby([*KEYS, group], sort=False)["value"].mean()
    means = by_run.groupby(["variant", "task", "language"], sort=False).mean().unstack(["task", "language"])
    columns = [(task, language) for task in TASKS for language in ("eng", "development")]
    means = means.reindex(index=[*variants()], columns=pd.MultiIndex.from_tuples(columns))
    means["mean", ""] = means.mean(axis=1, skipna=False)
    seeds = scores.groupby(["variant", "task"])["seed"].nunique().groupby("variant").agg(["min", "max"])
    lines = [
        "| variant | seeds | " + " | ".join(f"{task}, {language}" for task, language in columns) + " | mean |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for variant, row in means.iterrows():
        fewest, most = seeds.loc[variant]
        cells = ["–" if pd.isna(value) else f"{value:.3f}" for value in row]
        lines.append(f"| {variant} | {fewest if fewest == most else f'{fewest} to {most}'} | {' | '.join(cells)} |")
    best = means["mean", ""].max()
    good = means.index[means["mean", ""] >= best - MARGIN]
    english = means.xs("eng", axis=1, level=1).mean(axis=1, skipna=False)
    return (
        "\n".join(lines)
        + f"\n\nWithin {MARGIN} of the best mean, {best:.3f}: {', '.join(good)}. By English alone, {english.max():.3f}:"
        f" {', '.join(english.index[english >= english.max() - MARGIN])}.\n"
    )


if __name__ == "__main__":
    main()
