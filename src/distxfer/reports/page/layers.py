"""Drift and alignment by layer."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from distxfer.reports.page.charts import (
    LAYER_AXIS,
    chart,
    measure_command,
    method_choice,
    method_title,
    size_text,
    styled,
    tooltip,
)
from distxfer.reports.page.facts import Facts
from distxfer.reports.page.figures import Choice, Drawn, Figure, Pick, Section
from distxfer.reports.tables import Table

_FORMS = {"drift_cka": "raw", "drift_cka_standardised": "dimensions standardised"}
_RETRIEVAL = "retrieval_"
_ROW = 22  # pixels of a language's row


def drift(facts: Facts) -> Section | None:
    """Return drift after training by layer and language, None if nothing was measured."""
    labels = {facts.source: f"{facts.source_name} (source)", **facts.labels}
    rows = facts.layers[facts.layers["measure"].isin(_FORMS) & (facts.layers["moment"] == "after")]
    rows = rows[rows["language"].isin(labels)]
    rows = rows.assign(code=rows["language"], language=rows["language"].map(labels))
    if rows.empty:
        return None
    return Section(
        "drift",
        "Drift by layer and language",
        [
            "How far training moved the representations of each language at each layer: 1 − CKA (linear, unbiased) between the"
            " pretrained and the trained encoder on the test sentences, mean over seeds. Darker means more drift. The source"
            f" comes first, then the targets by {facts.main_distance} distance (in brackets). Layer 0 is the output of the"
            " embeddings.",
            "Before training, drift is 0 by construction. The unbiased estimate can be slightly negative. Empty cells are"
            " undefined.",
        ],
        figures=[
            Figure(
                "drift-by-layer",
                "Heat map of drift, a row per language and a column per layer.",
                lambda pick: _heat_map(pick, list(labels.values()), float(rows["value"].max())),
                {"drift": rows[["method", "measure", "language", "layer", "value"]]},
                choices=(method_choice(facts), Choice("form", "Drift", _FORMS)),
                beside_baseline=True,
                panels="method",
            )
        ],
        tables=[_drift_table(facts, rows, labels)],
        commands=[measure_command(facts)],
        is_open=True,
    )


def alignment(facts: Facts) -> Section | None:
    """Return retrieval by layer for near and far targets, None if nothing was measured."""
    measured = facts.layers[facts.layers["measure"].str.startswith(_RETRIEVAL)]
    measured = measured.assign(group=measured["language"].map(facts.languages["group"]))
    measured = measured[measured["group"].isin(["near", "far"])]
    if measured.empty:
        return None
    means = measured.groupby(["method", "measure", "group", "moment", "layer"], sort=False)["value"]
    rows = means.agg(value="mean", low="min", high="max", languages="size").reset_index()
    labels = {name: name.removeprefix(_RETRIEVAL).replace("_", ", ") for name in rows["measure"].unique()}
    low, high = measured["n"].min(), measured["n"].max()
    guessing = f"{100 / high:.1f} %{'' if low == high else f' to {100 / low:.1f} %'}"
    return Section(
        "alignment",
        "Alignment by layer",
        [
            "The share of held-out translation pairs whose nearest neighbour by cosine is the translation: the mean over the"
            " near and over the far targets, before training (dashed) and after (solid). The bands span the languages of a"
            " group after training.",
            "weak: among the sentences of the other language; strong: also among those of its own; csls: weak, corrected for"
            f" hubness; forward: from {facts.source_name}. n = {size_text(facts, _RETRIEVAL)} pairs, so guessing finds"
            f" {guessing} of them (strong: half of that). Means over seeds, then over languages.",
        ],
        figures=[
            Figure(
                "alignment-by-layer",
                "Lines of the share of translations found at each layer, near and far targets, before and after training.",
                _alignment_chart,
                {"alignment": rows},
                choices=(method_choice(facts), Choice("retrieval", "Retrieval", labels)),
                beside_baseline=True,
                panels="method",
            )
        ],
        tables=[_alignment_table(rows, labels)],
        commands=[measure_command(facts, f"parallel={facts.baseline.method.settings.get('parallel.name') or 'NAME'}")],
    )


def _heat_map(pick: Pick, labels: list[str], largest: float) -> Drawn:
    base = (
        chart("drift")
        .transform_filter(f"datum.method === {pick['method']} && datum.measure === {pick['form']}")
        .encode(
            x=alt.X("layer:O", title="layer", axis=LAYER_AXIS),
            y=alt.Y("language:N", title=None, sort=labels, axis=alt.Axis(labelLimit=190, ticks=False)),
            tooltip=tooltip(language="language", layer="layer", value="drift, .3f"),
        )
    )
    colour = alt.Color(
        "value:Q",
        title="drift",
        scale=alt.Scale(scheme="viridis", reverse=True, domain=[0, largest], clamp=True),
        legend=alt.Legend(format=".2f", gradientLength=160),
    )
    cells = base.mark_rect(stroke="var(--paper)", strokeWidth=1).encode(
        color=alt.condition("isValid(datum.value)", colour, alt.value("var(--line)"))
    )
    return alt.layer(cells).properties(height=_ROW * len(labels), title=method_title(pick))


def _alignment_chart(pick: Pick) -> Drawn:
    base = chart("alignment").transform_filter(
        f"datum.method === {pick['method']} && datum.measure === {pick['retrieval']}"
    )
    colours, shapes = ["var(--accent)", "var(--warm)"], ["circle", "triangle-up"]
    style = styled("group", ["near", "far"], colours, shapes, alt.Legend(title=None))
    dash = alt.StrokeDash(
        "moment:N",
        scale=alt.Scale(domain=["before", "after"], range=[[5, 3], [1, 0]]),
        legend=alt.Legend(title=None, symbolType="stroke", symbolStrokeColor="var(--ink)"),
    )
    x = alt.X("layer:O", title="layer", axis=LAYER_AXIS)
    y = alt.Y("value:Q", title="translations found", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    shown = tooltip(
        group="mean of the targets", moment="moment", layer="layer", value="found, .1%", languages="languages"
    )
    return alt.layer(
        base.transform_filter("datum.moment === 'after'")
        .mark_area(opacity=0.14, aria=False)
        .encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=style["color"]),
        base.mark_line(strokeWidth=2, aria=False).encode(x=x, y=y, color=style["color"], strokeDash=dash),
        base.mark_point(size=40, filled=True, opacity=1).encode(x=x, y=y, **style, tooltip=shown),
    ).properties(height=300, title=method_title(pick))


def _drift_table(facts: Facts, rows: pd.DataFrame, labels: Mapping[str, str]) -> Table:
    """Return drift after training, a row per method and language: the mean over layers and each layer."""
    wide = rows.pivot(index=["method", "code", "measure"], columns="layer", values="value")
    means = wide.drop(columns=0, errors="ignore").mean(axis=1, skipna=False)
    order = pd.MultiIndex.from_product([[method.name for method in facts.methods], labels, _FORMS])
    table = pd.concat([means, wide], axis=1).reindex(order[order.isin(wide.index)])
    return Table(
        ("method", "language", "drift", "mean", *map(str, wide.columns)),
        [
            (method, labels[code], _FORMS[form], *row)
            for (method, code, form), row in zip(table.index, table.to_numpy(), strict=True)
        ],
        title="Drift after training by layer",
        notes=(
            "mean: over layers 1 and up, without the embeddings (0).",
            f"n = {size_text(facts, 'drift_cka')} test sentences per language.",
        ),
    )


def _alignment_table(rows: pd.DataFrame, labels: Mapping[str, str]) -> Table:
    keys = ["method", "measure", "group", "moment", "languages"]
    wide = rows.pivot(index=keys, columns="layer", values="value")
    order = dict.fromkeys(rows[keys].itertuples(index=False, name=None))
    return Table(
        ("method", "retrieval", "mean of", "moment", "languages", *map(str, wide.columns)),
        [(key[0], labels[key[1]], *key[2:], *wide.loc[key]) for key in order],
        title="Share of translations found, by layer",
        notes=("Layer 0 is the embeddings' output.",),
    )
