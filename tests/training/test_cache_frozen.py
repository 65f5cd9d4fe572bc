"""The states below the lowest layer that trains, computed once: the same training without dropout, in fewer blocks."""

import pytest
from transformers.models.bert.modeling_bert import BertLayer

from distxfer import load_recipe, train
from distxfer.data import _batches
from distxfer.training import _frozen
from helpers import log, message, same, stop_at, weights

CACHED = "phase.finetune.cache_frozen=true"


@pytest.fixture
def run(tmp_path, tiny_settings, tiny_without_dropout):
    """Train a recipe whose lower half, two of four layers, is frozen; without dropout, unless overrides choose a model."""
    half = [
        f"model={tiny_without_dropout}",
        "intervention.freeze.layers=lower_half",
        "intervention.freeze.embeddings=true",
    ]

    def run(*overrides, name="freeze_lower", folder="results", **settings):
        recipe = load_recipe(name, [*tiny_settings, *half, *overrides])
        return train(recipe, tmp_path / folder, **settings)

    return run


@pytest.fixture
def run_blocks(monkeypatch):
    """The blocks that run, and whether with dropout."""
    blocks = []
    forward = BertLayer.forward

    def record(block, *args, **kwargs):
        blocks.append((block.attention.self.layer_idx, block.training))
        return forward(block, *args, **kwargs)

    monkeypatch.setattr(BertLayer, "forward", record)
    return blocks


def close(first, second) -> bool:
    """Whether two runs had the same losses and gradients in each step, up to rounding."""
    keys = {"loss", "gradient_norm", *(key for key in log(first)[0] if key.startswith("term/"))}
    lines = zip(log(first), log(second), strict=True)
    return all(one[key] == pytest.approx(other[key], rel=1e-3, abs=1e-5) for one, other in lines for key in keys)


def test_without_dropout_it_trains_as_without_the_cache(run, run_blocks):
    whole = run()
    steps = len(log(whole))
    assert sum(training for _, training in run_blocks) == 4 * steps
    run_blocks.clear()
    cached = run(CACHED)
    assert [sum(block == (number, True) for block in run_blocks) for number in range(4)] == [0, 0, steps, steps]
    assert close(whole, cached)
    assert cached.folder.name != whole.folder.name


@pytest.mark.parametrize("room", [0, 10**9])
def test_texts_beyond_the_bound_are_computed_in_each_step(run, monkeypatch, room):
    whole = run()
    monkeypatch.setattr(_frozen, "_BYTES", room)
    monkeypatch.setattr(_batches, "_TOKENS", 64)
    assert close(whole, run(CACHED))


def test_alignment_goes_on_from_the_frozen_layer_too(run):
    align = ["intervention.align.layers=3,4", "intervention.align.loss=l2"]
    assert close(run(*align), run(*align, CACHED))


def test_a_resumed_run_equals_an_uninterrupted_one(run, tiny):
    settings = [CACHED, f"model={tiny}"]
    whole = run(*settings)
    with pytest.raises(KeyboardInterrupt):
        run(*settings, folder="again", report=stop_at(8))
    assert same(weights(whole), weights(run(*settings, folder="again")))


def test_only_the_head_trains_on_states_of_the_last_layer(run, run_blocks):
    frozen = ["intervention.freeze.layers=all"]
    whole = run(*frozen)
    run_blocks.clear()
    assert close(whole, run(*frozen, CACHED))
    assert not any(training for _, training in run_blocks)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["intervention.freeze.embeddings=false"], "the embeddings train"),
        (["intervention.freeze.layers=upper_half"], "the lowest layer or"),
        (["intervention.drift.weight=1"], "`drift` reads the states of layer 1, and `phase.finetune.cache_frozen`"),
    ],
)
def test_what_it_cannot_serve_is_refused(run, overrides, problem):
    assert problem in message(run, CACHED, *overrides)


def test_an_architecture_whose_blocks_share_more_is_refused(run, tmp_path):
    from conftest import save_tiny

    assert "those of a `deberta-v2` need more" in message(
        run, CACHED, f"model={save_tiny(tmp_path / 'm', 'deberta-v2')}"
    )
