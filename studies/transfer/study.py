"""The registered study of transfer: train the missing runs of `protocol.toml`, then write the tables.

`python -m studies.transfer.study` trains what `results/transfer/runs.csv` does not have under the protocol's present hash, seed
by seed; several processes share the list. `--tables` trains nothing. Both are refused unless the protocol is committed.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from distxfer import InputError
from studies.transfer.protocol import ROOT, Protocol, Run, read_protocol, registration
from studies.transfer.records import RESULTS, is_finished, read_twins, record
from studies.transfer.tables import PAGE, page


def main() -> None:
    """Train the missing runs and write the tables; exit with 2 if the protocol is not registered, with 1 after failed runs."""
    protocol = read_protocol()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tables", action="store_true", help="train nothing")
    parser.add_argument("--methods", nargs="+", choices=protocol.method, default=protocol.method, help="only these")
    parser.add_argument("--tasks", nargs="+", choices=protocol.task, default=protocol.task, help="only these")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these")
    options = parser.parse_args()
    try:
        registration()
        runs = [
            run
            for run in protocol.runs()
            if run.task in options.tasks and run.method in options.methods and run.seed in (options.seeds or [run.seed])
        ]
        failed = [run for run in runs if not options.tables and not train(protocol, run)]
        PAGE.write_text(page(protocol), encoding="utf-8")
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    if failed:
        raise SystemExit(f"These runs failed, and said why above: {', '.join(map(str, failed))}.")


def train(protocol: Protocol, run: Run, results: Path = RESULTS) -> bool:
    """Train and record a run unless it is finished or another process trains it, and return whether it did not fail.

    What an interrupted run has computed stays in a hidden folder, from which it resumes.
    """
    registered, method = registration(), protocol.method[run.method]
    folder = results / ".runs" / f"{registered.hash[:8]}-{run.task}-{run.method}-s{run.seed}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{folder}.lock", blocking=False):
            if is_finished(run, registered.hash, results):
                return True
            settings = {word.partition("=")[0]: word for word in (*protocol.settings, *method.settings)}
            words = [
                f"recipe={method.recipe}",
                f"task={run.task}",
                f"task.source={protocol.source}",
                f"seed={run.seed}",
            ]
            words += [f"task.targets={','.join(protocol.targets(run.task))}", *settings.values()]
            command = [sys.executable, "-m", "distxfer", "train", *words, "--results", str(folder)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False)
            if process.returncode == 130:
                raise KeyboardInterrupt
            if process.returncode:
                return False
            (finished,) = (path.parent for path in folder.glob("*/*/result.json"))
            record(run, finished, lambda: read_twins(protocol, run.task), registered, results)
            shutil.rmtree(folder)
    except Timeout:
        pass
    return True


if __name__ == "__main__":
    main()
