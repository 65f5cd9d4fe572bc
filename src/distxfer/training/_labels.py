"""The labels of target text that interventions ask for as a phase begins."""

from collections.abc import Callable, Iterator, Mapping, Sequence

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
        return self._rows(examples, lambda inputs: self._context.encoder.outputs(inputs).cpu())

    def states(self, examples: Sequence[Example]) -> Tensor:
        """Return the pooled states of the last layer for texts, (n, d), on the CPU, without dropout."""
        return self._rows(examples, lambda inputs: self._context.encoder.states([inputs])[0][-1])

    def _rows(self, examples: Sequence[Example], rows_of: Callable[[Mapping[str, Tensor]], Tensor]) -> Tensor:
        """Return a row for each text, in batches that the processes share."""
        collate, processes = self._context.data.collate, self._context.processes
        own_rows = []
        for rows in processes.shard(collate.batches(examples)):
            batch = collate([examples[row] for row in rows])
            with processes.autocast():
                own_rows.append((rows, rows_of(batch.inputs)))
            self.forwards += 1
            self.tokens += batch.tokens
        gathered = processes.gather(own_rows)
        order = torch.tensor([row for rows, _ in gathered for row in rows]).argsort()
        return torch.cat([values for _, values in gathered])[order]

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
            is_distribution = (((total - 1).abs() < _TOLERANCE) | (total == 0)) & (rows >= 0).all(dim=-1)
            is_valid = rows.isfinite() if bound.labels_are_states else is_distribution
            if rows.shape != shape or not is_valid.all():
                expected = (
                    "entries, which are finite"
                    if bound.labels_are_states
                    else "classes, whose rows are distributions, or zeros"
                )
                raise RunError(
                    f"`labels` of the intervention `{name}` returned no valid rows for `{language}`. Return a tensor of"
                    f" {shape[0]} texts and {shape[1]} {expected}."
                )
            if not rows.any():
                raise InputError(
                    f"The intervention `{name}` labels none of the {shape[0]} texts of `{language}`. Give more text, or leave the"
                    f" language out of `intervention.{name}.languages`."
                )
        return labels


class _Listener:
    """A teacher that keeps the texts it is asked for, and whose logits and states are all 0."""

    def __init__(self, data: TrainingData, encoder: Encoder) -> None:
        self.texts, self.pairs = data.texts, data.pairs
        self.asked: list[Sequence[Example]] = []
        self._encoder = encoder

    def logits(self, examples: Sequence[Example]) -> Tensor:
        """Keep the texts, and return zeros."""
        self.asked.append(examples)
        return torch.zeros(len(examples), self._encoder.classes)

    def states(self, examples: Sequence[Example]) -> Tensor:
        """Keep the texts, and return zeros."""
        self.asked.append(examples)
        return torch.zeros(len(examples), self._encoder.hidden_size)


def texts_asked_for(bound: BoundIntervention, data: TrainingData, encoder: Encoder) -> list[Sequence[Example]]:
    """Return the texts whose logits or states an intervention asks for to make its labels."""
    listener = _Listener(data, encoder)
    if bound.labels is not None:
        bound.labels(listener)
    return listener.asked


def label_shapes(
    bound: BoundIntervention, data: TrainingData, encoder: Encoder
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the languages that an intervention labels, with the numbers of texts and of a row's entries."""
    width = encoder.hidden_size if bound.labels_are_states else encoder.classes
    for language in bound.languages if bound.labels is not None else ():
        yield language, (len(data.to_label(bound)[language]), width)
