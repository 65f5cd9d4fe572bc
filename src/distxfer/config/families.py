"""Settings of model families that replace the defaults: `recipes/_families.toml`, looked up by model name or folder."""

import json
import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from distxfer.config.files import FAMILIES
from distxfer.encoders import BUNDLED_MODELS, PACKED_TYPES

# sentence-transformers' `pooling_mode` or `pooling_mode_...` -> `model.pooling`
_POOLINGS = {
    "cls": "cls",
    "cls_token": "cls",
    "mean": "mean",
    "mean_tokens": "mean",
    "lasttoken": "last",
    "last": "last",
}
_MODE = "pooling_mode"


@dataclass(frozen=True)
class Family:
    """A family of models: how its members are recognised, and its settings as tables of a recipe.

    `kinds` holds further settings for recipes with an intervention of that kind; `source` documents the learning rate.
    """

    name: str
    names: tuple[str, ...]
    config: Mapping[str, Any]
    source: str
    settings: Mapping[str, Any]
    kinds: Mapping[str, Mapping[str, Any]]

    def tables(self, kinds: Collection[str]) -> list[Mapping[str, Any]]:
        """Return the settings for a recipe with interventions of these kinds; later tables take precedence."""
        return [self.settings, *(table for kind, table in self.kinds.items() if kind in kinds)]


def family_of(model: str) -> Family | None:
    """Return the family of a model, by a folder's `config.json` or the last part of the name; None if unknown."""
    folder = os.path.expanduser(model)  # `Path` would raise for an unknown user or a name that is too long
    if os.path.isdir(folder):
        config = _json(Path(folder, "config.json"), dict)
        return next((family for family in families() if family.config and _fits(family.config, config)), None)
    name = model.rstrip("/").rsplit("/", 1)[-1].lower()
    return next((family for family in families() if any(fnmatch(name, pattern) for pattern in family.names)), None)


def text_layout(model: str) -> str:
    """Return how a model reads a batch of texts on a CPU, by the type in its `config.json`; empty for one that is not here."""
    if model in BUNDLED_MODELS:
        model_type = BUNDLED_MODELS[model].model_type
    else:
        model_type = str(_json(Path(os.path.expanduser(model), "config.json"), dict).get("model_type", ""))
    if not model_type:
        return ""
    return "texts without padding on a CPU" if model_type in PACKED_TYPES else "texts padded, by length"


def own_pooling(folder: Path) -> tuple[str, str] | None:
    """Return the pooling in sentence-transformers' files of a model's folder, and the file; None without one.

    It is read from the `config.json` of the module `...Pooling` in `modules.json`. An unsupported pooling counts as none,
    and so do several, whose vectors sentence-transformers concatenates.
    """
    modules = _json(folder / "modules.json", list)
    for module in modules:
        if isinstance(module, dict) and str(module.get("type")).endswith(".Pooling"):
            file = Path(Path(str(module.get("path"))).name, "config.json")
            config = _json(folder / file, dict)
            modes = {
                key.removeprefix(f"{_MODE}_") for key in config if key.startswith(f"{_MODE}_") and config[key] is True
            }
            if isinstance(config.get(_MODE), str):
                modes.add(config[_MODE])
            poolings = {_POOLINGS.get(mode) for mode in modes}
            pooling = poolings.pop() if len(poolings) == 1 else None
            return (pooling, str(file)) if pooling else None
    return None


@cache
def families() -> tuple[Family, ...]:
    """Return all families in the order in which they are matched."""
    tables = tomllib.loads(FAMILIES.read_text(encoding="utf-8"))
    return tuple(
        Family(name, tuple(table["names"]), table["config"], table["source"], table["settings"], table.get("with", {}))
        for name, table in tables.items()
    )


def _fits(expected: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    return all(config.get(key) in (value if isinstance(value, list) else [value]) for key, value in expected.items())


def _json(path: Path, expected: type[dict[str, Any]] | type[list[Any]]) -> Any:
    """Return the content of a JSON file, empty if it cannot be read; loading the model reports what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return expected()
    return content if isinstance(content, expected) else expected()
