"""Adapters: what each kind computes, that what is saved is what was trained, and what goes with what."""

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import gelu, linear, silu
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from adapted import TEXTS, close, load, logits_of, shake, states
from conftest import LAYERS, save_tiny
from distxfer import InputError, load_recipe, train
from distxfer.encoders import merge_adapters
from distxfer.runs.prepare import assemble, prepare
from distxfer.training import Processes
from fakes import bind
from helpers import installed, message

ADAPTED_BY_IA3 = {
    "bert": {"attention.self.key", "attention.self.value", "output.dense"},
    "xlm-roberta": {"attention.self.key", "attention.self.value", "output.dense"},
    "deberta-v2": {"attention.self.key_proj", "attention.self.value_proj", "output.dense"},
    "distilbert": {"attention.k_lin", "attention.v_lin", "ffn.lin2"},
    "modernbert": {"attn.Wqkv", "mlp.Wo"},
    "qwen2": {"self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"},
    "llama": {"self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"},
}


# Each kind


@pytest.mark.parametrize(
    ("kind", "keys"), [("lora", {}), ("lora", {"dora": True}), ("ia3", {}), ("bottleneck", {"r": 3})]
)
def test_new_adapters_change_nothing_and_only_they_and_the_head_may_train(coarse, kind, keys):
    plain, encoder = load(coarse), load(coarse)
    bound = bind(encoder, kind, **keys)
    close(states(encoder), states(plain))
    trains = {name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad}
    assert trains == encoder.adapters
    assert bound.adapters < trains
    assert {encoder.place(name) for name in bound.adapters} == set(range(1, LAYERS + 1))
    assert {encoder.place(name) for name in trains - bound.adapters} == {"head"}
    sizes = {name: parameter.shape for name, parameter in plain.model.named_parameters()}
    kept = [
        parameter.shape
        for name, parameter in encoder.model.named_parameters()
        if name not in trains and "original" not in name
    ]
    assert sorted(kept) == sorted(size for name, size in sizes.items() if plain.place(name) != "head")


@pytest.mark.parametrize(("kind", "keys"), [("lora", {"dora": True}), ("ia3", {}), ("bottleneck", {"r": 3})])
def test_what_is_saved_is_what_was_trained(coarse, kind, keys, tmp_path):
    encoder = load(coarse)
    bind(encoder, kind, **keys)
    before, _ = states(encoder)
    shake(encoder, encoder.adapters)
    hidden, expected = states(encoder)
    assert all(
        not torch.allclose(first, second, atol=1e-3) for first, second in zip(before[1:], hidden[1:], strict=True)
    )
    encoder.save(tmp_path)
    model_class = AutoModelForTokenClassification if encoder.token_head else AutoModelForSequenceClassification
    if kind == "bottleneck":
        model = model_class.from_pretrained(tmp_path)
        again = load(tmp_path)
        assert again.head_is_loaded
    else:
        plain = model_class.from_pretrained(coarse, num_labels=2)
        model = PeftModel.from_pretrained(plain, str(tmp_path))
        again = merge_adapters(load(coarse), tmp_path)
    close(logits_of(model, tmp_path), expected)
    close(states(again)[0], hidden)


def test_dora_trains_the_lengths_of_the_rows_apart_from_their_directions(coarse_bert):
    encoder = load(coarse_bert)
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


def test_ia3_multiplies_keys_values_and_what_is_inside_the_feed_forward_layer(coarse, architecture):
    """The same as a plain model whose weights are multiplied: rows of keys and values, columns of the feed-forward layer."""
    encoder, plain = load(coarse), load(coarse)
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


def test_a_bottleneck_is_added_to_the_feed_forward_layer(coarse_bert):
    encoder, plain = load(coarse_bert), load(coarse_bert)
    for r in (3, 2):  # two of them add up
        bind(encoder, "bottleneck", r=r)
    shake(encoder, encoder.adapters)
    into, out = (encoder.base.get_submodule(f"encoder.layer.1.{name}.dense") for name in ("intermediate", "output"))
    block = plain.base.get_submodule("encoder.layer.1")
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    extra = [up(gelu(down(x))) for down, up in zip(into.more, out.more, strict=True)]
    assert [module.weight.shape for module in out.more] == [(16, 3), (16, 2)]
    close(out(gelu(into(x))), block.output.dense(block.intermediate(x)) + sum(extra))


def test_a_bottleneck_has_the_gate_of_a_gated_feed_forward_layer(tmp_path):
    for architecture in ("qwen2", "modernbert"):
        folder = save_tiny(tmp_path / architecture, architecture, initializer_range=0.2)
        encoder, plain = load(folder), load(folder)
        bind(encoder, "bottleneck", r=3)
        shake(encoder, encoder.adapters)
        mlp, before = (model.base.get_submodule("layers.1.mlp").eval() for model in (encoder, plain))
        x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
        if architecture == "qwen2":
            gate, up, down = (module.more[0] for module in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
            extra = down(silu(gate(x)) * up(x))
        else:
            inside, gate = mlp.Wi.more[0](x).split(3, dim=-1)
            extra = mlp.Wo.more[0](gelu(inside) * gate)
        assert extra.abs().max() > 0.01
        close(mlp(x), before(x) + extra)


def test_with_bottlenecks_the_reference_is_the_pretrained_encoder(coarse_bert):
    encoder = load(coarse_bert)
    bind(encoder, "bottleneck")
    before, _ = states(encoder)
    reference = encoder.reference(encoder.adapters.__contains__)
    shake(encoder, encoder.adapters)
    inputs = dict(encoder.tokenizer(TEXTS, padding=True, return_tensors="pt"))
    assert torch.equal(reference.states(TEXTS, inputs), before)
    assert not torch.allclose(states(encoder)[0], before, atol=1e-3)


def test_a_phase_that_names_no_adapter_trains_the_head_alone(tiny_settings):
    settings = [
        *tiny_settings,
        "phases=adapt,finetune",
        "phase.adapt.interventions=lora",
        "phase.finetune.interventions=",
    ]
    assembled = assemble(prepare(load_recipe("lora", settings)), Processes())
    plan = {phase.phase: phase.trainable_parameters for phase in assembled.training.plan()}
    assert plan["finetune"] == 2 * 16 + 2 < plan["adapt"]


@pytest.mark.parametrize("name", ["dora", "ia3", "bottleneck"])
def test_the_shipped_recipes_train(name, tiny_settings, tmp_path):
    settings = [*tiny_settings, "phase.finetune.epochs=1", "diagnostics.states=0"]
    result = train(load_recipe(name, settings), tmp_path)
    assert {score["language"] for score in result.data["scores"]} >= {"eng", "deu", "jpn"}
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
def test_adapters_that_cannot_be_in_one_encoder(coarse_bert, first, second, message):
    encoder = load(coarse_bert)
    bind(encoder, first)
    with pytest.raises(InputError) as error:
        bind(encoder, second)
    assert str(error.value) == message


def test_adapters_are_saved_beside_the_whole_encoder(coarse_bert):
    """PEFT's, that is: they would be loaded into an encoder that has the blocks again."""
    encoder = load(coarse_bert, drop_last_layers=1)
    with pytest.raises(InputError) as error:
        bind(encoder, "lora")
    assert str(error.value) == (
        "`model.drop_last_layers` is `1`, but adapters are saved beside the whole encoder, so that the blocks would be back"
        " when they are loaded. Set it to 0, and keep the adapters to lower `layers`."
    )
    bind(encoder, "bottleneck")


def test_what_acts_on_the_encoders_own_weights_is_refused_beside_adapters(tmp_path, tiny_settings):
    package = (
        "from dataclasses import dataclass\nfrom distxfer.interventions import BoundIntervention\n\n\n@dataclass(frozen=True)\n"
        "class Heavy:\n    def bind(self, encoder, languages, distances):\n"
        '        return BoundIntervention(replace_weight=lambda name, weight: weight, needs=frozenset({"weights"}))\n'
    )
    recipe = tmp_path / "heavy.toml"
    with installed(tmp_path / "site", package, heavy="Heavy"):
        for kind in ("lora", "ia3", "bottleneck"):
            recipe.write_text(f"# Both.\n[intervention.heavy]\n[intervention.{kind}]\n")
            prepared = prepare(load_recipe(str(recipe), tiny_settings))
            assert message(assemble, prepared, Processes()) == (
                "The intervention `heavy` acts on the encoder's own weights, which are frozen under adapters. Remove"
                " one of the two from the recipe."
            )


def test_dora_on_top_of_other_adapters_is_refused(coarse_bert):
    encoder = load(coarse_bert)
    bind(encoder, "lora", r=2)
    assert message(lambda: bind(encoder, "lora", r=2, dora=True)).startswith(
        "`dora` = `true` also scales the earlier adapters"
    )


@pytest.mark.parametrize(
    ("kind", "overrides"),
    [
        ("lora", ["intervention.freeze.layers=all"]),
        ("lora", ["intervention.lora.layers=1", "intervention.freeze.layers=1"]),
        ("bottleneck", ["intervention.freeze.layers=all"]),
    ],
)
def test_an_adapter_of_which_nothing_may_train_is_refused(tiny_settings, kind, overrides):
    with pytest.raises(InputError) as error:
        assemble(prepare(load_recipe(kind, [*tiny_settings, *overrides])), Processes())
    assert str(error.value) == (
        f"All parameters that the intervention `{kind}` adds to the encoder are frozen by other interventions in the phase"
        " `finetune`. Freeze fewer layers, or leave one of the two out."
    )


def test_frozen_bottlenecks_stay_as_they_were(tiny_settings, tmp_path):
    """`freeze` keeps `bottleneck` to some layers, which has no `layers` of its own."""
    settings = [*tiny_settings, "phase.finetune.epochs=1", "intervention.freeze.layers=1", "diagnostics.states=0"]
    assembled = assemble(prepare(load_recipe("bottleneck", settings)), Processes())
    encoder = assembled.training.encoder
    before = {name: parameter.detach().clone() for name, parameter in encoder.model.named_parameters()}
    assembled.training.run(tmp_path, lambda *_: None, dict)
    moved = {name for name, parameter in encoder.model.named_parameters() if not torch.equal(parameter, before[name])}
    assert {encoder.place(name) for name in moved} == {2, 3, 4, "head"}
