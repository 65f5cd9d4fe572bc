"""Transfer and drift against distance: points per language, fitted lines, and correlations with family-aware tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from distxfer.languages import group_kind
from distxfer.reports.page.charts import (
    AXIS,
    GRID,
    LAYER_AXIS,
    chart,
    compare_command,
    distance_choice,
    lookup,
    measure_command,
    method_choice,
    method_title,
    of_pair,
    pair_dash,
    pair_encoding,
    rule,
    styled,
    titled,
    tooltip,
)
from distxfer.reports.page.effects import language_table
from distxfer.reports.page.facts import Facts, records, targets
from distxfer.reports.page.figures import Choice, Drawn, Figure, Pick, Section
from distxfer.reports.page.labels import CORNERS, placed
from distxfer.reports.page.relations import by_distance, drift_relations, permutations, without_gaps
from distxfer.reports.tables import Table, p_phrase


def transfer(facts: Facts) -> Section:
    """Return transfer to each language against each distance."""
    measures = {"transfer": "relative transfer, %", "score": f"test {facts.metric}, %"}
    if facts.comparisons:
        measures["gain"] = f"gain over {facts.baseline.name}, points"
    scores, left_out = without_gaps(facts)
    related = by_distance(facts, scores, list(measures))
    detectable = related.loc[related["detectable"].notna()].nlargest(1, "detectable")
    return Section(
        "transfer",
        "Transfer against distance",
        [
            "Each point is a target language, mean over seeds; hover or tap for its name. Relative transfer is (target − source)"
            " / source. The line is the least-squares fit over languages, and the band the 95 % interval of its mean.",
            f"ρ is Spearman's correlation over languages, its p from permutations within {permutations(related)}, after Holm"
            f" over the {len(facts.distances)} distances. The band treats languages as independent; p accounts for families."
            f" Distances are from {facts.source_name}"
            f"{', gaps in the features filled by prediction' if facts.imputed else ''}.",
            f"Lines and ρ use what all methods have, as in `compare`; they exclude: {', '.join(left_out)}."
            if left_out
            else "",
            *(
                f"With {row['n']} independent languages the smallest |ρ| detectable with 80 % power is {row['detectable']:.2f};"
                " related languages raise it. A smaller ρ that is not significant is inconclusive."
                for row in records(detectable)
            ),
        ],
        figures=[
            _scatter(
                facts,
                "transfer-by-distance",
                f"Scatter of transfer against distance from {facts.source_name}, a point per language, with fitted lines.",
                measures,
                distance_choice(facts),
                related,
            )
        ],
        tables=[_fit_table(related, measures), *([] if facts.comparisons else [language_table(facts)])],
        commands=[
            compare_command(facts, "--by", "distance"),
            f"distxfer language CODE task.source={facts.source} --json  # the distances of one language",
        ],
        is_open=True,
    )


def drift_against(facts: Facts) -> Section | None:
    """Return the correlation of drift with distance and transfer at each layer, None if nothing was measured."""
    related = drift_relations(facts)
    if related["r"].isna().all():
        return None
    against = {**{name: f"{name} distance" for name in facts.distances}, "transfer": "relative transfer, %"}
    lines = related[(related["layer"] > 0) & related["r"].notna()]
    return Section(
        "drift-against",
        "Drift against distance and transfer",
        [
            "First, Spearman's correlation over target languages between drift and each distance, and between drift and relative"
            " transfer, at every layer (the analysis of Philippy et al. 2023). Positive with distance: distant languages move"
            " more. Negative with transfer: languages that move more transfer worse. Then the points: the mean of the layers.",
            f"*: p ≤ 0.05 by permutations within {permutations(related)}, after Holm over all layers and"
            " distances of a method (for transfer: over layers). Dotted: the smallest correlation detectable with 80 % power"
            " with this many independent languages. The source is excluded.",
        ],
        figures=[
            Figure(
                "drift-correlations-by-layer",
                "Lines of the correlation of drift with distance and with transfer, layer by layer.",
                lambda pick: _lines(pick, len(facts.distances), related),
                {"related": lines[["method", "against", "layer", "r", "p_holm", "sure"]]},
                choices=(method_choice(facts), distance_choice(facts)),
                beside_baseline=True,
                panels="method",
            ),
            _scatter(
                facts,
                "drift-by-distance",
                "Scatter of drift, mean of the layers, against distance or transfer, a point per language.",
                {"drift": "drift, mean of the layers"},
                Choice("against", "Against", against),
                related[related["layer"] == 0],
            ),
        ],
        tables=[_layer_table(facts, related)],
        commands=[measure_command(facts)],
    )


def _scatter(
    facts: Facts, name: str, description: str, measures: Mapping[str, str], against: Choice, related: pd.DataFrame
) -> Figure:
    """Return the figure of a measure against a distance or transfer, with fitted lines and their correlations."""
    rows, keys = targets(facts, facts.scores), ["method", "measure", "against"]
    plots = [
        placed(
            rows.assign(x=rows[across], y=rows[measure], measure=measure, against=across).dropna(subset=["x", "y"]),
            facts.baseline.name,
        )
        for measure in measures
        for across in against.options
    ]
    fitted = records(related.dropna(subset="fit"))
    lines = {key: np.repeat([row[key] for row in fitted], [len(row["fit"]["x"]) for row in fitted]) for key in keys}
    if fitted:
        lines = {part: np.concatenate([row["fit"][part] for row in fitted]) for part in fitted[0]["fit"]} | lines
    texts = {"|".join(row[key] for key in keys): _correlation_text(row) for row in records(related)}
    points = pd.concat(plots)[[*keys, "code", "name", "x", "y", "seeds", "label", "corner"]]
    return Figure(
        name,
        description,
        lambda pick: _scatter_chart(pick, name, measures, against, texts),
        {f"{name}-points": points, f"{name}-lines": pd.DataFrame(lines)},
        choices=(
            method_choice(facts),
            *([Choice("measure", "Shown", measures)] if len(measures) > 1 else []),
            against,
        ),
        panels="method",
    )


def _correlation_text(row: Mapping[str, Any]) -> str:
    if np.isnan(row["r"]):
        return "no correlation"
    p = "no p" if np.isnan(row["p_holm"]) else p_phrase(row["p_holm"])
    return f"ρ = {row['r']:+.2f}, {p}".replace("-", "−")


def _scatter_chart(
    pick: Pick, name: str, measures: Mapping[str, str], choice: Choice, texts: Mapping[str, str]
) -> Drawn:
    measure, against = pick.get("measure", json.dumps(next(iter(measures)))), pick[choice.name]
    correlation = lookup(texts, f"NAME + '|' + {measure} + '|' + {against}")
    encoding = pair_encoding(pick, f"({correlation} || '–')")
    colour = encoding["color"]
    chosen = f"datum.measure === {measure} && datum.against === {against}"
    lines, points = (of_pair(f"{name}-{part}", pick).transform_filter(chosen) for part in ("lines", "points"))
    scale = alt.Scale(zero=False, padding=12)
    x, y = alt.X("x:Q", title=None, axis=AXIS, scale=scale), alt.Y("y:Q", title=None, scale=scale)
    shown = tooltip(name="language", code="code", method="method", x="against, .3~f", y="value, .3~f", seeds="seeds")
    labels = points.transform_filter(f"datum.method === {pick['method']} && datum.label")
    titles = {name: text if text != name else f"{name} distance" for name, text in choice.options.items()}
    return alt.layer(
        lines.mark_area(opacity=0.14, aria=False).encode(
            x=x, y=alt.Y("lower:Q", title=None), y2="upper:Q", color=colour
        ),
        lines.mark_line(strokeWidth=2, aria=False).encode(x=x, y=y, color=colour, strokeDash=pair_dash()),
        *(
            labels.transform_filter(f"datum.corner === {corner}")
            .mark_text(dx=dx, dy=dy, align="left" if dx > 0 else "right", fontSize=10, aria=False)
            .encode(x=x, y=y, color=colour, text="label:N")
            for corner, (dx, dy) in enumerate(CORNERS)
        ),
        points.mark_point(size=60, filled=True, opacity=1).encode(x=x, y=y, **encoding, tooltip=shown),
    ).properties(height=340, title=titled(f"[{lookup(measures, measure)}, 'against ' + {lookup(titles, against)}]"))


def _lines(pick: Pick, distances: int, related: pd.DataFrame) -> Drawn:
    kinds = ["distance", "transfer", "other"]
    base = (
        chart("related")
        .transform_filter(f"datum.method === {pick['method']}")
        .transform_calculate(
            kind=f"datum.against === 'transfer' ? 'transfer' : datum.against === {pick['distance']} ? 'distance' : 'other'"
        )
    )
    layers = list(range(1, int(related["layer"].max()) + 1))
    x = alt.X("layer:O", title="layer", axis=LAYER_AXIS, scale=alt.Scale(domain=layers))
    y = alt.Y("r:Q", title="Spearman's ρ with drift", axis=GRID, scale=alt.Scale(domain=[-1, 1]))
    legend = alt.Legend(
        title=None,
        columns=2,
        values=kinds if distances > 1 else kinds[:2],
        labelExpr=f"datum.value === 'distance' ? {pick['distance']} + ' distance' : datum.value === 'other' ? 'other distances'"
        " : 'transfer'",
    )
    style = styled(
        "kind", kinds, ["var(--accent)", "var(--warm)", "var(--faint)"], ["circle", "square", "cross"], legend
    )
    detail = {"x": x, "y": y, "color": style["color"], "detail": "against:N"}
    shown = tooltip(against="drift with", layer="layer", r="ρ, +.2f", p_holm="p (Holm), .3f")
    points = {"x": x, "y": y, **style, "tooltip": shown}
    faint, strong = base.transform_filter("datum.kind === 'other'"), base.transform_filter("datum.kind !== 'other'")
    limit = related["detectable"].max()
    limits = [] if np.isnan(limit) else [rule(sign * limit, dash=(2, 3), axis="y") for sign in (1, -1)]
    dash = alt.condition("datum.kind === 'transfer'", alt.value([6, 3]), alt.value([1, 0]))
    return alt.layer(
        rule(0, axis="y"),
        *limits,
        faint.mark_line(strokeWidth=1, aria=False).encode(**detail),
        faint.mark_point(size=16, strokeWidth=1, opacity=1).encode(**points),
        strong.mark_line(strokeWidth=2.2, aria=False).encode(**detail, strokeDash=dash),
        strong.mark_point(size=60, filled=True, opacity=1).encode(**points),
        base.transform_filter("datum.sure")
        .mark_text(text="*", dy=-8, fontSize=18, fontWeight="bold", color="var(--ink)", aria=False)
        .encode(x=x, y=y),
    ).properties(height=300, title=method_title(pick))


def _fit_table(related: pd.DataFrame, measures: Mapping[str, str]) -> Table:
    rows = [
        (
            row["method"],
            measures[row["measure"]],
            row["against"],
            None if np.isnan(row["slope"]) else f"{row['slope']:+.2f}",
            *(row[name] for name in ("r", "p", "p_holm", "n", "n_groups")),
        )
        for row in records(related)
    ]
    return Table(
        ("method", "measure", "distance", "slope per unit", "ρ", "p", "p (Holm)", "languages", "groups"),
        rows,
        title="Fits and correlations over languages",
        notes=tuple(f"{reason}." for reason in related["reason"].dropna().unique()),
    )


def _layer_table(facts: Facts, related: pd.DataFrame) -> Table:
    """Return a row per method and distance with the correlation for the mean of the layers, and at each layer."""
    texts: pd.Series = related["r"].map("{:+.2f}".format, na_action="ignore") + np.where(related["sure"], "*", "")
    keys = ["method", "against"]
    wide = related.assign(text=texts).pivot(index=keys, columns="layer", values="text")
    means = related[related["layer"] == 0]
    return Table(
        ("method", "drift with", "mean", *map(str, wide.columns[1:]), "languages", group_kind(len(facts.languages))),
        [
            (row["method"], row["against"], *wide.loc[(row["method"], row["against"])], row["n"], row["n_groups"])
            for row in records(means)
        ],
        title="Spearman correlation of drift, by layer",
        notes=("mean: over layers 1 and up. *: p ≤ 0.05 after Holm.",),
    )
