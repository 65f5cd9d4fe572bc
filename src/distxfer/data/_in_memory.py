"""In-memory data as a task: tables by language and split, written as a folder that a recipe can name."""

import json
import shutil
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distxfer._cache import publish
from distxfer._durable import atomic_folder
from distxfer.data._files import IN_MEMORY, own_folder
from distxfer.data._layout import PARTS
from distxfer.errors import InputError, did_you_mean, listed
from distxfer.languages import canonical

_SPLITS = {**PARTS, "valid": "dev"}


def task_in_memory(data: Mapping[str, Mapping[str, Any]]) -> str:
    """Write a task as `save_task` does, into the cache folder; return its name, `memory/` and a digest of its content.

    The same rows have the same name, whether they are in a DataFrame, a `datasets.Dataset`, an Arrow table or dicts.
    """
    with TemporaryDirectory() as temporary:
        folder = save_task(data, Path(temporary) / "task")
        digest = sha256()
        for path in sorted(folder.glob("*/*.parquet")):
            digest.update(path.relative_to(folder).as_posix().encode())
            with pq.ParquetFile(path) as file:
                digest.update((file.schema_arrow.metadata or {}).get(b"huggingface", b""))
                for batch in file.iter_batches():
                    for row in batch.to_pylist():
                        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
        name = f"{IN_MEMORY}{digest.hexdigest()[:16]}"

        def build(fresh: Path) -> None:
            shutil.copytree(folder, fresh, dirs_exist_ok=True)

        publish(own_folder(name), build)
    return name


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
