"""Pairs that nobody has aligned: mutual neighbours against a plain computation, and a run that trains on them."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import say, sentences
from distxfer import InputError, load_recipe, train
from distxfer.measure import mutual_neighbours
from helpers import message


def plainly(x: np.ndarray, y: np.ndarray, k: int) -> list[list[int]]:
    """CSLS and its mutual neighbours, written out."""
    x, y = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (x, y))
    cosines = x @ y.T
    near_x = np.sort(cosines, axis=1)[:, -k:].mean(axis=1)
    near_y = np.sort(cosines, axis=0)[-k:].mean(axis=0)
    csls = 2 * cosines - near_x[:, None] - near_y[None]
    best = csls.argmax(axis=1)
    return [[i, int(j)] for i, j in enumerate(best) if csls[:, j].argmax() == i]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6), st.integers(1, 50))
def test_mutual_neighbours_are_those_of_the_formula(n, m, seed, chunk):
    draw = np.random.default_rng(seed)
    x, y, k = draw.normal(size=(n, 6)), draw.normal(size=(m, 6)), int(draw.integers(1, min(n, m) + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distxfer.measure.alignment._CHUNK", chunk)
        values = mutual_neighbours(torch.tensor(x), torch.tensor(y), k=k).tolist()
    assert values == plainly(x, y, k)


def test_translations_that_are_near_are_found_and_strangers_are_not():
    draw = torch.Generator().manual_seed(0)
    source = torch.randn(50, 32, generator=draw)
    order = torch.randperm(30, generator=draw)
    target = source[order] + 0.1 * torch.randn(30, 32, generator=draw)  # of 30 of the 50, in another order
    neighbours = {tuple(pair) for pair in mutual_neighbours(source, target).tolist()}
    assert neighbours == {(int(i), j) for j, i in enumerate(order)}


def test_neighbours_bad_input():
    x = torch.randn(5, 3)
    assert "`k` is 6; expected 1 to 5" in message(lambda: mutual_neighbours(x, x, k=6))
    assert "expected (sentences, dimensions)" in message(lambda: mutual_neighbours(x[0], x, k=1))
    with pytest.raises(InputError, match="dimensions per row"):
        mutual_neighbours(x, torch.randn(5, 4), k=1)


@pytest.fixture
def unlabelled_task(task_folder, tmp_path):
    """The task with unlabelled text: the same sentences in every language, in another order in each."""
    folder = tmp_path / "task"
    shutil.copytree(task_folder, folder)
    for shift, language in enumerate(("eng", "deu", "jpn")):
        result = sentences(40, seed=11)
        rows = [
            {"id": str(n), "text": say(words, language)} for n, (words, _) in enumerate(result[shift:] + result[:shift])
        ]
        (folder / language / "unlabelled.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def test_a_run_trains_on_mined_pairs_without_parallel_text(tmp_path, tiny_settings, unlabelled_task):
    overrides = [*tiny_settings, f"task={unlabelled_task}", "parallel=", "parallel.mined=true"]
    result = train(load_recipe("dist_align", [*overrides, "intervention.align.layers=3"]), tmp_path)
    counts = result.data["resolved_values"]["parallel.mined"]
    assert set(counts) == {"deu", "jpn"}
    assert all(4 <= count <= 40 for count in counts.values())
    assert result.data["recipe"]["parallel"] == {"name": "", "mined": True}


def test_mining_for_nobody_is_refused(tmp_path, tiny_settings, unlabelled_task):
    recipe = load_recipe("plain", [*tiny_settings, f"task={unlabelled_task}", "parallel.mined=true"])
    assert message(lambda: train(recipe, tmp_path)).startswith("`parallel.mined` = `true` has no effect")


def test_mining_needs_unlabelled_text_of_every_language(tmp_path, tiny_settings, unlabelled_task):
    (unlabelled_task / "eng" / "unlabelled.jsonl").unlink()
    settings = ["intervention.align.layers=3", "parallel.mined=true"]
    recipe = load_recipe("dist_align", [*tiny_settings, f"task={unlabelled_task}", *settings])
    error_message = message(lambda: train(recipe, tmp_path))
    assert error_message.startswith("`parallel.mined` needs unlabelled text in `eng`, but the task has 0 such texts.")


def test_too_few_mined_pairs_ask_for_more_text_or_for_parallel_text(tmp_path, tiny_settings, unlabelled_task):
    keep_two(unlabelled_task / "jpn" / "unlabelled.jsonl")
    settings = ["intervention.align.layers=3", "parallel.mined=true"]
    recipe = load_recipe("dist_align", [*tiny_settings, f"task={unlabelled_task}", *settings])
    assert re.fullmatch(
        r"The intervention `align` needs parallel text for `jpn`, and there is too little: [12], expected at least 4"
        r" \(`parallel\.mined` = `true`\)\. Give more text to mine, as `unlabelled\.jsonl` of the source and of `jpn`, or"
        r" parallel text with `parallel=FOLDER parallel\.mined=false`, or keep to `intervention\.align\.languages=deu`\.",
        message(lambda: train(recipe, tmp_path)),
    )


def test_too_little_unlabelled_text_asks_for_more_of_it(tmp_path, tiny_settings, unlabelled_task, parallel_folder):
    """Parallel text would not help: what is unlabelled goes before it."""
    keep_two(unlabelled_task / "jpn" / "unlabelled.jsonl")
    settings = [*tiny_settings, f"task={unlabelled_task}", "intervention.drift.text=target"]
    assert message(lambda: train(load_recipe("drift_reg", settings), tmp_path)) == (
        "The intervention `drift` needs unlabelled text for `jpn`, and there is too little: 2, expected at least 16 that differ"
        f" (`parallel.name` = `{parallel_folder}`). Give more as `unlabelled.jsonl` in the task's folder, or keep to"
        " `intervention.drift.languages=deu`."
    )


def keep_two(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
