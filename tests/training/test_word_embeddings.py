"""The matrix of word embeddings: frozen, it has no gradient, no state in the optimiser and no place in a checkpoint."""

import pytest
from safetensors import safe_open

from distxfer import load_recipe, train
from helpers import stop_at

MATRIX = "bert.embeddings.word_embeddings.weight"


@pytest.mark.parametrize("trains", [False, True])
def test_the_optimiser_and_checkpoints_hold_the_matrix_only_where_it_trains(tiny_settings, tmp_path, trains):
    recipe = load_recipe("plain", [*tiny_settings, f"model.train_word_embeddings={trains}", "phase.finetune.epochs=2"])
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, report=stop_at(8))  # in the second epoch
    (path,) = tmp_path.glob("plain/*/checkpoint.safetensors")
    with safe_open(path, framework="pt") as stored:
        names = list(stored.keys())
    kinds = {name.split("/")[0] for name in names if MATRIX in name}
    assert kinds == ({"parameter", "optimizer"} if trains else set())
    assert {f"optimizer/bert.embeddings.position_embeddings.weight/{key}" for key in ("exp_avg", "exp_avg_sq")} < {
        *names
    }
