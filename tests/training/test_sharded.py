"""Weights that lie sharded over two processes (FSDP2, by gloo): the run is that of one process that has them whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from distxfer.config.recipe import load_recipe
from distxfer.results.result import read_result
from distxfer.runs.run import train
from distxfer.training import Processes
from helpers import farthest, message

CACHED, EXACT = "model.reference=cached", "model.precision=float32"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--main_process_port", "0"]
FSDP = ["--use_fsdp", "--fsdp_version", "2"]
# name -> recipe, settings. Losses that are sums over examples, so that nothing depends on how a batch is shared.
RUNS = {
    "drift": ("drift_reg", [
        CACHED, "intervention.drift.measure=mse", "intervention.drift.weight=2", "phase.finetune.batch_size=14", EXACT,
        "phase.finetune.epochs=2", "diagnostics.gradients=5", "diagnostics.states=6", "phase.finetune.average=2",
        "phase.finetune.merge=0.25",
    ]),
    "phases": ("plain", [  # of which the second trains more than the others
        "intervention.freeze.layers=1", "phases=first,finetune,last", "phase.first.steps=4", "phase.first.interventions=freeze",
        "phase.last.steps=4", "phase.last.interventions=freeze",
        "phase.finetune.interventions=", "phase.finetune.accumulation=2", "phase.finetune.batch_size=7",
        "phase.finetune.epochs=1",
        "model.gradient_checkpointing=true", "model.train_word_embeddings=true", EXACT,
    ]),
    "lora": ("lora", [
        CACHED, "intervention.drift.measure=cosine", "intervention.drift.weight=1", "model.precision=bf16",
        "model.frozen_weights=bf16", "phase.finetune.epochs=1",
    ]),
    "head": ("plain", ["intervention.freeze.layers=all", "phase.finetune.steps=3"]),  # all of it in no block
}  # fmt: skip
# Whose draws differ between processes: they are to end, no more.
UNEVEN = {
    "rows": (  # CKA has too few rows in some of the micro-batches, and words have no pair in some
        "word_align",
        [
            "intervention.align.layers=3", "intervention.align.dictionary=WORDS", "intervention.align.batch_size=3",
            "intervention.align.projection=0", "intervention.drift.weight=4", CACHED, "phase.finetune.batch_size=34",
        ],
    ),
    "passes": (  # two terms that draw the same pairs now and then, and one that has nothing to change in some texts
        "dist_align",
        [
            "intervention.align.layers=3", "intervention.consistency.weight=1", "intervention.consistency.languages=deu",
            "intervention.code_switch.dictionary=WORDS", "intervention.code_switch.share=1", "phase.finetune.batch_size=2",
        ],
    ),
}  # fmt: skip
REFUSED = {
    "live": ("drift_reg", ["intervention.drift.text=pairs"]),
    "own": ("dist_align", ["intervention.align.layers=3", "intervention.align.projection=8"]),
    "reads": ("plain", ["intervention.l2_sp.weight=1"]),
    "swaps": ("plain", ["intervention.mixout.p=0.5"]),
    "labels": ("self_training", []),
    "tokens": ("word_align", ["intervention.align.layers=3", "intervention.align.projection=0"]),
}


STOPS = {"drift": 1, "phases": 7}  # after so many checkpoints: of the latter, in the last phase


@pytest.fixture(scope="module")
def launched(tmp_path_factory, tiny_settings, tiny_without_dropout) -> dict[str, Path | str]:
    """Return what each run of one launch gave: its folder, or what was wrong with it."""
    folder = tmp_path_factory.mktemp("sharded")
    still = [*tiny_settings, f"model={tiny_without_dropout}"]

    (folder / "words").mkdir()
    for language, cat in {"deu": "katze", "jpn": "neko"}.items():  # a word that a sixth of the sentences has
        (folder / "words" / f"{language}.txt").write_text(f"cat {cat}\n")

    def planned(name: str, recipe: str, overrides: list[str], where: str = "", **how) -> dict:
        settings = [*still, *(text.replace("WORDS", str(folder / "words")) for text in overrides)]
        return {"name": name, "recipe": recipe, "settings": settings, "results": str(folder / (where or name)), **how}

    plan = [planned(name, *what) for name, what in (RUNS | REFUSED).items()]
    plan += [
        planned(name, recipe, [*overrides, "phase.finetune.steps=14"]) for name, (recipe, overrides) in UNEVEN.items()
    ]
    for name, stop in STOPS.items():
        plan += [
            planned(f"{name} stopped", *RUNS[name], where=f"{name} resumed", stop=stop),
            planned(f"{name} resumed", *RUNS[name]),
        ]
    plan += [planned("outlook", *RUNS["drift"], look=True)]
    (folder / "plan.json").write_text(json.dumps(plan))
    worker = Path(__file__).with_name("sharded_worker.py")
    completed = subprocess.run(
        [*LAUNCH, *FSDP, str(worker), str(folder / "plan.json")],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=600, check=False,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr[-5000:]
    return {"folder": folder, "settings": still, **json.loads((folder / "plan.done").read_text())}


def weights(folder: str | Path) -> dict:
    return {
        f"{path.name} {key}": value
        for path in (Path(folder) / "model").rglob("*.safetensors")
        for key, value in load_file(path).items()
    }


def log(folder: str | Path) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", RUNS)
def test_the_trajectory_is_that_of_one_process(launched, tmp_path, name):
    recipe, overrides = RUNS[name]
    alone = train(load_recipe(recipe, [*launched["settings"], *overrides]), tmp_path)
    sharded = read_result(Path(launched[name]))
    assert sharded.data["provenance"]["processes"] == 2
    assert sharded.data["provenance"]["weights"] == "sharded"
    assert alone.data["provenance"]["weights"] == "whole"
    assert sharded.data["id"] == alone.data["id"]
    tolerance = 2e-2 if name == "lora" else 2e-5  # bf16 has 8 bits
    assert farthest(weights(alone.folder), weights(sharded.folder)) < tolerance
    lines = log(alone.folder), log(sharded.folder)
    for line, sharded_line in zip(*lines, strict=True):
        assert line.keys() == sharded_line.keys()
    if name == "drift":
        last = [line[5] for line in lines]
        assert {"drift/deu", "retrieval/jpn"} <= last[0].keys()
        assert last[0]["drift/deu"] == pytest.approx(last[1]["drift/deu"], abs=1e-4)
    unmet = 16 * 32 if name == "phases" else 0  # in the word embeddings, which train as a whole where they are sharded
    assert sharded.data["cost"]["trainable_parameters"] == alone.data["cost"]["trainable_parameters"] + unmet
    assert [score["n"] for score in sharded.data["scores"]] == [score["n"] for score in alone.data["scores"]]


@pytest.mark.parametrize("name", UNEVEN)
def test_processes_that_draw_differently_wait_for_each_other_in_vain_nowhere(launched, name):
    assert read_result(Path(launched[name])).data["cost"]["steps"] == 14


@pytest.mark.parametrize("name", STOPS)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(launched, name):
    assert launched[f"{name} stopped"] == "stopped"
    assert farthest(weights(launched[name]), weights(launched[f"{name} resumed"])) == 0
    assert [line["loss"] for line in log(launched[name])] == [line["loss"] for line in log(launched[f"{name} resumed"])]
    assert not list(Path(launched[f"{name} resumed"]).glob("checkpoint*"))


def test_what_a_run_will_take_is_estimated_where_nothing_is_kept_of_the_pretrained_encoder_yet(launched):
    assert float(launched["outlook"]) > 0


def test_one_process_goes_on_where_two_with_sharded_weights_were_stopped(launched):
    recipe, overrides = RUNS["phases"]
    resumed = train(
        load_recipe(recipe, [*launched["settings"], *overrides]), launched["folder"] / "phases resumed copied"
    )
    assert resumed.data["provenance"]["processes"] == 1
    assert farthest(weights(launched["phases"]), weights(resumed.folder)) < 2e-5


def test_what_needs_whole_weights_is_refused(launched):
    assert launched["live"] == (
        "This launch shards the weights over the processes, and `drift` would need the full pretrained encoder in each of them."
        " Set `model.reference=cached`."
    )
    end = ", which needs full weights. Launch with `accelerate launch --multi_gpu`, or leave the intervention out."
    start = "This launch shards the weights over the processes, and the intervention "
    assert launched["own"] == f"{start}`align` has weights of its own{end}"
    assert launched["reads"] == f"{start}`l2_sp` reads weights directly{end}"
    assert launched["tokens"] == f"{start}`align` reads the pretrained encoder's states of every token{end}"
    assert launched["labels"] == f"{start}`self_training` labels text by the whole model{end}"
    assert launched["swaps"] == f"{start}`mixout` replaces weights in forward passes{end}"


@pytest.mark.parametrize(
    ("variables", "refusal"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "This launch is for DeepSpeed, which distxfer does not support."),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "This launch is for Megatron-LM, which distxfer does not support."),
        (
            {"ACCELERATE_USE_FSDP": "true"},
            "This launch is for FSDP 1, and distxfer supports FSDP 2. Add `--fsdp_version 2`",
        ),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, "This launch sets FSDP_OFFLOAD_PARAMS, which distxfer does not support."),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "and set `model.gradient_checkpointing=true`."),
    ],
)
def test_a_launch_that_distxfer_has_no_part_of_is_refused(monkeypatch, variables, refusal):
    if not {"ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM", "ACCELERATE_USE_FSDP"} & {*variables}:
        variables = {**variables, "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert refusal in message(Processes)


def test_one_process_has_nothing_to_shard(monkeypatch):
    """And transformers, which heeds the same variables, is to load whole weights."""
    for name, value in {"USE_FSDP": "true", "VERSION": "2", "CPU_RAM_EFFICIENT_LOADING": "true"}.items():
        monkeypatch.setenv(f"ACCELERATE_{name}" if name == "USE_FSDP" else f"FSDP_{name}", value)
    assert not Processes().shards_weights
    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "false"
