"""Measurements of an encoder before, during and after training, as rows of `measurements.parquet`."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from statistics import fmean
from typing import cast

from torch import Tensor

from distxfer.data import Collator, Example, Pair, ParallelText, Task
from distxfer.encoders import Encoder
from distxfer.errors import listed
from distxfer.measure import MEASURES, SimilarityName, cka, cka_reason, csls_retrieval, retrieval, standardise
from distxfer.results.tables import Moment as Moment
from distxfer.results.tables import Row as Row
from distxfer.runs.snapshots import NEIGHBOURS, Snapshot, bare, snapshot
from distxfer.training import Processes, Watch

_SAMPLE = 64  # texts of a language measured during training
FEWEST = 4  # sentences that unbiased CKA needs


def drift_rows(
    before: Snapshot, now: Snapshot, task: Task, languages: Iterable[str], moment: Moment, *, unbiased: bool = True
) -> list[Row]:
    """Return the drift 1 - CKA(H0_l, H_l) on the test sentences for every layer and language, raw and standardised.

    The sentences are the same for all layers and moments; layer 0 is the embeddings' output. With fewer than 4 test
    sentences, for which unbiased CKA is undefined, drift is NaN.
    """

    def raw(old: Tensor, new: Tensor) -> Tensor:
        return 1 - cka(old, new, unbiased=unbiased)

    def standardised(old: Tensor, new: Tensor) -> Tensor:
        return 1 - cka(standardise(old), standardise(new), unbiased=unbiased)

    return [
        row
        for language in languages
        for name, drift in (("drift_cka", raw), ("drift_cka_standardised", standardised))
        for row in _compared(name, drift, FEWEST, before, now, task, language, moment)
    ]


def similarity_rows(
    before: Snapshot, after: Snapshot, task: Task, languages: Iterable[str], names: Sequence[SimilarityName]
) -> list[Row]:
    """Return `similarity_NAME` of the test sentences, before and after training, for every layer, language and measure.

    NaN where a language has fewer test sentences than the measure needs, and where the measure is undefined.
    """
    measures = {f"similarity_{name}": MEASURES[name] for name in names}
    return [
        row
        for language in languages
        for name, measure in measures.items()
        for row in _compared(name, measure.function, measure.least_rows, before, after, task, language, "after")
    ]


def _compared(
    name: str,
    function: Callable[[Tensor, Tensor], Tensor],
    fewest: int,
    before: Snapshot,
    now: Snapshot,
    task: Task,
    language: str,
    moment: Moment,
) -> list[Row]:
    """Return a row per layer with `function` of a language's test sentences at two moments; NaN for too few of them."""
    examples = task.examples("test", language)
    if len(examples) < fewest:
        values = [math.nan] * len(now.pooled)
    else:
        values = function(before.states(examples), now.states(examples)).tolist()
    return [Row(name, layer, language, value, len(examples), moment) for layer, value in enumerate(values)]


def alignment_rows(now: Snapshot, parallel: ParallelText | None, moment: Moment) -> list[Row]:
    """Return how often the nearest neighbour of a held-out sentence is its translation, per layer and language.

    Weak retrieval searches the translations, strong retrieval also the other sentences of the same language; CSLS is weak
    retrieval with hubness correction. All are measured in both directions.
    """
    rows = []
    for language, pairs in (parallel.held_out if parallel else {}).items():
        unique = _unambiguous(pairs)
        if len(unique) < 2:
            continue
        source = now.states([source for source, _ in unique])
        target = now.states([target for _, target in unique])
        for layer in range(len(source)):
            accuracy = retrieval(source[layer], target[layer])
            by_csls = csls_retrieval(source[layer], target[layer], k=min(NEIGHBOURS, accuracy.n))
            values = {
                "weak_forward": accuracy.weak_forward,
                "weak_backward": accuracy.weak_backward,
                "strong_forward": accuracy.strong_forward,
                "strong_backward": accuracy.strong_backward,
                "csls_forward": by_csls.forward,
                "csls_backward": by_csls.backward,
            }
            rows += [
                Row(f"retrieval_{name}", layer, language, value, accuracy.n, moment) for name, value in values.items()
            ]
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
        now = snapshot(encoder, collate, [list(examples)], processes)
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


def undefined_notes(
    before: Snapshot, after: Snapshot, task: Task, rows: Iterable[Row], *, unbiased: bool = True
) -> list[str]:
    """Return the reason for every drift or similarity that is NaN; languages and layers with one reason share a line."""
    layers: dict[tuple[str, str, str], list[int]] = {}
    for row in rows:
        name = "drift" if row.measure.startswith("drift_") else f"`{row.measure}`"
        if math.isnan(row.value) and row.measure.startswith(("drift_", "similarity_")):
            numbers = layers.setdefault((name, row.language, _reason(row, before, after, task, unbiased)), [])
            if row.layer not in numbers:  # raw and standardised drift are often undefined for the same reason
                numbers.append(row.layer)
    languages: dict[tuple[str, str, tuple[int, ...]], list[str]] = {}
    for (name, language, reason), numbers in layers.items():
        languages.setdefault((name, reason, tuple(numbers)), []).append(language)
    return [
        f"No {name} for {listed(keys)} at layer {_spans(numbers)}: {reason}."
        for (name, reason, numbers), keys in languages.items()
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
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ", ".join("-".join(map(str, span)) for span in spans)
