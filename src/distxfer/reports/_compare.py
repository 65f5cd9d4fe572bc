"""Comparison tables: one per model and task, methods sorted by effect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING, Any

from distxfer.analysis.survival import survival_warnings
from distxfer.errors import counted, shortened
from distxfer.languages import group_kind, language_name, permuted_within
from distxfer.reports._randomness import family_notes, random_factors, rate_notes, significant
from distxfer.reports._survival import each_target_table, effect_text, p_text, survival_table
from distxfer.reports._tables import Table, p_phrase

if TYPE_CHECKING:  # it brings scipy
    from distxfer.analysis.comparison import Comparison, Comparisons, Transfer
    from distxfer.analysis.one_seed import TwoRuns

_NAMES = 3  # a note names at most so many methods
_COLUMNS = ("method", "mean", "effect on all [95 %]", "p (Holm)", "near", "far", "seeds", "r score", "r gain")


def comparison_tables(comparisons: Comparisons) -> list[Table]:
    """Return two tables per model and task; scores and effects in percent where the scores are fractions.

    They are the comparison and its leave-one-out effects; fewer than 4 languages get a table of their effects first.
    """
    scale = 100.0 if comparisons.fractions else 1.0
    tables = []
    for key, members in groupby(comparisons.comparisons, key=lambda row: (row.model, row.task)):
        group = list(members)
        baseline = group[0].baseline
        transfers = {row.method: row for row in comparisons.transfers if (row.model, row.task) == key}
        methods = sorted({row.method for row in group}, key=lambda name: -overall_effect(group, name))
        rows = [_row(baseline, [], transfers, scale)]
        rows += [_row(name, [row for row in group if row.method == name], transfers, scale) for name in methods]
        lead = each_target_table(group, baseline, scale)
        notes = comparison_notes(comparisons, group, transfers[baseline])
        optional = ("r score", "r gain", "seeds", "far", "near", "mean")
        main = Table(_COLUMNS, rows, " · ".join(key), notes, optional)
        warnings = survival_warnings(group, scale)
        survive = survival_table(group, comparisons.metric, comparisons.selected, scale, warnings)
        tables += [*([lead] if lead else []), main, survive]
    return [*tables[:-1], replace(tables[-1], notes=(*tables[-1].notes, *comparisons.notes))]


_SHARES = {"accuracy": "accuracy", "whole_example": "share of examples predicted exactly as their (first) label"}


def one_seed_table(pair: TwoRuns) -> Table:
    """Return one row per language, the source first and all targets last; accuracies and effects in percent."""
    rows = []
    for row in pair.rows:
        drawn, exact = row.bootstrap, row.exact
        between = (
            "" if drawn.low is None or drawn.high is None else f" [{100 * drawn.low:+.1f}, {100 * drawn.high:+.1f}]"
        )
        rows.append(
            (
                row.language or "all targets",
                "" if row.language is None else language_name(row.language),
                drawn.n,
                f"{100 * row.accuracy_baseline:.1f}",
                f"{100 * row.accuracy:.1f}",
                f"{100 * drawn.difference:+.1f}{between}",
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


def overall_effect(comparisons: Sequence[Comparison], method: str) -> float:
    """Return a method's effect on all languages, minus infinity if it has none."""
    return next((row.test.effect for row in comparisons if (row.method, row.subset) == (method, "all")), -inf)


def _row(method: str, comparisons: list[Comparison], transfers: dict[str, Transfer], scale: float) -> tuple[Any, ...]:
    by_subset = {row.subset: row for row in comparisons}
    transfer, overall = transfers[method], by_subset.get("all")
    return (
        method,
        None if transfer.mean is None else f"{scale * transfer.mean:.1f}",
        None if overall is None else effect_text(overall.test, scale),
        None if overall is None else p_text(overall.p_holm),
        *(starred(by_subset.get(subset), scale) for subset in ("near", "far")),
        None if overall is None else overall.test.n_seeds,
        _r(transfer.by_distance.r),
        _r(transfer.gain_by_distance.r) if transfer.gain_by_distance else None,
    )


def starred(comparison: Comparison | None, scale: float) -> str | None:
    """Return the effect of a comparison, starred if it is `significant` after Holm."""
    if comparison is None:
        return None
    return f"{scale * comparison.test.effect:+.1f}{'*' if significant(comparison.test, comparison.p_holm) else ''}"


def _r(value: float | None) -> str | None:
    return None if value is None else f"{value:+.2f}"


def comparison_notes(comparisons: Comparisons, group: Sequence[Comparison], baseline: Transfer) -> tuple[str, ...]:
    """Return the verdicts on the methods of one model and task, and the basis of the comparison."""
    overall = [row for row in group if row.subset == "all"]
    sure = [row for row in overall if row.p_holm is not None and row.p_holm <= 0.05]
    groups: dict[str, list[str]] = {}
    for sign, verdict in ((1, "better"), (-1, "worse")):
        for comparison in (row for row in sure if sign * row.test.effect > 0):
            condition = " only if languages of one family are independent" if comparison.test.note else ""
            groups.setdefault(f"{verdict} than `{baseline.method}`{condition}", []).append(comparison.method)
    groups[f"not shown to differ from `{baseline.method}`"] = [
        row.method for row in overall if row not in sure and row.test.p is not None
    ]
    lines = [f"{verdict}: {', '.join(names)}." for verdict, names in groups.items() if names]
    carried = [row.method for row in sure if row.carried]
    if carried:
        lines.append(
            f"of these, driven by one class, language or family (see leave-one-out effects): {', '.join(carried)}."
        )
    lines += dict.fromkeys(f"`{row.method}`: {row.test.reason}." for row in overall if row.test.reason)
    sizes = sorted({row.test.n_languages for row in overall})
    by = baseline.by_distance
    lines.append(
        f"{comparisons.metric}; {'paired by seed' if comparisons.paired else 'seeds not paired'}; {_range(sizes)}"
        f" target languages, from {comparisons.source}; Holm over {counted(len(overall), 'methods')}."
        f" Checkpoint: {comparisons.selected}."
    )
    ranked = [row.test for row in overall if row.test.p is not None]
    lines += [f"{random_factors(ranked)}."] if ranked else []
    lines += family_notes(group, 100.0 if comparisons.fractions else 1.0)
    lines += rate_notes([row.test for row in group if row.subset == "all" or row.test.note])
    lines.append(
        f"near and far: split at the median of the {comparisons.distance} distance, * p <= 0.05 after Holm, with"
        f" 4 families or more. r: Spearman correlation of the mean score, and of the gain, with that distance, over {by.n}"
        f" languages in {by.n_groups} {group_kind(by.n)}; p by permutations within {permuted_within(by.n)}"
        + (f" (`{baseline.method}`: {p_phrase(by.p)}" if by.p is not None else f" (p not given: {by.reason}")
        + (
            f"; the smallest |r| detectable with this many independent languages is {by.detectable:.2f})."
            if by.detectable
            else ")."
        )
    )
    lines += dropped_notes((f"`{row.method}`", row.dropped) for row in overall)
    of_means = sorted(set(baseline.dropped))
    if set(of_means) != {drop for row in overall for drop in row.dropped}:
        lines.append(
            f"mean and r exclude, for all methods: {shortened(of_means)}."
            if of_means
            else "mean and r include all runs and languages, also these."
        )
    return tuple(lines)


def dropped_notes(dropped_by_name: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Return a note on what was left out, and of which methods where not of all."""
    names: dict[str, None] = {}
    of: dict[str, dict[str, None]] = {}
    for name, dropped in dropped_by_name:
        names[name] = None
        for reason in dropped:
            of.setdefault(reason, {})[name] = None
    parts = []
    for reason, without in of.items():
        some = ", ".join(without) if len(without) <= _NAMES else f"{len(without)} of {len(names)}"
        parts.append(reason if len(without) == len(names) else f"{reason} from {some}")
    return [f"left out: {shortened(parts)}."] if parts else []


def _range(sizes: list[int]) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
