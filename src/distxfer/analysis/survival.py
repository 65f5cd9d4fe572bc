"""Robustness of an effect: leave-one-out over classes, languages and families, and the macro-averaged score."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from distxfer.analysis.cells import Array, Full, Group, pair
from distxfer.analysis.classes import Classes
from distxfer.analysis.significance import holm_over, test_record, tested
from distxfer.languages import language_name, lineage
from distxfer.measure import ClassRatios, Crossed, carriers, class_ratios

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


@dataclass(frozen=True)
class Survival:
    """The robustness of one effect. `macro` is the effect on the macro-averaged score, None if there is none.

    `macro_p_holm` is corrected like the p of the effect itself. `left_out` has the leave-one-out effects by class, language and
    family, or the reason why there are none.
    """

    macro: Crossed | None
    left_out: Mapping[What, LeaveOneOut | str]
    macro_p_holm: float | None = None

    @property
    def carried(self) -> bool:
        """Whether the effect changes sign or loses more than half without one class, language or family."""
        return any(not isinstance(result, str) and result.carriers for result in self.left_out.values())

    def record(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "macro": None if self.macro is None else {**_record(self.macro), "p_holm": self.macro_p_holm},
            "leave_out": {
                kind: {"reason": result} if isinstance(result, str) else _left_out_record(result)
                for kind, result in self.left_out.items()
            },
        }


def family(code: str) -> str:
    """Return the top-level family of a language; an isolate is its own family."""
    return lineage(code)[0] if lineage(code) else f"{language_name(code)} alone"


def survival(group: Group, method: str, full: Full) -> Survival:
    """Return the robustness of a method's effect, on the complete scores of it and the baseline.

    Without a language or family, its scores are dropped. Without a class, all test items with that label (for entities: all
    entities of that type) are dropped and scores recomputed; languages without remaining items are dropped. Tests on recomputed
    scores take the test items as fixed. The macro-averaged score uses the same seeds and languages.
    """
    anew = replace(group, items=None)
    return Survival(
        macro=_macro(anew, method, full),
        left_out={
            "class": _classes(anew, method, full),
            "language": _languages(group, method, full, lambda code: code, "language"),
            "family": _languages(group, method, full, family, "family"),
        },
    )


def _macro(group: Group, method: str, full: Full) -> Crossed | None:
    if group.macro is None:
        return None
    try:
        scores = {
            name: np.ascontiguousarray(group.macro[name].loc[list(seeds), list(full.languages)].to_numpy())
            for name, seeds in full.seeds.items()
        }
    except KeyError:  # some run has no such score
        return None
    if any(np.isnan(table).any() for table in scores.values()):
        return None
    return tested(group, method, Full(full.languages, full.seeds, scores, full.dropped))


def _languages(group: Group, method: str, full: Full, part_of: Callable[[str], str], kind: str) -> LeaveOneOut | str:
    parts = dict.fromkeys(map(part_of, full.languages))
    if len(parts) < 2:
        return f"there is one {kind}"
    tables = {part: full.of(lambda code, part=part: part_of(code) != part) for part in parts}  # type: ignore[misc]
    return _left_out(group, method, full, tables)


def _classes(group: Group, method: str, full: Full) -> LeaveOneOut | str:
    classes = group.classes
    if isinstance(classes, str):
        return classes
    ratios = class_tables(classes, full)
    if isinstance(ratios, str):
        return ratios
    occurs = np.any([ratio.b.sum(axis=(0, 1)) > 0 for ratio in ratios.values()], axis=0)
    tables = {
        name: _defined({key: ratio.without[:, :, place] for key, ratio in ratios.items()}, full)
        for place, name in enumerate(classes.names)
        if occurs[place]
    }
    tables = {name: table for name, table in tables.items() if table.languages}
    return _left_out(group, method, full, tables) if len(tables) > 1 else "there is one class"


def class_tables(classes: Classes, full: Full) -> dict[str, ClassRatios] | str:
    """Return the scores of both methods as ratios of sums over classes, (seeds, languages, classes), or why there are none."""
    reasons = [classes.reasons[name] for name in full.seeds if name in classes.reasons]
    if reasons:
        return reasons[0]
    try:
        counts = {name: classes.table(name, seeds, full.languages) for name, seeds in full.seeds.items()}
    except KeyError as error:
        return f"there are no predictions for {error}"
    labels = [count[..., 1] for count in counts.values()]
    if any(not (count == labels[0][:1]).all() for count in labels):
        return "the runs were not tested on the same items"
    return {name: class_ratios(count, classes.metric) for name, count in counts.items()}


@dataclass(frozen=True)
class ClassPart:
    """The effect of a method on one class: on its recall for accuracy, else on its F1.

    `items` are the smallest and largest numbers of items with that label by language, over the languages that have the class.
    `without` is the effect on the score without the class, None if nothing remains. Seeds and languages are random; `p_holm` is
    corrected over the classes of one method.
    """

    method: str
    part: str
    items: tuple[int, int]
    mean_baseline: float
    mean: float
    without: float | None
    test: Crossed
    p_holm: float | None

    def record(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "method": self.method,
            "part": self.part,
            "n_least": self.items[0],
            "n_most": self.items[1],
            "mean_baseline": self.mean_baseline,
            "mean": self.mean,
            "effect_without": self.without,
            **test_record(self.test),
            "p_holm": self.p_holm,
        }


def class_parts(group: Group) -> tuple[ClassPart, ...]:
    """Return the effect of each method on each class, first those without which the remaining effect is smallest."""
    rows: list[ClassPart] = []
    for method in group.others:
        parts = _class_parts(group, method)
        corrected = holm_over([part.test for part in parts])
        rows += [replace(part, p_holm=p) for part, p in zip(parts, corrected, strict=True)]
    return tuple(rows)


def _class_parts(group: Group, method: str) -> list[ClassPart]:
    full, classes = pair(group, method), group.classes
    ratios = "" if isinstance(classes, str) or full.empty else class_tables(classes, full)
    if isinstance(classes, str) or isinstance(ratios, str):
        return []
    sign = 1 if full.scores[method].mean() >= full.scores[group.baseline].mean() else -1
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
                    items=(min(items), max(items)),
                    mean_baseline=float(tables.scores[group.baseline].mean()),
                    mean=float(tables.scores[method].mean()),
                    without=_effect(without, method, group.baseline) if without.languages else None,
                    test=tested(replace(group, items=None), method, tables),
                    p_holm=None,
                )
            )
    return sorted(rows, key=lambda row: (row.without is None, sign * (row.without or 0.0)))


def _defined(tables: Mapping[str, Array], full: Full) -> Full:
    """Return scores, (seeds, languages) by method, without languages in which some run has no score."""
    columns = np.all([np.isfinite(table).all(axis=0) for table in tables.values()], axis=0)
    languages = tuple(code for code, complete in zip(full.languages, columns, strict=True) if complete)
    return Full(languages, full.seeds, {name: table[:, columns] for name, table in tables.items()}, ())


def _effect(full: Full, method: str, baseline: str) -> float:
    return float(full.scores[method].mean() - full.scores[baseline].mean())


def _left_out(group: Group, method: str, full: Full, tables: Mapping[str, Full]) -> LeaveOneOut:
    effect = _effect(full, method, group.baseline)
    without = {item: _effect(table, method, group.baseline) for item, table in tables.items()}
    lowest, highest = min(without, key=lambda item: without[item]), max(without, key=lambda item: without[item])
    return LeaveOneOut(
        n=len(without),
        lowest=(lowest, tested(group, method, tables[lowest])),
        highest=(highest, tested(group, method, tables[highest])),
        carriers={item: without[item] for item in carriers(effect, without)},
        large={item: without[item] for item in carriers(effect, without, _MUCH)},
    )


def _record(test: Crossed) -> dict[str, Any]:
    return {"effect": test.effect, "low": test.low, "high": test.high, "p": test.p}


def _left_out_record(result: LeaveOneOut) -> dict[str, Any]:
    return {
        "n": result.n,
        "lowest": {"without": result.lowest[0], **_record(result.lowest[1])},
        "highest": {"without": result.highest[0], **_record(result.highest[1])},
        "carriers": [{"without": item, "effect": effect} for item, effect in result.carriers.items()],
    }
