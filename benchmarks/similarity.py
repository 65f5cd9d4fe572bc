"""What drift costs: `cka` of 12 layers beside pytorch-cka, in one run, and the memory of `Moments` as rows grow.

`python benchmarks/similarity.py [rounds]` (needs `pip install pytorch-cka`; about two minutes a round on 2 cores, and
8 GB) prints medians over the rounds, which take turns, the ratios to `distxfer`, on the clock and in processor seconds
(which neighbours on the machine disturb least), and the largest absolute difference of the answers. All get the same
float64 tensors on the CPU and the same threads. pytorch-cka's one call compares every layer of one side with every layer
of the other, on n x n matrices; `pairs` calls it once per layer, for the 12 numbers that drift takes. The features are
centred before the clock starts, which spares it rounding.

Memory is the most that a process of its own ever held beyond what it held before, its input not counted.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from distxfer.measure import Moments, cka
from distxfer.reports.tables import Table

LAYERS, ROWS, WIDTHS = 12, 5010, (384, 768)


def layers(rows: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the representations before and after some change, (layers, rows, width), of spread 1 around means of 1."""
    generator = torch.Generator().manual_seed(0)
    before, change = (torch.randn(LAYERS, rows, width, generator=generator, dtype=dtype) for _ in range(2))
    before += 1
    return before, change.mul_(0.5).add_(before)  # in place, so that what is held later shows in the peak


def timed(call: Callable[[], Tensor]) -> tuple[float, float, Tensor]:
    """Return the seconds that the call took, on the clock and of the processors, and its answer."""
    start, busy = time.perf_counter(), time.process_time()
    answer = call()
    return time.perf_counter() - start, time.process_time() - busy, answer


def speed(width: int, rounds: int) -> Table:
    """Time the ways in turn, `rounds` times."""
    from cka import cka_from_features

    x, y = layers(ROWS, width, torch.float64)
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    ways: dict[str, Callable[[], Tensor]] = {
        "distxfer": lambda: cka(x, y),
        "pytorch-cka": lambda: cka_from_features(x, y).diagonal(),
        "pytorch-cka, pairs": lambda: torch.cat(
            [cka_from_features(*pair).flatten() for pair in zip(x, y, strict=True)]
        ),
    }
    runs = [{name: timed(way) for name, way in ways.items()} for _ in range(rounds)]
    rows = []
    for name in ways:
        cells = []
        for clock in (0, 1):
            seconds = median(run[name][clock] for run in runs)
            ratio = median(run[name][clock] / run["distxfer"][clock] for run in runs)
            cells += [f"{seconds:.2f}", f"{ratio:.1f}"]
        error = float((runs[0][name][2] - runs[0]["distxfer"][2]).abs().max())
        rows.append((width, name, *cells, f"{error:.1e}"))
    return Table(("width", "way", "seconds", "ratio", "processor seconds", "ratio", "largest difference"), rows)


def _held() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _stream(rows: int, width: int) -> float:
    """Return the MiB that streaming one batch of rows after the other takes, of all layers."""
    x, y = layers(rows, width, torch.float32)
    before, moments = _held(), Moments()
    for start in range(0, rows, 256):
        moments.update(x[:, start : start + 256], y[:, start : start + 256])
    moments.cka()
    return _held() - before


def _whole(rows: int, width: int) -> float:
    """Return the MiB that `cka` of all rows takes."""
    x, y = layers(rows, width, torch.float32)
    before = _held()
    cka(x, y)
    return _held() - before


def memory() -> Table:
    """Measure each way at two numbers of rows, each in a process of its own."""
    rows = []
    for width in WIDTHS:
        for name, way in (("Moments, batches of 256", _stream), ("cka of float32", _whole)):
            found = []
            for count in (ROWS, 4 * ROWS):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    found.append(round(pool.apply(way, (count, width))))
            rows.append((width, name, *found))
    return Table(("width", "way", f"MiB, n = {ROWS}", f"MiB, n = {4 * ROWS}"), rows)


if __name__ == "__main__":
    print(f"{LAYERS} layers, n = {ROWS}, {torch.get_num_threads()} threads")
    print(memory().text(), flush=True)  # first, for a process starts with the peak of the one that it comes from
    for size in WIDTHS:
        print(speed(size, int(sys.argv[1]) if len(sys.argv) > 1 else 3).text(), flush=True)
