"""The settings of a phase, and the cost of training."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from distxfer._lists import comma_separated
from distxfer.errors import enough_memory


class Phase(BaseModel):
    """The settings of one phase.

    A step takes `batch_size * accumulation` examples, over all processes, so the trajectory does not depend on
    how they are split. The learning rate rises linearly over the share `warmup` of the steps and then
    falls linearly to 0. The defaults are those of `recipes/_defaults.toml`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    task: bool  # whether the loss on the labels is part of the objective
    interventions: Annotated[tuple[str, ...] | Literal["all"], BeforeValidator(comma_separated("all"))]
    epochs: Annotated[int, Field(ge=1)]
    steps: Annotated[int, Field(ge=0)]  # when above 0, in place of `epochs`
    batch_size: Annotated[int, Field(ge=1)]
    accumulation: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    warmup: Annotated[float, Field(ge=0, le=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    clip: Annotated[float, Field(gt=0)]
    alternate: bool  # the steps 2k and 2k + 1 take turns on one batch: the task's loss, then the interventions' terms
    rewind: str  # an earlier phase, to whose start the encoder's weights are rewound first
    # Above 0: the phase ends at the mean of the weights after each of its last `average` epochs.
    average: Annotated[int, Field(ge=0)]
    # These have a default, so that recipes without them keep their ids (`Recipe.resolved`).
    cache_frozen: bool = False
    head_learning_rate: Annotated[float, Field(ge=0)] = 0.0  # 0: `learning_rate`
    # The share of the weights at the phase's start in those that it ends with.
    merge: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # The languages whose labelled text is read, of those that have any in the run.
    languages: Annotated[tuple[str, ...] | Literal["all"], BeforeValidator(comma_separated("all"))] = "all"


def steps_of(phase: Phase, examples: int) -> int:
    """Return how many optimiser steps a phase takes over this many examples."""
    return phase.steps or phase.epochs * -(-examples // (phase.batch_size * phase.accumulation))


def memory_for_step(phase: str, step: int) -> AbstractContextManager[None]:
    """Raise RunError that says what to set where a step of a phase runs out of memory."""
    return enough_memory(
        f"step {step} of the phase `{phase}`",
        f"Lower `phase.{phase}.batch_size` and raise `phase.{phase}.accumulation`, or set `model.gradient_checkpointing=true`.",
    )


def examples_of(phase: Phase, examples: int) -> int:
    """Return how many examples the loss on the labels reads in a phase, with repetitions."""
    steps = steps_of(phase, examples) if phase.task else 0
    size = phase.batch_size * phase.accumulation
    epochs, batches = divmod(-(-steps // 2) if phase.alternate else steps, -(-examples // size))
    return epochs * examples + batches * size  # the batch that may be short is the last of its epoch


class Diagnostics(BaseModel):
    """What is recorded beside the scores, without any effect on training.

    Every so many steps (0: never), in `log.jsonl`: `gradients`, the cosine of each term's gradient with the task's and each
    term's share of their sum; `states`, drift and alignment of a sample of the test texts, without their labels, and of the
    held-out pairs. After training, in `predictions.parquet`: `probabilities`, those of all classes for each test example.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    gradients: Annotated[int, Field(ge=0)]
    states: Annotated[int, Field(ge=0)]
    probabilities: bool = True  # with a default, so that recipes without it keep their ids (`Recipe.resolved`)


@dataclass
class Cost:
    """What a run has cost so far.

    `seconds` of training, with all that it includes: the reference, steps, diagnostics and checkpoints; optimiser steps; tokens
    of all processes that the trained encoder has read; forward passes (of it and of the reference) of one process.
    """

    seconds: float = 0.0
    steps: int = 0
    tokens: int = 0
    forwards: float = 0.0
    peak_memory_mb: float = 0.0
    trainable_parameters: int = 0
