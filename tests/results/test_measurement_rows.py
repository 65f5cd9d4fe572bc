"""The one reader of `measurements.parquet`: what it gives back, and what it refuses."""

from pathlib import Path

import pandas
import pyarrow
import pytest
from pyarrow import parquet

from distxfer.reports.run import run_table
from distxfer.results.result import read_result
from distxfer.results.tables import read_measurements
from helpers import message

PLAIN = next((Path(__file__).parents[2] / "results" / "emoji-with-flags" / "reference" / "plain").glob("*-s0"))
ROW = {"measure": "drift_cka", "layer": 1, "language": "nan", "value": 0.5, "n": 9, "moment": "after"}


def written(path, **changes):
    """A file with one good row, and one with these changes; written as runs write it, so that NaN is not turned into null."""
    parquet.write_table(pyarrow.Table.from_pylist([ROW, {**ROW, **changes}]), path)
    return path


def test_rows_come_back_as_they_are(tmp_path):
    path = written(tmp_path / "measurements.parquet", language="no", value=float("nan"))
    first, second = read_measurements(path).itertuples(index=False)
    assert first._asdict() == ROW
    assert (second.language, second.value != second.value) == ("no", True)
    frame = pandas.read_parquet(PLAIN / "measurements.parquet")
    assert len(read_measurements(PLAIN / "measurements.parquet")) == len(frame)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"value": None}, "has `None` in row 1 of the column `value`; expected a number."),
        ({"language": None}, "has `None` in row 1 of the column `language`; expected a text."),
        ({"moment": "later"}, "has `later` in row 1 of the column `moment`; expected `before` or `after`."),
    ],
)
def test_a_cell_of_the_wrong_kind_is_named(tmp_path, changes, expected):
    path = written(tmp_path / "measurements.parquet", **changes)
    assert message(read_measurements, path) == f"`{path}` {expected} Give the `measurements.parquet` of a run."


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("layer", ["one", "two"], "has `one` in row 0 of the column `layer`; expected a whole number."),
        ("layer", [0.5, 1.5], "has `0.5` in row 0 of the column `layer`; expected a whole number."),
        ("value", ["high", "low"], "has `high` in row 0 of the column `value`; expected a number."),
        ("value", [[1.0], [2.0]], "has `[1.0]` in row 0 of the column `value`; expected a number."),
        ("value", [True, False], "has `True` in row 0 of the column `value`; expected a number."),
        ("n", [None, None], "has `None` in row 0 of the column `n`; expected a whole number."),
        ("measure", [1, 2], "has `1` in row 0 of the column `measure`; expected a text."),
    ],
)
def test_a_column_of_the_wrong_type_is_named(tmp_path, column, values, expected):
    path = tmp_path / "measurements.parquet"
    pandas.DataFrame([ROW, ROW]).assign(**{column: values}).to_parquet(path)
    assert message(read_measurements, path) == f"`{path}` {expected} Give the `measurements.parquet` of a run."


def test_what_is_no_such_table_is_refused(tmp_path):
    path = tmp_path / "measurements.parquet"
    pandas.DataFrame([ROW]).drop(columns="n").to_parquet(path)
    assert message(read_measurements, path) == (
        f"`{path}` has no column `n`; expected measure, layer, language, value, n, moment. Give the `measurements.parquet` of a"
        " run."
    )
    path.write_bytes(b"PAR1")
    assert message(read_measurements, path).startswith(f"`{path}` cannot be read as measurements: ")
    assert message(read_measurements, tmp_path).startswith(f"`{tmp_path}` cannot be read as measurements: ")


def test_the_table_of_a_run_is_read_by_it(tmp_path):
    result = read_result(PLAIN)
    (tmp_path / "result.json").write_bytes((PLAIN / "result.json").read_bytes())
    written(tmp_path / "measurements.parquet", moment="later")
    assert run_table(result).columns[0] == "language"
    assert message(run_table, read_result(tmp_path)).startswith(f"`{tmp_path / 'measurements.parquet'}` has `later`")
