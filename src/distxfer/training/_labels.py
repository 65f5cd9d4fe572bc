"""The labels of target text that interventions ask for as a phase begins."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from distxfer.data import Example
from distxfer.encoders import Encoder
from distxfer.errors import InputError, RunError
from distxfer.interventions import BoundIntervention
from distxfer.training._objective import RunContext, TrainingData

_TOLERANCE = 1e-4  # of the sum of a distribution


class PhaseTeacher:
    """The implementation of the public `interventions.Teacher`; it counts its forward passes and their tokens."""

    def __init__(self, context: RunContext) -> None:
        self.texts, self.pairs = context.data.texts, context.data.pairs
        self.forwards = self.tokens = 0
        self._context = context

    def logits(self, examples: Sequence[Example]) -> Tensor:
        """Return the head's logits for texts, (n, classes), on the CPU, without dropout."""
        collate, processes = self._context.data.collate, self._context.processes
        own_logits = []
        for rows in processes.shard(collate.batches(examples)):
            batch = collate([examples[row] for row in rows])
            with processes.autocast():
                own_logits.append((rows, self._context.encoder.outputs(batch.inputs).cpu()))
            self.forwards += 1
            self.tokens += batch.tokens
        logits = processes.gather(own_logits)
        order = torch.tensor([row for rows, _ in logits for row in rows]).argsort()
        return torch.cat([values for _, values in logits])[order]

    def label_texts(self, name: str, bound: BoundIntervention) -> Mapping[str, Tensor]:
        """Return the labels that an intervention makes with this teacher, by language, in float32.

        Raises RunError for labels that do not fit the texts, and InputError where they leave out all texts of a language.
        """
        if bound.labels is None:
            return {}
        given, labels = bound.labels(self), {}
        for language, shape in label_shapes(bound, self._context.data, self._context.encoder):
            rows = labels[language] = given.get(language, torch.empty(0)).float()
            total = rows.sum(dim=-1)
            is_distribution = ((total - 1).abs() < _TOLERANCE) | (total == 0)
            if rows.shape != shape or not (is_distribution.all() and (rows >= 0).all()):
                raise RunError(
                    f"`labels` of the intervention `{name}` returned no valid rows for `{language}`. Return a tensor of"
                    f" {shape[0]} texts and {shape[1]} classes, whose rows are distributions, or zeros."
                )
            if not rows.any():
                raise InputError(
                    f"The intervention `{name}` labels none of the {shape[0]} texts of `{language}`. Give more text, or leave the"
                    f" language out of `intervention.{name}.languages`."
                )
        return labels


class _Listener:
    """A teacher that keeps the texts it is asked for, and whose logits are all 0."""

    def __init__(self, data: TrainingData, classes: int) -> None:
        self.texts, self.pairs = data.texts, data.pairs
        self.asked: list[Sequence[Example]] = []
        self._classes = classes

    def logits(self, examples: Sequence[Example]) -> Tensor:
        """Keep the texts, and return zeros."""
        self.asked.append(examples)
        return torch.zeros(len(examples), self._classes)


def texts_asked_for(bound: BoundIntervention, data: TrainingData, encoder: Encoder) -> list[Sequence[Example]]:
    """Return the texts whose logits an intervention asks for to make its labels."""
    listener = _Listener(data, encoder.classes)
    if bound.labels is not None:
        bound.labels(listener)
    return listener.asked


def label_shapes(
    bound: BoundIntervention, data: TrainingData, encoder: Encoder
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the languages that an intervention labels, with the numbers of texts and classes."""
    for language in bound.languages if bound.labels is not None else ():
        yield language, (len(data.to_label(bound)[language]), encoder.classes)
