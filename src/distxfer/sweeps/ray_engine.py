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

_RETRIES = 3  # of a run whose worker or node dies; a run that fails is not tried again
_PATIENCE = 10  # seconds until the cluster answers
_HERE = "local"  # to Ray, a new cluster of this machine alone
_PASSED_ON = ("DISTXFER_", "HF_")  # the driver's environment variables that a run needs wherever it is


@dataclass(frozen=True)
class RayEngine:
    """Each run is a Ray task with `cpus` and `gpus` of its own, tried again where its worker or node dies.

    `address`: of a cluster (`auto`, `HOST:PORT`, `ray://HOST:PORT`), or None for $RAY_ADDRESS or else a cluster of this
    machine alone. `gpus`: by default 1 where the cluster has any. All nodes must see the same files under the same paths.

    Raises InputError where Ray is not installed or the cluster is not reached.
    """

    address: str | None = None
    cpus: int = 1
    gpus: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no node can give."""
        if self.cpus < 1 or (self.gpus is not None and self.gpus < 0):
            raise InputError(
                f"A run is to have {self.cpus} threads and {self.gpus or 0} GPUs; expected 1 or more, and 0 or more."
            )

    @contextmanager
    def running(self) -> Iterator[Callable[[Job], "Future[Ended]"]]:
        """Yield the function that takes a job on; on leaving, what still runs is interrupted and waited for."""
        ray = _imported()
        ours = not ray.is_initialized()
        if ours:
            _connect(ray, self.address)
        gpus = (1 if ray.cluster_resources().get("GPU") else 0) if self.gpus is None else self.gpus
        # A task that is retried may meet its predecessor's process, which has not noticed yet that its node is gone: the
        # run is busy until then.
        task = ray.remote(num_cpus=self.cpus, num_gpus=gpus, max_retries=_RETRIES)(_on_a_node)
        environment = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
        environment["OMP_NUM_THREADS"] = str(self.cpus)
        begun: list[Any] = []

        def submit(job: Job) -> "Future[Ended]":
            begun.append(task.remote(job, environment))
            future: Future[Ended] = begun[-1].future()
            return future

        try:
            yield submit
        finally:
            left = ray.wait(begun, num_returns=len(begun), timeout=0)[1] if begun else []
            for force in (False, True):
                for one in left:
                    ray.cancel(one, force=force)
                left = ray.wait(left, num_returns=len(left), timeout=GRACE + 5)[1] if left else []
            if ours:
                ray.shutdown()


def _on_a_node(job: Job, environment: Mapping[str, str]) -> Ended:
    # Ray blocks it in all that its nodes start, and what was started in the background ignores it.
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
    where = address or os.environ.get("RAY_ADDRESS") or _HERE
    own: dict[str, Any] = {"include_dashboard": False} if where == _HERE else {}
    on_term = signal.getsignal(signal.SIGTERM)  # Ray puts a handler of its own there, with which nothing is waited for
    try:
        if where not in (_HERE, "auto"):
            _knock(where)
        ray.init(address=where, logging_level="ERROR", log_to_driver=False, **own)
        if current_thread() is main_thread():
            signal.signal(signal.SIGTERM, on_term)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise InputError(
            f"Ray cannot be reached at `{where}`: {reason}. Start a cluster with `ray start --head`, or leave the address"
            " out for one of this machine alone."
        ) from error


def _knock(where: str) -> None:
    """Raise OSError or ValueError where nobody listens: Ray itself would try for minutes."""
    host, _, port = where.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("expected `auto`, `HOST:PORT` or `ray://HOST:PORT`")
    socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
