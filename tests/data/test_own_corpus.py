"""Parallel text: `auto` is the task's own or none, and every output names the corpus, its size and its domain."""

import json
from pathlib import Path

import pytest

from distxfer.analysis.compare import compare_methods
from distxfer.config.recipe import load_recipe
from distxfer.data import ParallelText
from distxfer.results.collect import collect
from distxfer.results.descriptions import corpora, corpus_of, corpus_text
from distxfer.results.result import Result
from distxfer.runs.corpus import corpus_record
from fake_runs import result, run


@pytest.mark.parametrize(
    ("words", "name", "folder", "origin"),
    [
        ([], "emoji", "", "_defaults.toml, auto: the task's own"),
        (["task=cldr", "task.folder=cldr.tgz"], "cldr", "cldr.tgz", "_defaults.toml, auto: the task's own"),
        (
            ["task=cldr", "task.folder=cldr.tgz", "parallel.folder=other.tgz"], "cldr", "other.tgz",
            "_defaults.toml, auto: the task's own",
        ),
        (
            ["task=mytask"], "", "",
            "_defaults.toml, auto: the task `mytask` has no parallel text of its own",
        ),
        (
            ["task=flores"], "", "",  # one of its name is on the hub: nothing is downloaded that nobody asked for
            "_defaults.toml, auto: the task `flores` has no parallel text of its own",
        ),
        (["parallel=auto"], "emoji", "", "override, auto: the task's own"),
        (["task=mytask", "parallel=emoji"], "emoji", "", "override"),
        (["parallel="], "", "", "override"),
    ],
)  # fmt: skip
def test_auto_is_the_tasks_own_or_none(words, name, folder, origin):
    recipe = load_recipe("plain", words)
    assert (recipe.parallel.name, recipe.parallel.folder) == (name, folder)
    assert recipe.resolved()["parallel"]["name"] == name
    assert recipe.values["parallel.name"].value == name
    assert recipe.values["parallel.name"].origin == origin


def test_show_prints_what_was_chosen_and_why(cli):
    assert 'parallel.name = "emoji"' in (shown := cli("show", "recipe=dist_align").stdout)
    assert "# _defaults.toml, auto: the task's own" in shown
    shown = cli("show", "recipe=dist_align", "task=mytask").stdout
    assert 'parallel.name = ""' in shown
    assert "# _defaults.toml, auto: the task `mytask` has no parallel text of its own" in shown


def test_what_auto_resolves_to_is_what_is_hashed(cli, tiny, task_folder):
    def identity(*words):
        answer = cli("validate", "recipe=plain", f"model={tiny}", "task.max_length=32", *words, "--json")
        assert answer.exit_code == 0, answer.output
        return json.loads(answer.stdout)["id"]

    assert identity() == identity("parallel=auto") == identity("parallel=emoji") != identity("parallel=")
    own_task = f"task={task_folder}"
    assert identity(own_task) == identity(own_task, "parallel=")


def test_a_recipe_that_needs_pairs_on_a_task_without_any(cli, tiny, task_folder):
    answer = cli("validate", "recipe=dist_align", f"model={tiny}", f"task={task_folder}", "task.max_length=32",
                 "intervention.align.layers=2")  # fmt: skip
    assert answer.exit_code == 2
    assert answer.stderr == (
        f"Error: The intervention `align` needs parallel text, and `parallel.name` is `auto`: the task `{task_folder}` has no"
        " parallel text of its own. Set `parallel.name` to a folder of your own, or to one of: cldr, django, emoji, flores,"
        " messages, opus100, tatoeba (with `parallel.folder` for a local copy of its files).\n"
    )


def test_the_domain_and_the_size_by_language():
    text = ParallelText("emoji", {"deu": ("a",) * 3, "jpn": ("b",) * 1200}, {"deu": ("c",), "jpn": ()})
    record = corpus_record("emoji", "emoji", text)
    assert record == {
        "name": "emoji", "domain": "in-domain", "pairs": {"deu": 3, "jpn": 1200}, "held_out": {"deu": 1, "jpn": 0}
    }  # fmt: skip
    assert corpus_text(record) == "`emoji` (in-domain), 3 to 1,200 pairs in 2 languages"
    assert corpus_record("django", "emoji", text)["domain"] == "out-of-domain"
    assert corpus_record("my/folder", "my/folder", text)["domain"] == "domain unknown"
    own_record = corpus_record("emoji", "xnli", ParallelText("emoji", {"deu": ("a",) * 3}, {}))
    assert corpus_text(own_record) == "`emoji` (out-of-domain), 3 pairs in 1 language (deu)"
    assert corpus_text(corpus_record("emoji", "xnli", ParallelText("emoji", {}, {}))) == (
        "`emoji` (out-of-domain), no pairs in these languages"
    )
    assert corpus_text(corpus_record("", "emoji", None)) == "none"


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [("emoji", {}, "`emoji`, of unknown size"), ("", {}, "none"), ("emoji", {"parallel": None}, "none")],
)
def test_results_without_a_record(name, changes, text):
    data = result("plain", "aaaa0000", 0, {}, {"parallel.name": name}, **changes)
    assert corpus_of(Result.of(Path("run"), data)) == text


def test_compare_says_which_method_had_which_text(tmp_path):
    record = {"name": "emoji", "domain": "in-domain", "pairs": {"deu": 569}, "held_out": {}}
    for seed in range(3):
        scores = {"deu": 0.5 + seed / 100, "jpn": 0.4}
        run(tmp_path, "plain", "aaaa0000", seed, scores, parallel=None)
        run(tmp_path, "align", "bbbb0000", seed, scores, parallel=record)
    notes = compare_methods(collect((), tmp_path), "plain").notes
    assert "parallel text of `plain`: none." in notes
    assert "parallel text of `align`: `emoji` (in-domain), 569 pairs in 1 language (deu)." in notes
    old = Result.of(Path("run"), result("plain", "a", 0, {}))
    assert corpora({"plain": [old], "own": [old]}) == ["parallel text: `toy`, of unknown size."]
