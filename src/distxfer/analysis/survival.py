"""What an effect survives: one class, one language or one family left out, and the macro-averaged score."""

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
    """An effect with each of `n` items left out in turn: the smallest and the largest, each with its item and its test.

    `carriers` are the items without which the effect loses its sign or more than half of its size, `large` those without
    which it loses more than a third; the largest loss first, with the effect that is left.
    """

    n: int
    lowest: tuple[str, Crossed]
    highest: tuple[str, Crossed]
    carriers: Mapping[str, float]
    large: Mapping[str, float]

    def end(self, effect: float) -> tuple[str, Crossed]:
        """Return the item without which least of an effect is left, and the test without it."""
        return self.lowest if effect > 0 else self.highest


@dataclass(frozen=True)
class Survival:
    """What one effect survives. `macro` is the effect on the macro-averaged score, None where runs have none.

    Its `macro_p_holm` is corrected as the p of the effect itself. `left_out` says for class, language and family what is left
    without one of them, or why that is not defined.
    """

    macro: Crossed | None
    left_out: Mapping[What, LeaveOneOut | str]
    macro_p_holm: float | None = None

    @property
    def carried(self) -> bool:
        """Whether the effect loses its sign or more than half of its size without one class, language or family."""
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
    """Return the widest family of a language; one that has none is a family of its own."""
    return lineage(code)[0] if lineage(code) else f"{language_name(code)} alone"


def survival(group: Group, method: str, full: Full) -> Survival:
    """Return what the effect of a method survives, on the scores that it and the baseline have in full.

    A language or family is left out with all its scores. A class is left out with all test items that have its label (for
    entities: with all entities of that type), and every score is computed anew; a language of which nothing is left is then
    in no mean. The macro-averaged score is that of the same seeds and languages. Tests of scores that are computed anew take
    the test items as fixed.
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
    """The effect of a method on one class: on its recall (of a run's accuracy), or else on its F1.

    `items` are the fewest and the most items of a language that have it in their labels, over the `n_languages` that have
    the class; `without` is the effect on the whole score with the class left out, None where nothing would be left. Seeds and
    languages are random; `p_holm` is corrected over the classes of one method.
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
    """Return the effect of each method on each class, those first without which least of the whole effect is left."""
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
    """Return scores, (seeds, languages) by method, without the languages that some run has no score in."""
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
