"""Similarity from sums over rows: exact for any split of the rows, in memory that does not grow with them."""

from copy import deepcopy

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._tensors import Array, layer_pairs, working_pair
from distxfer.measure.hsic import LayerMoments, ratio


class Moments:
    """Sums over rows that give the similarity of two representations, of all layers at once, batch by batch.

    z z^T summed over the rows, z_i = (x_i, y_i, |x_i|^2, |y_i|^2, 1) about an origin near the mean: exact, for the similarity of
    all rows is a function of these sums. A mean of CKA over batches is another number.

    Shapes: batches x (..., n, d1) and y (..., n, d2), n free, the rest as in the first; results (...). Memory:
    (d1 + d2 + 3)^2 numbers per layer, however many rows. Agrees with `cka` of all rows to about 1e-12, for any split and
    any order of merging.

    Several processes each fill their own, which can be pickled and sent, and `merge` them. Not differentiable.
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
        pairs = list(layer_pairs(first, second))
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
            self._leading, self._layers = second._leading, deepcopy(second._layers)
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
        self._check_rows(*((4, "unbiased CKA") if unbiased else (2, "biased CKA")))
        return torch.stack([ratio(layer.similarities(unbiased=unbiased)) for layer in self._layers]).reshape(
            self._leading
        )

    @torch.no_grad()
    def procrustes(self) -> Tensor:
        """Return `procrustes` of all rows so far, (...). Raises: InputError for fewer than 3 rows."""
        self._check_rows(3, "Procrustes similarity")
        values = []
        for layer in self._layers:
            products, d1, d = layer.centred(), layer.width, len(layer.origin)
            squared_norms = products.diagonal()[:d1].sum() * products.diagonal()[d1:d].sum()
            values.append(torch.linalg.svdvals(products[:d1, d1:d]).sum() / squared_norms.sqrt())  # NaN for 0 / 0
        return torch.stack(values).reshape(self._leading)

    def _check_rows(self, least: int, measure: str) -> None:
        if self.n < least:
            raise InputError(f"`Moments` has {self.n} rows; {measure} needs at least {least}: give more sentences.")

    def _sizes(self) -> tuple[tuple[int, ...], int, int]:
        width = self._layers[0].width
        return self._leading, width, len(self._layers[0].origin) - width

    def _described(self) -> str:
        leading, d1, d2 = self._sizes()
        return f"layers {leading} of {d1} and {d2} dimensions"
