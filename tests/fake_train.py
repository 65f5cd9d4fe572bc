"""What `python -m distxfer train` is to a sweep, without training: a process that locks, works, and leaves a result or not.

$FAKE_TRAIN is a folder: `result.json` in it is the result to leave, `runs.json` says for the words of each run which folder
is its own and what to do (`work`, `fail`, `crash`, `die`, `leave`, or `wait`: work on when there is a file `go`), and every
process adds to `events.jsonl`.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from filelock import FileLock

HERE = Path(os.environ["FAKE_TRAIN"])


def tell(event: str, words: str) -> None:
    entry = {
        "event": event, "words": words, "time": time.time(), "process": os.getpid(),
        "threads": os.environ.get("OMP_NUM_THREADS"), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }  # fmt: skip
    with (HERE / "events.jsonl").open("a") as log:
        log.write(json.dumps(entry) + "\n")


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line does
    module, name, verb, *words, option, _ = sys.argv[1:]
    assert (module, name, verb, option) == ("-m", "distxfer", "train", "--results")
    said = " ".join(words)
    run = json.loads((HERE / "runs.json").read_text())[said]
    folder = Path(run["folder"])
    tell("start", said)
    try:
        with FileLock(folder / ".lock"):
            if (folder / "result.json").exists():
                tell("found", said)
                return
            work(run["do"], folder, said)
            (folder / "result.json").write_bytes((HERE / "result.json").read_bytes())
            (folder / "failed.json").unlink(missing_ok=True)
            tell("done", said)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. The same command resumes from the last checkpoint.\n")
        tell("interrupted", said)
        sys.exit(130)


def work(kind: str, folder: Path, said: str) -> None:
    if kind == "fail":
        sys.stderr.write("Error: The encoder has 4 layers,\n  and `layers` is 9.\n")
        sys.exit(2)
    if kind == "crash":
        raise MemoryError("no memory for 7 GB")
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "leave":
        sys.exit(0)
    time.sleep(0.3)  # measuring before training, whose states are then kept
    tell("train", said)
    (folder / "log.jsonl").write_text("{}\n")
    while kind == "wait" and not (HERE / "go").exists():
        time.sleep(0.02)
    time.sleep(0.2)


main()
