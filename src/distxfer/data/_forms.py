"""How the rows of files become examples, for each task type."""

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, cast, final

import pyarrow as pa

from distxfer.data._examples import Answer, Label, Tags
from distxfer.data._legends import Legend
from distxfer.data._tables import Table
from distxfer.errors import InputError, counted, did_you_mean, listed

_FIELDS = ("id", "text", "text_pair", "label", "words", "tags", "question", "context", "answers")
_SHOWN = 60  # characters of a value in a message
_WITHHELD = "`datasets` writes -1 for a withheld label, as in a test set without labels: use a part that has labels."


class Unusable(InputError):
    """A row that cannot be an example. Tasks of the hub leave it out and count the `cause`; your own files must not have any."""

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file. A field is in the column that the table names for it, or else in the column of the same name."""

    table: Table
    number: int
    record: Mapping[str, object]

    @property
    def place(self) -> str:
        """The row's file and line, for messages."""
        return self.table.place(self.number)

    def has(self, name: str) -> bool:
        """Return whether a field is read: `columns` names it, or it is in the user's own file."""
        return name in self.table.columns or (self.table.is_own and name in self.record)

    def value(self, name: str) -> object:
        """Return a field; raises InputError if the row has none."""
        column = self.table.column(name)
        if column not in self.record:
            unused = [key for key in self.record if key not in {*_FIELDS, *self.table.columns.values()}]
            likeliest = next(iter(get_close_matches(column, unused, n=1)), unused[0] if unused else "COLUMN")
            advice = f" Set `task.columns.{name}={likeliest}` if that column holds it, or another `task.type`."
            raise InputError(
                f"`{self.place}` has no column `{column}`, only: {listed(self.record)}.{advice if self.table.is_own else ''}"
            )
        return self.record[column]

    def text(self, name: str) -> str:
        """Return a text field; raises InputError for another type, Unusable for a missing or blank text."""
        value = self.value(name)
        if value is not None and not isinstance(value, str):
            raise self.invalid(value, self.table.column(name), "a text")
        if not value or not value.strip():
            raise Unusable(f"`{self.place}` has no text in `{self.table.column(name)}`.", "no text")
        return value

    def name(self, value: object, column: str) -> str:
        """Return a label or an id as text; raises InputError unless it is a whole number or a non-empty text."""
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise self.invalid(value, column, "a whole number or a text, not empty")
        return str(value)

    def invalid(self, value: object, column: str, expected: str) -> InputError:
        """Return the error for an unexpected value."""
        return InputError(f"`{self.place}` has {_short(repr(value))} in `{column}`; expected {expected}.")

    def check_encodable(self, *texts: str | None) -> None:
        """Raise Unusable for a lone surrogate, which JSON can escape but UTF-8 cannot encode."""
        try:
            "".join(text for text in texts if text).encode()
        except UnicodeEncodeError as error:
            raise Unusable(
                f"`{self.place}` holds a lone surrogate such as \\ud83d, half of a character. Write the whole character.",
                "no text",
            ) from error


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def _is_number(label: str) -> bool:
    return label.removeprefix("-").isdecimal()


class FixedLabels:
    """The labels of a task of the hub, in the order of numbers without names."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def code(self, row: Row, label: object, column: str) -> int:
        """Return the index of a label from its name, or from its number in a file without label names.

        A name that is a number (`"0"`) is that number. Raises InputError for anything else.
        """
        legend = row.table.names.get(column)
        number = label if type(label) is int and legend is None else -1
        if isinstance(label, str) and label.isdecimal() and label in (legend or {}).values():
            number = int(label)
        if 0 <= number < len(self.names):
            return number
        if label == -1:
            raise InputError(f"`{row.place}` has the label `-1`. {_WITHHELD}")
        if label not in self.names:
            expected = f"a label, 0 to {len(self.names) - 1} or one of: {listed(self.names)}"
            raise row.invalid(label, column, expected)
        return self.names.index(label)

    def index(self, code: int) -> int:
        """Return the position in `names` of the label with this number."""
        return code


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
        name = row.name(label, column)
        if name not in self._numbers:
            legend = row.table.names.get(column)
            is_numeric = _is_number(name) or column in row.table.readings
            if legend is not None and is_numeric and name not in legend.values():
                raise InputError(f"`{row.place}` has the label `{_short(name)}`{_why_unnamed(name, legend)}")
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
                f"`{train.path}` has {counted(len(self._numbers), 'different labels')}, but {task_type} needs at least 2."
            )
        self.names = tuple(sorted(self._numbers, key=lambda label: (len(label) if label.isdigit() else 0, label)))
        places = {name: place for place, name in enumerate(self.names)}
        self._sorted = [places[name] for name in self._numbers]
        self._train = train

    def _hint(self, row: Row, name: str) -> str:
        """Return why a label may be missing from training: withheld, a number instead of a name, or misspelt."""
        assert self._train is not None
        if name == "-1":
            return f" {_WITHHELD}"
        if {_is_number(label) for label in self.names} == {not _is_number(name)}:
            return " One file has names and the other numbers, without a mapping between them. Use names in both."
        return did_you_mean(name, self.names)

    def index(self, code: int) -> int:
        """Return the position in `names` of the label with this number."""
        return self._sorted[code]


def _why_unnamed(label: str, legend: Legend) -> str:
    """Return the rest of the message for a label number without a name in the file's legend."""
    if label == "-1":
        return f". {_WITHHELD}"
    if not legend:
        return (
            ", whose name differs between the configurations of the dataset card, none of which is named after the file's"
            " language or folder. Write label names into the file."
        )
    names = listed(f"{number} is {name}" for number, name in legend.items())
    return f", but the file names {len(legend)} labels: {names}."


Labels = LabelSet | FixedLabels


class Form(ABC):
    """How the rows of a task type are read. Subclasses are final and without fields.

    A label is stored as a plain, hashable value of the Arrow type `type`, and restored from it on access.
    """

    fields: ClassVar[tuple[str, ...]]
    type: ClassVar[pa.DataType] = pa.null()
    labelled: ClassVar[bool] = True  # rows have labels, so the task can be trained on
    label_field: ClassVar[str] = ""  # the field with labels from a label set, if there is one

    def texts(self, row: Row) -> tuple[str, str | None]:
        """Return the text of a row, and its second text or None."""
        paired = row.has("text_pair") and not (row.table.is_own and row.value("text_pair") is None)
        return row.text("text"), row.text("text_pair") if paired else None

    def label(self, row: Row, labels: Labels) -> Any:
        """Return the label of a row in its stored form."""
        return None

    def codes(self, stored: Any) -> tuple[int, ...]:
        """Return the label numbers in a stored label; empty without a label set."""
        return ()

    def restore(self, stored: Any, labels: Labels) -> Label | None:
        """Return the label from its stored form."""
        return None


@final
class Plain(Form):
    """Texts or pairs of texts without labels: unlabelled text, and retrieval tasks, which match by id."""

    fields = ("id", "text", "text_pair")
    labelled = False


@final
class Classed(Form):
    """A text, or a pair of texts, and its class."""

    fields = ("id", "text", "text_pair", "label")
    type = pa.int32()
    label_field = "label"

    def label(self, row: Row, labels: Labels) -> int:
        """Return the number of `label`."""
        return labels.code(row, row.value("label"), row.table.column("label"))

    def codes(self, stored: Any) -> tuple[int, ...]:
        """Return the number of the class."""
        return (stored,)

    def restore(self, stored: Any, labels: Labels) -> int:
        """Return the class."""
        return labels.index(stored)


@final
class Tagged(Form):
    """A list of words and as many tags; the text is the words joined by blanks."""

    fields = ("id", "words", "tags", "text")
    type = pa.list_(pa.int32())  # alternately the length of a word and the number of its tag
    label_field = "tags"

    def texts(self, row: Row) -> tuple[str, str | None]:
        """Return the words of `words`, joined."""
        return " ".join(_words(row)), None

    def label(self, row: Row, labels: Labels) -> tuple[int, ...]:
        """Return the lengths of the words and the numbers of their tags."""
        words, tags, column = _words(row), row.value("tags"), row.table.column("tags")
        if not isinstance(tags, list) or len(tags) != len(words):
            raise row.invalid(
                tags, row.table.column("tags"), f"a list of {counted(len(words), 'tags')}, one for each word"
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

    def restore(self, stored: Any, labels: Labels) -> Tags:
        """Return the tags with the span of each word in the text."""
        spans, start = [], 0
        for length in stored[::2]:
            spans.append((start, start + length))
            start += length + 1
        return Tags(tuple(spans), tuple(labels.index(code) for code in stored[1::2]))


def _words(row: Row) -> list[str]:
    words = row.value("words")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise row.invalid(words, row.table.column("words"), "a list of texts")
    if not all(word.strip() for word in words):
        raise Unusable(f"`{row.place}` has a blank word in `{row.table.column('words')}`: {words}.", "a blank word")
    if not words:
        raise Unusable(f"`{row.place}` has no words in `{row.table.column('words')}`.", "no words")
    return words


@final
class Answered(Form):
    """A question, its context, and the answers with the character at which each begins, as in SQuAD."""

    fields = ("id", "question", "context", "answers", "text")
    type = pa.list_(pa.struct([("text", pa.string()), ("start", pa.int32())]))

    def texts(self, row: Row) -> tuple[str, str | None]:
        """Return `question` and `context`."""
        return row.text("question"), row.text("context")

    def label(self, row: Row, labels: Labels) -> tuple[tuple[str, int], ...]:
        """Return the texts and starts of `answers`; empty for an unanswerable question."""
        answers, context = row.value("answers"), cast(str, row.value("context"))
        texts: Any
        starts: Any
        texts, starts = (answers.get(key) if isinstance(answers, dict) else None for key in ("text", "answer_start"))
        if not _all_of_type(str, texts) or not _all_of_type(int, starts) or len(texts) != len(starts):
            expected = "a table of `text` and `answer_start`, a list of texts and one of as many whole numbers"
            raise row.invalid(answers, row.table.column("answers"), expected)
        for text, start in zip(texts, starts, strict=True):
            if not text or start < 0 or not context.startswith(text, start):
                where = context.find(text)
                hint = f"; it begins at {where}" if text and where >= 0 else ""
                raise Unusable(
                    f"`{row.place}` has the answer `{text}` at character {start} of `{row.table.column('context')}`, where it"
                    f" does not stand{hint}. Count characters from 0, not bytes.",
                    "an answer that does not stand in the text where it should",
                )
        return tuple(zip(texts, starts, strict=True))

    def restore(self, stored: Any, labels: Labels) -> tuple[Answer, ...]:
        """Return the answers; Arrow gives back each as a dictionary."""
        return tuple(Answer(*(answer.values() if isinstance(answer, dict) else answer)) for answer in stored)


def _all_of_type(expected: type, values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is expected for value in values)


PLAIN = Plain()
FORMS: Mapping[str, Form] = {
    "classification": Classed(),
    "token_classification": Tagged(),
    "named_entities": Tagged(),
    "question_answering": Answered(),
    "retrieval": PLAIN,
}
