"""Checks of data before training: repeated rows within a file and across files, missing labels, leaks."""

from array import array
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from distxfer.data._examples import Example, ParallelText, Task
from distxfer.errors import counted, listed

Places = npt.NDArray[np.intp]


class RowHashes:
    """The 64-bit hashes of each row's id, texts in NFC and label, with its line number: 32 bytes per row.

    Among 10 million texts, two share a hash by chance in one of 400,000 files. Where that would be an error, the rows
    themselves are compared.
    """

    def __init__(self, name: str, unit: str) -> None:
        """Start without rows; `name` is that of the file in notes, `unit` is `line` or `row`."""
        self.name, self._unit = name, unit
        self.ids, self.texts, self.labels, self.numbers = (array("q") for _ in range(4))

    def add(self, key: str, texts: tuple[str, str | None], label: object, number: int) -> None:
        """Add one row."""
        normal = tuple(text and normalize("NFC", text) for text in texts)
        self.ids.append(hash(key))
        self.texts.append(hash(normal))
        self.labels.append(hash(label))
        self.numbers.append(number)

    def where(self, row: int) -> str:
        """Return the name of a row in notes: `line 7`."""
        return f"{self._unit} {self.numbers[row]}"


def repeats(hashes: npt.ArrayLike) -> tuple[Places, Places]:
    """Return the sorted positions whose hash occurs earlier, and for each the first position with that hash."""
    values = np.asarray(hashes, dtype=np.int64)
    _, firsts, places = np.unique(values, return_index=True, return_inverse=True)
    first = firsts[places]
    again = np.flatnonzero(first != np.arange(len(values)))
    return again, first[again]


def repeated_texts(hashes: RowHashes) -> Iterator[str]:
    """Yield a note on repeated texts within a file, and one on repeated texts whose labels differ."""
    again, first = repeats(hashes.texts)
    if len(again):
        repeated, place = counted(len(again), "texts"), hashes.where(again[0])
        yield f"`{hashes.name}` repeats {repeated} of its own (first: {place}, as {hashes.where(first[0])})."
    labels = np.asarray(hashes.labels)
    relabelled = np.flatnonzero(labels[again] != labels[first])
    if len(relabelled):
        texts = counted(len(np.unique(first[relabelled])), "texts")
        places = f"{hashes.where(first[relabelled[0]])} and {hashes.where(again[relabelled[0]])}"
        yield f"`{hashes.name}` gives different labels to {texts} (first: {places})."


def overlaps(scored: Sequence[RowHashes], read: Sequence[tuple[RowHashes, str]]) -> Iterator[str]:
    """Yield a note for each evaluation file that repeats texts of a file read in training.

    `read` pairs each training file with an adjective for its texts (`"training "`), or an empty string.
    """
    for train, adjective in read:
        for test in scored:
            overlap = np.flatnonzero(np.isin(test.texts, train.texts))
            if len(overlap):
                texts = f"{len(overlap)} {adjective}text{'s' * (len(overlap) > 1)}"
                yield f"`{test.name}` repeats {texts} of `{train.name}` (first: {test.where(overlap[0])})."


def untranslated(target: RowHashes, source: RowHashes) -> Iterator[str]:
    """Yield a note if most texts of a target's file are also in the source's."""
    same = np.flatnonzero(np.isin(target.texts, source.texts))
    if len(same) > len(target.texts) / 2:
        yield (
            f"`{target.name}` has {len(same)} of its {counted(len(target.texts), 'texts')} in common with `{source.name}` (first:"
            f" {target.where(same[0])}): they are most likely not translated."
        )


def unpaired(target: RowHashes, source: RowHashes) -> Iterator[str]:
    """Yield a note for each side of a retrieval task with ids that the other side lacks."""
    for side, other in ((target, source), (source, target)):
        alone = np.flatnonzero(~np.isin(side.ids, other.ids))
        if len(alone):
            yield (
                f"`{side.name}` has {len(alone)} of its {len(side.ids)} ids alone: they are not in `{other.name}`"
                f" (first: {side.where(alone[0])})."
            )


def missing_labels(name: str, present: Collection[str], labels: Sequence[str], train: str) -> Iterator[str]:
    """Yield a note if an evaluation file has a single label, or lacks labels of the training file."""
    absent = [f"`{label}`" for label in labels if label not in present]
    if len(present) == 1:
        yield f"`{name}` has a single label, `{next(iter(present))}`: its scores say little."
    elif absent:
        yield f"`{name}` never has {len(absent)} of the {len(labels)} labels of `{train}`: {listed(absent)}."


def leaks(task: Task, parallel: ParallelText) -> tuple[str, ...]:
    """Return a note for each language with test texts that occur in the training pairs."""
    notes = []
    for target, pairs in parallel.train.items():
        source = next((pair.source.language for pair in pairs), target)
        for language in dict.fromkeys((source, target)):
            tests = task.examples("test", language)
            sides = chain.from_iterable((pair.source, pair.target) for pair in pairs)
            trained = (normalize("NFC", side.text) for side in sides if side.language == language)
            test_texts = {text for example in tests for text in _texts(example)}
            leaked = test_texts.intersection(trained) if tests else set()
            count = sum(not leaked.isdisjoint(_texts(example)) for example in tests) if leaked else 0
            if count:
                notes.append(
                    f"{count} of the {len(tests)} test texts in `{language}` of the task `{task.name}`"
                    f" occur{'s' * (count == 1)} in the training pairs for `{target}` of `{parallel.name}`."
                )
    return tuple(notes)


def _texts(example: Example) -> tuple[str, ...]:
    return tuple(normalize("NFC", text) for text in (example.text, example.text_pair) if text is not None)
