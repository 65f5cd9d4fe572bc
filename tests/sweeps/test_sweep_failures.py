"""What fails in a sweep stops no other run, and is remembered with its reason."""

import json
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from distxfer import sweep
from distxfer.sweeps.engines import Job, carry_out
from helpers import message
from stand_in import RESULT, statuses


@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        ("fail", 2, "The encoder has 4 layers,\n  and `layers` is 9."),
        ("crash", 1, "MemoryError: no memory for 7 GB"),
        ("die", -9, "The process was ended by SIGKILL, as by the system when memory runs out."),
        ("leave", 0, "It ended without a result in its folder: the recipe, its data or distxfer changed while the sweep ran."),
    ],
)  # fmt: skip
def test_a_failure_stops_no_other_run_and_is_remembered(fake, kind, code, reason):
    words = fake.does("recipe=plain", "seed=0,1,2", seed0=kind)
    notices: list[str] = []
    first = sweep(words, fake.results, notice=notices.append)
    assert statuses(first) == [("plain", 0, "failed"), ("plain", 1, "done"), ("plain", 2, "done")]
    assert first[0].reason == reason
    folder = first[0].run.folder
    data = json.loads((folder / "failed.json").read_text())
    assert (data["reason"], data["exit_code"]) == (reason, code)
    assert data["command"][:3] == ["-m", "distxfer", "train"]
    assert notices == []

    again = sweep(words, fake.results, notice=notices.append)
    assert statuses(again) == [("plain", 0, "failed before"), ("plain", 1, "done before"), ("plain", 2, "done before")]
    assert again[0].reason == reason
    assert notices == ["1 of the runs failed in an earlier sweep and are skipped; `--retry-failed` tries them again."]
    assert fake.seeds() == ["0", "1", "2"]

    fake.does("recipe=plain", "seed=0,1,2")
    last = sweep(words, fake.results, retry_failed=True)
    assert statuses(last) == [("plain", 0, "done"), ("plain", 1, "done before"), ("plain", 2, "done before")]
    assert fake.seeds() == ["0", "1", "2", "0"]
    assert not (folder / "failed.json").exists()
    assert (folder / "train.log").read_text().count("--- ") == 2  # what both processes said is there


def test_a_result_counts_whatever_came_after_it(tmp_path):
    """The result is written last of what matters: a process that fails at its farewell has done its run."""
    job = Job(
        ("-c", f"import shutil; shutil.copy('r', '{tmp_path / 'run' / 'result.json'}'); 1 / 0"),
        tmp_path,
        tmp_path / "run",
    )
    (tmp_path / "r").write_text(RESULT)
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
    def running(self, runs=1):
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
    assert [(outcome.status, outcome.reason) for outcome in outcomes] == [
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
