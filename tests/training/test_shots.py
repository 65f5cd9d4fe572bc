"""A few labels of each target."""

import json
import re
import shutil
from pathlib import Path

import pytest

from conftest import WORDS, say, sentences
from distxfer import InputError, load_recipe
from distxfer.runs.prepare import assemble, prepare
from distxfer.training import Processes
from helpers import message, same, weights


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """The task with labels to train on in German, 20, and Japanese, 6; no text is in two parts of a language."""
    folder = tmp_path_factory.mktemp("labelled")
    for language in WORDS:
        (folder / language).mkdir()
        taken: set[str] = set()
        for seed, (split, n) in enumerate(
            {"train": {"eng": 24, "deu": 20, "jpn": 6}[language], "dev": 8, "test": 8}.items()
        ):
            rows = []
            for number, (words, label) in enumerate(sentences(200, seed)):
                if len(rows) < n and (text := say(words, language)) not in taken:
                    taken.add(text)
                    rows.append({"id": f"{split}-{number}", "text": text, "label": label})
            path = folder / language / f"{split}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def examples(tiny_settings, labelled, *overrides: str) -> dict[str, list[str]]:
    """Return the texts that a run trains on, by language."""
    settings = [*tiny_settings, f"task={labelled}", "parallel=", *overrides]
    prepared = prepare(load_recipe("few_shot", settings))
    by_language: dict[str, list[str]] = {}
    for example in assemble(prepared, Processes()).training.data.examples:
        assert example.label is not None
        by_language.setdefault(example.language, []).append(example.text)
    return by_language


def texts(folder: Path, language: str, split: str) -> list[str]:
    return [json.loads(line)["text"] for line in (folder / language / f"{split}.jsonl").read_text().splitlines()]


def test_some_labelled_examples_of_each_target_take_part(tiny_settings, labelled):
    drawn = [examples(tiny_settings, labelled, "task.shots=5", f"seed={seed}") for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0]["deu"] != drawn[2]["deu"]
    for sample in drawn:
        assert sample["eng"] == texts(labelled, "eng", "train")
        for language in ("deu", "jpn"):
            assert len(set(sample[language])) == len(sample[language]) == 5
            assert set(sample[language]) <= set(texts(labelled, language, "train"))
            held_out = {text for split in ("dev", "test") for text in texts(labelled, language, split)}
            assert held_out
            assert not held_out & set(sample[language])
    assert set(examples(tiny_settings, labelled, "task.shots=0")) == {"eng"}


def test_all_labelled_examples_of_each_target_take_part(tiny_settings, labelled):
    by_language = examples(tiny_settings, labelled, "task.shots=all")
    assert by_language == {language: texts(labelled, language, "train") for language in WORDS}


def test_the_shots_of_a_language_do_not_depend_on_the_other_targets(tiny_settings, labelled):
    by_language = examples(tiny_settings, labelled, "task.shots=5")
    alone = examples(tiny_settings, labelled, "task.shots=5", "task.targets=jpn")
    assert alone["jpn"] == by_language["jpn"]


def test_they_count_among_the_steps_of_an_epoch(run, labelled):
    """24 + 2 * 4 examples in batches of 8."""
    settings = ["task.shots=4", "phase.finetune.epochs=2", "phase.finetune.batch_size=8"]
    result = run("few_shot", f"task={labelled}", "parallel=", *settings)
    assert result.data["cost"]["steps"] == 2 * 4


@pytest.mark.parametrize(("shots", "available"), [("7", 6), ("all", 0)])
def test_more_shots_than_there_are_examples_are_refused(run, labelled, task_folder, shots, available):
    """Of the shipped recipe's task folder, only English has labels to train on."""
    folder = labelled if available else task_folder
    language = "jpn" if available else "deu"
    refusal = message(run, "few_shot", f"task={folder}", "parallel=", f"task.shots={shots}")
    assert re.fullmatch(
        rf"`task\.shots` is `{shots}`, but the task `.*` has {available} labelled training examples of `{language}`\. Lower it,"
        r" or restrict `task\.targets` to languages with more\.",
        refusal,
    )


def test_too_few_labels_are_found_before_the_encoder_is_loaded(tiny_settings, labelled):
    with pytest.raises(InputError, match="6 labelled training examples of `jpn`"):
        prepare(load_recipe("few_shot", [*tiny_settings, f"task={labelled}", "parallel=", "task.shots=7"]))


@pytest.mark.parametrize("shots", ["2", "all"])
def test_shots_of_one_class_are_noticed(tiny_settings, labelled, tmp_path, shots):
    folder = shutil.copytree(labelled, tmp_path / "task")
    path = folder / "jpn" / "train.jsonl"
    rows = [json.loads(line) | {"label": "plant"} for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = [*tiny_settings, f"task={folder}", "parallel=", f"task.shots={shots}"]
    n = 2 if shots == "2" else 6
    note = f"The {n} labelled training texts of `jpn` (`task.shots`) all have the class `plant`."
    assert note in prepare(load_recipe("few_shot", settings)).notes
    of_others = prepare(load_recipe("few_shot", [*settings, f"task={labelled}", "task.shots=all"])).notes
    assert not any("all have the class" in note for note in of_others)


def test_a_number_of_shots_that_is_none_is_refused(tiny_settings):
    with pytest.raises(InputError, match=r"`task\.shots` is `-1`"):
        load_recipe("plain", [*tiny_settings, "task.shots=-1"])


@pytest.mark.parametrize(
    ("recipe", "settings", "statement"),
    [
        ("few_shot", ["task.shots=0"], "in `eng`, for zero-shot transfer to deu, jpn."),
        ("few_shot", ["task.shots=4"], "in `eng` and on 4 labelled examples each of deu, jpn: few-shot transfer."),
        (
            "few_shot",
            ["task.shots=all"],
            "in `eng` and on all labelled training examples of deu, jpn: no zero-shot transfer.",
        ),
        (
            "drift_reg",
            ["phase.finetune.task=false"],
            "without any labels (source `eng`; targets deu, jpn): its head is untrained.",
        ),
    ],
)
def test_the_model_card_says_which_labels_were_used(run, labelled, recipe, settings, statement):
    result = run(recipe, f"task={labelled}", "parallel=", "phase.finetune.epochs=1", *settings)
    card = (result.folder / "model" / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"fine-tuned with distxfer on `.*` {re.escape(statement)}\n", card)


# Phases on the labels of some languages


def train_shots(run, labelled, *settings: str):
    return run("plain", f"task={labelled}", "parallel=", "model.head_start=random", *settings)


def test_a_phase_on_the_source_alone_trains_as_a_run_without_other_labels(run, labelled):
    """Bit for bit: the examples, their order and the steps are the same."""
    alone = train_shots(run, labelled, "task.shots=4", "phase.finetune.languages=eng")
    without = train_shots(run, labelled)
    assert same(weights(alone), weights(without))
    assert alone.cost["steps"] == without.cost["steps"]
    assert not same(weights(train_shots(run, labelled, "task.shots=4")), weights(without))


def test_phases_of_one_recipe_read_different_languages(run, labelled):
    """Four labels of each target are one step of 24 an epoch."""
    first = train_shots(run, labelled, "task.shots=4", "phase.finetune.languages=en")
    both = train_shots(
        run, labelled, "task.shots=4", "phases=finetune,targets", "phase.finetune.languages=en",
        "phase.targets.languages=de,jpn", "phase.targets.epochs=5",
    )  # fmt: skip
    assert both.cost["steps"] == first.cost["steps"] + 5
    assert not same(weights(both), weights(first))


@pytest.mark.parametrize(
    ("languages", "problem"),
    [
        ("jpn,kor", "names `kor`, of which the run has no labelled text. It has: eng, deu, jpn. Add it to"),
        ("", "`phase.finetune.languages` is empty. Name some of eng, deu, jpn, or write `all`."),
    ],
)
def test_languages_without_labels_are_refused(tiny_settings, labelled, languages, problem):
    settings = [*tiny_settings, f"task={labelled}", "parallel=", f"phase.finetune.languages={languages}"]
    prepared = prepare(load_recipe("few_shot", [*settings, "task.shots=4"]))
    assert problem in message(assemble, prepared, Processes())
