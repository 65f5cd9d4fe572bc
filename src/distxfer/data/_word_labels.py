"""The base class of the task types with a label for each word: all but the scores."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BatchEncoding, PreTrainedTokenizerBase

from distxfer.data._examples import Example, Tags, Task
from distxfer.data._places import Place, length, places, read_whole
from distxfer.data._task_type import Batch, Counts, Prediction, Reading, TaskType
from distxfer.errors import InputError
from distxfer.measure import is_collapsed_over_texts

_IGNORED = -100
_OUTSIDE = "O"
Spans = Sequence[tuple[int, int]]


class WordLabels(TaskType):
    """One of the task's labels for each word, learnt and predicted at its first sub-word.

    The first sub-word of a word is the first token that overlaps it and is not used by an earlier word. A word without
    one is not learnt. It is predicted from the token that it shares with the word before; if there is none (the
    tokenizer drops the word, or it is truncated), as `O`, or as the first label if there is no `O`.

    In `predictions.parquet`, label and prediction are the label names of all words of a text, joined by blanks.
    """

    output = "token"
    per = "token"

    def check(self, task: Task, source: str) -> None:
        """Raise InputError for a label with blanks, or a task without labels."""
        if not task.labels:
            raise InputError(f"The task `{task.name}` has no word labels. Give each word of its texts a tag.")
        for label in task.labels:
            if not label or label.split() != [label]:
                raise InputError(
                    f"The task `{task.name}` has the tag `{label}`, but a tag is one word without blanks. Rename it."
                )

    def windows(self, example: Example, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[Example, ...]:
        """Return the text split between words into disjoint pieces of at most `max_length` tokens, as long as possible.

        A word that is too long by itself is a piece of its own, and truncated.
        """
        encoding = read_whole(tokenizer, example.text)
        tags = cast(Tags | None, example.label)
        if length(encoding) <= max_length or tags is None or len(tags.spans) < 2:
            return (example,)
        pieces, first = [], 0
        starts = [start for start, _ in tags.spans]
        before = _tokens_before(places(encoding), tags.spans)
        room = max_length - tokenizer.num_special_tokens_to_add()
        while first < len(starts):
            fitting = bisect_right(before, before[first] + room) - 1
            piece = _piece(example, tags, first, max(first + 1, fitting))
            while len(piece[1].tags) > 1 and length(read_whole(tokenizer, piece[0])) > max_length:
                piece = _piece(example, tags, first, first + len(piece[1].tags) - 1)
            pieces.append(piece)
            first += len(piece[1].tags)
        return tuple(
            replace(example, id=f"{example.id}/{number}", text=text, label=piece_tags)
            for number, (text, piece_tags) in enumerate(pieces, start=1)
        )

    def unread(self, examples: Sequence[Example], encoding: BatchEncoding, max_length: int) -> Counts:
        """Return how many words have no token of their own and so are not learnt, and how many are truncated."""
        words = cut = without = 0
        for row, example in enumerate(examples):
            spans = cast(Tags, example.label).spans if example.label is not None else ()
            tokens = places(encoding, row)
            first_tokens, _ = _tokens(tokens, spans)
            words += len(spans)
            without += first_tokens.count(None)
            if len(encoding["input_ids"][row]) > max_length:
                room = max_length - sum(cast(Sequence[Any], encoding.encodings)[row].special_tokens_mask)
                cut += sum(end - start > room for start, end in pairwise(_tokens_before(tokens, spans)))
        return {"words_cut": (cut, words), "words_without_token": (without, words)}

    def targets(self, examples: Sequence[Example], encoding: BatchEncoding) -> Tensor | None:
        """Return (n, tokens): the index of the label at the first sub-word of each word, and -100 everywhere else."""
        targets = torch.full(encoding["input_ids"].shape, _IGNORED)
        for row, example in enumerate(examples):
            tags = cast(Tags, example.label)
            first_tokens, _ = _tokens(places(encoding, row), tags.spans)
            for position, tag in zip(first_tokens, tags.tags, strict=True):
                if position is not None:
                    targets[row, position] = tag
        return targets

    def loss(self, output: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Return the cross-entropy, in nats, summed over the words that have a token; `output` is (n, tokens, labels)."""
        total = cross_entropy(output.float().flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=_IGNORED)
        return total, int((targets != _IGNORED).sum())

    def readings(self, output: Tensor, batch: Batch | None) -> Sequence[Reading]:
        """Return the most probable label of each word of a text, (words,); -1 for a word without a token."""
        assert batch is not None
        assert batch.encoding is not None
        best = output.argmax(dim=-1)
        labels = []
        for row, example in enumerate(batch.examples):
            spans = cast(Tags, example.label).spans if example.label is not None else ()
            first_tokens, shared = _tokens(places(batch.encoding, row), spans)
            positions = [shared[word] if position is None else position for word, position in enumerate(first_tokens)]
            labels.append(
                torch.tensor([-1 if position is None else int(best[row, position]) for position in positions])
            )
        return labels

    def prediction(self, task: Task, example: Example, windows: Sequence[Reading]) -> Prediction:
        """Return the labels of the words of a text."""
        otherwise = task.labels.index(_OUTSIDE) if _OUTSIDE in task.labels else 0
        numbers = [number for window in cast(Sequence[Tensor], windows) for number in window.tolist()]
        return Prediction(
            label=None if example.label is None else _names(task, cast(Tags, example.label).tags),
            prediction=_names(task, [otherwise if number < 0 else number for number in numbers]),
        )

    def collapsed(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> bool:
        """Return whether the number of correct words per text is within noise of always predicting the most frequent label."""
        texts = [((prediction.label or "").split(), prediction.prediction.split()) for prediction in predictions]
        (majority, _), *_ = Counter(label for labels, _ in texts for label in labels).most_common(1) or [("", 0)]
        return is_collapsed_over_texts(
            [
                sum((label == tag) - (label == majority) for label, tag in zip(labels, tags, strict=True))
                for labels, tags in texts
            ]
        )


def words_of(predictions: Sequence[Prediction]) -> tuple[list[str], list[str]]:
    """Return the gold labels and the predicted labels of all words in these texts."""
    labels = [word for prediction in predictions for word in (prediction.label or "").split()]
    return labels, [word for prediction in predictions for word in prediction.prediction.split()]


def _names(task: Task, numbers: Sequence[int]) -> str:
    return " ".join(task.labels[number] for number in numbers)


def _tokens(tokens: Sequence[Place], spans: Spans) -> tuple[list[int | None], list[int | None]]:
    """Return for each word the position of its first sub-word, and that of the first token that overlaps it.

    A token is the first sub-word of at most one word. `spans` and `tokens` are in text order.
    """
    first_tokens: list[int | None] = []
    shared: list[int | None] = []
    last_used, low = -1, 0
    for start, end in spans:
        while low < len(tokens) and tokens[low][2] <= start:
            low += 1
        position, high = None, low
        shared.append(tokens[low][0] if low < len(tokens) and tokens[low][1] < end else None)
        while high < len(tokens) and tokens[high][1] < end:
            if tokens[high][0] > last_used:
                position = last_used = tokens[high][0]
                break
            high += 1
        first_tokens.append(position)
    return first_tokens, shared


def _tokens_before(tokens: Sequence[Place], spans: Spans) -> list[int]:
    """Return for each word the number of tokens before it, and as the last item the number of all tokens."""
    behind = tokens[-1][0] + 1 if tokens else 0
    counts, low = [], 0
    for start, _ in spans:
        while low < len(tokens) and tokens[low][2] <= start:
            low += 1
        counts.append(tokens[low][0] if low < len(tokens) else behind)
    return [*counts, behind]


def _piece(example: Example, tags: Tags, first: int, last: int) -> tuple[str, Tags]:
    """Return the text from word `first` to word `last` (exclusive), and its tags."""
    start, end = tags.spans[first][0], tags.spans[last - 1][1]
    spans = tuple((low - start, high - start) for low, high in tags.spans[first:last])
    return example.text[start:end], Tags(spans, tags.tags[first:last])
