"""A sweep does every run once, shares out threads and GPUs, and goes on after an interrupt; most runs here are stand-ins."""

import json
import os
import signal
import subprocess
import threading
from collections import Counter
from datetime import datetime

import pytest
import torch
from filelock import FileLock
from pyarrow import parquet

from distxfer import load_recipe, sweep, train
from distxfer.sweeps.engines import Job, LocalEngine
from distxfer.sweeps.grid import plan_sweep
from distxfer.sweeps.sweep import forecast
from helpers import message
from stand_in import PATIENCE, statuses, until

# Each run once


def test_every_run_is_done_once_and_then_none(fake):
    words = fake.does("recipe=plain,drift_reg", "seed=0,1", "name=first")
    seen = []
    outcomes = sweep(words, fake.results, report=seen.append)
    names = [(recipe, seed) for seed in (0, 1) for recipe in ("plain", "drift_reg")]
    assert statuses(outcomes) == [(*name, "done") for name in names]
    assert [event["words"] for event in fake.events()] == [" ".join(outcome.run.words) for outcome in outcomes]
    assert [(progress.total, progress.done, progress.failed) for progress in seen] == [
        (4, done, 0) for done in range(5)
    ]
    assert [progress.last and (progress.last.run.recipe.name, progress.last.run.seed) for progress in seen] == [
        None,
        *names,
    ]
    assert [progress.seconds_left is None for progress in seen] == [True, False, False, False, False]
    assert seen[-1].seconds_left == 0

    assert statuses(sweep(words, fake.results)) == [(*name, "done before") for name in names]
    assert len(fake.events()) == 4
    data = json.loads((fake.results / "sweeps" / "first.json").read_text())
    assert data["name"] == "first"
    assert [fake.results / run["folder"] for run in data["runs"]] == [outcome.run.folder for outcome in outcomes]
    assert [(run["recipe"], run["seed"], run["id"]) for run in data["runs"]] == [
        (outcome.run.recipe.name, outcome.run.seed, outcome.run.id) for outcome in outcomes
    ]


def test_two_sweeps_at_once_do_each_run_once_and_fail_each_failure_once(fake, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    words = fake.does("recipe=plain,drift_reg", "seed=0,1,2", seed1="fail")
    together, ended = threading.Barrier(2), {}

    def work(number: int) -> None:
        plan_sweep(words, fake.results)  # so that neither is ahead
        together.wait()
        ended[number] = sweep(words, fake.results, engine=LocalEngine(workers=2), notice=notices.append)

    notices: list[str] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(event["words"] for event in fake.events()) == Counter(
        " ".join(outcome.run.words) for outcome in ended[0]
    )
    for outcomes in ended.values():
        assert {outcome.status.removesuffix(" before") for outcome in outcomes if outcome.run.seed == 1} == {"failed"}
        assert {outcome.status.removesuffix(" before") for outcome in outcomes if outcome.run.seed != 1} == {"done"}


def test_a_run_that_another_sweep_is_at_is_waited_for_and_the_others_go_first(fake):
    words = fake.does("recipe=plain", "seed=0,1", seed0="wait")
    other_sweep = threading.Thread(target=sweep, args=([*words[:-1], "seed=0"], fake.results))
    other_sweep.start()
    until(lambda: fake.seeds("train") == ["0"])
    notices: list[str] = []
    own_outcomes: list = []
    thread = threading.Thread(target=lambda: own_outcomes.extend(sweep(words, fake.results, notice=notices.append)))
    thread.start()
    until(lambda: fake.seeds("done") == ["1"])
    (fake.folder / "go").touch()
    thread.join()
    other_sweep.join()
    assert statuses(own_outcomes) == [("plain", 0, "done"), ("plain", 1, "done")]
    assert fake.seeds() == ["0", "1"]
    assert notices == [
        f"Another process is working on this run: {own_outcomes[0].run.folder}. It is tried again later."
    ]


def test_a_sweep_without_runs_asks_no_engine(fake):
    words = fake.does("recipe=plain", "seed=0")
    sweep(words, fake.results)

    class Unreachable(LocalEngine):
        def running(self, runs=1):
            raise AssertionError("nothing is left to do")

    assert [outcome.status for outcome in sweep(words, fake.results, engine=Unreachable())] == ["done before"]


# Workers


def test_workers_share_the_threads_and_each_has_a_gpu(fake, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-3, GPU-5")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    words = fake.does("recipe=plain", "seed=0,1,2,3,4")
    sweep(words, fake.results)
    assert {event["threads"] for event in fake.events()} == {"3"}
    assert {event["gpu"] for event in fake.events()} == {"GPU-3", "GPU-5"}
    busy: set[str] = set()  # no GPU has two runs at once
    for event in sorted([*fake.events("start"), *fake.events("done")], key=lambda event: event["time"]):
        if event["event"] == "start":
            assert event["gpu"] not in busy
            busy.add(event["gpu"])
        else:
            busy.remove(event["gpu"])


def test_more_workers_than_gpus_share_them(fake, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    words = fake.does("recipe=plain", "seed=0,1,2")
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    sweep(words, fake.results, engine=LocalEngine(workers=3, threads=2))
    assert {(event["threads"], event["gpu"]) for event in fake.events()} == {("2", "0")}


@pytest.mark.parametrize(
    ("cores", "seeds", "engine", "threads", "most"),
    [
        (2, 4, LocalEngine(), 1, 2),
        (4, 4, LocalEngine(threads=2), 2, 2),
        (8, 1, LocalEngine(), 8, 1),
        (8, 4, LocalEngine(workers=2), 4, 2),
    ],
)
def test_workers_of_one_thread_fill_the_cores_and_a_run_alone_has_them_all(
    fake, monkeypatch, cores, seeds, engine, threads, most
):
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    sweep(fake.does("recipe=plain", f"seed={','.join(map(str, range(seeds)))}"), fake.results, engine=engine)
    assert {event["threads"] for event in fake.events()} == {str(threads)}
    ends = sorted((event["time"], event["event"]) for kind in ("start", "done") for event in fake.events(kind))
    busy = [sum(1 if event == "start" else -1 for _, event in ends[: place + 1]) for place in range(len(ends))]
    assert max(busy) == most


def test_more_threads_than_cores_are_refused(fake, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    words = fake.does("recipe=plain", "seed=0,1")
    assert message(lambda: sweep(words, fake.results, engine=LocalEngine(workers=2, threads=3))) == (
        "2 workers of 3 threads are more than the 4 cores here. Lower `--workers` or `--threads`; OMP_NUM_THREADS is the number"
        " of cores to use, where it is set."
    )


def test_a_finished_run_of_another_arithmetic_is_done_with_a_notice(fake, monkeypatch):
    words, notices = fake.does("recipe=plain", "seed=0"), []
    sweep(words, fake.results)
    monkeypatch.setattr("distxfer.sweeps.sweep.ARITHMETIC", 3)
    assert statuses(sweep(words, fake.results, notice=notices.append)) == [("plain", 0, "done before")]
    assert notices == ["1 of the finished runs are of another arithmetic than 3; `train --again` repeats a run."]


def test_one_run_of_each_kind_starts_first_so_that_the_others_find_the_states_it_keeps(fake, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    words = fake.does("recipe=drift_reg,plain", "seed=0,1", "task.targets=[deu],[jpn]")
    outcomes = sweep(words, fake.results, engine=LocalEngine(workers=8))
    assert {outcome.status for outcome in outcomes} == {"done"}
    for target in ("deu", "jpn"):
        starts, trains = (
            [event for event in fake.events(kind) if f"task.targets={target}" in event["words"]] for kind in ("start", "train")
        )  # fmt: skip
        first, *later = sorted(starts, key=lambda event: event["time"])
        assert "recipe=plain" in first["words"]
        assert len(later) == 3
        assert later[0]["time"] >= min(event["time"] for event in trains)


# Interrupts


def test_an_interrupt_stops_what_runs_and_forgets_nothing(fake, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    words = fake.does("recipe=plain", "seed=0,1,2,3", seed1="wait", seed2="wait")
    started = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background job
    code = f"import sys; sys.executable = {str(fake.python)!r}; from distxfer.cli import main; main()"
    real = fake.python.read_text().split('"')[1]
    process = subprocess.Popen(
        [real, "-c", code, "sweep", *words, f"--results={fake.results}", "--workers=2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: set(fake.seeds("train")) >= {"1", "2"} or process.poll() is not None)
        process.send_signal(signal.SIGTERM)  # as a batch system ends a job; Ctrl-C is the same
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        signal.signal(signal.SIGINT, started)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "Interrupted. The same command resumes from the last checkpoint."
    assert "Traceback" not in err
    assert sorted(fake.seeds("interrupted")) == ["1", "2"]
    assert fake.seeds("done") == ["0"]
    for event in fake.events():
        with pytest.raises(ProcessLookupError):
            os.kill(event["process"], 0)
    assert list(fake.results.rglob("failed.json")) == []

    fake.does("recipe=plain", "seed=0,1,2,3")
    outcomes = sweep(words, fake.results)
    assert [outcome.status for outcome in outcomes] == ["done before", "done", "done", "done"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_alone_is_asked_to_stop_is_no_failure(fake, number):
    words = fake.does("recipe=plain", "seed=0,1", seed0="wait")

    def interrupt() -> None:
        until(lambda: fake.seeds("train") == ["0"])
        os.kill(fake.events("train")[0]["process"], number)

    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    outcomes = sweep(words, fake.results)
    thread.join()
    signal.signal(signal.SIGINT, inherited)
    assert [(outcome.status, outcome.reason) for outcome in outcomes] == [
        ("interrupted", "It was interrupted; the same command resumes it."), ("done", ""),
    ]  # fmt: skip
    assert not (outcomes[0].run.folder / "failed.json").exists()


def test_a_run_that_another_process_trains_is_left_to_it(tmp_path):
    """One started by hand, or by a sweep that was killed and has left it behind."""
    job = Job(("-c", "raise SystemExit(3)"), tmp_path, tmp_path / "run")
    job.folder.mkdir()
    with LocalEngine().running() as submit:
        with FileLock(job.folder / ".lock"):
            assert submit(job).result().status == "busy"
        assert submit(job).result().status == "failed"


# Real runs


def test_real_runs_are_those_of_train_and_encode_before_training_once(tiny_settings, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTXFER_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()  # for each run as many as `alone` has: another number rounds otherwise
    monkeypatch.setenv("OMP_NUM_THREADS", str(2 * threads))
    engine = LocalEngine(workers=2, threads=threads)
    outcomes = sweep([*tiny_settings, "recipe=plain,freeze_lower"], tmp_path / "swept", engine=engine)
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    alone = train(load_recipe("freeze_lower", tiny_settings), tmp_path / "alone")
    folder = outcomes[1].run.folder
    assert folder.relative_to(tmp_path / "swept") == alone.folder.relative_to(tmp_path / "alone")
    tables = [
        parquet.read_table(folder_of_run / "predictions.parquet").to_pylist()
        for folder_of_run in (folder, alone.folder)
    ]
    assert tables[0] == tables[1]

    # What the first one kept was there before the second one began, and nobody wrote it again.
    begun = datetime.fromisoformat((folder / "train.log").read_text().split()[1])
    states = list((tmp_path / "cache" / "states").rglob("pooled.npy"))
    assert len(states) == 7  # of three languages, the tests and the held-out pairs; and the source's training texts
    assert all(datetime.fromtimestamp(path.stat().st_mtime, begun.tzinfo) <= begun for path in states)


def test_runs_that_differ_in_seed_or_source_alone_share_an_estimate(tmp_path, monkeypatch):
    timed = []
    monkeypatch.setattr(
        "distxfer.sweeps.sweep.outlook", lambda recipe, results: timed.append(recipe) or recipe.task.source
    )
    words = ["recipe=plain", "task=emoji", "task.source=eng,deu", "phase.finetune.epochs=1,2", "seed=0,1"]
    estimates = forecast(plan_sweep(words, tmp_path), tmp_path)
    assert [recipe.phases["finetune"].epochs for recipe in timed] == [1, 2]
    assert [estimate for _, estimate in estimates] == ["eng"] * 8
