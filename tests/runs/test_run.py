"""One run on the bundled encoder and the embedded data: the result contract, and that the numbers are sane."""

import json
import math
import os
import sys
import threading

import pandas as pd
import pytest
from pyarrow import parquet

from distxfer import InputError, load_recipe, read_result, train
from helpers import message

# An eighth of the demo, at six times its rate: enough to learn, short enough for a test.
SHORT = [
    "phase.finetune.epochs=2",
    "phase.finetune.learning_rate=3e-4",
    "task.targets=deu,jpn",
    "diagnostics.states=0",
    "diagnostics.probabilities=true",
]
MAJORITY = 0.235  # "People & Body" among the test emoji


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Plain and `dist_align`, trained for real."""
    folder = tmp_path_factory.mktemp("results")
    recipes = {
        "plain": SHORT,
        "dist_align": [*SHORT, "intervention.align.batch_size=16"],
    }
    return {name: train(load_recipe(name, settings), folder) for name, settings in recipes.items()}


@pytest.fixture
def plain(results):
    return results["plain"]


def test_real_training_learns_and_transfers(results):
    """Aligning with in-domain pairs brings translations nearer than sentences of one language are to each other.

    In 42 steps it shows in strong retrieval alone. By how much it transfers better is for the study to say.
    """
    plain, aligned = (results[name] for name in ("plain", "dist_align"))
    for result in (plain, aligned):
        assert result.summary["source"] > 0.6
        assert result.summary["target_mean"] > MAJORITY + 0.1

    retrieval = []
    for result in (plain, aligned):
        rows = pd.read_parquet(result.folder / "measurements.parquet").query("moment == 'after' and layer == 8")
        rows = rows[rows["measure"].str.startswith("retrieval_strong_")]
        retrieval.append(rows.set_index(["measure", "language"])["value"])
    assert len(retrieval[0]) == 4  # both directions in two languages
    assert (retrieval[1] > retrieval[0]).all()


def test_result_json_keeps_the_contract(plain):
    data = json.loads((plain.folder / "result.json").read_text(encoding="utf-8"))
    assert data["schema"] == 1
    assert {"id", "recipe", "seed", "source", "scores", "summary", "cost", "provenance", "status"} <= data.keys()
    assert plain.folder.name == f"{data['id']}-s{data['seed']}"
    assert len(data["id"]) == 8
    assert plain.folder.parent.name == data["recipe"]["name"] == "plain"
    assert data["recipe"]["task"]["targets"] == ["deu", "jpn"]
    assert {tuple(score) for score in data["scores"]} == {("language", "split", "metric", "value", "n")}
    assert {(score["split"], score["n"]) for score in data["scores"]} == {("dev", 162), ("test", 327)}
    assert {
        "source", "target_mean", "near_mean", "far_mean", "gap", "distance_slope", "distance", "near", "far"
    } <= data["summary"].keys()  # fmt: skip
    assert {
        "seconds", "steps", "tokens", "forwards_per_step", "peak_memory_mb", "trainable_parameters"
    } <= data["cost"].keys()  # fmt: skip
    assert data["cost"]["steps"] == 2 * 21
    assert data["cost"]["forwards_per_step"] == 1
    assert {"packages", "fingerprints", "device", "dtype", "command", "started", "ended"} <= data["provenance"].keys()
    assert data["status"] == "done"


def test_the_summary_follows_from_the_scores(plain):
    summary = plain.summary
    scores = {language: plain.score(language) for language in ("eng", "deu", "jpn")}
    targets = [scores["deu"], scores["jpn"]]
    assert summary["source"] == scores["eng"]
    assert summary["target_mean"] == pytest.approx(sum(targets) / 2)
    assert summary["gap"] == pytest.approx(scores["eng"] - sum(targets) / 2)
    assert (summary["near"], summary["far"]) == (["deu"], ["jpn"])
    assert summary["near_mean"] == scores["deu"]
    assert (summary["distance"], summary["imputed"]) == ("syntactic", True)


def test_predictions_agree_with_the_scores_and_are_the_same_emoji_everywhere(plain):
    table = parquet.read_table(plain.folder / "predictions.parquet")
    rows = table.to_pylist()
    assert (table["label"].to_pandas() == table["prediction"].to_pandas()).sum() == sum(
        row["label"] == row["prediction"] for row in rows
    )
    by_language: dict[str, dict[str, dict]] = {}
    for row in rows:
        by_language.setdefault(row["language"], {})[row["example_id"]] = row
    assert len(rows) == 3 * 327
    assert len({frozenset(ids) for ids in by_language.values()}) == 1
    for language, ids in by_language.items():
        assert sum(row["label"] == row["prediction"] for row in ids.values()) / 327 == pytest.approx(
            plain.score(language)
        )
        for row in list(ids.values())[:20]:
            chances = {key: value for key, value in row.items() if key.startswith("probability_")}
            assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
            assert max(chances, key=chances.get) == f"probability_{row['prediction']}"


def test_measurements_are_a_long_table_of_both_moments(plain):
    table = parquet.read_table(plain.folder / "measurements.parquet")
    assert table.column_names == ["measure", "layer", "language", "value", "n", "moment"]
    rows = table.to_pylist()
    assert {row["measure"] for row in rows} == {
        "drift_cka", "drift_cka_standardised", "retrieval_weak_forward", "retrieval_weak_backward",
        "probe_accuracy",
        "retrieval_strong_forward", "retrieval_strong_backward", "retrieval_csls_forward", "retrieval_csls_backward",
    }  # fmt: skip
    assert {row["layer"] for row in rows} == set(range(13))
    drift = [row for row in rows if row["measure"].startswith("drift")]
    assert {row["language"] for row in drift} == {"eng", "deu", "jpn"}
    assert all(abs(row["value"]) < 1e-9 for row in drift if row["moment"] == "before")
    assert all(0 < row["value"] < 1.1 for row in drift if row["moment"] == "after" and row["layer"] > 0)
    retrieval = [row for row in rows if row["measure"] == "retrieval_weak_forward" and row["moment"] == "before"]
    assert max(row["value"] for row in retrieval) > 0.5  # the pretrained encoder aligns; chance is 1/327
    assert all(0 <= row["value"] <= 1 and not math.isnan(row["value"]) for row in retrieval)
    assert [(row["layer"], row["moment"], row["n"]) for row in rows if row["measure"] == "probe_accuracy"] == [
        (12, "before", 327)
    ] * 3
    assert len(rows) == 2 * 13 * (3 * 2 + 2 * 6) + 3


def test_the_model_loads_with_plain_transformers_and_predicts_the_same(plain):
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    folder = plain.folder / "model"
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = parquet.read_table(plain.folder / "predictions.parquet").to_pylist()[:16]
    from distxfer.data import load_task

    texts = {example.id: example.text for example in load_task("emoji", "eng", ("deu",)).examples("test", "eng")}
    batch = tokenizer([texts[row["example_id"]] for row in rows], padding=True, return_tensors="pt")
    mask = batch["attention_mask"].unsqueeze(-1)
    logits = (model(**batch).logits * mask).sum(1) / mask.sum(1)
    predicted = [model.config.id2label[index] for index in logits.argmax(-1).tolist()]
    assert predicted == [row["prediction"] for row in rows]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "dequantised 4-bit weights" in card
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pt")) + list(folder.rglob("*.pkl"))


def test_every_step_logs_every_term(results):
    lines = [json.loads(line) for line in (results["dist_align"].folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(2 * 21))
    assert all({"term/task", "term/align", "loss", "learning_rate", "gradient_norm"} <= line.keys() for line in lines)
    assert lines[0]["loss"] == pytest.approx(lines[0]["term/task"] + 0.5 * lines[0]["term/align"])
    assert lines[-1]["term/task"] < lines[0]["term/task"]


def test_a_run_that_exists_is_not_run_again(results, plain):
    notices: list[str] = []
    again = train(load_recipe("plain", SHORT), plain.folder.parents[1], notice=notices.append)
    assert again.data == plain.data
    assert "done already" in notices[0]


def test_train_takes_a_name_and_settings_and_shows_progress_to_people(plain, capsys, monkeypatch):
    results = str(plain.folder.parents[1])
    settings = dict(word.split("=", 1) for word in SHORT)
    assert train("plain", results, **settings).data == plain.data
    assert "done already" not in capsys.readouterr().err
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert train("plain", results, **settings).data == plain.data
    assert "This run is done already" in capsys.readouterr().err
    assert message(train, load_recipe("plain", SHORT), results, seed=1) == (
        "`seed` would change a loaded recipe. Give it to `load_recipe`."
    )


def test_two_at_once_do_one_run(tmp_path, tiny_settings):
    """The second waits for the first, says so, and takes its result."""
    notices: list[str] = []
    recipe = load_recipe("plain", [*tiny_settings, "phase.finetune.epochs=8"])
    started, finished = threading.Event(), []

    def report(phase, step, steps, loss):
        started.set()

    first = threading.Thread(target=lambda: finished.append(train(recipe, tmp_path, report=report)))
    first.start()
    assert started.wait(60)
    steps: list[int] = []
    second = train(recipe, tmp_path, report=lambda *seen: steps.append(1), notice=notices.append)
    first.join()
    assert not steps
    assert second.data == finished[0].data
    assert any("waiting" in text for text in notices)


def test_the_id_is_the_recipe_and_the_data_without_the_seed(tmp_path, tiny_settings, task_folder):
    def folder(*overrides):
        from distxfer.runs.prepare import prepare

        return prepare(load_recipe("plain", [*tiny_settings, *overrides])).folder(tmp_path)

    assert folder("seed=0").name[:8] == folder("seed=1").name[:8]
    assert folder("seed=1").name.endswith("-s1")
    assert folder("phase.finetune.epochs=9").name[:8] != folder().name[:8]
    assert folder("task.targets=jpn").name[:8] != folder("task.targets=all").name[:8]
    assert folder("task.targets=de,ja").name == folder("task.targets=all").name  # the same languages, spelled otherwise
    before = folder().name
    path = task_folder / "deu" / "test.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("katze", "hund", 1), encoding="utf-8")
    try:
        assert folder().name[:8] != before[:8]
    finally:
        path.write_text(text, encoding="utf-8")


def test_a_full_disk_keeps_what_was_written(tmp_path, tiny_settings, monkeypatch):
    import distxfer.runs.run as home

    def full(*_):
        raise OSError(28, os.strerror(28))

    write = home.write_table
    monkeypatch.setattr(home, "write_table", full)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        train(load_recipe("plain", tiny_settings), tmp_path)
    (folder,) = (tmp_path / "plain").iterdir()
    assert read_result(folder) is None
    assert (folder / "checkpoint.safetensors").is_file()
    monkeypatch.setattr(home, "write_table", write)
    assert train(load_recipe("plain", tiny_settings), tmp_path).data["status"] in ("done", "collapsed")


def test_a_source_at_chance_is_a_collapsed_run(tmp_path, tiny_settings):
    """18 steps at a rate of 1e-6 teach a random head nothing: counted as failed, by its status."""
    settings = [*tiny_settings, "phase.finetune.learning_rate=1e-6", "model.head_start=random"]
    assert train(load_recipe("plain", settings), tmp_path).data["status"] == "collapsed"
