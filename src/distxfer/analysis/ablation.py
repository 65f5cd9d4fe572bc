"""The effect of each setting over methods that differ in several, and settings against their controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distxfer.analysis.comparison import Comparison, compared
from distxfer.analysis.design import Axis, Effect, Response, design, effects, responses
from distxfer.analysis.matching import Basis, match
from distxfer.analysis.scores import Group
from distxfer.analysis.significance import corrected
from distxfer.errors import InputError, counted
from distxfer.results.collect import Collection, Method
from distxfer.results.descriptions import corpora

# A control, by the last part of its key and its value; with the keys beside it that are idle, or another's, under it:
# `count` where one of the two names its layers, as it is 0 there.
_CONTROLS: Mapping[tuple[str, str], frozenset[str]] = {
    ("distance", "shuffled"): frozenset(),
    ("weighting", "uniform"): frozenset({"weighting_by", "distance"}),
    ("layers", "random"): frozenset({"count", "measurement", "sign"}),
}


@dataclass(frozen=True)
class Control:
    """A method compared with the control of one of its settings, which is the baseline of `comparisons` (all, near and far).

    The means are over the scores that both have. `also` lists other keys of the same intervention in which the two differ;
    it is empty for a clean control.
    """

    key: str
    mean: float
    mean_control: float
    comparisons: tuple[Comparison, ...]
    also: tuple[str, ...]

    def records(self) -> list[dict[str, Any]]:
        """Return its comparisons as JSON data."""
        means = {"mean": self.mean, "mean_control": self.mean_control}
        return [
            {
                "key": self.key,
                "control": row.baseline,
                "method": row.method,
                "subset": row.subset,
                **row.tested_record(),
                **(means if row.subset == "all" else {}),
                "also": list(self.also),
            }
            for row in self.comparisons
        ]


@dataclass(frozen=True, kw_only=True)
class Ablation(Basis):
    """The effects of all settings in which methods differ. `unmatched` lists changes that no pair of methods isolates."""

    axes: tuple[Axis, ...]
    effects: tuple[Effect, ...]
    interactions: tuple[Effect, ...]
    responses: tuple[Response, ...]
    controls: tuple[Control, ...]
    unmatched: tuple[str, ...]
    corpora: tuple[str, ...]

    def records(self) -> dict[str, Any]:
        """Return all of it as JSON data; effects in the unit of the scores."""
        controls = [record for control in self.controls for record in control.records()]
        return {**super().records(), "controls": controls}


def ablate(
    collection: Collection,
    baseline: str = "",
    *,
    metric: str = "",
    distance_name: str = "",
    imputed: bool | None = None,
    matrix: Path | None = None,
    interactions: bool = False,
) -> Ablation:
    """Return the effect of each setting in which the methods of a collection differ.

    An effect is the mean paired difference over all combinations of the other settings that exist with both values, tested by
    `crossed` on its seeds x languages table. Changes without a match, and seeds and languages missing from some method of an
    effect, are listed. The baseline provides the reference value of each axis.

    Raises InputError as `match` does, or if no two methods differ in exactly one setting.
    """
    methods, group, basis = match(collection, baseline, metric, distance_name, imputed, matrix)
    grid = design(methods, group)
    single, unmatched = effects(grid, 1)
    if not single:
        raise InputError(
            f"No two of the {len(methods)} methods differ in one setting alone, so no effect can be told from another"
            f" ({'; '.join(unmatched) or 'their settings are the same'}). Add methods that do, or leave out `--ablation`."
        )
    pairs, alone = effects(grid, 2) if interactions else ((), ())
    missing = []
    if interactions and not pairs:
        missing = ["no interaction: this takes four methods that differ in two settings only, with both values of each"]
    elif alone:
        missing = [f"no interaction of {counted(len(alone), 'other pairs')} of changes: no four methods match"]
    controls, unpaired = _controls(methods, group)
    means, incomplete = responses(grid)
    return Ablation(
        **{**vars(basis), "notes": (*basis.notes, *incomplete, *unpaired, *missing)},
        axes=grid.axes,
        effects=single,
        interactions=pairs,
        responses=means,
        controls=controls,
        unmatched=unmatched,
        corpora=tuple(corpora({method.name: method.runs for method in methods})),
    )


def _controls(methods: Sequence[Method], group: Group) -> tuple[tuple[Control, ...], tuple[str, ...]]:
    """Return each control with each method that it controls for, and notes on pairs without common scores.

    Holm's correction is over the controls, for each subset.
    """
    controls, notes = [], []
    for control in methods:
        for key, value in control.settings.items():
            idle = _CONTROLS.get((key.rpartition(".")[2], str(value)))
            if idle is None or not key.startswith("intervention."):
                continue
            for method, also in _real(control, key, idle, methods):
                scores = {name: group.scores[name] for name in (method.name, control.name)}
                of_pair = replace(group, baseline=control.name, scores=scores)
                rows, unpaired = compared(of_pair, leave_out=False)
                notes += unpaired
                if rows:
                    mean, of_control = (float(table.mean()) for table in of_pair.pair(method.name).scores.values())
                    controls.append(Control(key, mean, of_control, tuple(rows), also))
    rows_of: dict[int, list[Comparison]] = {place: [] for place in range(len(controls))}
    for subset in ("all", "near", "far"):
        of_subset = [
            (place, row)
            for place, control in enumerate(controls)
            for row in control.comparisons
            if row.subset == subset
        ]
        for (place, _), row in zip(of_subset, corrected(row for _, row in of_subset), strict=True):
            rows_of[place].append(row)
    return tuple(replace(control, comparisons=tuple(rows_of[place])) for place, control in enumerate(controls)), tuple(
        dict.fromkeys(notes)
    )


def _real(
    control: Method, key: str, idle: frozenset[str], methods: Sequence[Method]
) -> list[tuple[Method, tuple[str, ...]]]:
    """Return the methods that a control is for, with the other keys of the same intervention in which they differ.

    Methods that differ in no other key come first; if there are none, those with the fewest differing keys.
    """
    table, settings = key.rpartition(".")[0], control.settings
    matches = []
    for method in methods:
        if method.settings.get(key, settings[key]) == settings[key] or _is_control(method, control, table):
            continue
        differ = [name for name in {**settings, **method.settings} if settings.get(name) != method.settings.get(name)]
        both_count = settings.get(f"{table}.count") and method.settings.get(f"{table}.count")
        passed = {key, *(f"{table}.{name}" for name in idle if not (name == "count" and both_count))}
        also = tuple(name for name in differ if name not in passed)
        if all(name.startswith(f"{table}.") for name in also):
            matches.append((method, also))
    fewest = min((len(also) for _, also in matches), default=0)
    return [(method, also) for method, also in matches if len(also) == fewest]


def _is_control(method: Method, control: Method, table: str) -> bool:
    """Return whether a method is itself a control for a setting that is not controlled in the other one."""
    keys = {f"{table}.{name}": value for name, value in _CONTROLS}
    return any(method.settings.get(key) == value != control.settings.get(key) for key, value in keys.items())
