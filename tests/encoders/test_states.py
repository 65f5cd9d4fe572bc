"""Hidden states kept by content: the same numbers as without, never another model's, never half a file."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet

from conftest import LAYERS, say, sentences
from distxfer import load_recipe, train
from distxfer.data import Collator, Example, _batches
from distxfer.encoders import Encoder, StateCache, States, fingerprint, load_encoder, state_cache
from distxfer.results.result import ARITHMETIC
from distxfer.runs.snapshots import snapshot
from distxfer.training import Processes

TEXTS = [("cat", None), ("dog runs", None), ("tree", "red")]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTXFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "states"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(_batches, "_TOKENS", 200)


@pytest.fixture
def encoder(tiny) -> Encoder:
    return load_encoder("tiny", tiny, ("a", "b"), seed=0)


@pytest.fixture
def passes(monkeypatch) -> list[str]:
    """What happens: `encoded` for each batch that goes through an encoder for measuring."""
    happened: list[str] = []
    states = Encoder.states

    def counted(self, batches):
        happened.append("encoded")
        return states(self, batches)

    monkeypatch.setattr(Encoder, "states", counted)
    return happened


def examples(language: str, n: int, seed: int = 3) -> list[Example]:
    return list(dict.fromkeys(Example("", language, say(words, language)) for words, _ in sentences(n, seed)))


def taken(encoder, texts, cache=None, processes=None, **options):
    return snapshot(encoder, Collator(encoder.tokenizer, 32), [texts], processes or Processes(), cache, **options)


def files(folder):
    return sorted(folder.glob("*/pooled.npy"))


# What is kept


def test_what_is_read_is_what_was_computed_bit_for_bit(encoder, tiny, cache, passes):
    texts = [*examples("eng", 90), *examples("deu", 20)]
    cached = state_cache(encoder, fingerprint(tiny), 32)
    first = taken(encoder, texts, cached, logits=False)
    batches = len(passes)
    assert batches == 4  # of at most 200 tokens, and one of German
    again = taken(encoder, texts, cached, logits=False)
    plain = taken(encoder, texts)
    assert len(passes) == 2 * batches
    assert torch.equal(first.states(texts), again.states(texts))
    assert torch.equal(first.states(texts), plain.states(texts))
    assert again.outputs(texts) is None
    assert len(files(cache)) == 2  # one a language


def test_a_file_says_what_it_holds(encoder, tiny, cache):
    texts = examples("eng", 30)
    taken(encoder, texts, state_cache(encoder, fingerprint(tiny), 32), logits=False)
    (path,) = files(cache)
    assert sorted(file.name for file in path.parent.iterdir()) == ["about.json", "manifest.json", "pooled.npy"]
    pooled, about = np.load(path), json.loads((path.parent / "about.json").read_text())
    assert pooled.shape == (len(texts), LAYERS + 1, 16)
    assert pooled.dtype == np.float32
    assert {**about, "weights": ""} == {
        "name": "tiny", "layout": 3, "arithmetic": ARITHMETIC, "model": fingerprint(tiny), "weights": "", "pooling": "mean",
        "max_length": 32, "device": "cpu", "precision": "torch.float32", "texts": len(texts),
        "torch": torch.__version__, "transformers": about["transformers"], "tokenizers": about["tokenizers"],
    }  # fmt: skip
    assert len(path.parent.name) == len(about["weights"]) == 64


def test_equal_checkpoints_share_a_file_wherever_they_lie(encoder, tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    state_cache(encoder, fingerprint(tiny), 32).keep(TEXTS, States(torch.ones(2, 3, 4)))
    there = state_cache(load_encoder("another", copy, ("a", "b", "c"), seed=5), fingerprint(copy), 32)
    assert torch.equal(there.read(TEXTS).pooled, torch.ones(2, 3, 4))


def moved(encoder):
    with torch.no_grad():
        next(encoder.base.parameters())[0, 0] += 1e-3
    return encoder


@pytest.mark.parametrize(
    "another",
    [
        lambda encoder, tiny: state_cache(encoder, fingerprint(tiny), 31),
        lambda encoder, tiny: state_cache(encoder, "another configuration or tokenizer", 32),
        lambda encoder, tiny: state_cache(moved(encoder), fingerprint(tiny), 32),
        lambda encoder, tiny: state_cache(load_encoder("t", tiny, "ab", seed=0, pooling="cls"), fingerprint(tiny), 32),
    ],
    ids=["max_length", "files", "weights in memory", "pooling"],
)
def test_what_states_depend_on_makes_another_file(encoder, tiny, another):
    present = state_cache(encoder, fingerprint(tiny), 32)
    present.keep(TEXTS, States(torch.ones(2, 3, 4)))
    assert present.read(TEXTS) is not None
    assert another(encoder, tiny).read(TEXTS) is None


@pytest.mark.parametrize(
    "texts", [TEXTS[::-1], TEXTS[:2], [*TEXTS[:2], ("tree", None)], [*TEXTS[:2], ("treered", "")], [*TEXTS, TEXTS[0]]]
)
def test_other_texts_are_another_file(encoder, tiny, texts):
    present = state_cache(encoder, fingerprint(tiny), 32)
    present.keep(TEXTS, States(torch.ones(2, 3, 4)))
    assert present.read(texts) is None


def test_logits_are_kept_of_a_checkpoints_own_head_alone(encoder, tiny, tmp_path, passes):
    texts = examples("eng", 20)
    fresh = state_cache(encoder, fingerprint(tiny), 32)
    assert taken(encoder, texts, fresh).outputs(texts) is not None
    taken(encoder, texts, fresh)
    assert len(passes) == 2  # the head is drawn anew for every run: its logits are not cached
    encoder.save(tmp_path / "saved")
    tuned = load_encoder("tuned", tmp_path / "saved", ("a", "b"), seed=7)
    assert tuned.head_is_loaded
    cached = state_cache(tuned, fingerprint(tmp_path / "saved"), 32)
    first, again = (taken(tuned, texts, cached) for _ in range(2))
    assert len(passes) == 3
    assert torch.equal(first.outputs(texts), again.outputs(texts))
    assert torch.equal(first.outputs(texts), taken(encoder, texts).outputs(texts))


def test_states_for_training_differ_by_what_rounds(encoder, tiny):
    """A run must not depend on who has filled the cache."""
    present = state_cache(encoder, fingerprint(tiny), 32)
    alone = present.for_training("float32")
    alone.keep(TEXTS, States(torch.ones(2, 3, 4)))
    assert alone.read(TEXTS) is not None
    assert present.read(TEXTS) is None
    assert present.for_training("bf16").read(TEXTS) is None
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert present.for_training("float32").read(TEXTS) is None
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_kept_takes_no_memory_but_that_of_the_disk(encoder, tiny, cache):
    """Also what has just been written: else a run of 100 languages holds all their states until it ends."""
    cached = state_cache(encoder, fingerprint(tiny), 32)
    states = States(torch.randn(2, 3, 4), torch.randn(3, 2))
    for take in (lambda: cached.keep(TEXTS, states), lambda: cached.read(TEXTS)):
        stored = take()
        assert torch.equal(stored.pooled, states.pooled)
        assert torch.equal(stored.logits, states.logits)
        assert str(cache) in Path("/proc/self/maps").read_text()
        del stored
        assert str(cache) not in Path("/proc/self/maps").read_text()


# What is damaged, and what cannot be written


def flipped(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes().replace(b"(20, ", b"(19, ", 1)),
    ],
    ids=["a bit", "cut off", "empty", "header"],
)
def test_a_damaged_file_is_found_out_and_built_anew(encoder, tiny, cache, passes, damage):
    texts = examples("eng", 20)
    cached = state_cache(encoder, fingerprint(tiny), 32)
    first = taken(encoder, texts, cached, logits=False).states(texts)  # copied: the file below is cut off in place
    (path,) = files(cache)
    whole = path.read_bytes()
    damage(path)
    assert path.read_bytes() != whole
    again = taken(encoder, texts, cached, logits=False)
    assert len(passes) == 2
    assert torch.equal(first, again.states(texts))
    assert len(path.read_bytes()) == len(whole)
    taken(encoder, texts, cached, logits=False)
    assert len(passes) == 2


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path, monkeypatch, tiny_settings):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DISTXFER_CACHE", str(tmp_path / "file"))
    notices: list[str] = []
    train(
        load_recipe("plain", [*tiny_settings, "phase.finetune.epochs=1"]), tmp_path / "results", notice=notices.append
    )
    message = (
        f"Hidden states are not kept for the next time. The cache folder `{tmp_path / 'file' / 'states'}` cannot be written:"
        " Not a directory. Expected a folder with write permission and enough free space. Set the environment variable"
        " DISTXFER_CACHE to such a folder."
    )
    about_states = [notice for notice in notices if notice.startswith("Hidden states")]
    assert set(about_states) == {message}
    assert len(about_states) <= 2  # said once a part, not once a language


# Batches


def test_a_languages_states_do_not_depend_on_the_others_or_on_the_processes(encoder):
    """Bit for bit: a batch holds one language, and belongs to one process whole."""

    class Backwards(Processes):
        def share(self, items):
            return items[::-1]

    english = examples("eng", 150)
    alone = taken(encoder, english).states(english)
    german = [Example("", "deu", example.text + " katze katze katze") for example in english]
    for texts, processes in (
        ([*german, *english], None),
        (english[::-1], None),
        ([*english, *german[:9]], Backwards()),
    ):
        assert torch.equal(taken(encoder, texts, processes=processes).states(english), alone)


def test_parts_are_encoded_one_after_the_other(encoder):
    english, more = examples("eng", 70), [Example("", "eng", "cat " * 9), Example("", "deu", "hund")]
    whole = snapshot(encoder, Collator(encoder.tokenizer, 32), [english, more], Processes())
    assert torch.equal(whole.states(english), taken(encoder, english).states(english))
    assert torch.equal(whole.outputs(more), taken(encoder, more).outputs(more))


# In a run


def test_another_recipe_on_the_same_model_and_data_encodes_nothing_before_training(tmp_path, tiny_settings, passes):
    def run(recipe, *overrides):
        passes.clear()
        report = lambda *step: passes.append("step")  # noqa: E731
        result = train(
            load_recipe(recipe, [*tiny_settings, "phase.finetune.epochs=1", *overrides]), tmp_path, report=report
        )
        rows = parquet.read_table(result.folder / "measurements.parquet").to_pylist()
        return passes.index("step"), [row for row in rows if row["moment"] == "before"]

    first, rows = run("plain")
    assert first > 0
    assert run("plain", "seed=3") == (0, rows)
    assert run("freeze_lower") == (0, rows)
    assert run("drift_reg") == (1, rows)  # one batch, by the guard that compares the reference with the encoder
    assert run("plain", "model.pooling=cls")[0] == first
    assert run("lora")[0] == first, "with adapters, the states are not those of the checkpoint by construction"


def test_only_a_cache_of_this_layout_is_read(tmp_path):
    a, b = (StateCache(tmp_path, {"layout": layout}, "x", pytest.fail) for layout in (1, 2))
    a.keep(TEXTS, States(torch.ones(1, 3, 2)))
    assert b.read(TEXTS) is None
