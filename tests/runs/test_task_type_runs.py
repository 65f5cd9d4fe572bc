"""Tasks beside classification, from files to results: trained, scored, measured, saved and loaded again."""

import json
import re
from pathlib import Path

import pytest
import torch
from pyarrow import parquet
from transformers import AutoModelForQuestionAnswering, AutoModelForTokenClassification

from conftest import WORDS, sentences
from distxfer import load_recipe, train
from distxfer.analysis.one_seed import compare_runs
from distxfer.checkpoints.measure import measure
from distxfer.data import Collator, load_task, task_type_named
from distxfer.data import Data as Where
from distxfer.encoders import load_encoder, load_tokenizer
from distxfer.reports.run import run_table
from distxfer.results.collect import collect
from helpers import log, message, same, stop_at, weights
from own_tasks import row_of_answer, row_of_text, row_of_words, write

MAX_LENGTH = 16
BOTH = """# Three interventions.
[intervention.lora]
[intervention.drift]
[intervention.align]
batch_size = 8
layers = [3]
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tasks")
    return {
        "named_entities": write(root / "named_entities", row_of_words),
        "token_classification": root / "named_entities",
        "question_answering": write(root / "question_answering", row_of_answer),
        "retrieval": write(root / "retrieval", row_of_text, train_size=0),
    }


@pytest.fixture(scope="module")
def settings(folders, tiny, parallel_folder):
    """The overrides for a task of a kind."""

    def made(kind, *more):
        task = [f"task={folders[kind]}", f"task.type={kind}"]
        length = [f"task.max_length={MAX_LENGTH}", "phase.finetune.batch_size=8", "phase.finetune.learning_rate=1e-2"]
        epochs = {"named_entities": 10, "question_answering": 6}.get(kind, 1)
        none = ["phase.finetune.task=false"] if kind == "retrieval" else []
        return [
            *task,
            f"model={tiny}",
            f"parallel={parallel_folder}",
            *length,
            f"phase.finetune.epochs={epochs}",
            *none,
            *more,
        ]

    return made


@pytest.fixture(scope="module")
def results(settings, tmp_path_factory):
    """One run of each kind, and entities with adapters, a drift penalty and alignment at once."""
    folder = tmp_path_factory.mktemp("results")
    recipe_file = folder / "both.toml"
    recipe_file.write_text(BOTH)
    runs = {
        "named_entities": ("plain", settings("named_entities")),
        "token_classification": ("plain", settings("token_classification", "phase.finetune.steps=4")),
        "question_answering": ("plain", settings("question_answering")),
        "retrieval": (
            "dist_align",
            settings("retrieval", "intervention.align.batch_size=8", "intervention.align.layers=3"),
        ),
        "adapters": (
            str(recipe_file),
            settings("named_entities", "phase.finetune.steps=8", "phase.finetune.batch_size=24"),
        ),
    }
    return {name: train(load_recipe(recipe, overrides), folder) for name, (recipe, overrides) in runs.items()}


def predictions(result):
    return parquet.read_table(result.folder / "predictions.parquet").to_pylist()


METRICS = {
    "named_entities": ["f1", "precision", "recall", "accuracy", "macro_f1"],
    "token_classification": ["accuracy", "macro_f1"],
    "question_answering": ["f1", "exact_match"],
    "retrieval": ["accuracy"],
}


@pytest.mark.parametrize("kind", METRICS)
def test_a_run_has_the_scores_of_its_kind(results, folders, kind):
    result, names = results[kind], METRICS[kind]
    scores = {(score["language"], score["split"]): {} for score in result.scores}
    for entry in result.scores:
        scores[entry["language"], entry["split"]][entry["metric"]] = entry["value"]
        assert entry["n"] == {"dev": 8, "test": 24}[entry["split"]]
    assert set(scores) == {(language, split) for language in WORDS for split in ("dev", "test")}
    assert {tuple(score) for score in scores.values()} == {tuple(names)}
    assert (result.summary["metric"], result.metric, result.task_type) == (names[0], names[0], kind)
    assert result.summary["source"] == result.score("eng") == scores["eng", "test"][names[0]]
    rows = predictions(result)
    assert [*rows[0]] == ["language", "example_id", "label", "prediction"]
    assert {len([row for row in rows if row["language"] == language]) for language in WORDS} == {24}
    task = load_task(Where(str(folders[kind]), type=kind), "eng", ("deu", "jpn"))
    for language in WORDS:
        language_rows = [row for row in rows if row["language"] == language]
        examples = task.examples("test", language)
        assert [row["example_id"] for row in language_rows] == [example.id for example in examples]
        again = [Stored(row["label"], row["prediction"]) for row in language_rows]
        assert task_type_named(kind).scores(task, examples, again) == pytest.approx(scores[language, "test"])
    assert names[0] in run_table(result).columns


class Stored:
    """A prediction as it was read from a file."""

    def __init__(self, label, prediction):
        self.label, self.prediction = label, prediction


@pytest.mark.parametrize(("kind", "least"), [("named_entities", 0.6), ("question_answering", 0.5)])
def test_the_source_is_learned(results, kind, least):
    """Which word is an animal or a plant can be known of each word; in a text of four to twenty words."""
    assert results[kind].score("eng") > least
    assert results[kind].data["status"] == "done"
    lines = log(results[kind])
    assert lines[-1]["term/task"] < 0.7 * lines[0]["term/task"]


def test_answers_come_from_the_text(results, folders):
    task = load_task(Where(str(folders["question_answering"]), type="question_answering"), "eng", ("deu", "jpn"))
    texts = {
        (example.language, example.id): example.text_pair for key in WORDS for example in task.examples("test", key)
    }
    rows = predictions(results["question_answering"])
    assert all(row["prediction"] and row["prediction"] in texts[row["language"], row["example_id"]] for row in rows)
    assert max(len(text.split()) for text in texts.values()) > MAX_LENGTH


def test_the_source_finds_itself_and_training_finds_translations(results):
    result = results["retrieval"]
    assert result.score("eng") == 1
    assert result.data["cost"]["steps"] > 0
    assert result.score("deu") > 1 / 24
    rows = parquet.read_table(result.folder / "measurements.parquet").to_pylist()
    assert {row["measure"] for row in rows} >= {"drift_cka", "retrieval_weak_forward"}


# What is saved.


def test_the_model_loads_as_its_card_says(results, monkeypatch):
    classes = {
        "named_entities": "BertForTokenClassification",
        "token_classification": "BertForTokenClassification",
        "question_answering": "BertForQuestionAnswering",
        "retrieval": "BertModel",
        "adapters": "PeftModelForTokenClassification",
    }
    for name, expected in classes.items():
        monkeypatch.chdir(results[name].folder)
        card = Path("model/README.md").read_text(encoding="utf-8")
        predictions: dict = {}
        exec(re.search(r"```python\n(.*?)```", card, re.DOTALL)[1], predictions)
        assert type(predictions["model"]).__name__ == expected
        assert predictions["tokenizer"]("the cat")["input_ids"][0] == 2


@pytest.mark.parametrize("name", ["named_entities", "adapters"])
def test_the_loaded_head_of_words_says_the_same(results, monkeypatch, name):
    result = results[name]
    monkeypatch.chdir(result.folder)
    if name == "adapters":
        from peft import AutoPeftModelForTokenClassification

        model = AutoPeftModelForTokenClassification.from_pretrained("model", num_labels=3).eval()
    else:
        model = AutoModelForTokenClassification.from_pretrained("model").eval()
    tokenizer, labels = load_tokenizer(Path("model")), ["B-ANI", "B-PLA", "O"]
    for deu_row in [row for row in predictions(result) if row["language"] == "deu"][:6]:
        words = [WORDS["deu"][word] for word in sentences(24, 2)[int(deu_row["example_id"].split("-")[1])][0]]
        with torch.inference_mode():
            logits = model(**tokenizer(" ".join(words), return_tensors="pt")).logits[0, 1:-1]  # a word is a token
        assert " ".join(labels[number] for number in logits.argmax(dim=-1)) == deu_row["prediction"]


def test_the_loaded_head_of_answers_points_at_the_answer(results, folders, monkeypatch):
    result = results["question_answering"]
    monkeypatch.chdir(result.folder)
    model = AutoModelForQuestionAnswering.from_pretrained("model").eval()
    kind, tokenizer = task_type_named("question_answering"), load_tokenizer(Path("model"))
    task = load_task(Where(str(folders["question_answering"]), type="question_answering"), "eng", ("deu", "jpn"))
    (example,) = (
        example for example in task.examples("test", "eng") if example.id == predictions(result)[0]["example_id"]
    )
    batch = Collator(tokenizer, MAX_LENGTH, task_type=kind)(kind.windows(example, tokenizer, MAX_LENGTH))
    with torch.inference_mode():
        states = model(**batch.inputs)
    readings = kind.readings(torch.stack([states.start_logits, states.end_logits], dim=-1), batch)
    assert max(reading for window in readings for reading in window)[1] == predictions(result)[0]["prediction"]


@pytest.mark.parametrize("kind", ["named_entities", "question_answering", "retrieval"])
def test_the_saved_model_measures_as_it_was_scored(results, folders, tiny, parallel_folder, kind):
    result = results[kind]
    words = [f"task={folders[kind]}", f"parallel={parallel_folder}", f"task.max_length={MAX_LENGTH}"]
    measured = measure(str(tiny), str(result.folder / "model"), [*words, f"task.type={kind}"])
    assert measured.metric == METRICS[kind][0]
    assert measured.scores == pytest.approx({language: result.score(language) for language in WORDS})


# What goes on around a run.


def test_a_resumed_run_is_the_uninterrupted_one(settings, tmp_path):
    recipe = load_recipe(
        "plain", settings("question_answering", "phase.finetune.steps=8", "task.targets=deu", "parallel=")
    )
    result = train(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "stopped", report=stop_at(len(log(result)) // 2 + 2))
    resumed = train(recipe, tmp_path / "stopped")
    assert same(weights(result), weights(resumed))
    assert predictions(result) == predictions(resumed)


def test_adapters_a_drift_penalty_and_alignment_act_on_words(results, tiny):
    result = results["adapters"]
    assert all({"term/task", "term/drift", "term/align"} <= line.keys() for line in log(result))
    config = json.loads((result.folder / "model" / "adapter_config.json").read_text())
    assert (config["task_type"], config["modules_to_save"][0]) == ("TOKEN_CLS", "classifier")


def test_runs_of_entities_are_collected_and_compared(results):
    result = collect(
        [str(results["named_entities"].folder), str(results["adapters"].folder)], results["named_entities"].folder
    )
    assert result.left_out == ()
    two = compare_runs(results["named_entities"].folder, results["adapters"].folder)
    assert two.metric == two.records()["metric"] == "whole_example"
    rows = [prediction for prediction in predictions(results["named_entities"]) if prediction["language"] == "eng"]
    assert two.rows[0].accuracy_baseline == sum(row["label"] == row["prediction"] for row in rows) / 24


@pytest.mark.parametrize(
    "recipe", ["r3f", "consistency", "code_switch", "subword_sampling", "self_training", "teacher"]
)
def test_what_compares_predictions_of_texts_is_refused_for_words(settings, tmp_path, recipe):
    words = settings("named_entities", *(["intervention.code_switch.dictionary=x"] if recipe == "code_switch" else []))
    if recipe == "code_switch":
        words[-1] = f"intervention.code_switch.dictionary={tmp_path}"
        (tmp_path / "eng-deu.tsv").write_text("cat\tkatze\n")
    error_message = message(lambda: train(load_recipe(recipe, words), tmp_path / "results"))
    assert (
        "it compares one prediction per text, which this task does not have. Leave it out, or choose a task that"
        in error_message
    )
    assert not (tmp_path / "results").exists()


def test_retrieval_has_nothing_to_train_on_but_pairs(settings, tmp_path):
    def notices(*more):
        words = settings("retrieval", "intervention.align.layers=3", *more)
        return message(lambda: train(load_recipe("dist_align", words), tmp_path))

    assert notices("phase.finetune.task=true").endswith(
        "is of type `retrieval`, which has no labels to train on. Set `phase.finetune.task=false`, so that only"
        " interventions train the encoder."
    )
    assert notices("task.shots=3").endswith("`task.shots` = `3` has no effect. Remove it.")
    assert not list(tmp_path.iterdir())


def test_bottlenecks_of_an_encoder_without_a_head_are_saved_in_it(settings, tmp_path):
    recipe = tmp_path / "own.toml"
    recipe.write_text("# Both.\n[intervention.bottleneck]\nr = 4\n[intervention.align]\nbatch_size = 8\nlayers = [3]\n")
    words = settings("retrieval", "task.targets=deu", "phase.finetune.steps=3")
    result = train(load_recipe(str(recipe), words), tmp_path)
    folder = result.folder / "model"
    encoder = load_encoder("saved", folder, (), seed=0, output="state")
    assert encoder.base.config.intermediate_size == 32 + 4
    task = load_task(Where(words[0].removeprefix("task="), type="retrieval"), "eng", ("deu",))
    kind, examples = task_type_named("retrieval"), task.splits["test"]
    collate = Collator(encoder.tokenizer, MAX_LENGTH, task_type=kind)
    readings = {
        key: [[output] for output in encoder.outputs(collate(list(example)).inputs)]
        for key, example in examples.items()
    }
    predicted = kind.predictions(task, examples, readings, "eng")["deu"]
    stored = [prediction["prediction"] for prediction in predictions(result) if prediction["language"] == "deu"]
    assert [prediction.prediction for prediction in predicted] == stored
