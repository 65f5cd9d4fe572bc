"""An encoder: its gradients, pooling, head, pretrained reference and adapters."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, TaskType
from transformers import AutoTokenizer

from conftest import LAYERS, save_tiny
from distxfer.encoders import load_encoder
from distxfer.encoders._contexts import adapters_off
from helpers import message

LABELS = ["animal", "mineral", "plant"]
TEXTS = ["the cat", "the big old dog sees two new trees", "neko ooki", "rose"]


@pytest.fixture(scope="module", params=["bert", "deberta-v2", "qwen2"])
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def folder(architecture, tmp_path_factory):
    """A tiny encoder; its weights are large enough for a mistake to show."""
    return save_tiny(tmp_path_factory.mktemp(architecture), architecture, initializer_range=0.2)


@pytest.fixture
def encoder(folder):
    return load(folder)


def load(folder, seed=0, labels=LABELS, **settings):
    return load_encoder(str(folder), folder, labels, seed=seed, **settings)


def inputs(encoder, texts=TEXTS):
    return dict(encoder.tokenizer(list(texts), padding=True, return_tensors="pt"))


def lora(encoder, **settings):
    """Put adapters into the encoder as the intervention does, with weights that are not zero, and return it."""
    layers = range(1, LAYERS + 1)
    encoder.adapt(
        LoraConfig(
            task_type=TaskType.SEQ_CLS, r=2, lora_dropout=0.5, target_modules=encoder.linear_modules(layers),
            modules_to_save=encoder.head_modules(), **settings,
        )
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():
            if ".lora_" in name or ".modules_to_save." in name:
                parameter.add_(torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter))
    return encoder


def train(encoder, moves, steps=3):
    """Take a few steps on the parameters that move, dropout and all."""
    for name, parameter in encoder.model.named_parameters():
        parameter.requires_grad_(moves(name))
    optimiser = torch.optim.Adam([p for p in encoder.model.parameters() if p.requires_grad], lr=1e-2)
    encoder.model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        encoder.classify(inputs(encoder)).logits.square().sum().backward()
        optimiser.step()


def test_the_gradient_of_a_layers_state_reaches_the_blocks_below_it_and_no_other(encoder):
    for layer in (1, 3):
        encoder.model.zero_grad()
        encoder.encode(inputs(encoder)).hidden[layer].square().sum().backward()
        reached = {encoder.place(n) for n, p in encoder.model.named_parameters() if p.grad is not None and p.grad.any()}
        assert reached - {"embeddings"} == set(range(1, layer + 1))


def test_cls_pooling_is_the_first_token_whatever_the_side_of_the_padding_was(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "left")
    settings = json.loads((copied / "tokenizer_config.json").read_text())
    (copied / "tokenizer_config.json").write_text(json.dumps(settings | {"padding_side": "left"}))
    assert AutoTokenizer.from_pretrained(copied).padding_side == "left"
    if json.loads((copied / "config.json").read_text())["model_type"] in ("qwen2", "llama"):
        assert "the first token, which `model.pooling` = `cls` pools, does not depend" in message(
            load, copied, pooling="cls"
        )
        return
    encoder = load(copied, pooling="cls")
    encoder.model.eval()
    together = encoder.encode(inputs(encoder))
    assert torch.equal(together.pooled(3), together.hidden[3][:, 0])
    for number, text in enumerate(TEXTS):
        alone = encoder.encode(inputs(encoder, [text])).pooled_layers()[:, 0]
        torch.testing.assert_close(alone, together.pooled_layers()[:, number], atol=1e-5, rtol=0)


def test_states_are_those_of_one_forward_pass_without_dropout(encoder):
    encoder.model.train()
    part = encoder.base.get_input_embeddings().eval()  # as a caller may have left it
    pooled, logits = encoder.states([inputs(encoder, TEXTS[:1]), inputs(encoder, TEXTS[1:])])
    assert encoder.model.training
    assert not part.training
    encoder.model.eval()
    expected = encoder.classify(inputs(encoder))
    torch.testing.assert_close(pooled, expected.pooled_layers().detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(logits, expected.logits.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoder.encode(inputs(encoder)).pooled_layers(), expected.pooled_layers())


def test_the_head_depends_on_the_seed_alone(folder):
    def head(seed):
        encoder = load(folder, seed)
        return torch.cat([p.flatten() for n, p in encoder.model.named_parameters() if n in encoder.head])

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = head(seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(head(seed=7), first)
    assert not torch.equal(head(seed=8), first)


def test_adapters_leave_the_heads_initial_weights_as_they_were(encoder, folder):
    initial = {name: p.clone() for name, p in encoder.model.named_parameters() if name in encoder.head}
    adapted = load(folder)
    adapted.adapt(
        LoraConfig(
            task_type=TaskType.SEQ_CLS,
            target_modules=adapted.linear_modules([2]),
            modules_to_save=adapted.head_modules(),
        )
    )
    copies = {n: p for n, p in adapted.model.named_parameters() if adapted.place(n) == "head" and "original" not in n}
    assert len(copies) == len(initial)
    for name, parameter in copies.items():
        plain = name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
        assert torch.equal(parameter, initial[plain])


def test_a_saved_head_is_kept_where_the_number_of_labels_is_right_and_new_where_it_is_not(encoder, tmp_path):
    encoder.save(tmp_path)
    names = sorted(encoder.head)
    trained = dict(encoder.model.named_parameters())
    same = load(tmp_path, seed=5)
    assert all(torch.equal(dict(same.model.named_parameters())[name], trained[name]) for name in names)
    assert sorted(same.head) == names
    other = load(tmp_path, seed=5, labels=["a", "b", "c", "d", "e"])
    assert sorted(other.head) == names
    assert other.classify(inputs(other)).logits.shape == (len(TEXTS), 5)
    assert other.model.config.id2label == dict(enumerate("abcde"))
    assert all(torch.isfinite(p).all() for p in other.model.parameters())


def states(reference, encoder, names=TEXTS, texts=TEXTS):
    return reference.states(list(names), inputs(encoder, texts))


def test_the_reference_is_the_encoder_before_training_and_stays_it(encoder):
    def moves(name):
        return encoder.place(name) in {3, 4, "head"}

    reference = encoder.reference(moves)
    initial = {name: parameter.clone() for name, parameter in encoder.base.named_parameters()}
    pooled, _ = encoder.states([inputs(encoder)])
    before = states(reference, encoder)
    assert torch.equal(before, pooled)
    assert not before.requires_grad
    train(encoder, moves)
    assert torch.equal(states(reference, encoder, names="abcd"), before)
    after, _ = encoder.states([inputs(encoder)])
    assert torch.equal(after[:3], before[:3])
    assert not torch.equal(after[3], before[3])
    trained, reference_parameters = dict(encoder.base.named_parameters()), dict(reference._copy.base.named_parameters())
    assert reference_parameters.keys() == trained.keys()
    for name, parameter in reference_parameters.items():
        assert not parameter.requires_grad
        assert torch.equal(parameter, initial[name])
        assert (parameter is trained[name]) == (not moves(f"{encoder.base_name}.{name}"))


def test_the_reference_is_no_part_of_the_model_and_changes_nothing_in_it(encoder):
    for name, parameter in encoder.model.named_parameters():
        parameter.requires_grad_(encoder.place(name) != 1)
    before = {name: parameter.requires_grad for name, parameter in encoder.model.named_parameters()}
    encoder.model.train()
    modules = len(list(encoder.model.modules()))
    reference = encoder.reference(lambda name: before[name])
    states(reference, encoder)
    assert len(list(encoder.model.modules())) == modules
    assert {name: parameter.requires_grad for name, parameter in encoder.model.named_parameters()} == before
    assert all(module.training for module in encoder.model.modules())
    assert not isinstance(reference, torch.nn.Module)


@pytest.mark.parametrize("adapted", [False, True])
def test_the_reference_remembers_texts(encoder, adapted):
    if adapted:
        lora(encoder)
    reference = encoder.reference(lambda _: True)
    first = states(reference, encoder)
    assert reference.forwards == 1
    assert torch.equal(states(reference, encoder), first)
    swapped = reference.states([TEXTS[2], TEXTS[0]], inputs(encoder, [TEXTS[2], TEXTS[0]]))
    assert torch.equal(swapped, first[:, [2, 0]])
    assert reference.forwards == 1
    reference.states([TEXTS[0], "new"], inputs(encoder, [TEXTS[0], "two leaf"]))
    assert reference.forwards == 2


def test_with_adapters_the_reference_is_the_pretrained_encoder(folder):
    pretrained, _ = load(folder).states([inputs(load(folder))])
    encoder = lora(load(folder))
    reference = encoder.reference(lambda name: ".lora_" in name)
    assert torch.equal(states(reference, encoder), pretrained)
    moved, _ = encoder.states([inputs(encoder)])
    assert not torch.allclose(moved[1:], pretrained[1:], atol=1e-2)
    train(encoder, lambda name: ".lora_" in name or ".modules_to_save." in name)
    assert torch.equal(states(reference, encoder, names="abcd"), pretrained)


def test_adapters_off_leaves_what_may_train_and_the_mode_as_they_were(encoder):
    """PEFT's own `disable_adapter` makes every adapter weight trainable (huggingface/peft#3447)."""
    lora(encoder)

    def trainable():
        return {name: p.requires_grad for name, p in encoder.model.named_parameters()}

    for name, parameter in encoder.model.named_parameters():
        parameter.requires_grad_(".lora_" in name and encoder.place(name) in {3, 4})
    before = trainable()
    encoder.model.train()
    encoder.base.get_input_embeddings().eval()
    modes = [module.training for module in encoder.model.modules()]
    with adapters_off(encoder.model):
        assert not any(module.training for module in encoder.model.modules())
    assert trainable() == before
    assert [module.training for module in encoder.model.modules()] == modes
    with pytest.raises(ZeroDivisionError), adapters_off(encoder.model):
        raise ZeroDivisionError
    assert trainable() == before
    assert [module.training for module in encoder.model.modules()] == modes
    with encoder.model.disable_adapter():
        pass
    assert trainable() != before, "PEFT no longer changes what may train: `adapters_off` can be simplified"


def test_adapted_names_have_the_places_of_the_plain_ones(encoder):
    plain = {name: encoder.place(name) for name, _ in encoder.model.named_parameters()}
    words = encoder.embeddings
    lora(encoder)
    seen = set()
    for name, _ in encoder.model.named_parameters():
        bare = name.removeprefix("base_model.model.").replace(".base_layer", "").replace(".original_module", "")
        bare = bare.replace(".modules_to_save.default", "")
        if ".lora_" in name:
            bare = f"{bare.split('.lora_')[0]}.weight"
        assert encoder.place(name) == plain[bare], name
        assert encoder.is_word_embedding(name) == (bare == words)
        seen.add(bare)
    assert seen == plain.keys()
