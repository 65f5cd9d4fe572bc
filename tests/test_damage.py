"""Damage is noticed and nothing is lost: flips in every file that a run leaves, and stops at every point of its end."""

import json
import os
import shutil
from pathlib import Path

import pandas
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from distxfer import InputError, _durable, load_recipe, read_result, train
from distxfer._durable import check_file, check_folder, put_folder, read_table
from distxfer.analysis.scores import read_items
from distxfer.encoders import model_folder
from distxfer.results import result as _result
from distxfer.results.collect import _folders
from distxfer.results.tables import read_predictions
from distxfer.runs import interrupted as _again
from distxfer.runs import run as _run
from distxfer.training import Processes
from distxfer.training._checkpoint import read_position
from helpers import message, same, stop_at, weights
from studies.slim_results import slim

TINY = ["task.targets=deu", "diagnostics.states=4", "diagnostics.probabilities=true"]
FLIPS = 12  # positions in each file


@pytest.fixture(scope="module")
def recipe(tiny_settings):
    return load_recipe("drift_reg", [*tiny_settings, *TINY, "model.precision=float32"])


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    """A finished run of drift_reg."""
    return train(recipe, tmp_path_factory.mktemp("finished"))


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it, where `train` with `results=tmp_path` finds it."""
    return shutil.copytree(finished.folder, tmp_path / "drift_reg" / finished.folder.name)


def flipped(path: Path, positions: int = FLIPS):
    """Flip one bit of a file at each of so many positions, one after the other; in the end the file is as it was."""
    content = path.read_bytes()
    for number in range(positions):
        damaged = bytearray(content)
        place = number * (len(content) - 1) // max(1, positions - 1)
        damaged[place] ^= 1 << number % 8
        path.write_bytes(damaged)
        yield place
    path.write_bytes(content)


def damaged_message(path: Path) -> str:
    return (
        f"`{path}` is not what the run wrote: its SHA-256 differs from the one in `result.json`. The file was damaged or"
        f" changed; restore it from an intact copy, or run the recipe again with `--again`."
    )


def missing_message(path: Path) -> str:
    return f"`{path}` is missing, but the run wrote it. Restore it from an intact copy, or run the recipe again with `--again`."


# Damage


def test_a_result_has_digests_of_all_its_files_but_the_card(finished):
    names = {path.relative_to(finished.folder).as_posix() for path in finished.folder.rglob("*") if path.is_file()}
    assert {*finished.data["digests"]} == names - {".lock", "model/README.md"}
    assert {
        "result.json",
        "measurements.parquet",
        "predictions.parquet",
        "log.jsonl",
        "model/model.safetensors",
    } <= names


def test_a_flip_in_any_file_of_a_run_is_noticed_before_it_is_used(run, finished):
    for name in finished.data["digests"]:
        if name != "result.json":
            for _ in flipped(run / name):
                assert message(check_file, run / name) == damaged_message(run / name)
    for _ in flipped(run / "predictions.parquet", 1):
        assert message(read_table, run / "predictions.parquet") == damaged_message(run / "predictions.parquet")
    for _ in flipped(run / "model" / "config.json", 1):
        assert message(check_folder, run / "model") == damaged_message(run / "model" / "config.json")
    (run / "model" / "config.json").unlink()
    assert message(check_folder, run / "model") == missing_message(run / "model" / "config.json")


def test_a_comparison_does_not_go_on_without_predictions_that_are_damaged(run):
    score = {"method": "plain", "seed": "0", "task": "emoji", "language": "deu", "value": 0.5, "run": str(run)}
    scores = pandas.DataFrame([score])
    for _ in flipped(run / "predictions.parquet", 1):
        assert message(read_items, scores) == damaged_message(run / "predictions.parquet")


def test_a_result_file_is_parsed_once_until_it_changes(run, monkeypatch):
    path = run / "result.json"
    os.utime(path, (1e9, 1e9))
    parsed, parse = [], _durable._digests_in
    monkeypatch.setattr(_durable, "_digests_in", lambda path: parsed.append(path) or parse(path))
    for name in ("measurements.parquet", "predictions.parquet", "log.jsonl"):
        check_file(run / name)
        check_folder(run / "model")
    assert parsed == [path]
    path.write_text(path.read_text().replace('"status": "', '"status": "not '))
    assert message(check_file, run / "log.jsonl") == damaged_message(path)


def test_no_flip_in_a_result_file_is_read_as_another_value(run, finished):
    refused = 0
    for _ in flipped(run / "result.json", 300):
        try:
            assert read_result(run).data == finished.data
        except InputError:
            refused += 1
    assert refused > 280  # the last digit of a number may round to the same


def test_a_damaged_result_is_not_done_and_says_what_to_do(run, recipe, tmp_path):
    for _ in flipped(run / "measurements.parquet", 1):
        assert message(train, recipe, tmp_path) == damaged_message(run / "measurements.parquet")
        again = train(recipe, tmp_path, again=True)
    assert check_file(again.folder / "measurements.parquet").is_file()


@pytest.mark.parametrize("name", ["measurements.parquet", "predictions.parquet", "model/model.safetensors"])
def test_a_missing_file_is_damage(run, recipe, tmp_path, name):
    (run / name).unlink()
    assert message(train, recipe, tmp_path) == missing_message(run / name)


def test_a_log_and_a_model_may_be_removed(run, recipe, tmp_path):
    (run / "log.jsonl").unlink()
    shutil.rmtree(run / "model")
    notices = []
    assert train(recipe, tmp_path, notice=notices.append).folder == run
    assert notices == [
        f"This run is done already: {run}. Use `--again` to repeat it.",
        "Its model has been removed. `--again` trains it again.",
    ]
    assert message(model_folder, str(run / "model")) == (
        f"The model `{run / 'model'}` does not exist: it was removed from its run. Train the run anew with `--again`, or give"
        " another model."
    )


def test_a_run_that_the_study_makes_smaller_is_read_as_before(run, recipe, tmp_path, finished):
    shutil.rmtree(run / "model")  # as `studies/emoji/study.py` does
    table, predictions = read_table(run / "predictions.parquet"), read_predictions(run)
    assert any(name.startswith("probability_") for name in table.column_names)
    for _ in range(2):
        slim(run)
        assert read_table(run / "predictions.parquet").column_names == ["language", "example_id", "label", "prediction"]
        assert read_result(run).scores == finished.scores
        assert read_predictions(run).equals(predictions)
        train(recipe, tmp_path, report=lambda *_: pytest.fail("trained again"))
    assert read_table(run / "predictions.parquet").equals(table.select(range(4)))
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    for _ in flipped(run / "predictions.parquet", 1):
        assert message(slim, run) == damaged_message(run / "predictions.parquet")


@pytest.mark.parametrize("point", ["before the swap", "after the swap"])
def test_a_kill_while_a_run_is_made_smaller_leaves_one_run_and_it_is_whole(run, tmp_path, monkeypatch, point):
    def killed(*arguments, **_):
        if point == "after the swap":
            put_folder(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(_result, "put_folder", killed)
    monkeypatch.setattr(_result.shutil, "rmtree", lambda *_, **__: None)  # a killed process cleans nothing up
    with pytest.raises(KeyboardInterrupt):
        slim(run)
    monkeypatch.undo()
    assert complete(run)
    assert _folders(None, tmp_path) == [run]
    slim(run)
    assert complete(run)
    assert read_table(run / "predictions.parquet").num_columns == 4


def test_page_checksums_find_damage_in_tables_without_digests(run, tmp_path):
    table = tmp_path / "measurements.parquet"
    shutil.copy(run / table.name, table)
    rows, content = read_table(table).to_pylist(), table.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")  # where it begins: names of columns, no values
    read = 0
    for place in flipped(table, 60):
        if place >= footer:
            continue
        try:
            assert str(read_table(table).to_pylist()) == str(rows)  # a text: NaN is NaN
            read += 1
        except (OSError, ValueError):
            continue
    assert read < 20  # of what the checksums do not cover, nothing changes a value


@pytest.fixture(scope="module")
def interrupted(recipe, tmp_path_factory):
    """The folder of a run that was interrupted in its second epoch."""
    results = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, results, report=stop_at(8))
    (path,) = results.glob("*/*/checkpoint.safetensors")
    return path.parent


@pytest.fixture
def stopped(interrupted, tmp_path):
    """A copy of it, where `train` with `results=tmp_path` finds it."""
    return shutil.copytree(interrupted, tmp_path / "drift_reg" / interrupted.name)


def test_a_flip_anywhere_in_a_checkpoint_or_its_log_counts_as_no_checkpoint(stopped):
    beside = stopped.with_name("whole")
    shutil.copytree(stopped, beside)
    for name in ("checkpoint.safetensors", "log.jsonl"):
        content = (stopped / name).read_bytes()
        size = len(content) if name != "log.jsonl" else content.rindex(b"\n", 0, len(content) * 6 // 8)
        for number in range(40):
            place = number * (size - 1) // 39
            damaged = bytearray(content)
            damaged[place] ^= 1 << number % 8
            (stopped / name).write_bytes(damaged)
            notices = []
            assert read_position(stopped, Processes(precision="float32"), notices.append) is None
            assert notices == [
                f"The checkpoint `{stopped / 'checkpoint.safetensors'}`, or the log beside it, is damaged. The run starts anew."
            ]
            shutil.copytree(beside, stopped, dirs_exist_ok=True)
    assert read_position(stopped, Processes(precision="float32"), pytest.fail).step == 6


def test_another_step_in_the_metadata_of_a_checkpoint_is_damage(stopped):
    path = stopped / "checkpoint.safetensors"
    with safe_open(path, framework="pt") as stored:
        about = stored.metadata()
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (safe_open is no mapping)
    save_file(tensors, path, {**about, "position": about["position"].replace('"step": 6', '"step": 999')})
    notices = []
    assert read_position(stopped, Processes(precision="float32"), notices.append) is None
    assert len(notices) == 1


def test_a_run_with_a_damaged_checkpoint_is_made_anew(stopped, recipe, tmp_path, finished):
    for _ in flipped(stopped / "checkpoint.safetensors", 1):
        notices = []
        result = train(recipe, tmp_path, notice=notices.append)
        assert [text for text in notices if "damaged" in text]
    assert same(weights(result), weights(finished))


def test_a_checkpoint_of_another_arithmetic_is_not_resumed(stopped, recipe, tmp_path, finished, monkeypatch):
    monkeypatch.setattr("distxfer.training._processes.ARITHMETIC", 3)
    notices = []
    result = train(recipe, tmp_path, notice=notices.append)
    path = stopped / "checkpoint.safetensors"
    assert [text for text in notices if "heckpoint" in text] == [
        f"The checkpoint `{path}` is of arithmetic 2, float32, and this run of arithmetic 3, float32."
        " The run starts anew."
    ]
    assert result.arithmetic == 3
    assert finished.arithmetic == 2
    assert same(weights(result), weights(finished))


def test_a_run_resumed_with_other_threads_names_both(stopped, recipe, tmp_path, monkeypatch):
    threads, notices = torch.get_num_threads(), []
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    result = train(recipe, tmp_path, notice=notices.append)
    assert result.provenance["threads"] == [threads, threads + 1]
    assert sum(f"and this process has {threads + 1}" in text for text in notices) == 1


def test_a_finished_run_of_another_arithmetic_counts_as_done_with_a_notice(run, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("distxfer.runs.run.ARITHMETIC", 3)
    notices = []
    assert train(recipe, tmp_path, notice=notices.append).arithmetic == 2
    assert any("Its arithmetic is 2 in float32, and a repeat would have 3 in float32" in text for text in notices)


# Nothing is lost


def test_a_stopped_and_resumed_run_cost_what_an_uninterrupted_one_costs(stopped, recipe, tmp_path, finished):
    resumed = train(recipe, tmp_path).data["cost"]
    for key in ("steps", "tokens", "forwards_per_step", "trainable_parameters"):
        assert resumed[key] == finished.data["cost"][key]
    assert resumed["seconds"] > 0


def complete(folder: Path, like=None) -> bool:
    """Whether a folder holds a whole result (that of the run `like`)."""
    result = read_result(folder)
    for name in result.data["digests"]:
        if name != "result.json":
            check_file(folder / name)
    return like is None or result.data["provenance"]["ended"] == like.data["provenance"]["ended"]


def test_again_keeps_the_old_result_until_the_new_one_is_whole(run, recipe, tmp_path, finished):
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, again=True, report=stop_at(8))
    assert complete(run, finished)
    notices = []
    train(recipe, tmp_path, notice=notices.append)
    assert notices == [
        f"This run is done already: {run}. Use `--again` to repeat it.",
        f"A repeat was started in {_again.work_folder(run)}; `--again` continues it.",
    ]
    steps = []
    new = train(recipe, tmp_path, again=True, report=lambda phase, step, *_: steps.append(step))
    assert steps[0] == 7  # from its checkpoint
    assert new.folder == run
    assert complete(run)
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    assert new.scores == finished.scores


@pytest.mark.parametrize("point", ["before the swap", "after the swap"])
def test_a_kill_around_the_swap_leaves_one_of_the_two_complete(run, recipe, tmp_path, monkeypatch, point):
    (run / "old").touch()

    def killed(*arguments):
        if point == "after the swap":
            put_folder(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(_again, "put_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, again=True)
    monkeypatch.undo()
    assert complete(run)
    assert (run / "old").exists() == (point == "before the swap")
    train(recipe, tmp_path, report=lambda *_: pytest.fail("trained again"))
    assert complete(run)
    assert not (run / "old").exists()
    assert [path.name for path in run.parent.iterdir()] == [run.name]


@pytest.mark.parametrize("renames", [1, 2])
def test_a_kill_between_renames_where_no_exchange_is_possible_loses_no_result(
    run, recipe, tmp_path, monkeypatch, renames
):
    """As on a file system without `RENAME_EXCHANGE`: three renames take its place."""
    (run / "old").touch()
    rename, seen = Path.rename, []

    def killed(self, target):
        if ".again" in f"{self.name}{Path(target).name}":
            seen.append(self)
            if len(seen) > renames:
                raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(_durable.sys, "platform", "other")
    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, again=True)
    monkeypatch.undo()
    assert run.exists() == (renames == 2)
    train(recipe, tmp_path, report=lambda *_: pytest.fail("trained again"))
    assert complete(run)
    assert not (run / "old").exists()
    assert [path.name for path in run.parent.iterdir()] == [run.name]


@pytest.mark.parametrize("point", ["write_table", "atomic_folder", "model_card", "write_result", "remove_checkpoint"])
def test_a_kill_at_any_point_of_the_end_loses_nothing(stopped, recipe, tmp_path, monkeypatch, finished, point):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_run, point, killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path)
    monkeypatch.undo()
    assert (stopped / "result.json").exists() == (point == "remove_checkpoint")
    result = train(recipe, tmp_path, report=lambda *_: pytest.fail("trained again"))
    assert complete(stopped)
    assert same(weights(result), weights(finished))
    assert not [*stopped.glob("checkpoint*"), *stopped.glob("*.part")]


def test_weights_that_are_not_finite_are_no_checkpoint(tiny_settings, tmp_path):
    words = [*tiny_settings, *TINY, "phase.finetune.steps=1", "phase.finetune.warmup=0"]
    refusal = (
        "The weights after step 0 of the phase `finetune` are not finite. Lower `phase.finetune.learning_rate` or an"
        " intervention's `weight`. The last checkpoint, if there is one, is kept."
    )
    for again in (False, True, False):
        recipe = load_recipe("plain", [*words, "phase.finetune.learning_rate=1e39"])
        assert message(train, recipe, tmp_path, again=again) == refusal
    assert not [*tmp_path.rglob("checkpoint*")]
    for again in (False, True):
        recipe = load_recipe("plain", [*words, "phase.finetune.learning_rate=1e30"])
        assert message(train, recipe, tmp_path, again=again) == (
            "After the last step of the phase `finetune`, states or outputs of the encoder are not finite. Lower"
            " `phase.finetune.learning_rate` or an intervention's `weight`."
        )
    assert train(load_recipe("plain", words), tmp_path).data["cost"]["steps"] == 1


def test_results_without_digests_are_read(run):
    data = json.loads((run / "result.json").read_text())
    del data["digests"]
    (run / "result.json").write_text(json.dumps(data))
    assert message(read_result, run) == damaged_message(run / "result.json")
    del data["provenance"]["digests"]
    (run / "result.json").write_text(json.dumps(data))
    assert read_result(run).data == data
    for _ in flipped(run / "model" / "config.json", 1):
        assert check_folder(run / "model") == run / "model"
