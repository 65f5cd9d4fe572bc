"""Tables of two checkpoints: languages by distance, alignment, and correlations by layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from statistics import fmean
from typing import TYPE_CHECKING

from distxfer.encoders import layer_numbers
from distxfer.languages import group_kind, language_name, permuted_within
from distxfer.reports._tables import Table

if TYPE_CHECKING:  # it brings torch
    from distxfer.analysis.relations import Relation
    from distxfer.checkpoints.measure import Measured
    from distxfer.measure import Decomposition

_BANDS = ("lower", "middle", "upper")
_LEVEL = 0.05
_AROUND, _A_LAYER, _A_CELL = 62, 7, 8  # characters: the first table without layers, one layer there, one correlation


def measure_tables(measured: Measured, width: int | None = None) -> list[Table]:
    """Return the tables of languages, alignment, similarity, correlations and decomposition that apply.

    They are made for a terminal of `width` columns (None: all layers).
    """
    tables = [_languages(measured, width), _correlations(measured, width)]
    if any(row.measure.startswith("similarity_") for row in measured.rows):
        tables.insert(1, _similarity(measured))
    if any(row.measure.startswith("retrieval") for row in measured.rows):
        tables.insert(1, _alignment(measured))
    return tables if measured.decomposition is None else [*tables, _decomposition(measured, measured.decomposition)]


def _languages(measured: Measured, width: int | None) -> Table:
    """Return one row per language: distance, score, mean drift, and drift by layer or by thirds of the layers."""
    depth = measured.layers
    if width is None or _AROUND + _A_LAYER * depth <= width:
        columns: dict[str, tuple[int, ...]] = {str(layer): (layer,) for layer in range(1, depth + 1)}
    else:
        columns = {band: layer_numbers(band, depth, "layers") for band in _BANDS if depth >= len(_BANDS)}
    rows = []
    for language in measured.ordered:
        drift = measured.drift(language)
        means = [_mean([drift[layer] for layer in layers]) for layers in (range(1, depth + 1), *columns.values())]
        far = None if language == measured.source else measured.distances[measured.distance].get(language)
        scores = (measured.scores[language], measured.transfer.get(language)) if measured.scores else ()
        rows.append((language, language_name(language), far, *scores, measured.sizes[language], *means))
    scored = (measured.metric, "transfer") if measured.scores else ()
    return Table(
        columns=("language", "name", measured.distance, *scored, "n", "drift", *columns),
        rows=rows,
        optional=("n",),
        title=f"{measured.before} → {measured.after}: {measured.task}",
        notes=(
            f"drift: 1 − CKA ({_bias(measured)}, linear; {measured.pooling} pooling) of the test sentences, mean over the"
            f" layers, then by layer{'' if width is None or '1' in columns else ' (thirds)'}. The source comes first.",
            *([f"transfer: ({measured.metric} − source) / source."] if measured.transfer else []),
            *_outlier(measured),
            *measured.notes,
        ),
    )


def _similarity(measured: Measured) -> Table:
    """Return one row per language: each measure of `measure.similarity`, the mean over the layers."""
    by_language: dict[tuple[str, str], list[float]] = {}
    for row in measured.rows:
        if row.measure.startswith("similarity_") and row.layer > 0:
            by_language.setdefault((row.language, row.measure.removeprefix("similarity_")), []).append(row.value)
    names = list(dict.fromkeys(name for _, name in by_language))
    return Table(
        columns=("language", "name", "n", *names),
        optional=("n",),
        rows=[
            (
                language,
                language_name(language),
                measured.sizes[language],
                *(_mean(by_language[language, name]) for name in names),
            )
            for language in measured.ordered
        ],
        title="Similarity of the test sentences before and after, mean over the layers",
        notes=("By layer: --json.",),
    )


def _alignment(measured: Measured) -> Table:
    """Return one row per target: retrieval at the last layer, before and after."""
    kinds = ("weak", "strong", "csls")
    by_key = {
        (row.measure, row.language, row.moment): row
        for row in measured.rows
        if row.layer == measured.layers and row.measure.startswith("retrieval")
    }
    rows = []
    for language in measured.ordered:
        names = [f"retrieval_{kind}_forward" for kind in kinds]
        cells = [by_key.get((name, language, moment)) for name in names for moment in ("before", "after")]
        measured_cells = [cell for cell in cells if cell is not None]
        if measured_cells:
            values = (None if cell is None else cell.value for cell in cells)
            rows.append((language, language_name(language), measured_cells[0].n, 1 / measured_cells[0].n, *values))
    return Table(
        columns=("language", "name", "n", "chance", *(f"{kind}{then}" for kind in kinds for then in ("", " →"))),
        rows=rows,
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


def _correlations(measured: Measured, width: int | None) -> Table:
    """Return one row per distance and one for transfer, with a column per layer; transposed for a narrow terminal."""
    layers = [None, *range(1, measured.layers + 1)]
    names = [*measured.distances, *(["transfer"] if measured.transfer else [])]
    by_name: dict[str, list[Relation | None]] = {
        name: [measured.relation(f"correlation_drift_{name}", layer) for layer in layers] for name in names
    }
    heads = ["mean", *(str(layer) for layer in range(1, measured.layers + 1))]
    if measured.transfer:
        heads.insert(0, "transfer")
        for name in names:
            by_name[name].insert(0, None if name == "transfer" else measured.relation(f"correlation_transfer_{name}"))
    cells = {name: [_cell(row) for row in relations] for name, relations in by_name.items()}
    if width is None or 16 + _A_CELL * len(heads) <= width:
        columns, rows = ("drift with", *heads), [(name, *cells[name]) for name in names]
    else:
        columns, rows = ("drift at", *names), [(head, *row) for head, *row in zip(heads, *cells.values(), strict=True)]
    used = [row for relations in by_name.values() for row in relations if row is not None]
    subject = "of drift with each distance" + (
        " and with transfer; `transfer`: of transfer" if measured.transfer else ""
    )
    return Table(
        columns=tuple(columns),
        rows=rows,
        title=f"{measured.method.capitalize()} correlation {subject}",
        notes=tuple(_about(measured, used)),
    )


def _cell(relation: Relation | None) -> str | None:
    if relation is None or relation.found.r is None:
        return None
    star = "*" if relation.p_holm is not None and relation.p_holm <= _LEVEL else ""
    return f"{relation.found.r:+.2f}{star}"


def _about(measured: Measured, used: Sequence[Relation]) -> list[str]:
    """Return the sample of the correlations, their test, and the smallest detectable one."""
    sizes = sorted({row.found.n for row in used})
    groups = sorted({row.found.n_groups for row in used})
    kinds = " or ".join(dict.fromkeys(map(group_kind, sizes)))
    within = " or ".join(dict.fromkeys(map(permuted_within, sizes)))
    smallest = [row.found.detectable for row in used if row.found.detectable is not None]
    source = f"the source `{measured.source}` (the diagonal) is {'included' if measured.diagonal else 'excluded'}"
    lines = [
        f"n = {_range(sizes)} languages in {_range(groups)} {kinds}; {source}; {_bias(measured)} CKA, {measured.pooling}"
        f" pooling; distances from `{measured.source}`{', gaps imputed' if measured.imputed else ''}.",
        f"*: p ≤ {_LEVEL} by permutations within {within}; Holm-corrected over all layers and distances"
        f" ({_count(used, 'correlation_drift_', 'transfer')} tests)"
        + (
            f", over the layers for drift with transfer ({_count(used, 'correlation_drift_transfer')}), over the distances"
            f" for transfer ({_count(used, 'correlation_transfer_')})."
            if measured.transfer
            else "."
        ),
    ]
    if smallest:
        lines.append(f"Smallest |r| detectable with this many languages: {_numbers(smallest)}.")
    return lines


def _count(used: Sequence[Relation], start: str, but: str = "-") -> int:
    return sum(
        row.measure.startswith(start) and not row.measure.endswith(but) and row.p_holm is not None for row in used
    )


def _outlier(measured: Measured) -> list[str]:
    """Return a note if one dimension holds most of the variance, since raw CKA then measures that dimension."""
    shares = [row for row in measured.rows if row.measure == "top_dimension_share" and not isnan(row.value)]
    largest = max(shares, key=lambda row: row.value, default=None)
    if largest is None or largest.value <= 0.5:
        return []
    return [
        f"One dimension holds up to {largest.value:.2f} of the variance (layer {largest.layer}, {largest.language},"
        f" {largest.moment}): compare `drift_cka_standardised` (--json)."
    ]


def _bias(measured: Measured) -> str:
    return "unbiased" if measured.unbiased else "biased"


def _mean(values: Sequence[float]) -> float | None:
    mean = fmean(values)
    return None if isnan(mean) else mean


def _range(numbers: Sequence[int]) -> str:
    return f"{numbers[0]}" if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"


def _numbers(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
