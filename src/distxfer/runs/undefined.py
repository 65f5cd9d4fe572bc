"""Notes on undefined drift and similarity: for which languages and layers, and why."""

from collections.abc import Iterable, Sequence
from math import isnan
from typing import cast

from distxfer.data import Task
from distxfer.errors import listed
from distxfer.measure import MEASURES, SimilarityName, cka_reason, standardise
from distxfer.runs.snapshots import FEWEST, Row, Snapshot


def undefined_notes(
    before: Snapshot, after: Snapshot, task: Task, rows: Iterable[Row], *, unbiased: bool = True
) -> list[str]:
    """Return the reason for every drift or similarity that is NaN; languages and layers with one reason share a line."""
    layers: dict[tuple[str, str, str], list[int]] = {}
    for row in rows:
        name = "drift" if row.measure.startswith("drift_") else f"`{row.measure}`"
        if isnan(row.value) and row.measure.startswith(("drift_", "similarity_")):
            numbers = layers.setdefault((name, row.language, _reason(row, before, after, task, unbiased)), [])
            if row.layer not in numbers:  # raw and standardised drift are often undefined for the same reason
                numbers.append(row.layer)
    languages: dict[tuple[str, str, tuple[int, ...]], list[str]] = {}
    for (name, language, reason), numbers in layers.items():
        languages.setdefault((name, reason, tuple(numbers)), []).append(language)
    return [
        f"No {name} for {listed(keys)} at layer {_spans(numbers)}: {reason}."
        for (name, reason, numbers), keys in languages.items()
    ]


def _reason(row: Row, before: Snapshot, after: Snapshot, task: Task, unbiased: bool) -> str:
    name = cast(SimilarityName, row.measure.removeprefix("similarity_"))
    fewest = MEASURES[name].least_rows if name in MEASURES else FEWEST
    if row.n < fewest:
        return f"fewer than {fewest} test sentences"
    examples = task.examples("test", row.language)
    old, new = (snapshot.states(examples)[row.layer] for snapshot in (before, after))
    if name in MEASURES:
        return str(MEASURES[name].reason(old, new))
    if row.measure == "drift_cka_standardised":
        old, new = standardise(old), standardise(new)
    return str(cka_reason(old, new, unbiased=unbiased))


def _spans(numbers: Sequence[int]) -> str:
    """Return ascending whole numbers as text: `0, 2-4`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ", ".join("-".join(map(str, span)) for span in spans)
