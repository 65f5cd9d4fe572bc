"""What the kinds of tasks with a label for each word share: all but how they are scored."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BatchEncoding, PreTrainedTokenizerBase

from distxfer.data._examples import Example, Tags, Task
from distxfer.data._kind import Batch, Counts, Kind, Prediction, Reading
from distxfer.data._places import Place, length, places, read_whole
from distxfer.errors import InputError
from distxfer.measure import is_collapsed_over_texts

_IGNORED = -100
_OUTSIDE = "O"
Spans = Sequence[tuple[int, int]]


class WordLabels(Kind):
    """One of the task's labels for each word, learnt and predicted at its first sub-word.

    The first sub-word of a word is the first token that shares a character with it and belongs to no word before it. A
    word that has none is not learnt; it is predicted by the token that it shares with the word before, and where the
    tokenizer drops it or it lies beyond the longest text, as `O`, or as the first label where there is no `O`.

    In `predictions.parquet`, label and prediction are the names of all words of a text, with blanks between them.
    """

    output = "token"
    per = "token"

    def check(self, task: Task, source: str) -> None:
        """Raise InputError for a label that blanks would tear apart, or no labels at all."""
        if not task.labels:
            raise InputError(f"The task `{task.name}` has no labels for words. Give each word of its texts a tag.")
        for label in task.labels:
            if not label or label.split() != [label]:
                raise InputError(
                    f"The task `{task.name}` has the tag `{label}`, but a tag is one word without blanks. Rename it."
                )

    def windows(self, example: Example, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[Example, ...]:
        """Return the text cut between words into pieces of at most `max_length` tokens, as long as can be, none twice.

        A word that is too long by itself is a piece of its own, and cut off.
        """
        whole = read_whole(tokenizer, example.text)
        tags = cast(Tags | None, example.label)
        if length(whole) <= max_length or tags is None or len(tags.spans) < 2:
            return (example,)
        pieces, first = [], 0
        starts = [start for start, _ in tags.spans]
        before = _tokens_before(places(whole), tags.spans)
        room = max_length - tokenizer.num_special_tokens_to_add()
        while first < len(starts):
            piece = _piece(example, tags, first, _end(before, first, room))
            while len(piece[1].tags) > 1 and length(read_whole(tokenizer, piece[0])) > max_length:
                piece = _piece(example, tags, first, first + len(piece[1].tags) - 1)
            pieces.append(piece)
            first += len(piece[1].tags)
        return tuple(
            replace(example, id=f"{example.id}/{number}", text=text, label=own)
            for number, (text, own) in enumerate(pieces, start=1)
        )

    def unread(self, examples: Sequence[Example], encoding: BatchEncoding, max_length: int) -> Counts:
        """Return how many words have no token of their own, so that they are not learnt, and how many are cut off."""
        words = cut = without = 0
        for row, example in enumerate(examples):
            spans = cast(Tags, example.label).spans if example.label is not None else ()
            tokens = places(encoding, row)
            own, _ = _tokens(tokens, spans)
            words += len(spans)
            without += own.count(None)
            if len(encoding["input_ids"][row]) > max_length:
                room = max_length - sum(cast(Sequence[Any], encoding.encodings)[row].special_tokens_mask)
                cut += sum(end - start > room for start, end in pairwise(_tokens_before(tokens, spans)))
        return {"words_cut": (cut, words), "words_without_token": (without, words)}

    def targets(self, examples: Sequence[Example], encoding: BatchEncoding) -> Tensor | None:
        """Return the number of the label at the first sub-word of each word, (n, tokens), and -100 everywhere else."""
        if any(one.label is None for one in examples):
            return None
        found = torch.full(encoding["input_ids"].shape, _IGNORED)
        for row, example in enumerate(examples):
            tags = cast(Tags, example.label)
            own, _ = _tokens(places(encoding, row), tags.spans)
            for position, tag in zip(own, tags.tags, strict=True):
                if position is not None:
                    found[row, position] = tag
        return found

    def loss(self, output: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Return the cross-entropy, in nats, summed over the words that have a token; `output` is (n, tokens, labels)."""
        total = cross_entropy(output.float().flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=_IGNORED)
        return total, int((targets != _IGNORED).sum())

    def readings(self, output: Tensor, batch: Batch | None) -> Sequence[Reading]:
        """Return the most probable label of each word of a text, (words,); -1 where no token reads it."""
        assert batch is not None
        assert batch.encoding is not None
        best = output.argmax(dim=-1)
        found = []
        for row, example in enumerate(batch.examples):
            spans = cast(Tags, example.label).spans if example.label is not None else ()
            own, shared = _tokens(places(batch.encoding, row), spans)
            positions = [shared[word] if position is None else position for word, position in enumerate(own)]
            found.append(torch.tensor([-1 if one is None else int(best[row, one]) for one in positions]))
        return found

    def predictions(
        self,
        task: Task,
        examples: Mapping[str, Sequence[Example]],
        readings: Mapping[str, Sequence[Sequence[Reading]]],
        source: str,
    ) -> Mapping[str, Sequence[Prediction]]:
        """Return the labels of the words of each text."""
        otherwise = task.labels.index(_OUTSIDE) if _OUTSIDE in task.labels else 0
        return {
            language: [
                Prediction(
                    label=None if one.label is None else _names(task, cast(Tags, one.label).tags),
                    prediction=_names(
                        task,
                        [
                            otherwise if number < 0 else number
                            for window in windows
                            for number in cast(Tensor, window).tolist()
                        ],
                    ),
                )
                for one, windows in zip(those, readings[language], strict=True)
            ]
            for language, those in examples.items()
        }

    def collapsed(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> bool:
        """Return whether the words that are right are, text by text, within noise of those with the most frequent label."""
        texts = [((one.label or "").split(), one.prediction.split()) for one in predictions]
        (majority, _), *_ = Counter(label for labels, _ in texts for label in labels).most_common(1) or [("", 0)]
        return is_collapsed_over_texts(
            [
                sum((label == tag) - (label == majority) for label, tag in zip(labels, tags, strict=True))
                for labels, tags in texts
            ]
        )


def words_of(predictions: Sequence[Prediction]) -> tuple[list[str], list[str]]:
    """Return the label and the predicted label of every word of these texts."""
    labels = [word for one in predictions for word in (one.label or "").split()]
    return labels, [word for one in predictions for word in one.prediction.split()]


def _names(task: Task, numbers: Sequence[int]) -> str:
    return " ".join(task.labels[number] for number in numbers)


def _tokens(found: Sequence[Place], spans: Spans) -> tuple[list[int | None], list[int | None]]:
    """Return, for each word, the position of its first sub-word, and of the first token that shares a character with it.

    A token is the first sub-word of one word only. `spans` are in the order of the text, and so are the tokens.
    """
    own: list[int | None] = []
    shared: list[int | None] = []
    taken, low = -1, 0
    for start, end in spans:
        while low < len(found) and found[low][2] <= start:
            low += 1
        position, high = None, low
        shared.append(found[low][0] if low < len(found) and found[low][1] < end else None)
        while high < len(found) and found[high][1] < end:
            if found[high][0] > taken:
                position = taken = found[high][0]
                break
            high += 1
        own.append(position)
    return own, shared


def _tokens_before(found: Sequence[Place], spans: Spans) -> list[int]:
    """Return for each word how many tokens stand before it, and then how many there are."""
    behind = found[-1][0] + 1 if found else 0
    counts, low = [], 0
    for start, _ in spans:
        while low < len(found) and found[low][2] <= start:
            low += 1
        counts.append(found[low][0] if low < len(found) else behind)
    return [*counts, behind]


def _end(before: Sequence[int], first: int, room: int) -> int:
    """Return the word behind the last that `room` tokens hold from the word `first` on; one word at least."""
    last = first + 1
    while last + 1 < len(before) and before[last + 1] - before[first] <= room:
        last += 1
    return last


def _piece(example: Example, tags: Tags, first: int, last: int) -> tuple[str, Tags]:
    """Return the words [first, last) of a text, with what stands between them, and their tags."""
    start, end = tags.spans[first][0], tags.spans[last - 1][1]
    spans = tuple((low - start, high - start) for low, high in tags.spans[first:last])
    return example.text[start:end], Tags(spans, tags.tags[first:last])
