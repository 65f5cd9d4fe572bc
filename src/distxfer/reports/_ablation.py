"""Ablations as tables: what each setting contributes, interactions, responses, and controls beside the real thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distxfer.errors import shortened
from distxfer.reports._compare import counted, dropped_notes, starred
from distxfer.reports._methods import left_out_notes
from distxfer.reports._randomness import random_factors, rate_notes
from distxfer.reports._survival import effect_text, p_text
from distxfer.reports._tables import Table, table_of
from distxfer.results.collect import setting_text

if TYPE_CHECKING:  # it brings scipy
    from distxfer.analysis.ablation import Ablation
    from distxfer.analysis.compare import Comparison
    from distxfer.analysis.design import Effect

_NAMED = 12  # methods without a match that a note names
_TESTED = ("effect [95 %]", "p (Holm)", "matches", "seeds × languages")


def ablation_tables(found: Ablation) -> list[Table]:
    """Return the main effects, and the interactions, responses and controls where there are any."""
    return [
        _effects(found),
        *([_interactions(found)] if found.interactions else []),
        *([_responses(found)] if found.responses else []),
        *([_controls(found)] if found.controls else []),
    ]


def ablation_data(found: Ablation) -> Table:
    """Return the numbers of all tables in full, one row each, for CSV; `part` says of which table a row is."""
    records = found.records()
    common = {"metric": found.metric, "selection": records["selection"], "baseline": found.baseline}
    rows: list[dict[str, Any]] = []
    for part in ("effects", "interactions", "responses", "controls"):
        for one in records[part]:
            changes = one.pop("changes", [])
            second = {f"{key}_{place}": change[key] for place, change in enumerate(changes, 1) for key in change}
            rows.append({"part": part, **common, **second, **one})
    return table_of(rows)


def _scale(found: Ablation) -> float:
    return 100.0 if found.fractions else 1.0


def _label(one: Effect, axis: str) -> str:
    """Return an axis with the keys that change along with it in an effect."""
    return " + ".join((axis, *one.along))


def _value(value: Any) -> str:
    return "absent" if value is None else setting_text(value)


def _effects(found: Ablation) -> Table:
    rows = []
    for one in found.effects:
        ((axis, value, reference),) = one.changes
        rows.append((_label(one, axis), _value(value), _value(reference), *_tested(one, found)))
    joint = any(one.along for one in found.effects)
    notes = (
        *found.warnings,
        f"effect: what the value changes against the other, all else being equal; the mean over all matches. {_basis(found)}"
        f" Holm over {counted(_with_p(found.effects), 'effect')}.",
        *(["a + b: b changes with a in every match, so that their parts cannot be told."] if joint else []),
        *dict.fromkeys(f"{one.test.note}." for one in found.effects if one.test.note),
        *rate_notes([one.test for one in found.effects]),
        *_notes_of_dropped(found.effects),
        *_notes_of_unmatched(found),
        *([f"no effect of: {shortened(found.unmatched)}."] if found.unmatched else []),
        *found.notes,
        *found.corpora,
        *left_out_notes(found.collapsed, found.left_out),
    )
    return Table(("setting", "value", "against", *_TESTED), rows, "what each setting contributes", notes)


def _interactions(found: Ablation) -> Table:
    rows = []
    for one in found.interactions:
        sides = [f"{axis} {_value(value)} against {_value(old)}" for axis, value, old in one.changes]
        sides[0] = " + ".join((sides[0], *one.along))
        rows.append((*sides, *_tested(one, found)))
    notes = (
        *found.warnings,
        "interaction: what the first change brings with the second less what it brings without it (0: the two add up)."
        f" {_basis(found)} Holm over {counted(_with_p(found.interactions), 'interaction')}.",
        *_notes_of_dropped(found.interactions),
    )
    return Table(("change", "depends on", *_TESTED), rows, "interactions", notes)


def _responses(found: Ablation) -> Table:
    scale = _scale(found)
    rows = []
    for one in found.responses:
        between = "" if one.low is None or one.high is None else f" [{scale * one.low:.1f}, {scale * one.high:.1f}]"
        mean = f"{scale * one.mean:.1f}{between}"
        rows.append((one.axis, _value(one.value), mean, one.settings, f"{one.n_seeds} × {one.n_languages}"))
    notes = (
        *found.warnings,
        f"mean {found.metric} of the targets; its interval is over seeds, the languages being fixed: for display, the effects"
        f" above are the tests. Checkpoint: {_selection(found)}.",
    )
    columns = ("setting", "value", "mean [95 %]", "settings", "seeds × languages")
    return Table(columns, rows, "response to each numeric setting", notes)


def _controls(found: Ablation) -> Table:
    scale = _scale(found)
    rows = []
    for one in found.controls:
        own = {part.subset: part for part in one.comparisons}
        first = own["all"]
        rows.append(
            (
                one.key,
                first.method,
                f"{scale * one.mean:.1f}",
                first.baseline,
                f"{scale * one.mean_control:.1f}",
                effect_text(first.test, scale),
                p_text(first.p_holm),
                *(starred(own.get(subset), scale) for subset in ("near", "far")),
                f"{first.test.n_seeds} × {first.test.n_languages}",
            )
        )
    also = [
        f"`{one.comparisons[0].baseline}` differs in {', '.join(one.also)} too" for one in found.controls if one.also
    ]
    notes = (
        *found.warnings,
        f"real less control, on the same seeds and languages; the means are over these. {_basis(found)} Holm over"
        f" {counted(_with_p([one.comparisons[0] for one in found.controls]), 'control')}; near and far by the"
        f" {found.distance} distance, * p <= 0.05 after Holm.",
        *([f"no clean control: {'; '.join(dict.fromkeys(also))}."] if also else []),
        *dict.fromkeys(one.comparisons[0].test.reason for one in found.controls if one.comparisons[0].test.reason),
        *dropped_notes((f"`{one.comparisons[0].method}`", one.comparisons[0].dropped) for one in found.controls),
    )
    columns = ("setting", "real", "mean", "control", "its mean", "real less control [95 %]", "p (Holm)", "near", "far",
               "seeds × languages")  # fmt: skip
    return Table(columns, rows, "controls beside the real thing", notes)


def _with_p(tested: Sequence[Effect | Comparison]) -> int:
    """Return how many of these have a p value to correct."""
    return sum(one.test.p is not None for one in tested)


def _tested(one: Effect, found: Ablation) -> tuple[Any, ...]:
    test = one.test
    return effect_text(test, _scale(found)), p_text(one.p_holm), one.matches, f"{test.n_seeds} × {test.n_languages}"


def _notes_of_dropped(effects: Sequence[Effect]) -> list[str]:
    """Return why some effects have no interval, and what was left out of which."""
    changes = [" and ".join(f"{axis} {_value(value)}" for axis, value, _ in one.changes) for one in effects]
    reasons = list(dict.fromkeys(one.test.reason for one in effects if one.test.reason))
    return [*reasons, *dropped_notes(zip(changes, (one.dropped for one in effects), strict=True))]


def _notes_of_unmatched(found: Ablation) -> list[str]:
    """Return a note on the methods that an effect leaves out, by name where these are not too many."""
    names = [
        f"{axis} {_value(value)}: {', '.join(f'`{name}`' for name in one.alone)}"
        for one in found.effects
        for axis, value, _ in one.changes
        if one.alone
    ]
    times = sum(len(one.alone) for one in found.effects)
    if times > _NAMED:
        names = [f"{times} times, in {len(names)} of {len(found.effects)} effects; JSON has the names"]
    return (
        [f"left out of an effect, since no method differs from them in it alone: {'; '.join(names)}."] if names else []
    )


def _basis(found: Ablation) -> str:
    return (
        f"{found.metric} of the targets, from {found.source}; paired by seed;"
        f" {random_factors([one.test for one in found.effects])}. Checkpoint:"
        f" {_selection(found)}."
    )


def _selection(found: Ablation) -> str:
    return " / ".join(dict.fromkeys(found.selection.values()))
