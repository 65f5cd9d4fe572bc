"""Parallel text of OPUS-100: up to a million pairs a language with English, from films, books, software and the web."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from distxfer.data._examples import Data, Example, Pair, ParallelText, split_pairs
from distxfer.data._hub import Copy, copy_of, hub_tasks, left_out_notes
from distxfer.data._rows import Stored
from distxfer.data.tasks.tatoeba import SOURCE, needs_english

ABOUT = hub_tasks()["opus100"].ABOUT
_CODES = hub_tasks()["opus100"].datasets[0].codes
DATASET = replace(
    hub_tasks()["opus100"].datasets[0], codes={key: "-".join(sorted((code, "en"))) for key, code in _CODES.items()}
)
_LEFT_OUT = "pairs with a blank side, or twice the same one"
_SCHEMA = pa.schema([("number", pa.int32()), ("source", pa.string()), ("target", pa.string())])


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the corpus, including English."""
    return (SOURCE, *DATASET.codes)


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the pairs of `train`, read lazily from disk, and those of `test` as held out.

    For a language without `test`, a fixed fifth by hash of its ids is held out. Pairs with a blank side or two equal sides
    are left out.
    """
    needs_english(data, source, "parallel")
    targets = tuple(target for target in targets if target in DATASET.codes)
    copy = copy_of(DATASET, data, [(split, target) for split in DATASET.splits for target in targets], "parallel")
    train: dict[str, Sequence[Pair]] = {}
    held: dict[str, Sequence[Pair]] = {}
    left_out: Counter[str] = Counter()
    for target in targets:
        train[target], held[target] = (_pairs(copy, split, target, left_out) for split in ("train", "test"))
        if not train[target]:
            raise copy.missing("train", target, "parallel")
        if not held[target]:
            train[target], held[target] = split_pairs(train[target])
    notes = (*copy.notes, *left_out_notes(data.name, _LEFT_OUT, left_out))
    return ParallelText(data.name, train, held, notes, {(language, _LEFT_OUT): n for language, n in left_out.items()})


def _pairs(copy: Copy, split: str, target: str, left_out: Counter[str]) -> Sequence[Pair]:
    def rows() -> Iterator[tuple[int, str, str]]:
        for number, row in enumerate(copy.rows(split, target)):
            translation, codes = row.value("translation"), ("en", _CODES[target])
            texts: list[Any] = [translation.get(code, 0) if isinstance(translation, dict) else 0 for code in codes]
            if not all(isinstance(text, str | None) for text in texts):
                raise row.invalid(translation, "translation", f"a table of two texts, `en` and `{_CODES[target]}`")
            source_text, target_text = ((text or "").strip() for text in texts)
            if source_text and target_text and source_text != target_text:
                yield number, source_text, target_text
            else:
                left_out[target] += 1

    def pair(number: int, source_text: str, target_text: str) -> Pair:
        key = f"{split}-{number}"
        return Pair(Example(key, SOURCE, source_text), Example(key, target, target_text))

    return Stored(rows(), _SCHEMA, pair)
