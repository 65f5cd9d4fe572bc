"""Tables that compare methods: main table, leave-one-out effects, views by language, family, class or distance, two runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from distxfer.analysis.significance import effect_text
from distxfer.analysis.survival import survival_warnings
from distxfer.errors import InputError, counted, listed, shortened
from distxfer.languages import group_kind, language_name, permuted_within
from distxfer.reports._wording import (
    dropped_notes,
    family_means,
    few_families,
    left_out_notes,
    p_text,
    random_factors,
    rate_notes,
    reasons_of,
    size_text,
    span,
    starred,
    with_p,
)
from distxfer.reports.tables import Table, p_phrase, table_of
from distxfer.results.settings import setting_text

if TYPE_CHECKING:  # it brings scipy
    from distxfer.analysis.comparison import Comparison, Comparisons, Part, Slope, Transfer
    from distxfer.analysis.one_seed import TwoRuns
    from distxfer.analysis.survival import ClassPart
    from distxfer.measure import Correlation

By = Literal["language", "family", "distance", "class"]
_SHARES = {"accuracy": "accuracy", "whole_example": "share of examples predicted exactly as their (first) label"}
_OPTIONAL = (
    "r score", "r gain", "slope", "collapsed", "macro F1", "seeds × languages", "far", "near", "mean", "p (Holm)",
)  # fmt: skip


def comparison_tables(analysis: Comparisons, by: By | None = None) -> list[Table]:
    """Return the comparisons of each model and task with their leave-one-out effects, or the view `by`; then the settings that
    differ.

    `by` language, family or class gives one table per method. Fewer than 4 languages get a table of their effects first.
    Scores and effects are in percent where the scores are fractions.
    """
    tables: list[Table] = []
    if by is None:
        for _, members in groupby(analysis.comparisons, key=lambda row: (row.model, row.task)):
            group = list(members)
            lead = target_table(analysis, group)
            tables += [*([lead] if lead else []), main_table(analysis, group), survival_table(analysis, group)]
    elif by == "distance":
        tables = [_by_distance(analysis), survival_table(analysis, subsets=True)]
    else:
        tables = class_tables(analysis) if by == "class" else _by_part(analysis, by)
    return [*tables, *difference_tables(analysis)]


def comparison_data(analysis: Comparisons, by: By | None = None) -> Table:
    """Return the numbers of `comparison_tables` at full precision, one row per test, for CSV."""
    if by == "class":
        _check_classes(analysis)
    records = analysis.records()
    rows = (
        [_flat_record(record) for record in records["comparisons"]] if by in (None, "distance") else records[f"by_{by}"]
    )
    if by == "distance":
        near_far = [record for record in rows if record["subset"] != "all"]
        rows = [*near_far, *({"subset": "slope", **slope} for slope in records["slopes"])]
    common = {key: records[key] for key in ("metric", "baseline", "selection")}
    selection = records["selection_by_method"]
    return table_of([{**common, "selection": selection.get(row["method"], common["selection"]), **row} for row in rows])


def _flat_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a comparison as flat columns for CSV: `macro_effect`, `class_lowest_without` and so on."""
    flat = {key: value for key, value in record.items() if key not in ("macro", "leave_out", "each")}
    flat |= {f"macro_{key}": (record["macro"] or {}).get(key) for key in ("effect", "low", "high", "p", "p_holm")}
    for kind, result in record["leave_out"].items():
        for end in ("lowest", "highest"):
            of_end = result.get(end, {})
            flat |= {f"{kind}_{end}_{key}": of_end.get(key) for key in ("without", "effect", "low", "high")}
        flat[f"{kind}_carriers"] = [item["without"] for item in result.get("carriers", ())]
    return flat


# The main table


def main_table(analysis: Comparisons, group: Sequence[Comparison] = ()) -> Table:
    """Return the comparison of the methods of one model and task, by default of all, with the baseline."""
    group = group or analysis.comparisons
    first, scale = group[0], analysis.scale
    transfers = {row.method: row for row in analysis.transfers if (row.model, row.task) == (first.model, first.task)}
    slopes = {slope.method: slope.test for slope in analysis.slopes}
    effects = {row.method: row.test.effect for row in group if row.subset == "all"}
    methods = [name for name in transfers if name != first.baseline]
    records = []
    for name in (first.baseline, *sorted(methods, key=lambda name: -effects.get(name, -inf))):
        of_subset = {row.subset: row for row in group if row.method == name}
        overall, transfer = of_subset.get("all"), transfers[name]
        effect, p = with_p(overall, scale)
        records.append(
            {
                "method": name,
                "mean": None if transfer.mean is None else f"{scale * transfer.mean:.1f}",
                "effect on all [95 %]": effect,
                "p (Holm)": p,
                "macro F1": starred(overall and overall.macro, scale),
                **{subset: starred(of_subset.get(subset), scale) for subset in ("near", "far")},
                "slope": f"{scale * slopes[name].effect:+.1f}" if name in slopes else None,
                "r score": _r(transfer.by_distance),
                "r gain": _r(transfer.gain_by_distance),
                "seeds × languages": None if overall is None else size_text(overall.test),
                "collapsed": f"{len(analysis.collapsed[name])} of {analysis.runs[name]}" if analysis.runs else None,
            }
        )
    empty = [name for name in ("macro F1", "slope", "collapsed") if all(record[name] is None for record in records)]
    records = [{key: value for key, value in record.items() if key not in empty} for record in records]
    notes, background = _main_notes(analysis, group, transfers[first.baseline])
    background += ["macro F1: effect on the mean F1 over classes, * as for near and far."] * ("macro F1" not in empty)
    background += [
        "slope: change in gain per unit of that distance, in points (`--by distance` has intervals)."
    ] * bool(slopes)
    return table_of(
        records,
        title=f"{first.model} · {first.task}",
        notes=(*analysis.warnings, *notes, *background, *_ends(analysis)),
        optional=_OPTIONAL,
        background=tuple(background),
    )


def _r(correlation: Correlation | None) -> str | None:
    return None if correlation is None or correlation.r is None else f"{correlation.r:+.2f}"


def _main_notes(analysis: Comparisons, group: Sequence[Comparison], baseline: Transfer) -> tuple[list[str], list[str]]:
    """Return the verdicts on the methods of one model and task, with the basis of the comparison, and the background."""
    overall = [row for row in group if row.subset == "all"]
    sure = [row for row in overall if row.p_holm is not None and row.p_holm <= 0.05]
    verdicts: dict[str, list[str]] = {}
    for row in sorted(sure, key=lambda row: row.test.effect < 0):
        condition = " only if languages of one family are independent" if row.test.note else ""
        better = "better" if row.test.effect > 0 else "worse"
        verdicts.setdefault(f"{better} than `{baseline.method}`{condition}", []).append(row.method)
    unsure = [row.method for row in overall if row not in sure and row.test.p is not None]
    verdicts[f"not shown to differ from `{baseline.method}`"] = unsure
    carried = [row.method for row in sure if row.carried]
    verdicts["of these, driven by one class, language or family (see leave-one-out effects)"] = carried
    tested = [row.test for row in overall if row.test.p is not None]
    dropped = dropped_notes((f"`{row.method}`", row.dropped) for row in overall)
    rates = rate_notes([row.test for row in group if row.subset == "all" or row.test.note])
    notes = [
        *(f"{verdict}: {', '.join(names)}." for verdict, names in verdicts.items() if names),
        *dict.fromkeys(f"`{row.method}`: {row.test.reason}." for row in overall if row.test.reason),
        f"{analysis.metric}; {_pairing(analysis)};"
        f" {span(row.test.n_languages for row in overall)} target languages, from {analysis.source}; Holm over"
        f" {counted(len(overall), 'methods')}. Checkpoint: {analysis.selected}.",
        *([f"{random_factors(tested)}."] if tested else []),
        *few_families(group),
        *rates[:1],
        f"near and far: split at the median of the {analysis.distance} distance, * p <= 0.05 after Holm, with 4 families"
        " or more.",
        *dropped,
    ]
    of_means = sorted(set(baseline.dropped))
    if set(of_means) != {drop for row in overall for drop in row.dropped}:
        notes.append(
            f"mean and r exclude, for all methods: {shortened(of_means)}."
            if of_means
            else "mean and r include all runs and languages, also these."
        )
    by = baseline.by_distance
    of_baseline = p_phrase(by.p) if by.p is not None else f"p not given: {by.reason}"
    correlation = (
        f"r: Spearman correlation of the mean score, and of the gain, with that distance, over {by.n} languages in"
        f" {by.n_groups} {group_kind(by.n)}; p by permutations within {permuted_within(by.n)} (`{baseline.method}`:"
        f" {of_baseline}{_detectable(by)})."
    )
    return notes, [*family_means(group, analysis.scale), *rates[1:], correlation]


def _detectable(correlation: Correlation) -> str:
    if not correlation.detectable:
        return ""
    return f"; the smallest |r| detectable with this many independent languages is {correlation.detectable:.2f}"


# Leave-one-out effects


def survival_table(analysis: Comparisons, group: Sequence[Comparison] = (), *, subsets: bool = False) -> Table:
    """Return a row per effect and kind of omission, sorted by effect; on near and far targets if `subsets`.

    A kind that is defined for no method has a note instead.
    """
    group, scale = group or analysis.comparisons, analysis.scale
    warnings = analysis.warnings if subsets else (*analysis.warnings, *survival_warnings(group, scale))
    rows: list[tuple[Any, ...]] = []
    without: dict[tuple[str, str], list[str]] = {}
    chosen = [row for row in group if (row.subset != "all") == subsets]
    for row in sorted(chosen, key=lambda row: -row.test.effect):
        for kind, result in row.left_out.items():
            if isinstance(result, str):
                without.setdefault((kind, result), []).append(f"`{row.method}`")
            else:
                ends = [f"{scale * test.effect:+.1f} {item}" for item, test in (result.lowest, result.highest)]
                of_subset = [row.subset] if subsets else []
                rows.append((row.method, *of_subset, f"{scale * row.test.effect:+.1f}", kind, " to ".join(ends)))
    reasons = [
        f"no {kind} is left out{'' if len(names) == len(chosen) else f' of {listed(names)}'}: {reason}."
        for (kind, reason), names in without.items()
    ]
    about = (
        f"effect on {analysis.metric} with each class, language or family left out in turn: the smallest and the largest"
        f" effect and what is left out there. Checkpoint: {analysis.selected}."
    )
    columns = ("method", *(["targets"] if subsets else []), "effect", "left out", "smallest to largest effect")
    return Table(columns, rows, "leave-one-out effects", (*warnings, about, *reasons), ("effect",))


# Effects on single languages, families and classes


def _measured(part: Part | ClassPart, scale: float) -> tuple[str | None, ...]:
    """Return the means of the baseline and the method, the effect, and p."""
    means = (f"{scale * mean:.1f}" for mean in (part.mean_baseline, part.mean))
    return (*means, effect_text(part.test, scale), p_text(part.p_holm))


def target_table(analysis: Comparisons, group: Sequence[Comparison] = ()) -> Table | None:
    """Return the effect on each language, or None if there are enough languages to generalise from."""
    parts = [part for row in group or analysis.comparisons for part in row.each]
    if not parts:
        return None
    baseline = analysis.baseline
    seeds = " or ".join(map(str, sorted({part.test.n_seeds for part in parts})))
    notes = (
        *analysis.warnings,
        f"languages fixed: interval and p are over {seeds} seeds and do not generalise to other languages; Holm over all rows."
        " With fewer than 4 targets there is no interval for their mean.",
        _basis(analysis),
        *reasons_of(parts),
        *dropped_notes((f"`{part.method}` on `{part.part}`", part.dropped) for part in parts),
        *_ends(analysis),
    )
    rows = [
        (part.method, f"{part.part} {language_name(part.part)}", *_measured(part, analysis.scale)) for part in parts
    ]
    columns = ("method", "language", baseline, "method's", "effect [95 %]", "p (Holm)")
    return Table(columns, rows, f"effect on each language, against {baseline}", notes, (baseline, "method's"))


def _by_part(analysis: Comparisons, by: Literal["language", "family"]) -> list[Table]:
    scale, baseline = analysis.scale, analysis.baseline
    of = (
        "languages fixed: interval and p are over seeds and do not generalise to other languages"
        if by == "language"
        else "seeds and languages random in families of several languages, only seeds in families of one"
    )
    second = "name" if by == "language" else "languages"
    all_parts = analysis.by_language if by == "language" else analysis.by_family
    tables = []
    for method, group in groupby(all_parts, key=lambda part: part.method):
        parts = list(group)
        rows = [
            (
                part.part,
                language_name(part.part) if by == "language" else ", ".join(part.languages),
                None if part.distance is None else f"{part.distance:.3f}",
                *_measured(part, scale),
                part.test.n_seeds,
            )
            for part in parts
        ]
        notes = (
            *analysis.warnings,
            f"{of}; Holm over {counted(sum(part.test.p is not None for part in parts), 'rows')}. {_basis(analysis, method)}",
            *reasons_of(parts),
            *dropped_notes((f"`{part.part}`", part.dropped) for part in parts),
            *_ends(analysis),
        )
        columns = (by, second, "distance", baseline, method, "effect [95 %]", "p (Holm)", "seeds")
        optional = ("seeds", "distance", second, baseline, method)
        tables.append(Table(columns, rows, f"{method} minus {baseline}, by {by}", notes, optional))
    return tables


def class_tables(analysis: Comparisons) -> list[Table]:
    """Return a table of classes for each method, the most influential first; raises InputError where there are no classes."""
    _check_classes(analysis)
    scale, baseline = analysis.scale, analysis.baseline
    overall = {row.method: scale * row.test.effect for row in analysis.comparisons if row.subset == "all"}
    score = "recall" if analysis.metric == "accuracy" else "F1"
    tables = []
    for method, group in groupby(analysis.by_class, key=lambda part: part.method):
        parts = list(group)
        rows = [
            (
                part.part,
                span((part.n_least, part.n_most)),
                *_measured(part, scale),
                None if part.effect_without is None else f"{scale * part.effect_without:+.1f}",
            )
            for part in parts
        ]
        notes = (
            *analysis.warnings,
            f"{score} of each class, and items of it in a language; `effect without`: on the {analysis.metric} of all other"
            f" classes. Seed and language both random; Holm over {len(parts)} classes. {_basis(analysis, method)}",
            *reasons_of(parts),
            *_ends(analysis),
        )
        columns = ("class", "items", baseline, method, "effect [95 %]", "p (Holm)", "effect without")
        title = f"{method} minus {baseline}, by class ({overall[method]:+.1f} on all)"
        tables.append(Table(columns, rows, title, notes, ("items", baseline, method, "effect without")))
    return tables


def _check_classes(analysis: Comparisons) -> None:
    if not analysis.by_class:
        reason = next(row.left_out["class"] for row in analysis.comparisons)
        raise InputError(f"`--by class` has no classes to show: {reason}. Choose another view.")


# The view by distance


def _by_distance(analysis: Comparisons) -> Table:
    scale = analysis.scale
    all_gains = {transfer.method: transfer.gain_by_distance for transfer in analysis.transfers}
    slopes = {slope.method: effect_text(slope.test, scale) for slope in analysis.slopes}
    rows = []
    for name in dict.fromkeys(row.method for row in analysis.comparisons):
        of_subset = {row.subset: row for row in analysis.comparisons if row.method == name}
        gain = all_gains[name]
        effects = (*with_p(of_subset.get("near"), scale), *with_p(of_subset.get("far"), scale))
        correlation = (
            _r(gain),
            *((p_text(gain.p), f"{gain.n} in {gain.n_groups} {group_kind(gain.n)}") if gain else (None,) * 2),
        )
        rows.append((name, *effects, slopes.get(name), *correlation))
    gains = [gain for gain in all_gains.values() if gain]
    apart = [row for row in analysis.comparisons if row.subset != "all"]
    rates = rate_notes([row.test for row in apart if row.test.note])
    within = " or ".join(dict.fromkeys(permuted_within(gain.n) for gain in gains)) or "families"
    tested: list[Comparison | Slope] = [*analysis.comparisons, *analysis.slopes]
    background = (
        *family_means(apart, scale),
        *rates[1:],
        "slope: change in gain per unit of distance, in points; interval over seeds with languages fixed.",
        f"r: Spearman correlation of the gain with distance, over languages; p by permutations within {within}"
        f"{next((_detectable(gain) for gain in gains if gain.detectable), '')}.",
    )
    notes = (
        *analysis.warnings,
        f"near and far: at most, or above, the median {analysis.distance} distance from {analysis.source}; Holm over the methods."
        f" {_basis(analysis)}",
        f"{random_factors([row.test for row in apart])}.",
        *few_families(apart),
        *rates[:1],
        *dict.fromkeys(f"no p of r: {gain.reason}." for gain in gains if gain.reason),
        *reasons_of(tested),
        *dropped_notes((f"`{result.method}`", result.dropped) for result in tested),
        *background,
        *_ends(analysis),
    )
    columns = (
        "method", "near [95 %]", "p (Holm)", "far [95 %]", "p (Holm) ", "slope [95 %]", "r gain", "p (r)", "languages",
    )  # fmt: skip
    optional = ("languages", "p (r)", "r gain", "p (Holm) ", "p (Holm)")
    return Table(columns, rows, f"gain over {analysis.baseline}, by distance", notes, optional, background=background)


def _basis(analysis: Comparisons, *methods: str) -> str:
    """Return the metric, the pairing, and how the checkpoints of these methods and the baseline were chosen."""
    chosen = (
        {analysis.selection[name]: None for name in (analysis.baseline, *methods)} if methods else [analysis.selected]
    )
    return f"{analysis.metric}; {_pairing(analysis)}. Checkpoint: {' / '.join(chosen)}."


def _pairing(analysis: Comparisons) -> str:
    return "paired by seed" if analysis.paired else "seeds not paired"


def _ends(analysis: Comparisons) -> list[str]:
    """Return the notes that end every table: on distances and pairing, then everything that was left out."""
    return [*analysis.notes, *left_out_notes(analysis.collapsed, analysis.left_out)]


# Settings that differ


def difference_tables(analysis: Comparisons) -> list[Table]:
    """Return the settings in which methods differ from the baseline; an intervention that one side lacks is one row."""
    groups: dict[tuple[str, str], dict[str, tuple[Any, Any]]] = {}
    for difference in analysis.differences:
        sides, key = (difference.baseline, difference.value), difference.key
        if key.startswith("intervention.") and None in sides:
            key = ".".join(key.split(".")[:2])
        groups.setdefault((difference.method, key), {})[difference.key] = sides
    rows = [
        (method, key, *(_side(key, {name: sides[place] for name, sides in values.items()}) for place in (0, 1)))
        for (method, key), values in groups.items()
    ]
    identical = set(analysis.selection) - {analysis.baseline, *(row[0] for row in rows)}
    notes = tuple(f"`{name}` has the settings of `{analysis.baseline}`." for name in sorted(identical))
    columns = ("method", "setting", f"in {analysis.baseline}", "in the method")
    title = f"settings that differ from {analysis.baseline}"
    return [Table(columns, rows, title, notes, details=columns)] if rows or notes else []


def _side(key: str, values: Mapping[str, Any]) -> str | None:
    """Return the text of a value, or of all settings of an intervention; None where there is none."""
    present = {name.removeprefix(f"{key}."): value for name, value in values.items() if value is not None}
    if key in present:
        return setting_text(present[key])
    return (
        ", ".join(
            f"{name}={setting_text(value)}"
            for name, value in present.items()
            if value not in ("", ()) and (name, value) != ("kind", key.rpartition(".")[2])
        )
        if present
        else None
    )


# Two single runs


def one_seed_table(pair: TwoRuns) -> Table:
    """Return one row per language, the source first and all targets last; accuracies and effects in percent."""
    rows = []
    for row in pair.rows:
        drawn, exact = row.bootstrap, row.exact
        effect = f"{100 * drawn.difference:+.1f}"
        if drawn.low is not None and drawn.high is not None:
            effect += f" [{100 * drawn.low:+.1f}, {100 * drawn.high:+.1f}]"
        rows.append(
            (
                row.language or "all targets",
                language_name(row.language) if row.language else "",
                drawn.n,
                f"{100 * row.accuracy_baseline:.1f}",
                f"{100 * row.accuracy:.1f}",
                effect,
                None if exact is None else f"{exact.only_a} / {exact.only_b}",
                p_text(drawn.p if exact is None else exact.p),
                p_text(row.p_holm),
            )
        )
    all_targets = pair.rows[-1].bootstrap
    return Table(
        ("language", "name", "n", "first", "second", "effect [95 %]", "only 2nd / 1st right", "p", "p (Holm)"),
        rows,
        title=f"first: {pair.baseline}, second: {pair.method}",
        notes=(
            *pair.warnings,
            "ONE seed: p and interval describe other test sentences for these two trained models, not other seeds of either"
            " method. To compare methods, train at least 3 seeds of each.",
            f"{_SHARES[pair.metric]}; languages: exact McNemar, Holm over {len(pair.rows) - 2} targets, interval by paired"
            f" bootstrap; all targets: bootstrap over {all_targets.n_blocks} whole items. Checkpoint: {pair.selection}.",
            f"seeds: {pair.seeds[0]} and {pair.seeds[1]}.",
            *pair.corpora,
            *(
                f"COLLAPSED: `{run}` scores within noise of the majority class; the comparison is meaningless."
                for run in pair.collapsed
            ),
            *([all_targets.reason] if all_targets.reason else []),
        ),
        optional=("only 2nd / 1st right", "n", "first", "second"),
    )
