"""Recipes: TOML files with the differences from the defaults, plus overrides, validated as a whole."""

import os
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from distxfer._lists import comma_separated
from distxfer.config.dotted import complete_keys, flatten, nest, override_text
from distxfer.config.families import family_of, own_pooling
from distxfer.config.files import DEFAULTS, FAMILIES, SOURCES, recipe_name, recipe_path
from distxfer.config.settings import (
    INHERITED,
    DistanceSettings,
    MeasureSettings,
    ModelSettings,
    ParallelSettings,
    Sections,
    TaskSettings,
    phase_complaints,
)
from distxfer.data import parallel_names
from distxfer.errors import InputError, RenamedWarning, did_you_mean, listed, mistakes_text
from distxfer.interventions import (
    Intervention,
    complaint,
    intervention_class,
    intervention_names,
    make_intervention,
)
from distxfer.results.old_names import current_setting
from distxfer.training import Diagnostics, Phase

_DEFAULTS, _FAMILIES = DEFAULTS.name, FAMILIES.name
_AUTO = "auto"  # parallel text: the task's own, or none
_TASK = "task"  # the name of the loss on labels, which no intervention may have
_UNION = ("tuple[", "literal[", "constrained-")
_SETTINGS = ("model", "task", "distance", "parallel", "diagnostics", "measure")
_TABLES = {"phase": "finetune.epochs", "intervention": "align.weight"}  # sections of tables, each with an example
_SECTIONS = (*Sections.model_fields, "intervention")


@dataclass(frozen=True)
class Value:
    """One value of a recipe and its origin: a file name, `override`, or an intervention's default."""

    value: Any
    origin: str

    @property
    def is_default(self) -> bool:
        """Whether it is from the defaults or a model family, rather than the recipe or an override."""
        return self.origin.startswith((_DEFAULTS, _FAMILIES, SOURCES.name))


@dataclass(frozen=True)
class Recipe:
    """A resolved and validated recipe; `values` are its values by dotted key, with their origins."""

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
        """Whether the recipe or an override sets `model.pooling`, rather than the defaults or a model family."""
        return not self.values["model.pooling"].is_default

    def pooled_as(self, folder: Path) -> "Recipe":
        """Return the recipe with the pooling of its model's files, unless the recipe or an override sets one.

        Needed for models on the hub, whose files are not available when the recipe is loaded.
        """
        pooling = own_pooling(folder)
        if pooling is None or self.chooses_pooling:
            return self
        model = self.model.model_copy(update={"pooling": pooling[0]})
        return replace(self, model=model, values={**self.values, "model.pooling": Value(*pooling)})

    def resolved(self, *, complete: bool = True) -> dict[str, Any]:
        """Return every setting as plain JSON data, in the layout of a recipe file.

        Unless `complete`, settings added after version 0.1 are omitted if they have their default (fields with a default
        in `settings.py`, and fields of interventions marked `LATER`), so that new keys do not change the ids of runs.
        """
        sections = {key: _section(getattr(self, key), complete) for key in _SETTINGS}
        return {
            "name": self.name,
            "seed": self.seed,
            "phases": list(self.phases),
            **{key: section for key, section in sections.items() if section},
            "phase": {name: _section(phase, complete) for name, phase in self.phases.items()},
            "intervention": {
                name: {"kind": self.values[f"intervention.{name}.kind"].value, **_keys(intervention, complete)}
                for name, intervention in self.interventions.items()
            },
        }


def load_recipe(name: str | Path, overrides: Sequence[str] | Mapping[str, Any] = (), **settings: Any) -> Recipe:
    """Return the recipe called `name`, or in the file `name`, with overrides applied in order.

    `overrides` are `KEY=VALUE` texts or a mapping, nested or with dotted keys; `settings` are more of them, such as
    `seed=1` or `phase={"finetune": {"epochs": 3}}`. `task` may be tables by language and split, as `save_task` takes them.

    Precedence: `_defaults.toml` < the model's family < the recipe < the overrides. A scalar in place of a table with a
    `name` sets that name.

    Raises InputError with all mistakes at once, each with its key, the expected values, and the nearest known key.
    """
    path = recipe_path(str(name))
    recipe = recipe_name(path)
    defaults = _values(_read(DEFAULTS), _DEFAULTS) | _values(_read(SOURCES), SOURCES.name)
    chosen = _values(_read(path), path.name)
    mistakes = []
    for text in () if isinstance(overrides, Mapping) else overrides:
        key, separator, value = (part.strip() for part in text.partition("="))
        if separator and key:
            chosen |= _values({key: value}, "override")
        else:
            mistakes.append(
                f"`{text}` is not an override. Write KEY=VALUE, such as `seed=1` or `task.targets=jpn,kor`."
            )
    for table in (overrides if isinstance(overrides, Mapping) else {}, settings):
        chosen |= _values(_with_named_task(table), "override")
    defaults |= _family({**defaults, **chosen})
    values = defaults | chosen
    return _validated(recipe, {**_inherited(defaults, values), **values}, mistakes)


def _with_named_task(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings with a task that is given as tables replaced by the name of its copy in the cache."""
    task = settings.get("task")
    if not isinstance(task, Mapping) or not task or not all(isinstance(splits, Mapping) for splits in task.values()):
        return settings
    if any(isinstance(table, str) for splits in task.values() for table in splits.values()):  # `task.columns`
        return settings
    from distxfer.data import task_in_memory  # needs pyarrow

    return {**settings, "task": task_in_memory(task)}


def _as_read(value: Any) -> Any:
    """Return a value from Python as a recipe file has it: paths as texts, tuples and sets as lists."""
    if isinstance(value, tuple | list | set):
        return [_as_read(item) for item in value]
    return str(value) if isinstance(value, os.PathLike) else value


def _family(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the settings of the recipe's model that replace the defaults: those of its family, and its own pooling."""
    model = str(values["model.name"].value)
    family, pooling = family_of(model), own_pooling(Path(os.path.expanduser(model)))
    own_values = {"model.pooling": Value(*pooling)} if pooling else {}
    if family is None:
        return own_values
    labels = {key.split(".")[1] for key in values if key.startswith("intervention.")}
    kinds = {str(values.get(f"intervention.{label}.kind", Value(label, "")).value) for label in labels}
    settings: dict[str, Value] = {}
    for table in family.tables(kinds):
        settings |= _values(table, f"{_FAMILIES}, {family.name}")
    return settings | own_values


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"`{path}` is not valid TOML: {error}.") from error
    except RecursionError as error:
        raise InputError(f"`{path}` nests arrays or tables too deeply for a recipe.") from error
    except (OSError, ValueError) as error:  # not text, or a number with too many digits
        raise InputError(f"`{path}` cannot be read: {error}.") from error


def _values(table: Mapping[str, Any], origin: str) -> dict[str, Value]:
    """Return the values of nested tables by dotted key; a scalar in place of a table with a `name` sets that name.

    An old name is replaced by the present one, with a RenamedWarning.
    """
    values = {}
    for key, value in flatten(table):
        present = current_setting(key, value)
        if present != (key, value):
            old, new = (f"`{name}={override_text(setting)}`" for name, setting in ((key, value), present))
            warnings.warn(f"{old} ({origin}) is now {new}. Change it there; until then, both work.", RenamedWarning, 3)
        key, value = present
        values[key] = Value(_as_read(value), origin)
    return values


def _validated(name: str, values: dict[str, Value], mistakes: list[str]) -> Recipe:
    """Return the recipe of these values, or raise InputError with the given `mistakes` and all found here."""
    mistakes = mistakes + [
        f"`{key}`: expected a table or a key in one, such as `{key}.{example}`."
        for key, example in _TABLES.items()
        if key in values and values[key].value != {}
    ]
    nested, complaints = nest({key: entry.value for key, entry in values.items() if key not in _TABLES})
    mistakes += complaints
    tables = nested.pop("intervention", {})
    sections, complaints = _sections(nested, values, tables)
    mistakes += complaints
    if sections is not None and sections.parallel.name == _AUTO:
        sections, corpus_values = _own_corpus(sections, values["parallel.name"].origin)
        values |= corpus_values
    interventions: dict[str, Intervention] = {}
    for label, table in tables.items():
        intervention, complaints = _intervention(label, table)
        mistakes += complaints
        if intervention is not None:
            interventions[label] = intervention
            values |= _defaults_of(label, str(table.get("kind", label)), intervention, values)
    if sections is not None:
        configured = {
            key.split(".")[1]
            for key, entry in values.items()
            if key.startswith("phase.") and key.count(".") > 1 and not entry.is_default
        }
        mistakes += phase_complaints(sections, configured, tables)
    if mistakes or sections is None:
        raise InputError(mistakes_text(f"The recipe `{name}`", mistakes))
    used = {phase: sections.phase[phase] for phase in sections.phases}
    values = {
        key: entry
        for key, entry in values.items()
        if entry.value != {} and (not key.startswith("phase.") or key.split(".")[1] in used)
    }
    return Recipe(
        name=name,
        seed=sections.seed,
        **{section: getattr(sections, section) for section in _SETTINGS},
        phases=used,
        interventions=interventions,
        values=values,
    )


def _inherited(defaults: Mapping[str, Value], values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values that all other phases inherit from the phase in the defaults."""
    phases = comma_separated()(values["phases"].value)
    named = [key.split(".")[1] for key in values if key.startswith("phase.")]  # an unlisted phase is reported later
    start = f"phase.{INHERITED}."
    return {
        f"phase.{phase}.{key.removeprefix(start)}": Value(entry.value, f"{entry.origin}, phase.{INHERITED}")
        for phase in dict.fromkeys([*(phases if isinstance(phases, list | tuple) else ()), *named])
        if phase != INHERITED
        for key, entry in defaults.items()
        if key.startswith(start)
    }


def _sections(
    nested: dict[str, Any], values: Mapping[str, Value], tables: Mapping[str, Any]
) -> tuple[Sections | None, list[str]]:
    try:
        return Sections.model_validate(nested), []
    except ValidationError as error:
        groups: dict[tuple[str, ...], list[Any]] = {}
        for details in error.errors():  # integers are positions in lists, other parts are members of unions
            place = (part for part in details["loc"] if isinstance(part, str) and not part.startswith(_UNION))
            groups.setdefault(tuple(place), []).append(details)
        return None, [_complaint(place, group, values, tables) for place, group in groups.items()]


def _own_corpus(sections: Sections, origin: str) -> tuple[Sections, dict[str, Value]]:
    """Return the sections with the task's own parallel text instead of `auto`, and the values that this sets.

    A task's own corpus is the built-in one with its name, unless it is on the hub. Its folder and pattern are those of the
    task unless `parallel` sets them. Other tasks have no corpus of their own.
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


def _complaint(
    place: Sequence[str], errors: Sequence[Any], values: Mapping[str, Value], tables: Mapping[str, Any]
) -> str:
    """Return the complaint about a key; for one without its table, with the complete keys that it may stand for."""
    key = ".".join(place)
    if errors[0]["type"] != "extra_forbidden":
        return f"`{key}` {complaint(errors)}"
    if key in values:
        every = [*values, *(key for label, table in tables.items() for key in _intervention_keys(label, table))]
        complete = [f"`{name}={override_text(values[key].value)}`" for name in complete_keys(key, dict.fromkeys(every))]
        if len(place) == 1 and complete:
            return f"`{key}` is not a complete key. Write {'one of: ' * (len(complete) > 1)}{listed(complete)}."
    keys = _known_keys(place[:-1])
    full = [".".join([*place[:-1], name]) for name in keys]
    return f"`{key}` is not a key.{did_you_mean(key, full)} Keys here: {listed(keys)}."


def _intervention_keys(label: str, table: Any) -> list[str]:
    kind = str(table.get("kind", label)) if isinstance(table, dict) else label
    names = fields(cast(Any, intervention_class(kind))) if kind in intervention_names() else ()
    return [f"intervention.{label}.{field.name}" for field in names]


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
            f"`intervention.{label}` is `{table}`; expected a table of keys, such as `intervention.{label}.weight`."
        ]
    if label == _TASK:
        return None, [
            f"`intervention.{label}`: `{label}` is the name of the loss on labels. Choose another name, and set its `kind`."
        ]
    kind = str(table.get("kind", label))
    try:
        intervention, complaints = make_intervention(
            kind, {key: value for key, value in table.items() if key != "kind"}
        )
    except InputError as error:
        return None, [f"`intervention.{label}`: {error}"]
    return intervention, [f"`intervention.{label}{'.' * bool(key)}{key}` {text}" for key, text in complaints]


def _defaults_of(label: str, kind: str, intervention: Intervention, values: Mapping[str, Value]) -> dict[str, Value]:
    origin = f"default of the intervention {kind}"
    defaults = {field.name: _plain(getattr(intervention, field.name)) for field in fields(cast(Any, intervention))}
    return {
        f"intervention.{label}.{key}": Value(value, origin)
        for key, value in {"kind": kind, **defaults}.items()
        if f"intervention.{label}.{key}" not in values
    }


def _section(section: BaseModel, complete: bool) -> dict[str, Any]:
    """Return the settings of a section without empty tables, which mean nothing in a recipe file either."""
    settings = section.model_dump(mode="json", exclude_defaults=not complete)
    return {key: value for key, value in settings.items() if value != {}}


def _keys(intervention: Intervention, complete: bool) -> dict[str, Any]:
    """Return the keys of an intervention."""
    values = ((field, getattr(intervention, field.name)) for field in fields(cast(Any, intervention)))
    return {
        field.name: _plain(value)
        for field, value in values
        if complete or not ("later" in field.metadata and value == field.default)
    }


def _plain(value: Any) -> Any:
    """Return a value as in a recipe file: lists for tuples, texts for paths, and an empty text for None."""
    if isinstance(value, tuple | list):
        return [_plain(member) for member in value]
    if value is None:
        return ""
    return str(value) if isinstance(value, Path) else value
