"""The rows of `measurements.parquet`, and the one reader of them: torch-free, so that tables and reports stay quick."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from distxfer._durable import read_table
from distxfer.errors import InputError, reason

DEEPEST = 1_000  # no encoder has as many layers; tables have a place for each
Moment = Literal["before", "after"]
# What each column holds, and how to say so; a number is read into a float, a language is a text whatever it spells.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "measure": ((str,), "a text"),
    "layer": ((int,), "a whole number"),
    "language": ((str,), "a text"),
    "value": ((int, float), "a number"),
    "n": ((int,), "a whole number"),
    "moment": ((str,), "`before` or `after`"),
}


@dataclass(frozen=True)
class Row:
    """One line of `measurements.parquet`: a measure at a layer for a language, over `n` sentences."""

    measure: str
    layer: int
    language: str
    value: float
    n: int
    moment: Moment


def read_measurements(path: Path) -> tuple[Row, ...]:
    """Return the rows of a run's `measurements.parquet`; a value that is undefined is NaN.

    Raises InputError for what cannot be read, a column that is missing, or a cell of another kind than its column holds; the
    message names file, row and column.
    """
    from pyarrow import ArrowException

    try:
        records = read_table(path, columns=list(_KINDS)).to_pylist()
    except InputError:
        raise
    except (OSError, ArrowException, ValueError, OverflowError) as error:
        raise InputError(
            f"`{path}` cannot be read as measurements: {reason(error)}. Run the recipe again with `--again`."
        ) from error
    return tuple(_row(path, number, one) for number, one in enumerate(records))


def _row(path: Path, number: int, record: dict[str, Any]) -> Row:
    for column, (kinds, expected) in _KINDS.items():
        if column not in record:
            raise InputError(
                f"`{path}` has no column `{column}`; expected {', '.join(_KINDS)}. Give the `measurements.parquet` of a run."
            )
        value = record[column]
        right = isinstance(value, kinds) and not isinstance(value, bool)
        if not right or (column == "moment" and value not in ("before", "after")):
            raise InputError(
                f"`{path}` has `{value}` in row {number} of the column `{column}`; expected {expected}. Give the"
                " `measurements.parquet` of a run."
            )
    if not 0 <= record["layer"] <= DEEPEST:
        raise InputError(
            f"`{path}` has the layer {record['layer']} in row {number}; expected 0 to {DEEPEST:,}. Run the recipe again with"
            " `--again`."
        )
    moment = cast(Moment, record["moment"])
    return Row(record["measure"], record["layer"], record["language"], float(record["value"]), record["n"], moment)
