"""Tables that compare finished runs: the main table, effects by language, family or distance, differing settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from distxfer.errors import InputError, counted
from distxfer.languages import group_kind, language_name, permuted_within
from distxfer.reports._compare import comparison_notes, dropped_notes, overall_effect, starred
from distxfer.reports._randomness import family_notes, random_factors, rate_notes, significant
from distxfer.reports._survival import class_table, each_target_table, effect_text, flat_record, p_text, survival_table
from distxfer.reports._tables import Table, table_of
from distxfer.results.settings import setting_text

if TYPE_CHECKING:  # it brings scipy
    from distxfer.analysis.comparison import Comparison, Comparisons, Part, Slope
    from distxfer.analysis.survival import ClassPart

By = Literal["language", "family", "distance", "class"]


def method_tables(analysis: Comparisons, by: By | None = None) -> list[Table]:
    """Return the comparison and its leave-one-out effects, or the view `by`; then the settings that differ.

    `by` language, family or class gives one table per method. Fewer than 4 languages get a table of their effects first.
    """
    if by is None:
        lead = target_table(analysis)
        tables = [*([lead] if lead else []), main_table(analysis), survival(analysis)]
    elif by == "distance":
        tables = [_by_distance(analysis), survival(analysis, subsets=True)]
    else:
        tables = class_tables(analysis) if by == "class" else _by_part(analysis, by)
    return [*tables, *difference_tables(analysis)]


def target_table(analysis: Comparisons) -> Table | None:
    """Return the effect on each language, or None if there are enough languages to generalise from."""
    comparisons = analysis.comparisons
    parts = [part for row in comparisons for part in row.each]
    after = (
        _basis(analysis),
        *_reasons(parts),
        *dropped_notes((f"`{part.method}` on `{part.part}`", part.dropped) for part in parts),
        *_ends(analysis),
    )
    return each_target_table(comparisons, analysis.baseline, analysis.scale, analysis.warnings, after)


def survival(analysis: Comparisons, *, subsets: bool = False) -> Table:
    """Return the leave-one-out effects on all targets, or on near and far ones (`subsets`)."""
    warnings = analysis.warnings if subsets else (*analysis.warnings, *analysis.survival_warnings)
    return survival_table(
        analysis.comparisons, analysis.metric, analysis.selected, analysis.scale, warnings, subsets=subsets
    )


def method_data(analysis: Comparisons, by: By | None = None) -> Table:
    """Return the numbers of `method_tables` at full precision, one row per test, for CSV."""
    if by == "class":
        _check_classes(analysis)
    records = analysis.records()
    records["comparisons"] = [flat_record(record) for record in records["comparisons"]]
    rows = {
        None: records["comparisons"],
        "language": records["by_language"],
        "family": records["by_family"],
        "class": records["by_class"],
    }
    if by == "distance":
        near_far = [record for record in records["comparisons"] if record["subset"] != "all"]
        selected = [*near_far, *({"subset": "slope", **slope} for slope in records["slopes"])]
    else:
        selected = rows[by]
    common = {"metric": records["metric"], "baseline": records["baseline"]}
    selection = records["selection_by_method"]
    return table_of([{**common, "selection": selection[record["method"]], **record} for record in selected])


def main_table(analysis: Comparisons) -> Table:
    """Return the comparison of all methods with the baseline."""
    scale = analysis.scale
    slopes = {slope.method: slope.test for slope in analysis.slopes}
    order = sorted(
        (transfer.method for transfer in analysis.transfers if transfer.method != analysis.baseline),
        key=lambda name: -overall_effect(analysis.comparisons, name),
    )
    transfers = {transfer.method: transfer for transfer in analysis.transfers}
    macro = any(row.macro for row in analysis.comparisons)
    rows = []
    for name in (analysis.baseline, *order):
        by_subset = {row.subset: row for row in analysis.comparisons if row.method == name}
        test = by_subset["all"].test if "all" in by_subset else None
        gain = transfers[name].gain_by_distance
        mean = transfers[name].mean
        rows.append(
            (
                name,
                None if mean is None else f"{scale * mean:.1f}",
                None if test is None else effect_text(test, scale),
                p_text(by_subset["all"].p_holm) if "all" in by_subset else None,
                *([_macro(by_subset.get("all"), scale)] if macro else []),
                *(starred(by_subset.get(subset), scale) for subset in ("near", "far")),
                f"{scale * slopes[name].effect:+.1f}" if name in slopes else None,
                None if gain is None or gain.r is None else f"{gain.r:+.2f}",
                f"{test.n_seeds} × {test.n_languages}" if test else None,
                f"{len(analysis.collapsed[name])} of {analysis.runs[name]}",
            )
        )
    first = analysis.comparisons[0]
    notes = comparison_notes(analysis, list(analysis.comparisons), transfers[analysis.baseline])
    slope = "slope: change in gain per unit of that distance, in points (`--by distance` has intervals)."
    of_macro = ("macro F1: effect on the mean F1 over classes, * as for near and far.",) if macro else ()
    columns = (
        "method", "mean", "effect on all [95 %]", "p (Holm)", *(["macro F1"] if macro else []), "near", "far", "slope",
        "r gain", "seeds × languages", "collapsed",
    )  # fmt: skip
    title = f"{first.model} · {first.task}"
    optional = ("r gain", "slope", "collapsed", "macro F1", "seeds × languages", "far", "near", "mean", "p (Holm)")
    return Table(columns, rows, title, (*analysis.warnings, *notes, *of_macro, slope, *_ends(analysis)), optional)


def _macro(comparison: Comparison | None, scale: float) -> str | None:
    """Return the effect on the macro-averaged score, with a star where p <= 0.05 after Holm."""
    if comparison is None or comparison.macro is None:
        return None
    macro = comparison.macro
    return f"{scale * macro.test.effect:+.1f}{'*' if significant(macro.test, macro.p_holm) else ''}"


def _by_part(analysis: Comparisons, by: Literal["language", "family"]) -> list[Table]:
    scale = analysis.scale
    tables = []
    for method, group in groupby(
        analysis.by_language if by == "language" else analysis.by_family, key=lambda part: part.method
    ):
        parts = list(group)
        rows = [
            (
                part.part,
                language_name(part.part) if by == "language" else ", ".join(part.languages),
                None if part.distance is None else f"{part.distance:.3f}",
                f"{scale * part.mean_baseline:.1f}",
                f"{scale * part.mean:.1f}",
                effect_text(part.test, scale),
                p_text(part.p_holm),
                part.test.n_seeds,
            )
            for part in parts
        ]
        of = (
            "languages fixed: interval and p are over seeds and do not generalise to other languages"
            if by == "language"
            else "seeds and languages random in families of several languages, only seeds in families of one"
        )
        second = "name" if by == "language" else "languages"
        columns = (by, second, "distance", analysis.baseline, method, "effect [95 %]", "p (Holm)", "seeds")
        notes = (
            f"{of}; Holm over {counted(sum(part.test.p is not None for part in parts), 'rows')}. {_basis(analysis, method)}",
            *_reasons(parts),
            *dropped_notes((f"`{part.part}`", part.dropped) for part in parts),
        )
        title = f"{method} minus {analysis.baseline}, by {by}"
        optional = ("seeds", "distance", second, analysis.baseline, method)
        tables.append(Table(columns, rows, title, (*analysis.warnings, *notes, *_ends(analysis)), optional))
    return tables


def class_tables(analysis: Comparisons) -> list[Table]:
    """Return a table of classes for each method; raises InputError where there are no classes."""
    overall = {row.method: row for row in analysis.comparisons if row.subset == "all"}
    _check_classes(analysis)
    score = "recall" if analysis.metric == "accuracy" else "F1"
    tables = []
    for method, group in groupby(analysis.by_class, key=lambda part: part.method):
        parts = list(group)
        effect = f"{analysis.scale * overall[method].test.effect:+.1f}"
        notes = (
            *analysis.warnings,
            f"{score} of each class, and items of it in a language; `effect without`: on the {analysis.metric} of all"
            f" other classes. Seed and language both random; Holm over {len(parts)} classes."
            f" {_basis(analysis, method)}",
            *_reasons(parts),
            *_ends(analysis),
        )
        tables.append(class_table(parts, analysis.baseline, effect, analysis.scale, notes))
    return tables


def _check_classes(analysis: Comparisons) -> None:
    if not analysis.by_class:
        reason = next(row.left_out["class"] for row in analysis.comparisons)
        raise InputError(f"`--by class` has no classes to show: {reason}. Choose another view.")


def _by_distance(analysis: Comparisons) -> Table:
    scale = analysis.scale
    gains = {transfer.method: transfer.gain_by_distance for transfer in analysis.transfers}
    slopes = {slope.method: slope.test for slope in analysis.slopes}
    rows = []
    for name in dict.fromkeys(row.method for row in analysis.comparisons):
        by_subset = {row.subset: row for row in analysis.comparisons if row.method == name}
        gain = gains[name]
        rows.append(
            (
                name,
                *(cell for subset in ("near", "far") for cell in _with_p(by_subset.get(subset), scale)),
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
    apart = [row for row in analysis.comparisons if row.subset != "all"]
    tested: list[Comparison | Slope] = [*analysis.comparisons, *analysis.slopes]
    detectable = next((gain.detectable for gain in gains.values() if gain and gain.detectable), None)
    notes = (
        f"near and far: at most, or above, the median {analysis.distance} distance from {analysis.source}; Holm over the methods."
        f" {_basis(analysis)}",
        f"{random_factors([row.test for row in apart])}.",
        *family_notes(apart, scale),
        *rate_notes([row.test for row in apart if row.test.note]),
        "slope: change in gain per unit of distance, in points; interval over seeds with languages fixed.",
        "r: Spearman correlation of the gain with distance, over languages; p by permutations within"
        f" {' or '.join(dict.fromkeys(permuted_within(gain.n) for gain in gains.values() if gain)) or 'families'}"
        + (
            f"; the smallest |r| detectable with this many independent languages is {detectable:.2f}."
            if detectable
            else "."
        ),
        *(f"no p of r: {reason}." for reason in reasons),
        *_reasons(tested),
        *dropped_notes((f"`{result.method}`", result.dropped) for result in tested),
    )
    title = f"gain over {analysis.baseline}, by distance"
    optional = ("languages", "p (r)", "r gain", "p (Holm) ", "p (Holm)")
    return Table(columns, rows, title, (*analysis.warnings, *notes, *_ends(analysis)), optional)


def _with_p(comparison: Comparison | None, scale: float) -> tuple[str | None, str | None]:
    return (None, None) if comparison is None else (effect_text(comparison.test, scale), p_text(comparison.p_holm))


def _basis(analysis: Comparisons, *methods: str) -> str:
    """Return the metric, the pairing, and how the checkpoints of these methods and the baseline were chosen."""
    selections = [analysis.selection[name] for name in (analysis.baseline, *(methods or analysis.selection))]
    return f"{analysis.metric}; paired by seed. Checkpoint: {' / '.join(dict.fromkeys(selections))}."


def _reasons(results: Sequence[Comparison | Part | Slope | ClassPart]) -> list[str]:
    """Return the reasons for missing intervals, each once."""
    return list(dict.fromkeys(f"{result.test.reason}." for result in results if result.test.reason))


def _ends(analysis: Comparisons) -> list[str]:
    """Return the notes that end every table: on distances and pairing, then everything that was left out."""
    return [*analysis.notes, *left_out_notes(analysis.collapsed, analysis.left_out)]


def left_out_notes(collapsed: Mapping[str, Sequence[int]], left_out: Sequence[str]) -> list[str]:
    """Return a note on collapsed runs, if any, and a counted list of what was left out."""
    failed = [f"`{name}`: seed {', '.join(map(str, seeds))}" for name, seeds in collapsed.items() if seeds]
    lines = [f"collapsed runs, excluded from means and tests: {'; '.join(failed)}."] if failed else []
    return lines + ([f"{len(left_out)} left out:", *(f"- {reason}" for reason in left_out)] if left_out else [])


def difference_tables(analysis: Comparisons) -> list[Table]:
    """Return the settings in which methods differ from the baseline; an intervention that one side lacks is one row."""
    rows = []
    for method, group in groupby(analysis.differences, key=lambda row: row.method):
        settings: dict[str, list[Any]] = {}
        for difference in group:
            parts = difference.key.split(".")
            setting = (
                ".".join(parts[:2])
                if parts[0] == "intervention" and None in (difference.baseline, difference.value)
                else difference.key
            )
            settings.setdefault(setting, []).append(difference)
        for key, setting_differences in settings.items():
            rows.append(
                (
                    method,
                    key,
                    *(
                        _side(key, [(row.key, getattr(row, side)) for row in setting_differences])
                        for side in ("baseline", "value")
                    ),
                )
            )
    identical = [
        name for name in analysis.selection if name != analysis.baseline and not any(row[0] == name for row in rows)
    ]
    notes = tuple(f"`{name}` has the settings of `{analysis.baseline}`." for name in identical)
    columns = ("method", "setting", f"in {analysis.baseline}", "in the method")
    title = f"settings that differ from {analysis.baseline}"
    return [Table(columns, rows, title, notes, details=columns)] if rows or notes else []


def _side(key: str, values: Sequence[tuple[str, Any]]) -> str | None:
    """Return the text of a value, or of all settings of an intervention; None where there is none."""
    present = {name: value for name, value in values if value is not None}
    if not present:
        return None
    if list(present) == [key]:
        return setting_text(present[key])
    short = {name.removeprefix(f"{key}."): value for name, value in present.items()}
    return ", ".join(
        f"{name}={setting_text(value)}"
        for name, value in short.items()
        if value not in ("", ()) and (name, value) != ("kind", key.rpartition(".")[2])
    )
