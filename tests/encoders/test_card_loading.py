"""The lines of a model card load what Transformers has no `Auto` class for, with the outputs that the run had."""

import pytest
import torch
from test_architectures import LABELS, SETTINGS, TEXTS

from conftest import save_tiny
from distxfer.encoders import load_encoder
from distxfer.interventions import Languages
from distxfer.interventions.lora import Lora
from distxfer.runs.card_loading import loading, meaning


@pytest.fixture(scope="module", params=["mt5", "cohere"])
def folder(request, tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp(request.param), request.param, **SETTINGS[request.param])


@pytest.mark.parametrize("adapters", [0, 1])
@pytest.mark.parametrize("output", ["text", "span"])
def test_the_lines_load_the_model(folder, output, adapters, tmp_path, monkeypatch):
    labels = LABELS if output == "text" else ("start", "end")
    encoder = load_encoder(str(folder), folder, labels, seed=0, output=output)
    if adapters:
        Lora(r=2).bind(encoder, Languages("eng", ("deu",)), None)
    encoder.save(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    shown = {}
    exec("\n".join(loading(encoder, len(labels), adapters)), shown)
    tokens = shown["tokenizer"](TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = shown["model"].eval()(**tokens).logits
    expected = encoder.outputs(tokens)
    if output == "text":
        assert meaning(encoder, labels).endswith(
            "The model gives scores per token; for a text, take the mean over its tokens."
        )
        mask = tokens["attention_mask"].unsqueeze(-1)
        states = (states * mask).sum(dim=1) / mask.sum(dim=1)
    torch.testing.assert_close(states, expected)
