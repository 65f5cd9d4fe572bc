"""Training: phases, one loop, checkpoints; the only package that imports Accelerate."""

from typing import TYPE_CHECKING, Any

from distxfer.training._settings import Cost as Cost
from distxfer.training._settings import Diagnostics as Diagnostics
from distxfer.training._settings import Phase as Phase

if TYPE_CHECKING:
    from distxfer.training._checkpoint import remove_checkpoint as remove_checkpoint
    from distxfer.training._loop import Report as Report
    from distxfer.training._loop import Watch as Watch
    from distxfer.training._objective import Diverged as Diverged
    from distxfer.training._objective import TrainingData as TrainingData
    from distxfer.training._processes import Processes as Processes
    from distxfer.training._streams import stream_seed as stream_seed
    from distxfer.training._streams import torch_stream as torch_stream
    from distxfer.training._training import Plan as Plan
    from distxfer.training._training import Training as Training

_HOMES = {
    "Diverged": "_objective", "TrainingData": "_objective", "Plan": "_training", "Report": "_loop", "Processes": "_processes",
    "Training": "_training", "Watch": "_loop", "stream_seed": "_streams", "torch_stream": "_streams",
    "remove_checkpoint": "_checkpoint",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import the modules that need torch and Accelerate on first use."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module `{__name__}` has no `{name}`")
