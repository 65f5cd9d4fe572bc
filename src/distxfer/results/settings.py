"""The settings of finished runs by dotted key, how methods differ in them, and their text form."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def settings_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result's recipe with dotted keys, without seed and name."""
    return {key: value for key, value in _flat(recipe, "") if key not in ("seed", "name")}


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _fixed(value)


def _fixed(value: Any) -> Any:
    """Return a JSON value in hashable form."""
    if isinstance(value, dict):
        return tuple((key, _fixed(entry)) for key, entry in sorted(value.items()))
    return tuple(map(_fixed, value)) if isinstance(value, list) else value


def differing(settings: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the keys whose values differ, in order of appearance.

    For an intervention or phase that some settings lack, keys that differ among the others; and for an intervention, one key for
    its presence: its `weight`, or its `kind` if it has none.
    """
    keys = []
    for key in dict.fromkeys(key for recipe in settings for key in recipe):
        values = {recipe.get(key) for recipe in settings if has_table(recipe, key)}
        if len(values) > 1 or stands_for_presence(key, settings):
            keys.append(key)
    return tuple(keys)


def has_table(settings: Mapping[str, Any], key: str) -> bool:
    """Return whether the intervention or phase of a key is present; True for other keys."""
    table = optional_table(key)
    return not table or any(optional_table(name) == table for name in settings)


def stands_for_presence(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether some settings lack this key's intervention, and the key stands for its presence."""
    having = [recipe for recipe in settings if has_table(recipe, key)]
    return len(having) < len(settings) and key == _stands_for(key, having[0])


def setting_text(value: Any) -> str:
    """Return a setting's value as in an override; `""` if empty, a dash if missing."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return (",".join(map(setting_text, value)) if isinstance(value, tuple) else printable(str(value))) or '""'


def printable(text: str) -> str:
    """Return text with control characters escaped as in a Python literal."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def optional_table(key: str) -> str:
    """Return the table of a key that a recipe may lack, such as `intervention.align`; empty for other keys."""
    parts = key.split(".")
    return ".".join(parts[:2]) if parts[0] in ("intervention", "phase") and len(parts) > 2 else ""


def _stands_for(key: str, settings: Mapping[str, Any]) -> str:
    table = optional_table(key)
    if not table.startswith("intervention."):
        return ""  # of a phase that is there or not, `phases` tells
    return f"{table}.weight" if f"{table}.weight" in settings else f"{table}.kind"


def sortable(value: Any) -> tuple[int, float, str]:
    """Return a sort key for values of any type: missing, then numbers, then strings."""
    if isinstance(value, int | float):
        return 1, float(value), ""
    return (0, 0.0, "") if value is None else (2, 0.0, setting_text(value))
