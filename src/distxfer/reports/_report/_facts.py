"""The content of a report as plain numbers, from finished runs, without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from statistics import fmean

import numpy as np

from distxfer.analysis.compare import compare_methods
from distxfer.analysis.comparison import Comparisons, Part
from distxfer.errors import InputError
from distxfer.languages import (
    DISTANCES,
    Distance,
    canonical,
    check_distance,
    distance,
    distance_warnings,
    language_name,
    lineage,
)
from distxfer.measure import relative_transfer
from distxfer.reports._report._runs import Array, Curve, Layers, curves_of, diagnostics_of, huge_costs, layers_of
from distxfer.results.collect import Collection, Method
from distxfer.results.distances import stored_distances
from distxfer.results.result import Result


@dataclass(frozen=True)
class Language:
    """A target: its distances from the source by name, and whether it is `near` or `far` by the first of them.

    `group` is empty if that distance is unknown. `lineage` is (family, branch), the grouping of the statistics.
    """

    key: str
    name: str
    group: str
    far: Mapping[str, float]
    lineage: tuple[str, ...]


@dataclass(frozen=True)
class Studied:
    """One method with the results of its runs; `sound` excludes collapsed runs, which are only counted.

    `name` is short, for charts; `full_name` has the full keys of distinguishing settings. `scores` are test scores by
    language (source included) and seed; `effects` are differences from the baseline by target.
    """

    name: str
    method: Method
    sound: tuple[Result, ...]
    collapsed: tuple[int, ...]
    scores: Mapping[str, Mapping[int, float]]
    source: str
    effects: Mapping[str, Part]
    layers: Layers
    curves: tuple[Curve, ...]
    diagnostics: tuple[Curve, ...]

    @property
    def full_name(self) -> str:
        """The name in comparisons and commands."""
        return self.method.name

    @property
    def depth(self) -> int:
        """The number of the last measured layer."""
        return max((len(values) - 1 for values in self.layers.values.values()), default=0)

    def score(self, language: str) -> float | None:
        """Return the mean test score over seeds, a fraction; None if no run has it."""
        return fmean(self.scores[language].values()) if self.scores.get(language) else None

    def transfer(self, language: str) -> float | None:
        """Return the mean over seeds of (target - source) / source; None if no run has both."""
        transfers = [
            relative_transfer(value, self.scores[self.source][seed])
            for seed, value in self.scores.get(language, {}).items()
            if seed in self.scores.get(self.source, {})
        ]
        defined = [transfer for transfer in transfers if transfer is not None]
        return fmean(defined) if defined else None

    def measured(self, measure: str, moment: str, language: str) -> Array | None:
        """Return a measure by layer, mean over seeds, NaN where undefined; None if it was not measured."""
        return self.layers.values.get((measure, moment, language))

    def drift(self, language: str) -> Array | None:
        """Return the drift after training by layer."""
        return self.measured("drift_cka", "after", language)


@dataclass(frozen=True)
class Facts:
    """The content of a report. `methods` starts with the baseline, `distances` with the main one.

    `comparisons` is None if there is one method. `left_out` names every result that was excluded, `notes` are warnings, and
    `names` are the arguments that selected the runs.
    """

    methods: tuple[Studied, ...]
    languages: tuple[Language, ...]
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
    names: tuple[str, ...]

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
        """The name of the source, or its code if unknown."""
        return name_of(self.source)


def facts_of(
    collection: Collection, baseline: str = "", distances: Sequence[str] = (), names: Sequence[str] = ()
) -> Facts:
    """Return the content of a report on finished runs.

    `distances` starts with the main one; the default is that of the runs, then all others of URIEL. Distances stored with
    the runs take precedence over looked-up ones.

    Raises InputError for an unknown baseline or distance, or if no runs remain.
    """
    collection = _without_collapsed(_understood(collection))
    comparisons = compare_methods(collection, baseline) if len(collection.methods) > 1 else None
    included = comparisons.runs if comparisons else [collection.methods[0].name]
    chosen = [method for method in collection.methods if method.name in included]
    chosen.sort(key=lambda method: comparisons is not None and method.name != comparisons.baseline)
    first = chosen[0].runs[0]
    run_distance, imputed = str(first.summary.get("distance", "syntactic")), bool(first.summary.get("imputed", True))
    for name in distances:
        if name != run_distance:
            check_distance(name)
    if comparisons and distances and distances[0] != run_distance:
        comparisons = compare_methods(collection, baseline, distance_name=distances[0], imputed=imputed)
    if comparisons is None:
        _check_sound(chosen[0])
    left_out = comparisons.left_out if comparisons else collection.left_out
    source = first.source
    metric = comparisons.metric if comparisons else first.metric
    targets = _targets(chosen, source, metric)
    offered = tuple(dict.fromkeys(distances or [run_distance, *DISTANCES]))
    languages, notes = _languages(chosen, source, targets, offered, imputed, _targets(chosen[:1], source, metric))
    studied = []
    for chosen_method, short in zip(chosen, _short_names(chosen), strict=True):
        method, broken = _studied(chosen_method, short, source, metric, targets, comparisons)
        studied.append(method)
        left_out = (*left_out, *broken)
    return Facts(
        methods=tuple(studied),
        languages=languages,
        source=source,
        model=first.model,
        task=first.task,
        metric=metric,
        selection=comparisons.selected if comparisons else str(first.summary.get("selection", "last")),
        distances=tuple(name for name in offered if any(name in language.far for language in languages)) or offered[:1],
        imputed=imputed,
        comparisons=comparisons,
        left_out=left_out,
        notes=(*notes, *((*comparisons.warnings, *comparisons.survival_warnings) if comparisons else ())),
        names=tuple(names),
    )


def name_of(language: str) -> str:
    """Return the English name of a language, or its code if unknown."""
    try:
        return language_name(language)
    except InputError:
        return language


def known(values: Mapping[str, float | None]) -> dict[str, float]:
    """Return the values that are neither None nor NaN."""
    return {key: value for key, value in values.items() if value is not None and not isnan(value)}


def _understood(collection: Collection) -> Collection:
    """Return the collection without runs in unknown languages, each named in `left_out`."""
    left_out = list(collection.left_out)
    methods = []
    for method in collection.methods:
        runs = []
        for run in method.runs:
            try:
                for language in (run.source, *(score["language"] for score in run.scores)):
                    canonical(language)
                runs.append(run)
            except InputError as error:
                left_out.append(f"`{run.folder / 'result.json'}` is left out: {error}")
        methods += [replace(method, runs=tuple(runs))] if runs else []
    if not methods:
        reasons = "\n".join(f"  {reason}" for reason in left_out)
        raise InputError(f"No runs remain to report; {len(left_out)} left out:\n{reasons}")
    return Collection(tuple(methods), tuple(left_out))


def _without_collapsed(collection: Collection) -> Collection:
    """Return the collection with fully collapsed methods moved to `left_out`, unless all methods collapsed."""
    sound = tuple(method for method in collection.methods if not method.collapsed)
    aside = [f"`{method.name}` is left out: {method.collapsed}." for method in collection.methods if method.collapsed]
    return replace(collection, methods=sound, left_out=(*collection.left_out, *aside)) if sound else collection


def _check_sound(method: Method) -> None:
    if method.collapsed:
        raise InputError(
            f"All {len(method.runs)} runs of `{method.name}` collapsed, so there is nothing to report. Choose other runs, or"
            " train it with other settings."
        )


def _targets(methods: Sequence[Method], source: str, metric: str) -> list[str]:
    codes = {code for method in methods for run in method.runs for code in run.by_language("test", metric)}
    return sorted(codes - {source})


def _languages(
    methods: Sequence[Method],
    source: str,
    targets: Sequence[str],
    names: Sequence[str],
    imputed: bool,
    of_baseline: Sequence[str],
) -> tuple[tuple[Language, ...], list[str]]:
    """Return the targets by distance, those without the main distance last, and notes on missing distances.

    Near targets are at most at the median distance of the targets of the baseline.
    """
    stored: dict[tuple[str, str], Distance] = {}
    for method in methods:
        for entry in stored_distances(method.runs[0].data):
            stored.setdefault((entry.name, entry.target), entry)
    notes: list[str] = []
    distances: dict[str, dict[str, float]] = {code: {} for code in targets}
    for name in names:
        missing, entries = [], []
        for code in targets:
            stored_distance = stored.get((name, code)) or _looked_up(source, code, name, imputed)
            if stored_distance is None:
                missing.append(code)
            else:
                distances[code][name] = stored_distance.value
                entries.append(stored_distance)
        notes += distance_warnings(entries)
        if missing:
            notes.append(f"No {name} distance is known for {', '.join(missing)}; analyses by this distance exclude it.")
    main = names[0]
    middle = float(np.median([distances[code][main] for code in of_baseline if main in distances[code]] or [0.0]))

    def group(code: str) -> str:
        return ("far" if distances[code][main] > middle else "near") if main in distances[code] else ""

    languages = [Language(code, name_of(code), group(code), distances[code], _lineage(code)) for code in targets]
    languages.sort(key=lambda language: (main not in language.far, language.far.get(main, 0.0), language.key))
    return tuple(languages), notes


def _looked_up(source: str, target: str, name: str, imputed: bool) -> Distance | None:
    if name == "matrix":
        return None
    try:
        return distance(source, target, name, imputed=imputed and not name.endswith("@uriel+"))
    except InputError:
        return None


def _lineage(code: str) -> tuple[str, ...]:
    try:
        return lineage(code)
    except InputError:
        return ()


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


def _studied(
    method: Method, name: str, source: str, metric: str, targets: Sequence[str], comparisons: Comparisons | None
) -> tuple[Studied, list[str]]:
    """Return one method with the content of its files, and a line for each unreadable file."""
    sound = tuple(run for run in method.runs if not run.collapsed)
    scores: dict[str, dict[int, float]] = {}
    for run in sound:
        for language, value in run.by_language("test", metric).items():
            scores.setdefault(language, {})[run.seed] = value
    layers, unread = layers_of(sound)
    curves, broken = curves_of(sound)
    diagnostics, odd = diagnostics_of(sound, targets)
    parts = comparisons.by_language if comparisons else ()
    studied = Studied(
        name=name,
        method=method,
        sound=sound,
        collapsed=tuple(run.seed for run in method.runs if run.collapsed),
        scores=scores,
        source=source,
        effects={part.part: part for part in parts if part.method == method.name},
        layers=layers,
        curves=tuple(curves),
        diagnostics=tuple(diagnostics),
    )
    return studied, [*unread, *broken, *odd, *huge_costs(sound)]
