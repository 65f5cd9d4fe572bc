"""The effect of each setting over methods that differ in several, and settings against their controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distxfer.analysis.cells import pair
from distxfer.analysis.compare import Comparison, compared
from distxfer.analysis.design import Axis, Effect, Response, design, effects, responses
from distxfer.analysis.matching import Matched, match
from distxfer.analysis.significance import holm_over, test_record
from distxfer.errors import InputError
from distxfer.results.collect import Collection, Method
from distxfer.results.corpus import corpora
from distxfer.results.selection import selection_warnings

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
        return [
            {
                "key": self.key,
                "control": row.baseline,
                "method": row.method,
                "subset": row.subset,
                **test_record(row.test),
                "p_holm": row.p_holm,
                **({"mean": self.mean, "mean_control": self.mean_control} if row.subset == "all" else {}),
                "also": list(self.also),
                "dropped": list(row.dropped),
            }
            for row in self.comparisons
        ]


@dataclass(frozen=True)
class Ablation:
    """The effects of all settings in which methods differ. `unmatched` lists changes that no pair of methods isolates."""

    metric: str
    fractions: bool
    source: str
    distance: str
    baseline: str
    selection: Mapping[str, str]
    runs: Mapping[str, int]
    collapsed: Mapping[str, tuple[int, ...]]
    axes: tuple[Axis, ...]
    effects: tuple[Effect, ...]
    interactions: tuple[Effect, ...]
    responses: tuple[Response, ...]
    controls: tuple[Control, ...]
    unmatched: tuple[str, ...]
    notes: tuple[str, ...]
    corpora: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings on checkpoint selection; empty if all checkpoints are the last ones."""
        return selection_warnings(self.selection)

    def records(self) -> dict[str, Any]:
        """Return all of it as JSON data; effects in the unit of the scores."""
        return {
            "metric": self.metric,
            "selection": " / ".join(dict.fromkeys(self.selection.values())),
            "selection_by_method": dict(self.selection),
            "warnings": list(self.warnings),
            "source": self.source,
            "distance": self.distance,
            "baseline": self.baseline,
            "runs": dict(self.runs),
            "collapsed": {name: list(seeds) for name, seeds in self.collapsed.items()},
            "axes": [vars(axis) for axis in self.axes],
            "effects": [effect.record() for effect in self.effects],
            "interactions": [effect.record() for effect in self.interactions],
            "responses": [vars(response) for response in self.responses],
            "controls": [record for control in self.controls for record in control.records()],
            "unmatched": list(self.unmatched),
            "notes": list(self.notes),
            "corpora": list(self.corpora),
            "left_out": list(self.left_out),
        }


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
    matched = match(collection, baseline, metric, distance_name, imputed, matrix)
    methods = matched.methods
    grid = design(methods, matched.baseline, matched.group.scores, matched.group.items)
    single, unmatched = effects(grid, 1)
    if not single:
        raise InputError(
            f"No two of the {len(methods)} methods differ in one setting alone, so no effect can be told from another"
            f" ({'; '.join(unmatched) or 'their settings are the same'}). Add methods that do, or leave out `--ablation`."
        )
    pairs, alone = effects(grid, 2) if interactions else ((), ())
    controls, unpaired = _controls(matched)
    means, incomplete = responses(grid)
    return Ablation(
        metric=matched.metric,
        fractions=matched.fractions,
        source=matched.source,
        distance=matched.distance,
        baseline=matched.baseline.name,
        selection=matched.selection,
        runs={method.name: len(method.runs) for method in methods},
        collapsed=matched.collapsed,
        axes=grid.axes,
        effects=single,
        interactions=pairs,
        responses=means,
        controls=controls,
        unmatched=unmatched,
        notes=(*matched.notes, *incomplete, *unpaired, *(_no_interaction(pairs, alone) if interactions else ())),
        corpora=tuple(corpora({method.name: [run.data for run in method.runs] for method in methods})),
        left_out=matched.left_out,
    )


def _no_interaction(interactions: Sequence[Effect], alone: Sequence[str]) -> list[str]:
    """Return a note if some or all interactions cannot be estimated."""
    if not interactions:
        return ["no interaction: this takes four methods that differ in two settings only, with both values of each"]
    pairs = f"{len(alone)} other pair{'' if len(alone) == 1 else 's'} of changes"
    return [f"no interaction of {pairs}: no four methods match"] if alone else []


def _controls(matched: Matched) -> tuple[tuple[Control, ...], tuple[str, ...]]:
    """Return each control with each method that it controls for, and notes on pairs without common scores.

    Holm's correction is over the controls, for each subset.
    """
    scores, controls, notes = matched.group.scores, [], []
    for control in matched.methods:
        for key, value in control.settings.items():
            idle = _CONTROLS.get((key.rpartition(".")[2], str(value)))
            if idle is None or not key.startswith("intervention."):
                continue
            for method, also in _real(control, key, idle, matched.methods):
                pair_of_scores = {name: scores[name] for name in (method.name, control.name)}
                group = replace(matched.group, baseline=control.name, scores=pair_of_scores)
                rows, unpaired = compared(group)
                notes += unpaired
                if rows:
                    full = pair(group, method.name)
                    mean, of_control = (float(full.scores[name].mean()) for name in (method.name, control.name))
                    controls.append(Control(key, mean, of_control, tuple(rows), also))
    corrected: dict[tuple[int, str], float | None] = {}
    for subset in ("all", "near", "far"):
        tests = {
            (place, subset): row.test
            for place, control in enumerate(controls)
            for row in control.comparisons
            if row.subset == subset
        }
        corrected |= zip(tests, holm_over(list(tests.values())), strict=True)
    return tuple(
        replace(
            control,
            comparisons=tuple(replace(row, p_holm=corrected[place, row.subset]) for row in control.comparisons),
        )
        for place, control in enumerate(controls)
    ), tuple(dict.fromkeys(notes))


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
