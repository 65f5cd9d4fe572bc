"""Recipes: TOML files that differ from the defaults, overridden from the command line, validated whole."""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from distxfer._lists import comma_separated
from distxfer.config.dotted import flatten, nest
from distxfer.config.families import family_of, own_pooling
from distxfer.config.files import defaults_file, families_file, recipe_name, recipe_path
from distxfer.config.short_names import full_keys
from distxfer.data import Data, parallel_names
from distxfer.errors import InputError, did_you_mean, listed
from distxfer.interventions import (
    Intervention,
    complaint,
    intervention_class,
    intervention_names,
    make_intervention,
)
from distxfer.measure import SimilarityName
from distxfer.training import Diagnostics, Phase

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
_DEFAULTS, _FAMILIES = defaults_file().name, families_file().name
_INHERITED = "finetune"  # the phase of the defaults that every other phase starts as a copy of
_AUTO = "auto"  # parallel text: the task's own, or none
_TASK = "task"  # what training calls the loss on the labels, beside the names of the interventions


class ModelSettings(BaseModel):
    """Which encoder, and how its hidden states become one vector a sentence."""

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
    """Which task, from which language to which."""

    model_config = _STRICT
    name: str
    source: str
    targets: Annotated[tuple[str, ...] | Literal["all"], BeforeValidator(comma_separated("all"))]
    shots: Annotated[int, Field(ge=0)] | Literal["all"]
    max_length: Annotated[int, Field(ge=4)]
    folder: str = ""
    revision: str = ""
    kind: str = ""
    pattern: str = ""
    columns: dict[str, str] = {}

    @property
    def data(self) -> Data:
        """Which labelled data, and how it lies."""
        return Data(self.name, self.folder, self.revision, self.kind, self.pattern, self.columns)


class DistanceSettings(BaseModel):
    """Which distance between languages."""

    model_config = _STRICT
    name: str
    imputed: bool
    matrix: str


class ParallelSettings(BaseModel):
    """Which parallel text, if any; `mined`: not its pairs, but pairs mined from the task's unlabelled text, train terms."""

    model_config = _STRICT
    name: str
    mined: bool
    folder: str = ""
    revision: str = ""
    pattern: str = ""

    @property
    def data(self) -> Data:
        """Which parallel text, and how it lies."""
        return Data(self.name, self.folder, self.revision, pattern=self.pattern)


class MeasureSettings(BaseModel):
    """What is measured beside drift and alignment: similarity measures between before and after training, by name."""

    model_config = _STRICT
    similarity: Annotated[tuple[SimilarityName, ...], BeforeValidator(comma_separated())] = ()


class Sections(BaseModel):
    """A whole recipe but its interventions."""

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


# A scalar in the place of one of these tables means its `name`: `task=emoji`, `model=xlm-roberta-base`.
_NAMED = ("model", "task", "distance", "parallel")
_UNION = ("tuple[", "literal[", "constrained-")
_SETTINGS = ("model", "task", "distance", "parallel", "diagnostics", "measure")
_SECTIONS = (*Sections.model_fields, "intervention")


@dataclass(frozen=True)
class Value:
    """One value of a recipe and where it came from: a file's name, `override`, or an intervention's default."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Recipe:
    """A recipe, resolved and validated; `values` is what it was made of, key by key, with origins."""

    name: str
    seed: int
    model: ModelSettings
    task: TaskSettings
    distance: DistanceSettings
    parallel: ParallelSettings
    diagnostics: Diagnostics
    measure: MeasureSettings
    phases: Mapping[str, Phase]
    interventions: Mapping[str, Intervention]
    values: Mapping[str, Value]

    @property
    def chooses_pooling(self) -> bool:
        """Whether the recipe or an override says `model.pooling`, which a default and a family only guess."""
        return not self.values["model.pooling"].origin.startswith((_DEFAULTS, _FAMILIES))

    def pooled_as(self, folder: Path) -> "Recipe":
        """Return the recipe with the pooling that the files of its model name, unless the recipe or an override says one.

        For models on the hub, whose files are there only after the recipe is loaded.
        """
        own = own_pooling(folder)
        if own is None or self.chooses_pooling:
            return self
        model = self.model.model_copy(update={"pooling": own[0]})
        return replace(self, model=model, values={**self.values, "model.pooling": Value(*own)})

    def resolved(self, *, whole: bool = True) -> dict[str, Any]:
        """Return every setting as plain JSON data, in the layout of a recipe file.

        Unless `whole`, without the settings that came later than version 0.1 where they are as if they were not there (the
        fields that have a default in this file, those of interventions that are `LATER`): a run keeps its id when recipes learn
        new keys.
        """
        sections = {key: _section(getattr(self, key), whole) for key in _SETTINGS}
        kinds = {name: self.values[f"intervention.{name}.kind"].value for name in self.interventions}
        return {
            "name": self.name,
            "seed": self.seed,
            "phases": list(self.phases),
            **{key: section for key, section in sections.items() if section},
            "phase": {name: _section(phase, whole) for name, phase in self.phases.items()},
            "intervention": {
                name: {"kind": kinds[name], **_keys(one, whole)} for name, one in self.interventions.items()
            },
        }


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe called `name`, or in the file `name`, with `KEY=VALUE` overrides applied in order.

    Precedence: `_defaults.toml` < the model's family < the recipe < the overrides. A table that has a `name` may be given as
    a scalar.

    Raises InputError with every mistake at once, each with its key, what it may be, and the nearest known key.
    """
    path = recipe_path(name)
    recipe = recipe_name(path)
    defaults = {key: Value(value, _DEFAULTS) for key, value in _flat(_read(defaults_file()))}
    said = {key: Value(value, path.name) for key, value in _flat(_read(path))}
    wrong = []
    for text in overrides:
        key, separator, value = (part.strip() for part in text.partition("="))
        if separator and key:
            said[f"{key}.name" if key in _NAMED else key] = Value(value, "override")
        else:
            wrong.append(f"`{text}` is no override. Write KEY=VALUE, such as `seed=1` or `task.targets=jpn,kor`.")
    defaults |= _family({**defaults, **said})
    values = defaults | said
    return _validated(recipe, {**_inherited(defaults, values), **values}, wrong)


def _family(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return what the recipe's model needs in place of the defaults: as its family does, and its own files say."""
    model = str(values["model.name"].value)
    family, own = family_of(model), own_pooling(Path(os.path.expanduser(model)))
    pooling = {"model.pooling": Value(*own)} if own else {}
    if family is None:
        return pooling
    labels = {key.split(".")[1] for key in values if key.startswith("intervention.") and key.count(".")}
    kinds = {str(values[key].value) if (key := f"intervention.{one}.kind") in values else one for one in labels}
    origin = f"{_FAMILIES}, {family.name}"
    return {key: Value(value, origin) for table in family.tables(kinds) for key, value in _flat(table)} | pooling


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"`{path}` is not TOML: {error}.") from error
    except RecursionError as error:
        raise InputError(f"`{path}` nests arrays or tables too deep to be a recipe.") from error
    except (OSError, ValueError) as error:  # no text, or a number of more digits than Python reads
        raise InputError(f"`{path}` cannot be read: {error}.") from error


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with their values; a scalar in the place of a table that has a `name` means that."""
    for key, value in flatten(table):
        yield f"{key}.name" if key in _NAMED and value != {} else key, value


def _validated(name: str, values: dict[str, Value], wrong: list[str]) -> Recipe:
    """Return the recipe of these values, or raise InputError with all that is `wrong` already and all that is here."""
    wrong = wrong + [
        f"`{key}`: a table or a key inside one is expected, such as `{key}.{_inside(key)}`."
        for key, one in values.items()
        if key in ("phase", "intervention") and one.value != {}
    ]
    nested, complaints = nest({key: one.value for key, one in values.items() if key not in ("phase", "intervention")})
    wrong += complaints
    tables = nested.pop("intervention", {})
    sections, complaints = _sections(nested, values, tables)
    wrong += complaints
    if sections is not None and sections.parallel.name == _AUTO:
        sections, own = _own_corpus(sections, values["parallel.name"].origin)
        values |= own
    interventions: dict[str, Intervention] = {}
    for label, table in tables.items():
        made, complaints = _intervention(label, table)
        wrong += complaints
        if made is not None:
            interventions[label] = made
            values |= _defaults_of(label, str(table.get("kind", label)), made, values)
    if sections is not None:
        wrong += _phase_complaints(sections, values, tables)
    if wrong or sections is None:
        raise InputError(
            f"The recipe `{name}` has {len(wrong)} mistake{'s' * (len(wrong) > 1)}:\n"
            + "\n".join(f"  {line}" for line in wrong)
        )
    used = {phase: sections.phase[phase] for phase in sections.phases}
    values = {
        key: one
        for key, one in values.items()
        if one.value != {} and (not key.startswith("phase.") or key.split(".")[1] in used)
    }
    return Recipe(
        name=name,
        seed=sections.seed,
        model=sections.model,
        task=sections.task,
        distance=sections.distance,
        parallel=sections.parallel,
        diagnostics=sections.diagnostics,
        measure=sections.measure,
        phases=used,
        interventions=interventions,
        values=values,
    )


def _inherited(defaults: Mapping[str, Value], values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values that all other phases take over from the phase that the defaults describe."""
    listed = comma_separated()(values["phases"].value)
    named = [key.split(".")[1] for key in values if key.startswith("phase.")]  # one that is not listed is told later
    start = f"phase.{_INHERITED}."
    return {
        f"phase.{phase}.{key.removeprefix(start)}": Value(one.value, f"{one.origin}, phase.{_INHERITED}")
        for phase in dict.fromkeys([*(listed if isinstance(listed, list | tuple) else ()), *named])
        if phase != _INHERITED
        for key, one in defaults.items()
        if key.startswith(start)
    }


def _sections(
    nested: dict[str, Any], values: Mapping[str, Value], tables: Mapping[str, Any]
) -> tuple[Sections | None, list[str]]:
    try:
        return Sections.model_validate(nested), []
    except ValidationError as error:
        groups: dict[tuple[str, ...], list[Any]] = {}
        for one in error.errors():  # a whole number is a place in a list; the rest names the members of a union
            place = (part for part in one["loc"] if isinstance(part, str) and not part.startswith(_UNION))
            groups.setdefault(tuple(place), []).append(one)
        return None, [
            _short_name_complaint(place, values, tables) or _complaint(place, group) for place, group in groups.items()
        ]


def _own_corpus(sections: Sections, origin: str) -> tuple[Sections, dict[str, Value]]:
    """Return the sections with the task's own parallel text in place of `auto`, and the values that this sets.

    A task's own corpus is the built-in one of its name, if it needs nothing from the hub; where a copy of it lies, the task
    says, if `parallel` does not. Other tasks have none.
    """
    task, about = sections.task, parallel_names().get(sections.task.name)
    if about is None or about.source:
        settings = {"name": ""}
        origin = f"{origin}, auto: the task `{task.name}` has no parallel text of its own"
    else:
        keys = [key for key in ("folder", "pattern") if key in about.keys and not getattr(sections.parallel, key)]
        settings = {"name": task.name, **{key: value for key in keys if (value := getattr(task, key))}}
        origin = f"{origin}, auto: the task's own"
    parallel = sections.parallel.model_copy(update=settings)
    values = {f"parallel.{key}": Value(value, origin) for key, value in settings.items()}
    return sections.model_copy(update={"parallel": parallel}), values


def _complaint(place: Sequence[str], errors: Sequence[Any]) -> str:
    key = ".".join(place)
    if errors[0]["type"] == "extra_forbidden":
        known = _known_keys(place[:-1])
        full = [".".join([*place[:-1], one]) for one in known]
        return f"`{key}` is no key.{did_you_mean(key, full)} Known here: {listed(known)}."
    return f"`{key}` {complaint(errors)}"


def _short_name_complaint(place: Sequence[str], values: Mapping[str, Value], tables: Mapping[str, Any]) -> str:
    """Return the complaint about a key without its table, with the full keys that it may stand for; else an empty text."""
    if len(place) != 1 or place[0] not in values:
        return ""
    keys = [*values, *(key for label, table in tables.items() for key in _intervention_keys(label, table))]
    full = [f"`{key}={_shown(values[place[0]].value)}`" for key in full_keys(place[0], dict.fromkeys(keys))]
    if not full:
        return ""
    return f"`{place[0]}` is no key by itself. Write {'one of: ' * (len(full) > 1)}{listed(full)}."


def _intervention_keys(label: str, table: Any) -> list[str]:
    kind = str(table.get("kind", label)) if isinstance(table, dict) else label
    names = fields(cast(Any, intervention_class(kind))) if kind in intervention_names() else ()
    return [f"intervention.{label}.{field.name}" for field in names]


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _known_keys(place: Sequence[str]) -> tuple[str, ...]:
    if not place:
        return _SECTIONS
    if place[0] == "phase":
        return tuple(Phase.model_fields)
    section = Sections.model_fields[place[0]].annotation
    return tuple(cast(type[BaseModel], section).model_fields)


def _intervention(label: str, table: Any) -> tuple[Intervention | None, list[str]]:
    if not isinstance(table, dict):
        return None, [
            f"`intervention.{label}` is `{table}`, but it should be a table of keys, such as `intervention.{label}.weight`."
        ]
    if label == _TASK:
        return None, [
            f"`intervention.{label}`: the loss on the labels has the name `{label}`. Choose another, and give its `kind`."
        ]
    kind = str(table.get("kind", label))
    try:
        made, complaints = make_intervention(kind, {key: value for key, value in table.items() if key != "kind"})
    except InputError as error:
        return None, [f"`intervention.{label}`: {error}"]
    return made, [f"`intervention.{label}{'.' * bool(key)}{key}` {text}" for key, text in complaints]


def _defaults_of(label: str, kind: str, made: Intervention, values: Mapping[str, Value]) -> dict[str, Value]:
    origin = f"default of the intervention {kind}"
    every = {"kind": kind, **{field.name: _plain(getattr(made, field.name)) for field in fields(cast(Any, made))}}
    return {
        f"intervention.{label}.{key}": Value(value, origin)
        for key, value in every.items()
        if f"intervention.{label}.{key}" not in values
    }


def _phase_complaints(sections: Sections, values: Mapping[str, Value], tables: Mapping[str, Any]) -> list[str]:
    wrong = []
    if not sections.phases:
        wrong.append("`phases` is empty, but a run has at least one phase. Say `phases=finetune`.")
    wrong += [f"`phases` has `{twice}` twice. Name each phase once." for twice in _twice(sections.phases)]
    for phase in sections.phase:
        ours = any(
            key.startswith(f"phase.{phase}.") and not one.origin.startswith((_DEFAULTS, _FAMILIES))
            for key, one in values.items()
        )
        if phase not in sections.phases and (phase != _INHERITED or ours):
            wrong.append(
                f"`phase.{phase}` is not among `phases` = `{listed(sections.phases)}`."
                f"{did_you_mean(phase, sections.phases)} Add it there."
            )
        chosen = sections.phase[phase].interventions
        for one in () if chosen == "all" else chosen:
            if one not in tables and phase in sections.phases:
                wrong.append(
                    f"`phase.{phase}.interventions` has `{one}`, which the recipe does not define."
                    f"{did_you_mean(one, tables)} It defines: {listed(tables) or 'none'}."
                )
        wrong += _history_complaints(phase, sections)
        wrong += [
            f"`phase.{phase}.interventions` has `{twice}` twice. Name each once."
            for twice in _twice(() if chosen == "all" else chosen)
        ]
    lists = {phase: sections.phase[phase].interventions for phase in sections.phases if phase in sections.phase}
    return wrong or [
        f"`intervention.{label}` acts in no phase. Add it to `phase.{sections.phases[0]}.interventions`, or leave it out."
        for label in tables
        if not any(chosen == "all" or label in chosen for chosen in lists.values())
    ]


def _history_complaints(name: str, sections: Sections) -> list[str]:
    """Return what is wrong with the earlier phases and epochs that a phase refers to."""
    phase, wrong = sections.phase[name], []
    if name not in sections.phases:
        return []
    earlier = sections.phases[: sections.phases.index(name)]
    if phase.rewind and phase.rewind not in earlier:
        known = f"Earlier than `{name}`: {listed(earlier)}." if earlier else f"None is earlier than `{name}`."
        wrong.append(f"`phase.{name}.rewind` is `{phase.rewind}`, which is no earlier phase. {known}")
    if phase.average and phase.steps:
        wrong.append(
            f"`phase.{name}.average` = `{phase.average}` counts epochs, and this phase counts `steps` = `{phase.steps}` in"
            f" place of them. Set `phase.{name}.epochs` alone, or leave `average` out."
        )
    elif phase.average == 1 or phase.average > phase.epochs:
        wrong.append(f"`phase.{name}.average` is `{phase.average}`, but expected 0, or 2 to its {phase.epochs} epochs.")
    return wrong


def _twice(words: Sequence[str]) -> list[str]:
    return sorted({word for word in words if list(words).count(word) > 1})


def _inside(key: str) -> str:
    return "finetune.epochs" if key == "phase" else f"{intervention_names()[0]}.weight"


def _section(section: BaseModel, whole: bool) -> dict[str, Any]:
    """Return the settings of a section; a table in it that is empty says nothing, in a recipe file as here."""
    settings = section.model_dump(mode="json", exclude_defaults=not whole)
    return {key: value for key, value in settings.items() if value != {}}


def _keys(intervention: Intervention, whole: bool) -> dict[str, Any]:
    """Return the keys of an intervention."""
    values = ((field, getattr(intervention, field.name)) for field in fields(cast(Any, intervention)))
    return {
        one.name: _plain(value)
        for one, value in values
        if whole or not ("later" in one.metadata and value == one.default)
    }


def _plain(value: Any) -> Any:
    """Return a value as a recipe file would say it: lists for tuples, texts for paths, and an empty one for none."""
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if value is None:
        return ""
    return str(value) if isinstance(value, Path) else value
