"""The names of labels that files give as numbers: `ClassLabel` of the library `datasets`, in a Parquet schema or a card."""

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
_NUMBER = re.compile(r"\s*([+-]?\d+)(?:\.0*)?\s*")  # `1.0`: pandas writes integers so beside a missing value
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

        A column that has other names in each of several configurations, none of which is the file's, has none: {}.
        """
        if name := self._configuration(language, file):
            return self.configurations[name]
        merged: dict[str, Legend] = {}
        for names in self.configurations.values():
            for column, legend in names.items():
                merged[column] = legend if merged.setdefault(column, legend) == legend else {}
        return merged

    def note(self, language: str, file: Path, shown: str) -> str:
        """Return a notice where a file, `shown` by this name, takes its names from another language's configuration; or ""."""
        languages = [name for name in self.configurations if _is_language(name)]
        if self._configuration(language, file) or len(languages) < len(self.configurations):
            return ""
        configurations = f"configuration{'s' * (len(languages) > 1)} {listed(f'`{name}`' for name in languages)}"
        return (
            f"`{shown}`: the names of its labels are those of the {configurations} in `{self.path.name}`, which has none for"
            f" `{language}`."
        )

    def _configuration(self, language: str, file: Path) -> str | None:
        """Return the name of the configuration that is called as a file's language, its folder or itself."""
        parts = (
            {file.stem, *file.relative_to(self.path.parent).parts} if file.is_relative_to(self.path.parent) else set()
        )
        return next((name for name in self.configurations if name in parts or _is(name, language)), None)


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
            odd = isinstance(error, AttributeError | KeyError)
            why = "the names of labels are not laid out as `datasets` writes them" if odd else reason(error)
            if isinstance(error, OSError) or path.suffix == ".json" or _has_info(path):
                raise InputError(
                    f"The dataset card `{path}` cannot be read: {why}. Repair it, or move it away."
                ) from error
            note = f"`{path}` is not a dataset card that can be read ({why}), so no names of labels come from it."
            card = Card(path, {}, (note,))
        else:
            if any(configurations.values()):
                return Card(path, configurations, card.notes if card else ())
    return card


def _has_info(path: Path) -> bool:
    """Return whether the YAML at the start of a README has the key `dataset_info`, well-formed or not."""
    return bool(_INFO.search(path.read_bytes().lstrip().split(b"\n---", 1)[0]))


def with_names(
    record: Mapping[str, Any], names: Names, readings: Mapping[str, Reading] | None = None
) -> Mapping[str, Any]:
    """Return a record with the labels in the columns of `names` replaced by their names; other cells are not looked up.

    Integers are numbers of the legend; texts are looked up in the column's reading (see `readings_of`), if it has one.
    """
    named = {
        column: _named(record[column], legend, (readings or {}).get(column, {}))
        for column, legend in names.items()
        if column in record
    }
    return ChainMap(named, cast(dict[str, Any], record)) if named else record


def _named(value: object, legend: Legend, reading: Reading) -> object:
    """Return the name of a value, or of each value of a list; a value without a name as it is."""
    if isinstance(value, list):
        return [_named(item, legend, reading) for item in value]
    if type(value) is int:
        return legend.get(value, value)
    return reading.get(value, value) if isinstance(value, str) else value


@dataclass(frozen=True)
class LabelTexts:
    """The distinct texts in the label column of one file; `typed` formats (JSON, Parquet) tell numbers from texts."""

    path: Path
    column: str
    texts: frozenset[str]
    legend: Legend
    typed: bool

    @property
    def has_numbers(self) -> bool:
        """Whether one of the texts is a number, of the legend or not."""
        return any(_NUMBER.fullmatch(text) for text in self.texts)

    def numbers(self) -> Reading:
        """Return text -> name where the text is a number of the legend."""
        found = {text: _NUMBER.fullmatch(text) for text in self.texts}
        numbers = {text: int(match[1]) for text, match in found.items() if match and len(match[1]) < 20}
        return {text: self.legend[number] for text, number in numbers.items() if number in self.legend}

    def names(self) -> Reading:
        """Return text -> name where the text is a name of the legend, perhaps between blanks."""
        names = set(self.legend.values())
        return {text: text if text in names else text.strip() for text in self.texts if {text, text.strip()} & names}

    def possible(self) -> tuple[Reading, ...]:
        """Return the readings that give every text a name: as numbers, as names."""
        return tuple(reading for reading in (self.numbers(), self.names()) if len(reading) == len(self.texts))


def readings_of(columns: Sequence[LabelTexts]) -> list[Reading]:
    """Return how the texts of each label column are read: all of them as numbers of the legend, or all as names.

    A column is read as numbers where every text is a number of the legend and not every one is a name; as names where
    every text is a name and not every one is a number. Where both fit, the other files decide; where they do not, texts
    of JSON and Parquet are names. All files have one reading. A column without numbers, of texts that the legend does
    not have, is read as it stands.

    Raises InputError for columns that can be read in both ways, for a column with numbers and names, and for two files
    that can only be read in different ways.
    """
    as_numbers = [column for column in columns if column.possible() == (column.numbers(),)]
    as_names = [column for column in columns if column.possible() == (column.names(),) and column.has_numbers]
    if as_numbers and as_names:
        raise InputError(
            f"`{as_numbers[0].column}` holds numbers of the labels in `{as_numbers[0].path}`, but names in"
            f" `{as_names[0].path}`. Write the labels of all files as names, or of all as numbers."
        )
    return [_reading(column, numbers=bool(as_numbers), names=bool(as_names)) for column in columns]


def _reading(column: LabelTexts, *, numbers: bool, names: bool) -> Reading:
    """Return the reading of a column; `numbers` and `names` say whether files of the task can only be read so."""
    as_numbers, as_names = column.numbers(), column.names()
    fitting = column.possible()
    if not fitting:
        if as_names and column.has_numbers:
            text = min(column.texts - set(as_names))
            raise InputError(
                f"`{column.path}` has names of labels in `{column.column}`, such as `{min(as_names)}`, but also `{text}`, which"
                f" is none of them: {listed(column.legend.values())}. Write all labels as names, or all as numbers."
            )
        return as_numbers
    if len(fitting) == 1 or as_numbers == as_names:
        return fitting[0]
    if numbers or names or column.typed:
        return as_numbers if numbers else as_names
    text = min(text for text in column.texts if as_numbers[text] != as_names[text])
    raise InputError(
        f"`{column.path}` has `{text}` in `{column.column}`, which is the name `{as_names[text]}` of a label or the number of the"
        f" label `{as_numbers[text]}`: the dataset card fits both. Write the file as JSON lines, where {text.strip()} is a number"
        f' and "{text.strip()}" a name.'
    )


def _configurations(path: Path) -> Iterator[tuple[str, Names]]:
    """Yield the name of each configuration in a card, and the names of its labels."""
    if path.suffix == ".json":
        configurations = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(configurations, dict):
            raise ValueError("expected an object with a key for each configuration")
        for name, about in configurations.items():
            yield str(name), _names(about.get("features") or {})
        return
    from huggingface_hub.repocard import REGEX_YAML_BLOCK  # half a second

    block = REGEX_YAML_BLOCK.search(path.read_text(encoding="utf-8-sig"))
    card = yaml.load(block[2], Loader=yaml.BaseLoader) if block else None  # texts alone: an unquoted `no` is no boolean
    if not isinstance(card or {}, dict):
        raise TypeError("what stands between `---` is no mapping")
    infos = (card or {}).get("dataset_info") or []
    for about in infos if isinstance(infos, list) else [infos]:
        features = about.get("features") or []
        yield str(about.get("config_name", "default")), _names({one["name"]: one for one in features})


def _names(features: Mapping[str, Any]) -> Names:
    found = {column: _class_label(feature) for column, feature in features.items()}
    return {column: names for column, names in found.items() if names}


def _class_label(feature: Any) -> Legend:
    """Return the legend of a feature that is a `ClassLabel`, or a list of them; {} for another.

    `{"_type": "ClassLabel", "names": [...]}` in schemas, `{"class_label": {"names": {"0": ...}}}` in cards; lists are
    `Sequence`, `List` or `LargeList` with the key `feature`, a list of one, or the keys `sequence` and `list` of cards.
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
            raise ValueError("two numbers of labels have one name, or two names one number")
        return legend
    for key in ("feature", "dtype", "sequence", "list"):
        if found := _class_label(feature.get(key)):
            return found
    return {}


def _is_language(name: str) -> bool:
    """Return whether a configuration is called by a language's code."""
    try:
        return bool(canonical(name))
    except InputError:
        return False


def _is(name: str, language: str) -> bool:
    """Return whether a configuration is called by a code of the language."""
    try:
        return canonical(name) == language
    except InputError:
        return False
