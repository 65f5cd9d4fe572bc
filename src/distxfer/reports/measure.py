"""Tables of two checkpoints: languages by distance, alignment, and correlations by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from distxfer.encoders import layer_numbers
from distxfer.languages import group_kind, language_name, permuted_within
from distxfer.reports._wording import span
from distxfer.reports.tables import Table

if TYPE_CHECKING:  # it brings torch
    from distxfer.analysis.relations import Relation
    from distxfer.checkpoints.measure import Measured
    from distxfer.measure import Decomposition

_BANDS = ("lower", "middle", "upper")
_LEVEL = 0.05
_AROUND, _A_LAYER = 62, 7  # characters: the first table without layers, and one layer there


def measure_tables(measured: Measured, width: int | None = None) -> list[Table]:
    """Return the tables of languages, alignment, similarity, correlations and decomposition that apply.

    They are made for a terminal of `width` columns (None: all layers).
    """
    rows = pd.DataFrame([vars(row) for row in measured.rows])
    retrieval = rows[rows["measure"].str.fullmatch("retrieval_.*_forward") & (rows["layer"] == measured.layers)]
    similarity = rows[rows["measure"].str.startswith("similarity_") & (rows["layer"] > 0)]
    return [
        _languages(measured, rows, width),
        *([] if retrieval.empty else [_alignment(measured, retrieval)]),
        *([] if similarity.empty else [_similarity(measured, similarity)]),
        _correlations(measured),
        *([] if measured.decomposition is None else [_decomposition(measured, measured.decomposition)]),
    ]


def _languages(measured: Measured, rows: pd.DataFrame, width: int | None) -> Table:
    """Return one row per language: distance, score, mean drift, and drift by layer or by thirds of the layers."""
    depth = measured.layers
    by_layer = width is None or _AROUND + _A_LAYER * depth <= width
    if by_layer:
        columns: dict[str, tuple[int, ...]] = {str(layer): (layer,) for layer in range(1, depth + 1)}
    else:
        columns = {band: layer_numbers(band, depth, "layers") for band in _BANDS if depth >= len(_BANDS)}
    table_rows = []
    for language in measured.ordered:
        drift = pd.Series(measured.drift(language))
        means = [drift[list(layers)].mean(skipna=False) for layers in (range(1, depth + 1), *columns.values())]
        far = None if language == measured.source else measured.distances[measured.distance].get(language)
        scores = (measured.scores[language], measured.transfer.get(language)) if measured.scores else ()
        cells = (None if pd.isna(mean) else float(mean) for mean in means)
        table_rows.append((language, language_name(language), far, *scores, measured.sizes[language], *cells))
    scored = (measured.metric, "transfer") if measured.scores else ()
    return Table(
        columns=("language", "name", measured.distance, *scored, "n", "drift", *columns),
        rows=table_rows,
        optional=("n",),
        title=f"{measured.before} → {measured.after}: {measured.task}",
        notes=(
            f"drift: 1 − CKA ({_bias(measured)}, linear; {measured.pooling} pooling) of the test sentences, mean over the"
            f" layers, then by layer{'' if by_layer else ' (thirds)'}. The source comes first.",
            *([f"transfer: ({measured.metric} − source) / source."] if measured.transfer else []),
            *_outlier(rows),
            *measured.notes,
        ),
    )


def _outlier(rows: pd.DataFrame) -> list[str]:
    """Return a note if one dimension holds most of the variance, since raw CKA then measures that dimension."""
    shares = rows[(rows["measure"] == "top_dimension_share") & (rows["value"] > 0.5)].sort_values("value")
    return [
        f"One dimension holds up to {row.value:.2f} of the variance (layer {row.layer}, {row.language}, {row.moment}): compare"
        " `drift_cka_standardised` (--json)."
        for row in shares.tail(1).itertuples()
    ]


def _similarity(measured: Measured, rows: pd.DataFrame) -> Table:
    """Return one row per language: each measure of `measure.similarity`, the mean over the layers."""
    names = list(rows["measure"].unique())
    means = (
        rows.groupby(["language", "measure"])["value"].agg(lambda values: values.mean(skipna=False)).dropna().to_dict()
    )
    return Table(
        columns=("language", "name", "n", *(name.removeprefix("similarity_") for name in names)),
        optional=("n",),
        rows=[
            (
                language,
                language_name(language),
                measured.sizes[language],
                *(means.get((language, name)) for name in names),
            )
            for language in measured.ordered
        ],
        title="Similarity of the test sentences before and after, mean over the layers",
        notes=("By layer: --json.",),
    )


def _alignment(measured: Measured, rows: pd.DataFrame) -> Table:
    """Return one row per target: retrieval at the last layer, before and after."""
    kinds = ("weak", "strong", "csls")
    values = rows.set_index(["language", "measure", "moment"])["value"].to_dict()
    sizes = rows.groupby("language")["n"].first()
    table_rows = [
        (
            language,
            language_name(language),
            int(sizes[language]),
            1 / int(sizes[language]),
            *(
                values.get((language, f"retrieval_{kind}_forward", moment))
                for kind in kinds
                for moment in ("before", "after")
            ),
        )
        for language in measured.ordered
        if language in sizes
    ]
    return Table(
        columns=("language", "name", "n", "chance", *(f"{kind}{then}" for kind in kinds for then in ("", " →"))),
        rows=table_rows,
        optional=("csls", "csls →", "strong", "strong →", "n", "chance"),
        title="Translations found, last layer: before, and after (→)",
        notes=(
            f"n held-out pairs, from `{measured.source}`, by cosine; weak: among the translations; strong: also among"
            " the other source sentences; csls: weak, corrected for hubness. All layers, both directions: --json.",
        ),
    )


def _decomposition(measured: Measured, decomposition: Decomposition) -> Table:
    """Return one row per covariate of transfer, the largest share first."""
    rows = [
        (part.covariate, part.share, part.coefficient, part.r, part.p, part.partial_r, part.partial_p)
        for part in sorted(decomposition.parts, key=lambda part: -part.share)
    ]
    return Table(
        columns=("covariate", "share of R²", "coefficient", "r", "p", "partial r", "p given the others"),
        rows=rows,
        optional=("coefficient", "partial r", "p given the others"),
        title=f"Predictors of transfer: R² = {decomposition.r_squared:.2f} (adjusted {decomposition.adjusted_r_squared:.2f})",
        notes=(
            f"n = {decomposition.n} targets; distance: {measured.distance}; script: differs from the source's; tokens:"
            " per test text, a measure of the tokenizer if the texts are translations. Coefficients in standard deviations;"
            " p by permutations that keep families together, not corrected. Associations, not causes.",
            *decomposition.notes,
        ),
    )


def _correlations(measured: Measured) -> Table:
    """Return a row for transfer, the mean over the layers and each layer, with a column per distance and one for transfer."""
    with_transfer = ["transfer"] if measured.transfer else []
    relations = {(relation.measure, relation.layer): relation for relation in measured.relations}
    names = [*measured.distances, *with_transfer]
    used: dict[str, list[Relation | None]] = {}
    if measured.transfer:
        used["transfer"] = [relations.get((f"correlation_transfer_{name}", None)) for name in names]
    for layer in (None, *range(1, measured.layers + 1)):
        used[str(layer or "mean")] = [relations[f"correlation_drift_{name}", layer] for name in names]
    subject = "of drift with each distance" + (
        " and with transfer; `transfer`: of transfer" if measured.transfer else ""
    )
    return Table(
        columns=("drift at", *names),
        rows=[(head, *map(_cell, cells)) for head, cells in used.items()],
        title=f"{measured.method.capitalize()} correlation {subject}",
        notes=tuple(_about(measured, [cell for cells in used.values() for cell in cells if cell is not None])),
    )


def _cell(relation: Relation | None) -> str | None:
    if relation is None or relation.found.r is None:
        return None
    star = "*" if relation.p_holm is not None and relation.p_holm <= _LEVEL else ""
    return f"{relation.found.r:+.2f}{star}"


def _about(measured: Measured, used: Sequence[Relation]) -> list[str]:
    """Return the sample of the correlations, their test, and the smallest detectable one."""
    correlations = [relation.found for relation in used]
    sizes = sorted({correlation.n for correlation in correlations})
    kinds = " or ".join(dict.fromkeys(map(group_kind, sizes)))
    within = " or ".join(dict.fromkeys(map(permuted_within, sizes)))
    source = f"the source `{measured.source}` (the diagonal) is {'included' if measured.diagonal else 'excluded'}"

    def count(start: str, but: str = "-") -> int:
        return sum(
            row.measure.startswith(start) and not row.measure.endswith(but) and row.p_holm is not None for row in used
        )

    of_transfer = (
        f", over the layers for drift with transfer ({count('correlation_drift_transfer')}), over the distances for transfer"
        f" ({count('correlation_transfer_')})"
        if measured.transfer
        else ""
    )
    lines = [
        f"n = {span(sizes)} languages in {span(correlation.n_groups for correlation in correlations)} {kinds}; {source};"
        f" {_bias(measured)} CKA, {measured.pooling} pooling; distances from `{measured.source}`"
        f"{', gaps imputed' if measured.imputed else ''}.",
        f"*: p ≤ {_LEVEL} by permutations within {within}; Holm-corrected over all layers and distances"
        f" ({count('correlation_drift_', 'transfer')} tests){of_transfer}.",
    ]
    detectable = sorted(
        {f"{correlation.detectable:.2f}" for correlation in correlations if correlation.detectable is not None}
    )
    if detectable:
        smallest = " to ".join(dict.fromkeys((detectable[0], detectable[-1])))
        lines.append(f"Smallest |r| detectable with this many languages: {smallest}.")
    return lines


def _bias(measured: Measured) -> str:
    return "unbiased" if measured.unbiased else "biased"
