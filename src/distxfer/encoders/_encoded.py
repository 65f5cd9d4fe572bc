"""The result of one forward pass: the states of every layer, and vectors of texts and words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from distxfer.errors import InputError

Pooling = Literal["mean", "cls", "last"]


@dataclass(frozen=True)
class Encoded:
    """The result of one forward pass for `n` examples.

    `hidden` holds layers + 1 tensors (n, tokens, d): the embeddings' output, then that of each block. `logits` is the
    head's output, or None where it was not computed: (n, classes) per text, (n, tokens, classes) per token, (n, tokens, 2)
    for a span's start and end, and (n, d), the last layer pooled, without a head.

    The states may be bfloat16; vectors and logits are float32 even then, for exact losses and measures.
    """

    hidden: tuple[Tensor, ...]
    mask: Tensor
    pooling: Pooling
    logits: Tensor | None = None

    def pooled(self, layer: int) -> Tensor:
        """Return one vector per example, (n, d): the mean over the tokens without padding, or the first or last of them."""
        hidden = self.hidden[layer]
        exact = torch.promote_types(hidden.dtype, torch.float32)
        if self.pooling == "cls":
            return hidden[:, 0].to(exact)
        if self.pooling == "last":
            return hidden[torch.arange(len(hidden), device=hidden.device), self.mask.sum(dim=1) - 1].to(exact)
        mask = self.mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(dim=1, dtype=exact) / mask.sum(dim=1, dtype=exact)

    def pooled_layers(self) -> Tensor:
        """Return (layers + 1, n, d): `pooled` of every layer, the embeddings' output first."""
        return torch.stack([self.pooled(layer) for layer in range(len(self.hidden))])

    def words(self, layer: int, places: Sequence[tuple[int, Sequence[int]]]) -> Tensor:
        """Return one vector per word, (words, d): the sum over its sub-words, as in Gaschi et al. (2023).

        `places` holds, for each word, the number of its example and the positions of its sub-words. Raises InputError
        for a word without any.
        """
        hidden = self.hidden[layer]
        for number, (_, positions) in enumerate(places):
            if not positions:
                raise InputError(f"`places[{number}]` has no position; expected one at least: leave the word out.")
        flat = [(word, row, column) for word, (row, positions) in enumerate(places) for column in positions]
        word, row, column = torch.tensor(flat, dtype=torch.long, device=hidden.device).reshape(-1, 3).unbind(1)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        none = torch.zeros(len(places), hidden.shape[-1], dtype=exact, device=hidden.device)
        return none.index_add(0, word, hidden[row, column].to(exact))
