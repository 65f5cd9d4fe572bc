"""Training: phases, one loop, checkpoints; the only package that imports Accelerate."""

from typing import TYPE_CHECKING

from distxfer._lazy import lazy
from distxfer.training._settings import Cost as Cost
from distxfer.training._settings import Diagnostics as Diagnostics
from distxfer.training._settings import Phase as Phase

if TYPE_CHECKING:
    from distxfer.training._checkpoint import *
    from distxfer.training._loop import *
    from distxfer.training._objective import *
    from distxfer.training._processes import *
    from distxfer.training._streams import *
    from distxfer.training._training import *

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
