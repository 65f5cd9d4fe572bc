"""Conversion between nested tables and dotted keys."""

from collections.abc import Iterator, Mapping
from typing import Any

from distxfer.errors import InputError

_DEEPEST = 20  # levels of tables; keys of recipes have three


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with their values. An empty table is a value, as in `[intervention.lora]` without keys.

    Raises InputError for tables that are nested too deeply.
    """
    if prefix.count(".") > _DEEPEST:
        raise InputError(f"`{prefix[:60]}...` nests more than {_DEEPEST} tables. No key is that deep.")
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nest(flat: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the nested tables of dotted keys, and a complaint about every key below a single value."""
    nested: dict[str, Any] = {}
    complaints = []
    for key, value in flat.items():
        *parents, leaf = key.split(".")
        table: Any = nested
        for depth, parent in enumerate(parents, start=1):
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                single = ".".join(parents[:depth])
                complaints.append(f"`{key}` is not a key: `{single}` is a single value. Did you mean `{single}`?")
                break
        else:
            if value != {}:
                table[leaf] = value
            elif not isinstance(table.get(leaf), dict):
                table[leaf] = {}
    return nested, complaints
