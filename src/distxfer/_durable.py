"""Atomic writes of files and folders, and digests that detect damaged files."""

import ctypes
import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import file_digest as hash_stream
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from distxfer.errors import InputError

if TYPE_CHECKING:
    import pyarrow

RESULT = "result.json"
_DIGESTS = "digests"  # key of relative path -> SHA-256; the digest of `result.json` itself is under its own name
_DEPTH = 3  # maximum depth of a run's files: model/adapter_2/adapter_model.safetensors
_SETTLED = 2.0  # seconds after which another change of a file is certain to change its modification time
_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # from file systems without this operation
_Value = TypeVar("_Value")
_Key = tuple[str, int, int]  # path, time of modification, size
_hashed: dict[_Key, str] = {}
_listed: dict[_Key, dict[str, str]] = {}  # the digests in a `result.json`


class Damaged(InputError):
    """A file of a finished run is not what the run wrote. Never to be treated like a missing file."""


@contextmanager
def atomic_file(path: Path, suffix: str = "part") -> Iterator[Path]:
    """Yield a temporary path that replaces `path` on exit, synced to disk; after an error, `path` is unchanged.

    Two processes that write the same path at once need different suffixes.
    """
    aside = path.with_name(f"{path.name}.{suffix}")
    try:
        yield aside
        sync(aside)
        os.replace(aside, path)
        sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` on exit, synced to disk; after an error, it is removed.

    Only one process at a time may do this; leftovers of a killed process are removed.
    """
    aside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        put_folder(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def put_folder(fresh: Path, folder: Path) -> None:
    """Exchange `fresh` and `folder`, or rename `fresh` if there is no `folder`.

    On Linux this is one atomic step: a kill at any moment leaves a complete folder in place.
    """
    for path in (*fresh.rglob("*"), fresh):
        if not path.is_symlink():
            sync(path)
    if folder.exists():
        _exchange(fresh, folder)
    else:
        fresh.rename(folder)
    sync(folder.parent)


def _exchange(first: Path, second: Path) -> None:
    """Exchange two folders of one file system."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if rename is not None:
        if rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0:
            return
        if (number := ctypes.get_errno()) not in _NO_EXCHANGE:
            raise OSError(number, os.strerror(number), str(second))
    aside = first.with_name(f"{first.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    second.rename(aside)
    first.rename(second)
    aside.rename(first)


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, cached per process by path, size and modification time."""
    return _once(_hashed, path, _hash)


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hash_stream(stream, "sha256").hexdigest()


def _once(cache: dict[_Key, _Value], path: Path, read: Callable[[Path], _Value]) -> _Value:
    """Return `read(path)`, from `cache` unless the file has changed since."""
    stat = path.stat()
    key = (str(path.absolute()), stat.st_mtime_ns, stat.st_size)
    if key in cache:
        return cache[key]
    value = read(path)
    if abs(time.time() - stat.st_mtime) >= _SETTLED:  # otherwise another change might leave the same modification time
        cache[key] = value
    return value


def file_digests(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return path relative to `folder` -> SHA-256, sorted by path."""
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in sorted(paths)}


def sealed(data: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of a `result.json` with `digests` of the run's other files and of the content itself."""
    provenance = {**data["provenance"], _DIGESTS: "SHA-256"}  # so that a removed `digests` is noticed
    plain = json.loads(json.dumps({**data, "provenance": provenance, _DIGESTS: digests}, allow_nan=False))
    plain[_DIGESTS][RESULT] = _content_digest(plain)
    return dict(plain)


def check_sealed(path: Path, data: Mapping[str, Any]) -> None:
    """Raise Damaged if the content of a `result.json` is not what the run wrote; without digests, it is not checked."""
    digests, provenance = data.get(_DIGESTS), data.get("provenance")
    if digests is None and not (isinstance(provenance, dict) and _DIGESTS in provenance):
        return
    if not isinstance(digests, dict) or digests.get(RESULT) != _content_digest(data):
        raise _damaged(path)


def _content_digest(data: Mapping[str, Any]) -> str:
    digests = {name: digest for name, digest in data[_DIGESTS].items() if name != RESULT}
    content = json.dumps({**data, _DIGESTS: digests}, sort_keys=True)
    return sha256(content.encode()).hexdigest()


def check_file(path: Path) -> Path:
    """Return `path`; raise Damaged if it is a file of a finished run and not what the run wrote.

    Files outside of runs, and of runs without digests, are not checked.
    """
    run, digests = _run_above(path)
    name = path.absolute().relative_to(run).as_posix()
    if name in digests:
        _check_digest(path, digests[name])
    return path


def check_folder(folder: Path) -> Path:
    """Return `folder`; raise Damaged if it is in a finished run and a file in it is missing or not what the run wrote."""
    run, digests = _run_above(folder)
    for name, digest in digests.items():
        if (run / name).is_relative_to(folder.absolute()):
            _check_digest(run / name, digest)
    return folder


def check_run(run: Path, digests: Mapping[str, str]) -> None:
    """Raise Damaged if a file of a finished run is not what the run wrote, or a table is missing.

    The log, or the whole model, may have been removed to save space.
    """
    for name, digest in digests.items():
        path, top = run / name, run / Path(name).parts[0]
        in_folder = top != path and top.is_dir()
        if name != RESULT and (path.is_file() or path.suffix == ".parquet" or in_folder):
            _check_digest(path, digest)


def _check_digest(path: Path, digest: str) -> None:
    if not path.is_file():
        raise Damaged(
            f"`{path}` is missing, but the run wrote it. Restore it from an intact copy, or run the recipe again with"
            " `--again`."
        )
    if file_digest(path) != digest:
        raise _damaged(path)


def _run_above(path: Path) -> tuple[Path, dict[str, str]]:
    """Return the folder of the finished run that contains a path, with the run's digests; none outside of runs."""
    for run in [*path.absolute().parents][:_DEPTH]:
        if (run / RESULT).is_file():
            return run, _once(_listed, run / RESULT, _digests_in)
    return path.absolute().parent, {}


def _digests_in(path: Path) -> dict[str, str]:
    """Return the digests of the other files in a `result.json`; empty if it has none, or cannot be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # unreadable results are reported where results are read
    if not isinstance(data, dict) or data.get(_DIGESTS) is None:
        return {}
    check_sealed(path, data)
    return {name: digest for name, digest in data[_DIGESTS].items() if name != RESULT}


def _damaged(path: Path) -> Damaged:
    return Damaged(
        f"`{path}` is not what the run wrote: its SHA-256 differs from the one in `{RESULT}`. The file was damaged or changed;"
        " restore it from an intact copy, or run the recipe again with `--again`."
    )


def read_table(path: Path, columns: Sequence[str] | None = None) -> "pyarrow.Table":
    """Return a run's table, or those of `columns` that it has, after checking its checksums and its digest.

    Raises Damaged for a file that is not what the run wrote, OSError or ArrowException for an unreadable one.
    """
    from pyarrow import parquet

    check_file(path)
    with path.open("rb") as stream, parquet.ParquetFile(stream, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        return file.read(columns=None if columns is None else [name for name in columns if name in names])


def write_table(table: "pyarrow.Table", path: Path) -> None:
    """Write a table atomically as Parquet with checksums.

    Only dictionary columns are dictionary-encoded, since zstd compresses dictionary codes of ids and floats, which are not
    byte-aligned, worse than the values.
    """
    import pyarrow
    from pyarrow import parquet

    encoded = [field.name for field in table.schema if pyarrow.types.is_dictionary(field.type)]
    with atomic_file(path) as aside:
        parquet.write_table(
            table,
            aside,
            use_dictionary=encoded or False,
            compression="zstd",
            compression_level=19,
            write_statistics=False,
            write_page_checksum=True,
        )
