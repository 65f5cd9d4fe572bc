"""Bits that flip and files that are cut off, anywhere in what runs, checkpoints and caches leave: noticed, or without effect."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from mutations import LONGEST, answer, report, tally
from safetensors.torch import load_file
from typer.testing import CliRunner

from conftest import scaled
from distxfer import load_recipe, read_result, train
from distxfer._durable import check_file, check_folder, read_table
from distxfer.cli import app
from distxfer.results.result import diagnosed
from distxfer.results.tables import read_measurements
from helpers import same, stop_at

TINY = ["task.targets=deu", "phase.finetune.epochs=2", "diagnostics.states=4"]


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Return the data with one bit flipped or, in one of five cases, without its end."""
    place = draw.randrange(len(data))
    if draw.random() < 0.2:
        return data[:place]
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def files(folder: Path) -> list[Path]:
    """The files below a folder that hold something."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


@pytest.fixture(scope="module")
def results(tiny_settings, tmp_path_factory):
    """A folder with finished runs of two recipes."""
    folder = tmp_path_factory.mktemp("results")
    learns = ["phase.finetune.epochs=10", "phase.finetune.learning_rate=5e-3"]
    for name, more in (("plain", []), ("drift_reg", ["intervention.drift.weight=0.01"])):
        for seed in (0, 1):
            train(load_recipe(name, [*tiny_settings, *TINY, *learns, *more, f"seed={seed}"]), folder)
    return folder


def readings(run: Path) -> str:
    """All that readers of a run's files make of them, as one text."""
    return str(
        [
            read_result(run).data,
            read_measurements(run / "measurements.parquet"),
            read_table(run / "predictions.parquet").to_pylist(),
            diagnosed(check_file(run / "log.jsonl")),
            sorted(load_file(check_folder(run / "model") / "model.safetensors")),
        ]
    )


def test_files_of_a_run(results, tmp_path):
    source = next(results.glob("drift_reg/*"))
    run = shutil.copytree(source, tmp_path / "drift_reg" / source.name)
    whole, counts = readings(run), {}
    targets = [path for path in files(run) if path.name != "README.md"]
    for seed in range(scaled(30, 800)):
        draw = random.Random(f"run {seed}")
        path = draw.choice(targets)
        content = path.read_bytes()
        path.write_bytes(damaged(content, draw))
        found = []
        said = answer(lambda: found.append(readings(run)))  # noqa: B023
        assert said != "read" or found == [whole], f"draw {seed}: {path.name} reads back as other values"
        tally(counts, said)
        path.write_bytes(content)
    report("damage: files of a run", counts)


VERBS = {
    "compare": lambda results, run: ["compare", "plain", "drift_reg", "--results", results, "--json"],
    "report": lambda results, run: ["report", "--results", results, "--out", f"{results}/page.html"],
    "publish": lambda results, run: ["publish", str(run), "--to", "me/model"],
    "ls": lambda results, run: ["ls", "runs", "--results", results, "--json"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_on_a_damaged_run(results, tmp_path, verb):
    shutil.copytree(results, tmp_path / "results")
    run = next((tmp_path / "results").glob("drift_reg/*"))
    words = VERBS[verb](str(tmp_path / "results"), run)
    whole = CliRunner().invoke(app, words, catch_exceptions=False)
    assert whole.exit_code == 0, whole.output
    counts: dict[str, int] = {}
    targets = [path for path in files(run) if path.name not in ("README.md", ".lock")]
    for seed in range(scaled(1, 25)):
        draw = random.Random(f"{verb} {seed}")
        path = draw.choice(targets)
        content = path.read_bytes()
        path.write_bytes(damaged(content, draw))
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        said = done.stderr[done.stderr.find("Error: ") :] if done.exit_code else "read"
        assert done.exit_code in (0, 2), f"draw {seed}: {done.output}"
        assert len(said) <= LONGEST
        name = path.relative_to(run).as_posix()
        if verb == "publish" and (name == "measurements.parquet" or name.startswith("model/")):  # all that is sent
            assert done.exit_code == 2, f"draw {seed}: {name} would be sent"
        assert not done.exit_code or path.name in said, f"draw {seed}: {name}: {said}"
        listed = path.name in whole.output  # so that its name is no notice of damage
        named = (path.name in done.output and not listed) or "unreadable" in done.stdout
        assert done.exit_code or done.stdout == whole.stdout or named, f"draw {seed}: {path.name}: {done.output}"
        tally(counts, said)
        path.write_bytes(content)
    report(f"damage: {verb}", counts)


def end(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def test_a_damaged_checkpoint(tiny_settings, tmp_path):
    recipe = load_recipe("drift_reg", [*tiny_settings, *TINY, "phase.finetune.epochs=3"])
    whole = train(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "stopped", report=stop_at(14))
    stopped = next((tmp_path / "stopped").glob("*/*"))
    targets = [path for path in files(stopped) if path.name != ".lock"]
    assert any("checkpoint" in path.name for path in targets)
    counts: dict[str, int] = {}
    for seed in range(scaled(2, 60)):
        draw = random.Random(f"checkpoint {seed}")
        folder = tmp_path / str(seed)
        run = shutil.copytree(stopped, folder / "drift_reg" / stopped.name)
        path = run / draw.choice([one for one in targets if "checkpoint" in one.name] * 3 + targets).relative_to(
            stopped
        )
        path.write_bytes(damaged(path.read_bytes(), draw))
        found = []
        said = answer(lambda: found.append(train(recipe, folder)))  # noqa: B023
        assert said == "read", f"draw {seed}: {path.name}: {said}"  # damage counts as no checkpoint
        assert same(end(run), end(whole.folder)), f"draw {seed}"
        assert found[0].scores == whole.scores, f"draw {seed}"
        logs = [(one / "log.jsonl").read_bytes() for one in (run, whole.folder)]
        assert logs[0] == logs[1], f"draw {seed}: {path.name}"
        assert not [one for one in files(run) if "checkpoint" in one.name]
        tally(counts, said)
        shutil.rmtree(folder)
    report("damage: checkpoint", counts)


def test_a_damaged_cache(tiny_settings, tmp_path, monkeypatch):
    recipe = load_recipe("plain", [*tiny_settings, *TINY, "phase.finetune.epochs=1"])
    monkeypatch.setenv("DISTXFER_CACHE", str(tmp_path / "cache"))
    whole = train(recipe, tmp_path / "whole")
    shutil.copytree(tmp_path / "cache", tmp_path / "kept")
    targets = [path.relative_to(tmp_path / "kept") for path in files(tmp_path / "kept")]
    counts: dict[str, int] = {}
    for seed in range(scaled(2, 60)):
        draw = random.Random(f"cache {seed}")
        cache = shutil.copytree(tmp_path / "kept", tmp_path / f"cache{seed}")
        monkeypatch.setenv("DISTXFER_CACHE", str(cache))
        path = cache / draw.choice(targets)
        path.write_bytes(damaged(path.read_bytes(), draw))
        found = []
        said = answer(lambda: found.append(train(recipe, tmp_path / str(seed))))  # noqa: B023
        assert said == "read", f"draw {seed}: {path}: {said}"  # damage counts as no cache
        assert same(end(found[0].folder), end(whole.folder)), f"draw {seed}: {path}"
        tables = [read_table(one.folder / "measurements.parquet").to_pylist() for one in (found[0], whole)]
        assert json.dumps(tables[0]) == json.dumps(tables[1]), f"draw {seed}: {path}"
        tally(counts, said)
        shutil.rmtree(cache)
        shutil.rmtree(tmp_path / str(seed), ignore_errors=True)
    report("damage: caches", counts)


def test_a_damaged_model_folder(tiny_settings, tiny, tmp_path):
    model = shutil.copytree(tiny, tmp_path / "model")
    words = ["validate", "recipe=plain", *tiny_settings, f"model={model}"]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    counts: dict[str, int] = {}
    for seed in range(scaled(4, 150)):
        draw = random.Random(f"model {seed}")
        path = draw.choice([one for one in files(model) if one.suffix == ".json"] * 2 + files(model))
        content = path.read_bytes()
        path.write_bytes(damaged(content, draw))
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code in (0, 2), f"draw {seed}: {done.output}"
        said = done.stderr[done.stderr.find("Error: ") :] if done.exit_code else "read"
        assert len(said) <= LONGEST, f"draw {seed}: {len(said)}"
        tally(counts, said)
        path.write_bytes(content)
    report("damage: model folder", counts)
