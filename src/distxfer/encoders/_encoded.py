"""The result of one forward pass: the states of every layer, vectors of texts and words; the tokens of words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distxfer.encoders._packing import PackedStates
from distxfer.encoders._packing import Pooling as Pooling
from distxfer.errors import InputError, RunError


@dataclass(frozen=True)
class Encoded:
    """The result of one forward pass for `n` examples.

    `hidden` holds layers + 1 tensors (n, tokens, d): the embeddings' output, then that of each block. `logits` is the
    head's output, or None where it was not computed: (n, classes) per text, (n, tokens, classes) per token, (n, tokens, 2)
    for a span's start and end, and (n, d), the last layer pooled, without a head.

    Packed states are padded where `hidden` is read, not where they are pooled.

    The states may be bfloat16; vectors and logits are float32 even then, for exact losses and measures.
    """

    hidden: Sequence[Tensor]
    mask: Tensor
    pooling: Pooling
    logits: Tensor | None = None
    computed: range | None = None  # the layers that a partial pass computed; `hidden` is empty at the others

    def _check(self, layer: int) -> None:
        """Raise RunError for a layer that the pass did not compute."""
        if self.computed is not None and layer % len(self.hidden) not in self.computed:
            raise RunError(
                f"A term reads the states of layer {layer}, and its forward pass computed the layers {self.computed[0]} to"
                f" {self.computed[-1]} alone. Declare all that the term reads in `layers` of its `BoundIntervention`."
            )

    def rows(self, rows: slice, width: int) -> "Encoded":
        """Return the states of consecutive examples, each cut to `width` tokens, of which the others are padding."""
        logits = None if self.logits is None else self.logits[rows]
        if logits is not None and logits.dim() == 3:
            logits = logits[:, :width]
        if isinstance(self.hidden, PackedStates):
            hidden: Sequence[Tensor] = self.hidden.rows(rows, width)
        else:
            hidden = tuple(states[rows, :width] if states.numel() else states for states in self.hidden)
        return replace(self, hidden=hidden, mask=self.mask[rows, :width], logits=logits)

    def pooled(self, layer: int) -> Tensor:
        """Return one vector per example, (n, d): the mean over the tokens without padding, or the first or last of them."""
        self._check(layer)
        if isinstance(self.hidden, PackedStates):
            return self.hidden.pooled(layer, self.pooling)
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
        self._check(layer)
        hidden = self.hidden[layer]
        for number, (_, positions) in enumerate(places):
            if not positions:
                raise InputError(f"`places[{number}]` has no position; expected one at least: leave the word out.")
        flat = [(word, row, column) for word, (row, positions) in enumerate(places) for column in positions]
        word, row, column = torch.tensor(flat, dtype=torch.long, device=hidden.device).reshape(-1, 3).unbind(1)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        none = torch.zeros(len(places), hidden.shape[-1], dtype=exact, device=hidden.device)
        return none.index_add(0, word, hidden[row, column].to(exact))


def tokens_of_words(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], spans: list[list[tuple[int, int]]], max_length: int
) -> tuple[dict[str, Tensor], list[tuple[int, list[int]]]]:
    """Return the padded batch and, for each span, its text's number and its tokens' positions: none if any was cut."""
    settings = {"return_offsets_mapping": True, "verbose": False}
    uncut = tokenizer(texts, **settings)
    batch = tokenizer(texts, truncation=True, max_length=max_length, padding=True, return_tensors="pt", **settings)
    offsets = batch.pop("offset_mapping").tolist()
    places = []
    for row, ids in enumerate(batch["input_ids"].tolist()):
        all_tokens = (
            cast(list[str], tokenizer.convert_ids_to_tokens(uncut["input_ids"][row])),
            uncut["offset_mapping"][row],
        )
        kept_tokens = cast(list[str], tokenizer.convert_ids_to_tokens(ids)), offsets[row]
        for span in spans[row]:
            positions = _overlapping(*kept_tokens, span)
            places.append((row, positions if len(positions) == len(_overlapping(*all_tokens, span)) else []))
    return dict(batch), places


def _overlapping(tokens: list[str], offsets: Sequence[Sequence[int]], span: tuple[int, int]) -> list[int]:
    """Return the positions of the tokens that share a character with the span.

    SentencePiece's lone blank is not part of a word, although at the start of a text it covers the first character.
    """
    return [
        position
        for position, (token, (start, end)) in enumerate(zip(tokens, offsets, strict=True))
        if max(start, span[0]) < min(end, span[1]) and token != "▁"
    ]
