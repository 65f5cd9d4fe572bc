"""Tables as dotted keys, and back."""

from collections.abc import Iterator, Mapping
from typing import Any

from distxfer.errors import InputError

_DEEPEST = 20  # tables inside each other; a key of a recipe has three


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with their values; an empty table is its own value, since `[intervention.lora]` says enough.

    Raises InputError for tables inside each other beyond all that a recipe or a study has.
    """
    if prefix.count(".") > _DEEPEST:
        raise InputError(f"`{prefix[:60]}...` names more than {_DEEPEST} tables inside each other. No key is as deep.")
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nest(flat: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the tables that dotted keys mean, and a complaint about every key that is inside a single value."""
    nested: dict[str, Any] = {}
    wrong = []
    for key, value in flat.items():
        *parents, leaf = key.split(".")
        table: Any = nested
        for depth, parent in enumerate(parents, start=1):
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                single = ".".join(parents[:depth])
                wrong.append(f"`{key}` is no key: `{single}` is a single value. Did you mean `{single}`?")
                break
        else:
            if value != {}:
                table[leaf] = value
            elif not isinstance(table.get(leaf), dict):
                table[leaf] = {}
    return nested, wrong
