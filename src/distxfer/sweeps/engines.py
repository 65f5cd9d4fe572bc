"""Engines that carry out the runs of a sweep, each in a process of its own, on this machine or elsewhere."""

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

from distxfer.errors import InputError, counted
from distxfer.results.failure import Failure, read_failure, write_failure
from distxfer.results.result import RUN_LOCK, SWEEP_LOCK, read_result

LOG = "train.log"  # in a run's folder: the output of its processes
GRACE = 10  # seconds that a process has to stop before it is killed; it can be resumed in both cases
# Exit codes of a process that was asked to stop, for example by a batch system; these are not failures.
_ASKED_TO_STOP = (130, *(-number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)))
_PARENT = "DISTXFER_PARENT"  # environment variable of started processes: the id of the sweep's process
_TICK = 0.2  # seconds between polls of a process
_LONGEST = 2000  # characters of a reason


@dataclass(frozen=True)
class Job:
    """A run for an engine: the arguments of `python`, the working directory, and the folder of the result.

    `failure` is the run's failure before the sweep, if any.
    """

    command: tuple[str, ...]
    start_in: Path
    folder: Path
    failure: Failure | None = None


@dataclass(frozen=True)
class Ended:
    """How a job ended, the reason, and the seconds it took; `busy`: not started, since another sweep is working on it."""

    status: Literal["done", "failed", "interrupted", "busy"]
    reason: str = ""
    seconds: float = 0.0


class Engine(Protocol):
    """An engine carries out jobs."""

    def running(self, runs: int = 1) -> AbstractContextManager[Callable[[Job], "Future[Ended]"]]:
        """Yield the function that submits a job; on exit, running jobs are interrupted and waited for.

        `runs` is how many the sweep has, at most as many as fit into memory at once.
        """


@dataclass(frozen=True)
class LocalEngine:
    """Carries out `workers` runs at once on this machine, each with so many `threads`, and with one GPU.

    The cores are those of this process, or OMP_NUM_THREADS. By default there is one worker per GPU, and the workers share
    the cores. Without a GPU, there is a worker of one thread per core, since a second thread saves a run less than an eighth of
    its time; a run that is alone has all cores.

    Raises InputError for fewer than one worker or thread, or more threads of all workers than cores.
    """

    workers: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers of workers and threads."""
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"`--{name}` is `{value}`; expected 1 or more.")

    @contextmanager
    def running(self, runs: int = 1) -> Iterator[Callable[[Job], "Future[Ended]"]]:
        """Yield the function that submits a job; on exit, running jobs are interrupted and waited for."""
        gpus, cores = _visible_gpus(), _usable_cores()
        workers = self.workers or len(gpus) or max(1, min(runs, cores // (self.threads or 1)))
        alone = bool(self.workers or gpus or runs == 1)
        threads = self.threads or (max(1, cores // workers) if alone else 1)
        if workers * threads > cores:
            raise InputError(
                f"{counted(workers, 'workers')} of {counted(threads, 'threads')} are more than the {cores} cores here."
                " Lower `--workers` or `--threads`; OMP_NUM_THREADS is the number of cores to use, where it is set."
            )
        slots: SimpleQueue[dict[str, str]] = SimpleQueue()
        for worker in range(workers):
            pinned = {"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]} if gpus else {}
            slots.put({"OMP_NUM_THREADS": str(threads), **pinned})
        stopped = Event()

        def work(job: Job) -> Ended:
            slot = slots.get()
            try:
                return carry_out(job, slot, stopped.is_set)
            finally:
                slots.put(slot)

        pool = ThreadPoolExecutor(workers)
        try:
            yield lambda job: pool.submit(work, job)
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


def carry_out(job: Job, environment: Mapping[str, str], stopped: Callable[[], bool] = lambda: False) -> Ended:
    """Carry out a job, unless it is done already, in progress in another process, or has failed there meanwhile.

    The process gets `environment` in addition to the current one, writes to `train.log`, and is interrupted, as by Ctrl-C,
    once `stopped()`. A failure is written to `failed.json`.
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
        if _is_in_progress(job.folder):
            return Ended("busy")
        return _processed(job, environment, stopped)
    finally:
        lock.release()


def _is_in_progress(folder: Path) -> bool:
    """Return whether a process outside of sweeps trains this run: started by hand, or by a sweep that was killed."""
    try:
        with FileLock(folder / RUN_LOCK, timeout=0):
            return False
    except Timeout:
        return True


def is_done(folder: Path) -> bool:
    """Return whether a run's folder has a readable result; `train` reports what is wrong with an unreadable one."""
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
    if is_done(job.folder):  # whatever happened after it was written
        return Ended("done", seconds=seconds)
    if code in _ASKED_TO_STOP or (stopped() and code != 0):
        return Ended("interrupted", "It was interrupted; the same command resumes it.", seconds)
    with (job.folder / LOG).open("rb") as log:
        log.seek(before)
        reason = _reason(log.read().decode(errors="replace"), code)
    write_failure(job.folder, reason, code, job.command)
    return Ended("failed", reason, seconds)


def end_with_parent() -> None:
    """End this process, as by Ctrl-C, once the sweep that started it is gone; does nothing if no sweep started it.

    A killed sweep cannot stop its processes, which would silently hold the run's lock and a processor.
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
    """Start the process, wait for it, and return its exit code; the process never outlives this function."""
    process = subprocess.Popen(
        [sys.executable, *job.command], cwd=job.start_in, env={**os.environ, **environment, _PARENT: str(os.getpid())},
        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        start_new_session=True,  # a Ctrl-C at the terminal is forwarded once, by this process
    )  # fmt: skip
    try:
        while not stopped():
            try:
                return process.wait(_TICK)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            process.terminate()  # `train` treats SIGTERM as Ctrl-C, since background processes ignore SIGINT
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
    return process.wait()


def _reason(output: str, code: int) -> str:
    """Return why a process failed, from its last output: its error message, or the last line of a traceback."""
    if code < 0:
        names = {number.value: number.name for number in signal.Signals}
        name = names.get(-code, f"the signal {-code}")
        hint = ", as by the system when memory runs out" if name == "SIGKILL" else ""
        return f"The process was ended by {name}{hint}."
    *_, message = ["", *re.split(r"^Error: ", output, flags=re.MULTILINE)[1:]]
    lines = [line for line in output.splitlines() if line.strip()]
    if code == 0:
        return "It ended without a result in its folder: the recipe, its data or distxfer changed while the sweep ran."
    return (message.strip() or (lines[-1].strip() if lines else f"It ended with exit code {code}."))[:_LONGEST]


def _usable_cores() -> int:
    """Return the number of cores that this process may use: OMP_NUM_THREADS where it is set."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    if setting.isdecimal() and int(setting) > 0:
        return int(setting)
    return _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def set_threads(number: int) -> None:
    """Let torch use so many threads; raises InputError for more than there are cores."""
    import torch

    cores = _cores()
    if not 1 <= number <= cores:
        raise InputError(f"`--threads` is `{number}`; expected 1 to {cores}, the number of cores here.")
    torch.set_num_threads(number)


def _visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES."""
    import torch  # imported here, so that Ray workers, which do not need it, start quickly

    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    if setting is not None:
        return [gpu.strip() for gpu in setting.split(",") if gpu.strip()][:count]
    return [str(number) for number in range(count)]
