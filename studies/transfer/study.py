"""The registered study of transfer: train the missing runs of `protocol.toml`, then write the tables.

`python -m studies.transfer.study` trains what `results/transfer/runs.csv` does not have, the runs of the contrasts first;
several processes share the list. `--tables` trains nothing. Both are refused unless the protocol is committed.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from distxfer import InputError
from distxfer._durable import atomic_file
from studies.pages import put
from studies.transfer.protocol import ROOT, Protocol, Registration, Run, read_protocol, registration, run_hash
from studies.transfer.records import RESULTS, is_finished, read_facts, record
from studies.transfer.tables import EVIDENCE, PAGE, SUMMARY, pages


def main() -> None:
    """Train the missing runs and write the tables; exit with 2 if the protocol is not registered, with 1 after failed runs."""
    protocol = read_protocol()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tables", action="store_true", help="train nothing")
    parser.add_argument("--methods", nargs="+", choices=protocol.method, default=protocol.method, help="only these")
    parser.add_argument("--tasks", nargs="+", choices=protocol.task, default=protocol.task, help="only these")
    seeds = sorted({run.seed for run in protocol.runs()})
    parser.add_argument("--seeds", nargs="+", type=int, choices=seeds, default=seeds, help="only these")
    options = parser.parse_args()
    try:
        registered = registration()
        runs = [
            run
            for run in protocol.runs()
            if run.task in options.tasks and run.method in options.methods and run.seed in options.seeds
        ]
        failed = [run for run in runs if not options.tables and not train(protocol, run, registered)]
        text, summary, evidence = pages(protocol, registered)
        for path, content in ((PAGE, text), (EVIDENCE, evidence)):
            with atomic_file(path) as aside:
                aside.write_text(content, encoding="utf-8")
        put(SUMMARY, summary, "transfer")
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    if failed:
        raise SystemExit(f"These runs failed, and said why above: {', '.join(map(str, failed))}.")


def train(protocol: Protocol, run: Run, registered: Registration, results: Path = RESULTS) -> bool:
    """Train and record a run unless it is finished or another process trains it, and return whether it did not fail.

    What an interrupted run has computed stays in a hidden folder, from which it resumes. Raises InputError if the
    protocol is not the registered one any more.
    """
    inputs = run_hash(protocol, run)
    folder = results / ".runs" / f"{inputs[:8]}-{run.task}-{run.method}-s{run.seed}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{folder}.lock", blocking=False):
            if not is_finished(run, inputs, results):
                if registration() != registered:
                    raise InputError("The protocol has changed since this process began. Start it again.")
                program = [sys.executable, "-m", "distxfer", "train"]
                command = [*program, *protocol.settings_of(run), "--results", str(folder)]
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                process = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False)
                if process.returncode == 130:
                    raise KeyboardInterrupt
                if process.returncode:
                    return False
                (finished,) = (path.parent for path in folder.glob("*/*/result.json"))
                record(run, finished, lambda: read_facts(protocol, run.task), registered.hash, inputs, results)
            shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        pass
    return True


if __name__ == "__main__":
    main()
