"""What could not be measured between two checkpoints, or not alike, and why."""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan

from distxfer.data import ParallelText, Task, kind_of
from distxfer.encoders import Encoder
from distxfer.errors import listed
from distxfer.experiments._runs._measurements import FEWEST, Moment, Row, Snapshot
from distxfer.experiments._runs._predict import Scored
from distxfer.measure import cka_reason, standardise


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
    """Return what is to be said of the tokenizers, of every drift that is NaN, of retrieval and of the scores."""
    retrieval = [] if parallel else ["No parallel text (`parallel`), so no retrieval."]
    return [
        *_tokenizer_note(encoders),
        *_drift_notes(taken, task, rows, unbiased),
        *retrieval,
        *_score_notes(scored, task, source),
    ]


def _tokenizer_note(encoders: Mapping[Moment, tuple[Encoder, str]]) -> list[str]:
    (before, _), (after, _) = encoders["before"], encoders["after"]
    if before.tokenizer.get_vocab() == after.tokenizer.get_vocab():
        return []
    return ["The two checkpoints have different tokenizers: each read the same sentences with its own."]


def _drift_notes(taken: Mapping[Moment, Snapshot], task: Task, rows: Iterable[Row], unbiased: bool) -> list[str]:
    """Say for every drift that is NaN why it is; languages and layers of one reason share a line."""
    layers: dict[tuple[str, str], dict[int, None]] = {}
    for row in rows:
        if not row.measure.startswith("drift_") or not isnan(row.value):
            continue
        examples = task.examples("test", row.language)
        if row.n < FEWEST:
            reason = f"fewer than {FEWEST} test sentences"
        else:
            old, new = (one.states(examples)[row.layer] for one in (taken["before"], taken["after"]))
            if row.measure == "drift_cka_standardised":
                old, new = standardise(old), standardise(new)
            reason = str(cka_reason(old, new, unbiased=unbiased))
        layers.setdefault((row.language, reason), {})[row.layer] = None
    found: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (language, reason), numbers in layers.items():
        found.setdefault((reason, tuple(numbers)), []).append(language)
    return [
        f"No drift for {listed(keys)} at layer {_spans(numbers)}: {reason}."
        for (reason, numbers), keys in found.items()
    ]


def _spans(numbers: Sequence[int]) -> str:
    """Return whole numbers, ascending, as text: `0, 2-4`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ", ".join("-".join(map(str, span)) for span in spans)


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
