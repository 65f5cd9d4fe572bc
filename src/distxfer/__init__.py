"""distxfer: better cross-lingual transfer to typologically distant languages, measured honestly.

`train(load_recipe("drift_reg"))` does what `distxfer train recipe=drift_reg` does. What needs torch is imported when
it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from distxfer.analysis.compare import compare as compare
    from distxfer.checkpoints.merge import merge as merge
    from distxfer.config.recipe import load_recipe as load_recipe
    from distxfer.data import save_task as save_task
    from distxfer.errors import InputError as InputError
    from distxfer.errors import RunError as RunError
    from distxfer.languages import distance as distance
    from distxfer.measure import cka as cka
    from distxfer.reports.page import report as report
    from distxfer.results.collect import load_results as load_results
    from distxfer.results.result import Result as Result
    from distxfer.results.result import read_result as read_result
    from distxfer.results.tables import read_scores as read_scores
    from distxfer.runs.predict import predict as predict
    from distxfer.runs.run import train as train
    from distxfer.sweeps.sweep import sweep as sweep

_HOMES = {
    "InputError": "errors", "RunError": "errors", "Result": "results.result", "compare": "analysis.compare",
    "load_recipe": "config.recipe", "load_results": "results.collect", "read_result": "results.result",
    "read_scores": "results.tables", "sweep": "sweeps.sweep", "train": "runs.run",
    "predict": "runs.predict", "distance": "languages",
    "cka": "measure", "merge": "checkpoints.merge", "save_task": "data", "report": "reports.page",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module `{__name__}` has no `{name}`")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
