"""What the verbs take, from the start of Python to its end, beside an empty `python -c pass`: seconds and peak of memory.

`python benchmarks/verbs.py [rounds]`. All take turns; a first round, which fills caches, does not count. `compare` and `report`
are on the 147 runs of the first study; `train` ends with its first step.
"""

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from record import write

from distxfer.reports.tables import Table

ROOT = Path(__file__).parents[1]
RUNS = f"--results={ROOT / 'results' / 'emoji-with-flags' / 'reference'}"
FIRST_STEP = """
import os
from torch.optim.optimizer import register_optimizer_step_post_hook
register_optimizer_step_post_hook(lambda *arguments: os._exit(0))
from distxfer.cli import main
main()
"""


def main(rounds: int) -> None:
    """Start the verbs in turns, and write the medians."""
    with TemporaryDirectory() as folder:
        commands = {
            "python -c pass": ["-c", "pass"],
            "distxfer --help": ["-m", "distxfer", "--help"],
            "distxfer ls recipes": ["-m", "distxfer", "ls", "recipes"],
            "distxfer ls interventions": ["-m", "distxfer", "ls", "interventions"],
            "distxfer show drift_reg": ["-m", "distxfer", "show", "drift_reg"],
            "distxfer train drift_rge (a mistyped recipe)": ["-m", "distxfer", "train", "drift_rge"],
            "distxfer validate plain epochs=3 (a wrong key)": ["-m", "distxfer", "validate", "plain", "epochs=3"],
            "distxfer ls runs, of 147": ["-m", "distxfer", "ls", "runs", RUNS],
            "distxfer compare, of 147 runs": ["-m", "distxfer", "compare", RUNS],
            "distxfer report, of 147 runs": ["-m", "distxfer", "report", RUNS, f"--out={folder}/report.html"],
            "distxfer train drift_reg, to the first step": ["-c", FIRST_STEP, "train", "drift_reg", f"--results={folder}"],
        }  # fmt: skip
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(rounds + 1):
            for name, words in commands.items():
                start = perf_counter()
                process = subprocess.Popen(
                    [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
                )
                _, _, used = os.wait4(process.pid, 0)
                process.returncode = 0  # it has been waited for
                measured[name].append((perf_counter() - start, used.ru_maxrss / 1024))
    rows = []
    for name, runs in measured.items():
        seconds = [each for each, _ in runs[1:]]
        empty = [each for each, _ in measured["python -c pass"][1:]]
        ratio = median(mine / other for mine, other in zip(seconds, empty, strict=True))
        peak = max(each for _, each in runs)
        rows.append((f"`{name}`", f"{median(seconds):.2f}", f"{ratio:.0f}", f"{peak:.0f}"))
    table = Table(("command", "seconds", "times an empty Python", "peak MB"), rows, "verbs")
    write("verbs", len(os.sched_getaffinity(0)), [table], measured)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
