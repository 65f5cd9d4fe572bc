"""Processes that are killed at random moments: the same command then ends as if nothing had been."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from mutations import report
from pyarrow import parquet
from typer.testing import CliRunner

from conftest import scaled
from distxfer import read_result
from distxfer.cli import app

LONG = ["task.targets=deu", "phase.finetune.epochs=6", "diagnostics.states=4"]
CHANGING = ("cost", "provenance", "started", "finished", "digests")


def command(settings: list[str], results: Path, *more: str) -> list[str]:
    """Return the words of the run that is killed."""
    return ["train", "recipe=drift_reg", *settings, *LONG, "--results", str(results), *more]


def start(words: list[str], log: Path) -> int:
    """Run the command line in a fork of this process and return its number."""
    number = os.fork()
    if number == 0:
        code = 70
        try:
            done = CliRunner().invoke(app, words)
            log.write_text(done.output + repr(done.exception))
            code = done.exit_code
        finally:
            os._exit(code)
    return number


def wait(number: int) -> int:
    """Return the exit code of a fork; that of one that was killed is negative."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def timed(words: list[str], log: Path) -> float:
    """Return how long a command takes that nobody kills."""
    begun = time.monotonic()
    assert wait(start(words, log)) == 0, log.read_text()
    return time.monotonic() - begun


def kill(words: list[str], log: Path, seconds: float) -> bool:
    """Start a command and kill it after a time; return whether it was still at work."""
    number = start(words, log)
    time.sleep(seconds)
    os.kill(number, signal.SIGKILL)
    return wait(number) == -signal.SIGKILL


def content(folder: Path) -> dict[str, object]:
    """What a run leaves: its files, and of those that hold times the rest."""
    found: dict[str, object] = {}
    for path in sorted(one for one in folder.rglob("*") if one.is_file() and one.name != "README.md"):
        name = path.relative_to(folder).as_posix()
        if name == "result.json":
            data = json.loads(path.read_text())
            found[name] = {key: value for key, value in data.items() if key not in CHANGING}
        elif path.suffix == ".parquet":
            found[name] = str(parquet.read_table(path).to_pylist())
        else:
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def whole(tiny_settings, tmp_path_factory) -> tuple[dict[str, object], float]:
    """What the run leaves that nobody kills, and how long it takes once everything is imported and cached."""
    folder = tmp_path_factory.mktemp("whole")
    timed(command(tiny_settings, folder / "first"), folder / "log")
    seconds = timed(command(tiny_settings, folder / "second"), folder / "log")
    return content(next((folder / "second").glob("*/*"))), seconds


def leftovers(results: Path) -> list[str]:
    """What should be in no folder of finished runs."""
    return [
        str(path)
        for path in results.rglob("*")
        if path.name.endswith((".part", ".again", ".old")) or "checkpoint" in path.name
    ]


@pytest.mark.parametrize("again", [False, True], ids=["train", "again"])
def test_a_killed_run(tiny_settings, tmp_path, whole, again):
    expected, seconds = whole
    kills, resumed = 0, 0
    for seed in range(scaled(1, 25)):
        draw = random.Random(f"kill {again} {seed}")
        results, log = tmp_path / f"r{seed}", tmp_path / "log"
        words = command(tiny_settings, results, *["--again"] * again)
        if again:
            timed(command(tiny_settings, results), log)
        for _ in range(draw.choice([1, 1, 2])):
            moment = draw.uniform(0, 1.1 * seconds)
            while not kill(words, log, moment):  # it was done before: the machine was slower when it was timed
                moment /= 2
                if not again:
                    shutil.rmtree(results)
            kills += 1
            if again:
                (run,) = results.glob("drift_reg/[!.]*")
                assert read_result(run) is not None, f"draw {seed}: the result is lost"
            resumed += any("checkpoint" in path.name for path in results.rglob("*"))
        timed(words, log)
        timed(command(tiny_settings, results), log)  # it says that it is done, and cleans up
        (run,) = results.glob("drift_reg/[!.]*")
        found = content(run)
        assert found.keys() == expected.keys(), f"draw {seed}"
        assert not [name for name in found if found[name] != expected[name] and name != ".lock"], f"draw {seed}"
        assert not leftovers(results), f"draw {seed}"
    report(f"kills: {'train --again' if again else 'train'}", {"kills": kills, "with a checkpoint": resumed})


@pytest.mark.torture
def test_a_killed_sweep(tiny_settings, tmp_path):
    def words(results: Path) -> list[str]:
        others = [word for word in tiny_settings if not word.startswith("phase.finetune.epochs")]
        axes = ["recipe=plain", "seed=0,1", "task.targets=[deu]", "phase.finetune.epochs=1", "diagnostics.states=0"]
        return ["sweep", *axes, *others, "--results", str(results)]

    expected = tmp_path / "whole"
    seconds = timed(words(expected), tmp_path / "log")
    kills = 0
    for seed in range(3):
        results = tmp_path / f"r{seed}"
        kills += kill(words(results), tmp_path / "log", random.Random(f"sweep {seed}").uniform(0.2, 1) * seconds)
        timed(words(results), tmp_path / "log")
        runs = {path.parent.name: path.parent for path in results.rglob("result.json")}
        others = {path.parent.name: path.parent for path in expected.rglob("result.json")}
        assert runs.keys() == others.keys(), f"draw {seed}"
        for name, run in runs.items():
            assert content(run)["model/model.safetensors"] == content(others[name])["model/model.safetensors"], name
        assert not leftovers(results), f"draw {seed}"
    report("kills: sweep", {"kills": kills})
    assert kills


@pytest.mark.torture
def test_a_killed_new_language(tiny_settings, task_folder, tmp_path):
    labelled = str(task_folder / "jpn" / "test.jsonl")

    def words(results: Path) -> list[str]:
        arguments = ["new-language", "cym", "--labelled", labelled, "--seeds", "2"]
        return [*arguments, *tiny_settings, "--results", str(results)]

    def models(results: Path) -> dict[str, bytes]:  # by recipe and seed: the id has the path of the language's data
        runs = {path.parents[1]: path.read_bytes() for path in results.rglob("model.safetensors")}
        return {f"{run.parent.name} {run.name.partition('-')[2]}": content for run, content in runs.items()}

    log = tmp_path / "log"
    seconds = timed(words(tmp_path / "whole"), log)
    expected = models(tmp_path / "whole")
    assert len(expected) == 4
    kills = 0
    for seed in range(3):
        results = tmp_path / f"r{seed}"
        kills += kill(words(results), log, random.Random(f"new-language {seed}").uniform(0.2, 0.9) * seconds)
        timed(words(results), log)
        assert models(results) == expected, f"draw {seed}"
        assert (results / "new-language" / "cym" / "report.md").is_file(), f"draw {seed}"
        assert not leftovers(results), f"draw {seed}"
    report("kills: new-language", {"kills": kills})
    assert kills
