"""Measurements of an encoder before, during and after training, from one forward pass per text."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import fmean

import torch
from torch import Tensor

from distxfer.data import Collator, Example, Pair, ParallelText, Task
from distxfer.encoders import Encoder, StateCache, States
from distxfer.errors import RunError
from distxfer.measure import MEASURES, SimilarityName, cka, csls_retrieval, retrieval, standardise
from distxfer.results.measurements import Moment as Moment
from distxfer.results.measurements import Row as Row
from distxfer.training import Diverged, Processes, Watch

_BATCH = 64
_SAMPLE = 64  # texts of a language measured during training
_TIMED, _ENOUGH = 5, 10.0  # an estimate of time uses at most so many batches, and stops after so many seconds
_NEIGHBOURS = 10  # of CSLS, as in the paper
FEWEST = 4  # sentences that unbiased CKA needs


@dataclass(frozen=True)
class Snapshot:
    """An encoder's pooled states (layers + 1, texts, d) and logits (texts, classes) of all texts.

    The logits are None if the states come from a cache without them.
    """

    index: Mapping[Example, int]
    pooled: Tensor
    logits: Tensor | None

    def states(self, examples: Sequence[Example]) -> Tensor:
        """Return (layers + 1, n, d) for these texts."""
        return self.pooled[:, [self.index[bare(example)] for example in examples]]

    def outputs(self, examples: Sequence[Example]) -> Tensor | None:
        """Return the logits of these texts, (n, classes), or None if the snapshot has none."""
        return None if self.logits is None else self.logits[[self.index[bare(example)] for example in examples]]


def check_finite(trained: Snapshot, phase: str) -> None:
    """Raise Diverged if states or logits of a trained encoder are not finite; `phase` is the last phase."""
    if not all(tensor.isfinite().all() for tensor in (trained.pooled, trained.logits) if tensor is not None):
        raise Diverged(
            f"After the last step of the phase `{phase}`, states or outputs of the encoder are not finite. Lower"
            f" `phase.{phase}.learning_rate` or an intervention's `weight`."
        )


def texts_to_measure(
    task: Task, parallel: ParallelText | None, languages: Sequence[str], splits: Sequence[str]
) -> list[list[Example]]:
    """Return the distinct texts for scores and measurements as lists: the test texts, the held-out pairs, the rest.

    The lists are encoded one after the other, so that the composition of batches, and with it the rounding of a text's
    states, is the same before and after training, whatever else is scored.
    """
    pairs = [pair for group in (parallel.held_out.values() if parallel else ()) for pair in group]
    lists = [
        [example for language in languages for example in task.examples("test", language)] if "test" in splits else [],
        [example for pair in pairs for example in (pair.source, pair.target)],
        [
            example
            for split in splits
            if split != "test"
            for language in languages
            for example in task.examples(split, language)
        ],
    ]
    seen: set[Example] = set()
    parts = []
    for examples in lists:
        parts.append([example for example in dict.fromkeys(map(bare, examples)) if example not in seen])
        seen.update(parts[-1])
    return [part for part in parts if part]


def snapshots(
    encoder: Encoder,
    collate: Collator,
    parts: Iterable[Sequence[Example]],
    processes: Processes,
    cache: StateCache | None = None,
    *,
    logits: bool = True,
) -> Snapshot:
    """Return one `snapshot` of the texts of all parts, which are encoded one after the other."""
    snapshots = [snapshot(encoder, collate, part, processes, cache, logits=logits) for part in parts]
    examples = [example for part in snapshots for example in part.index]
    logits_of_parts = [part.logits for part in snapshots if part.logits is not None]
    return Snapshot(
        index={example: place for place, example in enumerate(examples)},
        pooled=torch.cat([part.pooled for part in snapshots], dim=1),
        logits=torch.cat(logits_of_parts) if len(logits_of_parts) == len(snapshots) else None,
    )


def snapshot(
    encoder: Encoder,
    collate: Collator,
    examples: Sequence[Example],
    processes: Processes,
    cache: StateCache | None = None,
    *,
    logits: bool = True,
) -> Snapshot:
    """Return the states and logits of all texts. The work is divided among processes; each gets the complete result.

    Batches do not mix languages, so that states depend neither on the other languages nor on the number of processes. The
    main process reads states from the `cache`, if there is one, and adds missing ones to it. `logits`: whether logits are
    needed; the cache has them only for a checkpoint's own head.

    Raises RunError unless each text is encoded exactly once.
    """
    groups = _by_language(examples)
    texts = {language: [(example.text, example.text_pair) for example in group] for language, group in groups.items()}
    writable_cache = cache if processes.is_main else None
    cached = (
        {language: writable_cache.read(texts[language], logits=logits) for language in groups} if writable_cache else {}
    )
    states = {
        language: language_states
        for language, language_states in processes.broadcast(cached).items()
        if language_states is not None
    }
    fresh = _encoded(encoder, collate, {key: group for key, group in groups.items() if key not in states}, processes)
    if writable_cache:
        for language, language_states in fresh.items():
            if not writable_cache.keep(
                texts[language], language_states if encoder.head_is_loaded else replace(language_states, logits=None)
            ):
                break
    states |= fresh
    heads = [states[language].logits for language in groups]
    available = [head for head in heads if head is not None]
    return Snapshot(
        index={example: place for place, example in enumerate(chain(*groups.values()))},
        pooled=torch.cat([states[language].pooled for language in groups], dim=1),
        logits=torch.cat(available) if len(available) == len(groups) else None,
    )


def encoding_seconds(
    encoder: Encoder, collate: Collator, passes: Sequence[Sequence[Example]], processes: Processes
) -> tuple[float, int]:
    """Return the estimated seconds for encoding the texts of all passes, and the number of batches timed for it.

    After a warm-up, at most 5 batches are timed, evenly spaced over those of a snapshot, and none after 10 seconds.
    """
    batches = [batch for examples in passes for batch in _in_batches(_by_language(examples))]
    sample = batches[:: -(-len(batches) // _TIMED)]
    snapshot(encoder, collate, sample[0], processes)
    seconds, timed = 0.0, 0
    for batch in sample:
        started = time.perf_counter()
        snapshot(encoder, collate, batch, processes)
        seconds, timed = seconds + time.perf_counter() - started, timed + 1
        if processes.broadcast(seconds > _ENOUGH):
            break
    return seconds / timed * len(batches) / processes.size, timed


def _by_language(examples: Sequence[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in sorted(examples, key=_by_length):  # sorting by length reduces padding
        groups.setdefault(example.language, []).append(example)
    return groups


def _in_batches(groups: Mapping[str, Sequence[Example]]) -> list[Sequence[Example]]:
    return [group[low : low + _BATCH] for group in groups.values() for low in range(0, len(group), _BATCH)]


def _encoded(
    encoder: Encoder, collate: Collator, groups: Mapping[str, Sequence[Example]], processes: Processes
) -> dict[str, States]:
    """Return the states of the texts of each language in the given order, from one forward pass per text."""
    batches = _in_batches(groups)
    parts = processes.gather([(batch, *encoder.states([collate(batch).inputs])) for batch in processes.shard(batches)])
    order = [example for batch, _, _ in parts for example in batch]
    expected = [example for group in groups.values() for example in group]
    if len(order) != len(expected) or set(order) != set(expected):
        raise RunError(f"{len(order)} texts were encoded, but {len(expected)} were expected, each once.")
    if not parts:
        return {}
    place = {example: number for number, example in enumerate(order)}
    pooled = torch.cat([states for _, states, _ in parts], dim=1)
    heads = [head for _, _, head in parts if head is not None]
    logits = torch.cat(heads) if heads else None
    rows = {language: [place[example] for example in group] for language, group in groups.items()}
    return {language: States(pooled[:, row], None if logits is None else logits[row]) for language, row in rows.items()}


def drift_rows(
    before: Snapshot,
    now: Snapshot,
    task: Task,
    languages: Iterable[str],
    moment: Moment,
    *,
    unbiased: bool = True,
) -> list[Row]:
    """Return the drift 1 - CKA(H0_l, H_l) on the test sentences for every layer and language, raw and standardised.

    The sentences are the same for all layers and moments; layer 0 is the embeddings' output. With fewer than 4 test
    sentences, for which unbiased CKA is undefined, drift is NaN.
    """
    rows = []
    for language in languages:
        examples = task.examples("test", language)
        if len(examples) < FEWEST:
            values = {
                name: torch.full((len(now.pooled),), torch.nan) for name in ("drift_cka", "drift_cka_standardised")
            }
        else:
            old, new = before.states(examples), now.states(examples)
            values = {
                "drift_cka": 1 - cka(old, new, unbiased=unbiased),
                "drift_cka_standardised": 1 - cka(standardise(old), standardise(new), unbiased=unbiased),
            }
        for name, per_layer in values.items():
            rows += [
                Row(name, layer, language, float(value), len(examples), moment) for layer, value in enumerate(per_layer)
            ]
    return rows


def similarity_rows(
    before: Snapshot, after: Snapshot, task: Task, languages: Iterable[str], names: Sequence[SimilarityName]
) -> list[Row]:
    """Return `similarity_NAME` of the test sentences, before and after training, for every layer, language and measure.

    NaN where a language has fewer test sentences than the measure needs, and where the measure is undefined.
    """
    rows = []
    for language in languages if names else ():
        examples = task.examples("test", language)
        pooled_before, pooled_after = before.states(examples), after.states(examples)
        for name in dict.fromkeys(names):
            measure = MEASURES[name]
            if len(examples) < measure.least_rows:
                values = torch.full((len(pooled_after),), torch.nan)
            else:
                values = measure.function(pooled_before, pooled_after)
            rows += [
                Row(f"similarity_{name}", layer, language, value, len(examples), "after")
                for layer, value in enumerate(values.tolist())
            ]
    return rows


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
        source = now.states([pair[0] for pair in unique])
        target = now.states([pair[1] for pair in unique])
        for layer in range(len(source)):
            accuracy = retrieval(source[layer], target[layer])
            by_csls = csls_retrieval(source[layer], target[layer], k=min(_NEIGHBOURS, accuracy.n))
            values = {
                "retrieval_weak_forward": accuracy.weak_forward,
                "retrieval_weak_backward": accuracy.weak_backward,
                "retrieval_strong_forward": accuracy.strong_forward,
                "retrieval_strong_backward": accuracy.strong_backward,
                "retrieval_csls_forward": by_csls.forward,
                "retrieval_csls_backward": by_csls.backward,
            }
            rows += [Row(name, layer, language, value, accuracy.n, moment) for name, value in values.items()]
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
        now = snapshot(encoder, collate, list(examples), processes)
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
        return {
            key: value for key, value in (drift | alignment).items() if math.isfinite(value)
        }  # CKA may be undefined

    return watch


def _unambiguous(pairs: Sequence[Pair]) -> list[tuple[Example, Example]]:
    """Return the pairs whose sentences occur in no earlier pair, since a repeated sentence has several translations."""
    seen: set[tuple[str, str]] = set()
    unique = []
    for pair in pairs:
        source, target = pair.source, pair.target
        keys = {("source", source.text), ("target", target.text)}
        if not keys & seen:
            unique.append((source, target))
            seen |= keys
    return unique


def _by_length(example: Example) -> tuple[bool, int, str, str, str]:
    pair = example.text_pair or ""
    return example.text_pair is None, len(example.text) + len(pair), example.language, example.text, pair


def bare(example: Example) -> Example:
    """Return an example without id and label, as the encoder sees it."""
    return Example("", example.language, example.text, example.text_pair)
