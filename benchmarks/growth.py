"""How time and memory grow with examples, languages, layers, seeds and workers.

`python benchmarks/growth.py [--small] [--threads N]`, about ten minutes on 2 cores; `--small` leaves the largest sizes out. Every
size has a process of its own; memory is its peak beyond what the imports hold.
"""

import argparse
import os
import random
import sys
import traceback
from collections.abc import Callable, Sequence
from mmap import mmap
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from record import write

from distxfer import load_recipe, load_results, save_task, sweep, train
from distxfer.analysis.compare import compare_methods
from distxfer.data._cldr import LANGUAGES
from distxfer.reports.tables import Table
from distxfer.runs.prepare import prepare
from distxfer.sweeps.engines import LocalEngine

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from finished_runs import METHODS, write_run

WORDS = [f"word{number}" for number in range(2000)]
QUICK = ["model.drop_last_layers=8", "phase.finetune.steps=4", "diagnostics.states=0"]
Row = tuple[str, int, str, float, float]


def apart(call: Callable[[], object], threads: int) -> tuple[float, float]:
    """Return the seconds that a call takes in a process of its own, and the MB it holds beyond the present ones (on Linux)."""
    pages = mmap(-1, 8)  # shared with the child: what it holds at its start
    start = perf_counter()
    child = os.fork()
    if not child:
        status = 1
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak of memory is counted from here on
            pages.write(int(Path("/proc/self/statm").read_text().split()[1]).to_bytes(8))
            torch.set_num_threads(threads)
            call()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status, used = os.wait4(child, 0)
    if status:
        raise RuntimeError("A size failed; its traceback is above.")
    before = int.from_bytes(pages[:]) * os.sysconf("SC_PAGE_SIZE") / 1024
    return perf_counter() - start, max(0, used.ru_maxrss - before) / 1024


def rows_of(number: int, language: str) -> list[dict[str, str]]:
    """Return so many labelled texts of seven words, drawn for the language."""
    draw = random.Random(language)
    return [
        {"text": f"{language} {' '.join(draw.choices(WORDS, k=7))} {place}", "label": "ab"[place % 2]}
        for place in range(number)
    ]


def examples(folder: Path, sizes: Sequence[int]) -> dict[int, Callable[[], object]]:
    """Prepare tasks of so many training examples."""
    calls = {}
    parts = {"dev": rows_of(100, "dev"), "test": rows_of(100, "test")}
    for size in sizes:
        task = folder / f"examples{size}"
        # In a process of its own: memory that this one has freed would be used again, and not counted.
        apart(
            lambda task=task, size=size: save_task(
                {"eng": {"train": rows_of(size, "eng"), **parts}, "deu": parts}, task
            ),
            1,
        )
        calls[size] = lambda task=task: prepare(load_recipe("plain", [f"task={task}", "parallel="]))
    return calls


def languages(folder: Path, sizes: Sequence[int]) -> dict[int, Callable[[], object]]:
    """Train four steps and measure 100 texts in each of so many languages."""
    calls = {}
    for size in sizes:
        targets = [language for language in LANGUAGES if language != "eng"][: size - 1]
        data = {language: {"test": rows_of(100, language)} for language in targets}
        data["eng"] = {part: rows_of(100, f"eng {part}") for part in ("train", "dev", "test")}
        task = save_task(data, folder / f"languages{size}")
        recipe = [f"task={task}", "parallel=", *QUICK]
        calls[size] = lambda recipe=recipe, size=size: train(
            load_recipe("drift_reg", recipe), folder / f"languages{size}-results"
        )
    return calls


def layers(folder: Path, sizes: Sequence[int]) -> dict[int, Callable[[], object]]:
    """Train four steps of encoders of so many layers, and measure them in two languages."""
    recipes = {size: ["task.targets=deu", *QUICK, f"model.drop_last_layers={12 - size}"] for size in sizes}
    return {
        size: lambda recipe=recipe, size=size: train(load_recipe("drift_reg", recipe), folder / f"layers{size}")
        for size, recipe in recipes.items()
    }


def seeds(folder: Path, sizes: Sequence[int]) -> dict[int, Callable[[], object]]:
    """Compare three methods of so many seeds each."""
    calls = {}
    for size in sizes:
        for seed in range(size):
            for gain, name in enumerate(METHODS):
                write_run(folder / f"seeds{size}", name, seed, gain=gain / 10, log=False)
        calls[size] = lambda size=size: compare_methods(load_results(folder / f"seeds{size}"), "plain")
    return calls


def workers(folder: Path, runs: int) -> Table:
    """Sweep over short runs with one worker and two, of one thread and two."""
    words = ["recipe=plain", f"seed={','.join(map(str, range(runs)))}", "task.targets=deu", "phase.finetune.epochs=1"]
    train(load_recipe("plain", [*words[2:], "seed=99"]), folder / "first")  # fills the caches
    seconds = {}
    for number, threads in ((1, 1), (1, 2), (2, 1)):
        os.environ["OMP_NUM_THREADS"] = "2"
        start = perf_counter()
        outcomes = sweep(words, folder / f"workers{number}{threads}", engine=LocalEngine(number, threads))
        assert {outcome.status for outcome in outcomes} == {"done"}
        seconds[number, threads] = perf_counter() - start
    rows = [
        (number, threads, f"{each:.0f}", f"{seconds[1, 1] / each:.2f}") for (number, threads), each in seconds.items()
    ]
    columns = ("workers", "threads of each", "seconds", "times one worker of one thread")
    return Table(columns, rows, f"a sweep of {runs} short runs, whole")


def main() -> None:
    """Measure all sizes, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    chosen = parser.parse_args()
    some = slice(None, -1 if chosen.small else None)
    measured: list[Row] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        sizes: dict[str, tuple[Callable[[Path, Sequence[int]], dict[int, Callable[[], object]]], tuple[int, ...]]] = {
            "examples, prepare": (examples, (1_000, 10_000, 100_000, 1_000_000)),
            "languages, 4 steps and measuring": (languages, (2, 9, 40, 119)),
            "layers, 4 steps and measuring": (layers, (3, 6, 12)),
            "seeds of 3 methods, `compare`": (seeds, (5, 20, 80)),
        }
        for growing, (calls, numbers) in sizes.items():
            for number, call in calls(folder, numbers[some]).items():
                seconds, megabytes = apart(call, chosen.threads)
                measured.append((growing, number, seconds, megabytes))
                print(measured[-1], flush=True)
        table = Table(
            ("growing", "number", "seconds", "MB beyond the imports"),
            [
                (growing, f"{number:,}", f"{seconds:.1f}", f"{megabytes:.0f}")
                for growing, number, seconds, megabytes in measured
            ],
            "time and memory",
        )
        tables = [table, workers(folder, 2 if chosen.small else 6)]
    write("growth", chosen.threads, tables, {"sizes": measured})


if __name__ == "__main__":
    main()
