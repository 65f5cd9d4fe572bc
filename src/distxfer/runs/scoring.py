"""Predictions of a run's encoder for the task's examples, and their scores, for any task type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow
from torch import Tensor

from distxfer.data import (
    Collator,
    Example,
    Prediction,
    Reading,
    Task,
    task_type_of,
)
from distxfer.encoders import Encoder
from distxfer.results.tables import PROBABILITY, encode_labels
from distxfer.training import Processes


@dataclass(frozen=True)
class Scored:
    """One split of a task: examples and predictions by language, and scores by language and metric."""

    examples: Mapping[str, Sequence[Example]]
    predictions: Mapping[str, Sequence[Prediction]]
    scores: Mapping[str, Mapping[str, float]]


def score(
    encoder: Encoder,
    collate: Collator,
    task: Task,
    split: str,
    languages: Sequence[str],
    processes: Processes,
    outputs: Mapping[str, Tensor | None] = MappingProxyType({}),
) -> Scored:
    """Return predictions and scores of one split for the languages that have it; `languages` begins with the source.

    `outputs` are the head's logits of a language's examples, (n, classes), where they are known. Elsewhere, each window of
    a text takes a forward pass.
    """
    task_type, source = task_type_of(task), languages[0]
    examples = {
        language: split_examples for language in languages if (split_examples := task.examples(split, language))
    }
    readings: dict[str, Sequence[Sequence[Reading]]] = {}
    for language, group in examples.items():
        logits = outputs.get(language)
        if logits is None:
            readings[language] = read_examples(encoder, collate, group, processes)
        else:
            readings[language] = [[reading] for reading in task_type.readings(logits, None)]
    # A task may have no dev part.
    predictions = task_type.predictions(task, examples, readings, source) if examples else {}
    scores = {
        language: task_type.scores(task, language_examples, predictions[language])
        for language, language_examples in examples.items()
    }
    return Scored(examples, predictions, scores)


def read_examples(
    encoder: Encoder, collate: Collator, examples: Sequence[Example], processes: Processes
) -> list[list[Reading]]:
    """Return for each example the readings of its windows, in order, from one forward pass for each window."""
    task_type = collate.task_type
    windows = [task_type.windows(example, encoder.tokenizer, collate.max_length) for example in examples]
    flat = [(number, window) for number, example_windows in enumerate(windows) for window in example_windows]
    batches = [[flat[row] for row in rows] for rows in collate.batches([window for _, window in flat])]
    readings: list[dict[str, Reading]] = [{} for _ in examples]
    own_readings = []
    for part in processes.shard(batches):
        batch = collate([window for _, window in part])
        batch_readings = task_type.readings(encoder.outputs(batch.inputs).cpu(), batch)
        own_readings += [
            (number, window.id, reading) for (number, window), reading in zip(part, batch_readings, strict=True)
        ]
    for number, key, reading in processes.gather(own_readings):
        readings[number][key] = reading
    return [
        [by_window[window.id] for window in example_windows]
        for by_window, example_windows in zip(readings, windows, strict=True)
    ]


def tabulate(scored: Scored, *, probabilities: bool) -> pyarrow.Table:
    """Return `predictions.parquet`: one row per example; `probabilities` adds a column for each class."""
    rows = [
        {"language": language, "example_id": example.id, "label": result.label, "prediction": result.prediction}
        | ({f"{PROBABILITY}{label}": value for label, value in result.probabilities.items()} if probabilities else {})
        for language, examples in scored.examples.items()
        for example, result in zip(examples, scored.predictions[language], strict=True)
    ]
    table = pyarrow.Table.from_pylist(rows)
    types = [pyarrow.float32() if field.name.startswith(PROBABILITY) else field.type for field in table.schema]
    return encode_labels(table.cast(pyarrow.schema(zip(table.column_names, types, strict=True))))
