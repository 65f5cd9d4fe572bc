"""The objective of a phase: the task's loss and the terms of the interventions, each by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from distxfer.data import Batch, Collator, Example, Pair
from distxfer.encoders import Encoded, Encoder
from distxfer.errors import InputError, RunError
from distxfer.interventions import Bound, Term
from distxfer.training._streams import generator, torch_stream

T = TypeVar("T")

TASK = "task"  # the name of the loss on the labels, beside the names of the interventions


class Diverged(InputError):
    """A loss is no longer a finite number: the recipe's settings do not fit, and the run stops before it is saved."""


def diverged(name: str, what: str, phase: str, step: int) -> Diverged:
    """Return the error for a term that is no longer a number, with the settings that may have led there."""
    weight = "" if name == TASK else f" or `intervention.{name}.weight`"
    return Diverged(
        f"The term `{name}` at step {step} of the phase `{phase}` {what.rstrip('.')}."
        f" Lower `phase.{phase}.learning_rate`{weight}. The last checkpoint, if there is one, is kept."
    )


@dataclass(frozen=True)
class TrainingData:
    """All that training may read: labelled examples of the source, pairs and unlabelled text by target language."""

    examples: Sequence[Example]
    pairs: Mapping[str, Sequence[Pair]]
    texts: Mapping[str, Sequence[Example]]
    collate: Collator


class Pretrained(Protocol):
    """The pretrained encoder, which terms measure from; `forwards` are its passes that no step has counted yet."""

    forwards: int

    def states(self, keys: Sequence[Example], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the pooled states (layers + 1, n, d) of `n` texts; `keys` name the texts."""

    def encode(self, inputs: Mapping[str, Tensor]) -> Encoded:
        """Return the states of every token, computed anew."""


@dataclass(frozen=True)
class Micro:
    """One process's part of one micro-batch. `void`: this process got none, and only keeps the others company."""

    phase: str
    number: int  # of the optimiser step
    index: int  # of the micro-batch within the step
    batch: Batch
    void: bool = False


class Objective(nn.Module):
    """Every summand of one phase's objective. One module and one forward call, so that DDP sees one graph a step."""

    def __init__(
        self,
        encoder: Encoder,
        data: TrainingData,
        bounds: Mapping[str, Bound],
        *,
        task: bool,
        alternate: bool,
        reference: Pretrained | None,
        stream: tuple[str | int, ...],
        anchored: bool = False,
        together: bool = False,
    ) -> None:
        super().__init__()
        self.model = encoder.model
        self.extra = nn.ModuleDict({name: bound.module for name, bound in bounds.items() if bound.module is not None})
        self.weights = {name: bound.weight for name, bound in bounds.items() if bound.term is not None}
        if task:
            self.weights = {TASK: 1.0, **self.weights}
        self.forwards = 0
        self.tokens = 0
        self._alternate = alternate
        self._rewrites = {name: bound.weights for name, bound in bounds.items() if bound.weights is not None}
        self._encoder = encoder
        self._material = data
        self._bounds = bounds
        drawing = [name for name, bound in bounds.items() if "pairs" in bound.needs and bound.weight > 0]
        self._drawing = dict.fromkeys(drawing, drawing[0]) if drawing else {}  # terms that draw pairs -> their stream
        self._with_head = any("predictions" in bounds[name].needs for name in drawing)
        self._reference = [reference]  # in a list, so that it is no sub-module and no optimiser can ever see it
        self._stream = stream
        self._anchored = anchored
        self.together = together

    def turn(self, number: int) -> tuple[str, ...]:
        """Return which terms are computed in step `number`: all, or, where steps take turns, the task's or the others."""
        return tuple(name for name in self.weights if not self._alternate or (name == TASK) == (number % 2 == 0))

    def round(self, number: int) -> int:
        """Return which of their turns, from 0, those terms have in step `number`; their examples and draws go by it."""
        return number // 2 if self._alternate else number

    def forward(self, micro: Micro, rewritten: bool = False) -> dict[str, Term]:
        """Return the task's term and those of the interventions, unweighted: all, or those whose turn it is.

        Where interventions rewrite weights, this calls itself once more, with what they make of them (`rewritten`).
        """
        if rewritten or not self._rewrites:
            return self._terms(micro)
        weights: dict[str, Tensor] = {key: one for key, one in self.model.named_parameters() if one.requires_grad}
        for name, rewrite in self._rewrites.items():
            names = (*self._stream, name, "weights", micro.phase, self.round(micro.number), micro.index)
            with torch_stream(self._encoder.device, *names):
                made = {key: rewrite(key, one) for key, one in weights.items()}
            if all(made[key] is one for key, one in weights.items()):
                raise RunError(
                    f"The intervention `{name}` rewrites no weight that trains in the phase `{micro.phase}`, so it does"
                    " nothing. Let what it acts on train, or leave it out of the phase."
                )
            weights = made
        swapped = {f"model.{key}": one for key, one in weights.items()}
        return cast(dict[str, Term], functional_call(self, swapped, (micro, True)))

    def _terms(self, micro: Micro) -> dict[str, Term]:
        shared = _Shared()
        place = micro.phase, self.round(micro.number), micro.index
        terms: dict[str, Term] = {}
        for name in self.turn(micro.number):
            weight = self.weights[name]
            names = (*self._stream, name, *place)
            with torch_stream(self._encoder.device, *names), torch.set_grad_enabled(weight > 0):
                stream = (*self._stream, self._drawing.get(name, name), *place)
                step = _Step(self, micro, generator(*stream), name, shared)
                terms[name] = self._term(name, step, micro.phase)
        if micro.void:
            terms = {name: Term(0 * term.total, 0, term.per) for name, term in terms.items()}
        if self._anchored and not any(term.total.requires_grad for term in terms.values()):
            # The other processes go backward and wait for this one, which has nothing of its own to add. One parameter is
            # enough for that, and what gets no gradient stays as it is.
            name = next(name for name in terms if self.weights[name] > 0)
            nothing = 0 * next(one for one in self.parameters() if one.requires_grad).sum()
            terms[name] = replace(terms[name], total=terms[name].total + nothing)
        return terms

    def _term(self, name: str, step: "_Step", phase: str) -> Term:
        if name == TASK:
            kind = self._material.collate.kind
            total, count = kind.loss(cast(Tensor, step.encoded().logits), cast(Tensor, step.batch.labels))
            return Term(total, count, kind.per)
        term = self._bounds[name].term
        assert term is not None
        try:
            return term(step)
        except InputError as error:
            raise diverged(name, f"cannot be computed: {error}", phase, step.number) from error


@dataclass
class _Shared:
    """What the terms of one micro-batch share: the task's forward pass, and pairs with theirs."""

    task: Encoded | None = None
    # Whose they are where each term has its own, language, numbers.
    pairs: dict[tuple[str, str, tuple[int, ...]], tuple[Batch, Batch]] = field(default_factory=dict)
    passes: dict[tuple[int, bool], Encoded] = field(default_factory=dict)  # batch of pairs, with a gradient or not

    def has(self, batch: Batch) -> bool:
        """Return whether a batch is one of the pairs that the terms share."""
        return any(batch is one for pair in self.pairs.values() for one in pair)


class _Step:
    """What one term sees of one micro-batch: the public `interventions.Step`, fed by the objective."""

    def __init__(
        self, objective: Objective, micro: Micro, random: np.random.Generator, name: str, shared: _Shared
    ) -> None:
        self.number = micro.number
        self.batch = micro.batch
        self.random = random
        self.together = objective.together
        self._objective = objective
        self._name = name
        self._shared = shared

    def encoded(self) -> Encoded:
        """Return the states of the task's batch; the first term that asks has them computed, the others share them."""
        if self._shared.task is None:
            with torch.enable_grad():
                self._shared.task = self._run(self.batch, with_head=TASK in self._objective.weights)
        return self._shared.task

    def encode(self, batch: Batch) -> Encoded:
        """Return the states of other text, by one more forward pass; one for all terms that drew the same pairs."""
        return self._pass(batch, with_head=False)

    def classify(self, batch: Batch) -> Encoded:
        """Return the states of other text and its logits, by one more forward pass, shared as those of `encode`."""
        return self._pass(batch, with_head=True)

    def _pass(self, batch: Batch, *, with_head: bool) -> Encoded:
        if not self._shared.has(batch):
            return self._run(batch, with_head)
        key = id(batch), torch.is_grad_enabled()
        if key not in self._shared.passes:
            self._shared.passes[key] = self._run(batch, with_head or self._objective._with_head)
        return self._shared.passes[key]

    def _run(self, batch: Batch, with_head: bool) -> Encoded:
        self._objective.forwards += 1
        self._objective.tokens += batch.tokens
        encoder = self._objective._encoder
        return (encoder.classify if with_head else encoder.encode)(batch.inputs)

    def reference(self, batch: Batch) -> Tensor:
        """Return the pretrained encoder's pooled states of some text."""
        return self._pretrained().states(batch.examples, batch.inputs)

    def pretrained(self, batch: Batch) -> Encoded:
        """Return the pretrained encoder's states of some text, token by token."""
        return self._pretrained().encode(batch.inputs)

    def _pretrained(self) -> Pretrained:
        reference = self._objective._reference[0]
        if reference is None:
            raise InputError(f"The term `{self._name}` uses the reference, so its `Bound` must say it `needs` it.")
        return reference

    def pairs(self, language: str, n: int) -> tuple[Batch, Batch]:
        """Return `n` pairs of a language (or all, if there are fewer), as two batches."""
        pairs, collate = self._objective._material.pairs[language], self._objective._material.collate
        numbers = self._draw(range(len(pairs)), n)
        # Which terms happen to have drawn the same may differ between processes: together, each has its own passes.
        key = self._name if self.together else "", language, tuple(numbers)
        if key not in self._shared.pairs:
            chosen = [pairs[number] for number in numbers]
            both = collate([pair.source for pair in chosen]), collate([pair.target for pair in chosen])
            self._shared.pairs[key] = both
        return self._shared.pairs[key]

    def text(self, language: str, n: int) -> Batch:
        """Return `n` unlabelled texts of a language (or all, if there are fewer)."""
        return self._objective._material.collate(self._draw(self._objective._material.texts[language], n))

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Return a batch of texts that the term has made."""
        return self._objective._material.collate(examples)

    def _draw(self, items: Sequence[T], n: int) -> list[T]:
        return [items[index] for index in self.random.choice(len(items), size=min(n, len(items)), replace=False)]
