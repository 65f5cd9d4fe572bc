"""A run's folder: its lock, and repeated runs, which are made in a separate folder and replace the result when complete."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from distxfer._durable import RESULT, put_folder
from distxfer.results.result import RUN_LOCK, SWEEP_LOCK


def work_folder(folder: Path) -> Path:
    """Return the folder in which a run is repeated; it is hidden, so that it is not taken for a run of its own."""
    return folder.with_name(f".{folder.name}.again")


def replace_result(folder: Path) -> None:
    """Replace the run's folder atomically with the repeated run."""
    fresh = work_folder(folder)
    for lock in (RUN_LOCK, SWEEP_LOCK):  # hard links, so that waiting processes and later ones hold the same lock
        (fresh / lock).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            os.link(folder / lock, fresh / lock)
    put_folder(fresh, folder)
    shutil.rmtree(fresh, ignore_errors=True)


def finish_replacement(folder: Path) -> None:
    """Complete the replacement of a result by a repeated run if a process was killed during it."""
    fresh = work_folder(folder)
    aside = fresh.with_name(f"{fresh.name}.old")
    if not (fresh / RESULT).is_file() and not aside.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(Timeout), FileLock(folder / RUN_LOCK, timeout=0):
        if _written(fresh) > _written(folder):
            replace_result(folder)
        elif (fresh / RESULT).is_file():
            shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def _written(folder: Path) -> int:
    path = folder / RESULT
    return path.stat().st_mtime_ns if path.is_file() else -1


@contextmanager
def alone(folder: Path, notice: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a run's folder; if another process has it, notify and wait."""
    lock = FileLock(folder / RUN_LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        notice(f"Another process is working on this run ({folder}); waiting for it to finish.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
