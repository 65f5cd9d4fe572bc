"""Training: the objective and its terms, their gradients, and cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import altair as alt

from distxfer.reports._report._charts import (
    AXIS,
    GRID,
    NAME_AXIS,
    TICKS,
    Choice,
    Drawn,
    Figure,
    Pick,
    Row,
    Section,
    View,
    chart,
    fixed,
    method_choice,
    name_lines,
    number,
    numbers,
    of_pair,
    pair_colour,
    pair_dash,
    pair_shape,
    rule,
    tooltip,
)
from distxfer.reports._report._facts import Facts
from distxfer.reports._report._runs import Curve, as_float
from distxfer.reports._vega import SHAPES
from distxfer.reports.tables import Table

_COST = {
    "forwards": "forward passes",
    "seconds": "seconds",
    "steps": "steps",
    "tokens": "tokens",
    "peak_memory_mb": "peak memory, MB",
    "trainable_parameters": "trainable parameters",
}
_SAMPLED = {
    "sample/drift": "drift of a sample, mean of the targets",
    "sample/retrieval": "retrieval of a sample, mean of the targets",
}
_COLOURS = (
    "var(--accent)",
    "var(--warm)",
    "var(--green)",
    "var(--pink)",
    "var(--orange)",
    "var(--ink)",
    "var(--quiet)",
)


def curves(facts: Facts) -> Section:
    """Return the objective and every term over the steps, from the available logs."""
    by_method = {
        method.name: {curve.name: curve for curve in (*method.curves, *_sampled(method.diagnostics))}
        for method in facts.methods
    }
    names = list(dict.fromkeys(name for by_name in by_method.values() for name in by_name))
    missing = [method.name for method in facts.methods if not method.curves]
    notes = [
        f"There is no log.jsonl beside the results of {', '.join(missing)}, so objective and terms cannot be drawn. Copy the"
        " run folders with their logs to see them."
    ] if missing else []  # fmt: skip
    text = (
        "One quantity over the steps: the mean over seeds, and a band from the smallest to the largest seed. Other methods"
        " are thin grey lines. Points of the objective and of terms are means over one twenty-fifth of the training; terms are"
        " unweighted. Samples are a few dozen texts per language, measured at intervals.",
        *notes,
    )
    if not names:
        return Section("curves", "Learning curves", tuple(notes) or ("Nothing was logged.",))
    rows = [
        {"m": method, "t": name, **_points(curve), "n": curve.n_seeds}
        for method, by_name in by_method.items()
        for name, curve in by_name.items()
    ]
    return Section(
        "curves",
        "Learning curves",
        text,
        figures=(
            Figure(
                "learning-curves",
                "Lines of one quantity over the training steps, of a method and the baseline.",
                _curve_chart,
                {"curves": rows},
                choices=(method_choice(facts), Choice("term", "Quantity", {name: name for name in names})),
                panels="term",
            ),
        ),
        tables=(_curve_table(by_method),),
        commands=("cat RUN/log.jsonl  # one line per step; `diagnostics` in RUN/result.json has what was sampled",),
    )


def gradients(facts: Facts) -> Section | None:
    """Return the cosine of the gradient of every term with that of the task, None if none was logged."""
    by_method = {
        method.name: {
            curve.name.removeprefix("gradient/").replace("/cosine", ""): curve
            for curve in method.diagnostics
            if "/cosine" in curve.name
        }
        for method in facts.methods
    }
    with_any = [name for name, by_term in by_method.items() if by_term]
    if not with_any:
        return None
    rows = [
        {"m": method, "t": term, **_points(curve), "n": curve.n_seeds}
        for method, by_term in by_method.items()
        for term, curve in by_term.items()
    ]
    choice = Choice("gradients", "Method", {name: name for name in with_any})
    return Section(
        "gradients",
        "Gradients of the terms",
        (
            "The cosine between the gradient of each weighted term and that of the task at the sampled steps: the mean over"
            " seeds, and a band from the smallest to the largest. Near 0, term and task are independent; below 0, they conflict.",
            "The share in the table is ⟨g_term, g⟩ / |g|², with g the gradient of the whole objective: the term's part of the"
            " step. Methods whose only term is the task are omitted.",
        ),
        figures=(
            Figure(
                "gradient-cosines",
                "Lines of the cosine of each term's gradient with the task's, over the steps.",
                lambda pick: _cosine_chart(pick, {name: list(by_term) for name, by_term in by_method.items()}),
                {"cosines": rows},
                choices=(choice,),
                views=(View(title_of="gradients"),),
                panels="gradients",
                shares_axes=True,
            ),
        ),
        tables=(_gradient_table(facts, by_method),),
        commands=("cat RUN/result.json  # `diagnostics`: gradient/TERM/cosine and gradient/TERM/share by step",),
    )


def cost(facts: Facts) -> Section:
    """Return the cost of each run by method."""
    rows = [
        {"m": method.name, "q": quantity, "v": number(value), "seed": run.seed}
        for method in facts.methods
        for run in method.sound
        for quantity, value in _costs(run.cost).items()
    ]
    present = [name for name in _COST if any(row["q"] == name for row in rows)]
    return Section(
        "cost",
        "Cost",
        (
            "Training cost: a mark per run and a bar at the mean. Seconds depend on the machine and its load; forward passes,"
            " steps and tokens do not.",
        ),
        figures=(
            Figure(
                "cost",
                "Dot plot of the cost of each run, a row per method.",
                lambda pick: _cost_chart(pick, max(28, 14 * name_lines(facts)) * len(facts.methods) + 10),
                {"costs": rows},
                choices=(Choice("quantity", "Quantity", {name: _COST[name] for name in present}),),
                panels="quantity",
            ),
        )
        if rows
        else (),
        tables=(_cost_table(facts),),
        commands=("cat RUN/result.json  # `cost`",),
    )


def _sampled(diagnostics: Sequence[Curve]) -> list[Curve]:
    """Return the sampled curves under readable names."""
    return [
        Curve(label + curve.name.removeprefix(start), curve.steps, curve.mean, curve.low, curve.high, curve.n_seeds)
        for curve in diagnostics
        for start, label in _SAMPLED.items()
        if curve.name.startswith(start)
    ]


def _points(curve: Curve) -> Row:
    columns = {"v": curve.mean} | ({"lo": curve.low, "hi": curve.high} if curve.n_seeds > 1 else {})
    return {"x": [number(step, 6) for step in curve.steps]} | {
        name: numbers(values) for name, values in columns.items()
    }


def _curve_chart(pick: Pick) -> Drawn:
    chosen = of_pair("curves", pick).transform_filter(f"datum.t === {pick['term']}")
    colour = pair_colour(pick)
    shown = tooltip(("m", "method"), ("x", "step", ".0f"), ("v", "mean", ".3~g"), ("n", "seeds"))
    band, line = _band_and_line(chosen, fixed(pick, "term") or "", colour)
    points = line.mark_point(size=25, filled=True, opacity=1).encode(shape=pair_shape(pick), tooltip=shown)
    other_lines = (
        chart("curves")
        .transform_filter(
            f"datum.t === {pick['term']} && datum.m !== {pick['method']} && datum.m !== {pick['baseline']}"
        )
        .transform_flatten(["x", "v"])
        .mark_line(strokeWidth=1, color="var(--faint)", aria=False)
        .encode(x="x:Q", y=alt.Y("v:Q", title=None), detail="m:N", tooltip=tooltip(("m", "method")))
    )
    return alt.layer(
        other_lines, band, line.mark_line(strokeWidth=2, aria=False).encode(strokeDash=pair_dash()), points
    ).properties(height=300, title=alt.TitleParams(text=alt.ExprRef(pick["term"]), anchor="start"))


def _cosine_chart(pick: Pick, by_method: Mapping[str, Sequence[str]]) -> Drawn:
    chosen = chart("cosines").transform_filter(f"datum.m === {pick['gradients']}")
    terms = list(dict.fromkeys(term for method_terms in by_method.values() for term in method_terms))
    places = range(len(terms))
    method_terms = alt.ExprRef(f"{json.dumps(by_method)}[{pick['gradients']}]")
    legend = alt.Legend(title=None, values=method_terms)
    colours, shapes = ([kinds[place % 7] for place in places] for kinds in (_COLOURS, SHAPES))
    colour = alt.Color("t:N", scale=alt.Scale(domain=terms, range=colours), legend=legend)
    shape = alt.Shape("t:N", scale=alt.Scale(domain=terms, range=shapes), legend=legend)
    shown = tooltip(("t", "term"), ("x", "step", ".0f"), ("v", "cosine", "+.3f"), ("n", "seeds"))
    band, line = _band_and_line(chosen, "cosine with the task's gradient", colour)
    return alt.layer(
        rule(0, axis="y"),
        band,
        line.mark_line(strokeWidth=2, aria=False),
        line.mark_point(size=55, filled=True, opacity=1).encode(shape=shape, tooltip=shown),
    ).properties(height=280)


def _band_and_line(chosen: alt.Chart, title: str, colour: alt.Color) -> tuple[alt.Chart, alt.Chart]:
    """Return the band over seeds, and the base chart of the line and its points."""
    x = alt.X("x:Q", title="step", axis=AXIS, scale=alt.Scale(zero=True, nice=False))
    scale = alt.Scale(zero=False)
    band = chosen.transform_filter("isValid(datum.lo)").transform_flatten(["x", "lo", "hi"])
    return (
        band.mark_area(opacity=0.18, aria=False).encode(
            x=x, y=alt.Y("lo:Q", title=title or None, axis=GRID, scale=scale), y2="hi:Q", color=colour
        ),
        chosen.transform_flatten(["x", "v"]).encode(
            x=x, y=alt.Y("v:Q", title=title or None, axis=GRID, scale=scale), color=colour
        ),
    )


def _cost_chart(pick: Pick, height: int) -> Drawn:
    base = (
        chart("costs")
        .transform_filter(f"datum.q === {pick['quantity']}")
        .encode(y=alt.Y("m:N", title=None, sort=None, axis=NAME_AXIS))
    )
    quantity = fixed(pick, "quantity")
    x_title = _COST[quantity] if quantity else None
    x = alt.X(
        "v:Q",
        title=x_title,
        scale=alt.Scale(zero=True),
        axis=alt.Axis(format="~s", grid=True, tickCount=alt.ExprRef(TICKS)),
    )
    return alt.layer(
        base.mark_tick(thickness=3, size=18, color="var(--ink)").encode(
            x=alt.X("mean(v):Q", title=x_title),
            tooltip=[alt.Tooltip("m:N", title="method"), alt.Tooltip("mean(v):Q", title="mean", format=".4~s")],
        ),
        base.mark_point(size=55, strokeWidth=1.6, opacity=0.9, color="var(--accent)").encode(
            x=x, tooltip=tooltip(("m", "method"), ("seed", "seed"), ("v", "value", ".4~s"))
        ),
    ).properties(
        height=height, title=alt.TitleParams(text=_title(pick["quantity"]), anchor="start")
    )  # fmt: skip


def _title(quantity: str) -> Any:
    return alt.ExprRef(f"{json.dumps(_COST)}[{quantity}]")


def _costs(stored: Mapping[str, Any]) -> dict[str, float]:
    """Return the costs of a run, with the total of forward passes."""
    costs = {name: value for name in stored if name in _COST and (value := as_float(stored[name])) is not None}
    per_step = as_float(stored.get("forwards_per_step"))
    if per_step is not None and "steps" in costs:
        costs["forwards"] = per_step * costs["steps"]
    return costs


def _curve_table(by_method: Mapping[str, Mapping[str, Curve]]) -> Table:
    longest = max(len(curve.mean) for by_name in by_method.values() for curve in by_name.values())
    rows = [
        (method, name, curve.n_seeds, *numbers(curve.mean), *[None] * (longest - len(curve.mean)))
        for method, by_name in by_method.items()
        for name, curve in by_name.items()
    ]
    return Table(
        ("method", "quantity", "seeds", *(f"{place}" for place in range(1, longest + 1))),
        rows,
        title="Means over seeds, from the first to the last point",
        notes=("The points of a term divide the training into equal parts; those of a sample are the sampled steps.",),
    )


def _gradient_table(facts: Facts, by_method: Mapping[str, Mapping[str, Curve]]) -> Table:
    rows = []
    for method in facts.methods:
        shares = {curve.name: curve for curve in method.diagnostics if "/share" in curve.name}
        for term, curve in by_method[method.name].items():
            name, separator, phase = term.partition(" in ")
            share = shares.get(f"gradient/{name}/share{separator}{phase}")
            rows.append(
                (
                    method.name,
                    term,
                    fmean(curve.mean),
                    min(curve.low),
                    max(curve.high),
                    None if share is None else fmean(share.mean),
                    len(curve.steps),
                    curve.n_seeds,
                )
            )
    return Table(
        ("method", "term", "mean cosine", "smallest", "largest", "mean share", "sampled steps", "seeds"),
        rows,
        title="Gradients of the terms",
    )


def _cost_table(facts: Facts) -> Table:
    rows = []
    for method in facts.methods:
        costs = [_costs(run.cost) for run in method.sound]
        cells = []
        for name in _COST:
            values = [run_costs[name] for run_costs in costs if name in run_costs]
            cells.append(f"{fmean(values):,.0f}" if values else None)
        rows.append((method.name, len(costs), *cells))
    return Table(("method", "runs", *_COST.values()), rows, title="Mean cost of a run")
