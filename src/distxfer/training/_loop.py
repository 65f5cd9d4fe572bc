"""The loop over the steps of one phase: exact accumulation, and guards against doing nothing silently.

A step waits for no result from the device: what the log and the guards need of it stays there and is read some steps
later, with one transfer (`PhaseLoop._read`).
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from distxfer.data import epoch_order
from distxfer.encoders import Reference
from distxfer.errors import LESS_MEMORY, InputError, RunError, enough_memory
from distxfer.interventions import BoundIntervention, Term
from distxfer.training._checkpoint import LOG, Position, read_checkpoint, write_checkpoint
from distxfer.training._diagnostics import gradient_diagnostics
from distxfer.training._labels import PhaseTeacher, label_shapes
from distxfer.training._objective import TASK, Diverged, MicroBatch, Objective, RunContext, diverged
from distxfer.training._settings import Cost, Phase, memory_for_step, steps_of
from distxfer.training._streams import generator
from distxfer.training._weights import Gradients, ShardedWeights, Weights, all_finite, full_tensor

Report = Callable[[str, int, int, float], None]  # phase, steps done, all steps, loss of the last step that was read
Watch = Callable[[], Mapping[str, float]]  # measurements of the present encoder, by their names in the log

_REFERENCE = "reference"  # in a checkpoint, by rank: the texts that the process has asked the reference for
_MOVED = 2  # optimiser steps after which the weights have changed for certain
_PATIENCE = 10  # steps with a count above 0 within which a term must have a gradient
_UNREAD = 20  # steps whose values stay on the device at most
# Writing a checkpoint takes about a second for 300 MB: at this rate, a thirtieth of the time of training at most.
_BYTES_PER_SECOND = 10**7
_SMALL = 2**24  # bytes of a checkpoint that is written after each epoch


@dataclass(frozen=True)
class _Step:
    """A step whose `totals` (in this process), gradient `norm` and `logs` are still on the device.

    `acting`: of each term with a count above 0 and no gradient so far, in how many micro-batches of this process it has one.
    """

    number: int
    learning_rate: float
    counts: Mapping[str, float]  # of each term, over the whole step
    totals: Tensor
    norm: Tensor
    acting: Mapping[str, Tensor]
    logs: Mapping[str, float | Tensor]
    numbers: Mapping[str, float]  # for the log: empty micro-batches and diagnostics


class PhaseLoop:
    """The loop over the steps of one phase."""

    def __init__(
        self,
        context: RunContext,
        number: int,
        name: str,
        phase: Phase,
        bounds: Mapping[str, BoundIntervention],
        trains: set[str],
    ) -> None:
        """Prepare phase `number`, called `name`: `bounds` act in it, and the parameters in `trains` may train."""
        self.context, self.number, self.name, self.phase = context, number, name, phase
        self.examples = context.data.of(phase.languages)
        self.steps = steps_of(phase, len(self.examples))
        for key, parameter in context.encoder.model.named_parameters():
            parameter.requires_grad_(key in trains)
        layout = ShardedWeights if context.processes.shards_weights else Weights
        self._weights = layout(context.encoder, context.processes)
        objective = Objective(context, phase, bounds, self._weights.encoder).to(context.processes.device)
        self.model = self._weights.wrap(objective)
        self.parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        self.plain_optimizer = torch.optim.AdamW(
            self._parameter_groups(),
            fused=True,  # saves a tenth of a step on a CPU, where the loop over the parameters dominates
        )
        self.module = objective
        trained = {id(parameter) for parameter in self.parameters}
        self._changing = self._weights.named(context.changing)
        rows = context.rows
        self._rows = rows if rows is not None and id(rows.weight) in trained else None
        if self._rows is not None:
            trained.add(id(self._rows.decay))
        self._trained = {key: tensor for key, tensor in self._changing.items() if id(tensor) in trained}
        self._rewinds_to = context.rewinds.get(name)
        self._bounds = bounds
        self.optimizer = context.processes.accelerator.prepare(self.plain_optimizer)
        self.model.train()
        self._epoch: tuple[int, Sequence[list[int]]] = (-1, [])
        self._lengths: npt.NDArray[np.int64] | None = None  # of the examples, in tokens
        self._trainable_parameters = sum(parameter.numel() for parameter in self.parameters)
        # terms of a step -> their counts in the last such step
        self._expected: dict[tuple[str, ...], Sequence[float]] = {}
        self._acting: dict[str, Tensor] = {}  # term -> micro-batches of the step in which it has a gradient
        self._idle: dict[str, int] = {}  # term -> steps with a count above 0 and no effect
        self._unread: list[_Step] = []
        self._is_stopped = torch.zeros((), dtype=torch.bool, device=context.processes.device)
        self._cost, self._steps_before = Cost(), 0
        self._written = time.monotonic()  # when the last checkpoint was, or the phase began
        self._loss: float | None = None  # of the last step that was read
        self._unreported: list[int] = []
        self._logs: dict[str, float | Tensor] = {}
        self._diagnosed: dict[str, float] = {}
        self._empty: dict[str, int] = {}  # term -> micro-batches of the step, of all processes, with count 0

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return the trainable parameters by peak learning rate and weight decay; only matrices decay."""
        encoder, phase = self._weights.encoder, self.phase
        head = {id(parameter) for name, parameter in encoder.model.named_parameters() if encoder.place(name) == "head"}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in self.parameters:
            peak = (id(parameter) in head and phase.head_learning_rate) or phase.learning_rate
            groups.setdefault((peak, phase.weight_decay if parameter.dim() > 1 else 0.0), []).append(parameter)
        return [
            {"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay}
            for (peak, decay), parameters in groups.items()
        ]

    def close(self) -> None:
        """Copy the weights to the run's own encoder on the device, and drop this phase's model and optimiser."""
        self._weights.close()
        del self.model, self.module, self.parameters, self.plain_optimizer, self.optimizer
        del self._changing, self._trained
        self.context.processes.accelerator.free_memory()  # reference cycles too, such as the hooks of sharded weights
        self.context.encoder.move_to(self.context.processes.device)

    def run(
        self, first: int, cost: Cost, clock: Callable[[], float], folder: Path, report: Report, watch: Watch
    ) -> Cost:
        """Run the steps from `first` on, with checkpoints at ends of epochs, and return the cost so far.

        `clock` returns the seconds of training so far.
        """
        processes, self._cost, self._steps_before = self.context.processes, cost, cost.steps - first
        self._load(folder) if first else self._begin()
        ends = sorted({*range(0, self.steps, max(1, self.steps // self.phase.epochs)), self.steps} - {0})
        log = (folder / LOG).open("a", encoding="utf-8") if processes.is_main else nullcontext()
        with log as stream, self._read_on_failure(stream):
            for number in range(first, self.steps):
                with memory_for_step(self.name, number):
                    self._step(number)
                is_end, is_watched = number + 1 in ends, _is_due(self.context.diagnostics.states, number)
                if is_end or is_watched or self._is_read_due():
                    entry = self._read(stream)
                    if is_end:
                        self._combine(ends, number + 1)
                    if is_watched:
                        entry |= self._watched(number, watch)
                    self._write(stream, entry)
                if processes.is_main:
                    self._report(report, number + 1)
                if is_end:
                    self._checkpoint(folder, number + 1, replace(self._cost, seconds=clock()))
        # By now every term had a step to show a gradient.
        if self._without_effect() and self.steps >= _MOVED + 1 + self.phase.alternate:
            self._no_effect(self._without_effect()[0], self.steps)
        later = [*self.context.rewinds]
        if self._rewinds_to:
            later = later[later.index(self.name) + 1 :]
        self.context.history.forget({self.context.rewinds[phase] for phase in later})
        return replace(self._cost, seconds=clock())

    @contextmanager
    def _read_on_failure(self, stream: TextIO | None) -> Iterator[None]:
        """Write the lines of the steps before a failure, or raise Diverged where one was not finite, which is the cause."""
        try:
            yield
        except BaseException:
            if self._unread and self.context.processes.size == 1:  # reading takes all processes, which may not be here
                with suppress(RuntimeError):  # of the device
                    self._write(stream, self._read(stream))
            raise

    def _is_read_due(self) -> bool:
        """Return whether the values on the device are to be read: enough of them, the first loss, or a term's effect."""
        last = self._unread[-1]
        return len(self._unread) == _UNREAD or bool(last.acting) or (self._loss is None and last.number >= _MOVED)

    def _report(self, report: Report, done: int) -> None:
        """Report each step, from the one on in which there is a loss to report."""
        self._unreported.append(done)
        while self._loss is not None and self._unreported:
            report(self.name, self._unreported.pop(0), self.steps, self._loss)

    def _load(self, folder: Path) -> None:
        """Load the checkpoint of a step of this phase."""
        fit = self.context.rows.fit if self.context.rows is not None else lambda key, value: value
        memory = self.context.history.tensors = read_checkpoint(folder, self._changing, self.plain_optimizer, fit)
        if isinstance(self.context.reference, Reference):
            seen = memory.pop(f"{_REFERENCE}/{self.context.processes.rank}", torch.empty(0))
            self.context.reference.restore(bytes(seen.tolist()))
        rows = self.context.rows
        if rows is not None and any(key.endswith(f"/{rows.name}") and f"{key}.decay" not in memory for key in memory):
            raise RunError(
                f"The checkpoint in `{folder}` has all rows of the word embeddings at the start of a phase, or their mean, and"
                " this launch trains some of them. Resume it with FSDP, or start anew with `--again`."
            )

    def _begin(self) -> None:
        """Label texts, select entries, rewind weights and keep the start, where the phases ask for it, before the first step."""
        teacher = PhaseTeacher(self.context)
        for name, bound in self._bounds.items():
            with enough_memory(f"labelling text as the phase `{self.name}` begins", LESS_MEMORY):
                self.context.history.keep_labels(name, teacher.label_texts(name, bound))
        self.module.forwards += teacher.forwards
        self.module.tokens += teacher.tokens
        weights = self._of_encoder(self._changing)
        if self._rewinds_to:
            trained = {key: parameter for key, parameter in weights.items() if parameter.requires_grad}
            self.context.history.choose_entries(self._rewinds_to, trained, self._bounds.values())
            self.context.history.rewind(self._rewinds_to, weights)
        if self.phase.merge or self.name in self.context.rewinds.values():
            self.context.history.keep_start(self.name, weights)

    def _of_encoder(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return those tensors that are not an intervention's own."""
        return {name: tensor for name, tensor in tensors.items() if "/" not in name}

    def _combine(self, ends: Sequence[int], done: int) -> None:
        """Add the weights to the mean after each of the last `average` epochs, and end the phase with that mean, merged."""
        averaged = ends[-self.phase.average :] if self.phase.average else ()
        if done in averaged:
            self.context.history.add_to_mean(self._trained, averaged.index(done) + 1)
            if done == self.steps:
                self.context.history.to_mean(self._trained)
        if self.phase.merge and done == self.steps:
            self.context.history.merge(self.name, self._of_encoder(self._trained), self.phase.merge)

    def _step(self, number: int) -> None:
        """Run one optimiser step. Where it is not finite, no weight changes from it on, until `_read` reports it."""
        names = self.module.active_terms(number)
        totals, counts = self.gradients(number, self._expected.get(names))
        self._expected[names] = counts
        self.context.history.mask_gradients(self._trained)
        norm = full_tensor(self.context.processes.accelerator.clip_grad_norm_(self.parameters, self.phase.clip))
        self._is_stopped = self._is_stopped | ~norm.isfinite() | ~totals.isfinite().all()
        self.plain_optimizer.found_inf = self._is_stopped.float()  # type: ignore[attr-defined]  # the fused step skips at 1
        factor = schedule(number, self.steps, self.phase.warmup)
        rate = self.phase.learning_rate * factor
        for group in self.plain_optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self._rows is not None:
            self._rows.decay.mul_(1 - rate * self.phase.weight_decay)
        if self._rewinds_to:
            self.context.history.restore_entries(self._rewinds_to, self._trained)
        empty = {f"empty/{name}": number for name, number in self._empty.items()}
        of_terms = dict(zip(names, counts, strict=True))
        waiting = [name for name in self._without_effect() if number >= _MOVED and of_terms.get(name)]
        acting = {name: self._acting.get(name, torch.zeros(())) for name in waiting}
        self._unread.append(_Step(number, rate, of_terms, totals, norm, acting, self._logs, empty | self._diagnosed))

    def _read(self, stream: TextIO | None) -> dict[str, Any]:
        """Read the values of all steps from the device, and write their lines but the last, which is returned.

        The only place where a step's values are read, with one transfer. Raises Diverged for the first step that was not
        finite, and RunError for a term without effect in too many steps. All processes agree.
        """
        steps, self._unread = self._unread, []
        acting = steps[-1].acting  # a step with such terms is read at once
        summed = self.context.processes.sum(
            torch.cat([*(step.totals for step in steps), self._exactly(acting.values())])
        )
        logged = [[value for value in step.logs.values() if isinstance(value, Tensor)] for step in steps]
        others = [self._exactly([step.norm, *values]) for step, values in zip(steps, logged, strict=True)]
        values = iter(torch.cat([summed, *others]).tolist())
        all_totals = [{name: next(values) for name in step.counts} for step in steps]
        proofs = {name: next(values) for name in acting}
        self._add(len(steps))
        entry: dict[str, Any] = {}
        for place, (step, of_terms) in enumerate(zip(steps, all_totals, strict=True)):
            if place:
                self._write(stream, entry)
            norm = next(values)
            for name, total in of_terms.items():
                if not math.isfinite(total):
                    raise diverged(name, f"is {total}", self.name, step.number)
            if not math.isfinite(norm):
                raise self._diverged(f"The gradient at step {step.number} of the phase `{self.name}` is {norm}.")
            means = {name: of_terms[name] / count for name, count in step.counts.items() if count}
            entry = {
                "phase": self.name,
                "phase_number": self.number,
                "step": step.number,
                "learning_rate": step.learning_rate,
                "gradient_norm": norm,
                "loss": sum(self.module.weights[name] * mean for name, mean in means.items()),
                **{f"term/{name}": mean for name, mean in means.items()},
                **{key: next(values) if isinstance(value, Tensor) else value for key, value in step.logs.items()},
                **step.numbers,
            }
        self._check_terms(steps[-1].number, proofs)
        if self._rows is not None:
            self._rows.check()
        self._loss = entry["loss"]
        return entry

    def _write(self, stream: TextIO | None, entry: Mapping[str, Any]) -> None:
        """Write the line of a step to the log and the trackers."""
        if stream is not None:
            stream.write(json.dumps(entry) + "\n")
            stream.flush()
        numbers = {key: value for key, value in entry.items() if key != "phase"}
        self.context.processes.accelerator.log(numbers, step=self._steps_before + entry["step"] + 1)

    def assume_labels(self) -> None:
        """Give all texts equal labels, for steps that are timed: before the first step of the phase there are none."""
        for name, bound in self._bounds.items():
            shapes = label_shapes(bound, self.context.data, self.context.encoder)
            labels = {language: torch.ones(shape) for language, shape in shapes}
            self.context.history.keep_labels(name, labels)

    def gradients(self, number: int, expected: Sequence[float] | None) -> tuple[Tensor, Sequence[float]]:
        """Add the gradients of one step to the parameters.

        Returns every term's total in this process, on the device, and its count over the whole step, in all processes.

        Each term is its total over the step divided by its count over the step, however the step is split into micro-batches
        and processes. The counts are known only after the last micro-batch, so the gradients are computed with the
        `expected` counts (those of the step before), and computed again in the rare step where these are wrong.
        """
        micro_batches = self._micros(number)
        totals, counts, used = self._accumulate(micro_batches, expected)
        if counts != used:
            self.module.zero_grad()
            totals, counts, used = self._accumulate(micro_batches, counts)
        if counts != used:
            raise RunError(
                f"A term counts differently each time it is computed at step {number} of the phase `{self.name}`."
                " A term must draw from `step.random` only."
            )
        return totals, counts

    def _accumulate(
        self, micro_batches: Sequence[MicroBatch], expected: Sequence[float] | None
    ) -> tuple[Tensor, Sequence[float], Sequence[float]]:
        processes, names = self.context.processes, self.module.active_terms(micro_batches[0].number)
        totals, counts, empty = self._exactly([torch.zeros(())] * len(names)), [0.0] * len(names), [0.0] * len(names)
        alone = len(micro_batches) * processes.size == 1
        parts = self.module.parts(micro_batches[0].number) if alone else (names,)
        self._acting = {}
        for index, micro_batch in enumerate(micro_batches):
            last = index == len(micro_batches) - 1
            with nullcontext() if last else processes.accelerator.no_sync(self.model):
                all_terms: dict[str, Term] = {}
                gradients: dict[str, Gradients] = {}
                for part in parts:  # each goes backward before the next goes forward, which saves memory
                    terms, expected = self._backward(
                        micro_batch, part, None if alone else expected, len(micro_batches), gradients
                    )
                    all_terms |= terms
            if index == 0:
                several = len(gradients) > 1
                self._diagnosed = gradient_diagnostics(gradients, TASK, self._weights.sum) if several else {}
            terms = {name: all_terms[name] for name in names}
            self._logs = {
                f"term/{name}/{key}": value for name, term in terms.items() for key, value in term.logs.items()
            }
            batch_counts = _num_items(terms)
            if alone:
                expected = batch_counts
            totals += self._exactly(term.loss_sum for term in terms.values())
            for place, count in enumerate(batch_counts):
                counts[place] += count
                empty[place] += count == 0 and not micro_batch.is_empty
        assert expected is not None
        sums = processes.sum_numbers([*counts, *empty])
        counts, empty = sums[: len(names)], sums[len(names) :]
        self._empty = {name: int(number) for name, number in zip(names, empty, strict=True) if number}
        return totals, counts, expected

    def _backward(
        self,
        micro_batch: MicroBatch,
        names: Sequence[str],
        expected: Sequence[float] | None,
        micro_batches: int,
        gradients: dict[str, Gradients],
    ) -> tuple[dict[str, Term], Sequence[float]]:
        """Add the gradients of some terms to the parameters; return the terms without their graphs, and the counts used.

        Adds each term's own gradients to `gradients` where their diagnostics are due.
        """
        processes = self.context.processes
        with processes.autocast():
            terms = self._weights.terms(self.model, micro_batch, names)
        if micro_batch.number >= _MOVED:
            self._record_effects(terms)
        if expected is None:
            expected = [count * micro_batches for count in processes.sum_numbers(_num_items(terms))]
        losses = self._losses(terms, expected)
        if micro_batch.index == 0:
            gradients |= self._diagnosed_gradients(micro_batch, losses, micro_batches)
        loss: Tensor | int = sum(losses.values())
        if processes.size > 1 and losses:  # DDP waits for all outputs of the forward pass, in every process
            loss = loss + 0 * sum(term.loss_sum for term in terms.values())
        if isinstance(loss, Tensor) and loss.requires_grad:
            processes.accelerator.backward(loss)
        return {name: replace(term, loss_sum=term.loss_sum.detach()) for name, term in terms.items()}, expected

    def _losses(self, terms: Mapping[str, Term], counts: Sequence[float]) -> dict[str, Tensor]:
        """Return this process's summands of the objective, given every term's number of items over the step."""
        weights = self.module.weights
        return {
            name: weights[name] * term.loss_sum * (self.context.processes.size / count)
            for (name, term), count in zip(terms.items(), counts, strict=True)
            if weights[name] > 0 and count > 0
        }

    def _exactly(self, scalars: Iterable[Tensor]) -> Tensor:
        """Return scalars as one vector on the device, in double precision where it has that."""
        device = self.context.processes.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        vectors = [scalar.detach().reshape(1).to(device, dtype) for scalar in scalars]
        return torch.cat(vectors) if vectors else torch.zeros(0, device=device, dtype=dtype)

    def _diagnosed_gradients(
        self, micro_batch: MicroBatch, losses: Mapping[str, Tensor], micro_batches: int
    ) -> dict[str, Gradients]:
        """Return each loss's gradients where their diagnostics are due; of this process alone, without sharding."""
        several = sum(weight > 0 for weight in self.module.weights.values()) > 1
        if not several or not _is_due(self.context.diagnostics.gradients, micro_batch.number):
            return {}
        if self.phase.alternate and not self.context.processes.shards_weights:
            # The terms of the other step of the pair, on the same examples and draws. These passes bypass DDP and are not
            # counted, except those of the pretrained encoder, whose states are kept for the other step.
            before = self.module.forwards, self.module.tokens
            with self.context.processes.autocast():
                terms = self._weights.terms(self.module, replace(micro_batch, number=micro_batch.number ^ 1))
            self.module.forwards, self.module.tokens = before
            counts = self.context.processes.sum_numbers(_num_items(terms))
            losses = {**losses, **self._losses(terms, [count * micro_batches for count in counts])}
        return {
            name: self._weights.gradients(loss, self.parameters) for name, loss in losses.items() if loss.requires_grad
        }

    def _record_effects(self, terms: Mapping[str, Term]) -> None:
        """Record which terms without a known effect have a gradient on a trainable parameter, in this process."""
        for name in self._without_effect():
            if name in terms:
                acts = self._weights.acts(terms[name], self.parameters).to(self.context.processes.device)
                self._acting[name] = self._acting.get(name, 0) + acts

    def _check_terms(self, number: int, proofs: Mapping[str, float]) -> None:
        """Stop all processes at a term without effect for too many steps; `proofs` are the `acting` of step `number`."""
        for name, proof in proofs.items():
            if proof > 0:
                self.context.history.record_effect(name)
            else:
                self._idle[name] = self._idle.get(name, 0) + 1
                if self._idle[name] > _PATIENCE:
                    self._no_effect(name, number)

    def _without_effect(self) -> list[str]:
        """Return the terms with a weight above 0 and no gradient so far, the same in every process."""
        terms = self.module.weights.items()
        return [name for name, weight in terms if weight > 0 and not self.context.history.has_effect(name)]

    def _no_effect(self, name: str, number: int) -> None:
        raise RunError(
            f"The term `{name}` has had no gradient on any trainable parameter by step {number} of the phase `{self.name}`,"
            " so it does nothing. Its layers may all be frozen, or it may have nothing to sum over; a `weight` of 0"
            " measures a term without using it."
        )

    def _micros(self, number: int) -> list[MicroBatch]:
        """Return this process's shards of the micro-batches of a step; the examples of a step do not depend on the split."""
        examples, processes = self.examples, self.context.processes
        size = self.phase.batch_size
        per_epoch = -(-len(examples) // (size * self.phase.accumulation))
        epoch, position = divmod(self.module.turn_number(number), per_epoch)
        if epoch != self._epoch[0]:
            if self._lengths is None:
                self._lengths = self.context.data.collate.lengths(examples)
            random = generator(self.context.seed, "order", self.name, epoch)
            self._epoch = (epoch, epoch_order(self._lengths, size * self.phase.accumulation, random))
        order = self._epoch[1][position]
        micro_batches = []
        for index, low in enumerate(range(0, len(order), size)):
            rows = order[low : low + size]
            shard = processes.shard(rows)
            batch = self.context.data.collate([examples[item] for item in shard or rows[:1]])
            micro_batches.append(MicroBatch(self.name, number, index, batch, is_empty=not shard))
        return micro_batches

    def _add(self, steps: int) -> None:
        """Add the cost of the last steps, summed over the processes."""
        cost, reference, processes = self._cost, self.context.reference, self.context.processes
        of_reference = 0 if reference is None else reference.forwards
        forwards, tokens = processes.sum_numbers([self.module.forwards + of_reference, self.module.tokens])
        self.module.forwards = self.module.tokens = 0
        if reference is not None:
            reference.forwards = 0
        self._cost = replace(
            cost,
            steps=cost.steps + steps,
            tokens=cost.tokens + int(tokens),
            forwards=cost.forwards + forwards / processes.size,
            peak_memory_mb=max(cost.peak_memory_mb, processes.peak_memory_mb()),
            trainable_parameters=max(cost.trainable_parameters, self._trainable_parameters),
        )

    def _checkpoint(self, folder: Path, step: int, cost: Cost) -> None:
        """Write a checkpoint if one is due; raises Diverged where weights are not finite."""
        processes, reference = self.context.processes, self.context.reference
        if any(processes.sum_numbers([float(not all_finite(self._changing.values()))])):
            raise self._diverged(f"The weights after step {step - 1} of the phase `{self.name}` are not finite.")
        if not processes.broadcast(self._is_checkpoint_due(step)):
            return
        memory = dict(self.context.history.tensors)
        if isinstance(reference, Reference):
            for rank, seen in enumerate(processes.gather([reference.seen()])):
                memory[f"{_REFERENCE}/{rank}"] = torch.tensor([*seen], dtype=torch.uint8)
        if processes.is_main or processes.shards_weights:  # sharded weights are gathered by all processes
            position = Position(self.number, step, cost)
            of_run = folder, position, processes.arithmetic
            write_checkpoint(*of_run, self._changing, self.plain_optimizer, memory, writes=processes.is_main)
        processes.wait()
        self._written = time.monotonic()

    def _is_checkpoint_due(self, step: int) -> bool:
        """Return whether to write a checkpoint at this end of an epoch: a large one, only where its writing takes little time."""
        weights, trained = (sum(tensor.nbytes for tensor in part.values()) for part in (self._changing, self._trained))
        size = weights + 2 * trained  # with both moments of AdamW
        seconds = time.monotonic() - self._written
        return step == self.steps or size < _SMALL or seconds * _BYTES_PER_SECOND >= size

    def _watched(self, number: int, watch: Watch) -> Mapping[str, float]:
        try:
            with self._weights.gathered():
                return watch()
        except InputError as error:  # the measures refuse numbers that are not finite, and nothing else here
            raise self._diverged(f"Measuring failed at step {number} of the phase `{self.name}`: {error}") from error

    def _diverged(self, problem: str) -> Diverged:
        return Diverged(
            f"{problem} Lower `phase.{self.name}.learning_rate` or an intervention's `weight`."
            " The last checkpoint, if there is one, is kept."
        )


def _num_items(terms: Mapping[str, Term]) -> list[float]:
    return [float(term.num_items) for term in terms.values()]


def _is_due(every: int, number: int) -> bool:
    return every > 0 and (number + 1) % every == 0


def schedule(step: int, steps: int, warmup: float) -> float:
    """Return the share of the full learning rate at `step`: up linearly over the warm-up, then down linearly to 0.

    With w = round(warmup * steps): (step + 1) / (w + 1) for step < w, else (steps - step) / (steps - w). Range: (0, 1].
    """
    rising = round(warmup * steps)
    return (step + 1) / (rising + 1) if step < rising else (steps - step) / (steps - rising)
