"""Drift of the cosines between the rows of a representation."""

import torch
from torch import Tensor

from distxfer.measure._layers import paired_rows
from distxfer.measure._tensors import Array, row_norms


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
