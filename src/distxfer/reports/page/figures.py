"""Sections and figures of the report: charts in Vega-Lite with choices in the page, and with panels side by side on paper.

Colours are CSS variables (`var(--accent)`), which follow light, dark and print in the page; on paper they are the colours of the
light theme.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
from altair.utils.schemapi import debug_mode

from distxfer.reports.tables import Table
from distxfer.reports.vega import KINDS, write_chart

Drawn = alt.LayerChart | alt.FacetChart  # the return types that Altair declares
Pick = Mapping[str, str]  # name of a choice -> its value as a Vega expression: a parameter or a literal
# Grids and legends that neither crowd a phone nor leave a wide screen empty.
TICKS = "ceil(width / 90)"
LEGEND_WIDTH = "max(width - 20, 120)"

_WIDTH = 330  # pixels of a panel on paper
_COLUMNS = 3
_BY_WIDTH = {TICKS: math.ceil(_WIDTH / 90), LEGEND_WIDTH: _WIDTH}
# The CSS variables of the page on paper: those of the light theme in `page.css`.
_COLOURS = {
    "ink": "#1b1f24", "paper": "#ffffff", "quiet": "#5f6975", "faint": "#8a939e", "line": "#e3e6ea", "line-strong": "#8a939e",
    "accent": "#0072b2", "warm": "#d55e00", "green": "#009e73", "pink": "#b5618f", "orange": "#b27700",
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A selector of the page: a name, a label, and values with their labels; the first is the default."""

    name: str
    label: str
    options: Mapping[str, str]

    @property
    def value(self) -> str:
        """The default value."""
        return next(iter(self.options))


@dataclass(frozen=True)
class Figure:
    """A chart: its definition, data by name, and choices.

    `description` is the text alternative. In the page, a chart `beside_baseline` is drawn twice, for the baseline and for the
    chosen method. `panels` names the choice whose values stand side by side on paper, with the same axes if `shares_axes`,
    except for the values `apart`, which would squeeze the others.
    """

    name: str
    description: str
    draw: Callable[[Pick], Drawn]
    data: Mapping[str, pd.DataFrame]
    choices: tuple[Choice, ...] = ()
    beside_baseline: bool = False
    panels: str = ""
    shares_axes: bool = True
    apart: Sequence[str] = ()

    @property
    def records(self) -> dict[str, list[dict[str, Any]]]:
        """The data as JSON: numbers with 4 significant digits, which keeps the page small; null for NaN."""
        return {name: _records(table) for name, table in self.data.items()}

    def spec(self, fixed: Mapping[str, str], free: Sequence[Choice]) -> dict[str, Any]:
        """Return the chart with some choices fixed and the `free` ones as parameters."""
        pick = {name: json.dumps(value) for name, value in fixed.items()} | {
            choice.name: choice.name for choice in free
        }
        with debug_mode(False):  # Altair would check every part anew each time that it is put into another
            chart = self.draw(pick)
            if free:
                chart = chart.add_params(*(alt.param(name=choice.name, value=choice.value) for choice in free))
            spec = dict(chart.to_dict(validate=False))
        return {key: value for key, value in spec.items() if key not in ("datasets", "config")}

    def views(self, baseline: str) -> list[tuple[dict[str, Any], list[str]]]:
        """Return the drawings of the page, each with the choices that it follows."""
        views = []
        for fixed in [{"method": baseline}, {}] if self.beside_baseline else [{}]:
            free = [choice for choice in self.choices if choice.name not in fixed]
            if fixed and list(self.choices[0].options) == [baseline]:
                continue  # it is the only method
            spec = self.spec({"baseline": baseline, **fixed}, free)
            spec |= {"width": "container", "description": self.description}
            views.append((spec, [choice.name for choice in free]))
        return views


@dataclass(frozen=True)
class Section:
    """A section of the report: text, figures, and the same numbers as tables.

    `commands` reproduce the numbers, `listings` are texts to copy by title. The first `open_tables` tables start open, and
    so does the section if `is_open`.
    """

    key: str
    title: str
    text: Sequence[str]
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    commands: Sequence[str] = ()
    listings: Mapping[str, str] = field(default_factory=dict)
    open_tables: int = 0
    is_open: bool = False


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
        "title": {"color": "var(--ink)", "fontSize": 13, "fontWeight": 600, "offset": 8, "limit": {"expr": LEGEND_WIDTH}},
        "axisXBand": {"grid": False},
        "axisYBand": {"grid": False},
    }  # fmt: skip


def write_figures(figures: Sequence[Figure], baseline: str, folder: Path) -> list[Path]:
    """Write each figure as PNG, SVG and PDF into `folder`, created if missing; return the files.

    Raises OSError if one cannot be written.
    """
    folder.mkdir(exist_ok=True)
    written: list[Path] = []
    for figure in figures:
        paths = [folder / f"{figure.name}{kind}" for kind in KINDS]
        write_chart(paper_spec(figure, baseline), *paths)
        written += paths
    return written


def paper_spec(figure: Figure, baseline: str) -> dict[str, Any]:
    """Return a figure for paper: choices at their defaults, except that of the panels, which has a panel per value.

    Panels share their axes if the figure says so; those of the values `apart` have axes of their own, below the others.
    """
    fixed = {"baseline": baseline, **{choice.name: choice.value for choice in figure.choices}}
    values = next((list(choice.options) for choice in figure.choices if choice.name == figure.panels), [""])
    if figure.beside_baseline:
        values = list(dict.fromkeys([baseline, *values]))
    specs = {value: {**figure.spec(fixed | {figure.panels: value}, ()), "width": _WIDTH} for value in values}
    params = {param["name"]: param for spec in specs.values() for param in spec.pop("params", [])}
    together = [specs[value] for value in values if value not in figure.apart]
    alone = [specs[value] for value in values if value in figure.apart]
    grids = [_grid(together, figure.shares_axes), *([_grid(alone, shared=False)] if alone else [])]
    chart = {
        **(grids[0] if len(grids) == 1 else {"vconcat": grids, "resolve": grids[1]["resolve"]}),
        "$schema": alt.SCHEMA_URL,
        "params": list(params.values()),
        "config": {**config(), "background": "white", "font": "Helvetica, Arial, sans-serif"},
    }
    coloured: dict[str, Any] = _coloured(chart)
    return {**coloured, "datasets": figure.records}


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


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    columns = {str(name): _plain(column) for name, column in table.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(column: pd.Series) -> list[Any]:
    """Return the values of a column as JSON data."""
    values = [None if missing else value for value, missing in zip(column.tolist(), column.isna(), strict=True)]
    if not pd.api.types.is_float_dtype(column.dtype):
        return values
    return [None if value is None else float(f"{value:.4g}") for value in values]
