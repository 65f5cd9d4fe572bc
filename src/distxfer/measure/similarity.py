"""Similarity of two representations of the same sentences besides CKA, and all measures by name (`MEASURES`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure import SimilarityName
from distxfer.measure._tensors import (
    Array,
    centre,
    each_layer,
    layer_pairs,
    paired_rows,
    row_norms,
    unit_scale,
    working_pair,
)
from distxfer.measure.drift import standardise
from distxfer.measure.kernel_alignment import cka, cka_reason, rbf_cka, why_no_kernel

Result = TypeVar("Result")

_ROWS = 1024  # of cosines, worked on at a time


def procrustes(x: Array, y: Array) -> Tensor:
    """Return how well the best rotation (and reflection) lays one representation of the same n rows on the other.

    s = |X^T Y|_* / (|X|_F |Y|_F), X and Y column-centred, |.|_* the sum of the singular values. It is the largest
    <X Q, Y> / (|X|_F |Y|_F) over maps Q with orthonormal rows or columns; the Procrustes distance of Ding et al. is
    2 - 2s.

    Shapes: x (..., n, d1), y (..., n, d2); result (...). Range: [0, 1], 1 for x = y; of independent ones around
    sqrt(d/n), so 0 only for n far above d. Differentiable. Time O(n d1 d2 + d^3).

    NaN where the rows of a side are all the same. Invariant under orthogonal maps, isotropic
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


def _why_still(x: Tensor, y: Tensor) -> str:
    name = "y" if centre(x).any() else "x"
    return f"the rows of `{name}` are all the same, so there is no structure to compare"


@torch.no_grad()
def rsa(x: Array, y: Array) -> Tensor:
    """Return how alike two representations of the same n rows order the distances between rows.

    The Spearman correlation of the n(n-1)/2 Euclidean distances |x_i - x_j| and |y_i - y_j|, i < j, tied distances
    taking their mean rank.

    Shapes: x (..., n, d1), y (..., n, d2); result (...). Range: [-1, 1], 1 for x = y, around 0 for independent ones.
    Time O(n^2 (d + log n)), memory O(n^2), one layer at a time. Not differentiable: ranks are steps.

    NaN where all distances of a side are equal. Invariant under orthogonal maps, isotropic scaling and
    translation of either argument, and under one permutation of the rows of both.

    Raises: InputError for fewer than 3 rows, unequal numbers of rows, NaN or infinity.

    Reference: Kriegeskorte et al. 2008 (representational similarity analysis), with rank correlation.
    """
    return each_layer(_rank_correlation, *paired_rows(x, y, least=3, measure="RSA"))


def _why_no_order(x: Tensor, y: Tensor) -> str:
    name = "y" if _distance_ranks(x).any() else "x"
    return f"the distances between the rows of `{name}` are all equal, so they have no order to compare"


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


@torch.no_grad()
def svcca(x: Array, y: Array, *, variance: float = 0.99) -> Tensor:
    """Return the mean canonical correlation of the main directions of two representations of the same n rows.

    Each column-centred representation is reduced to the fewest singular directions that hold at least the share
    `variance` of the sum of squares, kx and ky of them; with orthonormal bases U (n, kx) and V (n, ky) of these, the
    canonical correlations are the singular values rho of U^T V, and SVCCA = sum rho / min(kx, ky).

    Shapes: x (..., n, d1), y (..., n, d2); result (...). Range: [0, 1], 1 for x = y; of independent ones about
    sqrt(k/n), so 0 only for n far above k. Time O(n d^2). Not differentiable.

    NaN where kx + ky >= n: two subspaces of the n - 1 dimensions of centred rows then share
    directions, whatever the data, and noise scores 1. Also where a representation does not vary.

    Invariant under orthogonal maps, isotropic scaling and translation of either argument, and under one permutation of
    the rows of both; with variance = 1 also under invertible linear maps.

    Raises: InputError for fewer than 3 rows, variance not in (0, 1], unequal numbers of rows, NaN or infinity.

    Reference: Raghu et al. 2017, section 2.
    """
    if not 0 < variance <= 1:
        raise InputError(f"`variance` is {variance:g}; expected above 0 and at most 1: give the share to keep.")
    return each_layer(
        lambda a, b: _mean_correlation(_basis(a, variance), _basis(b, variance)),
        *paired_rows(x, y, least=3, measure="SVCCA"),
    )


@torch.no_grad()
def pwcca(x: Array, y: Array) -> Tensor:
    """Return the mean canonical correlation of two representations, weighted by how much of `x` each direction carries.

    With the canonical correlations rho_i of the column-centred representations and the canonical variables h_i of x,
    orthonormal vectors of length n in the span of its columns:

        PWCCA = sum a_i rho_i / sum a_i,      a_i = sum_j |<h_i, x_j>| over the original neurons (columns) x_j of x

    Shapes: x (..., n, d1), y (..., n, d2); result (...). Range: [0, 1], 1 for x = y; of independent ones about
    sqrt(d/n), so 0 only for n far above d. Not symmetric: the weights are those of x. Time O(n d^2). Not
    differentiable.

    NaN where rank x + rank y >= n as in `svcca`, and where a representation does not vary.

    Invariant under invertible linear maps and translation of y, under isotropic scaling and translation of x, and under
    one permutation of the rows of both; not under rotation of x, for the weights belong to its neurons.

    Raises: InputError for fewer than 3 rows, unequal numbers of rows, NaN or infinity.

    Reference: Morcos et al. 2018, section 2.1 (weights on the original neurons, not on their reduction).
    """
    return each_layer(_weighted_correlation, *paired_rows(x, y, least=3, measure="PWCCA"))


def _basis(x: Tensor, variance: float) -> Tensor:
    """Return orthonormal columns (n, k) that span the share `variance` of the centred (n, d); k = 0 where none varies."""
    u, s, _ = torch.linalg.svd(unit_scale(centre(x)), full_matrices=False)
    rank = int((s > max(x.shape) * torch.finfo(s.dtype).eps * s[0]).sum())
    shares = s[:rank].square().cumsum(0)
    # Up to rounding: a share that is met exactly must not take one more direction.
    enough = shares >= variance * (1 - 8 * torch.finfo(s.dtype).eps) * shares[-1:]
    n_directions = rank if variance == 1 or rank == 0 else int(enough.int().argmax()) + 1
    basis: Tensor = u[:, :n_directions]
    return basis


def _defined(u: Tensor, v: Tensor) -> bool:
    return min(u.shape[1], v.shape[1]) > 0 and u.shape[1] + v.shape[1] < u.shape[0]


def _mean_correlation(u: Tensor, v: Tensor) -> Tensor:
    if not _defined(u, v):
        return u.new_tensor(torch.nan)
    correlations: Tensor = torch.linalg.svdvals(u.mT @ v)
    return correlations.mean()


def _weighted_correlation(x: Tensor, y: Tensor) -> Tensor:
    u, v = _basis(x, 1.0), _basis(y, 1.0)
    if not _defined(u, v):
        return x.new_tensor(torch.nan)
    rotation, correlations, _ = torch.linalg.svd(u.mT @ v, full_matrices=False)
    weights = ((u @ rotation).mT @ unit_scale(centre(x))).abs().sum(dim=1)
    mean: Tensor = (weights * correlations).sum() / weights.sum()
    return mean


def _why_not_canonical(x: Tensor, y: Tensor, *, variance: float) -> str:
    kx, ky = (_basis(side, variance).shape[1] for side in (x, y))
    if min(kx, ky) == 0:
        return _why_still(x, y)
    return (
        f"`x` and `y` have {kx} and {ky} directions for {len(x)} rows, which forces canonical correlations of 1 even on"
        " noise: more rows than directions in all are needed"
    )


@dataclass(frozen=True)
class Measure:
    """A similarity measure, function(x, y) of (..., n, d1) and (..., n, d2) to (...); larger is more similar.

    The measure needs at least `least_rows` rows. `why(x, y)` is the reason for a NaN, of one layer each.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    why: Callable[[Tensor, Tensor], str | None]
    least_rows: int

    @torch.no_grad()
    def reason(self, x: Array, y: Array) -> str | None:
        """Return why the value of a layer is NaN, or None where all are numbers. Raises: as `function` does."""
        for pair in layer_pairs(*working_pair(x, y)):
            if self.function(*pair).isnan():
                return self.why(*pair)
        return None


def _standardised(function: Callable[[Tensor, Tensor], Result], x: Tensor, y: Tensor) -> Result:
    x, y = working_pair(x, y)  # whose errors name the argument
    return function(standardise(x), standardise(y))


_MEASURES: dict[SimilarityName, Measure] = {
    "cka": Measure(cka, cka_reason, 4),
    "cka_biased": Measure(partial(cka, unbiased=False), partial(cka_reason, unbiased=False), 2),
    "cka_standardised": Measure(partial(_standardised, cka), partial(_standardised, cka_reason), 4),
    "rbf_cka": Measure(rbf_cka, why_no_kernel, 4),
    "procrustes": Measure(procrustes, _why_still, 3),
    "rsa": Measure(rsa, _why_no_order, 3),
    "svcca": Measure(svcca, partial(_why_not_canonical, variance=0.99), 3),
    "pwcca": Measure(pwcca, partial(_why_not_canonical, variance=1.0), 3),
    "neighbour_overlap": Measure(neighbour_overlap, _why_still, 12),  # never NaN
}
MEASURES: Mapping[SimilarityName, Measure] = MappingProxyType(_MEASURES)
