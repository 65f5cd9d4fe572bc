"""Collates examples into padded tensors, and orders the batches of an epoch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Encoding
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distxfer.data._examples import Example
from distxfer.data._rows import Lazy
from distxfer.data._task_type import Batch, TaskType, task_type_named

_TOKENISED = 4096  # texts whose encodings are in memory together
_TOKENS, _TOKENS_ON_GPU = 2048, 16384  # of a batch without gradients
_BUCKET = 8  # batches sorted by length together: enough to save padding, few enough to keep the order random


@dataclass(frozen=True)
class Collator:
    """Turns examples into a Batch with one tokenizer. Texts are truncated to `max_length` tokens.

    `task_type` encodes the labels.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    device: torch.device | str = "cpu"
    task_type: TaskType = field(default_factory=lambda: task_type_named("classification"))

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Return the examples as one batch, padded to the longest."""
        truncation = {"truncation": True, "max_length": self.max_length}
        texts, pairs = [example.text for example in examples], [example.text_pair for example in examples]
        if len({pair is None for pair in pairs}) > 1:  # encode each row by itself: it must not depend on its batch
            rows = [self.tokenizer(text, pair, **truncation) for text, pair in zip(texts, pairs, strict=True)]
            encoded = self.tokenizer.pad(
                {key: [row[key] for row in rows] for key in rows[0]}, padding=True, return_tensors="pt"
            )
        else:
            second_texts = pairs if pairs[0] is not None else None
            encoded = self.tokenizer(texts, second_texts, padding=True, return_tensors="pt", **truncation)
        is_labelled = all(example.label is not None for example in examples)
        labels = self.task_type.targets(examples, encoded) if is_labelled else None
        return Batch(
            examples=tuple(examples),
            inputs={name: self._on_device(tensor) for name, tensor in encoded.items()},
            labels=None if labels is None else self._on_device(labels),
            encoding=encoded,
        )

    def _on_device(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the host on the device; to a GPU, the copy does not wait for the work before it."""
        if torch.device(self.device).type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def lengths(self, examples: Sequence[Example]) -> npt.NDArray[np.int64]:
        """Return the number of tokens of each example, (n,), after truncation."""
        lengths = np.fromiter(map(len, self._encoded(examples)), np.int64, len(examples))
        return np.minimum(lengths, self.max_length)

    def token_ids(self, examples: Iterable[Example]) -> Iterator[Sequence[int]]:
        """Yield the token ids of each example, without truncation."""
        for encoded in self._encoded(examples):
            yield encoded if isinstance(encoded, list) else encoded.ids

    def _encoded(self, examples: Iterable[Example]) -> Iterator[Encoding | list[int]]:
        """Yield the encodings of examples without truncation, or their ids where the tokenizer is a slow one."""
        examples = iter(examples)
        while part := list(islice(examples, _TOKENISED)):
            if self.tokenizer.is_fast:  # without the offsets and lists of the full encoding: four times as fast
                self.tokenizer.backend_tokenizer.no_padding()  # the last call's; the next one sets its own
                self.tokenizer.backend_tokenizer.no_truncation()
                texts = [
                    example.text if example.text_pair is None else (example.text, example.text_pair) for example in part
                ]
                yield from self.tokenizer.backend_tokenizer.encode_batch_fast(texts)
            else:
                yield from (self.tokenizer(example.text, example.text_pair)["input_ids"] for example in part)

    def batches(self, examples: Sequence[Example]) -> list[list[int]]:
        """Return the rows of the examples in batches of similar length for a pass without gradients, each row once.

        A batch has one example, or at most 2,048 tokens with padding (on a GPU 16,384), of texts or of pairs of texts.
        """
        most = _TOKENS if torch.device(self.device).type == "cpu" else _TOKENS_ON_GPU
        lengths, alone = self.lengths(examples), np.array([example.text_pair is None for example in examples])
        batches: list[list[int]] = []
        for row in np.lexsort((lengths, alone)).tolist():
            batch = batches[-1] if batches else []
            if batch and alone[batch[0]] == alone[row] and (len(batch) + 1) * lengths[row] <= most:
                batch.append(row)
            else:
                batches.append([row])
        return batches


def epoch_order(
    lengths: Sequence[int] | npt.NDArray[np.int64], batch_size: int, generator: np.random.Generator
) -> Sequence[list[int]]:
    """Return the batches of one epoch as lists of indices: shuffled, then bucketed by length, then shuffled again.

    Every index is in exactly one batch. At most one batch is smaller than `batch_size`, and it comes last.
    """
    shuffled = generator.permutation(len(lengths))
    buckets = np.arange(len(lengths)) // (batch_size * _BUCKET)
    ordered = shuffled[np.lexsort((np.asarray(lengths)[shuffled], buckets))]
    full_batches = len(lengths) // batch_size
    return _Order(ordered, batch_size, generator.permutation(full_batches))


class _Order(Lazy[list[int]]):
    """Batches of `size` consecutive indices of `ordered`, permuted by `batch_order`; the short batch is last.

    Takes 8 bytes per index, where lists of lists would take ten times as much.
    """

    def __init__(self, ordered: npt.NDArray[np.intp], size: int, batch_order: npt.NDArray[np.intp]) -> None:
        self._ordered, self._size, self._batch_order = ordered, size, batch_order

    def __len__(self) -> int:
        return -(-len(self._ordered) // self._size)

    def item(self, place: int) -> list[int]:
        """Return a batch."""
        start = self._size * (int(self._batch_order[place]) if place < len(self._batch_order) else place)
        return list(map(int, self._ordered[start : start + self._size]))
