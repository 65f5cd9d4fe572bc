"""The first steps of every measure on tensors: check, convert to the working precision, centre, go through layers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy.typing as npt
import torch
from torch import Tensor

from distxfer.errors import InputError

Array: TypeAlias = Tensor | npt.NDArray[Any]  # what the measures accept; they compute on tensors and return tensors
_checks_values: ContextVar[bool] = ContextVar("checks_values", default=True)


@contextmanager
def unchecked_values() -> Iterator[None]:
    """Let measures take values that they refuse elsewhere: NaN, infinity and rows of zeros then give NaN.

    For losses, which are checked themselves: a check of values makes the CPU wait for a GPU.
    """
    token = _checks_values.set(False)
    try:
        yield
    finally:
        _checks_values.reset(token)


def checked(x: Array, name: str) -> Tensor:
    """Return `x` as a tensor.

    Raises: InputError when `x` has fewer than two dimensions, is empty, or holds NaN or infinity.
    """
    x = torch.as_tensor(x)
    if x.dim() < 2 or x.numel() == 0:
        raise InputError(
            f"`{name}` has the shape {tuple(x.shape)}; expected (..., rows, dimensions), none of them 0: "
            "give one row per sentence."
        )
    # A sum is quicker, but may overflow where all entries are finite.
    if _checks_values.get() and not bool(x.sum().isfinite()) and not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).sum())
        raise InputError(
            f"`{name}` holds {bad} values that are NaN or infinite; expected finite representations: "
            "look for a run that diverged, or for a sentence without tokens in the pooling."
        )
    return x


def working_type(x: Tensor) -> torch.dtype:
    """Return the working precision: float64, or at least float32 where the device has no float64 (mps)."""
    return torch.promote_types(x.dtype, torch.float32) if x.device.type == "mps" else torch.float64


def working(x: Array, name: str) -> Tensor:
    """Return `x` in the working precision. Raises: InputError as `checked` does."""
    tensor = checked(x, name)
    return tensor.to(working_type(tensor))


def working_pair(x: Array, y: Array, *, names: tuple[str, str] = ("x", "y")) -> tuple[Tensor, Tensor]:
    """Return both in the working precision, row i of one belonging to row i of the other. Raises as `checked_pair` does."""
    first, second = checked_pair(x, y, names=names)
    return first.to(working_type(first)), second.to(working_type(second))


def checked_pair(x: Array, y: Array, *, names: tuple[str, str] = ("x", "y")) -> tuple[Tensor, Tensor]:
    """Return both as tensors, row i of one belonging to row i of the other.

    Raises: InputError when the numbers of rows (or the leading batch dimensions) differ, or as `checked` does.
    """
    first, second = checked(x, names[0]), checked(y, names[1])
    if first.shape[:-1] != second.shape[:-1]:
        raise InputError(
            f"`{names[0]}` has the shape {tuple(x.shape)} and `{names[1]}` {tuple(y.shape)}; expected the same number "
            "of rows in both: row i of one belongs to row i of the other."
        )
    return first, second


def paired_rows(x: Array, y: Array, *, least: int, measure: str) -> tuple[Tensor, Tensor]:
    """Return both in the working precision, with at least `least` rows each. Raises: InputError as `checked_rows` does."""
    first, second = checked_rows(x, y, least=least, measure=measure)
    return first.to(working_type(first)), second.to(working_type(second))


def checked_rows(x: Array, y: Array, *, least: int, measure: str) -> tuple[Tensor, Tensor]:
    """Return both as tensors, with at least `least` rows each.

    Raises: InputError for fewer rows, naming the `measure` that needs them, or as `checked_pair` does.
    """
    first, second = checked_pair(x, y)
    if first.shape[-2] < least:
        raise InputError(f"`x` has {first.shape[-2]} rows; {measure} needs at least {least}: give more sentences.")
    return first, second


def layer_pairs(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Return the pairs of layers, (n, d1) and (n, d2), of (..., n, d1) and (..., n, d2)."""
    return zip(x.reshape(-1, *x.shape[-2:]), y.reshape(-1, *y.shape[-2:]), strict=True)


def each_layer(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Return the scalar `function` of every pair of layers, (..., n, d1) and (..., n, d2) to (...), one at a time.

    For functions that hold an n x n matrix per layer, or reduce each layer to a number of dimensions of its own.
    """
    with torch.autocast(x.device.type, enabled=False):
        return torch.stack([function(*pair) for pair in layer_pairs(x, y)]).reshape(x.shape[:-2])


def check_same_width(x: Array, y: Array, *, names: tuple[str, str] = ("x", "y")) -> None:
    """Raise InputError unless both have the same number of dimensions per row."""
    if x.shape[-1] != y.shape[-1]:
        raise InputError(
            f"`{names[0]}` has {x.shape[-1]} dimensions per row and `{names[1]}` has {y.shape[-1]}; expected the same: "
            "compare layers of one width, or use cka."
        )


def row_norms(x: Tensor, name: str) -> Tensor:
    """Return the lengths (..., n, 1) of the rows of `x` (..., n, d).

    Raises: InputError when a row is all zeros, for it has no direction.
    """
    if _checks_values.get() and not bool(x.any(dim=-1).all()):
        empty = int((~x.any(dim=-1)).sum())
        raise InputError(
            f"`{name}` has {empty} rows that are all zeros; expected rows with a direction: "
            "look for a sentence without tokens in the pooling."
        )
    norms: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norms


def centring(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return `mean` and `unit` (..., 1, d) of (..., n, d): (x - mean) / unit is centred, with a largest entry of 1.

    The unit of a column that varies by no more than rounding is infinite, so that the column becomes exactly 0; it is a
    constant to the gradient. In the working precision.
    """
    dtype = working_type(x)
    mean = x.mean(dim=-2, keepdim=True, dtype=dtype)
    with torch.no_grad():
        low, high = x.amin(dim=-2, keepdim=True).to(dtype), x.amax(dim=-2, keepdim=True).to(dtype)
        off = torch.maximum(high - mean, mean - low)
        varies = off > 16 * torch.finfo(dtype).eps * torch.maximum(high.abs(), low.abs())
        largest = torch.where(varies, off, 0.0).amax(dim=-1, keepdim=True)
        unit = torch.where(varies, largest, torch.inf)
    return mean, unit


def centre(x: Tensor) -> Tensor:
    """Return `x` (..., n, d) less its column means; a column that varies by no more than rounding becomes exactly 0."""
    centred = x - x.mean(dim=-2, keepdim=True)
    with torch.no_grad():
        rounding = 16 * torch.finfo(x.dtype).eps * x.abs().amax(dim=-2, keepdim=True)
        varies = centred.abs().amax(dim=-2, keepdim=True) > rounding
    return torch.where(varies, centred, 0.0)


def unit_scale(x: Tensor) -> Tensor:
    """Return `x` divided by its largest entry, a constant to the gradient: CKA ignores scale, overflow does not."""
    largest = x.detach().abs().amax(dim=(-2, -1), keepdim=True)
    return x / torch.where(largest > 0, largest, 1.0)
