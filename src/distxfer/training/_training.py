"""A run's training: the parameters of each phase, the phases in order, and resuming after a stop."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import Tensor

from distxfer.data import Example, count_distinct_texts
from distxfer.encoders import Encoder, StateCache
from distxfer.errors import InputError, RunError, listed
from distxfer.interventions import BoundIntervention, Need, every, intervention_class
from distxfer.languages import canonical
from distxfer.training._checkpoint import Position, read_position
from distxfer.training._frozen import check_skips, frozen_layer
from distxfer.training._history import History
from distxfer.training._labels import label_shapes, texts_asked_for
from distxfer.training._loop import PhaseLoop, Report, Watch
from distxfer.training._objective import Pretrained, RunContext, TrainingData
from distxfer.training._processes import Processes
from distxfer.training._reference import CachedReference
from distxfer.training._settings import Cost, Diagnostics, Phase, examples_of, memory_for_step, steps_of
from distxfer.training._word_rows import word_rows

_TIMED = 5  # steps of a phase that are timed for an estimate
# Relative difference allowed between the encoder and its reference before the first step. In bf16 the states of a text depend
# on its batch, by 0.001 in the bundled encoder.
_AT_REST = {"float32": 1e-4, "bf16": 2e-2}
_OF_REFERENCE: frozenset[Need] = frozenset({"reference", "task_reference", "pretrained"})
_MOST_BYTES = 2 * 1024**3  # of states that a run puts into the cache unasked


@dataclass(frozen=True)
class Plan:
    """The steps of a phase, and how many of all parameters train (or of their entries, where some are selected).

    `examples` counts the examples that the loss on the labels reads, with repetitions; `checkpoint_bytes` is the size of
    the phase's largest checkpoint, without a few headers. Of word embeddings, the rows of tokens in the run's texts count as
    parameters that train, or all rows (see `word_rows`).
    """

    phase: str
    steps: int
    examples: int
    trainable_parameters: int
    parameters: int
    checkpoint_bytes: int


class Training:
    """A run's training: `plan` describes it, `estimate` times some steps, `run` trains."""

    def __init__(
        self,
        encoder: Encoder,
        data: TrainingData,
        bounds: Mapping[str, BoundIntervention],
        phases: Mapping[str, Phase],
        processes: Processes,
        seed: int,
        diagnostics: Diagnostics,
        states: Callable[[], StateCache],
        *,
        cached: bool = False,
    ) -> None:
        """Prepare the phases; `states` returns the cache of pretrained states, and `cached` uses it for all texts.

        Raises InputError for a phase that has nothing to optimise, nothing that may train, or settings without effect.
        """
        self.encoder, self.data, self.bounds, self.phases, self.processes = encoder, data, bounds, phases, processes
        self._trains = {name: self._trainable(name, phase) for name, phase in phases.items()}
        for name, phase in phases.items():
            _check_languages(name, phase, data)
            if phase.cache_frozen:
                self._check_frozen(name, phase, self._trains[name])
        if processes.shards_weights:
            self._check_sharded(cached=cached)
        trained = frozenset().union(*self._trains.values())
        rows = None if processes.shards_weights else word_rows(encoder, data, [*bounds.values()], trained)
        self._weights: dict[str, Tensor] = dict(encoder.model.named_parameters())  # as they are while phases train
        if rows is not None:
            self._weights[rows.name] = rows.weight
        self._entries = {name: self._selected(name, phase) for name, phase in phases.items()}
        changing = {key: weight for key, weight in self._weights.items() if key in trained}
        if rows is not None:
            changing[f"{rows.name}.decay"] = rows.decay
        for name, bound in bounds.items():
            if bound.module is not None:
                module = bound.module.to(processes.device)
                tensors = (*module.named_parameters(), *module.named_buffers())
                changing |= {f"{name}/{key}": tensor for key, tensor in tensors}
        # The matrix from which `rows` are taken changes after the last step only.
        reference = self._reference(trained - {rows.name} if rows else trained, states, cached=cached)
        rewinds = {name: phase.rewind for name, phase in phases.items() if phase.rewind}
        self._context = RunContext(
            encoder, data, processes, seed, reference, changing, diagnostics, History(), rewinds, rows
        )

    def plan(self) -> list[Plan]:
        """Return the plan of each phase."""
        examples = {name: len(self.data.of(phase.languages)) for name, phase in self.phases.items()}
        parameters = _numel([*self.encoder.model.parameters(), *_module_weights(self.bounds)])
        return [
            Plan(
                phase=name,
                steps=steps_of(phase, examples[name]),
                examples=examples_of(phase, examples[name]),
                trainable_parameters=self._entries[name] + _numel(_module_weights(self.active(phase))),
                parameters=parameters,
                checkpoint_bytes=self._checkpoint_bytes(name, phase),
            )
            for name, phase in self.phases.items()
        ]

    def texts_for_labels(self) -> list[Sequence[Example]]:
        """Return the texts that the model reads as phases begin, since interventions ask for its labels."""
        return [
            texts
            for phase in self.phases.values()
            for bound in self.active(phase).values()
            for texts in texts_asked_for(bound, self.data, self.encoder)
        ]

    def estimate(self) -> tuple[float, int]:
        """Return the estimated seconds of all phases, and how many steps were timed; no weight changes.

        The timed steps are spread evenly over the phase, since batches and drawn languages differ, and include both steps of
        a turn. One step before them warms up.
        """
        total, steps = 0.0, 0
        with self._word_rows_installed():
            for number, name in enumerate(self.phases):
                loop = self._loop(number, name)
                loop.assume_labels()
                timed = {loop.steps * part // _TIMED for part in range(_TIMED)}
                if loop.phase.alternate:
                    timed |= {step ^ 1 for step in timed if step ^ 1 < loop.steps}
                with memory_for_step(name, 0):
                    loop.gradients(0, None)[0].tolist()  # which waits for the device
                started = time.perf_counter()
                for step in sorted(timed):
                    loop.module.zero_grad()
                    with memory_for_step(name, step):
                        totals, _ = loop.gradients(step, None)
                totals.tolist()
                total += (time.perf_counter() - started) / len(timed) * loop.steps
                steps += len(timed)
                loop.close()
        self._context.history.forget(())
        return total, steps

    def run(
        self, folder: Path, report: Report, watch: Watch, notice: Callable[[str], None] = lambda text: None
    ) -> Cost:
        """Train all phases, or resume from the checkpoint in `folder`; return the total cost.

        `log.jsonl` gets one line per step, with the values that `watch` returns in the steps in which states are measured. A
        checkpoint is written at ends of epochs. A damaged one, or one of another arithmetic, is not used; `notice` is told.

        Raises Diverged for a loss that is not finite (the last checkpoint stays), RunError for a term without effect.
        """
        position = read_position(folder, self.processes, notice) if self.processes.is_main else None
        resumed = self.processes.broadcast(position)
        start, reference = resumed or Position(0, 0, Cost()), self._context.reference
        if resumed:
            notice(f"Resuming from the checkpoint: phase `{list(self.phases)[start.phase]}`, after step {start.step}.")
        cost, started = start.cost, time.perf_counter()

        def clock() -> float:
            return start.cost.seconds + time.perf_counter() - started

        if isinstance(reference, CachedReference):
            reference.fill()
        self.check_reference()
        if resumed and reference is not None:
            reference.forwards = 0  # the checkpoint's cost includes these passes
        with self._word_rows_installed():
            for number, name in enumerate(self.phases):
                if number < start.phase:
                    continue
                loop = self._loop(number, name)
                first = start.step if number == start.phase else 0
                cost = loop.run(first, cost, clock, folder, report, watch)
                loop.close()
        return replace(cost, seconds=clock(), peak_memory_mb=max(cost.peak_memory_mb, self.processes.peak_memory_mb()))

    def check_reference(self) -> None:
        """Raise RunError unless the reference equals the encoder before the first step, so that drift starts at 0.

        Cached states that have not been computed yet are not checked.
        """
        reference = self._context.reference
        if reference is None or (isinstance(reference, CachedReference) and not reference.is_filled):
            return
        batch = self.data.collate(list(self.data.examples[:8]))
        with self.processes.autocast():
            now, _ = self.encoder.states([batch.inputs])
            before = reference.states(batch.examples, batch.inputs).cpu()
        difference = float((now - before).norm() / before.norm())
        if not difference <= _AT_REST[self.processes.precision]:
            raise RunError(
                f"The reference encoder differs from the encoder before the first step by {difference:.2g} of its norm;"
                " expected 0. Drift would be measured from the wrong place."
            )

    def own_weights(self) -> dict[str, Tensor]:
        """Return the weights of the interventions' modules, as `NAME.PARAMETER`, to be saved with the result."""
        return {
            f"{name}.{key}": value.detach().cpu().contiguous()
            for name, bound in self.bounds.items()
            if bound.module is not None
            for key, value in bound.module.state_dict().items()
        }

    def active(self, phase: Phase) -> dict[str, BoundIntervention]:
        """Return the interventions that a phase uses."""
        if phase.interventions == "all":
            return dict(self.bounds)
        return {name: bound for name, bound in self.bounds.items() if name in phase.interventions}

    def _word_rows_installed(self) -> AbstractContextManager[None]:
        """Return a context in which the encoder has the word embeddings that train."""
        return nullcontext() if self._context.rows is None else self._context.rows.installed(self.encoder)

    def _loop(self, number: int, name: str) -> PhaseLoop:
        phase = self.phases[name]
        return PhaseLoop(self._context, number, name, phase, self.active(phase), self._trains[name])

    def _trainable(self, name: str, phase: Phase) -> set[str]:
        """Return the parameters that this phase trains; refuse a restriction without effect, or one that leaves nothing."""
        names = [key for key, _ in self.encoder.model.named_parameters()]
        allowed = set(names)
        if not phase.task and not any(bound.term and bound.weight > 0 for bound in self.active(phase).values()):
            raise InputError(
                f"The phase `{name}` has nothing to optimise: neither `task = true` nor a term with a weight above 0."
            )
        self._check_settings(name, phase)
        if self.encoder.adapters:
            acting = self.active(phase)
            resting = (bound.adapters for label, bound in self.bounds.items() if label not in acting)
            allowed &= self.encoder.adapters.difference(*resting)
        if not self.encoder.train_word_embeddings:
            allowed -= {key for key in names if self.encoder.is_word_embedding(key)}
        for intervention, bound in self.active(phase).items():
            if bound.trains is every:
                continue
            trainable = {key for key in allowed if bound.trains(key)}
            if trainable == allowed:
                raise InputError(
                    f"The intervention `{intervention}` freezes no parameter that trains in the phase `{name}`: it has no effect."
                )
            allowed = trainable
        for intervention, bound in self.active(phase).items():
            if bound.adapters and not bound.adapters & allowed:
                raise InputError(
                    f"All parameters that the intervention `{intervention}` adds to the encoder are frozen by other interventions"
                    f" in the phase `{name}`. Freeze fewer layers, or leave one of the two out."
                )
        if not allowed:
            raise InputError(
                f"Nothing may train in the phase `{name}`: its interventions freeze all {len(names)} parameters."
            )
        return allowed

    def _check_frozen(self, name: str, phase: Phase, trains: Set[str]) -> None:
        """Refuse to cache the states below the lowest layer that trains where there are none, or where a term reads others."""
        key = f"`phase.{name}.cache_frozen`"
        layer = frozen_layer(self.encoder, trains)
        if layer == 0:
            raise InputError(
                f"{key} caches the states below the lowest layer that trains, and here the lowest layer or the embeddings"
                " train. Set it to false, or freeze lower layers, such as by `intervention.freeze.layers=lower_half"
                " intervention.freeze.embeddings=true`."
            )
        if self.processes.shards_weights:
            raise InputError(
                f"{key} needs full weights, and this launch shards them over the processes. Set it to false."
            )
        for intervention, bound in self.active(phase).items():
            if bound.layers is not None and min(bound.layers) < layer:
                raise InputError(
                    f"The intervention `{intervention}` reads the states of layer {min(bound.layers)}, and {key} computes"
                    f" the layers from {layer} on alone. Choose higher layers for it, or set {key} to false."
                )
        check_skips(self.encoder, layer, self.data.collate(list(self.data.examples[:2])).inputs)

    def _selected(self, name: str, phase: Phase) -> int:
        """Return how many entries of the encoder this phase trains, the fewest that any of its interventions selects."""
        sizes = {key: weight.numel() for key, weight in self._weights.items() if key in self._trains[name]}
        counts = [sum(sizes.values())]
        for intervention, bound in self.active(phase).items():
            if bound.selects is not None:
                try:
                    counts.append(bound.selects(sizes))
                except InputError as error:
                    raise InputError(f"`intervention.{intervention}`: {error}") from error
        return min(counts)

    def _checkpoint_bytes(self, name: str, phase: Phase) -> int:
        """Return the size in bytes of the largest checkpoint of this phase."""
        weights = {key: weight for key, weight in self._weights.items() if key in self._context.changing}
        trained = [parameter for key, parameter in weights.items() if key in self._trains[name]]
        updated = [*trained, *_module_weights(self.active(phase))]
        order = [*self.phases]
        earlier, later = order[: order.index(name) + 1], order[order.index(name) :]
        starts = {self.phases[phase].rewind for phase in later} & {*earlier} | ({name} if phase.merge else set())
        masks = any(bound.entries for bound in self.active(phase).values())
        labels = [
            shape for bound in self.active(phase).values() for _, shape in label_shapes(bound, self.data, self.encoder)
        ]
        return (
            _bytes(self._context.changing.values())
            + (3 if phase.average else 2) * _bytes(updated)  # both moments of AdamW, and the running mean
            + len(starts) * _bytes(weights.values())
            + masks * _numel(trained)  # a byte for each entry
            + 4 * sum(math.prod(shape) for shape in labels)
        )

    def _check_batches(self, name: str, phase: Phase) -> None:
        """Refuse a phase whose batches are too small for a term that is computed on the task's batches."""
        for intervention, bound in self.active(phase).items():
            fewest = bound.min_distinct_texts
            if fewest <= 1 or bound.needs & {"pairs", "target_text"}:
                continue
            examples = self.data.of(phase.languages)
            available = count_distinct_texts(examples, fewest)
            rows = min(phase.batch_size, len(examples)) // self.processes.size
            if rows < fewest:
                shared = f" shared by {self.processes.size} processes" if self.processes.size > 1 else ""
                raise InputError(
                    f"The intervention `{intervention}` contributes nothing in a batch with fewer than {fewest} texts,"
                    f" and `phase.{name}.batch_size` = `{phase.batch_size}`{shared} gives {rows} at most. Set it to at least"
                    f" {fewest * self.processes.size}, or {_fewer(intervention)}."
                )
            if available < fewest:
                raise InputError(
                    f"The intervention `{intervention}` contributes nothing in a batch with fewer than {fewest}"
                    f" different texts, and the training data has {available} in all. Give more, or"
                    f" {_fewer(intervention)}."
                )

    def _check_settings(self, name: str, phase: Phase) -> None:
        """Refuse settings that would have no effect, or that do not fit the weights that train."""
        self._check_batches(name, phase)
        terms = [name for name, bound in self.active(phase).items() if bound.term and bound.weight > 0]
        if phase.alternate and not (phase.task and terms):
            raise InputError(
                f"`phase.{name}.alternate` lets the task's loss and the interventions' terms take turns, and this phase has"
                f" no {'term with a weight above 0' if phase.task else 'task'}. Leave it out."
            )
        active = self.active(phase)
        if phase.rewind and not any(bound.entries or bound.module or bound.labels for bound in active.values()):
            raise InputError(
                f"`phase.{name}.rewind` undoes what has been trained since the phase `{phase.rewind}` began, and no"
                f" intervention of `{name}` uses those changes, as `sparse` or `self_training` does. Leave it out."
            )
        if phase.merge and self.encoder.adapters:
            raise InputError(
                f"`phase.{name}.merge` = `{phase.merge}` interpolates the encoder's own weights, which are frozen under adapters;"
                " expected 0. Leave it out, or remove the adapters from the recipe."
            )
        for intervention, bound in active.items():
            for is_refused, problem in (
                (
                    bound.entries is not None and not phase.rewind,
                    f"selects entries by what an earlier phase has changed. Name that phase in `phase.{name}.rewind`.",
                ),
                (
                    "weights" in bound.needs and bool(self.encoder.adapters),
                    "acts on the encoder's own weights, which are frozen under adapters. Remove one of the two from the"
                    " recipe.",
                ),
                (
                    bound.replace_weight is not None and self.encoder.gradient_checkpointing,
                    "replaces the encoder's weights during a forward pass, and `model.gradient_checkpointing` = `true`"
                    " recomputes the blocks without the replacement. Set it to false.",
                ),
            ):
                if is_refused:
                    raise InputError(f"The intervention `{intervention}` {problem}")

    def _check_sharded(self, *, cached: bool) -> None:
        """Refuse interventions that need full weights, or a second model, in each process while the weights are sharded."""
        for intervention, bound in self.bounds.items():
            if bound.needs & {"reference", "pretrained"} == {"reference"} and not cached:
                raise InputError(
                    f"This launch shards the weights over the processes, and `{intervention}` would need the full pretrained"
                    " encoder in each of them. Set `model.reference=cached`."
                )
            for needs_full_weights, feature in (
                (bound.module is not None, "has weights of its own"),
                (bound.entries is not None, "selects entries of weights"),
                (bound.labels is not None, "labels text by the whole model"),
                (bound.replace_weight is not None, "replaces weights in forward passes"),
                ("encoder" in bound.needs, "reads weights directly"),
                ("pretrained" in bound.needs, "reads the pretrained encoder's states of every token"),
            ):
                if needs_full_weights:
                    raise InputError(
                        f"This launch shards the weights over the processes, and the intervention `{intervention}` {feature},"
                        " which needs full weights. Launch with `accelerate launch --multi_gpu`, or leave the intervention out."
                    )

    def _reference(self, moves: Set[str], states: Callable[[], StateCache], *, cached: bool) -> Pretrained | None:
        """Return the reference; refuse cached states that no intervention reads, or that are not cached.

        A live one need not be: where terms read the states of the task's texts alone, each of them in a phase at least
        once, they are computed before the first step, if there is place for them.
        """
        needs_reference = {name: bound.needs & _OF_REFERENCE for name, bound in self.bounds.items()}
        needs = frozenset().union(*needs_reference.values())
        if not cached:
            if not needs:
                return None
            if needs != {"task_reference"} or not (self.processes.shards_weights or self._reads_all_examples()):
                return self.encoder.reference(moves.__contains__)
        if not needs:
            raise InputError(
                "`model.reference` = `cached` has no effect, since no intervention of the recipe reads states of the pretrained"
                " encoder. Leave it out, or add one that does, such as `intervention.drift.weight=1`."
            )
        for name, needs in needs_reference.items():
            if "pretrained" in needs:
                raise InputError(
                    f"The intervention `{name}` reads the pretrained encoder's states of every token, and `model.reference` ="
                    " `cached` has pooled states only. Set it to `live`."
                )
        return CachedReference(
            self.encoder, self.data, self.bounds, self.processes, states, may_stay_in_memory=not cached
        )

    def _reads_all_examples(self) -> bool:
        """Return whether terms read the pretrained states of every example, and these are not too many to be kept."""
        examples = len(self.data.examples)
        reads = max(
            steps_of(phase, len(self.data.of(phase.languages))) * phase.batch_size * phase.accumulation
            for phase in self.phases.values()
            if any("task_reference" in bound.needs for bound in self.active(phase).values())
        )
        return reads >= examples and examples * 4 * (self.encoder.layers + 1) * self.encoder.hidden_size <= _MOST_BYTES


def _check_languages(name: str, phase: Phase, data: TrainingData) -> None:
    """Refuse a phase with the labelled text of a language that has none."""
    if phase.languages == "all":
        return
    spoken = {example.language: None for example in data.examples}
    if not phase.languages:
        raise InputError(f"`phase.{name}.languages` is empty. Name some of {listed(spoken)}, or write `all`.")
    for language in phase.languages:
        if canonical(language) not in spoken:
            raise InputError(
                f"`phase.{name}.languages` names `{language}`, of which the run has no labelled text. It has:"
                f" {listed(spoken)}. Add it to `task.source`, or set `task.shots`."
            )


def _fewer(intervention: str) -> str:
    """Return how a recipe does without so many texts in a batch."""
    has_measure = "measure" in {field.name for field in fields(intervention_class(intervention))}  # type: ignore[arg-type]
    return f"choose an `intervention.{intervention}.measure` that needs fewer" if has_measure else "leave it out"


def _module_weights(bounds: Mapping[str, BoundIntervention]) -> list[Tensor]:
    """Return the weights of the interventions' own modules."""
    return [
        parameter for bound in bounds.values() if bound.module is not None for parameter in bound.module.parameters()
    ]


def _numel(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
