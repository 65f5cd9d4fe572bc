"""Correlations over languages with family-aware tests, and fitted lines, as a table."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from distxfer.languages import permutation_groups, permuted_within
from distxfer.measure import Correlation, correlate_columns, holm
from distxfer.reports.page.facts import Facts, targets

_DRAWS = 1999  # permutations per correlation: the standard error of p is about 0.005 near p = 0.05
_POINTS = 17  # of a fitted line, whose interval is curved
Array = npt.NDArray[np.float64]
Pair = tuple[dict[str, Any], Any, Any]  # keys, and the names of the columns x and y
Block = tuple[pd.DataFrame, pd.DataFrame, list[Pair]]  # the columns x and y by language


def without_gaps(facts: Facts) -> tuple[pd.DataFrame, list[str]]:
    """Return the scores restricted to targets that every run has, and the names of what was left out.

    As in `compare`, a run that lacks more than half of the targets is left out itself.
    """
    missing = facts.scores.reindex(columns=facts.languages.index).isna()
    sparse = missing.mean(axis=1) > 0.5
    gaps = missing[~sparse].any()
    languages = facts.languages.loc[gaps, "name"]
    runs = [f"seed {seed} of {method}" for method, seed in sorted(missing.index[sparse])]
    return facts.scores[~sparse].drop(columns=languages.index, errors="ignore"), [*languages, *runs]


def by_distance(facts: Facts, scores: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Return the correlations of measures of `targets` with each distance, over the languages and methods of `scores`.

    Holm is over the distances; see `correlations`.
    """
    rows = targets(facts, scores).query("seeds > 0").astype({"code": object})  # which pandas looks up faster than texts
    blocks: list[Block] = [
        (
            table[[*facts.distances]],
            table[[*measures]],
            [
                ({"method": method, "measure": measure, "against": name}, name, measure)
                for measure in measures
                if table[measure].notna().any()
                for name in facts.distances
            ],
        )
        for method, table in rows.set_index("code").groupby("method", sort=False)
    ]
    return correlations(blocks, ["method", "measure"])


def drift_relations(facts: Facts) -> pd.DataFrame:
    """Return the correlations of drift with each distance and with `transfer`: at each layer, and for their mean (layer 0).

    Holm is over all layers and distances of a method; for transfer, over layers (Philippy et al. 2023).
    """
    blocks_of_layers = facts.layers.query("measure == 'drift_cka' and moment == 'after' and layer > 0").astype(
        {"language": object}
    )
    rows = targets(facts, facts.scores).astype({"code": object}).set_index("code")
    across = [*facts.distances, "transfer"]
    blocks: list[Block] = []
    for method, layers in blocks_of_layers.groupby("method", sort=False):
        table = rows[rows["method"] == method]
        columns = layers.pivot(index="language", columns="layer", values="value").reindex(table.index)
        columns.insert(0, 0, table["drift"])
        pairs: list[Pair] = [
            (
                {
                    "method": method,
                    "measure": "drift",
                    "against": name,
                    "layer": layer,
                    "is_transfer": name == "transfer",
                },
                name,
                layer,
            )
            for name in across
            for layer in columns
        ]
        blocks.append((table[across], columns, pairs))
    return correlations(blocks, ["method", "is_transfer"])


def correlations(blocks: Sequence[Block], holm_over: list[str]) -> pd.DataFrame:
    """Return a row per pair: its keys, the fields of `Correlation`, `slope` and `fit` (see `fit_line`), `p_holm` and `sure`.

    Holm's correction is over the rows alike in `holm_over`. Languages without x or y are left out of a pair. Pairs of single
    layers have no line.
    """
    rows = []
    groups_of = cache(permutation_groups)
    for x, y, pairs in blocks:
        correlated = _correlated(x, y, pairs, groups_of)
        for keys, across, up in pairs:
            keys = {"layer": 0, **keys}
            points = np.column_stack([x[across], y[up]])
            slope, fit = (float("nan"), None) if keys["layer"] else fit_line(*points[~np.isnan(points).any(axis=1)].T)
            rows.append({**vars(correlated[across, up]), **keys, "slope": slope, "fit": fit})
    columns = ["method", "measure", "against", "layer", "is_transfer", "r", "p", "n", "n_groups", "detectable", "reason",
               "slope", "fit"]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("r", "p", "detectable", "slope"), float))
    table["p_holm"] = np.nan
    for _, p in table.dropna(subset="p").groupby(holm_over)["p"]:
        table.loc[p.index, "p_holm"] = holm(p.tolist())
    return table.assign(sure=table["p_holm"] <= 0.05)


def _correlated(
    x: pd.DataFrame, y: pd.DataFrame, pairs: Sequence[Pair], groups_of: Callable[[tuple[Any, ...]], Any]
) -> dict[tuple[Any, Any], Correlation]:
    """Return the correlation of each pair, computed at once for all pairs over the same languages."""
    has_x, has_y = ({name: column.notna().to_numpy() for name, column in table.items()} for table in (x, y))
    present = {(across, up): has_x[across] & has_y[up] for _, across, up in pairs}
    alike: dict[bytes, list[tuple[Any, Any]]] = {}
    for pair, mask in present.items():
        alike.setdefault(mask.tobytes(), []).append(pair)
    correlated: dict[tuple[Any, Any], Correlation] = {}
    for group in alike.values():
        mask = present[group[0]]
        across, up = (list(dict.fromkeys(names)) for names in zip(*group, strict=True))
        table = correlate_columns(
            x.loc[mask, across], y.loc[mask, up], groups=groups_of(tuple(x.index[mask])), draws=_DRAWS
        )
        correlated |= {pair: table[across.index(pair[0])][up.index(pair[1])] for pair in group}
    return correlated


def fit_line(x: Array, y: Array) -> tuple[float, dict[str, Array] | None]:
    """Return the slope of the least-squares line of y on x, and points of it: `x`, `y`, `lower`, `upper`.

    The 95 % interval of the mean has the half-width t s sqrt(1 / n + (x - mean)^2 / sum of squares), with s^2 the mean square of
    the residuals and t on n - 2 degrees of freedom. NaN and None for fewer than 4 points, or where x is the same for all.
    """
    n = len(x)
    if n < 4 or np.ptp(x) <= 1e-12:
        return float("nan"), None
    away, at = x - x.mean(), np.linspace(x.min(), x.max(), _POINTS)
    slope = float(away @ y / (away @ away))
    residual = y - y.mean() - slope * away
    margin = float(stdtrit(n - 2, 0.975)) * np.sqrt(residual @ residual / (n - 2))
    half = margin * np.sqrt(1 / n + (at - x.mean()) ** 2 / (away @ away))
    line = y.mean() + slope * (at - x.mean())
    return slope, {"x": at, "y": line, "lower": line - half, "upper": line + half}


def permutations(related: pd.DataFrame) -> str:
    """Return the permutation scheme of the correlations in words."""
    sizes = sorted(related.loc[related["p"].notna(), "n"].unique())
    return " or ".join(dict.fromkeys(map(permuted_within, sizes))) or permuted_within(0)
