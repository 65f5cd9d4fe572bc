"""How the rows of a user's files become examples, for each task type."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, cast, final

import pyarrow as pa

from distxfer.data._examples import Answer, Label, Tags
from distxfer.data._legends import Legend
from distxfer.data._tables import Table
from distxfer.errors import InputError, counted, did_you_mean, listed

# Field -> column, for formats with column names of their own.
FORMAT_COLUMNS: Mapping[str, Mapping[str, str]] = {".conllu": {"words": "form", "tags": "upos"}}
_FIELDS = ("id", "text", "text_pair", "label", "words", "tags", "question", "context", "answers")
_SHOWN = 60  # characters of a value in a message
_WITHHELD = "`datasets` writes -1 for a withheld label, as in a test set without labels: use a part that has labels."


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file. A field is in the column that `columns` names for it, or else in the column of the same name."""

    table: Table
    number: int
    record: Mapping[str, object]
    columns: Mapping[str, str]

    @property
    def place(self) -> str:
        """The row's file and line, for messages."""
        return self.table.place(self.number)

    def column(self, name: str) -> str:
        """Return the name of the column that holds a field."""
        return self.columns.get(name, name)

    def has(self, name: str) -> bool:
        """Return whether a field is read: the row has it, or `columns` names it."""
        return name in self.record or name in self.columns

    def value(self, name: str) -> object:
        """Return a field; raises InputError if the row has none."""
        column = self.column(name)
        if column not in self.record:
            raise InputError(f"`{self.place}` has no `{column}`, only: {listed(self.record)}.{self._advice(name)}")
        return self.record[column]

    def _advice(self, name: str) -> str:
        """Return how to say which column holds a missing field, with the likeliest one as the example."""
        if len(self.record) < 2:
            return ""
        unused = [column for column in self.record if column not in {*_FIELDS, *self.columns.values()}]
        if not unused:
            return f" Set `task.columns.{name}` to the column that holds it, or `task.type`."
        likeliest = next(iter(get_close_matches(self.column(name), unused, n=1)), unused[0])
        return f" Set `task.columns.{name}` to the column that holds it, such as `task.columns.{name}={likeliest}`."

    def text(self, name: str) -> str:
        """Return a text field; raises InputError for another type or a blank text."""
        value = self.value(name)
        if not isinstance(value, str) or not value.strip():
            detail = "" if value is None or isinstance(value, str) else f", but {_short(repr(value))}"
            raise InputError(f"`{self.place}` has no text in `{self.column(name)}`{detail}.")
        return value

    def name(self, value: object, field: str) -> str:
        """Return a label or an id as text; raises InputError unless it is a whole number or a non-empty text."""
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise InputError(
                f"`{self.place}` has the {field} {_short(repr(value))}, but {field}s are texts or whole numbers, and not empty."
            )
        return str(value)

    def check_encodable(self, *texts: str | None) -> None:
        """Raise InputError for a lone surrogate, which JSON can escape but UTF-8 cannot encode."""
        try:
            "".join(text for text in texts if text).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"`{self.place}` holds a lone surrogate such as \\ud83d, half of a character. Write the whole character."
            ) from error


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def _is_number(label: str) -> bool:
    return label.removeprefix("-").isdecimal()


def _unnamed(row: Row, label: str, names: Legend) -> str:
    """Return the error message for a label without a name in the file's legend."""
    if label == "-1":
        return f"`{row.place}` has the label `-1`. {_WITHHELD}"
    if not names:
        return (
            f"`{row.place}` has the label `{label}`, whose name differs between the configurations of the dataset card, none"
            " of which is named after the file's language or folder. Write label names into the file."
        )
    if list(names) == list(range(len(names))):
        detail = f"names {len(names)} labels, from 0 on: {listed(names.values())}"
    else:
        detail = f"names {len(names)} labels: {listed(f'{number} is {name}' for number, name in names.items())}"
    return f"`{row.place}` has the label `{_short(label)}`, but the file {detail}."


class LabelSet:
    """The labels of the source's training rows, numbered in order of appearance and sorted once all rows are read."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self._numbers: dict[str, int] = {}
        self._sorted: list[int] = []
        self._train: Table | None = None

    def code(self, row: Row, label: object, column: str) -> int:
        """Return the number of a row's label; only training rows add new labels.

        Raises InputError for an invalid label, a number without a name in the file's legend, and a label that does not
        occur in training.
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
            row.check_encodable(name)
            self._numbers[name] = len(self._numbers)
        return self._numbers[name]

    def freeze(self, train: Table, task_type: str) -> None:
        """Sort the labels, whole numbers by value, and accept no new ones from now on.

        Raises InputError for fewer than two labels.
        """
        if len(self._numbers) < 2:
            raise InputError(
                f"`{train.path}` has {len(self._numbers)} different labels, but {task_type} needs at least 2."
            )
        self.names = tuple(sorted(self._numbers, key=lambda label: (len(label) if label.isdigit() else 0, label)))
        places = {name: place for place, name in enumerate(self.names)}
        self._sorted = [places[name] for name in self._numbers]
        self._train = train

    def _hint(self, row: Row, name: str) -> str:
        """Return why a label may be missing from training: withheld, a number instead of a name, or misspelt."""
        if name == "-1":
            return f" {_WITHHELD}"
        assert self._train is not None
        numbers = {_is_number(label) for label in self.names}
        if numbers == {not _is_number(name)}:
            paths = (row.table.path, self._train.path)
            named, numbered = paths[::-1] if _is_number(name) else paths
            return f" `{named}` has names and `{numbered}` numbers, without a mapping between them. Use names in both."
        return did_you_mean(name, self.names)

    def index(self, code: int) -> int:
        """Return the position in `names` of the label with this number."""
        return self._sorted[code]


class Form(ABC):
    """How the rows of a task type are read. Subclasses are final and without fields.

    A label is stored as a plain, hashable value of the Arrow type `type`, and restored from it on access.
    """

    fields: ClassVar[tuple[str, ...]]
    type: ClassVar[pa.DataType] = pa.null()
    labelled: ClassVar[bool] = True  # rows have labels, so the task can be trained on
    classed: ClassVar[bool] = False  # labels are from a label set

    @abstractmethod
    def texts(self, row: Row) -> tuple[str, str | None]:
        """Return the text of a row, and its second text or None."""

    def label(self, row: Row, labels: LabelSet) -> Any:
        """Return the label of a row in its stored form."""
        return None

    def codes(self, stored: Any) -> tuple[int, ...]:
        """Return the label numbers in a stored label; empty without a label set."""
        return ()

    def restore(self, stored: Any, labels: LabelSet) -> Label | None:
        """Return the label from its stored form."""
        return None


@final
class Plain(Form):
    """Texts or pairs of texts without labels: unlabelled text, and retrieval tasks, which match by id."""

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

    def label(self, row: Row, labels: LabelSet) -> int:
        """Return the number of `label`."""
        return labels.code(row, row.value("label"), row.column("label"))

    def codes(self, stored: Any) -> tuple[int, ...]:
        """Return the number of the class."""
        return (stored,)

    def restore(self, stored: Any, labels: LabelSet) -> int:
        """Return the class."""
        return labels.index(stored)


@final
class Tagged(Form):
    """A list of words and as many tags; the text is the words joined by blanks."""

    fields = ("id", "words", "tags", "text")
    type = pa.list_(pa.int32())  # alternately the length of a word and the number of its tag
    classed = True

    def texts(self, row: Row) -> tuple[str, str | None]:
        """Return the words of `words`, joined."""
        return " ".join(_words(row)), None

    def label(self, row: Row, labels: LabelSet) -> tuple[int, ...]:
        """Return the lengths of the words and the numbers of their tags."""
        words, tags, column = _words(row), row.value("tags"), row.column("tags")
        if not isinstance(tags, list) or len(tags) != len(words):
            detail = f"{len(tags)} tags" if isinstance(tags, list) else "no list of tags"
            raise InputError(
                f"`{row.place}` has {counted(len(words), 'words')} in `{row.column('words')}`, but {detail} in `{column}`."
                " Give one tag per word."
            )
        if row.table.path.suffix in (".conllu", ".conll") and (unspecified := tags.count("_")):
            row.table.placeholders["words with the tag `_` (not specified), read as a label"] += unspecified
        return tuple(
            number
            for word, tag in zip(words, tags, strict=True)
            for number in (len(word), labels.code(row, tag, column))
        )

    def codes(self, stored: Any) -> tuple[int, ...]:
        """Return the numbers of the tags."""
        return tuple(stored[1::2])

    def restore(self, stored: Any, labels: LabelSet) -> Tags:
        """Return the tags with the span of each word in the text."""
        spans, start = [], 0
        for length in stored[::2]:
            spans.append((start, start + length))
            start += length + 1
        return Tags(tuple(spans), tuple(labels.index(code) for code in stored[1::2]))


def _words(row: Row) -> list[str]:
    words = row.value("words")
    if not isinstance(words, list) or not words:
        raise InputError(f"`{row.place}` has no list of words in `{row.column('words')}`.")
    for number, word in enumerate(words, 1):
        if not isinstance(word, str) or not word.strip():
            raise InputError(
                f"`{row.place}` has {word!r} as word {number} in `{row.column('words')}`; expected a non-blank text."
            )
    return cast(list[str], words)


@final
class Answered(Form):
    """A question, its context, and the answers with the character at which each begins, as in SQuAD."""

    fields = ("id", "question", "context", "answers", "text")
    type = pa.list_(pa.struct([("text", pa.string()), ("start", pa.int32())]))

    def texts(self, row: Row) -> tuple[str, str | None]:
        """Return `question` and `context`."""
        return row.text("question"), row.text("context")

    def label(self, row: Row, labels: LabelSet) -> tuple[tuple[str, int], ...]:
        """Return the texts and starts of `answers`; empty for an unanswerable question."""
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
                    f"`{row.place}` has the answer {text!r} at {start!r}; expected a text and the index of its first"
                    " character, counted from 0."
                )
            if not context.startswith(text, start):
                actual_start = context.find(text)
                where = f"it begins at {actual_start}" if actual_start >= 0 else "it does not occur in the context"
                raise InputError(
                    f"`{row.place}` has the answer `{text}` at character {start} of `{row.column('context')}`, where there is"
                    f" {context[start : start + len(text)]!r}: {where}. Count characters from 0, not bytes."
                )
        return tuple(zip(texts, starts, strict=True))

    def restore(self, stored: Any, labels: LabelSet) -> tuple[Answer, ...]:
        """Return the answers."""
        return tuple(Answer(answer["text"], answer["start"]) for answer in stored)


PLAIN = Plain()
FORMS: Mapping[str, Form] = {
    "classification": Classed(),
    "token_classification": Tagged(),
    "named_entities": Tagged(),
    "question_answering": Answered(),
    "retrieval": PLAIN,
}
