"""What every task and every parallel corpus is made of, whatever file or package it came from."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Tags:
    """A label for each word of a text: the word is the characters [start, end) of a span, its label indexes the task's."""

    spans: tuple[tuple[int, int], ...]
    tags: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a question: the characters from `start` on of the text that holds it."""

    text: str
    start: int


Label = int | Tags | tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One text (or pair of texts) in one language; `label` is what its task's kind says, None means unlabelled.

    A class: the number of one of the task's `labels`. Words with labels: Tags over `text`. An answer: those that count as
    right, in `text_pair`, to the question in `text`; an empty tuple where there is none.
    """

    id: str
    language: str
    text: str
    text_pair: str | None = None
    label: Label | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sentences that translate each other."""

    source: Example
    target: Example


@dataclass(frozen=True, slots=True)
class Issue:
    """What of the data is not read as it stands, or not at all: `n` of `of` texts, words or lines, as `what` says.

    `split` is the part: `train`, `dev`, `test`, `unlabelled`, `parallel` (pairs to train on), `held_out` (pairs to measure on).
    """

    language: str
    split: str
    what: str
    n: int
    of: int


@dataclass(frozen=True)
class Data:
    """Which data, and how it lies: the `name` of a built-in task or corpus, or a folder of your own.

    `folder` is where a copy of a built-in one's files lies, in place of the hub; `revision` another one of it on the hub.
    For a folder of your own: the `kind` of task, the `pattern` of its files below the folder, such as
    `{language}/{split}.jsonl`, and which of the file's `columns` holds a field, such as `{"text": "sentence"}`.
    """

    name: str
    folder: str = ""
    revision: str = ""
    kind: str = ""
    pattern: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class About:
    """What `distxfer ls` says of a built-in task or corpus.

    `needs` is what must be there: a package, a file, the hub. `source` is the repository on the hub, with its pinned
    `revision`; `citation` the paper, as one line. `keys` are the fields of Data, beside the name, that it reads.
    """

    description: str
    kind: str = "classification"
    needs: str = ""
    size: str = ""
    licence: str = ""
    citation: str = ""
    source: str = ""
    revision: str = ""
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A task in several languages; `kind` names what is predicted, a file in `data/kinds/`.

    `splits[split][language]` holds the examples; `train` is there for the source at least, `test` for the source and
    every target. `unlabelled[language]` is text that may be read in training without its labels. `notes` say what was
    found wrong with the data and left out, with counts, files and languages: users are shown them. `issues` are the counts
    of what was left out, or read although it is a placeholder, as numbers for `result.json`.
    """

    name: str
    labels: tuple[str, ...]
    splits: Mapping[str, Mapping[str, Sequence[Example]]]
    unlabelled: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    kind: str = "classification"
    notes: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()

    def examples(self, split: str, language: str) -> Sequence[Example]:
        """Return the examples of one split and language; none if the task has no such part."""
        return self.splits.get(split, {}).get(language, ())

    def fingerprint(self) -> str:
        """Return the SHA-256 of every example, in order, labels and languages included."""
        parts = (
            (split, *astuple(example))
            for split, languages in sorted({**self.splits, "unlabelled": self.unlabelled}.items())
            for language in sorted(languages)
            for example in languages[language]
        )
        return _digest(chain([self.labels], parts))  # one by one: they may lie on the disk


@dataclass(frozen=True)
class ParallelText:
    """Sentence pairs from the source into each target: `train` for the terms that align, `held_out` for measuring.

    `notes` say what was left out, as those of a Task; `left_out` counts it: (language, what) -> pairs, units or lines.
    """

    name: str
    train: Mapping[str, Sequence[Pair]]
    held_out: Mapping[str, Sequence[Pair]]
    notes: tuple[str, ...] = ()
    left_out: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """Return the SHA-256 of every pair, in order."""
        return _digest(
            (part, language, *astuple(pair.source), *astuple(pair.target))
            for part, languages in (("train", self.train), ("held_out", self.held_out))
            for language in sorted(languages)
            for pair in languages[language]
        )


def astuple(example: Example) -> tuple[str | Label | None, ...]:
    """Return the fields of an example in order (`dataclasses.astuple` copies deeply, and is 20 times slower)."""
    return example.id, example.language, example.text, example.text_pair, example.label


def held_out(key: str, share: float = 0.2) -> bool:
    """Return whether the item called `key` belongs to the fixed held-out `share`: by hash, so in every run alike."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") < share * 2**64


def _digest(parts: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode())
    return digest.hexdigest()
