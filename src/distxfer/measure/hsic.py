"""The Hilbert-Schmidt independence criterion (HSIC) and its ratio, CKA: of whole arrays, and from sums over rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import frexp
from typing import Any, Self, cast

import torch
from torch import Tensor

from distxfer.measure._tensors import centring, working_type

_ROWS = 512  # worked on at a time: enough for full speed, and little memory
_FIRST = 256  # that say where the rows lie, and how far apart
_SQUARE = 96  # columns of the squares on a product's diagonal at most, which are computed whole

Similarities = tuple[Tensor, Tensor, Tensor]  # HSIC(X, Y), HSIC(X, X), HSIC(Y, Y), up to factors that cancel in CKA


def ratio(similarities: Sequence[Tensor]) -> Tensor:
    """Return CKA from the three similarities, NaN where a self-similarity is not above 0."""
    cross, own_x, own_y = similarities
    defined = (own_x > 0) & (own_y > 0)
    # The inner `where` keeps the gradient of the other layers of a batch finite when one of them is undefined.
    return torch.where(defined, cross / torch.where(defined, own_x * own_y, 1.0).sqrt(), torch.nan)


def no_structure(similarities: Sequence[Tensor]) -> str | None:
    """Return why `ratio` is NaN (anywhere in the batch), or None when it is a number."""
    _, own_x, own_y = similarities
    for name, self_similarity in (("x", own_x), ("y", own_y)):
        if not bool((self_similarity > 0).all()):
            return (
                f"the self-similarity of `{name}` is 0: its rows are all the same, or all equally similar to "
                "each other, so there is no structure to compare"
            )
    return None


class _Gram(torch.autograd.Function):
    """X X^T (..., n, n) of (..., n, d), whose gradient takes one product, where autograd makes two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x @ x.mT

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        return cast(Tensor, (gradient + gradient.mT) @ x)


def whole_similarities(x: Tensor, y: Tensor, *, unbiased: bool) -> Similarities:
    """Return the similarities (...) of (..., n, d1) and (..., n, d2), from products of all rows; differentiable."""
    sides = []
    for side in (x, y):
        working = side.to(working_type(side))
        mean, unit = centring(working)
        sides.append((working - mean) / unit)
    a, b = sides
    if in_gram_space(a.shape[-2], a.shape[-1], b.shape[-1]):
        grams = [cast(Tensor, _Gram.apply(side)) for side in sides]  # type: ignore[no-untyped-call]
        k, m = (gram.diagonal(dim1=-2, dim2=-1) for gram in grams)
        products = (grams[0] * grams[1], grams[0].square(), grams[1].square())
    else:
        k, m = a.square().sum(-1), b.square().sum(-1)
        products = ((a.mT @ b).square(), (a.mT @ a).square(), (b.mT @ b).square())
    cross, squared_x, squared_y = (product.sum(dim=(-2, -1)) for product in products)
    return _similarities((cross, squared_x, squared_y), k, m, unbiased=unbiased)


@torch.no_grad()
def summed_similarities(x: Tensor, y: Tensor, *, unbiased: bool, standardised: bool = False) -> list[Tensor]:
    """Return the similarities (1) of one layer, (1, n, d1) and (1, n, d2), from sums over rows, without a copy of the input.

    With `standardised`, those of the standardised columns follow, from the same products: they are the products divided by
    the standard deviations of both columns.
    """
    (x,), (y,) = x, y
    sides = [(side, *centring(side)) for side in (x, y)]

    def centred() -> Iterator[list[Tensor]]:
        for low in range(0, len(x), _ROWS):
            yield [(side[low : low + _ROWS].to(mean.dtype) - mean) / unit for side, mean, unit in sides]

    (d1, d2), new = (x.shape[1], y.shape[1]), sides[0][1].new_zeros
    xy, xx, yy = new(d1, d2), new(d1, d1), new(d2, d2)
    for a, b in centred():
        xy.addmm_(a.mT, b)
        xx.addmm_(a.mT, a)
        yy.addmm_(b.mT, b)
    squares = [product.square() for product in (xy, xx, yy)]
    weights = [(new(d1) + 1, new(d2) + 1)]
    if standardised:
        variance_x, variance_y = (product.diagonal() / len(x) for product in (xx, yy))
        weights.append(
            (torch.where(variance_x > 0, 1 / variance_x, 0.0), torch.where(variance_y > 0, 1 / variance_y, 0.0))
        )
    lengths = [[(a.square() @ u, b.square() @ v) for u, v in weights] for a, b in centred()]
    return [
        similarity[None]
        for number, (u, v) in enumerate(weights)
        for similarity in _similarities(
            (u @ squares[0] @ v, u @ squares[1] @ u, v @ squares[2] @ v),
            *(torch.cat(part) for part in zip(*(rows[number] for rows in lengths), strict=True)),
            unbiased=unbiased,
        )
    ]


def _similarities(squared: Similarities, k: Tensor, m: Tensor, *, unbiased: bool) -> Similarities:
    """Return the similarities from the squared norms |X^T Y|_F^2, ... (...), and the squared lengths of rows (..., n)."""
    n = k.shape[-1]
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


@dataclass
class LayerMoments:
    """The sum over rows of z z^T, where z = (u, v, |u|^2, |v|^2, 1), (u, v) = ((x, y) - origin) / scale.

    Its blocks are the sums, the second moments and all that the unbiased HSIC takes: sum |u|^2 |v|^2, sum |u|^2 v, ...
    A change of the origin or of the scale is linear in z, so it moves all of them, exactly. An origin near the mean, which
    moves along, keeps the differences of these sums from cancelling; a scale near the spread of the first rows keeps
    their fourth powers from overflowing.
    """

    width: int  # of x
    origin: Tensor  # (d1 + d2)
    scale: Tensor  # (d1 + d2), one power of 2 for x and one for y
    products: Tensor  # (d1 + d2 + 3, d1 + d2 + 3)

    @classmethod
    def beginning(cls, x: Tensor, y: Tensor, dtype: torch.dtype) -> Self:
        """Return the moments of no rows yet, at the origin and scale that suit the first of (n, d1) and (n, d2)."""
        first = [side[:_FIRST].to(dtype) for side in (x, y)]
        means = [side.mean(dim=0) for side in first]
        scales = [torch.full_like(mean, _near(side, mean)) for side, mean in zip(first, means, strict=True)]
        products = means[0].new_zeros(2 * (len(means[0]) + len(means[1]) + 3,))
        return cls(len(means[0]), torch.cat(means), torch.cat(scales), products)

    @property
    def n(self) -> int:
        """The number of rows so far."""
        return int(self.products[-1, -1])

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add the rows of (n, d1) and (n, d2)."""
        z = self.products.new_empty(min(_ROWS, x.shape[0]), len(self.products))
        for start in range(0, x.shape[0], _ROWS):
            rows = (x[start : start + _ROWS], y[start : start + _ROWS])
            z = z[: len(rows[0])]
            self._stack(z, *rows)
            if self._strays(z.sum(dim=0)):
                self._stack(z, *rows)
            _add_square(self.products, z)
        _mirror(self.products)

    def _stack(self, z: Tensor, x: Tensor, y: Tensor) -> None:
        """Write z (n, d1 + d2 + 3) of some rows."""
        d1, d = x.shape[-1], len(self.origin)
        for number, (side, columns) in enumerate(((x, slice(0, d1)), (y, slice(d1, d)))):
            scaled = torch.sub(side, self.origin[columns], out=z[:, columns]).div_(self.scale[columns])
            torch.linalg.vecdot(scaled, scaled, out=z[:, d + number])
        z[:, -1] = 1.0

    def merge(self, second: Self) -> None:
        """Add the rows that `second` has summed."""
        added = self._converted(second)
        if self._strays(added[-1]):
            added = self._converted(second)
        self.products += added

    def _converted(self, second: Self) -> Tensor:
        """Return the products of `second` at this origin and scale."""
        factor, d1 = second.scale / self.scale, self.width
        factors = torch.cat([factor, factor[:1].square(), factor[d1 : d1 + 1].square(), torch.ones_like(factor[:1])])
        return _shifted(second.products * factors * factors[:, None], d1, (second.origin - self.origin) / self.scale)

    def _strays(self, added: Tensor) -> bool:
        """Move the origin to the mean if adding `added`, a sum of z, takes the mean further away than the spread.

        The sums would cancel there, and more so the later they move. Returns whether the origin moved.
        """
        d, total = len(self.origin), self.products[-1] + added
        mean, squares = total[:d] / total[-1], total[d:-1] / total[-1]
        off = torch.stack([side.square().sum() for side in (mean[: self.width], mean[self.width :])])
        if not bool((off > squares / 2).any()):
            return False
        self.products = _shifted(self.products, self.width, -mean)
        self.origin = self.origin + mean * self.scale
        return True

    def centred(self) -> Tensor:
        """Return the products about the mean, where a column that varies by no more than rounding is exactly 0."""
        mean = self.products[-1, : len(self.origin)] / self.products[-1, -1]
        products = _shifted(self.products, self.width, -mean)
        spread = (products.diagonal()[: len(mean)] / self.products[-1, -1]).sqrt() * self.scale
        rounding = 16 * torch.finfo(mean.dtype).eps * (self.origin + mean * self.scale).abs()
        constant = (~(spread > rounding)).nonzero().squeeze(-1)  # also where rounding took the square below 0
        products[constant, :] = products[:, constant] = 0.0
        return products

    def similarities(self, *, unbiased: bool) -> Similarities:
        """Return the three similarities that CKA is made of."""
        products, n, d1, d = self.centred(), self.n, self.width, len(self.origin)
        xx, xy, yy = products[:d1, :d1], products[:d1, d1:d], products[d1:d, d1:d]
        squared = (xy.square().sum(), xx.square().sum(), yy.square().sum())
        if not unbiased:
            return floored(squared, squared, n)
        k, m = d, d + 1
        pairs = ((k, m), (k, k), (m, m))
        cross, own_x, own_y = (
            unbias(norm, products[i, j], products[i, -1], products[j, -1], n)
            for norm, (i, j) in zip(squared, pairs, strict=True)
        )
        return floored((cross, own_x, own_y), squared, n)


def _near(rows: Tensor, mean: Tensor) -> float:
    """Return the power of 2 next above the largest distance from the mean, so that dividing by it is exact; 1 for none."""
    low, high = rows.aminmax(dim=0)
    largest = float(torch.maximum(high - mean, mean - low).max())
    return 2.0 ** frexp(largest)[1] if 0 < largest < torch.inf else 1.0


def _add_square(products: Tensor, z: Tensor) -> None:
    """Add z^T z above and on the diagonal, in place; below, it is the same mirrored, at twice the work."""
    half = z.shape[1] // 2
    if z.shape[1] <= _SQUARE:
        products.addmm_(z.mT, z)
        return
    products[:half, half:].addmm_(z[:, :half].mT, z[:, half:])
    _add_square(products[:half, :half], z[:, :half])
    _add_square(products[half:, half:], z[:, half:])


def _mirror(products: Tensor) -> None:
    """Copy what is above the diagonal to below it, in place."""
    half = len(products) // 2
    if len(products) <= _SQUARE:
        products.copy_(products.triu() + products.triu(1).mT)
        return
    products[half:, :half] = products[:half, half:].mT
    _mirror(products[:half, :half])
    _mirror(products[half:, half:])


def _shifted(products: Tensor, width: int, shift: Tensor) -> Tensor:
    """Return the products of z' made of u' = u + shift and the same for v, from those of z: A^T P A."""
    shifted = products.clone()
    for either in (shifted, shifted.mT):  # the columns, then the rows
        _shift_columns(either, width, shift)
    return shifted


def _shift_columns(products: Tensor, width: int, shift: Tensor) -> None:
    """Make P A of P, in place: |u'|^2 is |u|^2 + 2 u . shift + |shift|^2, all linear in z."""
    d, sums = len(shift), products[:, -1]
    for column, side in ((d, slice(0, width)), (d + 1, slice(width, d))):
        t = shift[side]
        products[:, column] += 2 * (products[:, side] @ t) + (t @ t) * sums
    products[:, :d].addr_(sums, shift)
