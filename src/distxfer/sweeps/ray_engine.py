"""The engine that sends runs to Ray: the cores of a laptop, or the nodes of a cluster."""

import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import current_thread, main_thread
from typing import Any

from distxfer.errors import InputError
from distxfer.sweeps.engines import GRACE, Ended, Job, carry_out

_RETRIES = 3  # of a run whose worker or node dies; a failed run is not retried
_TIMEOUT = 10  # seconds until the cluster must answer
_LOCAL = "local"  # Ray's name for a new cluster on this machine
_FORWARDED = ("DISTXFER_", "HF_")  # prefixes of environment variables passed to runs on all nodes


@dataclass(frozen=True)
class RayEngine:
    """Carries out each run as a Ray task with `cpus` and `gpus`, which is retried if its worker or node dies.

    `address`: of a cluster (`auto`, `HOST:PORT`, `ray://HOST:PORT`), or None for $RAY_ADDRESS or else a new cluster on
    this machine. `gpus`: by default 1 if the cluster has any. All nodes must see the same files under the same paths.

    Raises InputError if Ray is not installed or the cluster cannot be reached.
    """

    address: str | None = None
    cpus: int = 1
    gpus: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers of threads and GPUs."""
        if self.cpus < 1 or (self.gpus is not None and self.gpus < 0):
            raise InputError(
                f"A run cannot have {self.cpus} threads and {self.gpus or 0} GPUs; expected 1 or more, and 0 or more."
            )

    @contextmanager
    def running(self, runs: int = 1) -> Iterator[Callable[[Job], "Future[Ended]"]]:
        """Yield the function that submits a job; on exit, running jobs are interrupted and waited for."""
        ray = _imported()
        owns_cluster = not ray.is_initialized()
        if owns_cluster:
            _connect(ray, self.address)
        gpus = (1 if ray.cluster_resources().get("GPU") else 0) if self.gpus is None else self.gpus
        # A retried task may find the run busy while its predecessor has not yet noticed that its node is gone.
        task = ray.remote(num_cpus=self.cpus, num_gpus=gpus, max_retries=_RETRIES)(_on_a_node)
        environment = {key: value for key, value in os.environ.items() if key.startswith(_FORWARDED)}
        environment["OMP_NUM_THREADS"] = str(self.cpus)
        submitted: list[Any] = []

        def submit(job: Job) -> "Future[Ended]":
            submitted.append(task.remote(job, environment))
            future: Future[Ended] = submitted[-1].future()
            return future

        try:
            yield submit
        finally:
            remaining = ray.wait(submitted, num_returns=len(submitted), timeout=0)[1] if submitted else []
            for force in (False, True):
                for reference in remaining:
                    ray.cancel(reference, force=force)
                remaining = ray.wait(remaining, num_returns=len(remaining), timeout=GRACE + 5)[1] if remaining else []
            if owns_cluster:
                ray.shutdown()


def _on_a_node(job: Job, environment: Mapping[str, str]) -> Ended:
    # Ray blocks SIGINT in the processes on its nodes, and background processes ignore it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return carry_out(job, environment)


def _imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "`--engine ray` needs Ray, which is not installed. Run: pip install 'distxfer[ray]'"
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    target = address or os.environ.get("RAY_ADDRESS") or _LOCAL
    options: dict[str, Any] = {"include_dashboard": False} if target == _LOCAL else {}
    on_term = signal.getsignal(signal.SIGTERM)  # Ray installs its own handler, which does not wait for runs
    try:
        if target not in (_LOCAL, "auto"):
            _check_listening(target)
        ray.init(address=target, logging_level="ERROR", log_to_driver=False, **options)
        if current_thread() is main_thread():
            signal.signal(signal.SIGTERM, on_term)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise InputError(
            f"Ray cannot be reached at `{target}`: {reason}. Start a cluster with `ray start --head`, or omit the address for"
            " a cluster on this machine."
        ) from error


def _check_listening(target: str) -> None:
    """Raise OSError or ValueError if nothing listens at the address, since Ray itself would retry for minutes."""
    host, _, port = target.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("expected `auto`, `HOST:PORT` or `ray://HOST:PORT`")
    socket.create_connection((host, int(port)), timeout=_TIMEOUT).close()
