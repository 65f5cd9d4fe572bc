"""What a model folder must hold, each complaint word for word; and how a recipe names layers."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from conftest import LAYERS, save_tiny
from distxfer.encoders import BUNDLED, fingerprint, layer_numbers, load_encoder, model_folder
from distxfer.errors import InputError

KINDS = (
    "which has no encoder with a classification head."
    " Choose an encoder (BERT, XLM-R, DeBERTa, ModernBERT, mT5 ...) or a decoder (Qwen2, Llama ...)."
)
TOGETHER = "so they are not those of a whole `bert`. Check that `config.json` and the weights belong together."


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the tiny encoder, to be damaged."""
    return shutil.copytree(tiny, tmp_path / "model")


def load(folder):
    return load_encoder(str(folder), model_folder(str(folder)), ["a", "b"], seed=0)


def complains(message, act, *arguments):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        act(*arguments)


def configure(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def drop(folder, part):
    path = folder / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(path).items() if part not in name}
    save_file(kept, path, {"format": "pt"})


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    message = (
        f"The model folder `{folder}` has no weights; expected `model.safetensors`."
        " Save the model again with `save_pretrained`, which writes safetensors."
    )
    complains(message, load, folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth"])
def test_pickled_weights_alone_are_refused_unread(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"never read")
    message = (
        f"The model folder `{folder}` has only the pickled weights `{name}`, which can run code when loaded;"
        " expected `model.safetensors`. Save the model again with `save_pretrained`, which writes safetensors."
    )
    complains(message, load, folder)


def test_pickled_weights_beside_safetensors_are_never_opened(folder):
    torch.save({"classifier.weight": torch.full((2, 16), 7.0)}, folder / "pytorch_model.bin")
    assert not (load(folder).model.classifier.weight == 7).any()


def test_a_folder_without_configuration(folder):
    (folder / "config.json").unlink()
    message = f"The model folder `{folder}` has no `config.json`. Save a model there with `save_pretrained`."
    complains(message, load, folder)


@pytest.mark.parametrize("kind", ["wav2vec2", "clip", "vit", "marian"])
def test_a_model_of_another_kind(folder, kind):
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    complains(f"The model in `{folder}` is a `{kind}`, {KINDS}", load, folder)


@pytest.mark.parametrize("kind", ["mbart", "bart"])
def test_an_encoder_with_a_decoder_is_refused_where_the_encoder_alone_has_no_classifier(folder, kind):
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    complains(f"The model in `{folder}` is a `{kind}`, {KINDS}", load, folder)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "It looks like the config file at '{path}' is not a valid JSON file."),
        ("{}", "Unrecognized model in {folder}. Should have a `model_type` key in its config.json."),
        ('{"model_type": "bert", "num_hidden_layers": "four"}', "Validation error for field 'num_hidden_layers': "),
        ('{"model_type": "nonesuch"}', "The checkpoint you are trying to load has model type `nonesuch` but "),
        (
            '{"model_type": "nonesuch", "auto_map": {"AutoConfig": "x.Y"}}',
            "The repository {folder} contains custom code which must be executed to correctly load the model.",
        ),
    ],
)
def test_a_configuration_that_is_none(folder, content, why):
    """What follows `is not a model's configuration:` is Transformers' first line."""
    path = folder / "config.json"
    path.write_text(content)
    start = f"`{path}` is not a model's configuration: " + why.replace("{path}", str(path)).replace(
        "{folder}", str(folder)
    )
    with pytest.raises(InputError, match=f"^{re.escape(start)}") as error:
        load(folder)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_weights_of_fewer_blocks_than_the_configuration_says(folder):
    configure(folder, num_hidden_layers=LAYERS + 2)
    message = (
        f"The weights in `{folder}` lack `bert.encoder.layer.4.attention.output.LayerNorm.bias`"
        f" (32 such parameters, or in other shapes), {TOGETHER}"
    )
    complains(message, load, folder)


@pytest.mark.parametrize(
    "part", ["layer.2.attention.self.query.weight", "embeddings.word_embeddings.weight", "embeddings.LayerNorm.bias"]
)
def test_a_missing_part_of_the_encoder_is_never_made_up(folder, part):
    """Transformers would start it at random, and say so in a warning."""
    drop(folder, part)
    whole = f"bert.encoder.{part}" if part.startswith("layer") else f"bert.{part}"
    message = f"The weights in `{folder}` lack `{whole}` (1 such parameters, or in other shapes), {TOGETHER}"
    complains(message, load, folder)


def test_weights_of_another_vocabulary(folder):
    configure(folder, vocab_size=70)
    message = (
        f"The weights in `{folder}` lack `bert.embeddings.word_embeddings.weight`"
        f" (1 such parameters, or in other shapes), {TOGETHER}"
    )
    complains(message, load, folder)


def test_a_pooler_may_be_new_and_is_then_a_part_of_the_head(folder):
    drop(folder, "pooler")
    encoder = load(folder)
    assert {name for name in encoder.head if "pooler" in name} == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
    }
    assert encoder.place("bert.pooler.dense.weight") == "head"
    assert encoder.head_modules() == ["bert.pooler", "classifier"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "header too small"),
        (b"garbage" * 10, "header too large"),
        (None, "incomplete metadata, file not fully covered"),
    ],
)
def test_damaged_weights(folder, content, why):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    complains(f"The model folder `{folder}` does not load: Error while deserializing header: {why}.", load, folder)


def test_a_missing_shard(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    missing = folder / "model-00002-of-00002.safetensors"
    complains(f"The model folder `{folder}` does not load: No such file or directory: {missing}.", load, folder)


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta", "deberta-v2", "qwen2"])
def test_no_tokenizer_though_transformers_would_make_up_an_empty_one(tmp_path, architecture):
    folder = save_tiny(tmp_path, architecture)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    message = (
        f"The model folder `{folder}` has no tokenizer that knows any word."
        " Save it there with `tokenizer.save_pretrained`."
    )
    complains(message, load, folder)


@pytest.mark.parametrize("architecture", ["modernbert", "llama"])
def test_no_tokenizer(tmp_path, architecture):
    folder = save_tiny(tmp_path, architecture)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    start, end = (
        f"The model folder `{folder}` has no tokenizer that loads: ",
        " Save it there with `tokenizer.save_pretrained`.",
    )
    with pytest.raises(InputError, match=f"^{re.escape(start)}.*{re.escape(end)}$"):
        load(folder)


def test_a_damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{")
    message = (
        f"The model folder `{folder}` has no tokenizer that loads: Expecting property name enclosed in double quotes:"
        " line 1 column 2 (char 1). Save it there with `tokenizer.save_pretrained`."
    )
    complains(message, load, folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("special_tokens_map.json", "[1]"),
        ("tokenizer_config.json", '{"tokenizer_class": 5}'),
        ("tokenizer_config.json", "[" * 100_000),
    ],
)
def test_a_damaged_configuration_of_the_tokenizer(folder, name, content):
    (folder / name).write_text(content)
    start = f"The model folder `{folder}` has no tokenizer that loads: "
    with pytest.raises(InputError, match=f"^{re.escape(start)}"):
        load(folder)


def test_a_vocabulary_without_a_token_for_unknown_words(tmp_path):
    folder = save_tiny(tmp_path, "bert")
    path = folder / "tokenizer.json"
    stored = json.loads(path.read_text())
    stored["model"] = {"type": "WordPiece", "vocab": {"the": 0}, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                       "max_input_chars_per_word": 100}  # fmt: skip
    path.write_text(json.dumps(stored | {"added_tokens": [], "post_processor": None, "normalizer": None}))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "the"}')
    message = (
        f"The model folder `{folder}` has no tokenizer that loads: WordPiece error: Missing [UNK] token from the vocabulary."
        " Save it there with `tokenizer.save_pretrained`."
    )
    complains(message, load, folder)


def test_a_tokenizer_without_padding_token(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.unk_token = None
    tokenizer.save_pretrained(folder)
    message = f"The tokenizer in `{folder}` has neither a padding nor an end token. Set `pad_token` and save it."
    complains(message, load, folder)


def test_a_tokenizer_without_attention_mask(folder):
    AutoTokenizer.from_pretrained(folder, model_input_names=["input_ids"]).save_pretrained(folder)
    message = (
        f"The tokenizer in `{folder}` returns no `attention_mask`. Set `model_input_names` in `tokenizer_config.json` to"
        ' `["input_ids", "attention_mask"]`.'
    )
    complains(message, load, folder)


@pytest.mark.parametrize(("end", "padding"), [("[SEP]", "[MASK]"), ("[UNK]", "[MASK]"), ("[MASK]", "[MASK]")])
def test_a_decoder_without_padding_token_pads_with_its_end_token_unless_that_ends_each_text(tmp_path, end, padding):
    """Its head takes the last token that is not the padding token."""
    folder = save_tiny(tmp_path, "llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token, tokenizer.eos_token = None, end
    tokenizer.save_pretrained(folder)
    encoder = load_encoder(str(folder), folder, ["a", "b"], seed=0, pooling="last")
    assert encoder.tokenizer.pad_token == padding
    assert encoder.model.config.pad_token_id == encoder.tokenizer.pad_token_id
    with torch.no_grad():
        found = encoder.classify(dict(encoder.tokenizer(["cat", "the big dog"], padding=True, return_tensors="pt")))
        torch.testing.assert_close(found.logits, encoder.model.score(found.pooled(-1)))
    batch = dict(encoder.tokenizer(["cat", "the big unheard"], padding=True, return_tensors="pt"))
    _, together = encoder.states([batch])
    _, alone = encoder.states([dict(encoder.tokenizer(["cat"], return_tensors="pt"))])
    torch.testing.assert_close(together[:1], alone)


@pytest.mark.parametrize("name", ["./missing", "a/b/c", "bundled/multilingual-e5"])
def test_a_path_that_is_no_folder(name):
    hint = f" Did you mean `{BUNDLED}`?" if name.startswith("bundled/") else ""
    message = f"The model `{name}` does not exist.{hint} Give a folder, a name on the Hugging Face hub, or `{BUNDLED}`."
    complains(message, model_folder, name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "someone/some-model",
            "Cannot find an appropriate cached snapshot folder for the specified revision on the local disk and outgoing"
            " traffic has been disabled. To enable repo look-ups and downloads online, set 'HF_HUB_OFFLINE=0' as environment"
            " variable.",
        ),
        (
            "a b",
            "Repo id must use alphanumeric chars, '-', '_' or '.'. The name cannot start or end with '-' or '.' and the"
            " maximum length is 96: 'a b'.",
        ),
    ],
)
def test_a_name_that_the_hub_does_not_give(monkeypatch, tmp_path, name, why):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable is read at import
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    message = (
        f"The model `{name}` is no local folder, and the Hugging Face hub did not give it ({why})."
        f" Check the name and the connection, or use `{BUNDLED}`."
    )
    complains(message, model_folder, name)


def test_a_folder_in_the_home_directory(tiny, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny.parent))
    assert model_folder(f"~/{tiny.name}") == tiny


def test_the_fingerprint_is_that_of_names_and_contents(tiny, folder):
    assert fingerprint(folder) == fingerprint(tiny)
    (folder / "README.md").write_text("no part of the encoder")
    assert fingerprint(folder) == fingerprint(tiny)
    (folder / "tokenizer_config.json").rename(folder / "other.json")
    assert fingerprint(folder) != fingerprint(tiny)


@pytest.mark.parametrize(
    ("layers", "depth", "numbers"),
    [
        ("all", 4, (1, 2, 3, 4)),
        ("lower", 12, (1, 2, 3, 4)),
        ("middle", 12, (5, 6, 7, 8)),
        ("upper", 12, (9, 10, 11, 12)),
        ("lower", 4, (1,)),
        ("middle", 4, (2, 3)),
        ("upper", 4, (4,)),
        ((3, 1), 4, (3, 1)),
    ],
)
def test_layers_by_band_or_number(layers, depth, numbers):
    assert layer_numbers(layers, depth, "key") == numbers


@pytest.mark.parametrize("depth", range(3, 30))
def test_the_three_bands_are_all_layers_once(depth):
    bands = [layer_numbers(band, depth, "key") for band in ("lower", "middle", "upper")]
    assert sum(bands, ()) == layer_numbers("all", depth, "key") == tuple(range(1, depth + 1))
    assert max(map(len, bands)) - min(map(len, bands)) <= 1


@pytest.mark.parametrize(
    ("layers", "depth", "message"),
    [
        ((1, 5), 4, "`drift.layers` names layer `5`, but this encoder has layers 1 to 4."),
        ((0,), 4, "`drift.layers` names layer `0`, but this encoder has layers 1 to 4."),
        ((2, 3, 2), 4, "`drift.layers` names layer `2` twice. Name each layer once."),
        ((), 4, "`drift.layers` names no layer of this encoder of 4 layers. Give numbers from 1 to 4, or `all`."),
        ("lower", 1, "`drift.layers` names no layer of this encoder of 1 layers. Give numbers from 1 to 1, or `all`."),
    ],
)
def test_layers_that_there_are_not(layers, depth, message):
    complains(message, layer_numbers, layers, depth, "drift.layers")
