"""Finished runs compared: the main table, effects by language, family or distance, and how the methods differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from distxfer.errors import InputError
from distxfer.languages import group_kind, language_name, permuted_within
from distxfer.reports._compare import (
    comparison_notes,
    counted,
    dropped_notes,
    overall_effect,
    starred,
)
from distxfer.reports._randomness import family_notes, random_factors, rate_notes, significant
from distxfer.reports._survival import (
    class_table,
    each_target_table,
    effect_text,
    flat_record,
    p_text,
    survival_table,
)
from distxfer.reports._tables import Table, table_of
from distxfer.results.collect import setting_text

if TYPE_CHECKING:  # it brings scipy
    from distxfer.analysis.compare import Comparison
    from distxfer.analysis.methods import MethodComparisons, Slope
    from distxfer.analysis.parts import Part
    from distxfer.analysis.survival import ClassPart

By = Literal["language", "family", "distance", "class"]


def method_tables(found: MethodComparisons, by: By | None = None) -> list[Table]:
    """Return the main tables, or one table a method by language, family or class, or those by distance; then how methods differ.

    The main tables are the comparison and what its effects survive; before them the effects on each language, where those
    are fewer than 4.
    """
    if by is None:
        lead = target_table(found)
        tables = [*([lead] if lead else []), main_table(found), survival(found)]
    elif by == "distance":
        tables = [_by_distance(found), survival(found, subsets=True)]
    else:
        tables = class_tables(found) if by == "class" else _by_part(found, by)
    return [*tables, *difference_tables(found)]


def target_table(found: MethodComparisons) -> Table | None:
    """Return the effect on each language, where there are too few to stand for others; None where there are enough."""
    comparisons = found.comparisons.comparisons
    parts = [part for one in comparisons for part in one.each]
    after = (
        _basis(found),
        *_reasons(parts),
        *dropped_notes((f"`{one.method}` on `{one.part}`", one.dropped) for one in parts),
        *_ends(found),
    )
    return each_target_table(comparisons, found.baseline, _scale(found), found.warnings, after)


def survival(found: MethodComparisons, *, subsets: bool = False) -> Table:
    """Return what the effects on all targets survive, or those on near and far ones."""
    rests = found.comparisons
    warnings = found.warnings if subsets else (*found.warnings, *found.survival_warnings)
    return survival_table(rests.comparisons, rests.metric, rests.selection, _scale(found), warnings, subsets=subsets)


def method_data(found: MethodComparisons, by: By | None = None) -> Table:
    """Return the numbers behind `method_tables` in full, a row a test, for CSV."""
    if by == "class":
        _check_classes(found)
    records = found.records()
    records["comparisons"] = [flat_record(one) for one in records["comparisons"]]
    rows = {
        None: records["comparisons"],
        "language": records["by_language"],
        "family": records["by_family"],
        "class": records["by_class"],
    }
    if by == "distance":
        near_far = [one for one in records["comparisons"] if one["subset"] != "all"]
        own = [*near_far, *({"subset": "slope", **one} for one in records["slopes"])]
    else:
        own = rows[by]
    common = {"metric": records["metric"], "baseline": records["baseline"]}
    selection = records["selection_by_method"]
    return table_of([{**common, "selection": selection[one["method"]], **one} for one in own])


def _scale(found: MethodComparisons) -> float:
    return 100.0 if found.comparisons.fractions else 1.0


def main_table(found: MethodComparisons) -> Table:
    """Return the comparison of all methods with the baseline."""
    rests, scale = found.comparisons, _scale(found)
    slopes = {one.method: one.test for one in found.slopes}
    order = sorted(
        (one.method for one in rests.transfers if one.method != found.baseline),
        key=lambda name: -overall_effect(rests.comparisons, name),
    )
    transfers = {one.method: one for one in rests.transfers}
    macro = any(one.survives.macro for one in rests.comparisons)
    rows = []
    for name in (found.baseline, *order):
        own = {one.subset: one for one in rests.comparisons if one.method == name}
        test = own["all"].test if "all" in own else None
        gain = transfers[name].gain_by_distance
        mean = transfers[name].mean
        rows.append(
            (
                name,
                None if mean is None else f"{scale * mean:.1f}",
                None if test is None else effect_text(test, scale),
                p_text(own["all"].p_holm) if "all" in own else None,
                *([_macro(own.get("all"), scale)] if macro else []),
                *(starred(own.get(subset), scale) for subset in ("near", "far")),
                f"{scale * slopes[name].effect:+.1f}" if name in slopes else None,
                None if gain is None or gain.r is None else f"{gain.r:+.2f}",
                f"{test.n_seeds} × {test.n_languages}" if test else None,
                f"{len(found.collapsed[name])} of {found.runs[name]}",
            )
        )
    first = rests.comparisons[0]
    notes = comparison_notes(rests, list(rests.comparisons), transfers[found.baseline])
    slope = "slope: change of the gain per unit of that distance, in points (`--by distance` has intervals)."
    of_macro = ("macro F1: effect on the mean F1 of all classes, * as for near and far.",) if macro else ()
    columns = (
        "method", "mean", "effect on all [95 %]", "p (Holm)", *(["macro F1"] if macro else []), "near", "far", "slope",
        "r gain", "seeds × languages", "collapsed",
    )  # fmt: skip
    title = f"{first.model} · {first.task}"
    return Table(columns, rows, title, (*found.warnings, *notes, *of_macro, slope, *_ends(found)))


def _macro(one: Comparison | None, scale: float) -> str | None:
    """Return the effect on the macro-averaged score, with a star where p <= 0.05 after Holm."""
    if one is None or one.survives.macro is None:
        return None
    macro = one.survives.macro
    return f"{scale * macro.effect:+.1f}{'*' if significant(macro, one.survives.macro_p_holm) else ''}"


def _by_part(found: MethodComparisons, by: Literal["language", "family"]) -> list[Table]:
    scale = _scale(found)
    tables = []
    for method, group in groupby(
        found.by_language if by == "language" else found.by_family, key=lambda one: one.method
    ):
        parts = list(group)
        rows = [
            (
                one.part,
                language_name(one.part) if by == "language" else ", ".join(one.languages),
                None if one.distance is None else f"{one.distance:.3f}",
                f"{scale * one.mean_baseline:.1f}",
                f"{scale * one.mean:.1f}",
                effect_text(one.test, scale),
                p_text(one.p_holm),
                one.test.n_seeds,
            )
            for one in parts
        ]
        of = (
            "each language as it is: interval and p are over seeds, and say nothing of other languages"
            if by == "language"
            else "seeds and languages random in a family of several languages; over seeds alone where it has one"
        )
        second = "name" if by == "language" else "languages"
        columns = (by, second, "distance", found.baseline, method, "effect [95 %]", "p (Holm)", "seeds")
        notes = (
            f"{of}; Holm over {counted(sum(one.test.p is not None for one in parts), 'row')}. {_basis(found, method)}",
            *_reasons(parts),
            *dropped_notes((f"`{one.part}`", one.dropped) for one in parts),
        )
        title = f"{method} less {found.baseline}, by {by}"
        tables.append(Table(columns, rows, title, (*found.warnings, *notes, *_ends(found))))
    return tables


def class_tables(found: MethodComparisons) -> list[Table]:
    """Return a table of classes for each method; raises InputError where there are no classes."""
    overall = {one.method: one for one in found.comparisons.comparisons if one.subset == "all"}
    _check_classes(found)
    score = "recall" if found.comparisons.metric == "accuracy" else "F1"
    tables = []
    for method, group in groupby(found.by_class, key=lambda one: one.method):
        parts = list(group)
        effect = f"{_scale(found) * overall[method].test.effect:+.1f}"
        notes = (
            *found.warnings,
            f"{score} of each class, and items of it in a language; `effect without`: on the {found.comparisons.metric} of all"
            f" other classes. Seed and language both random; Holm over {len(parts)} classes."
            f" {_basis(found, method)}",
            *_reasons(parts),
            *_ends(found),
        )
        tables.append(class_table(parts, found.baseline, effect, _scale(found), notes))
    return tables


def _check_classes(found: MethodComparisons) -> None:
    if not found.by_class:
        reason = next(one.survives.left_out["class"] for one in found.comparisons.comparisons)
        raise InputError(f"`--by class` has no classes to show: {reason}. Choose another view.")


def _by_distance(found: MethodComparisons) -> Table:
    rests, scale = found.comparisons, _scale(found)
    gains = {one.method: one.gain_by_distance for one in rests.transfers}
    slopes = {one.method: one.test for one in found.slopes}
    rows = []
    for name in dict.fromkeys(one.method for one in rests.comparisons):
        own = {one.subset: one for one in rests.comparisons if one.method == name}
        gain = gains[name]
        rows.append(
            (
                name,
                *(cell for subset in ("near", "far") for cell in _with_p(own.get(subset), scale)),
                effect_text(slopes[name], scale) if name in slopes else None,
                None if gain is None or gain.r is None else f"{gain.r:+.2f}",
                None if gain is None else p_text(gain.p),
                None if gain is None else f"{gain.n} in {gain.n_groups} {group_kind(gain.n)}",
            )
        )
    columns = (
        "method",
        "near [95 %]",
        "p (Holm)",
        "far [95 %]",
        "p (Holm) ",
        "slope [95 %]",
        "r gain",
        "p (r)",
        "languages",
    )
    reasons = dict.fromkeys(gain.reason for gain in gains.values() if gain and gain.reason)
    apart = [one for one in rests.comparisons if one.subset != "all"]
    tested: list[Comparison | Slope] = [*rests.comparisons, *found.slopes]
    detectable = next((gain.detectable for gain in gains.values() if gain and gain.detectable), None)
    notes = (
        f"near and far: at most, or above, the median {rests.distance} distance from {rests.source}; Holm over the methods."
        f" {_basis(found)}",
        f"{random_factors([one.test for one in apart])}.",
        *family_notes(apart, scale),
        *rate_notes([one.test for one in apart if one.test.note]),
        "slope: change of the gain per unit of distance, in points; its interval is over seeds, the languages being fixed.",
        "r: Spearman correlation of the gain with distance, over languages; p by permutations within"
        f" {' or '.join(dict.fromkeys(permuted_within(gain.n) for gain in gains.values() if gain)) or 'families'}"
        + (f"; the smallest |r| that so many independent languages show is {detectable:.2f}." if detectable else "."),
        *(f"no p of r: {reason}." for reason in reasons),
        *_reasons(tested),
        *dropped_notes((f"`{one.method}`", one.dropped) for one in tested),
    )
    return Table(columns, rows, f"gain on {found.baseline}, by distance", (*found.warnings, *notes, *_ends(found)))


def _with_p(one: Comparison | None, scale: float) -> tuple[str | None, str | None]:
    return (None, None) if one is None else (effect_text(one.test, scale), p_text(one.p_holm))


def _basis(found: MethodComparisons, *methods: str) -> str:
    """Return what the numbers are, and how the checkpoints of the methods (and the baseline) were chosen."""
    said = [found.selection[name] for name in (found.baseline, *(methods or found.selection))]
    return f"{found.comparisons.metric}; paired by seed. Checkpoint: {' / '.join(dict.fromkeys(said))}."


def _reasons(found: Sequence[Comparison | Part | Slope | ClassPart]) -> list[str]:
    """Return why some of these have no interval, each reason once."""
    return list(dict.fromkeys(f"{one.test.reason}." for one in found if one.test.reason))


def _ends(found: MethodComparisons) -> list[str]:
    """Return the notes that every table ends with: on distances and what does not pair, then all that was left out."""
    return [*found.comparisons.notes, *left_out_notes(found.collapsed, found.left_out)]


def left_out_notes(collapsed: Mapping[str, Sequence[int]], left_out: Sequence[str]) -> list[str]:
    """Return a note on collapsed runs, where there are any, and one on all that was left out, with the count."""
    failed = [f"`{name}`: seed {', '.join(map(str, seeds))}" for name, seeds in collapsed.items() if seeds]
    lines = [f"collapsed runs, in no mean or test: {'; '.join(failed)}."] if failed else []
    return lines + ([f"{len(left_out)} left out:", *(f"- {one}" for one in left_out)] if left_out else [])


def difference_tables(found: MethodComparisons) -> list[Table]:
    """Return the table of how the methods differ from the baseline; of an intervention that one has not, a single row."""
    rows = []
    for method, group in groupby(found.differences, key=lambda one: one.method):
        settings: dict[str, list[Any]] = {}
        for one in group:
            parts = one.key.split(".")
            whole = ".".join(parts[:2]) if parts[0] == "intervention" and None in (one.baseline, one.value) else one.key
            settings.setdefault(whole, []).append(one)
        for key, own in settings.items():
            rows.append(
                (
                    method,
                    key,
                    *(_side(key, [(one.key, getattr(one, side)) for one in own]) for side in ("baseline", "value")),
                )
            )
    same = [name for name in found.selection if name != found.baseline and not any(row[0] == name for row in rows)]
    notes = tuple(f"`{name}` has the settings of `{found.baseline}`." for name in same)
    columns = ("method", "setting", f"in {found.baseline}", "in the method")
    return [Table(columns, rows, f"how the methods differ from {found.baseline}", notes)] if rows or notes else []


def _side(key: str, values: Sequence[tuple[str, Any]]) -> str | None:
    """Return what one of the two has: a value, or all settings of an intervention."""
    there = {own: value for own, value in values if value is not None}
    if not there:
        return None
    if list(there) == [key]:
        return setting_text(there[key])
    own = {name.removeprefix(f"{key}."): value for name, value in there.items()}
    return ", ".join(
        f"{name}={setting_text(value)}"
        for name, value in own.items()
        if value not in ("", ()) and (name, value) != ("kind", key.rpartition(".")[2])
    )
