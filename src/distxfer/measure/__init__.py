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
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "_alignment" if name.lower() == "retrieval" else "_similarity"
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
