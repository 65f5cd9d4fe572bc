"""The card beside a run's model: what the hub reads, what readers are told, and code that loads the model as it stands."""

import ast
import json
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from pyarrow import parquet
from sklearn.metrics import f1_score
from statsmodels.stats.proportion import proportion_confint

from conftest import WORDS, say, sentences
from distxfer.config.files import recipe_files
from distxfer.config.recipe import load_recipe
from distxfer.data import Example, Prediction, Task
from distxfer.encoders import BUNDLED, BUNDLED_MODELS
from distxfer.runs.citations import bibtex
from distxfer.runs.intervals import score_interval
from distxfer.runs.model_card import base_licence
from distxfer.runs.run import train

ADAPTERS = {"plain": 0, "lora": 1, "language_adapter": 2}
LICENCE = "---\nlicense: apache-2.0\n---\n# A base model\n"


@pytest.fixture(scope="module")
def settings(tiny, tiny_settings, tmp_path_factory):
    """Those of a tiny run, on an encoder whose card has a licence."""
    model = tmp_path_factory.mktemp("base") / "encoder"
    shutil.copytree(tiny, model)
    (model / "README.md").write_text(LICENCE, encoding="utf-8")
    return [
        *tiny_settings,
        f"model={model}",
        "model.precision=float32",
        "phase.finetune.learning_rate=1e-2",
        "diagnostics.states=0",
        "diagnostics.gradients=0",
        "diagnostics.probabilities=true",
    ]


@pytest.fixture(scope="module")
def runs(settings, tmp_path_factory):
    """A whole model, an adapter that has learned the task, and two adapters on top of each other."""
    options = {
        "plain": ["phase.finetune.epochs=1"],
        "lora": ["phase.finetune.epochs=6"],
        "language_adapter": [
            "phase.realign.batch_size=16",
            "phase.realign.epochs=1",
            "intervention.align.layers=3",
            "phase.finetune.epochs=1",
        ],
    }
    results = tmp_path_factory.mktemp("runs")
    return {name: train(load_recipe(name, [*settings, *options.get(name, [])]), results) for name in ADAPTERS}


def card_of(result) -> str:
    return (result.folder / "model" / "README.md").read_text(encoding="utf-8")


def block(card: str, language: str) -> str:
    return card.split(f"```{language}\n")[1].split("```")[0]


def rows_of(card: str) -> dict[str, list[str]]:
    """The table of scores: language -> cells."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines() if line.startswith("| ")]
    return {cells[0]: cells for cells in lines[1:]}


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_code_of_a_card_loads_the_model(runs, task_folder, name, monkeypatch):
    """With nothing but Transformers and PEFT, where the model lies, and gives the probabilities that the run has written."""
    result, shown = runs[name], {}
    code = block(card_of(result), "python")
    imported = {node.module for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)}
    assert imported == ({"transformers", "peft"} if ADAPTERS[name] else {"transformers"})
    assert "import " not in re.sub("(?m)^from .*$", "", code)
    monkeypatch.chdir(result.folder)
    exec(code, shown)
    texts = [json.loads(line) for line in (task_folder / "deu" / "test.jsonl").read_text().splitlines()]
    shown["model"].eval()
    with torch.no_grad():
        probabilities = shown["scores"]([text["text"] for text in texts]).softmax(-1)
    rows = parquet.read_table(result.folder / "predictions.parquet").to_pylist()
    stored = {row["example_id"]: row for row in rows if row["language"] == "deu"}
    expected = [[stored[text["id"]][f"probability_{label}"] for label in ("animal", "plant")] for text in texts]
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3


@pytest.mark.parametrize("name", ADAPTERS)
def test_what_the_hub_reads(runs, name):
    result = runs[name]
    data = ModelCard(card_of(result)).data
    assert data.language == ["en", "de", "ja"]
    assert (data.license, data.pipeline_tag, data.metrics) == ("apache-2.0", "text-classification", ["accuracy"])
    assert data.library_name == ("peft" if ADAPTERS[name] else "transformers")
    assert data.base_model is None  # a folder: no name that means anything on the hub
    index = {(result.dataset_config, result.dataset_split): result.metric_value for result in data.eval_results}
    assert len(data.eval_results) == len(index)
    assert index == {
        (score["language"], score["split"]): round(score["value"], 4)
        for score in result.scores
        if score["metric"] == "accuracy"
    }


def test_languages_stay_texts(settings, task_folder, tmp_path):
    """Norwegian is no falsehood, and Min Nan no number that is missing."""
    for code, language in {"eng": "eng", "nor": "deu", "nan": "jpn"}.items():
        shutil.copytree(task_folder / language, tmp_path / "task" / code)
    words = [*settings, f"task={tmp_path / 'task'}", "parallel=", "phase.finetune.epochs=1"]
    card = card_of(train(load_recipe("plain", words), tmp_path / "results"))
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["language"] == ["en", "nan", "no"]
    assert "- 'no'\n- 'nan'\n" in card or "- 'nan'\n- 'no'\n" in card
    assert "config: 'nan'\n" in card
    assert list(rows_of(card)) == ["eng", "nan", "nor"]


def test_the_table_has_scores_with_wilsons_interval_and_what_was_read(runs):
    result = runs["language_adapter"]
    table = rows_of(card_of(result))
    assert list(table) == list(WORDS)
    distances = {distance["language"]: distance["value"] for distance in result.data["distances"]}
    for language, cells in table.items():
        for split, n, (shown, number) in (("test", 24, cells[4:6]), ("dev", 12, cells[6:8])):
            value = result.score(language, split)
            low, high = proportion_confint(round(value * n), n, method="wilson")
            assert (shown, number) == (f"{value:.3f} [{low:.3f}, {high:.3f}]", str(n))
        assert cells[2] == ("–" if language == "eng" else f"{distances[language]:.3f}")
    assert {language: cells[3] for language, cells in table.items()} == {
        "eng": "labels, parallel text", "deu": "parallel text", "jpn": "parallel text",
    }  # fmt: skip
    assert {cells[3] for cells in list(rows_of(card_of(runs["plain"])).values())[1:]} == {"nothing"}


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_recipe_is_one_that_can_be_run(runs, settings, tmp_path, name):
    """But for the places of folders, of which a card for others shows the last part alone."""
    result = runs[name]
    text = block(card_of(result), "toml")
    (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    places = [setting for setting in settings if setting.startswith(("model=", "task=", "parallel="))]
    assert load_recipe(str(tmp_path / f"{name}.toml"), places).resolved(complete=False) | {
        "task": result.data["recipe"]["task"]
    } == dict(result.data["recipe"])
    values = tomllib.loads(text)
    assert values["model"]["name"] == "encoder"
    assert "seed" not in values  # 0, as in the defaults
    assert str(Path(places[0].partition("=")[2]).parent) not in card_of(result)


def test_the_same_run_has_the_same_card(runs, settings, tmp_path):
    again = train(load_recipe("plain", [*settings, "phase.finetune.epochs=1"]), tmp_path)
    assert card_of(again) == card_of(runs["plain"])


def test_a_collapsed_run_says_so_first(runs):
    assert {run.data["status"] for run in runs.values()} == {"done", "collapsed"}
    for result in runs.values():
        start = card_of(result).split("\n---\n")[1].split()[:8]
        assert ("**Collapsed:**" in start) == (result.data["status"] == "collapsed")
        assert card_of(result).count("Collapsed") == ("**Collapsed:**" in start)


def test_where_translations_are_looked_for_the_source_has_no_score(settings, tmp_path):
    """It is 1 by definition. And test texts that are in the training pairs are told, without the paths of folders."""
    parallel_words = [words for words, _ in sentences(12, seed=4)]
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "deu.tsv").write_text(
        "".join(f"{say(words, 'eng')}\t{say(words, 'deu')}\n" for words in parallel_words * 4)
    )
    for language in ("eng", "deu"):
        rows = [{"id": str(key), "text": say(words, language)} for key, words in enumerate(parallel_words)]
        (tmp_path / "task" / language).mkdir(parents=True)
        (tmp_path / "task" / language / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [f"task={tmp_path / 'task'}", "task.type=retrieval", f"parallel={tmp_path / 'pairs'}", "phase.finetune.task=false",
             "phase.finetune.steps=1", "intervention.align.layers=3", "intervention.align.batch_size=8"]  # fmt: skip
    result = train(load_recipe("dist_align", [*settings, *words]), tmp_path / "results")
    card = card_of(result)
    assert rows_of(card)["eng"][4] == "1 by definition"
    assert re.match(r"0\.\d{3} \[|1\.000 \[", rows_of(card)["deu"][4])
    assert "its score is 1 by definition." in card
    assert [result.dataset_config for result in ModelCard(card).data.eval_results] == ["deu"]
    assert re.search(r"- Of the data: \d+ of the 12 test texts in `deu` of the task `task` occur in the training", card)
    assert str(tmp_path) not in card


def test_limits_and_licences(runs):
    card = card_of(runs["lora"])
    assert "The test sets are small, 24 examples per language" in card
    assert "One seed: no ranking of methods" in card
    assert "- the base model `encoder`: apache-2.0\n" in card
    assert re.search(r"- the task's data `task\d*`: not stated; ask its source\n", card)


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (LICENCE, "apache-2.0"),
        ("---\nlanguage: en\nlicense: 'mit'\n---\n", "mit"),
        ("---\nlanguage: en\n---\nlicense: mit\n", None),
        ("license: mit\n", None),
        ("", None),
    ],
)
def test_a_licence_is_what_the_base_models_card_states(tmp_path, text, licence):
    assert base_licence(tmp_path) is None
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert base_licence(tmp_path) == licence


def test_papers_are_those_of_the_citation_file():
    """Of every shipped recipe; title, year and authors as `CITATION.cff` has them."""
    load = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text(encoding="utf-8"))
    papers = {reference["title"]: reference for reference in load["references"]}
    entries = {entry for name in recipe_files() if "/" not in name for entry in bibtex(_resolved(name))}
    entries |= {*bibtex(_resolved("dist_align", "intervention.align.standardise=true"))}
    entries |= {entry for name in BUNDLED_MODELS for entry in bibtex(_resolved("plain", f"model={name}"))}
    assert len(entries) > 15
    for entry in entries:
        fields = dict(re.findall(r"  (\w+) = \{+(.*?)\}+,\n", entry))
        if entry.startswith("@software"):
            assert (fields["version"], fields["title"]) == (load["version"], load["title"])
            continue
        paper = papers[fields["title"]]
        assert int(fields["year"]) == paper["year"]
        assert [part.split(",")[0].split()[-1] for part in fields["author"].split(" and ")] == [
            author.get("family-names", author.get("name")).split()[-1] for author in paper["authors"]
        ]
        assert fields.get("url") == paper.get("url")


def _resolved(name, *words):
    return load_recipe(name, words).resolved(complete=False)


def _keys(name, *words):
    return [re.split("[{,]", entry)[1] for entry in bibtex(_resolved(name, *words))]


def test_a_recipe_cites_what_it_uses():
    assert _keys("plain") == ["distxfer", "wang2024", "kumar2022", "littell2017"]
    assert _keys("plain", "model.head_start=random") == ["distxfer", "wang2024", "littell2017"]
    assert _resolved("plain")["model"]["name"] == BUNDLED
    assert _keys("plain", "model=org/name", "distance=syntactic@uriel+") == ["distxfer", "kumar2022", "khan2025"]
    assert _keys("drift_reg", "model=org/name") == [
        "distxfer", "philippy2023", "kornblith2019", "song2012", "kumar2022", "littell2017",
    ]  # fmt: skip
    assert {"oord2018", "gaschi2023", "hu2022", "pfeiffer2020"} <= set(_keys("language_adapter"))
    assert {"hu2022", "liu2024dora"} <= set(_keys("dora"))
    assert "pfeiffer2020" not in _keys("lora")
    assert "jalilisabet2020" in _keys("word_align")
    assert "jalilisabet2020" not in _keys("word_align", "intervention.align.dictionary=/some/folder")
    assert "schmidt2023" in _keys("averaged")
    assert "wortsman2022" in _keys("merged")
    assert "liu2025alternate" in _keys("alternate_align")


def drawn(seed, n):
    """Examples of three classes, of unequal sizes, of which some 70 % are predicted right."""
    draw = np.random.default_rng(seed)
    labels = draw.choice(3, size=n, p=(0.6, 0.3, 0.1))
    predicted = np.where(draw.random(n) < 0.7, labels, draw.integers(3, size=n))
    return labels, predicted


def interval(labels, predicted, metric):
    task = Task("toy", ("a", "b", "c"), {})
    examples = [Example(str(place), "eng", "", label=int(label)) for place, label in enumerate(labels)]
    return score_interval(
        task,
        examples,
        [Prediction("abc"[label], "abc"[two]) for label, two in zip(labels, predicted, strict=True)],
        metric,
    )


def test_the_interval_of_f1_holds_its_true_value():
    """That of 200,000 examples, by scikit-learn, in about 95 of 100 test sets of 300."""
    truth = f1_score(*drawn(1000, 200_000), average="macro")
    intervals = [interval(*drawn(seed, 300), "macro_f1") for seed in range(100)]
    assert 88 <= sum(low <= truth <= high for low, high in intervals) <= 100
    assert 0.08 < np.mean([high - low for low, high in intervals]) < 0.2


def test_the_interval_of_many_examples_is_that_of_few_but_cheaper(monkeypatch):
    """Of 4,000 and more, each group is scored alone."""
    labels, predicted = drawn(3, 4000)
    low, high = interval(labels, predicted, "macro_f1")
    monkeypatch.setattr("distxfer.runs.intervals._MANY", 10**9)
    reordered = interval(labels, predicted, "macro_f1")
    assert low + high == pytest.approx(sum(reordered))
    assert 0.6 < (high - low) / (reordered[1] - reordered[0]) < 1.6


def test_where_there_is_no_interval():
    labels, predicted = drawn(0, 39)
    assert interval(labels, predicted, "macro_f1") is None
    assert interval(*[np.arange(60) % 3] * 2, "macro_f1") is None
    low, high = interval(*[np.arange(60) % 3] * 2, "accuracy")
    assert low == pytest.approx(proportion_confint(60, 60, method="wilson")[0])
    assert high == 1
