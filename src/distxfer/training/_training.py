"""A run's training: what each phase trains, the phases one after the other, and going on after a stop."""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from torch import Tensor

from distxfer.encoders import Encoder, StateCache
from distxfer.errors import InputError, RunError
from distxfer.interventions import Bound, every
from distxfer.training._checkpoint import Position, read_position
from distxfer.training._history import History
from distxfer.training._loop import PhaseLoop, Report, Shared, Watch
from distxfer.training._objective import Pretrained, TrainingData
from distxfer.training._processes import Processes
from distxfer.training._reference import CachedReference
from distxfer.training._settings import Cost, Diagnostics, Phase, examples_of, memory_for_step, steps_of

_TIMED = 5  # steps of a phase that an estimate of its time is made from
# Relative difference allowed between the encoder and its reference before the first step; in bf16, what stands beside a text
# in its batch makes one of 0.001 in the bundled encoder.
_AT_REST = {"float32": 1e-4, "bf16": 2e-2}


@dataclass(frozen=True)
class Plan:
    """What a phase will do: its steps, and how many of so many parameters train, or entries of them if some are selected.

    `examples` counts those that the loss on the labels goes over, each as often as it does; `checkpoint_bytes` is the size
    of the phase's largest checkpoint, a few headers apart.
    """

    phase: str
    steps: int
    examples: int
    trainable_parameters: int
    parameters: int
    checkpoint_bytes: int


class Training:
    """A run's training: `plan` says what it will do, `estimate` how long a step takes, `run` does it."""

    def __init__(
        self,
        encoder: Encoder,
        data: TrainingData,
        bounds: Mapping[str, Bound],
        phases: Mapping[str, Phase],
        processes: Processes,
        seed: int,
        diagnostics: Diagnostics,
        states: StateCache | None = None,
    ) -> None:
        """Make the phases ready; `states`: where pretrained states are kept, in place of a second encoder.

        Raises InputError for a phase that has nothing to optimise, nothing that may train, or settings without effect.
        """
        self.encoder, self.data, self.bounds, self.phases, self.processes = encoder, data, bounds, phases, processes
        self._trains = {name: self._trainable(name, phase) for name, phase in phases.items()}
        self._entries = {name: self._selected(name, phase) for name, phase in phases.items()}
        if processes.shards_weights:
            self._check_divided(live=states is None)
        moves = frozenset().union(*self._trains.values())
        moving: dict[str, Tensor] = {
            name: parameter for name, parameter in encoder.model.named_parameters() if name in moves
        }
        for name, bound in bounds.items():
            if bound.module is not None:
                own = bound.module.to(processes.device)
                moving |= {f"{name}/{key}": one for key, one in (*own.named_parameters(), *own.named_buffers())}
        reference = self._reference(moves, states)
        returns = {name: phase.rewind for name, phase in phases.items() if phase.rewind}
        self._shared = Shared(encoder, data, processes, seed, reference, moving, diagnostics, History(), returns)

    def plan(self) -> list[Plan]:
        """Return what each phase will do."""
        examples, everything = len(self.data.examples), [*self.encoder.model.parameters(), *_own(self.bounds)]
        return [
            Plan(
                phase=name,
                steps=steps_of(phase, examples),
                examples=examples_of(phase, examples),
                trainable_parameters=self._entries[name] + sum(one.numel() for one in _own(self.active(phase))),
                parameters=sum(one.numel() for one in everything),
                checkpoint_bytes=self._checkpoint_bytes(name, phase),
            )
            for name, phase in self.phases.items()
        ]

    def estimate(self) -> tuple[float, int]:
        """Return the seconds that all phases will take, and from how many steps of theirs, which change nothing.

        The steps lie evenly over the phase, since batches and drawn languages differ, with both steps of a turn; one before
        them warms up.
        """
        total, steps = 0.0, 0
        for number, name in enumerate(self.phases):
            loop = self._loop(number, name)
            timed = {loop.steps * part // _TIMED for part in range(_TIMED)}
            if loop.phase.alternate:
                timed |= {step ^ 1 for step in timed if step ^ 1 < loop.steps}
            with memory_for_step(name, 0):
                loop.gradients(0, None)
            started = time.perf_counter()
            for step in sorted(timed):
                loop.module.zero_grad()
                with memory_for_step(name, step):
                    loop.gradients(step, None)
            total += (time.perf_counter() - started) / len(timed) * loop.steps
            steps += len(timed)
            loop.close()
        return total, steps

    def run(
        self, folder: Path, report: Report, watch: Watch, notice: Callable[[str], None] = lambda text: None
    ) -> Cost:
        """Train through all phases, or on from the checkpoint in `folder`; return what it cost in all.

        `log.jsonl` gets one line a step, with what `watch` returns in those in which states are to be looked at. A
        checkpoint is written about once an epoch; `notice` is told of one that is damaged, and not gone on from.

        Raises Diverged for a loss that is not finite (the last checkpoint stays), RunError for a term without effect.
        """
        resumed = self.processes.broadcast(read_position(folder, notice) if self.processes.is_main else None)
        start, reference = resumed or Position(0, 0, Cost()), self._shared.reference
        started = time.perf_counter()
        if isinstance(reference, CachedReference):
            reference.fill()
        self.check_reference()
        cost = start.cost
        if not resumed:
            cost = replace(cost, seconds=time.perf_counter() - started)
        elif reference is not None:
            reference.forwards = 0  # the checkpoint's cost has these passes
        for number, name in enumerate(self.phases):
            if number < start.phase:
                continue
            loop = self._loop(number, name)
            first = start.step if number == start.phase else 0
            cost = loop.run(first, cost, folder, report, watch)
            loop.close()
        return replace(cost, peak_memory_mb=max(cost.peak_memory_mb, self.processes.peak_memory_mb()))

    def check_reference(self) -> None:
        """Raise RunError unless the reference is the encoder as it is before the first step, so that drift starts at 0.

        What has not been computed yet, as before training with `model.reference = "cached"`, is not looked at.
        """
        reference = self._shared.reference
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
        """Return the weights that interventions have of their own, as `NAME.PARAMETER`, to be saved with the result."""
        return {
            f"{name}.{key}": value.detach().cpu().contiguous()
            for name, bound in self.bounds.items()
            if bound.module is not None
            for key, value in bound.module.state_dict().items()
        }

    def active(self, phase: Phase) -> dict[str, Bound]:
        """Return the interventions that a phase uses."""
        if phase.interventions == "all":
            return dict(self.bounds)
        return {name: bound for name, bound in self.bounds.items() if name in phase.interventions}

    def _loop(self, number: int, name: str) -> PhaseLoop:
        phase = self.phases[name]
        return PhaseLoop(self._shared, number, name, phase, self.active(phase), self._trains[name])

    def _trainable(self, name: str, phase: Phase) -> set[str]:
        """Return the parameters that this phase trains; refuse a restriction that restricts nothing, or everything."""
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
            kept = {key for key in allowed if bound.trains(key)}
            if kept == allowed:
                raise InputError(
                    f"The intervention `{intervention}` keeps nothing from training in the phase `{name}`: no effect."
                )
            allowed = kept
        for intervention, bound in self.active(phase).items():
            if bound.adapters and not bound.adapters & allowed:
                raise InputError(
                    f"The intervention `{intervention}` has nothing that may train in the phase `{name}`, since others freeze all"
                    " that it has put into the encoder. Freeze fewer layers, or leave one of the two out."
                )
        if not allowed:
            raise InputError(
                f"Nothing may train in the phase `{name}`: its interventions freeze all {len(names)} parameters."
            )
        return allowed

    def _selected(self, name: str, phase: Phase) -> int:
        """Return how many entries of the encoder this phase trains, the fewest that any of its interventions selects."""
        weights = self.encoder.model.named_parameters()
        sizes = {key: one.numel() for key, one in weights if key in self._trains[name]}
        counts = [sum(sizes.values())]
        for intervention, bound in self.active(phase).items():
            if bound.selects is not None:
                try:
                    counts.append(bound.selects(sizes))
                except InputError as error:
                    raise InputError(f"`intervention.{intervention}`: {error}") from error
        return min(counts)

    def _checkpoint_bytes(self, name: str, phase: Phase) -> int:
        """Return the size of what a checkpoint of this phase holds, in bytes, once it holds most."""
        weights = {key: one for key, one in self.encoder.model.named_parameters() if key in self._shared.moving}
        trained = [one for key, one in weights.items() if key in self._trains[name]]
        updated = [*trained, *_own(self.active(phase))]
        order = [*self.phases]
        earlier, later = order[: order.index(name) + 1], order[order.index(name) :]
        starts = {self.phases[one].rewind for one in later} & {*earlier}
        masks = any(bound.entries for bound in self.active(phase).values())
        return (
            _bytes(self._shared.moving.values())
            + (3 if phase.average else 2) * _bytes(updated)  # both moments of AdamW, and the running mean
            + len(starts) * _bytes(weights.values())
            + masks * sum(one.numel() for one in trained)  # a byte for each entry
        )

    def _check_batches(self, name: str, phase: Phase) -> None:
        """Refuse a phase in which a term looks at the task's batches, and none of them can hold as many texts as it needs."""
        for intervention, bound in self.active(phase).items():
            if bound.distinct <= 1 or bound.needs & {"pairs", "target_text"}:
                continue
            texts = islice(_unique((one.text, one.text_pair) for one in self.data.examples), bound.distinct)
            rows = min(phase.batch_size, len(self.data.examples)) // self.processes.size
            if rows < bound.distinct:
                shared = f" shared by {self.processes.size} processes" if self.processes.size > 1 else ""
                raise InputError(
                    f"The intervention `{intervention}` contributes nothing in a batch with fewer than {bound.distinct} texts,"
                    f" and `phase.{name}.batch_size` = `{phase.batch_size}`{shared} gives {rows} at most. Set it to at least"
                    f" {bound.distinct * self.processes.size}, or another `intervention.{intervention}.measure`."
                )
            if (found := sum(1 for _ in texts)) < bound.distinct:
                raise InputError(
                    f"The intervention `{intervention}` contributes nothing in a batch with fewer than {bound.distinct}"
                    f" different texts, and the training data has {found} in all. Give more, or set another"
                    f" `intervention.{intervention}.measure`."
                )

    def _check_settings(self, name: str, phase: Phase) -> None:
        """Refuse what would have no effect, or is asked of the wrong weights."""
        self._check_batches(name, phase)
        terms = [one for one, bound in self.active(phase).items() if bound.term and bound.weight > 0]
        if phase.alternate and not (phase.task and terms):
            raise InputError(
                f"`phase.{name}.alternate` lets the task's loss and the interventions' terms take turns, and this phase has"
                f" no {'term with a weight above 0' if phase.task else 'task'}. Leave it out."
            )
        active = self.active(phase)
        if phase.rewind and not any(bound.entries or bound.module for bound in active.values()):
            raise InputError(
                f"`phase.{name}.rewind` undoes what has been trained since the phase `{phase.rewind}` began, and no"
                f" intervention of `{name}` looks at it first, as `sparse` does: it would be in vain. Leave it out."
            )
        names = [*self.phases]
        by_now = [self.phases[one] for one in names[: names.index(name) + 1]]
        new_head = not (self.encoder.head_is_loaded or any(one.task for one in by_now))
        for intervention, bound in active.items():
            if new_head and intervention in terms and "predictions" in bound.needs:
                raise InputError(
                    f"The intervention `{intervention}` compares what the head predicts, and up to the phase `{name}` nothing has"
                    f" trained the head. Set `phase.{name}.task=true`, or let a phase with the task come first."
                )
            if bound.entries is not None and not phase.rewind:
                raise InputError(
                    f"The intervention `{intervention}` selects entries by what an earlier phase has changed. Name that"
                    f" phase in `phase.{name}.rewind`."
                )
            if "weights" in bound.needs and self.encoder.adapters:
                raise InputError(
                    f"The intervention `{intervention}` acts on the encoder's own weights, which do not train where there"
                    " are adapters. Take one of the two out of the recipe."
                )
            if bound.weights is not None and self.encoder.gradient_checkpointing:
                raise InputError(
                    f"The intervention `{intervention}` puts other weights in the place of the encoder's for a forward pass,"
                    " and `model.gradient_checkpointing` = `true` computes the blocks again without them. Set it to false."
                )

    def _check_divided(self, *, live: bool) -> None:
        """Refuse what needs a weight, or a second model, whole in each process while the weights are divided."""
        for intervention, bound in self.bounds.items():
            if bound.needs & {"reference", "pretrained"} == {"reference"} and live:
                raise InputError(
                    f"This launch divides the weights among the processes, and `{intervention}` would run the pretrained encoder"
                    " beside them, whole. Set `model.reference=cached`."
                )
            asks = {
                "has weights of its own": bound.module is not None,
                "selects entries of weights": bound.entries is not None,
                "puts other weights in their place": bound.weights is not None,
                "reads weights by itself": "encoder" in bound.needs,
                "looks at the pretrained encoder token by token": "pretrained" in bound.needs,
            }
            for what, does in asks.items():
                if does:
                    raise InputError(
                        f"This launch divides the weights among the processes, and the intervention `{intervention}` {what},"
                        " which is possible only where they are whole. Launch with `accelerate launch --multi_gpu`, or leave it"
                        " out."
                    )

    def _reference(self, moves: Set[str], states: StateCache | None) -> Pretrained | None:
        """Return what drift is measured from; refuse to look up states that nobody asks for, or that are not kept."""
        looking = {name: bound.needs & {"reference", "pretrained"} for name, bound in self.bounds.items()}
        needed = any(looking.values())
        if states is None:
            return self.encoder.reference(moves.__contains__) if needed else None
        if not needed:
            raise InputError(
                "`model.reference` = `cached` has no effect, since no intervention of the recipe looks at the pretrained"
                " encoder. Leave it out, or add one that does, such as `intervention.drift.weight=1`."
            )
        for name, needs in looking.items():
            if "pretrained" in needs:
                raise InputError(
                    f"The intervention `{name}` looks at the pretrained encoder token by token, and `model.reference` ="
                    " `cached` keeps pooled states alone. Set it to `live`."
                )
        return CachedReference(self.encoder, self.data, self.bounds, self.processes, states)


def _unique(items: Iterable[Hashable]) -> Iterator[Hashable]:
    """Yield each item once."""
    seen: set[Hashable] = set()
    for item in items:
        if item not in seen:
            seen.add(item)
            yield item


def _own(bounds: Mapping[str, Bound]) -> list[Tensor]:
    """Return the weights that interventions have of their own."""
    return [one for bound in bounds.values() if bound.module is not None for one in bound.module.parameters()]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(one.numel() * one.element_size() for one in tensors)
