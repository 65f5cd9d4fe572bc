"""`distxfer new-language`: from a few test sentences to a recipe, models, an honest comparison and a report."""

import csv
import json
import runpy
import tomllib
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import numpy as np
import pytest
from pyarrow import parquet

from conftest import WORDS, say, sentences
from distxfer.config.recipe import load_recipe
from distxfer.data._emoji import load_emoji
from distxfer.languages import distance
from distxfer.measure import crossed, wilson
from distxfer.new_language.language_data import LanguageFiles
from distxfer.new_language.plan import carry_out, plan_language
from helpers import message

ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path):
    """A language that the task does not have, said with Japanese words: 40 test sentences, 60 pairs and 60 texts."""
    folder = tmp_path / "files"
    folder.mkdir()
    tests = sentences(40, seed=21)
    rows = [{"id": str(n), "text": say(words, "jpn"), "label": label} for n, (words, label) in enumerate(tests)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    unseen = [words for words, _ in sentences(90, seed=22) if say(words, "jpn") not in {row["text"] for row in rows}]
    pairs = {say(words, "eng"): say(words, "jpn") for words in unseen}
    (folder / "pairs.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in pairs.items()))
    (folder / "text.txt").write_text("".join(f"{target}\n" for target in pairs.values()))
    return folder


@pytest.fixture
def settings(tiny_without_dropout, task_folder):
    """Overrides that make a run a matter of a second, after which a tiny encoder has learnt something."""
    return [
        f"model={tiny_without_dropout}", "model.train_word_embeddings=true", f"task={task_folder}", "task.max_length=32",
        "phase.finetune.steps=40", "phase.finetune.batch_size=24", "phase.finetune.learning_rate=5e-3",
        "diagnostics.gradients=0", "diagnostics.states=0",
    ]  # fmt: skip


@pytest.fixture
def plan(files, settings, tmp_path):
    """What is planned for a language with these options, in Python."""

    def make(code="cym", *words, recipe="", seeds=3, **options):
        files_given = LanguageFiles(**{"labelled": files / "test.jsonl", **options})
        if "parallel" in options and not recipe:
            recipe, words = "align_consistency", (*words, "intervention.align.layers=2")
        return plan_language(code, files_given, [*settings, *words], tmp_path / "results", recipe=recipe, seeds=seeds)

    return make


# From beginning to end


def test_from_a_few_sentences_to_a_report(cli, files, settings, tmp_path):
    words = [
        "new-language", "cy", *settings, "--recipe", "align_consistency", "intervention.align.layers=2",
        "--labelled", str(files / "test.jsonl"), "--parallel", str(files / "pairs.tsv"),
    ]  # fmt: skip
    answer = cli(*words, "--json")
    assert answer.exit_code == 0, answer.output
    data = json.loads(answer.stdout)
    folder = tmp_path / "results" / "new-language" / "cym"
    assert (data["language"], data["name"]) == ("cym", "Welsh")
    assert data["proposal"]["recipe"] == "align_consistency"
    assert [(run["recipe"], run["seed"]) for run in data["runs"]] == [
        (name, seed) for name in ("plain", "align_consistency") for seed in range(3)
    ]
    _check_results(data)
    report = (tmp_path / data["report"]).read_text(encoding="utf-8")
    assert Path(data["report"]) == Path("results/new-language/cym/report.md")
    assert data["recommendation"] in report
    assert f"{100 * data['results']['methods'][0]['accuracy']:.1f}" in report
    _check_advice(tmp_path, data, report)
    # The same command says the same again and trains nothing; nor do the ordinary verbs, which find these runs.
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}
    assert len(times) == 6
    assert json.loads(cli(*words, "--json").stdout)["results"] == data["results"]
    trained = cli("train", f"recipe={data['recipes'][1]}", "seed=2", "--results", data["folder"])
    assert "This run is done already" in trained.output
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}
    compared = cli("compare", "plain", "align_consistency", "--results", data["folder"])
    assert compared.exit_code == 0, compared.output


def _check_advice(folder, found, report):
    """A model is named only where it is shown to be above the most frequent label, of 2 here."""
    results, recipes = found["results"], {"method": "align_consistency", "baseline": "plain", "nothing": None}
    assert found["use"] == recipes[results["advice"]]
    assert results["commonest"]["chance"] == 0.5
    assert next(iter(found)) == "recommendation"
    if found["use"] is None:
        assert found["recommendation"].startswith("Nothing works yet: ")
        assert found["model"] is None
    else:
        assert next(method for method in results["methods"] if method["recipe"] == found["use"])["works"]
        assert found["model"] in report
        assert (folder / found["model"] / "config.json").is_file()
        assert Path(found["model"]).parent.name.endswith(f"s{results['seeds'][0]}")


def _check_results(found):
    """The numbers are those of the predictions that the runs have left."""
    tables = {}
    for run in found["runs"]:
        rows = parquet.read_table(Path(run["folder"]) / "predictions.parquet").to_pylist()
        correct = {row["example_id"]: row["label"] == row["prediction"] for row in rows if row["language"] == "cym"}
        tables.setdefault(run["recipe"], {})[run["seed"]] = [correct[str(n)] for n in range(40)]
    results, seeds = found["results"], found["results"]["seeds"]
    assert seeds, results
    plain, method = (np.array([tables[name][seed] for seed in seeds], dtype=float) for name in tables)
    for method_row, table in zip(results["methods"], (plain, method), strict=True):
        assert method_row["accuracy"] == pytest.approx(table.mean())
        assert (method_row["low"], method_row["high"]) == pytest.approx(wilson(float(table.mean()), 40))
    test = crossed(method - plain)
    assert results["effect"] == pytest.approx(test.effect)
    assert results["low"] == (None if test.low is None else pytest.approx(test.low))
    assert results["sentences"] == 40


def test_a_look_alone_trains_nothing(cli, files, settings, tmp_path):
    answer = cli("new-language", "cym", *settings, "--labelled", str(files / "test.jsonl"), "--dry-run")
    assert answer.exit_code == 0, answer.output
    assert "drift_reg" in answer.stdout
    assert answer.stdout.startswith(
        "No method is known to help Welsh with this data. To try: `drift_reg` against `plain` (6 runs, about "
    )
    assert "6 runs: `plain` and `drift_reg` with 3 seeds each; 6 still to do" in answer.stdout
    assert not [*tmp_path.rglob("result.json")]
    assert (tmp_path / "results" / "new-language" / "cym" / "drift_reg.toml").is_file()


def test_an_unreadable_script_is_named_first_and_a_given_test_is_not_missing(cli, files, settings, tmp_path):
    (tmp_path / "text.txt").write_text("ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ\n" * 60)
    words = [
        "--labelled",
        str(files / "test.jsonl"),
        "--text",
        str(tmp_path / "text.txt"),
        "--recipe",
        "drift_reg",
        "--dry-run",
    ]
    answer = cli("new-language", "cym", *settings, *words)
    assert "`distxfer language cym --text FILE task=" in " ".join(answer.stdout.split())
    assert answer.exit_code == 0, answer.output
    first = answer.stdout.splitlines()[0]
    assert first.endswith(
        "But the tokenizer does not know 100 % of the text: another encoder (`model=`) may be needed."
    )
    assert "no labelled test" not in answer.stdout


def test_bad_input_is_one_message(cli, files, settings):
    answer = cli("new-language", "welshh", *settings, "--labelled", str(files / "test.jsonl"))
    assert answer.exit_code == 2
    assert "Language code `welshh` is not known." in answer.stderr
    assert answer.stderr.rstrip().endswith("a language without a code may use `qaa` to `qtz`.")


def test_the_example_of_the_docs(plan, tmp_path, monkeypatch, capsys):
    """Its script, on a file like CLDR's in which Amharic is English with each word backwards; then its dry run."""
    for locale, name in (("en", "{}"), ("am", "{:.0}")):
        table = {
            "".join(chr(int(point, 16)) for point in emoji.id.split("-")): {
                "tts": [name.format(emoji.names["eng"]) or " ".join(word[::-1] for word in emoji.names["eng"].split())]
            }
            for emoji in load_emoji()
        }
        path = tmp_path / "annotations" / locale / "annotations.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"annotations": {"annotations": table}}))
    script = ROOT / "examples" / "new-language" / "names.py"
    monkeypatch.setattr("sys.argv", [str(script), str(tmp_path / "annotations"), "amh", str(tmp_path / "amharic")])
    runpy.run_path(str(script), run_name="__main__")
    assert f"{tmp_path / 'amharic' / 'test.jsonl'}: 150 lines" in capsys.readouterr().out
    tests = [json.loads(line) for line in (tmp_path / "amharic" / "test.jsonl").read_text().splitlines()]
    pairs = [line.split("\t") for line in (tmp_path / "amharic" / "pairs.tsv").read_text().splitlines()]
    assert {test["text"] for test in tests}.isdisjoint(target for _, target in pairs)
    parts = {emoji.id: emoji.part for emoji in load_emoji()}
    assert {parts[test["id"]] for test in tests} == {"test"}
    options = {"labelled": tmp_path / "amharic" / "test.jsonl", "parallel": tmp_path / "amharic" / "pairs.tsv"}
    result = plan("amh", "task=emoji", **options)
    assert (result.data.tests, result.data.pairs) == (150, len(pairs))
    assert result.alternatives[0].recipe == "teacher"
    assert not any("occur in the training pairs for `amh`" in note for note in result.data.notes)
    assert plan("amh", "task=emoji", labelled=options["labelled"]).proposal.recipe == "drift_reg"
    text = plan("amh", "task=emoji", labelled=options["labelled"], text=tmp_path / "amharic" / "text.txt")
    assert text.proposal.recipe == "self_training_twice"


# What there is of a language


def test_the_data_lie_as_files_that_the_task_is_read_from(plan, files):
    result = plan(text=files / "text.txt", parallel=files / "pairs.tsv")
    texts = (files / "text.txt").read_text().splitlines()
    assert (result.data.tests, result.data.shots, result.data.texts, result.data.pairs) == (
        40,
        0,
        len(texts),
        len(texts),
    )
    assert (result.folder / "data" / "cym" / "test.jsonl").read_bytes() == (files / "test.jsonl").read_bytes()
    assert (result.folder / "parallel" / "cym.tsv").read_bytes() == (files / "pairs.tsv").read_bytes()
    lines = (result.folder / "data" / "cym" / "unlabelled.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == texts
    train = [json.loads(line) for line in (result.folder / "data" / "eng" / "train.jsonl").read_text().splitlines()]
    assert len(train) == 144
    unlabelled = (result.folder / "data" / "eng" / "unlabelled.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in unlabelled] == [  # each once
        {"id": str(n), "text": text} for n, text in enumerate(dict.fromkeys(row["text"] for row in train))
    ]


def test_the_same_call_once_more_leaves_the_data_where_they_are(plan, files):
    def laid_down(made):
        return {
            path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in made.folder.rglob("*") if path.is_file()
        }

    options = {"parallel": files / "pairs.tsv"}
    before = laid_down(plan(**options))
    assert laid_down(plan(**options)) == before
    shorter = files / "fewer.tsv"
    shorter.write_text("".join((files / "pairs.tsv").read_text().splitlines(keepends=True)[:55]))
    after = laid_down(plan(parallel=shorter))
    changed = {path.parent.name for path in before if after.get(path) != before[path]}
    assert changed == {"parallel"}


@pytest.mark.parametrize("call", [1, 2, 4])
def test_data_that_change_while_runs_are_made_are_told(plan, files, monkeypatch, call):
    """Another call has put its own there."""
    language_plan, calls = plan(seeds=2), []

    def train(*_, **__):
        calls.append(1)
        if len(calls) == call:
            shots = language_plan.folder / "data" / "cym" / "test.jsonl"
            shots.write_text("".join(shots.read_text().splitlines(keepends=True)[1:]))
        return SimpleNamespace(data={"id": "a", "status": "done"})

    monkeypatch.setattr("distxfer.new_language.plan.train", train)
    assert message(carry_out, language_plan) == (
        f"The data or recipes in `{language_plan.folder}` are not those that this call wrote: another call has replaced them. Run"
        f" this one again, and the other one with another `--results`."
    )
    assert len(calls) == call


def test_labels_in_other_formats_and_shots(plan, files, tmp_path):
    shots = tmp_path / "few.csv"
    with shots.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "text", "label"])
        writer.writerows([str(n), say(words, "jpn"), label] for n, (words, label) in enumerate(sentences(8, seed=5)))
    result = plan(few_shot=shots)
    assert result.data.shots == 8
    for path in result.recipes:
        recipe = load_recipe(str(path))
        assert recipe.task.shots == "all"
    assert any("only on labels of the source" in caveat for caveat in result.proposal.caveats)


def test_a_task_of_words_with_labels(plan, tmp_path):
    folder = tmp_path / "tags"
    (folder / "eng").mkdir(parents=True)
    rows = [{"id": str(n), "words": ["the", word], "tags": ["DET", "NOUN"]} for n, word in enumerate(WORDS["eng"])]
    for split in ("train", "test"):
        (folder / "eng" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labelled = tmp_path / "test.conllu"
    lines = [f"1\tsono\t_\tDET\t_\t_\t2\t_\t_\t_\n2\t{word}\t_\tNOUN\t_\t_\t0\t_\t_\t_\n\n" for word in WORDS["jpn"]]
    labelled.write_text("".join(lines))
    result = plan("cym", f"task={folder}", "task.type=token_classification", labelled=labelled)
    assert (result.data.task_type, result.data.tests, result.proposal.recipe) == (
        "token_classification",
        len(WORDS["jpn"]),
        "drift_reg",
    )
    assert (result.folder / "data" / "eng" / "train.jsonl").read_text() == (folder / "eng" / "train.jsonl").read_text()
    for path in result.recipes:
        assert load_recipe(str(path)).task.type == "token_classification"


def test_a_label_that_the_task_does_not_have(plan, files):
    rows = (files / "test.jsonl").read_text().splitlines()
    rows[2] = json.dumps({"id": "2", "text": "neko", "label": "animals"})
    (files / "test.jsonl").write_text("\n".join(rows) + "\n")
    error_message = message(plan)
    assert error_message.startswith(f"`{files / 'test.jsonl'}:3` has the label `animals`")
    assert "Did you mean `animal`?" in error_message
    assert "distxfer-" not in error_message  # nothing of where the copies lie


def test_a_language_without_a_test(plan):
    error_message = message(plan, labelled=None)
    assert error_message.endswith("so there is nothing to test on. Give labelled sentences with `--labelled`.")


def test_a_language_that_the_task_has_needs_no_labels(plan):
    result = plan("deu", labelled=None)
    assert result.data.tests == 24


def test_too_few_sentences(plan, files):
    rows = (files / "test.jsonl").read_text().splitlines()[:3]
    (files / "test.jsonl").write_text("\n".join(rows) + "\n")
    assert message(plan).startswith("There are 3 labelled sentences of `cym` to test on; expected at least 4")


def test_texts_that_are_tested_and_trained_on_are_told(plan, files):
    rows = [json.loads(line) for line in (files / "test.jsonl").read_text().splitlines()]
    (files / "text.txt").write_text(
        "".join(f"{text}\n" for text in {rows[0]["text"], rows[1]["text"], "neko inu tori"})
    )
    result = plan(text=files / "text.txt")
    count = sum(row["text"] in {rows[0]["text"], rows[1]["text"]} for row in rows)
    assert any(f"`cym/test.jsonl` repeats {count} text" in note and "unlabelled" in note for note in result.data.notes)
    (files / "pairs.tsv").write_text("".join(f"the cat {n}\t{row['text']}\n" for n, row in enumerate(rows)))
    result = plan(parallel=files / "pairs.tsv")
    assert any("occur in the training pairs for `cym`" in note for note in result.data.notes)


# Distances


def test_a_language_that_uriel_does_not_have(plan, files):
    result = plan("qaa", parallel=files / "pairs.tsv")
    assert result.distance is not None
    assert not result.distance.usable
    assert "no syntactic distance, and none is needed" in result.distance.text
    for path in result.recipes:
        assert load_recipe(str(path)).distance.matrix == str(result.folder / "no-distance-known.csv")
    weighting = tomllib.loads(result.recipes[1].read_text())["intervention"]
    assert {row["weighting"] for row in weighting.values()} == {"uniform"}
    syntactic = next(fact for fact in result.facts if fact.measure == "distance_syntactic")
    assert syntactic.value is None


def test_relatives_stand_in_for_the_distance(plan):
    result = plan("qaa", relatives=("cy", "gle"))
    distances_of = {relative: distance("eng", relative, imputed=True).value for relative in ("cym", "gle")}
    assert result.distance is not None
    assert result.distance.file == "syntactic-mean-of-cym-gle.csv"
    rows = dict(csv.reader((result.folder / result.distance.file).read_text().splitlines()))
    assert float(rows["qaa"]) == pytest.approx(fmean(distances_of.values()))
    assert float(rows["deu"]) == distance("eng", "deu", imputed=True).value
    assert "the mean of the syntactic distances of cym (Welsh)" in result.distance.text
    matrix = next(fact for fact in result.facts if fact.measure == "distance_matrix")
    assert matrix.value == pytest.approx(fmean(distances_of.values()))
    assert matrix.note.startswith("syntactic-mean-of-cym-gle.csv")


@pytest.mark.parametrize(
    ("relatives", "text"),
    [
        (("cym", "qab"), "`qab` (private use) has no syntactic data"),
        (("cym", "cy"), "`--relatives` are cym, cym; expected distinct languages other than `qaa` and `eng`."),
        (("eng",), "`--relatives` are eng; expected distinct languages other than `qaa` and `eng`."),
        (("nowhere",), "Language code `nowhere` is not known."),
    ],
)
def test_relatives_that_say_nothing(plan, relatives, text):
    assert message(plan, "qaa", relatives=relatives).startswith(text)


# What the words decide


def test_a_dictionary_is_what_code_switching_reads(plan, files):
    (files / "words.tsv").write_text("cat\tneko\ndog\tinu\n")
    result = plan(dictionary=files / "words.tsv", recipe="code_switch")
    assert result.data.words == 2
    assert load_recipe(str(result.recipes[1])).interventions["code_switch"].dictionary == result.folder / "dictionary"


@pytest.mark.parametrize("word", ["recipe=lora", "seed=1", "task.targets=deu", "task.shots=5"])
def test_what_the_verb_decides_itself(plan, word):
    assert message(plan, "cym", word).startswith(f"`{word}` is set by the verb itself: ")


def test_words_of_the_proposed_recipe_alone(plan, files):
    result = plan("cym", "intervention.align.weight=0.25", parallel=files / "pairs.tsv")
    plain, method = (load_recipe(str(path)) for path in result.recipes)
    assert not plain.interventions
    assert method.interventions["align"].weight == 0.25
    assert plain.phases["finetune"].steps == method.phases["finetune"].steps == 40


def test_the_source_is_no_new_language(plan):
    assert message(plan, "en") == "`eng` is the source itself, which needs no transfer. Name another language."
