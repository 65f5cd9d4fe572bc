"""Sweeps on Ray: a real cluster of two nodes on this machine, one of which dies in the middle."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from distxfer import sweep
from distxfer.sweeps.engines import Job
from distxfer.sweeps.ray_engine import RayEngine
from helpers import message

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray is imported: tests tell nobody of themselves
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # by default, its workers let all others go first
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'distxfer[ray]'")

PATIENCE = 240  # seconds until a machine that is busy with other work gets there
STEPS = 150


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, session_cache):
    """Two nodes of one core each; the first one is the head, and the tests are connected to it."""
    from ray.cluster_utils import Cluster

    before = set(psutil.pids())
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, logging_level="ERROR", log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()
    signal.signal(signal.SIGINT, inherited)
    until(
        lambda: (
            not [
                process
                for process in psutil.process_iter(["name"])
                if process.pid not in before and "ray" in process.name()
            ]
        )
    )


def until(is_so) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def steps(folder: Path) -> list[int]:
    path = folder / "log.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def runs_on(node, results: Path) -> list[Path]:
    """The folders of the runs that a node is at: its workers are children of its raylet, and `train` is theirs."""
    raylet = node.all_processes["raylet"][0].process.pid
    own_trainings = [
        training for training in trainings(results) if raylet in [parent.pid for parent in training.parents()]
    ]
    return [folder for our in own_trainings for folder in results.glob(f"plain/*-s{seed(our)}")]


def seed(training: psutil.Process) -> str:
    return next(word.removeprefix("seed=") for word in training.cmdline() if word.startswith("seed="))


def trainings(results: Path) -> list[psutil.Process]:
    """The processes that train into this folder."""
    processes = []
    for process in psutil.process_iter():
        try:
            if str(results) in process.cmdline() and "train" in process.cmdline():
                processes.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return processes


def test_when_a_node_dies_every_run_is_done_once_all_the_same(cluster, tiny_settings, tmp_path):
    settings = [*tiny_settings, f"phase.finetune.steps={STEPS}", "recipe=plain", "seed=0,1"]
    outcomes: list = []
    thread = threading.Thread(target=lambda: outcomes.extend(sweep(settings, tmp_path, engine=RayEngine())))
    thread.start()
    node = cluster.list_all_nodes()[1]
    until(lambda: any(10 < len(steps(folder)) < STEPS for folder in runs_on(node, tmp_path)))
    cluster.remove_node(node, allow_graceful=False)
    thread.join()
    assert [(outcome.run.seed, outcome.status) for outcome in outcomes] == [(0, "done"), (1, "done")]
    logs = [(outcome.run.folder / "train.log").read_text() for outcome in outcomes]
    assert sum(log.count("--- ") for log in logs) > 2, "nothing was tried again, so nothing died"
    for outcome, log in zip(outcomes, logs, strict=True):
        assert steps(outcome.run.folder) == list(range(STEPS))
        assert log.count("Scoring and measuring after training.") == 1
        assert (outcome.run.folder / "result.json").exists()
        assert not (outcome.run.folder / "failed.json").exists()
    assert trainings(tmp_path) == []


def test_a_run_that_fails_is_not_tried_again(cluster, tmp_path):
    """Only what dies is: the engine's job is done when the process has ended, however it has."""
    code = "import os, sys; open('n', 'a').write('x'); sys.exit(f'Error: {os.environ[\"OMP_NUM_THREADS\"]} threads')"
    job = Job(("-c", code), tmp_path, tmp_path / "run")
    with RayEngine(cpus=1).running() as submit:
        ended = submit(job).result(PATIENCE)
    assert (ended.status, ended.reason) == ("failed", "1 threads")
    assert (tmp_path / "n").read_text() == "x"
    assert json.loads((tmp_path / "run" / "failed.json").read_text())["reason"] == "1 threads"


def test_what_runs_is_interrupted_when_the_sweep_is(cluster, tmp_path):
    heed = "import signal, time; signal.signal(signal.SIGTERM, signal.default_int_handler)"  # as the command line does
    code = f"{heed}\ntry:\n open('begun', 'w'); time.sleep(600)\nexcept KeyboardInterrupt: open('stopped', 'w')"
    with RayEngine().running() as submit:
        submit(Job(("-c", code), tmp_path, tmp_path / "run"))
        until(lambda: (tmp_path / "begun").exists())
    assert (tmp_path / "stopped").exists()
    assert not (tmp_path / "run" / "failed.json").exists()


def test_without_ray_there_is_a_message(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert (
        message(lambda: RayEngine().running().__enter__())
        == "`--engine ray` needs Ray, which is not installed. Run: pip install 'distxfer[ray]'"
    )


@pytest.mark.parametrize(
    ("address", "reason"),
    [("127.0.0.1:1", "[Errno 111] Connection refused"), ("here", "expected `auto`, `HOST:PORT` or `ray://HOST:PORT`")],
)
def test_a_cluster_that_is_not_there_is_told_of_at_once(monkeypatch, address, reason):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # as in a process that is not connected to the one above
    assert message(lambda: RayEngine(address).running().__enter__()) == (
        f"Ray cannot be reached at `{address}`: {reason}. Start a cluster with `ray start --head`, or omit the address for a"
        f" cluster on this machine."
    )
