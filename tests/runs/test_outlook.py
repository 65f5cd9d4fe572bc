"""What a run will take, said before it: counted again from the batches, the files and the weights themselves."""

import json
from types import SimpleNamespace

import pytest

from distxfer import load_recipe, train
from distxfer.data import Example
from distxfer.runs import snapshots as _measurements
from distxfer.runs.prepare import assemble, prepare
from distxfer.runs.run import outlook
from distxfer.training import Processes

ALIGN = ["intervention.align.layers=3", "intervention.align.batch_size=8"]
QUIET = ["diagnostics.gradients=0", "diagnostics.states=0"]


@pytest.fixture
def training(tiny_settings):
    """What is to be trained by a recipe, with these overrides."""

    def made(recipe: str, *overrides: str):
        return assemble(prepare(load_recipe(recipe, [*tiny_settings, *overrides])), Processes()).training

    return made


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("plain", ["phase.finetune.batch_size=5", "phase.finetune.accumulation=2"]),
        ("plain", ["phase.finetune.batch_size=7", "phase.finetune.steps=17"]),
        ("dist_align", [*ALIGN, "phase.finetune.batch_size=7", "phase.finetune.alternate=true"]),
        (
            "dist_align",
            [*ALIGN, "phase.finetune.batch_size=7", "phase.finetune.alternate=true", "phase.finetune.steps=15"],
        ),
        ("dist_align", [*ALIGN, "phase.finetune.task=false"]),
    ],
)
def test_the_examples_are_those_of_the_batches_that_the_task_reads(training, recipe, overrides):
    """144 of them: short batches at the ends of epochs, turns, and a phase without the task."""
    made = training(recipe, *overrides)
    loop, (plan,) = made._loop(0, "finetune"), made.plan()
    counted = [
        sum(len(micro.batch) for micro in loop._micros(number))
        for number in range(loop.steps)
        if "task" in loop.module.active_terms(number)
    ]
    assert plan.examples == sum(counted)
    assert plan.steps == loop.steps


def test_the_tokens_are_those_that_a_run_reads(tiny_settings, tmp_path):
    """All that `plain` reads; and where steps take turns, those of the task's."""
    plain = load_recipe("plain", [*tiny_settings, *QUIET])
    found = outlook(plain, tmp_path)
    assert found.tokens == train(plain, tmp_path).data["cost"]["tokens"]
    turns = ["phase.finetune.alternate=true", "phase.finetune.epochs=6"]
    assert outlook(load_recipe("dist_align", [*tiny_settings, *ALIGN, *turns]), tmp_path).tokens == found.tokens


def test_measuring_is_estimated_from_warm_passes(tiny_settings, tmp_path, monkeypatch):
    """A pass takes a second here, and the first one 100: what warms up is not extrapolated."""
    clock, passes = [0.0], []

    def snapshot(encoder, collate, examples, processes):
        passes.append(len(examples))
        clock[0] += 100.0 if len(passes) == 1 else 1.0

    monkeypatch.setattr(_measurements, "snapshot", snapshot)
    monkeypatch.setattr(_measurements.time, "perf_counter", lambda: clock[0])
    found = outlook(load_recipe("plain", tiny_settings), tmp_path)
    prepared = prepare(load_recipe("plain", tiny_settings))
    # Each language's test and the probe's texts in one batch before training, each test and dev in one after it.
    assert len(prepared.languages.targets) == 2
    assert found.measuring_seconds == pytest.approx(10.0)
    assert found.basis == "5 warm steps of training and 5 warm encodings on this machine"
    assert len(passes) == 6


def test_slow_passes_are_timed_once(monkeypatch):
    clock, texts = [0.0], [Example(str(n), "deu", "x" * n) for n in range(1000)]

    def snapshot(encoder, collate, examples, processes):
        clock[0] += 60.0

    monkeypatch.setattr(_measurements, "snapshot", snapshot)
    monkeypatch.setattr(_measurements.time, "perf_counter", lambda: clock[0])

    def batches(group):
        return [list(range(low, min(low + 64, len(group)))) for low in range(0, len(group), 64)]

    collate = SimpleNamespace(batches=batches)
    seconds, timed = _measurements.encoding_seconds(None, collate, [texts, texts[:64]], Processes())
    assert (seconds, timed) == (17 * 60.0, 1)  # 16 batches of 64 and 1


def test_a_dry_run_says_what_the_time_is_estimated_from(cli, tiny_settings):
    words = ["recipe=plain", *tiny_settings, "task.max_length=4", "--json"]
    answer = cli("train", *words, "--dry-run")
    facts = json.loads(answer.stdout)
    assert facts["estimated from"].endswith("warm encodings on this machine")
    assert facts["parallel text"].endswith("(domain unknown), 64 pairs in 2 languages")
    assert any(one["what"] == "cut" for one in facts["data_issues"])
    assert facts["data_issues"] == json.loads(cli("validate", *words).stdout)["data_issues"]
    assert "Texts cut off at `task.max_length` = 4 tokens: " in answer.stderr


@pytest.mark.parametrize("more", [[], ["phase.finetune.interventions=sparse,freeze", "intervention.freeze.layers=1,2"]])
def test_of_what_is_sparse_the_entries_are_counted(training, more):
    made = training("sparse", "parallel=", "intervention.sparse.share=0.1", *more)
    named = made.encoder.model.named_parameters()
    weights = {name: one.numel() for name, one in named if "word_embeddings" not in name}
    head = sum(size for name, size in weights.items() if made.encoder.place(name) == "head")
    kept = (1, 2, "embeddings") if more else ()
    inside = sum(weights.values()) - head - sum(n for name, n in weights.items() if made.encoder.place(name) in kept)
    dense, finetune = made.plan()
    assert dense.trainable_parameters == sum(weights.values())
    assert finetune.trainable_parameters == round(0.1 * inside) + head


def test_the_weights_of_an_intervention_count_too(training):
    plain, head = (training("word_align", *ALIGN, f"intervention.align.projection={n}").plan()[0] for n in (0, 5))
    assert head.trainable_parameters - plain.trainable_parameters == 16 * 16 + 16 + 16 * 5 + 5
    assert head.trainable_parameters < head.parameters


def test_the_disk_is_that_of_the_largest_checkpoint_and_the_model(tiny_settings, tmp_path):
    """A run with all that is kept: where a phase began, the mask of the entries, the mean, a head of a term's own."""
    settings = [
        *tiny_settings, *ALIGN, *QUIET, "intervention.align.projection=8", "phases=dense,finetune,more",
        "phase.dense.interventions=align", "phase.dense.epochs=2", "phase.dense.batch_size=8",
        "phase.finetune.average=2", "phase.finetune.merge=0.5", "phase.more.steps=3", "phase.more.interventions=",
    ]  # fmt: skip
    recipe, written = load_recipe("sparse", settings), []

    def read(*_):
        for path in tmp_path.glob("sparse/*/checkpoint.safetensors"):
            data = path.read_bytes()
            written.append(len(data) - 8 - int.from_bytes(data[:8], "little"))  # without the header

    result = train(recipe, tmp_path, report=read)
    found = outlook(recipe, tmp_path)
    sizes = [plan.checkpoint_bytes for plan in found.plans]
    assert sizes[1] == max(sizes)
    assert 0 <= max(written) - sizes[1] <= 4 * 200  # the optimiser's counts of its steps
    model = (result.folder / "model" / "model.safetensors").stat().st_size
    assert found.megabytes * 2**20 == pytest.approx(sizes[1] + max(sizes[1], model), rel=0.05)
