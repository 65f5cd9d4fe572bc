"""What `distxfer ls` says of tasks, and those that other packages bring."""

import json
import sys

import pytest

from distxfer.data import About, Data, Task, load_parallel, load_task, parallel_names, task_names
from distxfer.errors import RenamedWarning
from helpers import message
from hub_layouts import HUB

MODULE = """
from distxfer.data import About, Example, Task

ABOUT = About("ours", needs="nothing", size="2", licence="CC0-1.0", citation="ours")


def languages(data):
    return ("eng", "deu")


def load(data, source, targets, *, target_labels):
    one = {key: (Example("0", key, "text", label=0),) for key in (source, *targets)}
    return Task(data.name, ("a", "b"), {"train": {source: one[source]}, "test": one})
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Another package that brings the task `ours`."""
    (tmp_path / "our_package.py").write_text(MODULE)
    info = tmp_path / "our_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[distxfer.tasks]\nours = our_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("our_package", None)


@pytest.mark.usefixtures("package")
def test_a_task_of_another_package_is_found_by_its_entry_point(cli):
    assert load_task("ours", "eng", ("deu",)).examples("test", "deu")[0].text == "text"
    assert "The task `ours` has no data for the language `jpn`" in message(load_task, "ours", "eng", ("jpn",))
    facts = json.loads(cli("ls", "tasks", "ours", "--json").stdout)
    assert (facts["licence"], facts["languages"]) == ("CC0-1.0", ["deu", "eng"])


KEYS = {"folder": "x", "revision": "x", "type": "token_classification", "pattern": "x", "columns": {"text": "x"}}


def test_what_a_source_does_not_read_is_refused():
    for section, names in (("task", task_names()), ("parallel", parallel_names())):
        for name, about in names.items():
            assert about.keys == (("folder", "revision") if about.source else about.keys)
            for key in KEYS.keys() - set(about.keys):
                load = load_task if section == "task" else load_parallel
                error_message = message(load, Data(name, **{key: KEYS[key]}), "eng", ("deu",))
                assert error_message.startswith(f"`{section}.{key}` has no effect on the ")
                assert all(f"`{section}.{key}`" in error_message for key in about.keys)


def test_keys_without_what_they_are_of(cli, tiny_settings):
    for words, expected in (
        (["parallel=", "parallel.folder=x"], "`parallel.folder` has no effect without parallel text."),
        (
            ["task=emoji", "task.type=token_classification"],
            "`task.type` has no effect on the task `emoji`. Remove it.\n",
        ),
    ):
        done = cli("validate", "recipe=plain", *tiny_settings, *words)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith(f"Error: {expected}")


# What `distxfer ls` says of them.


def test_ls_says_what_each_task_needs_its_languages_size_licence_and_citation(cli):
    rows = {row["name"]: row for row in json.loads(cli("ls", "tasks", "--json").stdout)}
    assert set(HUB) < set(rows)
    assert (rows["xnli"]["licence"], rows["xnli"]["needs"], len(rows["xnli"]["languages"])) == (
        "CC-BY-NC-4.0",
        "hub",
        15,
    )
    shown = cli("ls", "tasks").stdout
    for name in HUB:
        about = task_names()[name]
        assert all(expected in shown for expected in (name, about.size, about.licence, about.citation)), name
    assert "revision    b8dd5d7af51114dbda02c0e3f6133f332186418e" in cli("ls", "tasks", "xnli").stdout
    wrong = cli("ls", "tasks", "xlni")
    assert (wrong.exit_code, "Did you mean `xnli`?" in wrong.stderr) == (2, True)
    assert cli("ls", "models", "xnli").exit_code == 2


def test_the_old_name_of_a_task_type_works_with_one_warning():
    for build, name in (
        (lambda kind: Data("mine", kind=kind), "type"),
        (lambda kind: Task("mine", (), {}, kind=kind), "task_type"),
    ):
        with pytest.warns(RenamedWarning, match=f"is now `{name}`"):
            old = build("tokens")
        assert getattr(old, name) == "token_classification"
        with pytest.warns(RenamedWarning, match=f"kind` is now `{name}`"):
            assert old.kind == "token_classification"
    with pytest.warns(RenamedWarning):
        assert About("ours", kind="parallel").task_type == ""
