"""One class per text or pair of texts."""

from collections import Counter
from collections.abc import Sequence
from typing import cast, final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BatchEncoding

from distxfer.data._examples import Example, Task
from distxfer.data._task_type import Batch, Prediction, Reading, TaskType
from distxfer.measure import accuracy, is_collapsed, macro_accuracy, macro_f1


@final
class Classification(TaskType):
    """One of the task's labels for each text; long texts are truncated. Accuracy, of all and by class, and F1 by class."""

    output = "text"
    per = "example"
    metrics = ("accuracy", "macro_accuracy", "macro_f1")

    def targets(self, examples: Sequence[Example], encoding: BatchEncoding) -> Tensor | None:
        """Return the indices of the labels, (n,)."""
        return torch.tensor([cast(int, example.label) for example in examples])

    def loss(self, output: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Return the cross-entropy, in nats, summed over the examples; `output` is (n, classes)."""
        return cross_entropy(output.float(), targets, reduction="sum"), len(targets)

    def readings(self, output: Tensor, batch: Batch | None) -> Sequence[Reading]:
        """Return the probabilities of the classes, (classes,) for each text."""
        return list(output.float().softmax(dim=-1))

    def prediction(self, task: Task, example: Example, windows: Sequence[Reading]) -> Prediction:
        """Return the most probable class of a text."""
        (probabilities,) = cast(Sequence[Tensor], windows)
        return Prediction(
            label=None if example.label is None else task.labels[cast(int, example.label)],
            prediction=task.labels[int(probabilities.argmax())],
            probabilities=dict(zip(task.labels, map(float, probabilities), strict=True)),
        )

    def scores(self, task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return accuracy, macro-averaged accuracy and macro-averaged F1."""
        labels = [cast(int, example.label) for example in examples]
        predicted = [task.labels.index(prediction.prediction) for prediction in predictions]
        return {
            "accuracy": accuracy(labels, predicted),
            "macro_accuracy": macro_accuracy(labels, predicted),
            "macro_f1": macro_f1(labels, predicted, len(task.labels)),
        }

    def collapsed(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> bool:
        """Return whether accuracy is within noise of that of the majority class."""
        correct = sum(prediction.label == prediction.prediction for prediction in predictions)
        return is_collapsed(
            correct, len(predictions), max(Counter(prediction.label for prediction in predictions).values())
        )


TASK_TYPE = Classification()
