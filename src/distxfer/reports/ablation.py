"""Ablation tables: effects of settings, interactions, responses to numeric settings, and controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distxfer.analysis.significance import effect_text
from distxfer.errors import counted, shortened
from distxfer.reports._wording import (
    dropped_notes,
    left_out_notes,
    p_text,
    random_factors,
    rate_notes,
    reasons_of,
    size_text,
    starred,
    with_p,
)
from distxfer.reports.tables import Table, table_of
from distxfer.results.settings import setting_text

if TYPE_CHECKING:  # it brings scipy
    from distxfer.analysis.ablation import Ablation
    from distxfer.analysis.design import Effect

_NAMED = 12  # a note names at most so many methods without a match
_TESTED = ("effect [95 %]", "p (Holm)", "matches", "seeds × languages")


def ablation_tables(ablation: Ablation) -> list[Table]:
    """Return the table of main effects, and those of interactions, responses and controls that are not empty."""
    parts = {
        _interactions: ablation.interactions,
        _responses: ablation.responses,
        _controls: ablation.controls,
    }
    return [_effects(ablation), *(table(ablation) for table, rows in parts.items() if rows)]


def ablation_data(ablation: Ablation) -> Table:
    """Return the numbers of all tables at full precision for CSV; `part` names the table of each row."""
    records = ablation.records()
    common = {key: records[key] for key in ("metric", "selection", "baseline")}
    rows: list[dict[str, Any]] = []
    for part in ("effects", "interactions", "responses", "controls"):
        for record in records[part]:
            changes = enumerate(record.pop("changes", []), 1)
            numbered = {f"{key}_{place}": value for place, change in changes for key, value in change.items()}
            rows.append({"part": part, **common, **numbered, **record})
    return table_of(rows)


def _value(value: Any) -> str:
    return "absent" if value is None else setting_text(value)


def _tested(effect: Effect, ablation: Ablation) -> tuple[Any, ...]:
    """Return the cells of `_TESTED`."""
    return (*with_p(effect, ablation.scale), effect.matches, size_text(effect.test))


def _effects(ablation: Ablation) -> Table:
    rows = []
    for effect in ablation.effects:
        ((axis, value, reference),) = effect.changes
        setting = " + ".join((axis, *effect.along))
        rows.append((setting, _value(value), _value(reference), *_tested(effect, ablation)))
    joint = any(effect.along for effect in ablation.effects)
    tests = [effect.test for effect in ablation.effects]
    rates = rate_notes(tests)
    notes = (
        *ablation.warnings,
        "effect: the score with this value minus the score with the other, all else equal; the mean over all matches."
        f" {_basis(ablation)} Holm over {counted(_with_p(tests), 'effects')}.",
        *(["a + b: b changes with a in every match, so their effects cannot be separated."] if joint else []),
        *dict.fromkeys(f"{test.note}." for test in tests if test.note),
        *rates,
        *_notes_of_dropped(ablation.effects),
        *_notes_of_unmatched(ablation),
        *([f"no effect estimated for: {shortened(ablation.unmatched)}."] if ablation.unmatched else []),
        *ablation.notes,
        *ablation.corpora,
        *left_out_notes(ablation.collapsed, ablation.left_out),
    )
    columns = ("setting", "value", "against", *_TESTED)
    return Table(columns, rows, "effect of each setting", notes, _TESTED[2:], background=tuple(rates[1:]))


def _interactions(ablation: Ablation) -> Table:
    rows = []
    for interaction in ablation.interactions:
        sides = [f"{axis} {_value(value)} against {_value(old)}" for axis, value, old in interaction.changes]
        sides[0] = " + ".join((sides[0], *interaction.along))
        rows.append((*sides, *_tested(interaction, ablation)))
    tests = [interaction.test for interaction in ablation.interactions]
    notes = (
        *ablation.warnings,
        "interaction: the effect of the first change with the second minus its effect without it (0: additive)."
        f" {_basis(ablation)} Holm over {counted(_with_p(tests), 'interactions')}.",
        *_notes_of_dropped(ablation.interactions),
    )
    return Table(("change", "depends on", *_TESTED), rows, "interactions", notes, _TESTED[2:])


def _responses(ablation: Ablation) -> Table:
    scale = ablation.scale
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
        f" above are the tests. Checkpoint: {ablation.selected}.",
    )
    columns = ("setting", "value", "mean [95 %]", "settings", "seeds × languages")
    return Table(columns, rows, "response to each numeric setting", notes, columns[3:])


def _controls(ablation: Ablation) -> Table:
    scale = ablation.scale
    rows = []
    for control in ablation.controls:
        of_subset = {row.subset: row for row in control.comparisons}
        first = of_subset["all"]
        rows.append(
            (
                control.key,
                first.method,
                f"{scale * control.mean:.1f}",
                first.baseline,
                f"{scale * control.mean_control:.1f}",
                effect_text(first.test, scale),
                p_text(first.p_holm),
                *(starred(of_subset.get(subset), scale) for subset in ("near", "far")),
                size_text(first.test),
            )
        )
    firsts = [control.comparisons[0] for control in ablation.controls]
    also = dict.fromkeys(
        f"`{control.comparisons[0].baseline}` also differs in {', '.join(control.also)}"
        for control in ablation.controls
        if control.also
    )
    notes = (
        *ablation.warnings,
        f"real minus control on the same seeds and languages; the means are over these. {_basis(ablation)} Holm over"
        f" {counted(_with_p([row.test for row in firsts]), 'controls')}; near and far by the {ablation.distance} distance, * p <="
        " 0.05 after Holm.",
        *([f"no clean control: {'; '.join(also)}."] if also else []),
        *reasons_of(firsts),
        *dropped_notes((f"`{row.method}`", row.dropped) for row in firsts),
    )
    columns = ("setting", "real", "mean", "control", "its mean", "real minus control [95 %]", "p (Holm)", "near", "far",
               "seeds × languages")  # fmt: skip
    return Table(columns, rows, "controls", notes, ("seeds × languages", "far", "near", "its mean", "mean"))


def _with_p(tests: Sequence[Any]) -> int:
    """Return how many tests have a p value."""
    return sum(test.p is not None for test in tests)


def _notes_of_dropped(effects: Sequence[Effect]) -> list[str]:
    """Return why some effects have no interval, and what each one leaves out."""
    changes = [" and ".join(f"{axis} {_value(value)}" for axis, value, _ in effect.changes) for effect in effects]
    return [*reasons_of(effects), *dropped_notes(zip(changes, (effect.dropped for effect in effects), strict=True))]


def _notes_of_unmatched(ablation: Ablation) -> list[str]:
    """Return a note on the methods that effects leave out, with their names if they are few."""
    lacking = [effect for effect in ablation.effects if effect.alone]
    times = sum(len(effect.alone) for effect in lacking)
    names = [
        f"{axis} {_value(value)}: {', '.join(f'`{name}`' for name in effect.alone)}"
        for effect in lacking
        for axis, value, _ in effect.changes
    ]
    if times > _NAMED:
        names = [f"{times} times in {len(lacking)} of {len(ablation.effects)} effects; `--json` has the names"]
    about = "left out of an effect because no method differs from them in that setting alone"
    return [f"{about}: {'; '.join(names)}."] if names else []


def _basis(ablation: Ablation) -> str:
    return (
        f"{ablation.metric} of the targets, from {ablation.source}; paired by seed;"
        f" {random_factors([effect.test for effect in ablation.effects])}. Checkpoint: {ablation.selected}."
    )
