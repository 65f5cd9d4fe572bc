"""Similarity from sums over rows: exact for any split of the rows, in memory that does not grow with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import frexp
from typing import Self

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._hsic import Similarities, floored, no_structure, ratio, unbias
from distxfer.measure._tensors import Array, working_pair

_ROWS = 512  # worked on at a time: enough for full speed, and little memory
_FIRST = 256  # that say where the rows lie, and how far apart
_SQUARE = 96  # columns of the squares on a product's diagonal at most, which are computed whole


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

    @property
    def is_finite(self) -> bool:
        """Whether all sums are numbers, so that all entries so far were, and none too large to be summed."""
        return bool(self.products.sum().isfinite())

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


class Moments:
    """Sums over rows that give the similarity of two representations, of all layers at once, batch by batch.

    z z^T summed over the rows, z_i = (x_i, y_i, |x_i|^2, |y_i|^2, 1) about an origin near the mean: exact, for the similarity of
    all rows is a function of these sums. A mean of CKA over batches is another number.

    Shapes: batches x (..., n, d1) and y (..., n, d2), n free, the rest as in the first; results (...). Memory:
    (d1 + d2 + 3)^2 numbers per layer, however many rows. Agrees with `cka` of all rows to about 1e-12, for any split and
    any order of merging.

    Several processes each fill their own, send `state()` (plain tensors) and `merge` what `from_state` makes of it. Not
    differentiable.
    """

    def __init__(self) -> None:
        self._leading: tuple[int, ...] = ()
        self._layers: list[LayerMoments] = []

    @property
    def n(self) -> int:
        """The number of rows so far."""
        return self._layers[0].n if self._layers else 0

    @torch.inference_mode(False)  # what was begun inside inference mode could not go on outside it
    @torch.no_grad()
    def update(self, x: Array, y: Array) -> None:
        """Add a batch: x (..., n, d1) and y (..., n, d2), row i of both from the same sentence, n >= 1.

        Raises: InputError for unequal numbers of rows, for layers or widths other than before, NaN or infinity.
        """
        first, second = working_pair(x, y)
        sizes = (tuple(first.shape[:-2]), first.shape[-1], second.shape[-1])
        if self._layers and sizes != self._sizes():
            raise InputError(
                f"`x` has the shape {tuple(x.shape)} and `y` {tuple(y.shape)}; expected batches of {self._described()}: "
                "give every batch the layers and dimensions of the first."
            )
        pairs = list(zip(first.reshape(-1, *first.shape[-2:]), second.reshape(-1, *second.shape[-2:]), strict=True))
        if not self._layers:
            self._leading = sizes[0]
            self._layers = [LayerMoments.beginning(a, b, first.dtype) for a, b in pairs]
        for layer, (a, b) in zip(self._layers, pairs, strict=True):
            layer.add(a, b)

    @torch.inference_mode(False)
    @torch.no_grad()
    def merge(self, second: "Moments") -> None:
        """Add all rows that `second` has summed, which itself does not change.

        Raises: InputError for other layers or widths.
        """
        if not second._layers:
            return
        if not self._layers:
            state = second.state()
            self._leading, self._layers = second._leading, Moments.from_state(state)._layers
            return
        if self._sizes() != second._sizes():
            raise InputError(
                f"`second` holds {second._described()}; expected {self._described()}: merge moments of the same layers."
            )
        for layer, added in zip(self._layers, second._layers, strict=True):
            layer.merge(added)

    @torch.no_grad()
    def cka(self, *, unbiased: bool = True) -> Tensor:
        """Return `cka` of all rows so far, (...), with the same meaning, range and NaN.

        Raises: InputError for fewer than 4 rows (biased: 2).
        """
        return ratio(self._similarities(unbiased=unbiased))

    @torch.no_grad()
    def cka_reason(self, *, unbiased: bool = True) -> str | None:
        """Return why `cka` is NaN (in any layer), or None when it is a number. Raises: as `cka` does."""
        return no_structure(self._similarities(unbiased=unbiased))

    @torch.no_grad()
    def procrustes(self) -> Tensor:
        """Return `procrustes` of all rows so far, (...). Raises: InputError for fewer than 3 rows."""
        self._check_rows(3, "Procrustes similarity")
        values = []
        for layer in self._layers:
            products, d1, d = layer.centred(), layer.width, len(layer.origin)
            squared_norms = products.diagonal()[:d1].sum() * products.diagonal()[d1:d].sum()
            values.append(
                torch.linalg.svdvals(products[:d1, d1:d]).sum() / squared_norms.sqrt()
            )  # 0 / 0 is NaN, as it should
        return torch.stack(values).reshape(self._leading)

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that it holds, as plain tensors that can be stored or sent.

        Raises: InputError before the first `update`.
        """
        if not self._layers:
            raise InputError("`state` has no rows yet; expected at least one batch: call `update` first.")
        fields = {name: torch.stack([getattr(layer, name) for layer in self._layers]) for name in _STATE}
        widths = {name: value.reshape(*self._leading, *value.shape[1:]) for name, value in fields.items()}
        return {**widths, "width": torch.tensor(self._layers[0].width)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Return the moments that gave this `state`."""
        result, width = cls(), int(state["width"])
        result._leading = tuple(state["origin"].shape[:-1])
        origins, scales = (state[name].reshape(-1, state[name].shape[-1]) for name in ("origin", "scale"))
        products = state["products"].reshape(-1, *state["products"].shape[-2:])
        result._layers = [
            LayerMoments(width, origin.clone(), scale.clone(), product.clone())
            for origin, scale, product in zip(origins, scales, products, strict=True)
        ]
        return result

    def _similarities(self, *, unbiased: bool) -> Similarities:
        self._check_rows(*((4, "unbiased CKA") if unbiased else (2, "biased CKA")))
        cross, own_x, own_y = (
            torch.stack(values).reshape(self._leading)
            for values in zip(*(layer.similarities(unbiased=unbiased) for layer in self._layers), strict=True)
        )
        return cross, own_x, own_y

    def _check_rows(self, least: int, measure: str) -> None:
        if self.n < least:
            raise InputError(f"`Moments` has {self.n} rows; {measure} needs at least {least}: give more sentences.")

    def _sizes(self) -> tuple[tuple[int, ...], int, int]:
        width = self._layers[0].width
        return self._leading, width, len(self._layers[0].origin) - width

    def _described(self) -> str:
        leading, d1, d2 = self._sizes()
        return f"layers {leading} of {d1} and {d2} dimensions"


_STATE = ("origin", "scale", "products")
