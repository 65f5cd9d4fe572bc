"""Helpers of the measures of whole representations: the check of the number of rows, and loops over layers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._tensors import Array, working_pair

Result = TypeVar("Result")


def paired_rows(x: Array, y: Array, *, least: int, measure: str) -> tuple[Tensor, Tensor]:
    """Return both in the working precision, with at least `least` rows each.

    Raises: InputError for fewer rows, naming the `measure` that needs them, or as `working_pair` does.
    """
    first, second = working_pair(x, y)
    if first.shape[-2] < least:
        raise InputError(f"`x` has {first.shape[-2]} rows; {measure} needs at least {least}: give more sentences.")
    return first, second


def each_layer(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Return the scalar `function` of every pair of layers, (..., n, d1) and (..., n, d2) to (...).

    One at a time: for functions that hold an n x n matrix per layer, or reduce each layer to a number of dimensions of its own.
    """
    leading = x.shape[:-2]
    layers = zip(x.reshape(-1, *x.shape[-2:]), y.reshape(-1, *y.shape[-2:]), strict=True)
    with torch.autocast(x.device.type, enabled=False):
        return torch.stack([function(first, second) for first, second in layers]).reshape(leading)


def layers_in_threads(function: Callable[[Tensor, Tensor], Result], x: Tensor, y: Tensor) -> list[Result]:
    """Return the `function` of every pair of layers, (..., n, d1) and (..., n, d2), on the CPU and without a gradient.

    As many at a time as torch has threads, with one thread each: the products of one layer are too small to parallelise.
    """
    pairs = list(zip(x.reshape(-1, *x.shape[-2:]), y.reshape(-1, *y.shape[-2:]), strict=True))
    threads = torch.get_num_threads()
    workers = min(threads, len(pairs))
    if workers == 1:
        return [function(*pair) for pair in pairs]
    started = Barrier(workers + 1)

    def start() -> None:
        torch.set_num_threads(1)
        started.wait()

    with ThreadPoolExecutor(workers, initializer=start) as pool:
        futures = [pool.submit(function, *pair) for pair in pairs]
        started.wait()
        torch.set_num_threads(threads)  # torch gives threads that start later what a worker has set
        return [future.result() for future in futures]
