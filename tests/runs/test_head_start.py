"""The head's start as a linear probe, in real runs."""

import pandas as pd
import pytest

from conftest import save_tiny
from distxfer import load_recipe, train
from distxfer.runs.run import validate
from helpers import message

STILL = ["phase.finetune.steps=1", "phase.finetune.learning_rate=1e-30", "model.head_start=probe", "parallel="]


def of_probe(result):
    rows = pd.read_parquet(result.folder / "measurements.parquet").query("measure == 'probe_accuracy'")
    assert set(rows["moment"]) <= {"before"}
    return dict(zip(rows["language"], zip(rows["value"], rows["n"], strict=True), strict=True))


def scores(result):
    return {
        score["language"]: (pytest.approx(score["value"]), score["n"])
        for score in result.scores
        if (score["split"], score["metric"]) == ("test", "accuracy")
    }


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [("plain", []), ("plain", ["model.pooling=cls"]), ("lora", []), ("bottleneck", []), ("drift_reg", [])],
)
def test_a_head_that_has_not_moved_predicts_what_the_probe_predicts(run, recipe, settings):
    """In every language, from the saved predictions; a random head would not learn the source in a step."""
    result = run(recipe, *STILL, *settings)
    assert of_probe(result) == scores(result)
    assert of_probe(result)["eng"][0] > 0.7


@pytest.mark.parametrize("kind", ["llama", "mt5"])
def test_decoders_and_encoder_decoders_start_alike(run, tmp_path, kind):
    model = save_tiny(tmp_path, kind, initializer_range=0.2)
    pooling = "last" if kind == "llama" else "mean"
    result = run("plain", *STILL, f"model={model}", f"model.pooling={pooling}")
    assert of_probe(result) == scores(result)


def test_the_seed_does_not_matter_to_the_probe(run):
    first, second = (run("plain", *STILL, f"seed={seed}") for seed in (0, 1))
    assert of_probe(first) == of_probe(second)


def test_a_random_start_measures_no_probe(run):
    assert of_probe(run("plain", *STILL, "model.head_start=random")) == {}


def test_another_head_starts_at_random_and_says_so(tiny_settings, tmp_path):
    recipe, notices = load_recipe("plain", [*tiny_settings, "model.head=architecture", "parallel="]), []
    result = train(recipe, tmp_path, notice=notices.append)
    note = (
        "The head starts at random (`model.head_start` = `probe` has no effect): it is more than one linear map of the pooled"
        " state."
    )
    assert note in notices
    assert note in validate(recipe).notes
    assert of_probe(result) == {}


def test_a_trained_head_is_merged_with_a_probe_or_a_trained_one_but_no_random_one(tiny_settings):
    settings = [*tiny_settings, "parallel=", "phase.finetune.merge=0.5"]
    message_of_random = message(validate, load_recipe("plain", [*settings, "model.head_start=random"]))
    assert message_of_random == (
        "`phase.finetune.merge` = `0.5` merges the trained head with its start, which is random. Let the head start as a probe,"
        " with `model.head=auto` and `model.head_start=probe` where the task classifies texts, or let the phase begin"
        " where one with the task has ended."
    )
    validate(load_recipe("plain", settings))
    validate(
        load_recipe("plain", [*settings, "model.head_start=random", "phases=first,finetune", "phase.first.merge=0"])
    )


@pytest.mark.parametrize(
    ("recipe", "phase", "overrides"),
    [
        ("sparse", "finetune", []),
        ("self_training", "self_training", ["phase.self_training.rewind=finetune"]),
        ("self_training", "self_training", ["phase.self_training.rewind=finetune", "phase.self_training.task=false"]),
        ("plain", "finetune", ["phases=first,finetune", "phase.first.task=false", "phase.first.interventions=drift",
                               "intervention.drift.weight=1", "phase.finetune.interventions="]),
        ("plain", "last", ["phases=finetune,second,last", "phase.second.rewind=finetune", "phase.second.interventions=sparse",
                           "phase.last.rewind=second", "phase.last.interventions=sparse", "intervention.sparse.share=0.5",
                           "phase.finetune.interventions="]),
    ],
)  # fmt: skip
def test_a_phase_that_begins_with_the_random_head_is_not_merged(tiny_settings, recipe, phase, overrides):
    """As it does after rewinding to the first phase, or to one that has rewound there."""
    settings = [*tiny_settings, *overrides, f"phase.{phase}.merge=0.5"]
    problem = message(validate, load_recipe(recipe, [*settings, "model.head_start=random"]))
    assert problem.startswith(f"`phase.{phase}.merge` = `0.5` merges the trained head with its start, which is random.")
    validate(load_recipe(recipe, [*settings, "model.head_start=probe"]))


def test_adapters_are_not_merged_with_their_start(tiny_settings):
    settings = [*tiny_settings, "parallel=", "model.head_start=probe", "phase.finetune.merge=0.5"]
    assert message(validate, load_recipe("lora", settings)) == (
        "`phase.finetune.merge` = `0.5` interpolates the encoder's own weights, which are frozen under adapters; expected 0."
        " Leave it out, or remove the adapters from the recipe."
    )
