"""How far states have moved, row by row, and how single dimensions weigh.

Computed and returned in the working precision, as in `kernel_alignment`.
"""

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._tensors import (
    Array,
    centre,
    check_same_width,
    paired_rows,
    row_norms,
    unit_scale,
    working,
    working_pair,
)


def standardise(x: Array) -> Tensor:
    """Return `x` with every column brought to mean 0 and variance 1, so that no outlier dimension dominates.

    z_ij = (x_ij - mean_j) / sd_j, sd_j the population standard deviation (divided by n) of column j; a column that
    does not vary becomes 0.

    Shapes: (..., n, d) to (..., n, d), in units of standard deviations. Invariant under translation and under positive
    scaling of each column; not under rotation. Raises: InputError for NaN or infinity.
    """
    centred = centre(working(x, "x"))
    variance = centred.square().mean(dim=-2, keepdim=True)
    return centred / torch.where(variance > 0, variance, 1.0).sqrt()


@torch.no_grad()
def top_dimension_share(x: Array) -> float:
    """Return the share of the total variance that the largest column holds.

    max_j var_j / sum_j var_j. Shape: (n, d). Range: [1/d, 1], 1/d when all columns vary alike; NaN when none varies.
    Invariant under translation, isotropic scaling and permutation of rows or columns. Raises: InputError for NaN or
    infinity, or for more than two dimensions.
    """
    if x.ndim != 2:
        raise InputError(f"`x` has the shape {tuple(x.shape)}; expected (rows, dimensions): give one layer at a time.")
    variance = unit_scale(centre(working(x, "x"))).square().sum(dim=-2)
    return float(variance.max() / variance.sum())


def cosine_drift(x: Array, y: Array) -> Tensor:
    """Return how far each row of `x` has turned away from the same row of `y`.

    1 - cos(x_i, y_i), computed as |x_i/|x_i| - y_i/|y_i||^2 / 2, which is exactly 0 for x = y and accurate near it.

    Shapes: x and y (..., n, d) to (..., n). Range: [0, 2]. Invariant under positive scaling of each row and under one
    orthogonal map of both; not under translation. Raises: InputError for unequal shapes, rows of zeros, NaN or
    infinity.
    """
    first, second = working_pair(x, y)
    check_same_width(x, y)
    return (first / row_norms(first, "x") - second / row_norms(second, "y")).square().sum(-1) / 2


def normalised_mse(x: Array, y: Array) -> Tensor:
    """Return how far each row of `x` has moved from its reference `y`, relative to the reference's size.

    |x_i - y_i|^2 / |y_i|^2, with y the reference (the encoder before training): not symmetric.

    Shapes: x and y (..., n, d) to (..., n). Range: [0, inf), 0 for x = y. Invariant under one isotropic scaling and one
    orthogonal map of both; not under translation. Raises: InputError for unequal shapes, rows of zeros in y, NaN or
    infinity.
    """
    moved, reference = working_pair(x, y)
    check_same_width(x, y)
    return ((moved - reference) / row_norms(reference, "y")).square().sum(-1)


def relational_drift(x: Array, y: Array) -> Tensor:
    """Return how much the cosines between rows differ in two representations of the same n rows.

    The mean over the n(n-1) ordered pairs i != j of (cos(x_i, x_j) - cos(y_i, y_j))^2.

    Shapes: x (..., n, d1), y (..., n, d2) to (...). Range: [0, 4], 0 for x = y. Differentiable; time O(n^2 d), memory
    O(n^2) per layer. Invariant under positive scaling of each row and orthogonal maps of either argument, and under one
    permutation of the rows of both; not under translation, unlike `cka`.

    Raises: InputError for fewer than 2 rows, unequal numbers of rows, rows of zeros, NaN or infinity.

    Reference: relational knowledge distillation, Park et al. 2019, section 3.2, with the cosine of a pair as its relation
    and the squared error as its loss. (Tung and Mori 2019 compare Gram matrices of rows that are not scaled, and scale
    the rows of the matrices.)
    """
    a, b = paired_rows(x, y, least=2, measure="relational drift")
    # Autocast would take float32 down to 16 bits on the devices where that is the working precision.
    with torch.autocast(a.device.type, enabled=False):
        first, second = a / row_norms(a, "x"), b / row_norms(b, "y")
        moved = first @ first.mT - second @ second.mT
        n = moved.shape[-1]
        between = moved.masked_fill(torch.eye(n, dtype=torch.bool, device=moved.device), 0.0)
        return between.square().sum(dim=(-2, -1)) / (n * (n - 1))
