"""Alignment in a run: what trains and is saved, and what would do nothing."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from aligned import write_dictionary
from conftest import say, sentences
from distxfer import RunError
from helpers import log, message, stop_at


@pytest.fixture
def run(run):
    """Align at layer 3."""
    return lambda recipe, *overrides, **options: run(recipe, "intervention.align.layers=3", *overrides, **options)


def test_the_head_trains_and_is_saved_and_resumed(run, tmp_path):
    """In a run of weight 0 it stays where its seed has put it; every part of it moves in the others."""
    settings = ["intervention.align.projection=8", "phase.finetune.steps=6"]  # with a checkpoint every 2
    whole = load_file(run("word_align", *settings).folder / "interventions.safetensors")
    start = load_file(run("word_align", *settings, "intervention.align.weight=0").folder / "interventions.safetensors")
    assert set(whole) == {f"align.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")}
    for key, value in whole.items():
        assert float((value - start[key]).abs().max()) > 1e-3
    with pytest.raises(KeyboardInterrupt):
        run("word_align", *settings, folder=tmp_path, report=stop_at(5))
    resumed = load_file(run("word_align", *settings, folder=tmp_path).folder / "interventions.safetensors")
    assert all(torch.equal(resumed[key], value) for key, value in whole.items())


@pytest.mark.parametrize(
    ("recipe", "more"),
    [("word_align", []), ("sinkhorn_align", []), ("dist_align", ["intervention.align.standardise=true"])],
)
def test_the_loss_comes_down(run, recipe, more):
    settings = ["phase.finetune.task=false", "phase.finetune.epochs=6", "phase.finetune.learning_rate=3e-3", *more]
    losses = [line["term/align"] for line in log(run(recipe, *settings, "diagnostics.states=0"))]
    assert len(losses) == 36
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])


def test_given_words_in_a_run_and_words_that_never_occur(run, parallel_folder, tmp_path):
    folder = shutil.copytree(parallel_folder, tmp_path / "aligned")
    links = "".join(
        " ".join(f"{place}-{place}" for place in range(len(words))) + "\n" for words, _ in sentences(80, seed=9)
    )
    for language in ("deu", "jpn"):
        (folder / f"{language}.pharaoh").write_text(links)
    aligned = run("word_align", f"intervention.align.alignments={folder}", "phase.finetune.steps=3")
    assert len(log(aligned)) == 3
    nothing = write_dictionary(tmp_path / "other", deu=[("house", "haus")], jpn=[("house", "ie")])
    with pytest.raises(RunError, match="The term `align` has had no gradient on any trainable parameter by step 4"):
        run("word_align", f"intervention.align.dictionary={nothing}", "phase.finetune.steps=4")


@pytest.mark.parametrize("pairs", ["others", "mined"])
def test_links_of_other_text_than_the_runs_are_refused_before_training(
    run, task_folder, parallel_folder, tmp_path, pairs
):
    folder, task = (
        shutil.copytree(parallel_folder, tmp_path / "aligned"),
        shutil.copytree(task_folder, tmp_path / "task"),
    )
    for language in ("deu", "jpn"):
        (folder / f"{language}.pharaoh").write_text("0-0\n" * 80)
    for language in ("eng", "deu", "jpn"):
        rows = [{"id": str(n), "text": say(words, language)} for n, (words, _) in enumerate(sentences(40, seed=11))]
        (task / language / "unlabelled.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    other = shutil.copytree(parallel_folder, tmp_path / "other")
    (other / "deu.tsv").write_text((other / "deu.tsv").read_text().replace("\t", " the\t"))
    settings = {"others": [f"parallel={other}"], "mined": [f"parallel={folder}", "parallel.mined=true"]}[pairs]
    settings += [f"task={task}", f"intervention.align.alignments={folder}"]
    found = message(run, "word_align", *settings, report=lambda *_: pytest.fail("it trained"))
    assert found.startswith(f"`intervention.align`: `alignments` = `{folder}` has no alignment of the sentence pair `")
    assert found.endswith(f" Set `parallel={folder} parallel.mined=false`.")


def test_a_loss_that_would_train_its_own_head_alone_is_noticed(run):
    settings = ["intervention.freeze.layers=1,2,3", "intervention.align.projection=8"]
    with pytest.raises(RunError, match="Nothing at or below the `layers` of the alignment trains, so its loss would"):
        run("dist_align", *settings)
