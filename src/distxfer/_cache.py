"""The cache folder, and atomic creation of folders in it."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from distxfer._durable import atomic_folder, file_digests
from distxfer.errors import InputError

_MANIFEST = "manifest.json"  # in each folder of the cache: path -> SHA-256 of every other file
_log = logging.getLogger("distxfer")


def cache_folder() -> Path:
    """Return the folder of all caches: `$DISTXFER_CACHE` if set, else the platform's user cache."""
    chosen = os.environ.get("DISTXFER_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else user_cache_path("distxfer", appauthor=False)


def publish(
    target: Path,
    build: Callable[[Path], None],
    serves: Callable[[Path], bool] = lambda folder: True,
    notice: Callable[[str], None] = _log.warning,
) -> Path:
    """Return the folder `target`, building it first unless it exists, is intact and passes `serves`.

    `build` fills an empty folder, which then atomically becomes `target`. One process builds at a time; others wait and
    find the result. Leftovers of an interrupted process are removed. `notice` is called with a message about a damaged
    folder, which is built again.

    Raises InputError if the cache cannot be written. Any `OSError` of `build` counts as that, so `build` converts errors
    with other causes itself.
    """
    if is_whole(target) and serves(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock")):
            intact = is_whole(target)
            if not intact and target.exists():
                notice(f"`{target}` in the cache is damaged and is built again.")
            if not (intact and serves(target)):
                with atomic_folder(target) as fresh:
                    build(fresh)
                    manifest = json.dumps({"files": _digests(fresh)}, indent=2)
                    (fresh / _MANIFEST).write_text(f"{manifest}\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The cache folder `{target.parent}` cannot be written: {error.strerror or error}. "
            "Expected a folder with write permission and enough free space. "
            "Set the environment variable DISTXFER_CACHE to such a folder."
        ) from error
    return target


def is_whole(folder: Path) -> bool:
    """Return whether a folder of the cache exists and every file matches its digest."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest["files"] == _digests(folder))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    return file_digests(folder, (path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST))
