"""What is measured of an encoder before and after training: one forward pass a text serves it all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from distxfer.data import Collator, Example, Pair, ParallelText, Task
from distxfer.encoders import Encoder
from distxfer.errors import RunError
from distxfer.measure import cka, retrieval, standardise
from distxfer.training import Team

Moment = Literal["before", "after"]
_BATCH = 64
_FEWEST = 4  # sentences that unbiased CKA needs


@dataclass(frozen=True)
class Row:
    """One line of `measurements.parquet`: a measure at a layer for a language, over `n` sentences."""

    measure: str
    layer: int
    language: str
    value: float
    n: int
    moment: Moment


@dataclass(frozen=True)
class Snapshot:
    """What an encoder makes of every text: pooled states (layers + 1, texts, d) and logits (texts, classes)."""

    index: Mapping[Example, int]
    pooled: Tensor
    logits: Tensor

    def states(self, examples: Sequence[Example]) -> Tensor:
        """Return (layers + 1, n, d) for these texts."""
        return self.pooled[:, [self.index[_bare(example)] for example in examples]]

    def predictions(self, examples: Sequence[Example]) -> Tensor:
        """Return the class probabilities (n, classes) for these texts."""
        return self.logits[[self.index[_bare(example)] for example in examples]].softmax(dim=-1)


def texts_to_measure(
    task: Task, parallel: ParallelText | None, languages: Sequence[str], splits: Sequence[str]
) -> list[Example]:
    """Return every text that scores and measurements look at, each once: that of the splits, and held-out pairs."""
    examples: list[Example] = []
    for language in languages:
        for split in splits:
            examples += task.examples(split, language)
    for pairs in parallel.held_out.values() if parallel else ():
        for pair in pairs:
            examples += [pair.source, pair.target]
    return list(dict.fromkeys(map(_bare, examples)))


def snapshot(encoder: Encoder, collate: Collator, examples: Sequence[Example], team: Team) -> Snapshot:
    """Return the states and logits of all texts, shared out over the processes; every process gets the whole.

    Raises RunError unless each text came back exactly once.
    """
    # Sorted by length, a batch holds little padding; shared out one by one, every process gets as many long ones.
    mine = team.share(sorted(examples, key=_by_length))
    batches = (collate(mine[low : low + _BATCH]).inputs for low in range(0, len(mine), _BATCH))
    parts = team.gather([(list(mine), *encoder.states(batches))])
    order = [example for part, _, _ in parts for example in part]
    if len(order) != len(examples) or set(order) != set(examples):
        raise RunError(f"{len(order)} texts were encoded where {len(examples)} were asked for, each once.")
    return Snapshot(
        index={example: place for place, example in enumerate(order)},
        pooled=torch.cat([pooled for _, pooled, _ in parts], dim=1),
        logits=torch.cat([logits for _, _, logits in parts]),
    )


def drift_rows(before: Snapshot, now: Snapshot, task: Task, languages: Iterable[str], moment: Moment) -> list[Row]:
    """Return 1 - CKA(H0_l, H_l) of the test sentences for every layer and language, raw and standardised.

    The same sentences for every layer and moment; layer 0 is the embeddings' output. A language with fewer than 4
    test sentences has no drift (NaN), since unbiased CKA is not defined for it.
    """
    rows = []
    for language in languages:
        examples = task.examples("test", language)
        if len(examples) < _FEWEST:
            values = {
                name: torch.full((len(now.pooled),), torch.nan) for name in ("drift_cka", "drift_cka_standardised")
            }
        else:
            old, new = before.states(examples), now.states(examples)
            values = {
                "drift_cka": 1 - cka(old, new),
                "drift_cka_standardised": 1 - cka(standardise(old), standardise(new)),
            }
        for name, per_layer in values.items():
            rows += [
                Row(name, layer, language, float(value), len(examples), moment) for layer, value in enumerate(per_layer)
            ]
    return rows


def alignment_rows(now: Snapshot, parallel: ParallelText | None, moment: Moment) -> list[Row]:
    """Return how often the nearest neighbour of a held-out sentence is its translation, per layer and language.

    Weak: among the translations; strong: among them and the other sentences of its own language. Both directions.
    """
    rows = []
    for language, pairs in (parallel.held_out if parallel else {}).items():
        unique = _unambiguous(pairs)
        if len(unique) < 2:
            continue
        source = now.states([pair[0] for pair in unique])
        target = now.states([pair[1] for pair in unique])
        for layer in range(len(source)):
            found = retrieval(source[layer], target[layer])
            values = {
                "retrieval_weak_forward": found.weak_forward,
                "retrieval_weak_backward": found.weak_backward,
                "retrieval_strong_forward": found.strong_forward,
                "retrieval_strong_backward": found.strong_backward,
            }
            rows += [Row(name, layer, language, value, found.n, moment) for name, value in values.items()]
    return rows


def _unambiguous(pairs: Sequence[Pair]) -> list[tuple[Example, Example]]:
    """Return the pairs whose two sentences occur in no earlier pair: a repeated one has no single right answer."""
    seen: set[tuple[str, str]] = set()
    unique = []
    for pair in pairs:
        source, target = pair.source, pair.target
        keys = {("source", source.text), ("target", target.text)}
        if not keys & seen:
            unique.append((source, target))
            seen |= keys
    return unique


def _by_length(one: Example) -> tuple[bool, int, str, str, str]:
    pair = one.text_pair or ""
    return one.text_pair is None, len(one.text) + len(pair), one.language, one.text, pair


def _bare(example: Example) -> Example:
    """Return a text without its id and label: what the encoder sees of it."""
    return Example("", example.language, example.text, example.text_pair)
