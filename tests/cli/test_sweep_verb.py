"""`distxfer sweep`: what it says of failures, its dry run, and options that make no sense."""

import json
from inspect import signature

import pytest

from distxfer.cli import _sweep as cli_sweep
from distxfer.sweeps.grid import MAX_RUNS, plan_sweep
from stand_in import RESULT


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
        "Error: 1 of 3 runs are not done. The table gives the reasons; each run's folder has the full output in `train.log`."
        " `--retry-failed` retries failed runs."
    )
    data = json.loads(cli("sweep", *words, f"--results={fake.results}", "--json").stdout)
    assert [(row["seed"], row["status"]) for row in data] == [
        (0, "done before"),
        (1, "failed before"),
        (2, "done before"),
    ]
    assert len(fake.events()) == 3

    fake.does("recipe=plain", "seed=0,1,2")
    last = cli("sweep", *words, f"--results={fake.results}", "--retry-failed")
    assert last.exit_code == 0
    assert last.stdout == f"3 runs are done, 2 of them before. Results: {fake.results / 'plain'}\n"


def test_collapsed_runs_are_named(fake, cli):
    (fake.folder / "result.json").write_text(json.dumps(json.loads(RESULT) | {"status": "collapsed"}))
    done = cli("sweep", *fake.does("recipe=plain", "seed=0,1"), f"--results={fake.results}")
    assert done.exit_code == 0
    warning = done.stderr.splitlines()[-1]
    assert warning.startswith("Warning: 2 of 2 runs collapsed: the source language scores no better than chance.")
    assert all(str(folder) in warning for folder in (fake.results / "plain").glob("*-s?"))


def test_a_dry_run_lists_runs_and_what_they_take_and_writes_nothing(cli, tiny_settings, tmp_path):
    words = [*tiny_settings, "recipe=plain,drift_reg", "seed=0,1"]
    shown = cli("sweep", *words, "--dry-run", "--shard=1/2")
    assert shown.exit_code == 0
    assert list(tmp_path.iterdir()) == []
    rows = [line.split() for line in shown.stdout.splitlines() if "waiting" in line]
    assert [(row[0], row[1]) for row in rows] == [("plain", "0"), ("drift_reg", "0")]
    assert "  2 runs, 0 done. The others take about " in shown.stdout
    assert "(domain unknown), 64 pairs in 2 languages." in " ".join(shown.stdout.split())
    assert shown.stderr.splitlines() == [
        "Timing a few steps of plain (1 of 2).", "Timing a few steps of drift_reg (2 of 2).",
    ]  # fmt: skip

    plan = plan_sweep(words, tmp_path / "results")
    for run in plan.runs[:2]:
        run.folder.mkdir(parents=True)
    (plan.runs[0].folder / "result.json").write_text(RESULT)
    (plan.runs[1].folder / "log.jsonl").touch()
    data = json.loads(cli("sweep", *words, "--dry-run", "--json").stdout)
    assert [(row["recipe"], row["seed"], row["status"]) for row in data] == [
        ("plain", 0, "done before"), ("drift_reg", 0, "begun"), ("plain", 1, "waiting"), ("drift_reg", 1, "waiting"),
    ]  # fmt: skip
    assert [row["id"] for row in data] == [run.id for run in plan.runs]
    assert [row["seconds"] is None for row in data] == [True, False, False, False]
    assert [row["parallel text"] is None for row in data] == [True, False, False, False]
    assert data[1]["parallel text"].endswith("(domain unknown), 64 pairs in 2 languages")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--engine=rya"], "The engine `rya` is not known. Did you mean `ray`? Choose from: local, ray."),
        (["--workers=0"], "`--workers` is `0`; expected 1 or more."),
        (["--threads=0"], "`--threads` is `0`; expected 1 or more."),
        (["--gpus=1"], "`--gpus` needs `--engine ray`. Add it, or leave `--gpus` out."),
        (["--address=auto"], "`--address` needs `--engine ray`. Add it, or leave `--address` out."),
        (["--engine=ray", "--workers=2"],
         "`--workers` needs `--engine local`. With Ray, `--threads` and `--gpus` determine how many runs start at once."),
        (["--engine=ray", "--threads=0"], "A run cannot have 0 threads and 0 GPUs; expected 1 or more, and 0 or more."),
        (["--engine=ray", "--gpus=-1"], "A run cannot have 1 threads and -1.0 GPUs; expected 1 or more, and 0 or more."),
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
