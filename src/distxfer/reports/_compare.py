"""Comparisons as tables: one per model and task, the methods from the best effect to the worst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING, Any

from distxfer.analysis.survival_warnings import survival_warnings
from distxfer.errors import shortened
from distxfer.languages import group_kind, language_name, permuted_within
from distxfer.reports._randomness import family_notes, random_factors, rate_notes, significant
from distxfer.reports._survival import each_target_table, effect_text, p_text, survival_table
from distxfer.reports._tables import Table, p_phrase

if TYPE_CHECKING:  # it brings scipy
    from distxfer.analysis.compare import Comparison, Comparisons, Transfer
    from distxfer.analysis.one_seed import TwoRuns

_NAMES = 3  # what they are left out of, by name
_COLUMNS = ("method", "mean", "effect on all [95 %]", "p (Holm)", "near", "far", "seeds", "r score", "r gain")


def comparison_tables(found: Comparisons) -> list[Table]:
    """Return two tables per model and task; scores and effects in percent where the scores are fractions.

    The comparison, and what its effects survive; before them the effects on each language, where those are fewer than 4.
    """
    scale = 100.0 if found.fractions else 1.0
    tables = []
    for key, group in groupby(found.comparisons, key=lambda one: (one.model, one.task)):
        here = list(group)
        transfers = {one.method: one for one in found.transfers if (one.model, one.task) == key}
        baseline = here[0].baseline
        methods = sorted({one.method for one in here}, key=lambda name: -overall_effect(here, name))
        rows = [_row(baseline, [], transfers, scale)]
        rows += [_row(name, [one for one in here if one.method == name], transfers, scale) for name in methods]
        lead = each_target_table(here, baseline, scale)
        main = Table(_COLUMNS, rows, title=" · ".join(key), notes=comparison_notes(found, here, transfers[baseline]))
        survive = survival_table(here, found.metric, found.selection, scale, survival_warnings(here, scale))
        tables += [*([lead] if lead else []), main, survive]
    return [*tables[:-1], replace(tables[-1], notes=(*tables[-1].notes, *found.notes))]


_SHARES = {"accuracy": "accuracy", "whole_example": "share of examples predicted exactly as their (first) label"}


def one_seed_table(found: TwoRuns) -> Table:
    """Return one row per language, the source first and all targets last; shares and effects in percent."""
    rows = []
    for one in found.rows:
        drawn, exact = one.bootstrap, one.exact
        between = (
            "" if drawn.low is None or drawn.high is None else f" [{100 * drawn.low:+.1f}, {100 * drawn.high:+.1f}]"
        )
        rows.append(
            (
                one.language or "all targets",
                "" if one.language is None else language_name(one.language),
                drawn.n,
                f"{100 * one.accuracy_baseline:.1f}",
                f"{100 * one.accuracy:.1f}",
                f"{100 * drawn.difference:+.1f}{between}",
                None if exact is None else f"{exact.only_a} / {exact.only_b}",
                p_text(drawn.p if exact is None else exact.p),
                p_text(one.p_holm),
            )
        )
    whole = found.rows[-1].bootstrap
    return Table(
        ("language", "name", "n", "first", "second", "effect [95 %]", "only 2nd / 1st right", "p", "p (Holm)"),
        rows,
        title=f"first: {found.baseline}, second: {found.method}",
        notes=(
            *found.warnings,
            "ONE seed: p and interval say what other test sentences would, of these two trained models. They say nothing about"
            " other seeds of either method; for that, compare at least 3 seeds of each.",
            f"{_SHARES[found.metric]}; languages: exact McNemar, Holm over {len(found.rows) - 2} targets, interval by paired"
            f" bootstrap; all targets: bootstrap of {whole.n_blocks} whole items. Checkpoint: {found.selection}.",
            f"seeds: {found.seeds[0]} and {found.seeds[1]}.",
            *found.corpora,
            *(
                f"COLLAPSED: `{run}` is within noise of the majority class: this compares nothing."
                for run in found.collapsed
            ),
            *([whole.reason] if whole.reason else []),
        ),
    )


def overall_effect(comparisons: Sequence[Comparison], method: str) -> float:
    """Return a method's effect on all languages, minus infinity where there is none."""
    return next((one.test.effect for one in comparisons if (one.method, one.subset) == (method, "all")), -inf)


def _row(method: str, comparisons: list[Comparison], transfers: dict[str, Transfer], scale: float) -> tuple[Any, ...]:
    own = {one.subset: one for one in comparisons}
    transfer, overall = transfers[method], own.get("all")
    return (
        method,
        None if transfer.mean is None else f"{scale * transfer.mean:.1f}",
        None if overall is None else effect_text(overall.test, scale),
        None if overall is None else p_text(overall.p_holm),
        *(starred(own.get(subset), scale) for subset in ("near", "far")),
        None if overall is None else overall.test.n_seeds,
        _r(transfer.by_distance.r),
        _r(transfer.gain_by_distance.r) if transfer.gain_by_distance else None,
    )


def starred(one: Comparison | None, scale: float) -> str | None:
    """Return the effect of a comparison, with a star where p <= 0.05 after Holm, if families are enough (`significant`)."""
    if one is None:
        return None
    return f"{scale * one.test.effect:+.1f}{'*' if significant(one.test, one.p_holm) else ''}"


def _r(value: float | None) -> str | None:
    return None if value is None else f"{value:+.2f}"


def comparison_notes(found: Comparisons, here: Sequence[Comparison], baseline: Transfer) -> tuple[str, ...]:
    """Return what the comparisons of one model and task say in words, and what they rest on."""
    overall = [one for one in here if one.subset == "all"]
    sure = [one for one in overall if one.p_holm is not None and one.p_holm <= 0.05]
    groups: dict[str, list[str]] = {}
    for sign, verdict in ((1, "better"), (-1, "worse")):
        for comparison in (comparison for comparison in sure if sign * comparison.test.effect > 0):
            condition = " only if languages of one family are independent" if comparison.test.note else ""
            groups.setdefault(f"{verdict} than `{baseline.method}`{condition}", []).append(comparison.method)
    groups[f"not shown to differ from `{baseline.method}`"] = [
        one.method for one in overall if one not in sure and one.test.p is not None
    ]
    lines = [f"{what}: {', '.join(names)}." for what, names in groups.items() if names]
    carried = [comparison.method for comparison in sure if comparison.survives.carried]
    if carried:
        lines.append(
            f"of these, carried by one class, language or family (see what the effects survive): {', '.join(carried)}."
        )
    lines += dict.fromkeys(f"`{one.method}`: {one.test.reason}." for one in overall if one.test.reason)
    sizes = sorted({one.test.n_languages for one in overall})
    by = baseline.by_distance
    lines.append(
        f"{found.metric}; {'paired by seed' if found.paired else 'seeds not paired'}; {_range(sizes)} target languages, from"
        f" {found.source}; Holm over {counted(len(overall), 'method')}. Checkpoint: {found.selection}."
    )
    ranked = [one.test for one in overall if one.test.p is not None]
    lines += [f"{random_factors(ranked)}."] if ranked else []
    lines += family_notes(here, 100.0 if found.fractions else 1.0)
    lines += rate_notes([one.test for one in here if one.subset == "all" or one.test.note])
    lines.append(
        f"near and far: split at the median of the {found.distance} distance, * p <= 0.05 after Holm, with 4 families or more."
        f" r: Spearman correlation of the mean score, and of the gain, with that distance, over {by.n} languages in"
        f" {by.n_groups} {group_kind(by.n)}; p by permutations within {permuted_within(by.n)}"
        + (f" (`{baseline.method}`: {p_phrase(by.p)}" if by.p is not None else f" (p not given: {by.reason}")
        + (
            f"; the smallest |r| that so many independent languages show is {by.detectable:.2f})."
            if by.detectable
            else ")."
        )
    )
    lines += dropped_notes((f"`{one.method}`", one.dropped) for one in overall)
    of_means = sorted(set(baseline.dropped))
    if set(of_means) != {drop for one in overall for drop in one.dropped}:
        lines.append(
            f"mean and r leave out, for all methods alike: {shortened(of_means)}."
            if of_means
            else "mean and r are over all runs and languages, these too."
        )
    return tuple(lines)


def dropped_notes(found: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Return a note on what was left out, of what: each with its name, which is not said of what is left out of all."""
    names: dict[str, None] = {}
    of: dict[str, dict[str, None]] = {}
    for name, dropped in found:
        names[name] = None
        for one in dropped:
            of.setdefault(one, {})[name] = None
    left = []
    for one, without in of.items():
        some = ", ".join(without) if len(without) <= _NAMES else f"{len(without)} of {len(names)}"
        left.append(one if len(without) == len(names) else f"{one} from {some}")
    return [f"left out: {shortened(left)}."] if left else []


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 method`, `2 methods`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _range(sizes: list[int]) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
