"""What retrieval among many sentences takes: seconds, and the peak of memory of the whole process.

`python benchmarks/retrieval.py [sentences] [dimensions]` measures 100,000 x 384 unless told otherwise, in float32, as an
encoder gives them. Weak and strong retrieval in both directions come first, then CSLS; the peak is of all so far.
"""

import resource
import sys
from collections.abc import Callable
from time import perf_counter

import torch

from distxfer import measure
from distxfer.reports.tables import Table


def main(sentences: int = 100_000, dimensions: int = 384) -> None:
    """Make noisy translations of random sentences, and retrieve them."""
    random = torch.Generator().manual_seed(0)
    source = torch.randn(sentences, dimensions, generator=random)
    target = source + 4 * torch.randn(sentences, dimensions, generator=random)
    calls: dict[str, Callable[[], object]] = {
        "the two inputs, in float32": lambda: None,
        "retrieval": lambda: measure.retrieval(source, target),
        "csls_retrieval": lambda: measure.csls_retrieval(source, target),
    }
    rows = []
    for name, call in calls.items():
        start = perf_counter()
        result = call()
        seconds = perf_counter() - start
        if result is not None:
            print(f"{result}\n{seconds:.1f} s", flush=True)
        rows.append((name, round(seconds, 1), round(_peak_gigabytes(), 2)))
    print(f"{sentences:,} x {dimensions} sentences, {torch.get_num_threads()} threads")
    print(Table(("what", "seconds", "peak GB of the process"), rows).text(), end="")


def _peak_gigabytes() -> float:
    """Return the most memory that this process has held so far; macOS counts it in bytes, Linux in kilobytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
