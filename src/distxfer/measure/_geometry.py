"""Similarity of shape: up to rotation, by distances, by neighbours, and as two clouds."""

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._hsic import unit_scale
from distxfer.measure._layers import each_layer, paired_rows
from distxfer.measure._tensors import centre, check_same_width, row_norms

_ROWS = 1024  # worked on at a time


def procrustes(x: Tensor, y: Tensor) -> Tensor:
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
    a, b = (unit_scale(centre(side)) for side in paired_rows(x, y, least=3, what="Procrustes similarity"))
    with torch.autocast(a.device.type, enabled=False):
        own = a.square().sum(dim=(-2, -1)) * b.square().sum(dim=(-2, -1))
        defined = own > 0
        nuclear = torch.linalg.svdvals(a.mT @ b).sum(dim=-1)
        return torch.where(defined, nuclear / torch.where(defined, own, 1.0).sqrt(), torch.nan)


@torch.no_grad()
def procrustes_reason(x: Tensor, y: Tensor) -> str | None:
    """Return why `procrustes` of the same arguments is NaN (anywhere in the batch), or None when it is a number."""
    sides = paired_rows(x, y, least=3, what="Procrustes similarity")
    for name, side in zip(("x", "y"), sides, strict=True):
        if not bool(centre(side).any(dim=-1).any(dim=-1).all()):
            return f"the rows of `{name}` are all the same, so there is no structure to compare"
    return None


@torch.no_grad()
def rsa(x: Tensor, y: Tensor) -> Tensor:
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
    return each_layer(_rank_correlation, *paired_rows(x, y, least=3, what="RSA"))


@torch.no_grad()
def rsa_reason(x: Tensor, y: Tensor) -> str | None:
    """Return why `rsa` of the same arguments is NaN (anywhere in the batch), or None when it is a number."""
    for name, side in zip(("x", "y"), paired_rows(x, y, least=3, what="RSA"), strict=True):
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
def neighbour_overlap(x: Tensor, y: Tensor, *, k: int = 10) -> Tensor:
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
    a, b = paired_rows(x, y, least=k + 2, what=f"the overlap of {k} neighbours")
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


def transport_distance(x: Tensor, y: Tensor, *, blur: float = 0.05) -> Tensor:
    """Return how far the rows of `x` must travel to become the rows of `y`, as two clouds of points.

    The Sinkhorn divergence S of the two clouds of n points each, with cost |x - y|^2 / 2, both divided beforehand by s,
    s^2 the mean of their mean squared distances from their own means; so about W_2^2 / (2 s^2) for a small `blur`, which
    is a length in units of s. **The rows are not pairs**: any order of either gives the same number, so it says whether
    two clouds lie in the same place and have the same shape, not whether translations meet.

    Shapes: x and y (..., n, d), one width; result (...). Range: [0, inf), 0 for x = y; the iteration leaves it up to some
    4 % below the converged value, or a negative number near 0. Two samples of one distribution are not at 0: in many
    dimensions even the nearest points are far. Differentiable. Time and memory O(n^2) a layer: some thousand rows.

    NaN where neither cloud varies, see `transport_reason`. Invariant under one orthogonal map, one isotropic scaling and
    one translation of both, and under any permutations of the rows of either.

    Raises: InputError for fewer than 2 rows, blur <= 0, unequal shapes, NaN or infinity.

    Reference: Feydy et al. 2019, eq. 3, by geomloss.
    """
    if not blur > 0:
        raise InputError(f"`blur` is {blur:g}; expected more than 0: give it in units of the spread of the clouds.")
    return each_layer(lambda a, b: _transport(a, b, blur), *_clouds(x, y))


@torch.no_grad()
def transport_reason(x: Tensor, y: Tensor, *, blur: float = 0.05) -> str | None:
    """Return why `transport_distance` of the same arguments is NaN (anywhere in the batch), or None for a number."""
    a, b = _clouds(x, y)
    if bool(((centre(a).square() + centre(b).square()).sum(dim=(-2, -1)) == 0).any()):
        return "neither the rows of `x` nor those of `y` vary, so there is no spread to measure distances in"
    return None


def _clouds(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    first, second = paired_rows(x, y, least=2, what="the transport distance")
    check_same_width(x, y)
    return first, second


def _transport(x: Tensor, y: Tensor, blur: float) -> Tensor:
    middle = ((x.mean(dim=0) + y.mean(dim=0)) / 2).detach()  # distances are sums of products: keep these small
    a, b = centre(x), centre(y)
    largest = torch.maximum(a.detach().abs().max(), b.detach().abs().max())  # squares of extreme numbers overflow
    if largest == 0:
        return x.new_tensor(torch.nan)
    spread = (((a / largest).square().sum() + (b / largest).square().sum()) / (2 * x.shape[0])).sqrt() * largest
    a, b = (x - middle) / spread, (y - middle) / spread
    # What geomloss takes without a diameter depends on the axes, and with it what the iteration leaves.
    diameter = 2 * max(float(torch.linalg.vector_norm(side.detach(), dim=-1).max()) for side in (a, b))
    return sinkhorn_divergence(a, b, blur=blur, scaling=0.9, diameter=diameter)


def sinkhorn_divergence(
    x: Tensor, y: Tensor, *, blur: float, scaling: float = 0.5, diameter: float | None = None
) -> Tensor:
    """Return the debiased Sinkhorn divergence of two clouds of points, (n, d) and (m, d), with cost |x - y|^2 / 2.

    The blur goes down from `diameter`, at least the largest distance of two points, by the factor `scaling` a step: 0.9
    ends up to some 4 % below the converged divergence, 0.5 up to 15 % in a seventh of the time. The diameter is found
    where it is not given; it must be given where all points may be one (jeanfeydy/geomloss#51). Range: [0, inf) up to
    what the iteration leaves (jeanfeydy/geomloss#24), 0 for equal clouds.
    Reference: Feydy et al. 2019, eq. 3, by geomloss.
    """
    from geomloss import SamplesLoss

    # geomloss switches autograd on, and leaves it on, inside `no_grad` (jeanfeydy/geomloss#57).
    enabled = torch.is_grad_enabled()
    try:
        loss = SamplesLoss("sinkhorn", p=2, blur=blur, diameter=diameter, scaling=scaling, backend="tensorized")
        divergence: Tensor = loss(x, y)
    finally:
        torch.set_grad_enabled(enabled)
    return divergence if enabled else divergence.detach()
