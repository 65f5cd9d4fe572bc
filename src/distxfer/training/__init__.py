"""Training: phases, one loop, checkpoints; the only package that imports Accelerate."""

from typing import TYPE_CHECKING

from distxfer._lazy import lazy
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
    from distxfer.training._streams import generator as generator
    from distxfer.training._streams import stream_seed as stream_seed
    from distxfer.training._streams import torch_stream as torch_stream
    from distxfer.training._training import Plan as Plan
    from distxfer.training._training import Training as Training

# These need torch and Accelerate.
__getattr__, __dir__ = lazy(
    __name__,
    {
        "_checkpoint": "remove_checkpoint",
        "_loop": "Report Watch",
        "_objective": "Diverged TrainingData",
        "_processes": "Processes",
        "_streams": "generator stream_seed torch_stream",
        "_training": "Plan Training",
    },
)
