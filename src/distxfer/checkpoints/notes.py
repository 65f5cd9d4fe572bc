"""What could not be measured between two checkpoints, or not alike, and why."""

from collections.abc import Iterable, Mapping

from distxfer.data import ParallelText, Task, kind_of
from distxfer.encoders import Encoder
from distxfer.errors import listed
from distxfer.runs.prediction import Scored
from distxfer.runs.snapshots import Moment, Row, Snapshot
from distxfer.runs.undefined import undefined_notes


def notes_of(
    encoders: Mapping[Moment, tuple[Encoder, str]],
    taken: Mapping[Moment, Snapshot],
    task: Task,
    parallel: ParallelText | None,
    rows: Iterable[Row],
    scored: Scored | None,
    source: str,
    unbiased: bool,
) -> list[str]:
    """Return what is to be said of the tokenizers, of every drift and similarity that is NaN, of retrieval and of the scores."""
    retrieval = [] if parallel else ["No parallel text (`parallel`), so no retrieval."]
    return [
        *_tokenizer_note(encoders),
        *undefined_notes(taken["before"], taken["after"], task, rows, unbiased=unbiased),
        *retrieval,
        *_score_notes(scored, task, source),
    ]


def _tokenizer_note(encoders: Mapping[Moment, tuple[Encoder, str]]) -> list[str]:
    (before, _), (after, _) = encoders["before"], encoders["after"]
    if before.tokenizer.get_vocab() == after.tokenizer.get_vocab():
        return []
    return ["The two checkpoints have different tokenizers: each read the same sentences with its own."]


def _score_notes(scored: Scored | None, task: Task, source: str) -> list[str]:
    kind = kind_of(task)
    metric = kind.metrics[0].replace("_", " ")
    if scored is None:
        what = f"exactly the labels of `{task.name}` ({listed(task.labels)})" if task.labels else f"`{task.name}`"
        return [f"`after` has no head for {what}: no scores, no transfer."]
    if not scored.scores[source][kind.metrics[0]]:
        return [f"The source's {metric} is 0: relative transfer is not defined."]
    if kind.collapsed(scored.examples[source], scored.predictions[source]):
        return [
            f"COLLAPSED: the source's {metric} is within noise of the majority class: there is nothing to transfer."
        ]
    return []
