"""Alignment: translation retrieval by layer, before and after training."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np

from distxfer.reports._report._charts import (
    LAYER_AXIS,
    Choice,
    Drawn,
    Figure,
    Pick,
    Row,
    Section,
    by_layer,
    chart,
    measure_command,
    method_choice,
    numbers,
    side_by_side,
    tooltip,
)
from distxfer.reports._report._facts import Facts, Studied
from distxfer.reports.tables import Table

_START = "retrieval_"
_GROUPS = ("near", "far")


def alignment(facts: Facts) -> Section | None:
    """Return retrieval by layer for near and far targets, None if nothing was measured."""
    kinds = list(
        dict.fromkeys(name for method in facts.methods for name in method.layers.sizes if name.startswith(_START))
    )
    rows = [row for method in facts.methods for kind in kinds for row in _rows(facts, method, kind)]
    if not rows:
        return None
    labels = {kind: kind.removeprefix(_START).replace("_", ", ") for kind in kinds}
    sizes = [method.layers.sizes[kind] for method in facts.methods for kind in kinds if kind in method.layers.sizes]
    smallest, largest = min(low for low, _ in sizes), max(high for _, high in sizes)
    return Section(
        "alignment",
        "Alignment by layer",
        (
            "The share of held-out translation pairs whose nearest neighbour by cosine is the translation: the mean over the"
            " near and over the far targets, before training (dashed) and after (solid). The bands span the languages of a"
            " group after training.",
            "weak: among the sentences of the other language; strong: also among those of its own; csls: weak, corrected for"
            " hubness;"
            f" forward: from {facts.source_name}. n = {smallest if smallest == largest else f'{smallest} to {largest}'} pairs,"
            f" so guessing finds {100 / largest:.1f} %{'' if smallest == largest else f' to {100 / smallest:.1f} %'} of them"
            " (strong: half of that)."
            " Means over seeds, then over languages.",
        ),
        figures=(
            Figure(
                "alignment-by-layer",
                "Lines of the share of translations found at each layer, near and far targets, before and after training.",
                _chart,
                {"alignment": rows},
                choices=(method_choice(facts), Choice("kind", "Retrieval", labels)),
                views=side_by_side(facts),
                panels="method",
                shares_axes=True,
            ),
        ),
        tables=(_table(rows, labels),),
        commands=(measure_command(facts, f"parallel={_parallel(facts)}"),),
    )


def _parallel(facts: Facts) -> str:
    """Return the name of the parallel text that retrieval was measured on."""
    stored = facts.baseline.method.settings.get("parallel.name")
    return str(stored or "NAME")


def _rows(facts: Facts, method: Studied, kind: str) -> list[Row]:
    rows = []
    for moment in ("before", "after"):
        for group in _GROUPS:
            by_language = [
                values
                for language in facts.languages
                if language.group == group and (values := method.measured(kind, moment, language.key)) is not None
            ]
            complete = [values for values in by_language if len(values) == max(map(len, by_language))]
            if complete:
                table = np.array(complete)
                spans = {"v": table.mean(axis=0)}
                if moment == "after":
                    spans |= {"lo": table.min(axis=0), "hi": table.max(axis=0)}
                rows.append(
                    {"m": method.name, "t": kind, "w": moment, "g": group, "n": len(complete)}
                    | {name: numbers(values) for name, values in spans.items()}
                )
    return rows


def _chart(pick: Pick) -> Drawn:
    chosen = chart("alignment").transform_filter(f"datum.m === {pick['method']} && datum.t === {pick['kind']}")
    base = by_layer(chosen, "v")
    domain = list(_GROUPS)
    colour = alt.Color(
        "g:N", scale=alt.Scale(domain=domain, range=["var(--accent)", "var(--warm)"]), legend=alt.Legend(title=None)
    )
    shape = alt.Shape(
        "g:N", scale=alt.Scale(domain=domain, range=["circle", "triangle-up"]), legend=alt.Legend(title=None)
    )
    dash = alt.StrokeDash(
        "w:N",
        scale=alt.Scale(domain=["before", "after"], range=[[5, 3], [1, 0]]),
        legend=alt.Legend(title=None, symbolType="stroke", symbolStrokeColor="var(--ink)"),
    )
    x = alt.X("layer:O", title="layer", axis=LAYER_AXIS)
    y = alt.Y("v:Q", title="translations found", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    shown = tooltip(
        ("g", "mean of the targets"), ("w", "moment"), ("layer", "layer"), ("v", "found", ".1%"), ("n", "languages")
    )
    after = "datum.w === 'after'"
    return alt.layer(
        by_layer(chosen.transform_filter(after), "lo", "hi")
        .mark_area(opacity=0.14, aria=False)
        .encode(x=x, y=alt.Y("lo:Q"), y2="hi:Q", color=colour),
        base.mark_line(strokeWidth=2, aria=False).encode(x=x, y=y, color=colour, strokeDash=dash),
        base.mark_point(size=40, filled=True, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=shown),
    ).properties(height=300)


def _table(rows: list[Row], labels: Mapping[str, str]) -> Table:
    depth = max(len(row["v"]) for row in rows)
    return Table(
        ("method", "retrieval", "mean of", "moment", "languages", *map(str, range(depth))),
        [
            (row["m"], labels[row["t"]], row["g"], row["w"], row["n"], *row["v"], *[None] * (depth - len(row["v"])))
            for row in rows
        ],
        title="Share of translations found, by layer",
        notes=("Layer 0 is the embeddings' output.",),
    )
