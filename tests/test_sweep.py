"""A sweep does every run once, whatever becomes of the others; most of them here are stand-ins for `train`, which is slow."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime
from inspect import signature
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from pyarrow import parquet

from distxfer import load_recipe, sweep, train
from distxfer.cli import _sweep as cli_sweep
from distxfer.experiments import MAX_RUNS, LocalEngine, plan_sweep
from distxfer.experiments._sweeps._engines import Job, carry_out
from helpers import message

PATIENCE = 240  # seconds until a machine that is busy with other work gets there


class StandIn:
    """A Python that does not train: `does` says what becomes of the runs of a sweep, `events` what happened."""

    def __init__(self, folder: Path, settings: list[str]) -> None:
        self.folder, self.settings, self.results = folder, settings, folder / "results"
        self.python = folder / "python"
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).parent / "fake_train.py"}" "$@"\n')
        self.python.chmod(0o755)

    def does(self, *words: str, **by_seed: str) -> list[str]:
        """Set what the runs of these words do, `seed1="fail"`: that with the seed 1; return all words of the sweep."""
        words = (*self.settings, *words)
        runs = {
            " ".join(run.words): {"folder": str(run.folder), "do": by_seed.get(f"seed{run.seed}", "work")}
            for run in plan_sweep(words, self.results).runs
        }
        (self.folder / "runs.json").write_text(json.dumps(runs))
        return list(words)

    def events(self, kind: str = "start") -> list[dict]:
        path = self.folder / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def seeds(self, kind: str = "start") -> list[str]:
        return [event["words"].rpartition("seed=")[2] for event in self.events(kind)]


@pytest.fixture
def fake(tmp_path, monkeypatch, tiny_settings) -> StandIn:
    made = StandIn(tmp_path, [word for word in tiny_settings if not word.startswith("phase.")])
    monkeypatch.setattr(sys, "executable", str(made.python))
    monkeypatch.setenv("FAKE_TRAIN", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


def statuses(outcomes) -> list[tuple[str, int, str]]:
    return [(one.run.recipe.name, one.run.seed, one.status) for one in outcomes]


def until(is_so) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Each run once


def test_every_run_is_done_once_and_then_none(fake):
    words = fake.does("recipe=plain,drift_reg", "seed=0,1", "name=first")
    seen = []
    outcomes = sweep(words, fake.results, report=seen.append)
    names = [(recipe, seed) for seed in (0, 1) for recipe in ("plain", "drift_reg")]
    assert statuses(outcomes) == [(*name, "done") for name in names]
    assert [event["words"] for event in fake.events()] == [" ".join(one.run.words) for one in outcomes]
    assert [(one.total, one.done, one.failed) for one in seen] == [(4, done, 0) for done in range(5)]
    assert [one.last and (one.last.run.recipe.name, one.last.run.seed) for one in seen] == [None, *names]
    assert [one.seconds_left is None for one in seen] == [True, False, False, False, False]
    assert seen[-1].seconds_left == 0

    assert statuses(sweep(words, fake.results)) == [(*name, "done before") for name in names]
    assert len(fake.events()) == 4
    kept = json.loads((fake.results / "sweeps" / "first.json").read_text())
    assert kept["name"] == "first"
    assert [fake.results / one["folder"] for one in kept["runs"]] == [one.run.folder for one in outcomes]
    assert [(one["recipe"], one["seed"], one["id"]) for one in kept["runs"]] == [
        (one.run.recipe.name, one.run.seed, one.run.id) for one in outcomes
    ]


def test_two_sweeps_at_once_do_each_run_once_and_fail_each_failure_once(fake):
    words = fake.does("recipe=plain,drift_reg", "seed=0,1,2", seed1="fail")
    together, ended = threading.Barrier(2), {}

    def work(number: int) -> None:
        plan_sweep(words, fake.results)  # so that neither is ahead
        together.wait()
        ended[number] = sweep(words, fake.results, engine=LocalEngine(workers=2), notice=told.append)

    told: list[str] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(event["words"] for event in fake.events()) == Counter(" ".join(one.run.words) for one in ended[0])
    for outcomes in ended.values():
        assert {one.status.removesuffix(" before") for one in outcomes if one.run.seed == 1} == {"failed"}
        assert {one.status.removesuffix(" before") for one in outcomes if one.run.seed != 1} == {"done"}


def test_a_run_that_another_sweep_is_at_is_waited_for_and_the_others_go_first(fake):
    words = fake.does("recipe=plain", "seed=0,1", seed0="wait")
    other = threading.Thread(target=sweep, args=([*words[:-1], "seed=0"], fake.results))
    other.start()
    until(lambda: fake.seeds("train") == ["0"])
    told: list[str] = []
    ours: list = []
    thread = threading.Thread(target=lambda: ours.extend(sweep(words, fake.results, notice=told.append)))
    thread.start()
    until(lambda: fake.seeds("done") == ["1"])
    (fake.folder / "go").touch()
    thread.join()
    other.join()
    assert statuses(ours) == [("plain", 0, "done"), ("plain", 1, "done")]
    assert fake.seeds() == ["0", "1"]
    assert told == [f"Another process is at work on this run: {ours[0].run.folder}. It is looked at again later."]


# Failures


@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        ("fail", 2, "The encoder has 4 layers,\n  and `layers` is 9."),
        ("crash", 1, "MemoryError: no memory for 7 GB"),
        ("die", -9, "The process was ended by SIGKILL, as the system does where memory runs out."),
        ("leave", 0, "It ended without a result in its folder: the recipe, its data or distxfer changed while the sweep ran."),
    ],
)  # fmt: skip
def test_a_failure_stops_no_other_run_and_is_remembered(fake, kind, code, reason):
    words = fake.does("recipe=plain", "seed=0,1,2", seed0=kind)
    told: list[str] = []
    first = sweep(words, fake.results, notice=told.append)
    assert statuses(first) == [("plain", 0, "failed"), ("plain", 1, "done"), ("plain", 2, "done")]
    assert first[0].reason == reason
    folder = first[0].run.folder
    kept = json.loads((folder / "failed.json").read_text())
    assert (kept["reason"], kept["exit_code"]) == (reason, code)
    assert kept["command"][:3] == ["-m", "distxfer", "train"]
    assert told == []

    again = sweep(words, fake.results, notice=told.append)
    assert statuses(again) == [("plain", 0, "failed before"), ("plain", 1, "done before"), ("plain", 2, "done before")]
    assert again[0].reason == reason
    assert told == [
        "1 of the runs failed in an earlier sweep and are left as they are; `--retry-failed` tries them again."
    ]
    assert fake.seeds() == ["0", "1", "2"]

    fake.does("recipe=plain", "seed=0,1,2")
    last = sweep(words, fake.results, retry_failed=True)
    assert statuses(last) == [("plain", 0, "done"), ("plain", 1, "done before"), ("plain", 2, "done before")]
    assert fake.seeds() == ["0", "1", "2", "0"]
    assert not (folder / "failed.json").exists()
    assert (folder / "train.log").read_text().count("--- ") == 2  # what both processes said is there


def test_the_command_line_ends_with_a_table_of_failures(fake, cli):
    words = fake.does("recipe=plain", "seed=0,1,2", seed1="fail")
    done = cli("sweep", *words, f"--results={fake.results}")
    assert done.exit_code == 1
    assert [line for line in done.stdout.splitlines() if "plain" in line and "failed" in line]
    assert "and `layers` is 9." in done.stdout
    lines = done.stderr.splitlines()
    assert lines[0] == "0 of 3 runs"
    assert lines[2].startswith("2 of 3 runs, 1 failed, about ")
    assert lines[2].partition(" left: ")[2].startswith("plain seed=1 failed: The encoder has 4 layers, (")
    assert lines[-1] == (
        "Error: 1 of 3 runs are not done; the table says why, and `train.log` in a run's folder has all. `--retry-failed`"
        " tries those that failed again."
    )
    found = json.loads(cli("sweep", *words, f"--results={fake.results}", "--json").stdout)
    assert [(one["seed"], one["status"]) for one in found] == [
        (0, "done before"),
        (1, "failed before"),
        (2, "done before"),
    ]
    assert len(fake.events()) == 3

    fake.does("recipe=plain", "seed=0,1,2")
    last = cli("sweep", *words, f"--results={fake.results}", "--retry-failed")
    assert last.exit_code == 0
    assert last.stdout == f"3 runs are done, 2 of them before. Results: {fake.results / 'plain'}\n"


def test_a_result_counts_whatever_came_after_it(tmp_path):
    """The result is written last of what matters: a process that fails at its farewell has done its run."""
    job = Job(
        ("-c", f"import shutil; shutil.copy('r', '{tmp_path / 'run' / 'result.json'}'); 1 / 0"),
        tmp_path,
        tmp_path / "run",
    )
    keys = ("id", "recipe", "seed", "source", "distances", "scores", "summary", "cost", "provenance", "status")
    (tmp_path / "r").write_text(json.dumps({"schema": 1, **dict.fromkeys(keys)}))
    assert carry_out(job, {}).status == "done"
    assert not (tmp_path / "run" / "failed.json").exists()
    (tmp_path / "run" / "result.json").write_text("{")  # damaged: not done, and the process says why
    assert (
        carry_out(Job(("-c", "raise SystemExit('Error: no result')"), tmp_path, tmp_path / "run"), {}).reason
        == "no result"
    )


class Unlucky:
    """An engine that loses the runs of the seed 1, as one on a cluster may."""

    @contextmanager
    def running(self):
        def submit(job: Job) -> Future:
            future = Future()
            if "seed=1" in job.command:
                future.set_exception(ConnectionError("The node is gone.\nTraceback ..."))
            else:
                future.set_result(carry_out(job, {}))
            return future

        yield submit


def test_what_an_engine_gives_up_on_is_a_failure_of_that_run(fake):
    outcomes = sweep(fake.does("recipe=plain", "seed=0,1,2"), fake.results, engine=Unlucky())
    assert [(one.status, one.reason) for one in outcomes] == [
        ("done", ""), ("failed", "ConnectionError: The node is gone."), ("done", ""),
    ]  # fmt: skip
    assert json.loads((outcomes[1].run.folder / "failed.json").read_text())["reason"] == outcomes[1].reason


def test_a_folder_that_cannot_be_written_is_said_at_once(fake):
    (fake.folder / "file").write_text("")
    words = fake.does("recipe=plain")
    assert message(sweep, words, fake.folder / "file" / "results") == (
        f"The result folder `{fake.folder / 'file' / 'results'}` cannot be written: Not a directory. Choose another with"
        " `--results`."
    )


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
    sweep(words, fake.results, engine=LocalEngine(workers=3, threads=2))
    assert {(event["threads"], event["gpu"]) for event in fake.events()} == {("1", "0")}


def test_one_run_of_each_kind_starts_first_so_that_the_others_find_the_states_it_keeps(fake):
    words = fake.does("recipe=drift_reg,plain", "seed=0,1", "task.targets=[deu],[jpn]")
    outcomes = sweep(words, fake.results, engine=LocalEngine(workers=8))
    assert {one.status for one in outcomes} == {"done"}
    for target in ("deu", "jpn"):
        starts, trains = (
            [event for event in fake.events(kind) if f"task.targets={target}" in event["words"]] for kind in ("start", "train")
        )  # fmt: skip
        first, *others = sorted(starts, key=lambda event: event["time"])
        assert "recipe=plain" in first["words"]
        assert len(others) == 3
        assert others[0]["time"] >= min(event["time"] for event in trains)


# Interrupts


def test_an_interrupt_stops_what_runs_and_forgets_nothing(fake):
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
    assert err.splitlines()[-1] == "Interrupted. The same command goes on from the last checkpoint."
    assert "Traceback" not in err
    assert sorted(fake.seeds("interrupted")) == ["1", "2"]
    assert fake.seeds("done") == ["0"]
    for event in fake.events():
        with pytest.raises(ProcessLookupError):
            os.kill(event["process"], 0)
    assert list(fake.results.rglob("failed.json")) == []

    fake.does("recipe=plain", "seed=0,1,2,3")
    outcomes = sweep(words, fake.results)
    assert [one.status for one in outcomes] == ["done before", "done", "done", "done"]


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
    assert [(one.status, one.reason) for one in outcomes] == [
        ("interrupted", "It was interrupted; the same command goes on."), ("done", ""),
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


def test_a_sweep_without_runs_asks_no_engine(fake):
    words = fake.does("recipe=plain", "seed=0")
    sweep(words, fake.results)

    class Unreachable(LocalEngine):
        def running(self):
            raise AssertionError("nothing is left to do")

    assert [one.status for one in sweep(words, fake.results, engine=Unreachable())] == ["done before"]


# The command line


def test_a_dry_run_lists_runs_and_what_they_take_and_writes_nothing(cli, tiny_settings, tmp_path):
    words = [*tiny_settings, "recipe=plain,drift_reg", "seed=0,1"]
    shown = cli("sweep", *words, "--dry-run", "--shard=1/2")
    assert shown.exit_code == 0
    assert list(tmp_path.iterdir()) == []
    rows = [line.split() for line in shown.stdout.splitlines() if "waiting" in line]
    assert [(row[0], row[1]) for row in rows] == [("plain", "0"), ("drift_reg", "0")]
    assert "  2 runs, 0 done. The others: about " in shown.stdout
    assert shown.stderr.splitlines() == [
        "Timing two steps of plain (1 of 2).", "Timing two steps of drift_reg (2 of 2).",
    ]  # fmt: skip

    plan = plan_sweep(words, tmp_path / "results")
    keys = ("id", "recipe", "seed", "source", "distances", "scores", "summary", "cost", "provenance", "status")
    for run in plan.runs[:2]:
        run.folder.mkdir(parents=True)
    (plan.runs[0].folder / "result.json").write_text(json.dumps({"schema": 1, **dict.fromkeys(keys)}))
    (plan.runs[1].folder / "log.jsonl").touch()
    found = json.loads(cli("sweep", *words, "--dry-run", "--json").stdout)
    assert [(one["recipe"], one["seed"], one["status"]) for one in found] == [
        ("plain", 0, "done before"), ("drift_reg", 0, "begun"), ("plain", 1, "waiting"), ("drift_reg", 1, "waiting"),
    ]  # fmt: skip
    assert [one["id"] for one in found] == [run.id for run in plan.runs]
    assert [one["seconds"] is None for one in found] == [True, False, False, False]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--engine=rya"], "The engine `rya` is not known. Did you mean `ray`? Choose from: local, ray."),
        (["--workers=0"], "`--workers` is `0`; expected 1 or more."),
        (["--threads=0"], "`--threads` is `0`; expected 1 or more."),
        (["--gpus=1"], "`--gpus` is for `--engine ray`. Say so, or leave it out."),
        (["--address=auto"], "`--address` is for `--engine ray`. Say so, or leave it out."),
        (["--engine=ray", "--workers=2"],
         "`--workers` is for `--engine local`. Ray starts as many runs as `--threads` and `--gpus` leave room for."),
        (["--engine=ray", "--gpus=-1"], "A run is to have 1 threads and -1.0 GPUs; expected 1 or more, and 0 or more."),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(cli, options, expected):
    done = cli("sweep", "recipe=plain", *options)
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"Error: {expected}\n")


def test_the_largest_grid_is_the_same_on_the_command_line():
    """Written twice, since `--help` imports nothing that is slow."""
    assert signature(cli_sweep.sweep).parameters["max_runs"].default == MAX_RUNS


def test_an_empty_shard_is_no_error(fake, cli):
    words = fake.does("recipe=plain")
    done = cli("sweep", *words, f"--results={fake.results}", "--shard=1/2")
    assert (done.exit_code, done.stdout) == (0, "0 runs are done. Results: none\n")


# Real runs


def test_real_runs_are_those_of_train_and_encode_before_training_once(tiny_settings, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTXFER_CACHE", str(tmp_path / "cache"))
    outcomes = sweep([*tiny_settings, "recipe=plain,freeze_lower"], tmp_path / "swept", engine=LocalEngine(workers=2))
    assert [one.status for one in outcomes] == ["done", "done"]
    alone = train(load_recipe("freeze_lower", tiny_settings), tmp_path / "alone")
    there = outcomes[1].run.folder
    assert there.relative_to(tmp_path / "swept") == alone.folder.relative_to(tmp_path / "alone")
    tables = [parquet.read_table(one / "predictions.parquet").to_pylist() for one in (there, alone.folder)]
    assert tables[0] == tables[1]

    # What the first one kept was there before the second one began, and nobody wrote it again.
    begun = datetime.fromisoformat((there / "train.log").read_text().split()[1])
    states = list((tmp_path / "cache" / "states").rglob("states.safetensors"))
    assert len(states) == 6  # of three languages, the tests and the held-out pairs
    assert all(datetime.fromtimestamp(path.stat().st_mtime, begun.tzinfo) <= begun for path in states)
