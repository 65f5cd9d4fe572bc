"""Drift by layer and language, and its correlation with distance and transfer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np

from distxfer.languages import group_kind
from distxfer.reports._report._charts import (
    AXIS,
    GRID,
    LAYER_AXIS,
    Choice,
    Drawn,
    Figure,
    Pick,
    Row,
    Section,
    by_layer,
    chart,
    distance_choice,
    fixed,
    language_rows,
    measure_command,
    method_choice,
    number,
    numbers,
    of_pair,
    pair_colour,
    pair_dash,
    pair_shape,
    rule,
    side_by_side,
    tooltip,
    with_language,
)
from distxfer.reports._report._facts import Facts, Studied
from distxfer.reports._report._labels import marks, place_all
from distxfer.reports._report._relations import Related, drift_relations, permutations
from distxfer.reports.tables import Table

_FORMS = {"": "raw", "_standardised": "dimensions standardised"}  # suffixes of `drift_cka`
_MOMENTS = {"after": "after training", "before": "before training"}
_ROW = 22  # pixels of a language's row
_MEAN = "mean"


def drift(facts: Facts) -> Section | None:
    """Return drift by layer and language, None if nothing was measured."""
    rows = _rows(facts)
    if not rows:
        return None
    labels = _labels(facts)
    values = [value for row in rows for by in row["v"].values() for layers in by.values() for value in layers]
    largest = max((value for value in values if value is not None), default=1.0)
    return Section(
        "drift",
        "Drift by layer and language",
        (
            "How far training moved the representations of each language at each layer: 1 − CKA (linear, unbiased) between the"
            " pretrained and the trained encoder on the test sentences, mean over seeds. Darker means more drift. The source"
            f" comes first, then the targets by {facts.main_distance} distance (in brackets). Layer 0 is the output of the"
            " embeddings.",
            "Before training, drift is 0 by construction. The unbiased estimate can be slightly negative. Empty cells are"
            " undefined.",
        ),
        figures=(
            Figure(
                "drift-by-layer",
                "Heat map of drift, a row per language and a column per layer.",
                lambda pick: _heat_map(pick, labels, largest),
                {"drift": rows},
                choices=(method_choice(facts), Choice("form", "Drift", _FORMS), Choice("moment", "Moment", _MOMENTS)),
                views=side_by_side(facts),
                panels="method",
                shares_axes=True,
            ),
        ),
        tables=(_table(facts),),
        commands=(measure_command(facts),),
        is_open=True,
    )


def drift_against(facts: Facts) -> Section | None:
    """Return the correlation of drift with distance and transfer at each layer, None if nothing was measured."""
    related = {method.name: drift_relations(facts, method) for method in facts.methods if method.depth}
    if not any(row.correlation.r is not None for by in related.values() for row in by.values()):
        return None
    depth = max(method.depth for method in facts.methods)
    against = {**{name: f"{name} distance" for name in facts.distances}, "transfer": "relative transfer, %"}
    layers = {_MEAN: "mean of the layers", **{str(layer): f"layer {layer}" for layer in range(1, depth + 1)}}
    return Section(
        "drift-against",
        "Drift against distance and transfer",
        (
            "First, Spearman's correlation over target languages between drift and each distance, and between drift and relative"
            " transfer, at every layer (the analysis of Philippy et al. 2023). Positive with distance: distant languages move"
            " more. Negative with transfer: languages that move more transfer worse. Then the points of one layer.",
            f"*: p ≤ 0.05 by permutations within {permutations(related.values())}, after Holm over all layers and"
            " distances of a method (for transfer: over layers). Dotted: the smallest correlation detectable with 80 % power"
            " with this many independent languages. The source is excluded.",
        ),
        figures=(
            Figure(
                "drift-correlations-by-layer",
                "Lines of the correlation of drift with distance and with transfer, layer by layer.",
                lambda pick: _lines(pick, facts.distances, depth, _detectable(related)),
                {"related": _relation_rows(related)},
                choices=(method_choice(facts), distance_choice(facts)),
                views=side_by_side(facts),
                panels="method",
                shares_axes=True,
            ),
            Figure(
                "drift-by-distance",
                "Scatter of drift at one layer against distance or transfer, a point per language.",
                lambda pick: _scatter(pick, against, layers),
                {"drift": _rows(facts), "transfers": _transfers(facts), "languages": language_rows(facts)},
                choices=(method_choice(facts), Choice("layer", "Layer", layers), Choice("against", "Against", against)),
                panels="method",
                shares_axes=True,
            ),
        ),
        tables=(_relation_table(facts, related, depth),),
        commands=(measure_command(facts),),
    )


def _labels(facts: Facts) -> dict[str, str]:
    """Return the row labels in order."""
    main = facts.main_distance
    labels = {
        language.key: f"{language.name} ({language.far[main]:.2f})" if main in language.far else language.name
        for language in facts.languages
    }
    return {facts.source: f"{facts.source_name} (source)", **labels}


def _rows(facts: Facts) -> list[Row]:
    """Return a row per method and language, with drift by form, moment and layer under `v` and its mean under `a`."""
    rows: list[Row] = []
    for method in facts.methods:
        for key in (facts.source, *(language.key for language in facts.languages)):
            values_by_form = {
                form: {
                    moment: numbers(values)
                    for moment in _MOMENTS
                    if (values := method.measured(f"drift_cka{form}", moment, key)) is not None
                }
                for form in _FORMS
            }
            if any(values_by_form.values()):
                after = method.drift(key)
                mean = None if after is None else _mean(after)
                rows.append({"m": method.name, "k": key, "v": values_by_form, "a": mean})
    placed = {name: _placed(facts, rows, name) for name in (*facts.distances, "transfer")}
    for row in rows:
        labels = {name: by_method.get(row["m"], {}).get(row["k"]) for name, by_method in placed.items()}
        row["at"] = {name: label for name, label in labels.items() if label}
    return rows


def _placed(facts: Facts, rows: Sequence[Row], against: str) -> dict[str, dict[str, str]]:
    """Return the labels of each method's points in the plot of its mean drift, where they fit; see `place`."""
    across = {
        (method.name, language.key): method.transfer(language.key)
        if against == "transfer"
        else language.far.get(against)
        for method in facts.methods
        for language in facts.languages
    }
    points: dict[str, dict[str, tuple[float, float]]] = {}
    for row in rows:
        x = across.get((row["m"], row["k"]))
        if x is not None and row["a"] is not None:
            points.setdefault(row["m"], {})[row["k"]] = x, row["a"]
    return place_all(points, facts.baseline.name, {language.key: language.name for language in facts.languages})


def _transfers(facts: Facts) -> list[Row]:
    transfers = {
        (method.name, language.key): method.transfer(language.key)
        for method in facts.methods
        for language in facts.languages
    }
    return [
        {"id": f"{name}\n{key}", "t": None if value is None else number(100 * value)}
        for (name, key), value in transfers.items()
    ]


def _heat_map(pick: Pick, labels: Mapping[str, str], largest: float) -> Drawn:
    base = by_layer(
        chart("drift")
        .transform_filter(f"datum.m === {pick['method']}")
        .transform_calculate(
            label=f"{json.dumps(dict(labels))}[datum.k]", drift=f"datum.v[{pick['form']}][{pick['moment']}] || []"
        ),
        "drift",
    ).encode(
        x=alt.X("layer:O", title="layer", axis=LAYER_AXIS),
        y=alt.Y("label:N", title=None, sort=list(labels.values()), axis=alt.Axis(labelLimit=190, ticks=False)),
        tooltip=tooltip(("label", "language"), ("layer", "layer"), ("drift", "drift", ".3f")),
    )
    colour = alt.Color(
        "drift:Q",
        title="drift",
        scale=alt.Scale(scheme="viridis", reverse=True, domain=[0, largest], clamp=True),
        legend=alt.Legend(format=".2f", gradientLength=160),
    )
    return alt.layer(
        base.transform_filter("!isValid(datum.drift)").mark_rect(fill="var(--line)"),
        base.transform_filter("isValid(datum.drift)")
        .mark_rect(stroke="var(--paper)", strokeWidth=1)
        .encode(color=colour),
    ).properties(height=_ROW * len(labels))


def _relation_rows(related: Mapping[str, Mapping[tuple[str, int | None], Related]]) -> list[Row]:
    rows = []
    for method, by in related.items():
        for name in dict.fromkeys(name for name, _ in by):
            layer_relations = [row for (distance, layer), row in by.items() if distance == name and layer is not None]
            rows.append(
                {
                    "m": method,
                    "d": name,
                    "r": numbers(row.correlation.r for row in layer_relations),
                    "p": numbers(row.p_holm for row in layer_relations),
                    "sure": [row.is_sure for row in layer_relations],
                }
            )
    return rows


def _detectable(related: Mapping[str, Mapping[tuple[str, int | None], Related]]) -> float | None:
    detectable = [
        row.correlation.detectable
        for by in related.values()
        for row in by.values()
        if row.correlation.detectable is not None
    ]
    return max(detectable, default=None)


def _lines(pick: Pick, distances: Sequence[str], depth: int, detectable: float | None) -> Drawn:
    kinds = ["distance", "transfer", "other"]
    base = (
        by_layer(chart("related").transform_filter(f"datum.m === {pick['method']}"), "r", "p", "sure", first=1)
        .transform_filter("isValid(datum.r)")
        .transform_calculate(
            kind=f"datum.d === 'transfer' ? 'transfer' : datum.d === {pick['distance']} ? 'distance' : 'other'"
        )
    )
    x = alt.X("layer:O", title="layer", axis=LAYER_AXIS, scale=alt.Scale(domain=list(range(1, depth + 1))))
    y = alt.Y("r:Q", title="Spearman's ρ with drift", axis=GRID, scale=alt.Scale(domain=[-1, 1]))
    legend = alt.Legend(
        title=None,
        columns=2,
        values=kinds if len(distances) > 1 else kinds[:2],
        labelExpr=f"datum.value === 'distance' ? {pick['distance']} + ' distance' : datum.value === 'other' ? 'other distances'"
        " : 'transfer'",
    )
    colour = alt.Color(
        "kind:N", scale=alt.Scale(domain=kinds, range=["var(--accent)", "var(--warm)", "var(--faint)"]), legend=legend
    )
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=kinds, range=["circle", "square", "cross"]), legend=legend)
    shown = tooltip(("d", "drift with"), ("layer", "layer"), ("r", "ρ", "+.2f"), ("p", "p (Holm)", ".3f"))
    faint, strong = "datum.kind === 'other'", "datum.kind !== 'other'"
    limits = [] if detectable is None else [rule(sign * detectable, dash=(2, 3), axis="y") for sign in (1, -1)]
    return alt.layer(
        rule(0, axis="y"),
        *limits,
        base.transform_filter(faint).mark_line(strokeWidth=1, aria=False).encode(x=x, y=y, color=colour, detail="d:N"),
        base.transform_filter(faint)
        .mark_point(size=16, strokeWidth=1, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=shown),
        base.transform_filter(strong)
        .mark_line(strokeWidth=2.2, aria=False)
        .encode(
            x=x, y=y, color=colour, detail="d:N",
            strokeDash=alt.condition("datum.kind === 'transfer'", alt.value([6, 3]), alt.value([1, 0])),
        ),
        base.transform_filter(strong)
        .mark_point(size=60, filled=True, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=shown),
        base.transform_filter("datum.sure")
        .mark_text(text="*", dy=-8, fontSize=18, fontWeight="bold", color="var(--ink)", aria=False)
        .encode(x=x, y=y),
    ).properties(height=300)  # fmt: skip


def _scatter(pick: Pick, against: Mapping[str, str], layers: Mapping[str, str]) -> Drawn:
    layer, against_name = pick["layer"], pick["against"]
    points = (
        with_language(of_pair("drift", pick))
        .transform_filter("isValid(datum.far)")  # not the source
        .transform_calculate(id="datum.m + '\\n' + datum.k")
        .transform_lookup(
            lookup="id", from_=alt.LookupData(data=alt.NamedData(name="transfers"), key="id", fields=["t"])
        )
        .transform_calculate(
            x=f"{against_name} === 'transfer' ? datum.t : datum.far[{against_name}]",
            y=f"{layer} === '{_MEAN}' ? datum.a : (datum.v[''].after || [])[toNumber({layer})]",
        )
        .transform_filter("isValid(datum.x) && isValid(datum.y)")
    )
    quantity = fixed(pick, "against")
    x_title = against[quantity] if quantity else None
    x = alt.X("x:Q", title=x_title, axis=AXIS, scale=alt.Scale(zero=False, padding=12))
    y = alt.Y("y:Q", title="drift", scale=alt.Scale(zero=False, padding=12))
    colour = pair_colour(pick)
    shown = tooltip(("name", "language"), ("m", "method"), ("x", "against", ".3~f"), ("y", "drift", ".3f"))
    drawn = alt.layer(
        points.transform_regression("x", "y", groupby=["series"])
        .mark_line(strokeWidth=2, aria=False)
        .encode(x=x, y=y, color=colour, strokeDash=pair_dash()),
        *marks(
            points.transform_filter(f"datum.m === {pick['method']}"),
            f"{layer} === '{_MEAN}' ? (datum.at || {{}})[{against_name}] || '' : ''",
            x=x,
            y=y,
            color=colour,
        ),
        points.mark_point(size=60, filled=True, opacity=1).encode(
            x=x, y=y, color=colour, shape=pair_shape(pick), tooltip=shown
        ),
    ).properties(height=320)
    if quantity:
        return drawn
    title = (
        f"['Drift, ' + {json.dumps(dict(layers))}[{layer}], 'against ' + {json.dumps(dict(against))}[{against_name}]]"
    )
    return drawn.properties(title=alt.TitleParams(text=alt.ExprRef(title), anchor="start"))


def _table(facts: Facts) -> Table:
    """Return drift after training, a row per method and language: the mean over layers and each layer."""
    depth = max(method.depth for method in facts.methods)
    rows = []
    for method in facts.methods:
        for key, label in _labels(facts).items():
            for form, form_label in _FORMS.items():
                values = method.measured(f"drift_cka{form}", "after", key)
                if values is not None:
                    rows.append((method.name, label, form_label, _mean(values), *_padded(values, depth + 1)))
    return Table(
        ("method", "language", "drift", "mean", *map(str, range(depth + 1))),
        rows,
        title="Drift after training by layer",
        notes=("mean: over layers 1 and up, without the embeddings (0).", *_sizes(facts.methods)),
    )


def _mean(values: np.ndarray) -> float | None:
    return number(float(values[1:].mean())) if len(values) > 1 else None


def _padded(values: np.ndarray, length: int) -> list[float | None]:
    return [*numbers(values), *[None] * (length - len(values))]


def _sizes(methods: Sequence[Studied]) -> list[str]:
    sizes = [method.layers.sizes["drift_cka"] for method in methods if "drift_cka" in method.layers.sizes]
    if not sizes:
        return []
    smallest, largest = min(low for low, _ in sizes), max(high for _, high in sizes)
    return [f"n = {smallest if smallest == largest else f'{smallest} to {largest}'} test sentences per language."]


def _relation_table(facts: Facts, related: Mapping[str, Mapping[tuple[str, int | None], Related]], depth: int) -> Table:
    rows = []
    for method, by in related.items():
        for name in (*facts.distances, "transfer"):
            cells = [by.get((name, layer)) for layer in (None, *range(1, depth + 1))]
            first = next((row.correlation for row in cells if row is not None), None)
            rows.append((method, name, *map(_cell, cells), first and first.n, first and first.n_groups))
    return Table(
        ("method", "drift with", _MEAN, *map(str, range(1, depth + 1)), "languages", group_kind(len(facts.languages))),
        rows,
        title="Spearman correlation of drift, by layer",
        notes=("*: p ≤ 0.05 after Holm.",),
    )


def _cell(relation: Related | None) -> str | None:
    if relation is None or relation.correlation.r is None:
        return None
    return f"{relation.correlation.r:+.2f}{'*' if relation.is_sure else ''}"
