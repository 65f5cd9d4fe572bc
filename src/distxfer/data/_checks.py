"""What is worth knowing of data before it is trained on: rows that repeat others, within a file and across."""

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
class Prints:
    """The 64-bit hash of each row's id, text and label, and the number of its line: 32 bytes a row, whatever it holds.

    Two of 10 million texts share a hash by chance once in 400,000 files: what must be certain is looked up in the rows.
    """

    name: str  # the file, as a note calls it
    unit: str = "line"
    ids: "array[int]" = field(default_factory=lambda: array("q"))
    texts: "array[int]" = field(default_factory=lambda: array("q"))
    labels: "array[int]" = field(default_factory=lambda: array("q"))
    numbers: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, key: str, texts: tuple[str, str | None], label: object, number: int) -> None:
        """Take in one row."""
        self.ids.append(hash(key))
        self.texts.append(hash(tuple(text and normalize("NFC", text) for text in texts)))
        self.labels.append(hash(label))
        self.numbers.append(number)

    def where(self, row: int) -> str:
        """Return how a note names a row: `line 7`."""
        return f"{self.unit} {self.numbers[row]}"


def repeats(hashes: Sequence[int]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the places, in order, whose hash has been there before, and for each the first place that has it."""
    values = np.frombuffer(hashes, dtype=np.int64) if isinstance(hashes, array) and len(hashes) else np.asarray(hashes)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    same = np.zeros(len(values), dtype=bool)
    same[1:] = ordered[1:] == ordered[:-1]
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(values))))
    again, first = order[same], order[starts[same]]
    by_place = np.argsort(again)
    return again[by_place], first[by_place]


def repeated_texts(prints: Prints) -> Iterator[str]:
    """Yield a note on the texts that a file has more than once, and one on those that have different labels."""
    again, first = repeats(prints.texts)
    if not len(again):
        return
    yield (
        f"`{prints.name}` repeats {_texts(len(again))} of its own (first: {prints.where(again[0])}, as"
        f" {prints.where(first[0])})."
    )
    labels = np.frombuffer(prints.labels, dtype=np.int64)
    other = np.flatnonzero(labels[again] != labels[first])
    if len(other):
        texts = len(np.unique(first[other]))
        yield (
            f"`{prints.name}` gives different labels to {_texts(texts)} (first:"
            f" {prints.where(first[other[0]])} and {prints.where(again[other[0]])})."
        )


def overlaps(scored: Sequence[Prints], read: Sequence[tuple[Prints, str]]) -> Iterator[str]:
    """Yield a note for each file that is scored on and repeats texts of a file that is read in training.

    `read` has, beside these files, what a note calls their texts.
    """
    for train, what in read:
        known = np.sort(np.frombuffer(train.texts, dtype=np.int64)) if train.texts else np.empty(0, np.int64)
        for test in scored:
            there = np.flatnonzero(_within(known, test.texts))
            if len(there):
                yield (
                    f"`{test.name}` repeats {len(there)} {what}text{'s' * (len(there) > 1)} of `{train.name}` (first:"
                    f" {test.where(there[0])})."
                )


def unknown_ids(prints: Prints, other: Prints) -> npt.NDArray[np.intp]:
    """Return the rows whose id the other file does not have."""
    known = np.sort(np.frombuffer(other.ids, dtype=np.int64)) if other.ids else np.empty(0, np.int64)
    return np.flatnonzero(~_within(known, prints.ids))


def _within(known: Hashes, hashes: "array[int]") -> npt.NDArray[np.bool_]:
    """Return for each hash whether it is among the sorted ones."""
    if not len(known) or not len(hashes):
        return np.zeros(len(hashes), dtype=bool)
    values = np.frombuffer(hashes, dtype=np.int64)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.equal(known[places], values)


def missing_labels(name: str, there: Collection[str], labels: Sequence[str], train: str) -> Iterator[str]:
    """Yield a note where a file that is scored on has one label alone, or never has some that training has."""
    absent = [label for label in labels if label not in there]
    if len(there) == 1:
        yield f"All that `{name}` has is the label `{next(iter(there))}`: a score on it says little."
    elif absent:
        yield (
            f"`{name}` never has {len(absent)} of the {len(labels)} labels of `{train}`:"
            f" {', '.join(f'`{label}`' for label in absent[:8])}{' ...' if len(absent) > 8 else ''}."
        )


def leaks(task: Task, parallel: ParallelText) -> tuple[str, ...]:
    """Return a note for each language some of whose test texts stand in the pairs that are read in training."""
    notes = []
    for target, pairs in parallel.train.items():
        tests = {language: task.examples("test", language) for language in task.splits.get("test", {})}
        source = next((pair.source.language for pair in pairs), target)
        for language in dict.fromkeys((source, target)):
            wanted = {text for example in tests.get(language, ()) for text in _all(example)}
            if not wanted:
                continue
            sides = ((pair.source, pair.target) for pair in pairs)
            there = {
                normalize("NFC", one.text) for one in chain.from_iterable(sides) if one.language == language
            } & wanted
            count = sum(not there.isdisjoint(_all(example)) for example in tests[language]) if there else 0
            if count:
                notes.append(
                    f"{count} of the {len(tests[language])} test texts in `{language}` of the task `{task.name}` stand"
                    f"{'s' * (count == 1)} in the"
                    f" training pairs for `{target}` of `{parallel.name}`."
                )
    return tuple(notes)


def _all(example: Example) -> tuple[str, ...]:
    return tuple(normalize("NFC", text) for text in (example.text, example.text_pair) if text is not None)


def _texts(count: int) -> str:
    return counted(count, "texts")
