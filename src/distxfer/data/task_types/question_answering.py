"""Extractive question answering: the answer to a question is a span of a text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean
from typing import cast, final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BatchEncoding, PreTrainedTokenizerBase

from distxfer.data._examples import Answer, Example, Task
from distxfer.data._places import Place, length, places, read_whole
from distxfer.data._task_type import Batch, Counts, Prediction, Reading, TaskType
from distxfer.errors import InputError
from distxfer.measure import answer_f1, exact_match, is_collapsed, normalised_answer

_LONGEST = 30  # tokens of a predicted answer
_OVERLAP = 128  # tokens of the text shared by neighbouring windows, if they are long enough
_NO_PLACE = -100


@final
class QuestionAnswering(TaskType):
    """The span in the second text of a pair that answers the first. F1 and exact match, as for SQuAD.

    Each token of the text gets a score as the start and as the end of the answer; token 0 means no answer. Long texts are
    read in overlapping windows; in a window without the answer, token 0 is the target.
    """

    output = "span"
    per = "example"
    metrics = ("f1", "exact_match")

    def check(self, task: Task, source: str) -> None:
        """Raise InputError for an answer that does not occur at its position."""
        for languages in task.splits.values():
            for example in chain.from_iterable(languages.values()):
                for answer in cast(tuple[Answer, ...], example.label or ()):
                    passage = (example.text_pair or "")[answer.start : answer.start + len(answer.text)]
                    if passage != answer.text or not answer.text or answer.start < 0:
                        raise InputError(
                            f"The answer `{answer.text}` to the question `{example.id}` of `{example.language}` in the task"
                            f" `{task.name}` is not at character {answer.start} of its text, where there is `{passage}`."
                            " Count Unicode code points from 0."
                        )

    def windows(self, example: Example, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[Example, ...]:
        """Return the question with each window of its text; together they have at most `max_length` tokens.

        Neighbouring windows share 128 tokens of the text, or half a window if that is fewer, so that any answer up to that
        length is complete in one of them. The question is truncated to half of `max_length`.
        """
        question = _cut(tokenizer, example.text, max_length // 2)
        text = example.text_pair or ""
        if length(read_whole(tokenizer, question, text)) <= max_length:
            return (replace(example, text=question),)
        tokens = places(read_whole(tokenizer, text))
        room = max_length - length(read_whole(tokenizer, question, ""))
        windows: list[Example] = []
        first = last = 0
        while last < len(tokens):
            last = first + 1
            while last < len(tokens) and tokens[last][0] - tokens[first][0] < room:
                last += 1
            window = _window(example, question, tokens[first:last], len(windows) + 1)
            while last > first + 1 and length(read_whole(tokenizer, question, window.text_pair)) > max_length:
                last -= 1
                window = _window(example, question, tokens[first:last], len(windows) + 1)
            windows.append(window)
            first = max(first + 1, last - min(_OVERLAP, (last - first) // 2))
        return tuple(windows) or (replace(example, text=question),)

    def unread(self, examples: Sequence[Example], encoding: BatchEncoding, max_length: int) -> Counts:
        """Return how many questions are truncated to half of `max_length` tokens."""
        cut = sum(len(places(encoding, row)) > max_length // 2 for row in range(len(examples)))
        return {"questions_cut": (cut, len(examples))}

    def targets(self, examples: Sequence[Example], encoding: BatchEncoding) -> Tensor | None:
        """Return (n, tokens, 2): 1 at the answer's first and last token, 0 at other candidates, -100 elsewhere."""
        targets = torch.full((*encoding["input_ids"].shape, 2), _NO_PLACE)
        for row, example in enumerate(examples):
            tokens = places(encoding, row, 1)
            candidates = [0, *(position for position, _, _ in tokens)]
            targets[row, candidates] = 0
            inside: list[int] = []
            for answer in cast(tuple[Answer, ...], example.label)[:1]:
                end = answer.start + len(answer.text)
                inside = [position for position, start, stop in tokens if max(start, answer.start) < min(stop, end)]
            targets[row, inside[0] if inside else 0, 0] = 1
            targets[row, inside[-1] if inside else 0, 1] = 1
        return targets

    def loss(self, output: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Return the mean of the cross-entropies of start and end, in nats, summed over windows; `output` is (n, tokens, 2).

        Only the tokens of the text and token 0 are candidates, not the question or the padding.
        """
        scores = output.float().masked_fill(targets == _NO_PLACE, -torch.inf).transpose(1, 2).flatten(0, 1)
        right = targets.transpose(1, 2).flatten(0, 1).argmax(dim=-1)
        return cross_entropy(scores, right, reduction="sum") / 2, len(targets)

    def readings(self, output: Tensor, batch: Batch | None) -> Sequence[Reading]:
        """Return the best answer of at most 30 tokens in each window as [(score, text)]; empty for an empty text.

        The score is start_i + end_j - start_0 - end_0, the log odds of the answer against no answer.
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
        """Return the best answer over all windows; no answer only if training has unanswerable questions."""
        threshold = 0.0 if any(example.label == () for example in task.examples("train", source)) else -torch.inf
        return {
            language: [
                _prediction(example, cast(Sequence[Sequence[tuple[float, str]]], windows), threshold)
                for example, windows in zip(language_examples, readings[language], strict=True)
            ]
            for language, language_examples in examples.items()
        }

    def scores(self, task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return F1 and exact match, for the best-matching accepted answer of each question, averaged over questions."""
        answers = [
            (_right(example), prediction.prediction) for example, prediction in zip(examples, predictions, strict=True)
        ]
        return {
            "f1": fmean(answer_f1(right, prediction) for right, prediction in answers),
            "exact_match": fmean(exact_match(right, prediction) for right, prediction in answers),
        }

    def collapsed(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> bool:
        """Return whether exact match is within noise of always predicting the most frequent answer."""
        correct = sum(
            exact_match(_right(example), prediction.prediction)
            for example, prediction in zip(examples, predictions, strict=True)
        )
        frequent = Counter(
            text for example in examples for text in {normalised_answer(answer) for answer in _right(example) or [""]}
        )
        return is_collapsed(round(correct), len(examples), max(frequent.values()))


def _right(example: Example) -> list[str]:
    return [answer.text for answer in cast(tuple[Answer, ...], example.label or ())]


def _cut(tokenizer: PreTrainedTokenizerBase, text: str, longest: int) -> str:
    """Return the first `longest` tokens of a text."""
    tokens = places(read_whole(tokenizer, text))
    return text if len(tokens) <= longest else text[: tokens[longest - 1][2]]


def _window(example: Example, question: str, tokens: Sequence[Place], number: int) -> Example:
    """Return the question with the text of these tokens, and the answers within it."""
    start, end = tokens[0][1], tokens[-1][2]
    answers = cast(tuple[Answer, ...] | None, example.label)
    inside = None if answers is None else tuple(
        Answer(answer.text, answer.start - start)
        for answer in answers
        if start <= answer.start and answer.start + len(answer.text) <= end
    )  # fmt: skip
    return Example(f"{example.id}/{number}", example.language, question, (example.text_pair or "")[start:end], inside)


def _best(output: Tensor, tokens: Sequence[Place], text: str) -> list[tuple[float, str]]:
    """Return the span of tokens with the largest sum of scores, as a list of at most one item."""
    if not tokens:
        return []
    positions = [position for position, _, _ in tokens]
    start, end = (output[positions] - output[0]).unbind(dim=-1)
    sums = start.unsqueeze(1) + end.unsqueeze(0)
    allowed = torch.ones_like(sums, dtype=torch.bool).triu().tril(_LONGEST - 1)
    first, last = divmod(int(sums.masked_fill(~allowed, -torch.inf).argmax()), len(positions))
    return [(float(sums[first, last]), text[tokens[first][1] : tokens[last][2]].strip())]


def _prediction(example: Example, windows: Sequence[Sequence[tuple[float, str]]], threshold: float) -> Prediction:
    score, text = max(
        (candidate for window in windows for candidate in window),
        key=lambda candidate: candidate[0],
        default=(-torch.inf, ""),
    )
    right = _right(example)
    return Prediction(
        label=None if example.label is None else (right[0] if right else ""),
        prediction=text if score > threshold else "",
    )


TASK_TYPE = QuestionAnswering()
