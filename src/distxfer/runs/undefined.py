"""Drift that is undefined: for which languages and layers, and why."""

from collections.abc import Iterable, Sequence
from math import isnan

from distxfer.data import Task
from distxfer.errors import listed
from distxfer.measure import cka_reason, standardise
from distxfer.runs.snapshots import FEWEST, Row, Snapshot


def drift_notes(
    before: Snapshot, after: Snapshot, task: Task, rows: Iterable[Row], *, unbiased: bool = True
) -> list[str]:
    """Return the reason for every drift that is NaN; languages and layers with the same reason share a line."""
    layers: dict[tuple[str, str], dict[int, None]] = {}
    for row in rows:
        if not row.measure.startswith("drift_") or not isnan(row.value):
            continue
        if row.n < FEWEST:
            reason = f"fewer than {FEWEST} test sentences"
        else:
            examples = task.examples("test", row.language)
            old, new = (states.states(examples)[row.layer] for states in (before, after))
            if row.measure == "drift_cka_standardised":
                old, new = standardise(old), standardise(new)
            reason = str(cka_reason(old, new, unbiased=unbiased))
        layers.setdefault((row.language, reason), {})[row.layer] = None
    languages: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (language, reason), numbers in layers.items():
        languages.setdefault((reason, tuple(numbers)), []).append(language)
    return [
        f"No drift for {listed(keys)} at layer {_spans(numbers)}: {reason}."
        for (reason, numbers), keys in languages.items()
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
