"""The data types of tasks and parallel corpora, whatever their source."""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from itertools import chain
from typing import Any, TypeVar

from distxfer.errors import RenamedWarning
from distxfer.results.old_names import current_setting

SPLITS = ("train", "dev", "test")
_Class = TypeVar("_Class")


def _kind_is_now(new: str) -> Callable[[type[_Class]], type[_Class]]:
    """Return a decorator: a class accepts the argument `kind`, the old name of `new`, with its old values and a warning."""

    def decorate(cls: type[_Class]) -> type[_Class]:
        initialize: Callable[..., None] = cls.__init__

        def warn(use: str) -> None:
            old = f"`{cls.__name__}{use}` is now `{new}`"
            warnings.warn(f"{old}. Change it; until then, both work.", RenamedWarning, 3)

        @wraps(initialize)
        def renamed(self: _Class, *args: Any, **values: Any) -> None:
            if "kind" in values:
                warn("(kind=...)")
                value = current_setting("task.kind", values.pop("kind"))[1]
                values[new] = "" if value == "parallel" else value
            initialize(self, *args, **values)

        def kind(self: _Class) -> Any:
            warn(".kind")
            return getattr(self, new)

        setattr(cls, "__init__", renamed)  # noqa: B010 (mypy refuses an assignment to `__init__`)
        setattr(cls, "kind", property(kind, doc=f"The old name of `{new}`."))  # noqa: B010
        return cls

    return decorate


@dataclass(frozen=True, slots=True)
class Tags:
    """A label for each word of a text: `spans` are characters [start, end), `tags` index the task's labels."""

    spans: tuple[tuple[int, int], ...]
    tags: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a question, which begins at character `start` of the context."""

    text: str
    start: int


Label = int | Tags | tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One text (or pair of texts) in one language. `label` depends on the task type; None means unlabelled.

    Classification: an index into the task's `labels`. Word labels: Tags over `text`. Question answering: the accepted
    answers in `text_pair` to the question in `text`; an empty tuple if it has none.
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
    """Data that is skipped, truncated or ambiguous: `n` of `of` texts, words or lines; `what` is the reason.

    `split` is `train`, `dev`, `test`, `unlabelled`, `parallel` (training pairs) or `held_out` (pairs for measuring).
    """

    language: str
    split: str
    what: str
    n: int
    of: int


@_kind_is_now("type")
@dataclass(frozen=True)
class Data:
    """A data source: the `name` of a built-in task or corpus, or a folder of your own.

    For built-in data, `folder` is a local copy to read instead of the hub, and `revision` another revision on the hub.
    For a folder of your own: the task type `type`, the `pattern` of its files below the folder, such as
    `{language}/{split}.jsonl`, and the `columns` that hold the fields, such as `{"text": "sentence"}`.
    """

    name: str
    folder: str = ""
    revision: str = ""
    type: str = ""
    pattern: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


@_kind_is_now("task_type")
@dataclass(frozen=True)
class About:
    """The description of a built-in task or corpus that `distxfer ls` prints.

    `needs` names its requirements: a package, a file, the hub. `source` is the repository on the hub, with its pinned
    `revision`; `citation` is the paper, on one line. `keys` are the fields of Data that it reads besides `name`.
    """

    description: str
    task_type: str = "classification"
    needs: str = ""
    size: str = ""
    licence: str = ""
    citation: str = ""
    source: str = ""
    revision: str = ""
    keys: tuple[str, ...] = ()


@_kind_is_now("task_type")
@dataclass(frozen=True)
class Task:
    """A task in several languages; `task_type` is its type, a file in `data/task_types/`.

    `splits[split][language]` holds the examples: `train` at least for the source, `test` for the source and every
    target. `unlabelled[language]` is text that training may read without labels. `notes` are messages to the user about
    defects of the data and about what was left out. `issues` are the same counts as numbers, for `result.json`.
    """

    name: str
    labels: tuple[str, ...]
    splits: Mapping[str, Mapping[str, Sequence[Example]]]
    unlabelled: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    task_type: str = "classification"
    notes: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()

    def examples(self, split: str, language: str) -> Sequence[Example]:
        """Return the examples of one split and language; empty if the task has none."""
        return self.splits.get(split, {}).get(language, ())

    def fingerprint(self) -> str:
        """Return the SHA-256 of every example, in order, labels and languages included."""
        parts = (
            (split, *astuple(example))
            for split, languages in sorted({**self.splits, "unlabelled": self.unlabelled}.items())
            for language in sorted(languages)
            for example in languages[language]
        )
        return _digest(chain([self.labels], parts))  # lazily: the examples may be on disk


@dataclass(frozen=True)
class ParallelText:
    """Sentence pairs of the source and each target: `train` for alignment terms, `held_out` for measuring.

    `notes` are messages to the user, as in a Task; `left_out` counts skipped pairs, units or lines by (language, reason).
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
    """Return the fields of an example in order (`dataclasses.astuple` copies deeply and is 20 times slower)."""
    return example.id, example.language, example.text, example.text_pair, example.label


def count_distinct_texts(examples: Iterable[Example], enough: int) -> int:
    """Return how many different texts there are, counted up to `enough`: examples may be many, and read one by one."""
    seen: set[tuple[str, str | None]] = set()
    for example in examples:
        seen.add((example.text, example.text_pair))
        if len(seen) == enough:
            break
    return len(seen)


def held_out(key: str, share: float = 0.2) -> bool:
    """Return whether the item `key` belongs to the held-out `share`; decided by hash, so it is the same in every run."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") < share * 2**64


def split_pairs(pairs: Iterable[Pair]) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Return the pairs to train on, and a fifth that is held out: fixed, by the hash of the source sentence's id."""
    parts: tuple[list[Pair], list[Pair]] = [], []
    for pair in pairs:
        parts[held_out(pair.source.id)].append(pair)
    return tuple(parts[0]), tuple(parts[1])


def _digest(parts: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode())
    return digest.hexdigest()
