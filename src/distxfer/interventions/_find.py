"""Finding interventions: a module here by its name, or another package's entry point `distxfer.interventions`."""

import dataclasses
import json
import math
import pkgutil
import re
from collections.abc import Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from distxfer._installed import entry_points
from distxfer.errors import InputError, did_you_mean
from distxfer.interventions._contract import Intervention

GROUP = "distxfer.interventions"

# The expected value by pydantic's type of error, in the terms of a recipe; others keep pydantic's words.
_EXPECTED = {
    "bool_parsing": "true or false", "bool_type": "true or false",
    "int_parsing": "a whole number", "int_type": "a whole number", "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "float_parsing": "a number", "float_type": "a number",
    "string_type": "a text", "tuple_type": "a list",
    "dict_type": "a table of keys", "model_type": "a table of keys",
}  # fmt: skip


def intervention_names() -> tuple[str, ...]:
    """Return the names of all interventions, including those of other packages, without importing any."""
    return tuple(sorted(_shipped() | {*entry_points(GROUP)}))


def intervention_class(name: str) -> type[Intervention]:
    """Return the dataclass of the intervention called `name`: the one in its file that has a method `bind`.

    Raises InputError where there is none of this name.
    """
    points = entry_points(GROUP)
    if name in points and name in _shipped():
        raise InputError(
            f"`{points[name].value}` brings an intervention `{name}`, but distxfer ships one of that name. Rename it."
        )
    if name in points:
        return _loaded(points[name])
    if name not in intervention_names():
        raise InputError(
            f"There is no intervention `{name}`.{did_you_mean(name, intervention_names())}"
            f" Choose from: {', '.join(intervention_names())}."
        )
    module = import_module(f"{__package__}.{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and "bind" in vars(value)
    ]
    if len(classes) != 1:
        raise InputError(f"`{module.__file__}` has {len(classes)} classes with a method `bind`; expected one.")
    return cast(type[Intervention], classes[0])


def _shipped() -> set[str]:
    return {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name[0] != "_"}


def _loaded(point: metadata.EntryPoint) -> type[Intervention]:
    """Load an entry point; raises InputError unless it is a dataclass with a method `bind`."""
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"The intervention `{point.name}`, `{point.value}`, does not load: {error}.") from error
    if not (isinstance(loaded, type) and dataclasses.is_dataclass(loaded) and "bind" in dir(loaded)):
        raise InputError(f"The intervention `{point.name}`, `{point.value}`, is no dataclass with a method `bind`.")
    return cast(type[Intervention], loaded)


def make_intervention(kind: str, keys: Mapping[str, Any]) -> tuple[Intervention | None, list[tuple[str, str]]]:
    """Return the intervention with these keys, or None and every (key, complaint) about them."""
    cls = intervention_class(kind)
    field_names = [field.name for field in dataclasses.fields(cast(Any, cls))]
    complaints = [
        (
            key,
            f"is no key of the intervention `{kind}`.{did_you_mean(key, field_names)} Its keys: {', '.join(field_names)}.",
        )
        for key in keys
        if key not in field_names
    ]
    try:
        intervention = TypeAdapter(cls).validate_python(
            {key: value for key, value in keys.items() if key in field_names}
        )
    except ValidationError as error:
        groups: dict[str, list[Any]] = {}
        for detail in error.errors():
            groups.setdefault(str(detail["loc"][0]) if detail["loc"] else "", []).append(detail)
        return None, [*((key, complaint(group)) for key, group in groups.items()), *complaints]
    complaints += [
        (key, f"is `{value}`, but it should be a finite number.")
        for key, value in ((key, getattr(intervention, key)) for key in field_names)
        if isinstance(value, float) and not math.isfinite(value)
    ]
    return (None, complaints) if complaints else (intervention, [])


def complaint(errors: Sequence[Any]) -> str:
    """Return one complaint for pydantic's errors about one key.

    There are several where the key is a union, such as a list or the word `all`.
    """
    value = errors[0]["input"]
    if errors[0]["type"] == "value_error":
        return f"is refused: {str(errors[0]['msg']).removeprefix('Value error, ')}"
    if errors[0]["type"] == "missing":
        return "is missing, and has no default. Set it."
    expected = dict.fromkeys(
        _EXPECTED.get(error["type"], error["msg"].removeprefix("Input should be ")) for error in errors
    )
    words = [word for error in errors for word in re.findall("'(.*?)'", error.get("ctx", {}).get("expected", ""))]
    return f"is `{_shown(value)}`, but it should be {', or '.join(expected)}.{did_you_mean(_shown(value), words)}"


def _shown(value: Any) -> str:
    """Return a value as it would be written in a recipe."""
    if isinstance(value, dict):
        return "a table"
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, bool | list) else str(value)
