"""Ablation tables: effects of settings, interactions, responses to numeric settings, and controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distxfer.errors import counted, shortened
from distxfer.reports._compare import dropped_notes, starred
from distxfer.reports._methods import left_out_notes
from distxfer.reports._randomness import random_factors, rate_notes
from distxfer.reports._survival import effect_text, p_text
from distxfer.reports._tables import Table, table_of
from distxfer.results.settings import setting_text

if TYPE_CHECKING:  # it brings scipy
    from distxfer.analysis.ablation import Ablation
    from distxfer.analysis.comparison import Comparison
    from distxfer.analysis.design import Effect

_NAMED = 12  # a note names at most so many methods without a match
_TESTED = ("effect [95 %]", "p (Holm)", "matches", "seeds × languages")
_OPTIONAL = ("matches", "seeds × languages")


def ablation_tables(ablation: Ablation) -> list[Table]:
    """Return the table of main effects, and those of interactions, responses and controls that are not empty."""
    return [
        _effects(ablation),
        *([_interactions(ablation)] if ablation.interactions else []),
        *([_responses(ablation)] if ablation.responses else []),
        *([_controls(ablation)] if ablation.controls else []),
    ]


def ablation_data(ablation: Ablation) -> Table:
    """Return the numbers of all tables at full precision for CSV; `part` names the table of each row."""
    records = ablation.records()
    common = {"metric": ablation.metric, "selection": records["selection"], "baseline": ablation.baseline}
    rows: list[dict[str, Any]] = []
    for part in ("effects", "interactions", "responses", "controls"):
        for record in records[part]:
            changes = record.pop("changes", [])
            second = {f"{key}_{place}": change[key] for place, change in enumerate(changes, 1) for key in change}
            rows.append({"part": part, **common, **second, **record})
    return table_of(rows)


def _scale(ablation: Ablation) -> float:
    return 100.0 if ablation.fractions else 1.0


def _label(effect: Effect, axis: str) -> str:
    """Return an axis and the keys that change with it in an effect."""
    return " + ".join((axis, *effect.along))


def _value(value: Any) -> str:
    return "absent" if value is None else setting_text(value)


def _effects(ablation: Ablation) -> Table:
    rows = []
    for effect in ablation.effects:
        ((axis, value, reference),) = effect.changes
        rows.append((_label(effect, axis), _value(value), _value(reference), *_tested(effect, ablation)))
    joint = any(effect.along for effect in ablation.effects)
    notes = (
        *ablation.warnings,
        f"effect: the score with this value minus the score with the other, all else equal; the mean over all matches."
        f" {_basis(ablation)} Holm over {counted(_with_p(ablation.effects), 'effects')}.",
        *(["a + b: b changes with a in every match, so their effects cannot be separated."] if joint else []),
        *dict.fromkeys(f"{effect.test.note}." for effect in ablation.effects if effect.test.note),
        *rate_notes([effect.test for effect in ablation.effects]),
        *_notes_of_dropped(ablation.effects),
        *_notes_of_unmatched(ablation),
        *([f"no effect estimated for: {shortened(ablation.unmatched)}."] if ablation.unmatched else []),
        *ablation.notes,
        *ablation.corpora,
        *left_out_notes(ablation.collapsed, ablation.left_out),
    )
    return Table(("setting", "value", "against", *_TESTED), rows, "effect of each setting", notes, _OPTIONAL)


def _interactions(ablation: Ablation) -> Table:
    rows = []
    for interaction in ablation.interactions:
        sides = [f"{axis} {_value(value)} against {_value(old)}" for axis, value, old in interaction.changes]
        sides[0] = " + ".join((sides[0], *interaction.along))
        rows.append((*sides, *_tested(interaction, ablation)))
    notes = (
        *ablation.warnings,
        "interaction: the effect of the first change with the second minus its effect without it (0: additive)."
        f" {_basis(ablation)} Holm over {counted(_with_p(ablation.interactions), 'interactions')}.",
        *_notes_of_dropped(ablation.interactions),
    )
    return Table(("change", "depends on", *_TESTED), rows, "interactions", notes, _OPTIONAL)


def _responses(ablation: Ablation) -> Table:
    scale = _scale(ablation)
    rows = []
    for response in ablation.responses:
        mean = f"{scale * response.mean:.1f}"
        if response.low is not None and response.high is not None:
            mean += f" [{scale * response.low:.1f}, {scale * response.high:.1f}]"
        size = f"{response.n_seeds} × {response.n_languages}"
        rows.append((response.axis, _value(response.value), mean, response.settings, size))
    notes = (
        *ablation.warnings,
        f"mean {ablation.metric} over targets; the interval is over seeds, with languages fixed. For display only: the effects"
        f" above are the tests. Checkpoint: {_selection(ablation)}.",
    )
    columns = ("setting", "value", "mean [95 %]", "settings", "seeds × languages")
    return Table(columns, rows, "response to each numeric setting", notes, ("settings", "seeds × languages"))


def _controls(ablation: Ablation) -> Table:
    scale = _scale(ablation)
    rows = []
    for control in ablation.controls:
        by_subset = {part.subset: part for part in control.comparisons}
        first = by_subset["all"]
        rows.append(
            (
                control.key,
                first.method,
                f"{scale * control.mean:.1f}",
                first.baseline,
                f"{scale * control.mean_control:.1f}",
                effect_text(first.test, scale),
                p_text(first.p_holm),
                *(starred(by_subset.get(subset), scale) for subset in ("near", "far")),
                f"{first.test.n_seeds} × {first.test.n_languages}",
            )
        )
    first_rows = [control.comparisons[0] for control in ablation.controls]
    also = [
        f"`{row.baseline}` also differs in {', '.join(control.also)}"
        for row, control in zip(first_rows, ablation.controls, strict=True)
        if control.also
    ]
    notes = (
        *ablation.warnings,
        f"real minus control on the same seeds and languages; the means are over these. {_basis(ablation)} Holm over"
        f" {counted(_with_p(first_rows), 'controls')}; near and far by the {ablation.distance} distance, * p <= 0.05 after"
        " Holm.",
        *([f"no clean control: {'; '.join(dict.fromkeys(also))}."] if also else []),
        *dict.fromkeys(row.test.reason for row in first_rows if row.test.reason),
        *dropped_notes((f"`{row.method}`", row.dropped) for row in first_rows),
    )
    columns = ("setting", "real", "mean", "control", "its mean", "real minus control [95 %]", "p (Holm)", "near", "far",
               "seeds × languages")  # fmt: skip
    return Table(columns, rows, "controls", notes, ("seeds × languages", "far", "near", "its mean", "mean"))


def _with_p(tested: Sequence[Effect | Comparison]) -> int:
    """Return how many tests have a p value."""
    return sum(effect.test.p is not None for effect in tested)


def _tested(effect: Effect, ablation: Ablation) -> tuple[Any, ...]:
    test = effect.test
    return (
        effect_text(test, _scale(ablation)),
        p_text(effect.p_holm),
        effect.matches,
        f"{test.n_seeds} × {test.n_languages}",
    )


def _notes_of_dropped(effects: Sequence[Effect]) -> list[str]:
    """Return why some effects have no interval, and what each one leaves out."""
    changes = [" and ".join(f"{axis} {_value(value)}" for axis, value, _ in effect.changes) for effect in effects]
    reasons = list(dict.fromkeys(effect.test.reason for effect in effects if effect.test.reason))
    return [*reasons, *dropped_notes(zip(changes, (effect.dropped for effect in effects), strict=True))]


def _notes_of_unmatched(ablation: Ablation) -> list[str]:
    """Return a note on the methods that effects leave out, with their names if they are few."""
    names = [
        f"{axis} {_value(value)}: {', '.join(f'`{name}`' for name in effect.alone)}"
        for effect in ablation.effects
        for axis, value, _ in effect.changes
        if effect.alone
    ]
    times = sum(len(effect.alone) for effect in ablation.effects)
    if times > _NAMED:
        names = [f"{times} times in {len(names)} of {len(ablation.effects)} effects; `--json` has the names"]
    return (
        [f"left out of an effect because no method differs from them in that setting alone: {'; '.join(names)}."]
        if names
        else []
    )


def _basis(ablation: Ablation) -> str:
    return (
        f"{ablation.metric} of the targets, from {ablation.source}; paired by seed;"
        f" {random_factors([effect.test for effect in ablation.effects])}. Checkpoint:"
        f" {_selection(ablation)}."
    )


def _selection(ablation: Ablation) -> str:
    return " / ".join(dict.fromkeys(ablation.selection.values()))
