"""The interface of task types: how labels become tensors, the loss, predictions and scores."""

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from distxfer.data import task_types
from distxfer.data._examples import Example, Task
from distxfer.errors import InputError, unknown

# The shape of a head's output: one per text, one per token, two scores per token (start and end of a span), or no head:
# the output is the text's pooled state.
Output = Literal["text", "token", "span", "state"]
Reading = Tensor | Sequence[tuple[float, str]]
Counts = Mapping[str, tuple[int, int]]  # name of an issue -> (count, total)


@dataclass(frozen=True)
class Prediction:
    """The gold label and the prediction of an example, as in `predictions.parquet`.

    `probabilities` by class name are given by task types that predict one class per text.
    """

    label: str | None
    prediction: str
    probabilities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """`n` examples as tensors: `inputs[name]` is (n, tokens); `labels` is (n, ...), or None if any label is missing.

    `encoding` is the tokenizer's output, if there is one; it maps tokens to characters.
    """

    examples: tuple[Example, ...]
    inputs: dict[str, Tensor]
    labels: Tensor | None
    encoding: BatchEncoding | None = None

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def tokens(self) -> int:
        """The number of tokens without padding."""
        return int(self.on_host("attention_mask").sum())

    def on_host(self, name: str) -> npt.NDArray[np.int64]:
        """Return `inputs[name]` as an array: from the tokenizer's output, if there is one, without waiting for the device."""
        return np.asarray(self.inputs[name].cpu() if self.encoding is None else self.encoding[name])


class TaskType(ABC):
    """A task type. Subclasses are final and have no fields; each file in `data/task_types/` defines one, named after the file.

    The path of an example: `windows` splits long texts; a Batch of windows gets its `targets`; training takes the `loss`
    of the head's output, and scoring takes the `readings` of each window; `predictions` merges the windows of an example,
    and `scores` evaluates the predictions. Types without labels have neither `targets` nor `loss`.
    """

    output: ClassVar[Output]
    per: ClassVar[Literal["example", "token"]]  # the unit over which the loss is summed
    metrics: ClassVar[tuple[str, ...]]  # fractions; the first one is the default for comparing runs

    def check(self, task: Task, source: str) -> None:  # noqa: B027 - most add nothing to the checks of the readers
        """Raise InputError for a task that does not fit this task type."""

    def windows(self, example: Example, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[Example, ...]:
        """Return the example split into texts of at most `max_length` tokens with labels; itself, if it is truncated."""
        return (example,)

    def unread(self, examples: Sequence[Example], encoding: BatchEncoding, max_length: int) -> Counts:
        """Return the counts of what truncation skips in these texts; `encoding` is that of the untruncated texts."""
        return {"cut": texts_cut(encoding, max_length)}

    def targets(self, examples: Sequence[Example], encoding: BatchEncoding) -> Tensor | None:
        """Return the labels of a batch, none of which is missing, as a tensor (n, ...).

        `encoding` is the tokenizer's output for the batch; in pairs, the second text follows the first.
        """
        return None

    def loss(self, output: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Return the differentiable sum of the losses over the items of a batch (see `per`), and the number of items."""
        raise InputError("A task without labels has no loss on labels. Set `task=false` in every phase.")

    @abstractmethod
    def readings(self, output: Tensor, batch: Batch | None) -> Sequence[Reading]:
        """Return for each text the part of the head's output that `predictions` needs.

        `batch` is what the encoder read; None for heads with one output per text, which need no positions.
        """

    def predictions(
        self,
        task: Task,
        examples: Mapping[str, Sequence[Example]],
        readings: Mapping[str, Sequence[Sequence[Reading]]],
        source: str,
    ) -> Mapping[str, Sequence[Prediction]]:
        """Return language -> the prediction of each example, from the readings of its windows, in order."""
        return {
            language: [
                self.prediction(task, example, windows)
                for example, windows in zip(language_examples, readings[language], strict=True)
            ]
            for language, language_examples in examples.items()
        }

    def prediction(self, task: Task, example: Example, windows: Sequence[Reading]) -> Prediction:
        """Return the prediction of one example, for types whose `predictions` do not depend on other examples."""
        raise NotImplementedError

    @abstractmethod
    def scores(self, task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return metric -> score (a fraction) for all `metrics`, over the labelled examples of one language."""

    @abstractmethod
    def collapsed(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> bool:
        """Return whether the predictions for the source language show that the model has learned nothing."""


def texts_cut(encoding: BatchEncoding, max_length: int) -> tuple[int, int]:
    """Return the number of rows longer than `max_length` tokens, and the number of rows."""
    return sum(len(row) > max_length for row in encoding["input_ids"]), len(encoding["input_ids"])


def task_type_names() -> tuple[str, ...]:
    """Return the names of all task types."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(task_types.__path__)))


def task_type_of(task: Task) -> TaskType:
    """Return the task type of a task; raises InputError for an unknown one."""
    return task_type_named(task.task_type)


def task_type_named(name: str) -> TaskType:
    """Return the task type called `name`; raises InputError for an unknown name."""
    if name not in task_type_names():
        raise unknown("Task type", name, task_type_names())
    return cast(TaskType, import_module(f"{task_types.__name__}.{name}").TASK_TYPE)
