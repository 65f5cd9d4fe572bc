"""`distxfer new-language` of tasks beside classification: entities in CoNLL-U, questions on texts, and what has no labels."""

import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

import fake_runs
from conftest import WORDS, say, sentences
from distxfer.config.recipe import load_recipe
from distxfer.data import task_languages
from distxfer.language_facts import language_facts
from distxfer.measure import exact_match
from distxfer.new_language.language_data import LanguageFiles
from distxfer.new_language.plan import plan_language
from distxfer.reports.new_language import _prediction
from helpers import message
from own_tasks import row_of_answer, row_of_text, row_of_words, write


def lines(path, rows):
    """Write rows as JSON lines, and return where."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def conllu(path, language, n, seed):
    """Write sentences in CoNLL-U, with their entities where treebanks have other things."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = []
    for place, (words, _) in enumerate(sentences(n, seed)):
        row = row_of_words(str(place), words, language)
        tags = zip(row["words"], row["tags"], strict=True)
        body = [f"{at}\t{word}\t_\tX\t{tag}\t_\t_\t_\t_\t_\n" for at, (word, tag) in enumerate(tags, 1)]
        blocks.append(f"# sent_id = {seed}-{place}\n{''.join(body)}\n")
    path.write_text("".join(blocks), encoding="utf-8")
    return path


def questions(n, texts, seed):
    """Questions in Japanese on so many texts, which go together; the first has an answer more."""
    rows_by_text = [row_of_answer("", words, "jpn") for words, _ in sentences(texts, seed)]
    rows = [{**rows_by_text[place % texts], "id": f"{seed}-{place}"} for place in range(n)]
    first_word = rows[0]["context"].split()[0]
    first = rows[0]["answers"]
    rows[0] = {
        **rows[0],
        "answers": {"text": [*first["text"], first_word], "answer_start": [*first["answer_start"], 0]},
    }
    return rows


@pytest.fixture
def common(tiny_without_dropout):
    """Overrides for a run of a second."""
    return [
        f"model={tiny_without_dropout}", "model.train_word_embeddings=true", "task.max_length=16",
        "phase.finetune.batch_size=8", "phase.finetune.learning_rate=5e-3", "intervention.align.layers=2",
        "intervention.align.batch_size=4", "diagnostics.gradients=0", "diagnostics.states=0",
    ]  # fmt: skip


def predictions(run):
    """The predictions of a run in the new language, by example."""
    rows = parquet.read_table(Path(run["folder"]) / "predictions.parquet").to_pylist()
    return {row["example_id"]: row for row in rows if row["language"] == "cym"}


def finished(cli, *words):
    answer = cli("new-language", "cym", *map(str, words), "--seeds", "1", "--json")
    assert answer.exit_code == 0, answer.output
    data = json.loads(answer.stdout)
    assert data["results"]["collapsed"] == []
    return data, Path(data["report"]).read_text(encoding="utf-8")


def _check_advice(found, report):
    """With one seed never the method, and only a model that is shown to be above the most frequent answer."""
    works = found["results"]["methods"][0]["works"]
    assert (found["use"], found["results"]["advice"]) == (("plain", "baseline") if works else (None, "nothing"))
    assert found["recommendation"].startswith("Not shown to differ: use `plain`. " if works else "Nothing works yet: ")
    assert f"**{found['recommendation']}**" in report
    assert (found["model"] is None) != works


@pytest.mark.parametrize(("output", "texts"), [("token", '["a text"]'), ("span", '[("a question", "its context")]')])
def test_how_the_model_predicts(tmp_path, output, texts):
    assert _prediction(tmp_path, output) == f'import distxfer\n\ndistxfer.predict("{tmp_path}", {texts})'


def test_entities_in_conllu_with_a_column_of_their_own(cli, common, tmp_path):
    for split, n in {"train": 48, "dev": 8, "test": 16}.items():
        conllu(tmp_path / "base" / "eng" / f"{split}.conllu", "eng", n, {"train": 0, "dev": 1, "test": 2}[split])
    labelled, few = (conllu(tmp_path / f"{seed}.conllu", "jpn", n, seed) for n, seed in ((12, 21), (4, 22)))
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{say(words, 'eng')}\t{say(words, 'jpn')}\n" for words, _ in sentences(60, 31)))
    record, report = finished(
        cli, *common, f"task={tmp_path / 'base'}", "task.type=named_entities", "task.columns.tags=xpos",
        "phase.finetune.epochs=3", "--labelled", labelled, "--few-shot", few, "--parallel", pairs,
    )  # fmt: skip
    assert record["proposal"]["recipe"] == "dist_align"
    assert (record["given"]["task_type"], record["given"]["tests"], record["given"]["shots"]) == (
        "named_entities",
        12,
        4,
    )
    assert not any("distxfer-" in note for note in record["notes"])
    for path in record["recipes"]:
        assert load_recipe(path).task.columns == {"tags": "xpos"}
    for run, method in zip(record["runs"], record["results"]["methods"], strict=True):
        rows = predictions(run).values()
        assert len(rows) == 12
        assert method["accuracy"] == np.mean([row["label"] == row["prediction"] for row in rows])
    assert (record["results"]["sentences"], record["results"]["texts"]) == (12, None)
    assert "wholly right in cym (%)" in report
    assert "12 sentences, 1 seed. Intervals" in report
    assert "eng, f1 (%)" in report
    _check_advice(record, report)


def test_questions_on_texts_that_go_together(cli, common, tmp_path):
    base = write(tmp_path / "base", row_of_answer, train_size=24)
    labelled = lines(tmp_path / "test.jsonl", questions(18, 6, 21))
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{say(words, 'jpn')}\n" for words, _ in sentences(60, 32)))
    record, report = finished(
        cli, *common, f"task={base}", "task.type=question_answering", "phase.finetune.epochs=3",
        "--labelled", labelled, "--text", text,
    )  # fmt: skip
    assert (record["proposal"]["recipe"], record["given"]["texts"]) == ("mined_align", 60)
    unlabelled = Path(record["folder"]) / "data" / "eng" / "unlabelled.jsonl"
    mined_in = [json.loads(line) for line in unlabelled.read_text().splitlines()]
    assert all(text_row.keys() == {"id", "text"} for text_row in mined_in)
    assert len({row["text"] for row in mined_in}) == len(mined_in) > 20  # not one question, asked of every text
    right = {row["id"]: row["answers"]["text"] for row in map(json.loads, labelled.read_text().splitlines())}
    for run, method in zip(record["runs"], record["results"]["methods"], strict=True):
        rows = predictions(run)
        hits = [exact_match(answers, rows[key]["prediction"]) for key, answers in right.items()]
        assert method["accuracy"] == pytest.approx(np.mean(hits))
    assert (record["results"]["sentences"], record["results"]["texts"]) == (18, 6)
    for expected in (
        "labelled questions to test on", "exact match in cym (%)", "18 questions on 6 texts, 1 seed", "eng, f1 (%)",
        "for a method over texts (Wilson)",
    ):  # fmt: skip
        assert expected in report
    assert "question-answering" not in report  # transformers has no such pipeline
    _check_advice(record, report)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (
            questions(9, 3, 21),
            "The 9 questions of `cym` to test on are on 3 texts; expected questions on at least 4, since questions on one text"
            " are dependent.",
        ),
        (
            [*questions(8, 4, 21), *questions(20, 1, 22)],  # 28^2 / (4 * 2^2 + 20^2) = 784 / 416
            "The 28 questions of `cym` to test on are so unevenly distributed over 5 texts, with 20 on one, that they are worth"
            " 1.9 texts; expected at least half of the texts. Give about as many questions on each text.",
        ),
    ],
)
def test_questions_on_too_few_or_too_uneven_texts(common, tmp_path, rows, text):
    base = write(tmp_path / "base", row_of_answer, train_size=8)
    files = LanguageFiles(labelled=lines(tmp_path / "test.jsonl", rows))
    words = [*common[:3], f"task={base}", "task.type=question_answering"]
    assert message(plan_language, "cym", files, words, tmp_path / "results") == text
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("task", ["own", "flores"])
def test_what_has_no_labels_is_refused_before_anything_is_read(cli, common, tmp_path, task):
    words = [f"task={write(tmp_path / 'own', row_of_text, train_size=0)}", "task.type=retrieval"]
    words = words if task == "own" else ["task=flores"]  # on the hub, which is not asked
    labelled = lines(tmp_path / "test.jsonl", [row_of_text("0", [0, 1], "jpn")])
    for options in ([], ["--dry-run"]):
        answer = cli("new-language", "cym", *common[:3], *words, "--labelled", str(labelled), *options)
        assert (answer.exit_code, answer.stdout) == (2, "")
        assert answer.stderr == (
            f"Error: `task` is `{words[0].removeprefix('task=')}`, of type `retrieval`, which has no labels, but the"
            f" baseline `plain` trains on labels. Choose a task with labels; for this one, use `distxfer train` with an"
            f" intervention and `phase.finetune.task=false`.\n"
        )
    assert not (tmp_path / "results").exists()


def test_pairs_of_texts_in_columns_with_names_of_their_own(common, tmp_path):
    def pair(key, words, language):
        return {"key": key, "a": say(words, language), "b": say(words[::-1], language), "label": str(len(words) % 2)}

    base = write(tmp_path / "base", pair)
    labelled = lines(
        tmp_path / "test.jsonl", [pair(str(n), words, "jpn") for n, (words, _) in enumerate(sentences(8, 4))]
    )
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{word}\n" for word in WORDS["jpn"]))
    words = [
        f"task={base}",
        *(f"task.columns.{name}={at}" for name, at in {"id": "key", "text": "a", "text_pair": "b"}.items()),
    ]
    plan = plan_language(
        "cym", LanguageFiles(labelled=labelled, text=text), [*common[:3], *words], tmp_path / "results"
    )
    assert (plan.data.tests, plan.data.texts) == (8, len(WORDS["jpn"]))
    data = load_recipe(str(plan.recipes[0])).task.data
    assert task_languages(data) == ("cym", "eng")


def test_a_share_of_words_shows_no_smallest_gain_in_sentences(tiny, tmp_path):
    base = write(tmp_path / "base", row_of_words)
    recipe = load_recipe("plain", [f"model={tiny}", f"task={base}", "task.type=token_classification"])
    gains = {}
    for task_type in ("token_classification", "classification"):
        settings = {"model.name": str(tiny), "task.name": str(base)}
        for seed in range(2):
            scores = {"deu": 0.5 + seed / 10}
            fake_runs.run(tmp_path / task_type, "plain", "aaaa0000", seed, scores, settings, kind=task_type)
        facts = language_facts("deu", recipe, tmp_path / task_type)
        gains[task_type] = [fact for fact in facts if fact.measure == "smallest_gain"]
    assert [(token.value, token.note) for token in gains["token_classification"]] == [
        (None, "accuracy is not a share of correct sentences")
    ]
    assert all(gain.value for gain in gains["classification"])
    nothing = language_facts(
        "deu", load_recipe("plain", [f"model={tiny}", f"task={base}", "task.type=named_entities"]), tmp_path / "no"
    )
    assert [row.measure for row in nothing if row.section == "expected"] == ["f1"]
