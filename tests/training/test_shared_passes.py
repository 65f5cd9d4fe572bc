"""Terms that draw pairs alike look at the same ones, in the same forward passes; others do not."""

import pytest
from accelerate import Accelerator

from distxfer import load_recipe, train
from distxfer.encoders import Encoder
from distxfer.training._objective import Objective, _Step
from helpers import log, same, weights

BOTH = """# Alignment and consistency.

[intervention.align]
layers = [3]
weighting = "uniform"

[intervention.consistency]
weighting = "uniform"
"""


@pytest.fixture
def run(tmp_path, tiny_settings):
    """Train four steps of the recipe above, with overrides."""
    recipe = tmp_path / "both.toml"
    recipe.write_text(BOTH)
    return lambda *overrides, name=str(recipe), folder="results": train(
        load_recipe(name, [*tiny_settings, "phase.finetune.steps=4", *overrides]), tmp_path / folder
    )


def passes(result) -> float:
    return result.data["cost"]["forwards_per_step"]


def test_equal_draws_share_one_pass_of_both_sides(run):
    assert passes(run()) == 2
    drift = [f"intervention.drift.{key}" for key in ("weight=1", "text=pairs", "weighting_by=sampling")]
    assert passes(run(*drift)) == 2 + 1 + 1 / 4  # the reference's, and one that checks it before the four steps


def test_other_pairs_or_constants_make_passes_of_their_own(run):
    assert passes(run("intervention.consistency.batch_size=16")) == 3
    assert passes(run("intervention.consistency.weight=0", "intervention.align.stop_gradient=true")) == 4
    assert passes(run("intervention.align.stop_gradient=true")) == 3  # the source's without a gradient, for both terms


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("weight", [0, 1])
def test_one_pass_of_both_sides_trains_as_a_pass_of_each(run, monkeypatch, tiny_without_dropout, weight, stopped):
    settings = [
        f"model={tiny_without_dropout}", "intervention.align.layers=2", f"intervention.align.stop_gradient={stopped}",
        f"intervention.consistency.weight={weight}", "model.precision=float32",
    ]  # fmt: skip
    together = run(*settings)
    monkeypatch.setattr(_Step, "_pass", lambda step, batch, with_head: step._run(batch, with_head))
    apart = run(*settings, folder="apart")
    assert passes(apart) > passes(together)
    for first, second in zip(log(together), log(apart), strict=True):
        for key in ("loss", "gradient_norm", "term/task", "term/align", "term/align/cosine"):
            assert first[key] == pytest.approx(second[key], rel=1e-4)


def test_blocks_above_the_aligned_layer_run_for_the_task_alone(run, monkeypatch):
    run_up_to = []
    encode = Encoder.encode

    def record(encoder, inputs, upto=None, lower=None):
        run_up_to.append(upto)
        return encode(encoder, inputs, upto, lower)

    monkeypatch.setattr(Encoder, "encode", record)
    run("intervention.consistency.weight=0", "intervention.align.layers=1,2")
    assert 2 in run_up_to
    run_up_to.clear()
    run("intervention.align.layers=1,2")
    assert 2 not in run_up_to


def test_alignment_looks_at_the_pairs_that_it_has_alone(run, tiny_without_dropout):
    still = f"model={tiny_without_dropout}"
    alone = run(still, "intervention.align.weighting=uniform", "intervention.align.layers=3", name="dist_align")
    assert log(alone)[0]["term/align/cosine"] == pytest.approx(log(run(still))[0]["term/align/cosine"], rel=1e-6)


def test_a_weight_of_zero_still_changes_nothing(run):
    off = ["intervention.consistency.weight=0"]
    alone = run("intervention.align.weighting=uniform", "intervention.align.layers=3", name="dist_align")
    assert same(weights(run(*off)), weights(alone))
    assert passes(run(*off)) == 3


def test_the_pairs_pass_begins_when_that_of_the_task_is_freed(run, monkeypatch, tiny_without_dropout):
    """In parts, with their gradients added, as in one: the same steps."""
    settings = [f"model={tiny_without_dropout}", "diagnostics.gradients=2", "intervention.align.layers=2"]
    order = []

    def record(name, function):
        def recorded(*arguments, **settings):
            order.append(name)
            return function(*arguments, **settings)

        return recorded

    monkeypatch.setattr(Encoder, "_run", record("forward", Encoder._run))
    monkeypatch.setattr(Accelerator, "backward", record("backward", Accelerator.backward))
    parted = run(*settings)
    start = order.index("backward") - 1
    assert order[start : start + 16] == 8 * ["forward", "backward"]
    monkeypatch.setattr(Objective, "parts", lambda objective, number: (objective.active_terms(number),))
    for first, second in zip(log(parted), log(run(*settings, folder="entire")), strict=True):
        assert first.keys() == second.keys()
        for key in first.keys() - {"phase"}:
            assert first[key] == pytest.approx(second[key], rel=1e-4, abs=1e-6), key
