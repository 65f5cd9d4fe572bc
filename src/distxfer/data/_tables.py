"""Reads files of rows, one row at a time, as records with their line number."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from distxfer.data._files import decoded_lines, lines
from distxfer.data._legends import Legend, Reading, is_number, read_as_names, read_as_numbers, schema_names, with_names
from distxfer.errors import InputError, listed, reason

Rows = Iterator[tuple[int, Mapping[str, object]]]
_LONGEST = 2**24  # characters of a CSV field; a longer one means a missing quotation mark
_CONLLU = ("form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_COMMENTS = {"sent_id": "id", "text": "text"}  # comments of CoNLL-U that become fields
_BLANK = "_"  # a word that the treebank may not distribute, or an unspecified tag
_KEY_VALUE = re.compile(r"#\s*(begin|end) document\b|#\s+[\w.:-]+\s*=|#[\w.:-]+\s+=\s")
_DOCUMENT = "-DOCSTART-"  # begins a document
_WORD_ID = re.compile(r"([0-9]+)|[0-9]+-[0-9]+|[0-9]+\.[0-9]+")


@dataclass(frozen=True)
class Table:
    """A file of rows, read again on each iteration; `left_out` counts parts of the format that no row represents.

    Yields (number, record), where number is the line on which the row starts or, in Parquet, the row counted from 1.
    Parquet cells are converted on access. CSV and TSV records hold only texts: nothing is converted to a number or a
    missing value. Label numbers are replaced by their `names` (from the file's schema, or given), and label texts by
    their `readings`.

    Raises InputError, with file and line, for input that is not UTF-8 or violates the format.
    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)  # field -> column, where their names differ
    is_own: bool = True  # a user's own file, whose columns a recipe can name
    left_out: Counter[str] = field(default_factory=Counter)
    placeholders: Counter[str] = field(default_factory=Counter)  # meaningless values that are read unchanged
    names: dict[str, Legend] = field(default_factory=dict)  # label names by column; those of a schema take precedence
    readings: dict[str, Reading] = field(default_factory=dict)  # names of label texts, by column
    fields: Collection[str] = ()  # the columns of Parquet to read; empty for all

    def __iter__(self) -> Rows:
        self.left_out.clear()
        self.placeholders.clear()
        for number, record in _reader(self.path)(self):
            yield number, with_names(record, self.names, self.readings)

    def column(self, name: str) -> str:
        """Return the name of the column that holds a field."""
        return self.columns.get(name, name)

    def place(self, number: int) -> str:
        """Return the name of a row in messages."""
        return f"{self.path}:{number}"


def read_labels(tables: Sequence[Table], column: str) -> None:
    """Set how the label texts in a task's files are read: all as numbers or all as names, in files with label names.

    If both fit, texts of JSON and Parquet are names, since these formats distinguish numbers from texts.

    Raises InputError if both fit in another format, for numbers beside names that could be taken for numbers or in one file,
    and for an unreadable file.
    """
    tables = [table for table in tables if column in table.names]
    texts = [_label_texts(table.path, column) for table in tables]
    legends = [table.names[column] for table in tables]
    as_numbers = list(map(read_as_numbers, texts, legends))
    as_names = list(map(read_as_names, texts, legends))
    number = _first_difference(tables, as_numbers, as_names)
    # A file of names alone can stand beside one of numbers: no text in it can be taken for a number.
    mixed = [place for place, table_texts in enumerate(texts) if any(map(is_number, table_texts))]
    name = _first_difference(
        [tables[place] for place in mixed], [as_names[place] for place in mixed], [as_numbers[place] for place in mixed]
    )
    if number and name:
        raise InputError(
            f"`{number[0]}` has the label number `{number[1]}` in `{column}`, but `{name[0]}` has the label name `{name[1]}`."
            " Write all labels as names, or all as numbers."
        )
    for place in mixed if not (number or name) else ():
        numbers, names = as_numbers[place], as_names[place]
        if numbers != names and tables[place].path.suffix not in _TYPED:
            text = min(text for text, named in numbers.items() if named != names[text])
            raise InputError(
                f"`{tables[place].path}` has `{text}` in `{column}`, which by the dataset card is either the label name"
                f" `{names[text]}` or the number of the label `{numbers[text]}`. Write the file as JSON lines, where"
                f' {text.strip()} is a number and "{text.strip()}" a name.'
            )
    for place, table in enumerate(tables):
        reading = (as_numbers if number and place in mixed else as_names)[place]
        if reading or place in mixed:
            table.readings[column] = reading


def _first_difference(
    tables: Sequence[Table], readings: Sequence[Reading], alternatives: Sequence[Reading]
) -> tuple[Path, str] | None:
    """Return the first text, with its file, that only the first readings have."""
    for table, reading, second in zip(tables, readings, alternatives, strict=True):
        if texts := reading.keys() - second.keys():
            return table.path, min(texts)
    return None


def _label_texts(path: Path, column: str) -> frozenset[str]:
    """Return the distinct texts in the label column of a file."""
    records = (record for _, record in _reader(path)(Table(path, fields={column})))
    return frozenset(text for record in records if column in record for text in _texts(record[column]))


def _texts(value: object) -> Iterator[str]:
    """Yield the non-blank texts in a cell, or in a list in it."""
    if isinstance(value, list):
        yield from (text for item in value for text in _texts(item))
    elif isinstance(value, str) and value.strip():
        yield value


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object of these pairs; raises ValueError for a repeated key, since the last value would win silently."""
    record = dict(pairs)
    if len(record) < len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key `{key}` occurs twice in one object")
    return record


def _jsonl(table: Table) -> Rows:
    """Read one JSON object per line."""
    for number, line in lines(table.path):
        try:
            record = json.loads(line, object_pairs_hook=_unrepeated)
        except (ValueError, RecursionError) as error:  # for example 5,000 digits, 1,000 brackets, a repeated key
            fault = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            raise InputError(f"`{table.place(number)}` is not valid JSON: {fault}.") from error
        if not isinstance(record, dict):
            raise InputError(
                f'`{table.place(number)}` is {line[:40]!r}; expected a JSON object such as {{"id": ..., "text": ...}}.'
            )
        yield number, record


def _csv(table: Table) -> Rows:
    """Read comma-separated values with a header line, quoted as in RFC 4180."""

    def rows() -> Iterator[tuple[int, list[str]]]:
        reader, before = csv.reader((line for _, line in decoded_lines(table.path)), strict=True), 0
        try:
            for values in reader:
                if values and not (len(values) == 1 and values[0].isspace()):
                    yield before + 1, values
                before = reader.line_num
        except csv.Error as error:
            raise InputError(
                f"`{table.place(before + 1)}` is not valid CSV: {error}. Quote a text with a comma, a line end or a quotation"
                " mark, and double the quotation marks in it."
            ) from error

    csv.field_size_limit(_LONGEST)
    return _with_header(table, rows())


def _tsv(table: Table) -> Rows:
    """Read tab-separated values with a header line; quotation marks have no special meaning."""
    return _with_header(table, ((number, line.split("\t")) for number, line in lines(table.path)))


def _with_header(table: Table, rows: Iterator[tuple[int, list[str]]]) -> Rows:
    """Yield the records of rows of which the first has the names of the columns."""
    header: list[str] = []
    for number, values in rows:
        if not header:
            header = [name.strip() for name in values]
            _check_distinct(header, table.place(number))
        elif len(values) == len(header):
            yield number, dict(zip(header, values, strict=True))
        else:
            raise InputError(
                f"`{table.place(number)}` has {len(values)} columns, but the header has {len(header)}: {listed(header)}."
            )


def _check_distinct(names: Sequence[str], place: str) -> None:
    if duplicates := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"`{place}` names the column `{duplicates[0]}` twice. Give columns distinct names.")


@dataclass(frozen=True)
class _Cells(Mapping[str, object]):
    """A row of a Parquet file by the names of all its columns; cells are read and converted on access."""

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
            columns = [name for name in names if name in (table.fields or names)]
            _check_distinct(columns, str(table.path))
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for row in range(batch.num_rows):
                    number += 1
                    yield number, _Cells(table.place(number), names, batch, row)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputError(f"`{table.path}` cannot be read as Parquet after row {number}: {reason(error)}.") from error


def _sentences(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Yield blocks of lines, separated by blank lines, with their line numbers."""
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
    """Read CoNLL-U: the comments `sent_id` and `text` become `id` and `text`, the columns become lists over the words.

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
                    f"`{table.place(number)}` is {line[:40]!r}; CoNLL-U expects 10 tab-separated columns, the first a number."
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
    """Read CoNLL: the first column is the word, the last its tag, separated by tabs or blanks; a blank line ends a sentence.

    Comments before the first word of a sentence, and sentences whose words are all blanked (`_`), are left out.
    """
    of_file = cache(partial(_words_of_file, table.path))
    for block in _sentences(table.path):
        words: list[str] = []
        tags: list[str] = []
        word_line = next((line for _, line in block if _is_word(line)), "")
        for number, line in block:
            columns = _columns(line)
            if line.startswith("#"):
                first, all_tags = of_file()
                if _is_comment(table.place(number), line, word_line or first, all_tags, inside=bool(words)):
                    table.left_out["comment lines"] += 1
                    continue
            if columns[0] == _DOCUMENT:
                table.left_out["marks of documents"] += 1
            elif len(columns) < 2:
                raise InputError(f"`{table.place(number)}` is {line[:40]!r}; expected a word and its tag.")
            else:
                words.append(columns[0])
                tags.append(columns[-1])
        if words and _readable(table, words):
            yield block[0][0], {"words": words, "tags": tags}


def _columns(line: str) -> list[str]:
    columns = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
    return [*columns[:-1], columns[-1].strip()]


def _words_of_file(path: Path) -> tuple[str, frozenset[str]]:
    """Return the first line of a CoNLL file that is certainly a word, "" if none is, and the tags of all of them."""
    first, tags = "", set()
    for _, line in lines(path):
        if _is_word(line):
            first = first or line
            tags.add(_columns(line)[-1])
    return first, frozenset(tags)


def _is_word(line: str) -> bool:
    """Return whether a line of a CoNLL file is certainly a word."""
    return not line.startswith(("#", _DOCUMENT))


def _is_comment(place: str, line: str, word_line: str, tags: Collection[str], *, inside: bool) -> bool:
    """Return whether a line of a CoNLL file that begins with `#` is a comment rather than a word (`#` or `#hashtag`).

    A comment precedes the first word of a sentence. It is `# key = value` or `#begin document`, or it begins with `# ` and
    differs from the words in its number of columns, or in having a tag that is not in `tags`, those of the file's other
    words. `word_line` is a word of the same sentence, or else of the file, and shows the separator; empty if there is none.

    Raises InputError for a line that is neither.
    """
    columns = line.split("\t") if "\t" in word_line else re.split("[ \t]+", line.strip())
    may_be_comment = not inside and line[1:2] in ("", " ", "\t")
    if not inside and _KEY_VALUE.match(line):
        return True
    if not word_line:
        return False
    if len(columns) == (width := len(_columns(word_line))):
        return may_be_comment and columns[-1].strip() not in tags
    if may_be_comment:
        return True
    raise InputError(
        f"`{place}` begins with `#` and has {len(columns)} columns, but words have {width}. It is neither a word nor a comment"
        " (`# key = value` before a sentence). Correct or remove the line."
    )


def _readable(table: Table, words: Sequence[str]) -> bool:
    """Return whether a sentence has any word that is not blanked, as in treebanks without text, and count the blanked."""
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
_TYPED = (".jsonl", ".parquet")  # formats that distinguish numbers from texts


def _reader(path: Path) -> Callable[[Table], Rows]:
    return _jsonl if path.suffix == ".gz" else _READERS[path.suffix]
