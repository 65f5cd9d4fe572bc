"""What is measured of an encoder before and after training: one forward pass a text serves it all."""

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
_SAMPLE = 64  # texts of a language that are looked at while training
_TIMED, _ENOUGH = 5, 10.0  # batches that an estimate of the time is made from, at most; seconds after which no more are
_NEIGHBOURS = 10  # of CSLS, as in its paper
FEWEST = 4  # sentences that unbiased CKA needs


@dataclass(frozen=True)
class Snapshot:
    """What an encoder makes of every text: pooled states (layers + 1, texts, d) and logits (texts, classes).

    The logits are None where the states were kept without them.
    """

    index: Mapping[Example, int]
    pooled: Tensor
    logits: Tensor | None

    def states(self, examples: Sequence[Example]) -> Tensor:
        """Return (layers + 1, n, d) for these texts."""
        return self.pooled[:, [self.index[bare(example)] for example in examples]]

    def outputs(self, examples: Sequence[Example]) -> Tensor | None:
        """Return what the head said of these texts, (n, classes), if the snapshot has it."""
        return None if self.logits is None else self.logits[[self.index[bare(example)] for example in examples]]


def check_finite(trained: Snapshot, phase: str) -> None:
    """Raise Diverged where what a trained encoder makes of some text is not finite; `phase` is the last one."""
    if not all(one.isfinite().all() for one in (trained.pooled, trained.logits) if one is not None):
        raise Diverged(
            f"After the last step of the phase `{phase}`, states or outputs of the encoder are not finite. Lower"
            f" `phase.{phase}.learning_rate` or an intervention's `weight`."
        )


def texts_to_measure(
    task: Task, parallel: ParallelText | None, languages: Sequence[str], splits: Sequence[str]
) -> list[list[Example]]:
    """Return every text that scores and measurements look at, each once: the test texts, the held-out pairs, the rest.

    Three lists that are encoded one after the other. So what a batch holds, and with it the last bits of a text's
    states, is the same before and after training, whatever else is scored after it.
    """
    pairs = [pair for one in (parallel.held_out.values() if parallel else ()) for pair in one]
    lists = [
        [one for language in languages for one in task.examples("test", language)] if "test" in splits else [],
        [one for pair in pairs for one in (pair.source, pair.target)],
        [
            one
            for split in splits
            if split != "test"
            for language in languages
            for one in task.examples(split, language)
        ],
    ]
    seen: set[Example] = set()
    parts = []
    for examples in lists:
        parts.append([one for one in dict.fromkeys(map(bare, examples)) if one not in seen])
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
    """Return one snapshot of the texts of all parts, encoded one after the other; `snapshot` has the rest."""
    found = [snapshot(encoder, collate, part, processes, cache, logits=logits) for part in parts]
    examples = [example for one in found for example in one.index]
    known = [one.logits for one in found if one.logits is not None]
    return Snapshot(
        index={example: place for place, example in enumerate(examples)},
        pooled=torch.cat([one.pooled for one in found], dim=1),
        logits=torch.cat(known) if len(known) == len(found) else None,
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
    """Return the states and logits of all texts, shared out over the processes; every process gets the whole.

    The batches of a language hold nothing but its texts, so that its states depend neither on what other languages there
    are nor on how many processes. What the main process finds in the `cache` is not encoded again, and what it does not
    find is kept there; `logits` says whether they are needed: the cache has those of a checkpoint's own head alone.

    Raises RunError unless each text came back exactly once.
    """
    groups = _by_language(examples)
    texts = {language: [(one.text, one.text_pair) for one in group] for language, group in groups.items()}
    kept = cache if processes.is_main else None
    read = {language: kept.read(texts[language], logits=logits) for language in groups} if kept else {}
    states = {language: one for language, one in processes.broadcast(read).items() if one is not None}
    fresh = _encoded(encoder, collate, {key: group for key, group in groups.items() if key not in states}, processes)
    if kept:
        for language, one in fresh.items():
            if not kept.keep(texts[language], one if encoder.head_is_loaded else replace(one, logits=None)):
                break
    states |= fresh
    heads = [states[language].logits for language in groups]
    known = [one for one in heads if one is not None]
    return Snapshot(
        index={example: place for place, example in enumerate(chain(*groups.values()))},
        pooled=torch.cat([states[language].pooled for language in groups], dim=1),
        logits=torch.cat(known) if len(known) == len(groups) else None,
    )


def encoding_seconds(
    encoder: Encoder, collate: Collator, passes: Sequence[Sequence[Example]], processes: Processes
) -> tuple[float, int]:
    """Return the seconds that encoding all texts of some passes will take, and how many batches of them were timed.

    At most 5 batches, evenly over those that a snapshot makes, after one that warms up; no further one after 10 seconds.
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
    for example in sorted(examples, key=_by_length):  # sorted by length, a batch holds little padding
        groups.setdefault(example.language, []).append(example)
    return groups


def _in_batches(groups: Mapping[str, Sequence[Example]]) -> list[Sequence[Example]]:
    return [group[low : low + _BATCH] for group in groups.values() for low in range(0, len(group), _BATCH)]


def _encoded(
    encoder: Encoder, collate: Collator, groups: Mapping[str, Sequence[Example]], processes: Processes
) -> dict[str, States]:
    """Return the states of the texts of each language, in the order given, from one forward pass each."""
    batches = _in_batches(groups)
    parts = processes.gather([(batch, *encoder.states([collate(batch).inputs])) for batch in processes.shard(batches)])
    order = [example for batch, _, _ in parts for example in batch]
    expected = [example for group in groups.values() for example in group]
    if len(order) != len(expected) or set(order) != set(expected):
        raise RunError(f"{len(order)} texts were encoded where {len(expected)} were asked for, each once.")
    if not parts:
        return {}
    place = {example: number for number, example in enumerate(order)}
    pooled = torch.cat([one for _, one, _ in parts], dim=1)
    heads = [one for _, _, one in parts if one is not None]
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
    """Return 1 - CKA(H0_l, H_l) of the test sentences for every layer and language, raw and standardised.

    The same sentences for every layer and moment; layer 0 is the embeddings' output. A language with fewer than 4
    test sentences has no drift (NaN), since unbiased CKA is not defined for it.
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

    Weak: among the translations; strong: among them and the other sentences of its own language; CSLS: weak, with hubs
    held back. Both directions.
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
            by_csls = csls_retrieval(source[layer], target[layer], k=min(_NEIGHBOURS, found.n))
            values = {
                "retrieval_weak_forward": found.weak_forward,
                "retrieval_weak_backward": found.weak_backward,
                "retrieval_strong_forward": found.strong_forward,
                "retrieval_strong_backward": found.strong_backward,
                "retrieval_csls_forward": by_csls.forward,
                "retrieval_csls_backward": by_csls.backward,
            }
            rows += [Row(name, layer, language, value, found.n, moment) for name, value in values.items()]
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
    """Return what measures a sample while training: `drift/LANGUAGE` and `retrieval/LANGUAGE`.

    Drift is 1 - CKA (unbiased) from `before`, averaged over the blocks, of the first 64 test texts of a language; retrieval is
    weak, from the source, at the last layer, among the first 64 held-out pairs. Labels play no part in either.
    """
    texts = {language: task.examples("test", language)[:_SAMPLE] for language in languages}
    pairs = {
        language: found
        for language, held_out in (parallel.held_out if parallel else {}).items()
        if len(found := _unambiguous(held_out)[:_SAMPLE]) > 1
    }
    every = dict.fromkeys(bare(one) for group in (*texts.values(), *chain(*pairs.values())) for one in group)

    def watch() -> dict[str, float]:
        now = snapshot(encoder, collate, list(every), processes)
        drift = {
            f"drift/{language}": fmean((1 - cka(before.states(group)[1:], now.states(group)[1:])).tolist())
            for language, group in texts.items()
            if len(group) >= FEWEST
        }
        found = {
            f"retrieval/{language}": retrieval(
                now.states([one for one, _ in group])[-1], now.states([other for _, other in group])[-1]
            ).weak_forward
            for language, group in pairs.items()
        }
        return {key: value for key, value in (drift | found).items() if math.isfinite(value)}  # CKA may be undefined

    return watch


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


def bare(example: Example) -> Example:
    """Return a text without its id and label: what the encoder sees of it."""
    return Example("", example.language, example.text, example.text_pair)
