"""`model.drop_last_layers`: an encoder without its uppermost blocks, whatever its architecture."""

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from conftest import LAYERS, save_tiny
from distxfer import load_recipe, train
from distxfer.encoders import load_encoder
from distxfer.errors import InputError

TEXTS = ["the cat", "the big old dog sees two new trees", "neko ooki", "rose"]
# What stands after the blocks, and is applied to the last state only.
FINAL = {"modernbert": "final_norm", "qwen2": "norm"}


@pytest.fixture(scope="module", params=["bert", "distilbert", "modernbert", "qwen2"])
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def folder(architecture, tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp(architecture), architecture, initializer_range=0.2)


def load(folder, dropped=0):
    return load_encoder(str(folder), folder, ("a", "b"), seed=0, drop_last_layers=dropped)


def hidden(encoder):
    encoder.model.eval()
    with torch.no_grad():
        return encoder.encode(dict(encoder.tokenizer(TEXTS, padding=True, return_tensors="pt"))).hidden


@pytest.mark.parametrize("dropped", [1, 3])
def test_what_is_left_computes_what_it_did(folder, architecture, dropped):
    whole, short = load(folder), load(folder, dropped)
    depth = LAYERS - dropped
    assert short.layers == depth
    names = {name for name, _ in short.model.named_parameters()}
    assert names == {
        name for name, _ in whole.model.named_parameters() if whole.place(name) not in range(depth + 1, 99)
    }
    assert {short.place(name) for name in names} >= {*range(1, depth + 1), "embeddings", "head"}
    assert short.head == whole.head
    expected, states = hidden(whole), hidden(short)
    assert len(states) == depth + 1
    last = expected[depth]
    if architecture in FINAL:
        last = whole.base.get_submodule(FINAL[architecture])(last)
    for short_states, expected_states in zip(states, (*expected[:depth], last), strict=True):
        torch.testing.assert_close(short_states, expected_states, atol=1e-6, rtol=1e-6)


def test_the_saved_model_has_none_of_them(folder, tmp_path):
    short = load(folder, 1)
    _, expected = short.states([dict(short.tokenizer(TEXTS, padding=True, return_tensors="pt"))])
    short.save(tmp_path)
    model_class = AutoModelForTokenClassification if short.token_head else AutoModelForSequenceClassification
    model, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert model.config.num_hidden_layers == LAYERS - 1
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokens = AutoTokenizer.from_pretrained(tmp_path)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        pooled = model.eval()(**tokens).logits
        if short.token_head:
            mask = tokens["attention_mask"].unsqueeze(-1)
            pooled = (pooled * mask).sum(1) / mask.sum(1)
        torch.testing.assert_close(pooled, expected, atol=1e-6, rtol=1e-6)
    again = load(tmp_path)
    assert again.layers == LAYERS - 1
    assert again.head_is_loaded
    for short_states, expected_states in zip(hidden(again), hidden(short), strict=True):
        torch.testing.assert_close(short_states, expected_states, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dropped", [LAYERS, LAYERS + 1])
def test_one_block_at_least_is_left(folder, dropped):
    with pytest.raises(InputError) as error:
        load(folder, dropped)
    assert str(error.value) == (
        f"`drop_last_layers` is `{dropped}`, but this encoder has {LAYERS} blocks. Keep at least one of them."
    )


def test_a_recipe_drops_them(tiny_settings, tmp_path):
    settings = [*tiny_settings, "model.drop_last_layers=2", "phase.finetune.epochs=1", "diagnostics.states=0"]
    result = train(load_recipe("plain", settings), tmp_path)
    assert json.loads((result.folder / "model" / "config.json").read_text())["num_hidden_layers"] == 2
