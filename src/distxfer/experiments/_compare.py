"""Methods against a baseline: the crossed test on seeds x languages, for every model and task of a table of scores."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from distxfer.errors import InputError, unknown
from distxfer.experiments._scores import Score
from distxfer.languages import canonical, check_distance, distance, lineage
from distxfer.measure import Correlation, Crossed, correlate, crossed, crossed_unpaired, holm, two_way_bootstrap

Array = npt.NDArray[np.float64]
Cells = Mapping[str, Mapping[str, float]]  # the scores of one method by seed and language, only what is there
_OBSERVED = ("genetic", "geographic")  # distances that are never imputed
_DRAWS = 1999  # permutations per correlation: p is known to about half a percent near 5 %


@dataclass(frozen=True)
class Comparison:
    """A method against the baseline on one set of languages: `subset` is `all`, `near` or `far`.

    `test` has effect, interval, p and the numbers of seeds and languages; `p_holm` is corrected over the methods of the
    same model, task and subset. `bootstrap` is the interval of `two_way_bootstrap`, for comparison, where runs are paired.
    `collapsed` counts failed runs, None where that cannot be known. `dropped` says what was left out and why.
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


@dataclass(frozen=True)
class Transfer:
    """How one method's mean score over its seeds goes with distance, over languages; and its gain on the baseline.

    All means of a model and task are over the same languages, those that no run lacks (but for runs that lack most of them,
    see `complete`); None where there are none. The correlations are over those of them that have a distance.
    """

    model: str
    task: str
    method: str
    mean: float | None
    by_distance: Correlation
    gain_by_distance: Correlation | None


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

    def records(self) -> dict[str, object]:
        """Return the comparisons as JSON data; effects in the unit of the scores."""
        return {
            "metric": self.metric,
            "selection": self.selection,
            "source": self.source,
            "distance": self.distance,
            "paired": self.paired,
            "comparisons": [_record(one) for one in self.comparisons],
            "transfer": [_transfer_record(one) for one in self.transfers],
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
) -> Comparisons:
    """Compare every method with the baseline, for each model and task, on all, the near and the far target languages.

    `paired` says that runs of equal seed share data order and initial weights: then the test is `crossed` on their
    differences, else `crossed_unpaired`. Near are the targets at most at the median distance from the source. Holm's
    correction is over the methods of one model, task and subset. Seeds or languages with missing scores are left out
    until the table is complete, as few scores as possible, and named. Correlations with distance are over languages
    (Spearman, permutations that keep families together).

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
        far_from, lacking = _distances(start, runs, distance_name, imputed, matrix)
        notes += lacking
        group = _Group(model, task, baseline, dict(sorted(runs.items())), far_from, paired)
        rows, left_out = _compared(group)
        comparisons += rows
        notes += left_out
        transfers += _transfers(group)
    if not comparisons:
        raise InputError(
            f"Nothing is left to compare with `{baseline}`: {'; '.join(notes)}. Give scores of the same languages"
            " (paired: and seeds)."
        )
    fractions = all(abs(one.value) <= 1 for one in chosen if one.value is not None)
    of_names = imputed and not matrix and distance_name not in _OBSERVED
    named = f"{'matrix' if matrix else distance_name}{' (imputed)' if of_names else ''}"
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


@dataclass(frozen=True)
class _Group:
    """All methods of one model and task, and how far their languages are from the source."""

    model: str
    task: str
    baseline: str
    runs: Mapping[str, Cells]
    far_from: Mapping[str, float]
    paired: bool

    def belongs(self, language: str, subset: str) -> bool:
        """Return whether a language is in `all`, `near` (at most the median distance) or `far`."""
        if subset == "all":
            return True
        middle = float(np.median(list(self.far_from.values()))) if self.far_from else 0.0
        return language in self.far_from and (self.far_from[language] > middle) == (subset == "far")


def _of_metric(scores: tuple[Score, ...], metric: str) -> tuple[tuple[Score, ...], str]:
    metrics = sorted({one.metric for one in scores})
    if metric and metric not in metrics:
        raise unknown("Metric", metric, metrics)
    if not metric and len(metrics) > 1:
        raise InputError(f"The table has the metrics {', '.join(metrics)}. Choose one with `--metric`.")
    metric = metric or metrics[0]
    return tuple(one for one in scores if one.metric == metric), metric


def _distances(
    source: str, runs: Mapping[str, Cells], name: str, imputed: bool, matrix: Path | None
) -> tuple[dict[str, float], list[str]]:
    """Return the distance of every language of a group that has one, and a note for every other."""
    found: dict[str, float] = {}
    notes = []
    for language in sorted({language for cells in runs.values() for row in cells.values() for language in row}):
        try:
            found[language] = distance(source, language, name, imputed=imputed, matrix=matrix).value
        except InputError as error:
            notes.append(f"`{language}` is neither near nor far: {error}")
    return found, notes


def _compared(group: _Group) -> tuple[list[Comparison], list[str]]:
    """Return all comparisons of a group, and a note for each of which nothing is left."""
    rows: list[Comparison] = []
    notes = []
    for subset in ("all", "near", "far"):
        answers = [_one(group, method, subset) for method in group.runs if method != group.baseline]
        found = [one for one in answers if isinstance(one, Comparison)]
        notes += [one for one in answers if isinstance(one, str)]
        tested = {one.method: one.test.p for one in found if one.test.p is not None}
        corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
        rows += [replace(one, p_holm=corrected.get(one.method)) for one in found]
    return rows, notes


def _one(group: _Group, method: str, subset: str) -> Comparison | str:
    """Return one comparison on the scores that both have in full, or why nothing is left of them."""
    pair = {name: group.runs[name] for name in (method, group.baseline)}
    languages, seeds, dropped = complete(pair, lambda language: group.belongs(language, subset), paired=group.paired)
    if not languages or not all(seeds.values()):
        why = f" once this is: {', '.join(dropped)}" if dropped else ""
        return f"{group.model}, {group.task}: `{method}` on {subset} is left out, for no scores are left that pair{why}"
    a, b = (
        np.array([[cells[seed][language] for language in languages] for seed in seeds[name]])
        for name, cells in pair.items()
    )
    return Comparison(
        model=group.model,
        task=group.task,
        baseline=group.baseline,
        method=method,
        subset=subset,
        test=crossed(a - b) if group.paired else crossed_unpaired(a, b),
        p_holm=None,
        bootstrap=two_way_bootstrap(a - b) if group.paired else (None, None),
        collapsed=None,
        dropped=dropped,
    )


def complete(
    methods: Mapping[str, Cells], belongs: Callable[[str], bool], *, paired: bool
) -> tuple[list[str], dict[str, list[str]], tuple[str, ...]]:
    """Return languages, the seeds of each method, and what was left out, such that no score is missing among them.

    Starts from all languages that occur. As long as there are gaps, the run that lacks more than half of the languages
    goes, or else the language that most runs lack. Paired methods keep only the seeds that both have.
    """
    languages = sorted({code for cells in methods.values() for row in cells.values() for code in row if belongs(code)})
    seeds = {name: sorted(cells) for name, cells in methods.items()}
    dropped: list[str] = []

    def leave_out(name: str, seed: str, why: str) -> None:
        seeds[name].remove(seed)
        dropped.append(f"seed {seed} of `{name}` ({why})")

    while True:
        if paired:
            shared = set.intersection(*map(set, seeds.values()))
            for name, seed in [(name, seed) for name, own in seeds.items() for seed in own if seed not in shared]:
                leave_out(name, seed, "no pair")
        gaps = {
            (name, seed): [code for code in languages if code not in methods[name][seed]]
            for name, own in seeds.items()
            for seed in own
        }
        if not any(gaps.values()):
            return languages, seeds, tuple(dropped)
        worst = max(gaps, key=lambda run: len(gaps[run]))
        if len(gaps[worst]) > len(languages) / 2:
            leave_out(*worst, f"without {len(gaps[worst])} of {len(languages)} languages")
        else:
            times = Counter(code for codes in gaps.values() for code in codes)
            code = max(sorted(times), key=lambda one: times[one])
            languages.remove(code)
            dropped.append(f"`{code}` (missing in {times[code]} of {len(gaps)} runs)")


def _transfers(group: _Group) -> list[Transfer]:
    """Return each method's mean and its correlation with distance, all on the same languages: those that no run lacks."""
    languages, seeds, _ = complete(group.runs, lambda language: True, paired=False)
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
        rows.append(
            Transfer(
                model=group.model,
                task=group.task,
                method=name,
                mean=float(np.mean(list(own.values()))) if own else None,
                by_distance=_correlated(own, group.far_from),
                gain_by_distance=_correlated(gains, group.far_from) if gains and name != group.baseline else None,
            )
        )
    return rows


def _correlated(values: Mapping[str, float], far_from: Mapping[str, float]) -> Correlation:
    codes = [code for code in values if code in far_from]
    return correlate(
        [far_from[code] for code in codes],
        [values[code] for code in codes],
        groups=[lineage(code) for code in codes],
        draws=_DRAWS,
    )


def _record(one: Comparison) -> dict[str, object]:
    test = one.test
    return {
        "model": one.model,
        "task": one.task,
        "baseline": one.baseline,
        "method": one.method,
        "subset": one.subset,
        "effect": test.effect,
        "low": test.low,
        "high": test.high,
        "p": test.p,
        "p_holm": one.p_holm,
        "n_seeds": test.n_seeds,
        "n_languages": test.n_languages,
        "seed_share": test.seed_share,
        "bootstrap_low": one.bootstrap[0],
        "bootstrap_high": one.bootstrap[1],
        "collapsed": one.collapsed,
        "dropped": list(one.dropped),
        "reason": test.reason,
    }


def _transfer_record(one: Transfer) -> dict[str, object]:
    def shown(found: Correlation | None) -> dict[str, object] | None:
        return None if found is None else {
            "r": found.r, "p": found.p, "n": found.n, "n_groups": found.n_groups,
            "detectable": found.detectable, "reason": found.reason,
        }  # fmt: skip

    return {
        "model": one.model,
        "task": one.task,
        "method": one.method,
        "mean": one.mean,
        "score_by_distance": shown(one.by_distance),
        "gain_by_distance": shown(one.gain_by_distance),
    }
