"""The names of numeric labels: `ClassLabel` features of the library `datasets`, in a Parquet schema or a dataset card."""

import json
import re
from collections import ChainMap
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml  # type: ignore[import-untyped]  # a dependency of transformers

from distxfer.data._files import language_or_none
from distxfer.errors import InputError, listed, reason

Legend = Mapping[int, str]  # number -> name
Names = Mapping[str, Legend]  # by column
Reading = Mapping[str, str]  # value as text -> name
_NUMBER = re.compile(r"\s*([+-]?\d+)(?:\.0*)?\s*")  # `1.0`: pandas writes integers so in a column with missing values
_KEY = b"huggingface"  # in the schema's metadata
CARDS = ("README.md", "dataset_infos.json")
_INFO = re.compile(rb"^[\"']?dataset_info[\"']?\s*:", re.MULTILINE)


def schema_names(path: Path, metadata: Mapping[bytes, bytes] | None) -> Names:
    """Return the label names in the schema of a Parquet file; raises InputError if they cannot be read."""
    if _KEY not in (metadata or {}):
        return {}
    try:
        return _names(json.loads((metadata or {})[_KEY])["info"]["features"])
    except KeyError:
        return {}
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"`{path}` has label names in its schema that cannot be read ({error}). Write the file again with `datasets`,"
            " or without the schema's entry `huggingface`."
        ) from error


@dataclass(frozen=True)
class Card:
    """The label names in a dataset card (`README.md` or `dataset_infos.json`), by configuration."""

    path: Path
    configurations: Mapping[str, Names]

    def names(self, language: str, file: Path) -> Names:
        """Return the label names for a file, from the configuration named after its language or folder, or from all.

        Without such a configuration, a column whose names differ between the configurations has no names: {}.
        """
        if name := self._configuration(language, file):
            return self.configurations[name]
        merged: dict[str, Legend] = {}
        for names in self.configurations.values():
            for column, legend in names.items():
                merged[column] = legend if merged.setdefault(column, legend) == legend else {}
        return merged

    def note(self, language: str, file: Path, shown: str) -> str:
        """Return a note if a file (called `shown`) takes its label names from another language's configuration, or ""."""
        languages = [name for name in self.configurations if language_or_none(name)]
        if self._configuration(language, file) or len(languages) < len(self.configurations):
            return ""
        configurations = f"configuration{'s' * (len(languages) > 1)} {listed(f'`{name}`' for name in languages)}"
        return (
            f"`{shown}`: its label names are those of the {configurations} in `{self.path.name}`, which has none for"
            f" `{language}`."
        )

    def _configuration(self, language: str, file: Path) -> str | None:
        """Return the configuration named after a file's language, its folder or the file itself."""
        parts = (
            {file.stem, *file.relative_to(self.path.parent).parts} if file.is_relative_to(self.path.parent) else set()
        )
        return next((name for name in self.configurations if name in parts or language_or_none(name) == language), None)


def read_card(folder: Path) -> Card | None:
    """Return the label names in a folder's dataset card, or None without any. Other READMEs are not read.

    Raises InputError if `dataset_infos.json`, or the key `dataset_info` of a README, cannot be read.
    """
    for path in (folder / name for name in CARDS):
        try:
            configurations = dict(_configurations(path)) if path.is_file() else {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml.YAMLError) as error:
            if path.suffix == ".json" or isinstance(error, OSError) or _has_info(path):
                is_odd = isinstance(error, AttributeError | KeyError)
                fault = "the label names are not in the format of `datasets`" if is_odd else reason(error)
                raise InputError(
                    f"The dataset card `{path}` cannot be read: {fault}. Repair it, or move it away."
                ) from error
            configurations = {}
        if any(configurations.values()):
            return Card(path, configurations)
    return None


def _has_info(path: Path) -> bool:
    """Return whether the YAML block of a README, well-formed or not, has the key `dataset_info`."""
    return bool(_INFO.search(path.read_bytes().lstrip().split(b"\n---", 1)[0]))


def with_names(
    record: Mapping[str, Any], names: Names, readings: Mapping[str, Reading] | None = None
) -> Mapping[str, Any]:
    """Return a record with the labels in the columns of `names` replaced by their names; other cells are not read.

    Integers are looked up in the legend, texts in the column's reading (`read_as_numbers`, `read_as_names`), if it has one.
    """
    named = {
        column: _named(record[column], legend, (readings or {}).get(column, {}))
        for column, legend in names.items()
        if column in record
    }
    return ChainMap(named, cast(dict[str, Any], record)) if named else record


def _named(value: object, legend: Legend, reading: Reading) -> object:
    """Return the name of a value, or of each value of a list; values without a name are unchanged."""
    if isinstance(value, list):
        return [_named(item, legend, reading) for item in value]
    if type(value) is int:
        return legend.get(value, value)
    return reading.get(value, value) if isinstance(value, str) else value


def is_number(text: str) -> bool:
    """Return whether a label text is a whole number, in any legend or none."""
    return bool(_NUMBER.fullmatch(text))


def read_as_numbers(texts: Collection[str], legend: Legend) -> Reading:
    """Return text -> name for the texts that are numbers in the legend."""
    matches = {text: _NUMBER.fullmatch(text) for text in texts}
    numbers = {text: int(match[1]) for text, match in matches.items() if match and len(match[1]) < 20}
    return {text: legend[number] for text, number in numbers.items() if number in legend}


def read_as_names(texts: Collection[str], legend: Legend) -> Reading:
    """Return text -> name for the texts that are names in the legend, ignoring blanks around them."""
    names = set(legend.values())
    return {text: text if text in names else text.strip() for text in texts if {text, text.strip()} & names}


def _configurations(path: Path) -> Iterator[tuple[str, Names]]:
    """Yield the name of each configuration in a card, with its label names."""
    if path.suffix == ".json":
        configurations = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(configurations, dict):
            raise ValueError("expected an object with a key for each configuration")
        for name, about in configurations.items():
            yield str(name), _names(about.get("features") or {})
        return
    from huggingface_hub.repocard import REGEX_YAML_BLOCK  # takes half a second

    block = REGEX_YAML_BLOCK.search(path.read_text(encoding="utf-8-sig"))
    card = (
        yaml.load(block[2], Loader=yaml.BaseLoader) if block else None
    )  # only strings: an unquoted `no` is a language
    if not isinstance(card or {}, dict):
        raise TypeError("the block between `---` is not a mapping")
    infos = (card or {}).get("dataset_info") or []
    for about in infos if isinstance(infos, list) else [infos]:
        features = about.get("features") or []
        yield str(about.get("config_name", "default")), _names({feature["name"]: feature for feature in features})


def _names(features: Mapping[str, Any]) -> Names:
    legends = {column: _class_label(feature) for column, feature in features.items()}
    return {column: names for column, names in legends.items() if names}


def _class_label(feature: Any) -> Legend:
    """Return the legend of a `ClassLabel` feature, or of a list of them; {} for other features.

    `{"_type": "ClassLabel", "names": [...]}` in schemas, `{"class_label": {"names": {"0": ...}}}` in cards. Lists are
    `Sequence`, `List` or `LargeList` with the key `feature`, a list of one, or the keys `sequence` and `list` in cards.
    """
    if isinstance(feature, list):
        return _class_label(feature[0]) if len(feature) == 1 else {}
    if not isinstance(feature, dict):
        return {}
    label = feature if feature.get("_type") == "ClassLabel" else feature.get("class_label")
    if isinstance(label, dict):
        names = label.get("names") or ()
        legend = {int(key): str(name) for key, name in (names.items() if isinstance(names, dict) else enumerate(names))}
        if len(set(legend.values())) < len(names):
            raise ValueError("two labels have the same name or the same number")
        return legend
    nested = (_class_label(feature.get(key)) for key in ("feature", "dtype", "sequence", "list"))
    return next(filter(None, nested), {})
