"""The content of a report as tables, from finished runs, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from distxfer.analysis.compare import compare_methods
from distxfer.analysis.comparison import Comparisons
from distxfer.errors import InputError
from distxfer.languages import (
    DISTANCES,
    Distance,
    canonical,
    check_distance,
    distance,
    distance_warnings,
    language_name,
)
from distxfer.reports.page.run_files import curve_table, huge_costs, layer_table
from distxfer.results.collect import Collection, Method
from distxfer.results.descriptions import arithmetic_notes, caching_notes, stored_distances
from distxfer.results.result import Result
from distxfer.results.tables import sound_scores


@dataclass(frozen=True)
class Studied:
    """A method under its short name, for charts; `method.name` has the full keys of distinguishing settings."""

    name: str
    method: Method

    @property
    def sound(self) -> list[Result]:
        """The runs that did not collapse."""
        return [run for run in self.method.runs if not run.collapsed]

    @property
    def collapsed(self) -> list[int]:
        """The seeds of the collapsed runs, which are only counted."""
        return [run.seed for run in self.method.runs if run.collapsed]


@dataclass(frozen=True)
class Facts:
    """The content of a report. `methods` starts with the baseline, `distances` with the main one.

    Tables have the short names of the methods; collapsed runs are in none of them:

    - `languages`: the targets by code, nearest first, with `name`, `group` (`near` or `far` by the main distance, or empty)
      and a column for each distance, NaN where it is unknown;
    - `scores`: test scores as fractions, (method, seed) by language, the source included;
    - `layers` and `curves`: see `layer_table` and `curve_table`.

    `comparisons` is None for a single method. `left_out` names what was excluded, `notes` are warnings, `words` are the
    arguments that selected the runs.
    """

    methods: tuple[Studied, ...]
    languages: pd.DataFrame
    scores: pd.DataFrame
    layers: pd.DataFrame
    curves: pd.DataFrame
    source: str
    model: str
    task: str
    metric: str
    selection: str
    distances: tuple[str, ...]
    imputed: bool
    comparisons: Comparisons | None
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def baseline(self) -> Studied:
        """The method that others are compared with."""
        return self.methods[0]

    @property
    def main_distance(self) -> str:
        """The distance that sorts languages and defines near and far."""
        return self.distances[0]

    @property
    def source_name(self) -> str:
        """The name of the source."""
        return language_name(self.source)

    @property
    def names(self) -> dict[str, str]:
        """The short names of the methods by their full names."""
        return {method.method.name: method.name for method in self.methods}

    @property
    def labels(self) -> dict[str, str]:
        """The targets by code, nearest first, each with its main distance in brackets."""
        far = self.languages[self.main_distance].map(" ({:.2f})".format, na_action="ignore").fillna("")
        return {str(code): label for code, label in (self.languages["name"] + far).items()}


def facts_of(
    collection: Collection, baseline: str = "", distances: Sequence[str] = (), words: Sequence[str] = ()
) -> Facts:
    """Return the content of a report on finished runs.

    `distances` starts with the main one; the default is that of the runs, then all others of URIEL. Distances stored with
    the runs take precedence over looked-up ones.

    Raises InputError for an unknown baseline or distance, or if no runs remain.
    """
    collection = _reportable(collection)
    comparisons = compare_methods(collection, baseline) if len(collection.methods) > 1 else None
    included = comparisons.runs if comparisons else [collection.methods[0].name]
    methods = [method for method in collection.methods if method.name in included]
    methods.sort(key=lambda method: comparisons is not None and method.name != comparisons.baseline)
    first = methods[0].runs[0]
    run_distance, imputed = str(first.summary.get("distance", "syntactic")), bool(first.summary.get("imputed", True))
    for name in distances:
        if name != run_distance:
            check_distance(name)
    if comparisons and distances and distances[0] != run_distance:
        comparisons = compare_methods(collection, baseline, distance_name=distances[0], imputed=imputed)
    if comparisons is None and methods[0].collapsed:
        raise InputError(
            f"All {len(methods[0].runs)} runs of `{methods[0].name}` collapsed, so there is nothing to report. Choose other"
            " runs, or train it with other settings."
        )
    metric = comparisons.metric if comparisons else first.metric
    studied = [Studied(name, method) for name, method in zip(_short_names(methods), methods, strict=True)]
    scores = sound_scores(replace(collection, methods=tuple(methods)).scores, metric)
    scores = scores[(scores["near_or_far"] != "source") | (scores["language"] == first.source)]
    scores = scores.replace({"method": {method.method.name: method.name for method in studied}})
    scores = scores.pivot(index=["method", "seed"], columns="language", values="value")
    offered = tuple(dict.fromkeys(distances or [run_distance, *DISTANCES]))
    languages, notes = _languages(methods, metric, offered, imputed)
    layers, unreadable = layer_table({method.name: method.sound for method in studied})
    curves, broken = curve_table({method.name: method.sound for method in studied}, list(languages.index))
    left_out = comparisons.left_out if comparisons else collection.left_out
    return Facts(
        methods=tuple(studied),
        languages=languages,
        scores=scores,
        layers=layers,
        curves=curves,
        source=first.source,
        model=first.model,
        task=first.task,
        metric=metric,
        selection=comparisons.selected if comparisons else str(first.summary.get("selection", "last")),
        distances=tuple(name for name in offered if languages[name].notna().any()) or offered[:1],
        imputed=imputed,
        comparisons=comparisons,
        left_out=(*left_out, *unreadable, *broken, *huge_costs([run for method in studied for run in method.sound])),
        notes=(
            *notes,
            *((*comparisons.warnings, *comparisons.survival_warnings) if comparisons else ()),
            *arithmetic_notes({method.name: method.sound for method in studied}),
            *caching_notes({method.name: method.sound for method in studied}),
        ),
        words=tuple(words),
    )


def targets(facts: Facts, scores: pd.DataFrame) -> pd.DataFrame:
    """Return a row per method and target: `method`, `code`, the columns of `languages`, and means over the seeds of `scores`.

    `transfer`: (target - source) / source in percent; `score` in percent; `gain` over the baseline in points; `drift` after
    training, the mean over all layers but 0; `seeds`. NaN where one is undefined.
    """
    own = scores[facts.source] if facts.source in scores else pd.Series(np.nan, scores.index)
    parts = facts.comparisons.by_language if facts.comparisons else ()
    gains = pd.Series({(facts.names[part.method], part.part): 100 * part.test.effect for part in parts}, dtype=float)
    blocks = facts.layers.query("measure == 'drift_cka' and moment == 'after' and layer > 0")
    transfers = scores.sub(own, axis=0).div(own.where(own != 0), axis=0)
    tables = {  # means are rounded, so that equal ones are ties for rank correlations, whatever the order of their sums
        "transfer": (100 * transfers.groupby("method").mean()).round(9),
        "score": (100 * scores.groupby("method").mean()).round(9),
        "gain": gains.unstack() if parts else pd.DataFrame(),
        "drift": blocks.groupby(["method", "language"])["value"].mean(skipna=False).unstack(),
        "seeds": scores.groupby("method").count(),
    }
    rows = pd.MultiIndex.from_product(
        [[method.name for method in facts.methods], facts.languages.index], names=["method", "code"]
    )
    columns = {name: table.stack().reindex(rows).astype(float) for name, table in tables.items()}
    return pd.DataFrame(columns, index=rows).reset_index().join(facts.languages, on="code")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _reportable(collection: Collection) -> Collection:
    """Return the collection without methods of an unknown source or without sound runs, which `left_out` names.

    If all methods collapsed, they stay. Raises InputError if no source is known.
    """
    methods, left_out = [], list(collection.left_out)
    for method in collection.methods:
        try:
            canonical(method.runs[0].source)
            methods.append(method)
        except InputError as error:
            left_out += [f"`{run.folder / 'result.json'}` is left out: {error}" for run in method.runs]
    if not methods:
        reasons = "\n".join(f"  {reason}" for reason in left_out)
        raise InputError(f"No runs remain to report; {len(left_out)} left out:\n{reasons}")
    sound = [method for method in methods if not method.collapsed]
    if sound:
        left_out += [f"`{method.name}` is left out: {method.collapsed}." for method in methods if method.collapsed]
    return Collection(tuple(sound or methods), tuple(left_out))


def _languages(
    methods: Sequence[Method], metric: str, names: Sequence[str], imputed: bool
) -> tuple[pd.DataFrame, list[str]]:
    """Return the targets as in `Facts`, those without the main distance last, and notes on missing distances.

    Near targets are at most at the median distance of the targets of the baseline, the first method.
    """
    source, main = methods[0].runs[0].source, names[0]
    targets = [
        {code for run in method.runs for code in run.by_language("test", metric) if code not in run.sources}
        for method in methods
    ]
    codes = sorted(set.union(*targets))
    stored: dict[tuple[str, str], Distance] = {}
    for method in methods:
        for entry in stored_distances(method.runs[0]):
            stored.setdefault((entry.name, entry.target), entry)
    notes: list[str] = []
    table = pd.DataFrame({"name": [language_name(code) for code in codes], "group": ""}, index=codes)
    for name in names:
        entries = {code: stored.get((name, code)) or _looked_up(source, code, name, imputed) for code in codes}
        available = {code: entry for code, entry in entries.items() if entry is not None}
        table[name] = pd.Series({code: entry.value for code, entry in available.items()}, index=codes, dtype=float)
        notes += distance_warnings(available.values())
        if missing := [code for code in codes if code not in available]:
            notes.append(f"No {name} distance is known for {', '.join(missing)}; analyses by this distance exclude it.")
    middle = table.loc[sorted(targets[0]), main].median()
    table.loc[table[main] <= middle, "group"] = "near"
    table.loc[table[main] > middle, "group"] = "far"
    return table.sort_values(main, kind="stable"), notes


def _looked_up(source: str, target: str, name: str, imputed: bool) -> Distance | None:
    if name == "matrix":
        return None
    try:
        return distance(source, target, name, imputed=imputed and not name.endswith("@uriel+"))
    except InputError:
        return None


def _short_names(methods: Sequence[Method]) -> list[str]:
    """Return names with keys as short as is unambiguous: `dist_align (pooling=cls, layers=12)`."""
    keys = {
        key for method in methods for key in method.settings if f"({key}=" in method.name or f", {key}=" in method.name
    }
    ends: dict[str, str] = {}
    for key in keys:
        parts = key.split(".")
        tails = [".".join(parts[place:]) for place in reversed(range(len(parts)))]
        ends[key] = next(tail for tail in tails if sum(f".{other_key}".endswith(f".{tail}") for other_key in keys) == 1)
    names = []
    for method in methods:
        name = method.name
        for key, end in ends.items():
            name = name.replace(f"({key}=", f"({end}=").replace(f", {key}=", f", {end}=")
        names.append(name)
    return names if len(set(names)) == len(names) else [method.name for method in methods]
