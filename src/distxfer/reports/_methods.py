"""Finished runs compared: the main table, effects by language, family or distance, and how the methods differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from distxfer.experiments import setting_text
from distxfer.languages import language_name
from distxfer.reports._compare import (
    comparison_notes,
    counted,
    dropped_notes,
    effect_text,
    overall_effect,
    p_text,
    starred,
)
from distxfer.reports._randomness import few_families, random_factors
from distxfer.reports._tables import Table, table_of

if TYPE_CHECKING:  # it brings scipy
    from distxfer.experiments import Comparison, MethodComparisons, Part
    from distxfer.experiments._comparisons._compare_methods import Slope

By = Literal["language", "family", "distance"]
_MAIN = (
    "method",
    "mean",
    "effect on all [95 %]",
    "p (Holm)",
    "near",
    "far",
    "slope",
    "r gain",
    "seeds × languages",
    "collapsed",
)


def method_tables(found: MethodComparisons, by: By | None = None) -> list[Table]:
    """Return the main table, or one table a method by language or family, or one by distance; then how methods differ."""
    if by is None:
        tables = [_main(found)]
    elif by == "distance":
        tables = [_by_distance(found)]
    else:
        tables = _by_part(found, by)
    return [*tables, *_differences(found)]


def method_data(found: MethodComparisons, by: By | None = None) -> Table:
    """Return the numbers behind `method_tables` in full, a row a test, for CSV."""
    records = found.records()
    rows = {None: records["comparisons"], "language": records["by_language"], "family": records["by_family"]}
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


def _main(found: MethodComparisons) -> Table:
    rests, scale = found.comparisons, _scale(found)
    slopes = {one.method: one.test for one in found.slopes}
    order = sorted(
        (one.method for one in rests.transfers if one.method != found.baseline),
        key=lambda name: -overall_effect(rests.comparisons, name),
    )
    transfers = {one.method: one for one in rests.transfers}
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
    return Table(_MAIN, rows, f"{first.model} · {first.task}", (*found.warnings, *notes, slope, *_ends(found)))


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
                None if gain is None else f"{gain.n} in {gain.n_groups}",
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
        "languages in families",
    )
    reasons = dict.fromkeys(gain.reason for gain in gains.values() if gain and gain.reason)
    tested: list[Comparison | Slope] = [*rests.comparisons, *found.slopes]
    detectable = next((gain.detectable for gain in gains.values() if gain and gain.detectable), None)
    notes = (
        f"near and far: at most, or above, the median {rests.distance} distance from {rests.source}; Holm over the methods."
        f" {_basis(found)}",
        f"{random_factors([one.test for one in rests.comparisons if one.subset != 'all'])}.",
        *few_families(rests.comparisons),
        "slope: change of the gain per unit of distance, in points; its interval is over seeds, the languages being fixed.",
        "r: Spearman correlation of the gain with distance, over languages; p by permutations that keep families together"
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


def _reasons(found: Sequence[Comparison | Part | Slope]) -> list[str]:
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


def _differences(found: MethodComparisons) -> list[Table]:
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
