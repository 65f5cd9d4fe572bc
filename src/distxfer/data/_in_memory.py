"""In-memory data as a task: tables by language and split, written as a folder that a recipe can name."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distxfer._durable import atomic_folder
from distxfer.data._examples import SPLITS
from distxfer.errors import InputError, did_you_mean, listed
from distxfer.languages import canonical

_SPLITS = {"validation": "dev", "valid": "dev", **{split: split for split in SPLITS}, "unlabelled": "unlabelled"}


def save_task(data: Mapping[str, Mapping[str, Any]], folder: str | Path) -> Path:
    """Write a task that is in memory as `{language}/{split}.parquet` below a new folder; return the folder, for `task=`.

    `data[language][split]` is a pandas DataFrame, a `datasets.Dataset`, a pyarrow Table, or rows (dicts); so `data[language]`
    may be a `datasets.DatasetDict`. Splits: `train`, `dev` (or `validation`), `test`, `unlabelled`. Columns are those of a
    task folder (`text`, `label`, ...); others can be named by `task.columns`. The names of a `ClassLabel` are kept.

    Raises InputError for a folder that exists, an unknown language or split, or what is not a table.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise InputError(f"`{folder}` exists already. Choose another folder, or remove it first.")
    parts = [
        (f"{canonical(language)}/{_split(split)}", table)
        for language, splits in data.items()
        for split, table in splits.items()
    ]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as aside:
        for part, table in parts:
            path = aside / f"{part}.parquet"
            path.parent.mkdir(exist_ok=True)
            if hasattr(table, "features"):  # a `datasets.Dataset`, which also writes the names of its labels
                table.to_parquet(str(path))
            else:
                pq.write_table(_table(table, part), path)
    return folder


def _split(name: str) -> str:
    if name not in _SPLITS:
        raise InputError(f"`{name}` is not a split.{did_you_mean(name, _SPLITS)} Choose from: {listed(_SPLITS)}.")
    return _SPLITS[name]


def _table(data: Any, place: str) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if hasattr(data, "iloc"):
        return pa.Table.from_pandas(data, preserve_index=False)
    rows: list[Any] = list(data) if isinstance(data, Iterable) else [None]
    if all(isinstance(row, Mapping) for row in rows):
        return pa.Table.from_pylist([dict(row) for row in rows])
    raise InputError(f"`{place}` is a `{type(data).__name__}`; expected a DataFrame, a Dataset, or rows as dicts.")
