"""The main comparison, and the effects of each method by language."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from statistics import median

import altair as alt

from distxfer.analysis.comparison import Comparisons
from distxfer.measure import Crossed
from distxfer.reports._report._charts import (
    AXIS,
    NAME_AXIS,
    Drawn,
    Figure,
    Pick,
    Row,
    Section,
    View,
    chart,
    compare_command,
    method_choice,
    name_lines,
    number,
    rule,
    tooltip,
)
from distxfer.reports._report._facts import Facts
from distxfer.reports._wording import effect_text, p_text, random_factors, significant
from distxfer.reports.comparison import class_tables, main_table, survival_table, target_table
from distxfer.reports.tables import Table

_SUBSETS = {"all": "all targets", "near": "near targets", "far": "far targets"}
_SCALE = 100  # scores are fractions; effects are shown in percentage points
_BAR = 15  # pixels of a row


def headline(facts: Facts) -> Section:
    """Return the comparison of all methods with the baseline."""
    analysis = facts.comparisons
    if analysis is None:
        return Section(
            "comparison",
            "Comparison",
            (f"There is one method, {facts.baseline.name}: nothing to compare it with.",),
            tables=(_scores(facts),),
            open_tables=1,
            is_open=True,
        )
    title = _axis_title(facts)
    main, each = main_table(analysis), target_table(analysis)
    order = [row[0] for row in main.rows if row[0] != analysis.baseline]
    names = {method.full_name: method.name for method in facts.methods}
    rows = [
        {"m": names[name], "s": row.subset, **_effect(row.test, row.p_holm)}
        for name in order
        for row in analysis.comparisons
        if row.method == name and not any(each_of.each for each_of in analysis.comparisons)
    ]
    outliers = _outliers(rows)
    domain = _clip(rows, outliers)
    beyond = f" Off the axis, with arrows: {', '.join(outliers)}." if outliers else ""
    tables = [*([each] if each else []), main, survival_table(analysis)]
    return Section(
        "comparison",
        "Comparison",
        (
            *(_each_text(facts) if each else _overall_text(facts, analysis)),
            "Leave-one-out effects: each class, language and family is left out in turn, and the smallest and largest effects are"
            " shown. A warning names any without which an effect changes sign or loses more than half of its size.",
            *_unranked(facts, analysis),
        ),
        figures=(
            Figure(
                "effects",
                f"Effect of each method on all, near and far targets, against {facts.baseline.name}, with 95 % intervals."
                f"{beyond}",
                lambda pick: _headline_chart(
                    title, domain, max(3 * (_BAR + 2), 14 * name_lines(facts)) * len(order) + 12
                ),
                {"effects": rows},
            ),
        )
        if rows
        else (),
        tables=(*map(_without_left_out, tables), *_class_tables(analysis), _scores(facts)),
        commands=(compare_command(facts), *([compare_command(facts, "--by", "class")] if analysis.by_class else [])),
        open_tables=len(tables),
        is_open=True,
    )


def _overall_text(facts: Facts, analysis: Comparisons) -> tuple[str, ...]:
    """Return the text on effects on all, near and far targets."""
    return (
        f"The difference of each method from {facts.baseline.name}, in percentage points of test {facts.metric}, on all target"
        f" languages and on near and far ones (split at the median {facts.main_distance} distance from"
        f" {facts.source_name}). Bars are 95 % intervals. An interval that excludes 0 generalises to other seeds and similar"
        " languages, before correction for several methods; the table has p after correction (Holm).",
        "Computed from the seed × language table of differences, paired by seed, with the two-way test (seeds × languages) of"
        f" docs/statistics.md; {random_factors([row.test for row in analysis.comparisons])}."
        " Seeds are never pooled with languages; collapsed runs are counted but excluded from means.",
    )


def _each_text(facts: Facts) -> tuple[str, ...]:
    """Return the text on effects where there are too few targets to generalise from."""
    return (
        f"The difference of each method from {facts.baseline.name} on each target language, in percentage points of test"
        f" {facts.metric}. Results on fewer than 4 languages do not generalise, so each language is reported separately.",
        "Computed from the differences between runs of equal seed, with a t test over seeds for each language. Collapsed runs"
        " are counted but excluded from means.",
    )


def _class_tables(analysis: Comparisons) -> list[Table]:
    return [_without_left_out(table) for table in class_tables(analysis)] if analysis.by_class else []


def by_language(facts: Facts) -> Section | None:
    """Return the effect of each method on every language, None if there is one method."""
    analysis = facts.comparisons
    methods = [method.name for method in facts.methods if method.effects]
    if analysis is None or not methods:
        return None
    rows: list[Row] = []
    for method in facts.methods:
        for place, language in enumerate(facts.languages):
            part = method.effects.get(language.key)
            if part is not None:
                far = language.far.get(facts.main_distance)
                label = language.name if far is None else f"{language.name} ({far:.2f})"
                rows.append(
                    {"m": method.name, "l": label, "o": place, "kind": "language", **_effect(part.test, part.p_holm)}
                )
        rows += [
            {
                "m": method.name,
                "l": _SUBSETS[row.subset],
                "o": 1000 + place,
                "kind": "summary",
                **_effect(row.test, row.p_holm),
            }
            for place, subset in enumerate(("near", "far", "all"))
            for row in analysis.comparisons
            if (row.method, row.subset) == (method.full_name, subset)
        ]
    title = _axis_title(facts)
    height = _BAR * (len(facts.languages) + 3) + 20
    return Section(
        "languages",
        "Effect on every language",
        (
            f"The difference from {facts.baseline.name} on each target, from the nearest (top) to the farthest by"
            f" {facts.main_distance} distance (in brackets), then on near, far and all targets (diamonds).",
            "The interval of a language is over seeds and holds for that language alone; diamonds treat languages as random too."
            " Filled marks: p ≤ 0.05 after Holm over the languages of a method (diamonds: over methods). Tests with fewer than 4"
            " families are never filled.",
        ),
        figures=(
            Figure(
                "effects-by-language",
                f"Effect of a method on each language against {facts.baseline.name}, with 95 % intervals.",
                lambda pick: _forest_chart(pick, title, height),
                {"parts": rows},
                choices=(method_choice(facts),),
                views=(View(title_of="method"),),
                panels="method",
                shares_axes=True,
                apart=_outliers(rows),
            ),
        ),
        tables=(_parts(facts),),
        commands=(compare_command(facts, "--by", "language"),),
        is_open=True,
    )


def _outliers(rows: list[Row]) -> tuple[str, ...]:
    """Return the methods whose effects reach more than 3 times as far from 0 as those of the median method.

    They would squeeze all others on one axis. With fewer than 3 methods there are none.
    """
    reach: dict[str, float] = {}
    for row in rows:
        ends = [abs(row[name]) for name in ("e", "lo", "hi") if row[name] is not None]
        reach[row["m"]] = max(reach.get(row["m"], 0.0), *ends)
    limit = 3 * median(reach.values()) if len(reach) > 2 else inf
    return tuple(method for method, far in reach.items() if far > limit)


def _clip(rows: list[Row], outliers: tuple[str, ...]) -> tuple[float, float] | None:
    """Return the range of the axis without the outliers, whose rows get a side `out` and a `text`; None without outliers."""
    if not outliers:
        return None
    for row in rows:
        if row["m"] in outliers:
            interval = "" if row["lo"] is None else f" [{row['lo']:+.1f}, {row['hi']:+.1f}]"
            text = f"{row['e']:+.1f}{interval}".replace("-", "−")
            row |= {"out": "low", "text": f"← {text}"} if row["e"] < 0 else {"out": "high", "text": f"{text} →"}
    inside = [row[name] for row in rows if "out" not in row for name in ("e", "lo", "hi") if row[name] is not None]
    return min(inside), max(inside)


def _headline_chart(title: str, domain: tuple[float, float] | None, height: int) -> Drawn:
    order = list(_SUBSETS)
    legend = alt.Legend(title="targets:", titleOrient="left")
    base = chart("effects").encode(
        y=alt.Y("m:N", title=None, sort=None, axis=NAME_AXIS),
        yOffset=alt.YOffset("s:N", sort=order, scale=alt.Scale(paddingInner=0.2)),
    )
    colour = alt.Color(
        "s:N", scale=alt.Scale(domain=order, range=["var(--ink)", "var(--accent)", "var(--warm)"]), legend=legend
    )
    shape = alt.Shape("s:N", scale=alt.Scale(domain=order, range=["diamond", "circle", "triangle-up"]), legend=legend)
    shown = tooltip(
        ("m", "method"), ("s", "on"), ("e", "effect", "+.1f"), ("lo", "low", "+.1f"), ("hi", "high", "+.1f"),
        ("p", "p (Holm)", ".3f"), ("n", "seeds"),
    )  # fmt: skip
    scale = alt.Scale(domain=domain) if domain else alt.Undefined
    inside = base.transform_filter("!datum.out")
    bars = inside.transform_filter("isValid(datum.lo)").mark_rule(strokeWidth=2, aria=False)
    points = inside.mark_point(size=70, filled=True, opacity=1)
    x = alt.X("e:Q", title=title, axis=AXIS, scale=scale)
    low, high = (base.transform_filter(f"datum.out === '{side}'") for side in ("low", "high"))
    arrows = [
        low.mark_text(align="left", fontSize=11, x=4).encode(text="text:N", color=colour, tooltip=shown),
        high.mark_text(align="right", fontSize=11, x="width").encode(text="text:N", color=colour, tooltip=shown),
    ]
    return alt.layer(
        rule(0),
        bars.encode(x=alt.X("lo:Q", title=title, axis=AXIS, scale=scale), x2="hi:Q", color=colour, tooltip=shown),
        points.encode(x=x, color=colour, shape=shape, tooltip=shown),
        *(arrows if domain else []),
    ).properties(height=height)


def _forest_chart(pick: Pick, title: str, height: int) -> Drawn:
    base = (
        chart("parts")
        .transform_filter(f"datum.m === {pick['method']}")
        .encode(y=alt.Y("l:N", title=None, sort=alt.EncodingSortField("o", op="min"), axis=NAME_AXIS))
    )
    summary = "datum.kind === 'summary'"
    colour = alt.condition(summary, alt.value("var(--ink)"), alt.value("var(--accent)"))
    shown = tooltip(
        ("l", "language"), ("e", "effect", "+.1f"), ("lo", "low", "+.1f"), ("hi", "high", "+.1f"),
        ("p", "p (Holm)", ".3f"), ("n", "seeds"),
    )  # fmt: skip
    x = alt.X("e:Q", title=title, axis=AXIS)
    shape = alt.condition(summary, alt.value("diamond"), alt.value("circle"))
    return alt.layer(
        rule(0),
        base.transform_filter("isValid(datum.lo)")
        .mark_rule(strokeWidth=2, aria=False)
        .encode(x=alt.X("lo:Q", title=title, axis=AXIS), x2="hi:Q", color=colour, tooltip=shown),
        base.mark_point(size=70, strokeWidth=2, opacity=1, fill="var(--paper)").encode(
            x=x, stroke=colour, shape=shape, tooltip=shown
        ),
        base.transform_filter("datum.sure")
        .mark_point(size=70, filled=True, opacity=1, aria=False)
        .encode(x=x, color=colour, shape=shape, tooltip=shown),
    ).properties(height=height)


def _effect(test: Crossed, p: float | None) -> Row:
    scaled = {name: None if value is None else _SCALE * value for name, value in
              (("e", test.effect), ("lo", test.low), ("hi", test.high))}  # fmt: skip
    return {**{name: number(value) for name, value in scaled.items()}, "p": number(p), "sure": significant(test, p),
            "n": test.n_seeds}  # fmt: skip


def _axis_title(facts: Facts) -> str:
    return f"difference in test {facts.metric}, points"


def _without_left_out(table: Table) -> Table:
    """Return the table without its list of what was left out, which stands at the top of the page."""
    notes = [note for note in table.notes if not note.endswith(" left out:") and not note.startswith("- ")]
    return replace(table, notes=tuple(notes))


def _unranked(facts: Facts, analysis: Comparisons) -> list[str]:
    """Return one line for each reason that methods are not ranked."""
    names = {method.full_name: method.name for method in facts.methods}
    by_reason: dict[str, list[str]] = {}
    for comparison in analysis.comparisons:
        if comparison.subset == "all" and comparison.test.reason:
            by_reason.setdefault(comparison.test.reason, []).append(names[comparison.method])
    return [
        f"{'; '.join(methods)}: {reason}. Effects are shown without intervals." for reason, methods in by_reason.items()
    ]


def _scores(facts: Facts) -> Table:
    """Return the mean score of every method in every language, in percent."""
    columns = ("method", "seeds", facts.source, *(language.key for language in facts.languages))
    rows = [
        (
            method.name,
            len(method.sound),
            *(
                None if (value := method.score(code)) is None else f"{_SCALE * value:.1f}"
                for code in (facts.source, *(language.key for language in facts.languages))
            ),
        )
        for method in facts.methods
    ]
    return Table(
        columns,
        rows,
        title=f"Test {facts.metric} by language, percent",
        notes=(
            f"Means over seeds without collapsed runs; targets by {facts.main_distance} distance, nearest first."
            f" Checkpoint: {facts.selection}.",
        ),
    )


def _parts(facts: Facts) -> Table:
    """Return the effect of every method on every language."""
    rows = [
        (
            method.name,
            language.key,
            language.name,
            language.far.get(facts.main_distance),
            f"{_SCALE * part.mean_baseline:.1f}",
            f"{_SCALE * part.mean:.1f}",
            effect_text(part.test, _SCALE),
            p_text(part.p_holm),
            part.test.n_seeds,
        )
        for method in facts.methods
        for language in facts.languages
        if (part := method.effects.get(language.key)) is not None
    ]
    return Table(
        (
            "method",
            "language",
            "name",
            facts.main_distance,
            facts.baseline.name,
            "method's",
            "effect [95 %]",
            "p (Holm)",
            "seeds",
        ),
        rows,
        title="Effects by language",
        notes=(
            "Interval and p are over seeds and do not generalise to other languages. Holm over the languages of a method.",
        ),
    )
