"""The reference study: train the missing runs of `studies/emoji/study.toml` and write the tables.

`python -m studies.emoji.study` trains all methods; with NAMEs, only these; with `--tables`, none. `--choices` trains the
candidates of `studies/emoji/choices.toml` instead: settings that were compared on dev sets, with seeds of their own. Each run
is `distxfer train recipe=... seed=... --results results/reference`, so finished runs are skipped and interrupted ones
resume. Trained models are deleted to save space. `methods.py` defines which runs the tables use.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from studies.emoji.methods import ROOT, RUNS, TABLES, Candidate, Method, read_choices, read_study, recipe_file
from studies.emoji.tables import write_tables


def main() -> None:
    """Train the missing runs, then write the tables."""
    study = read_study()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these methods")
    parser.add_argument("--tables", action="store_true", help="train nothing, write the tables")
    parser.add_argument("--choices", action="store_true", help="train the candidates that settings were chosen from")
    options = parser.parse_args()
    if unknown := set(options.names) - {method.name for method in study}:
        names = ", ".join(method.name for method in study)
        parser.error(f"the study has no method {', '.join(sorted(unknown))}; it has: {names}")
    methods = [method for method in study if method.name in options.names or not options.names]
    failed = []
    if options.choices:
        failed = train_candidates(read_choices()[1])
    elif not options.tables:
        failed = [run for headline in (True, False) for run in train_methods(methods, headline=headline)]
    write_tables(study)
    if RUNS != TABLES:
        print(
            f"The tables are of the runs in `{TABLES.relative_to(ROOT)}`. New runs are in `{RUNS.relative_to(ROOT)}/reference`:"
            f" `distxfer compare NAMES --results {RUNS.relative_to(ROOT)}/reference`."
        )
    if failed:
        raise SystemExit(f"These runs failed, and said why above: {', '.join(failed)}.")


def train_candidates(candidates: Sequence[Candidate]) -> list[str]:
    """Train the candidates that settings are chosen from, seed by seed, and return the failed runs."""
    runs = [(seed, candidate) for candidate in candidates for seed in candidate.seeds]
    return [
        f"{candidate.recipe} {' '.join(candidate.settings)} with seed {seed}"
        for seed, candidate in sorted(runs, key=lambda run: run[0])
        if not train(recipe_file(candidate.recipe), seed, RUNS / "choices", candidate.settings)
    ]


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


def train(file: str, seed: int, into: Path, settings: Sequence[str] = ()) -> bool:
    """Train one run of a recipe file unless it is finished, delete its model, and return whether it succeeded."""
    command = [sys.executable, "-m", "distxfer", "train", f"recipe={file}", f"seed={seed}", *settings]
    process = subprocess.run([*command, "--results", str(into.relative_to(ROOT))], cwd=ROOT, check=False)
    if process.returncode == 130:
        raise KeyboardInterrupt
    for folder in (into / Path(file).stem).glob(f"*-s{seed}"):
        shutil.rmtree(folder / "model", ignore_errors=True)
        (folder / "interventions.safetensors").unlink(missing_ok=True)
    return process.returncode == 0


if __name__ == "__main__":
    main()
