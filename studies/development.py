"""Choose settings on dev parts: train the variants in a folder's `variants.toml` and write its table.

`python -m studies.development studies/baseline` trains what `scores.csv` of the folder does not have, task by task; `--tables`
trains nothing. Only dev parts are read, of English and of the development languages, which no test reports
(`studies/languages.py`).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict

from distxfer import load_results
from distxfer.data import task_languages
from studies.languages import DEVELOPMENT

TASKS = ("emoji", "intents", "messages")
MARGIN = 0.005  # of the mean; among variants that differ less, the one with the fewest steps is chosen
KEYS = ["task", "variant", "seed"]
QUIET = (
    "parallel.name=",
    "diagnostics.gradients=0",
    "diagnostics.states=0",
)  # a variant that reads pairs names their corpus


class Variant(BaseModel):
    """Overrides of a recipe, on some tasks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: tuple[str, ...] = ()
    recipe: str = "plain"
    tasks: tuple[str, ...] = TASKS


def main() -> None:
    """Train the missing runs, adding the dev scores of each, then write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="the folder with `variants.toml`")
    parser.add_argument("--tables", action="store_true", help="train nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    options = parser.parse_args()
    folder = options.folder
    content = tomllib.loads((folder / "variants.toml").read_text(encoding="utf-8"))
    variants = {name: Variant.model_validate(variant) for name, variant in content.items()}
    runs = [
        (task, name, seed)
        for seed in options.seeds
        for task in options.tasks
        for name in options.variants or variants
        if task in variants[name].tasks
    ]
    for task, name, seed in [] if options.tables else runs:
        add_run(folder / "scores.csv", task, name, variants[name], seed)
    (folder / "table.md").write_text(table(pd.read_csv(folder / "scores.csv"), [*variants]), encoding="utf-8")


def add_run(file: Path, task: str, name: str, variant: Variant, seed: int) -> None:
    """Train a run, unless its scores are in the file, and append them."""
    scores = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=KEYS)
    if (scores[KEYS] == [task, name, seed]).all(axis=1).any():
        return
    targets = ",".join(language for language in DEVELOPMENT if language in task_languages(task))
    with tempfile.TemporaryDirectory() as results:
        words = [f"recipe={variant.recipe}", f"task={task}", f"task.targets={targets}", f"seed={seed}"]
        settings = {word.split("=")[0]: word for word in (*QUIET, *variant.settings)}
        command = [sys.executable, "-m", "distxfer", "train", *words, *settings.values(), "--results", results]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        rows = load_results(results).scores.query("split == 'dev' and metric == 'accuracy'")
    added = rows[["language", "value", "n"]].assign(task=task, variant=name, seed=seed)
    columns = [*KEYS, "language", "value", "n"]
    added[columns].to_csv(file, mode="a", header=not file.exists(), index=False, float_format="%.6f")


def table(scores: pd.DataFrame, variants: Sequence[str]) -> str:
    """Return the means over seeds by task, of English and of the development languages, and what the rule chooses."""
    group = scores["language"].where(scores["language"] == "eng", "development")
    by_run = scores.groupby([*KEYS, group], sort=False)["value"].mean()
    means = by_run.groupby(["variant", "task", "language"], sort=False).mean().unstack(["task", "language"])
    tasks = [task for task in TASKS if task in set(scores["task"])]
    columns = [(task, language) for task in tasks for language in ("eng", "development")]
    means = means.reindex(index=variants, columns=pd.MultiIndex.from_tuples(columns))
    means["mean", ""] = means.mean(axis=1, skipna=False)
    seeds = scores.groupby(["variant", "task"])["seed"].nunique().groupby("variant").agg(["min", "max"])
    seeds = seeds.reindex(variants, fill_value=0)
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
