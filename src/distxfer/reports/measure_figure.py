"""Figure of two checkpoints: drift by layer and language, and its correlation with each distance."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distxfer.languages import group_kind, language_name
from distxfer.reports.vega import COLOURS, DASHES, SHAPES, check_figure, write_figure

if TYPE_CHECKING:  # it brings torch
    from distxfer.checkpoints.measure import Measured

_TRANSFER = ("transfer", "#000000", [1, 0], "triangle-left")
_PANEL = 26  # pixels of a layer's column, and of a language's row


def measure_figure(measured: Measured, path: Path) -> None:
    """Draw drift by layer and language, and beside it the correlation of drift with each distance, layer by layer.

    Languages are sorted by the recipe's distance. A star marks p <= 0.05 after Holm; dotted lines mark the smallest
    correlation detectable with this many languages. An .html file needs no network.

    Raises InputError as `check_figure` does, or where the file cannot be written.
    """
    check_figure(path)
    write_figure(_chart(measured).to_dict(), path, f"{measured.before} → {measured.after}")


def _chart(measured: Measured) -> Any:
    import altair

    chart = altair.hconcat(_drift(measured), _relations(measured), spacing=40)
    return (
        chart.resolve_scale(color="independent", shape="independent", strokeDash="independent")
        .properties(
            title=altair.TitleParams(
                f"{_short(measured.before)} → {_short(measured.after)}: {_short(measured.task)}",
                subtitle=_subtitle(measured),
                anchor="start",
                subtitleColor="#444",
            ),
            background="white",
        )
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", grid=False, labelLimit=240)
        .configure_legend(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", symbolSize=90)
        .configure_title(fontSize=14, subtitleFontSize=12, anchor="start")
    )


def _drift(measured: Measured) -> Any:
    """Return the heat map; undefined drift is an empty cell."""
    import altair

    between = measured.distances[measured.distance]
    labels = {
        key: f"{language_name(key)} ({f'{between[key]:.2f}' if key in between else '–'})" for key in measured.ordered
    }
    labels[measured.source] = f"{language_name(measured.source)} (source)"
    data = [
        {"layer": layer, "language": labels[key], "drift": None if isnan(value) else value}
        for key in measured.ordered
        for layer, value in measured.drift(key).items()
    ]
    return (
        altair.Chart(
            altair.InlineData(values=data), title=f"Drift, 1 − CKA ({'un' if measured.unbiased else ''}biased)"
        )
        .mark_rect(stroke="white", strokeWidth=1)
        .encode(
            x=altair.X("layer:O", title="layer (0: embeddings)", axis=altair.Axis(labelAngle=0)),
            y=altair.Y("language:N", title=None, sort=[labels[key] for key in measured.ordered]),
            color=altair.condition(
                "isValid(datum.drift)",
                altair.Color(
                    "drift:Q",
                    title="drift",
                    scale=altair.Scale(scheme="viridis", reverse=True, domainMin=0),
                    legend=altair.Legend(format=".2f"),
                ),
                altair.value("#eeeeee"),
            ),
            tooltip=["language:N", "layer:O", altair.Tooltip("drift:Q", format=".3f")],
        )
        .properties(width=_PANEL * (measured.layers + 1), height=_PANEL * max(len(measured.ordered), 6))
    )


def _relations(measured: Measured) -> Any:
    """Return the lines of correlation; a layer without one has no point."""
    import altair

    names = list(measured.distances)
    style = list(zip(names, COLOURS, DASHES, SHAPES, strict=False))
    style += [_TRANSFER] if measured.transfer else []
    relations = [
        row
        for row in measured.relations
        if row.layer is not None and row.measure.startswith("correlation_drift_") and row.found.r is not None
    ]
    data = [
        {
            "layer": row.layer,
            "with": row.measure.removeprefix("correlation_drift_"),
            "r": row.found.r,
            "p (Holm)": row.p_holm,
            "sure": row.p_holm is not None and row.p_holm <= 0.05,
        }
        for row in relations
    ]
    domain = [name for name, *_ in style]

    def scale(place: int) -> Any:
        return altair.Scale(domain=domain, range=[series[place] for series in style])

    layers = list(range(1, measured.layers + 1))
    x = altair.X("layer:O", title="layer", axis=altair.Axis(labelAngle=0), scale=altair.Scale(domain=layers))
    y = altair.Y("r:Q", title=f"{measured.method.capitalize()} correlation", scale=altair.Scale(domain=[-1, 1]))
    legend = altair.Legend(
        title="drift with", symbolStrokeWidth=2, symbolSize=90
    )  # the same for all, so that it is one
    title = f"Correlation of drift with distance{' and transfer' if measured.transfer else ''}, layer by layer"
    base = altair.Chart(altair.InlineData(values=data), title=title).encode(x=x, y=y)
    coloured = base.encode(
        color=altair.Color("with:N", scale=scale(1), legend=legend),
        shape=altair.Shape("with:N", scale=scale(3), legend=legend),  # of the line too, or the legend shows no shapes
    )
    dashes = altair.StrokeDash("with:N", scale=scale(2), legend=None)
    drawn = coloured.mark_line(strokeWidth=2).encode(strokeDash=dashes)
    points = coloured.mark_point(size=70, strokeWidth=1.8, fill="white", opacity=1).encode(
        tooltip=["with:N", "layer:O", altair.Tooltip("r:Q", format=".2f"), altair.Tooltip("p (Holm):Q", format=".3f")]
    )
    stars = base.transform_filter("datum.sure").mark_text(text="*", dx=9, dy=1, fontSize=22, fontWeight="bold")
    rules = [_rule(0.0, "#444", [1, 0])]
    limits = [row.found.detectable for row in relations if row.found.detectable is not None]
    if limits:
        rules += [_rule(sign * max(limits), "#999", [2, 3]) for sign in (1, -1)]
    return altair.layer(*rules, drawn, points, stars).properties(
        width=max(_PANEL * measured.layers, 8 * _PANEL), height=_PANEL * max(len(measured.ordered), 6)
    )


def _rule(height: float, colour: str, dash: list[int]) -> Any:
    import altair

    data = altair.InlineData(values=[{"r": height}])
    return altair.Chart(data).mark_rule(color=colour, strokeDash=dash).encode(y="r:Q")


def _subtitle(measured: Measured) -> list[str]:
    used = [row.found for row in measured.relations if row.measure.startswith("correlation_drift_")]
    n, groups = max(row.n for row in used), max(row.n_groups for row in used)
    return [
        f"{measured.pooling} pooling; languages by {_short(measured.distance)} distance from"
        f" {language_name(measured.source)}. Correlations over {n} languages in {groups} {group_kind(n)},"
        f" {language_name(measured.source)} {'included' if measured.diagonal else 'left out'}.",
        "*: p ≤ .05 after Holm. Dotted: the smallest correlation detectable with this many languages.",
    ]


def _short(name: str) -> str:
    """Return the last 47 characters of a long name, such as a path."""
    return name if len(name) <= 48 else f"…{name[-47:]}"
