"""Leave-one-out effects (class, language, family), effects on each language, effects by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distxfer.errors import listed
from distxfer.languages import language_name
from distxfer.reports._tables import Table

if TYPE_CHECKING:  # it brings scipy
    from distxfer.analysis.comparison import Comparison
    from distxfer.analysis.survival import ClassPart, LeaveOneOut, What
    from distxfer.measure import Crossed

_LEFT_OUT: tuple[What, ...] = ("class", "language", "family")


def effect_text(test: Crossed, scale: float) -> str:
    """Return an effect with its interval, if it has one."""
    if test.low is None or test.high is None:
        return f"{scale * test.effect:+.1f}"
    return f"{scale * test.effect:+.1f} [{scale * test.low:+.1f}, {scale * test.high:+.1f}]"


def p_text(value: float | None) -> str | None:
    """Return a p value as tables show it."""
    return None if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def survival_table(
    comparisons: Sequence[Comparison],
    metric: str,
    selection: str,
    scale: float,
    warnings: Sequence[str],
    *,
    subsets: bool = False,
) -> Table:
    """Return each effect on all targets, or near and far ones (`subsets`), without one class, language or family.

    There is a row per method and kind of omission, sorted by effect. A kind that is defined for no method has a note instead.
    """
    chosen = sorted((row for row in comparisons if (row.subset != "all") == subsets), key=lambda row: -row.test.effect)
    rows = [
        (row.method, *([row.subset] if subsets else []), f"{scale * row.test.effect:+.1f}", kind, _range(result, scale))
        for row in chosen
        for kind in _LEFT_OUT
        if not isinstance(result := row.left_out[kind], str)
    ]
    notes = (
        *warnings,
        f"effect on {metric} with each class, language or family left out in turn: the smallest and the largest effect and"
        f" what is left out there. Checkpoint: {selection}.",
        *_reasons(chosen),
    )
    columns = ("method", *(["targets"] if subsets else []), "effect", "left out", "smallest to largest effect")
    return Table(columns, rows, "leave-one-out effects", notes, ("effect",))


def _reasons(comparisons: Sequence[Comparison]) -> list[str]:
    """Return why no class, language or family is left out, with the methods if the reason is not the same for all."""
    methods: dict[tuple[str, str], list[str]] = {}
    for comparison in comparisons:
        for kind, result in comparison.left_out.items():
            if isinstance(result, str):
                methods.setdefault((kind, result), []).append(f"`{comparison.method}`")
    return [
        f"no {kind} is left out{'' if len(names) == len(comparisons) else f' of {listed(names)}'}: {reason}."
        for (kind, reason), names in methods.items()
    ]


def _range(result: LeaveOneOut, scale: float) -> str:
    (lowest, low), (highest, high) = result.lowest, result.highest
    return f"{scale * low.effect:+.1f} {lowest} to {scale * high.effect:+.1f} {highest}"


def each_target_table(
    comparisons: Sequence[Comparison],
    baseline: str,
    scale: float,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
) -> Table | None:
    """Return the effect on each language, or None if there are enough languages to generalise from.

    `before` and `after` are further notes.
    """
    parts = [part for row in comparisons for part in row.each]
    rows = [
        (
            part.method,
            f"{part.part} {language_name(part.part)}",
            f"{scale * part.mean_baseline:.1f}",
            f"{scale * part.mean:.1f}",
            effect_text(part.test, scale),
            p_text(part.p_holm),
        )
        for part in parts
    ]
    seeds = sorted({part.test.n_seeds for part in parts})
    notes = (
        *before,
        f"languages fixed: interval and p are over {' or '.join(map(str, seeds))} seeds and do not generalise to other languages;"
        " Holm over all rows. With fewer than 4 targets there is no interval for their mean.",
        *after,
    )
    columns = ("method", "language", baseline, "method's", "effect [95 %]", "p (Holm)")
    title = f"effect on each language, against {baseline}"
    return Table(columns, rows, title, notes, optional=(baseline, "method's")) if rows else None


def class_table(parts: Sequence[ClassPart], baseline: str, effect: str, scale: float, notes: Sequence[str]) -> Table:
    """Return the effects of one method on every class, the most influential first; `effect` is that on all classes."""
    method = parts[0].method
    rows = [
        (
            part.part,
            f"{part.n_least}" if part.n_least == part.n_most else f"{part.n_least} to {part.n_most}",
            f"{scale * part.mean_baseline:.1f}",
            f"{scale * part.mean:.1f}",
            effect_text(part.test, scale),
            p_text(part.p_holm),
            None if part.effect_without is None else f"{scale * part.effect_without:+.1f}",
        )
        for part in parts
    ]
    columns = ("class", "items", baseline, method, "effect [95 %]", "p (Holm)", "effect without")
    title = f"{method} minus {baseline}, by class ({effect} on all)"
    return Table(columns, rows, title, tuple(notes), optional=("items", baseline, method, "effect without"))


def flat_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a comparison as flat columns for CSV: `macro_effect`, `class_lowest_without` and so on."""
    flat = {key: value for key, value in record.items() if key not in ("macro", "leave_out", "each")}
    flat |= {f"macro_{key}": (record["macro"] or {}).get(key) for key in ("effect", "low", "high", "p", "p_holm")}
    for kind, result in record["leave_out"].items():
        for end in ("lowest", "highest"):
            flat |= {
                f"{kind}_{end}_{key}": result.get(end, {}).get(key) for key in ("without", "effect", "low", "high")
            }
        flat[f"{kind}_carriers"] = [item["without"] for item in result.get("carriers", ())]
    return flat
