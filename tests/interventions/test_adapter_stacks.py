"""Adapters on top of one another: one head, saved and loaded again, and a language adapter under a task's."""

import json

import pytest
import torch
from peft import AutoPeftModel
from pyarrow import parquet
from safetensors.torch import load_file
from torch.nn.functional import linear

from adapted import LABELS, TEXTS, close, load, logits_of, shake, states
from distxfer import InputError, load_recipe, train
from distxfer.encoders import merge_adapters
from distxfer.runs.prepare import assemble, prepare
from distxfer.training import Processes
from fakes import bind


def test_two_adapters_add_up_and_share_one_head(coarse_bert):
    encoder = load(coarse_bert)
    first = bind(encoder, "lora", r=2, layers=[1, 2])
    head = encoder.adapters - first.adapters
    second = bind(encoder, "lora", r=3, alpha=3, layers=[2, 3])
    assert not first.adapters & second.adapters
    assert encoder.adapters == first.adapters | second.adapters | head
    assert {encoder.place(name) for name in second.adapters} == {2, 3}
    shake(encoder, encoder.adapters)
    layer = encoder.base.get_submodule("encoder.layer.1.output.dense")
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    deltas = [
        scale * layer.lora_B[name].weight @ layer.lora_A[name].weight
        for name, scale in (("default", 16.0), ("adapter_2", 1.0))
    ]
    close(layer(x), linear(x, layer.base_layer.weight + sum(deltas), layer.base_layer.bias))
    reference = encoder.reference(encoder.adapters.__contains__)
    inputs = dict(encoder.tokenizer(TEXTS, padding=True, return_tensors="pt"))
    assert torch.equal(reference.states(TEXTS, inputs), states(load(coarse_bert))[0])


def test_a_saved_stack_is_loaded_again_by_peft_and_by_measure(coarse, tmp_path):
    check_stack(coarse, tmp_path, "lora")


@pytest.mark.parametrize(("kind", "first"), [("lora", {"dora": True}), ("ia3", {})])
def test_a_saved_stack_of_another_kind(coarse_bert, kind, first, tmp_path):
    check_stack(coarse_bert, tmp_path, kind, **first)


def check_stack(coarse, tmp_path, kind, **first):
    encoder = load(coarse)
    bounds = [bind(encoder, kind, **first), bind(encoder, kind), bind(encoder, kind)]
    shake(encoder, encoder.adapters)
    hidden, expected = states(encoder)
    encoder.save(tmp_path)
    assert {path.parent.name for path in tmp_path.glob("*/adapter_model.safetensors")} == {"adapter_2", "adapter_3"}
    model = stack(tmp_path, "adapter_2", "adapter_3")
    close(logits_of(model, tmp_path), expected, 1e-6)
    (tmp_path / "adapter_3").rename(tmp_path / "checkpoint-5")  # no part of the stack
    merged, _ = states(merge_adapters(load(coarse), tmp_path))
    assert not torch.allclose(merged, hidden, atol=1e-3)
    (tmp_path / "checkpoint-5").rename(tmp_path / "adapter_3")
    close(states(merge_adapters(load(coarse), tmp_path))[0], hidden, 1e-4)
    assert len(frozenset().union(*(bound.adapters for bound in bounds))) == sum(len(bound.adapters) for bound in bounds)


def stack(folder, *more):
    """Load a saved stack with nothing but PEFT, as the documentation has it."""
    model = AutoPeftModel.from_pretrained(folder, num_labels=2)
    for name in more:
        model.load_adapter(folder / name, name)
    model.base_model.set_adapter(["default", *more], inference_mode=True)
    return model


def test_a_damaged_adapter_of_a_stack_is_named(coarse_bert, tmp_path):
    encoder = load(coarse_bert)
    for _ in range(2):
        bind(encoder, "lora")
    encoder.save(tmp_path / "two")
    bind(other := load(coarse_bert), "lora", layers=[1])
    other.save(tmp_path / "one")
    path = tmp_path / "two" / "adapter_2" / "adapter_model.safetensors"
    path.write_bytes((tmp_path / "one" / "adapter_model.safetensors").read_bytes())
    with pytest.raises(InputError) as error:
        merge_adapters(load(coarse_bert), tmp_path / "two")
    assert f"The adapters in `{path.parent}` do not fit `{coarse_bert}`: `base_model.model.bert." in str(error.value)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_settings):
    """Run the recipe of a language adapter, once for each set of overrides."""
    results, done = tmp_path_factory.mktemp("runs"), {}
    settings = [
        *tiny_settings, "phase.realign.batch_size=24", "phase.realign.epochs=1", "phase.realign.learning_rate=3e-2",
        "phase.finetune.epochs=1", "phase.finetune.learning_rate=1e-2", "intervention.align.layers=3",
        "intervention.language.r=3", "diagnostics.gradients=0", "diagnostics.states=0", "diagnostics.probabilities=true",
    ]  # fmt: skip

    def run(*overrides):
        if overrides not in done:
            done[overrides] = train(load_recipe("language_adapter", [*settings, *overrides]), results).folder
        return done[overrides]

    run.settings = settings
    return run


def adapter(folder, name=""):
    return load_file(folder / "model" / name / "adapter_model.safetensors")


def same(first, second):
    return {key for key in first if torch.equal(first[key], second[key])}


def test_each_phase_trains_its_own_adapter_and_the_head(runs):
    prepared = prepare(load_recipe("language_adapter", runs.settings))
    assembled = assemble(prepared, Processes())
    sizes = {name: parameter.numel() for name, parameter in assembled.encoder.model.named_parameters()}
    brought = {name: sum(sizes[key] for key in bound.adapters) for name, bound in assembled.bounds.items()}
    head = sum(sizes[key] for key in assembled.encoder.adapters) - sum(brought.values())
    assert head == 2 * 16 + 2
    assert brought["align"] == 0 < brought["language"] != brought["classifier"]
    plan = {phase.phase: phase.trainable_parameters for phase in assembled.training.plan()}
    assert plan == {"realign": brought["language"] + head, "finetune": brought["classifier"] + head}


def test_the_language_adapter_moves_in_its_own_phase_and_not_in_the_tasks(runs):
    short, long, realigned = runs(), runs("phase.finetune.epochs=2"), runs("phase.realign.epochs=2")
    language = {key for key in adapter(short) if "lora" in key}
    assert all(weight.any() for key, weight in adapter(short).items() if "lora_B" in key and ".layer.3." not in key)
    assert same(adapter(short), adapter(long)) == language  # the head is what moved
    assert not same(adapter(short, "adapter_2"), adapter(long, "adapter_2"))
    moved = language - same(adapter(short), adapter(realigned))
    # The loss is at layer 3, and nothing above it is moved.
    assert moved == {key for key in language if ".layer.3." not in key}


def answers(model, folder, path):
    """Return the class probabilities of the texts in a file, by their ids."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    probabilities = logits_of(model, folder, [row["text"] for row in rows]).softmax(1)
    return {row["id"]: chances for row, chances in zip(rows, probabilities, strict=True)}


def test_the_saved_stack_says_what_the_run_said_and_another_language_adapter_something_else(runs, task_folder):
    """From the saved files and plain PEFT alone; the other language adapter is of another seed, or another language."""
    folder, texts = runs() / "model", task_folder / "deu" / "test.jsonl"
    answered = answers(stack(folder, "adapter_2"), folder, texts)
    for row in parquet.read_table(folder.parent / "predictions.parquet").to_pylist():
        if row["language"] == "deu":
            chances = torch.tensor([row[f"probability_{label}"] for label in LABELS])
            close(answered[row["example_id"]], chances, 1e-6)
    for other in ("seed=1", "intervention.align.languages=deu"):
        model = AutoPeftModel.from_pretrained(folder, num_labels=2)
        for name, place in (("adapter_2", folder / "adapter_2"), ("other", runs(other) / "model")):
            model.load_adapter(place, name)
        heads = model.get_submodule("base_model.model.classifier.modules_to_save")
        heads["other"].load_state_dict(heads["default"].state_dict())  # this run's task, the other run's language
        model.base_model.set_adapter(["other", "adapter_2"], inference_mode=True)
        swapped = answers(model, folder, texts)
        assert max((swapped[key] - answered[key]).abs().max() for key in answered) > 1e-3
