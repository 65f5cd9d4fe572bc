"""`predict`: the labels that a finished run's model predicts for new text are those that the run itself has stored."""

import json
import shutil
from pathlib import Path

import pytest
from pyarrow import parquet

from distxfer import load_recipe, predict, train
from helpers import message
from own_tasks import row_of_answer, row_of_words, write

SHORT = ["phase.finetune.epochs=2", "phase.finetune.batch_size=8", "phase.finetune.learning_rate=1e-2", "parallel="]
RUNS = {
    "plain": ("plain", None),
    "adapters": ("lora", None),
    "named_entities": ("plain", row_of_words),
    "question_answering": ("plain", row_of_answer),
}


@pytest.fixture(scope="module", params=RUNS)
def run(request, tmp_path_factory, tiny, task_folder):
    """A finished run, and its task's German test rows."""
    recipe, row = RUNS[request.param]
    root = tmp_path_factory.mktemp(request.param)
    folder = write(root / "task", row) if row else task_folder
    more = ["model.drop_last_layers=1"] if request.param == "plain" else [f"task.type={request.param}"] if row else []
    settings = [f"model={tiny}", f"task={folder}", "task.max_length=16", *SHORT, *more]
    result = train(load_recipe(recipe, settings), root / "results")
    return result.folder, [json.loads(line) for line in (folder / "deu" / "test.jsonl").read_text().splitlines()]


def test_a_model_predicts_what_its_run_has_stored(run):
    folder, rows = run
    texts = [
        (row["question"], row["context"]) if "question" in row else " ".join(row.get("words", [])) or row["text"]
        for row in rows
    ]
    stored = parquet.read_table(folder / "predictions.parquet").to_pylist()
    expected = {row["example_id"]: row["prediction"] for row in stored if row["language"] == "deu"}
    predictions = predict(str(folder), texts)
    assert [prediction.label for prediction in predictions] == [expected[row["id"]] for row in rows]
    for prediction in predictions if "text" in rows[0] else ():
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert max(prediction.probabilities, key=lambda label: prediction.probabilities[label]) == prediction.label


@pytest.mark.parametrize("run", ["plain", "adapters"], indirect=True)
def test_the_verb_prints_labels_of_a_file_or_of_texts(cli, run, tmp_path):
    folder, rows = run
    (tmp_path / "texts.txt").write_text("".join(f"{row['text']}\n" for row in rows[:3]) + "\n")
    shown = json.loads(cli("predict", str(folder), "texts.txt", "--json").stdout)
    assert shown == [vars(prediction) for prediction in predict(folder, [row["text"] for row in rows[:3]])]
    below = f"{folder.parent.name}/{folder.name}"
    table = cli("predict", below, "--text", "der hund", "--results", str(folder.parents[1])).stdout
    assert predict(folder, "der hund")[0].label in table
    wrong = cli("predict", str(folder))
    assert (wrong.exit_code, wrong.stderr) == (
        2, "Error: `predict` needs texts: a file with one per line, or `--text TEXT`. Give one of the two.\n",
    )  # fmt: skip


@pytest.mark.parametrize("run", ["plain"], indirect=True)
def test_what_cannot_predict_is_refused(run, tmp_path):
    folder, _ = run
    assert message(predict, folder, ["a", " "]) == "Text 2 is blank, so there is nothing to predict. Leave it out."
    assert message(predict, tmp_path, "a") == (
        f"`{tmp_path}` is not the folder of a finished run. Give one such as `results/plain/0123abcd-s0`."
    )
    damaged = shutil.copytree(folder, tmp_path / folder.name)
    weights = next(Path(damaged, "model").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert f"`{weights}`" in message(predict, damaged, "a")
    shutil.rmtree(damaged / "model")
    assert message(predict, damaged, "a") == (
        f"The run `{damaged}` has no `model` any more. `distxfer train` with `--again` trains it anew."
    )
