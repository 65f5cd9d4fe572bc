"""Datasets of the Hugging Face hub: their files, from its cache or from a copy of your own, and tasks made of their rows."""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from distxfer.data._examples import Answer, Data, Example, Issue, Tags, Task
from distxfer.data._legends import CARDS, Card, Legend, Names, read_card, with_names
from distxfer.data._tables import Table, unrepeated
from distxfer.errors import InputError, did_you_mean, listed, reason
from distxfer.languages import canonical

_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


@dataclass(frozen=True)
class Dataset:
    """A dataset on the hub, at a commit of it; without a `revision` no commit is known, and its newest one is read.

    `paths` are patterns of a part's files in the repository, of which the first counts that has any: with `{code}` for the
    language, by its name in `codes`, and `{split}` for the split, by its name in `splits`.
    """

    repository: str
    revision: str
    paths: tuple[str, ...]
    codes: Mapping[str, str]
    splits: Mapping[str, str] = field(default_factory=lambda: _SPLITS)

    def has(self, split: str, language: str) -> bool:
        """Return whether it may have a part."""
        return split in self.splits and language in self.codes

    def patterns(self, split: str, language: str) -> tuple[str, ...]:
        """Return the patterns of a part's files."""
        return tuple(path.format(code=self.codes[language], split=self.splits[split]) for path in self.paths)


def by_key(codes: str, **own: str) -> dict[str, str]:
    """Return language key -> code for codes with blanks between; `own` are those whose key `canonical` does not give."""
    return {**{canonical(code): code for code in codes.split()}, **own}


@dataclass(frozen=True)
class Row:
    """A row of one of a dataset's files, numbered in its part from 0 on."""

    path: Path
    line: int
    number: int
    language: str
    record: Mapping[str, Any]
    names: Names = field(default_factory=dict)  # of the labels that the file has as numbers, by column

    def value(self, column: str) -> Any:
        """Return what a column holds; raises InputError where there is none."""
        if column not in self.record:
            raise InputError(
                f"`{self.path}` has no column `{column}`, only: {listed(self.record)}."
                f"{did_you_mean(column, self.record)} Is it a file of another dataset?"
            )
        return self.record[column]

    def text(self, column: str) -> str:
        """Return a text; an empty one where there is none, or half of a character in it."""
        value = self.value(column)
        if value is not None and not isinstance(value, str):
            raise self.wrong(value, column, "a text")
        try:
            return value if value and value.strip() and value.encode() else ""
        except UnicodeEncodeError:
            return ""

    def key(self, column: str) -> str:
        """Return the id that stands there; raises InputError for an empty one."""
        value = self.value(column)
        if value is None or value == "":
            raise self.wrong(value, column, "an id")
        return str(value)

    def label(self, column: str, labels: Sequence[str]) -> int:
        """Return the number of a label that stands there as its number or its name."""
        return self.index(self.value(column), column, labels)

    def index(self, value: object, column: str, labels: Sequence[str]) -> int:
        """Return the number of a label, which stands in `column`, from its name, or from its number in a file without names.

        A name that is a number (`"0"`) stands for that number. Raises InputError for anything else.
        """
        if type(value) is int and 0 <= value < len(labels) and column not in self.names:
            return value
        if (
            isinstance(value, str)
            and value.isdecimal()
            and value in self.names.get(column, {}).values()
            and int(value) < len(labels)
        ):
            return int(value)
        if value == -1:
            raise InputError(
                f"`{self.path}:{self.line}` has -1 in `{column}`, which `datasets` writes where a label is withheld. Choose a"
                " copy of the dataset whose labels are there."
            )
        if value not in labels:
            raise self.wrong(value, column, f"a label, 0 to {len(labels) - 1} or one of: {listed(labels)}")
        return labels.index(cast(str, value))

    def wrong(self, value: object, column: str, expected: str) -> InputError:
        """Return the complaint about a value."""
        return InputError(f"`{self.path}:{self.line}` has {str(value)[:40]!r} in `{column}`, but expected {expected}.")


@dataclass(frozen=True)
class Copy:
    """Where some parts of a dataset lie, and what users are to be told of that."""

    dataset: Dataset
    root: Path
    notes: tuple[str, ...] = ()

    @cached_property
    def card(self) -> Card | None:
        """The names of labels in its dataset card, which may take seconds to read."""
        return read_card(self.root)

    def rows(self, split: str, language: str) -> Iterator[Row]:
        """Yield the rows of a part, in order; none where it has no files. Files are read batch by batch."""
        files = (sorted(self.root.glob(pattern)) for pattern in self.dataset.patterns(split, language))
        number, card = 0, self.card
        for path in next((found for found in files if found), ()):
            names = dict(card.names(self.dataset.codes[language], path)) if card else {}
            for line, record in _records(path, names):
                yield Row(path, line, number, language, record, names)
                number += 1

    def missing(self, split: str, language: str, section: str) -> InputError:
        """Return the complaint about a part that has no rows but must be there."""
        return InputError(
            f"`{self.root}` has no row in `{self.dataset.patterns(split, language)[0]}`, the {split} part of `{language}` in"
            f" `{self.dataset.repository}`. Leave the language out, or complete the copy, on the hub or in"
            f" `{section}.folder`."
        )


def copy_of(
    dataset: Dataset, data: Data, parts: Collection[tuple[str, str]], section: str, *, pinned: bool = True
) -> Copy:
    """Return a copy that has the files of these (split, language) parts, as far as the dataset has them.

    It is the folder that `data` names, or the part of the hub's cache with the commit; what is not there is downloaded.
    `section` is that of the recipe whose keys messages name; `pinned` whether `data.revision` leaves the dataset alone.

    Raises InputError where neither the folder nor the hub, nor its cache, has the dataset.
    """
    if data.folder:
        folder = Path(data.folder).expanduser()
        if not folder.is_dir():
            raise InputError(
                f"`{section}.folder` is `{data.folder}`, but that is no folder. Give one with a copy of"
                f" `{dataset.repository}`, or leave it out to read from the hub."
            )
        return Copy(dataset, folder)
    revision = dataset.revision if pinned else data.revision or dataset.revision
    root = _snapshot(
        dataset, revision, sorted({pattern for part in parts for pattern in dataset.patterns(*part)}), section
    )
    if revision == dataset.revision and revision:
        return Copy(dataset, root)
    why = f"`{section}.revision` is `{revision}`" if revision else "no commit of it is known to distxfer"
    keep = "" if pinned else f" `{section}.revision={root.name}` keeps to that."
    return Copy(dataset, root, (f"`{dataset.repository}` was read at the commit {root.name}: {why}.{keep}",))


def _snapshot(dataset: Dataset, revision: str, patterns: list[str], section: str) -> Path:
    from huggingface_hub import snapshot_download  # half a second: `distxfer ls` does without
    from huggingface_hub.errors import GatedRepoError

    try:
        return Path(
            snapshot_download(
                dataset.repository, repo_type="dataset", revision=revision or None, allow_patterns=[*patterns, *CARDS]
            )
        )
    except Exception as error:  # of the client, of what it sends through, of the disk: all say why in words
        terms = " Accept its terms on its page, and log in: `hf auth login`." * isinstance(error, GatedRepoError)
        raise InputError(
            f"`{dataset.repository}`, revision `{revision or 'main'}`, cannot be had from the Hugging Face hub:"
            f" {reason(error)}.{terms} Without the hub, give a copy of the repository as"
            f" `{section}.folder=DIR`, or a cache that has it, HF_HOME."
        ) from error


def _records(path: Path, names: dict[str, Legend]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (line, record) for each row of a file of JSON lines or Parquet; `names` are of the numbers, and a schema's added."""
    if path.suffix != ".gz":
        yield from Table(path, names=names)
        return
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, with_names(_record(path, number, line), names)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"`{path}` cannot be read after line {number}: {error}. Get the file anew.") from error


def _record(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=unrepeated)
    except (ValueError, RecursionError) as error:
        raise InputError(f"`{path}:{number}` is not JSON that can be read: {error}. Get the file anew.") from error
    if not isinstance(record, dict):
        raise InputError(f"`{path}:{number}` holds {line[:40]!r}, but expected a JSON object.")
    return record


Read = Callable[[Row], Example | str]  # the example of a row, or why it is left out


def classes(labels: Sequence[str], text: str, text_pair: str = "", *, label: str = "label", key: str = "") -> Read:
    """Return the reader of rows with a text, or a pair of texts, and its class; each argument names a column."""

    def read(row: Row) -> Example | str:
        first, second = row.text(text), row.text(text_pair) if text_pair else None
        if not first or second == "":
            return "no text"
        own = row.key(key) if key else str(row.number)
        return Example(own, row.language, first, second, row.label(label, labels))

    return read


def tags(labels: Sequence[str], words: str, label: str) -> Read:
    """Return the reader of rows with lists of words and their tags: a text is its words with blanks between."""

    def read(row: Row) -> Example | str:
        forms, marks = row.value(words), row.value(label)
        if not isinstance(forms, list) or not isinstance(marks, list) or len(forms) != len(marks):
            raise row.wrong(marks, label, f"a list, as long as that of `{words}`")
        if not _are(str, forms):
            raise row.wrong(forms, words, "a list of texts")
        spans, numbers, end = [], [], -1
        for form, mark in zip(forms, marks, strict=True):
            start, end = end + 1, end + 1 + len(form)
            spans.append((start, end))
            numbers.append(row.index(mark, label, labels))
        if not forms or not all(form.strip() for form in forms):
            return "a blank word" if forms else "no words"
        return Example(str(row.number), row.language, " ".join(forms), label=Tags(tuple(spans), tuple(numbers)))

    return read


def answers(row: Row) -> Example | str:
    """Read a row of SQuAD: a question, the text that answers it, and the answers with the places where they start."""
    question, context, found = row.text("question"), row.text("context"), row.value("answers")
    texts: Any = found.get("text") if isinstance(found, dict) else None
    starts: Any = found.get("answer_start") if isinstance(found, dict) else None
    if not _are(str, texts) or not _are(int, starts) or len(texts) != len(starts):
        raise row.wrong(found, "answers", "a table of `text` and `answer_start`, two lists of one length")
    if not question or not context:
        return "no text"
    right = tuple(dict.fromkeys(map(Answer, texts, starts)))
    if not right:
        return "no answer"
    if not all(one.text and one.start >= 0 and context.startswith(one.text, one.start) for one in right):
        return "an answer that does not stand in the text where it should"
    return Example(row.key("id"), row.language, question, context, right)


def _are(kind: type, values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def said_of(name: str, what: str, left_out: Counter[str]) -> tuple[str, ...]:
    """Return what users are to be told of the pairs or sentences that were left out, by language."""
    counts = listed(f"{language} {count:,}" for language, count in left_out.items() if count)
    return (f"`{name}`: {what}, left out: {counts}.",) if counts else ()


def hub_task(
    data: Data,
    datasets: Sequence[Dataset],
    read: Read,
    source: str,
    targets: Sequence[str],
    *,
    target_labels: bool,
    labels: Sequence[str] = (),
    kind: str = "classification",
    unlabelled: bool = False,
) -> Task:
    """Return a task of datasets, where each part is in the first one that may have it; `data.revision` is of the first.

    `unlabelled`: the training text of all languages may be read without its labels.

    Raises InputError for a source without training text, and a language without test.
    """
    trains = sorted({language for one in datasets if "train" in one.splits for language in one.codes})
    if trains and source not in trains:
        raise InputError(
            f"The task `{data.name}` has no text to train on in `{source}`. Its source may be: {listed(trains)}."
        )
    languages = (source, *targets)
    parts: dict[tuple[str, str], Dataset] = {}
    for split in _SPLITS:
        for language in languages if split != "train" or target_labels or unlabelled else (source,):
            if holder := next((one for one in datasets if one.has(split, language)), None):
                parts[split, language] = holder
    copies = {
        one.repository: copy_of(
            one, data, [part for part, holder in parts.items() if holder is one], "task", pinned=one is not datasets[0]
        )
        for one in datasets
        if one in parts.values()
    }
    left_out: Counter[tuple[str, str, str]] = Counter()
    renumbered: dict[str, None] = {}
    splits: dict[str, dict[str, tuple[Example, ...]]] = {split: {} for split in _SPLITS}
    for (split, language), holder in parts.items():
        copy = copies[holder.repository]
        if examples := _examples(copy, split, language, read, left_out, labels, renumbered):
            splits[split][language] = examples
        elif split == "test" or (split == "train" and language == source):
            raise copy.missing(split, language, "task")
    texts = {
        language: tuple(replace(one, label=None) for one in examples)
        for language, examples in splits["train"].items()
        if unlabelled
    }
    issues = tuple(
        Issue(language, split, reason, count, count + len(splits[split].get(language, ())))
        for (split, reason, language), count in left_out.items()
    )
    if not target_labels:
        splits["train"] = {language: those for language, those in splits["train"].items() if language == source}
    notes = [note for copy in copies.values() for note in (*copy.notes, *(copy.card.notes if copy.card else ()))]
    if renumbered:
        notes.append(
            f"`{data.name}`: the files of {', '.join(renumbered)} number their labels in another order; read by name."
        )
    notes += _said(data.name, left_out, splits, languages)
    return Task(data.name, tuple(labels), splits, texts, kind, tuple(notes), issues)


def _examples(
    copy: Copy,
    split: str,
    language: str,
    read: Read,
    left_out: Counter[tuple[str, str, str]],
    labels: Sequence[str],
    renumbered: dict[str, None],
) -> tuple[Example, ...]:
    """Return the examples of a part, each with an id of its own; count what is left out, note other orders of the labels."""
    examples: dict[str, Example] = {}
    in_order = dict(enumerate(labels))
    for row in copy.rows(split, language):
        if any(set(legend.values()) == set(labels) and legend != in_order for legend in row.names.values()):
            renumbered[language] = None
        example = read(row)
        if isinstance(example, str):
            left_out[split, example, language] += 1
        elif example.id in examples:
            left_out[split, "an id that an earlier row has", language] += 1
        else:
            examples[example.id] = example
    return tuple(examples.values())


def _said(
    name: str,
    left_out: Counter[tuple[str, str, str]],
    splits: Mapping[str, Mapping[str, Sequence[Example]]],
    languages: Sequence[str],
) -> Iterator[str]:
    """Yield what users are to be told of a task: what was left out of which part and why, and where there is no dev part."""
    for split, why in dict.fromkeys((split, why) for split, why, _ in left_out):
        counts = {language: left_out[split, why, language] for language in languages}
        said = ", ".join(f"{language} {count}" for language, count in counts.items() if count)
        total = sum(counts.values())
        yield f"`{name}`: {total:,} {'rows were' if total > 1 else 'row was'} left out of {split} ({said}): {why}."
    if splits["dev"] and (without := [language for language in languages if language not in splits["dev"]]):
        yield f"`{name}` has no dev part in: {listed(without)}."
