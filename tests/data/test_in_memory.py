"""Data in memory become the task that the same rows in files are."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distxfer import load_recipe, save_task
from distxfer.data import load_task
from helpers import message


class Dataset:
    """What `save_task` uses of a `datasets.Dataset`."""

    features = ("id", "text", "label")

    def __init__(self, rows):
        self.rows = rows

    def to_parquet(self, path):
        pq.write_table(pa.Table.from_pylist(self.rows), path)


def tables_of(task_folder, table):
    data = {}
    for path in task_folder.glob("*/*.jsonl"):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        data.setdefault(path.parent.name, {})["validation" if path.stem == "dev" else path.stem] = table(rows)
    return data


@pytest.mark.parametrize("table", [pd.DataFrame, Dataset, pa.Table.from_pylist, list])
def test_tables_in_memory_are_a_task(task_folder, tmp_path, table):
    folder = save_task(tables_of(task_folder, table), str(tmp_path / "task"))
    tasks = [load_task(str(place), "eng", ("deu", "jpn")) for place in (task_folder, folder)]
    assert tasks[0].labels == tasks[1].labels
    for split, languages in tasks[0].splits.items():
        for language in languages:
            assert list(tasks[0].examples(split, language)) == list(tasks[1].examples(split, language))


def test_what_is_no_task_is_refused_and_writes_nothing(tmp_path):
    frame = pd.DataFrame({"text": ["a"], "label": ["b"]})
    place = tmp_path / "task"
    assert message(save_task, {"eng": {"tset": frame}}, place) == (
        "`tset` is not a split. Did you mean `test`? Choose from: train, dev, test, unlabelled, validation, valid."
    )
    assert message(save_task, {"eng": {"test": 3}}, place) == (
        "`eng/test` is a `int`; expected a DataFrame, a Dataset, or rows as dicts."
    )
    assert message(save_task, {"eng": {"test": frame}}, tmp_path) == (
        f"`{tmp_path}` exists already. Choose another folder, or remove it first."
    )
    assert list(tmp_path.iterdir()) == []


def test_tables_in_memory_are_given_as_the_task_of_a_recipe(task_folder, tmp_path, monkeypatch):
    """The same rows are one task with one name, and so one run, whatever holds them and wherever the cache lies."""
    names = set()
    for number, table in enumerate((pd.DataFrame, Dataset, pa.Table.from_pylist, list)):
        monkeypatch.setenv("DISTXFER_CACHE", str(tmp_path / f"cache{number % 2}"))
        recipe = load_recipe("plain", {"task.targets": ["deu", "jpn"]}, task=tables_of(task_folder, table))
        names.add(recipe.task.name)
        task = load_task(recipe.task.data, "eng", ("deu", "jpn"))
        assert task.fingerprint() == load_task(str(task_folder), "eng", ("deu", "jpn")).fingerprint()
    (name,) = names
    assert name.startswith("memory/")
    changed = tables_of(task_folder, list)
    changed["eng"]["train"] = changed["eng"]["train"][1:]
    assert load_recipe("plain", task=changed).task.name != name
    assert load_recipe("plain", task={"name": name, "columns": {"text": "text"}}).task.name == name
