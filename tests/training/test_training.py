"""The loop through the public surface: what it optimises, in what order, and that it can be cut, stopped and resumed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file

import distxfer.training._loop as loop
from distxfer import InputError, load_recipe, train
from helpers import farthest, log, same, weights

ALL_TEXTS = [  # each micro-batch draws all labelled texts
    "intervention.self_training.share=1", "intervention.self_training.languages=deu", "phase.self_training.epochs=1",
    "intervention.self_training.batch_size=64",
]  # fmt: skip
ADDITIVE = ["intervention.drift.measure=mse", "intervention.drift.weight=2"]


@pytest.mark.parametrize(
    ("recipe", "overrides", "batch_size", "accumulation"),
    [
        ("plain", [], 7, 2),
        ("drift_reg", ADDITIVE, 1, 8),
        ("drift_reg", ADDITIVE, 5, 2),
        ("self_training", ALL_TEXTS, 7, 2),
    ],
)
def test_a_step_does_not_depend_on_how_it_is_cut(
    run, tiny_without_dropout, recipe, overrides, batch_size, accumulation
):
    """Ragged last steps and last micro-batches included: 144 examples are 14 steps of 10 + 1 of 4, 10 of 14 + 1 of 4."""
    epochs = 1 if batch_size == 1 else 2
    settings = [f"model={tiny_without_dropout}", "model.precision=float32", "model.head_start=random", *overrides]
    settings += [f"phase.finetune.epochs={epochs}", "diagnostics.states=0"]
    entire = run(recipe, *settings, f"phase.finetune.batch_size={batch_size * accumulation}")
    size = [f"phase.finetune.batch_size={batch_size}", f"phase.finetune.accumulation={accumulation}"]
    parts = run(recipe, *settings, *size)
    assert entire.folder != parts.folder
    assert farthest(weights(entire), weights(parts)) < 2e-5  # Adam magnifies rounding where gradients are nearly 0
    for line, parts_line in zip(log(entire), log(parts), strict=True):
        for key in ("loss", "term/task"):
            assert line[key] == pytest.approx(parts_line[key], rel=1e-5)
        # The penalty's gradient is proportional to a drift of some 1e-3 of the states, which are rounded to 1e-7 of them.
        precision = 1e-3 if recipe == "drift_reg" else 1e-4
        assert line["gradient_norm"] == pytest.approx(parts_line["gradient_norm"], rel=precision)


def test_weight_0_is_plain_bit_for_bit(run):
    """Dropout is on: a term that draws or encodes must not disturb the task's stream."""
    plain = run("plain")
    zero = run("drift_reg", "intervention.drift.weight=0")
    aligned = run("dist_align", "intervention.align.weight=0", "intervention.align.layers=3")
    assert same(weights(plain), weights(zero))
    assert same(weights(plain), weights(aligned))
    assert all("term/drift" in line for line in log(zero))


def test_runs_with_one_seed_are_paired(run):
    """They share the head, the order and the dropout of the task: the first loss is the same number."""
    first = {name: log(run(name, *extra))[0]["term/task"] for name, extra in {
        "plain": [], "drift_reg": [], "lora": [], "freeze_lower": ["phase.finetune.steps=1"],
        "dist_align": ["intervention.align.layers=3", "phase.finetune.steps=1"],
    }.items()}  # fmt: skip
    assert len(set(first.values())) == 1, first
    assert log(run("plain", "seed=1", "phase.finetune.steps=1"))[0]["term/task"] != first["plain"]


def test_the_same_command_gives_the_same_run(run, tmp_path):
    first, second = run("drift_reg"), run("drift_reg", folder=tmp_path)
    assert first.folder.name == second.folder.name
    assert same(weights(first), weights(second))
    adapters = run("lora"), run("lora", folder=tmp_path)
    assert same(*(weights(result, "adapter_model.safetensors") for result in adapters))
    tables = [parquet.read_table(run.folder / "predictions.parquet") for run in (first, second)]
    assert tables[0] == tables[1]
    columns = ["language", "example_id", "label", "prediction"]
    assert tables[0].column_names == [*columns, "probability_animal", "probability_plant"]
    slim = run("plain", "diagnostics.probabilities=false", "phase.finetune.epochs=1").folder
    assert parquet.read_table(slim / "predictions.parquet").column_names == columns
    assert not same(weights(first), weights(run("drift_reg", "seed=1")))


def test_lora_moves_no_pretrained_weight_and_the_drift_is_its_own(run, tiny):
    result = run("lora", "intervention.drift.weight=1")
    stored = load_file(result.folder / "model" / "adapter_model.safetensors")
    assert any("lora_B" in name and tensor.abs().sum() > 0 for name, tensor in stored.items())
    assert all("lora_" in name or "classifier" in name or "pooler" in name for name in stored)
    rows = parquet.read_table(result.folder / "measurements.parquet").to_pylist()
    drift = {(row["moment"], row["layer"]): row["value"] for row in rows if row["measure"] == "drift_cka"}
    assert all(abs(value) < 1e-9 for (moment, _), value in drift.items() if moment == "before")
    assert drift["after", 4] > 1e-6
    assert drift["after", 0] == pytest.approx(0, abs=1e-9)  # nothing below the first block is adapted


def test_the_drift_penalty_holds_the_space_and_a_stronger_one_more(run, tiny_without_dropout):
    def drift(weight):
        """English, since the penalty holds the task's inputs; CKA of a batch of 8 would be mostly noise."""
        settings = [f"intervention.drift.weight={weight}", "phase.finetune.epochs=8", "diagnostics.states=0"]
        settings.append(f"model={tiny_without_dropout}")  # in 16 dimensions, dropout is most of what CKA sees
        rows = parquet.read_table(run("drift_reg", *settings).folder / "measurements.parquet").to_pylist()
        return sum(
            row["value"] for row in rows
            if (row["measure"], row["moment"], row["language"]) == ("drift_cka", "after", "eng") and row["layer"] > 0
        )  # fmt: skip

    free, held, tight = drift(0), drift(1), drift(10)
    assert 0 < tight < held < free


def test_phases_in_order_each_with_its_own_interventions_and_budget(run, tiny):
    result = run(
        "dist_align", "intervention.align.layers=3", "intervention.freeze.layers=1,2", "phases=realign,finetune",
        "phase.realign.task=false", "phase.realign.steps=5", "phase.finetune.interventions=", "phase.finetune.steps=4",
    )  # fmt: skip
    lines = log(result)
    assert [line["phase"] for line in lines] == ["realign"] * 5 + ["finetune"] * 4
    assert all("term/task" not in line and "term/align" in line for line in lines[:5])
    assert all("term/task" in line and "term/align" not in line for line in lines[5:])
    # Frozen in realignment only (AlignFreeze): the front moved all the same, in the second phase.
    before = load_file(tiny / "model.safetensors")["encoder.layer.0.attention.self.query.weight"]
    assert not torch.equal(before, weights(result)["bert.encoder.layer.0.attention.self.query.weight"])
    assert result.data["cost"]["steps"] == 9


TWO_PROCESSES = [
    sys.executable,
    "-m",
    "accelerate.commands.launch",
    "--multi_gpu",
    "--num_processes",
    "2",
    "--main_process_port",
    "0",
]


@pytest.fixture(scope="module")
def in_two_processes(tmp_path_factory, tiny_settings, tiny_without_dropout) -> dict[str, tuple[list[str], dict]]:
    """Train in one launch of two processes, by the launcher that users use; return settings and printed result by recipe."""
    folder = tmp_path_factory.mktemp("launched")
    (folder / "words").mkdir()
    for language in ("deu", "jpn"):
        (folder / "words" / f"{language}.txt").write_text("house never\n")
    settings = {
        "drift_reg": [
            *tiny_settings, f"model={tiny_without_dropout}", "model.train_word_embeddings=true", *ADDITIVE,
            "model.precision=float32", "phase.finetune.batch_size=7", "phase.finetune.epochs=1",
        ],
        "word_align": [
            *tiny_settings, f"intervention.align.dictionary={folder}/words", "intervention.align.layers=3",
            "intervention.drift.weight=4", "phases=hold,words,finetune",
            "phase.hold.task=false", "phase.hold.batch_size=34", "phase.hold.steps=8", "phase.hold.learning_rate=1e-3",
            "phase.hold.interventions=drift",
            "phase.words.task=false", "phase.words.batch_size=34", "phase.words.steps=2", "phase.words.interventions=align,drift",
            "phase.finetune.batch_size=1", "phase.finetune.accumulation=8", "phase.finetune.interventions=self_training",
            "intervention.self_training.weight=1",
            "phase.finetune.steps=3", "model.reference=cached",
        ],
    }  # fmt: skip
    commands = [
        ["train", f"recipe={recipe}", *words, "--results", str(folder / recipe), "--json"]
        for recipe, words in settings.items()
    ]
    (folder / "commands.json").write_text(json.dumps(commands))
    worker = Path(__file__).with_name("launched_commands.py")
    completed = subprocess.run(
        [*TWO_PROCESSES, str(worker), str(folder / "commands.json")],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=600, check=False,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr[-3000:]
    printed, decoder = completed.stdout.strip(), json.JSONDecoder()
    results = {}
    for recipe, words in settings.items():
        result, end = decoder.raw_decode(printed)
        results[recipe] = (words, result)
        printed = printed[end:].lstrip()
        assert (result["provenance"]["processes"], result["provenance"]["threads"]) == (2, 1)
    assert printed == ""
    return results


def test_two_processes_give_one_result_and_score_each_example_once(in_two_processes, tmp_path):
    """Without dropout the trajectory is that of one process, within rounding."""
    settings, result = in_two_processes["drift_reg"]
    alone = train(load_recipe("drift_reg", settings), tmp_path)
    folder = Path(result["folder"])
    assert [path.name for path in folder.parent.iterdir()] == [alone.folder.name]
    assert farthest(weights(alone), load_file(folder / "model" / "model.safetensors")) < 2e-5
    rows = parquet.read_table(folder / "predictions.parquet").to_pylist()
    keys = [(row["language"], row["example_id"]) for row in rows]
    assert len(keys) == len(set(keys)) == 3 * 24
    assert [score["n"] for score in result["scores"] if score["split"] == "test"] == [24] * 9


def test_a_process_with_nothing_to_add_does_not_stop_the_others(in_two_processes):
    """First 17 rows each, of which some are equal and then too few for CKA; then so with a term before it that nobody has
    anything for.

    Then one row a micro-batch, so that one process has none.
    """
    assert in_two_processes["word_align"][1]["cost"]["steps"] == 13


def test_a_tracker_of_accelerate_gets_every_step(run, tmp_path):
    from accelerate.tracking import GeneralTracker

    lines, settings = [], {}

    class Recorder(GeneralTracker):
        name, requires_logging_directory, tracker = "recorder", False, None

        def store_init_configuration(self, values):
            settings.update(values)

        def log(self, values, step, **_):
            lines.append((step, values))

    run("drift_reg", "phase.finetune.epochs=1", folder=tmp_path, trackers=[Recorder()])
    assert [step for step, _ in lines] == list(range(1, 7))
    assert {"loss", "term/task", "term/drift", "learning_rate"} <= lines[0][1].keys()
    assert settings["intervention.drift.weight"] == 1.0


def test_an_unknown_tracker_is_named(run, tmp_path):
    with pytest.raises(InputError, match="`--log-with` has `tensorbord`"):
        run("plain", folder=tmp_path, trackers=["tensorbord"])


@pytest.mark.parametrize(
    ("small", "rate", "written"),
    [(2**24, 0, [6, 12, 18]), (0, float("inf"), [6, 12, 18]), (0, 0, [18])],
)
def test_a_large_checkpoint_waits_until_training_has_taken_much_longer_than_writing_it(
    run, tmp_path, monkeypatch, small, rate, written
):
    steps, write = [], loop.write_checkpoint

    def recorded(folder, position, *rest, **options):
        steps.append(position.step)
        write(folder, position, *rest, **options)

    monkeypatch.setattr(loop, "write_checkpoint", recorded)
    monkeypatch.setattr(loop, "_SMALL", small)
    monkeypatch.setattr(loop, "_BYTES_PER_SECOND", rate)
    run("plain", "phase.finetune.epochs=3", folder=tmp_path)
    assert steps == written
