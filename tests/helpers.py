"""What tests share: random tensors by their seed, the message of an error, and what a run has left behind."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import hypothesis
import pytest
import torch
from safetensors.torch import load_file

from distxfer.errors import InputError


def given(*args, **kwargs):
    """Hypothesis's `given` with 25 examples, however long they take."""
    return lambda test: hypothesis.settings(max_examples=25, deadline=None)(hypothesis.given(*args, **kwargs)(test))


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
        name: float((trained - start[name.removeprefix("bert.")]).square().sum())
        for name, trained in weights(result).items()
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


@contextmanager
def installed(folder: Path, source: str, **entry_points: str) -> Iterator[None]:
    """Install a module as another package whose classes are interventions: name of the intervention=name of the class."""
    module = f"package_{folder.name}".replace("-", "_")
    info = folder / f"{module}-1.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    lines = [f"{name} = {module}:{class_name}\n" for name, class_name in entry_points.items()]
    (info / "entry_points.txt").write_text("".join(["[distxfer.interventions]\n", *lines]))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield
    sys.modules.pop(module, None)
