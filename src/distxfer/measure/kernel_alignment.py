"""Centred kernel alignment: linear, and with a Gaussian kernel. One function for the penalty and for the report.

Everything is computed in float64 (in the input's precision, but at least float32, on devices without it) and
returned in it, differentiable, on the device of its input.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._tensors import Array, centre, checked_rows, each_layer, paired_rows, unit_scale
from distxfer.measure.drift import standardise
from distxfer.measure.hsic import (
    Similarities,
    in_gram_space,
    no_structure,
    ratio,
    summed_similarities,
    whole_similarities,
)

_ENTRIES = 2**18  # of one side, in the layers that are worked on at a time: they fit into a CPU's cache
_ENTRIES_ON_GPU = 2**26


def cka(x: Array, y: Array, *, unbiased: bool = True) -> Tensor:
    """Return the linear centred kernel alignment of two representations of the same n rows.

    CKA = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)), X and Y column-centred. Biased: HSIC ~ |X^T Y|_F^2. Unbiased, with
    k_i = |x_i|^2 and l_i = |y_i|^2 (the U-statistic on Gram matrices without their diagonals, written on features):

        HSIC = [ |X^T Y|_F^2 - sum k_i l_i + (sum k_i)(sum l_i) / ((n-1)(n-2)) - 2/(n-2) sum k_i l_i ] / (n(n-3))

    Shapes: x (..., n, d1), y (..., n, d2), row i of both from the same sentence; leading dimensions (layers) are a
    batch; the result has the shape (...). No unit. Range: [0, 1] biased and [-1, 1] unbiased, where independent
    representations are around 0 at any n and a small negative value is legitimate; never clamped. 1 for x = y.

    NaN where a self-similarity HSIC(X, X) is 0, see `cka_reason`: in exact arithmetic it is a sum of squares, so a
    value that is not above rounding means that X has no structure to compare, and the ratio would be noise.

    Invariant under orthogonal maps, isotropic scaling and translation of either argument, and under one permutation
    of the rows of both; not under scaling of single columns (see `standardise`).

    Raises: InputError for fewer than 4 rows (biased: 2), unequal numbers of rows, NaN or infinity.

    Reference: Kornblith et al. 2019, eq. 1 to 4; the unbiased HSIC_1 of Song et al. 2012, as in Nguyen et al. 2021,
    eq. 3.
    """
    return ratio(_similarities(x, y, unbiased=unbiased))


@torch.no_grad()
def cka_reason(x: Array, y: Array, *, unbiased: bool = True) -> str | None:
    """Return why `cka` of the same arguments is NaN (anywhere in the batch), or None when it is a number."""
    return no_structure(_similarities(x, y, unbiased=unbiased))


@torch.no_grad()
def cka_with_standardised(x: Array, y: Array, *, unbiased: bool = True) -> tuple[Tensor, Tensor]:
    """Return `cka` of two representations, and `cka` of both with standardised columns (`standardise`), each (...).

    The second is the first of z_ij = (x_ij - mean_j) / sd_j, whose products are those of the first divided by two standard
    deviations: both together cost little more than one. Shapes, range, NaN and errors as in `cka`; not differentiable.
    """
    first, second = _checked(x, y, unbiased)
    if in_gram_space(2 * first.shape[-2], first.shape[-1], second.shape[-1]):
        return cka(x, y, unbiased=unbiased), cka(standardise(x), standardise(y), unbiased=unbiased)
    values = _by_layer(partial(summed_similarities, unbiased=unbiased, standardised=True), first, second, 1)
    return ratio(values[:3]), ratio(values[3:])


def _similarities(x: Array, y: Array, *, unbiased: bool) -> Sequence[Tensor]:
    """Return HSIC(X, Y), HSIC(X, X) and HSIC(Y, Y), each (...), up to factors that cancel in CKA."""
    first, second = _checked(x, y, unbiased)
    n, d1, d2 = first.shape[-2], first.shape[-1], second.shape[-1]
    differentiated = torch.is_grad_enabled() and (first.requires_grad or second.requires_grad)
    if differentiated or in_gram_space(n, d1, d2):
        layers = max(1, (_ENTRIES if first.device.type == "cpu" else _ENTRIES_ON_GPU) // (n * max(d1, d2)))
        return _by_layer(partial(whole_similarities, unbiased=unbiased), first, second, layers)
    return _by_layer(partial(summed_similarities, unbiased=unbiased), first, second, 1)


def _checked(x: Array, y: Array, unbiased: bool) -> tuple[Tensor, Tensor]:
    least, measure = (4, "unbiased CKA") if unbiased else (2, "biased CKA")
    return checked_rows(x, y, least=least, measure=measure)


def _by_layer(
    function: Callable[[Tensor, Tensor], Sequence[Tensor]], x: Tensor, y: Tensor, layers: int
) -> Sequence[Tensor]:
    """Return the tensors that `function` returns for so many layers at a time, each joined to (...)."""
    parts = zip(*(torch.split(side.reshape(-1, *side.shape[-2:]), layers) for side in (x, y)), strict=True)
    # Autocast would take float32 down to 16 bits on the devices where that is the working precision.
    with torch.autocast(x.device.type, enabled=False):
        values = [function(*part) for part in parts]
    return [torch.cat(value).reshape(x.shape[:-2]) for value in zip(*values, strict=True)]


def rbf_cka(x: Array, y: Array, *, bandwidth: float = 1.0) -> Tensor:
    """Return the unbiased centred kernel alignment of two representations of the same n rows with a Gaussian kernel.

    CKA as in `cka`, of K_ij = exp(-|x_i - x_j|^2 / (2 s^2)) and L alike, s being `bandwidth` times the median distance
    of two different rows (the lower one of the two medians of an even number), for each representation separately. A
    small bandwidth looks at near neighbours only; a large one gives linear CKA.

    Shapes: x (..., n, d1), y (..., n, d2); result (...). Range: [-1, 1], 1 for x = y, around 0 for independent
    ones. Differentiable. Time O(n^2 d), memory O(n^2), one layer at a time.

    NaN where a kernel has no structure: all distances are equal, or the median distance is 0. Invariant under orthogonal
    maps, isotropic scaling and translation of either argument, and under one permutation of the rows of both.

    Raises: InputError for fewer than 4 rows, bandwidth <= 0, unequal numbers of rows, NaN or infinity.

    Reference: Kornblith et al. 2019, section 3 (kernel and its bandwidth); Song et al. 2012 (unbiased HSIC).
    """
    if not bandwidth > 0:
        raise InputError(
            f"`bandwidth` is {bandwidth:g}; expected more than 0: give it as a multiple of the median distance."
        )
    return each_layer(
        lambda a, b: ratio(_kernel_similarities(a, b, bandwidth)),
        *paired_rows(x, y, least=4, measure="unbiased CKA"),
    )


def why_no_kernel(x: Tensor, y: Tensor) -> str | None:
    """Return why `rbf_cka` of one layer each is NaN."""
    for name, side in (("x", x), ("y", y)):
        if _median(_squared_distances(side)) == 0:
            return f"the median distance of the rows of `{name}` is 0: at least half of the pairs of rows are the same"
    return no_structure(_kernel_similarities(x, y, 1.0))


def _kernel_similarities(x: Tensor, y: Tensor, bandwidth: float) -> Similarities:
    """Return the three similarities of one layer, (n, d1) and (n, d2)."""
    k, m = (_centred_kernel(side, bandwidth) for side in (x, y))
    # A kernel whose centred entries are no more than the rounding of entries of at most 1 has no structure.
    floor = (64 * x.shape[0] * torch.finfo(k.dtype).eps) ** 2
    own_x, own_y = k.square().sum(), m.square().sum()
    return (k * m).sum(), torch.where(own_x > floor, own_x, 0.0), torch.where(own_y > floor, own_y, 0.0)


def _centred_kernel(x: Tensor, bandwidth: float) -> Tensor:
    """Return the centred kernel (n, n), U-centred with diagonal 0, whose inner products are unbiased HSICs."""
    squared = _squared_distances(x)
    median = _median(squared)
    # A median of 0 gives a kernel of 0, whose self-similarity is 0.
    kernel = torch.exp(-squared / (2 * bandwidth**2 * torch.where(median > 0, median, 1.0))) * (median > 0)
    n = x.shape[0]
    off_diagonal = ~torch.eye(n, dtype=torch.bool, device=x.device)
    kernel = kernel * off_diagonal
    rows = kernel.sum(dim=1)
    centred = kernel - (rows[:, None] + rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return centred * off_diagonal


def _squared_distances(x: Tensor) -> Tensor:
    """Return the squared Euclidean distances (n, n) of the rows of (n, d), the same rows exactly 0 apart."""
    centred = unit_scale(centre(x))
    lengths = centred.square().sum(dim=-1)
    squared = lengths[:, None] + lengths - 2 * centred @ centred.mT
    # Where rows are equal up to the rounding of this difference, they are equal: no distance is below 0.
    rounding = 8 * torch.finfo(x.dtype).eps * (lengths[:, None] + lengths)
    return torch.where(squared > rounding, squared, 0.0)


def _median(squared: Tensor) -> Tensor:
    """Return the lower median of the squared distances of different rows."""
    row, column = torch.triu_indices(len(squared), len(squared), offset=1, device=squared.device)
    return squared[row, column].median()
