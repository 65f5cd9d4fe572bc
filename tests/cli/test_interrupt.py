"""A run that is stopped, politely or not, goes on from its last checkpoint as if nothing had been."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from pyarrow import parquet

STEPS = 90
LONG = [f"phase.finetune.steps={STEPS}", "phase.finetune.epochs=16"]  # a checkpoint every 10 steps
PATIENCE = 240  # seconds until a machine that is busy with other work gets there


def train(settings: list[str], results: Path) -> list[str]:
    return ["train", "recipe=drift_reg", f"--results={results}", *settings, *LONG]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, tiny_settings) -> Path:
    """The folder of the same run, never stopped."""
    from typer.testing import CliRunner

    from distxfer.cli import app

    results = tmp_path_factory.mktemp("whole")
    assert CliRunner().invoke(app, train(tiny_settings, results)).exit_code == 0
    return next(results.glob("*/*"))


def stopped(number: signal.Signals, settings: list[str], results: Path) -> tuple[int, str, str]:
    """Start the run in a process of its own, and send it a signal a little after its second checkpoint."""
    # A shell's background job ignores SIGINT, and so would all that it starts; a signal that is handled is not inherited.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "distxfer", *train(settings, results)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not any(count(log) > 25 for log in results.glob("*/*/log.jsonl")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "it never got to step 25"
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        signal.signal(signal.SIGINT, inherited)
    return process.returncode, out, err


def count(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_resumes(number, cli, tiny_settings, tmp_path, uninterrupted):
    results = tmp_path / "results"
    code, out, err = stopped(number, tiny_settings, results)
    folder = next(results.glob("*/*"))
    assert out == ""
    assert "Traceback" not in err
    if number is signal.SIGINT:
        assert code == 130
        assert err.splitlines()[-1] == "Interrupted. The same command resumes from the last checkpoint."
    else:
        assert code == -signal.SIGKILL
    assert not (folder / "result.json").exists()
    assert 25 < count(folder / "log.jsonl") < STEPS
    (row,) = json.loads(cli("ls", "runs", "--json", f"--results={results}").stdout)
    assert row["status"] == "not done"

    (folder / ".tmpAbc123").write_bytes(b"left by safetensors, which was killed as it wrote a checkpoint")
    resumed = cli(*train(tiny_settings, results))
    assert resumed.exit_code == 0
    assert "Resuming from the checkpoint: phase `finetune`, after step " in resumed.stderr
    assert steps(folder) == list(range(STEPS))
    assert {path.name for path in folder.iterdir()} == {path.name for path in uninterrupted.iterdir()}
    costs = [json.loads((run / "result.json").read_text())["cost"] for run in (folder, uninterrupted)]
    for key in ("steps", "tokens", "forwards_per_step"):
        assert costs[0][key] == costs[1][key]
    assert costs[0]["steps"] == STEPS
    predictions = [parquet.read_table(run / "predictions.parquet").to_pylist() for run in (folder, uninterrupted)]
    assert predictions[0] == predictions[1]
    for name in ("log.jsonl", "model/model.safetensors"):
        assert (folder / name).read_bytes() == (uninterrupted / name).read_bytes()
    assert "This run is done already" in cli(*train(tiny_settings, results)).stderr
