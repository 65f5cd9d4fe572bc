"""The sections of a recipe as pydantic models, whose fields are the keys, and the checks of its phases."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from distxfer._lists import comma_joined, comma_separated
from distxfer.data import Data
from distxfer.errors import InputError, did_you_mean, listed
from distxfer.languages import Distance, canonical, distance
from distxfer.measure import SimilarityName
from distxfer.training import Diagnostics, Phase

INHERITED = "finetune"  # the phase in the defaults whose values all other phases inherit
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
    frozen_weights: Literal["float32", "bf16", "int8"] = "float32"
    gradient_checkpointing: bool = False
    reference: Literal["live", "cached"] = "live"
    head: Literal["auto", "architecture"] = "architecture"
    head_start: Literal["probe", "random"] = "random"


class TaskSettings(BaseModel):
    """The task, the source languages and the target languages.

    `source`: one language, or several with commas. `mixing`: how many texts each of several sources has, see `mixed_sizes`;
    `budget`: their number in all, 0 for as many as there are.
    """

    model_config = _STRICT
    name: str
    source: Annotated[str, BeforeValidator(comma_joined)]
    targets: Annotated[tuple[str, ...] | Literal["all"], BeforeValidator(comma_separated("all"))]
    shots: Annotated[int, Field(ge=0)] | Literal["all"]
    max_length: Annotated[int, Field(ge=4)]
    folder: str = ""
    revision: str = ""
    type: str = ""
    pattern: str = ""
    columns: dict[str, str] = {}
    mixing: Literal["proportional", "uniform"] | Annotated[float, Field(ge=1, allow_inf_nan=False)] = "proportional"
    budget: Annotated[int, Field(ge=0)] = 0

    @property
    def sources(self) -> tuple[str, ...]:
        """The codes in `source`."""
        return tuple(code.strip() for code in self.source.split(","))

    @property
    def single_source(self) -> str:
        """The key of the source; raises InputError if there are several."""
        if len(self.sources) > 1:
            raise InputError(f"`task.source` is `{self.source}`; expected one language here.")
        return canonical(self.source)

    @property
    def data(self) -> Data:
        """The labelled data."""
        return Data(self.name, self.folder, self.revision, self.type, self.pattern, self.columns)


class DistanceSettings(BaseModel):
    """The distance between languages; `sources`: that to the nearest of several sources, or their mean."""

    model_config = _STRICT
    name: str
    imputed: bool
    matrix: str
    sources: Literal["nearest", "mean"] = "nearest"

    @property
    def table(self) -> Path | None:
        """The file of the user's own distances, if there is one."""
        return Path(self.matrix) if self.matrix else None

    def between(self, source: str, target: str) -> Distance:
        """Return the distance of two languages; raises InputError as `distance` does."""
        return distance(source, target, self.name, imputed=self.imputed, matrix=self.table)


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


def phase_complaints(sections: Sections, configured: Collection[str], interventions: Collection[str]) -> list[str]:
    """Return the mistakes in the phases of a recipe that defines these interventions.

    `configured` are the phases with keys that the recipe or an override sets.
    """
    phases, mistakes = sections.phases, _repeated("phases", sections.phases)
    if not phases:
        mistakes.append("`phases` is empty, but a run has at least one phase. Set `phases=finetune`.")
    for name, phase in sections.phase.items():
        if name not in phases and (name != INHERITED or name in configured):
            mistakes.append(
                f"`phase.{name}` is not among `phases` = `{listed(phases)}`.{did_you_mean(name, phases)} Add it there."
            )
        if name not in phases:
            continue
        chosen = () if phase.interventions == "all" else phase.interventions
        mistakes += [
            f"`phase.{name}.interventions` has `{label}`, which the recipe does not define."
            f"{did_you_mean(label, interventions)} It defines: {listed(interventions) or 'none'}."
            for label in chosen
            if label not in interventions
        ]
        mistakes += _repeated(f"phase.{name}.interventions", chosen)
        mistakes += _history_complaints(name, phase, phases[: phases.index(name)])
    acting = [sections.phase[name].interventions for name in phases if name in sections.phase]
    return mistakes or [
        f"`intervention.{label}` acts in no phase. Add it to `phase.{phases[0]}.interventions`, or remove it."
        for label in interventions
        if not any(chosen == "all" or label in chosen for chosen in acting)
    ]


def _history_complaints(name: str, phase: Phase, earlier: Sequence[str]) -> list[str]:
    """Return the mistakes in a phase's references to earlier phases and epochs."""
    mistakes = []
    if phase.rewind and phase.rewind not in earlier:
        available = f"Earlier than `{name}`: {listed(earlier)}." if earlier else f"None is earlier than `{name}`."
        mistakes.append(f"`phase.{name}.rewind` is `{phase.rewind}`, which is not an earlier phase. {available}")
    if phase.average and phase.steps:
        mistakes.append(
            f"`phase.{name}.average` = `{phase.average}` counts epochs, but this phase sets `steps` = `{phase.steps}`"
            f" instead. Set only `phase.{name}.epochs`, or remove `average`."
        )
    elif phase.average == 1 or phase.average > phase.epochs:
        mistakes.append(
            f"`phase.{name}.average` is `{phase.average}`, but expected 0, or 2 to its {phase.epochs} epochs."
        )
    return mistakes


def _repeated(key: str, names: Sequence[str]) -> list[str]:
    return [f"`{key}` has `{name}` twice. Name each once." for name, n in sorted(Counter(names).items()) if n > 1]
