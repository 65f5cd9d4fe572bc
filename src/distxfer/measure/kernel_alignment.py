"""Centred kernel alignment: linear, and with a Gaussian kernel. One function for the penalty and for the report.

Everything is computed in float64 (in the input's precision, but at least float32, on devices without it) and
returned in it, differentiable, on the device of its input.
"""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._tensors import Array, centre, each_layer, layer_pairs, paired_rows, unit_scale
from distxfer.measure.hsic import LayerMoments, Similarities, feature_similarities, in_gram_space, no_structure, ratio


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

    None where the sums are not finite: the caller then checks the input, or scales it first. As many layers at a time as
    torch has threads, with one thread each: the products of one layer are too small to parallelise.
    """

    @torch.no_grad()  # a new thread does not inherit it
    def of_layer(pair: tuple[Tensor, Tensor]) -> Similarities | None:
        layer = LayerMoments.beginning(*pair, torch.float64)
        layer.add(*pair)
        if not layer.is_finite:
            return None
        cross, own_x, own_y = layer.similarities(unbiased=unbiased)
        if not bool((cross.abs() + own_x * own_y).isfinite()):
            return None
        # Equal states give exactly 1, whatever the order of the sums.
        return (own_x, own_x, own_x) if torch.equal(*pair) else (cross, own_x, own_y)

    pairs, threads = list(layer_pairs(x, y)), torch.get_num_threads()
    workers = min(threads, len(pairs))
    if workers == 1:
        layers = [of_layer(pair) for pair in pairs]
    else:
        started = Barrier(workers + 1)

        def start() -> None:
            torch.set_num_threads(1)
            started.wait()

        with ThreadPoolExecutor(workers, initializer=start) as pool:
            futures = [pool.submit(of_layer, pair) for pair in pairs]
            started.wait()
            torch.set_num_threads(threads)  # torch gives threads that start later what a worker has set
            layers = [future.result() for future in futures]
    values = [similarities for similarities in layers if similarities is not None]
    if len(values) < len(layers):
        return None
    cross, own_x, own_y = (torch.stack(part).reshape(x.shape[:-2]) for part in zip(*values, strict=True))
    return cross, own_x, own_y


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
