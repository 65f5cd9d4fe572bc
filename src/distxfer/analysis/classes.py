"""How often each class was right, in the labels, and predicted, from the predictions of finished runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import ArrowException, compute

from distxfer.analysis.one_seed import stored_predictions
from distxfer.errors import InputError
from distxfer.measure import class_counts, class_ratios, entity_counts
from distxfer.results.result import Result

Counts = npt.NDArray[np.int64]
_COLUMNS = ["language", "label", "prediction"]
# The kinds of tasks that have classes, each with the metrics that add up over them. A word's label is a class of `tokens`,
# an entity's type one of `entities`; answers and the sentences of `retrieval` have none.
_METRICS: Mapping[str, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1"),
    "tokens": ("accuracy", "macro_f1"),
    "entities": ("f1", "macro_f1"),
}


@dataclass(frozen=True)
class Classes:
    """The classes of a task, and what runs did with them: `counts[method][seed][language]` is (classes, 3).

    The three are: right, in the labels, predicted. `metric` is the score that they make up. `reasons` says of methods without
    counts why there are none.
    """

    names: tuple[str, ...]
    metric: str
    counts: Mapping[str, Mapping[str, Mapping[str, Counts]]]
    reasons: Mapping[str, str]

    def table(self, method: str, seeds: Sequence[str], languages: Sequence[str]) -> Counts:
        """Return the counts of one method, (seeds, languages, classes, 3)."""
        return np.array([[self.counts[method][seed][code] for code in languages] for seed in seeds])


def classes_of(runs: Mapping[str, Mapping[str, Result]], metric: str) -> Classes | str:
    """Return the counts by class of runs, by method and seed, or why there are none: a task without classes, or another metric.

    A method has none where the predictions of a run cannot be read, or are not what its scores are of.
    """
    kind = str(
        next(run for of_method in runs.values() for run in of_method.values()).data.get("kind", "classification")
    )
    if metric not in _METRICS.get(kind, ()):
        return f"a task of the kind `{kind}` has no classes that its `{metric}` is made up of"
    stored: dict[str, dict[str, tuple[list[str], dict[str, Counts]]]] = {}
    reasons = {}
    for method, of_method in runs.items():
        try:
            stored[method] = {seed: _stored(run, kind, metric) for seed, run in of_method.items()}
        except InputError as error:
            reasons[method] = str(error).rstrip(".")
    runs_read = [run for of_method in stored.values() for run in of_method.values()]
    names = tuple(sorted({name for classes, _ in runs_read for name in classes}))
    aligned = {
        method: {seed: _aligned(names, *counts) for seed, counts in of_method.items()}
        for method, of_method in stored.items()
    }
    return Classes(names, metric, aligned, reasons)


def _aligned(names: Sequence[str], run_names: Sequence[str], by_language: Mapping[str, Counts]) -> dict[str, Counts]:
    """Return the counts of a run by language for all `names`; the run has counts for `run_names` alone."""
    columns = [names.index(name) for name in run_names]
    aligned = {language: np.zeros((len(names), 3), dtype=np.int64) for language in by_language}
    for language, counts in by_language.items():
        aligned[language][columns] = counts
    return aligned


def _stored(run: Result, kind: str, metric: str) -> tuple[list[str], dict[str, Counts]]:
    """Return the classes of a run and its counts by language, checked against its scores; raises InputError."""
    path = run.folder / "predictions.parquet"
    table = _table(run.folder)
    names, counts_by_language = (
        _of_entities(table) if kind == "entities" else _of_labels(table, path, words=kind == "tokens")
    )
    for row in run.scores:
        if (row["split"], row["metric"]) == ("test", metric):
            counts = counts_by_language.get(str(row["language"]))
            score = np.nan if counts is None else float(class_ratios(counts, metric).score)
            if np.isnan(score) and counts is not None:
                score = 0.0  # what an F1 without entities is
            if not abs(score - row["value"]) < 1e-6:
                raise InputError(
                    f"`{path}` has the {metric} {score:.4f} in `{row['language']}`, and the run's `result.json`"
                    f" {row['value']:.4f}: they are not of one run."
                )
    return names, counts_by_language


def _table(folder: Path) -> pa.Table:
    """Return the labels and predictions of a run as text, without examples that have no label; raises InputError."""
    table = stored_predictions(folder)
    try:
        return pa.table({name: table[name].cast(pa.string()) for name in _COLUMNS}).drop_null()
    except (ArrowException, KeyError) as error:
        raise InputError(f"`{folder / 'predictions.parquet'}` is no table of texts: {error}") from error


def _of_labels(table: pa.Table, path: Path, *, words: bool) -> tuple[list[str], dict[str, Counts]]:
    """Return the classes, and the counts by language, of one label a text or one a word."""
    languages = table["language"].combine_chunks().dictionary_encode()
    groups = languages.indices.to_numpy(zero_copy_only=False)
    columns = [table[name].combine_chunks() for name in ("label", "prediction")]
    if words:
        split = [compute.split_pattern(column, " ") for column in columns]
        lengths = [compute.list_value_length(lists).to_numpy(zero_copy_only=False) for lists in split]
        if not np.array_equal(*lengths):
            raise InputError(f"`{path}` has texts with more or fewer predictions than labels")
        groups = np.repeat(groups, lengths[0])
        columns = [lists.flatten() for lists in split]
    names = sorted(set(columns[0].unique().to_pylist()) | set(columns[1].unique().to_pylist()))
    values = pa.array(names, pa.string())
    labels, predictions = (compute.index_in(column, values).to_numpy(zero_copy_only=False) for column in columns)
    codes = languages.dictionary.to_pylist()
    counts = class_counts(labels, predictions, groups, (len(codes), len(names)))
    return names, dict(zip(codes, counts, strict=True))


def _of_entities(table: pa.Table) -> tuple[list[str], dict[str, Counts]]:
    """Return the types of entities, and the counts by language."""
    texts: dict[str, tuple[list[list[str]], list[list[str]]]] = {}
    for language, label, prediction in zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True):
        of_language = texts.setdefault(language, ([], []))
        of_language[0].append(label.split())
        of_language[1].append(prediction.split())
    tags = {tag for sides in texts.values() for side in sides for text in side for tag in text}
    names = sorted({tag[2:] for tag in tags if tag[:2] in ("B-", "I-")})
    return names, {language: entity_counts(*sides, names) for language, sides in texts.items()}
