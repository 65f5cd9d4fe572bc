"""Packed forward passes equal padded ones, and read no padding."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from conftest import NO_DROPOUT, save_tiny
from distxfer.data import Collator, Example
from distxfer.encoders import load_encoder

TEXTS = ["the cat", "the big old dog sees two new trees", "rose", "a big tree"]
_SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, **NO_DROPOUT}


@pytest.fixture(scope="module", params=["bert", "roberta", "xlm-roberta", "camembert"])
def encoder(request, tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp(request.param), request.param, initializer_range=0.2, **_SIZES)
    return load_encoder("tiny", folder, ("a", "b"), seed=0)


@pytest.fixture(params=["mean", "cls", "last"])
def pooling(request):
    return request.param


def batch_of(encoder, texts=TEXTS):
    return Collator(encoder.tokenizer, 32)([Example("", "eng", text, None) for text in texts])


def pass_and_gradients(encoder, inputs):
    """Return the result of a pass, and the gradients of a loss on logits, all pooled layers and single tokens."""
    encoder.model.zero_grad()
    encoded = encoder.classify(inputs)
    tokens = encoded.hidden[1] * encoded.mask[..., None]
    words = encoded.words(2, [(1, [2, 3]), (0, [1])])
    loss = encoded.logits.square().sum() + encoded.pooled_layers().sin().sum() + tokens.sin().sum() + words.cos().sum()
    loss.backward()
    gradients = {name: weight.grad for name, weight in encoder.model.named_parameters() if weight.grad is not None}
    return encoded, gradients


def test_states_logits_and_gradients_equal_those_of_a_padded_batch(encoder, pooling):
    assert encoder.packs
    inputs = batch_of(encoder).inputs
    (packed, gradients), (padded, expected) = (
        pass_and_gradients(replace(encoder, packs=packs, pooling=pooling), inputs) for packs in (True, False)
    )
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(packed.logits, padded.logits, **close)
    torch.testing.assert_close(packed.pooled_layers(), padded.pooled_layers(), **close)
    mask = padded.mask[..., None]
    for layer in range(encoder.layers + 1):
        torch.testing.assert_close(packed.hidden[layer] * mask, padded.hidden[layer] * mask, **close)
    assert gradients.keys() == expected.keys()
    torch.testing.assert_close(gradients, expected, **close)


def test_a_text_does_not_depend_on_its_batch(encoder):
    _, expected = encoder.states([batch_of(encoder, [text]).inputs for text in TEXTS])
    _, logits = encoder.states([batch_of(encoder).inputs])
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_the_blocks_read_no_padding(encoder):
    rows = []
    linear = [module for module in encoder.block_modules()[1].modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape)) for module in linear]
    batch = batch_of(encoder)
    encoder.classify(batch.inputs)
    for handle in handles:
        handle.remove()
    assert batch.tokens < batch.inputs["input_ids"].numel()
    assert {shape[:-1] for shape in rows} == {(1, batch.tokens)}


def test_bf16_rounds_a_packed_batch_no_more_than_a_padded_one(encoder):
    inputs = batch_of(encoder).inputs
    exact = replace(encoder, packs=False).classify(inputs).logits
    with torch.autocast("cpu", torch.bfloat16):
        errors = [
            (replace(encoder, packs=packs).classify(inputs).logits - exact).abs().max() for packs in (True, False)
        ]
    assert 0 < errors[0] < 3 * errors[1] + 1e-2


def test_the_saved_configuration_is_that_of_plain_attention(encoder, tmp_path):
    encoder.save(tmp_path)
    assert "distxfer" not in (tmp_path / "config.json").read_text(encoding="utf-8")
