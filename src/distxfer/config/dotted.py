"""Dotted keys of recipes: from nested tables and back, full and short names."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from distxfer.errors import InputError

_DEEPEST = 20  # levels of tables; keys of recipes have three
# A single value in place of one of these tables sets its `name`: `task=emoji`, `model=xlm-roberta-base`.
_NAMED = ("model", "task", "distance", "parallel")
# What other trainers call a key of a phase or a task.
_SYNONYMS = {
    "lr": "learning_rate",
    "bs": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "warmup_ratio": "warmup",
    "gradient_accumulation_steps": "accumulation",
    "max_grad_norm": "clip",
    "max_seq_length": "max_length",
    "dataset": "task",
    "languages": "targets",
}


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with their values; `task = "emoji"` is `task.name`.

    An empty table is a value, as in `[intervention.lora]` without keys. Raises InputError for tables nested too deeply.
    """
    if prefix.count(".") > _DEEPEST:
        raise InputError(f"`{prefix[:60]}...` nests more than {_DEEPEST} tables. No key is that deep.")
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}" if value == {} else full_key(f"{prefix}{key}"), value


def full_key(key: str) -> str:
    """Return the key that a single value of `key` sets: `task.name` for `task`."""
    return f"{key}.name" if key in _NAMED else key


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


def override_text(value: Any) -> str:
    """Return a value as in an override."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(override_text, value)) if isinstance(value, list | tuple) else str(value)


def complete_keys(name: str, keys: Iterable[str]) -> list[str]:
    """Return those of the dotted `keys` that end in a short name, or in what is called that elsewhere (`lr`)."""
    leaves = {name, _SYNONYMS.get(name, name)}
    return [
        key for key in keys if key != name and (key.rpartition(".")[2] in leaves or key.removesuffix(".name") in leaves)
    ]


def is_short_name(name: str, keys: Iterable[str]) -> bool:
    """Return whether a name without its tables, or a synonym, stands for a key."""
    return name in _SYNONYMS or bool(complete_keys(name, keys))
