"""Counts by class (correct, in the labels, predicted) from the predictions of finished runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from distxfer.data import Task
from distxfer.errors import InputError
from distxfer.measure import class_ratios, entity_counts
from distxfer.results.result import Result
from distxfer.results.tables import read_predictions

Counts = npt.NDArray[np.int64]
# The task types with classes, each with the metrics that are sums over them. The classes of `token_classification` are the
# labels of words, those of `named_entities` the types of entities.
_METRICS: Mapping[str, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1"),
    "token_classification": ("accuracy", "macro_f1"),
    "named_entities": ("f1", "macro_f1"),
}


@dataclass(frozen=True)
class Classes:
    """The counts by class of runs: `counts[method][seed][language]` is (classes, 3): correct, in the labels, predicted.

    `metric` is the score that the counts define. `reasons` explains, by method, why there are no counts.
    """

    names: tuple[str, ...]
    metric: str
    counts: Mapping[str, Mapping[str, Mapping[str, Counts]]]
    reasons: Mapping[str, str]

    def table(self, method: str, seeds: Sequence[str], languages: Sequence[str]) -> Counts:
        """Return the counts of one method, (seeds, languages, classes, 3)."""
        return np.array([[self.counts[method][seed][code] for code in languages] for seed in seeds])


def classes_of(runs: Mapping[str, Mapping[str, Result]], metric: str) -> Classes | str:
    """Return the counts by class of runs (method -> seed -> run), or the reason why the task or metric has none.

    A method has no counts if predictions cannot be read, or do not reproduce the run's scores.
    """
    first = next(run for by_seed in runs.values() for run in by_seed.values())
    task_type = str(first.data.get("kind", Task.task_type))
    if metric not in _METRICS.get(task_type, ()):
        return f"the `{metric}` of a task of type `{task_type}` is not a sum over classes"
    tables: dict[str, dict[str, pd.DataFrame]] = {}
    reasons = {}
    for method, by_seed in runs.items():
        try:
            tables[method] = {seed: _checked_counts(run, task_type, metric) for seed, run in by_seed.items()}
        except InputError as error:
            reasons[method] = str(error).rstrip(".")
    every_table = [table for by_seed in tables.values() for table in by_seed.values()]
    names = sorted({name for table in every_table for name in table.index.get_level_values("class")})
    counts = {
        method: {seed: _arrays(table, names) for seed, table in by_seed.items()} for method, by_seed in tables.items()
    }
    return Classes(tuple(names), metric, counts, reasons)


def _arrays(counts: pd.DataFrame, names: list[str]) -> dict[str, Counts]:
    """Return counts as one array per language, (classes, 3), with a row for each of `names`."""
    return {
        str(language): table.droplevel("language").reindex(names, fill_value=0).to_numpy(np.int64)
        for language, table in counts.groupby("language")
    }


def _checked_counts(run: Result, task_type: str, metric: str) -> pd.DataFrame:
    """Return the counts of a run by language and class; raises InputError if they do not reproduce its scores."""
    path = run.folder / "predictions.parquet"
    predictions = read_predictions(run.folder).dropna()
    if task_type == "named_entities":
        counts = _of_entities(predictions)
    else:
        counts = _of_labels(predictions, path, words=task_type == "token_classification")
    for language, value in run.by_language("test", metric).items():
        if language in counts.index.get_level_values("language"):
            score = float(class_ratios(counts.loc[language].to_numpy(np.int64), metric).score)
            score = 0.0 if np.isnan(score) else score  # what an F1 without entities is
        else:
            score = np.nan
        if not abs(score - value) < 1e-6:
            raise InputError(
                f"`{path}` has the {metric} {score:.4f} in `{language}`, and the run's `result.json` {value:.4f}: they are not"
                " of one run."
            )
    return counts


def _of_labels(predictions: pd.DataFrame, path: Path, *, words: bool) -> pd.DataFrame:
    """Return the counts by language and class, with one label per text or per word."""
    if words:
        columns = ["label", "prediction"]
        predictions = predictions.assign(**{column: predictions[column].str.split(" ") for column in columns})
        if not predictions["label"].str.len().equals(predictions["prediction"].str.len()):
            raise InputError(f"`{path}` has texts with more or fewer predictions than labels")
        predictions = predictions.explode(columns, ignore_index=True)
    right = predictions[predictions["label"] == predictions["prediction"]]
    columns_of = {"right": right["label"], "label": predictions["label"], "predicted": predictions["prediction"]}
    sizes = {
        name: column.groupby([predictions["language"], column.rename("class")]).size()
        for name, column in columns_of.items()
    }
    return pd.DataFrame(sizes).fillna(0)


def _of_entities(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the counts by language and type of entity."""
    tags = predictions.assign(label=predictions["label"].str.split(), prediction=predictions["prediction"].str.split())
    all_tags = {tag for column in ("label", "prediction") for text in tags[column] for tag in text}
    types = sorted({tag[2:] for tag in all_tags if tag[:2] in ("B-", "I-")})
    counts = {
        language: pd.DataFrame(entity_counts(rows["label"].tolist(), rows["prediction"].tolist(), types), index=types)
        for language, rows in tags.groupby("language")
    }
    return pd.concat(counts, names=["language", "class"])
