"""What the check of an architecture finds: inputs that are not passed, layers that are none, a head that reads other tokens."""

import json

import pytest
import torch
from peft import PeftModel
from tokenizers import processors
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    XLMModel,
    XmodConfig,
    XmodModel,
)

from conftest import save_tiny
from distxfer import load_recipe
from distxfer.config.families import own_pooling
from distxfer.data import Collator, Example
from distxfer.encoders import load_encoder, model_folder
from distxfer.encoders._check import check_architecture
from distxfer.interventions import Languages
from distxfer.interventions.lora import Lora
from distxfer.runs.run import validate
from helpers import message

_GEMMA = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8,
          "intermediate_size": 32}  # fmt: skip
_XLM = {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64}
INSTEAD = " Choose another encoder; docs/models.md lists those that are tested."


def load(folder, **settings):
    return load_encoder("mine", model_folder(str(folder)), ("a", "b"), seed=0, **settings)


def rewrite(folder, **settings):
    """Change a folder's `config.json`."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


def with_types(folder):
    """Save the folder's tokenizer as one that gives the second text of a pair the type 1."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.mark.parametrize(
    ("architecture", "settings", "passes"),
    [
        ("bert", {}, True),
        ("xlm-roberta", {"type_vocab_size": 1}, False),
        ("deberta-v2", {"type_vocab_size": 0}, False),
        ("distilbert", {}, False),
        ("llama", {}, False),
        ("gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}, False),
    ],
)
def test_token_types_are_passed_to_encoders_that_have_two_of_them(tmp_path, architecture, settings, passes):
    encoder = load(with_types(save_tiny(tmp_path / "model", architecture, **settings)))
    pair = [Example("1", "eng", "the cat", "the dog", 0)]
    assert ("token_type_ids" in Collator(encoder.tokenizer, 16)(pair).inputs) == passes
    encoder.save(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert ("token_type_ids" in again("the cat", "the dog")) == passes


@pytest.mark.parametrize("default", [None, "en_XX"])
def test_an_encoder_that_asks_for_each_texts_language_is_refused(tmp_path, default):
    folder = save_tiny(tmp_path, "xlm-roberta")
    written = json.loads((folder / "config.json").read_text()) | {"model_type": "xmod"}
    config = XmodConfig.from_dict({**written, "languages": ["en_XX", "de_DE"], "default_language": default})
    XmodModel(config).save_pretrained(folder)
    assert message(load, folder) == (
        "The model in `mine` is a `xmod`, which needs the language of each text (`lang_ids`, 2 languages), which is not"
        f" passed to it.{INSTEAD}"
    )


@pytest.mark.parametrize(
    ("languages", "reason"),
    [
        (3, "needs the language of each text (`langs`, 3 languages), which is not passed to it"),
        (1, "has the numbered parameter `transformer.attentions.0.q_lin.weight` outside of its 2 layers"),
    ],
)
def test_layers_whose_parts_lie_in_lists_of_their_own_are_refused(tmp_path, languages, reason):
    folder = save_tiny(tmp_path, "bert")
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    XLMModel(AutoConfig.for_model("xlm", vocab_size=vocabulary, n_langs=languages, **_XLM)).save_pretrained(folder)
    assert message(load, folder) == f"The model in `mine` is a `xlm`, which {reason}.{INSTEAD}"


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_bidirectional_gemma_is_no_decoder(tmp_path, pooling):
    folder = save_tiny(tmp_path / "model", "gemma3_text", use_bidirectional_attention=True, **_GEMMA)
    recipe = load_recipe("plain", [f"model={folder}"])
    assert recipe.values["model.pooling"].origin == "_families.toml, bidirectional"
    assert recipe.model.pooling == "mean"
    encoder = load(folder, pooling=pooling)
    assert not encoder.causal
    batch = dict(
        encoder.tokenizer(["the cat", "the big old dog sees two new trees"], padding=True, return_tensors="pt")
    )
    encoder.model.eval()
    with torch.no_grad():
        encoded = encoder.classify(batch)
        torch.testing.assert_close(encoded.logits, encoder.model.score(encoded.pooled(-1)))


def test_a_gemma_is_a_decoder(tmp_path):
    folder = save_tiny(tmp_path, "gemma3_text", **_GEMMA)
    assert load_recipe("plain", [f"model={folder}"]).model.pooling == "last"
    assert load(folder, pooling="last").causal


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "mean", "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, None),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, None),
        ({"pooling_mode_max_tokens": True}, None),
        ([], None),
    ],
)
def test_the_models_own_pooling_goes_before_its_familys(tmp_path, config, pooling):
    folder = save_tiny(tmp_path, "qwen2")
    name_pooling(folder, config)
    assert own_pooling(folder) == (pooling and (pooling, "1_Pooling/config.json"))
    value = load_recipe("plain", [f"model={folder}"]).values["model.pooling"]
    assert (value.value, value.origin) == (
        (pooling, "1_Pooling/config.json") if pooling else ("last", "_families.toml, decoder")
    )
    assert load_recipe("plain", [f"model={folder}", "model.pooling=mean"]).model.pooling == "mean"


def name_pooling(folder, config):
    """Write sentence-transformers' files into a model's folder."""
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    module = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    (folder / "modules.json").write_text(json.dumps([module]))


def test_a_model_on_the_hub_is_pooled_as_its_own_files_say(tmp_path, task_folder, parallel_folder, monkeypatch):
    folder = save_tiny(tmp_path, "bert")
    name_pooling(folder, {"pooling_mode_cls_token": True})
    monkeypatch.setattr("distxfer.encoders._folders._snapshot", lambda name, revision: folder)
    words = ["model=org/name", f"task={task_folder}", f"parallel={parallel_folder}", "task.max_length=16"]
    prepared = {
        pooling: validate(load_recipe("plain", [*words, *([f"model.pooling={pooling}"] if pooling else [])]))
        for pooling in ("", "cls", "mean")
    }
    assert {key: run.recipe.model.pooling for key, run in prepared.items()} == {"": "cls", "cls": "cls", "mean": "mean"}
    assert prepared[""].id == prepared["cls"].id != prepared["mean"].id
    assert prepared[""].recipe.values["model.pooling"].origin == "1_Pooling/config.json"


def test_a_pooling_that_a_default_guessed_is_refused_where_the_encoder_contradicts(
    tmp_path, task_folder, parallel_folder, monkeypatch
):
    """As for a model on the hub, of which the recipe knows but the name."""
    folder = save_tiny(tmp_path, "gpt2", n_embd=16, n_layer=2, n_head=2, n_positions=64)
    assert load_recipe("plain", [f"model={folder}"]).model.pooling == "last"
    monkeypatch.setattr("distxfer.config.recipe.family_of", lambda model: None)
    words = [f"model={folder}", f"task={task_folder}", f"parallel={parallel_folder}", "task.max_length=16"]
    assert message(validate, load_recipe("plain", words)) == (
        "`model.pooling` = `mean` is a default (_defaults.toml), and the encoder reads from left to right, so only the last"
        " token has seen the whole text. Set `model.pooling=last`, or `model.pooling=mean` to keep it anyway."
    )
    validate(load_recipe("plain", [*words, "model.pooling=mean"]))
    validate(load_recipe("plain", [*words, "model.pooling=last"]))


def test_the_first_token_of_a_decoder_is_not_pooled(tmp_path):
    assert message(load, save_tiny(tmp_path, "llama"), pooling="cls") == (
        "The model in `mine` is a `llama`, which reads from left to right, so that the first token, which `model.pooling` ="
        f" `cls` pools, does not depend on the text.{INSTEAD}"
    )
    assert message(load, save_tiny(tmp_path / "bert", "bert", is_decoder=True), head="architecture") == (
        f"The model in `mine` is a `bert`, which classifies the first token, which does not depend on the others.{INSTEAD}"
    )


@pytest.mark.parametrize("specials", [("[SEP]", "[MASK]"), ("[SEP]",)])
def test_a_head_that_looks_for_the_padding_reads_the_token_that_is_pooled(tmp_path, specials):
    """The tokenizer ends each text with the token that also pads, as Qwen3-Embedding's."""
    folder = save_tiny(tmp_path, "llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)._tokenizer
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[SEP]",
        eos_token=specials[-1],
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    if len(specials) == 1:  # nothing else to pad with
        assert message(load, folder, pooling="last") == (
            "The model in `mine` is a `llama`, which has a head that reads token 7 of a text of 8, but `model.pooling` ="
            f" `last` pools the last token, so that the pooled state would not be the classified one.{INSTEAD}"
        )
        return
    encoder = load(folder, pooling="last")
    batch = dict(encoder.tokenizer(["the cat", "the big old dog"], padding=True, return_tensors="pt"))
    encoder.model.eval()
    with torch.no_grad():
        encoded = encoder.classify(batch)
        torch.testing.assert_close(encoded.logits, encoder.model.score(encoded.pooled(-1)))


def test_what_pads_is_saved_with_a_model_and_named_for_an_adapter(tmp_path):
    folder = save_tiny(tmp_path / "base", "qwen2")
    rewrite(folder, pad_token_id=None)
    encoder = load_encoder(str(folder), folder, ("a", "b"), seed=0, pooling="last")
    encoder.save(tmp_path / "whole")
    texts = ["the cat", "the big old dog sees two new trees"]
    batch = AutoTokenizer.from_pretrained(tmp_path / "whole")(texts, padding=True, return_tensors="pt")
    expected = encoder.outputs(batch)
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole").eval()
    torch.testing.assert_close(whole(**batch).logits, expected)
    Lora(r=2).bind(encoder, Languages("eng", ("deu",)), None)
    encoder.save(tmp_path / "adapter")
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    model = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "adapter")
    model.config.pad_token_id = tokenizer.pad_token_id  # the line of a model card
    torch.testing.assert_close(model(**tokenizer(texts, padding=True, return_tensors="pt")).logits, expected)


def test_a_tokenizer_with_more_tokens_than_the_encoder_is_refused(tmp_path):
    folder = save_tiny(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})  # as Gemma 3's, which no text has
    tokenizer.save_pretrained(folder)
    load(folder)
    tokenizer.add_tokens(["zebra"])
    tokenizer.save_pretrained(folder)
    assert message(load, folder) == (
        f"The tokenizer of `mine` has the token `zebra` with the id {rows + 1}, and the encoder has embeddings for the ids 0 to"
        f" {rows - 1} alone. Save the tokenizer that belongs to these weights."
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    folder = save_tiny(tmp_path)
    model = AutoModel.from_pretrained(folder)
    with torch.no_grad():
        model.encoder.layer[1].output.dense.bias[3] = value
    model.save_pretrained(folder)
    assert message(load, folder) == (
        "The weights of `mine` are damaged: `bert.encoder.layer.1.output.dense.bias` has NaN or infinity. Get the model again."
    )


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"num_hidden_layers": 10**6}, "do not belong together: the configuration has 1000000 layers"),
        ({"vocab_size": 10**10}, "do not belong together: the configuration needs 1600"),
        ({"intermediate_size": 10**9}, "do not belong together: the configuration needs 1"),
        ({"num_attention_heads": 0}, "does not load"),
        ({"hidden_size": "many"}, "is not a model's configuration"),
        ({"num_hidden_layers": []}, "is not a model's configuration"),
    ],
)
def test_a_configuration_with_odd_values_is_refused_in_one_line(tmp_path, settings, start):
    text = message(load, rewrite(save_tiny(tmp_path), **settings))
    assert start in text
    assert "\n" not in text


def test_the_check_changes_neither_weights_nor_gradients_nor_random_state(tiny):
    encoder = load(tiny)
    weights = {name: parameter.clone() for name, parameter in encoder.model.named_parameters()}
    encoder.model.train()
    state = torch.get_rng_state()
    check_architecture(encoder)
    assert torch.equal(torch.get_rng_state(), state)
    assert encoder.model.training
    assert all(
        parameter.grad is None and torch.equal(parameter, weights[name])
        for name, parameter in encoder.model.named_parameters()
    )


def broken(encoder, **parts):
    """An encoder whose blocks are changed after loading."""
    blocks = encoder.block_modules()
    for number, act in parts.items():
        act(blocks, int(number[1:]))
    return encoder


def share(blocks, number):
    blocks[number].output.dense.weight = blocks[0].output.dense.weight


def stop(blocks, number):
    """Let no gradient through a block, nor into it."""
    blocks[number].register_forward_hook(lambda module, inputs, output: output.detach())


def mix(blocks, number):
    """Let a token read the padding, as convolutions do."""
    blocks[number].intermediate.register_forward_hook(
        lambda module, inputs, output: output + output.mean(dim=1, keepdim=True)
    )


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (share, "shares weights between its layers"),
        (stop, "computes its output from other states than it returns"),
        (mix, "gives a text other states in a batch with a longer one"),
    ],
)
def test_what_an_architecture_may_do_wrong(encoder, act, reason):
    assert f"is a `bert`, which {reason}" in message(check_architecture, broken(encoder, _2=act))


def test_a_head_without_a_gradient(encoder):
    encoder.model.classifier = nn.Linear(16, 2)
    encoder.model.classifier.requires_grad_(False)
    assert "has no gradient in its head" in message(check_architecture, encoder)
