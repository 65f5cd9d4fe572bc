"""What every task and every parallel corpus is made of, whatever file or package it came from."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One text (or pair of texts) in one language; `label` indexes the task's `labels`, None means unlabelled."""

    id: str
    language: str
    text: str
    text_pair: str | None = None
    label: int | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sentences that translate each other."""

    source: Example
    target: Example


@dataclass(frozen=True)
class Task:
    """A labelled classification task in several languages.

    `splits[split][language]` holds the examples; `train` is there for the source at least, `test` for the source and
    every target. `unlabelled[language]` is text that may be read in training without its labels.
    """

    name: str
    labels: tuple[str, ...]
    splits: Mapping[str, Mapping[str, tuple[Example, ...]]]
    unlabelled: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)

    def examples(self, split: str, language: str) -> tuple[Example, ...]:
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
        return _digest([self.labels, *parts])


@dataclass(frozen=True)
class ParallelText:
    """Sentence pairs from the source into each target: `train` for the terms that align, `held_out` for measuring."""

    name: str
    train: Mapping[str, tuple[Pair, ...]]
    held_out: Mapping[str, tuple[Pair, ...]]

    def fingerprint(self) -> str:
        """Return the SHA-256 of every pair, in order."""
        return _digest(
            (part, language, *astuple(pair.source), *astuple(pair.target))
            for part, languages in (("train", self.train), ("held_out", self.held_out))
            for language in sorted(languages)
            for pair in languages[language]
        )


def astuple(example: Example) -> tuple[str | int | None, ...]:
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
