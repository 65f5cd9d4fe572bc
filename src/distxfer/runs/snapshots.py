"""Pooled states of texts, from one forward pass per text, and the sentence pairs that are mined from them."""

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from distxfer.data import Collator, Example, Pair, ParallelText, Task
from distxfer.encoders import Encoder, StateCache, States
from distxfer.errors import InputError, RunError
from distxfer.measure import mutual_neighbours
from distxfer.training import Diverged, Processes

_TIMED, _ENOUGH = 5, 10.0  # an estimate of time uses at most so many batches, and stops after so many seconds
NEIGHBOURS = 10  # of CSLS, as in its paper


class Snapshot:
    """An encoder's pooled states and logits of some texts, by groups of texts that may lie in memory or on disk."""

    def __init__(self, groups: Sequence[tuple[Sequence[Example], States]]) -> None:
        self.groups = [states for _, states in groups]
        self._places = {
            example: (number, row) for number, (group, _) in enumerate(groups) for row, example in enumerate(group)
        }

    def states(self, examples: Sequence[Example]) -> Tensor:
        """Return (layers + 1, n, d) for these texts."""
        return self._select([states.pooled for states in self.groups], examples, 1)

    def outputs(self, examples: Sequence[Example]) -> Tensor | None:
        """Return the logits of these texts, (n, classes), or None if the snapshot has none: a cache may have states alone."""
        logits = [states.logits for states in self.groups if states.logits is not None]
        return self._select(logits, examples, 0) if examples and len(logits) == len(self.groups) else None

    def _select(self, tensors: Sequence[Tensor], examples: Sequence[Example], dimension: int) -> Tensor:
        places = [self._places[bare(example)] for example in examples]
        if len({number for number, _ in places}) == 1:
            rows = torch.tensor([row for _, row in places])
            return tensors[places[0][0]].index_select(dimension, rows)
        return torch.stack([tensors[number].select(dimension, row) for number, row in places], dimension)


def check_finite(trained: Snapshot, phase: str) -> None:
    """Raise Diverged if states or logits of a trained encoder are not finite; `phase` is the last phase."""
    tensors = (tensor for states in trained.groups for tensor in (states.pooled, states.logits) if tensor is not None)
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise Diverged(
            f"After the last step of the phase `{phase}`, states or outputs of the encoder are not finite. Lower"
            f" `phase.{phase}.learning_rate` or an intervention's `weight`."
        )


def texts_to_measure(task: Task, parallel: ParallelText | None, languages: Sequence[str]) -> list[list[Example]]:
    """Return the distinct texts of measurements: the test texts, and those of held-out pairs that are not among them."""
    pairs = [pair for group in (parallel.held_out.values() if parallel else ()) for pair in group]
    test = dict.fromkeys(bare(example) for language in languages for example in task.examples("test", language))
    of_pairs = dict.fromkeys(bare(example) for pair in pairs for example in (pair.source, pair.target))
    return [part for part in ([*test], [example for example in of_pairs if example not in test]) if part]


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
    own_cache = cache if processes.is_main else None
    measured = []
    for group in groups:
        texts = [(example.text, example.text_pair) for example in group]
        states = own_cache.read(texts, logits=logits) if own_cache else None
        states = processes.broadcast(states) if cache else None
        if states is None:
            states = _encoded(encoder, collate, group, processes)
            if own_cache:
                of_checkpoint = states if encoder.head_is_loaded else States(states.pooled)
                states = States(own_cache.keep(texts, of_checkpoint).pooled, states.logits)
        measured.append((group, states))
    return Snapshot(measured)


def encoding_seconds(
    encoder: Encoder, collate: Collator, passes: Sequence[Sequence[Example]], processes: Processes
) -> tuple[float, int]:
    """Return the estimated seconds for encoding the texts of all passes, and the number of batches timed for it.

    After a warm-up, at most 5 batches are timed, evenly spaced over those of a snapshot, and none after 10 seconds.
    """
    batches = [
        [group[row] for row in rows]
        for examples in passes
        for group in _by_language(examples)
        for rows in collate.batches(group)
    ]
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


def _encoded(encoder: Encoder, collate: Collator, group: Sequence[Example], processes: Processes) -> States:
    """Return the states and logits of a group."""
    own_batches = processes.shard(collate.batches(group))
    encoded = processes.gather(
        [(rows, *encoder.states([collate([group[row] for row in rows]).inputs])) for rows in own_batches]
    )
    places = [row for rows, _, _ in encoded for row in rows]
    if sorted(places) != list(range(len(group))):
        raise RunError(f"{len(places)} texts were encoded, but {len(group)} were expected, each once.")
    pooled = torch.empty(len(group), *encoded[0][1][:, 0].shape).transpose(0, 1)  # laid out as the cache stores it
    for rows, states, _ in encoded:
        pooled[:, rows] = states
    heads = [logits for _, _, logits in encoded if logits is not None]
    return States(pooled, torch.cat(heads)[torch.tensor(places).argsort()] if heads else None)


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
