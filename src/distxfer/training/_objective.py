"""The objective of a phase: the task's loss and the terms of the interventions, kept separate."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Literal, TypeVar, Union, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from distxfer.data import Batch, Collator, Example, Pair, Picked
from distxfer.encoders import Encoded, Encoder, LowerStates, Reference
from distxfer.errors import InputError, RunError
from distxfer.interventions import BoundIntervention, Term, accept_old_names
from distxfer.languages import canonical
from distxfer.measure import unchecked_values
from distxfer.training._frozen import FrozenStates, frozen_layer
from distxfer.training._history import History
from distxfer.training._processes import Processes
from distxfer.training._settings import Diagnostics, Phase
from distxfer.training._streams import generator, torch_stream

if TYPE_CHECKING:
    from distxfer.training._reference import CachedReference
    from distxfer.training._word_rows import WordRows

T = TypeVar("T")
Pretrained = Union[Reference, "CachedReference"]  # the frozen pretrained encoder

TASK = "task"  # the name of the loss on the labels, beside the names of the interventions


class Diverged(InputError):
    """A loss is not finite: the recipe's settings do not fit, and the run stops before anything is saved."""


def diverged(name: str, problem: str, phase: str, step: int) -> Diverged:
    """Return the error for a term that is not finite, with the settings that may have caused it."""
    weight = "" if name == TASK else f" or `intervention.{name}.weight`"
    return Diverged(
        f"The term `{name}` at step {step} of the phase `{phase}` {problem.rstrip('.')}."
        f" Lower `phase.{phase}.learning_rate`{weight}. The last checkpoint, if there is one, is kept."
    )


@dataclass(frozen=True)
class TrainingData:
    """The training data: labelled examples of the source, pairs by target language, and unlabelled text by language.

    Without unlabelled text, the source has its labelled examples, and a target the translations of its pairs.
    """

    examples: Sequence[Example]
    pairs: Mapping[str, Sequence[Pair]]
    texts: Mapping[str, Sequence[Example]]
    collate: Collator

    def of(self, languages: Sequence[str] | Literal["all"]) -> Sequence[Example]:
        """Return the labelled examples of these languages."""
        if languages == "all":
            return self.examples
        keys = {canonical(language) for language in languages}
        return Picked(self.examples, [place for place, example in enumerate(self.examples) if example.language in keys])

    def to_label(self, bound: BoundIntervention) -> Mapping[str, Sequence[Example] | Sequence[Pair]]:
        """Return what an intervention labels, by language: pairs, of which it labels the translation, or unlabelled text."""
        return self.pairs if "pairs" in bound.needs else self.texts

    def read_by(self, bounds: Iterable[BoundIntervention]) -> Iterator[Example]:
        """Yield the task's examples and all texts that interventions draw, with repetitions."""
        yield from self.examples
        for bound in bounds:
            for language in bound.languages:
                if "pairs" in bound.needs:
                    pairs = self.pairs[language]
                    yield from chain((pair.source for pair in pairs), (pair.target for pair in pairs))
                if "target_text" in bound.needs:
                    yield from self.texts[language]


@dataclass(frozen=True)
class RunContext:
    """What all phases of a run share; `changing` holds the tensors that any of them may change, by their stored names."""

    encoder: Encoder
    data: TrainingData
    processes: Processes
    seed: int
    reference: Pretrained | None
    changing: Mapping[str, Tensor]
    diagnostics: Diagnostics
    history: History
    rewinds: Mapping[str, str]  # phase -> the earlier phase to whose start it rewinds, in the order of the phases
    rows: "WordRows | None"  # of the word embeddings, where these train, but not the entire matrix


@dataclass(frozen=True)
class MicroBatch:
    """One process's shard of one micro-batch. `is_empty`: an empty shard, run only to keep collectives in sync."""

    phase: str
    number: int  # of the optimiser step
    index: int  # of the micro-batch within the step
    batch: Batch
    is_empty: bool = False


class Objective(nn.Module):
    """Every summand of one phase's objective. One module and one forward call, so that DDP sees one graph per step."""

    def __init__(
        self, context: RunContext, phase: Phase, bounds: Mapping[str, BoundIntervention], encoder: Encoder
    ) -> None:
        """Prepare the objective of a phase, in which `bounds` act; it runs the `encoder`."""
        super().__init__()
        self.model = encoder.model
        self.extra = nn.ModuleDict({name: bound.module for name, bound in bounds.items() if bound.module is not None})
        self.weights = {name: bound.weight for name, bound in bounds.items() if bound.term is not None}
        if phase.task:
            self.weights = {TASK: 1.0, **self.weights}
        self.forwards = 0
        self.tokens = 0
        self._alternate = phase.alternate
        self._rewrites = {
            name: bound.replace_weight for name, bound in bounds.items() if bound.replace_weight is not None
        }
        self._encoder = encoder
        self._material = context.data
        self._bounds = bounds
        drawing = [
            name
            for name, bound in bounds.items()
            if "pairs" in bound.needs and bound.labels is None and bound.weight > 0
        ]
        self._drawing = dict.fromkeys(drawing, drawing[0]) if drawing else {}  # terms that draw pairs -> their stream
        self._frozen: FrozenStates | None = None
        if phase.cache_frozen:
            trains = {name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad}
            data = context.data
            self._frozen = FrozenStates(encoder, frozen_layer(encoder, trains), data.examples, data.collate)
        self._reference = [context.reference]  # in a list, so that it is no sub-module, which an optimiser would train
        self._stream = (context.seed, context.processes.rank)
        self._history = context.history
        self._labels: dict[tuple[str, str], tuple[list[int], Tensor]] = {}
        self.synchronized = context.processes.shards_weights
        self._joins_backward = context.processes.size > 1 and not self.synchronized

    def active_terms(self, number: int) -> tuple[str, ...]:
        """Return the terms of step `number`: all, or, where steps alternate, the task's alone or those of the interventions."""
        return tuple(name for name in self.weights if not self._alternate or (name == TASK) == (number % 2 == 0))

    def turn_number(self, number: int) -> int:
        """Return how many turns these terms had before step `number`; it selects their examples and draws."""
        return number // 2 if self._alternate else number

    def bound(self, name: str) -> BoundIntervention:
        """Return an intervention."""
        return self._bounds[name]

    def labelled_rows(self, name: str, language: str) -> tuple[list[int], Tensor]:
        """Return the labels of a term's texts, on the CPU, and the numbers of the texts that have one."""
        if (name, language) not in self._labels:
            rows = self._history.labels(name, language)
            self._labels[name, language] = rows.any(dim=1).nonzero().flatten().tolist(), rows
        return self._labels[name, language]

    def sharing(self, name: str) -> Sequence[BoundIntervention]:
        """Return the interventions whose terms may share a term's passes over pairs, itself among them."""
        # Which terms drew the same pairs may differ between processes: synchronized passes are not shared.
        names = self._drawing if name in self._drawing and not self.synchronized else (name,)
        return [self._bounds[sharing] for sharing in names]

    def parts(self, number: int) -> tuple[tuple[str, ...], ...]:
        """Return the terms of step `number` in parts that share no forward pass, so that one part's can be freed first."""
        names = self.active_terms(number)
        apart = tuple(name for name in names if name != TASK and self._bounds[name].own_passes)
        rest = tuple(name for name in names if name not in apart)
        shares_pairs = any(name in self._drawing for name in rest)
        return (names,) if self._rewrites or shares_pairs or not (apart and rest) else (rest, apart)

    def forward(
        self, micro_batch: MicroBatch, names: Sequence[str] | None = None, rewritten: bool = False
    ) -> dict[str, Term]:
        """Return the unweighted terms of this step, or those of some `names`.

        Where interventions rewrite weights, this calls itself once more with the `rewritten` weights.
        """
        if rewritten or not self._rewrites:
            return self._terms(micro_batch, names or self.active_terms(micro_batch.number))
        weights: dict[str, Tensor] = {
            key: parameter for key, parameter in self.model.named_parameters() if parameter.requires_grad
        }
        for name, rewrite in self._rewrites.items():
            with torch_stream(self._encoder.device, *self._stream, name, "weights", *self._place(micro_batch)):
                rewritten_weights = {key: rewrite(key, weight) for key, weight in weights.items()}
            if all(rewritten_weights[key] is weight for key, weight in weights.items()):
                raise RunError(
                    f"The intervention `{name}` rewrites no weight that trains in the phase `{micro_batch.phase}`: it has no"
                    " effect. Train the weights that it acts on, or leave it out of the phase."
                )
            weights = rewritten_weights
        swapped = {f"model.{key}": weight for key, weight in weights.items()}
        return cast(dict[str, Term], functional_call(self, swapped, (micro_batch, names, True)))

    def _place(self, micro_batch: MicroBatch) -> tuple[str, int, int]:
        """Return what names the random streams of a micro-batch."""
        return micro_batch.phase, self.turn_number(micro_batch.number), micro_batch.index

    def _terms(self, micro_batch: MicroBatch, names: Sequence[str]) -> dict[str, Term]:
        cache = _PassCache()
        place = self._place(micro_batch)
        terms: dict[str, Term] = {}
        for name in names:
            weight = self.weights[name]
            with torch_stream(self._encoder.device, *self._stream, name, *place), torch.set_grad_enabled(weight > 0):
                random = generator(*self._stream, self._drawing.get(name, name), *place)
                step = _Step(self, micro_batch, random, name, cache)
                terms[name] = self._term(name, step, micro_batch.phase)
        if micro_batch.is_empty:
            terms = {name: Term(0 * term.loss_sum, 0, term.per) for name, term in terms.items()}
        if self._joins_backward and not any(term.loss_sum.requires_grad for term in terms.values()):
            # The other processes wait for this one in the backward pass. A gradient of 0 on one parameter is enough.
            name = next(name for name in terms if self.weights[name] > 0)
            nothing = 0 * next(parameter for parameter in self.parameters() if parameter.requires_grad).sum()
            terms[name] = replace(terms[name], loss_sum=terms[name].loss_sum + nothing)
        return terms

    def _term(self, name: str, step: "_Step", phase: str) -> Term:
        if name == TASK:
            task_type = self._material.collate.task_type
            total, count = task_type.loss(cast(Tensor, step.encoded().logits), cast(Tensor, step.batch.labels))
            return Term(total, count, task_type.per)
        term = self._bounds[name].term
        assert term is not None
        try:
            with unchecked_values():  # the loop checks the losses
                return term(step)
        except InputError as error:
            raise diverged(name, f"cannot be computed: {error}", phase, step.number) from error


@dataclass(frozen=True)
class _Pairs:
    """Sentences and their translations, each side as a batch, and both as one."""

    source: Batch
    target: Batch
    both: Batch

    @classmethod
    def of(cls, both: Batch) -> "_Pairs":
        """Return the pairs of a batch that holds the sentences and then, in the same order, their translations."""
        count, widths = len(both) // 2, both.on_host("attention_mask").sum(axis=1)

        def side(rows: slice) -> Batch:
            width = int(widths[rows].max())  # as wide as its own longest text
            inputs = {name: tensor[rows, :width] for name, tensor in both.inputs.items()}
            return Batch(both.examples[rows], inputs, labels=None)

        return cls(side(slice(count)), side(slice(count, None)), both)

    def has(self, batch: Batch) -> bool:
        """Return whether a batch is one of these."""
        return any(batch is side for side in (self.source, self.target, self.both))

    def side(self, encoded: Encoded, batch: Batch) -> Encoded:
        """Return the states of one of the batches, of those of `both`."""
        if batch is self.both:
            return encoded
        first = 0 if batch is self.source else len(self.source)
        return encoded.rows(slice(first, first + len(batch)), batch.inputs["attention_mask"].shape[1])


@dataclass
class _PassCache:
    """The forward passes that the terms of one micro-batch share: of the task's batch, and of pairs."""

    task: Encoded | None = None
    # By term (empty where terms share passes), language and numbers of the pairs.
    pairs: dict[tuple[str, str, tuple[int, ...]], _Pairs] = field(default_factory=dict)
    # By batch, and whether with gradients and with the head.
    passes: dict[tuple[int, bool, bool], Encoded] = field(default_factory=dict)


@accept_old_names("Step")
class _Step:
    """The implementation of the public `interventions.Step` for one term and one micro-batch."""

    def __init__(
        self, objective: Objective, micro_batch: MicroBatch, random: np.random.Generator, name: str, cache: _PassCache
    ) -> None:
        self.number = micro_batch.number
        self.batch = micro_batch.batch
        self.random = random
        self.synchronized = objective.synchronized
        self._objective = objective
        self._name = name
        self._cache = cache

    def encoded(self) -> Encoded:
        """Return the states of the task's batch, from one forward pass for all terms."""
        if self._name != TASK and self._objective.bound(self._name).own_passes:
            raise RunError(
                f"The term `{self._name}` reads the task's forward pass, but its `BoundIntervention` has `own_passes` = true."
            )
        if self._cache.task is None:
            frozen = self._objective._frozen
            with torch.enable_grad():
                lower = frozen.of_task(self.batch) if frozen else None
                self._cache.task = self._run(self.batch, TASK in self._objective.weights, lower=lower)
        return self._cache.task

    def encode(self, batch: Batch) -> Encoded:
        """Return the states of other text, from a forward pass that terms with the same pairs share."""
        return self._pass(batch, with_head=False)

    def classify(self, batch: Batch) -> Encoded:
        """Return the states and logits of other text, from a forward pass that is shared as in `encode`."""
        return self._pass(batch, with_head=True)

    def _pass(self, batch: Batch, *, with_head: bool) -> Encoded:
        """Return the states of a batch; both sides of pairs are one pass, unless the source's states are constants."""
        pairs = next((pairs for pairs in self._cache.pairs.values() if pairs.has(batch)), None)
        if pairs is None:
            return self._run(batch, with_head, [self._objective.bound(self._name)])
        sharing, with_gradients = self._objective.sharing(self._name), torch.is_grad_enabled()
        with_head = with_head or any("predictions" in bound.needs for bound in sharing)
        apart = with_gradients and batch is not pairs.both and all(bound.constant_source for bound in sharing)
        shared = batch if apart else pairs.both
        key = id(shared), with_gradients, with_head
        if key not in self._cache.passes:
            with torch.set_grad_enabled(with_gradients and not (apart and batch is pairs.source)):
                self._cache.passes[key] = self._run(shared, with_head, sharing)
        return self._cache.passes[key] if apart else pairs.side(self._cache.passes[key], batch)

    def _run(
        self,
        batch: Batch,
        with_head: bool,
        readers: Sequence[BoundIntervention] = (),
        lower: LowerStates | None = None,
    ) -> Encoded:
        """Run a batch up to the uppermost layer that its readers need: all layers without readers, or with sharded weights."""
        self._objective.forwards += 1
        self._objective.tokens += batch.tokens
        encoder, frozen = self._objective._encoder, self._objective._frozen
        if frozen and lower is None:
            lower = frozen.of_text(batch.inputs)
        if with_head:
            return encoder.classify(batch.inputs, lower)
        layers = (encoder.layers if reader.layers is None else max(reader.layers) for reader in readers)
        return encoder.encode(batch.inputs, None if self.synchronized else max(layers, default=None), lower)

    def reference(self, batch: Batch) -> Tensor:
        """Return the pretrained encoder's pooled states of some text."""
        return self._pretrained().states(batch.examples, batch.inputs)

    def pretrained(self, batch: Batch) -> Encoded:
        """Return the pretrained encoder's states of some text, token by token."""
        return self._pretrained().encode(batch.inputs)

    def _pretrained(self) -> Pretrained:
        reference = self._objective._reference[0]
        if reference is None:
            raise InputError(
                f"The term `{self._name}` uses the reference, but its `BoundIntervention` does not have it in `needs`."
            )
        return reference

    def sample_pairs(self, language: str, n: int) -> tuple[Batch, Batch]:
        """Return `n` pairs of a language (or all, if there are fewer), as two batches."""
        numbers = self._draw(range(len(self._objective._material.pairs[language])), n)
        pairs = self._pairs(self._name if self.synchronized else "", language, numbers)
        return pairs.source, pairs.target

    def sample_texts(self, language: str, n: int) -> Batch:
        """Return `n` unlabelled texts of a language (or all, if there are fewer)."""
        return self._objective._material.collate(self._draw(self._objective._material.texts[language], n))

    def sample_labelled(self, language: str, n: int) -> tuple[Batch, Tensor]:
        """Return `n` labelled texts of a language (or all, if there are fewer), and their rows of labels."""
        numbers, labels = self._draw_labelled(language, n)
        data = self._objective._material
        items = data.to_label(self._objective.bound(self._name))[language]
        texts = [items[number] for number in numbers]
        return data.collate([text.target if isinstance(text, Pair) else text for text in texts]), labels

    def sample_labelled_pairs(self, language: str, n: int) -> tuple[Batch, Batch, Tensor]:
        """Return `n` labelled pairs of a language (or all, if there are fewer), as two batches, and their rows of labels."""
        if "pairs" not in self._objective.bound(self._name).needs:
            raise RunError(
                f"The term `{self._name}` draws labelled pairs, but its `BoundIntervention` does not have `pairs` in `needs`."
            )
        numbers, labels = self._draw_labelled(language, n)
        pairs = self._pairs(self._name, language, numbers)
        return pairs.source, pairs.target, labels

    def _pairs(self, name: str, language: str, numbers: Sequence[int]) -> _Pairs:
        """Return these pairs of a language, the same ones for the same `name`."""
        key = name, language, tuple(numbers)
        if key not in self._cache.pairs:
            pairs = [self._objective._material.pairs[language][number] for number in numbers]
            both = [*(pair.source for pair in pairs), *(pair.target for pair in pairs)]
            self._cache.pairs[key] = _Pairs.of(self._objective._material.collate(both))
        return self._cache.pairs[key]

    def _draw_labelled(self, language: str, n: int) -> tuple[Sequence[int], Tensor]:
        """Return the numbers of `n` texts or pairs that have a label, and their rows of labels."""
        bound = self._objective.bound(self._name)
        if bound.labels is None or language not in bound.languages:
            raise RunError(
                f"The term `{self._name}` draws labelled texts of `{language}`, but its `BoundIntervention` has no `labels`, or"
                f" no `{language}` in its `languages`."
            )
        numbers, labels = self._objective.labelled_rows(self._name, language)
        drawn = self._draw(numbers, n)
        return drawn, labels[drawn].to(self.batch.inputs["attention_mask"].device)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Return a batch of texts that the term has made; of both sides of pairs, the batch that other terms share."""
        shared = (pairs.both for pairs in self._cache.pairs.values() if pairs.both.examples == tuple(examples))
        return next(shared, None) or self._objective._material.collate(examples)

    def _draw(self, items: Sequence[T], n: int) -> list[T]:
        return [items[index] for index in self.random.choice(len(items), size=min(n, len(items)), replace=False)]
