"""A task of your own: one file of rows per language and split, for any task type."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from distxfer.data._checks import RowHashes, missing_labels, overlaps, repeated_texts, repeats, unknown_ids
from distxfer.data._examples import SPLITS, About, Data, Example, Issue, Task
from distxfer.data._forms import FORMAT_COLUMNS, FORMS, PLAIN, Classed, Form, LabelSet, Row
from distxfer.data._layout import UNLABELLED, Layout, layout
from distxfer.data._legends import Card, Legend, read_card
from distxfer.data._rows import Stored
from distxfer.data._tables import Table, read_labels
from distxfer.errors import InputError, counted, did_you_mean

ABOUT = About(
    "your own: FOLDER/{language}/{train,dev,test}.jsonl (.csv .tsv .parquet .conllu) with id, text (text_pair), label",
    keys=("type", "pattern", "columns"),
)
_LABELLED = ("label", "tags")  # fields with labels from a label set
_COMPANIONS = ("{}_text", "{}_name", "{}s_text")  # names of columns with the names of numeric labels


@dataclass(frozen=True)
class _Part:
    """The rows of one file, and what the checks need; `codes` are the numbers of its labels."""

    examples: Stored[Example]
    prints: RowHashes
    codes: frozenset[int]
    left_out: Mapping[str, int]
    placeholders: Mapping[str, int]
    words: int  # in tagged texts
    names: Legend  # of numeric labels
    # Column -> label name in it -> label number in the label column, if the mapping is unique.
    companions: Mapping[str, Mapping[str, str]]


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages with a test file in the folder; raises InputError if there is none."""
    files = layout(data)
    if not files.languages:
        raise InputError(
            f"`{files.folder}` has no test file in any language; expected files such as `{files.path('eng', 'test')}`, or .csv,"
            f" .tsv, .parquet, .conllu, .conll.{' '.join(['', *files.notes])}"
        )
    return files.languages


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task in a folder; the label set is that of the source's training rows.

    Only parts of a format that a task cannot represent are left out, such as the ranges of words of CoNLL-U. `notes`
    count these, and report repeated texts, texts in both training and test, and labels that are never tested.

    Raises InputError, with file and line, for a missing file, field or text, a repeated id, or an unknown label.
    """
    task_type, files = data.type or Task.task_type, layout(data)
    form = _form(data, task_type)
    labels = LabelSet()
    parts: dict[tuple[str, str], _Part] = {}
    train = files.path(source, "train")
    required = [
        (source, "train"),
        *((language, split) for language in (source, *targets) for split in (*SPLITS, UNLABELLED)),
    ]
    keys = [key for key in dict.fromkeys(required) if key in files.paths]
    keys = [key for key in keys if key[1] != "train" or key[0] == source or target_labels]
    card = read_card(files.folder)
    tables = {key: _table(files.paths[key], key[0], card) for key in keys}
    if form.classed:
        _read_labels(tables, form, data.columns)
    if (source, "train") in files.paths:
        parts[source, "train"] = _part(tables[source, "train"], source, form, labels, data.columns, files)
        if not len(parts[source, "train"].examples):
            raise InputError(f"`{train}` has no rows, but is the training data of the source `{source}`. Add rows.")
        if form.classed:
            labels.freeze(Table(train), task_type)
    elif form.labelled:
        raise InputError(f"`{train}` does not exist, but the source `{source}` needs labelled text to train on.")
    for language in (source, *targets):
        for split in (*SPLITS, UNLABELLED):
            part = (language, split)
            if part in tables and part not in parts:
                part_form = PLAIN if split == UNLABELLED else form
                parts[part] = _part(tables[part], language, part_form, labels, data.columns, files)
        if not (test := parts.get((language, "test"))) or not len(test.examples):
            raise InputError(
                f"`{files.path(language, 'test')}` is missing or empty, but is needed to score `{language}`."
            )
    _same_numbers(parts, files, form, data.columns)
    notes = (
        *files.notes,
        *(card.notes if card else ()),
        *_card_notes(tables, card, form, data.columns, files),
        *_notes(parts, source, form, labels),
    )
    return Task(
        name=data.name,
        labels=labels.names,
        splits={split: _by_language(parts, split) for split in SPLITS},
        unlabelled=_by_language(parts, UNLABELLED),
        task_type=task_type,
        notes=notes,
        issues=tuple(_issues(parts)),
    )


def _table(path: Path, language: str, card: Card | None) -> Table:
    return Table(path, names=dict(card.names(language, path)) if card else {})


def _label_column(path: Path, form: Form, columns: Mapping[str, str]) -> str:
    """Return the label column of a file; "" for a task type without a label set."""
    field = next((field for field in _LABELLED if form.classed and field in form.fields), "")
    return {**FORMAT_COLUMNS.get(path.suffix, {}), **columns}.get(field, field)


def _read_labels(tables: Mapping[tuple[str, str], Table], form: Form, columns: Mapping[str, str]) -> None:
    """Set for all files how their labels are read: as names or as numbers of the dataset card."""
    by_column: dict[str, list[Table]] = {}
    for (_, split), table in tables.items():
        if split != UNLABELLED:
            by_column.setdefault(_label_column(table.path, form, columns), []).append(table)
    for column, group in by_column.items():
        read_labels(group, column)


def _card_notes(
    tables: Mapping[tuple[str, str], Table], card: Card | None, form: Form, columns: Mapping[str, str], files: Layout
) -> Iterator[str]:
    """Yield a note for each file that takes its label names from another language's configuration of the card."""
    for (language, split), table in tables.items():
        column = _label_column(table.path, form, columns)
        legend = card.names(language, table.path).get(column) if card else None
        # Names in a Parquet schema replace those of the card while the file is read.
        used = legend and split != UNLABELLED and table.names[column] is legend
        if card and used and (note := card.note(language, table.path, files.name(table.path))):
            yield note


def _form(data: Data, task_type: str) -> Form:
    """Return how the rows of a task type are read, after checking the recipe's `columns`."""
    if task_type not in FORMS:
        raise InputError(
            f"`task.type` is `{task_type}`, which your own files cannot have.{did_you_mean(task_type, FORMS)} Choose from:"
            f" {', '.join(FORMS)}."
        )
    form = FORMS[task_type]
    for name in data.columns:
        if name not in form.fields:
            raise InputError(
                f"`task.columns` has `{name}`, which is not a field of the task type `{task_type}`."
                f"{did_you_mean(name, form.fields)} Fields: {', '.join(form.fields)}."
            )
    return form


def _by_language(parts: Mapping[tuple[str, str], _Part], split: str) -> dict[str, Sequence[Example]]:
    return {language: part.examples for (language, part_split), part in parts.items() if part_split == split}


def _part(
    table: Table, language: str, form: Form, labels: LabelSet, columns: Mapping[str, str], files: Layout
) -> _Part:
    """Return the rows of a file; raises InputError for a repeated id."""
    columns = {**FORMAT_COLUMNS.get(table.path.suffix, {}), **columns}
    table = replace(table, fields={columns.get(name, name) for name in form.fields})
    label_column = _label_column(table.path, form, columns)
    companions: dict[str, dict[str, str] | None] = {
        name.format(label_column): {} for name in _COMPANIONS if label_column
    }
    if label_column in table.names or not isinstance(form, Classed):
        companions.clear()
    table = replace(table, fields={*table.fields, *companions})
    prints = RowHashes(files.name(table.path), unit="row" if table.path.suffix == ".parquet" else "line")
    codes: set[int] = set()
    words = 0
    own_ids = False

    def rows() -> Iterator[tuple[object, ...]]:
        nonlocal own_ids, words
        for place, (number, record) in enumerate(table, 1):
            row = Row(table, number, record, columns)
            if place == 1:
                own_ids = row.has("id")
            key = row.name(row.value("id"), row.column("id")) if own_ids else _no_id(row, place)
            text, pair = form.texts(row)
            row.check_encodable(key, text, pair)
            label = form.label(row, labels)
            if form.classed:
                codes.update(form.codes(label))
                words += len(form.codes(label))
            _number_names(companions, record, label_column)
            prints.add(key, (text, pair), label, number)
            yield key, text, pair, label

    def example(key: str, text: str, pair: str | None, label: object) -> Example:
        return Example(key, language, text, pair, form.restore(label, labels))

    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("text_pair", pa.string()), ("label", form.type)])
    examples = Stored(rows(), schema, example)
    if own_ids:
        _no_repeated_id(table, examples, prints)
    names = next(
        (table.names[column] for field in _LABELLED if (column := columns.get(field, field)) in table.names), {}
    )
    if not examples and table.left_out:
        counts = ", ".join(counted(count, reason) for reason, count in sorted(table.left_out.items()))
        raise InputError(f"`{table.path}` has no usable rows; left out: {counts}. Give a file with its text.")
    return _Part(
        examples,
        prints,
        frozenset(codes),
        dict(table.left_out),
        dict(table.placeholders),
        words,
        names if form.classed else {},
        {companion: numbers for companion, numbers in companions.items() if numbers},
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
    parts: Mapping[tuple[str, str], _Part], files: Layout, form: Form, columns: Mapping[str, str]
) -> None:
    """Raise InputError if a name in a companion of the label column has different numbers in two files."""
    seen: dict[tuple[str, str], tuple[str, Path]] = {}
    for key, part in parts.items():
        path = files.paths[key]
        for companion, numbers in part.companions.items():
            for name, number in numbers.items():
                first, where = seen.setdefault((companion, name), (number, path))
                if first != number:
                    column = _label_column(path, form, columns)
                    raise InputError(
                        f"`{path}` has the number `{number}` in `{column}` for the label that `{companion}` calls `{name}`, but"
                        f" `{where}` has `{first}`. Set `task.columns.label` to `{companion}`."
                    )


def _no_id(row: Row, place: int) -> str:
    """Return the number of a row as its id, in a file without ids."""
    if row.has("id"):
        raise InputError(
            f"`{row.place}` has the {row.column('id')} `{row.value('id')}`, but the first row of the file has none. Give"
            " an id to all rows or to none."
        )
    return str(place)


def _no_repeated_id(table: Table, examples: Stored[Example], prints: RowHashes) -> None:
    for again, first in zip(*repeats(prints.ids), strict=True):
        key = examples.row(int(again))[0]  # not `examples[again]`: the label set is not frozen yet
        if key == examples.row(int(first))[0]:
            raise InputError(
                f"`{table.place(prints.numbers[again])}` repeats the id `{key}`. Give each example of a file a distinct id."
            )


def _notes(parts: Mapping[tuple[str, str], _Part], source: str, form: Form, labels: LabelSet) -> Iterator[str]:
    """Yield notes for the user on the files that were read."""
    read = [
        (part.prints, "training " if split == "train" else "")
        for (_, split), part in parts.items()
        if split in ("train", UNLABELLED)
    ]
    scored = {key: part for key, part in parts.items() if key[1] in ("dev", "test")}
    first = next((part for part in parts.values() if part.names), None)
    for part in parts.values():
        if first and part.names and part.names != first.names:
            yield f"`{part.prints.name}` numbers its labels differently from `{first.prints.name}`; both are read by name."
    for part in parts.values():
        for reason, count in sorted(part.left_out.items()):
            yield f"`{part.prints.name}`: {counted(count, reason)} left out."
        for reason, count in sorted(part.placeholders.items()):
            yield f"`{part.prints.name}`: {counted(count, reason)}."
        yield from repeated_texts(part.prints)
    yield from overlaps([part.prints for part in scored.values()], read)
    for (language, split), part in scored.items():
        if form.classed and split == "test":
            present = {labels.names[labels.index(code)] for code in part.codes}
            train = parts[source, "train"].prints.name
            yield from missing_labels(part.prints.name, present, labels.names, train)
        if not form.labelled and language != source:
            yield from _unpaired(part.prints, scored.get((source, split)))


def _issues(parts: Mapping[tuple[str, str], _Part]) -> Iterator[Issue]:
    """Yield the issues of all files: what was left out, of all lines, and placeholders, of all words."""
    for (language, split), part in parts.items():
        lines = part.words + sum(part.left_out.values())
        yield from (Issue(language, split, reason, count, lines) for reason, count in sorted(part.left_out.items()))
        yield from (
            Issue(language, split, reason, count, part.words) for reason, count in sorted(part.placeholders.items())
        )


def _unpaired(target: RowHashes, source: _Part | None) -> Iterator[str]:
    """Yield a note for each side of a retrieval task with ids that the other side lacks."""
    for prints, counterpart in ((target, source.prints), (source.prints, target)) if source else ():
        alone = unknown_ids(prints, counterpart)
        if len(alone):
            yield (
                f"`{prints.name}` has {len(alone)} of its {len(prints.ids)} ids alone: they are not in `{counterpart.name}`"
                f" (first: {prints.where(alone[0])})."
            )
