"""Measurements of an encoder before, during and after training, as rows of `measurements.parquet`."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import fmean
from typing import cast

from distxfer.data import Collator, Example, Pair, ParallelText, Task
from distxfer.encoders import Encoder
from distxfer.errors import consecutive, listed
from distxfer.measure import (
    MEASURES,
    SimilarityName,
    cka,
    cka_reason,
    cka_with_standardised,
    retrieval,
    retrieval_with_csls,
    standardise,
)
from distxfer.results.tables import Moment as Moment
from distxfer.results.tables import Row as Row
from distxfer.runs.snapshots import NEIGHBOURS, Snapshot, bare, snapshot
from distxfer.training import Processes, Watch

_SAMPLE = 64  # texts of a language measured during training
FEWEST = 4  # sentences that unbiased CKA needs


@dataclass(frozen=True)
class Undefined:
    """A value that is NaN, and why."""

    measure: str  # as notes name it
    language: str
    layer: int
    reason: str


def drift_rows(
    before: Snapshot, now: Snapshot, task: Task, language: str, moment: Moment, *, unbiased: bool = True
) -> list[Row]:
    """Return the drift 1 - CKA(H0_l, H_l) on the test sentences of a language for every layer, raw and standardised.

    The sentences are the same for all layers and moments; layer 0 is the embeddings' output. With fewer than 4 test
    sentences, for which unbiased CKA is undefined, drift is NaN.
    """
    examples = task.examples("test", language)
    names = ("drift_cka", "drift_cka_standardised")
    if len(examples) < FEWEST:
        layers = len(now.groups[0].pooled)
        return [
            Row(name, layer, language, math.nan, len(examples), moment) for name in names for layer in range(layers)
        ]
    similarities = cka_with_standardised(before.states(examples), now.states(examples), unbiased=unbiased)
    return [
        Row(name, layer, language, value, len(examples), moment)
        for name, similarity in zip(names, similarities, strict=True)
        for layer, value in enumerate((1 - similarity).tolist())
    ]


def drift_at_rest(drift: Sequence[Row], before: Snapshot, task: Task) -> list[Row]:
    """Return the drift of a language before training, given that after it: 0, or NaN where CKA of the states is undefined."""
    if any(math.isnan(row.value) for row in drift):
        return drift_rows(before, before, task, drift[0].language, "before")
    return [replace(row, value=0.0, moment="before") for row in drift]


def similarity_rows(
    before: Snapshot, after: Snapshot, task: Task, language: str, names: Sequence[SimilarityName]
) -> list[Row]:
    """Return `similarity_NAME` of a language's test sentences, before and after training, for every layer and measure.

    NaN where a language has fewer test sentences than the measure needs, and where the measure is undefined.
    """
    examples, rows = task.examples("test", language), []
    for name in names:
        measure = MEASURES[name]
        if len(examples) < measure.least_rows:
            values = [math.nan] * len(after.groups[0].pooled)
        else:
            values = measure.function(before.states(examples), after.states(examples)).tolist()
        rows += [
            Row(f"similarity_{name}", layer, language, value, len(examples), "after")
            for layer, value in enumerate(values)
        ]
    return rows


def alignment_rows(
    of_source: Snapshot, of_target: Snapshot, parallel: ParallelText | None, language: str, moment: Moment
) -> list[Row]:
    """Return how often the nearest neighbour of a language's held-out sentence is its translation, per layer.

    Weak retrieval searches the translations, strong retrieval also the other sentences of the same language; CSLS is weak
    retrieval with hubness correction. All are measured in both directions.
    """
    unique = _unambiguous(parallel.held_out.get(language, ()) if parallel else ())
    if len(unique) < 2:
        return []
    source = of_source.states([source for source, _ in unique])
    target = of_target.states([target for _, target in unique])
    rows = []
    for layer in range(len(source)):
        accuracy, by_csls = retrieval_with_csls(source[layer], target[layer], k=min(NEIGHBOURS, len(unique)))
        values = {
            "weak_forward": accuracy.weak_forward,
            "weak_backward": accuracy.weak_backward,
            "strong_forward": accuracy.strong_forward,
            "strong_backward": accuracy.strong_backward,
            "csls_forward": by_csls.forward,
            "csls_backward": by_csls.backward,
        }
        rows += [Row(f"retrieval_{name}", layer, language, value, accuracy.n, moment) for name, value in values.items()]
    return rows


def watcher(
    before: Snapshot,
    encoder: Encoder,
    collate: Collator,
    task: Task,
    parallel: ParallelText | None,
    languages: Sequence[str],
    processes: Processes,
) -> Watch:
    """Return a function that measures a sample during training: `drift/LANGUAGE` and `retrieval/LANGUAGE`.

    Drift is 1 - CKA (unbiased) from `before`, averaged over blocks, on the first 64 test texts of a language. Retrieval is
    weak, from the source, at the last layer, on the first 64 held-out pairs. Neither uses labels.
    """
    texts = {language: task.examples("test", language)[:_SAMPLE] for language in languages}
    pairs = {
        language: sample
        for language, held_out in (parallel.held_out if parallel else {}).items()
        if len(sample := _unambiguous(held_out)[:_SAMPLE]) > 1
    }
    examples = dict.fromkeys(bare(example) for group in (*texts.values(), *chain(*pairs.values())) for example in group)

    def watch() -> dict[str, float]:
        now = snapshot(encoder, collate, [list(examples)], processes, logits=False)
        drift = {
            f"drift/{language}": fmean((1 - cka(before.states(group)[1:], now.states(group)[1:])).tolist())
            for language, group in texts.items()
            if len(group) >= FEWEST
        }
        alignment = {
            f"retrieval/{language}": retrieval(
                now.states([source for source, _ in group])[-1], now.states([target for _, target in group])[-1]
            ).weak_forward
            for language, group in pairs.items()
        }
        # CKA may be undefined.
        return {key: value for key, value in (drift | alignment).items() if math.isfinite(value)}

    return watch


def _unambiguous(pairs: Sequence[Pair]) -> list[tuple[Example, Example]]:
    """Return the pairs whose sentences occur in no earlier pair, since a repeated sentence has several translations."""
    seen: set[tuple[str, str]] = set()
    unique = []
    for pair in pairs:
        keys = {("source", pair.source.text), ("target", pair.target.text)}
        if not keys & seen:
            unique.append((pair.source, pair.target))
            seen |= keys
    return unique


def undefined_values(
    before: Snapshot, after: Snapshot, task: Task, rows: Iterable[Row], *, unbiased: bool = True
) -> list[Undefined]:
    """Return every drift or similarity among these rows that is NaN, with the reason."""
    return [
        Undefined(
            "drift" if row.measure.startswith("drift_") else f"`{row.measure}`",
            row.language,
            row.layer,
            _reason(row, before, after, task, unbiased),
        )
        for row in rows
        if math.isnan(row.value) and row.measure.startswith(("drift_", "similarity_"))
    ]


def undefined_notes(undefined: Iterable[Undefined]) -> list[str]:
    """Return notes for the user on values that are NaN; languages and layers with one reason share a line."""
    layers: dict[tuple[str, str, str], list[int]] = {}
    for value in undefined:
        numbers = layers.setdefault((value.measure, value.language, value.reason), [])
        if value.layer not in numbers:  # raw and standardised drift are often undefined for the same reason
            numbers.append(value.layer)
    languages: dict[tuple[str, str, tuple[int, ...]], list[str]] = {}
    for (measure, language, reason), numbers in layers.items():
        languages.setdefault((measure, reason, tuple(numbers)), []).append(language)
    return [
        f"No {measure} for {listed(keys)} at layer {_spans(numbers)}: {reason}."
        for (measure, reason, numbers), keys in languages.items()
    ]


def _reason(row: Row, before: Snapshot, after: Snapshot, task: Task, unbiased: bool) -> str:
    name = cast(SimilarityName, row.measure.removeprefix("similarity_"))
    fewest = MEASURES[name].least_rows if name in MEASURES else FEWEST
    if row.n < fewest:
        return f"fewer than {fewest} test sentences"
    examples = task.examples("test", row.language)
    old, new = (snapshot.states(examples)[row.layer] for snapshot in (before, after))
    if name in MEASURES:
        return str(MEASURES[name].reason(old, new))
    if row.measure == "drift_cka_standardised":
        old, new = standardise(old), standardise(new)
    return str(cka_reason(old, new, unbiased=unbiased))


def _spans(numbers: Sequence[int]) -> str:
    """Return ascending whole numbers as text: `0, 2-4`."""
    return ", ".join(f"{row[0]}-{row[-1]}" if len(row) > 1 else str(row[0]) for row in consecutive(numbers))
