"""Canonical correlations, averaged in the two ways of the literature."""

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._hsic import unit_scale
from distxfer.measure._layers import each_layer, paired_rows
from distxfer.measure._tensors import Array, centre


@torch.no_grad()
def svcca(x: Array, y: Array, *, variance: float = 0.99) -> Tensor:
    """Return the mean canonical correlation of the main directions of two representations of the same n rows.

    Each column-centred representation is reduced to the fewest singular directions that hold at least the share
    `variance` of the sum of squares, kx and ky of them; with orthonormal bases U (n, kx) and V (n, ky) of these, the
    canonical correlations are the singular values rho of U^T V, and SVCCA = sum rho / min(kx, ky).

    Shapes: x (..., n, d1), y (..., n, d2); result (...). Range: [0, 1], 1 for x = y; of independent ones about
    sqrt(k/n), so 0 only for n far above k. Time O(n d^2). Not differentiable.

    NaN where kx + ky >= n, see `svcca_reason`: two subspaces of the n - 1 dimensions of centred rows then share
    directions, whatever the data, and noise scores 1. Also where a representation does not vary.

    Invariant under orthogonal maps, isotropic scaling and translation of either argument, and under one permutation of
    the rows of both; with variance = 1 also under invertible linear maps.

    Raises: InputError for fewer than 3 rows, variance not in (0, 1], unequal numbers of rows, NaN or infinity.

    Reference: Raghu et al. 2017, section 2.
    """
    _check_variance(variance)
    return each_layer(
        lambda a, b: _mean_correlation(_basis(a, variance), _basis(b, variance)),
        *paired_rows(x, y, least=3, measure="SVCCA"),
    )


@torch.no_grad()
def svcca_reason(x: Array, y: Array, *, variance: float = 0.99) -> str | None:
    """Return why `svcca` of the same arguments is NaN (anywhere in the batch), or None when it is a number."""
    _check_variance(variance)
    return _reason(*paired_rows(x, y, least=3, measure="SVCCA"), variance)


@torch.no_grad()
def pwcca(x: Array, y: Array) -> Tensor:
    """Return the mean canonical correlation of two representations, weighted by how much of `x` each direction carries.

    With the canonical correlations rho_i of the column-centred representations and the canonical variables h_i of x,
    orthonormal vectors of length n in the span of its columns:

        PWCCA = sum a_i rho_i / sum a_i,      a_i = sum_j |<h_i, x_j>| over the original neurons (columns) x_j of x

    Shapes: x (..., n, d1), y (..., n, d2); result (...). Range: [0, 1], 1 for x = y; of independent ones about
    sqrt(d/n), so 0 only for n far above d. Not symmetric: the weights are those of x. Time O(n d^2). Not
    differentiable.

    NaN where rank x + rank y >= n, see `pwcca_reason`, as in `svcca`, and where a representation does not vary.

    Invariant under invertible linear maps and translation of y, under isotropic scaling and translation of x, and under
    one permutation of the rows of both; not under rotation of x, for the weights belong to its neurons.

    Raises: InputError for fewer than 3 rows, unequal numbers of rows, NaN or infinity.

    Reference: Morcos et al. 2018, section 2.1 (weights on the original neurons, not on their reduction).
    """
    return each_layer(_weighted_correlation, *paired_rows(x, y, least=3, measure="PWCCA"))


@torch.no_grad()
def pwcca_reason(x: Array, y: Array) -> str | None:
    """Return why `pwcca` of the same arguments is NaN (anywhere in the batch), or None when it is a number."""
    return _reason(*paired_rows(x, y, least=3, measure="PWCCA"), 1.0)


def _check_variance(variance: float) -> None:
    if not 0 < variance <= 1:
        raise InputError(f"`variance` is {variance:g}; expected above 0 and at most 1: give the share to keep.")


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


def _reason(x: Array, y: Array, variance: float) -> str | None:
    n = x.shape[-2]
    for a, b in zip(x.reshape(-1, *x.shape[-2:]), y.reshape(-1, *y.shape[-2:]), strict=True):
        directions = {"x": _basis(a, variance).shape[1], "y": _basis(b, variance).shape[1]}
        for name, count in directions.items():
            if count == 0:
                return f"the rows of `{name}` are all the same, so there is no structure to compare"
        if sum(directions.values()) >= n:
            return (
                f"`x` and `y` have {directions['x']} and {directions['y']} directions for {n} rows, which forces canonical "
                "correlations of 1 even on noise: more rows than directions in all are needed"
            )
    return None
