"""Counts the parts of a run's data that its encoder does not read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from distxfer.data import (
    COUNTED,
    SPLITS,
    Example,
    Issue,
    Joined,
    Pair,
    ParallelText,
    Sides,
    Task,
    issue_lines,
    issues,
    task_type_of,
)
from distxfer.runs.checks import head_notes
from distxfer.runs.prepare import Assembled, Prepared

Parts = dict[tuple[str, str], Sequence[Example]]  # (split, language) -> its texts


def with_issues(prepared: Prepared, assembled: Assembled) -> Prepared:
    """Return `prepared` with notes on the head and the counts of data that the encoder does not read, from one tokenizer pass."""
    task, targets = prepared.task, prepared.languages.targets
    parts = measured_parts(task, prepared.parallel, prepared.languages.all)
    parts |= {(split, key): examples for split in SPLITS for key, examples in task.splits.get(split, {}).items()}
    needs = frozenset().union(*(bound.needs for bound in assembled.bounds.values()))
    if "target_text" in needs:
        parts |= {("unlabelled", key): task.unlabelled.get(key, ()) for key in targets}
    if "pairs" in needs:
        parts |= _sides("parallel", assembled.training.data.pairs)
    collate = assembled.collate
    encoder_issues, longest = issues(collate.task_type, parts, collate.tokenizer, collate.max_length)
    unread = (*task.issues, *encoder_issues, *_pairs_left_out(prepared.parallel))
    counted = [issue for issue in unread if issue.what in COUNTED]  # the data's own notes report the rest
    lines = issue_lines(counted, collate.max_length, longest, assembled.encoder.max_tokens)
    return replace(
        prepared,
        issues=unread,
        encoder_notes=(*lines, *head_notes(prepared.recipe, task_type_of(task).output, assembled.encoder)),
    )


def _pairs_left_out(parallel: ParallelText | None) -> Iterator[Issue]:
    """Yield the counts of the pairs, units or lines of parallel text that were left out while reading."""
    for (language, reason), n in parallel.left_out.items() if parallel else ():
        if parallel and n:
            n_read = len(parallel.train.get(language, ())) + len(parallel.held_out.get(language, ()))
            yield Issue(language, "parallel", reason, n, n + n_read)


def measured_parts(task: Task, parallel: ParallelText | None, languages: Sequence[str]) -> Parts:
    """Return the texts whose states are measured: the test texts and the held-out pairs."""
    parts: Parts = {("test", key): task.examples("test", key) for key in languages}
    return parts | _sides("held_out", parallel.held_out if parallel else {})


def _sides(split: str, pairs: Mapping[str, Sequence[Pair]]) -> Parts:
    """Return both sides of the pairs of each target; the source sides of all targets are one part."""
    parts: Parts = {}
    for group in pairs.values():
        for side in (Sides(group, "source"), Sides(group, "target")) if group else ():
            key = (split, side[0].language)
            parts[key] = Joined([parts[key], side]) if key in parts else side
    return parts
