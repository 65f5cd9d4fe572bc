"""Rewrite finished runs in the smallest form that keeps every score, label, prediction and measurement.

`python studies/slim_results.py FOLDER...` goes through the runs below each folder. It drops class probabilities from
`predictions.parquet`, encodes its labels as dictionaries, and writes the tables and `result.json` anew, with new digests
where the run has digests. Files that are not what the run wrote stop it before anything is changed.
"""

import argparse
from pathlib import Path

from distxfer._durable import RESULT, read_table, write_table
from distxfer.results.result import reseal
from distxfer.results.tables import PREDICTIONS, PROBABILITY, encode_labels


def main() -> None:
    """Rewrite the runs, and print how much smaller each folder has become."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a folder that holds runs")
    for folder in parser.parse_args().folders:
        before = _size(folder)
        runs = sorted(path.parent for path in folder.rglob(RESULT))
        for run in runs:
            slim(run)
        print(f"{folder}: {len(runs)} runs, {before / 1e6:.1f} MB before, {_size(folder) / 1e6:.1f} MB now.")


def slim(run: Path) -> None:
    """Rewrite a finished run, all of it or nothing."""
    reseal(run, _rewrite_tables)


def _rewrite_tables(run: Path) -> None:
    for path in sorted(run.glob("*.parquet")):
        table = read_table(path)
        if path.name == PREDICTIONS:
            kept = [name for name in table.column_names if not name.startswith(PROBABILITY)]
            table = encode_labels(table.select(kept))
        write_table(table, path)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
