"""Adapters: what they compute, that what is saved is what was trained, one on top of another, and what goes with what."""

import json
import sys

import pytest
import torch
from peft import AutoPeftModel, PeftModel
from pyarrow import parquet
from safetensors.torch import load_file
from torch.nn.functional import gelu, linear, silu
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from conftest import ARCHITECTURES, LAYERS, save_tiny
from distxfer import InputError, load_recipe, train
from distxfer.encoders import load_encoder, merge_adapters
from distxfer.experiments._prepare import assemble, prepare
from distxfer.interventions import Languages, make_intervention
from distxfer.languages import distances
from distxfer.training import Team
from helpers import message

LANGUAGES = Languages("eng", ("deu", "jpn"))
DISTANCES = distances("eng", LANGUAGES.targets, imputed=True)
LABELS = ("animal", "plant")
TEXTS = ["the cat", "the big old dog sees two new trees", "neko ooki", "rose"]
ADAPTED_BY_IA3 = {
    "bert": {"attention.self.key", "attention.self.value", "output.dense"},
    "xlm-roberta": {"attention.self.key", "attention.self.value", "output.dense"},
    "deberta-v2": {"attention.self.key_proj", "attention.self.value_proj", "output.dense"},
    "distilbert": {"attention.k_lin", "attention.v_lin", "ffn.lin2"},
    "modernbert": {"attn.Wqkv", "mlp.Wo"},
    "qwen2": {"self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"},
    "llama": {"self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"},
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def folder(architecture, tmp_path_factory):
    """A tiny encoder of every architecture; its weights are large enough for a mistake to show."""
    return save_tiny(tmp_path_factory.mktemp(architecture), architecture, initializer_range=0.2)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("bert"), initializer_range=0.2)


def load(folder, **settings):
    return load_encoder(str(folder), folder, LABELS, seed=0, **settings)


def bind(encoder, kind, **keys):
    made, complaints = make_intervention(kind, keys)
    assert made is not None, complaints
    return made.bind(encoder, LANGUAGES, DISTANCES)


def states(encoder):
    return encoder.states([dict(encoder.tokenizer(TEXTS, padding=True, return_tensors="pt"))])


def shake(encoder, names, seed=1):
    """Add noise to these parameters, as training would."""
    parameters, random = dict(encoder.model.named_parameters()), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in sorted(names):
            parameters[name].add_(0.1 * torch.randn(parameters[name].shape, generator=random))


def logits_of(model, folder):
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**tokens).logits


def close(one, other, tolerance=1e-5):
    torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


# Each kind


@pytest.mark.parametrize(
    ("kind", "keys"), [("lora", {}), ("lora", {"dora": True}), ("ia3", {}), ("bottleneck", {"r": 3})]
)
def test_new_adapters_change_nothing_and_only_they_and_the_head_may_train(folder, kind, keys):
    plain, encoder = load(folder), load(folder)
    bound = bind(encoder, kind, **keys)
    close(states(encoder), states(plain))
    trains = {name for name, one in encoder.model.named_parameters() if one.requires_grad}
    assert trains == encoder.adapters
    assert bound.adapters < trains
    assert {encoder.place(name) for name in bound.adapters} == set(range(1, LAYERS + 1))
    assert {encoder.place(name) for name in trains - bound.adapters} == {"head"}
    sizes = {name: one.shape for name, one in plain.model.named_parameters()}
    kept = [
        one.shape for name, one in encoder.model.named_parameters() if name not in trains and "original" not in name
    ]
    assert sorted(kept) == sorted(size for name, size in sizes.items() if plain.place(name) != "head")


@pytest.mark.parametrize(("kind", "keys"), [("lora", {"dora": True}), ("ia3", {}), ("bottleneck", {"r": 3})])
def test_what_is_saved_is_what_was_trained(folder, kind, keys, tmp_path):
    encoder = load(folder)
    bind(encoder, kind, **keys)
    before, _ = states(encoder)
    shake(encoder, encoder.adapters)
    hidden, expected = states(encoder)
    assert all(not torch.allclose(one, other, atol=1e-3) for one, other in zip(before[1:], hidden[1:], strict=True))
    encoder.save(tmp_path)
    if kind == "bottleneck":
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
        again = load(tmp_path)
        assert again.head_is_loaded
    else:
        plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
        model = PeftModel.from_pretrained(plain, str(tmp_path))
        again = merge_adapters(load(folder), tmp_path)
    close(logits_of(model, tmp_path), expected)
    close(states(again)[0], hidden)


def test_dora_trains_the_lengths_of_the_rows_apart_from_their_directions(bert):
    encoder = load(bert)
    bind(encoder, "lora", dora=True, r=2, alpha=6, layers=[2])
    shake(encoder, encoder.adapters)
    layer = encoder.base.get_submodule("encoder.layer.1.intermediate.dense")
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    moved = layer.base_layer.weight + 6 / 2 * b @ a
    lengths = layer.lora_magnitude_vector["default"].weight
    assert lengths.requires_grad
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    weight = lengths[:, None] * moved / moved.norm(dim=1, keepdim=True)
    close(layer(x), linear(x, weight, layer.base_layer.bias))


def test_ia3_multiplies_keys_values_and_what_is_inside_the_feed_forward_layer(folder, architecture):
    """The same as a plain model whose weights are multiplied: rows of keys and values, columns of the feed-forward layer."""
    encoder, plain = load(folder), load(folder)
    bound = bind(encoder, "ia3", layers=[1, 3])
    names = {name.removeprefix("base_model.model.").removesuffix(".ia3_l.default"): name for name in bound.adapters}
    assert {name.removeprefix(encoder.blocks).split(".", 1)[0] for name in names} == {"0", "2"}
    assert {name.removeprefix(encoder.blocks).split(".", 1)[1] for name in names} == ADAPTED_BY_IA3[architecture]
    shake(encoder, bound.adapters)
    factors = dict(encoder.model.named_parameters())
    with torch.no_grad():
        for name, adapter in names.items():
            layer, factor = plain.model.get_submodule(name), factors[adapter].flatten()
            if layer.in_features > layer.out_features and "att" not in name.removeprefix(encoder.blocks):
                layer.weight.mul_(factor)
            else:
                layer.weight.mul_(factor[:, None])
                if layer.bias is not None:
                    layer.bias.mul_(factor)
    close(states(encoder)[0], states(plain)[0])


def test_a_bottleneck_is_added_to_the_feed_forward_layer(bert):
    encoder, plain = load(bert), load(bert)
    for r in (3, 2):  # two of them add up
        bind(encoder, "bottleneck", r=r)
    shake(encoder, encoder.adapters)
    into, out = (encoder.base.get_submodule(f"encoder.layer.1.{name}.dense") for name in ("intermediate", "output"))
    block = plain.base.get_submodule("encoder.layer.1")
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    extra = [up(gelu(down(x))) for down, up in zip(into.more, out.more, strict=True)]
    assert [one.weight.shape for one in out.more] == [(16, 3), (16, 2)]
    close(out(gelu(into(x))), block.output.dense(block.intermediate(x)) + sum(extra))


def test_a_bottleneck_has_the_gate_of_a_gated_feed_forward_layer(tmp_path):
    for architecture in ("qwen2", "modernbert"):
        folder = save_tiny(tmp_path / architecture, architecture, initializer_range=0.2)
        encoder, plain = load(folder), load(folder)
        bind(encoder, "bottleneck", r=3)
        shake(encoder, encoder.adapters)
        mlp, before = (one.base.get_submodule("layers.1.mlp").eval() for one in (encoder, plain))
        x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
        if architecture == "qwen2":
            gate, up, down = (one.more[0] for one in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
            extra = down(silu(gate(x)) * up(x))
        else:
            inside, gate = mlp.Wi.more[0](x).split(3, dim=-1)
            extra = mlp.Wo.more[0](gelu(inside) * gate)
        assert extra.abs().max() > 0.01
        close(mlp(x), before(x) + extra)


def test_with_bottlenecks_the_reference_is_the_pretrained_encoder(bert):
    encoder = load(bert)
    bind(encoder, "bottleneck")
    before, _ = states(encoder)
    reference = encoder.reference(encoder.adapters.__contains__)
    shake(encoder, encoder.adapters)
    inputs = dict(encoder.tokenizer(TEXTS, padding=True, return_tensors="pt"))
    assert torch.equal(reference.states(TEXTS, inputs), before)
    assert not torch.allclose(states(encoder)[0], before, atol=1e-3)


# One on top of another


def test_two_adapters_add_up_and_share_one_head(bert):
    encoder = load(bert)
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
    assert torch.equal(reference.states(TEXTS, inputs), states(load(bert))[0])


def test_a_saved_stack_is_loaded_again_by_peft_and_by_measure(folder, tmp_path):
    check_stack(folder, tmp_path, "lora")


@pytest.mark.parametrize(("kind", "first"), [("lora", {"dora": True}), ("ia3", {})])
def test_a_saved_stack_of_another_kind(bert, kind, first, tmp_path):
    check_stack(bert, tmp_path, kind, **first)


def check_stack(folder, tmp_path, kind, **first):
    encoder = load(folder)
    bounds = [bind(encoder, kind, **first), bind(encoder, kind), bind(encoder, kind)]
    shake(encoder, encoder.adapters)
    hidden, expected = states(encoder)
    encoder.save(tmp_path)
    assert {path.parent.name for path in tmp_path.glob("*/adapter_model.safetensors")} == {"adapter_2", "adapter_3"}
    model = stack(tmp_path, "adapter_2", "adapter_3")
    close(logits_of(model, tmp_path), expected, 1e-6)
    (tmp_path / "adapter_3").rename(tmp_path / "checkpoint-5")  # no part of the stack
    merged, _ = states(merge_adapters(load(folder), tmp_path))
    assert not torch.allclose(merged, hidden, atol=1e-3)
    (tmp_path / "checkpoint-5").rename(tmp_path / "adapter_3")
    close(states(merge_adapters(load(folder), tmp_path))[0], hidden, 1e-4)
    assert len(frozenset().union(*(one.adapters for one in bounds))) == sum(len(one.adapters) for one in bounds)


def stack(folder, *more):
    """Load a saved stack with nothing but PEFT, as the documentation has it."""
    model = AutoPeftModel.from_pretrained(folder, num_labels=2)
    for name in more:
        model.load_adapter(folder / name, name)
    model.base_model.set_adapter(["default", *more], inference_mode=True)
    return model


def test_a_damaged_adapter_of_a_stack_is_named(bert, tmp_path):
    encoder = load(bert)
    for _ in range(2):
        bind(encoder, "lora")
    encoder.save(tmp_path / "two")
    bind(other := load(bert), "lora", layers=[1])
    other.save(tmp_path / "one")
    path = tmp_path / "two" / "adapter_2" / "adapter_model.safetensors"
    path.write_bytes((tmp_path / "one" / "adapter_model.safetensors").read_bytes())
    with pytest.raises(InputError) as error:
        merge_adapters(load(bert), tmp_path / "two")
    assert f"The adapters in `{path.parent}` do not fit `{bert}`: `base_model.model.bert." in str(error.value)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_settings):
    """Run the recipe of a language adapter, once for each set of overrides."""
    results, done = tmp_path_factory.mktemp("runs"), {}
    settings = [
        *tiny_settings, "phase.realign.batch_size=8", "phase.realign.epochs=1", "phase.realign.learning_rate=3e-2",
        "phase.finetune.epochs=1", "phase.finetune.learning_rate=1e-2", "intervention.align.layers=3",
        "intervention.language.r=3", "diagnostics.gradients=0", "diagnostics.states=0",
    ]  # fmt: skip

    def run(*overrides):
        if overrides not in done:
            done[overrides] = train(load_recipe("language_adapter", [*settings, *overrides]), results).folder
        return done[overrides]

    run.settings = settings
    return run


def adapter(folder, name=""):
    return load_file(folder / "model" / name / "adapter_model.safetensors")


def same(one, other):
    return {key for key in one if torch.equal(one[key], other[key])}


def test_each_phase_trains_its_own_adapter_and_the_head(runs):
    prepared = prepare(load_recipe("language_adapter", runs.settings))
    assembled = assemble(prepared, Team())
    sizes = {name: one.numel() for name, one in assembled.encoder.model.named_parameters()}
    brought = {name: sum(sizes[key] for key in bound.adapters) for name, bound in assembled.bounds.items()}
    head = sum(sizes[key] for key in assembled.encoder.adapters) - sum(brought.values())
    assert head == 2 * 16 + 2
    assert brought["align"] == 0 < brought["language"] != brought["classifier"]
    plan = {one.phase: one.trainable_parameters for one in assembled.training.plan()}
    assert plan == {"realign": brought["language"] + head, "finetune": brought["classifier"] + head}


def test_the_language_adapter_moves_in_its_own_phase_and_not_in_the_tasks(runs):
    short, long, realigned = runs(), runs("phase.finetune.epochs=2"), runs("phase.realign.epochs=2")
    language = {key for key in adapter(short) if "lora" in key}
    assert all(one.any() for key, one in adapter(short).items() if "lora_B" in key and ".layer.3." not in key)
    assert same(adapter(short), adapter(long)) == language  # the head is what moved
    assert not same(adapter(short, "adapter_2"), adapter(long, "adapter_2"))
    moved = language - same(adapter(short), adapter(realigned))
    # The loss is at layer 3, and nothing above it is moved.
    assert moved == {key for key in language if ".layer.3." not in key}


def answers(model, folder, path):
    """Return the class probabilities of the texts in a file, by their ids."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    tokens = AutoTokenizer.from_pretrained(folder)([one["text"] for one in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model.eval()(**tokens).logits.softmax(1)
    return {one["id"]: chances for one, chances in zip(rows, found, strict=True)}


def test_the_saved_stack_says_what_the_run_said_and_another_language_adapter_something_else(runs, task_folder):
    """From the saved files and plain PEFT alone; the other language adapter is of another seed, or another language."""
    folder, texts = runs() / "model", task_folder / "deu" / "test.jsonl"
    found = answers(stack(folder, "adapter_2"), folder, texts)
    for row in parquet.read_table(folder.parent / "predictions.parquet").to_pylist():
        if row["language"] == "deu":
            chances = torch.tensor([row[f"probability_{label}"] for label in LABELS])
            close(found[row["example_id"]], chances, 1e-6)
    for other in ("seed=1", "intervention.align.languages=deu"):
        model = AutoPeftModel.from_pretrained(folder, num_labels=2)
        for name, place in (("adapter_2", folder / "adapter_2"), ("other", runs(other) / "model")):
            model.load_adapter(place, name)
        heads = model.get_submodule("base_model.model.classifier.modules_to_save")
        heads["other"].load_state_dict(heads["default"].state_dict())  # this run's task, the other run's language
        model.base_model.set_adapter(["other", "adapter_2"], inference_mode=True)
        swapped = answers(model, folder, texts)
        assert max((swapped[key] - found[key]).abs().max() for key in found) > 1e-3


def test_a_phase_that_names_no_adapter_trains_the_head_alone(tiny_settings):
    settings = [
        *tiny_settings,
        "phases=adapt,finetune",
        "phase.adapt.interventions=lora",
        "phase.finetune.interventions=",
    ]
    assembled = assemble(prepare(load_recipe("lora", settings)), Team())
    plan = {one.phase: one.trainable_parameters for one in assembled.training.plan()}
    assert plan["finetune"] == 2 * 16 + 2 < plan["adapt"]


@pytest.mark.parametrize("name", ["dora", "ia3", "bottleneck"])
def test_the_shipped_recipes_train(name, tiny_settings, tmp_path):
    settings = [*tiny_settings, "phase.finetune.epochs=1", "diagnostics.states=0"]
    result = train(load_recipe(name, settings), tmp_path)
    assert {one["language"] for one in result.data["scores"]} >= {"eng", "deu", "jpn"}
    assert (result.folder / "model" / "adapter_config.json").is_file() == (name != "bottleneck")


# What does not go together


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            "lora",
            "ia3",
            "PEFT does not let these adapters act in one encoder: Cannot combine adapters with different peft types."
            " Give all adapter interventions of the recipe the same `kind`.",
        ),
        *(
            (
                *kinds,
                "Bottlenecks are saved as a part of the model and PEFT's adapters beside it, so one encoder cannot have"
                " both. Give all adapter interventions of the recipe the same `kind`.",
            )
            for kinds in (("lora", "bottleneck"), ("bottleneck", "lora"), ("bottleneck", "ia3"))
        ),
    ],
)
def test_adapters_that_cannot_be_in_one_encoder(bert, first, second, message):
    encoder = load(bert)
    bind(encoder, first)
    with pytest.raises(InputError) as error:
        bind(encoder, second)
    assert str(error.value) == message


def test_adapters_are_saved_beside_the_whole_encoder(bert):
    """PEFT's, that is: they would be loaded into an encoder that has the blocks again."""
    encoder = load(bert, drop_last_layers=1)
    with pytest.raises(InputError) as error:
        bind(encoder, "lora")
    assert str(error.value) == (
        "`model.drop_last_layers` is `1`, but adapters are saved beside the whole encoder, so that the blocks would be back"
        " when they are loaded. Set it to 0, and keep the adapters to lower `layers`."
    )
    bind(encoder, "bottleneck")


def test_what_acts_on_the_encoders_own_weights_is_refused_beside_adapters(tmp_path, tiny_settings, monkeypatch):
    (tmp_path / "heavy-1.dist-info").mkdir()
    (tmp_path / "heavy_package.py").write_text(
        "from dataclasses import dataclass\nfrom distxfer.interventions import Bound\n\n\n@dataclass(frozen=True)\n"
        "class Heavy:\n    def bind(self, encoder, languages, distances):\n"
        '        return Bound(weights=lambda name, one: one, needs=frozenset({"weights"}))\n'
    )
    (tmp_path / "heavy-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy\nVersion: 1\n")
    (tmp_path / "heavy-1.dist-info" / "entry_points.txt").write_text(
        "[distxfer.interventions]\nheavy = heavy_package:Heavy\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    recipe = tmp_path / "heavy.toml"
    for kind in ("lora", "ia3", "bottleneck"):
        recipe.write_text(f"# Both.\n[intervention.heavy]\n[intervention.{kind}]\n")
        with pytest.raises(InputError) as error:
            assemble(prepare(load_recipe(str(recipe), tiny_settings)), Team())
        assert str(error.value) == (
            "The intervention `heavy` acts on the encoder's own weights, which do not train where there are adapters. Take"
            " one of the two out of the recipe."
        )
    sys.modules.pop("heavy_package", None)


def test_dora_on_top_of_other_adapters_is_refused(bert):
    encoder = load(bert)
    bind(encoder, "lora", r=2)
    assert message(lambda: bind(encoder, "lora", r=2, dora=True)).startswith(
        "`dora` = `true` also scales what the adapters"
    )
