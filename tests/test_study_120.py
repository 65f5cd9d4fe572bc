"""The study of 120 languages: its recipes, what is seen, and a page that says what the result files say."""

import random
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from distxfer import load_recipe
from distxfer.data._cldr import LANGUAGES
from distxfer.languages import distances
from distxfer.measure import crossed
from fake_runs import run
from studies.emoji import methods as study_methods
from studies.emoji_120 import study

ROOT = Path(__file__).parents[1]
TARGETS = tuple(key for key in LANGUAGES if key != "eng")
METHODS = ("plain", "drift_strong", "freeze_lower", "dist_align", "align_consistency")


@pytest.fixture(scope="module")
def between():
    return distances("eng", TARGETS, "syntactic", imputed=True)


def recipes():
    return {
        path.stem: load_recipe(str(path)) for path in (ROOT / "studies" / "emoji_120" / "recipes").glob("[!_]*.toml")
    }


def test_every_recipe_is_listed_and_loads():
    methods = study_methods.read_study(study.STUDY)
    assert tuple(method.name for method in methods) == METHODS
    assert all(
        method.seeds == (0, 1, 2) and method.recipes == (method.name,) and method.text and method.chosen
        for method in methods
    )
    assert recipes().keys() == set(METHODS)
    for recipe in recipes().values():
        assert (recipe.task.name, recipe.task.targets, recipe.parallel.name) == ("cldr", "all", "cldr")
        assert recipe.task.folder == recipe.parallel.folder == "cldr-annotations-full-48.2.0.tgz"


def test_the_settings_are_those_of_the_reference_recipes():
    own = recipes()
    for name in METHODS:
        reference = load_recipe(str(ROOT / study_methods.recipe_file(name)))
        assert own[name].phases == reference.phases
        for key, intervention in reference.interventions.items():
            changed = {**vars(own[name].interventions[key]), "languages": intervention.languages} if "languages" in vars(
                intervention) else vars(own[name].interventions[key])  # fmt: skip
            assert changed == vars(intervention)


def test_seen_is_every_second_language_by_distance(between):
    keys = sorted({key.partition("_")[0] for key in TARGETS}, key=lambda key: (round(between.values[key], 9), key))
    seen = {key for key in TARGETS if key.partition("_")[0] in keys[1::2]}
    read = [vars(intervention)["languages"] for recipe in recipes().values() for intervention in recipe.interventions.values()
            if vars(intervention).get("languages", "all") != "all"]  # fmt: skip
    assert len(read) == 3
    assert {frozenset(languages) for languages in read} == {frozenset(seen)}
    assert len(seen) == 60


def fake(folder, name, seed, between, gain, languages="all", status="done"):
    """Write a result: in points, 60 and `gain` of the distance, and a little noise."""
    draw = random.Random(f"{name} {seed}")
    accuracy = {key: 0.6 + gain(value) / 100 + 0.001 * draw.random() for key, value in between.values.items()}
    distances = [
        {"language": key, "name": "syntactic", "value": entry.value, "n_shared": entry.n_shared, "imputed": True}
        for key, entry in between.entries.items()
    ]
    settings = {"intervention.align": {"languages": languages}}
    identity = f"0000000{len(name) % 10}"
    run(folder, name, identity, seed, {"eng": 0.8} | accuracy, settings, status=status, distances=distances)


@pytest.fixture(scope="module")
def committed():
    """The outcome of the committed runs, and the page of it."""
    outcome = study.outcome()
    return outcome, study.page(outcome)


@pytest.fixture(scope="module")
def written(between, tmp_path_factory):
    """Three seeds of `plain`, of a method that gains with distance, and of one that collapsed once and does nothing."""
    folder = tmp_path_factory.mktemp("results")
    seen = [key for number, key in enumerate(TARGETS) if number % 2 and "_" not in key]
    for seed in range(3):
        fake(folder, "plain", seed, between, lambda distance: -20 * distance)
        fake(folder, "dist_align", seed, between, lambda distance: 10 * distance, seen)
        fake(folder, "drift_strong", seed, between, lambda distance: -20 * distance, "all",
             "collapsed" if seed == 2 else "done")  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "RESULTS", folder)
        patch.setattr(study, "PAGE", folder / "study-120.md")
        patch.setattr(study, "EVIDENCE", folder / "evidence.toml")
        patch.setattr(study, "WITHOUT", "")  # there are no predictions
        study.write()
    return folder, (folder / "study-120.md").read_text()


def row(text, start):
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_the_page_is_of_the_results(written, between):
    _, text = written
    aligned = row(text, "| gain of `dist_align` | all")
    languages = {key.partition("_")[0] for key in TARGETS}
    unobserved = [key for key, entry in between.entries.items() if entry.n_shared < 2]
    assert unobserved
    assert aligned[2] == str(len(languages) - len(unobserved))  # two scripts are one language
    assert float(aligned[4]) > 0.99
    assert aligned[8] == "+3.00"  # 30 points over a distance of 1
    assert row(text, "| accuracy of `plain` | all")[8] == "-2.00"
    assert all(f"(`{key}`)" in text for key in unobserved)
    assert row(text, "| `drift_strong` |")[1] == "2, 1 collapsed"
    assert row(text, "| `zho_Hant` |")[1] == "Chinese (Traditional)"
    assert row(text, "| `jpn` |")[8] == f"{30 * between.values['jpn']:+.1f}"
    assert sum(line.startswith("| `") for line in text.splitlines()) == 3 + len(TARGETS)


def test_the_groups_of_kin_sum_to_all_targets(committed):
    """On the committed runs: what is unseen mostly has a relative whose text is read."""
    outcome, page = committed
    groups = study.kin(outcome)
    assert {group: len(keys) for group, keys in groups.items()} == {
        "language": 60,
        "branch": 45,
        "family": 5,
        "none": 8,
    }
    assert sorted(key for keys in groups.values() for key in keys) == sorted(target.key for target in outcome.targets)
    assert set(groups["language"]) == {target.key for target in outcome.targets if target.seen}
    assert set(groups["family"]) == {"hun", "wol", "hye", "tel", "mya"}
    assert set(groups["none"]) == {"quc", "eus", "kor", "que", "jpn", "mon", "kal", "chr"}
    differences = [
        [
            outcome.accuracy["align_consistency"][seed][key] - outcome.accuracy["plain"][seed][key]
            for key in groups["none"]
        ]
        for seed in range(3)
    ]
    test = crossed(differences)  # languages as independent: each is a family of its own here
    assert (test.effect, test.low, test.high) == pytest.approx((5.4, 2.6, 8.3), abs=0.051)
    shown = [row(page, f"| {name} |") for name in (*study.KIN.values(), "all")]
    assert [cells[1] for cells in shown] == ["60", "45", "5", "8", "118"]
    assert shown[3][3].startswith("+5.4 [+2.")


def test_the_picture_lies_beside_the_page_and_has_a_panel_a_method(written):
    folder, text = written
    assert "(study-120.svg)" in text
    drawn = (folder / "study-120.svg").read_text()
    assert "dist_align" in drawn
    assert "drift_strong" in drawn
    assert not [path for path in folder.iterdir() if path.suffix in (".png", ".pdf")]


def test_runs_that_read_the_text_of_other_languages_are_refused(between, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    fake(tmp_path, "plain", 0, between, abs)
    fake(tmp_path, "dist_align", 0, between, abs, ["deu", "jpn"])
    fake(tmp_path, "align_consistency", 0, between, abs, ["deu"])
    with pytest.raises(SystemExit, match="do not read the parallel text of the same languages"):
        study.outcome()


def test_the_committed_runs_are_small():
    folder = study.ROOT / "results" / "emoji-with-flags"  # beside it lie runs that nobody committed
    tables = [parquet.read_schema(path) for path in folder.rglob("predictions.parquet")]
    assert len(tables) == 162
    for table in tables:
        assert table.names == ["language", "example_id", "label", "prediction"]
        assert [pyarrow.types.is_dictionary(column.type) for column in table] == [True, False, True, True]
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 8e6


def test_the_page_says_what_the_result_files_say(committed):
    """`make study-120` was run after the last result was added."""
    assert study.PAGE.read_text(encoding="utf-8") == committed[1]
    without = study.outcome(study.WITHOUT)
    assert study.EVIDENCE.read_text(encoding="utf-8") == study.evidence(without)  # what `new-language` says of it
    assert study.PAGE.with_suffix(".svg").is_file() == (".svg)" in study.PAGE.read_text(encoding="utf-8"))
