"""The one training loop: phases, steps, exact accumulation, checkpoints, and guards against doing nothing silently."""

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from distxfer.data import epoch_order
from distxfer.encoders import Encoder
from distxfer.errors import InputError, RunError
from distxfer.interventions import Bound, Term, every
from distxfer.training._checkpoint import (
    Position,
    read_checkpoint,
    read_position,
    remove_checkpoint,
    truncate_log,
    write_checkpoint,
)
from distxfer.training._objective import Diverged, Material, Micro, Objective, diverged
from distxfer.training._settings import Cost, Phase
from distxfer.training._streams import generator
from distxfer.training._team import Team

Report = Callable[[str, int, int, float], None]  # phase, steps done, steps in all, loss

_MOVED = 2  # optimiser steps after which the weights have surely moved
_PATIENCE = 10  # steps within which every term must have had an effect
_AT_REST = 1e-4  # relative difference allowed between the encoder and its reference before the first step


@dataclass(frozen=True)
class Plan:
    """What a phase will do: its steps, and the numbers of parameters that train and that there are."""

    phase: str
    steps: int
    trainable_parameters: int
    parameters: int


class Training:
    """A run's training: `plan` says what it will do, `estimate` how long a step takes, `run` does it."""

    def __init__(
        self,
        encoder: Encoder,
        material: Material,
        bounds: Mapping[str, Bound],
        phases: Mapping[str, Phase],
        team: Team,
        seed: int,
    ) -> None:
        """Raise InputError where a phase has nothing to optimise or nothing that may train, or names no intervention."""
        self.encoder, self.material, self.bounds, self.phases = encoder, material, bounds, phases
        self.team, self.seed = team, seed
        self._trains = {name: self._trainable(name, phase) for name, phase in phases.items()}
        needs = {need for bound in bounds.values() for need in bound.needs}
        moves = frozenset().union(*self._trains.values())
        self._moving = {name: one for name, one in encoder.model.named_parameters() if name in moves}
        for name, bound in bounds.items():
            own = bound.module.to(team.device).named_parameters() if bound.module is not None else ()
            self._moving |= {f"{name}/{key}": parameter for key, parameter in own}
        self._reference = encoder.reference(moves.__contains__) if "reference" in needs else None

    def plan(self) -> list[Plan]:
        """Return what each phase will do."""
        sizes = {name: parameter.numel() for name, parameter in self.encoder.model.named_parameters()}
        return [
            Plan(name, self._steps(phase), sum(sizes[key] for key in self._trains[name]), sum(sizes.values()))
            for name, phase in self.phases.items()
        ]

    def estimate(self) -> float:
        """Return the seconds that all phases will take, from the second of two steps of each, which change nothing."""
        total = 0.0
        for number, name in enumerate(self.phases):
            loop = _PhaseLoop(self, number, name)
            for step in (0, 1):
                started = time.perf_counter()
                loop.gradients(step, None)
                seconds = time.perf_counter() - started
                loop.module.zero_grad()
            total += seconds * loop.steps
            loop.close()
        return total

    def run(self, folder: Path, report: Report, checkpoint_every: int = 0) -> Cost:
        """Train through all phases, or on from the checkpoint in `folder`; return what it cost in all.

        `log.jsonl` gets one line a step. A checkpoint is written every `checkpoint_every` steps (0: once an epoch).

        Raises Diverged for a loss that is not finite (the last checkpoint stays), RunError for a term without effect.
        """
        start = self.team.broadcast(read_position(folder)) or Position(0, 0, Cost())
        log = folder / "log.jsonl"
        if self.team.is_main:
            truncate_log(
                log, {number: start.step if number == start.phase else 2**62 for number in range(start.phase + 1)}
            )
        self._check_reference()
        cost = start.cost
        for number, name in enumerate(self.phases):
            if number < start.phase:
                continue
            loop = _PhaseLoop(self, number, name)
            first = start.step if number == start.phase else 0
            if first:
                read_checkpoint(folder, self._moving, loop.plain_optimizer)
            cost = loop.run(first, cost, folder, log, report, checkpoint_every)
            loop.close()
        return replace(cost, peak_memory_mb=_peak_memory_mb(self.team.device))

    def own_weights(self) -> dict[str, Tensor]:
        """Return the weights that interventions have of their own, as `NAME.PARAMETER`, to be saved with the result."""
        return {
            f"{name}.{key}": value.detach().cpu().contiguous()
            for name, bound in self.bounds.items()
            if bound.module is not None
            for key, value in bound.module.state_dict().items()
        }

    def remove_checkpoint(self, folder: Path) -> None:
        """Remove what a finished run needs no more."""
        remove_checkpoint(folder)

    def active(self, phase: Phase) -> dict[str, Bound]:
        """Return the interventions that a phase uses."""
        if phase.interventions == "all":
            return dict(self.bounds)
        return {name: bound for name, bound in self.bounds.items() if name in phase.interventions}

    def _steps(self, phase: Phase) -> int:
        per_epoch = -(-len(self.material.examples) // (phase.batch_size * phase.accumulation))
        return phase.steps or phase.epochs * per_epoch

    def _trainable(self, name: str, phase: Phase) -> set[str]:
        """Return the parameters that this phase trains; refuse a restriction that restricts nothing, or everything."""
        names = [key for key, _ in self.encoder.model.named_parameters()]
        allowed = set(names) - {key for key in names if ".original_module." in key}
        if not phase.task and not any(bound.term for bound in self.active(phase).values()):
            raise InputError(
                f"The phase `{name}` has nothing to optimise: neither `task = true` nor a term of an intervention."
            )
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
        if not allowed:
            raise InputError(
                f"Nothing may train in the phase `{name}`: its interventions freeze all {len(names)} parameters."
            )
        return allowed

    def _check_reference(self) -> None:
        """Make sure that the reference is the encoder as it is before the first step: drift starts at 0."""
        if self._reference is None:
            return
        batch = self.material.collate(list(self.material.examples[:8]))
        now, _ = self.encoder.states([batch.inputs])
        before = self._reference.states(batch.examples, batch.inputs).cpu()
        difference = float((now - before).norm() / before.norm())
        if not difference <= _AT_REST:
            raise RunError(
                f"The reference encoder differs from the encoder before the first step by {difference:.2g} of its norm;"
                " expected 0. Drift would be measured from the wrong place."
            )


class _PhaseLoop:
    """The loop over the steps of one phase."""

    def __init__(self, training: Training, number: int, name: str) -> None:
        self.training, self.number, self.name = training, number, name
        self.phase = training.phases[name]
        self.steps = training._steps(self.phase)
        bounds = training.active(self.phase)
        for key, parameter in training.encoder.model.named_parameters():
            parameter.requires_grad_(key in training._trains[name])
        objective = Objective(
            training.encoder,
            training.material,
            bounds,
            task=self.phase.task,
            reference=training._reference,
            stream=(training.seed, training.team.rank),
        ).to(training.team.device)
        self.parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        self.plain_optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self.parameters if p.dim() > 1], "weight_decay": self.phase.weight_decay},
                {"params": [p for p in self.parameters if p.dim() <= 1], "weight_decay": 0.0},
            ],
            lr=self.phase.learning_rate,
        )
        self.module = objective
        self.model, self.optimizer = training.team.accelerator.prepare(objective, self.plain_optimizer)
        self.model.train()
        self._epoch: tuple[int, list[list[int]]] = (-1, [])
        self._unproven = {key for key, weight in objective.weights.items() if weight > 0}
        self._expected: Tensor | None = None
        self._first = 0  # the step that this process started from
        self._logs: dict[str, float] = {}

    def close(self) -> None:
        """Let Accelerate forget this phase's model and optimiser."""
        self.training.team.accelerator.free_memory()

    def run(self, first: int, cost: Cost, folder: Path, log: Path, report: Report, checkpoint_every: int) -> Cost:
        """Do the steps from `first` on, and return the cost so far."""
        team = self.training.team
        self._first = first
        every_steps = checkpoint_every or max(1, self.steps // self.phase.epochs)
        with log.open("a", encoding="utf-8") if team.is_main else nullcontext() as stream:
            for number in range(first, self.steps):
                started = time.perf_counter()
                entry = self._step(number)
                cost = self._add(cost, time.perf_counter() - started)
                if stream is not None:
                    stream.write(json.dumps(entry) + "\n")
                    stream.flush()
                    report(self.name, number + 1, self.steps, float(entry["loss"]))
                team.accelerator.log({key: value for key, value in entry.items() if key != "phase"}, step=cost.steps)
                if (number + 1) % every_steps == 0 or number + 1 == self.steps:
                    self._checkpoint(folder, number + 1, cost)
        if self._unproven and self.steps - first > _MOVED:
            self._no_effect(sorted(self._unproven)[0], self.steps)
        return cost

    def _step(self, number: int) -> dict[str, float | str]:
        """Do one optimiser step and return its line for the log."""
        totals, counts = self.gradients(number, self._expected)
        self._expected = counts
        norm = float(self.training.team.accelerator.clip_grad_norm_(self.parameters, self.phase.clip))
        if not torch.isfinite(torch.tensor(norm)):
            raise Diverged(
                f"The gradient at step {number} of the phase `{self.name}` is {norm}. Lower `learning_rate` or a `weight`."
            )
        rate = self.phase.learning_rate * schedule(number, self.steps, self.phase.warmup)
        for group in self.plain_optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        values = {
            key: float(total / count) if count else None
            for key, total, count in zip(self.module.weights, totals, counts, strict=True)
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
            **self._logs,
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
        team, weights = self.training.team, self.module.weights
        totals, counts = torch.zeros(len(weights), dtype=torch.float64), torch.zeros(len(weights), dtype=torch.float64)
        alone = len(micros) * team.size == 1
        for index, micro in enumerate(micros):
            last = index == len(micros) - 1
            with nullcontext() if last else team.accelerator.no_sync(self.model):
                terms: dict[str, Term] = self.model(micro)
                self._check(terms, micro.number)
                self._logs = {
                    f"term/{name}/{key}": value for name, term in terms.items() for key, value in term.logs.items()
                }
                these = torch.tensor([float(term.count) for term in terms.values()], dtype=torch.float64)
                if alone or expected is None:
                    expected = these if alone else team.sum(these) * len(micros)
                loss = sum(
                    weights[name] * term.total * (team.size / float(count))
                    for (name, term), count in zip(terms.items(), expected, strict=True)
                    if weights[name] > 0 and count > 0
                )
                if isinstance(loss, Tensor) and loss.requires_grad:
                    team.accelerator.backward(loss)
            totals += torch.tensor([float(term.total.detach()) for term in terms.values()], dtype=torch.float64)
            counts += these
        assert expected is not None
        return team.sum(totals), team.sum(counts), expected

    def _check(self, terms: Mapping[str, Term], number: int) -> None:
        """Stop at a loss that is not finite; make sure that every term moves something once the weights have moved."""
        for name, term in terms.items():
            value = float(term.total.detach())
            if value != value or value in (float("inf"), float("-inf")):
                raise diverged(name, f"is {value}", self.name, number)
        if number < _MOVED or not self._unproven:
            return
        for name in sorted(self._unproven & {name for name, term in terms.items() if term.count}):
            total = terms[name].total
            gradients = (
                torch.autograd.grad(total, self.parameters, retain_graph=True, allow_unused=True)
                if total.requires_grad
                else ()
            )
            if any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients):
                self._unproven.discard(name)
        if self._unproven and number >= self._first + _MOVED + _PATIENCE:
            self._no_effect(sorted(self._unproven)[0], number)

    def _no_effect(self, name: str, number: int) -> None:
        raise RunError(
            f"The term `{name}` has had no gradient on any trainable parameter by step {number} of the phase `{self.name}`,"
            " so it does nothing. Its layers may all be frozen, or it may have nothing to sum over; a `weight` of 0"
            " measures a term without using it."
        )

    def _micros(self, number: int) -> list[Micro]:
        """Return this process's parts of the micro-batches of a step; the same examples whatever the cut."""
        examples, team = self.training.material.examples, self.training.team
        size = self.phase.batch_size
        per_epoch = -(-len(examples) // (size * self.phase.accumulation))
        epoch, position = divmod(number, per_epoch)
        if epoch != self._epoch[0]:
            lengths = [len(example.text) + len(example.text_pair or "") for example in examples]
            random = generator(self.training.seed, "order", self.name, epoch)
            self._epoch = (epoch, epoch_order(lengths, size * self.phase.accumulation, random))
        order = self._epoch[1][position]
        micros = []
        for index, low in enumerate(range(0, len(order), size)):
            whole = order[low : low + size]
            mine = team.share(whole)
            batch = self.training.material.collate([examples[item] for item in mine or whole[:1]])
            micros.append(Micro(self.name, number, index, batch, void=not mine))
        return micros

    def _add(self, cost: Cost, seconds: float) -> Cost:
        """Return the cost with one more step in it, summed over the processes."""
        encoders = torch.tensor([self.module.forwards, self.module.tokens], dtype=torch.float64)
        self.module.forwards = self.module.tokens = 0
        reference = self.training._reference
        if reference is not None:
            encoders[0] += reference.forwards
            reference.forwards = 0
        forwards, tokens = self.training.team.sum(encoders).tolist()
        return replace(
            cost,
            seconds=cost.seconds + seconds,
            steps=cost.steps + 1,
            tokens=cost.tokens + int(tokens),
            forwards=cost.forwards + forwards / self.training.team.size,
            trainable_parameters=sum(parameter.numel() for parameter in self.parameters),
        )

    def _checkpoint(self, folder: Path, step: int, cost: Cost) -> None:
        if self.training.team.is_main:
            position = Position(self.number, step, cost)
            write_checkpoint(folder, position, self.training._moving, self.plain_optimizer)
        self.training.team.wait()


def schedule(step: int, steps: int, warmup: float) -> float:
    """Return the share of the full learning rate at `step`: up linearly over the warm-up, then down linearly to 0.

    With w = round(warmup * steps): (step + 1) / (w + 1) for step < w, else (steps - step) / (steps - w). Range: (0, 1].
    """
    rising = round(warmup * steps)
    return (step + 1) / (rising + 1) if step < rising else (steps - step) / (steps - rising)


def _peak_memory_mb(device: torch.device) -> float:
    """Return the most memory this process has held: on the GPU if there is one, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
