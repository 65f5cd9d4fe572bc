"""The reference study: run what `studies/emoji/study.toml` lists and has not been run, and write its tables.

`python -m studies.emoji.study` runs everything, with NAMEs only these methods, with `--tables` nothing: it writes the tables of
what is there. `--choices` runs what `studies/emoji/choices.toml` lists in their place: the settings that were tried, with
seeds of their own, before one was chosen on dev sets. Each run is what `distxfer train recipe=... seed=...
--results results/reference` does; one that is done is skipped, one that was stopped goes on. The trained models are
removed: the study keeps the small files. Which runs the tables are of is said in `study_methods.py`.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from studies.emoji.methods import ROOT, RUNS, TABLES, read_choices, read_study, recipe_file
from studies.emoji.tables import write_tables


def main() -> None:
    """Run what is asked for, then write the tables."""
    study = read_study()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these methods")
    parser.add_argument("--tables", action="store_true", help="run nothing, write the tables")
    parser.add_argument("--choices", action="store_true", help="run what settings were chosen from")
    options = parser.parse_args()
    if unknown := set(options.names) - {one.name for one in study}:
        known = ", ".join(one.name for one in study)
        parser.error(f"the study has no method {', '.join(sorted(unknown))}; it has: {known}")
    methods = [one for one in study if one.name in options.names or not options.names]
    failed = []
    if options.choices:
        candidates = read_choices()[1]
        for seed in sorted({seed for one in candidates for seed in one.seeds}):
            for one in (one for one in candidates if seed in one.seeds):
                sound = train(recipe_file(one.recipe), seed, RUNS / "choices", one.settings)
                failed += [] if sound else [f"{one.recipe} {' '.join(one.settings)} with seed {seed}"]
    for headline in (True, False) if not (options.tables or options.choices) else ():
        group = [one for one in methods if one.headline == headline]
        for seed in sorted({seed for one in group for seed in one.seeds}):
            for recipe in (recipe for one in group if seed in one.seeds for recipe in one.recipes):
                failed += [] if train(recipe_file(recipe), seed, RUNS / "reference") else [f"{recipe} with seed {seed}"]
    write_tables(study)
    if RUNS != TABLES:
        print(
            f"The tables are of the runs in `{TABLES.relative_to(ROOT)}`. New runs are in `{RUNS.relative_to(ROOT)}/reference`:"
            f" `distxfer compare NAMES --results {RUNS.relative_to(ROOT)}/reference`."
        )
    if failed:
        raise SystemExit(f"These runs failed, and said why above: {', '.join(failed)}.")


def train(file: str, seed: int, into: Path, settings: Sequence[str] = ()) -> bool:
    """Do one run of a recipe in a file, unless it is done, keep of it what a study needs, and return whether it went through."""
    command = [sys.executable, "-m", "distxfer", "train", f"recipe={file}", f"seed={seed}", *settings]
    done = subprocess.run([*command, "--results", str(into.relative_to(ROOT))], cwd=ROOT, check=False)
    if done.returncode == 130:
        raise KeyboardInterrupt
    for folder in (into / Path(file).stem).glob(f"*-s{seed}"):
        shutil.rmtree(folder / "model", ignore_errors=True)
        (folder / "interventions.safetensors").unlink(missing_ok=True)
    return done.returncode == 0


if __name__ == "__main__":
    main()
