"""bf16 and gradient checkpointing: what they may change, and what they may not."""

import json
from functools import cache

import pytest
import torch
from peft import LoraConfig

from conftest import ARCHITECTURES, save_tiny
from distxfer import load_recipe, train
from distxfer.encoders import load_encoder
from distxfer.encoders._int8 import Int8Linear
from distxfer.errors import RunError
from distxfer.training import Processes
from helpers import log, message, same, weights

ONE = ["phase.finetune.epochs=1", "diagnostics.gradients=2"]
TEXTS = ["the cat", "the big old dog sees two new trees", "rose"]


# With another term, for the reference; `dist_align` is of layer 8 otherwise.
MORE = {
    "dist_align": ["intervention.align.layers=2", "intervention.drift.weight=1"],
    "lora": ["intervention.drift.weight=1"],
}


def run(tiny_settings, folder, recipe, *overrides):
    overrides = (*MORE.get(recipe, ()), *overrides)
    return train(load_recipe(recipe, [*tiny_settings, *ONE, *overrides]), folder)


@pytest.fixture(scope="module")
def runs(tiny_settings, tmp_path_factory):
    """Runs of a recipe with one more override or none, each trained once for all tests."""
    folder = tmp_path_factory.mktemp("runs")
    return cache(lambda recipe, *overrides: run(tiny_settings, folder, recipe, *overrides))


def inputs(encoder):
    return dict(encoder.tokenizer(TEXTS, padding=True, return_tensors="pt"))


def gradients(encoder, forward):
    """The gradient of every parameter, dropout and all, from the same stream."""
    encoder.model.train()
    encoder.model.zero_grad()
    torch.manual_seed(3)
    forward(encoder).square().sum().backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in encoder.model.named_parameters()
        if parameter.grad is not None
    }


def count_passes(encoder):
    """A list that grows each time that the last block computes something."""
    seen = []
    block = encoder.base.get_submodule(f"{encoder.blocks.removeprefix(f'{encoder.base_name}.')}{encoder.layers - 1}")
    block.register_forward_hook(lambda *_: seen.append(1))
    # Transformers wraps the block's own call, so what is computed again shows in its parts.
    part = next(module for module in block.modules() if isinstance(module, torch.nn.Linear))
    part.register_forward_hook(lambda *_: seen.append(1))
    return seen


@pytest.mark.parametrize("architecture", [*ARCHITECTURES])
def test_checkpointing_changes_no_gradient_and_is_at_work(architecture, tmp_path):
    folder = save_tiny(tmp_path / architecture, architecture, initializer_range=0.2)
    plain, again = (load_encoder("tiny", folder, ("a", "b"), seed=0, gradient_checkpointing=on) for on in (False, True))
    for forward in (
        lambda encoder: encoder.classify(inputs(encoder)).logits,
        lambda encoder: encoder.encode(inputs(encoder)).pooled_layers(),
        lambda encoder: torch.cat(
            [encoder.encode(inputs(encoder)).pooled(2), encoder.encode(inputs(encoder)).pooled(1)]
        ),
    ):
        expected, recomputed = gradients(plain, forward), gradients(again, forward)
        assert expected.keys() == recomputed.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(recomputed[name], gradient, atol=1e-6, rtol=1e-5, msg=name)
    once, twice = count_passes(plain), count_passes(again)
    for encoder in (plain, again):
        gradients(encoder, lambda encoder: encoder.classify(inputs(encoder)).logits)
    assert len(twice) > len(once)


@pytest.mark.parametrize("recipe", ["dist_align", "lora"])
def test_a_run_with_checkpointing_ends_at_the_same_weights(runs, recipe):
    plain, again = runs(recipe), runs(recipe, "model.gradient_checkpointing=true")
    assert plain.folder != again.folder
    for line, other_line in zip(log(plain), log(again), strict=True):
        assert line.keys() == other_line.keys()
        assert line["loss"] == pytest.approx(other_line["loss"], abs=1e-5)
    assert plain.scores == again.scores


@pytest.mark.parametrize("term", ["typology.layer=2", "align.layers=2"])
@pytest.mark.parametrize(("base", "trained"), [("lora", "lora.layers=4"), ("plain", "freeze.layers=lower_half")])
def test_with_checkpointing_too_a_map_that_would_be_all_that_trains_is_refused(
    tiny_settings, tmp_path, term, base, trained
):
    """Transformers and PEFT would both have what leaves the embeddings require a gradient then."""
    settings = ["model.gradient_checkpointing=true", f"intervention.{term}"]
    settings += ["intervention.align.projection=8"] if term.startswith("align") else []
    recipe = load_recipe(base, [*tiny_settings, *settings, f"intervention.{trained}"])
    with pytest.raises(RunError, match="would train only its own"):
        train(recipe, tmp_path)


def test_what_rewrites_weights_is_refused_with_checkpointing(tiny_settings, tmp_path):
    assert message(run, tiny_settings, tmp_path, "mixout", "model.gradient_checkpointing=true") == (
        "The intervention `mixout` replaces the encoder's weights during a forward pass, and"
        " `model.gradient_checkpointing` = `true` recomputes the blocks without the replacement. Set it to false."
    )


def test_an_architecture_that_cannot_checkpoint_is_refused(tiny, monkeypatch):
    from transformers import BertForTokenClassification

    monkeypatch.setattr(BertForTokenClassification, "supports_gradient_checkpointing", False)
    assert message(load_encoder, "tiny", tiny, ("a", "b"), seed=0, gradient_checkpointing=True) == (
        "`model.gradient_checkpointing` is `true`, but a `bert` does not support it. Set it to"
        " false, and lower `phase.finetune.batch_size` (with more `accumulation`)."
    )


@pytest.mark.parametrize("recipe", ["dist_align", "lora"])
def test_bf16_trains_in_bf16_and_keeps_and_measures_in_float32(runs, recipe):
    exact, coarse = (runs(recipe, f"model.precision={precision}") for precision in ("float32", "bf16"))
    for result, dtype in ((exact, "float32"), (coarse, "bf16")):
        assert json.loads((result.folder / "result.json").read_text())["provenance"]["dtype"] == dtype
    exact_log, coarse_log = log(exact), log(coarse)
    assert [line["loss"] for line in exact_log] != [line["loss"] for line in coarse_log]
    assert exact_log[0]["loss"] == pytest.approx(coarse_log[0]["loss"], rel=0.05)
    if recipe != "lora":
        assert {weight.dtype for weight in weights(coarse).values()} == {torch.float32}


@pytest.mark.parametrize(
    ("instructions", "precision"), [("amx_bf16", "bf16"), ("avx512_bf16", "bf16"), ("avx2", "float32")]
)
def test_auto_is_bf16_where_the_cpu_computes_in_it(tiny_settings, tmp_path, monkeypatch, instructions, precision):
    """A recipe that asks for a precision is another one, since the machine decides what `auto` is."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instructions: True})
    auto, chosen = (run(tiny_settings, tmp_path, "plain", f"model.precision={key}") for key in ("auto", precision))
    assert auto.data["provenance"]["dtype"] == precision
    assert same(weights(auto), weights(chosen))
    assert auto.folder != chosen.folder


def test_a_pass_without_gradients_does_not_cut_off_the_next_one(encoder):
    """As copies of the weights in bf16 would, if those made under `no_grad` were used again."""
    encoder.model.train()
    with Processes(precision="bf16").autocast():
        with torch.no_grad():
            encoder.encode(inputs(encoder))
        assert encoder.base.encoder.layer[0].output.dense(torch.ones(1, 32)).dtype == torch.bfloat16
        encoded = encoder.classify(inputs(encoder))
    assert encoded.logits.dtype == encoded.pooled(2).dtype == torch.float32
    encoded.logits.sum().backward()
    named = dict(encoder.model.named_parameters())
    assert all(named[f"bert.encoder.layer.{number}.output.dense.weight"].grad is not None for number in range(4))


@pytest.mark.parametrize("recipe", ["lora", "ia3"])
def test_frozen_weights_in_bf16_train_the_same_adapters(runs, recipe):
    """Bit for bit: autocast rounds them in the same way, at each pass anew."""
    full, halved = (
        runs(recipe, "model.precision=bf16", "model.head_start=random", *overrides)
        for overrides in ((), ("model.frozen_weights=bf16",))
    )
    assert full.folder != halved.folder
    assert [line["loss"] for line in log(full)] == [line["loss"] for line in log(halved)]
    adapters = [weights(result, "adapter_model.safetensors") for result in (full, halved)]
    assert same(*adapters)
    assert {weight.dtype for weight in adapters[1].values()} == {torch.float32}


def test_frozen_weights_in_bf16_are_those_of_the_linear_maps_that_nothing_trains(encoder):
    encoder.adapt(LoraConfig(r=2, target_modules=encoder.attention_modules((1,))))
    encoder.store_frozen("bf16")
    lying = {dtype: set() for dtype in (torch.float32, torch.bfloat16)}
    for name, parameter in encoder.model.named_parameters():
        lying[parameter.dtype].add(name)
    assert not lying[torch.bfloat16] & encoder.adapters
    linear = {f"{name}.{part}" for name, module in encoder.model.named_modules() if isinstance(module, torch.nn.Linear)
              for part, _ in module.named_parameters(recurse=False)}  # fmt: skip
    assert lying[torch.bfloat16] == {name for name in linear - encoder.adapters if encoder.place(name) != "head"}
    assert any(".query.base_layer.weight" in name for name in lying[torch.bfloat16])


def test_frozen_weights_in_bf16_are_measured_and_scored_in_it(encoder):
    batch = inputs(encoder)
    before, logits = encoder.states([batch])
    encoder.adapt(LoraConfig(r=2, target_modules=encoder.attention_modules((1,))))
    encoder.store_frozen("bf16")
    after, new_logits = encoder.states([batch])
    assert after.dtype == new_logits.dtype == encoder.outputs(batch).dtype == torch.float32
    assert 0 < (after - before).abs().max() < 0.1
    assert 0 < (new_logits - logits).abs().max() < 0.1


def test_frozen_weights_in_bf16_with_a_cached_reference(runs):
    live, cached = (
        runs("lora", "model.precision=bf16", "model.frozen_weights=bf16", *overrides)
        for overrides in ((), ("model.reference=cached",))
    )
    for line, other_line in zip(log(live), log(cached), strict=True):
        assert line["loss"] == pytest.approx(other_line["loss"], abs=0.01)


def test_frozen_weights_are_refused_where_they_would_do_nothing_or_harm(tiny_settings, tmp_path):
    assert message(run, tiny_settings, tmp_path, "plain", "model.frozen_weights=int8").startswith(
        "`model.frozen_weights` = `int8` needs weights that are frozen under PEFT adapters, and there are no adapters."
    )
    assert message(run, tiny_settings, tmp_path, "plain", "model.precision=bf16", "model.frozen_weights=bf16") == (
        "`model.frozen_weights` = `bf16` needs weights that are frozen under PEFT adapters, and there are no adapters."
        " Add some, as `recipe=lora` does, or leave it at float32."
    )
    assert message(run, tiny_settings, tmp_path, "lora", "model.precision=float32", "model.frozen_weights=bf16") == (
        "`model.frozen_weights` is `bf16`, which is too coarse for forward passes in float32. Set `model.precision=bf16`, or"
        " `model.frozen_weights=float32`."
    )


# Frozen weights in 8 bits


def test_a_map_in_8_bits_in_closed_form():
    linear = torch.nn.Linear(3, 3)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[127.0, -50.4, 0.6], [0.0, 0.0, 0.0], [-0.0254, 0.0127, 0.01]]))
    coarse = Int8Linear(linear)
    assert coarse.quantised.tolist() == [[127, -50, 1], [0, 0, 0], [-127, 64, 50]]
    expected = [[127.0, -50.0, 1.0], [0.0, 0.0, 0.0], [-0.0254, 0.0128, 0.01]]
    torch.testing.assert_close(coarse.weight, torch.tensor(expected))
    assert not [*coarse.parameters(recurse=False)][1:]  # the bias alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_map_in_8_bits_has_the_product_and_gradient_of_its_dequantised_weights(dtype):
    torch.manual_seed(0)
    coarse = Int8Linear(torch.nn.Linear(64, 32))
    dense = torch.nn.Linear(64, 32)
    dense.load_state_dict({"weight": coarse.weight, "bias": coarse.bias.detach()})
    gradients = []
    for linear in (coarse, dense):
        states = torch.linspace(-1, 1, 5 * 64).reshape(5, 64).requires_grad_()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            product = linear(states)
        product.float().square().sum().backward()
        gradients.append((product.detach(), states.grad))
    assert gradients[0][0].dtype == dtype
    for mine, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, expected)


def test_frozen_weights_in_8_bits_take_a_byte_and_move_the_states_a_little(encoder):
    batch = inputs(encoder)
    before, _ = encoder.states([batch])
    encoder.adapt(LoraConfig(r=2, target_modules=encoder.attention_modules((1,))))
    linear = {name: module for name, module in encoder.model.named_modules() if isinstance(module, torch.nn.Linear)}
    encoder.store_frozen("int8")
    coarse = {name: module for name, module in encoder.model.named_modules() if isinstance(module, Int8Linear)}
    assert {name for name, module in linear.items() if encoder.model.get_submodule(name) is module} == {
        name for name in linear if "lora_" in name or encoder.place(f"{name}.weight") == "head"
    }
    assert all(module.quantised.nbytes == linear[name].weight.nbytes // 4 for name, module in coarse.items())
    after, _ = encoder.states([batch])
    assert 0 < (after - before).norm() < 0.02 * before.norm()


@pytest.mark.parametrize("recipe", ["lora", "dora", "ia3"])
def test_frozen_weights_in_8_bits_train_nearly_the_same_adapters(runs, recipe):
    full, coarse = (runs(recipe, *overrides) for overrides in ((), ("model.frozen_weights=int8",)))
    losses = [[line["loss"] for line in log(result)] for result in (full, coarse)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)
    assert {weight.dtype for weight in weights(coarse, "adapter_model.safetensors").values()} == {torch.float32}
    card = (coarse.folder / "model" / "README.md").read_text(encoding="utf-8")
    assert "Scored with frozen weights in int8" in card


def test_fp16_is_never_used(tiny_settings):
    text = message(load_recipe, "plain", ["model.precision=fp16"])
    assert "`model.precision` is `fp16`" in text
    assert "bf16" in text
