"""Real models by family, each as a tiny checkpoint of random weights: every place, every output, saved and loaded."""

import contextlib
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from conftest import save_tiny
from distxfer.config.families import text_layout
from distxfer.encoders import class_to_load, load_encoder, model_folder
from distxfer.errors import RunError
from distxfer.interventions import Languages
from distxfer.interventions.lora import Lora
from distxfer.runs.model_card import loading, meaning
from helpers import message

LAYERS = 2
LABELS = ("animal", "mineral", "plant")
TEXTS = ["the cat", "the big old dog sees two new trees", "rose"]
_ENCODER = {"hidden_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 32}
_DECODER = {**_ENCODER, "num_key_value_heads": 2, "head_dim": 8}
_T5 = {"d_model": 16, "num_layers": LAYERS, "num_heads": 2, "d_kv": 8, "d_ff": 32}
SETTINGS = {
    "bert": _ENCODER, "xlm-roberta": _ENCODER, "deberta-v2": _ENCODER, "modernbert": _ENCODER, "eurobert": _DECODER,
    "distilbert": {"dim": 16, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 32},
    "mt5": _T5, "umt5": _T5,
    "qwen2": _DECODER, "qwen3": _DECODER, "llama": _DECODER, "mistral": _DECODER, "gemma2": _DECODER, "gemma3_text": _DECODER,
    "cohere": _DECODER, "cohere2": _DECODER, "bloom": {"hidden_size": 16, "n_layer": LAYERS, "n_head": 2},
}  # fmt: skip
DECODERS = ("qwen2", "qwen3", "llama", "mistral", "gemma2", "gemma3_text", "cohere", "cohere2", "bloom")
# The blocks, what stands before them, what after, and the outermost modules of the head.
PLACES = {
    "bert": ("bert.encoder.layer.", {"bert.embeddings.LayerNorm.bias"}, "bert.pooler.", ["classifier"]),
    "xlm-roberta": ("roberta.encoder.layer.", {"roberta.embeddings.LayerNorm.bias"}, "", ["classifier"]),
    "deberta-v2": ("deberta.encoder.layer.", {"deberta.embeddings.LayerNorm.bias"}, "", ["pooler", "classifier"]),
    "modernbert": ("model.layers.", {"model.embeddings.norm.weight"}, "model.final_norm.", ["head", "classifier"]),
    "distilbert": (
        "distilbert.transformer.layer.", {"distilbert.embeddings.LayerNorm.bias"}, "", ["pre_classifier", "classifier"],
    ),
    "eurobert": ("model.layers.", {"model.embed_tokens.weight"}, "model.norm.", ["dense", "classifier"]),
    **dict.fromkeys(
        ("mt5", "umt5"),
        ("transformer.encoder.block.", {"transformer.shared.weight"}, "transformer.encoder.final_layer_norm.", ["classifier"]),
    ),
    "bloom": ("transformer.h.", {"transformer.word_embeddings_layernorm.bias"}, "transformer.ln_f.", ["score"]),
    **dict.fromkeys(DECODERS[:-1], ("model.layers.", {"model.embed_tokens.weight"}, "model.norm.", ["score"])),
}  # fmt: skip


@pytest.fixture(scope="module", params=SETTINGS)
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def folder(architecture, tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp(architecture), architecture, **SETTINGS[architecture])


def test_what_show_says_of_padding_is_what_the_encoder_does(folder):
    packs = load_encoder("tiny", folder, LABELS, seed=0).packs
    assert text_layout(str(folder)) == ("texts without padding on a CPU" if packs else "texts padded, by length")


def load(folder, output="text", labels=LABELS, **settings):
    return load_encoder(str(folder), folder, labels, seed=0, output=output, **settings)


def inputs(encoder):
    return dict(encoder.tokenizer(TEXTS, padding=True, return_tensors="pt"))


def say_more(encoder):
    """Move every weight, so that a mistake in what is saved shows."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in encoder.model.parameters():
            weights.add_(0.1 * torch.randn(weights.shape, generator=draw))


def read_back(encoder, folder: Path, adapters: int = 0):
    """The model that the lines of a model card load with plain transformers (or PEFT) from `folder`/model, and its batch."""
    scope = card(encoder, folder, adapters)
    return scope["model"], scope["tokenizer"](TEXTS, padding=True, return_tensors="pt")


def card(encoder, folder: Path, adapters: int = 0) -> dict:
    """The names that these lines define."""
    scope: dict = {}
    with contextlib.chdir(folder):
        exec("\n".join(loading(encoder, len(LABELS), adapters, 32)), scope)
    scope["model"].eval()
    return scope


def logits_of(encoder, folder: Path, adapters: int = 0):
    """The logits that a card's reader computes."""
    scope = card(encoder, folder, adapters)
    if "scores" in scope:
        return scope["scores"](TEXTS)
    output = scope["model"](**scope["tokenizer"](TEXTS, padding=True, return_tensors="pt"))
    is_span = encoder.output == "span" and not encoder.token_head
    return torch.stack([output.start_logits, output.end_logits], dim=-1) if is_span else output.logits


def check_no_pickles(folder):
    for path in folder.iterdir():
        assert path.suffix in {".safetensors", ".json", ".md"}
        assert path.read_bytes()[:2] not in {b"\x80\x02", b"PK"}


def pooling_of(architecture):
    return "last" if architecture in DECODERS else "mean"


def test_every_parameter_has_its_place(folder, architecture):
    encoder = load(folder, head="architecture")
    blocks, before, after, head = PLACES[architecture]
    places = {name: encoder.place(name) for name, _ in encoder.model.named_parameters()}
    assert encoder.layers == LAYERS
    assert {name for name, place in places.items() if place in (1, 2)} == {
        name for name in places if name.startswith(blocks)
    }
    assert {places[f"{name}"] for name in places if name.startswith(blocks)} == {1, 2}
    assert before <= {name for name, place in places.items() if place == "embeddings"}
    assert all(name.startswith(after) for name, place in places.items() if place == "final")
    assert not after or {place for name, place in places.items() if name.startswith(after)} == {"final"}
    assert encoder.head_modules() == head
    (words,) = (name for name in places if encoder.is_word_embedding(name))
    assert places[words] == "embeddings"
    assert set() < set(encoder.attention_modules([1])) < set(encoder.linear_modules([1]))


def test_pooled_layers_are_those_of_the_hidden_states(folder, architecture):
    encoder = load(folder, pooling=pooling_of(architecture))
    encoder.model.eval()
    batch = inputs(encoder)
    hidden = encoder.base(**batch, output_hidden_states=True).hidden_states
    pooled = encoder.classify(batch).pooled_layers()
    assert pooled.shape == (LAYERS + 1, len(TEXTS), encoder.hidden_size) == (len(hidden), len(TEXTS), 16)
    for row, length in enumerate(batch["attention_mask"].sum(1)):
        for layer, states in enumerate(hidden):
            tokens = states[row, :length]
            torch.testing.assert_close(pooled[layer, row], tokens[-1] if architecture in DECODERS else tokens.mean(0))
    naive = torch.stack([states.mean(dim=1) for states in hidden])
    assert (naive - pooled).abs().max() > 1e-3  # the mask makes the difference
    alone = encoder.classify(dict(encoder.tokenizer(TEXTS[:1], return_tensors="pt"))).pooled_layers()
    torch.testing.assert_close(alone[:, 0], pooled[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("output", "head"), [("text", "auto"), ("text", "architecture"), ("token", "auto"), ("span", "auto")]
)
def test_what_is_saved_gives_plain_transformers_the_same_logits(folder, architecture, output, head, tmp_path):
    encoder = load(folder, output, pooling=pooling_of(architecture), head=head)
    encoder.model.train()
    encoder.classify(inputs(encoder)).logits.square().sum().backward()
    assert all(encoder.model.get_parameter(name).grad.abs().sum() > 0 for name in encoder.head)
    say_more(encoder)
    expected = encoder.outputs(inputs(encoder))
    shape = {
        "text": (3, 3),
        "token": (*inputs(encoder)["input_ids"].shape, 3),
        "span": (*inputs(encoder)["input_ids"].shape, 2),
    }
    assert expected.shape == shape[output]
    encoder.save(tmp_path / "model")
    check_no_pickles(tmp_path / "model")
    saved_logits = logits_of(encoder, tmp_path)
    mask = (
        inputs(encoder)["attention_mask"].bool() if output != "text" else slice(None)
    )  # the outputs at padding mean nothing
    torch.testing.assert_close(saved_logits.detach()[mask], expected[mask], atol=1e-5, rtol=1e-5)
    again = load(model_folder(str(tmp_path / "model")), output, pooling=pooling_of(architecture), head=head)
    assert again.head_is_loaded
    assert torch.equal(again.outputs(inputs(again)), expected)


def test_an_encoder_alone_is_saved_alone(folder, architecture, tmp_path):
    encoder = load(folder, "state", labels=())
    say_more(encoder)
    expected = encoder.outputs(inputs(encoder))
    encoder.save(tmp_path / "model")
    model, batch = read_back(encoder, tmp_path)
    states, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
    torch.testing.assert_close(((states * mask).sum(1) / mask.sum(1)).detach(), expected, atol=1e-5, rtol=1e-5)


def test_lora_starts_where_the_encoder_is_and_plain_peft_loads_it(folder, architecture, tmp_path):
    pooling = pooling_of(architecture)
    start, _ = load(folder, pooling=pooling).states([inputs(load(folder))])
    encoder = load(folder, pooling=pooling)
    Lora(r=2).bind(encoder, Languages("eng", ("deu",)), None)
    reference = encoder.reference(lambda name: "lora_" in name)
    assert torch.equal(encoder.states([inputs(encoder)])[0], start)
    assert torch.equal(reference.states(TEXTS, inputs(encoder)), start)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weights in encoder.model.named_parameters():
            if name in encoder.adapters:
                weights.add_(0.3 * torch.randn(weights.shape, generator=draw))
    assert {encoder.place(name) for name in encoder.adapters} == {1, 2, "head"}
    moved, _ = encoder.states([inputs(encoder)])
    assert not torch.allclose(moved[1:], start[1:], atol=1e-3)
    assert torch.equal(reference.encode(inputs(encoder)).pooled_layers(), start)
    expected = encoder.outputs(inputs(encoder))
    encoder.save(tmp_path / "model")
    check_no_pickles(tmp_path / "model")
    saved = load_file(tmp_path / "model" / "adapter_model.safetensors")
    trained = dict(encoder.model.named_parameters())
    for module in encoder.head_modules():  # each weight of the head, as it was trained (sentence-transformers#3980)
        for name in (name for name in encoder.head if name.startswith(f"{module}.")):
            copy = f"base_model.model.{module}.modules_to_save.default{name.removeprefix(module)}"
            assert torch.equal(saved[f"base_model.model.{name}"], trained[copy])
    saved_logits = logits_of(encoder, tmp_path, adapters=1)
    torch.testing.assert_close(saved_logits.detach(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("output", ["text", "span"])
@pytest.mark.parametrize("name", [*DECODERS, "mt5", "umt5"])
def test_a_checkpoint_of_a_language_model_brings_the_whole_encoder(name, output, tmp_path):
    """Those on the hub call their parameters otherwise than an encoder saved alone does (`model.layers.0 ...`)."""
    folder = save_tiny(tmp_path / name, name, **SETTINGS[name])
    config = AutoConfig.from_pretrained(folder)
    whole = (AutoModelForCausalLM if name in DECODERS else AutoModelForSeq2SeqLM).from_config(config)
    whole.save_pretrained(folder)
    encoder = load(folder, output)
    words = whole.get_input_embeddings().weight
    assert torch.equal(encoder.base.get_input_embeddings().weight, words)
    inner = encoder.blocks.removeprefix(f"{encoder.base_name}.")
    base = whole.base_model if name in DECODERS else whole
    loaded, origin = dict(encoder.base.named_parameters()), dict(base.named_parameters())
    in_blocks = [name for name in loaded if name.startswith(inner)]
    assert in_blocks
    assert all(torch.equal(loaded[name], origin[name]) for name in in_blocks)


def test_a_model_whose_encoder_alone_has_no_head_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mbart"}')
    (tmp_path / "model.safetensors").touch()
    assert "is a `mbart`, which has no encoder with a head for tokens." in message(load, tmp_path, "token")


@pytest.mark.parametrize("head", ["auto", "architecture"])
def test_the_classes_that_are_put_together_are_those_of_transformers(folder, architecture, head):
    encoder = load(folder, pooling=pooling_of(architecture), head=head)
    name, _ = class_to_load(encoder)
    pooled = {"mean": "their mean", "last": "those of its last token"}[encoder.pooling]
    per_token = (
        f" The model gives scores per token; those of a text are {pooled}. (`scores` takes pairs of texts as tuples."
        " The pipelines of transformers do not pool scores.)"
    ) * encoder.token_head
    assert meaning(encoder, LABELS) == f"Labels, in order: animal, mineral, plant.{per_token}"
    expected = f"AutoModelFor{'Token' if encoder.token_head else 'Sequence'}Classification"
    assert encoder.token_head or head == "architecture" or architecture in DECODERS
    if architecture in ("cohere", "cohere2"):
        expected = f"{architecture.capitalize()}ForTokenClassification"
    assert name == expected
    assert hasattr(transformers, name) == (architecture not in ("cohere", "cohere2"))


def test_a_head_for_answers_is_kept_whatever_its_scores_are_called(tmp_path):
    """Those on the hub have no names for start and end."""
    folder = save_tiny(tmp_path, "bert", **SETTINGS["bert"])
    whole = transformers.BertForQuestionAnswering.from_pretrained(folder)
    with torch.no_grad():
        whole.qa_outputs.weight.add_(1)
    whole.save_pretrained(folder)
    encoder = load(folder, "span", labels=())
    assert encoder.head_is_loaded
    assert torch.equal(encoder.model.qa_outputs.weight, whole.qa_outputs.weight)
    assert not load(folder, "token", labels=("a", "b")).head_is_loaded


def test_a_pass_up_to_a_layer_has_its_states_and_runs_no_later_block(folder):
    encoder = load(folder)
    encoder.model.eval()
    blocks, run = encoder.block_modules(), []
    for block in blocks:
        block.register_forward_hook(lambda block, *_: run.append(blocks.index(block)))
    partial = encoder.encode(inputs(encoder), 1)
    assert run == [0]
    assert torch.equal(partial.pooled(1), encoder.encode(inputs(encoder)).pooled(1))
    for layer in (0, 2, -1):
        with pytest.raises(RunError, match="computed the layers 1 to 1 alone"):
            partial.pooled(layer)
    assert encoder.encode(inputs(encoder), LAYERS).computed is None
