"""Scores of methods as tables of seeds x languages without gaps, with the test items and the counts by class behind them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from distxfer._durable import Damaged
from distxfer.analysis.significance import families_of, ranked
from distxfer.errors import InputError
from distxfer.measure import ClassRatios, Crossed, class_ratios, crossed, crossed_unpaired, entity_counts
from distxfer.results.result import Result
from distxfer.results.tables import PREDICTIONS, Answers, Codes, read_answers

Array = npt.NDArray[np.float64]
Wide = Mapping[str, pd.DataFrame]  # by method: seeds x languages, NaN where there is no score
_NAMED = 3  # methods without a seed that a line names
# Tasks whose test sets are translations of each other: there, the same number of a row is the same item. Elsewhere an id
# that is a bare number may be the number of a row, which says nothing of the row of that number in another language.
_PARALLEL_TASKS = frozenset(
    {"americasnli", "cldr", "emoji", "flores", "massive", "messages", "pawsx", "sib200", "xnli", "xquad"}
)
# The task types with classes, each with the metrics that are sums over them. The classes of `token_classification` are the
# labels of words, those of `named_entities` the types of entities.
_CLASS_METRICS: Mapping[str, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_accuracy", "macro_f1"),
    "token_classification": ("accuracy", "macro_f1"),
    "named_entities": ("f1", "macro_f1"),
}


@dataclass(frozen=True)
class Full:
    """Scores without gaps: (seeds, languages) for each method, with the same languages.

    `seeds` names the rows of each method; `dropped` lists what was left out.
    """

    languages: tuple[str, ...]
    seeds: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, Array]
    dropped: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether some method has no scores."""
        return not all(table.size for table in self.scores.values())

    def of(self, belongs: Callable[[str], bool]) -> "Full":
        """Return the scores of the languages for which `belongs` is true."""
        return self.within([belongs(code) for code in self.languages], self.scores)

    def within(self, chosen: Iterable[bool], scores: Mapping[str, Array]) -> "Full":
        """Return these scores of the chosen languages."""
        places = np.flatnonzero(list(chosen))
        languages = tuple(self.languages[place] for place in places)
        return replace(self, languages=languages, scores={name: table[:, places] for name, table in scores.items()})


@dataclass(frozen=True)
class Group:
    """All methods of one model and task, with the distance of each language from the source.

    Languages are near up to the distance `middle`, the median over the baseline's languages. `collapsed` counts collapsed runs by
    method, `items` has the correct items of each run, `macro` the macro-averaged scores, and `classes` the counts by
    class, or the reason why there are none.
    """

    model: str
    task: str
    baseline: str
    scores: Wide
    far_from: Mapping[str, float]
    paired: bool
    collapsed: Mapping[str, int] | None = None
    items: "Items | None" = None
    macro: Wide | None = None
    classes: "Classes | str" = "a table of scores has no predictions"

    @property
    def others(self) -> list[str]:
        """All methods except the baseline."""
        return [method for method in self.scores if method != self.baseline]

    @property
    def middle(self) -> float:
        """The median distance of the languages that the baseline was tested in; 0 if no distance is known."""
        distances = [self.far_from[code] for code in map(str, self.scores[self.baseline]) if code in self.far_from]
        return float(np.median(distances)) if distances else 0.0

    def subset(self, name: str) -> set[str]:
        """Return the languages of the subset `near` (distance at most `middle`) or `far`."""
        return {code for code, far in self.far_from.items() if (far > self.middle) == (name == "far")}

    def pair(self, method: str, belongs: Callable[[str], bool] = lambda code: True) -> Full:
        """Return the complete scores of a method and the baseline."""
        return full({name: self.scores[name] for name in (method, self.baseline)}, belongs, paired=self.paired)

    def tested(self, method: str, full: Full) -> Crossed:
        """Return the test of a method against the baseline: seeds, languages in families, and items (if known) are random.

        It has no interval and no p on 2 or 3 languages (see `ranked`).
        """
        a, b = full.scores[method], full.scores[self.baseline]
        families = families_of(full.languages)
        if not self.paired:
            return ranked(crossed_unpaired(a, b, families=families))
        weights = {method: 1.0, self.baseline: -1.0}
        items = None if self.items is None else self.items.differences(weights, full.languages, full.seeds)
        return ranked(crossed(a - b, families=families, items=items))


def wide(scores: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return tidy scores (`method`, `seed`, `language`, `value`) as a table of seeds x languages for each method."""
    scores = scores.astype({"seed": object, "language": object})  # labels that pandas looks up and yields quickly
    return {
        str(method): rows.pivot(index="seed", columns="language", values="value")
        for method, rows in scores.groupby("method", sort=False)
    }


def full(tables: Wide, belongs: Callable[[str], bool] = lambda code: True, *, paired: bool) -> Full:
    """Return the complete scores of all methods: languages tested by all of them, then reduced by `complete`."""
    tested = {name: {code for code in table.columns if belongs(code)} for name, table in tables.items()}
    shared, every = sorted(set.intersection(*tested.values())), set.union(*tested.values())
    never = [f"`{code}` (not tested by `{name}`)" for name in tables for code in sorted(every - tested[name])]
    table = complete(tables, paired=paired, languages=shared)
    return replace(table, dropped=(*never, *table.dropped))


def complete(tables: Wide, *, paired: bool, languages: Sequence[str] | None = None) -> Full:
    """Return the scores without the seeds and languages that cause gaps, which `dropped` lists.

    Starts from these languages, by default all. While there are gaps, drops the run that lacks most languages if it lacks more
    than half, else the language that most runs lack. Paired methods keep only common seeds.
    """
    languages = sorted({str(code) for table in tables.values() for code in table} if languages is None else languages)
    runs = [(name, str(seed)) for name, table in tables.items() for seed in table.index]
    scores = np.concatenate([columns_of(table, languages) for table in tables.values()])
    dropped: list[str] = []
    while True:
        if paired:
            times = Counter(seed for _, seed in runs)
            alone = [seed for seed in times if times[seed] < len(tables)]
            dropped += [_without_pair(seed, list(tables), runs) for seed in alone]
            kept = [place for place, (_, seed) in enumerate(runs) if seed not in alone]
            runs, scores = [runs[place] for place in kept], scores[kept]
        gaps = np.isnan(scores)
        if not gaps.any():
            break
        by_run, by_language = gaps.sum(axis=1), gaps.sum(axis=0)
        if by_run.max() > len(languages) / 2:
            method, seed = runs.pop(by_run.argmax())
            lacking = f"`{languages[0]}`" if len(languages) == 1 else f"{by_run.max()} of {len(languages)} languages"
            dropped.append(f"seed {seed} of `{method}` (without {lacking})")
            scores = np.delete(scores, by_run.argmax(), axis=0)
        else:
            code = languages.pop(by_language.argmax())
            dropped.append(f"`{code}` (missing in {by_language.max()} of {len(scores)} runs)")
            scores = np.delete(scores, by_language.argmax(), axis=1)
    places = {name: [place for place, (method, _) in enumerate(runs) if method == name] for name in tables}
    return Full(
        languages=tuple(languages),
        seeds={name: tuple(runs[place][1] for place in rows) for name, rows in places.items()},
        scores={name: scores[rows] for name, rows in places.items()},
        dropped=tuple(dropped),
    )


def columns_of(table: pd.DataFrame, languages: Sequence[str]) -> Array:
    """Return the columns of these languages, NaN where there is none: `reindex`, which takes longer than a test."""
    values, place = table.to_numpy(np.float64), {code: place for place, code in enumerate(table.columns)}
    columns = np.full((len(table), len(languages)), np.nan)
    for column, code in enumerate(languages):
        if code in place:
            columns[:, column] = values[:, place[code]]
    return columns


def _without_pair(seed: str, methods: list[str], runs: Sequence[tuple[str, str]]) -> str:
    """Return the note on a seed that some methods lack: who has it, for two methods, else who lacks it."""
    lacking = [f"`{method}`" for method in methods if (method, seed) not in runs]
    if len(methods) == 2:
        (having,) = (method for method in methods if (method, seed) in runs)
        return f"seed {seed} of `{having}` (no pair)"
    remaining = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    return f"seed {seed} (not in {', '.join(lacking[:_NAMED])}{remaining})"


@dataclass(frozen=True)
class Items:
    """Whether each run is right (1) or wrong (0), by method and seed: (languages, items), NaN if a language lacks the item.

    All arrays have the same languages and items. `missing` explains which runs have no table, unless none has.
    """

    languages: Sequence[str]
    right: Mapping[tuple[str, str], Array]
    missing: tuple[str, ...] = ()

    def differences(
        self, weights: Mapping[str, float], languages: Sequence[str], seeds: Mapping[str, Sequence[str]]
    ) -> Array | None:
        """Return the weighted sum over methods, (seeds, languages, items), with the seeds of each in the given order.

        None if the items of a run are unknown or differ from those of the others.
        """
        if not all((name, seed) in self.right for name in weights for seed in seeds[name]):
            return None
        places = [self.languages.index(code) for code in languages]
        tables = {name: np.stack([self.right[name, seed][places] for seed in seeds[name]]) for name in weights}
        exists = [np.isfinite(table) for table in tables.values()]
        if not all((mask == exists[0][0]).all() for mask in exists):
            return None
        return np.asarray(sum(weight * tables[name] for name, weight in weights.items()), dtype=np.float64)


def read_items(
    scores: pd.DataFrame, *, unit: float = 1.0, without: str = "", read: Callable[[Path], Answers] = read_answers
) -> Items:
    """Return the items that runs got right.

    `scores` has the columns `method`, `seed`, `task`, `language`, `value` and `run` (a folder). Items of the class `without` are
    left out, as they must be in the scores. A run has no items if its predictions cannot be read or if `unit` times their mean is
    not its score; comparisons with it are then tested with fixed items.
    Raises Damaged for predictions that the run did not write.
    """
    values_of: dict[tuple[str, str], dict[tuple[str, str], dict[str, float]]] = {}
    columns = (scores[name].tolist() for name in ("method", "seed", "run", "task", "language", "value"))
    for method, seed, run, task, language, value in zip(*columns, strict=True):
        values_of.setdefault((method, str(seed)), {}).setdefault((run, task), {})[language] = value
    right: dict[tuple[str, str], list[_Right]] = {}
    missing = []
    for (method, seed), runs in values_of.items():
        try:
            right[method, seed] = [
                _right(read(Path(run)), Path(run), values, unit, without, task in _PARALLEL_TASKS)
                for (run, task), values in sorted(runs.items())
            ]
        except Damaged:  # without its items the test would be another one, and nobody would know why
            raise
        except InputError as error:
            reason = str(error).rstrip(".")
            missing.append(f"test items are taken as fixed for seed `{seed}` of `{method}`: {reason}")
    languages = sorted({language for runs in values_of.values() for values in runs.values() for language in values})
    if not right:
        return Items(languages, {})
    items = sorted({item for parts in right.values() for part in parts for item in part.items})
    places = {item: place for place, item in enumerate(items)}
    tables = {run: np.full((len(languages), len(items)), np.nan) for run in right}
    for run, parts in right.items():
        for part in parts:  # of items with one id, the last counts
            of_language = np.array([*map(languages.index, part.languages)], dtype=np.intp)
            of_item = np.array([places[item] for item in part.items], dtype=np.intp)
            tables[run][of_language[part.language], of_item[part.item]] = part.right
    return Items(languages, tables, tuple(missing))


@dataclass(frozen=True)
class _Right:
    """Whether a run got its test items right, (n,); `language` and `item` are places in `languages` and `items`."""

    languages: list[str]
    items: list[str]
    language: Codes
    item: Codes
    right: Array


def _right(
    answers: Answers, folder: Path, scores: Mapping[str, float], unit: float, without: str, parallel: bool
) -> _Right:
    """Return `unit` for each item that a run got right in the languages of its scores, else 0.

    Unless the test sets are `parallel`, ids that are row numbers are no items of other languages.
    Raises InputError if the predictions do not reproduce the scores.
    """
    languages = [code for code in answers.languages if code in scores]
    numbers = {code: number for number, code in enumerate(languages)}
    language = np.array([*(numbers.get(code, -1) for code in answers.languages), -1])[answers.language]
    chosen = (language >= 0) & (answers.item >= 0)
    if without in answers.texts:
        chosen &= answers.label != answers.texts.index(without)
    language, item, items = language[chosen], answers.item[chosen], answers.items
    if not parallel and any(map(str.isdecimal, items)):
        pairs, item = np.unique(language * len(items) + item, return_inverse=True)
        items = [f"{languages[pair // len(items)]} {items[pair % len(items)]}" for pair in pairs.tolist()]
    label = answers.label[chosen]
    right = unit * ((label == answers.prediction[chosen]) & (label >= 0))
    sums, sizes = (np.bincount(language, weights, len(languages)) for weights in (right, None))
    for code, value in scores.items():
        size = sizes[numbers[code]] if code in numbers else 0
        if not (size and abs(sums[numbers[code]] / size - value) <= 1e-6 * unit):
            raise InputError(f"`{folder / PREDICTIONS}` does not have the run's accuracy in `{code}`")
    return _Right(languages, items, language, item, right)


@dataclass(frozen=True)
class Classes:
    """The counts by class of runs, by method and seed: (languages, classes, 3): correct, in the labels, predicted.

    `metric` is the score that the counts define. `reasons` explains, by method, why there are no counts.
    """

    names: tuple[str, ...]
    languages: tuple[str, ...]
    metric: str
    counts: Mapping[tuple[str, str], Array]
    reasons: Mapping[str, str]

    def table(self, method: str, seeds: Sequence[str], languages: Sequence[str]) -> Array:
        """Return the counts of one method, (seeds, languages, classes, 3)."""
        places = [self.languages.index(code) for code in languages]
        return np.stack([self.counts[method, seed][places] for seed in seeds])

    def ratios(self, full: Full) -> dict[str, ClassRatios] | str:
        """Return scores as ratios of sums over classes, (seeds, languages, classes), by method; or why there are none."""
        reasons = [self.reasons[name] for name in full.seeds if name in self.reasons]
        if reasons:
            return reasons[0]
        counts = {name: self.table(name, seeds, full.languages) for name, seeds in full.seeds.items()}
        labels = [count[..., 1] for count in counts.values()]
        if any(not (count == labels[0][:1]).all() for count in labels):
            return "the runs were not tested on the same items"
        return {name: class_ratios(count, self.metric) for name, count in counts.items()}


def classes_of(
    runs: Mapping[str, Mapping[str, Result]], metric: str, read: Callable[[Path], Answers] = read_answers
) -> Classes | str:
    """Return the counts by class of runs (method -> seed -> run), or the reason why the task or metric has none.

    A method has no counts if predictions cannot be read, or do not reproduce the run's scores.
    """
    first = next(run for by_seed in runs.values() for run in by_seed.values())
    task_type = first.task_type
    if metric not in _CLASS_METRICS.get(task_type, ()):
        return f"the `{metric}` of a task of type `{task_type}` is not a sum over classes"
    tables: dict[tuple[str, str], _Counts] = {}
    reasons = {}
    for method, by_seed in runs.items():
        try:
            tables |= {
                (method, seed): _counts(read(run.folder), run, task_type, metric) for seed, run in by_seed.items()
            }
        except InputError as error:
            reasons[method] = str(error).rstrip(".")
    languages = sorted({language for table in tables.values() for language in table.languages})
    names = sorted({name for table in tables.values() for name in table.names})
    arrays = {run: table.reordered(languages, names) for run, table in tables.items()}
    return Classes(tuple(names), tuple(languages), metric, arrays, reasons)


@dataclass(frozen=True)
class _Counts:
    """The counts by class of one run, (languages, classes, 3): right, in the labels, predicted."""

    languages: list[str]
    names: list[str]
    counts: Array

    def reordered(self, languages: Sequence[str], names: Sequence[str]) -> Array:
        """Return the counts of these languages and classes, 0 where the run has none."""
        table = np.zeros((len(languages), len(names), 3))
        table[np.ix_(list(map(languages.index, self.languages)), list(map(names.index, self.names)))] = self.counts
        return table


def _counts(answers: Answers, run: Result, task_type: str, metric: str) -> _Counts:
    """Return the counts of a run; raises InputError if they do not reproduce its scores."""
    path = run.folder / PREDICTIONS
    columns = np.stack([answers.language, answers.label, answers.prediction])
    language, label, prediction = columns[:, (columns >= 0).all(axis=0) & (answers.item >= 0)]
    names = answers.texts
    if task_type == "named_entities":
        table = _of_entities(answers.languages, names, language, label, prediction)
    else:
        if task_type == "token_classification":
            language, names, label, prediction = _words(path, names, language, label, prediction)
        table = _of_labels(answers.languages, names, language, label, prediction)
    for code, value in run.by_language("test", metric).items():
        score = np.nan
        if code in table.languages and table.names:
            counts = table.counts[table.languages.index(code)]
            score = float(np.nan_to_num(class_ratios(counts, metric).score))  # 0 without entities
        if not abs(score - value) < 1e-6:
            raise InputError(
                f"`{path}` has the {metric} {score:.4f} in `{code}`, and the run's `result.json` {value:.4f}: they are not"
                " of one run."
            )
    return table


def _words(
    path: Path, texts: list[str], language: Codes, label: Codes, prediction: Codes
) -> tuple[Codes, list[str], Codes, Codes]:
    """Return the language of each word, the labels of words, and the number of each word's label and prediction."""
    labels = [text.split(" ") for text in texts]
    lengths = np.array([*map(len, labels)], dtype=np.intp)
    if not (lengths[label] == lengths[prediction]).all():
        raise InputError(f"`{path}` has texts with more or fewer predictions than labels")
    names = sorted({name for words in labels for name in words})
    numbers = [np.array([*map(names.index, words)], dtype=np.int32) for words in labels]
    empty = np.zeros(0, dtype=np.int32)  # which `concatenate` needs where there are no texts
    label_of, prediction_of = (
        np.concatenate([empty, *(numbers[text] for text in column)]) for column in (label, prediction)
    )
    return np.repeat(language, lengths[label]), names, label_of, prediction_of


def _of_labels(languages: list[str], names: list[str], language: Codes, label: Codes, prediction: Codes) -> _Counts:
    """Return the counts with one label per text or per word."""
    shape = len(languages), len(names)
    right = label == prediction
    counts = np.stack(
        [
            np.bincount(rows * len(names) + classes, minlength=shape[0] * shape[1]).reshape(shape)
            for rows, classes in ((language[right], label[right]), (language, label), (language, prediction))
        ],
        axis=2,
    ).astype(np.float64)
    rows, columns = np.flatnonzero(counts.any(axis=(1, 2))), np.flatnonzero(counts.any(axis=(0, 2)))
    return _Counts([languages[row] for row in rows], [names[column] for column in columns], counts[rows][:, columns])


def _of_entities(languages: list[str], texts: list[str], language: Codes, label: Codes, prediction: Codes) -> _Counts:
    """Return the counts by type of entity."""
    tags = [text.split() for text in texts]
    occurring = {tag for text in {*label.tolist(), *prediction.tolist()} for tag in tags[text]}
    types = sorted({tag[2:] for tag in occurring if tag[:2] in ("B-", "I-")})
    counts = {}
    for place in np.unique(language).tolist():
        rows = language == place
        counts[languages[place]] = entity_counts(
            [tags[text] for text in label[rows]], [tags[text] for text in prediction[rows]], types
        )
    return _Counts([*counts], types, np.array([*counts.values()], dtype=float).reshape(len(counts), len(types), 3))
