"""distxfer: better cross-lingual transfer to typologically distant languages, measured honestly.

`train(load_recipe("drift_reg"))` does what `distxfer train recipe=drift_reg` does. What needs torch is imported when
it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from distxfer.errors import InputError as InputError
    from distxfer.errors import RunError as RunError
    from distxfer.experiments import Result as Result
    from distxfer.experiments import compare as compare
    from distxfer.experiments import load_recipe as load_recipe
    from distxfer.experiments import read_result as read_result
    from distxfer.experiments import read_scores as read_scores
    from distxfer.experiments import sweep as sweep
    from distxfer.experiments import train as train
    from distxfer.languages import distance as distance
    from distxfer.measure import cka as cka
    from distxfer.reports import report as report

_HOMES = {
    "InputError": "errors", "RunError": "errors", "Result": "experiments", "compare": "experiments",
    "load_recipe": "experiments", "read_result": "experiments", "read_scores": "experiments",
    "sweep": "experiments", "train": "experiments", "distance": "languages", "cka": "measure", "report": "reports",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module `{__name__}` has no `{name}`")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
