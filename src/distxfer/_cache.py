"""Where what is computed once is kept, and how it gets there whole or not at all."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from distxfer._durable import atomic_folder, file_digests
from distxfer.errors import InputError

_MANIFEST = "manifest.json"  # in each folder of the cache: the SHA-256 of every other file, by its path
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
    """Return the folder `target`, built first unless it is there as it was written, and `serves`.

    `build` fills an empty folder beside `target`, which then takes its place: nobody ever sees half a folder. One process
    builds at a time; the others wait, look again, and find it done. What an interrupted process left is removed. `notice`
    is told of a folder that is damaged, and built anew.

    Raises:
        InputError: if the cache cannot be written. Any `OSError` of `build` counts as that: it turns those that are not
            about the cache into errors of its own.

    """
    if is_whole(target) and serves(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock")):
            whole = is_whole(target)
            if not whole and target.exists():
                notice(f"`{target}` in the cache is damaged, and is made anew.")
            if not (whole and serves(target)):
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
    """Return whether a folder of the cache is there and holds what was written, file by file; reads all of it, once."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest["files"] == _digests(folder))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    return file_digests(folder, (path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST))
