"""Chart definitions in Vega-Lite, for the page (interactive choices) and for paper (panels side by side).

Charts share named data. Colours are CSS variables (`var(--accent)`), which follow light, dark and print in the page;
`_paper.py` replaces them by colours.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import altair as alt

from distxfer.reports._report._facts import Facts
from distxfer.reports.tables import Table

Row = dict[str, Any]
Drawn = alt.LayerChart | alt.FacetChart  # the return types that Altair declares
Pick = Mapping[str, str]  # name of a choice -> its value as a Vega expression: a parameter or a literal
LAYER_AXIS = alt.Axis(labelAngle=0, labelOverlap=True)
# A grid whose labels neither crowd a phone nor a wide screen.
TICKS = "ceil(width / 90)"
LEGEND_WIDTH = "max(width - 20, 120)"
AXIS = alt.Axis(grid=True, tickCount=alt.ExprRef(TICKS))
GRID = alt.Axis(grid=True)
NAME_AXIS = alt.Axis(labelLimit=190, grid=False, ticks=False, domain=False, labelExpr="split(datum.label, ', ')")


@dataclass(frozen=True)
class Choice:
    """A selector of the page: a name, a label, and values with their labels; the default is the first unless named."""

    name: str
    label: str
    options: Mapping[str, str]
    default: str = ""

    @property
    def value(self) -> str:
        """The default value."""
        return self.default or next(iter(self.options))


@dataclass(frozen=True)
class View:
    """One drawing of a figure in the page: fixed choices, and a title or the choice whose value is the title."""

    fixed: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    title_of: str = ""


@dataclass(frozen=True)
class Figure:
    """A chart: its definition, data by name, choices and views.

    `panels` names the choice whose values stand side by side on paper, with the same axes if `shares_axes`, except
    for the values `apart`, which would squeeze the others. `description` is the text alternative.
    """

    name: str
    description: str
    draw: Callable[[Pick], Drawn]
    data: Mapping[str, Sequence[Row]]
    choices: tuple[Choice, ...] = ()
    views: tuple[View, ...] = (View(),)
    panels: str = ""
    shares_axes: bool = False
    apart: tuple[str, ...] = ()

    def spec(self, fixed: Mapping[str, str], free: Sequence[Choice]) -> dict[str, Any]:
        """Return the chart with some choices fixed and the `free` ones as parameters."""
        pick = {name: json.dumps(value) for name, value in fixed.items()} | {
            choice.name: choice.name for choice in free
        }
        chart = self.draw(pick)
        if free:
            chart = chart.add_params(*(alt.param(name=choice.name, value=choice.value) for choice in free))
        return dict(chart.to_dict(validate=False))


@dataclass(frozen=True)
class Section:
    """A section of the report: text, figures, and the same numbers as tables.

    `commands` reproduce the numbers, `listings` are texts to copy by title. The first `open_tables` tables start open, and
    so does the section if `is_open`.
    """

    key: str
    title: str
    text: tuple[str, ...]
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    commands: tuple[str, ...] = ()
    listings: Mapping[str, str] = field(default_factory=dict)
    open_tables: int = 0
    is_open: bool = False


def name_lines(facts: Facts) -> int:
    """Return the number of lines of the longest method name on an axis."""
    return max(method.name.count(", ") + 1 for method in facts.methods)


def fixed(pick: Pick, name: str) -> str | None:
    """Return the value of a choice if it is fixed, as on paper; None if it is a parameter of the page."""
    return json.loads(pick[name]) if pick[name].startswith('"') else None


def number(value: float | None, digits: int = 4) -> float | None:
    """Return a number rounded to significant digits; None if it is missing or not finite."""
    if value is None or not isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short == int(short) else short


def numbers(values: Iterable[float | None]) -> list[float | None]:
    """Return numbers with three significant digits, which keeps the page small."""
    return [number(value, 3) for value in values]


def chart(data: str) -> alt.Chart:
    """Return an empty chart of named data."""
    return alt.Chart(alt.NamedData(name=data))


def of_pair(data: str, pick: Pick) -> alt.Chart:
    """Return a chart of the rows of the chosen method and the baseline (`m`), with `series` telling them apart."""
    method, baseline = pick["method"], pick["baseline"]
    return (
        chart(data)
        .transform_filter(f"datum.m === {method} || datum.m === {baseline}")
        .transform_calculate(series=f"datum.m === {baseline} ? 'baseline' : 'method'")
    )


def pair_colour(pick: Pick, details: str = "") -> alt.Color:
    """Return the colour of `series`; its legend has the names, each with the value of the expression `details`."""
    return alt.Color("series:N", scale=_of_pair(["var(--quiet)", "var(--accent)"]), legend=_pair_legend(pick, details))


def pair_shape(pick: Pick, details: str = "") -> alt.Shape:
    """Return the shape of `series`; its legend merges with that of the colour."""
    return alt.Shape("series:N", scale=_of_pair(["circle", "square"]), legend=_pair_legend(pick, details))


def pair_dash() -> Any:
    """Return the dash of `series`: the baseline is dashed."""
    return alt.condition("datum.series === 'baseline'", alt.value([5, 3]), alt.value([1, 0]))


def _of_pair(values: list[Any]) -> alt.Scale:
    return alt.Scale(domain=["baseline", "method"], range=values)


def _pair_legend(pick: Pick, details: str) -> alt.Legend:
    method, baseline = pick["method"], pick["baseline"]
    name = f"[{method}, {baseline}][datum.value === 'baseline' ? 1 : 0]"
    full = f"({name} + (datum.value === 'baseline' ? ' (baseline)' : ''))"
    named_details = details.replace("NAME", name)
    return alt.Legend(
        title=None,
        columns=1,
        values=alt.ExprRef(f"{method} === {baseline} ? ['baseline'] : ['baseline', 'method']"),
        labelExpr=full
        if not details
        else f"length({name}) > 28 ? {named_details} + ' · ' + {full} : {full} + ': ' + {named_details}",
    )


def with_language(base: alt.Chart) -> alt.Chart:
    """Return the chart with `name`, `g` (near or far) and `far` (distances) looked up for the language `k`."""
    return base.transform_lookup(
        lookup="k", from_=alt.LookupData(data=alt.NamedData(name="languages"), key="k", fields=["name", "g", "far"])
    )


def by_layer(base: alt.Chart, *fields: str, first: int = 0) -> alt.Chart:
    """Return the chart with one row per layer, from rows with lists that start at layer `first`."""
    return base.transform_calculate(layer=f"sequence({first}, length(datum.{fields[0]}) + {first})").transform_flatten(
        ["layer", *fields]
    )


def rule(at: float, colour: str = "var(--line-strong)", dash: Sequence[int] = (1, 0), axis: str = "x") -> alt.Chart:
    """Return a line across the chart at a value of an axis."""
    base: alt.Chart = alt.Chart(alt.sequence(0, 1, 1)).mark_rule(color=colour, strokeDash=list(dash), aria=False)
    return base.encode(x=alt.XDatum(at)) if axis == "x" else base.encode(y=alt.YDatum(at))


def tooltip(*fields: tuple[str, str] | tuple[str, str, str]) -> list[alt.Tooltip]:
    """Return tooltips from (field, title) or (field, title, number format)."""
    shown = []
    for name, title, *form in fields:
        kind = "Q" if form else "N"
        shown.append(alt.Tooltip(f"{name}:{kind}", title=title, format=form[0] if form else alt.Undefined))
    return shown


def compare_command(facts: Facts, *options: str) -> str:
    """Return the command that repeats this comparison."""
    by = ("--distance", facts.main_distance) if facts.main_distance != "matrix" else ()
    words = ("distxfer", "compare", *facts.names, "--baseline", facts.baseline.full_name, *by, *options, "--json")
    return shlex.join(words)


def measure_command(facts: Facts, *options: str) -> str:
    """Return the command that measures one of these runs again, from its saved model."""
    words = (
        "distxfer",
        "measure",
        f"before={facts.model}",
        "after=RUN/model",
        f"task={facts.task}",
        *options,
        "--json",
    )
    return f"{shlex.join(words)}  # RUN: the folder of a run whose model was kept"


def method_choice(facts: Facts) -> Choice:
    """Return the choice of a method other than the baseline, or of the baseline if it is the only one."""
    return Choice("method", "Method", {method.name: method.name for method in facts.methods[1:] or facts.methods})


def distance_choice(facts: Facts) -> Choice:
    """Return the choice of a distance, the main one first."""
    return Choice("distance", "Distance", {name: name for name in facts.distances})


def side_by_side(facts: Facts) -> tuple[View, ...]:
    """Return two views of one figure: the baseline and the chosen method."""
    first = View({"method": facts.baseline.name}, title=f"{facts.baseline.name} (baseline)")
    return (first, View(title_of="method")) if len(facts.methods) > 1 else (View(title=facts.baseline.name),)


def language_rows(facts: Facts) -> list[Row]:
    """Return the targets, for `with_language`."""
    return [
        {
            "k": language.key,
            "name": language.name,
            "g": language.group,
            "far": {name: number(far) for name, far in language.far.items()},
        }
        for language in facts.languages
    ]
