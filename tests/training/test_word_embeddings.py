"""The matrix of word embeddings: frozen, it has no gradient, no state in the optimiser and no place in a checkpoint; trained,
only the rows of tokens in the run's texts have them."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import distxfer.training._training as training_file
from conftest import SPECIAL, WORDS
from distxfer import RunError, load_recipe, train
from distxfer.runs.prepare import assemble, prepare
from distxfer.training import Processes
from helpers import farthest, installed, log, same, stop_at, weights

MATRIX = "bert.embeddings.word_embeddings.weight"
ROWS = len(SPECIAL) + sum(map(len, WORDS.values()))
ALL = "model.train_word_embeddings=true"
# Without clipping no rounding of the norm reaches the weights, so that what is equal is equal bit for bit.
STRONG = [ALL, "phase.finetune.weight_decay=0.5", "phase.finetune.learning_rate=1e-2", "phase.finetune.clip=1e9"]
PACKAGE = '''
from dataclasses import dataclass

from distxfer.data import Example
from distxfer.interventions import BoundIntervention, Term


@dataclass(frozen=True)
class Own:
    """Shrink the states of a text that the run does not have."""

    declared: bool = False

    def bind(self, encoder, languages, distances):
        def term(step):
            pooled = step.encode(step.collate([Example("own", "jpn", "neko inu")])).pooled(0)
            return Term(pooled.square().sum(), 1, "example")

        return BoundIntervention(term=term, needs=frozenset({"vocabulary"} if self.declared else ()))
'''


@pytest.fixture
def entire(monkeypatch):
    """Have the entire matrix train in what is called."""

    def called(function, *args, **options):
        with monkeypatch.context() as patch:
            patch.setattr(training_file, "word_rows", lambda *_: None)
            return function(*args, **options)

    return called


def training(tiny_settings, recipe: str, *overrides: str):
    """Return the training of a recipe before its first step."""
    return assemble(prepare(load_recipe(recipe, [*tiny_settings, ALL, *overrides])), Processes()).training


@pytest.mark.parametrize("trains", [False, True])
def test_the_optimiser_and_checkpoints_hold_the_rows_of_the_runs_tokens_where_these_train(
    tiny_settings, tmp_path, trains
):
    recipe = load_recipe("plain", [*tiny_settings, f"model.train_word_embeddings={trains}", "phase.finetune.epochs=2"])
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, report=stop_at(8))  # in the second epoch
    (path,) = tmp_path.glob("plain/*/checkpoint.safetensors")
    with safe_open(path, framework="pt") as stored:
        shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    shape = len(WORDS["eng"]) + 3, 16  # with the tokens around every text, and the padding
    moments = {f"optimizer/{MATRIX}/{key}": shape for key in ("exp_avg", "exp_avg_sq")}
    of_matrix = {name: shape for name, shape in shapes.items() if MATRIX in name and shape}
    assert of_matrix == ({f"parameter/{MATRIX}": shape, **moments} if trains else {})
    assert "optimizer/bert.embeddings.position_embeddings.weight/exp_avg" in shapes


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("plain", ["phase.finetune.average=2", "phase.finetune.epochs=3"]),
        ("drift_reg", ["phases=first,finetune", "phase.first.learning_rate=3e-3", "phase.first.epochs=1"]),
        ("dist_align", ["intervention.align.layers=3", "intervention.freeze.layers=1", "intervention.freeze.embeddings=true",
                        "phases=hold,finetune", "phase.hold.epochs=2", "phase.finetune.interventions=align"]),
    ],
)  # fmt: skip
def test_training_the_rows_is_training_the_matrix(run, entire, tiny, tmp_path, recipe, overrides):
    """With dropout: the draws are the same. Where a phase freezes the matrix, all rows stay."""
    alone, both = run(recipe, *STRONG, *overrides), entire(run, recipe, *STRONG, *overrides, folder=tmp_path)
    rows, matrix = weights(alone), weights(both)
    start = load_file(tiny / "model.safetensors")[MATRIX.removeprefix("bert.")]
    met = len(SPECIAL) + len(WORDS["eng"])
    unmet = slice(met, None) if recipe != "dist_align" else [1, 4]
    assert not torch.allclose(matrix[MATRIX][unmet], start[unmet], rtol=0.01)  # they decay
    assert farthest(rows, matrix) < 1e-6
    assert [line["loss"] for line in log(alone)] == pytest.approx([line["loss"] for line in log(both)], rel=1e-5)
    assert alone.data["cost"]["trainable_parameters"] < both.data["cost"]["trainable_parameters"]


@pytest.mark.parametrize(
    "overrides", [[], ["phases=first,finetune", "phase.first.epochs=4"], ["phase.finetune.average=2"]]
)
def test_a_resumed_run_has_the_same_rows(run, tmp_path, overrides):
    settings = [*STRONG, "phase.finetune.epochs=3", *overrides]
    uninterrupted = run("plain", *settings)
    with pytest.raises(KeyboardInterrupt):
        run("plain", *settings, folder=tmp_path, report=stop_at(15))
    resumed = run("plain", *settings, folder=tmp_path)
    assert same(weights(uninterrupted), weights(resumed))


def test_a_checkpoint_of_the_matrix_is_resumed_with_rows(run, entire, tmp_path):
    """Such as sharded weights leave."""
    uninterrupted = run("plain", *STRONG)
    with pytest.raises(KeyboardInterrupt):
        entire(run, "plain", *STRONG, folder=tmp_path, report=stop_at(15))
    assert farthest(weights(uninterrupted), weights(run("plain", *STRONG, folder=tmp_path))) < 1e-6


@pytest.mark.parametrize("overrides", [["phase.finetune.merge=0.5"], ["phase.finetune.average=3"]])
def test_a_checkpoint_that_keeps_more_of_the_matrix_is_refused(run, entire, tmp_path, overrides):
    """Where the phase began, or the mean: of the rows without a gradient, one number stands for both, and it is not kept."""
    settings = [*STRONG, "phase.finetune.epochs=3", *overrides]
    with pytest.raises(KeyboardInterrupt):
        entire(run, "plain", *settings, folder=tmp_path, report=stop_at(15))
    with pytest.raises(
        RunError, match="has all rows of the word embeddings at the start of a phase, or their mean, and this"
    ):
        run("plain", *settings, folder=tmp_path)


@pytest.mark.parametrize(
    "overrides",
    [
        ["intervention.l2_sp.weight=0.1"], ["intervention.mixout.p=0.5"], ["intervention.r3f.weight=1"],
        ["intervention.code_switch.dictionary=WORDS"],
        ["intervention.sparse.share=0.5", "phases=first,finetune", "phase.first.interventions=",
         "phase.finetune.rewind=first", "phase.finetune.interventions=sparse"],
    ],
)  # fmt: skip
def test_what_reads_weights_or_creates_text_trains_the_matrix(tiny_settings, tmp_path, overrides):
    for language in ("deu", "jpn"):
        (tmp_path / f"{language}.txt").write_text("cat katze\n")
    overrides = [override.replace("WORDS", str(tmp_path)) for override in overrides]
    assert training(tiny_settings, "plain")._context.changing[MATRIX].shape == (len(WORDS["eng"]) + 3, 16)
    assert training(tiny_settings, "plain", *overrides)._context.changing[MATRIX].shape == (ROWS, 16)


def test_the_plan_counts_the_rows_and_timing_steps_changes_no_weight(tiny_settings):
    planned = training(tiny_settings, "plain")
    before = {name: weight.clone() for name, weight in planned.encoder.model.named_parameters()}
    planned.estimate()
    assert same(before, dict(planned.encoder.model.named_parameters()))
    (plan,) = planned.plan()
    unmet = ROWS - len(WORDS["eng"]) - 3
    assert plan.trainable_parameters == plan.parameters - 16 * unmet


def test_a_term_that_creates_text_says_so(run, tmp_path):
    (recipe := tmp_path / "own.toml").write_text("# Own.\n[intervention.own]\n")
    with installed(tmp_path / "site", PACKAGE, own="Own"):
        with pytest.raises(RunError, match="Add `vocabulary` to the `needs`"):
            run(str(recipe), ALL)
        lines = log(run(str(recipe), ALL, "intervention.own.declared=true", "phase.finetune.epochs=4"))
    assert lines[-1]["term/own"] < lines[0]["term/own"]
