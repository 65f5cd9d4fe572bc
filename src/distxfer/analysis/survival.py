"""Robustness of an effect: leave-one-out over classes, languages and families, and the macro-averaged score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from distxfer.analysis.scores import Array, Full, Group, columns_of
from distxfer.analysis.significance import Tested, corrected, effect_text, interval_record
from distxfer.errors import shortened
from distxfer.languages import language_name, lineage
from distxfer.measure import Crossed, carriers

if TYPE_CHECKING:
    from distxfer.analysis.comparison import Comparison

What = Literal["class", "language", "family"]
_MUCH = 1 / 3  # of an effect: what a note names, where half of it is a warning


@dataclass(frozen=True)
class LeaveOneOut:
    """The smallest and the largest effect when each of `n` items is left out in turn, with the item and its test.

    `carriers` are the items without which the effect changes sign or loses more than half of its size, `large` those without
    which it loses more than a third; with the remaining effect, largest loss first.
    """

    n: int
    lowest: tuple[str, Crossed]
    highest: tuple[str, Crossed]
    carriers: Mapping[str, float]
    large: Mapping[str, float]

    def end(self, effect: float) -> tuple[str, Crossed]:
        """Return the item without which the remaining effect is smallest, and the test without it."""
        return self.lowest if effect > 0 else self.highest

    def record(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "n": self.n,
            "lowest": {"without": self.lowest[0], **interval_record(self.lowest[1])},
            "highest": {"without": self.highest[0], **interval_record(self.highest[1])},
            "carriers": [{"without": item, "effect": effect} for item, effect in self.carriers.items()],
        }


def family(code: str) -> str:
    """Return the top-level family of a language; an isolate is its own family."""
    return lineage(code)[0] if lineage(code) else f"{language_name(code)} alone"


def left_out_of(group: Group, method: str, full: Full) -> dict[What, LeaveOneOut | str]:
    """Return a method's effect without each class, language and family, or why there is none, on complete scores.

    Without a language or family, its scores are dropped. Without a class, all test items with that label (for entities: all
    entities of that type) are dropped and scores recomputed; languages without remaining items are dropped. Tests on recomputed
    scores take the test items as fixed.
    """
    return {
        "class": _classes(group, method, full),
        "language": _languages(group, method, full, lambda code: code, "language"),
        "family": _languages(group, method, full, family, "family"),
    }


def macro_test(group: Group, method: str, full: Full) -> Crossed | None:
    """Return the test of the macro-averaged score on the same seeds and languages, with fixed items; None if it is missing."""
    if group.macro is None or not group.macro.keys() >= full.seeds.keys():
        return None
    scores = {}
    for name, seeds in full.seeds.items():
        rows = {seed: row for row, seed in enumerate(group.macro[name].index)}
        if not rows.keys() >= set(seeds):
            return None
        scores[name] = columns_of(group.macro[name], full.languages)[[rows[seed] for seed in seeds]]
        if np.isnan(scores[name]).any():
            return None
    return replace(group, items=None).tested(method, replace(full, scores=scores))


def _languages(group: Group, method: str, full: Full, part_of: Callable[[str], str], kind: str) -> LeaveOneOut | str:
    parts = list(map(part_of, full.languages))
    if len(set(parts)) < 2:
        return f"there is one {kind}"
    tables = {part: full.within([name != part for name in parts], full.scores) for part in dict.fromkeys(parts)}
    return _left_out(group, method, full, tables)


def _classes(group: Group, method: str, full: Full) -> LeaveOneOut | str:
    classes = group.classes
    if isinstance(classes, str):
        return classes
    ratios = classes.ratios(full)
    if isinstance(ratios, str):
        return ratios
    occurs = np.any([ratio.b.sum(axis=(0, 1)) > 0 for ratio in ratios.values()], axis=0)
    tables = {
        name: _defined({key: ratio.without[:, :, place] for key, ratio in ratios.items()}, full)
        for place, name in enumerate(classes.names)
        if occurs[place]
    }
    tables = {name: table for name, table in tables.items() if table.languages}
    if len(tables) < 2:
        return "there is one class"
    return _left_out(replace(group, items=None), method, full, tables)


@dataclass(frozen=True, kw_only=True)
class ClassPart(Tested):
    """The effect of a method on one class: on its recall for accuracy, else on its F1.

    `n_least` and `n_most` are the smallest and largest numbers of items with that label by language, over the languages that
    have the class. `effect_without` is the effect on the score without the class, None if nothing remains. Seeds and languages
    are random; `p_holm` is corrected over the classes of one method.
    """

    method: str
    part: str
    n_least: int
    n_most: int
    mean_baseline: float
    mean: float
    effect_without: float | None


def class_parts(group: Group) -> tuple[ClassPart, ...]:
    """Return the effect of each method on each class, first those without which the remaining effect is smallest."""
    return tuple(part for method in group.others for part in corrected(_class_parts(group, method)))


def _class_parts(group: Group, method: str) -> list[ClassPart]:
    full, classes = group.pair(method), group.classes
    ratios = "" if isinstance(classes, str) or full.empty else classes.ratios(full)
    if isinstance(classes, str) or isinstance(ratios, str):
        return []
    group = replace(group, items=None)
    labels = classes.table(method, full.seeds[method][:1], full.languages)[0, :, :, 1]
    rows = []
    for place, name in enumerate(classes.names):
        tables = _defined({key: ratio.each[:, :, place] for key, ratio in ratios.items()}, full)
        without = _defined({key: ratio.without[:, :, place] for key, ratio in ratios.items()}, full)
        if tables.languages:
            items = [int(labels[full.languages.index(code), place]) for code in tables.languages]
            rows.append(
                ClassPart(
                    method=method,
                    part=name,
                    n_least=min(items),
                    n_most=max(items),
                    mean_baseline=float(tables.scores[group.baseline].mean()),
                    mean=float(tables.scores[method].mean()),
                    effect_without=_effect(without, method, group.baseline) if without.languages else None,
                    test=group.tested(method, tables),
                )
            )
    sign = 1 if _effect(full, method, group.baseline) >= 0 else -1
    return sorted(rows, key=lambda row: (row.effect_without is None, sign * (row.effect_without or 0.0)))


def _defined(tables: Mapping[str, Array], full: Full) -> Full:
    """Return scores, (seeds, languages) by method, without languages in which some run has no score."""
    columns = np.all([np.isfinite(table).all(axis=0) for table in tables.values()], axis=0)
    return replace(full.within(columns, tables), dropped=())


def _effect(full: Full, method: str, baseline: str) -> float:
    return float(full.scores[method].mean() - full.scores[baseline].mean())


def _left_out(group: Group, method: str, full: Full, tables: Mapping[str, Full]) -> LeaveOneOut:
    effect = _effect(full, method, group.baseline)
    without = {item: _effect(table, method, group.baseline) for item, table in tables.items()}
    lowest, highest = min(without, key=lambda item: without[item]), max(without, key=lambda item: without[item])
    return LeaveOneOut(
        n=len(without),
        lowest=(lowest, group.tested(method, tables[lowest])),
        highest=(highest, group.tested(method, tables[highest])),
        carriers={item: without[item] for item in carriers(effect, without)},
        large={item: without[item] for item in carriers(effect, without, _MUCH)},
    )


def survival_warnings(comparisons: Sequence[Comparison], scale: float) -> tuple[str, ...]:
    """Return a line for each class, language or family that drives an effect on all targets, and one line for weak effects.

    An item drives an effect that changes sign or loses more than half of its size without it. Of the items of one kind, the one
    without which the remaining effect is smallest is named; a class also if more than a third is lost. Effects with p > 0.05
    (before Holm) both with and without that item share one line. `scale` converts scores to points.
    """
    strong: dict[tuple[What, str], list[str]] = {}
    large: dict[tuple[What, str], list[str]] = {}
    weak: list[str] = []
    overall = [comparison for comparison in comparisons if comparison.subset == "all"]
    for comparison in sorted(overall, key=lambda comparison: -abs(comparison.test.effect)):
        effect, of_weak = comparison.test.effect, []
        for kind, result in comparison.left_out.items():
            if isinstance(result, str) or not result.large:
                continue
            item, test = result.end(effect)
            name = f"`{comparison.method}` {effect_text(test, scale)} instead of {scale * effect:+.1f}"
            values = [p for p in (comparison.test.p, test.p) if p is not None]
            if item not in result.carriers:
                if kind == "class":
                    large.setdefault((kind, item), []).append(name)
            elif not values or min(values) <= 0.05:
                strong.setdefault((kind, item), []).append(name)
            else:
                of_weak.append(f"{scale * test.effect:+.1f} without the {kind} `{item}`")
        weak += [f"`{comparison.method}` {scale * effect:+.1f} ({', '.join(of_weak)})"] if of_weak else []
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
