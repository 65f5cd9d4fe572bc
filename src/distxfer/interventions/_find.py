"""Finding interventions: a file here by its name, or another package's entry point `distxfer.interventions`."""

import dataclasses
import pkgutil
from collections.abc import Mapping
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from distxfer.errors import InputError, did_you_mean
from distxfer.interventions._contract import Intervention

GROUP = "distxfer.interventions"


def intervention_names() -> tuple[str, ...]:
    """Return the names of all interventions, those of other packages included; none is imported for it."""
    here = {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name[0] != "_"}
    return tuple(sorted(here | {point.name for point in metadata.entry_points(group=GROUP)}))


def intervention_class(name: str) -> type[Intervention]:
    """Return the dataclass of the intervention called `name`: the one in its file that has a method `bind`.

    Raises InputError where there is none of this name.
    """
    points = {point.name: point for point in metadata.entry_points(group=GROUP)}
    if name in points:
        return cast(type[Intervention], points[name].load())
    if name not in intervention_names():
        raise InputError(
            f"There is no intervention `{name}`.{did_you_mean(name, intervention_names())}"
            f" Choose from: {', '.join(intervention_names())}."
        )
    module = import_module(f"{__package__}.{name}")
    (found,) = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and "bind" in vars(value)
    ]
    return cast(type[Intervention], found)


def make_intervention(kind: str, keys: Mapping[str, Any]) -> tuple[Intervention | None, list[tuple[str, str]]]:
    """Return the intervention with these keys, or None and every (key, complaint) about them."""
    cls = intervention_class(kind)
    known = [field.name for field in dataclasses.fields(cast(Any, cls))]
    complaints = [
        (key, f"is no key of the intervention `{kind}`.{did_you_mean(key, known)} Its keys: {', '.join(known)}.")
        for key in keys
        if key not in known
    ]
    try:
        made = TypeAdapter(cls).validate_python({key: value for key, value in keys.items() if key in known})
    except ValidationError as error:
        for one in reversed(error.errors()):
            complaints.insert(0, (str(one["loc"][0]) if one["loc"] else "", complaint(one)))
        first = dict(reversed(complaints))  # a union complains once for each of its members
        return None, list(first.items())
    return (None, complaints) if complaints else (made, [])


def complaint(error: Any) -> str:
    """Return what pydantic found wrong in the words of the one error grammar."""
    said = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"is refused: {said}"
    value = error["input"]
    shown = value if isinstance(value, str | int | float | bool) else type(value).__name__
    return f"is `{shown}`, but {said.replace('Input should', 'it should')}."
