"""Checks of data before training: repeated rows within a file and across files, missing labels, leaks."""

from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from distxfer.data._examples import Example, ParallelText, Task
from distxfer.errors import counted

Hashes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RowHashes:
    """The 64-bit hashes of each row's id, text and label, with its line number: 32 bytes per row.

    Among 10 million texts, two share a hash by chance in one of 400,000 files. Where that would be an error, the rows
    themselves are compared.
    """

    name: str  # of the file, as shown in notes
    unit: str = "line"
    ids: "array[int]" = field(default_factory=lambda: array("q"))
    texts: "array[int]" = field(default_factory=lambda: array("q"))
    labels: "array[int]" = field(default_factory=lambda: array("q"))
    numbers: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, key: str, texts: tuple[str, str | None], label: object, number: int) -> None:
        """Add one row."""
        self.ids.append(hash(key))
        self.texts.append(hash(tuple(text and normalize("NFC", text) for text in texts)))
        self.labels.append(hash(label))
        self.numbers.append(number)

    def where(self, row: int) -> str:
        """Return the name of a row in notes: `line 7`."""
        return f"{self.unit} {self.numbers[row]}"


def repeats(hashes: Sequence[int]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the sorted positions whose hash occurs earlier, and for each the first position with that hash."""
    values = np.frombuffer(hashes, dtype=np.int64) if isinstance(hashes, array) and len(hashes) else np.asarray(hashes)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    repeated = np.zeros(len(values), dtype=bool)
    repeated[1:] = ordered[1:] == ordered[:-1]
    starts = np.maximum.accumulate(np.where(repeated, 0, np.arange(len(values))))
    again, first = order[repeated], order[starts[repeated]]
    by_place = np.argsort(again)
    return again[by_place], first[by_place]


def repeated_texts(prints: RowHashes) -> Iterator[str]:
    """Yield a note on repeated texts within a file, and one on repeated texts whose labels differ."""
    again, first = repeats(prints.texts)
    if not len(again):
        return
    yield (
        f"`{prints.name}` repeats {_texts(len(again))} of its own (first: {prints.where(again[0])}, as"
        f" {prints.where(first[0])})."
    )
    labels = np.frombuffer(prints.labels, dtype=np.int64)
    relabelled = np.flatnonzero(labels[again] != labels[first])
    if len(relabelled):
        texts = len(np.unique(first[relabelled]))
        yield (
            f"`{prints.name}` gives different labels to {_texts(texts)} (first:"
            f" {prints.where(first[relabelled[0]])} and {prints.where(again[relabelled[0]])})."
        )


def overlaps(scored: Sequence[RowHashes], read: Sequence[tuple[RowHashes, str]]) -> Iterator[str]:
    """Yield a note for each evaluation file that repeats texts of a file read in training.

    `read` pairs each training file with an adjective for its texts (`"training "`), or an empty string.
    """
    for train, label in read:
        train_texts = np.sort(np.frombuffer(train.texts, dtype=np.int64)) if train.texts else np.empty(0, np.int64)
        for test in scored:
            overlap = np.flatnonzero(_within(train_texts, test.texts))
            if len(overlap):
                yield (
                    f"`{test.name}` repeats {len(overlap)} {label}text{'s' * (len(overlap) > 1)} of `{train.name}` (first:"
                    f" {test.where(overlap[0])})."
                )


def unknown_ids(prints: RowHashes, reference: RowHashes) -> npt.NDArray[np.intp]:
    """Return the rows whose id is not in `reference`."""
    reference_ids = np.sort(np.frombuffer(reference.ids, dtype=np.int64)) if reference.ids else np.empty(0, np.int64)
    return np.flatnonzero(~_within(reference_ids, prints.ids))


def _within(ordered: Hashes, hashes: "array[int]") -> npt.NDArray[np.bool_]:
    """Return for each hash whether it is in the sorted array `ordered`."""
    if not len(ordered) or not len(hashes):
        return np.zeros(len(hashes), dtype=bool)
    values = np.frombuffer(hashes, dtype=np.int64)
    places = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.equal(ordered[places], values)


def missing_labels(name: str, present: Collection[str], labels: Sequence[str], train: str) -> Iterator[str]:
    """Yield a note if an evaluation file has a single label, or lacks labels of the training file."""
    absent = [label for label in labels if label not in present]
    if len(present) == 1:
        yield f"`{name}` has a single label, `{next(iter(present))}`: its scores say little."
    elif absent:
        yield (
            f"`{name}` never has {len(absent)} of the {len(labels)} labels of `{train}`:"
            f" {', '.join(f'`{label}`' for label in absent[:8])}{' ...' if len(absent) > 8 else ''}."
        )


def leaks(task: Task, parallel: ParallelText) -> tuple[str, ...]:
    """Return a note for each language with test texts that occur in the training pairs."""
    notes = []
    for target, pairs in parallel.train.items():
        tests = {language: task.examples("test", language) for language in task.splits.get("test", {})}
        source = next((pair.source.language for pair in pairs), target)
        for language in dict.fromkeys((source, target)):
            test_texts = {text for example in tests.get(language, ()) for text in _all(example)}
            if not test_texts:
                continue
            sides = ((pair.source, pair.target) for pair in pairs)
            leaked = {
                normalize("NFC", sentence.text)
                for sentence in chain.from_iterable(sides)
                if sentence.language == language
            } & test_texts
            count = sum(not leaked.isdisjoint(_all(example)) for example in tests[language]) if leaked else 0
            if count:
                notes.append(
                    f"{count} of the {len(tests[language])} test texts in `{language}` of the task `{task.name}`"
                    f" occur{'s' * (count == 1)} in the training pairs for `{target}` of `{parallel.name}`."
                )
    return tuple(notes)


def _all(example: Example) -> tuple[str, ...]:
    return tuple(normalize("NFC", text) for text in (example.text, example.text_pair) if text is not None)


def _texts(count: int) -> str:
    return counted(count, "texts")
