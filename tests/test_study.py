"""The reference study: every method it lists has a recipe that loads, and its tables come from the result files."""

import random
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from distxfer import load_recipe
from distxfer.results.result import Result
from fake_runs import result as finished
from fake_runs import run
from studies.emoji import methods as study_methods
from studies.emoji import study
from studies.emoji import tables as study_tables
from studies.emoji import without_flags as study_without
from studies.pages import marks
from studies.philippy import study as philippy
from studies.transfer.protocol import read_protocol

ROOT = Path(__file__).parents[1]
FAR = ("ara", "fas", "jpn", "kor", "tur", "zho")
NEAR = ("deu", "fra", "ind", "ita", "por", "rus", "spa")


def test_every_method_has_a_recipe_that_loads(monkeypatch):
    monkeypatch.chdir(ROOT)
    methods = study_methods.read_study()
    assert len({method.name for method in methods}) == len(methods)
    assert methods[0].name == "plain"
    for method in methods:
        for recipe in method.recipes:
            assert load_recipe(study_methods.recipe_file(recipe)).name == recipe
        assert method.text
        assert method.chosen
        assert method.seeds == tuple(range(5 if method.headline else 3))


def test_every_recipe_is_part_of_a_study():
    listed = {recipe for method in study_methods.read_study() for recipe in method.recipes}
    listed |= {Path(method.recipe).stem for method in read_protocol().method.values()}
    listed |= set(read_protocol().method)  # a recipe with a method's settings
    variants = tomllib.loads((ROOT / "studies" / "choices" / "variants.toml").read_text())
    listed |= {variant.get("recipe", "plain") for variant in variants.values()}
    for study_file in ("philippy", "adaptation"):
        listed |= set(tomllib.loads((ROOT / "studies" / study_file / "study.toml").read_text())["recipes"])
    for folder in (ROOT / "recipes", ROOT / "studies" / "emoji" / "recipes"):
        assert {path.stem for path in folder.glob("[!_]*.toml")} <= listed
    assert set(tomllib.loads((ROOT / "studies" / "emoji" / "study.toml").read_text())) == {
        "headline_seeds", "rest_seeds", "method",
    }  # fmt: skip


def fake(
    folder: Path, name: str, seed: int, gain: float, status: str = "done", languages: tuple[str, ...] = ()
) -> None:
    """Write a result with `gain` points over .6, and a little of the seed and language."""
    scores = {
        code: 0.6 + gain / 100 + 0.01 * random.Random(f"{name} {seed} {code}").random() for code in ("eng", *NEAR, *FAR)
    }
    settings = {"intervention.align": {"languages": languages}}
    summary = {"metric": "accuracy", "near": list(NEAR), "far": list(FAR)}
    cost = {"forwards_per_step": 1.0, "steps": 384}
    identity = f"0000000{len(name) % 10}"
    run(folder, name, identity, seed, scores, settings, status=status, summary=summary, cost=cost, distances=[])


def test_the_table_is_of_the_results(tmp_path, monkeypatch):
    monkeypatch.setattr(study_methods, "RESULTS", tmp_path)
    for seed in range(3):
        fake(tmp_path, "plain", seed, 0)
        fake(tmp_path, "dist_align", seed, 10)
        fake(tmp_path, "lora", seed, 0, "collapsed" if seed == 2 else "done")
    methods = [
        method for method in study_methods.read_study() if method.name in ("plain", "dist_align", "lora", "oracle")
    ]
    lines = {
        line.split("|")[1].strip(): line for line in study_tables.table(methods).splitlines() if line.startswith("| `")
    }
    assert set(lines) == {"`plain`", "`dist_align`", "`lora`"}  # what has no result has no row
    assert "| 3 of 5 |" in lines["`plain`"]
    assert "| 2 of 5, 1 collapsed |" in lines["`lora`"]
    assert re.search(r"\+(9|10)\.\d \[\+9\.\d, \+10\.\d\], p < 0\.001", lines["`dist_align`"]), lines["`dist_align`"]
    assert "p =" not in lines["`lora`"]  # two sound seeds are no test


def test_each_group_is_judged_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(study_methods, "RESULTS", tmp_path)
    for seed in range(5):
        for name, gain in {"plain": 0, "dist_align": 1, "lora": 0, "mixout": 1, "dora": 0}.items():
            fake(tmp_path, name, seed, gain)
    there = {"plain", "dist_align", "lora", "mixout", "dora"}
    methods = [method for method in study_methods.read_study() if method.name in there]
    headline, rest = study_tables.groups(methods)
    assert [method.name for method in headline] == ["plain", "dist_align", "lora"]
    assert {method.name: method.seeds for method in rest} == dict.fromkeys(("plain", "mixout", "dora"), (0, 1, 2))
    tests = study_tables.judged(methods)
    for group in (headline, rest):  # of two methods each: the lesser p is doubled, whatever the other group has
        ours = [tests[method.name, "far"] for method in group[1:]]
        least = min(ours, key=lambda test: test.test.p)
        assert least.p_holm == pytest.approx(min(1, 2 * least.test.p))
        assert {test.test.n_seeds for test in ours} == {len(group[0].seeds)}


def test_two_experiments_under_one_name_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(study_methods, "RESULTS", tmp_path)
    fake(tmp_path, "plain", 0, 0)
    (tmp_path / "plain" / "00000005-s0").rename(tmp_path / "plain" / "first-s0")
    text = (tmp_path / "plain" / "first-s0" / "result.json").read_text().replace("00000005", "11111111")
    (tmp_path / "plain" / "first-s0" / "result.json").write_text(text)
    fake(tmp_path, "plain", 1, 0)
    with pytest.raises(SystemExit, match="holds results of several recipes; remove what is old"):
        study_methods.results("plain")


def test_a_language_left_out_is_scored_by_the_model_that_had_no_text_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(study_methods, "RESULTS", tmp_path)
    fake(tmp_path, "left_out_a", 0, 10, languages=NEAR)
    (method,) = [method for method in study_methods.read_study() if method.name == "left_out"]
    assert method.outcomes() == {}  # the other half is missing
    study_methods.outcomes_in.cache_clear()
    fake(tmp_path, "left_out_b", 0, 20, languages=FAR)
    accuracy = method.outcomes()[0].accuracy
    assert {code for code, value in accuracy.items() if value < 72} == set(FAR)
    assert {code for code, value in accuracy.items() if value > 79} == set(NEAR)
    assert 75 <= accuracy["eng"] <= 76  # the mean of both
    assert method.outcomes()[0].forwards == 2 * 384


def test_the_pages_say_what_the_result_files_say():
    """`make study` was run after the last result was added."""
    methods = study_methods.read_study()
    for name, table in (("evidence", study_tables.short_table), ("interventions", study_tables.intervention_table)):
        start, end = marks()
        _, mark, rest = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8").partition(start)
        assert mark
        assert rest.partition(end)[0] == table(methods)
    assert (study_methods.TABLES / "study.md").read_text(encoding="utf-8") == study_tables.study_page(methods)
    assert study_without.PAGE.read_text(encoding="utf-8") == study_without.page()


@pytest.mark.parametrize(
    ("name", "with_class", "without"),
    [
        ("drift_reg", (5.0, 3.1, 7.0), (1.2, -0.1, 2.5)),
        ("dist_align", (10.7, 7.8, 13.6), (5.9, 4.4, 7.4)),
        ("mined_align", (9.6, 6.7, 12.4), (4.7, 3.2, 6.2)),
        ("align_consistency", (12.5, 9.3, 15.8), (8.0, 6.3, 9.7)),
        ("freeze_lower", (0.3, -1.1, 1.7), (-1.5, -2.2, -0.8)),
    ],
)
def test_one_class_carries_half_of_the_effects(name, with_class, without):
    """Of all targets, from the committed predictions: an audit has computed the same numbers by its own code."""
    (method,) = [method for method in study_methods.read_study() if method.name == name]
    for left_out, numbers in (("", with_class), ("Flags", without)):
        test = study_without.independent(method, left_out)
        assert (test.effect, test.low, test.high) == pytest.approx(numbers, abs=0.051)


def test_without_a_class_means_of_the_other_examples_alone(tmp_path):
    rows = [("1", "a", "a"), ("2", "a", "b"), ("3", "b", "b"), ("4", "c", "a")]
    columns = {
        "language": ["eng"] * 4, "example_id": [row[0] for row in rows], "label": [row[1] for row in rows],
        "prediction": [row[2] for row in rows],
    }  # fmt: skip
    parquet.write_table(pyarrow.table(columns), tmp_path / "predictions.parquet")
    score = {"language": "eng", "split": "test", "metric": "accuracy", "value": 0.5, "n": 4}
    scored = Result.of(tmp_path, finished("plain", "aaaa0000", 0, {}, scores=[score]))
    assert study_methods.accuracy(scored, "eng") == 50
    assert study_methods.accuracy(scored, "eng", "a") == 50
    assert study_methods.accuracy(scored, "eng", "b") == pytest.approx(100 / 3)
    assert study_methods.accuracy(scored, "eng", "c") == pytest.approx(200 / 3)


def test_every_table_says_what_was_chosen_on_what():
    methods = study_methods.read_study()
    wanted = {f"`{method.name}`": method.chosen for method in methods}

    def cells(table):
        return [[cell.strip() for cell in line.split("|")] for line in table.splitlines() if "`" in line]

    of_groups = [row for group in study_tables.groups(methods) for row in cells(study_tables.table(group))]
    assert {row[1]: row[4] for row in of_groups if len(row) > 4} == wanted
    of_interventions = cells(study_tables.intervention_table(methods))
    assert {"`plain`": "design", **{row[2]: row[4] for row in of_interventions}} == wanted


# The command


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run `studies/emoji/study.py` with arguments; return (recipe, seed, more settings) of each training that it began.

    Training is a process that says with `codes` how it ended, and leaves a model.
    """

    began = []

    def run(*arguments: str, codes: dict[int, int] | None = None) -> list[tuple[str, int, tuple[str, ...]]]:

        def train(line, *, cwd, check):
            assert line[1:4] == ["-m", "distxfer", "train"]
            assert cwd == ROOT
            name, seed, into = Path(line[4].removeprefix("recipe=")).stem, int(line[5].removeprefix("seed=")), line[-1]
            began.append((name, seed, tuple(line[6:-2])))
            model = ROOT / into / name / f"0123abcd-s{seed}" / "model"
            model.mkdir(parents=True, exist_ok=True)
            (model.parent / "result.json").write_text("{}")
            return subprocess.CompletedProcess(line, (codes or {}).get(len(began), 0))

        monkeypatch.setattr(study, "RUNS", tmp_path)
        monkeypatch.setattr(study, "TABLES", tmp_path)
        monkeypatch.setattr(study, "ROOT", tmp_path)
        monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
        monkeypatch.setattr(study.subprocess, "run", train)
        monkeypatch.setattr(study, "write_tables", lambda methods: began.append(("tables", -1, ())))
        monkeypatch.setattr(sys, "argv", ["study.py", *arguments])
        study.main()
        return began

    run.began = began
    return run


def test_the_study_runs_the_headline_first_and_seed_by_seed(command, tmp_path):
    began = command()
    methods = study_methods.read_study()
    headline = [name for method in methods if method.headline for name in method.recipes]
    rest = [name for method in methods if not method.headline for name in method.recipes]
    assert [(name, seed) for name, seed, _ in began] == [
        *((name, seed) for seed in range(5) for name in headline),
        *((name, seed) for seed in range(3) for name in rest),
        ("tables", -1),
    ]
    assert len([*tmp_path.rglob("result.json")]) == len(began) - 1
    assert not [*tmp_path.rglob("model")]


def test_a_failed_run_is_named_and_the_others_go_on(command):
    with pytest.raises(SystemExit, match=r"These runs failed, and said why above: lora with seed 1\.$"):
        command("lora", "drift_reg", codes={4: 1})
    assert [(name, seed) for name, seed, _ in command.began] == [
        *((name, seed) for seed in range(5) for name in ("drift_reg", "lora")),
        ("tables", -1),
    ]


def test_an_interrupt_stops_the_study(command):
    with pytest.raises(KeyboardInterrupt):
        command("lora", codes={2: 130})
    assert [(name, seed) for name, seed, _ in command.began] == [("lora", 0), ("lora", 1)]


def test_a_method_that_the_study_does_not_have(command, capsys):
    with pytest.raises(SystemExit) as caught:
        command("lorra")
    assert caught.value.code == 2
    assert "the study has no method lorra; it has: plain, " in capsys.readouterr().err


def test_the_page_of_philippy_says_what_the_committed_pairs_say():
    page = philippy.PAGE.read_text(encoding="utf-8")
    for name, text in philippy.tables().items():
        assert text.join(marks(name)) in page
    assert sum(path.stat().st_size for path in philippy.HERE.iterdir() if path.is_file()) < 500_000
