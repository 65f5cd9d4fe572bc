"""Datasets of the Hugging Face hub: their files, from its cache or a local copy, and the tasks made from their rows."""

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
    """A dataset on the hub, pinned to the commit `revision`; if that is empty, the newest commit is read.

    `paths` are patterns of the files of a part, of which the first with any match is used. `{code}` stands for the
    language, as named in `codes`, and `{split}` for the split, as named in `splits`.
    """

    repository: str
    revision: str
    paths: tuple[str, ...]
    codes: Mapping[str, str]
    splits: Mapping[str, str] = field(default_factory=lambda: _SPLITS)

    def has(self, split: str, language: str) -> bool:
        """Return whether the dataset may have this part."""
        return split in self.splits and language in self.codes

    def patterns(self, split: str, language: str) -> tuple[str, ...]:
        """Return the patterns of a part's files."""
        return tuple(path.format(code=self.codes[language], split=self.splits[split]) for path in self.paths)


def by_key(codes: str, **special: str) -> dict[str, str]:
    """Return language key -> code for codes separated by blanks; `special` maps keys that `canonical` does not give."""
    return {**{canonical(code): code for code in codes.split()}, **special}


@dataclass(frozen=True)
class HubRow:
    """A row of a dataset's file, numbered within its part from 0."""

    path: Path
    line: int
    number: int
    language: str
    record: Mapping[str, Any]
    names: Names = field(default_factory=dict)  # names of numeric labels, by column

    def value(self, column: str) -> Any:
        """Return the value of a column; raises InputError if there is none."""
        if column not in self.record:
            raise InputError(
                f"`{self.path}` has no column `{column}`, only: {listed(self.record)}."
                f"{did_you_mean(column, self.record)} Is it a file of another dataset?"
            )
        return self.record[column]

    def text(self, column: str) -> str:
        """Return a text; "" if it is missing, blank or not encodable as UTF-8 (a lone surrogate)."""
        value = self.value(column)
        if value is not None and not isinstance(value, str):
            raise self.invalid(value, column, "a text")
        try:
            return value if value and value.strip() and value.encode() else ""
        except UnicodeEncodeError:
            return ""

    def key(self, column: str) -> str:
        """Return an id; raises InputError for an empty one."""
        value = self.value(column)
        if value is None or value == "":
            raise self.invalid(value, column, "an id")
        return str(value)

    def label(self, column: str, labels: Sequence[str]) -> int:
        """Return the index of a label, which the column holds as a number or a name."""
        return self.index(self.value(column), column, labels)

    def index(self, value: object, column: str, labels: Sequence[str]) -> int:
        """Return the index of a label in `column` from its name, or from its number in a file without label names.

        A name that is a number (`"0"`) is that number. Raises InputError for anything else.
        """
        if type(value) is int and 0 <= value < len(labels) and column not in self.names:
            return value
        names = self.names.get(column, {}).values()
        if isinstance(value, str) and value.isdecimal() and value in names and int(value) < len(labels):
            return int(value)
        if value == -1:
            raise InputError(
                f"`{self.path}:{self.line}` has -1 in `{column}`, which `datasets` writes for a withheld label. Use a copy of"
                " the dataset with labels."
            )
        if value not in labels:
            raise self.invalid(value, column, f"a label, 0 to {len(labels) - 1} or one of: {listed(labels)}")
        return labels.index(cast(str, value))

    def invalid(self, value: object, column: str, expected: str) -> InputError:
        """Return the error for an unexpected value."""
        return InputError(f"`{self.path}:{self.line}` has {str(value)[:40]!r} in `{column}`, but expected {expected}.")


@dataclass(frozen=True)
class Copy:
    """The local folder with some parts of a dataset, and notes for the user on where it came from."""

    dataset: Dataset
    root: Path
    notes: tuple[str, ...] = ()

    @cached_property
    def card(self) -> Card | None:
        """The label names in the dataset card; reading it may take seconds."""
        return read_card(self.root)

    def rows(self, split: str, language: str) -> Iterator[HubRow]:
        """Yield the rows of a part, in order; none if it has no files. Files are read batch by batch."""
        matches = (sorted(self.root.glob(pattern)) for pattern in self.dataset.patterns(split, language))
        number, card = 0, self.card
        for path in next(filter(None, matches), ()):
            names = dict(card.names(self.dataset.codes[language], path)) if card else {}
            for line, record in _records(path, names):
                yield HubRow(path, line, number, language, record, names)
                number += 1

    def missing(self, split: str, language: str, section: str) -> InputError:
        """Return the error for a required part without rows."""
        return InputError(
            f"`{self.root}` has no row in `{self.dataset.patterns(split, language)[0]}`, the {split} part of `{language}` in"
            f" `{self.dataset.repository}`. Leave the language out, or complete the copy, on the hub or in"
            f" `{section}.folder`."
        )


def copy_of(
    dataset: Dataset, data: Data, parts: Collection[tuple[str, str]], section: str, *, pinned: bool = True
) -> Copy:
    """Return a copy with the files of these (split, language) parts, as far as the dataset has them.

    The copy is the folder that `data` names, or a snapshot in the hub's cache, downloaded as needed. `section` is the
    recipe's section, for messages. `pinned`: `data.revision` does not apply to this dataset.

    Raises InputError if the dataset is neither in the folder, nor on the hub, nor in its cache.
    """
    if data.folder:
        folder = Path(data.folder).expanduser()
        if not folder.is_dir():
            raise InputError(
                f"`{section}.folder` is `{data.folder}`, which is not a folder. Give one with a copy of"
                f" `{dataset.repository}`, or leave the key out to read from the hub."
            )
        return Copy(dataset, folder)
    revision = dataset.revision if pinned else data.revision or dataset.revision
    root = _snapshot(
        dataset, revision, sorted({pattern for part in parts for pattern in dataset.patterns(*part)}), section
    )
    if revision == dataset.revision and revision:
        return Copy(dataset, root)
    why = f"`{section}.revision` is `{revision}`" if revision else "distxfer pins no commit of it"
    advice = "" if pinned else f" Set `{section}.revision={root.name}` to pin it."
    return Copy(dataset, root, (f"`{dataset.repository}` was read at the commit {root.name}: {why}.{advice}",))


def _snapshot(dataset: Dataset, revision: str, patterns: list[str], section: str) -> Path:
    from huggingface_hub import snapshot_download  # takes half a second, which `distxfer ls` must not
    from huggingface_hub.errors import GatedRepoError

    try:
        return Path(
            snapshot_download(
                dataset.repository, repo_type="dataset", revision=revision or None, allow_patterns=[*patterns, *CARDS]
            )
        )
    except Exception as error:  # of the client, the network or the disk; all have readable messages
        terms = " Accept its terms on its page, and log in: `hf auth login`." * isinstance(error, GatedRepoError)
        raise InputError(
            f"`{dataset.repository}`, revision `{revision or 'main'}`, cannot be downloaded from the Hugging Face hub:"
            f" {reason(error)}.{terms} Without the hub, set `{section}.folder=DIR` to a copy of the repository,"
            " or HF_HOME to a cache that holds it."
        ) from error


def _records(path: Path, names: dict[str, Legend]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (line, record) for each row of a JSON lines or Parquet file, with label numbers replaced by `names`.

    Label names in a Parquet schema are added to `names`.
    """
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
        raise InputError(f"`{path}` cannot be read after line {number}: {error}. Download it again.") from error


def _record(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=unrepeated)
    except (ValueError, RecursionError) as error:
        raise InputError(f"`{path}:{number}` is not valid JSON: {error}. Download the file again.") from error
    if not isinstance(record, dict):
        raise InputError(f"`{path}:{number}` is {line[:40]!r}; expected a JSON object.")
    return record


Reader = Callable[[HubRow], Example | str]  # returns the example of a row, or the reason to leave it out


def class_reader(
    labels: Sequence[str], text: str, text_pair: str = "", *, label: str = "label", key: str = ""
) -> Reader:
    """Return the reader of rows with a text or a pair of texts and its class; each argument names a column."""

    def read(row: HubRow) -> Example | str:
        first, second = row.text(text), row.text(text_pair) if text_pair else None
        if not first or second == "":
            return "no text"
        key_value = row.key(key) if key else str(row.number)
        return Example(key_value, row.language, first, second, row.label(label, labels))

    return read


def tag_reader(labels: Sequence[str], words: str, label: str) -> Reader:
    """Return the reader of rows with lists of words and their tags; the text is the words joined by blanks."""

    def read(row: HubRow) -> Example | str:
        forms, tags = row.value(words), row.value(label)
        if not isinstance(forms, list) or not isinstance(tags, list) or len(forms) != len(tags):
            raise row.invalid(tags, label, f"a list as long as that of `{words}`")
        if not _all_of_type(str, forms):
            raise row.invalid(forms, words, "a list of texts")
        spans, numbers, end = [], [], -1
        for form, tag in zip(forms, tags, strict=True):
            start, end = end + 1, end + 1 + len(form)
            spans.append((start, end))
            numbers.append(row.index(tag, label, labels))
        if not forms or not all(form.strip() for form in forms):
            return "a blank word" if forms else "no words"
        return Example(str(row.number), row.language, " ".join(forms), label=Tags(tuple(spans), tuple(numbers)))

    return read


def read_answers(row: HubRow) -> Example | str:
    """Read a row of SQuAD: a question, its context, and the answers with the characters at which they begin."""
    question, context, answers = row.text("question"), row.text("context"), row.value("answers")
    texts: Any = answers.get("text") if isinstance(answers, dict) else None
    starts: Any = answers.get("answer_start") if isinstance(answers, dict) else None
    if not _all_of_type(str, texts) or not _all_of_type(int, starts) or len(texts) != len(starts):
        raise row.invalid(answers, "answers", "a table of `text` and `answer_start`, two lists of the same length")
    if not question or not context:
        return "no text"
    right = tuple(dict.fromkeys(map(Answer, texts, starts)))
    if not right:
        return "no answer"
    if not all(answer.text and answer.start >= 0 and context.startswith(answer.text, answer.start) for answer in right):
        return "an answer that does not stand in the text where it should"
    return Example(row.key("id"), row.language, question, context, right)


def _all_of_type(expected: type, values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, expected) for value in values)


def left_out_notes(name: str, reason: str, left_out: Counter[str]) -> tuple[str, ...]:
    """Return a note with the number of pairs or sentences left out for each language; empty if none are."""
    counts = listed(f"{language} {count:,}" for language, count in left_out.items() if count)
    return (f"`{name}`: {reason}, left out: {counts}.",) if counts else ()


def hub_task(
    data: Data,
    datasets: Sequence[Dataset],
    read: Reader,
    source: str,
    targets: Sequence[str],
    *,
    target_labels: bool,
    labels: Sequence[str] = (),
    task_type: str = "classification",
    unlabelled: bool = False,
) -> Task:
    """Return a task whose parts each come from the first dataset that may have them; `data.revision` is of the first one.

    `unlabelled`: the training text of all languages may be read without its labels.

    Raises InputError for a source without training text, and a language without a test part.
    """
    sources = sorted({language for dataset in datasets if "train" in dataset.splits for language in dataset.codes})
    if sources and source not in sources:
        raise InputError(
            f"The task `{data.name}` has no training text in `{source}`. Its source may be: {listed(sources)}."
        )
    languages = (source, *targets)
    trained = languages if target_labels or unlabelled else (source,)
    copies = _copies(data, datasets, [("train", language) for language in trained], languages)
    left_out: Counter[tuple[str, str, str]] = Counter()
    renumbered: dict[str, None] = {}
    splits: dict[str, dict[str, tuple[Example, ...]]] = {split: {} for split in _SPLITS}
    for (split, language), copy in copies.items():
        if examples := _examples(copy, split, language, read, left_out, labels, renumbered):
            splits[split][language] = examples
        elif split == "test" or (split == "train" and language == source):
            raise copy.missing(split, language, "task")
    issues = tuple(
        Issue(language, split, reason, count, count + len(splits[split].get(language, ())))
        for (split, reason, language), count in left_out.items()
    )
    train = splits["train"]
    texts = {language: tuple(replace(example, label=None) for example in train[language]) for language in train}
    if not target_labels:
        splits["train"] = {language: examples for language, examples in train.items() if language == source}
    distinct = {copy.dataset.repository: copy for copy in copies.values()}
    notes = [note for copy in distinct.values() for note in (*copy.notes, *(copy.card.notes if copy.card else ()))]
    if renumbered:
        notes.append(
            f"`{data.name}`: the files of {', '.join(renumbered)} number their labels in another order; read by name."
        )
    notes += _task_notes(data.name, left_out, splits, languages)
    return Task(data.name, tuple(labels), splits, texts if unlabelled else {}, task_type, tuple(notes), issues)


def _copies(
    data: Data, datasets: Sequence[Dataset], train: Sequence[tuple[str, str]], languages: Sequence[str]
) -> dict[tuple[str, str], Copy]:
    """Return (split, language) -> the copy with the files of that part, for the `train` parts and all dev and test parts."""
    parts = [*train, *((split, language) for split in _SPLITS if split != "train" for language in languages)]
    by_dataset: dict[str, list[tuple[str, str]]] = {dataset.repository: [] for dataset in datasets}
    for part in parts:
        if dataset := next((dataset for dataset in datasets if dataset.has(*part)), None):
            by_dataset[dataset.repository].append(part)
    copies = {
        part: copy
        for dataset in datasets
        if (of_dataset := by_dataset[dataset.repository])
        for copy in (copy_of(dataset, data, of_dataset, "task", pinned=dataset is not datasets[0]),)
        for part in of_dataset
    }
    return {part: copies[part] for part in parts if part in copies}


def _examples(
    copy: Copy,
    split: str,
    language: str,
    read: Reader,
    left_out: Counter[tuple[str, str, str]],
    labels: Sequence[str],
    renumbered: dict[str, None],
) -> tuple[Example, ...]:
    """Return the examples of a part with distinct ids; count skipped rows and record languages with other label orders."""
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


def _task_notes(
    name: str,
    left_out: Counter[tuple[str, str, str]],
    splits: Mapping[str, Mapping[str, Sequence[Example]]],
    languages: Sequence[str],
) -> Iterator[str]:
    """Yield a note for each reason to leave rows out of a part, and one on languages without a dev part."""
    for split, why in dict.fromkeys((split, why) for split, why, _ in left_out):
        counts = {language: left_out[split, why, language] for language in languages}
        by_language = ", ".join(f"{language} {count}" for language, count in counts.items() if count)
        total = sum(counts.values())
        yield f"`{name}`: {total:,} {'rows were' if total > 1 else 'row was'} left out of {split} ({by_language}): {why}."
    if splits["dev"] and (without := [language for language in languages if language not in splits["dev"]]):
        yield f"`{name}` has no dev part in: {listed(without)}."
