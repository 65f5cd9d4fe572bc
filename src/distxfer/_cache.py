"""Where what is computed once is kept, and how it gets there whole or not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from distxfer.errors import InputError


def cache_folder() -> Path:
    """Return the folder of all caches: `$DISTXFER_CACHE` if set, else the platform's user cache."""
    chosen = os.environ.get("DISTXFER_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else user_cache_path("distxfer", appauthor=False)


def publish(target: Path, build: Callable[[Path], None], complete: Callable[[Path], bool]) -> Path:
    """Return the folder `target`, built first if it is not complete.

    `build` fills an empty folder beside `target`, which is then renamed: nobody ever sees half a folder. One process
    builds at a time; the others wait, look again, and find it done. What an interrupted process left is removed.

    Raises:
        InputError: if the cache cannot be written. Any `OSError` of `build` counts as that: it turns those that are not
            about the cache into errors of its own.

    """
    if complete(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock")):
            if not complete(target):
                _build_and_swap(target, build)
    except OSError as error:
        raise InputError(
            f"The cache folder `{target.parent}` cannot be written: {error.strerror or error}. "
            "Expected a folder with write permission and enough free space. "
            "Set the environment variable DISTXFER_CACHE to such a folder."
        ) from error
    return target


def _build_and_swap(target: Path, build: Callable[[Path], None]) -> None:
    """Build beside `target` and swap the result in; the caller holds the lock, so the scratch folder is ours alone."""
    scratch = target.with_name(f"{target.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        fresh = scratch / "new"
        fresh.mkdir(parents=True)
        build(fresh)
        if target.exists():
            target.rename(scratch / "old")
        fresh.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
