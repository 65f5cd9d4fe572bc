"""Drift measured from states on the disk: the numbers of a live reference, without its weights."""

import gc
import shutil

import pytest
import torch

from distxfer import RunError
from distxfer.data import Example
from distxfer.training import _training
from distxfer.training._reference import CachedReference
from helpers import farthest, log, message, same, stop_at, weights

CACHED = "model.reference=cached"
OF_PAIRS = ["intervention.drift.text=pairs", "intervention.drift.batch_size=8"]
OF_TARGETS = ["intervention.drift.text=target", "intervention.drift.batch_size=8", "intervention.drift.measure=mse"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTXFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "states"


@pytest.fixture
def run(run, tmp_path):
    """Train an epoch with dropout, whose streams do not depend on where the reference is."""
    return lambda recipe, *overrides, folder="results", **options: run(
        recipe, "phase.finetune.epochs=1", *overrides, folder=tmp_path / folder, **options
    )


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("drift_reg", []),
        ("drift_reg", OF_PAIRS),
        ("drift_reg", OF_TARGETS),
        ("lora", ["intervention.drift.weight=4"]),
        ("bottleneck", ["intervention.drift.weight=4"]),
    ],
    ids=["task", "pairs", "target", "lora", "bottleneck"],
)
def test_the_trajectory_is_that_of_a_live_reference(run, monkeypatch, recipe, overrides):
    """Within rounding: a text's states are computed beside other texts, with other padding."""
    monkeypatch.setattr(_training, "_MOST_BYTES", 0)
    live, cached = run(recipe, *overrides), run(recipe, *overrides, CACHED)
    assert live.folder.name.split("-")[0] != cached.folder.name.split("-")[0]
    for line, cached_line in zip(log(live), log(cached), strict=True):
        assert line.keys() == cached_line.keys()
        for key in ("loss", "term/task", "term/drift", "gradient_norm"):
            assert line[key] == pytest.approx(cached_line[key], rel=1e-5, abs=1e-5), key
    assert log(cached)[-1]["term/drift"] > 0
    assert live.scores == cached.scores
    if recipe == "drift_reg":
        assert farthest(weights(live), weights(cached)) < 2e-5  # Adam magnifies rounding where gradients are nearly 0


def parameters_in_memory() -> int:
    """How many numbers all parameters in memory hold, shared ones once."""
    gc.collect()
    return sum(
        {value.data_ptr(): value.numel() for value in gc.get_objects() if type(value) is torch.nn.Parameter}.values()
    )


def test_there_is_no_second_copy_of_what_trains(run, monkeypatch):
    def most(*overrides: str) -> int:
        before, seen = parameters_in_memory(), []
        run(*overrides, "phase.finetune.steps=1", report=lambda *_: seen.append(parameters_in_memory()))
        return max(seen) - before

    plain = most("plain")
    assert most("drift_reg", *OF_PAIRS) > plain
    assert most("drift_reg", *OF_PAIRS, CACHED) == plain
    assert most("drift_reg", CACHED) == plain
    assert most("drift_reg", "phase.finetune.batch_size=144") == plain, "all texts are read, so they are encoded first"
    assert most("drift_reg") > plain, "they are not"
    monkeypatch.setattr(_training, "_MOST_BYTES", 1000)
    assert most("drift_reg", "phase.finetune.batch_size=144", "seed=1") > plain, "they are too many"


def for_training(cache):
    """The files of states that were computed for training, not for measuring."""
    return [path for path in cache.glob("*/pooled.npy") if "threads" in (path.parent / "about.json").read_text()]


@pytest.mark.parametrize("settings", [(), (CACHED,)], ids=["live", "cached"])
def test_its_passes_serve_the_next_run_and_are_part_of_the_cost_of_both(run, cache, settings, monkeypatch):
    steps, batches, encoded = 6, 1, []
    encode = CachedReference._encoded
    monkeypatch.setattr(CachedReference, "_encoded", lambda self, texts: encoded.append(texts) or encode(self, texts))

    def passes(*overrides: str, recipe: str = "drift_reg", **options) -> int:
        """Return how often a run encodes texts for its reference."""
        encoded.clear()
        cost = run(recipe, *overrides, *settings, **options).data["cost"]
        if recipe == "drift_reg" and OF_PAIRS[0] not in overrides:
            assert cost["forwards_per_step"] * cost["steps"] == pytest.approx(steps + batches)
        return len(encoded)

    assert passes() == batches
    [stored] = for_training(cache)
    assert passes(folder="again") == 0
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert passes(folder="damaged") == batches
    assert passes("seed=1") == 0  # the same texts and weights, whatever the seed
    assert passes("intervention.drift.measure=mse") == 0
    passes(*OF_PAIRS, folder="pairs")
    assert passes(folder="after pairs") == 0
    assert passes("task.max_length=8") == batches


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(run, cache):
    """From the middle of the second epoch, and of the second phase: with a live reference it is that within rounding only.

    Also where what was kept is gone, and is computed once more.
    """
    overrides = [*OF_PAIRS, CACHED, "phase.finetune.epochs=2", "phases=finetune,more", "phase.more.steps=4"]
    whole = run("drift_reg", *overrides, folder="whole")
    for steps in (9, 8):
        with pytest.raises(KeyboardInterrupt):
            run("drift_reg", *overrides, report=stop_at(steps))
        if steps == 8:
            shutil.rmtree(cache)
    resumed = run("drift_reg", *overrides)
    assert same(weights(whole), weights(resumed))
    assert len(log(resumed)) == 16


def test_adapters_share_what_is_kept_whatever_their_seed(run, cache):
    for seed in (0, 1):
        run("lora", "intervention.drift.weight=1", CACHED, f"seed={seed}")
    assert len(for_training(cache)) == 1


def test_bf16_is_compared_with_bf16(run, cache):
    for precision in ("float32", "bf16"):
        result = run("drift_reg", CACHED, f"model.precision={precision}", "intervention.drift.measure=mse")
        assert log(result)[0]["term/drift"] > 0
    assert len(for_training(cache)) == 2


def test_what_it_cannot_give_is_refused_before_training(run):
    assert message(run, "word_align", CACHED, "intervention.align.layers=3") == (
        "The intervention `align` reads the pretrained encoder's states of every token, and `model.reference` = `cached` has"
        " pooled states only. Set it to `live`."
    )
    assert message(run, "plain", CACHED) == (
        "`model.reference` = `cached` has no effect, since no intervention of the recipe reads states of the pretrained"
        " encoder. Leave it out, or add one that does, such as `intervention.drift.weight=1`."
    )


@pytest.mark.parametrize(
    ("asks", "expected"),
    [
        (
            lambda step: step.reference(step.collate([Example("", "eng", "a cat made up")])),
            "A term asks for the pretrained states of `a cat made up`, which is not among the run's own texts, and"
            " `model.reference` = `cached` has only those. Set it to `live`.",
        ),
        (
            lambda step: step.pretrained(step.batch),
            "A term asks for the pretrained states of every token, and `model.reference` = `cached` has pooled ones only."
            " Set it to `live`, and add `pretrained` to the `needs` of the term's `BoundIntervention`.",
        ),
    ],
)
def test_what_nobody_can_know_before_training_stops_it(run, monkeypatch, asks, expected):
    from distxfer.interventions.drift import Drift

    monkeypatch.setattr(Drift, "_term", lambda self, step, *_: asks(step))
    with pytest.raises(RunError) as caught:
        run("drift_reg", CACHED)
    assert str(caught.value) == expected
