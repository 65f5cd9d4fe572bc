"""From examples to padded tensors, and the order in which an epoch visits them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedTokenizerBase

from distxfer.data._examples import Example
from distxfer.data._kind import Batch, Kind, kind_named
from distxfer.data._rows import Lazy

_BUCKET = 8  # batches that are sorted by length together: enough to save padding, few enough to keep the order random


@dataclass(frozen=True)
class Collator:
    """Turns examples into a Batch with one tokenizer; texts longer than `max_length` tokens are cut there.

    `kind` says what the labels become.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    device: torch.device | str = "cpu"
    kind: Kind = field(default_factory=lambda: kind_named("classification"))

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Return the batch of these examples, padded to the longest."""
        cut = {"truncation": True, "max_length": self.max_length}
        texts, pairs = [one.text for one in examples], [one.text_pair for one in examples]
        if len({pair is None for pair in pairs}) > 1:  # each as it would be alone, whatever its neighbours
            rows = [self.tokenizer(text, pair, **cut) for text, pair in zip(texts, pairs, strict=True)]
            encoded = self.tokenizer.pad(
                {key: [row[key] for row in rows] for key in rows[0]}, padding=True, return_tensors="pt"
            )
        else:
            both = pairs if pairs[0] is not None else None
            encoded = self.tokenizer(texts, both, padding=True, return_tensors="pt", **cut)
        labels = self.kind.targets(examples, encoded)
        return Batch(
            examples=tuple(examples),
            inputs={name: tensor.to(self.device) for name, tensor in encoded.items()},
            labels=None if labels is None else labels.to(self.device),
            encoding=encoded,
        )


def epoch_order(
    lengths: Sequence[int] | npt.NDArray[np.int64], batch_size: int, generator: np.random.Generator
) -> Sequence[list[int]]:
    """Return the batches of one epoch as lists of indices: shuffled, then bucketed by length, then shuffled again.

    Every index stands in exactly one batch; only one batch may be smaller than `batch_size`, and it comes last.
    """
    shuffled = generator.permutation(len(lengths))
    buckets = np.arange(len(lengths)) // (batch_size * _BUCKET)
    ordered = shuffled[np.lexsort((np.asarray(lengths)[shuffled], buckets))]
    whole = len(lengths) // batch_size
    return _Order(ordered, batch_size, generator.permutation(whole))


class _Order(Lazy[list[int]]):
    """The indices `ordered` in batches of one size, these in a `turn` of their own, the rest last: 8 bytes an index."""

    def __init__(self, ordered: npt.NDArray[np.intp], size: int, turn: npt.NDArray[np.intp]) -> None:
        self._ordered, self._size, self._turn = ordered, size, turn

    def __len__(self) -> int:
        return -(-len(self._ordered) // self._size)

    def item(self, place: int) -> list[int]:
        """Return a batch."""
        start = self._size * (int(self._turn[place]) if place < len(self._turn) else place)
        return list(map(int, self._ordered[start : start + self._size]))
