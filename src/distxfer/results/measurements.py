"""The rows of `measurements.parquet`, and their reader."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from distxfer._durable import read_table
from distxfer.errors import InputError, reason

if TYPE_CHECKING:
    import pandas as pd

DEEPEST = 1_000  # no encoder has as many layers; tables have a place for each
Moment = Literal["before", "after"]
# What each column holds, and how to say so; a number is read into a float, a language is a text whatever it spells.
_COLUMNS: dict[str, tuple[tuple[type, ...], str]] = {
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


def read_measurements(path: Path) -> "pd.DataFrame":
    """Return a run's `measurements.parquet` with the columns of `Row`; undefined values are NaN.

    Raises InputError for an unreadable file, a missing column, or a cell of the wrong type; the message names file, row and
    column.
    """
    from pyarrow import ArrowException

    try:
        table = read_table(path, columns=list(_COLUMNS))
        values = {name: table[name].to_pylist() for name in _COLUMNS if name in table.column_names}
    except InputError:
        raise
    except (OSError, ArrowException, ValueError, OverflowError) as error:
        raise InputError(
            f"`{path}` cannot be read as measurements: {reason(error)}. Run the recipe again with `--again`."
        ) from error
    hint = "Give the `measurements.parquet` of a run."
    for name, (kinds, expected) in _COLUMNS.items():
        if name not in values:
            raise InputError(f"`{path}` has no column `{name}`; expected {', '.join(_COLUMNS)}. {hint}")
        for row, value in enumerate(values[name]):
            fits = isinstance(value, kinds) and not isinstance(value, bool)
            if not fits or (name == "moment" and value not in ("before", "after")):
                raise InputError(
                    f"`{path}` has `{value}` in row {row} of the column `{name}`; expected {expected}. {hint}"
                )
            if name == "layer" and not 0 <= value <= DEEPEST:
                raise InputError(
                    f"`{path}` has the layer {value} in row {row}; expected 0 to {DEEPEST:,}. Run the recipe again with"
                    " `--again`."
                )
    frame: pd.DataFrame = table.select(list(_COLUMNS)).to_pandas()
    return frame.astype({"value": float})
