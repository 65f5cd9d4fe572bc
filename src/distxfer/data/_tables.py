"""Files of rows, read one row at a time: each comes with its place, `file:line`, as a record of its fields."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from distxfer.data._files import decoded_lines, lines
from distxfer.data._legends import LabelTexts, Legend, Reading, readings_of, schema_names, with_names
from distxfer.errors import InputError, listed, reason

Rows = Iterator[tuple[int, Mapping[str, object]]]
_LONGEST = 2**24  # characters of a field of a CSV file: what is longer lacks a quotation mark
_CONLLU = ("form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_COMMENTS = {"sent_id": "id", "text": "text"}  # the comments of CoNLL-U that are fields
_BLANK = "_"  # a word whose text a treebank may not give, or whose tag is not specified
_KEY_VALUE = re.compile(r"#\s*(begin|end) document\b|#\s+[\w.:-]+\s*=|#[\w.:-]+\s+=\s")
_WORD_ID = re.compile(r"([0-9]+)|[0-9]+-[0-9]+|[0-9]+\.[0-9]+")


@dataclass(frozen=True)
class Table:
    """A file of rows, read again with each iteration; `left_out` counts what the format has and a row has not.

    Yields (number, record) with the number of the line on which the row starts, or, in Parquet, that of the row from 1
    on; cells of Parquet are converted when they are looked up. A record of CSV or TSV holds texts alone: nothing is
    taken for a number or for a missing value. Numbers of labels that have `names` (of the file's schema, or those given)
    are replaced by these, and texts that stand for them by their `readings`.

    Raises InputError, with file and line, for what is not UTF-8 or not of the format.
    """

    path: Path
    left_out: Counter[str] = field(default_factory=Counter)
    placeholders: Counter[str] = field(default_factory=Counter)  # read as they stand, though they stand for nothing
    names: dict[str, Legend] = field(default_factory=dict)  # of the numbers in a column; a schema's come first
    readings: dict[str, Reading] = field(default_factory=dict)  # of the texts in a column that has names and texts
    fields: Collection[str] = ()  # the columns of Parquet that are read; all if none is named

    def __iter__(self) -> Rows:
        self.left_out.clear()
        self.placeholders.clear()
        for number, record in _READERS[self.path.suffix](self):
            yield number, with_names(record, self.names, self.readings)

    def place(self, number: int) -> str:
        """Return how a message names a row."""
        return f"{self.path}:{number}"


def read_labels(tables: Sequence[Table], column: str) -> None:
    """Decide how the texts in the label column of all files of a task are read, where the files have names for its numbers.

    Raises InputError as `readings_of` does, and for a file that cannot be read.
    """
    named = [table for table in tables if column in table.names]
    columns = [
        LabelTexts(
            table.path,
            column,
            frozenset(
                text
                for _, record in _READERS[table.path.suffix](Table(table.path, fields={column}))
                if column in record
                for text in _texts(record[column])
            ),
            table.names[column],
            typed=table.path.suffix in (".jsonl", ".parquet"),
        )
        for table in named
    ]
    for table, texts, reading in zip(named, columns, readings_of(columns), strict=True):
        if reading or texts.has_numbers:
            table.readings[column] = reading


def _texts(value: object) -> Iterator[str]:
    """Yield the texts, blank ones apart, in a cell or in the list that it holds."""
    if isinstance(value, list):
        yield from (text for item in value for text in _texts(item))
    elif isinstance(value, str) and value.strip():
        yield value


def unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object of these pairs; raises ValueError for a key that repeats: the last value would win unseen."""
    record = dict(pairs)
    if len(record) < len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key `{key}` is there twice in one object")
    return record


def _jsonl(table: Table) -> Rows:
    """Read one JSON object a line."""
    for number, line in lines(table.path):
        try:
            record = json.loads(line, object_pairs_hook=unrepeated)
        except json.JSONDecodeError as error:
            raise InputError(f"`{table.place(number)}` is not JSON: {error.msg} at column {error.colno}.") from error
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, 1,000 brackets
            raise InputError(f"`{table.place(number)}` is not JSON that can be read: {error}.") from error
        if not isinstance(record, dict):
            raise InputError(
                f"`{table.place(number)}` holds {line[:40]!r}, but expected a JSON object such as"
                ' {"id": ..., "text": ...}.'
            )
        yield number, record


def _csv(table: Table) -> Rows:
    """Read what is comma-separated, with texts in double quotes where they must be (RFC 4180), a header line."""
    csv.field_size_limit(_LONGEST)
    reader = csv.reader((line for _, line in decoded_lines(table.path)), strict=True)
    header: list[str] = []
    before = 0
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"`{table.place(before + 1)}` is not CSV: {error}. Put a text that holds a comma, a line end or a quotation"
                " mark in double quotes, and double the quotation marks in it."
            ) from error
        number, before = before + 1, reader.line_num
        if not values or (len(values) == 1 and values[0].isspace()):
            continue
        if header:
            yield number, _record(table, number, header, values)
        else:
            header = _header(table, number, values)


def _tsv(table: Table) -> Rows:
    """Read what is tab-separated, with a header line; a quotation mark is a character as any other."""
    header: list[str] = []
    for number, line in lines(table.path):
        values = line.split("\t")
        if header:
            yield number, _record(table, number, header, values)
        else:
            header = _header(table, number, values)


def _header(table: Table, number: int, line: Sequence[str]) -> list[str]:
    names = [name.strip() for name in line]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f"`{table.place(number)}` names the column `{twice[0]}` twice. Give each a name of its own.")
    return names


def _record(table: Table, number: int, header: list[str], values: list[str]) -> dict[str, object]:
    if len(values) != len(header):
        raise InputError(
            f"`{table.place(number)}` has {len(values)} columns, but the header has {len(header)}: {listed(header)}."
        )
    return dict(zip(header, values, strict=True))


@dataclass(frozen=True)
class _Cells(Mapping[str, object]):
    """A row of a Parquet file by the names of all its columns; a cell is read and converted when it is looked up."""

    place: str
    names: tuple[str, ...]
    batch: pa.RecordBatch
    row: int

    def __getitem__(self, name: str) -> object:
        if name not in self.names:
            raise KeyError(name)
        try:
            return self.batch.column(name)[self.row].as_py()
        except (KeyError, ValueError, OverflowError, pa.ArrowException) as error:
            raise InputError(f"`{self.place}` has a cell in `{name}` that cannot be read: {reason(error)}.") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def _parquet(table: Table) -> Rows:
    number = 0
    try:
        with pq.ParquetFile(table.path) as file:
            table.names.update(schema_names(table.path, file.schema_arrow.metadata))
            names = tuple(file.schema_arrow.names)
            if twice := [
                name for name, times in Counter(names).items() if times > 1 and name in (table.fields or names)
            ]:
                raise InputError(f"`{table.path}` has the column `{twice[0]}` twice. Give each a name of its own.")
            columns = [name for name in names if name in table.fields] if table.fields else None
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for row in range(batch.num_rows):
                    number += 1
                    yield number, _Cells(table.place(number), names, batch, row)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"`{table.path}` cannot be read as Parquet after row {number}: {reason(error)}.") from error
    except OSError as error:
        raise InputError(
            f"`{table.path}` cannot be read: {reason(error)}. Check the path and its permissions."
        ) from error


def _sentences(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Yield the lines between blank ones, with their numbers."""
    block: list[tuple[int, str]] = []
    for number, line in decoded_lines(path):
        if line.strip():
            block.append((number, line.rstrip("\r\n")))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _conllu(table: Table) -> Rows:
    """Read CoNLL-U: its comments `sent_id` and `text` are `id` and `text`, its columns are lists over the words.

    Ranges of words and empty nodes are left out, and so are sentences whose words are all blanked (`_`).
    """
    for block in _sentences(table.path):
        record: dict[str, object] = {}
        words: list[list[str]] = []
        first = block[0][0]
        for number, line in block:
            if line.startswith("#"):
                name, _, value = line[1:].partition("=")
                if name.strip() in _COMMENTS:
                    record[_COMMENTS[name.strip()]] = value.strip()
                continue
            columns = line.split("\t")
            word = _WORD_ID.fullmatch(columns[0])
            if len(columns) != 10 or word is None:
                raise InputError(
                    f"`{table.place(number)}` is no line of CoNLL-U: expected 10 columns with tabs between, the first a number,"
                    f" and not {line[:40]!r}."
                )
            if word[1]:
                words.append(columns[1:])
            else:
                table.left_out["ranges of words" if "-" in columns[0] else "empty nodes"] += 1
        if words and _readable(table, [columns[0] for columns in words]):
            columns_by_name = zip(_CONLLU, map(list, zip(*words, strict=True)), strict=True)
            yield first, {**record, **dict(columns_by_name)}
        elif any(not line.startswith("#") for _, line in block) and not words:
            table.left_out["sentences without words"] += 1


def _conll(table: Table) -> Rows:
    """Read a word, (other columns,) and its tag a line, tabs or blanks between; a blank line ends a sentence.

    Comments, before the first word of a sentence, are left out, and so are sentences whose words are all blanked (`_`).
    """

    @cache
    def certain_tags() -> frozenset[str]:
        return frozenset(_columns(line)[-1].strip() for line in _certain_words(table.path))

    @cache
    def certain_word() -> str:
        return next(_certain_words(table.path), "")

    for block in _sentences(table.path):
        words: list[str] = []
        tags: list[str] = []
        word_line = next((text for _, text in block if not text.startswith("#")), "")
        for number, line in block:
            if line.startswith("#"):
                like = word_line or certain_word()
                if _is_comment(table, number, line, like, certain_tags, inside=bool(words)):
                    table.left_out["comment lines"] += 1
                    continue
            columns = _columns(line)
            if columns[0] == "-DOCSTART-":
                table.left_out["marks of documents"] += 1
                continue
            if len(columns) < 2:
                raise InputError(f"`{table.place(number)}` holds {line[:40]!r}, but expected a word and its tag.")
            words.append(columns[0])
            tags.append(columns[-1].strip())
        if words and _readable(table, words):
            yield block[0][0], {"words": words, "tags": tags}


def _columns(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))


def _is_comment(
    table: Table, number: int, line: str, like: str, certain_tags: Callable[[], frozenset[str]], *, inside: bool
) -> bool:
    """Return whether a line of a CoNLL file that begins with `#` is a comment, and not a word such as `#` or `#hashtag`.

    `like` is a line with a word, of the same sentence if it has one; empty where the file has none. A comment stands before
    the first word of a sentence. It is `# key = value` or `#begin document`, or begins with `# ` and has other columns than
    the sentence's words, or as many but a tag that no other word of the file has.

    Raises InputError for a line that is neither a comment nor like the other words.
    """
    columns = line.split("\t") if "\t" in like else re.split("[ \t]+", line.strip())
    as_a_word = not like or len(columns) == len(_columns(like))
    apart = line[1:2].isspace() or len(line) == 1
    if not inside and _KEY_VALUE.match(line):
        return True
    if as_a_word:
        if inside or not apart or not like:
            return False
        return columns[-1] not in certain_tags()
    if apart and not inside:
        return True
    raise InputError(
        f"`{table.place(number)}` begins with `#` and has {len(columns)} columns, where words have {len(_columns(like))}: it is"
        " neither such a word nor a comment, which stands before a sentence as `# key = value`. Mend or remove the line."
    )


def _certain_words(path: Path) -> Iterator[str]:
    """Yield the lines of a CoNLL file that are words for certain."""
    return (line for _, line in lines(path) if not line.startswith(("#", "-DOCSTART-")))


def _readable(table: Table, words: Sequence[str]) -> bool:
    """Return whether a sentence has words, and count those that are blanked, as in treebanks without their text."""
    blank = words.count(_BLANK)
    if blank == len(words) > 1:
        table.left_out["sentences whose words are all blanked (`_`)"] += 1
        return False
    if blank:
        table.placeholders["blanked words (`_`), read as they stand"] += blank
    return True


_READERS: dict[str, Callable[[Table], Rows]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
    ".conllu": _conllu,
    ".conll": _conll,
}
SUFFIXES = tuple(_READERS)
