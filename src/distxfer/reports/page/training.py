"""Training: the objective, its terms and their gradients over the steps, and cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from distxfer.reports.page.charts import (
    AXIS,
    GRID,
    NAME_AXIS,
    chart,
    lookup,
    method_choice,
    name_lines,
    of_pair,
    pair_dash,
    pair_encoding,
    titled,
    tooltip,
)
from distxfer.reports.page.facts import Facts
from distxfer.reports.page.figures import TICKS, Choice, Drawn, Figure, Pick, Section
from distxfer.reports.page.run_files import as_float, has_log
from distxfer.reports.tables import Table

_COST = {
    "forwards": "forward passes",
    "seconds": "seconds",
    "steps": "steps",
    "tokens": "tokens",
    "peak_memory_mb": "peak memory, MB",
    "trainable_parameters": "trainable parameters",
}


def curves(facts: Facts) -> Section:
    """Return the objective, every term, gradients and samples over the steps, from the available logs."""
    rows = facts.curves
    missing = [method.name for method in facts.methods if not has_log(method.sound)]
    note = (
        f"There is no log.jsonl beside the results of {', '.join(missing)}, so objective and terms cannot be drawn. Copy the"
        " run folders with their logs to see them."
    )  # fmt: skip
    if rows.empty:
        return Section("curves", "Learning curves", [note if missing else "Nothing was logged."])
    return Section(
        "curves",
        "Learning curves",
        [
            "One quantity over the steps: the mean over seeds, and a band from the smallest to the largest seed. Other methods"
            " are thin grey lines. Points of the objective and of terms are means over one twenty-fifth of the training; terms"
            " are unweighted. Samples are a few dozen texts per language, measured at intervals.",
            "Gradients are those of weighted terms at the sampled steps. Cosine with the task's: near 0, term and task are"
            " independent; below 0, they conflict. Share of the step: ⟨g_term, g⟩ / |g|², with g the gradient of the objective.",
            *([note] if missing else []),
        ],
        figures=[
            Figure(
                "learning-curves",
                "Lines of one quantity over the training steps, of a method and the baseline.",
                _curve_chart,
                {"curves": rows},
                choices=(
                    method_choice(facts),
                    Choice("term", "Quantity", {name: name for name in rows["name"].unique()}),
                ),
                panels="term",
                shares_axes=False,
            )
        ],
        tables=[_curve_table(rows)],
        commands=["cat RUN/log.jsonl  # one line per step; `diagnostics` in RUN/result.json has what was sampled"],
    )


def cost(facts: Facts) -> Section:
    """Return the cost of each run by method."""
    rows = pd.DataFrame(
        [
            {"method": method.name, "quantity": quantity, "value": value, "seed": run.seed}
            for method in facts.methods
            for run in method.sound
            for quantity, value in _costs(run.cost).items()
        ],
        columns=["method", "quantity", "value", "seed"],
    )
    present = {name: text for name, text in _COST.items() if name in set(rows["quantity"])}
    height = max(28, 14 * name_lines(facts)) * len(facts.methods) + 10
    figure = Figure(
        "cost",
        "Dot plot of the cost of each run, a row per method.",
        lambda pick: _cost_chart(pick, height),
        {"costs": rows},
        choices=(Choice("quantity", "Quantity", present),),
        panels="quantity",
        shares_axes=False,
    )
    return Section(
        "cost",
        "Cost",
        [
            "Training cost: a mark per run and a bar at the mean. Seconds depend on the machine and its load; forward passes,"
            " steps and tokens do not."
        ],
        figures=[figure] if present else [],
        tables=[_cost_table(facts, rows)],
        commands=["cat RUN/result.json  # `cost`"],
    )


def _curve_chart(pick: Pick) -> Drawn:
    chosen = f"datum.name === {pick['term']}"
    encoding = pair_encoding(pick)
    x = alt.X("step:Q", title="step", axis=AXIS, scale=alt.Scale(zero=True, nice=False))
    y: dict[str, Any] = {"title": None, "axis": GRID, "scale": alt.Scale(zero=False)}
    pair = of_pair("curves", pick).transform_filter(chosen).encode(x=x, color=encoding["color"])
    line = pair.encode(y=alt.Y("mean:Q", **y))
    shown = tooltip(method="method", step="step, .0f", mean="mean, .3~g", seeds="seeds")
    faint = (
        chart("curves")
        .transform_filter(f"{chosen} && datum.method !== {pick['method']} && datum.method !== {pick['baseline']}")
        .mark_line(strokeWidth=1, color="var(--faint)", aria=False)
        .encode(x=x, y=alt.Y("mean:Q", **y), detail="method:N", tooltip=tooltip(method="method"))
    )
    return alt.layer(
        faint,
        pair.transform_filter("datum.seeds > 1")
        .mark_area(opacity=0.18, aria=False)
        .encode(y=alt.Y("low:Q", **y), y2="high:Q"),
        line.mark_line(strokeWidth=2, aria=False).encode(strokeDash=pair_dash()),
        line.mark_point(size=25, filled=True, opacity=1).encode(shape=encoding["shape"], tooltip=shown),
    ).properties(height=300, title=titled(pick["term"]))


def _cost_chart(pick: Pick, height: int) -> Drawn:
    base = (
        chart("costs")
        .transform_filter(f"datum.quantity === {pick['quantity']}")
        .encode(y=alt.Y("method:N", title=None, sort=None, axis=NAME_AXIS))
    )
    axis = alt.Axis(format="~s", grid=True, tickCount=alt.ExprRef(TICKS))
    return alt.layer(
        base.mark_tick(thickness=3, size=18, color="var(--ink)").encode(
            x=alt.X("mean(value):Q", title=None),
            tooltip=[alt.Tooltip("method:N"), alt.Tooltip("mean(value):Q", title="mean", format=".4~s")],
        ),
        base.mark_point(size=55, strokeWidth=1.6, opacity=0.9, color="var(--accent)").encode(
            x=alt.X("value:Q", title=None, scale=alt.Scale(zero=True), axis=axis),
            tooltip=tooltip(method="method", seed="seed", value="value, .4~s"),
        ),
    ).properties(height=height, title=titled(lookup(_COST, pick["quantity"])))


def _costs(stored: Mapping[str, Any]) -> dict[str, float]:
    """Return the costs of a run, with the total of forward passes."""
    costs = {name: value for name in stored if name in _COST and (value := as_float(stored[name])) is not None}
    per_step = as_float(stored.get("forwards_per_step"))
    if per_step is not None and "steps" in costs:
        costs["forwards"] = per_step * costs["steps"]
    return costs


def _curve_table(rows: pd.DataFrame) -> Table:
    keys = ["method", "name", "seeds"]
    curves_by_key = {key: list(curve["mean"].map("{:.3g}".format)) for key, curve in rows.groupby(keys, sort=False)}
    longest = max(map(len, curves_by_key.values()))
    return Table(
        ("method", "quantity", "seeds", *(f"{place}" for place in range(1, longest + 1))),
        [(*key, *values, *[None] * (longest - len(values))) for key, values in curves_by_key.items()],
        title="Means over seeds, from the first to the last point",
        notes=(
            "The points of terms divide the training into equal parts; those of samples and gradients are sampled steps.",
        ),
    )


def _cost_table(facts: Facts, rows: pd.DataFrame) -> Table:
    means = rows.pivot_table(index="method", columns="quantity", values="value").reindex(columns=list(_COST))
    means = means.reindex([method.name for method in facts.methods])
    return Table(
        ("method", "runs", *_COST.values()),
        [
            (
                method.name,
                len(method.sound),
                *(None if value != value else f"{value:,.0f}" for value in means.loc[method.name]),
            )
            for method in facts.methods
        ],
        title="Mean cost of a run",
    )
