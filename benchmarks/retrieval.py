"""Retrieval among many sentences beside `faiss-cpu` (flat, exact) in one run: seconds, and the peak of memory of the process.

`python benchmarks/retrieval.py [--sentences 100000] [--rounds 1] [--threads N]` needs `pip install faiss-cpu`. Sentences are
random, of 384 dimensions in float32, as an encoder gives them, their translations noisy. The four shares of `retrieval` take
four searches of faiss: each language in the other, and each in itself, as a translation has to be nearer than both. Unlike
distxfer, faiss decides in float32, where a tie goes either way.
"""

import argparse
import os
from collections.abc import Callable
from resource import RUSAGE_SELF, getrusage
from statistics import median
from time import perf_counter

import faiss
import torch
from record import write
from torch import Tensor

from distxfer import measure
from distxfer.reports.tables import Table

DIMENSIONS = 384


def searches(source: Tensor, target: Tensor, *, both: bool) -> list[float]:
    """Return the weak shares by faiss; with `both`, it also searches each language in itself, for the strong ones."""
    rows = [side.numpy().copy() for side in (source, target)]
    for side in rows:
        faiss.normalize_L2(side)
    shares = []
    for queries, candidates, neighbours in ((0, 1, 1), (1, 0, 1), *(((0, 0, 2), (1, 1, 2)) if both else ())):
        index = faiss.IndexFlatIP(DIMENSIONS)
        index.add(rows[candidates])
        nearest = index.search(rows[queries], neighbours)[1][:, 0]
        shares.append(float((nearest == range(len(source))).mean()))
    return shares[:2]


def main() -> None:
    """Retrieve in turns, and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    faiss.omp_set_num_threads(chosen.threads)
    random = torch.Generator().manual_seed(0)
    source = torch.randn(chosen.sentences, DIMENSIONS, generator=random)
    target = source + 4 * torch.randn(chosen.sentences, DIMENSIONS, generator=random)
    calls: dict[str, Callable[[], object]] = {
        "`retrieval`, weak and strong": lambda: measure.retrieval(source, target),
        "faiss, weak": lambda: searches(source, target, both=False),
        "faiss, weak and strong": lambda: searches(source, target, both=True),
        "`csls_retrieval`": lambda: measure.csls_retrieval(source, target),
    }
    measured: dict[str, list[float]] = {name: [] for name in calls}
    peaks = {}
    for _ in range(chosen.rounds):
        for name, call in calls.items():
            start = perf_counter()
            print(name, call(), flush=True)
            measured[name].append(perf_counter() - start)
            peaks.setdefault(name, getrusage(RUSAGE_SELF).ru_maxrss / 1e6)
    first = measured["`retrieval`, weak and strong"]
    rows = [
        (
            name,
            f"{median(seconds):.0f}",
            f"{median(mine / other for mine, other in zip(first, seconds, strict=True)):.2f}",
            f"{peaks[name]:.1f}",
        )
        for name, seconds in measured.items()
    ]
    title = f"{chosen.sentences:,} × {chosen.sentences:,} sentences of {DIMENSIONS} dimensions"
    table = Table(("", "seconds", "`retrieval`'s time / this", "peak GB of the process so far"), rows, title)
    write("retrieval", chosen.threads, [table], measured)


if __name__ == "__main__":
    main()
