"""Tasks and parallel text of the Hugging Face hub, as declared in `hub.toml`: their files, and the tasks made from their rows."""

import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import resources
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

from distxfer.data._examples import About, Data, Example, Issue, Task
from distxfer.data._forms import FORMS, FixedLabels, Row, Unusable
from distxfer.data._legends import CARDS, Card, read_card
from distxfer.data._tables import Table
from distxfer.errors import InputError, listed, reason
from distxfer.languages import canonical

_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
_LeftOut = Counter[tuple[str, str, str]]  # by split, reason and language


@dataclass(frozen=True)
class Dataset:
    """A dataset on the hub, pinned to the commit `revision`; if that is empty, the newest commit is read.

    `paths` are patterns of the files of a part, of which the first with any match is used. `{code}` stands for the
    language, as named in `codes`, and `{split}` for the split, as named in `splits`.
    """

    repository: str
    paths: tuple[str, ...]
    codes: Mapping[str, str]
    revision: str = ""
    splits: Mapping[str, str] = field(default_factory=lambda: _SPLITS)

    def has(self, split: str, language: str) -> bool:
        """Return whether the dataset may have this part."""
        return split in self.splits and language in self.codes

    def patterns(self, split: str, language: str) -> tuple[str, ...]:
        """Return the patterns of a part's files."""
        return tuple(path.format(code=self.codes[language], split=self.splits[split]) for path in self.paths)


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

    def tables(self, split: str, language: str, columns: Mapping[str, str]) -> Iterator[Table]:
        """Yield the files of a part, in order, with the label names of the card; none if the part has no files."""
        matches = (sorted(self.root.glob(pattern)) for pattern in self.dataset.patterns(split, language))
        for path in next(filter(None, matches), ()):
            names = dict(self.card.names(self.dataset.codes[language], path)) if self.card else {}
            yield Table(path, columns, is_own=False, names=names)

    def rows(self, split: str, language: str) -> Iterator[Row]:
        """Yield the rows of a part, in order. Files are read batch by batch."""
        for table in self.tables(split, language, {}):
            yield from (Row(table, number, record) for number, record in table)

    def missing(self, split: str, language: str, section: str) -> InputError:
        """Return the error for a required part without rows."""
        return InputError(
            f"`{self.root}` has no row in `{self.dataset.patterns(split, language)[0]}`, the {split} part of `{language}` in"
            f" `{self.dataset.repository}`. Leave the language out, or complete the copy, on the hub or in"
            f" `{section}.folder`."
        )


def copy_of(
    dataset: Dataset, data: Data, parts: Collection[tuple[str, str]], section: str, *, pinned: bool = False
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
    root = _snapshot(dataset, revision, {pattern for part in parts for pattern in dataset.patterns(*part)}, section)
    if revision == dataset.revision and revision:
        return Copy(dataset, root)
    why = f"`{section}.revision` is `{revision}`" if revision else "distxfer pins no commit of it"
    advice = "" if pinned else f" Set `{section}.revision={root.name}` to pin it."
    return Copy(dataset, root, (f"`{dataset.repository}` was read at the commit {root.name}: {why}.{advice}",))


def _snapshot(dataset: Dataset, revision: str, patterns: Collection[str], section: str) -> Path:
    from huggingface_hub import snapshot_download  # takes half a second, which `distxfer ls` must not
    from huggingface_hub.errors import GatedRepoError

    try:
        files = [*sorted(patterns), *CARDS]
        return Path(
            snapshot_download(dataset.repository, repo_type="dataset", revision=revision or None, allow_patterns=files)
        )
    except Exception as error:  # of the client, the network or the disk; all have readable messages
        terms = " Accept its terms on its page, and log in: `hf auth login`." * isinstance(error, GatedRepoError)
        raise InputError(
            f"`{dataset.repository}`, revision `{revision or 'main'}`, cannot be downloaded from the Hugging Face hub:"
            f" {reason(error)}.{terms} Without the hub, set `{section}.folder=DIR` to a copy of the repository,"
            " or HF_HOME to a cache that holds it."
        ) from error


@dataclass(frozen=True)
class HubTask:
    """A task or corpus that `hub.toml` declares; a task has the interface of a module in `tasks/` (`TaskSource`).

    `columns` are those of the task type's fields. `missing` is a text in place of one that is missing. `unlabelled`: the
    training text of all languages may be read without its labels.
    """

    ABOUT: About
    datasets: tuple[Dataset, ...]
    labels: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""
    unlabelled: bool = False

    @cached_property
    def _fixed_labels(self) -> FixedLabels:
        return FixedLabels(self.labels)

    def languages(self, data: Data) -> tuple[str, ...]:
        """Return the languages of the task."""
        return tuple({language for dataset in self.datasets for language in dataset.codes})

    def load(self, data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
        """Return a task whose parts each come from the first dataset that may have them.

        Raises InputError for a source without training text, and a language without a test part.
        """
        sources = sorted({key for dataset in self.datasets if "train" in dataset.splits for key in dataset.codes})
        if sources and source not in sources:
            raise InputError(
                f"The task `{data.name}` has no training text in `{source}`. Its source may be: {listed(sources)}."
            )
        languages = (source, *targets)
        trained = languages if target_labels or self.unlabelled else (source,)
        copies = self._copies(data, trained, languages)
        left_out: _LeftOut = Counter()
        renumbered: dict[str, None] = {}
        splits: dict[str, dict[str, tuple[Example, ...]]] = {split: {} for split in _SPLITS}
        for (split, language), copy in copies.items():
            if examples := self._examples(copy, split, language, left_out, renumbered):
                splits[split][language] = examples
            elif split == "test" or (split == "train" and language == source):
                raise copy.missing(split, language, "task")
        train = splits["train"]
        texts = {key: tuple(replace(example, label=None) for example in train[key]) for key in train}
        if not target_labels:
            splits["train"] = {language: examples for language, examples in train.items() if language == source}
        return Task(
            data.name,
            self.labels,
            splits,
            texts if self.unlabelled else {},
            self.ABOUT.task_type,
            tuple(_notes(data.name, copies.values(), left_out, renumbered, splits["dev"], languages)),
            tuple(
                Issue(language, split, cause, count, count + len(splits[split].get(language, ())))
                for (split, cause, language), count in left_out.items()
            ),
        )

    def _copies(self, data: Data, trained: Sequence[str], languages: Sequence[str]) -> dict[tuple[str, str], Copy]:
        """Return (split, language) -> the copy with the files of that part, for `train` in some of the languages."""
        parts = [(split, key) for split in _SPLITS for key in (trained if split == "train" else languages)]
        copies: dict[tuple[str, str], Copy] = {}
        for place, dataset in enumerate(self.datasets):
            if of_dataset := [part for part in parts if part not in copies and dataset.has(*part)]:
                copies |= dict.fromkeys(of_dataset, copy_of(dataset, data, of_dataset, "task", pinned=place > 0))
        return {part: copies[part] for part in parts if part in copies}

    def _examples(
        self, copy: Copy, split: str, language: str, left_out: _LeftOut, renumbered: dict[str, None]
    ) -> tuple[Example, ...]:
        """Return the examples of a part with distinct ids; count rows that are left out, note languages with another order."""
        examples: dict[str, Example] = {}
        places = count()
        for table in copy.tables(split, language, self.columns):
            for number, record in table:
                row = Row(table, number, record)
                try:
                    example = self._example(row, next(places), language)
                except Unusable as error:
                    left_out[split, error.cause, language] += 1
                else:
                    if examples.setdefault(example.id, example) is not example:
                        left_out[split, "an id that an earlier row has", language] += 1
            for legend in table.names.values():
                if set(legend.values()) == set(self.labels) and legend != dict(enumerate(self.labels)):
                    renumbered[language] = None
        return tuple(examples.values())

    def _example(self, row: Row, place: int, language: str) -> Example:
        form, labels = FORMS[self.ABOUT.task_type], self._fixed_labels
        text, pair = form.texts(row)
        if self.missing and self.missing in (text.strip(), (pair or "").strip()):
            raise Unusable("", f"`{self.missing}` in the place of a sentence")
        row.check_encodable(text, pair)
        key = row.name(row.value("id"), row.table.column("id")) if row.has("id") else str(place)
        label = form.restore(form.label(row, labels), labels)
        if isinstance(label, tuple):
            label = tuple(dict.fromkeys(label))
            if not label:
                raise Unusable("", "no answer")
        return Example(key, language, text if form.labelled else text.strip(), pair, label)


def _notes(
    name: str,
    copies: Collection[Copy],
    left_out: _LeftOut,
    renumbered: Collection[str],
    dev: Collection[str],
    languages: Sequence[str],
) -> Iterator[str]:
    """Yield the notes of the copies, and those on renumbered labels, on rows that are left out and on missing dev parts."""
    for copy in {copy.dataset.repository: copy for copy in copies}.values():
        yield from copy.notes
    if renumbered:
        yield f"`{name}`: the files of {', '.join(renumbered)} number their labels in another order; read by name."
    for split, cause in dict.fromkeys((split, cause) for split, cause, _ in left_out):
        counts = {language: left_out[split, cause, language] for language in languages}
        by_language = ", ".join(f"{language} {count}" for language, count in counts.items() if count)
        total = sum(counts.values())
        rows = "rows were" if total > 1 else "row was"
        yield f"`{name}`: {total:,} {rows} left out of {split} ({by_language}): {cause}."
    if dev and (without := [language for language in languages if language not in dev]):
        yield f"`{name}` has no dev part in: {listed(without)}."


def left_out_notes(name: str, cause: str, left_out: Counter[str]) -> tuple[str, ...]:
    """Return a note with the number of pairs or sentences left out for each language; empty if none are."""
    counts = listed(f"{language} {count:,}" for language, count in left_out.items() if count)
    return (f"`{name}`: {cause}, left out: {counts}.",) if counts else ()


@cache
def hub_tasks() -> Mapping[str, HubTask]:
    """Return name -> task or corpus, as declared in `hub.toml`."""
    text = resources.files("distxfer.data").joinpath("hub.toml").read_text(encoding="utf-8")
    return {name: _declared(**table) for name, table in tomllib.loads(text).items()}


def _declared(
    *,
    datasets: Sequence[Mapping[str, Any]],
    labels: Sequence[str] = (),
    columns: Mapping[str, str] = MappingProxyType({}),
    missing: str = "",
    unlabelled: bool = False,
    **about: str,
) -> HubTask:
    repositories = tuple(Dataset(**{**table, "codes": _codes(table["codes"])}) for table in datasets)
    source = ", ".join(dataset.repository for dataset in repositories)
    revision = ", ".join(dataset.revision or "none" for dataset in repositories)
    return HubTask(
        About(**{"needs": "hub", **about}, source=source, revision=revision, keys=("folder", "revision")),
        repositories,
        tuple(labels),
        columns,
        missing,
        unlabelled,
    )


def _codes(text: str) -> dict[str, str]:
    """Return language key -> code, from codes separated by blanks, some of them after their key and a colon."""
    parts = (part.rpartition(":") for part in text.split())
    return {key or canonical(code): code for key, _, code in parts}
