"""Names that have changed: recipes and results are read under the old ones too. For users: `docs/renamed.md`."""

from collections.abc import Callable, Mapping
from typing import Any

# All tables: old -> new.
_KEYS = {"task.kind": "task.type"}
_TASK_TYPES = {"tokens": "token_classification", "entities": "named_entities", "answers": "question_answering"}
_VALUES = {"task.type": _TASK_TYPES}  # by the new name of the key
_OLD_KEYS = {new: old for old, new in _KEYS.items()}
_OLD_VALUES = {key: {new: old for old, new in values.items()} for key, values in _VALUES.items()}
_RESULT_KEYS = {"kind": "task_type", "settled": "resolved_values"}
_PLACEMENTS = {"divided": "sharded"}  # `provenance.weights`


def current_setting(key: str, value: Any) -> tuple[str, Any]:
    """Return a dotted key of recipes and its value under their present names."""
    key = _KEYS.get(key, key)
    return key, _renamed(value, _VALUES.get(key, {}))


def original_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of a recipe under the original names, from which ids are computed: renaming changes no id."""
    return _translated(recipe, lambda key, value: (_OLD_KEYS.get(key, key), _renamed(value, _OLD_VALUES.get(key, {}))))


def current_result(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a `result.json` under the present names."""
    result = {_RESULT_KEYS.get(key, key): value for key, value in data.items()}
    if "task_type" in result:
        result["task_type"] = _renamed(result["task_type"], _TASK_TYPES)
    if isinstance(result.get("recipe"), dict):
        result["recipe"] = _translated(result["recipe"], current_setting)
    if isinstance(result.get("provenance"), dict) and "weights" in result["provenance"]:
        placement = _renamed(result["provenance"]["weights"], _PLACEMENTS)
        result["provenance"] = {**result["provenance"], "weights": placement}
    return result


def _translated(recipe: Mapping[str, Any], rename: Callable[[str, Any], tuple[str, Any]]) -> dict[str, Any]:
    """Return the tables of a recipe with each `section.key` and its value renamed."""
    translated = {}
    for section, table in recipe.items():
        if isinstance(table, dict):
            entries = [rename(f"{section}.{key}", value) for key, value in table.items()]
            translated[section] = {key.removeprefix(f"{section}."): value for key, value in entries}
        else:
            translated[section] = table
    return translated


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    return names.get(value, value) if isinstance(value, str) else value
