"""Methods against a baseline: the crossed test on seeds x languages, for every model and task of a table of scores."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from distxfer.analysis.cells import Cells, Full, Group, complete, middle_of, pair
from distxfer.analysis.items import Items
from distxfer.analysis.parts import Part, parts_of
from distxfer.analysis.significance import MIN_TARGETS, holm_over, test_record, tested
from distxfer.analysis.survival import Survival, survival
from distxfer.analysis.survival_warnings import survival_warnings
from distxfer.errors import InputError, listed, unknown
from distxfer.languages import (
    Distance,
    canonical,
    check_distance,
    distance,
    distance_warnings,
    permutation_groups,
    permuted_within,
)
from distxfer.measure import Correlation, Crossed, correlate, two_way_bootstrap
from distxfer.results.score_tables import Score

_OBSERVED = ("genetic", "geographic")  # distances that are never imputed
_DRAWS = 1999  # permutations per correlation: p is known to about half a percent near 5 %


@dataclass(frozen=True)
class Comparison:
    """A method against the baseline on one set of languages: `subset` is `all`, `near` or `far`.

    `test` has effect, interval, p and the numbers of seeds and languages; `p_holm` is corrected over the methods of the
    same model, task and subset. `bootstrap` is the interval of `two_way_bootstrap`, for comparison, where runs are paired.
    `collapsed` counts failed runs, None where that cannot be known. `dropped` says what was left out and why. `survives` says
    what is left of the effect without one class, language or family, and what it is on the macro-averaged score.

    Fewer than 4 languages say nothing of others: a subset of 2 or 3 has no interval and no p. Where `all` is so small, `each`
    has the effect on every language by itself, over seeds, with Holm over the languages of all such methods.
    """

    model: str
    task: str
    baseline: str
    method: str
    subset: str
    test: Crossed
    p_holm: float | None
    bootstrap: tuple[float | None, float | None]
    collapsed: int | None
    dropped: tuple[str, ...]
    survives: Survival
    each: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Transfer:
    """How one method's mean score over its seeds goes with distance, over languages; and its gain on the baseline.

    All means of a model and task are over the same languages, those that no run lacks (but for runs that lack most of them,
    see `complete`); None where there are none. The correlations are over those of them that have a distance. `dropped` says
    what was left out of the means, and why; it is the same for all methods of a model and task.
    """

    model: str
    task: str
    method: str
    mean: float | None
    by_distance: Correlation
    gain_by_distance: Correlation | None
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Comparisons:
    """All comparisons of one table, with what they rest on; `fractions` says that no score is above 1."""

    metric: str
    fractions: bool
    selection: str
    source: str
    distance: str
    paired: bool
    comparisons: tuple[Comparison, ...]
    transfers: tuple[Transfer, ...]
    notes: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Which effects one class, language or family decides; empty where that is none."""
        return survival_warnings(self.comparisons, 100.0 if self.fractions else 1.0)

    def records(self) -> dict[str, Any]:
        """Return the comparisons as JSON data; effects in the unit of the scores."""
        return {
            "metric": self.metric,
            "selection": self.selection,
            "source": self.source,
            "distance": self.distance,
            "paired": self.paired,
            "comparisons": [_record(one) for one in self.comparisons],
            "transfer": [_transfer_record(one) for one in self.transfers],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


def compare(
    scores: Iterable[Score],
    baseline: str,
    *,
    metric: str = "",
    source: str = "eng",
    distance_name: str = "syntactic",
    imputed: bool = True,
    matrix: Path | None = None,
    paired: bool = False,
    selection: str = "not known",
    items: Items | None = None,
) -> Comparisons:
    """Compare every method with the baseline, for each model and task, on all, the near and the far target languages.

    `paired` says that runs of equal seed share data order and initial weights: then the test is `crossed` on their
    differences, else `crossed_unpaired`; with `items` (what each run got right, see `read_items`) the test
    items are random too. Near are the targets at most at the median distance from the source of those
    that the baseline has, whatever else is compared. Holm's
    correction is over the methods of one model, task and subset. Seeds or languages with missing scores are left out
    until the table of a method and the baseline is complete, as few scores as possible, and named; near and far are parts of
    that table. Correlations with distance are over languages
    (Spearman, permutations within `languages.permutation_groups`).

    Raises InputError for a baseline or metric that the table does not have, or no method to compare.
    """
    check_distance(distance_name, matrix)
    chosen, metric = _of_metric(tuple(scores), metric)
    start = canonical(source)
    notes = [
        f"seed `{one.seed}` of `{one.method}` has no score for `{one.language}`" for one in chosen if one.value is None
    ]
    groups = _grouped(chosen, baseline, start, metric)
    comparisons: list[Comparison] = []
    transfers: list[Transfer] = []
    for (model, task), runs in sorted(groups.items()):
        if baseline not in runs:
            notes.append(f"{model}, {task}: left out, for it has no `{baseline}`")
            continue
        languages = {language for cells in runs.values() for row in cells.values() for language in row}
        far_from, lacking = distances_of(start, languages, distance_name, imputed, matrix)
        notes += lacking
        middle = middle_of(runs[baseline], far_from)
        group = Group(model, task, baseline, dict(sorted(runs.items())), far_from, middle, paired, items=items)
        rows, left_out = compared(group)
        comparisons += rows
        notes += left_out
        transfers += transfers_of(group)
    if not comparisons:
        raise InputError(
            f"Nothing is left to compare with `{baseline}`: {listed(notes, '; ')}. Give scores of the same languages"
            " (paired: and seeds)."
        )
    fractions = all(abs(one.value) <= 1 for one in chosen if one.value is not None)
    named = distance_label("matrix" if matrix else distance_name, imputed)
    found = tuple(comparisons), tuple(transfers), tuple(dict.fromkeys(notes))
    return Comparisons(metric, fractions, selection, start, named, paired, *found)


def _grouped(
    scores: Iterable[Score], baseline: str, source: str, metric: str
) -> Mapping[tuple[str, str], Mapping[str, Cells]]:
    """Return the scores of the target languages by model and task, method, seed and language.

    Raises InputError where there are none, the baseline is not among them, or nothing else is.
    """
    groups: dict[tuple[str, str], dict[str, dict[str, dict[str, float]]]] = defaultdict(lambda: defaultdict(dict))
    for one in scores:
        if one.value is not None and one.language != source:
            groups[one.model, one.task][one.method].setdefault(one.seed, {})[one.language] = one.value
    methods = {method for runs in groups.values() for method in runs}
    if not methods:
        raise InputError(
            f"The table has no scores of `{metric}` but in the source `{source}`. Add scores of target languages, or say which"
            " language the runs were trained on with `--source`."
        )
    if baseline not in methods:
        raise unknown("Baseline", baseline, methods)
    if len(methods) < 2:
        raise InputError(f"The table has no method beside the baseline `{baseline}`. Add the scores of another method.")
    return groups


def _of_metric(scores: tuple[Score, ...], metric: str) -> tuple[tuple[Score, ...], str]:
    metrics = sorted({one.metric for one in scores})
    if metric and metric not in metrics:
        raise unknown("Metric", metric, metrics)
    if not metric and len(metrics) > 1:
        raise InputError(f"The table has the metrics {listed(metrics)}. Choose one with `--metric`.")
    metric = metric or metrics[0]
    return tuple(one for one in scores if one.metric == metric), metric


def distance_label(name: str, imputed: bool) -> str:
    """Return the name of a distance as tables show it, with whether gaps were filled."""
    return f"{name} (imputed)" if imputed and name not in (*_OBSERVED, "matrix") else name


def distances_of(
    source: str, languages: Iterable[str], name: str, imputed: bool, matrix: Path | None
) -> tuple[dict[str, float], list[str]]:
    """Return the distance of every language that has one, and notes: on every other, and on distances that mean nothing."""
    found: dict[str, Distance] = {}
    notes = []
    for language in sorted(languages):
        try:
            found[language] = distance(source, language, name, imputed=imputed, matrix=matrix)
        except InputError as error:
            notes.append(f"`{language}` is neither near nor far: {error}")
    return {language: entry.value for language, entry in found.items()}, [*notes, *distance_warnings(found.values())]


def compared(group: Group) -> tuple[list[Comparison], list[str]]:
    """Return all comparisons of a group, and a note for each of which nothing is left."""
    rows: list[Comparison] = []
    notes = []
    pairs = {method: pair(group, method) for method in group.runs if method != group.baseline}
    for subset in ("all", "near", "far"):
        answers = [_one(group, method, subset, both) for method, both in pairs.items()]
        found = [one for one in answers if isinstance(one, Comparison)]
        notes += [one for one in answers if isinstance(one, str)]
        rows += _corrected(found)
    few = [one.method for one in rows if one.subset == "all" and one.test.n_languages < MIN_TARGETS]
    runs = {name: cells for name, cells in group.runs.items() if name in few or name == group.baseline}
    each, _ = parts_of(replace(group, runs=runs), lambda code: code, together=True)
    own = {name: tuple(one for one in each if one.method == name) for name in few}
    return [replace(one, each=own.get(one.method, ())) if one.subset == "all" else one for one in rows], notes


def _corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons with Holm's p over them, and over their effects on the macro-averaged score."""
    macro = [one for one in found if one.survives.macro]
    of_macro = holm_over([one.survives.macro for one in macro if one.survives.macro])
    corrected = {one.method: p for one, p in zip(macro, of_macro, strict=True)}
    return [
        replace(one, p_holm=p, survives=replace(one.survives, macro_p_holm=corrected.get(one.method)))
        for one, p in zip(found, holm_over([one.test for one in found]), strict=True)
    ]


def _one(group: Group, method: str, subset: str, whole: Full) -> Comparison | str:
    """Return one comparison on the scores that both have in full, or why nothing is left of them."""
    both = whole.of(lambda code: group.belongs(code, subset))
    if both.empty:
        why = f" once this is: {listed(both.dropped)}" if both.dropped else ""
        return f"{group.model}, {group.task}: `{method}` on {subset} is left out, for no scores are left that pair{why}"
    sample = len(both.languages) == 1 or len(both.languages) >= MIN_TARGETS
    return Comparison(
        model=group.model,
        task=group.task,
        baseline=group.baseline,
        method=method,
        subset=subset,
        test=tested(group, method, both),
        p_holm=None,
        bootstrap=(
            two_way_bootstrap(both.scores[method] - both.scores[group.baseline])
            if group.paired and sample
            else (None, None)
        ),
        collapsed=None if group.collapsed is None else group.collapsed[method],
        dropped=both.dropped,
        survives=survival(group, method, both),
    )


def transfers_of(group: Group) -> list[Transfer]:
    """Return each method's mean and its correlation with distance, all on the same languages: those that no run lacks."""
    languages, seeds, dropped = complete(group.runs, lambda language: True, paired=False)
    means = {
        name: {code: float(np.mean([cells[seed][code] for seed in seeds[name]])) for code in languages}
        for name, cells in group.runs.items()
        if seeds[name]
    }
    base = means.get(group.baseline, {})
    rows = []
    for name in group.runs:
        own = means.get(name, {})
        gains = {language: value - base[language] for language, value in own.items() if language in base}
        if group.paired:  # as the effects are: of the seeds that both have
            gains = _paired_gains(pair(group, name, own.__contains__), name, group.baseline)
        rows.append(
            Transfer(
                model=group.model,
                task=group.task,
                method=name,
                mean=float(np.mean(list(own.values()))) if own else None,
                by_distance=_correlated(own, group.far_from),
                gain_by_distance=_correlated(gains, group.far_from) if gains and name != group.baseline else None,
                dropped=dropped,
            )
        )
    return rows


def _paired_gains(both: Full, method: str, baseline: str) -> dict[str, float]:
    if both.empty:
        return {}
    gains = both.scores[method].mean(axis=0) - both.scores[baseline].mean(axis=0)
    return dict(zip(both.languages, gains.tolist(), strict=True))


def _correlated(values: Mapping[str, float], far_from: Mapping[str, float]) -> Correlation:
    codes = [code for code in values if code in far_from]
    return correlate(
        [far_from[code] for code in codes],
        [values[code] for code in codes],
        groups=permutation_groups(codes),
        draws=_DRAWS,
    )


def _record(one: Comparison) -> dict[str, object]:
    return {
        "model": one.model,
        "task": one.task,
        "baseline": one.baseline,
        "method": one.method,
        "subset": one.subset,
        **test_record(one.test),
        "p_holm": one.p_holm,
        "bootstrap_low": one.bootstrap[0],
        "bootstrap_high": one.bootstrap[1],
        "collapsed": one.collapsed,
        "dropped": list(one.dropped),
        **one.survives.record(),
        "each": [part.record() for part in one.each],
    }


def _transfer_record(one: Transfer) -> dict[str, object]:
    def shown(found: Correlation | None) -> dict[str, object] | None:
        return None if found is None else {
            "r": found.r, "p": found.p, "n": found.n, "n_groups": found.n_groups,
            "permuted_within": permuted_within(found.n), "detectable": found.detectable, "reason": found.reason,
        }  # fmt: skip

    return {
        "model": one.model,
        "task": one.task,
        "method": one.method,
        "mean": one.mean,
        "dropped": list(one.dropped),
        "score_by_distance": shown(one.by_distance),
        "gain_by_distance": shown(one.gain_by_distance),
    }
