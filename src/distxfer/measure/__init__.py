"""Similarity, alignment, transfer and statistics: pure functions, data in and data out.

What works on tensors is imported from torch's side on first use, so that the rest stays cheap to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distxfer.measure._statistics import Crossed, crossed, holm, interval, two_way_bootstrap
from distxfer.measure._transfer import accuracy, is_collapsed, macro_f1, relative_transfer, transfer_summary

if TYPE_CHECKING:
    from distxfer.measure._alignment import Retrieval, retrieval
    from distxfer.measure._similarity import (
        cka,
        cka_reason,
        cosine_drift,
        normalised_mse,
        standardise,
        top_dimension_share,
    )

# Where the names of torch's side live.
_HOMES = {
    "Retrieval": "_alignment",
    "cka": "_similarity",
    "cka_reason": "_similarity",
    "cosine_drift": "_similarity",
    "normalised_mse": "_similarity",
    "retrieval": "_alignment",
    "standardise": "_similarity",
    "top_dimension_share": "_similarity",
}

__all__ = [
    "Crossed",
    "Retrieval",
    "accuracy",
    "cka",
    "cka_reason",
    "cosine_drift",
    "crossed",
    "holm",
    "interval",
    "is_collapsed",
    "macro_f1",
    "normalised_mse",
    "relative_transfer",
    "retrieval",
    "standardise",
    "top_dimension_share",
    "transfer_summary",
    "two_way_bootstrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
