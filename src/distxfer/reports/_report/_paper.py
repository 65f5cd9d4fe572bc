"""Charts for papers: the definitions of the page, with its choices as panels side by side, on white."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt

from distxfer.reports._report._charts import LEGEND_WIDTH, TICKS, Figure
from distxfer.reports._vega import write_all_kinds

_WIDTH = 330  # pixels of a panel
_COLUMNS = 3
# The CSS variables of the page on paper: those of the light theme in `page.css`.
_COLOURS = {
    "ink": "#1b1f24", "paper": "#ffffff", "quiet": "#5f6975", "faint": "#8a939e", "line": "#e3e6ea", "line-strong": "#8a939e",
    "accent": "#0072b2", "warm": "#d55e00", "green": "#009e73", "pink": "#b5618f", "orange": "#b27700",
}  # fmt: skip

_BY_WIDTH = {TICKS: math.ceil(_WIDTH / 90), LEGEND_WIDTH: _WIDTH}


def config() -> dict[str, Any]:
    """Return the configuration of all charts, in the colours of the page."""
    text = {"labelColor": "var(--ink)", "titleColor": "var(--ink)", "labelFontSize": 12, "titleFontSize": 12}
    return {
        "background": None,
        "font": "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif",
        "view": {"stroke": None},
        "axis": {
            **text, "titleFontWeight": "normal", "gridColor": "var(--line)", "domainColor": "var(--line-strong)",
            "tickColor": "var(--line-strong)",
        },
        "legend": {
            **text, "titleFontWeight": "normal", "orient": "top", "direction": "horizontal",
            "labelLimit": {"expr": LEGEND_WIDTH},
            "symbolSize": 80, "symbolStrokeWidth": 2, "symbolOpacity": 1, "offset": 6,
        },
        "axisX": {"titleAnchor": "end"},  # a long one then has the whole width
        "title": {"color": "var(--ink)", "fontSize": 13, "fontWeight": 600, "offset": 8},
        "axisXBand": {"grid": False},
        "axisYBand": {"grid": False},
    }  # fmt: skip


def write_figures(figures: tuple[Figure, ...], baseline: str, folder: Path) -> list[Path]:
    """Write each figure as PNG, SVG and PDF into `folder`, created if missing; return the files.

    Raises OSError if one cannot be written.
    """
    folder.mkdir(exist_ok=True)
    written: list[Path] = []
    for figure in figures:
        written += write_all_kinds(paper_spec(figure, baseline), folder / figure.name)
    return written


def paper_spec(figure: Figure, baseline: str) -> dict[str, Any]:
    """Return a figure for paper: choices at their defaults, except that of the panels, which has a panel per value.

    Panels share their axes if the figure says so; those of the values `apart` have axes of their own, below the others.
    """
    fixed = {"baseline": baseline, **{choice.name: choice.value for choice in figure.choices}}
    panels: list[dict[str, Any]] = []
    apart: list[dict[str, Any]] = []
    for values, title in _panels(figure):
        is_apart = values.get(figure.panels) in figure.apart
        panel = _panel(figure, {**fixed, **values}, f"{title} (axis of its own)" if is_apart else title)
        (apart if is_apart else panels).append(panel)
    params = {param["name"]: param for panel in (*panels, *apart) for param in panel.pop("params", [])}
    grids = [_grid(panels, figure.shares_axes), *([_grid(apart, shared=False)] if apart else [])]
    chart = {
        **(grids[0] if len(grids) == 1 else {"vconcat": grids, "resolve": grids[1]["resolve"]}),
        "$schema": alt.SCHEMA_URL,
        "params": list(params.values()),
        "config": {**config(), "background": "white", "font": "Helvetica, Arial, sans-serif"},
    }
    coloured: dict[str, Any] = _coloured(chart)
    return {**coloured, "datasets": dict(figure.data)}


def _grid(panels: list[dict[str, Any]], shared: bool) -> dict[str, Any]:
    """Return panels in rows, each with its own legend, and with the same axes if `shared`."""
    independent = dict.fromkeys(("color", "shape", "strokeDash"), "independent")
    axes = dict.fromkeys(("x", "y"), "shared" if shared else "independent")
    return {
        "concat": panels,
        "columns": _COLUMNS,
        "spacing": 30,
        "resolve": {"scale": {**independent, **axes}, "legend": independent},
    }


def _panels(figure: Figure) -> list[tuple[Mapping[str, str], str]]:
    """Return the fixed choices and the title of each panel: first the views that the page fixes, then the options."""
    choice = next((choice for choice in figure.choices if choice.name == figure.panels), None)
    if choice is None:
        return [({}, "")]
    fixed = [(view.fixed, view.title) for view in figure.views if choice.name in view.fixed]
    return [*fixed, *(({choice.name: value}, label) for value, label in choice.options.items())]


def _panel(figure: Figure, fixed: Mapping[str, str], title: str) -> dict[str, Any]:
    spec = figure.spec(fixed, ())
    for key in ("$schema", "config", "datasets"):
        spec.pop(key, None)
    named = {} if "title" in spec or not title else {"title": {"text": title, "anchor": "start"}}
    return {**spec, **named, "width": _WIDTH}


def _coloured(part: Any) -> Any:
    """Return part of a chart with CSS variables and width expressions replaced by their values on paper."""
    if isinstance(part, dict) and part.get("expr") in _BY_WIDTH:
        return _BY_WIDTH[part["expr"]]
    if isinstance(part, dict):
        return {key: _coloured(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_coloured(value) for value in part]
    if isinstance(part, str) and part.startswith("var(--") and part.endswith(")"):
        return _COLOURS.get(part[6:-1], part)
    return part
