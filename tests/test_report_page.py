"""The page of a report: its sections, charts and numbers, that they are of the same files the same, and that names are text."""

import base64
import gzip
import hashlib
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import vl_convert

import distxfer
from distxfer.config.recipe import load_recipe
from distxfer.languages import language_name
from distxfer.reports._report import sections_of
from distxfer.reports._report._facts import facts_of
from distxfer.reports._report._page import page_text
from distxfer.reports._report._paper import paper_spec
from distxfer.reports._report._provenance import recipe_text
from distxfer.results.collect import collect
from finished_runs import HOSTILE, METHODS, TARGETS, three_methods, write_run
from helpers import Elements


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return three_methods(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def facts(runs):
    return facts_of(collect(METHODS, runs), names=METHODS)


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    distxfer.report(METHODS, out, results=runs)
    return out.read_text(encoding="utf-8")


def data_of(page: str) -> dict:
    """The numbers of the charts, unpacked."""
    packed = re.search(r'id="report-data">([^<]*)<', page)
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def test_the_page_says_what_it_is_about(page):
    for text in (
        "3 methods, 9 runs",
        "distxfer compare plain align lora",
        "There is no log.jsonl beside the results of lora",
        "0000000000",
        "distxfer train recipe=recipes/align.toml seed=2",
        *map(language_name, TARGETS),
    ):
        assert text in page


def test_methods_of_one_name_have_a_recipe_file_each(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "plain", seed)
        for identity, weight in (("aaaa0000", 0.5), ("bbbb0000", 2.0)):
            write_run(tmp_path, "align", seed, identity=identity, settings={"weight": weight}, terms=("align",))
    distxfer.report([], tmp_path / "report.html", results=tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for command in (
        "recipes/plain.toml seed=0",
        "recipes/aaaa0000/align.toml seed=2",
        "recipes/bbbb0000/align.toml seed=2",
    ):
        assert f"distxfer train recipe={command}" in page
    assert "recipes/align.toml" not in page


def test_every_section_is_there_with_charts_and_tables(facts):
    sections = {one.key: one for one in sections_of(facts)}
    assert list(sections) == [
        "comparison", "transfer", "languages", "drift", "drift-against", "alignment", "curves", "gradients", "cost",
        "configuration", "provenance",
    ]  # fmt: skip
    for key, section in sections.items():
        assert section.tables, key
        assert bool(section.figures) == (key not in ("configuration", "provenance"))
        assert bool(section.commands) == bool(section.figures)


def test_every_chart_is_valid_and_compiles_as_a_page_and_on_paper(facts):
    for section in sections_of(facts):
        for figure in section.figures:
            fixed = {"baseline": "plain"}
            drawn = figure.draw({name: name for name in ("baseline", *(one.name for one in figure.choices))})
            drawn.to_dict(validate=True)
            for spec in (figure.spec(fixed, figure.choices), paper_spec(figure, "plain")):
                vl_convert.vegalite_to_vega({"datasets": dict(figure.data), **spec})


def test_the_numbers_of_the_charts_are_those_of_the_tables(page, facts):
    data = data_of(page)["data"]
    effects = {(one["m"], one["s"]): one["e"] for one in data["effects"]}
    for one in facts.comparisons.comparisons.comparisons:
        assert effects[one.method, one.subset] == pytest.approx(100 * one.test.effect, rel=1e-3)
    targets = {(one["m"], one["k"]): one for one in data["targets"]}
    assert targets["align", "jpn"]["transfer"] == pytest.approx(100 * facts.methods[1].transfer("jpn"), rel=1e-3)
    drift = {(one["m"], one["k"]): one["v"] for one in data["drift"]}
    assert drift["plain", "jpn"][""]["after"] == pytest.approx(facts.baseline.drift("jpn"), rel=5e-3)


def test_with_fewer_than_three_seeds_there_is_no_ranking(tmp_path):
    for seed in range(2):
        write_run(tmp_path, "plain", seed)
        write_run(tmp_path, "align", seed, gain=0.1)
    facts = facts_of(collect(["plain", "align"], tmp_path))
    section = sections_of(facts)[0]
    assert "align: no ranking: 2 seeds, and at least 3 are needed. Effects are shown without intervals." in section.text
    assert all(row["lo"] is None and row["e"] is not None for row in section.figures[0].data["effects"])


def test_one_method_is_reported_without_a_comparison(tmp_path):
    write_run(tmp_path)
    made = distxfer.report(["plain"], tmp_path / "a.html", results=tmp_path)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert (made.methods, made.runs) == (1, 1)
    assert "There is one method, plain: nothing to compare it with." in page
    assert 'id="languages"' not in page


def test_the_distances_asked_for_are_offered_in_their_order(tmp_path, runs):
    out = tmp_path / "a.html"
    distxfer.report(["plain", "align"], out, results=runs, distances=["geographic", "genetic"])
    page = out.read_text(encoding="utf-8")
    assert re.findall(r'<option value="(\w+)"', page.split('data-choice="distance"')[1].split("</select>")[0]) == [
        "geographic",
        "genetic",
    ]
    assert "split at the median geographic distance" in page


def test_the_same_files_make_the_same_page(tmp_path, runs, page):
    distxfer.report(METHODS, tmp_path / "a.html", results=runs)
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == page


def test_hostile_names_are_text(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "plain", seed)
        write_run(tmp_path, HOSTILE, seed, gain=0.1, terms=(HOSTILE,))
    found = facts_of(collect([], tmp_path), baseline="plain", names=[HOSTILE])
    named = replace(found, languages=tuple(replace(one, name=HOSTILE) for one in found.languages))
    page = page_text(replace(named, left_out=(HOSTILE,)), sections_of(named))
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    parsed = Elements(page)
    assert not {"img", "iframe", "object", "link"} & set(parsed.tags)
    assert parsed.tags.count("script") == page.lower().count("</script") == 2
    assert not [one for one in parsed.attributes if one.startswith("on") or one in ("src", "srcset", "formaction")]


def test_the_page_can_fetch_nothing_and_runs_one_script(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    script = page.split('<script type="module">')[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )


def test_a_recipe_in_the_page_is_the_recipe(tmp_path):
    recipe = load_recipe("dist_align", ["intervention.align.languages=jpn,deu"])
    path = tmp_path / "dist_align.toml"
    path.write_text(recipe_text(json.loads(json.dumps(recipe.resolved()))), encoding="utf-8")
    assert load_recipe(str(path), []).resolved() == recipe.resolved()
    assert tomllib.loads(recipe_text({"name": "x", "a": {'"b.c': "\\\n"}, "d": None})) == {"a": {'"b.c': "\\\n"}}
