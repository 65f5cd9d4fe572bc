"""Similarity of shape: up to rotation, by distances between rows, and by nearest neighbours."""

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._hsic import unit_scale
from distxfer.measure._layers import each_layer, paired_rows
from distxfer.measure._tensors import Array, centre, row_norms

_ROWS = 1024  # worked on at a time


def procrustes(x: Array, y: Array) -> Tensor:
    """Return how well the best rotation (and reflection) lays one representation of the same n rows on the other.

    s = |X^T Y|_* / (|X|_F |Y|_F), X and Y column-centred, |.|_* the sum of the singular values. It is the largest
    <X Q, Y> / (|X|_F |Y|_F) over maps Q with orthonormal rows or columns; the Procrustes distance of Ding et al. is
    2 - 2s.

    Shapes: x (..., n, d1), y (..., n, d2); result (...). Range: [0, 1], 1 for x = y; of independent ones around
    sqrt(d/n), so 0 only for n far above d. Differentiable. Time O(n d1 d2 + d^3).

    NaN where the rows of a side are all the same, see `procrustes_reason`. Invariant under orthogonal maps, isotropic
    scaling and translation of either argument, and under one permutation of the rows of both.

    Raises: InputError for fewer than 3 rows (two centred points always fit), unequal numbers of rows, NaN or infinity.

    Reference: Ding et al. 2021, section 2.1, eq. 2, with both sides of norm 1; Williams et al. 2021, eq. 4.
    """
    a, b = (unit_scale(centre(side)) for side in paired_rows(x, y, least=3, measure="Procrustes similarity"))
    with torch.autocast(a.device.type, enabled=False):
        squared_norms = a.square().sum(dim=(-2, -1)) * b.square().sum(dim=(-2, -1))
        defined = squared_norms > 0
        nuclear = torch.linalg.svdvals(a.mT @ b).sum(dim=-1)
        return torch.where(defined, nuclear / torch.where(defined, squared_norms, 1.0).sqrt(), torch.nan)


@torch.no_grad()
def procrustes_reason(x: Array, y: Array) -> str | None:
    """Return why `procrustes` of the same arguments is NaN (anywhere in the batch), or None when it is a number."""
    sides = paired_rows(x, y, least=3, measure="Procrustes similarity")
    for name, side in zip(("x", "y"), sides, strict=True):
        if not bool(centre(side).any(dim=-1).any(dim=-1).all()):
            return f"the rows of `{name}` are all the same, so there is no structure to compare"
    return None


@torch.no_grad()
def rsa(x: Array, y: Array) -> Tensor:
    """Return how alike two representations of the same n rows order the distances between rows.

    The Spearman correlation of the n(n-1)/2 Euclidean distances |x_i - x_j| and |y_i - y_j|, i < j, tied distances
    taking their mean rank.

    Shapes: x (..., n, d1), y (..., n, d2); result (...). Range: [-1, 1], 1 for x = y, around 0 for independent ones.
    Time O(n^2 (d + log n)), memory O(n^2), one layer at a time. Not differentiable: ranks are steps.

    NaN where all distances of a side are equal, see `rsa_reason`. Invariant under orthogonal maps, isotropic scaling and
    translation of either argument, and under one permutation of the rows of both.

    Raises: InputError for fewer than 3 rows, unequal numbers of rows, NaN or infinity.

    Reference: Kriegeskorte et al. 2008 (representational similarity analysis), with rank correlation.
    """
    return each_layer(_rank_correlation, *paired_rows(x, y, least=3, measure="RSA"))


@torch.no_grad()
def rsa_reason(x: Array, y: Array) -> str | None:
    """Return why `rsa` of the same arguments is NaN (anywhere in the batch), or None when it is a number."""
    for name, side in zip(("x", "y"), paired_rows(x, y, least=3, measure="RSA"), strict=True):
        if bool(each_layer(lambda a, _: _distance_ranks(a).eq(0).all(), side, side).any()):
            return f"the distances between the rows of `{name}` are all equal, so they have no order to compare"
    return None


def _rank_correlation(x: Tensor, y: Tensor) -> Tensor:
    a, b = _distance_ranks(x), _distance_ranks(y)
    return (a @ b) / (a.square().sum() * b.square().sum()).sqrt()  # 0 / 0 is NaN, as it should


def _distance_ranks(x: Tensor) -> Tensor:
    """Return the mean ranks of the distances of the rows of (n, d), less their mean; 0 where all distances are equal.

    Distances within rounding of the next one tie with it: a rotation must not order them.
    """
    distances, order = torch.nn.functional.pdist(unit_scale(centre(x))).sort()
    steps = distances.diff() > 64 * torch.finfo(x.dtype).eps * distances[-1]
    group = torch.cat([steps.new_zeros(1), steps]).cumsum(0)
    count = torch.bincount(group).to(x.dtype)
    ranks: Tensor = (count.cumsum(0) - (count - 1) / 2)[group]
    return torch.empty_like(ranks).scatter_(0, order, ranks - ranks.mean())


@torch.no_grad()
def neighbour_overlap(x: Array, y: Array, *, k: int = 10) -> Tensor:
    """Return how many of a row's nearest neighbours are the same in two representations of the same n rows.

    The mean over rows i of |N_x(i) & N_y(i)| / |N_x(i) | N_y(i)|, where N(i) are the k other rows of largest cosine with
    row i, and all that tie with the k-th, up to rounding.

    Shapes: x (..., n, d1), y (..., n, d2); result (...). Range: [0, 1], 1 for x = y; of independent ones about
    k / (2n). Time O(n^2 d), memory O(n) per row of a chunk of 1,024, one layer at a time. Not differentiable.

    Representations that collapsed tie everywhere: their neighbours are all rows, and the overlap with others is k/(n-1).
    Invariant under orthogonal maps of either argument, positive scaling of each row and one permutation of the rows of
    both; not under translation.

    Raises: InputError for k < 1, fewer than k + 2 rows (all others would be neighbours), rows of zeros, unequal numbers
    of rows, NaN or infinity.

    Reference: Schumacher et al. 2021 (second-order and neighbourhood stability); Klabunde et al. 2023, section 3.4,
    k-NN Jaccard similarity.
    """
    if k < 1:
        raise InputError(f"`k` is {k}; expected at least 1: give the number of neighbours to look at.")
    a, b = paired_rows(x, y, least=k + 2, measure=f"the overlap of {k} neighbours")
    return each_layer(lambda u, v: _overlap(u, v, k), a / row_norms(a, "x"), b / row_norms(b, "y"))


def _overlap(x: Tensor, y: Tensor, k: int) -> Tensor:
    total = x.new_zeros(())
    for start in range(0, x.shape[0], _ROWS):
        near_x, near_y = (_neighbours(side, start, k) for side in (x, y))
        total += ((near_x & near_y).sum(dim=1) / (near_x | near_y).sum(dim=1).to(x.dtype)).sum()
    return total / x.shape[0]


def _neighbours(x: Tensor, start: int, k: int) -> Tensor:
    """Return which of the unit rows of `x` are neighbours of those of the chunk from `start`, (chunk, n)."""
    cosines = x[start : start + _ROWS] @ x.mT
    row = torch.arange(len(cosines), device=x.device)
    cosines[row, start + row] = -torch.inf
    return cosines >= cosines.topk(k, dim=1).values[:, -1:] - 64 * torch.finfo(x.dtype).eps
