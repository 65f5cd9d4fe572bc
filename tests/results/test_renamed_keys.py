"""Results and recipes under old names: read as those of today, with unchanged ids. `old/` was written before `task.type`."""

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from distxfer import load_recipe, load_results, read_result
from distxfer.errors import RenamedWarning
from distxfer.results.collect import collect
from distxfer.results.old_names import current_result
from distxfer.results.result import Result, reseal
from distxfer.results.settings import settings_of
from distxfer.runs.prepare import Prepared
from fake_runs import result as finished

OLD = Path(__file__).parent / "old"
RUN = OLD / "words" / "d87e3645-s0"
# With the defaults of that time.
THEN = ["task.targets=jpn", "model.head=architecture", "model.head_start=random", "phase.finetune.epochs=16"]
SETTINGS = {"tokens": "token_classification", "entities": "named_entities", "answers": "question_answering"}


def identity(recipe):
    """The id that a recipe has with the data and the model of the old run."""
    result = read_result(RUN)
    values = {field.name: None for field in fields(Prepared)}
    resolved = recipe.resolved(complete=False)
    resolved["task"] |= {"source": "eng", "targets": ["jpn"]}
    return Prepared(**values | {"recipe": recipe, "resolved": resolved, "fingerprints": result.fingerprints}).id


def test_an_old_result_reads_as_a_new_one():
    stored = json.loads((RUN / "result.json").read_text(encoding="utf-8"))
    assert (stored["kind"], stored["recipe"]["task"]["kind"]) == ("entities", "entities")
    result = read_result(RUN)
    assert result.task_type == result.data["task_type"] == result.recipe["task"]["type"] == "named_entities"
    assert settings_of(result.recipe)["task.type"] == "named_entities"
    assert result.data["resolved_values"] == {}
    assert not {"kind", "settled"} & result.data.keys()
    assert set(load_results(OLD).scores["metric"]) == {"f1", "precision", "recall", "accuracy", "macro_f1"}
    assert collect([], OLD).left_out == ()


def test_an_old_result_stays_valid_when_it_is_written_anew(tmp_path):
    folder = shutil.copytree(RUN, tmp_path / "words" / RUN.name)
    reseal(folder, lambda aside: (aside / "log.jsonl").write_text(""))
    stored = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert (stored["id"], stored["task_type"], stored["recipe"]["task"]["type"]) == (
        "d87e3645", "named_entities", "named_entities"
    )  # fmt: skip
    assert read_result(folder).data["task_type"] == "named_entities"


def test_old_values_of_the_provenance():
    data = {"recipe": {}, "provenance": {"weights": "divided"}}
    assert current_result(data)["provenance"]["weights"] == "sharded"
    assert (
        Result.of(RUN, finished("plain", "aaaa0000", 0, {})).task_type == "classification"
    )  # the first ones do not say it


def test_an_old_recipe_is_read_with_one_notice_and_keeps_its_id():
    with pytest.warns(RenamedWarning) as warnings:
        recipe = load_recipe(OLD / "words.toml", THEN)
    assert [str(warning.message) for warning in warnings] == [
        "`task.kind=entities` (words.toml) is now `task.type=named_entities`. Change it there; until then, both work."
    ]
    assert recipe.task.type == "named_entities"
    assert "task.kind" not in recipe.values
    assert identity(recipe) == "d87e3645"


def test_new_names_give_the_id_of_the_old_ones(tmp_path):
    text = (OLD / "words.toml").read_text(encoding="utf-8")
    (tmp_path / "words.toml").write_text(text.replace('kind = "entities"', 'type = "named_entities"'))
    assert identity(load_recipe(tmp_path / "words.toml", THEN)) == "d87e3645"


@pytest.mark.parametrize(("old", "new"), SETTINGS.items())
def test_old_values_are_read(old, new):
    with pytest.warns(RenamedWarning, match=f"`task.type={old}` .override. is now `task.type={new}`"):
        assert load_recipe("plain", [f"task.type={old}"]).task.type == new
    with pytest.warns(RenamedWarning):
        assert load_recipe("plain", {"task": {"kind": old}}).task.type == new


def test_a_later_override_wins_under_either_name():
    with pytest.warns(RenamedWarning):
        recipe = load_recipe(OLD / "words.toml", ["task.kind=answers", "task.type=retrieval"])
    assert recipe.task.type == "retrieval"


def test_the_command_line_prints_each_notice_once(cli, monkeypatch):
    monkeypatch.chdir(OLD)
    result = cli("show", "recipe=words.toml")
    assert re.findall("Warning: .*", result.stderr) == [
        "Warning: `task.kind=entities` (words.toml) is now `task.type=named_entities`. Change it there; until then, both work."
    ]
    assert "named_entities" in result.stdout
    assert result.exit_code == 0
