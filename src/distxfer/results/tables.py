"""Finished runs as tidy pandas tables: one row per score, measurement or prediction, with the columns of its run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from pyarrow import ArrowException

from distxfer._durable import read_table
from distxfer.errors import InputError, listed
from distxfer.results.measurements import read_measurements
from distxfer.results.result import Result

if TYPE_CHECKING:
    from distxfer.results.collect import Method

PREDICTION_COLUMNS = ["language", "example_id", "label", "prediction"]
_RUN_COLUMNS = ["run", "method", "recipe", "id", "seed", "source", "model", "task", "status"]
_SCORE_COLUMNS = ["language", "split", "metric", "value", "n", "distance", "near_or_far"]


def score_table(methods: Sequence["Method"]) -> pd.DataFrame:
    """Return all scores of the runs of these methods; see `Collection.scores`."""
    rows = [
        {**_run_columns(method, run), "distance": float("nan"), **score, **places.get(score["language"], {})}
        for method in methods
        for run in method.runs
        for places in [_distances(run)]
        for score in run.scores
    ]
    return pd.DataFrame(rows, columns=[*_RUN_COLUMNS, *_SCORE_COLUMNS])


def sound_scores(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of `Collection.scores` for comparisons: test scores of a metric without collapsed runs."""
    return scores[(scores["split"] == "test") & (scores["metric"] == metric) & (scores["status"] != "collapsed")]


def measurement_table(methods: Sequence["Method"]) -> pd.DataFrame:
    """Return the measurements of the runs of these methods; see `Collection.measurements`."""
    return _with_runs(methods, lambda folder: read_measurements(folder / "measurements.parquet"))


def prediction_table(methods: Sequence["Method"]) -> pd.DataFrame:
    """Return the test predictions of the runs of these methods; see `Collection.predictions`."""
    return _with_runs(methods, read_predictions)


def read_predictions(folder: Path) -> pd.DataFrame:
    """Return a run's test predictions: `language`, `example_id`, `label`, `prediction`.

    Raises InputError if the file cannot be read, lacks a column, or has one that is no text.
    """
    path = folder / "predictions.parquet"
    try:
        table = read_table(path, PREDICTION_COLUMNS)
    except (OSError, ArrowException, KeyError) as error:
        raise InputError(f"`{path}` cannot be read ({error}). Run the recipe again with `--again`.") from error
    missing = [name for name in PREDICTION_COLUMNS if name not in table.column_names]
    if missing:
        raise InputError(
            f"`{path}` has no column {listed(f'`{name}`' for name in missing)}; expected"
            f" {listed(f'`{name}`' for name in PREDICTION_COLUMNS)}. Run the recipe again with `--again`."
        )
    try:
        texts = pa.table({name: table[name].cast(pa.string()) for name in PREDICTION_COLUMNS})
    except ArrowException as error:
        raise InputError(f"`{path}` is no table of texts: {error}") from error
    frame: pd.DataFrame = texts.to_pandas()
    return frame


def _with_runs(methods: Sequence["Method"], read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    """Return the tables that `read` returns for all run folders, concatenated, with the run's columns (as categories)."""
    runs = [(method, run) for method in methods for run in method.runs]
    tables = [read(run.folder) for _, run in runs]
    columns = pd.DataFrame([_run_columns(*pair) for pair in runs], columns=_RUN_COLUMNS)
    columns = columns.astype({name: "category" for name in _RUN_COLUMNS if name != "seed"})
    repeated = columns.loc[[place for place, table in enumerate(tables) for _ in range(len(table))]]
    return pd.concat([repeated.reset_index(drop=True), pd.concat(tables, ignore_index=True)], axis=1)


def _run_columns(method: "Method", run: Result) -> dict[str, Any]:
    columns = {"run": str(run.folder), "method": method.name, "recipe": method.recipe}
    return columns | {name: getattr(run, name) for name in ("id", "seed", "source", "model", "task", "status")}


def _distances(run: Result) -> dict[str, dict[str, Any]]:
    """Return the columns `distance` and `near_or_far` by language; near is up to the median over the run's targets."""
    distances = {row["language"]: float(row["value"]) for row in run.distances}
    middle = median(distances.values()) if distances else 0.0
    return {run.source: {"distance": 0.0, "near_or_far": "source"}} | {
        language: {"distance": value, "near_or_far": "far" if value > middle else "near"}
        for language, value in distances.items()
    }
