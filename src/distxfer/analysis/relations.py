"""Correlations of drift, transfer and typological distance over languages, with reasons where there are none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import pandas as pd

from distxfer.config.settings import DistanceSettings
from distxfer.errors import InputError, listed
from distxfer.interventions import Languages
from distxfer.languages import DISTANCES, Distance, distance_warnings, lineage, permutation_groups, script
from distxfer.measure import Correlation, Decomposition, correlate, decompose, holm
from distxfer.results.tables import Row

Method = Literal["spearman", "pearson"]


@dataclass(frozen=True)
class Relation:
    """One correlation over languages; `layer` is None for the mean over layers, or if there are no layers.

    `measure` is `correlation_drift_syntactic`, `correlation_drift_transfer`, `correlation_transfer_syntactic` or the like.
    """

    measure: str
    layer: int | None
    found: Correlation
    p_holm: float | None


@dataclass(frozen=True)
class Relations:
    """All distances from the source by name, the recipe's own distance, and the correlations with them."""

    distance: str
    distances: Mapping[str, Mapping[str, float]]
    relations: tuple[Relation, ...]
    decomposition: Decomposition | None
    notes: tuple[str, ...]


def relate(
    rows: Sequence[Row],
    transfer: Mapping[str, float],
    tokens: Mapping[str, float],
    settings: DistanceSettings,
    languages: Languages,
    layers: int,
    method: Method,
    diagonal: bool,
) -> Relations:
    """Return the correlations of drift and transfer with each distance and each other, and the decomposition of transfer.

    Raises InputError if the recipe's own distance is unknown for all targets.
    """
    chosen = "matrix" if settings.matrix else settings.name
    distances: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    for name in dict.fromkeys([*DISTANCES, chosen]):
        entries, errors = _distances(name, settings, languages)
        if not entries and name == chosen:
            raise next(iter(errors.values()))
        distances[name] = {languages.source: 0.0, **{entry.target: entry.value for entry in entries}}
        notes += distance_warnings(entries)
        if errors:
            notes.append(f"No {name} distance for {listed(errors)}: left out of its correlations.")
    over = [languages.source, *languages.targets] if diagonal else languages.targets
    relations = _correlations(rows, transfer, distances, over, layers, method)
    reasons: dict[str, list[str]] = {}
    for relation in relations:
        if relation.found.reason:
            name = relation.measure.removeprefix("correlation_").replace("_", " and ", 1)
            reasons.setdefault(relation.found.reason, []).append(name)
    notes += [f"{listed(dict.fromkeys(names))}: {reason}." for reason, names in reasons.items()]
    parts, missing = _decomposed(transfer, distances[chosen], tokens, languages)
    return Relations(chosen, distances, tuple(relations), parts, (*notes, *missing))


def _distances(
    name: str, settings: DistanceSettings, languages: Languages
) -> tuple[list[Distance], dict[str, InputError]]:
    """Return the distances of the targets from the source, and by target why there is none."""
    entries, errors = [], {}
    if name != "matrix":
        settings = settings.model_copy(update={"name": name, "matrix": ""})
    for target in languages.targets:
        try:
            entries.append(settings.between(languages.source, target))
        except InputError as error:
            errors[target] = error
    return entries, errors


def _correlations(
    rows: Sequence[Row],
    transfer: Mapping[str, float],
    distances: Mapping[str, Mapping[str, float]],
    languages: Sequence[str],
    layers: int,
    method: Method,
) -> list[Relation]:
    """Return all correlations; Holm's correction is over drift-distance, drift-transfer and transfer-distance separately."""
    keys = list(languages)
    drift = pd.DataFrame([row for row in rows if row.measure == "drift_cka"])
    by_layer = drift.pivot(index="language", columns="layer", values="value").loc[keys, list(range(1, layers + 1))]
    columns: dict[int | None, pd.Series] = {layer: by_layer[layer] for layer in range(1, layers + 1)}
    columns[None] = by_layer.apply(fmean, axis=1)
    gains = pd.Series(transfer, dtype=float).reindex(keys)
    far = {name: pd.Series(values, dtype=float) for name, values in distances.items()}
    tables: list[list[tuple[str, int | None, pd.Series, pd.Series]]] = [
        [(f"drift_{name}", layer, column, values) for name, values in far.items() for layer, column in columns.items()]
    ]
    if transfer.keys() & set(keys):
        tables.append([("drift_transfer", layer, column, gains) for layer, column in columns.items()])
        tables.append([(f"transfer_{name}", None, gains, values) for name, values in far.items()])
    relations = []
    for table in tables:
        correlations = []
        for _, _, x, y in table:
            pairs = pd.DataFrame({"x": x, "y": y}).reindex(keys).dropna()
            groups = permutation_groups(list(pairs.index))
            correlations.append(correlate(pairs["x"].tolist(), pairs["y"].tolist(), groups=groups, method=method))
        adjusted = iter(holm([result.p for result in correlations if result.p is not None]))
        relations += [
            Relation(f"correlation_{name}", layer, result, None if result.p is None else next(adjusted))
            for (name, layer, _, _), result in zip(table, correlations, strict=True)
        ]
    return relations


def _decomposed(
    transfer: Mapping[str, float], between: Mapping[str, float], tokens: Mapping[str, float], languages: Languages
) -> tuple[Decomposition | None, list[str]]:
    """Return the decomposition of transfer over distance, script and tokens per text, and notes on what is missing.

    It uses the targets that have all of them. Script is 1 if it is not the source's, else 0. Constant covariates are left out.
    """
    source_script = script(languages.source)
    candidates = [key for key in languages.targets if key in transfer and key in between]
    targets = [key for key in candidates if source_script and script(key)]
    unknown = [key for key in candidates if key not in targets]
    notes = (
        [f"No usual script is known of {listed(unknown)}: left out of the decomposition."]
        if source_script and unknown
        else []
    )
    if not targets:
        return None, notes
    covariates = {
        "distance": {key: between[key] for key in targets},
        "script": {key: float(script(key) != source_script) for key in targets},
        "tokens": {key: tokens[key] for key in targets},
    }
    varying = {name: values for name, values in covariates.items() if len(set(values.values())) > 1}
    notes += [
        f"`{name}` is the same for all targets: no part of the decomposition."
        for name in covariates
        if name not in varying
    ]
    if not varying:
        return None, notes
    try:
        groups = {key: lineage(key) for key in targets}
        return decompose({key: transfer[key] for key in targets}, varying, groups=groups), notes
    except InputError as error:
        return None, [*notes, f"No decomposition of transfer: {error}"]
