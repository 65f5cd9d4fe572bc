"""The settings of finished runs by dotted key, in which of them methods differ, and how a value is shown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def settings_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe of a result's data with dotted keys, without its seed and name."""
    return {key: value for key, value in _flat(data["recipe"], "") if key not in ("seed", "name")}


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _fixed(value)


def _fixed(value: Any) -> Any:
    """Return a value of JSON in a form that can be compared and counted."""
    if isinstance(value, dict):
        return tuple((key, _fixed(entry)) for key, entry in sorted(value.items()))
    return tuple(map(_fixed, value)) if isinstance(value, list) else value


def differing(settings: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the keys whose values are not all the same, in the order of their appearance.

    Of an intervention or phase that some lack, only what differs among those that have it; and for an intervention, that
    it is there or not: its `weight` stands for that, or its `kind` where it has none.
    """
    keys = []
    for key in dict.fromkeys(key for recipe in settings for key in recipe):
        values = {recipe.get(key) for recipe in settings if has_table(recipe, key)}
        if len(values) > 1 or stands_for_presence(key, settings):
            keys.append(key)
    return tuple(keys)


def has_table(settings: Mapping[str, Any], key: str) -> bool:
    """Return whether the intervention or phase that a key belongs to is there; other keys always belong."""
    table = _table(key)
    return not table or any(_table(name) == table for name in settings)


def stands_for_presence(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether some settings lack the intervention of this key, and the key is the one that stands for it."""
    having = [recipe for recipe in settings if has_table(recipe, key)]
    return len(having) < len(settings) and key == _stands_for(key, having[0])


def setting_text(value: Any) -> str:
    """Return a setting's value as an override would say it; `""` where it is empty, a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return (",".join(map(setting_text, value)) if isinstance(value, tuple) else printable(str(value))) or '""'


def printable(text: str) -> str:
    """Return text with what a terminal would act on written out, as Python writes it in a literal."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _table(key: str) -> str:
    parts = key.split(".")
    return ".".join(parts[:2]) if parts[0] in ("intervention", "phase") and len(parts) > 2 else ""


def _stands_for(key: str, settings: Mapping[str, Any]) -> str:
    table = _table(key)
    if not table.startswith("intervention."):
        return ""  # of a phase that is there or not, `phases` tells
    return f"{table}.weight" if f"{table}.weight" in settings else f"{table}.kind"


def sortable(value: Any) -> tuple[int, float, str]:
    """Return what values of any kind are sorted by: what is not there, then numbers, then words."""
    if isinstance(value, int | float):
        return 1, float(value), ""
    return (0, 0.0, "") if value is None else (2, 0.0, setting_text(value))
