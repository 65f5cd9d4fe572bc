"""Pooled states of texts, from one forward pass per text, and the sentence pairs that are mined from them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from distxfer.data import Collator, Example, Pair, ParallelText, Task
from distxfer.encoders import Encoder, StateCache, States
from distxfer.errors import InputError, RunError
from distxfer.measure import mutual_neighbours
from distxfer.training import Diverged, Processes

_BATCH = 64
_TIMED, _ENOUGH = 5, 10.0  # an estimate of time uses at most so many batches, and stops after so many seconds
NEIGHBOURS = 10  # of CSLS, as in its paper


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
    part_of: dict[Example, int] = {}
    for number, examples in enumerate(lists):
        for example in map(bare, examples):
            part_of.setdefault(example, number)
    parts = [[example for example in part_of if part_of[example] == number] for number in range(len(lists))]
    return [part for part in parts if part]


def snapshot(
    encoder: Encoder,
    collate: Collator,
    parts: Sequence[Sequence[Example]],
    processes: Processes,
    cache: StateCache | None = None,
    *,
    logits: bool = True,
) -> Snapshot:
    """Return the states and logits of the texts of all parts. Processes share the work; each gets the complete result.

    Batches mix neither parts nor languages, so that states depend neither on the other texts nor on the number of
    processes. The main process reads states from the `cache`, if there is one, and adds missing ones to it. `logits`:
    whether logits are needed; the cache has them only for a checkpoint's own head.

    Raises RunError unless each text is encoded exactly once.
    """
    groups = [group for part in parts for group in _by_language(part)]
    texts = [[(example.text, example.text_pair) for example in group] for group in groups]
    own_cache = cache if processes.is_main else None
    cached = processes.broadcast([own_cache.read(group, logits=logits) if own_cache else None for group in texts])
    missing = [number for number, states in enumerate(cached) if states is None]
    encoded = _encoded(encoder, collate, [groups[number] for number in missing], processes)
    encoded += [(group, states) for group, states in zip(groups, cached, strict=True) if states is not None]
    heads = [states.logits for _, states in encoded if states.logits is not None]
    result = Snapshot(
        index={example: place for place, example in enumerate(chain(*(group for group, _ in encoded)))},
        pooled=torch.cat([states.pooled for _, states in encoded], dim=1),
        logits=torch.cat(heads) if len(heads) == len(encoded) else None,
    )
    for number in missing if own_cache else ():
        group = groups[number]
        outputs = result.outputs(group) if encoder.head_is_loaded else None
        assert own_cache
        own_cache.keep(texts[number], States(result.states(group), outputs))
    return result


def encoding_seconds(
    encoder: Encoder, collate: Collator, passes: Sequence[Sequence[Example]], processes: Processes
) -> tuple[float, int]:
    """Return the estimated seconds for encoding the texts of all passes, and the number of batches timed for it.

    After a warm-up, at most 5 batches are timed, evenly spaced over those of a snapshot, and none after 10 seconds.
    """
    batches = [batch for examples in passes for batch in _in_batches(_by_language(examples))]
    sample = batches[:: -(-len(batches) // _TIMED)]
    snapshot(encoder, collate, [sample[0]], processes)
    seconds, timed = 0.0, 0
    for batch in sample:
        started = time.perf_counter()
        snapshot(encoder, collate, [batch], processes)
        seconds, timed = seconds + time.perf_counter() - started, timed + 1
        if processes.broadcast(seconds > _ENOUGH):
            break
    return seconds / timed * len(batches) / processes.size, timed


def _by_language(examples: Sequence[Example]) -> list[list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in sorted(examples, key=_by_length):  # sorting by length reduces padding
        groups.setdefault(example.language, []).append(example)
    return [*groups.values()]


def _in_batches(groups: Sequence[Sequence[Example]]) -> list[Sequence[Example]]:
    return [group[low : low + _BATCH] for group in groups for low in range(0, len(group), _BATCH)]


def _encoded(
    encoder: Encoder, collate: Collator, groups: Sequence[Sequence[Example]], processes: Processes
) -> list[tuple[Sequence[Example], States]]:
    """Return the texts of the groups in batches, with their states."""
    batches = processes.shard(_in_batches(groups))
    encoded = processes.gather([(batch, States(*encoder.states([collate(batch).inputs]))) for batch in batches])
    order = [example for batch, _ in encoded for example in batch]
    expected = [example for group in groups for example in group]
    if len(order) != len(expected) or set(order) != set(expected):
        raise RunError(f"{len(order)} texts were encoded, but {len(expected)} were expected, each once.")
    return encoded


def _by_length(example: Example) -> tuple[bool, int, str, str, str]:
    pair = example.text_pair or ""
    return example.text_pair is None, len(example.text) + len(pair), example.language, example.text, pair


def bare(example: Example) -> Example:
    """Return an example without id and label, as the encoder sees it."""
    return Example("", example.language, example.text, example.text_pair)


def mined_pairs(
    encoder: Encoder,
    collate: Collator,
    texts: Mapping[str, Sequence[Example]],
    source: str,
    processes: Processes,
    cache: StateCache | None,
) -> dict[str, list[Pair]]:
    """Return for each target language the pairs of source and target texts that are mutual nearest neighbours.

    Neighbours are by CSLS of the last layer's pooled states before training; repeated texts count once. Mined pairs need
    not be translations: how many are depends on how similar the topics of the two languages' texts are.

    Raises InputError for a language without unlabelled text.
    """
    distinct = {
        language: list({example.text: example for example in group}.values()) for language, group in texts.items()
    }
    for language, group in distinct.items():
        if len(group) < 2:
            raise InputError(
                f"`parallel.mined` needs unlabelled text in `{language}`, but the task has {len(group)} such texts. Put"
                " `unlabelled.jsonl` into the folder of the language, or set `parallel.mined=false`."
            )
    pooled = snapshot(
        encoder,
        collate,
        [[bare(example) for group in distinct.values() for example in group]],
        processes,
        cache,
        logits=False,
    )
    states = {language: pooled.states(group)[-1] for language, group in distinct.items()}
    return {
        language: [
            Pair(distinct[source][i], group[j])
            for i, j in mutual_neighbours(
                states[source], states[language], k=min(NEIGHBOURS, len(group), len(distinct[source]))
            ).tolist()
        ]
        for language, group in distinct.items()
        if language != source
    }
