"""What tests share: random tensors by their seed, the message of an error, and what a run has left behind."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distxfer.errors import InputError


def normal(seed, *shape, dtype=torch.float64):
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def orthogonal(seed, d):
    """A random orthogonal matrix."""
    return torch.linalg.qr(normal(seed, d, d))[0]


def related(seed=0, n=60, d=6):
    """Two representations of one width that share structure, near the same place but not at the origin."""
    x = normal(seed, n, d) + 0.5
    return x, 0.5 * x + 0.7 * normal(seed + 1, n, d) @ normal(seed + 2, d, d) / d**0.5


def message(call, *args, **kwargs):
    """The message with which a call refuses its input."""
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def weights(result, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
    """The weights of a run's saved model (or those of a `file` beside it), by name."""
    return load_file(result.folder / "model" / file)


def gone(result, pretrained: Path) -> dict[str, float]:
    """How far each encoder weight of a run is from where it started, squared."""
    start = load_file(pretrained / "model.safetensors")
    return {
        name: float((one - start[name.removeprefix("bert.")]).square().sum())
        for name, one in weights(result).items()
        if name.startswith("bert.") and name.removeprefix("bert.") in start
    }


def log(result) -> list[dict]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (result.folder / "log.jsonl").read_text().splitlines()]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are the same, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def farthest(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """The largest difference of an entry between two sets of weights."""
    assert first.keys() == second.keys()
    return max(float((first[key] - second[key]).abs().max()) for key in first)


def stop_at(count: int):
    """A report that interrupts a run in its `count`-th step, before a checkpoint of that step is written."""
    seen = []

    def report(*_):
        seen.append(1)
        if len(seen) == count:
            raise KeyboardInterrupt

    return report


class Elements(HTMLParser):
    """Collects the elements and the attributes of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
