"""The reference study: train the missing runs of `studies/emoji/study.toml` and write the tables.

`python -m studies.emoji.study` trains all methods; with NAMEs, only these; with `--tables`, none. Each run is
`distxfer train recipe=... seed=... --results results/reference`, so finished runs are skipped and interrupted ones resume.
Trained models are deleted to save space. `methods.py` defines which runs the tables use.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from studies.emoji.methods import ROOT, RUNS, TABLES, Method, read_study, recipe_file
from studies.emoji.tables import write_tables


def main() -> None:
    """Train the missing runs, then write the tables."""
    study = read_study()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these methods")
    parser.add_argument("--tables", action="store_true", help="train nothing, write the tables")
    options = parser.parse_args()
    if unknown := set(options.names) - {method.name for method in study}:
        names = ", ".join(method.name for method in study)
        parser.error(f"the study has no method {', '.join(sorted(unknown))}; it has: {names}")
    methods = [method for method in study if method.name in options.names or not options.names]
    failed = []
    if not options.tables:
        failed = [run for headline in (True, False) for run in train_methods(methods, headline=headline)]
    write_tables(study)
    if RUNS != TABLES:
        print(
            f"The tables are of the runs in `{TABLES.relative_to(ROOT)}`. New runs are in `{RUNS.relative_to(ROOT)}/reference`:"
            f" `distxfer compare NAMES --results {RUNS.relative_to(ROOT)}/reference`."
        )
    if failed:
        raise SystemExit(f"These runs failed, and said why above: {', '.join(failed)}.")


def train_methods(methods: Sequence[Method], *, headline: bool) -> list[str]:
    """Train the headline methods or the other ones, seed by seed, and return the failed runs."""
    runs = [
        (seed, recipe)
        for method in methods
        if method.headline == headline
        for recipe in method.recipes
        for seed in method.seeds
    ]
    return [
        f"{recipe} with seed {seed}"
        for seed, recipe in sorted(runs, key=lambda run: run[0])
        if not train(recipe_file(recipe), seed, RUNS / "reference")
    ]


def train(file: str, seed: int, into: Path) -> bool:
    """Train one run of a recipe file unless it is finished, delete its model, and return whether it succeeded."""
    command = [sys.executable, "-m", "distxfer", "train", f"recipe={file}", f"seed={seed}"]
    process = subprocess.run([*command, "--results", str(into.relative_to(ROOT))], cwd=ROOT, check=False)
    if process.returncode == 130:
        raise KeyboardInterrupt
    for folder in (into / Path(file).stem).glob(f"*-s{seed}"):
        shutil.rmtree(folder / "model", ignore_errors=True)
        (folder / "interventions.safetensors").unlink(missing_ok=True)
    return process.returncode == 0


if __name__ == "__main__":
    main()
