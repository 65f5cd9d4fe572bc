"""The sections of a recipe as pydantic models, whose fields are the keys."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from distxfer._lists import comma_separated
from distxfer.data import Data
from distxfer.measure import SimilarityName
from distxfer.training import Diagnostics, Phase

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSettings(BaseModel):
    """The encoder, and how its hidden states are pooled into one vector per text."""

    model_config = _STRICT
    name: str
    revision: str
    pooling: Literal["mean", "cls", "last"]
    drop_last_layers: Annotated[int, Field(ge=0)]
    train_word_embeddings: bool
    precision: Literal["auto", "float32", "bf16"] = "auto"
    frozen_weights: Literal["float32", "bf16"] = "float32"
    gradient_checkpointing: bool = False
    reference: Literal["live", "cached"] = "live"


class TaskSettings(BaseModel):
    """The task, the source language and the target languages."""

    model_config = _STRICT
    name: str
    source: str
    targets: Annotated[tuple[str, ...] | Literal["all"], BeforeValidator(comma_separated("all"))]
    shots: Annotated[int, Field(ge=0)] | Literal["all"]
    max_length: Annotated[int, Field(ge=4)]
    folder: str = ""
    revision: str = ""
    type: str = ""
    pattern: str = ""
    columns: dict[str, str] = {}

    @property
    def data(self) -> Data:
        """The labelled data."""
        return Data(self.name, self.folder, self.revision, self.type, self.pattern, self.columns)


class DistanceSettings(BaseModel):
    """The distance between languages."""

    model_config = _STRICT
    name: str
    imputed: bool
    matrix: str


class ParallelSettings(BaseModel):
    """The parallel text, if any. `mined`: terms train on pairs mined from the task's unlabelled text instead."""

    model_config = _STRICT
    name: str
    mined: bool
    folder: str = ""
    revision: str = ""
    pattern: str = ""

    @property
    def data(self) -> Data:
        """The parallel text."""
        return Data(self.name, self.folder, self.revision, pattern=self.pattern)


class MeasureSettings(BaseModel):
    """Similarity measures, by name, of the states before and after training, in addition to drift and alignment."""

    model_config = _STRICT
    similarity: Annotated[tuple[SimilarityName, ...], BeforeValidator(comma_separated())] = ()


class Sections(BaseModel):
    """All sections of a recipe but the interventions, which declare their own keys."""

    model_config = _STRICT
    seed: Annotated[int, Field(ge=0)]
    phases: Annotated[tuple[str, ...], BeforeValidator(comma_separated())]
    model: ModelSettings
    task: TaskSettings
    distance: DistanceSettings
    parallel: ParallelSettings
    phase: dict[str, Phase]
    diagnostics: Diagnostics
    measure: MeasureSettings
