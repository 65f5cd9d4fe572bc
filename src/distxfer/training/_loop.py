"""The loop over the steps of one phase: exact accumulation, and guards against doing nothing silently."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distxfer.data import epoch_order
from distxfer.encoders import Encoder, Reference
from distxfer.errors import InputError, RunError
from distxfer.interventions import Bound, Term
from distxfer.training._checkpoint import LOG, Position, read_checkpoint, write_checkpoint
from distxfer.training._diagnostics import gradient_diagnostics
from distxfer.training._history import History
from distxfer.training._objective import TASK, Diverged, Micro, Objective, Pretrained, TrainingData, diverged
from distxfer.training._processes import Processes
from distxfer.training._settings import Cost, Diagnostics, Phase, memory_for_step, steps_of
from distxfer.training._streams import generator
from distxfer.training._weights import DividedWeights, Weights, WholeWeights, local, whole

Report = Callable[[str, int, int, float], None]  # phase, steps done, steps in all, loss
Watch = Callable[[], Mapping[str, float]]  # what is measured of the encoder as it is now, by its name in the log

_REFERENCE = "reference"  # among what a checkpoint keeps: RANK -> what that process has asked the reference for
_MOVED = 2  # optimiser steps after which the weights have surely moved
_PATIENCE = 10  # steps with something to sum over, within which a term must have had an effect


@dataclass(frozen=True)
class Shared:
    """What all phases of a run share; `moving` holds all that any of them may change, by its stored name."""

    encoder: Encoder
    data: TrainingData
    processes: Processes
    seed: int
    reference: Pretrained | None
    moving: Mapping[str, Tensor]
    diagnostics: Diagnostics
    history: History
    returns: Mapping[str, str]  # phase -> the earlier one to whose beginning it goes back, in the order of the phases


class PhaseLoop:
    """The loop over the steps of one phase."""

    def __init__(
        self, shared: Shared, number: int, name: str, phase: Phase, bounds: Mapping[str, Bound], trains: set[str]
    ) -> None:
        """Make phase `number`, called `name`, ready: `bounds` act in it, and the parameters in `trains` may train."""
        self.shared, self.number, self.name, self.phase = shared, number, name, phase
        self.steps = steps_of(phase, len(shared.data.examples))
        for key, parameter in shared.encoder.model.named_parameters():
            parameter.requires_grad_(key in trains)
        self._weights: Weights = (DividedWeights if shared.processes.shards_weights else WholeWeights)(
            shared.encoder, shared.processes
        )
        objective = Objective(
            self._weights.encoder,
            shared.data,
            bounds,
            task=self.phase.task,
            alternate=self.phase.alternate,
            reference=shared.reference,
            stream=(shared.seed, shared.processes.rank),
            anchored=shared.processes.size > 1 and not shared.processes.shards_weights,
            together=shared.processes.shards_weights,
        ).to(shared.processes.device)
        self.model = self._weights.wrap(objective)
        self.parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        self.plain_optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self.parameters if p.dim() > 1], "weight_decay": self.phase.weight_decay},
                {"params": [p for p in self.parameters if p.dim() <= 1], "weight_decay": 0.0},
            ],
            lr=self.phase.learning_rate,
            fused=True,  # a tenth of the whole step on a CPU, where the loop over the parameters costs more than the sums
        )
        self.module = objective
        trained = {id(parameter) for parameter in self.parameters}
        self._moving = self._weights.named(shared.moving)
        self._trained = {key: one for key, one in self._moving.items() if id(one) in trained}
        self._back = shared.returns.get(name)
        self._bounds = bounds
        self.optimizer = shared.processes.accelerator.prepare(self.plain_optimizer)
        self.model.train()
        self._epoch: tuple[int, Sequence[list[int]]] = (-1, [])
        self._lengths: npt.NDArray[np.int64] | None = None  # of the examples, in characters: 8 bytes each
        self._expected: dict[tuple[str, ...], Tensor] = {}  # the counts of the terms that took part, in their last step
        self._proven: set[str] = set()  # the terms that this process has seen to act
        self._idle: dict[str, int] = {}  # steps in which a term had something to sum over, and no effect
        self._logs: dict[str, float] = {}
        self._diagnosed: dict[str, float] = {}
        self._empty: dict[str, int] = {}  # micro-batches of a step, of all processes, in which a term counted nothing

    def close(self) -> None:
        """Leave the weights with the run's own encoder, whole on the device, and drop this phase's model and optimiser."""
        self._weights.close()
        del self.model, self.module, self.parameters, self.plain_optimizer, self.optimizer, self._moving, self._trained
        self.shared.processes.accelerator.free_memory()  # what hangs in circles, too, as hooks of divided weights do
        self.shared.encoder.move_to(self.shared.processes.device)

    def run(self, first: int, cost: Cost, folder: Path, report: Report, watch: Watch) -> Cost:
        """Do the steps from `first` on, with a checkpoint about once an epoch, and return the cost so far."""
        processes = self.shared.processes
        if first:
            memory = self.shared.history.kept = read_checkpoint(folder, self._moving, self.plain_optimizer)
            if isinstance(self.shared.reference, Reference):
                self.shared.reference.restore(
                    bytes(memory.pop(f"{_REFERENCE}/{processes.rank}", torch.empty(0)).tolist())
                )
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
                if _is_due(self.shared.diagnostics.states, number):
                    entry |= self._watched(number, watch)
                if stream is not None:
                    stream.write(json.dumps(entry) + "\n")
                    stream.flush()
                    report(self.name, number + 1, self.steps, float(entry["loss"]))
                processes.accelerator.log(
                    {key: value for key, value in entry.items() if key != "phase"}, step=cost.steps
                )
                if number + 1 in ends:
                    self._checkpoint(folder, number + 1, cost)
        # Every term has had a turn to be seen to act.
        if self._unproven() and self.steps >= _MOVED + 1 + self.phase.alternate:
            self._no_effect(self._unproven()[0], self.steps)
        later = [*self.shared.returns]
        if self._back:
            later = later[later.index(self.name) + 1 :]
        self.shared.history.forget({self.shared.returns[one] for one in later})
        return cost

    def _begin(self) -> None:
        """Select entries, set weights back and keep them, as the phases ask for it, before the first step."""
        weights = {key: one for key, one in self._weights.encoder.model.named_parameters() if key in self._moving}
        if self._back:
            trained = {key: one for key, one in weights.items() if one.requires_grad}
            self.shared.history.choose_entries(self._back, trained, self._bounds.values())
            self.shared.history.rewind(self._back, weights)
        if self.name in self.shared.returns.values():
            self.shared.history.keep_start(self.name, weights)

    def _average(self, ends: Sequence[int], done: int) -> None:
        """Take the weights into the mean after each of the last `average` epochs, and end the phase with that mean."""
        averaged = ends[-self.phase.average :] if self.phase.average else ()
        if done in averaged:
            self.shared.history.add_to_mean(self._trained, averaged.index(done) + 1)
            if done == self.steps:
                self.shared.history.to_mean(self._trained)

    def _step(self, number: int) -> dict[str, float | str]:
        """Do one optimiser step and return its line for the log."""
        names = self.module.turn(number)
        totals, counts = self.gradients(number, self._expected.get(names))
        self._expected[names] = counts
        self.shared.history.mask_gradients(self._trained)
        self._judge(number, totals, counts)
        norm = float(whole(self.shared.processes.accelerator.clip_grad_norm_(self.parameters, self.phase.clip)))
        if not math.isfinite(norm):
            raise self._diverged(f"The gradient at step {number} of the phase `{self.name}` is {norm}.")
        rate = self.phase.learning_rate * schedule(number, self.steps, self.phase.warmup)
        for group in self.plain_optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self._back:
            self.shared.history.restore_entries(self._back, self._trained)
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

        Each term is its total over the step divided by its count over the step, whatever the cut into micro-batches
        and processes. A count is known for sure only when all is done, so the gradients are taken with the `expected`
        counts (those of the step before), and in the rare step where these turn out wrong, taken once more.
        """
        micros = self._micros(number)
        totals, counts, used = self._accumulate(micros, expected)
        if not torch.equal(counts, used):
            self.module.zero_grad()
            totals, counts, used = self._accumulate(micros, counts)
        if not torch.equal(counts, used):
            raise RunError(
                f"A term counts differently each time it is computed at step {number} of the phase `{self.name}`."
                " A term may draw only from `step.random`."
            )
        return totals, counts

    def _accumulate(self, micros: Sequence[Micro], expected: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        processes, weights = self.shared.processes, self.module.weights
        size = len(self.module.turn(micros[0].number))
        totals, counts, empty = (torch.zeros(size, dtype=torch.float64) for _ in range(3))
        alone = len(micros) * processes.size == 1
        for index, micro in enumerate(micros):
            last = index == len(micros) - 1
            with nullcontext() if last else processes.accelerator.no_sync(self.model):
                with processes.autocast():
                    terms = self._weights.terms(self.model, micro)
                if micro.number >= _MOVED:
                    self._prove(terms)
                self._logs = {
                    f"term/{name}/{key}": value for name, term in terms.items() for key, value in term.logs.items()
                }
                these = torch.tensor([float(term.count) for term in terms.values()], dtype=torch.float64)
                if alone or expected is None:
                    expected = these if alone else processes.sum(these) * len(micros)
                losses = {
                    name: weights[name] * term.total * (processes.size / float(count))
                    for (name, term), count in zip(terms.items(), expected, strict=True)
                    if weights[name] > 0 and count > 0
                }
                if index == 0:
                    self._diagnose(micro, losses, len(micros))
                loss: Tensor | int = sum(losses.values())
                if (
                    processes.size > 1 and losses
                ):  # DDP waits for all that the forward pass has shown it, in every process
                    loss = loss + 0 * sum(term.total for term in terms.values())
                if isinstance(loss, Tensor) and loss.requires_grad:
                    processes.accelerator.backward(loss)
            totals += torch.tensor([float(term.total.detach()) for term in terms.values()], dtype=torch.float64)
            counts += these
            empty += (these == 0) & (not micro.void)
        assert expected is not None
        numbers = zip(self.module.turn(micros[0].number), map(int, processes.sum(empty).tolist()), strict=True)
        self._empty = {name: number for name, number in numbers if number}
        return processes.sum(totals), processes.sum(counts), expected

    def _diagnose(self, micro: Micro, losses: Mapping[str, Tensor], micros: int) -> None:
        """Note what the gradients of the first micro-batch say, in every so many steps: this process's, if weights are whole."""
        self._diagnosed = {}
        if not _is_due(self.shared.diagnostics.gradients, micro.number):
            return
        if self.phase.alternate and not self.shared.processes.shards_weights:
            losses = {**losses, **self._of_the_other_turn(micro, micros)}
        open_losses = {name: loss for name, loss in losses.items() if loss.requires_grad}
        if len(open_losses) > 1:
            gradients = {name: self._weights.gradients(loss, self.parameters) for name, loss in open_losses.items()}
            self._diagnosed = gradient_diagnostics(gradients, TASK, self._weights.sum)

    def _of_the_other_turn(self, micro: Micro, micros: int) -> dict[str, Tensor]:
        """Return the losses of the terms that have the step beside this one, on the same examples and with its draws.

        They are looked at and not trained on: DDP does not hear of these passes, and they are not counted. (Those of the
        pretrained encoder are: what it says is kept for the step whose turn it is.)
        """
        module, weights = self.module, self.module.weights
        before = module.forwards, module.tokens
        with self.shared.processes.autocast():
            terms = self._weights.terms(module, replace(micro, number=micro.number ^ 1))
        module.forwards, module.tokens = before
        counts = self.shared.processes.sum(
            torch.tensor([float(one.count) for one in terms.values()], dtype=torch.float64)
        )
        return {
            name: weights[name] * term.total * (self.shared.processes.size / (float(count) * micros))
            for (name, term), count in zip(terms.items(), counts, strict=True)
            if weights[name] > 0 and count > 0
        }

    def _prove(self, terms: Mapping[str, Term]) -> None:
        """Note which of the terms that are still unproven have a gradient on something that trains, in this process."""
        waiting = [name for name in self._unproven() if name not in self._proven and name in terms]
        self._proven |= {name for name in waiting if self._weights.acts(terms[name], self.parameters)}

    def _judge(self, number: int, totals: Tensor, counts: Tensor) -> None:
        """Stop, in every process alike, at a loss that is not finite, or at a term that has had no effect for long."""
        names = self.module.turn(number)
        for name, total in zip(names, totals.tolist(), strict=True):
            if not math.isfinite(total):
                raise diverged(name, f"is {total}", self.name, number)
        waiting = [name for name in self._unproven() if name in names]
        if number < _MOVED or not waiting:
            return
        proven = self.shared.processes.sum(torch.tensor([float(name in self._proven) for name in waiting]))
        for name, proofs in zip(waiting, proven.tolist(), strict=True):
            if proofs > 0:
                self.shared.history.prove(name)
            elif counts[names.index(name)] > 0:
                self._idle[name] = self._idle.get(name, 0) + 1
                if self._idle[name] > _PATIENCE:
                    self._no_effect(name, number)

    def _unproven(self) -> list[str]:
        """Return the terms that ought to act and have not been seen to, the same in every process."""
        terms = self.module.weights.items()
        return [name for name, weight in terms if weight > 0 and not self.shared.history.is_proven(name)]

    def _no_effect(self, name: str, number: int) -> None:
        raise RunError(
            f"The term `{name}` has had no gradient on any trainable parameter by step {number} of the phase `{self.name}`,"
            " so it does nothing. Its layers may all be frozen, or it may have nothing to sum over; a `weight` of 0"
            " measures a term without using it."
        )

    def _micros(self, number: int) -> list[Micro]:
        """Return this process's parts of the micro-batches of a step; the same examples whatever the cut."""
        examples, processes = self.shared.data.examples, self.shared.processes
        size = self.phase.batch_size
        per_epoch = -(-len(examples) // (size * self.phase.accumulation))
        epoch, position = divmod(self.module.round(number), per_epoch)
        if epoch != self._epoch[0]:
            if self._lengths is None:
                lengths = (len(example.text) + len(example.text_pair or "") for example in examples)
                self._lengths = np.fromiter(lengths, np.int64, len(examples))
            random = generator(self.shared.seed, "order", self.name, epoch)
            self._epoch = (epoch, epoch_order(self._lengths, size * self.phase.accumulation, random))
        order = self._epoch[1][position]
        micros = []
        for index, low in enumerate(range(0, len(order), size)):
            whole = order[low : low + size]
            mine = processes.shard(whole)
            batch = self.shared.data.collate([examples[item] for item in mine or whole[:1]])
            micros.append(Micro(self.name, number, index, batch, void=not mine))
        return micros

    def _add(self, cost: Cost, seconds: float) -> Cost:
        """Return the cost with one more step in it, summed over the processes."""
        encoders = torch.tensor([self.module.forwards, self.module.tokens], dtype=torch.float64)
        self.module.forwards = self.module.tokens = 0
        if (reference := self.shared.reference) is not None:
            encoders[0] += reference.forwards
            reference.forwards = 0
        forwards, tokens = self.shared.processes.sum(encoders).tolist()
        return replace(
            cost,
            seconds=cost.seconds + seconds,
            steps=cost.steps + 1,
            tokens=cost.tokens + int(tokens),
            forwards=cost.forwards + forwards / self.shared.processes.size,
            peak_memory_mb=max(cost.peak_memory_mb, self.shared.processes.peak_memory_mb()),
            trainable_parameters=max(cost.trainable_parameters, sum(one.numel() for one in self.parameters)),
        )

    def _checkpoint(self, folder: Path, step: int, cost: Cost) -> None:
        """Keep all that the run needs to go on from here; raises Diverged where the weights are not worth keeping."""
        processes, position, reference = self.shared.processes, Position(self.number, step, cost), self.shared.reference
        finite = all(local(weights.detach()).isfinite().all() for weights in self._moving.values())
        if processes.sum(torch.tensor([float(not finite)])) > 0:
            raise self._diverged(f"The weights after step {step - 1} of the phase `{self.name}` are not finite.")
        memory = dict(self.shared.history.kept)
        if isinstance(reference, Reference):
            for rank, seen in enumerate(processes.gather([reference.seen()])):
                memory[f"{_REFERENCE}/{rank}"] = torch.tensor([*seen], dtype=torch.uint8)
        if (
            processes.is_main or processes.shards_weights
        ):  # a process that has only its part gives it to the one that writes
            write_checkpoint(folder, position, self._moving, self.plain_optimizer, memory, writes=processes.is_main)
        processes.wait()

    def _watched(self, number: int, watch: Watch) -> Mapping[str, float]:
        try:
            with self._weights.gathered():
                return watch()
        except InputError as error:  # of numbers that are not finite: there is no other input by now
            raise self._diverged(
                f"At step {number} of the phase `{self.name}` nothing can be measured: {error}"
            ) from error

    def _diverged(self, what: str) -> Diverged:
        return Diverged(
            f"{what} Lower `phase.{self.name}.learning_rate` or an intervention's `weight`."
            " The last checkpoint, if there is one, is kept."
        )


def _is_due(every: int, number: int) -> bool:
    return every > 0 and (number + 1) % every == 0


def schedule(step: int, steps: int, warmup: float) -> float:
    """Return the share of the full learning rate at `step`: up linearly over the warm-up, then down linearly to 0.

    With w = round(warmup * steps): (step + 1) / (w + 1) for step < w, else (steps - step) / (steps - w). Range: (0, 1].
    """
    rising = round(warmup * steps)
    return (step + 1) / (rising + 1) if step < rising else (steps - step) / (steps - rising)
