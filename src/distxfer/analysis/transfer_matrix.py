"""Runs of one recipe on many sources: transfer from every source to every target, and what it goes with.

Source: Philippy et al. 2023, "Identifying the Correlation Between Language Distance and Cross-Lingual Transfer", SIGTYP.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from distxfer.analysis.matching import distance_label, distances_of
from distxfer.errors import InputError, listed, unknown
from distxfer.languages import DISTANCES, check_distance, lineage, permutation_groups, script
from distxfer.measure import correlate_pairs, holm, relative_transfer
from distxfer.results.collect import Collection, Method
from distxfer.results.settings import differing
from distxfer.results.tables import sound_scores

PairMethod = Literal["spearman", "pearson"]
_FREE = ("task.source", "task.targets", "distance.", "parallel.")  # what runs on other sources may differ in
_MEASURES = {"drift_cka": "drift", "retrieval_weak_forward": "retrieval"}


@dataclass(frozen=True)
class TransferMatrix:
    """Transfer between all pairs of a source and a target, in means over seeds.

    - `cells`: one row per pair: `source`, `target`, `score`, `transfer` (relative: (score - s) / s, with s the score of the
      source), `distance`, `drift` after training (mean over the blocks), `retrieval` (weak, forward, last layer; NaN without
      pairs), `seeds`. A language with itself is a row, with transfer and distance 0.
    - `layers`: `source`, `target`, `layer`, `measure` (`drift` or `retrieval`), `value`, `n` (texts).
    - `correlations`: `relation`, `layer` (0: no layer, or the mean over them), `r`, `p`, `p_holm`, `n` (pairs), `reason`.
    - `rankings`: how well a rule chooses the source of a target (see `regrets`).
    """

    recipe: str
    model: str
    task: str
    metric: str
    distance: str
    method: PairMethod
    diagonal: bool
    cells: pd.DataFrame
    layers: pd.DataFrame
    correlations: pd.DataFrame
    rankings: pd.DataFrame
    notes: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def sources(self) -> list[str]:
        """The sources, relatives beside each other."""
        return sorted(self.cells["source"].unique(), key=lambda code: (lineage(code), code))

    @property
    def targets(self) -> list[str]:
        """The targets, relatives beside each other."""
        return sorted(self.cells["target"].unique(), key=lambda code: (lineage(code), code))

    def records(self) -> dict[str, Any]:
        """Return all tables as JSON data; NaN is None."""
        names = ("recipe", "model", "task", "metric", "distance", "method", "diagonal", "notes", "left_out")
        tables = {name: getattr(self, name) for name in ("cells", "layers", "correlations", "rankings")}
        return {name: getattr(self, name) for name in names} | {
            name: table.astype(object).where(table.notna(), None).to_dict("records") for name, table in tables.items()
        }


def transfer_matrix(
    collection: Collection,
    *,
    metric: str = "",
    distance_name: str = "",
    imputed: bool | None = None,
    matrix: Path | None = None,
    method: PairMethod = "spearman",
    diagonal: bool = False,
) -> TransferMatrix:
    """Return the transfer matrix of finished runs that differ in their source alone.

    Correlations are over the pairs of different languages (`diagonal`: and those of a language with itself, as two of the
    paper's three tables have them), tested by `correlate_pairs`: drift with distance and drift with transfer, for each layer
    and their mean, and transfer with distance, also beyond a change of script. Holm is over the layers of a relation.

    Raises InputError for an unknown metric or distance, fewer than two sources, and runs that differ in more than the source.
    """
    check_distance(distance_name or "syntactic", matrix)
    methods, left_out = _one_per_source(collection)
    first = methods[0].runs[0]
    metric = metric or first.metric
    if metric not in (metrics := {row["metric"] for row in first.scores}):
        raise unknown("Metric", metric, metrics)
    of_sources = Collection(tuple(methods), ())
    scores = sound_scores(of_sources.scores, metric)
    seeds = scores.groupby("source")["seed"].nunique()
    table = scores.groupby(["source", "language"])["value"].mean().unstack()
    table, holes = _complete(table)
    name = distance_name or str(first.summary.get("distance", "syntactic"))
    if name == "matrix" and not matrix:
        raise InputError(
            "The runs have distances from a matrix of the user's own. Give it with `--matrix`, or choose `--distance`."
        )
    filled = bool(first.summary.get("imputed", True)) if imputed is None else imputed
    cells = table.rename_axis(columns="target").melt(ignore_index=False, value_name="score").reset_index()
    own = cells["source"].map(cells[cells["source"] == cells["target"]].set_index("source")["score"])
    cells["transfer"] = [
        relative_transfer(score, of_source) for score, of_source in zip(cells["score"], own, strict=True)
    ]
    cells["distance"], notes = _distances(cells, name, filled, matrix)
    layers = _layers(of_sources, cells)
    for measure, of_measure in layers.groupby("measure"):
        blocks = of_measure[of_measure["layer"] > 0]
        blocks = blocks if measure == "drift" else blocks[blocks["layer"] == blocks["layer"].max()]
        cells = cells.join(
            blocks.groupby(["source", "target"])["value"].mean().rename(str(measure)), on=["source", "target"]
        )
    cells = cells.assign(seeds=cells["source"].map(seeds)).reindex(
        columns=["source", "target", "score", "transfer", "distance", "drift", "retrieval", "seeds"]
    )
    if seeds.nunique() > 1:
        notes.append(f"seeds by source: {listed(f'{source} {count}' for source, count in seeds.items())}")
    correlations = _correlations(cells, layers, method, diagonal)
    return TransferMatrix(
        recipe=methods[0].recipe,
        model=first.model,
        task=first.task,
        metric=metric,
        distance=distance_label("matrix" if matrix else name, filled),
        method=method,
        diagonal=diagonal,
        cells=cells,
        layers=layers,
        correlations=correlations,
        rankings=regrets(table.mask(np.equal.outer(table.index, table.columns)), distance_rankings(table, filled)),
        notes=tuple(dict.fromkeys(notes)),
        left_out=(*collection.left_out, *left_out, *holes),
    )


def distance_rankings(scores: pd.DataFrame, imputed: bool = True) -> dict[str, pd.DataFrame]:
    """Return `nearest syntactic` and the like: each distance of URIEL, with rows and columns of `scores`, NaN where unknown."""
    return {
        f"nearest {name}": pd.DataFrame(
            {source: distances_of(str(source), scores.columns, name, imputed, None)[0] for source in scores.index}
        ).T.reindex(index=scores.index, columns=scores.columns)
        for name in DISTANCES
    }


def regrets(scores: pd.DataFrame, rankings: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return what each rule for choosing the source of a target loses against the best source, which only results tell.

    `scores` has a row per source and a column per target, NaN for a language with itself. The candidates of a target t are the
    other sources; the regret of a rule is max_s score(s, t) - score(rule(t), t). Rules: the source with the lowest value in each
    of the `rankings`, which are tables like `scores`; `best for other families`, the source with the highest mean over the
    targets of other families than t's; `always CODE`; and `random`, the mean over the sources.

    Columns: `rule`, `regret` (mean over the targets for which the rule is defined), `hits` (share of them without regret),
    `n` (their number), the smallest regret first.
    """
    families = families_by_code(scores.columns)
    unrelated = pd.DataFrame(
        {target: scores.loc[:, families != families[target]].mean(axis=1) for target in scores.columns}
    )
    outcomes = {"random": scores.mean()}
    outcomes |= {f"always {source}": scores.loc[source] for source in scores.index}
    for rule, ranking in {"best for other families": -unrelated, **rankings}.items():
        ranked = ranking.where(scores.notna()).dropna(axis="columns", how="all")
        chosen = {target: scores[target][source] for target, source in ranked.idxmin().items()}
        outcomes[rule] = pd.Series(chosen, dtype=float)
    table = pd.DataFrame({rule: scores.max() - outcome for rule, outcome in outcomes.items()})
    return (
        pd.DataFrame({"regret": table.mean(), "hits": (table == 0).sum() / table.count(), "n": table.count()})
        .rename_axis("rule")
        .sort_values("regret", kind="stable")
        .reset_index()
    )


def families_by_code(codes: Iterable[str]) -> "pd.Series[str]":
    """Return the family of each language, which is the language itself if it has none."""
    return pd.Series({code: (lineage(code) or (code,))[0] for code in codes})


def _one_per_source(collection: Collection) -> tuple[list[Method], list[str]]:
    """Return the methods with one source that learnt something, and a line for each other one."""
    methods, left_out = [], []
    for method in collection.methods:
        if len(method.runs[0].sources) > 1:
            left_out.append(f"`{method.name}` is left out: it has several sources.")
        elif method.collapsed:
            left_out.append(f"`{method.name}` is left out: {method.collapsed}.")
        else:
            methods.append(method)
    for method in methods:
        prints = [other.runs[0].fingerprints.get("model") for other in (methods[0], method)]
        settings = [
            {key: value for key, value in other.settings.items() if not key.startswith(_FREE)}
            for other in (methods[0], method)
        ]
        if keys := [*differing(settings), *(["model"] if prints[0] != prints[1] else [])]:
            raise InputError(
                f"`{methods[0].name}` and `{method.name}` differ in `{keys[0]}`; a transfer matrix has runs of one recipe, task"
                " and model. Name them, such as `RECIPE/ID`."
            )
    names: dict[str, str] = {}
    for method in methods:
        source = method.runs[0].source
        if source in names:
            raise InputError(
                f"`{names[source]}` and `{method.name}` both have the source `{source}`. Name one of them."
            )
        names[source] = method.name
    if len(names) < 2:
        raise InputError(
            f"A transfer matrix needs runs on at least two sources; there is {listed(names) or 'none'}. Train them:"
            " `distxfer sweep recipe=plain task.source=eng,hin`."
        )
    return methods, left_out


def _complete(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the table without the languages that leave holes in it, those with most holes first, and a line for each."""
    notes = []
    while table.isna().any(axis=None):
        holes = {
            (kind, code): count
            for kind, counts in (("target", table.isna().mean()), ("source", table.isna().mean(axis=1)))
            for code, count in counts.items()
        }
        kind, code = max(holes, key=lambda key: (holes[key], key[0] == "target"))
        missing = table[code] if kind == "target" else table.T[code]
        notes.append(f"`{code}` is left out as a {kind}: no score with {listed(missing[missing.isna()].index)}.")
        table = table.drop(columns=code) if kind == "target" else table.drop(index=code)
        table = table[table.index.isin(table.columns)]
    if len(table) < 2:
        raise InputError("Fewer than two sources are left without holes:\n" + "\n".join(f"  {note}" for note in notes))
    return table, notes


def _distances(cells: pd.DataFrame, name: str, imputed: bool, matrix: Path | None) -> tuple[list[float], list[str]]:
    """Return the distance of each pair, 0 of a language from itself, and notes."""
    values: dict[tuple[str, str], float] = {}
    notes: list[str] = []
    for source, group in cells.groupby("source"):
        others = [target for target in group["target"] if target != source]
        distances, warnings = distances_of(str(source), others, name, imputed, matrix)
        values |= {(str(source), target): value for target, value in distances.items()} | {
            (str(source), str(source)): 0.0
        }
        notes += warnings
    return [values.get(pair, np.nan) for pair in zip(cells["source"], cells["target"], strict=True)], notes


def _layers(collection: Collection, cells: pd.DataFrame) -> pd.DataFrame:
    """Return drift and retrieval after training by pair and layer, the mean over seeds."""
    rows = collection.measurements
    rows = rows[rows["measure"].isin(_MEASURES) & (rows["moment"] == "after") & (rows["status"] != "collapsed")]
    rows = rows.assign(
        measure=rows["measure"].map(_MEASURES), source=rows["source"].astype(str), target=rows["language"].astype(str)
    )
    means = rows.groupby(["source", "target", "layer", "measure"], observed=True).agg(
        value=("value", lambda values: values.mean(skipna=False)), n=("n", "first")
    )
    return cells[["source", "target"]].merge(means.reset_index(), on=["source", "target"])


def _correlations(cells: pd.DataFrame, layers: pd.DataFrame, method: PairMethod, diagonal: bool) -> pd.DataFrame:
    """Return the paper's correlations; see `transfer_matrix`."""
    kept = cells if diagonal else cells[cells["source"] != cells["target"]]
    drift = layers[(layers["measure"] == "drift") & (layers["layer"] > 0)]
    columns = {
        int(str(layer)): kept[["source", "target"]]
        .merge(of_layer, how="left", on=["source", "target"])["value"]
        .to_numpy()
        for layer, of_layer in drift.groupby("layer")
    }
    columns = {0: kept["drift"].to_numpy(), **columns} if columns else {}
    scripts = {code: script(code) for code in {*kept["source"], *kept["target"]}}
    other_script = np.array(
        [float(scripts[s] != scripts[t]) for s, t in zip(kept["source"], kept["target"], strict=True)]
    )
    distance, transfer = kept["distance"].to_numpy(float), kept["transfer"].to_numpy(float)
    tests: list[tuple[str, int, Any, Any, Any]] = [
        *(("drift, distance", layer, values, distance, None) for layer, values in columns.items()),
        *(("drift, transfer", layer, values, transfer, None) for layer, values in columns.items()),
        ("transfer, distance", 0, transfer, distance, None),
        ("transfer, distance | script", 0, transfer, distance, other_script),
    ]
    rows = []
    for relation, layer, x, y, covariates in tests:
        keep = _defined_languages(kept, np.isfinite(x) & np.isfinite(y))
        names = kept.loc[keep]
        codes = sorted({*names["source"], *names["target"]})
        found = correlate_pairs(
            x[keep], y[keep], None if covariates is None else covariates[keep],
            sources=names["source"].tolist(), targets=names["target"].tolist(),
            groups=dict(zip(codes, permutation_groups(codes), strict=True)), method=method,
        )  # fmt: skip
        rows.append((relation, layer, found.r, found.p, found.n, found.reason))
    table = pd.DataFrame(rows, columns=["relation", "layer", "r", "p", "n", "reason"])
    table["p_holm"] = np.nan
    for _, of_relation in table.dropna(subset="p").groupby("relation"):
        table.loc[of_relation.index, "p_holm"] = holm(of_relation["p"].tolist())
    return table[["relation", "layer", "r", "p", "p_holm", "n", "reason"]]


def _defined_languages(
    cells: pd.DataFrame, defined: "np.ndarray[Any, np.dtype[np.bool_]]"
) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Return which pairs are left without the targets (and sources) of a pair that is not defined: complete again."""
    targets = set(cells.loc[~defined, "target"])
    return (~cells["target"].isin(targets) & ~cells["source"].isin(targets)).to_numpy()
