"""Extractive question answering: the answer to a question is a piece of a text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import cast, final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BatchEncoding, PreTrainedTokenizerBase

from distxfer.data._examples import Answer, Example, Task
from distxfer.data._kind import Batch, Counts, Kind, Prediction, Reading
from distxfer.data._places import Place, length, places, read_whole
from distxfer.errors import InputError
from distxfer.measure import answer_f1, exact_match, is_collapsed, normalised_answer

_LONGEST = 30  # tokens of an answer that is predicted
_OVERLAP = 128  # tokens of the text that two windows have in common, where they are long enough
_NO_PLACE = -100


@final
class Answers(Kind):
    """Where in the second text of a pair the answer to the first stands. F1 and exact match, as for SQuAD.

    Each token of the text gets a score as the start and as the end of the answer; token 0 stands for none. A text that is
    too long is read in windows that overlap; in one without the answer, token 0 is right.
    """

    output = "span"
    per = "example"
    metrics = ("f1", "exact_match")

    def check(self, task: Task, source: str) -> None:
        """Raise InputError for an answer that is not where it is said to be."""
        for languages in task.splits.values():
            for one in (example for examples in languages.values() for example in examples):
                for answer in cast(tuple[Answer, ...], one.label or ()):
                    there = (one.text_pair or "")[answer.start : answer.start + len(answer.text)]
                    if there != answer.text or not answer.text or answer.start < 0:
                        raise InputError(
                            f"The answer `{answer.text}` to the question `{one.id}` of `{one.language}` in the task"
                            f" `{task.name}` is not at character {answer.start} of its text, where there is `{there}`."
                            " Count characters from 0, in Unicode code points."
                        )

    def windows(self, example: Example, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[Example, ...]:
        """Return the question with each window of its text: of `max_length` tokens with the question, as long as can be.

        Two neighbours share 128 tokens of the text, or half of what a window holds where that is fewer, so that each answer
        that is no longer lies whole in one of them. Of a question, half of `max_length` tokens are read.
        """
        question = _cut(tokenizer, example.text, max_length // 2)
        text = example.text_pair or ""
        if length(read_whole(tokenizer, question, text)) <= max_length:
            return (replace(example, text=question),)
        tokens = places(read_whole(tokenizer, text))
        room = max_length - length(read_whole(tokenizer, question, ""))
        found: list[Example] = []
        first = last = 0
        while last < len(tokens):
            last = first + 1
            while last < len(tokens) and tokens[last][0] - tokens[first][0] < room:
                last += 1
            window = _window(example, question, tokens[first:last], len(found) + 1)
            while last > first + 1 and length(read_whole(tokenizer, question, window.text_pair)) > max_length:
                last -= 1
                window = _window(example, question, tokens[first:last], len(found) + 1)
            found.append(window)
            first = max(first + 1, last - min(_OVERLAP, (last - first) // 2))
        return tuple(found) or (replace(example, text=question),)

    def unread(self, examples: Sequence[Example], encoding: BatchEncoding, max_length: int) -> Counts:
        """Return how many questions are cut off at half of `max_length` tokens."""
        cut = sum(len(places(encoding, row)) > max_length // 2 for row in range(len(examples)))
        return {"questions_cut": (cut, len(examples))}

    def targets(self, examples: Sequence[Example], encoding: BatchEncoding) -> Tensor | None:
        """Return (n, tokens, 2): 1 at the answer's first (and last) token, 0 at the others that it could be, -100 elsewhere."""
        if any(one.label is None for one in examples):
            return None
        found = torch.full((*encoding["input_ids"].shape, 2), _NO_PLACE)
        for row, example in enumerate(examples):
            there = places(encoding, row, 1)
            candidates = [0, *(position for position, _, _ in there)]
            found[row, candidates] = 0
            inside: list[int] = []
            for answer in cast(tuple[Answer, ...], example.label)[:1]:
                end = answer.start + len(answer.text)
                inside = [position for position, start, stop in there if max(start, answer.start) < min(stop, end)]
            found[row, inside[0] if inside else 0, 0] = 1
            found[row, inside[-1] if inside else 0, 1] = 1
        return found

    def loss(self, output: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Return the mean of the cross-entropies of start and end, in nats, summed over windows; `output` is as `targets`.

        Over the tokens of the text and token 0: neither the question nor the padding can be an answer.
        """
        scores = output.float().masked_fill(targets == _NO_PLACE, -torch.inf).transpose(1, 2).flatten(0, 1)
        right = targets.transpose(1, 2).flatten(0, 1).argmax(dim=-1)
        return cross_entropy(scores, right, reduction="sum") / 2, len(targets)

    def readings(self, output: Tensor, batch: Batch | None) -> Sequence[Reading]:
        """Return the best answer in each window, of at most 30 tokens, as its one (score, text); none in an empty text.

        Its score is start_i + end_j - start_0 - end_0: the logarithm of how much more probable it is than no answer.
        """
        assert batch is not None
        assert batch.encoding is not None
        return [
            _best(output[row], places(batch.encoding, row, 1), example.text_pair or "")
            for row, example in enumerate(batch.examples)
        ]

    def predictions(
        self,
        task: Task,
        examples: Mapping[str, Sequence[Example]],
        readings: Mapping[str, Sequence[Sequence[Reading]]],
        source: str,
    ) -> Mapping[str, Sequence[Prediction]]:
        """Return the best answer over all windows; none only if the source trains on questions without an answer."""
        least = 0.0 if any(one.label == () for one in task.examples("train", source)) else -torch.inf
        return {
            language: [
                _prediction(example, cast(Sequence[Sequence[tuple[float, str]]], windows), least)
                for example, windows in zip(those, readings[language], strict=True)
            ]
            for language, those in examples.items()
        }

    def scores(self, task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return F1 and exact match, of each question with the right answer that fits best, as means over questions."""
        found = [(_right(example), one.prediction) for example, one in zip(examples, predictions, strict=True)]
        return {
            "f1": fmean(answer_f1(right, prediction) for right, prediction in found),
            "exact_match": fmean(exact_match(right, prediction) for right, prediction in found),
        }

    def collapsed(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> bool:
        """Return whether exact match is within noise of always giving the answer that is right most often."""
        correct = sum(exact_match(_right(one), two.prediction) for one, two in zip(examples, predictions, strict=True))
        frequent = Counter(text for one in examples for text in {normalised_answer(two) for two in _right(one) or [""]})
        return is_collapsed(round(correct), len(examples), max(frequent.values()))


def _right(example: Example) -> list[str]:
    return [answer.text for answer in cast(tuple[Answer, ...], example.label or ())]


def _cut(tokenizer: PreTrainedTokenizerBase, text: str, longest: int) -> str:
    """Return the first `longest` tokens of a text."""
    tokens = places(read_whole(tokenizer, text))
    return text if len(tokens) <= longest else text[: tokens[longest - 1][2]]


def _window(example: Example, question: str, tokens: Sequence[Place], number: int) -> Example:
    """Return the question with the characters of these tokens of its text, and the answers that lie in them."""
    start, end = tokens[0][1], tokens[-1][2]
    answers = cast(tuple[Answer, ...] | None, example.label)
    inside = None if answers is None else tuple(
        Answer(one.text, one.start - start)
        for one in answers
        if start <= one.start and one.start + len(one.text) <= end
    )  # fmt: skip
    return Example(f"{example.id}/{number}", example.language, question, (example.text_pair or "")[start:end], inside)


def _best(output: Tensor, there: Sequence[Place], text: str) -> list[tuple[float, str]]:
    """Return the span of tokens with the largest sum of scores, as a list of one, or of none."""
    if not there:
        return []
    positions = [position for position, _, _ in there]
    start, end = (output[positions] - output[0]).unbind(dim=-1)
    sums = start.unsqueeze(1) + end.unsqueeze(0)
    allowed = torch.ones_like(sums, dtype=torch.bool).triu().tril(_LONGEST - 1)
    first, last = divmod(int(sums.masked_fill(~allowed, -torch.inf).argmax()), len(positions))
    return [(float(sums[first, last]), text[there[first][1] : there[last][2]].strip())]


def _prediction(example: Example, windows: Sequence[Sequence[tuple[float, str]]], least: float) -> Prediction:
    score, text = max((one for window in windows for one in window), key=lambda one: one[0], default=(-torch.inf, ""))
    right = _right(example)
    return Prediction(
        label=None if example.label is None else (right[0] if right else ""), prediction=text if score > least else ""
    )


KIND = Answers()
