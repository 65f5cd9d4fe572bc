"""Several source languages."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import say, sentences
from distxfer import load_recipe, load_results
from distxfer.analysis.compare import compare_methods
from distxfer.languages import distance, distances
from distxfer.reports.page import sections_of
from distxfer.reports.page.facts import facts_of
from distxfer.runs.prepare import assemble, prepare
from distxfer.runs.sources import mixed_sizes
from distxfer.training import Processes
from finished_runs import TARGETS, edit, write_run
from helpers import message

SIZES = {"eng": 24, "deu": 12, "jpn": 0}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """A task with training labels in English and German, whose items have the same ids in all languages."""
    folder = tmp_path_factory.mktemp("labelled")
    for language, size in SIZES.items():
        (folder / language).mkdir()
        for seed, (split, n) in enumerate({"train": size, "dev": 8, "test": 8}.items()):
            rows = [
                {"id": f"{split}-{number}", "text": say(words, language), "label": label}
                for number, (words, label) in enumerate(sentences(n, seed))
            ]
            if rows:
                path = folder / language / f"{split}.jsonl"
                path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def read_by_training(tiny_settings, labelled, *overrides: str) -> dict[str, list[str]]:
    """Return the ids of the examples that a run trains on, by language."""
    settings = [*tiny_settings, f"task={labelled}", "parallel=", "task.source=eng,deu", *overrides]
    prepared = prepare(load_recipe("plain", settings))
    assert prepared.languages.targets == ("jpn",)
    ids: dict[str, list[str]] = {}
    for example in assemble(prepared, Processes()).training.data.examples:
        assert example.label is not None
        ids.setdefault(example.language, []).append(example.id)
    return ids


def sizes(ids: dict[str, list[str]]) -> dict[str, int]:
    return {language: len(group) for language, group in ids.items()}


def test_all_texts_of_all_sources_are_read(tiny_settings, labelled):
    ids = read_by_training(tiny_settings, labelled)
    assert sizes(ids) == {"eng": 24, "deu": 12}
    assert all(len(set(group)) == len(group) for group in ids.values())


def test_uniform_mixing_repeats_the_smaller_source(tiny_settings, labelled):
    ids = read_by_training(tiny_settings, labelled, "task.mixing=uniform")
    assert sizes(ids) == {"eng": 18, "deu": 18}
    assert len(set(ids["eng"])) == 18
    assert len(set(ids["deu"])) == 12


def test_a_budget_is_shared_and_spent_on_different_items(tiny_settings, labelled):
    budget = "task.budget=12", "task.mixing=uniform"
    ids = read_by_training(tiny_settings, labelled, *budget)
    assert sizes(ids) == {"eng": 6, "deu": 6}
    of_next_seed = read_by_training(tiny_settings, labelled, *budget, "seed=1")
    assert ids != of_next_seed
    assert ids == read_by_training(tiny_settings, labelled, *budget)
    # German has the items 0 to 11: those that English has are drawn last.
    for drawn in (ids, of_next_seed):
        shared = set(drawn["eng"]) & {f"train-{number}" for number in range(12)}
        assert len(set(drawn["deu"]) & shared) == max(0, 6 - (12 - len(shared)))


def test_a_file_may_list_the_sources(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('task.source = ["eng", "deu"]')
    recipe = load_recipe(file)
    assert recipe.task.sources == ("eng", "deu")
    assert recipe.resolved() == load_recipe(file, ["task.source=eng,deu"]).resolved()


def test_a_budget_bounds_a_single_source_too(tiny_settings, labelled):
    ids = read_by_training(tiny_settings, labelled, "task.source=eng", "task.targets=jpn", "task.budget=5")
    assert sizes(ids) == {"eng": 5}


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=20),
    st.one_of(st.sampled_from(["proportional", "uniform"]), st.floats(1, 100)),
    st.integers(0, 10**6),
)
def test_sizes_add_up_and_follow_their_shares(available, mixing, budget):
    result = mixed_sizes(available, mixing, budget)
    total = budget or sum(available)
    temperature = {"proportional": 1.0, "uniform": math.inf}.get(mixing, mixing)
    shares = [n ** (1 / temperature) for n in available]
    assert sum(result) == total
    assert all(
        abs(size - total * share / sum(shares)) < 1 + 1e-6 * total for size, share in zip(result, shares, strict=True)
    )
    if mixing == "proportional" and not budget:
        assert result == available


def test_distances_are_to_the_nearest_source_or_their_mean():
    alone = {source: {target: distance(source, target) for target in ("jpn", "deu")} for source in ("eng", "tur")}
    nearest = distances(("eng", "tur"), ("jpn", "deu"))
    assert {target: entry.source for target, entry in nearest.entries.items()} == {"jpn": "tur", "deu": "eng"}
    assert nearest.entries["jpn"] == alone["tur"]["jpn"]
    mean = distances(("eng", "tur"), ("jpn", "deu"), of_sources="mean")
    for target, entry in mean.entries.items():
        assert entry.value == pytest.approx((alone["eng"][target].value + alone["tur"][target].value) / 2)
        assert entry.n_shared == min(alone["eng"][target].n_shared, alone["tur"][target].n_shared)
    assert mean.by("genetic").entries["deu"].value == pytest.approx(
        (distance("eng", "deu", "genetic").value + distance("tur", "deu", "genetic").value) / 2
    )


def test_a_run_scores_all_sources_and_its_means_leave_them_out(run, labelled):
    settings = [f"task={labelled}", "parallel=", "phase.finetune.epochs=2"]
    two = run("plain", *settings, "task.source=eng,deu", "distance.sources=mean")
    one = run("plain", *settings, "task.targets=deu,jpn")
    assert (two.source, two.sources, two.data["other_sources"]) == ("eng", ("eng", "deu"), ["deu"])
    assert set(two.by_language()) == {"eng", "deu", "jpn"}
    assert two.summary["target_mean"] == two.score("jpn")
    assert [(row["language"], row["source"]) for row in two.distances] == [("jpn", "eng,deu")]
    assert one.sources == ("eng",)
    assert "other_sources" not in one.data
    table = load_results(one.folder.parent, *(str(result.folder) for result in (one, two))).scores
    of_two = table[(table["source"] == "eng,deu") & (table["split"] == "test") & (table["metric"] == "accuracy")]
    assert dict(zip(of_two["language"], of_two["near_or_far"], strict=True)) == {
        "eng": "source", "deu": "source", "jpn": "near",
    }  # fmt: skip
    card = (two.folder / "model" / "README.md").read_text(encoding="utf-8")
    assert "in `eng`, `deu`, for zero-shot transfer to jpn" in card


def test_runs_with_more_sources_are_compared_in_the_targets_of_both(tmp_path):
    def add_source(data):
        data["other_sources"] = ["deu"]
        data["distances"] = [row for row in data["distances"] if row["language"] != "deu"]

    for seed in range(3):
        write_run(tmp_path, "one", seed)
        edit(write_run(tmp_path, "two", seed, gain=0.1), add_source)
    comparison = compare_methods(load_results(tmp_path), "one")
    assert {row.part for row in comparison.by_language} == {code for code in TARGETS if code != "deu"}
    (note,) = [note for note in comparison.notes if "trained on" in note]
    assert note == "`two` was trained on eng, deu, the baseline on eng: they are compared in the targets of both"
    facts = facts_of(load_results(tmp_path), "one")
    assert facts.scores.loc["two", "deu"].isna().all()
    assert facts.scores.loc["one", "deu"].notna().all()
    assert sections_of(facts)


def test_all_targets_but_some(tiny_settings, labelled):
    prepared = prepare(load_recipe("plain", [*tiny_settings, f"task={labelled}", "parallel=", "task.targets=all,-de"]))
    assert prepared.languages.targets == ("jpn",)
    assert prepared.resolved["task"]["targets"] == ["jpn"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            ["task.source=eng,jpn", "task.targets=deu"],
            "has no labelled training text of `jpn`. Remove it from `task.source`.",
        ),
        (["task.source=eng,en"], "`task.source` has the language `eng` twice (eng, en). Name it once."),
        (["task.source=eng,deu", "task.targets=deu,jpn"], "`deu` is both `task.source` and one of `task.targets`."),
        (
            ["task.source=eng,deu", "task.budget=1"],
            "`task.budget` is `1`, too small for `task.source` = `eng, deu`. Raise it.",
        ),
        (["task.targets=all,deu"], "`task.targets` names `all` and `deu`; behind `all`, `-deu` leaves one out."),
        (
            ["task.targets=all,-fin"],
            "`task.targets` leaves out `fin`, which the task does not have. It has: deu, eng, jpn.",
        ),
        (["task.source=eng,deu", "task.mixing=often"], "`task.mixing` is `often`"),
    ],
)
def test_wrong_sources_are_refused(run, labelled, settings, problem):
    assert problem in message(run, "plain", f"task={labelled}", "parallel=", *settings)


def test_a_class_that_a_source_lacks_is_noted(tiny_settings, labelled, tmp_path):
    for language in SIZES:
        (tmp_path / language).mkdir()
        for file in (labelled / language).iterdir():
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            if (language, file.stem) == ("deu", "train"):
                missing = rows[0]["label"]
                rows = [row for row in rows if row["label"] != missing]
            (tmp_path / language / file.name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [*tiny_settings, f"task={tmp_path}", "parallel=", "task.source=eng,deu"]
    notes = prepare(load_recipe("plain", settings)).notes
    assert f"The training text of `deu` has no example of {missing}." in notes
