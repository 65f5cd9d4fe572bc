"""What a model folder must hold, each message word for word; and how a recipe names layers."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from conftest import LAYERS, save_tiny
from distxfer.encoders import BUNDLED, fingerprint, layer_numbers, load_encoder, model_folder
from distxfer.errors import InputError


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the tiny encoder, to be damaged."""
    return shutil.copytree(tiny, tmp_path / "model")


def load(folder, **settings):
    return load_encoder(str(folder), model_folder(str(folder)), ["a", "b"], seed=0, **settings)


def complains(message, act, *arguments):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        act(*arguments)


def configure(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def retype(model_type):
    return lambda folder: (folder / "config.json").write_text(json.dumps({"model_type": model_type}))


def drop(part):
    """Return a function that removes the weights with this part in their name."""

    def act(folder):
        path = folder / "model.safetensors"
        save_file(
            {name: tensor for name, tensor in load_file(path).items() if part not in name}, path, {"format": "pt"}
        )

    return act


def overwrite(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def pickled(name):
    def act(folder):
        without_weights(folder)
        (folder / name).write_bytes(b"never read")

    return act


def without_a_shard(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def without_unknown_words(folder):
    path = folder / "tokenizer.json"
    model = {"type": "WordPiece", "vocab": {"the": 0}, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 100}  # fmt: skip
    stored = json.loads(path.read_text()) | {"added_tokens": [], "post_processor": None, "normalizer": None}
    path.write_text(json.dumps(stored | {"model": model}))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "the"}')


def without_padding(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.unk_token = None
    tokenizer.save_pretrained(folder)


def without_attention_mask(folder):
    AutoTokenizer.from_pretrained(folder, model_input_names=["input_ids"]).save_pretrained(folder)


SAFE = "expected `model.safetensors`. Save the model again with `save_pretrained`, which writes safetensors."
NO_HEAD = (
    "which has no encoder with a classification head."
    " Choose an encoder (BERT, XLM-R, DeBERTa, ModernBERT, mT5 ...) or a decoder (Qwen2, Llama ...)."
)
BELONG = "so they are not those of a whole `bert`. Check that `config.json` and the weights belong together."
HEADER = "The model folder `{folder}` does not load: Error while deserializing header:"
TOKENIZER = "The model folder `{folder}` has no tokenizer that loads:"
SAVE_TOKENIZER = "Save it there with `tokenizer.save_pretrained`."


def lacks(name, number=1):
    return f"The weights in `{{folder}}` lack `{name}` ({number} such parameters, or in other shapes), {BELONG}"


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (without_weights, f"The model folder `{{folder}}` has no weights; {SAFE}"),
        *(
            (
                pickled(name),
                f"The model folder `{{folder}}` has only the pickled weights `{name}`, which can run code when loaded; {SAFE}",
            )
            for name in ("pytorch_model.bin", "model.pt", "model.pth")
        ),
        (
            lambda folder: (folder / "config.json").unlink(),
            "The model folder `{folder}` has no `config.json`. Save a model there with `save_pretrained`.",
        ),
        *(
            (retype(name), f"The model in `{{folder}}` is a `{name}`, {NO_HEAD}")
            for name in ("wav2vec2", "clip", "vit", "marian", "mbart", "bart")
        ),
        (
            lambda folder: configure(folder, num_hidden_layers=LAYERS + 2),
            lacks("bert.encoder.layer.4.attention.output.LayerNorm.bias", 32),
        ),
        *(  # Transformers would draw them anew, with a warning
            (drop(part.removeprefix("bert.")), lacks(part))
            for part in ("bert.embeddings.word_embeddings.weight", "bert.embeddings.LayerNorm.bias")
        ),
        (
            drop("layer.2.attention.self.query.weight"),
            lacks("bert.encoder.layer.2.attention.self.query.weight"),
        ),
        (lambda folder: configure(folder, vocab_size=70), lacks("bert.embeddings.word_embeddings.weight")),
        (overwrite("model.safetensors", b""), f"{HEADER} header too small."),
        (overwrite("model.safetensors", b"garbage" * 10), f"{HEADER} header too large."),
        (truncate, f"{HEADER} incomplete metadata, file not fully covered."),
        (
            without_a_shard,
            "The model folder `{folder}` does not load: No such file or directory:"
            " {folder}/model-00002-of-00002.safetensors.",
        ),
        (
            overwrite("tokenizer.json", b"{"),
            f"{TOKENIZER} Expecting property name enclosed in double quotes: line 1 column 2 (char 1). {SAVE_TOKENIZER}",
        ),
        (
            without_unknown_words,
            f"{TOKENIZER} WordPiece error: Missing [UNK] token from the vocabulary. {SAVE_TOKENIZER}",
        ),
        (
            without_padding,
            "The tokenizer in `{folder}` has neither a padding nor an end token. Set `pad_token` and save it.",
        ),
        (
            without_attention_mask,
            "The tokenizer in `{folder}` returns no `attention_mask`. Set `model_input_names` in `tokenizer_config.json` to"
            ' `["input_ids", "attention_mask"]`.',
        ),
    ],
)
def test_a_damaged_folder_is_refused(folder, damage, expected):
    damage(folder)
    complains(expected.replace("{folder}", str(folder)), load, folder)


@pytest.mark.parametrize(
    ("name", "content", "start"),
    [
        ("config.json", "{", "It looks like the config file at '{folder}/config.json' is not a valid JSON file."),
        ("config.json", "{}", "Unrecognized model in {folder}. Should have a `model_type` key in its config.json."),
        (
            "config.json",
            '{"model_type": "bert", "num_hidden_layers": "four"}',
            "Validation error for field 'num_hidden_layers': ",
        ),
        (
            "config.json",
            '{"model_type": "nonesuch"}',
            "The checkpoint you are trying to load has model type `nonesuch` but ",
        ),
        (
            "config.json",
            '{"model_type": "nonesuch", "auto_map": {"AutoConfig": "x.Y"}}',
            "The repository {folder} contains custom code which must be executed to correctly load the model.",
        ),
        ("special_tokens_map.json", "[1]", ""),
        ("tokenizer_config.json", '{"tokenizer_class": 5}', ""),
        ("tokenizer_config.json", "[" * 100_000, ""),
    ],
)
def test_the_first_line_of_transformers_is_the_reason(folder, name, content, start):
    (folder / name).write_text(content)
    if name == "config.json":
        expected = f"`{folder / name}` is not a model's configuration: " + start.replace("{folder}", str(folder))
    else:
        expected = TOKENIZER.replace("{folder}", str(folder))
    with pytest.raises(InputError, match=f"^{re.escape(expected)}") as error:
        load(folder)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta", "deberta-v2", "qwen2", "modernbert", "llama"])
def test_no_tokenizer_though_transformers_may_make_up_an_empty_one(tmp_path, architecture):
    folder = save_tiny(tmp_path, architecture)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    start, end = re.escape(TOKENIZER.replace("{folder}", str(folder))), re.escape(SAVE_TOKENIZER)
    with pytest.raises(InputError, match=f"^{start} .*{end}$"):
        load(folder)


def test_pickled_weights_beside_safetensors_are_never_opened(folder):
    torch.save({"classifier.weight": torch.full((2, 16), 7.0)}, folder / "pytorch_model.bin")
    assert not (load(folder).model.classifier.weight == 7).any()


def test_a_pooler_may_be_new_and_is_then_a_part_of_the_head(folder):
    """No pooler is drawn unasked."""
    drop("pooler")(folder)
    assert load(folder).head_modules() == ["classifier"]
    encoder = load(folder, head="architecture")
    assert {name for name in encoder.head if "pooler" in name} == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
    }
    assert encoder.place("bert.pooler.dense.weight") == "head"
    assert encoder.head_modules() == ["bert.pooler", "classifier"]


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
        encoded = encoder.classify(dict(encoder.tokenizer(["cat", "the big dog"], padding=True, return_tensors="pt")))
        torch.testing.assert_close(encoded.logits, encoder.model.score(encoded.pooled(-1)))
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


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_weights_are_mapped_so_that_processes_share_the_file(folder):
    encoder = load(folder)
    encoder.move_to(torch.device("cpu"))
    words = encoder.model.get_input_embeddings().weight.data_ptr()
    spans = re.findall(
        rf"^(\w+)-(\w+) .*{re.escape(str(folder))}/model\.safetensors$", Path("/proc/self/maps").read_text(), re.M
    )
    assert any(int(start, 16) <= words < int(end, 16) for start, end in spans)
