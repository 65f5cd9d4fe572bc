"""Which effects one class, language or family decides, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distxfer.experiments._comparisons._survival import LeaveOneOut, What
from distxfer.measure import Crossed

if TYPE_CHECKING:
    from distxfer.experiments._comparisons._compare import Comparison

_NAMED = 12  # effects that a line names


def survival_warnings(comparisons: Sequence[Comparison], scale: float) -> tuple[str, ...]:
    """Return a line for every class, language or family that carries an effect on all targets, and one for weak effects.

    An item carries an effect that loses its sign, or more than half of its size, without it. Of the items that an effect
    depends on, the one without which least is left is named; a class also where more than a third is lost. Effects that
    neither with nor without that item have p <= 0.05 (before Holm) have one line together. `scale` makes scores into the
    points that the lines are in.
    """
    strong: dict[tuple[What, str], list[str]] = {}
    large: dict[tuple[What, str], list[str]] = {}
    weak: list[str] = []
    for one in sorted(comparisons, key=lambda one: -abs(one.test.effect)):
        of_weak = []
        for what, left in one.survives.left_out.items() if one.subset == "all" else ():
            if isinstance(left, str) or not left.large:
                continue
            item, test = left.end(one.test.effect)
            name = f"`{one.method}` {_with(test, scale)} instead of {scale * one.test.effect:+.1f}"
            if item not in left.carriers and what == "class":
                large.setdefault((what, item), []).append(name)
            elif item in left.carriers and _shown(one, left):
                strong.setdefault((what, item), []).append(name)
            elif item in left.carriers:
                of_weak.append(f"{scale * test.effect:+.1f} without the {what} `{item}`")
        weak += [f"`{one.method}` {scale * one.test.effect:+.1f} ({', '.join(of_weak)})"] if of_weak else []
    lines = [
        f"WARNING: without the {what} `{item}`, more than half of the effect is lost, or its sign: {_named(names)}."
        + (f" More than a third: {_named(large.pop((what, item)))}." if (what, item) in large else "")
        for (what, item), names in strong.items()
    ]
    lines += [
        f"Note: without the {what} `{item}`, more than a third of the effect is lost: {_named(names)}."
        for (what, item), names in large.items()
    ]
    if weak:
        lines.append(
            "WARNING: not shown to differ from 0, and one item decides the sign or more than half of the effect:"
            f" {_named(weak)}."
        )
    return tuple(lines)


def _shown(one: Comparison, left: LeaveOneOut) -> bool:
    """Return whether an effect is shown, with or without the item that it depends on most; or no test says that it is not."""
    without = left.end(one.test.effect)[1]
    return any(test.p is None or test.p <= 0.05 for test in (one.test, without))


def _with(test: Crossed, scale: float) -> str:
    between = "" if test.low is None or test.high is None else f" [{scale * test.low:+.1f}, {scale * test.high:+.1f}]"
    return f"{scale * test.effect:+.1f}{between}"


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return "; ".join(names[:_NAMED]) + (f"; and {more} more, which JSON has" if more > 0 else "")
