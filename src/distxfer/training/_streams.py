"""Random streams by name: the draws of one part of a run never depend on those of another.

A stream is seeded by its purpose (the seed, the term, the phase, the step ...), not by earlier draws. So runs
with the same seed share the task's order and dropout whatever their interventions, and resuming needs no saved state.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream_seed(*names: str | int) -> int:
    """Return a seed below 2^63 for the stream with these names."""
    return int.from_bytes(hashlib.sha256(repr(names).encode()).digest()[:8], "big") >> 1


def generator(*names: str | int) -> np.random.Generator:
    """Return a fresh numpy generator for the stream with these names."""
    return np.random.default_rng(stream_seed(*names))


@contextmanager
def torch_stream(device: torch.device, *names: str | int) -> Iterator[None]:
    """Seed torch's own generator (dropout) by the stream with these names, and restore its state after."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        seed = stream_seed(*names)
        # `torch.manual_seed` writes down the call stack for each kind of device that is not there: a millisecond.
        torch.default_generator.manual_seed(seed) if device.type == "cpu" else torch.manual_seed(seed)
        yield
