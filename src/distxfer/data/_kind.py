"""What a kind of task is: how its labels become tensors in a batch, its loss, its predictions and its scores."""

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import ClassVar, Literal, cast

from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from distxfer.data import kinds
from distxfer.data._examples import Example, Task
from distxfer.errors import InputError, did_you_mean

# What a head says: one thing a text, one a token, two scores a token (a span's start and end), or nothing: the output is
# the text's own pooled state.
Output = Literal["text", "token", "span", "state"]
Reading = Tensor | Sequence[tuple[float, str]]
Counts = Mapping[str, tuple[int, int]]  # what -> how many, of how many


@dataclass(frozen=True)
class Prediction:
    """What was right about an example and what was predicted, as they stand in `predictions.parquet`.

    `probabilities` are those of the classes by name, for a kind that predicts one class a text.
    """

    label: str | None
    prediction: str
    probabilities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """`n` examples as tensors: `inputs[name]` is (n, tokens); `labels` is (n, ...), or None where one has no label.

    `encoding` is what the tokenizer made of them, where it did: it knows which character stands in which token.
    """

    examples: tuple[Example, ...]
    inputs: dict[str, Tensor]
    labels: Tensor | None
    encoding: BatchEncoding | None = None

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def tokens(self) -> int:
        """The number of tokens that are no padding."""
        return int(self.inputs["attention_mask"].sum())


class Kind(ABC):
    """A kind of task. Final classes without fields; each file in `data/kinds/` has one, called as the file is.

    The way of an example: `windows` cuts what is too long into texts of their own; a Batch of these has their `targets`;
    the encoder's head gives its output, from which training takes the `loss`, and scoring the `reading` of each window;
    `predictions` puts the windows of an example together again, and `scores` compares.
    """

    output: ClassVar[Output]
    per: ClassVar[Literal["example", "token"]]  # what the loss is a sum over
    metrics: ClassVar[tuple[str, ...]]  # fractions; by the first, runs are compared

    def check(self, task: Task, source: str) -> None:  # noqa: B027 - most have nothing to add to what the readers check
        """Raise InputError for a task that is not what this kind expects."""

    def windows(self, example: Example, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[Example, ...]:
        """Return the example cut into texts of at most `max_length` tokens with their labels; itself, if it is cut off."""
        return (example,)

    def unread(self, examples: Sequence[Example], encoding: BatchEncoding, max_length: int) -> Counts:
        """Return what is not read of these texts once they are cut; `encoding` is what the tokenizer makes of them whole."""
        return {"cut": texts_cut(encoding, max_length)}

    @abstractmethod
    def targets(self, examples: Sequence[Example], encoding: BatchEncoding) -> Tensor | None:
        """Return the labels of a batch as a tensor, n first, or None where one has no label.

        `encoding` is what the tokenizer made of the batch, the texts first and the second ones of pairs after them.
        """

    @abstractmethod
    def loss(self, output: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Return the sum of the losses over all items of a batch (see `per`) and how many there are; differentiable."""

    @abstractmethod
    def readings(self, output: Tensor, batch: Batch | None) -> Sequence[Reading]:
        """Return what the head's output says of each text: all that `predictions` needs to know of it.

        `batch` is how the encoder read them; None where the head says one thing a text, which is then all there is to know.
        """

    @abstractmethod
    def predictions(
        self,
        task: Task,
        examples: Mapping[str, Sequence[Example]],
        readings: Mapping[str, Sequence[Sequence[Reading]]],
        source: str,
    ) -> Mapping[str, Sequence[Prediction]]:
        """Return language -> the prediction of each example, from the readings of each one's windows, in order."""

    @abstractmethod
    def scores(self, task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return metric -> score, a fraction, for all of `metrics`, of one language's labelled examples."""

    @abstractmethod
    def collapsed(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> bool:
        """Return whether these predictions of the source's examples are those of a model that has learned nothing."""


def texts_cut(encoding: BatchEncoding, max_length: int) -> tuple[int, int]:
    """Return how many rows have more than `max_length` tokens, and how many rows there are."""
    return sum(len(row) > max_length for row in encoding["input_ids"]), len(encoding["input_ids"])


def kind_names() -> tuple[str, ...]:
    """Return the names of all kinds of tasks."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(kinds.__path__)))


def kind_of(task: Task) -> Kind:
    """Return the kind of a task; raises InputError for one that there is not."""
    return kind_named(task.kind)


def kind_named(name: str) -> Kind:
    """Return the kind called `name`; raises InputError where there is none."""
    if name not in kind_names():
        raise InputError(
            f"`{name}` is no kind of task.{did_you_mean(name, kind_names())} Choose from: {', '.join(kind_names())}."
        )
    return cast(Kind, import_module(f"{kinds.__name__}.{name}").KIND)
