"""What a run's encoder predicts of the task's examples, and how that is scored: whatever the kind of the task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distxfer.data import Collator, Example, Prediction, Reading, Task, kind_of
from distxfer.encoders import Encoder
from distxfer.runs.snapshots import Snapshot
from distxfer.training import Processes

_BATCH = 64


@dataclass(frozen=True)
class Scored:
    """One split of a task: what is predicted of each example, by language, and the scores by language and metric."""

    examples: Mapping[str, Sequence[Example]]
    predictions: Mapping[str, Sequence[Prediction]]
    scores: Mapping[str, Mapping[str, float]]


def score(
    encoder: Encoder,
    collate: Collator,
    task: Task,
    split: str,
    languages: Sequence[str],
    now: Snapshot,
    processes: Processes,
) -> Scored:
    """Return predictions and scores of one split, in the languages that have it, the source first.

    What the snapshot has is not computed again; where the head says something of each token it has nothing, and each window
    of a text takes a forward pass of its own.
    """
    kind, source = kind_of(task), languages[0]
    examples = {language: found for language in languages if (found := task.examples(split, language))}
    readings = {language: _readings(encoder, collate, those, now, processes) for language, those in examples.items()}
    predictions = kind.predictions(task, examples, readings, source) if examples else {}  # a task may have no dev part
    scores = {language: kind.scores(task, those, predictions[language]) for language, those in examples.items()}
    return Scored(examples, predictions, scores)


def _readings(
    encoder: Encoder, collate: Collator, examples: Sequence[Example], now: Snapshot, processes: Processes
) -> list[list[Reading]]:
    """Return for each example the readings of its windows, in order."""
    kind, known = collate.kind, now.outputs(examples)
    if known is not None:
        return [[one] for one in kind.readings(known, None)]
    windows = [kind.windows(example, encoder.tokenizer, collate.max_length) for example in examples]
    flat = [(number, window) for number, those in enumerate(windows) for window in those]
    flat.sort(key=lambda item: len(item[1].text) + len(item[1].text_pair or ""))  # little padding
    batches = [flat[low : low + _BATCH] for low in range(0, len(flat), _BATCH)]
    found: list[dict[str, Reading]] = [{} for _ in examples]
    mine = []
    for part in processes.shard(batches):
        batch = collate([window for _, window in part])
        read = kind.readings(encoder.outputs(batch.inputs).cpu(), batch)
        mine += [(number, window.id, one) for (number, window), one in zip(part, read, strict=True)]
    for number, key, one in processes.gather(mine):
        found[number][key] = one
    return [[one[window.id] for window in those] for one, those in zip(found, windows, strict=True)]
