"""Terms that draw pairs alike look at the same ones, in the same forward passes; others do not."""

import pytest

from distxfer import load_recipe, train
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
    return lambda *overrides, name=str(recipe): train(
        load_recipe(name, [*tiny_settings, "phase.finetune.steps=4", *overrides]), tmp_path / "results"
    )


def passes(result) -> float:
    return result.data["cost"]["forwards_per_step"]


def test_equal_draws_share_the_passes_of_both_sides(run):
    assert passes(run()) == 3


def test_other_pairs_or_no_gradient_make_passes_of_their_own(run):
    assert passes(run("intervention.consistency.batch_size=16")) == 5
    assert passes(run("intervention.align.stop_gradient=true")) == 4  # its source's pass has no gradient


def test_alignment_looks_at_the_pairs_that_it_has_alone(run, tiny_without_dropout):
    still = f"model={tiny_without_dropout}"
    alone = run(still, "intervention.align.weighting=uniform", "intervention.align.layers=3", name="dist_align")
    assert log(alone)[0]["term/align/cosine"] == pytest.approx(log(run(still))[0]["term/align/cosine"], rel=1e-6)


def test_a_weight_of_zero_still_changes_nothing(run):
    off = ["intervention.consistency.weight=0"]
    alone = run("intervention.align.weighting=uniform", "intervention.align.layers=3", name="dist_align")
    assert same(weights(run(*off)), weights(alone))
    assert passes(run(*off)) == 5
