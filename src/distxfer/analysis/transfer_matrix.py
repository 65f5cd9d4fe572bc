"""Runs of one recipe on many sources: transfer from every source to every target, and what it goes with.

Source: Philippy et al. 2023, "Identifying the Correlation Between Language Distance and Cross-Lingual Transfer", SIGTYP.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from distxfer.analysis.matching import distances_of
from distxfer.errors import InputError, listed, unknown
from distxfer.languages import DISTANCES, check_distance, lineage, permutation_groups, read_covariates, script
from distxfer.measure import Correlation, correlate_pairs, holm, relative_transfer
from distxfer.results.collect import Collection, Method
from distxfer.results.settings import differing
from distxfer.results.tables import sound_scores

PairMethod = Literal["spearman", "pearson"]
_FREE = ("task.source", "task.targets", "distance.", "parallel.")  # what runs on other sources may differ in
_SCORE, _DRIFT, _BIASED, _RETRIEVAL = "score", "drift_cka", "similarity_cka_biased", "retrieval_weak_forward"


@dataclass(frozen=True)
class Pairs:
    """What finished runs of one recipe on many sources measured, by pair of languages.

    `rows`: `source`, `target`, `seed`, `layer`, `measure`, `value`, `n` (texts): `score` on the test texts (no layer: -1), and
    after training `drift_cka`, `similarity_cka_biased` (where it was measured) and `retrieval_weak_forward`, by layer.
    `distance` is the runs' own, `imputed` whether they fill its gaps.
    """

    recipe: str
    model: str
    task: str
    metric: str
    distance: str
    imputed: bool
    rows: pd.DataFrame
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class TransferMatrix:
    """Transfer between all pairs of a source and a target, in means over seeds.

    - `cells`: one row per pair: `source`, `target`, `score`, `transfer` (relative: (score - s) / s, with s the score of the
      source), a column per distance, `drift` after training (mean over the blocks), `retrieval` (weak, forward, last layer; NaN
      without pairs), `seeds`. A language with itself is a row, with transfer and distances 0.
    - `layers`: `source`, `target`, `layer`, `measure` (`drift` or `retrieval`), `value`, `n` (texts).
    - `correlations`: `relation`, `distance`, `layer` (0: no layer, or the mean over them), `r`, `p`, `p_holm`, `n`
      (pairs), `reason`.
    - `effects`: partial correlations with transfer: `term`, `r`, `p`, `n`, `reason`.
    - `rankings`: how well a rule chooses the source of a target (see `regrets`).

    `distances` are the names of the columns, that of the runs first. `biased`: whether drift is by the biased estimate of CKA.
    """

    recipe: str
    model: str
    task: str
    metric: str
    distances: tuple[str, ...]
    imputed: bool
    biased: bool
    method: PairMethod
    diagonal: bool
    cells: pd.DataFrame
    layers: pd.DataFrame
    correlations: pd.DataFrame
    effects: pd.DataFrame
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
        names = ("recipe", "model", "task", "metric", "distances", "imputed", "biased", "method", "diagonal", "notes")
        tables = {name: getattr(self, name) for name in ("cells", "layers", "correlations", "effects", "rankings")}
        return {name: getattr(self, name) for name in (*names, "left_out")} | {
            name: table.astype(object).where(table.notna(), None).to_dict("records") for name, table in tables.items()
        }


def pairs_of(collection: Collection, metric: str = "") -> Pairs:
    """Return the pairs of finished runs that differ in their source alone.

    Raises InputError for an unknown metric, fewer than two sources, and runs that differ in more than the source.
    """
    methods, left_out = _one_per_source(collection)
    first = methods[0].runs[0]
    metric = metric or first.metric
    if metric not in (metrics := {row["metric"] for row in first.scores}):
        raise unknown("Metric", metric, metrics)
    of_sources = Collection(tuple(methods), ())
    scores = sound_scores(of_sources.scores, metric).assign(measure=_SCORE, layer=-1)
    states = of_sources.measurements
    states = states[states["measure"].isin((_DRIFT, _BIASED, _RETRIEVAL)) & (states["moment"] == "after")]
    columns = ["source", "language", "seed", "layer", "measure", "value", "n"]
    rows = pd.concat([scores[columns], states[states["status"] != "collapsed"][columns]], ignore_index=True)
    rows = rows.rename(columns={"language": "target"}).astype(dict.fromkeys(("source", "target", "measure"), str))
    return Pairs(
        recipe=methods[0].recipe,
        model=first.model,
        task=first.task,
        metric=metric,
        distance=str(first.summary.get("distance", "syntactic")),
        imputed=bool(first.summary.get("imputed", True)),
        rows=rows,
        left_out=(*collection.left_out, *left_out),
    )


def transfer_matrix(
    pairs: Pairs,
    *,
    distance_name: str = "",
    imputed: bool | None = None,
    matrix: Path | None = None,
    covariates: Path | None = None,
    biased: bool = False,
    method: PairMethod = "spearman",
    diagonal: bool = False,
) -> TransferMatrix:
    """Return the transfer matrix of pairs of languages, in means over seeds.

    Correlations are over the pairs of different languages (`diagonal`: and those of a language with itself, as two of the
    paper's three tables have them), tested by `correlate_pairs`: drift with transfer and with each distance, for each layer
    and their mean, and transfer with each distance. Distances: those of URIEL, or only `distance_name`, or the `matrix` of the
    user. Holm is over the layers of a relation and distance, and over the distances where there is no layer. `biased`: drift is
    1 - the biased CKA of the paper, in runs with `measure.similarity=cka_biased`.

    Effects are the partial correlations of transfer with the first distance, a change of script and the `covariates` of source
    and target (a file that `read_covariates` reads), each beyond all others.

    Raises InputError for an unknown distance, fewer than two sources without holes, and pairs without the biased CKA.
    """
    check_distance(distance_name or "syntactic", matrix)
    scores = pairs.rows[pairs.rows["measure"] == _SCORE]
    seeds = scores.groupby("source")["seed"].nunique()
    table, holes = _complete(scores.groupby(["source", "target"])["value"].mean().unstack())
    if pairs.distance == "matrix" and not (matrix or distance_name):
        raise InputError(
            "The runs have distances from a matrix of the user's own. Give it with `--matrix`, or choose `--distance`."
        )
    filled = pairs.imputed if imputed is None else imputed
    cells = table.rename_axis(columns="target").melt(ignore_index=False, value_name="score").reset_index()
    source_scores = cells["source"].map(cells[cells["source"] == cells["target"]].set_index("source")["score"])
    cells["transfer"] = [
        relative_transfer(score, of_source) for score, of_source in zip(cells["score"], source_scores, strict=True)
    ]
    names = ("matrix",) if matrix else (distance_name,) if distance_name else (pairs.distance, *DISTANCES)
    distances, notes = distance_tables(table, dict.fromkeys(names), imputed=filled, matrix=matrix)
    for name, values in distances.items():
        cells[name] = np.array([values.at[pair] for pair in zip(cells["source"], cells["target"], strict=True)], float)
    layers = _layers(pairs.rows, cells, _BIASED if biased else _DRIFT)
    for measure, of_measure in layers.groupby("measure"):
        blocks = of_measure[of_measure["layer"] > 0]
        blocks = blocks if measure == "drift" else blocks[blocks["layer"] == blocks["layer"].max()]
        cells = cells.join(
            blocks.groupby(["source", "target"])["value"].mean().rename(str(measure)), on=["source", "target"]
        )
    cells = cells.assign(seeds=cells["source"].map(seeds)).reindex(
        columns=["source", "target", "score", "transfer", *distances, "drift", "retrieval", "seeds"]
    )
    if seeds.nunique() > 1:
        notes.append(f"seeds by source: {listed(f'{source} {count}' for source, count in seeds.items())}")
    correlated = cells if diagonal else cells[cells["source"] != cells["target"]]
    transfer_scores = table.mask(np.equal.outer(table.index, table.columns))
    return TransferMatrix(
        recipe=pairs.recipe,
        model=pairs.model,
        task=pairs.task,
        metric=pairs.metric,
        distances=tuple(distances),
        imputed=filled,
        biased=biased,
        method=method,
        diagonal=diagonal,
        cells=cells,
        layers=layers,
        correlations=_correlations(correlated, layers, tuple(distances), method),
        effects=_effects(correlated, next(iter(distances)), covariates, method),
        rankings=regrets(transfer_scores, {f"nearest {name}": values for name, values in distances.items()}),
        notes=tuple(dict.fromkeys(notes)),
        left_out=(*pairs.left_out, *holes),
    )


def distance_tables(
    scores: pd.DataFrame,
    names: Iterable[str] = DISTANCES,
    *,
    imputed: bool = True,
    matrix: Path | None = None,
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return each distance as a table with the rows (sources) and columns (targets) of `scores`, and notes on the first one.

    A language is at distance 0 from itself; NaN where a distance is unknown. Raises InputError as `distance` does.
    """
    tables, notes = {}, []
    for number, name in enumerate(names):
        rows = {}
        for source in map(str, scores.index):
            targets = [str(target) for target in scores.columns if target != source]
            values, warnings = distances_of(source, targets, name, imputed, matrix)
            rows[source] = {source: 0.0, **values}
            notes += warnings if number == 0 else []
        tables[name] = pd.DataFrame(rows).T.reindex(index=scores.index, columns=scores.columns)
    return tables, notes


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
                " and model. Name them, such as `RECIPE/ID`, or keep each setting in a folder of its own (`--results`)."
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


def _layers(rows: pd.DataFrame, cells: pd.DataFrame, drift: str) -> pd.DataFrame:
    """Return drift (by this measure) and retrieval by pair and layer, the mean over seeds."""
    if drift == _BIASED and not rows["measure"].eq(_BIASED).any():
        raise InputError(
            "The runs did not measure the biased CKA. Train them with `measure.similarity=cka_biased`, or leave `--biased` out."
        )
    rows = rows[rows["measure"].isin((drift, _RETRIEVAL))]
    rows = rows.assign(
        measure=rows["measure"].map({drift: "drift", _RETRIEVAL: "retrieval"}),
        value=rows["value"].where(rows["measure"] != _BIASED, 1 - rows["value"]),
    )
    means = rows.groupby(["source", "target", "layer", "measure"]).agg(
        value=("value", lambda values: values.mean(skipna=False)), n=("n", "first")
    )
    return cells[["source", "target"]].merge(means.reset_index(), on=["source", "target"])


def _correlations(
    cells: pd.DataFrame, layers: pd.DataFrame, distances: Sequence[str], method: PairMethod
) -> pd.DataFrame:
    """Return the paper's correlations; see `transfer_matrix`."""
    drift = layers[(layers["measure"] == "drift") & (layers["layer"] > 0)]
    columns = {
        int(str(layer)): cells[["source", "target"]]
        .merge(of_layer, how="left", on=["source", "target"])["value"]
        .to_numpy()
        for layer, of_layer in drift.groupby("layer")
    }
    columns = {0: cells["drift"].to_numpy(), **columns} if columns else {}
    transfer = cells["transfer"].to_numpy(float)
    tests: list[tuple[str, str, int, Any, Any]] = [
        ("drift, transfer", "", layer, values, transfer) for layer, values in columns.items()
    ]
    for name in distances:
        values = cells[name].to_numpy(float)
        tests += [("drift, distance", name, layer, of_layer, values) for layer, of_layer in columns.items()]
        tests += [("transfer, distance", name, 0, transfer, values)]
    rows = []
    for relation, name, layer, x, y in tests:
        correlation = _correlate(cells, x, y, None, method)
        rows.append((relation, name, layer, correlation.r, correlation.p, correlation.n, correlation.reason))
    table = pd.DataFrame(rows, columns=["relation", "distance", "layer", "r", "p", "n", "reason"])
    table["p_holm"] = np.nan
    at_layers, overall = table[table["layer"] > 0].dropna(subset="p"), table[table["layer"] == 0].dropna(subset="p")
    families = [*at_layers.groupby(["relation", "distance"]), *overall.groupby("relation")]
    for _, of_family in families:
        table.loc[of_family.index, "p_holm"] = holm(of_family["p"].tolist())
    return table[["relation", "distance", "layer", "r", "p", "p_holm", "n", "reason"]]


def _effects(cells: pd.DataFrame, distance: str, covariates: Path | None, method: PairMethod) -> pd.DataFrame:
    """Return the partial correlations with transfer; see `transfer_matrix`."""
    scripts = {code: script(code) for code in {*cells["source"], *cells["target"]}}
    terms = {
        f"{distance} distance": cells[distance],
        "another script": (cells["source"].map(scripts) != cells["target"].map(scripts)).astype(float),
    }
    for name, by_language in (read_covariates(covariates) if covariates else {}).items():
        if missing := sorted({*cells["source"], *cells["target"]} - by_language.keys()):
            raise InputError(f"`{covariates}` has no row for {listed(missing)}. Add it, or leave those runs out.")
        terms |= {f"{name} of the {side}": cells[side].map(by_language) for side in ("source", "target")}
    table = pd.DataFrame(terms, dtype=float)
    transfer, rows = cells["transfer"].to_numpy(float), []
    for term in table:
        effect = _correlate(cells, table[term].to_numpy(), transfer, table.drop(columns=term).to_numpy(), method)
        rows.append((term, effect.r, effect.p, effect.n, effect.reason))
    return pd.DataFrame(rows, columns=["term", "r", "p", "n", "reason"])


def _correlate(cells: pd.DataFrame, x: Any, y: Any, covariates: Any, method: PairMethod) -> Correlation:
    """Return `correlate_pairs` over the languages for which all is defined."""
    keep = _defined_languages(
        cells, np.isfinite(x) & np.isfinite(y) & (covariates is None or np.isfinite(covariates).all(axis=1))
    )
    languages = cells.loc[keep]
    codes = sorted({*languages["source"], *languages["target"]})
    return correlate_pairs(
        x[keep], y[keep], None if covariates is None else covariates[keep],
        sources=languages["source"].tolist(), targets=languages["target"].tolist(),
        groups=dict(zip(codes, permutation_groups(codes), strict=True)), method=method,
    )  # fmt: skip


def _defined_languages(
    cells: pd.DataFrame, defined: "np.ndarray[Any, np.dtype[np.bool_]]"
) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Return which pairs are left without the targets (and sources) of a pair that is not defined: complete again."""
    targets = set(cells.loc[~defined, "target"])
    return (~cells["target"].isin(targets) & ~cells["source"].isin(targets)).to_numpy()
