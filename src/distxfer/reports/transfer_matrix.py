"""A transfer matrix as tables and as a heat map."""

from pathlib import Path
from typing import Any

import pandas as pd

from distxfer.analysis.transfer_matrix import TransferMatrix
from distxfer.languages import group_kind, language_name, permutation_groups, permuted_within
from distxfer.reports.tables import Table
from distxfer.reports.vega import check_figure, write_figure

_CELL = 22  # pixels


def matrix_tables(matrix: TransferMatrix) -> list[Table]:
    """Return the sources, the correlations and the rules for choosing a source."""
    return [_sources(matrix), _correlations(matrix), _rules(matrix)]


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
    """Return one row per relation: over the mean of the layers, and at the layer where it is strongest."""
    rows = []
    for relation, of_relation in matrix.correlations.groupby("relation", sort=False):
        overall = of_relation[of_relation["layer"] == 0].iloc[0]
        layers = of_relation[of_relation["layer"] > 0].dropna(subset="r")
        strongest = layers.sort_values("r", key=abs).iloc[-1] if len(layers) else None
        at_layer = "" if strongest is None else f"{strongest['layer']}: {strongest['r']:.3f}"
        p_holm = None if strongest is None else _number(strongest["p_holm"])
        rows.append((relation, overall["n"], _number(overall["r"]), _number(overall["p"]), at_layer, p_holm))
    languages = sorted({*matrix.sources, *matrix.targets})
    groups = len({group[:1] or code for code, group in zip(languages, permutation_groups(languages), strict=True)})
    reasons = dict.fromkeys(reason for reason in matrix.correlations["reason"] if isinstance(reason, str))
    return Table(
        columns=("correlation of", "pairs", "r", "p", "layer: r", "p (Holm)"),
        rows=rows,
        title=f"{matrix.method.capitalize()} correlations over pairs, {matrix.distance} distance",
        notes=(
            "drift: mean over the layers, then at the layer where its correlation is strongest; Holm over the layers. `| script`:"
            " beyond whether the two are written in different scripts.",
            f"p: whole languages are rearranged (QAP) within {permuted_within(len(languages))}, since pairs that share a language"
            f" are not independent: {len(languages)} languages in {groups} {group_kind(len(languages))}. Pairs of a language with"
            f" itself are {'included' if matrix.diagonal else 'left out'}.",
            *(f"{reason}." for reason in reasons),
        ),
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
    """Draw the scores of all pairs as a heat map, relatives beside each other; an .html file needs no network.

    Raises InputError as `check_figure` does, or where the file cannot be written.
    """
    import altair

    check_figure(path)
    sources, targets = matrix.sources, matrix.targets
    columns = ["source", "target", "score", "transfer"]
    data = [dict(zip(columns, row, strict=True)) for row in matrix.cells[columns].itertuples(index=False)]
    chart = (
        altair.Chart(altair.InlineData(values=data))
        .mark_rect(stroke="white", strokeWidth=0.5)
        .encode(
            x=altair.X("target:N", sort=targets, title="target", axis=altair.Axis(labelAngle=-90)),
            y=altair.Y("source:N", sort=sources, title="source"),
            color=altair.Color("score:Q", title=matrix.metric, scale=altair.Scale(scheme="viridis")),
            tooltip=[
                "source:N",
                "target:N",
                altair.Tooltip("score:Q", format=".3f"),
                altair.Tooltip("transfer:Q", format=".2f"),
            ],
        )
        .properties(
            width=_CELL * len(targets),
            height=_CELL * len(sources),
            background="white",
            title=altair.TitleParams(
                f"{matrix.recipe}: {matrix.task}", subtitle="Relatives are beside each other.", anchor="start"
            ),
        )
        .configure_view(stroke=None)
    )
    write_figure(chart.to_dict(), path, f"{matrix.recipe}: {matrix.task}")
