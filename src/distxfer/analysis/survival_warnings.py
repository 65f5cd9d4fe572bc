"""Warnings on effects that depend on one class, language or family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distxfer.analysis.survival import LeaveOneOut, What
from distxfer.errors import shortened
from distxfer.measure import Crossed

if TYPE_CHECKING:
    from distxfer.analysis.compare import Comparison


def survival_warnings(comparisons: Sequence[Comparison], scale: float) -> tuple[str, ...]:
    """Return a line for each class, language or family that drives an effect on all targets, and one line for weak effects.

    An item drives an effect that changes sign or loses more than half of its size without it. Of the items of one kind, the one
    without which the remaining effect is smallest is named; a class also if more than a third is lost. Effects with p > 0.05
    (before Holm) both with and without that item share one line. `scale` converts scores to points.
    """
    strong: dict[tuple[What, str], list[str]] = {}
    large: dict[tuple[What, str], list[str]] = {}
    weak: list[str] = []
    for comparison in sorted(comparisons, key=lambda comparison: -abs(comparison.test.effect)):
        of_weak = []
        for kind, result in comparison.survives.left_out.items() if comparison.subset == "all" else ():
            if isinstance(result, str) or not result.large:
                continue
            item, test = result.end(comparison.test.effect)
            name = f"`{comparison.method}` {_with(test, scale)} instead of {scale * comparison.test.effect:+.1f}"
            if item not in result.carriers and kind == "class":
                large.setdefault((kind, item), []).append(name)
            elif item in result.carriers and _shown(comparison, result):
                strong.setdefault((kind, item), []).append(name)
            elif item in result.carriers:
                of_weak.append(f"{scale * test.effect:+.1f} without the {kind} `{item}`")
        weak += (
            [f"`{comparison.method}` {scale * comparison.test.effect:+.1f} ({', '.join(of_weak)})"] if of_weak else []
        )
    lines = [
        f"WARNING: without the {kind} `{item}`, more than half of the effect is lost, or its sign: {shortened(names)}."
        + (f" More than a third: {shortened(large.pop((kind, item)))}." if (kind, item) in large else "")
        for (kind, item), names in strong.items()
    ]
    lines += [
        f"Note: without the {kind} `{item}`, more than a third of the effect is lost: {shortened(names)}."
        for (kind, item), names in large.items()
    ]
    if weak:
        lines.append(
            "WARNING: not shown to differ from 0, and one item decides the sign or more than half of the effect:"
            f" {shortened(weak)}."
        )
    return tuple(lines)


def _shown(comparison: Comparison, result: LeaveOneOut) -> bool:
    """Return whether an effect is significant with or without the item it depends on most, or neither test has a p."""
    values = [test.p for test in (comparison.test, result.end(comparison.test.effect)[1]) if test.p is not None]
    return not values or min(values) <= 0.05


def _with(test: Crossed, scale: float) -> str:
    between = "" if test.low is None or test.high is None else f" [{scale * test.low:+.1f}, {scale * test.high:+.1f}]"
    return f"{scale * test.effect:+.1f}{between}"
