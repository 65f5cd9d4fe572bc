"""The Hilbert-Schmidt independence criterion and its ratio, written once for whole arrays, streams and kernels."""

import torch
from torch import Tensor

Similarities = tuple[Tensor, Tensor, Tensor]  # HSIC(X, Y), HSIC(X, X), HSIC(Y, Y), up to factors that cancel in CKA


def ratio(similarities: Similarities) -> Tensor:
    """Return CKA from the three similarities, NaN where a self-similarity is not above 0."""
    cross, own_x, own_y = similarities
    defined = (own_x > 0) & (own_y > 0)
    # The inner `where` keeps the gradient of the other layers of a batch finite when one of them is undefined.
    return torch.where(defined, cross / torch.where(defined, own_x * own_y, 1.0).sqrt(), torch.nan)


def no_structure(similarities: Similarities) -> str | None:
    """Return why `ratio` is NaN (anywhere in the batch), or None when it is a number."""
    _, own_x, own_y = similarities
    for name, self_similarity in (("x", own_x), ("y", own_y)):
        if not bool((self_similarity > 0).all()):
            return (
                f"the self-similarity of `{name}` is 0: its rows are all the same, or all equally similar to "
                "each other, so there is no structure to compare"
            )
    return None


def feature_similarities(a: Tensor, b: Tensor, *, unbiased: bool) -> Similarities:
    """Return the similarities (...) of column-centred `a` (..., n, d1) and `b` (..., n, d2)."""
    n = a.shape[-2]
    k, m = a.square().sum(-1), b.square().sum(-1)
    squared = _squared_norms(a, b)
    if not unbiased:
        return floored(squared, squared, n)
    sums = k.sum(-1), m.sum(-1)
    return floored(
        (
            unbias(squared[0], (k * m).sum(-1), sums[0], sums[1], n),
            unbias(squared[1], (k * k).sum(-1), sums[0], sums[0], n),
            unbias(squared[2], (m * m).sum(-1), sums[1], sums[1], n),
        ),
        squared,
        n,
    )


def floored(similarities: Similarities, squared: Similarities, n: int) -> Similarities:
    """Return the similarities, with a self-similarity that is not above the rounding of its `squared` norm as 0."""
    cross, own_x, own_y = similarities
    rounding = 8 * n * torch.finfo(cross.dtype).eps
    own_x = torch.where(own_x > rounding * squared[1], own_x, 0.0)
    return cross, own_x, torch.where(own_y > rounding * squared[2], own_y, 0.0)


def unbias(squared_norm: Tensor, diagonal: Tensor, sum_k: Tensor, sum_m: Tensor, n: int) -> Tensor:
    """Return n(n-3) times the unbiased HSIC from |X^T Y|_F^2, sum k_i m_i, sum k_i and sum m_i, each (...)."""
    return squared_norm - diagonal + sum_k * sum_m / ((n - 1) * (n - 2)) - 2 / (n - 2) * diagonal


def in_gram_space(n: int, d1: int, d2: int) -> bool:
    """Return whether the n x n products take fewer multiplications than those of the features."""
    return n * (d1 + d2) < d1 * d1 + d1 * d2 + d2 * d2


def _squared_norms(x: Tensor, y: Tensor) -> Similarities:
    """Return |X^T Y|_F^2, |X^T X|_F^2 and |Y^T Y|_F^2."""
    if in_gram_space(x.shape[-2], x.shape[-1], y.shape[-1]):
        gram_x, gram_y = x @ x.mT, y @ y.mT
        products = (gram_x * gram_y, gram_x.square(), gram_y.square())
    else:
        products = ((x.mT @ y).square(), (x.mT @ x).square(), (y.mT @ y).square())
    cross, own_x, own_y = (product.sum(dim=(-2, -1)) for product in products)
    return cross, own_x, own_y


def unit_scale(x: Tensor) -> Tensor:
    """Return `x` divided by its largest entry, a constant to the gradient: CKA ignores scale, overflow does not."""
    largest = x.detach().abs().amax(dim=(-2, -1), keepdim=True)
    return x / torch.where(largest > 0, largest, 1.0)
