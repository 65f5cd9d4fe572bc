"""What the charts of the report share: encodings of a method and its baseline, axes, choices, commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import altair as alt

from distxfer.reports.page.facts import Facts
from distxfer.reports.page.figures import TICKS, Choice, Pick

LAYER_AXIS = alt.Axis(labelAngle=0, labelOverlap=True)
AXIS = alt.Axis(grid=True, tickCount=alt.ExprRef(TICKS))
GRID = alt.Axis(grid=True)
NAME_AXIS = alt.Axis(labelLimit=190, grid=False, ticks=False, domain=False, labelExpr="split(datum.label, ', ')")


def chart(data: str) -> alt.Chart:
    """Return an empty chart of named data."""
    return alt.Chart(alt.NamedData(name=data))


def of_pair(data: str, pick: Pick) -> alt.Chart:
    """Return a chart of the rows of the chosen method and the baseline, with `series` telling them apart."""
    method, baseline = pick["method"], pick["baseline"]
    return (
        chart(data)
        .transform_filter(f"datum.method === {method} || datum.method === {baseline}")
        .transform_calculate(series=f"datum.method === {baseline} ? 'baseline' : 'method'")
    )


def pair_encoding(pick: Pick, details: str = "") -> dict[str, Any]:
    """Return colour and shape of `series`; the legend has the names, each with the value of the expression `details`."""
    method, baseline = pick["method"], pick["baseline"]
    name = f"[{method}, {baseline}][datum.value === 'baseline' ? 1 : 0]"
    full = f"({name} + (datum.value === 'baseline' ? ' (baseline)' : ''))"
    text = details.replace("NAME", name)
    legend = alt.Legend(
        title=None,
        columns=1,
        values=alt.ExprRef(f"{method} === {baseline} ? ['baseline'] : ['baseline', 'method']"),
        labelExpr=f"length({name}) > 28 ? {text} + ' · ' + {full} : {full} + ': ' + {text}" if details else full,
    )
    return styled("series", ["baseline", "method"], ["var(--quiet)", "var(--accent)"], ["circle", "square"], legend)


def pair_dash() -> Any:
    """Return the dash of `series`: the baseline is dashed."""
    return alt.condition("datum.series === 'baseline'", alt.value([5, 3]), alt.value([1, 0]))


def styled(
    name: str, domain: Sequence[str], colours: Sequence[str], shapes: Sequence[str], legend: alt.Legend
) -> dict[str, Any]:
    """Return colour and shape of the values of a field, with one legend for both."""
    return {
        "color": alt.Color(f"{name}:N", scale=alt.Scale(domain=list(domain), range=list(colours)), legend=legend),
        "shape": alt.Shape(f"{name}:N", scale=alt.Scale(domain=list(domain), range=list(shapes)), legend=legend),
    }


def rule(at: float, colour: str = "var(--line-strong)", dash: Sequence[int] = (1, 0), axis: str = "x") -> alt.Chart:
    """Return a line across the chart at a value of an axis."""
    base: alt.Chart = alt.Chart(alt.sequence(0, 1, 1)).mark_rule(color=colour, strokeDash=list(dash), aria=False)
    return base.encode(x=alt.XDatum(at)) if axis == "x" else base.encode(y=alt.YDatum(at))


def tooltip(**fields: str) -> list[alt.Tooltip]:
    """Return tooltips from field=`title` or field=`title, number format`."""
    shown = []
    for name, text in fields.items():
        title, _, form = text.partition(", ")
        shown.append(alt.Tooltip(f"{name}:{'Q' if form else 'N'}", title=title, format=form or alt.Undefined))
    return shown


def titled(expression: str) -> alt.TitleParams:
    """Return a title whose text is the value of an expression."""
    return alt.TitleParams(text=alt.ExprRef(expression), anchor="start")


def method_title(pick: Pick) -> alt.TitleParams:
    """Return the name of the chosen method as a title, in lines if it is long."""
    method = pick["method"]
    return titled(f"split({method} + ({method} === {pick['baseline']} ? ' (baseline)' : ''), ', ')")


def lookup(texts: Mapping[str, Any], key: str) -> str:
    """Return the expression of the text for the value of an expression."""
    return f"{json.dumps(dict(texts))}[{key}]"


def method_choice(facts: Facts) -> Choice:
    """Return the choice of a method other than the baseline, or of the baseline if it is the only one."""
    return Choice("method", "Method", {method.name: method.name for method in facts.methods[1:] or facts.methods})


def distance_choice(facts: Facts) -> Choice:
    """Return the choice of a distance, the main one first."""
    return Choice("distance", "Distance", {name: name for name in facts.distances})


def name_lines(facts: Facts) -> int:
    """Return the number of lines of the longest method name on an axis."""
    return max(method.name.count(", ") + 1 for method in facts.methods)


def size_text(facts: Facts, measure: str) -> str:
    """Return the number of sentences or pairs of a measure: `381`, or `12 to 381`."""
    sizes = facts.layers.loc[facts.layers["measure"].str.startswith(measure), "n"]
    return f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"


def decimal(value: float) -> str | None:
    """Return a number with one decimal; None for NaN, which tables show as a dash."""
    return None if isnan(value) else f"{value:.1f}"


def compare_command(facts: Facts, *options: str) -> str:
    """Return the command that repeats this comparison."""
    by = ("--distance", facts.main_distance) if facts.main_distance != "matrix" else ()
    baseline = facts.baseline.method.name
    return shlex.join(["distxfer", "compare", *facts.words, "--baseline", baseline, *by, *options, "--json"])


def measure_command(facts: Facts, *options: str) -> str:
    """Return the command that measures one of these runs again, from its saved model."""
    words = [
        "distxfer",
        "measure",
        f"before={facts.model}",
        "after=RUN/model",
        f"task={facts.task}",
        *options,
        "--json",
    ]
    return f"{shlex.join(words)}  # RUN: the folder of a run whose model was kept"
