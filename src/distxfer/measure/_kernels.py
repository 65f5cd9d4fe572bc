"""Centred kernel alignment with a Gaussian kernel."""

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._hsic import Similarities, no_structure, ratio, unit_scale
from distxfer.measure._layers import each_layer, paired_rows
from distxfer.measure._tensors import Array, centre


def rbf_cka(x: Array, y: Array, *, unbiased: bool = True, bandwidth: float = 1.0) -> Tensor:
    """Return the centred kernel alignment of two representations of the same n rows with a Gaussian kernel.

    CKA as in `cka`, of K_ij = exp(-|x_i - x_j|^2 / (2 s^2)) and L alike, s being `bandwidth` times the median distance
    of two different rows (the lower one of the two medians of an even number), for each representation separately. A
    small bandwidth looks at near neighbours only; a large one gives linear CKA.

    Shapes: x (..., n, d1), y (..., n, d2); result (...). Range: [-1, 1] unbiased, [0, 1] biased; 1 for x = y; around 0
    for independent ones when unbiased. Differentiable. Time O(n^2 d), memory O(n^2), one layer at a time.

    NaN where a kernel has no structure, see `rbf_cka_reason`: all distances are equal, or the median
    distance is 0. Invariant under orthogonal maps, isotropic scaling and translation of either argument, and under one
    permutation of the rows of both.

    Raises: InputError for fewer than 4 rows (biased: 2), bandwidth <= 0, unequal numbers of rows, NaN or infinity.

    Reference: Kornblith et al. 2019, section 3 (kernel and its bandwidth); Song et al. 2012 (unbiased HSIC).
    """
    return each_layer(
        lambda a, b: ratio(_kernel_similarities(a, b, unbiased=unbiased, bandwidth=bandwidth)),
        *_checked(x, y, unbiased=unbiased, bandwidth=bandwidth),
    )


@torch.no_grad()
def rbf_cka_reason(x: Array, y: Array, *, unbiased: bool = True, bandwidth: float = 1.0) -> str | None:
    """Return why `rbf_cka` of the same arguments is NaN (anywhere in the batch), or None when it is a number."""
    first, second = _checked(x, y, unbiased=unbiased, bandwidth=bandwidth)
    for name, side in (("x", first), ("y", second)):
        if bool((each_layer(lambda a, _: _median(_squared_distances(a)), side, side) == 0).any()):
            return f"the median distance of the rows of `{name}` is 0: at least half of the pairs of rows are the same"
    layers = zip(first.reshape(-1, *first.shape[-2:]), second.reshape(-1, *second.shape[-2:]), strict=True)
    reasons = (no_structure(_kernel_similarities(a, b, unbiased=unbiased, bandwidth=bandwidth)) for a, b in layers)
    return next((reason for reason in reasons if reason), None)


def _checked(x: Array, y: Array, *, unbiased: bool, bandwidth: float) -> tuple[Tensor, Tensor]:
    if not bandwidth > 0:
        raise InputError(
            f"`bandwidth` is {bandwidth:g}; expected more than 0: give it as a multiple of the median distance."
        )
    least, measure = (4, "unbiased CKA") if unbiased else (2, "biased CKA")
    return paired_rows(x, y, least=least, measure=measure)


def _kernel_similarities(x: Tensor, y: Tensor, *, unbiased: bool, bandwidth: float) -> Similarities:
    """Return the three similarities of one layer, (n, d1) and (n, d2)."""
    k, m = (_centred_kernel(side, unbiased=unbiased, bandwidth=bandwidth) for side in (x, y))
    # A kernel whose centred entries are no more than the rounding of entries of at most 1 has no structure.
    floor = (64 * x.shape[0] * torch.finfo(k.dtype).eps) ** 2
    own_x, own_y = k.square().sum(), m.square().sum()
    return (k * m).sum(), torch.where(own_x > floor, own_x, 0.0), torch.where(own_y > floor, own_y, 0.0)


def _centred_kernel(x: Tensor, *, unbiased: bool, bandwidth: float) -> Tensor:
    """Return the centred kernel (n, n), whose inner products are HSICs: biased H K H; unbiased U-centred, diagonal 0."""
    squared = _squared_distances(x)
    median = _median(squared)
    # A median of 0 gives a kernel of 0, whose self-similarity is 0.
    kernel = torch.exp(-squared / (2 * bandwidth**2 * torch.where(median > 0, median, 1.0))) * (median > 0)
    n = x.shape[0]
    if not unbiased:
        rows = kernel.mean(dim=1)
        return kernel - rows[:, None] - rows + rows.mean()
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
