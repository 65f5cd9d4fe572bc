"""A transfer matrix as tables and as a heat map."""

from pathlib import Path
from typing import Any, Literal

import pandas as pd

from distxfer.analysis.transfer_matrix import TransferMatrix
from distxfer.languages import group_kind, language_name, permutation_groups, permuted_within
from distxfer.reports.tables import Table
from distxfer.reports.vega import COLOURS, check_figure, write_figure

_CELL = 22  # pixels
_ALPHA = 0.05


def matrix_tables(matrix: TransferMatrix) -> list[Table]:
    """Return the sources, the correlations, the partial effects and the rules for choosing a source."""
    return [_sources(matrix), _correlations(matrix), _effects(matrix), _rules(matrix)]


def cells_table(matrix: TransferMatrix) -> Table:
    """Return all pairs, one row each: those of `cells`, then those of `layers`."""
    cells = matrix.cells.melt(["source", "target", "seeds"], var_name="measure").dropna(subset="value")
    rows = pd.concat([cells.assign(layer=None), matrix.layers.assign(seeds=None)])
    columns = ("source", "target", "layer", "measure", "value", "n", "seeds")
    rows = rows.reindex(columns=list(columns)).astype(object)
    return Table(columns, [tuple(row) for row in rows.where(rows.notna(), None).itertuples(index=False)])


def _sources(matrix: TransferMatrix) -> Table:
    """Return one row per source, the best for all other languages first."""
    rows = []
    for name, of_source in matrix.cells.groupby("source"):
        source, is_own = str(name), of_source["target"] == name
        others = of_source[~is_own].sort_values("score", kind="stable")
        worst, best = (f"{cell.target} {cell.score:.3f}" for cell in others.iloc[[0, -1]].itertuples())
        own, mean, transfer = of_source["score"][is_own].item(), others["score"].mean(), others["transfer"].mean()
        rows.append((source, language_name(source), own, mean, transfer, best, worst, int(others["seeds"].iloc[0])))
    rows.sort(key=lambda row: -row[3])
    return Table(
        columns=("source", "name", "own", "others", "transfer", "best target", "worst target", "seeds"),
        rows=rows,
        optional=("name", "best target"),
        title=f"{matrix.recipe}: {matrix.task}, {len(matrix.sources)} sources x {len(matrix.targets)} targets",
        notes=(
            f"{matrix.metric}; own: of the source itself; others: mean over all other languages; transfer: mean of"
            " (score - own) / own.",
            *(f"{note}." if not note.endswith(".") else note for note in matrix.notes),
            *matrix.left_out,
        ),
    )


def _correlations(matrix: TransferMatrix) -> Table:
    """Return one row per relation and distance: over the mean of the layers, and at the layer where it is strongest."""
    rows = []
    for (relation, distance), of_relation in matrix.correlations.groupby(["relation", "distance"], sort=False):
        overall = of_relation[of_relation["layer"] == 0].iloc[0]
        layers = of_relation[of_relation["layer"] > 0].dropna(subset="r")
        strongest = layers.sort_values("r", key=abs).iloc[-1] if len(layers) else None
        at_layer = "" if strongest is None else f"{strongest['layer']}: {strongest['r']:.3f}"
        p_at_layer = None if strongest is None else _number(strongest["p_holm"])
        name = str(relation).replace("distance", str(distance))
        rows.append((name, overall["n"], _number(overall["r"]), _number(overall["p_holm"]), at_layer, p_at_layer))
    languages = sorted({*matrix.sources, *matrix.targets})
    groups = len({group[:1] or code for code, group in zip(languages, permutation_groups(languages), strict=True)})
    reasons = dict.fromkeys(reason for reason in matrix.correlations["reason"] if isinstance(reason, str))
    return Table(
        columns=("correlation of", "pairs", "r", "p (Holm)", "layer: r", "layer: p (Holm)"),
        rows=rows,
        title=f"{matrix.method.capitalize()} correlations over pairs of languages",
        notes=(
            f"drift: 1 - {'biased' if matrix.biased else 'unbiased'} CKA, mean over the layers, then at the layer where its"
            " correlation is strongest. Holm over the distances, and at a layer over the layers.",
            f"p: whole languages are rearranged (QAP) within {permuted_within(len(languages))}, since pairs that share a language"
            f" are not independent: {len(languages)} languages in {groups} {group_kind(len(languages))}. Pairs of a language with"
            f" itself are {'included' if matrix.diagonal else 'left out'}."
            f"{' Missing features of distances are imputed.' if matrix.imputed else ''}",
            *(f"{reason}." for reason in reasons),
        ),
    )


def _effects(matrix: TransferMatrix) -> Table:
    """Return one row per term of the partial effects."""
    reasons = dict.fromkeys(reason for reason in matrix.effects["reason"] if isinstance(reason, str))
    return Table(
        columns=("transfer with", "pairs", "partial r", "p"),
        rows=[(row.term, row.n, _number(row.r), _number(row.p)) for row in matrix.effects.itertuples()],
        title="Partial correlations with transfer",
        notes=("each beyond all others, by the same rearrangements.", *(f"{reason}." for reason in reasons)),
    )


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _rules(matrix: TransferMatrix) -> Table:
    """Return the rules for choosing a source: of those that always take one source, the best, and English."""
    rules = matrix.rankings
    fixed = rules[rules["rule"].str.startswith("always ")]
    shown = rules[~rules.index.isin(fixed.index[1:]) | (rules["rule"] == "always eng")]
    return Table(
        columns=("source by", "regret", "best chosen", "targets"),
        rows=[(row.rule, row.regret, row.hits, row.n) for row in shown.itertuples()],
        title="What rules for choosing a source lose",
        notes=(
            f"regret: {matrix.metric} of the best other source, which only results tell, less that of the chosen one; mean over"
            f" the targets. Of the rules `always SOURCE`, the best{' and English' if len(shown) < len(rules) else ''}.",
        ),
    )


def matrix_figure(matrix: TransferMatrix, path: Path) -> None:
    """Draw scores and drift of all pairs as heat maps, relatives beside each other, and the correlations by layer.

    An .html file needs no network. Raises InputError as `check_figure` does, or where the file cannot be written.
    """
    import altair

    check_figure(path)
    title = f"{matrix.recipe}: {matrix.task}"
    maps = [_heat_map(matrix, "score", matrix.metric, "viridis")]
    rows = []
    if matrix.cells["drift"].notna().any():
        maps.append(_heat_map(matrix, "drift", "drift", "magma"))
        rows.append(_layers_chart(matrix, _CELL * len(matrix.targets) * 2 + 150))
    chart = (
        altair.vconcat(altair.hconcat(*maps).resolve_scale(color="independent"), *rows)
        .resolve_scale(color="independent")
        .properties(
            background="white",
            title=altair.TitleParams(title, subtitle="Relatives are beside each other.", anchor="start"),
        )
        .configure_view(stroke=None)
    )
    write_figure(chart.to_dict(), path, title)


def _heat_map(matrix: TransferMatrix, column: str, title: str, scheme: Literal["viridis", "magma"]) -> Any:
    """Return a heat map of a column of `cells`."""
    import altair

    sources, targets = matrix.sources, matrix.targets
    cells = matrix.cells[["source", "target", column]].astype(object)
    rows = [
        dict(zip(map(str, cells), row, strict=True)) for row in cells.where(cells.notna(), None).itertuples(index=False)
    ]
    return (
        altair.Chart(altair.InlineData(values=rows))
        .mark_rect(stroke="white", strokeWidth=0.5)
        .encode(
            x=altair.X("target:N", sort=targets, title="target", axis=altair.Axis(labelAngle=-90)),
            y=altair.Y("source:N", sort=sources, title="source"),
            color=altair.Color(f"{column}:Q", title=title, scale=altair.Scale(scheme=scheme, zero=False)),
            tooltip=["source:N", "target:N", altair.Tooltip(f"{column}:Q", format=".3f")],
        )
        .properties(width=_CELL * len(targets), height=_CELL * len(sources), title=title)
    )


def _layers_chart(matrix: TransferMatrix, width: int) -> Any:
    """Return the correlations of drift by layer: a line for each distance and for transfer; filled: p (Holm) <= .05."""
    import altair

    table = matrix.correlations.query("layer > 0").dropna(subset="r")
    table = table.assign(
        series=table["distance"].where(table["distance"] != "", "transfer"), shown=table["p_holm"] <= _ALPHA
    )
    names = list(dict.fromkeys(table["series"]))
    colours = {"transfer": "black", **dict(zip(matrix.distances, COLOURS, strict=False))}
    scale = altair.Scale(domain=names, range=[colours[name] for name in names])
    table = table[["layer", "series", "r", "shown"]].astype(object)
    rows = [dict(zip(map(str, table), row, strict=True)) for row in table.itertuples(index=False)]
    base = altair.Chart(altair.InlineData(values=rows)).encode(
        x=altair.X("layer:O", title="layer", axis=altair.Axis(labelAngle=0)),
        y=altair.Y("r:Q", title="correlation with drift", scale=altair.Scale(domain=[-1, 1])),
        color=altair.Color("series:N", title="drift with", scale=scale, sort=names),
    )
    points = base.mark_point(size=50, opacity=1).encode(
        fill=altair.condition("datum.shown", altair.Color("series:N", scale=scale, legend=None), altair.value("white")),
        tooltip=["series:N", "layer:O", altair.Tooltip("r:Q", format=".2f")],
    )
    title = altair.TitleParams(
        f"{matrix.method.capitalize()} correlation of drift with distance and with transfer",
        subtitle=f"Filled: p (Holm over the layers) <= {_ALPHA}",
        anchor="start",
    )
    return (base.mark_line() + points).properties(width=width, height=220, title=title)
