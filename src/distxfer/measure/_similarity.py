"""Similarity of two representations of the same sentences: one function for the penalty and for the report.

Everything is computed in float64 (in the input's precision, but at least float32, on devices without it) and
returned in it, differentiable, on the device of its input.
"""

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._hsic import Similarities, feature_similarities, in_gram_space, no_structure, ratio, unit_scale
from distxfer.measure._layers import layers_in_threads, paired_rows
from distxfer.measure._moments import LayerMoments
from distxfer.measure._tensors import Array, centre, check_same_width, row_norms, working, working_pair


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


def _similarities(x: Array, y: Array, *, unbiased: bool) -> Similarities:
    """Return HSIC(X, Y), HSIC(X, X) and HSIC(Y, Y), each (...), up to factors that cancel in CKA."""
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    least, measure = (4, "unbiased CKA") if unbiased else (2, "biased CKA")
    streamed = _streamed_similarities(x, y, unbiased=unbiased) if _streams(x, y, least) else None
    if streamed is not None:
        return streamed
    a, b = paired_rows(x, y, least=least, measure=measure)
    # Autocast would take float32 down to 16 bits on the devices where that is the working precision.
    with torch.autocast(a.device.type, enabled=False):
        return feature_similarities(unit_scale(centre(a)), unit_scale(centre(b)), unbiased=unbiased)


def _streams(x: Tensor, y: Tensor, least: int) -> bool:
    """Return whether sums over rows are the faster way: no gradient, on the CPU, n large."""
    if x.dim() < 2 or x.shape[:-1] != y.shape[:-1] or x.shape[-2] < least or 0 in (*x.shape, *y.shape):
        return False
    differentiated = torch.is_grad_enabled() and (x.requires_grad or y.requires_grad)
    on_cpu = x.device.type == y.device.type == "cpu" and x.dtype != torch.bool and y.dtype != torch.bool
    return on_cpu and not differentiated and not in_gram_space(x.shape[-2], x.shape[-1], y.shape[-1])


def _streamed_similarities(x: Tensor, y: Tensor, *, unbiased: bool) -> Similarities | None:
    """Return the same layer by layer from sums over rows, without copies of the input in float64.

    None where the sums are not finite: the caller then checks the input, or scales it first.
    """

    @torch.no_grad()  # a new thread does not inherit it
    def of_layer(first: Tensor, second: Tensor) -> Similarities | None:
        layer = LayerMoments.beginning(first, second, torch.float64)
        layer.add(first, second)
        if not layer.is_finite:
            return None
        cross, own_x, own_y = layer.similarities(unbiased=unbiased)
        if not bool((cross.abs() + own_x * own_y).isfinite()):
            return None
        # Equal states give exactly 1, whatever the order of the sums.
        return (own_x, own_x, own_x) if torch.equal(first, second) else (cross, own_x, own_y)

    layers = layers_in_threads(of_layer, x, y)
    values = [similarities for similarities in layers if similarities is not None]
    if len(values) < len(layers):
        return None
    cross, own_x, own_y = (torch.stack(part).reshape(x.shape[:-2]) for part in zip(*values, strict=True))
    return cross, own_x, own_y


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
