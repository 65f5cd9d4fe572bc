"""What the methods do: the verdict in words, the main comparison, and the effects by language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from distxfer.analysis.comparison import Comparison, Comparisons, Part
from distxfer.analysis.significance import effect_text
from distxfer.languages import language_name
from distxfer.reports._wording import p_text, random_factors, significant
from distxfer.reports.comparison import class_tables, main_table, survival_table, target_table
from distxfer.reports.page.charts import (
    AXIS,
    NAME_AXIS,
    chart,
    compare_command,
    decimal,
    method_choice,
    method_title,
    name_lines,
    rule,
    styled,
    tooltip,
)
from distxfer.reports.page.facts import Facts, records, targets
from distxfer.reports.page.figures import Drawn, Figure, Pick, Section
from distxfer.reports.run import cut_notes, cut_shares
from distxfer.reports.tables import Table

_SUBSETS = {"all": "all targets", "near": "near targets", "far": "far targets"}
_SCALE = 100  # scores are fractions; effects are shown in percentage points
_BAR = 15  # pixels of a row
_NAMED = 4  # a title names at most so many methods
_SHOWN = 8  # the finding on methods that are not shown to differ names at most so many
_TOOLTIP = {"effect": "effect, +.1f", "low": "low, +.1f", "high": "high, +.1f", "p": "p (Holm), .3f", "seeds": "seeds"}


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict; `kind`, `better`, `worse`, `open` or `caution`, says how the page marks it."""

    kind: str
    text: str


def title_of(facts: Facts) -> str:
    """Return what was compared: the methods, the baseline and the task."""
    *names, last = [method.name for method in facts.methods[1:]] or [""]
    if not last:
        return f"{facts.baseline.name} on {facts.task}"
    methods = f"{', '.join(names)} and {last}" if names else last
    if len(names) >= _NAMED:
        methods = f"{len(names) + 1} methods"
    return f"{methods} against {facts.baseline.name} on {facts.task}"


def verdict_of(facts: Facts) -> list[Finding]:
    """Return which methods are better or worse than the baseline, which are not shown to differ, and cautions.

    A difference counts if p <= 0.05 after Holm. With fewer than 4 targets, each language is judged separately.
    """
    analysis, baseline = facts.comparisons, f"`{facts.baseline.name}`"
    if analysis is None:
        return [Finding("open", f"{baseline} is the only method, so there is nothing to compare it with.")]
    overall = [row for row in analysis.comparisons if row.subset == "all"]
    each = [part for row in overall for part in row.each]
    tests: list[Comparison | Part] = sorted(each or overall, key=lambda row: -row.test.effect)
    sure = [row for row in tests if row.p_holm is not None and row.p_holm <= 0.05]
    of = f"of {len(tests)} {'effects on single languages' if each else 'methods'}"
    findings = []
    for kind, word in (("better", "Better"), ("worse", "Worse")):
        for condition in ("", ", if languages of one family are independent"):
            rows = [
                row
                for row in sure
                if (row.test.effect > 0) == (kind == "better") and bool(row.test.note) == bool(condition)
            ]
            if rows:
                shown = _effect_list(facts, rows if kind == "better" else rows[::-1])
                findings.append(Finding(kind, f"{word} than {baseline}{condition} ({len(rows)} {of}): {shown}."))
    unsure = [row for row in tests if row not in sure]
    if unsure:
        shown = ", ".join(
            [
                _effect_list(facts, unsure[:_SHOWN]),
                *([f"and {len(unsure) - _SHOWN} more"] if len(unsure) > _SHOWN else []),
            ]
        )
        before = sum(max(row.test.low or 0, -(row.test.high or 0)) > 0 for row in unsure)
        corrected = (
            f" Before correction for {len(tests)} tests, {before} of these intervals exclude 0." if before else ""
        )
        text = f"Not shown to differ from {baseline} ({len(unsure)} {of}): {shown}.{corrected}"
        findings.append(Finding("open", text))
    driven = [f"`{facts.names[row.method]}`" for row in overall if row in sure and row.carried]
    if driven:
        text = "Without one class, language or family these effects change sign or lose more than half of their size"
        findings.append(Finding("caution", f"{text}: {', '.join(driven)}."))
    collapsed = [f"`{method.name}` ({len(method.collapsed)})" for method in facts.methods if method.collapsed]
    if collapsed:
        findings.append(Finding("caution", f"Collapsed runs, excluded from means and tests: {', '.join(collapsed)}."))
    return findings


def _effect_list(facts: Facts, rows: Sequence[Comparison | Part]) -> str:
    """Return the methods with their effects in points, and the language of a test on a single one."""
    return ", ".join(
        f"`{facts.names[row.method]}`{f' in {language_name(row.part)}' if isinstance(row, Part) else ''}"
        f" {_SCALE * row.test.effect:+.1f}"
        for row in rows
    )


def comparison(facts: Facts) -> Section:
    """Return the comparison of all methods with the baseline."""
    analysis = facts.comparisons
    if analysis is None:
        return Section(
            "comparison",
            "Comparison",
            [f"There is one method, {facts.baseline.name}: nothing to compare it with."],
            tables=[_score_table(facts)],
            open_tables=1,
            is_open=True,
        )
    main, each = main_table(analysis), target_table(analysis)
    tables = [*([each] if each else []), main, survival_table(analysis)]
    return Section(
        "comparison",
        "Comparison",
        [
            *(_each_text(facts) if each else _overall_text(facts, analysis)),
            "Leave-one-out effects: each class, language and family is left out in turn, and the smallest and largest effects are"
            " shown. A warning names any without which an effect changes sign or loses more than half of its size.",
            *_unranked(facts, analysis),
        ],
        figures=[] if each else [_effects_figure(facts, [str(row[0]) for row in main.rows[1:]])],
        tables=[
            *map(_without_left_out, [*tables, *(class_tables(analysis) if analysis.by_class else [])]),
            _score_table(facts),
        ],
        commands=[compare_command(facts), *([compare_command(facts, "--by", "class")] if analysis.by_class else [])],
        open_tables=len(tables),
        is_open=True,
    )


def _overall_text(facts: Facts, analysis: Comparisons) -> list[str]:
    """Return the text on effects on all, near and far targets."""
    return [
        f"The difference of each method from {facts.baseline.name}, in percentage points of test {facts.metric}, on all target"
        f" languages and on near and far ones (split at the median {facts.main_distance} distance from"
        f" {facts.source_name}). Bars are 95 % intervals. An interval that excludes 0 generalises to other seeds and similar"
        " languages, before correction for several methods; the table has p after correction (Holm).",
        "Computed from the seed × language table of differences, paired by seed, with the two-way test (seeds × languages) of"
        f" docs/statistics.md; {random_factors([row.test for row in analysis.comparisons])}."
        " Seeds are never pooled with languages; collapsed runs are counted but excluded from means.",
    ]


def _each_text(facts: Facts) -> list[str]:
    """Return the text on effects where there are too few targets to generalise from."""
    return [
        f"The difference of each method from {facts.baseline.name} on each target language, in percentage points of test"
        f" {facts.metric}. Results on fewer than 4 languages do not generalise, so each language is reported separately.",
        "Computed from the differences between runs of equal seed, with a t test over seeds for each language. Collapsed runs"
        " are counted but excluded from means.",
    ]


def _effects_figure(facts: Facts, order: Sequence[str]) -> Figure:
    """Return the effects on all, near and far targets; methods that would stretch the axis are off it, with arrows."""
    assert facts.comparisons is not None
    comparisons = sorted(facts.comparisons.comparisons, key=lambda row: order.index(row.method))
    rows = _effect_rows(facts, comparisons)
    outliers = _outliers(rows)
    away = rows["method"].isin(outliers)
    ends = rows.loc[~away, ["effect", "low", "high"]]
    domain = [ends.min().min(), ends.max().max()] if outliers else None
    rows["out"] = np.where(~away, "", np.where(rows["effect"] < 0, "low", "high"))
    rows["text"] = [effect_text(row.test, _SCALE).replace("-", "−") for row in comparisons]
    height = max(3 * (_BAR + 2), 14 * name_lines(facts)) * len(order) + 12
    beyond = f" Off the axis, with arrows: {', '.join(outliers)}." if outliers else ""
    return Figure(
        "effects",
        f"Effect of each method on all, near and far targets, against {facts.baseline.name}, with 95 % intervals.{beyond}",
        lambda pick: _effects_chart(_axis_title(facts), domain, height),
        {"effects": rows},
    )


def by_language(facts: Facts) -> Section | None:
    """Return the effect of each method on every language, None if there is one method."""
    analysis, labels = facts.comparisons, facts.labels
    if analysis is None or not analysis.by_language:
        return None
    order = {code: place for place, code in enumerate((*labels, "near", "far", "all"))}
    parts = [part for part in analysis.by_language if part.part in labels]
    rows = _effect_rows(facts, [*parts, *analysis.comparisons])
    rows = rows.assign(kind=np.where(rows["on"].isin(_SUBSETS), "summary", "language"), order=rows["on"].map(order))
    rows["language"] = rows["on"].map(labels | _SUBSETS)
    height = _BAR * (len(labels) + 3) + 20
    return Section(
        "languages",
        "Effect on every language",
        [
            f"The difference from {facts.baseline.name} on each target, from the nearest (top) to the farthest by"
            f" {facts.main_distance} distance (in brackets), then on near, far and all targets (diamonds).",
            "The interval of a language is over seeds and holds for that language alone; diamonds treat languages as random too."
            " Filled marks: p ≤ 0.05 after Holm over the languages of a method (diamonds: over methods). Tests with fewer than 4"
            " families are never filled.",
        ],
        figures=[
            Figure(
                "effects-by-language",
                f"Effect of a method on each language against {facts.baseline.name}, with 95 % intervals.",
                lambda pick: _forest_chart(pick, _axis_title(facts), height),
                {"parts": rows.drop(columns="on")},
                choices=(method_choice(facts),),
                panels="method",
                apart=_outliers(rows),
            )
        ],
        tables=[language_table(facts)],
        commands=[compare_command(facts, "--by", "language")],
        is_open=True,
    )


def _effect_rows(facts: Facts, tests: Sequence[Comparison | Part]) -> pd.DataFrame:
    """Return the tests as rows: `method`, `on` (a language or a subset), effect and interval in points, `p`, `sure`, `seeds`."""
    rows = [
        {
            "method": facts.names[row.method],
            "on": row.part if isinstance(row, Part) else row.subset,
            "effect": row.test.effect, "low": row.test.low, "high": row.test.high, "p": row.p_holm,
            "sure": significant(row.test, row.p_holm), "seeds": row.test.n_seeds,
        }
        for row in tests
    ]  # fmt: skip
    table = pd.DataFrame(rows).astype({"effect": float, "low": float, "high": float, "p": float})
    table[["effect", "low", "high"]] *= _SCALE
    return table


def _outliers(rows: pd.DataFrame) -> list[str]:
    """Return the methods whose effects reach more than 3 times as far from 0 as those of the median method.

    They would squeeze all others on one axis. With fewer than 3 methods there are none.
    """
    reach = rows.set_index("method")[["effect", "low", "high"]].abs().max(axis=1).groupby("method", sort=False).max()
    return list(reach.index[reach > 3 * reach.median()]) if len(reach) > 2 else []


def _effects_chart(title: str, domain: Sequence[float] | None, height: int) -> Drawn:
    order = list(_SUBSETS)
    legend = alt.Legend(title="targets:", titleOrient="left")
    style = styled(
        "on", order, ["var(--ink)", "var(--accent)", "var(--warm)"], ["diamond", "circle", "triangle-up"], legend
    )
    base = chart("effects").encode(
        y=alt.Y("method:N", title=None, sort=None, axis=NAME_AXIS),
        yOffset=alt.YOffset("on:N", sort=order, scale=alt.Scale(paddingInner=0.2)),
        color=style["color"],
        tooltip=tooltip(method="method", on="on", **_TOOLTIP),
    )
    inside = base.transform_filter("!datum.out")
    x: dict[str, Any] = {
        "title": title,
        "axis": AXIS,
        "scale": alt.Scale(domain=list(domain)) if domain else alt.Undefined,
    }
    low, high = (base.transform_filter(f"datum.out === '{side}'") for side in ("low", "high"))
    arrows = [
        low.mark_text(align="left", fontSize=11, x=4).transform_calculate(shown="'← ' + datum.text").encode(text="shown:N"),
        high.mark_text(align="right", fontSize=11, x="width").transform_calculate(shown="datum.text + ' →'")
        .encode(text="shown:N"),
    ]  # fmt: skip
    return alt.layer(
        rule(0),
        inside.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2, aria=False)
        .encode(x=alt.X("low:Q", **x), x2="high:Q"),
        inside.mark_point(size=70, filled=True, opacity=1).encode(x=alt.X("effect:Q", **x), shape=style["shape"]),
        *(arrows if domain else []),
    ).properties(height=height)


def _forest_chart(pick: Pick, title: str, height: int) -> Drawn:
    summary = "datum.kind === 'summary'"
    colour = alt.condition(summary, alt.value("var(--ink)"), alt.value("var(--accent)"))
    shape = alt.condition(summary, alt.value("diamond"), alt.value("circle"))
    base = (
        chart("parts")
        .transform_filter(f"datum.method === {pick['method']}")
        .encode(
            y=alt.Y("language:N", title=None, sort=alt.EncodingSortField("order", op="min"), axis=NAME_AXIS),
            tooltip=tooltip(language="language", **_TOOLTIP),
        )
    )
    x = alt.X("effect:Q", title=title, axis=AXIS)
    return alt.layer(
        rule(0),
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2, aria=False)
        .encode(x=alt.X("low:Q", title=title, axis=AXIS), x2="high:Q", color=colour),
        base.mark_point(size=70, strokeWidth=2, opacity=1, fill="var(--paper)").encode(x=x, stroke=colour, shape=shape),
        base.transform_filter("datum.sure")
        .mark_point(size=70, filled=True, opacity=1, aria=False)
        .encode(x=x, color=colour, shape=shape),
    ).properties(height=height, title=method_title(pick))


def _axis_title(facts: Facts) -> str:
    return f"difference in test {facts.metric}, points"


def _without_left_out(table: Table) -> Table:
    """Return the table without its list of what was left out, which stands at the top of the page."""
    notes = [note for note in table.notes if not note.endswith(" left out:") and not note.startswith("- ")]
    return replace(table, notes=tuple(notes))


def _unranked(facts: Facts, analysis: Comparisons) -> list[str]:
    """Return one line for each reason that methods are not ranked."""
    by_reason: dict[str, list[str]] = {}
    for row in analysis.comparisons:
        if row.subset == "all" and row.test.reason:
            by_reason.setdefault(row.test.reason, []).append(facts.names[row.method])
    return [
        f"{'; '.join(methods)}: {reason}. Effects are shown without intervals." for reason, methods in by_reason.items()
    ]


def _score_table(facts: Facts) -> Table:
    """Return the mean score of every method in every language, in percent."""
    codes = [facts.source, *facts.languages.index]
    means = _SCALE * facts.scores.reindex(columns=codes).groupby("method").mean()
    means = means.reindex([method.name for method in facts.methods])
    rows = [
        (method.name, len(method.sound), *map(decimal, row))
        for method, row in zip(facts.methods, means.itertuples(index=False), strict=True)
    ]
    notes = (
        f"Means over seeds without collapsed runs; targets by {facts.main_distance} distance, nearest first."
        f" Checkpoint: {facts.selection}.",
    )
    return Table(("method", "seeds", *codes), rows, f"Test {facts.metric} by language, percent", notes)


def language_table(facts: Facts) -> Table:
    """Return one row per method and target: its score, transfer and effect."""
    cut = {method.name: cut_shares(method.sound[0]) for method in facts.methods if method.sound}
    parts = facts.comparisons.by_language if facts.comparisons else ()
    tests = {(facts.names[part.method], part.part): part for part in parts}
    rows: list[tuple[Any, ...]] = []
    for row in records(targets(facts, facts.scores).fillna({"seeds": 0})):
        part = tests.get((row["method"], row["code"]))
        rows.append(
            (
                *(row[name] for name in ("method", "code", "name")),
                row["group"] or None,
                row[facts.main_distance],
                *(decimal(row[name]) for name in ("score", "transfer")),
                effect_text(part.test, _SCALE) if part else None,
                p_text(part.p_holm) if part else None,
                int(row["seeds"]),
                *([cut.get(row["method"], {}).get(row["code"], "")] if any(cut.values()) else []),
            )
        )
    notes = dict.fromkeys(note for method in facts.methods if method.sound for note in cut_notes(method.sound[0]))
    columns = (
        "method", "language", "name", "group", facts.main_distance, f"{facts.metric} (%)", "relative transfer (%)",
        f"effect against {facts.baseline.name} [95 %]", "p (Holm)", "seeds", *(["cut off"] if any(cut.values()) else []),
    )  # fmt: skip
    note = (
        "Interval and p are over seeds and do not generalise to other languages. Holm over the languages of a method."
    )
    return Table(columns, rows, title="Languages", notes=(note, *notes))
