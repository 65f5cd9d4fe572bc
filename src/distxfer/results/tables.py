"""The tables of finished runs (scores, measurements, predictions), and tables of scores from elsewhere."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyarrow import ArrowException, compute, types

from distxfer._durable import read_table
from distxfer.errors import InputError, did_you_mean, listed, reason
from distxfer.languages import canonical
from distxfer.results.result import LARGEST, Result

if TYPE_CHECKING:
    from distxfer.results.collect import Method

PREDICTIONS = "predictions.parquet"
PROBABILITY = "probability_"  # how the columns of `diagnostics.probabilities` begin, one for each class
DEEPEST = 1_000  # no encoder has as many layers; tables have a place for each
Moment = Literal["before", "after"]
_PREDICTION_COLUMNS = ["language", "example_id", "label", "prediction"]
_RUN_COLUMNS = ["run", "method", "recipe", "id", "seed", "source", "model", "task", "status"]
_SCORE_COLUMNS = ["language", "split", "metric", "value", "n", "distance", "near_or_far"]
COLUMNS = ("model", "task", "method", "seed", "language", "metric", "value")  # of a table of scores from elsewhere
_LONGEST_SEED = 20  # characters; seeds have at most 64 bits


@dataclass(frozen=True)
class Row:
    """One line of `measurements.parquet`: a measure at a layer for a language, over `n` sentences."""

    measure: str
    layer: int
    language: str
    value: float
    n: int
    moment: Moment


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind))


_IS_OF_TYPE: Mapping[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "measure": (_is_text, "a text"),
    "layer": (types.is_integer, "a whole number"),
    "language": (_is_text, "a text"),
    "value": (lambda kind: types.is_integer(kind) or types.is_floating(kind), "a number"),
    "n": (types.is_integer, "a whole number"),
    "moment": (_is_text, "`before` or `after`"),
}


def read_measurements(path: Path) -> pd.DataFrame:
    """Return a run's `measurements.parquet` with the columns of `Row`; undefined values are NaN.

    Raises InputError for an unreadable file, a missing column, or a cell of the wrong type; the message names file, row and
    column.
    """
    try:
        return _measurements(path, read_table(path, columns=list(_IS_OF_TYPE)))
    except InputError:
        raise
    except (OSError, ArrowException, ValueError, OverflowError) as error:
        raise InputError(
            f"`{path}` cannot be read as measurements: {reason(error)}. Run the recipe again with `--again`."
        ) from error


def _measurements(path: Path, table: pa.Table) -> pd.DataFrame:
    hint = "Give the `measurements.parquet` of a run."
    for name, (is_of_type, expected) in _IS_OF_TYPE.items():
        if name not in table.column_names:
            raise InputError(f"`{path}` has no column `{name}`; expected {', '.join(_IS_OF_TYPE)}. {hint}")
        column = table[name]
        sound = column.is_valid()  # NaN is a number
        if not is_of_type(column.type):
            sound = pa.repeat(False, len(column))
        elif name == "moment":
            sound = compute.is_in(column, pa.array(["before", "after"]))
        elif name == "layer":
            sound = compute.is_in(column, pa.array(range(DEEPEST + 1)))
            expected = f"a whole number from 0 to {DEEPEST:,}"
        if (row := compute.index(sound, False).as_py()) >= 0:
            value = column[row].as_py()
            raise InputError(f"`{path}` has `{value}` in row {row} of the column `{name}`; expected {expected}. {hint}")
    measurements: pd.DataFrame = table.select(list(_IS_OF_TYPE)).to_pandas().astype({"value": float})
    return measurements


def read_predictions(folder: Path) -> pd.DataFrame:
    """Return a run's test predictions: `language`, `example_id`, `label`, `prediction`.

    Raises InputError if the file cannot be read, lacks a column, or has one that is no text.
    """
    table, path = _predictions(folder), folder / PREDICTIONS
    frame: pd.DataFrame = pa.table({name: _as_text(table[name], path) for name in _PREDICTION_COLUMNS}).to_pandas()
    return frame


def _predictions(folder: Path) -> pa.Table:
    """Return the columns of a run's predictions; raises InputError if the file cannot be read, or lacks one."""
    path = folder / PREDICTIONS
    try:
        table = read_table(path, _PREDICTION_COLUMNS)
    except (OSError, ArrowException, KeyError) as error:
        raise InputError(f"`{path}` cannot be read ({error}). Run the recipe again with `--again`.") from error
    missing = [name for name in _PREDICTION_COLUMNS if name not in table.column_names]
    if missing:
        raise InputError(
            f"`{path}` has no column {listed(f'`{name}`' for name in missing)}; expected"
            f" {listed(f'`{name}`' for name in _PREDICTION_COLUMNS)}. Run the recipe again with `--again`."
        )
    return table


def _as_text(column: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except ArrowException as error:
        raise InputError(f"`{path}` is no table of texts: {error}") from error


Codes = npt.NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class Answers:
    """A run's test predictions as numbers of texts, (n,) each, -1 for a missing one.

    `language` numbers `languages`, `item` numbers `items` (the ids of examples), `label` and `prediction` number `texts`.
    """

    languages: list[str]
    items: list[str]
    texts: list[str]
    language: Codes
    item: Codes
    label: Codes
    prediction: Codes


def read_answers(folder: Path) -> Answers:
    """Return a run's test predictions as numbers, without a Python object for each; raises InputError as `read_predictions`."""
    table, path = _predictions(folder), folder / PREDICTIONS
    language, languages = _numbered(table["language"], path)
    item, items = _numbered(table["example_id"], path)
    label, labels = _numbered(table["label"], path)
    prediction, predicted = _numbered(table["prediction"], path)
    texts = list(dict.fromkeys([*labels, *predicted]))
    # the last entry is for -1
    places = np.array([*map({text: place for place, text in enumerate(texts)}.get, predicted), -1], dtype=np.int32)
    return Answers(languages, items, texts, language, item, label, places[prediction])


def _numbered(column: pa.ChunkedArray, path: Path) -> tuple[Codes, list[str]]:
    """Return the number of each text, -1 for a missing one, and the texts."""
    if not (types.is_dictionary(column.type) and types.is_string(column.type.value_type)):
        column = _as_text(column, path)
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()


def encode_labels(table: pa.Table) -> pa.Table:
    """Return a table of predictions with `language`, `label` and `prediction` dictionary-encoded.

    `label` and `prediction` share one dictionary, so that pandas can compare them: it refuses categories that differ.
    """
    for columns in (("language",), ("label", "prediction")):
        values = pa.chunked_array([chunk for name in columns for chunk in table[name].cast(pa.string()).chunks])
        dictionary = values.unique().drop_null()
        for name in columns:
            codes = compute.index_in(table[name].cast(pa.string()), dictionary).combine_chunks()
            encoded = pa.DictionaryArray.from_arrays(codes, dictionary)
            table = table.set_column(table.column_names.index(name), name, encoded)
    return table


def score_table(methods: Sequence["Method"]) -> pd.DataFrame:
    """Return all scores of the runs of these methods; see `Collection.scores`."""
    rows = [
        {**_run_columns(method, run), "distance": math.nan, **score, **places.get(score["language"], {})}
        for method in methods
        for run in method.runs
        for places in [_distances(run)]
        for score in run.scores
    ]
    return pd.DataFrame(rows, columns=[*_RUN_COLUMNS, *_SCORE_COLUMNS])


def sound_scores(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of `Collection.scores` for comparisons: test scores of a metric without collapsed runs."""
    return scores[(scores["split"] == "test") & (scores["metric"] == metric) & (scores["status"] != "collapsed")]


def with_runs(methods: Sequence["Method"], read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    """Return the tables that `read` returns for all run folders, concatenated, with the run's columns (as categories)."""
    runs = [(method, run) for method in methods for run in method.runs]
    tables = [read(run.folder) for _, run in runs]
    columns = pd.DataFrame([_run_columns(*pair) for pair in runs], columns=_RUN_COLUMNS)
    columns = columns.astype({name: "category" for name in _RUN_COLUMNS if name != "seed"})
    repeated = columns.loc[columns.index.repeat([len(table) for table in tables])]
    return pd.concat([repeated.reset_index(drop=True), pd.concat(tables, ignore_index=True)], axis=1)


def _run_columns(method: "Method", run: Result) -> dict[str, Any]:
    columns = {"run": str(run.folder), "method": method.name, "recipe": method.recipe}
    columns |= {name: getattr(run, name) for name in ("id", "seed", "model", "task", "status")}
    return columns | {"source": ",".join(run.sources)}


def _distances(run: Result) -> dict[str, dict[str, Any]]:
    """Return the columns `distance` and `near_or_far` by language; near is up to the median over the run's targets."""
    distances = {row["language"]: row["value"] for row in run.distances}
    middle = median(distances.values()) if distances else 0.0
    return {source: {"distance": 0.0, "near_or_far": "source"} for source in run.sources} | {
        language: {"distance": value, "near_or_far": "far" if value > middle else "near"}
        for language, value in distances.items()
    }


def read_scores(path: Path) -> pd.DataFrame:
    """Return a table of scores from elsewhere: `model`, `task`, `method`, `seed`, `language`, `metric`, `value`.

    It is CSV (or TSV, by suffix) in UTF-8 with these columns in any order; other columns are ignored. An empty value, `NaN` or
    `NA`, is a missing score. Language codes may have any form that `canonical` accepts; all strings are kept as they are, so
    `nan` and `no` are languages.

    Raises InputError for a missing file or column, an invalid number, an unknown language, or duplicate rows; the message names
    file and line.
    """
    if not path.is_file():
        raise InputError(
            f"The table `{path}` is not a file. Give the path of a CSV file with the columns {', '.join(COLUMNS)}."
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
        delimiter = "\t" if path.suffix == ".tsv" else ","
        header, *rows = [*csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"The table `{path}` cannot be read ({error}). Save it as CSV in UTF-8.") from error
    header = [name.strip() for name in header]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise InputError(
            f"The table `{path}` has no column `{missing[0]}`.{did_you_mean(missing[0], header)} "
            f"Expected: {', '.join(COLUMNS)}; found: {', '.join(header) or 'nothing'}."
        )
    for name in COLUMNS:
        if header.count(name) > 1:
            raise InputError(
                f"The table `{path}` has {header.count(name)} columns `{name}`. Rename or remove all but one."
            )
    lines = {line: row for line, row in enumerate(rows, start=2) if any(cell.strip() for cell in row)}
    for line, row in lines.items():
        if len(row) != len(header):
            raise InputError(f"`{path}:{line}` has {len(row)} cells where the first line has {len(header)}.")
    if not lines:
        raise InputError(f"The table `{path}` has no scores. Put one line below the header for each score.")
    table = pd.DataFrame.from_dict(lines, orient="index", columns=header)[list(COLUMNS)].apply(
        lambda column: column.str.strip()
    )
    return _checked(path, table)


def _checked(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of texts, indexed by line, with canonical languages and values as numbers."""
    for line in table.index[table["method"] == ""]:
        raise InputError(f"`{path}:{line}` has no method. Name the method that the score is of.")
    sizes = table["seed"].str.len()
    for line in table.index[sizes > _LONGEST_SEED]:
        raise InputError(f"`{path}:{line}` has a seed of {sizes[line]:,} characters; expected {_LONGEST_SEED} at most.")
    keys = {}
    for code, lines in table.groupby("language", sort=False).groups.items():
        try:
            keys[code] = canonical(str(code))
        except InputError as error:
            raise InputError(f"`{path}:{lines[0]}`: {error}") from error
    is_missing = table["value"].str.lower().isin(["", "nan", "na"])
    values = pd.to_numeric(table["value"].mask(is_missing), errors="coerce")
    for line in table.index[~is_missing & ~(values.abs() <= LARGEST)]:
        raise InputError(
            f"`{path}:{line}` has the value `{table['value'][line]}`; expected a number of at most {LARGEST:g}, or nothing where"
            " the score is missing."
        )
    table = table.assign(language=table["language"].map(keys), value=values)
    cells = list(COLUMNS[:-1])
    for twice in table.loc[table.duplicated(cells), cells].to_dict("records"):
        cell = ", ".join(f"{name} `{value}`" for name, value in twice.items())
        raise InputError(
            f"The table `{path}` has two lines for {cell}. Keep one of them, or tell the runs apart by their seed."
        )
    return table.reset_index(drop=True)
