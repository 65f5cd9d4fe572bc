"""What each setting contributes, over methods that differ in several; and real settings beside their controls."""

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
    """A method less the control of one of its settings: `comparisons` on all, near and far, the control as baseline.

    The means are over the scores that both have. `also` has the other keys of that intervention in which the two differ; it
    is empty for a clean control.
    """

    key: str
    mean: float
    mean_control: float
    comparisons: tuple[Comparison, ...]
    also: tuple[str, ...]


@dataclass(frozen=True)
class Ablation:
    """All effects of a set of methods that differ in their settings, and what of it has no match."""

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
        """What to know of how the checkpoints were chosen; empty where all are the last ones."""
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
            "axes": [vars(one) for one in self.axes],
            "effects": [_effect_record(one) for one in self.effects],
            "interactions": [_effect_record(one) for one in self.interactions],
            "responses": [vars(one) for one in self.responses],
            "controls": [record for one in self.controls for record in _control_records(one)],
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
    """Return what each setting contributes in which the methods of a collection differ.

    Methods are matched: an effect is the mean, over all settings of the other axes that have both values, of the paired
    difference, tested by `crossed` on its table of seeds and languages. What has no match is named, and so are the seeds and
    languages that not all methods of an effect have. The baseline gives each axis its reference.

    Raises InputError as `match` does, or where no two methods differ in one thing alone.
    """
    found = match(collection, baseline, metric, distance_name, imputed, matrix)
    made = design(found.methods, found.baseline, found.group.scores, found.group.items)
    single, unmatched = effects(made, 1)
    if not single:
        raise InputError(
            f"No two of the {len(found.methods)} methods differ in one setting alone, so no effect can be told from another"
            f" ({'; '.join(unmatched) or 'their settings are the same'}). Add methods that do, or leave out `--ablation`."
        )
    pairs, alone = effects(made, 2) if interactions else ((), ())
    controls, unpaired = _controls(found)
    means, incomplete = responses(made)
    return Ablation(
        metric=found.metric,
        fractions=found.fractions,
        source=found.source,
        distance=found.distance,
        baseline=found.baseline.name,
        selection=found.selection,
        runs={one.name: len(one.runs) for one in found.methods},
        collapsed=found.collapsed,
        axes=made.axes,
        effects=single,
        interactions=pairs,
        responses=means,
        controls=controls,
        unmatched=unmatched,
        notes=(*found.notes, *incomplete, *unpaired, *(_no_interaction(pairs, alone) if interactions else ())),
        corpora=tuple(corpora({one.name: [run.data for run in one.runs] for one in found.methods})),
        left_out=found.left_out,
    )


def _no_interaction(found: Sequence[Effect], alone: Sequence[str]) -> list[str]:
    """Return a note where no interaction, or not every one, can be read off the methods."""
    if not found:
        return ["no interaction: it takes four methods that differ in two settings alone, with both values of each"]
    others = f"{len(alone)} other pair{'' if len(alone) == 1 else 's'} of changes"
    return [f"no interaction of {others}, which no four methods match in"] if alone else []


def _controls(found: Matched) -> tuple[tuple[Control, ...], tuple[str, ...]]:
    """Return every control beside each method that it is one for, and notes on those of which nothing pairs.

    Holm is over the controls, for each subset.
    """
    rows, notes = [], []
    for control in found.methods:
        for key, value in control.settings.items():
            idle = _CONTROLS.get((key.rpartition(".")[2], str(value)))
            if idle is None or not key.startswith("intervention."):
                continue
            for method, also in _real(control, key, idle, found.methods):
                scores = {name: found.group.scores[name] for name in (method.name, control.name)}
                group = replace(found.group, baseline=control.name, scores=scores)
                compared_with, unpaired = compared(group)
                notes += unpaired
                if compared_with:
                    both = pair(group, method.name)
                    mean, of_control = (float(both.scores[name].mean()) for name in (method.name, control.name))
                    rows.append(Control(key, mean, of_control, tuple(compared_with), also))
    corrected: dict[tuple[int, str], float | None] = {}
    for subset in ("all", "near", "far"):
        own = [(place, one) for place, row in enumerate(rows) for one in row.comparisons if one.subset == subset]
        tests = holm_over([one.test for _, one in own])
        corrected |= {(place, subset): p for (place, _), p in zip(own, tests, strict=True)}
    controls = tuple(
        replace(row, comparisons=tuple(replace(one, p_holm=corrected[place, one.subset]) for one in row.comparisons))
        for place, row in enumerate(rows)
    )
    return controls, tuple(dict.fromkeys(notes))


def _real(
    control: Method, key: str, idle: frozenset[str], methods: Sequence[Method]
) -> list[tuple[Method, tuple[str, ...]]]:
    """Return the methods that a control is for, with the other keys of the same intervention in which they differ.

    Those that differ in no other key; where there are none, those that do within the intervention, in as few as possible.
    """
    table = key.rpartition(".")[0]
    found = []
    for one in methods:
        if one.settings.get(key, control.settings[key]) == control.settings[key] or _is_control(one, control, table):
            continue
        keys = dict.fromkeys([*control.settings, *one.settings])
        differ = [other for other in keys if control.settings.get(other) != one.settings.get(other)]
        both_count = all(method.settings.get(f"{table}.count") for method in (control, one))
        passed = {key, *(f"{table}.{name}" for name in idle if not (name == "count" and both_count))}
        also = tuple(other for other in differ if other not in passed)
        if all(other.startswith(f"{table}.") for other in also):
            found.append((one, also))
    fewest = min((len(also) for _, also in found), default=0)
    return [(one, also) for one, also in found if len(also) == fewest]


def _is_control(method: Method, control: Method, table: str) -> bool:
    """Return whether a method is itself a control, of a setting that is real in the other one."""
    keys = {f"{table}.{name}": value for name, value in _CONTROLS}
    return any(method.settings.get(key) == value != control.settings.get(key) for key, value in keys.items())


def _effect_record(one: Effect) -> dict[str, Any]:
    changes = [{"axis": axis, "value": value, "reference": reference} for axis, value, reference in one.changes]
    first = changes[0] if len(changes) == 1 else {"changes": changes}
    return {
        **first,
        "along": list(one.along),
        "matches": one.matches,
        **test_record(one.test),
        "p_holm": one.p_holm,
        "alone": list(one.alone),
        "dropped": list(one.dropped),
    }


def _control_records(one: Control) -> list[dict[str, Any]]:
    return [
        {
            "key": one.key,
            "control": found.baseline,
            "method": found.method,
            "subset": found.subset,
            **test_record(found.test),
            "p_holm": found.p_holm,
            **({"mean": one.mean, "mean_control": one.mean_control} if found.subset == "all" else {}),
            "also": list(one.also),
            "dropped": list(found.dropped),
        }
        for found in one.comparisons
    ]
