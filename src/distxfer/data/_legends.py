"""The names of numeric labels: `ClassLabel` features of the library `datasets`, in a Parquet schema or a dataset card."""

import json
import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml  # type: ignore[import-untyped]  # a dependency of transformers

from distxfer.errors import InputError, listed, reason
from distxfer.languages import canonical

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
    """The label names in a dataset card (`README.md` or `dataset_infos.json`), by configuration, with notes on the card."""

    path: Path
    configurations: Mapping[str, Names]
    notes: tuple[str, ...] = ()

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
        languages = [name for name in self.configurations if _is_language(name)]
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
        return next((name for name in self.configurations if name in parts or _is_code_of(name, language)), None)


def read_card(folder: Path) -> Card | None:
    """Return the label names in a folder's dataset card, or None without any.

    A `README.md` that is not a dataset card gives no names, and a note if it begins with `---` like one.

    Raises InputError if `dataset_infos.json`, or the key `dataset_info` of a README, cannot be read.
    """
    card: Card | None = None
    for path in (folder / name for name in CARDS):
        if not path.is_file():
            continue
        try:
            configurations = dict(_configurations(path))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml.YAMLError) as error:
            odd = isinstance(error, AttributeError | KeyError)
            why = "the label names are not in the format of `datasets`" if odd else reason(error)
            if isinstance(error, OSError) or path.suffix == ".json" or _has_info(path):
                raise InputError(
                    f"The dataset card `{path}` cannot be read: {why}. Repair it, or move it away."
                ) from error
            note = f"`{path}` is not a readable dataset card ({why}), so it gives no label names."
            card = Card(path, {}, (note,))
        else:
            if any(configurations.values()):
                return Card(path, configurations, card.notes if card else ())
    return card


def _has_info(path: Path) -> bool:
    """Return whether the YAML block of a README, well-formed or not, has the key `dataset_info`."""
    return bool(_INFO.search(path.read_bytes().lstrip().split(b"\n---", 1)[0]))


def with_names(
    record: Mapping[str, Any], names: Names, readings: Mapping[str, Reading] | None = None
) -> Mapping[str, Any]:
    """Return a record with the labels in the columns of `names` replaced by their names; other cells are not read.

    Integers are looked up in the legend, texts in the column's reading (see `readings_of`), if it has one.
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


@dataclass(frozen=True)
class LabelTexts:
    """The distinct texts in the label column of one file; `typed` formats (JSON, Parquet) distinguish numbers from texts."""

    path: Path
    column: str
    texts: frozenset[str]
    legend: Legend
    typed: bool

    @property
    def has_numbers(self) -> bool:
        """Whether any text is a number, in the legend or not."""
        return any(_NUMBER.fullmatch(text) for text in self.texts)

    def numbers(self) -> Reading:
        """Return text -> name for the texts that are numbers in the legend."""
        matches = {text: _NUMBER.fullmatch(text) for text in self.texts}
        numbers = {text: int(match[1]) for text, match in matches.items() if match and len(match[1]) < 20}
        return {text: self.legend[number] for text, number in numbers.items() if number in self.legend}

    def names(self) -> Reading:
        """Return text -> name for the texts that are names in the legend, ignoring blanks around them."""
        names = set(self.legend.values())
        return {text: text if text in names else text.strip() for text in self.texts if {text, text.strip()} & names}

    def possible(self) -> tuple[Reading, ...]:
        """Return the readings, as numbers or as names, that give every text a name."""
        return tuple(reading for reading in (self.numbers(), self.names()) if len(reading) == len(self.texts))


def readings_of(columns: Sequence[LabelTexts]) -> list[Reading]:
    """Return how the texts of each label column are read: all as numbers of the legend, or all as names.

    A column is read as numbers if only numbers fit all its texts, and as names if only names do. If both fit, the other
    files decide; if they do not, texts of JSON and Parquet are names. All files have the same reading. A column without
    numbers whose texts are not in the legend is read unchanged.

    Raises InputError for an ambiguous column, a column that mixes numbers and names, and two files with contradicting
    readings.
    """
    as_numbers = [column for column in columns if column.possible() == (column.numbers(),)]
    as_names = [column for column in columns if column.possible() == (column.names(),) and column.has_numbers]
    if as_numbers and as_names:
        raise InputError(
            f"`{as_numbers[0].column}` holds label numbers in `{as_numbers[0].path}`, but names in `{as_names[0].path}`."
            " Write names in all files, or numbers in all."
        )
    return [_reading(column, numbers=bool(as_numbers), names=bool(as_names)) for column in columns]


def _reading(column: LabelTexts, *, numbers: bool, names: bool) -> Reading:
    """Return the reading of a column; `numbers` and `names` say whether a file of the task requires that reading."""
    as_numbers, as_names = column.numbers(), column.names()
    fitting = column.possible()
    if not fitting:
        if as_names and column.has_numbers:
            text = min(column.texts - set(as_names))
            raise InputError(
                f"`{column.path}` has label names in `{column.column}`, such as `{min(as_names)}`, but also `{text}`, which"
                f" is none of them: {listed(column.legend.values())}. Write all labels as names, or all as numbers."
            )
        return as_numbers
    if len(fitting) == 1 or as_numbers == as_names:
        return fitting[0]
    if numbers or names or column.typed:
        return as_numbers if numbers else as_names
    text = min(text for text in column.texts if as_numbers[text] != as_names[text])
    raise InputError(
        f"`{column.path}` has `{text}` in `{column.column}`, which by the dataset card is either the label name"
        f" `{as_names[text]}` or the number of the label `{as_numbers[text]}`. Write the file as JSON lines, where"
        f' {text.strip()} is a number and "{text.strip()}" a name.'
    )


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


def _is_language(name: str) -> bool:
    """Return whether a configuration is named by a language code."""
    try:
        return bool(canonical(name))
    except InputError:
        return False


def _is_code_of(name: str, language: str) -> bool:
    """Return whether a configuration is named by a code of the language."""
    try:
        return canonical(name) == language
    except InputError:
        return False
