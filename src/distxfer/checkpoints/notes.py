"""Notes on what could not be measured for two checkpoints, or not in the same way."""

from collections.abc import Iterable, Mapping
from typing import Any

from distxfer.data import Task, task_type_of
from distxfer.encoders import Encoder
from distxfer.errors import listed
from distxfer.results.corpus import corpus_text
from distxfer.runs.scoring import Scored
from distxfer.runs.snapshots import Moment, Row, Snapshot
from distxfer.runs.undefined import undefined_notes


def notes_of(
    encoders: Mapping[Moment, tuple[Encoder, str]],
    states: Mapping[Moment, Snapshot],
    task: Task,
    corpus: Mapping[str, Any] | None,
    rows: Iterable[Row],
    scored: Scored | None,
    source: str,
    unbiased: bool,
) -> list[str]:
    """Return notes on different tokenizers, on undefined drift and similarity, on the scores and on the parallel text."""
    return [
        *_tokenizer_note(encoders),
        *undefined_notes(states["before"], states["after"], task, rows, unbiased=unbiased),
        *([] if corpus else ["No parallel text (`parallel`), so no retrieval."]),
        *_score_notes(scored, task, source),
        *([f"parallel text: {corpus_text(corpus)}."] if corpus else []),
    ]


def _tokenizer_note(encoders: Mapping[Moment, tuple[Encoder, str]]) -> list[str]:
    (before, _), (after, _) = encoders["before"], encoders["after"]
    if before.tokenizer.get_vocab() == after.tokenizer.get_vocab():
        return []
    return ["The two checkpoints have different tokenizers: each read the same sentences with its own."]


def _score_notes(scored: Scored | None, task: Task, source: str) -> list[str]:
    task_type = task_type_of(task)
    metric = task_type.metrics[0].replace("_", " ")
    if scored is None:
        labels = f"exactly the labels of `{task.name}` ({listed(task.labels)})" if task.labels else f"`{task.name}`"
        return [f"`after` has no head for {labels}: no scores, no transfer."]
    if not scored.scores[source][task_type.metrics[0]]:
        return [f"The source's {metric} is 0: relative transfer is not defined."]
    if task_type.collapsed(scored.examples[source], scored.predictions[source]):
        return [
            f"COLLAPSED: the source's {metric} is within noise of the majority class: there is nothing to transfer."
        ]
    return []
