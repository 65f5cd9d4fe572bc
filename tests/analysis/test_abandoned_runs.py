"""One abandoned trial that learnt nothing blocks neither `compare` nor `report`: it is named, and the good runs go on."""

import json

import pytest

from distxfer.analysis.ablation import ablate
from distxfer.analysis.compare import compare_methods
from distxfer.reports.listing import listing
from distxfer.reports.page.facts import facts_of
from distxfer.results.collect import collect, collect_against
from fake_runs import FAR, WITH_ALIGN, run


@pytest.fixture
def results(tmp_path):
    """Three seeds of two recipes, and for each a trial with a huge learning rate, first by its settings' order."""
    for name, identity, settings in (("plain", "bbbb0000", {}), ("align", "cccc0000", WITH_ALIGN)):
        for seed in range(3):
            run(tmp_path, name, identity, seed, dict.fromkeys(FAR, 0.5 + seed / 100), settings)
        trial = {"phase.finetune.learning_rate": 1e-9, **settings}
        run(tmp_path, name, "aaaa0000", 7, dict.fromkeys(FAR, 0.1), trial, status="collapsed")
    return tmp_path


@pytest.mark.parametrize("baseline", ["", "plain"])
def test_compare_goes_on_with_the_good_runs(results, baseline):
    collection, chosen = collect_against(["plain", "align"], baseline, results)
    comparisons = compare_methods(collection, chosen)
    assert comparisons.baseline == "plain (phase.finetune.learning_rate=5e-05)"
    assert {method.method for method in comparisons.comparisons} == {"align (phase.finetune.learning_rate=5e-05)"}
    for name in ("plain", "align"):
        assert any(f"its run `{results / name / 'aaaa0000-s7'}` collapsed." in line for line in comparisons.left_out)
    assert ablate(collection, chosen).left_out == comparisons.left_out


def test_a_baseline_that_collapsed_is_used_where_it_is_named_alone(cli, results):
    answer = cli("compare", "--baseline", "plain/aaaa0000", "--results", str(results))
    assert answer.exit_code == 2
    assert "collapsed: they learnt nothing to compare with." in answer.stderr


def test_report_goes_on_with_the_one_that_is_left(results):
    facts = facts_of(collect(["align"], results))
    assert [method.method.id for method in facts.methods] == ["cccc0000"]
    assert f"its run `{results / 'align' / 'aaaa0000-s7'}` collapsed." in " ".join(facts.left_out)


def test_a_method_that_collapsed_with_every_seed_names_its_runs(results):
    for seed in range(3):
        run(results, "bad", "dddd0000", seed, dict.fromkeys(FAR, 0.1), status="collapsed")
    bad = next(method for method in collect((), results).methods if method.name == "bad")
    folders = ", ".join(f"`{results / 'bad' / f'dddd0000-s{seed}'}`" for seed in range(3))
    assert bad.collapsed == f"all its 3 runs collapsed ({folders})"


def test_ls_runs_says_in_what_the_ids_of_a_recipe_differ(cli, results):
    run(results, "align", "eeee0000", 0, dict.fromkeys(FAR, 0.5), {**WITH_ALIGN, "intervention.align.weight": 2.0})
    rows = {(row["recipe"], row["id"]): row["differs in"] for row in listing("runs", results).records()}
    assert rows == {
        ("plain", "aaaa0000"): "learning_rate=1e-09",
        ("plain", "bbbb0000"): "learning_rate=5e-05",
        ("align", "aaaa0000"): "learning_rate=1e-09, weight=0.5",
        ("align", "cccc0000"): "learning_rate=5e-05, weight=0.5",
        ("align", "eeee0000"): "learning_rate=5e-05, weight=2.0",
    }
    assert "weight=2.0" in "".join(cli("ls", "runs", "--results", str(results), "--verbose").stdout.split())


def test_ids_with_the_same_settings_differ_in_their_data(tmp_path):
    for identity, data in (("bbbb0000", "t" * 64), ("cccc0000", "u" * 64)):
        run(tmp_path, "plain", identity, 0, dict.fromkeys(FAR, 0.5), provenance__fingerprints__task=data)
    assert [row["differs in"] for row in listing("runs", tmp_path).records()] == ["task=tttttttt", "task=uuuuuuuu"]


def test_one_id_of_a_recipe_differs_in_nothing(tmp_path):
    run(tmp_path, "plain", "bbbb0000", 0, dict.fromkeys(FAR, 0.5))
    broken = tmp_path / "plain" / "cccc0000-s0"
    broken.mkdir()
    (broken / "result.json").write_text(json.dumps({"schema": 1}))
    assert [row["differs in"] for row in listing("runs", tmp_path).records()] == [None, None]
