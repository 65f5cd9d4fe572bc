"""A task of your own: one file of rows per language and split, for any task type."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from distxfer.data._checks import RowHashes, missing_labels, overlaps, repeated_texts, repeats, unpaired, untranslated
from distxfer.data._examples import SPLITS, About, Data, Example, Issue, Task
from distxfer.data._forms import FORMS, PLAIN, Classed, Form, LabelSet, Row
from distxfer.data._layout import UNLABELLED, Layout, layout
from distxfer.data._legends import Card, read_card
from distxfer.data._rows import Stored
from distxfer.data._tables import SUFFIXES, Table, read_labels
from distxfer.errors import InputError, counted, did_you_mean

ABOUT = About(
    "your own: FOLDER/{language}/{train,dev,test}.jsonl (.csv .tsv .parquet .conllu) with id, text (text_pair), label",
    keys=("type", "pattern", "columns"),
)
# Field -> column, for formats with column names of their own.
_FORMAT_COLUMNS: Mapping[str, Mapping[str, str]] = {".conllu": {"words": "form", "tags": "upos"}}
_COMPANIONS = ("{}_text", "{}_name", "{}s_text")  # names of columns with the names of numeric labels


@dataclass(frozen=True)
class _Part:
    """A file with its rows and what the checks need: the numbers of its labels, and how many words have a tag."""

    table: Table
    examples: Stored[Example]
    hashes: RowHashes
    codes: frozenset[int]
    words: int


_Parts = Mapping[tuple[str, str], _Part]  # by language and split
# (column, name in it) -> the number that a label has beside this name, and the file that says so.
_Numbers = dict[tuple[str, str], tuple[str, Path]]


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages with a test file in the folder; raises InputError if there is none."""
    files = layout(data)
    if not files.languages:
        raise InputError(
            f"`{files.folder}` has no test file in any language; expected files such as `{files.path('eng', 'test')}`"
            f" ({', '.join(SUFFIXES)}).{files.ignored}"
        )
    return files.languages


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task in a folder; the label set is that of the source's training rows.

    Only parts of a format that a task cannot represent are left out, such as the ranges of words of CoNLL-U. `notes`
    count these, and report repeated texts, texts in both training and test, and labels that are never tested.

    Raises InputError, with file and line, for a missing file, field or text, a repeated id, or an unknown label.
    """
    files, form = layout(data), _form(data)
    card = read_card(files.folder)
    every = ((language, split) for language in (source, *targets) for split in (*SPLITS, UNLABELLED))
    keys = [key for key in dict.fromkeys([(source, "train"), *every]) if key in files.paths]
    keys = [key for key in keys if key[1] != "train" or key[0] == source or target_labels]
    if form.labelled and (source, "train") not in keys:
        path = files.path(source, "train")
        raise InputError(
            f"`{path}` does not exist, but the source `{source}` needs labelled text to train on.{files.ignored}"
        )
    forms = {key: PLAIN if key[1] == UNLABELLED else form for key in keys}
    tables = {key: _table(files.paths[key], key[0], card, data, forms[key]) for key in keys}
    labelled = [table for (_, split), table in tables.items() if split != UNLABELLED and form.label_field]
    for column in dict.fromkeys(table.column(form.label_field) for table in labelled):
        read_labels([table for table in labelled if table.column(form.label_field) == column], column)
    labels = LabelSet()
    numbers: _Numbers = {}
    parts: dict[tuple[str, str], _Part] = {}
    for key, table in tables.items():
        parts[key] = _part(table, key, forms[key], labels, numbers, files)
        if key == (source, "train"):
            if not parts[key].examples:
                raise InputError(
                    f"`{table.path}` has no rows, but is the training data of the source `{source}`. Add rows."
                )
            if form.label_field:
                labels.freeze(table, data.type or Task.task_type)
    for language in (source, *targets):
        if (language, "test") not in parts or not parts[language, "test"].examples:
            path = files.path(language, "test")
            raise InputError(f"`{path}` is missing or empty, but is needed to score `{language}`.")
    notes = [*files.notes, *_card_notes(tables, card, form, files)]
    return Task(
        name=data.name,
        labels=labels.names,
        splits={split: _by_language(parts, split) for split in SPLITS},
        unlabelled=_by_language(parts, UNLABELLED),
        task_type=data.type or Task.task_type,
        notes=(*notes, *_notes(parts, source, form, labels)),
        issues=tuple(_issues(parts)),
    )


def _form(data: Data) -> Form:
    """Return how the rows of a task type are read, after checking the recipe's `columns`."""
    name = data.type or Task.task_type
    if name not in FORMS:
        raise InputError(
            f"`task.type` is `{name}`, which your own files cannot have.{did_you_mean(name, FORMS)} Choose from:"
            f" {', '.join(FORMS)}."
        )
    form = FORMS[name]
    for column in data.columns:
        if column not in form.fields:
            raise InputError(
                f"`task.columns` has `{column}`, which is not a field of the task type `{name}`."
                f"{did_you_mean(column, form.fields)} Fields: {', '.join(form.fields)}."
            )
    return form


def _table(path: Path, language: str, card: Card | None, data: Data, form: Form) -> Table:
    """Return a file with the columns to read."""
    columns = {**_FORMAT_COLUMNS.get(path.suffix, {}), **data.columns}
    names = dict(card.names(language, path)) if card else {}
    label_column = columns.get(form.label_field, form.label_field)
    companions = [name.format(label_column) for name in _COMPANIONS if label_column]
    fields = [columns.get(name, name) for name in form.fields]
    return Table(path, columns=columns, names=names, fields={*fields, *companions})


def _part(table: Table, key: tuple[str, str], form: Form, labels: LabelSet, numbers: _Numbers, files: Layout) -> _Part:
    """Return the rows of a file; raises InputError for a repeated id, and if there are none that can be used."""
    hashes = RowHashes(files.name(table.path), unit="row" if table.path.suffix == ".parquet" else "line")
    label_column = table.column(form.label_field)
    names = [name.format(label_column) for name in _COMPANIONS]
    unnamed = isinstance(form, Classed) and label_column not in table.names
    companions: dict[str, dict[str, str] | None] = {name: {} for name in names if unnamed}
    codes: set[int] = set()
    words = 0
    has_ids = False

    def rows() -> Iterator[tuple[object, ...]]:
        nonlocal has_ids, words
        for place, (number, record) in enumerate(table, 1):
            row = Row(table, number, record)
            has_ids = has_ids if place > 1 else row.has("id")
            if row.has("id") and not has_ids:
                raise InputError(
                    f"`{row.place}` has the {table.column('id')} `{row.value('id')}`, but the first row of the file has none."
                    " Give an id to all rows or to none."
                )
            row_id = row.name(row.value("id"), table.column("id")) if has_ids else str(place)
            text, pair = form.texts(row)
            row.check_encodable(row_id, text, pair)
            label = form.label(row, labels)
            codes.update(form.codes(label))
            words += len(form.codes(label))
            _number_names(companions, record, label_column)
            hashes.add(row_id, (text, pair), label, number)
            yield row_id, text, pair, label

    def example(row_id: str, text: str, pair: str | None, label: object) -> Example:
        return Example(row_id, key[0], text, pair, form.restore(label, labels))

    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("text_pair", pa.string()), ("label", form.type)])
    examples = Stored(rows(), schema, example)
    if has_ids:
        _no_repeated_id(table, examples, hashes)
    if not examples and table.left_out:
        counts = ", ".join(counted(count, reason) for reason, count in sorted(table.left_out.items()))
        raise InputError(f"`{table.path}` has no usable rows; left out: {counts}. Give a file with its text.")
    _same_numbers(companions, numbers, table.path, label_column)
    return _Part(table, examples, hashes, frozenset(codes), words)


def _no_repeated_id(table: Table, examples: Stored[Example], hashes: RowHashes) -> None:
    for again, first in zip(*repeats(hashes.ids), strict=True):
        key = examples.row(int(again))[0]  # not `examples[again]`: the label set is not frozen yet
        if key == examples.row(int(first))[0]:
            raise InputError(
                f"`{table.place(hashes.numbers[again])}` repeats the id `{key}`. Give each example of a file a distinct id."
            )


def _number_names(
    companions: dict[str, dict[str, str] | None], record: Mapping[str, object], label_column: str
) -> None:
    """Record the number of a row's label by its name in each companion column; None for a column without such names."""
    for companion, numbers in companions.items():
        name = record.get(companion)
        if numbers is None or not name:
            continue
        number = str(record[label_column])
        is_number = number.removeprefix("-").isdecimal()
        if not isinstance(name, str) or not is_number or numbers.setdefault(name, number) != number:
            companions[companion] = None


def _same_numbers(
    companions: Mapping[str, Mapping[str, str] | None], seen: _Numbers, path: Path, label_column: str
) -> None:
    """Raise InputError if a name in a companion of the label column has another number in an earlier file."""
    for companion, numbers in companions.items():
        for name, number in (numbers or {}).items():
            first, where = seen.setdefault((companion, name), (number, path))
            if first != number:
                raise InputError(
                    f"`{path}` has the number `{number}` in `{label_column}` for the label that `{companion}` calls `{name}`, but"
                    f" `{where}` has `{first}`. Set `task.columns.label` to `{companion}`."
                )


def _by_language(parts: _Parts, split: str) -> dict[str, Sequence[Example]]:
    return {language: part.examples for (language, part_split), part in parts.items() if part_split == split}


def _card_notes(tables: Mapping[tuple[str, str], Table], card: Card | None, form: Form, files: Layout) -> Iterator[str]:
    """Yield a note for each file that takes its label names from another language's configuration of the card."""
    for (language, split), table in tables.items():
        column = table.column(form.label_field)
        legend = card.names(language, table.path).get(column) if card else None
        # Names in a Parquet schema replace those of the card while the file is read.
        used = legend and split != UNLABELLED and table.names[column] is legend
        if card and used and (note := card.note(language, table.path, files.name(table.path))):
            yield note


def _notes(parts: _Parts, source: str, form: Form, labels: LabelSet) -> Iterator[str]:
    """Yield notes for the user on the files that were read."""
    yield from _renumbered(parts, form)
    for part in parts.values():
        for reason, count in sorted(part.table.left_out.items()):
            yield f"`{part.hashes.name}`: {counted(count, reason)} left out."
        for reason, count in sorted(part.table.placeholders.items()):
            yield f"`{part.hashes.name}`: {counted(count, reason)}."
        yield from repeated_texts(part.hashes)
    read = [
        (part.hashes, "training " if split == "train" else "")
        for (_, split), part in parts.items()
        if split in ("train", UNLABELLED)
    ]
    scored = {key: part.hashes for key, part in parts.items() if key[1] in ("dev", "test")}
    yield from overlaps(list(scored.values()), read)
    for (language, split), hashes in scored.items():
        if form.label_field and split == "test":
            present = {labels.names[labels.index(code)] for code in parts[language, split].codes}
            yield from missing_labels(hashes.name, present, labels.names, parts[source, "train"].hashes.name)
        if language != source and (source, split) in scored:
            yield from untranslated(hashes, scored[source, split])
            if not form.labelled:
                yield from unpaired(hashes, scored[source, split])


def _renumbered(parts: _Parts, form: Form) -> Iterator[str]:
    """Yield a note for each file that numbers its labels differently from the first that names them."""
    named = {
        part.hashes.name: legend
        for (_, split), part in parts.items()
        if split != UNLABELLED and (legend := part.table.names.get(part.table.column(form.label_field)))
    }
    first = next(iter(named), "")
    for name, legend in named.items():
        if legend != named[first]:
            yield f"`{name}` numbers its labels differently from `{first}`; both are read by name."


def _issues(parts: _Parts) -> Iterator[Issue]:
    """Yield the issues of all files: what was left out, of all lines, and placeholders, of all words."""
    for (language, split), part in parts.items():
        lines = part.words + sum(part.table.left_out.values())
        for reason, count in sorted(part.table.left_out.items()):
            yield Issue(language, split, reason, count, lines)
        for reason, count in sorted(part.table.placeholders.items()):
            yield Issue(language, split, reason, count, part.words)
