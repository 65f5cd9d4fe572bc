"""How the rows of a user's files become the examples of each kind of task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast, final

import pyarrow as pa

from distxfer.data._examples import Answer, Label, Tags
from distxfer.data._legends import Legend
from distxfer.data._tables import Table
from distxfer.errors import InputError, counted, did_you_mean, listed

# Field -> column, where a format has names of its own.
OWN_NAMES: Mapping[str, Mapping[str, str]] = {".conllu": {"words": "form", "tags": "upos"}}


_SHOWN = 60  # characters of a value in a message
_WITHHELD = "`datasets` writes -1 where a label is withheld, as in a test without labels: use a part that has labels."


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file: a field is found by the name that `columns` give it, or else by its own."""

    table: Table
    number: int
    record: Mapping[str, object]
    columns: Mapping[str, str]

    @property
    def place(self) -> str:
        """How a message names the row: file and line."""
        return self.table.place(self.number)

    def column(self, name: str) -> str:
        """Return the name of the column that holds a field."""
        return self.columns.get(name, name)

    def has(self, name: str) -> bool:
        """Return whether a field is to be read: the row has it, or `columns` name it."""
        return name in self.record or name in self.columns

    def value(self, name: str) -> object:
        """Return a field; raises InputError where the row has none."""
        column = self.column(name)
        if column not in self.record:
            raise InputError(
                f"`{self.place}` has no `{column}`, only: {listed(self.record)}.{did_you_mean(column, self.record)}"
            )
        return self.record[column]

    def text(self, name: str) -> str:
        """Return a field that is a text; raises InputError for something else, and for blanks alone."""
        value = self.value(name)
        if not isinstance(value, str) or not value.strip():
            there = "" if value is None or isinstance(value, str) else f", but {_short(repr(value))}"
            raise InputError(f"`{self.place}` has no text in `{self.column(name)}`{there}.")
        return value

    def name(self, value: object, what: str) -> str:
        """Return a label or an id, which is a text or a whole number; raises InputError for anything else, and for none."""
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise InputError(
                f"`{self.place}` has the {what} {_short(repr(value))}, but {what}s are texts or whole numbers, and not empty."
            )
        return str(value)

    def whole(self, *texts: str | None) -> None:
        """Raise InputError where a text holds half of a character, which JSON can write and no file can keep."""
        try:
            "".join(text for text in texts if text).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"`{self.place}` holds half of a character (a lone surrogate such as \\ud83d). Write the whole one."
            ) from error


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def _is_number(label: str) -> bool:
    return label.removeprefix("-").isdecimal()


def _unnamed(row: Row, label: str, names: Legend) -> str:
    """Return the complaint about a label that is not among the names of its column."""
    if label == "-1":
        return f"`{row.place}` has the label `-1`. {_WITHHELD}"
    if not names:
        return (
            f"`{row.place}` has the label `{label}`, whose name differs between the configurations of the dataset card, and"
            " none of them is called as the file's language or folder. Write the names into the file."
        )
    if list(names) == list(range(len(names))):
        there = f"names {len(names)} labels, from 0 on: {listed(names.values())}"
    else:
        there = f"names {len(names)} labels: {listed(f'{number} is {name}' for number, name in names.items())}"
    return f"`{row.place}` has the label `{_short(label)}`, but the file {there}."


class Labels:
    """A label set in the making: those that the source's training rows have, numbered as they come, sorted at last."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self._numbers: dict[str, int] = {}
        self._sorted: list[int] = []
        self._train: Table | None = None

    def code(self, row: Row, label: object, column: str) -> int:
        """Return the number of a row's label, a new one only while the training rows are read.

        Raises InputError for what is no label, a number that the names of its column lack, and a label that training does
        not have.
        """
        name = row.name(label, "label")
        if name not in self._numbers:
            legend, numbered = row.table.names.get(column), _is_number(name) or column in row.table.readings
            if legend is not None and numbered and name not in legend.values():
                raise InputError(_unnamed(row, name, legend))
            if self._train is not None:
                raise InputError(
                    f"`{row.place}` has the label `{_short(name)}`, which `{self._train.path}` does not have."
                    f"{self._hint(row, name)} Expected one of: {listed(self.names)}."
                )
            row.whole(name)
            self._numbers[name] = len(self._numbers)
        return self._numbers[name]

    def settle(self, train: Table, kind: str) -> None:
        """Sort the labels, whole numbers by their value; from now on there are no others.

        Raises InputError for fewer than two.
        """
        if len(self._numbers) < 2:
            raise InputError(f"`{train.path}` has {len(self._numbers)} different labels, but {kind} needs at least 2.")
        self.names = tuple(sorted(self._numbers, key=lambda label: (len(label) if label.isdigit() else 0, label)))
        places = {name: place for place, name in enumerate(self.names)}
        self._sorted = [places[name] for name in self._numbers]
        self._train = train

    def _hint(self, row: Row, name: str) -> str:
        """Return why a label may be missing from training: withheld, a number where training has names, or misspelt."""
        if name == "-1":
            return f" {_WITHHELD}"
        assert self._train is not None
        numbers = {_is_number(label) for label in self.names}
        if numbers == {not _is_number(name)}:
            paths = (row.table.path, self._train.path)
            named, numbered = paths[::-1] if _is_number(name) else paths
            return f" `{named}` has names and `{numbered}` numbers, and nothing says which is which. Give both names."
        return did_you_mean(name, self.names)

    def index(self, code: int) -> int:
        """Return the place in `names` of the label with this number."""
        return self._sorted[code]


class Form(ABC):
    """What the rows of a kind of task hold. Final classes without fields.

    A label is kept as a plain value of an Arrow `type`, hashable, from which it is made again when it is asked for.
    """

    fields: ClassVar[tuple[str, ...]]
    type: ClassVar[pa.DataType] = pa.null()
    labelled: ClassVar[bool] = True  # rows have labels, so there is something to train on
    classed: ClassVar[bool] = False  # and these are of a label set

    @abstractmethod
    def texts(self, row: Row) -> tuple[str, str | None]:
        """Return the text of a row, and the second one where there is one."""

    def label(self, row: Row, labels: Labels) -> Any:
        """Return the label of a row as it is kept."""
        return None

    def codes(self, kept: Any) -> tuple[int, ...]:
        """Return the numbers of the labels in what is kept, where they are of a label set."""
        return ()

    def made(self, kept: Any, labels: Labels) -> Label | None:
        """Return the label that was kept."""
        return None


@final
class Plain(Form):
    """Texts, or pairs of texts, without labels: what is unlabelled, and what is to be found again by its id."""

    fields = ("id", "text", "text_pair")
    labelled = False

    def texts(self, row: Row) -> tuple[str, str | None]:
        """Return `text` and `text_pair`."""
        pair = row.value("text_pair") if row.has("text_pair") else None
        return row.text("text"), None if pair is None else row.text("text_pair")


@final
class Classed(Form):
    """A text, or a pair of texts, and its class."""

    fields = ("id", "text", "text_pair", "label")
    type = pa.int32()
    classed = True

    def texts(self, row: Row) -> tuple[str, str | None]:
        """Return `text` and `text_pair`."""
        return PLAIN.texts(row)

    def label(self, row: Row, labels: Labels) -> int:
        """Return the number of `label`."""
        return labels.code(row, row.value("label"), row.column("label"))

    def codes(self, kept: Any) -> tuple[int, ...]:
        """Return that number."""
        return (kept,)

    def made(self, kept: Any, labels: Labels) -> int:
        """Return the class."""
        return labels.index(kept)


@final
class Tagged(Form):
    """A list of words and as many tags; the text is the words with a blank between them."""

    fields = ("id", "words", "tags", "text")
    type = pa.list_(pa.int32())  # the length of each word and the number of its tag, in turn
    classed = True

    def texts(self, row: Row) -> tuple[str, str | None]:
        """Return the words of `words`, joined."""
        return " ".join(_words(row)), None

    def label(self, row: Row, labels: Labels) -> tuple[int, ...]:
        """Return the tags of `tags` with the words' lengths."""
        words, tags, column = _words(row), row.value("tags"), row.column("tags")
        if not isinstance(tags, list) or len(tags) != len(words):
            there = f"{len(tags)} tags" if isinstance(tags, list) else "no list of tags"
            raise InputError(
                f"`{row.place}` has {counted(len(words), 'words')} in `{row.column('words')}`, but {there} in `{column}`."
                " Give each word one."
            )
        if row.table.path.suffix in (".conllu", ".conll") and (unspecified := tags.count("_")):
            row.table.placeholders["words with the tag `_` (not specified), read as a label"] += unspecified
        return tuple(
            number
            for word, tag in zip(words, tags, strict=True)
            for number in (len(word), labels.code(row, tag, column))
        )

    def codes(self, kept: Any) -> tuple[int, ...]:
        """Return the numbers of the tags."""
        return tuple(kept[1::2])

    def made(self, kept: Any, labels: Labels) -> Tags:
        """Return the tags with the place of each word in the text."""
        spans, start = [], 0
        for length in kept[::2]:
            spans.append((start, start + length))
            start += length + 1
        return Tags(tuple(spans), tuple(labels.index(code) for code in kept[1::2]))


def _words(row: Row) -> list[str]:
    words = row.value("words")
    if not isinstance(words, list) or not words:
        raise InputError(f"`{row.place}` has no list of words in `{row.column('words')}`.")
    for number, word in enumerate(words, 1):
        if not isinstance(word, str) or not word.strip():
            raise InputError(
                f"`{row.place}` has {word!r} as word {number} in `{row.column('words')}`: that is no word."
            )
    return cast(list[str], words)


@final
class Answered(Form):
    """A question, the text that holds its answers, and these with the character at which each begins, as in SQuAD."""

    fields = ("id", "question", "context", "answers", "text")
    type = pa.list_(pa.struct([("text", pa.string()), ("start", pa.int32())]))

    def texts(self, row: Row) -> tuple[str, str | None]:
        """Return `question` and `context`."""
        return row.text("question"), row.text("context")

    def label(self, row: Row, labels: Labels) -> tuple[tuple[str, int], ...]:
        """Return the texts and starts of `answers`; none where the text does not answer."""
        answers, context = row.value("answers"), cast(str, row.value("context"))
        texts, starts = (answers.get(key) if isinstance(answers, dict) else None for key in ("text", "answer_start"))
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise InputError(
                f"`{row.place}` has {str(answers)[:60]!r} in `{row.column('answers')}`, but expected"
                ' {"text": [...], "answer_start": [...]}, two lists of one length.'
            )
        for text, start in zip(texts, starts, strict=True):
            if not isinstance(text, str) or not text or type(start) is not int or start < 0:
                raise InputError(
                    f"`{row.place}` has the answer {text!r} at {start!r}, but an answer is a text and the number of its first"
                    " character, from 0 on."
                )
            if not context.startswith(text, start):
                found = context.find(text)
                where = f"it stands at {found}" if found >= 0 else "it stands nowhere in it"
                raise InputError(
                    f"`{row.place}` has the answer `{text}` at character {start} of `{row.column('context')}`, where there is"
                    f" {context[start : start + len(text)]!r}: {where}. Count characters from 0 on, not bytes."
                )
        return tuple(zip(texts, starts, strict=True))

    def made(self, kept: Any, labels: Labels) -> tuple[Answer, ...]:
        """Return the answers."""
        return tuple(Answer(one["text"], one["start"]) for one in kept)


PLAIN = Plain()
FORMS: Mapping[str, Form] = {
    "classification": Classed(),
    "tokens": Tagged(),
    "entities": Tagged(),
    "answers": Answered(),
    "retrieval": PLAIN,
}
