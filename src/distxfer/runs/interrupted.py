"""A run's folder: one process at a time, and a run made again beside the result that it replaces, until it is whole."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from distxfer._durable import RESULT, put_folder
from distxfer.results.result import RUN_LOCK, SWEEP_LOCK


def work_folder(folder: Path) -> Path:
    """Return where the run of a folder is made again; it is hidden, so that it counts as no run of its own."""
    return folder.with_name(f".{folder.name}.again")


def replace_result(folder: Path) -> None:
    """Let what was made again take the place of the run's folder, in one step, and remove what stood there."""
    fresh = work_folder(folder)
    for lock in (RUN_LOCK, SWEEP_LOCK):  # the same file, so that who waits for it and who comes later wait for the same
        (fresh / lock).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            os.link(folder / lock, fresh / lock)
    put_folder(fresh, folder)
    shutil.rmtree(fresh, ignore_errors=True)


def settle(folder: Path) -> None:
    """Finish what a killed process left between the end of a run made again and its last clean-up, unless one is at work."""
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
    """Hold the lock of a run's folder; says so first if another process has it, and waits."""
    lock = FileLock(folder / RUN_LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        notice(f"Another process is at work on this run ({folder}); waiting for it to finish.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
