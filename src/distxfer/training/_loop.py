"""The loop over the steps of one phase: exact accumulation, and guards against doing nothing silently."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distxfer.data import epoch_order
from distxfer.encoders import Reference
from distxfer.errors import InputError, RunError
from distxfer.interventions import BoundIntervention, Term
from distxfer.training._checkpoint import LOG, Position, read_checkpoint, write_checkpoint
from distxfer.training._diagnostics import gradient_diagnostics
from distxfer.training._objective import TASK, Diverged, MicroBatch, Objective, RunContext, diverged
from distxfer.training._settings import Cost, Phase, memory_for_step, steps_of
from distxfer.training._streams import generator
from distxfer.training._weights import ShardedWeights, Weights, full_tensor, local_shard

Report = Callable[[str, int, int, float], None]  # phase, steps done, all steps, loss
Watch = Callable[[], Mapping[str, float]]  # measurements of the present encoder, by their names in the log

_REFERENCE = "reference"  # in a checkpoint, by rank: the texts that the process has asked the reference for
_MOVED = 2  # optimiser steps after which the weights have changed for certain
_PATIENCE = 10  # steps with a count above 0 within which a term must have a gradient


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
        self.steps = steps_of(phase, len(context.data.examples))
        for key, parameter in context.encoder.model.named_parameters():
            parameter.requires_grad_(key in trains)
        layout = ShardedWeights if context.processes.shards_weights else Weights
        self._weights = layout(context.encoder, context.processes)
        objective = Objective(context, phase, bounds, self._weights.encoder).to(context.processes.device)
        self.model = self._weights.wrap(objective)
        self.parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        self.plain_optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self.parameters if p.dim() > 1], "weight_decay": phase.weight_decay},
                {"params": [p for p in self.parameters if p.dim() <= 1], "weight_decay": 0.0},
            ],
            lr=phase.learning_rate,
            fused=True,  # saves a tenth of a step on a CPU, where the loop over the parameters dominates
        )
        self.module = objective
        trained = {id(parameter) for parameter in self.parameters}
        self._changing = self._weights.named(context.changing)
        self._trained = {key: tensor for key, tensor in self._changing.items() if id(tensor) in trained}
        self._rewinds_to = context.rewinds.get(name)
        self._bounds = bounds
        self.optimizer = context.processes.accelerator.prepare(self.plain_optimizer)
        self.model.train()
        self._epoch: tuple[int, Sequence[list[int]]] = (-1, [])
        self._lengths: npt.NDArray[np.int64] | None = None  # of the examples, in characters
        self._expected: dict[tuple[str, ...], Tensor] = {}  # terms of a step -> their counts in the last such step
        self._effective: set[str] = set()  # terms with a gradient in this process
        self._idle: dict[str, int] = {}  # term -> steps with a count above 0 and no effect
        self._logs: dict[str, float] = {}
        self._diagnosed: dict[str, float] = {}
        self._empty: dict[str, int] = {}  # term -> micro-batches of the step, of all processes, with count 0

    def close(self) -> None:
        """Copy the weights to the run's own encoder on the device, and drop this phase's model and optimiser."""
        self._weights.close()
        del self.model, self.module, self.parameters, self.plain_optimizer, self.optimizer
        del self._changing, self._trained
        self.context.processes.accelerator.free_memory()  # reference cycles too, such as the hooks of sharded weights
        self.context.encoder.move_to(self.context.processes.device)

    def run(self, first: int, cost: Cost, folder: Path, report: Report, watch: Watch) -> Cost:
        """Run the steps from `first` on, with a checkpoint about once per epoch, and return the cost so far."""
        processes = self.context.processes
        if first:
            memory = self.context.history.tensors = read_checkpoint(folder, self._changing, self.plain_optimizer)
            if isinstance(self.context.reference, Reference):
                seen = memory.pop(f"{_REFERENCE}/{processes.rank}", torch.empty(0))
                self.context.reference.restore(bytes(seen.tolist()))
        else:
            self._begin()
        ends = sorted({*range(0, self.steps, max(1, self.steps // self.phase.epochs)), self.steps} - {0})
        with (folder / LOG).open("a", encoding="utf-8") if processes.is_main else nullcontext() as stream:
            for number in range(first, self.steps):
                started = time.perf_counter()
                with memory_for_step(self.name, number):
                    entry = self._step(number)
                cost = self._add(cost, time.perf_counter() - started)
                if number + 1 in ends:
                    self._average(ends, number + 1)
                if _is_due(self.context.diagnostics.states, number):
                    entry |= self._watched(number, watch)
                if stream is not None:
                    stream.write(json.dumps(entry) + "\n")
                    stream.flush()
                    report(self.name, number + 1, self.steps, float(entry["loss"]))
                numbers = {key: value for key, value in entry.items() if key != "phase"}
                processes.accelerator.log(numbers, step=cost.steps)
                if number + 1 in ends:
                    self._checkpoint(folder, number + 1, cost)
        # By now every term had a step to show a gradient.
        if self._without_effect() and self.steps >= _MOVED + 1 + self.phase.alternate:
            self._no_effect(self._without_effect()[0], self.steps)
        later = [*self.context.rewinds]
        if self._rewinds_to:
            later = later[later.index(self.name) + 1 :]
        self.context.history.forget({self.context.rewinds[phase] for phase in later})
        return cost

    def _begin(self) -> None:
        """Select entries, rewind weights and keep the start, where the phases ask for it, before the first step."""
        weights = {
            key: parameter for key, parameter in self._weights.encoder.model.named_parameters() if key in self._changing
        }
        if self._rewinds_to:
            trained = {key: parameter for key, parameter in weights.items() if parameter.requires_grad}
            self.context.history.choose_entries(self._rewinds_to, trained, self._bounds.values())
            self.context.history.rewind(self._rewinds_to, weights)
        if self.name in self.context.rewinds.values():
            self.context.history.keep_start(self.name, weights)

    def _average(self, ends: Sequence[int], done: int) -> None:
        """Add the weights to the mean after each of the last `average` epochs, and end the phase with that mean."""
        averaged = ends[-self.phase.average :] if self.phase.average else ()
        if done in averaged:
            self.context.history.add_to_mean(self._trained, averaged.index(done) + 1)
            if done == self.steps:
                self.context.history.to_mean(self._trained)

    def _step(self, number: int) -> dict[str, float | str]:
        """Run one optimiser step and return its line for the log."""
        names = self.module.active_terms(number)
        totals, counts = self.gradients(number, self._expected.get(names))
        self._expected[names] = counts
        self.context.history.mask_gradients(self._trained)
        self._check_terms(number, totals, counts)
        norm = float(full_tensor(self.context.processes.accelerator.clip_grad_norm_(self.parameters, self.phase.clip)))
        if not math.isfinite(norm):
            raise self._diverged(f"The gradient at step {number} of the phase `{self.name}` is {norm}.")
        rate = self.phase.learning_rate * schedule(number, self.steps, self.phase.warmup)
        for group in self.plain_optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self._rewinds_to:
            self.context.history.restore_entries(self._rewinds_to, self._trained)
        values = {
            key: float(total / count) if count else None
            for key, total, count in zip(names, totals, counts, strict=True)
        }
        loss = sum(self.module.weights[key] * value for key, value in values.items() if value is not None)
        return {
            "phase": self.name,
            "phase_number": self.number,
            "step": number,
            "learning_rate": rate,
            "gradient_norm": norm,
            "loss": loss,
            **{f"term/{key}": value for key, value in values.items() if value is not None},
            **{f"empty/{key}": number for key, number in self._empty.items()},
            **self._logs,
            **self._diagnosed,
        }

    def gradients(self, number: int, expected: Tensor | None) -> tuple[Tensor, Tensor]:
        """Add the gradients of one step to the parameters; return every term's total and count over the whole step.

        Each term is its total over the step divided by its count over the step, however the step is split into micro-batches
        and processes. The counts are known only after the last micro-batch, so the gradients are computed with the
        `expected` counts (those of the step before), and computed again in the rare step where these are wrong.
        """
        micro_batches = self._micros(number)
        totals, counts, used = self._accumulate(micro_batches, expected)
        if not torch.equal(counts, used):
            self.module.zero_grad()
            totals, counts, used = self._accumulate(micro_batches, counts)
        if not torch.equal(counts, used):
            raise RunError(
                f"A term counts differently each time it is computed at step {number} of the phase `{self.name}`."
                " A term must draw from `step.random` only."
            )
        return totals, counts

    def _accumulate(
        self, micro_batches: Sequence[MicroBatch], expected: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        processes, names = self.context.processes, self.module.active_terms(micro_batches[0].number)
        totals, counts, empty = (torch.zeros(len(names), dtype=torch.float64) for _ in range(3))
        alone = len(micro_batches) * processes.size == 1
        for index, micro_batch in enumerate(micro_batches):
            last = index == len(micro_batches) - 1
            with nullcontext() if last else processes.accelerator.no_sync(self.model):
                with processes.autocast():
                    terms = self._weights.terms(self.model, micro_batch)
                if micro_batch.number >= _MOVED:
                    self._record_effects(terms)
                self._logs = {
                    f"term/{name}/{key}": value for name, term in terms.items() for key, value in term.logs.items()
                }
                batch_counts = _num_items(terms)
                if alone or expected is None:
                    expected = batch_counts if alone else processes.sum(batch_counts) * len(micro_batches)
                losses = self._losses(terms, expected)
                if index == 0:
                    self._diagnose(micro_batch, losses, len(micro_batches))
                loss: Tensor | int = sum(losses.values())
                if processes.size > 1 and losses:  # DDP waits for all outputs of the forward pass, in every process
                    loss = loss + 0 * sum(term.loss_sum for term in terms.values())
                if isinstance(loss, Tensor) and loss.requires_grad:
                    processes.accelerator.backward(loss)
            totals += torch.tensor([float(term.loss_sum.detach()) for term in terms.values()], dtype=torch.float64)
            counts += batch_counts
            empty += (batch_counts == 0) & (not micro_batch.is_empty)
        assert expected is not None
        numbers = zip(names, map(int, processes.sum(empty).tolist()), strict=True)
        self._empty = {name: number for name, number in numbers if number}
        return processes.sum(totals), processes.sum(counts), expected

    def _losses(self, terms: Mapping[str, Term], counts: Tensor) -> dict[str, Tensor]:
        """Return this process's summands of the objective, given every term's number of items over the step."""
        weights = self.module.weights
        return {
            name: weights[name] * term.loss_sum * (self.context.processes.size / float(count))
            for (name, term), count in zip(terms.items(), counts, strict=True)
            if weights[name] > 0 and count > 0
        }

    def _diagnose(self, micro_batch: MicroBatch, losses: Mapping[str, Tensor], micro_batches: int) -> None:
        """Compute the diagnostics of the first micro-batch's gradients, where due; of this process alone, without sharding."""
        self._diagnosed = {}
        if not _is_due(self.context.diagnostics.gradients, micro_batch.number):
            return
        if self.phase.alternate and not self.context.processes.shards_weights:
            # The terms of the other step of the pair, on the same examples and draws. These passes bypass DDP and are not
            # counted, except those of the pretrained encoder, whose states are kept for the other step.
            before = self.module.forwards, self.module.tokens
            with self.context.processes.autocast():
                terms = self._weights.terms(self.module, replace(micro_batch, number=micro_batch.number ^ 1))
            self.module.forwards, self.module.tokens = before
            counts = self.context.processes.sum(_num_items(terms)) * micro_batches
            losses = {**losses, **self._losses(terms, counts)}
        open_losses = {name: loss for name, loss in losses.items() if loss.requires_grad}
        if len(open_losses) > 1:
            gradients = {name: self._weights.gradients(loss, self.parameters) for name, loss in open_losses.items()}
            self._diagnosed = gradient_diagnostics(gradients, TASK, self._weights.sum)

    def _record_effects(self, terms: Mapping[str, Term]) -> None:
        """Record which terms without a known effect have a gradient on a trainable parameter, in this process."""
        waiting = [name for name in self._without_effect() if name not in self._effective and name in terms]
        self._effective |= {name for name in waiting if self._weights.acts(terms[name], self.parameters)}

    def _check_terms(self, number: int, totals: Tensor, counts: Tensor) -> None:
        """Stop all processes at a loss that is not finite, or at a term without effect for too many steps."""
        names = self.module.active_terms(number)
        for name, total in zip(names, totals.tolist(), strict=True):
            if not math.isfinite(total):
                raise diverged(name, f"is {total}", self.name, number)
        waiting = [name for name in self._without_effect() if name in names]
        if number < _MOVED or not waiting:
            return
        proven = self.context.processes.sum(torch.tensor([float(name in self._effective) for name in waiting]))
        for name, proofs in zip(waiting, proven.tolist(), strict=True):
            if proofs > 0:
                self.context.history.record_effect(name)
            elif counts[names.index(name)] > 0:
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
        examples, processes = self.context.data.examples, self.context.processes
        size = self.phase.batch_size
        per_epoch = -(-len(examples) // (size * self.phase.accumulation))
        epoch, position = divmod(self.module.turn_number(number), per_epoch)
        if epoch != self._epoch[0]:
            if self._lengths is None:
                lengths = (len(example.text) + len(example.text_pair or "") for example in examples)
                self._lengths = np.fromiter(lengths, np.int64, len(examples))
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

    def _add(self, cost: Cost, seconds: float) -> Cost:
        """Return the cost with one more step, summed over the processes."""
        encoders = torch.tensor([self.module.forwards, self.module.tokens], dtype=torch.float64)
        self.module.forwards = self.module.tokens = 0
        if (reference := self.context.reference) is not None:
            encoders[0] += reference.forwards
            reference.forwards = 0
        forwards, tokens = self.context.processes.sum(encoders).tolist()
        trainable = sum(parameter.numel() for parameter in self.parameters)
        return Cost(
            seconds=cost.seconds + seconds,
            steps=cost.steps + 1,
            tokens=cost.tokens + int(tokens),
            forwards=cost.forwards + forwards / self.context.processes.size,
            peak_memory_mb=max(cost.peak_memory_mb, self.context.processes.peak_memory_mb()),
            trainable_parameters=max(cost.trainable_parameters, trainable),
        )

    def _checkpoint(self, folder: Path, step: int, cost: Cost) -> None:
        """Write a checkpoint; raises Diverged where weights are not finite."""
        processes, reference = self.context.processes, self.context.reference
        finite = all(local_shard(weights.detach()).isfinite().all() for weights in self._changing.values())
        if processes.sum(torch.tensor([float(not finite)])) > 0:
            raise self._diverged(f"The weights after step {step - 1} of the phase `{self.name}` are not finite.")
        memory = dict(self.context.history.tensors)
        if isinstance(reference, Reference):
            for rank, seen in enumerate(processes.gather([reference.seen()])):
                memory[f"{_REFERENCE}/{rank}"] = torch.tensor([*seen], dtype=torch.uint8)
        if processes.is_main or processes.shards_weights:  # sharded weights are gathered by all processes
            position = Position(self.number, step, cost)
            of_run = folder, position, processes.arithmetic
            write_checkpoint(*of_run, self._changing, self.plain_optimizer, memory, writes=processes.is_main)
        processes.wait()

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


def _num_items(terms: Mapping[str, Term]) -> Tensor:
    return torch.tensor([float(term.num_items) for term in terms.values()], dtype=torch.float64)


def _is_due(every: int, number: int) -> bool:
    return every > 0 and (number + 1) % every == 0


def schedule(step: int, steps: int, warmup: float) -> float:
    """Return the share of the full learning rate at `step`: up linearly over the warm-up, then down linearly to 0.

    With w = round(warmup * steps): (step + 1) / (w + 1) for step < w, else (steps - step) / (steps - w). Range: (0, 1].
    """
    rising = round(warmup * steps)
    return (step + 1) / (rising + 1) if step < rising else (steps - step) / (steps - rising)
