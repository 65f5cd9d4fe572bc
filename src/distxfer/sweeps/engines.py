"""Where the runs of a sweep are carried out: each in a process of its own, here or wherever an engine sends it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Literal, Protocol

from filelock import FileLock, Timeout

from distxfer.errors import InputError
from distxfer.results.failure import Failure, read_failure, write_failure
from distxfer.results.result import RUN_LOCK, SWEEP_LOCK, read_result

LOG = "train.log"  # in a run's folder: what its processes said, one after the other
GRACE = 10  # seconds that a process has to stop, before it is killed; it goes on from its checkpoint all the same
# How a process ends that somebody asked to stop (a batch system asks all of a job's processes): that is no failure.
_ASKED_TO_STOP = (130, *(-number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)))
_PARENT = "DISTXFER_PARENT"  # in the environment of what a sweep starts: the process that waits for it
_TICK = 0.2  # seconds between two looks at a process
_LONGEST = 2000  # characters of a reason


@dataclass(frozen=True)
class Job:
    """A run as an engine sees it: what follows `python`, where to start it, and the folder in which its result will be.

    `failure` is how the run had failed, if it had, when the sweep began.
    """

    command: tuple[str, ...]
    start_in: Path
    folder: Path
    failure: Failure | None = None


@dataclass(frozen=True)
class Ended:
    """How a job ended, why, and after how many seconds; `busy`: another sweep is at it, so nothing was done."""

    status: Literal["done", "failed", "interrupted", "busy"]
    reason: str = ""
    seconds: float = 0.0


class Engine(Protocol):
    """Something that carries out jobs."""

    def running(self) -> AbstractContextManager[Callable[[Job], "Future[Ended]"]]:
        """Yield the function that takes a job on; on leaving, what still runs is interrupted and waited for."""


@dataclass(frozen=True)
class LocalEngine:
    """`workers` runs at once on this machine, each with its share of `threads` and with one of the GPUs.

    By default there is one worker a GPU, or one; and the threads are those of OMP_NUM_THREADS, or all cores.

    Raises InputError for fewer than one worker or thread.
    """

    workers: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no number of workers or threads."""
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"`--{name}` is `{value}`; expected 1 or more.")

    @contextmanager
    def running(self) -> Iterator[Callable[[Job], "Future[Ended]"]]:
        """Yield the function that takes a job on; on leaving, what still runs is interrupted and waited for."""
        gpus = _visible_gpus()
        workers = self.workers or max(1, len(gpus))
        threads = max(1, (self.threads or _threads()) // workers)
        places: SimpleQueue[dict[str, str]] = SimpleQueue()
        for worker in range(workers):
            pinned = {"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]} if gpus else {}
            places.put({"OMP_NUM_THREADS": str(threads), **pinned})
        stopped = Event()

        def work(job: Job) -> Ended:
            place = places.get()
            try:
                return carry_out(job, place, stopped.is_set)
            finally:
                places.put(place)

        pool = ThreadPoolExecutor(workers)
        try:
            yield lambda job: pool.submit(work, job)
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


def carry_out(job: Job, environment: Mapping[str, str], stopped: Callable[[], bool] = lambda: False) -> Ended:
    """Do a job here, unless it is done already, or another process does it or has failed at it meanwhile.

    The process has `environment` besides this one's, writes to `train.log`, and is interrupted, as by Ctrl-C, when
    `stopped()`. A failure is written to `failed.json`.
    """
    if stopped():
        return Ended("interrupted")
    job.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(job.folder / SWEEP_LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return Ended("busy")
    try:
        failure = read_failure(job.folder)
        if is_done(job.folder):
            return Ended("done")
        if failure is not None and failure != job.failure:
            return Ended("failed", f"{failure.reason} (in another sweep, meanwhile)")
        if _is_at_work(job.folder):
            return Ended("busy")
        return _processed(job, environment, stopped)
    finally:
        lock.release()


def _is_at_work(folder: Path) -> bool:
    """Return whether a process trains this run without a sweep that lives: by hand, or for one that was killed."""
    try:
        with FileLock(folder / RUN_LOCK, timeout=0):
            return False
    except Timeout:
        return True


def is_done(folder: Path) -> bool:
    """Return whether a run's folder holds a result; one that cannot be read is none, and `train` says what is wrong."""
    try:
        return read_result(folder) is not None
    except InputError:
        return False


def _processed(job: Job, environment: Mapping[str, str], stopped: Callable[[], bool]) -> Ended:
    started = time.monotonic()
    with (job.folder / LOG).open("ab") as log:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        log.write(f"--- {now} {socket.gethostname()}: python {' '.join(job.command)}\n".encode())
        log.flush()
        before = log.tell()
        code = _exit_code(job, environment, stopped, log.fileno())
    seconds = time.monotonic() - started
    if is_done(job.folder):  # whatever came after it
        return Ended("done", seconds=seconds)
    if code in _ASKED_TO_STOP or (stopped() and code != 0):
        return Ended("interrupted", "It was interrupted; the same command goes on.", seconds)
    with (job.folder / LOG).open("rb") as log:
        log.seek(before)
        reason = _reason(log.read().decode(errors="replace"), code)
    write_failure(job.folder, reason, code, job.command)
    return Ended("failed", reason, seconds)


def end_with_parent() -> None:
    """End this process, as by Ctrl-C, when the sweep that started it is gone; does nothing in a process that no sweep started.

    A sweep that is killed cannot stop what it started, which would hold the run's lock, and a processor, unseen.
    """
    parent = os.environ.pop(_PARENT, "")
    if not parent:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(_TICK)
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, daemon=True).start()


def _exit_code(job: Job, environment: Mapping[str, str], stopped: Callable[[], bool], log: int) -> int:
    """Start the process, wait for it, and return its exit code; whatever happens here, it does not outlive this."""
    process = subprocess.Popen(
        [sys.executable, *job.command], cwd=job.start_in, env={**os.environ, **environment, _PARENT: str(os.getpid())},
        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        start_new_session=True,  # a Ctrl-C at the terminal reaches it through us, once
    )  # fmt: skip
    try:
        while not stopped():
            try:
                return process.wait(_TICK)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            process.terminate()  # `train` takes it as Ctrl-C, which what was started in the background ignores
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
    return process.wait()


def _reason(said: str, code: int) -> str:
    """Return why a process failed, by what it said last: its own message, or the last line of a traceback."""
    if code < 0:
        known = {one.value: one.name for one in signal.Signals}
        name = known.get(-code, f"the signal {-code}")
        why = ", as the system does where memory runs out" if name == "SIGKILL" else ""
        return f"The process was ended by {name}{why}."
    *_, own = ["", *re.split(r"^Error: ", said, flags=re.MULTILINE)[1:]]
    lines = [line for line in said.splitlines() if line.strip()]
    if code == 0:
        return "It ended without a result in its folder: the recipe, its data or distxfer changed while the sweep ran."
    return (own.strip() or (lines[-1].strip() if lines else f"It ended with exit code {code}."))[:_LONGEST]


def _threads() -> int:
    """Return the number of threads of one process that has the machine to itself."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch  # here, so that a worker of Ray, which needs none of it, starts quickly

    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    if said is not None:
        return [one.strip() for one in said.split(",") if one.strip()][:count]
    return [str(number) for number in range(count)]
