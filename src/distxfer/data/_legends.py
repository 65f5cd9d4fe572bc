"""The names of labels that files give as numbers: `ClassLabel` of the library `datasets`, in a Parquet schema or a card."""

import json
import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml  # type: ignore[import-untyped]  # a dependency of transformers

from distxfer.errors import InputError, reason
from distxfer.languages import canonical

Names = Mapping[str, tuple[str, ...]]  # column -> the names of its numbers, from 0 on
_KEY = b"huggingface"  # of the schema's metadata
CARDS = ("README.md", "dataset_infos.json")
_INFO = re.compile(rb"^[\"']?dataset_info[\"']?\s*:", re.MULTILINE)


def schema_names(path: Path, metadata: Mapping[bytes, bytes] | None) -> Names:
    """Return the names that the schema of a Parquet file holds; raises InputError where they cannot be read."""
    if _KEY not in (metadata or {}):
        return {}
    try:
        return _names(json.loads((metadata or {})[_KEY])["info"]["features"])
    except KeyError:
        return {}
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"`{path}` has names of labels in its schema that cannot be read ({error}). Write the file again with `datasets`,"
            " or without the schema's entry `huggingface`."
        ) from error


@dataclass(frozen=True)
class Card:
    """The names of labels in a dataset card (`README.md`, or `dataset_infos.json`), by configuration; `notes` on the card."""

    path: Path
    configurations: Mapping[str, Names]
    notes: tuple[str, ...] = ()

    def names(self, language: str, file: Path) -> Names:
        """Return the names for a file: those of the configuration called as its language or its folder, or of all.

        A column that has other names in each of several configurations, none of which is the file's, has none: ().
        """
        parts = (
            {file.stem, *file.relative_to(self.path.parent).parts} if file.is_relative_to(self.path.parent) else set()
        )
        for name, names in self.configurations.items():
            if name in parts or _is(name, language):
                return names
        found: dict[str, tuple[str, ...]] = {}
        for names in self.configurations.values():
            for column, own in names.items():
                found[column] = own if found.setdefault(column, own) == own else ()
        return found


def read_card(folder: Path) -> Card | None:
    """Return the names in a folder's dataset card, or None without any.

    A `README.md` that is no dataset card gives no names, and a note where it looks like one: it begins with `---`.

    Raises InputError for a card with names that cannot be read: `dataset_infos.json`, or the key `dataset_info` of a README.
    """
    card: Card | None = None
    for path in (folder / name for name in CARDS):
        if not path.is_file():
            continue
        try:
            configurations = dict(_configurations(path))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml.YAMLError) as error:
            if isinstance(error, OSError) or path.suffix == ".json" or _has_info(path):
                raise InputError(
                    f"The dataset card `{path}` cannot be read: {reason(error)}. Repair it, or move it away."
                ) from error
            note = f"`{path}` is not a dataset card that can be read ({reason(error)}), so no names of labels come from it."
            card = Card(path, {}, (note,))
        else:
            if any(configurations.values()):
                return Card(path, configurations, card.notes if card else ())
    return card


def _has_info(path: Path) -> bool:
    """Return whether the YAML at the start of a README has the key `dataset_info`, well-formed or not."""
    return bool(_INFO.search(path.read_bytes().lstrip().split(b"\n---", 1)[0]))


def with_names(record: Mapping[str, Any], names: Names) -> Mapping[str, Any]:
    """Return a record with the numbers of its labels replaced by their names; other cells are not looked up."""
    named = {column: _named(record[column], own) for column, own in names.items() if column in record}
    return ChainMap(named, cast(dict[str, Any], record)) if named else record


def _named(value: object, names: tuple[str, ...]) -> object:
    """Return a value, or a list of values, with each number that has a name replaced by it; anything else as it is."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    number = isinstance(value, str) and len(value) < 10 and value.isdecimal()
    if isinstance(value, str) and number and value not in names and int(value) < len(names):
        return names[int(value)]  # CSV has texts alone
    if type(value) is int and 0 <= value < len(names):
        return names[value]
    return value


def _configurations(path: Path) -> Iterator[tuple[str, Names]]:
    """Yield the name of each configuration in a card, and the names of its labels."""
    if path.suffix == ".json":
        for name, about in json.loads(path.read_text(encoding="utf-8")).items():
            yield str(name), _names(about.get("features") or {})
        return
    from huggingface_hub.repocard import metadata_load  # half a second

    infos = (metadata_load(path) or {}).get("dataset_info") or []
    for about in infos if isinstance(infos, list) else [infos]:
        features = about.get("features") or []
        yield str(about.get("config_name", "default")), _names({one["name"]: one for one in features})


def _names(features: Mapping[str, Any]) -> Names:
    found = {column: _class_label(feature) for column, feature in features.items()}
    return {column: names for column, names in found.items() if names}


def _class_label(feature: Any) -> tuple[str, ...]:
    """Return the names of a feature that is a `ClassLabel`, or a list of them; () for another.

    `{"_type": "ClassLabel", "names": [...]}` in schemas, `{"class_label": {"names": {"0": ...}}}` in cards; lists are
    `Sequence`, `List` or `LargeList` with the key `feature`, a list of one, or the keys `sequence` and `list` of cards.
    """
    if isinstance(feature, list):
        return _class_label(feature[0]) if len(feature) == 1 else ()
    if not isinstance(feature, dict):
        return ()
    label = feature if feature.get("_type") == "ClassLabel" else feature.get("class_label")
    if isinstance(label, dict):
        names = label.get("names") or ()
        ordered = [names[key] for key in sorted(names, key=int)] if isinstance(names, dict) else names
        return tuple(map(str, ordered))
    for key in ("feature", "dtype", "sequence", "list"):
        if found := _class_label(feature.get(key)):
            return found
    return ()


def _is(name: str, language: str) -> bool:
    """Return whether a configuration is called by a code of the language."""
    try:
        return canonical(name) == language
    except InputError:
        return False
