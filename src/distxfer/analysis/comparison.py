"""The comparisons of all methods of a group with its baseline: on all, near and far languages, by part, and with distance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np

from distxfer.analysis.matching import Basis, Difference
from distxfer.analysis.scores import Full, Group, complete
from distxfer.analysis.significance import MIN_TARGETS, Tested, corrected, interval_record, plain
from distxfer.analysis.survival import (
    ClassPart,
    LeaveOneOut,
    What,
    class_parts,
    family,
    left_out_of,
    macro_test,
    survival_warnings,
)
from distxfer.errors import listed
from distxfer.languages import permutation_groups, permuted_within
from distxfer.measure import Correlation, correlate, slope_over_seeds, two_way_bootstrap

_DRAWS = 1999  # permutations per correlation: p is known to about half a percent near 5 %


@dataclass(frozen=True, kw_only=True)
class Part(Tested):
    """The effect of a method on one language, or on the languages of one family.

    For one language, interval and p are over seeds. In a family with several, languages are random, too; 2 or 3 of them have no
    interval and no p. `distance` is that of the language, or the mean over the family. `p_holm` is corrected over the parts of
    one method, or over those of all methods if there are too few targets to generalise. `dropped` lists what was left out of
    this part, which is completed by itself.
    """

    method: str
    part: str
    languages: tuple[str, ...]
    distance: float | None
    mean_baseline: float
    mean: float


@dataclass(frozen=True, kw_only=True)
class Slope(Tested):
    """The change of a method's gain per unit of distance, tested over seeds for fixed languages.

    It uses the seeds and languages of the comparison on all languages that have a known distance.
    """

    method: str


@dataclass(frozen=True, kw_only=True)
class Comparison(Tested):
    """A method against the baseline on one subset of languages: `all`, `near` or `far`.

    `p_holm` is corrected over the methods of the same model, task and subset. `bootstrap` is the interval of
    `two_way_bootstrap`, for paired runs. `collapsed` counts collapsed runs; None if unknown. `macro` is the effect on the
    macro-averaged score, None if there is none. `left_out` has the leave-one-out effects by class, language and family, or the
    reason why there are none. Both are computed when first asked for, from `scores` of `group`; without them there is neither.

    Fewer than 4 languages do not generalise: a subset of 2 or 3 has no interval and no p. If `all` has so few, `each` has the
    effect on each language over seeds, with Holm's correction over the languages of all such methods.
    """

    model: str
    task: str
    baseline: str
    method: str
    subset: str
    collapsed: int | None
    macro: Tested | None
    each: tuple[Part, ...] = ()
    group: Group = field(repr=False, compare=False)
    scores: Full | None = field(repr=False, compare=False)

    @cached_property
    def bootstrap(self) -> tuple[float | None, float | None]:
        """The interval of `two_way_bootstrap`; None for 2 or 3 languages, and for runs without pairs."""
        full = self.scores
        if full is None or not self.group.paired or 1 < len(full.languages) < MIN_TARGETS:
            return None, None
        return two_way_bootstrap(full.scores[self.method] - full.scores[self.baseline])

    @cached_property
    def left_out(self) -> Mapping[What, LeaveOneOut | str]:
        """The leave-one-out effects by class, language and family, or the reason why there are none."""
        return {} if self.scores is None else left_out_of(self.group, self.method, self.scores)

    @property
    def carried(self) -> bool:
        """Whether the effect changes sign or loses more than half without one class, language or family."""
        return any(not isinstance(result, str) and result.carriers for result in self.left_out.values())

    def record(self) -> dict[str, Any]:
        """Return it as JSON data."""
        record = super().record()
        record["bootstrap_low"], record["bootstrap_high"] = self.bootstrap
        if self.macro:
            record["macro"] = {**interval_record(self.macro.test), "p_holm": self.macro.p_holm}
        record["leave_out"] = {
            kind: {"reason": result} if isinstance(result, str) else result
            for kind, result in plain(self.left_out).items()
        }
        return record


@dataclass(frozen=True)
class Transfer:
    """A method's mean score over seeds and languages, and its correlation, and that of its gain, with distance.

    The means of one model and task share their languages: those that no run lacks, after `complete`; None if there are none.
    Correlations are over the languages with a known distance. `dropped` lists what was left out, the same for all methods.
    """

    model: str
    task: str
    method: str
    mean: float | None
    by_distance: Correlation
    gain_by_distance: Correlation | None
    dropped: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return it as JSON data."""
        record = {**vars(self), "dropped": list(self.dropped)}
        for key, correlation in (("score", record.pop("by_distance")), ("gain", record.pop("gain_by_distance"))):
            record[f"{key}_by_distance"] = correlation and {
                **{name: getattr(correlation, name) for name in ("r", "p", "n", "n_groups", "detectable", "reason")},
                "permuted_within": permuted_within(correlation.n),
            }
        return record


@dataclass(frozen=True, kw_only=True)
class Comparisons(Basis):
    """All comparisons of methods with a baseline, on all, near and far languages, and correlations with distance.

    Those of finished runs have their `group`. They also have the effects by language, family and class, which are computed when
    first asked for, the change of the gain with distance, and the settings in which each method differs from the baseline.
    """

    paired: bool
    comparisons: tuple[Comparison, ...]
    transfers: tuple[Transfer, ...]
    slopes: tuple[Slope, ...] = ()
    differences: tuple[Difference, ...] = ()
    group: Group | None = field(default=None, repr=False, compare=False)

    @cached_property
    def by_language(self) -> tuple[Part, ...]:
        """The effects on each language; those of methods with too few targets to generalise are corrected over all of them."""
        each = {(part.method, part.part): part for row in self.comparisons for part in row.each}
        parts = parts_of(self.group, lambda code: code, self.group.others) if self.group else ()
        return tuple(each.get((part.method, part.part), part) for part in parts)

    @cached_property
    def by_family(self) -> tuple[Part, ...]:
        """The effects on each family."""
        return parts_of(self.group, family, self.group.others) if self.group else ()

    @cached_property
    def by_class(self) -> tuple[ClassPart, ...]:
        """The effects on each class."""
        return class_parts(self.group) if self.group else ()

    @property
    def survival_warnings(self) -> tuple[str, ...]:
        """Warnings on effects that depend on one class, language or family."""
        return survival_warnings(self.comparisons, self.scale)

    def records(self) -> dict[str, Any]:
        """Return all of it as JSON data; effects in the unit of the scores."""
        records = super().records()
        parts = {name: plain(getattr(self, name)) for name in ("by_language", "by_family", "by_class")}
        last = {name: records.pop(name) for name in ("slopes", "differences", "selection_by_method")}
        warnings = [*self.warnings, *self.survival_warnings]
        transfer = records.pop("transfers")
        del records["warnings"]
        return {**records, **parts, **last, "warnings": warnings, "transfer": transfer}


def compared(group: Group, *, leave_out: bool = True) -> tuple[list[Comparison], list[str]]:
    """Return all comparisons of a group, and a note for each that has no scores; optionally without leave-one-out effects."""
    rows: list[Comparison] = []
    notes = []
    pairs = {method: group.pair(method) for method in group.others}
    for subset in ("all", "near", "far"):
        of_subset = []
        for method, full in pairs.items():
            part = full if subset == "all" else full.of(group.subset(subset).__contains__)
            if part.empty:
                without = f" without {listed(part.dropped)}" if part.dropped else ""
                name = f"{group.model}, {group.task}: `{method}` on {subset}"
                notes.append(f"{name} is left out: no paired scores remain{without}")
            else:
                of_subset.append(_comparison(group, method, subset, part, leave_out))
        with_macro = {row.method: row.macro for row in of_subset if row.macro}
        macro = dict(zip(with_macro, corrected(with_macro.values()), strict=True))
        rows += [replace(row, macro=macro.get(row.method)) for row in corrected(of_subset)]
    few = [row.method for row in rows if row.subset == "all" and row.test.n_languages < MIN_TARGETS]
    each = parts_of(group, lambda code: code, few, together=True) if leave_out else ()
    return [
        replace(row, each=tuple(part for part in each if part.method == row.method)) if row.subset == "all" else row
        for row in rows
    ], notes


def _comparison(group: Group, method: str, subset: str, full: Full, leave_out: bool) -> Comparison:
    macro = macro_test(group, method, full) if leave_out else None
    return Comparison(
        model=group.model,
        task=group.task,
        baseline=group.baseline,
        method=method,
        subset=subset,
        test=group.tested(method, full),
        collapsed=None if group.collapsed is None else group.collapsed[method],
        dropped=full.dropped,
        macro=None if macro is None else Tested(test=macro),
        group=group,
        scores=full if leave_out else None,
    )


def parts_of(
    group: Group, part_of: Callable[[str], str], methods: Sequence[str], *, together: bool = False
) -> tuple[Part, ...]:
    """Return the effect of each method on each part of its languages, nearest first.

    Holm's correction is over the parts of each method, or of all methods if `together`.
    """
    rows: list[Part] = []
    for method in methods:
        parts: dict[str, set[str]] = {}
        for code in sorted({str(code) for name in (method, group.baseline) for code in group.scores[name]}):
            parts.setdefault(part_of(code), set()).add(code)
        scores = {part: group.pair(method, languages.__contains__) for part, languages in parts.items()}
        rows_of_method = [_part(group, method, part, full) for part, full in scores.items() if not full.empty]
        rows_of_method.sort(key=lambda row: (row.distance is None, row.distance or 0.0, row.part))
        rows += rows_of_method if together else corrected(rows_of_method)
    return tuple(corrected(rows) if together else rows)


def unpaired_notes(group: Group) -> list[str]:
    """Return a note for each method that has no seed in common with the baseline in a language that both were tested in."""
    notes = []
    for method in group.others:
        if not group.pair(method).dropped:
            continue  # all seeds are in all languages
        shared = set.intersection(*(set(map(str, group.scores[name])) for name in (method, group.baseline)))
        lost = [f"`{code}`" for code in sorted(shared) if group.pair(method, {code}.__contains__).empty]
        notes += [f"`{method}` and `{group.baseline}` have no seed in common on {listed(lost)}"] if lost else []
    return notes


def _part(group: Group, method: str, part: str, full: Full) -> Part:
    distances = [group.far_from[code] for code in full.languages if code in group.far_from]
    return Part(
        method=method,
        part=part,
        languages=full.languages,
        distance=fmean(distances) if distances else None,
        mean_baseline=float(full.scores[group.baseline].mean()),
        mean=float(full.scores[method].mean()),
        test=group.tested(method, full),
        dropped=full.dropped,
    )


def slopes_of(group: Group) -> tuple[Slope, ...]:
    """Return the change of each method's gain with distance, where it can be estimated."""
    rows = []
    for method in group.others:
        full = group.pair(method).of(group.far_from.__contains__)
        distances = [group.far_from[code] for code in full.languages]
        test = None if full.empty else slope_over_seeds(full.scores[method] - full.scores[group.baseline], distances)
        rows += [] if test is None else [Slope(method=method, test=test, dropped=full.dropped)]
    return tuple(rows)


def transfers_of(group: Group) -> list[Transfer]:
    """Return each method's mean and its correlation with distance, over the languages that no run lacks."""
    full = complete(group.scores, paired=False)
    rows = []
    for name, table in full.scores.items():
        gains: dict[str, float] = {}
        if name != group.baseline and table.size:
            # Where runs are paired, gains are of the seeds that both have, as the effects are.
            both = group.pair(name, full.languages.__contains__) if group.paired else full
            if not both.empty:
                gain = both.scores[name].mean(axis=0) - both.scores[group.baseline].mean(axis=0)
                gains = dict(zip(both.languages, gain.tolist(), strict=True))
        means = dict(zip(full.languages, table.mean(axis=0).tolist(), strict=True)) if len(table) else {}
        rows.append(
            Transfer(
                model=group.model,
                task=group.task,
                method=name,
                mean=float(np.mean(list(means.values()))) if means else None,
                by_distance=_correlated(means, group.far_from),
                gain_by_distance=_correlated(gains, group.far_from) if gains else None,
                dropped=full.dropped,
            )
        )
    return rows


def _correlated(values: Mapping[str, float], far_from: Mapping[str, float]) -> Correlation:
    codes = [code for code in values if code in far_from]
    return correlate(
        [far_from[code] for code in codes],
        [values[code] for code in codes],
        groups=permutation_groups(codes),
        draws=_DRAWS,
    )
