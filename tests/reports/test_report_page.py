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
from distxfer.reports._report._labels import place
from distxfer.reports._report._page import page_text
from distxfer.reports._report._paper import paper_spec
from distxfer.reports._report._provenance import recipe_text
from distxfer.reports._report._verdict import title_of, verdict_of
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


def test_the_verdict_comes_first_and_the_title_names_the_methods(page, facts):
    assert "<title>align and lora against plain on toy</title>" in page
    assert page.index('class="verdict"') < page.index("<nav") < page.index("<main")
    for method in facts.comparisons.comparisons:
        if method.subset == "all":
            kind = "open" if (method.p_holm or 1) > 0.05 else "better" if method.test.effect > 0 else "worse"
            [finding] = [
                one for one in verdict_of(facts) if f"`{method.method}` {100 * method.test.effect:+.1f}" in one.text
            ]
            assert finding.kind == kind
    alone = replace(facts, methods=facts.methods[:1], comparisons=None)
    assert title_of(alone) == "plain on toy"
    assert [one.text for one in verdict_of(alone)] == [
        "`plain` is the only method, so there is nothing to compare it with."
    ]


def test_one_extreme_method_does_not_stretch_the_axis_of_the_others(tmp_path):
    for seed in range(3):
        for name, gain in (("plain", 0.0), ("align", 0.02), ("lora", 0.03), ("drift", 0.01), ("typology", -0.45)):
            write_run(tmp_path, name, seed, gain=gain)
    sections = {one.key: one for one in sections_of(facts_of(collect([], tmp_path), baseline="plain"))}
    [figure] = sections["comparison"].figures
    assert "Off the axis, with arrows: typology." in figure.description
    assert {row["m"] for row in figure.data["effects"] if "out" in row} == {"typology"}
    low, high = next(layer["encoding"]["x"]["scale"]["domain"] for layer in figure.spec({}, ())["layer"][1:])
    ends = [row[end] for row in figure.data["effects"] if row["m"] != "typology" for end in ("lo", "hi") if row[end]]
    assert (low, high) == (min(ends), max(ends))
    grids = paper_spec(sections["languages"].figures[0], "plain")["vconcat"]
    assert [len(grid["concat"]) for grid in grids] == [3, 1]
    assert grids[0]["resolve"]["scale"]["x"] == "shared"
    assert grids[1]["concat"][0]["title"]["text"] == "typology (axis of its own)"


def test_labels_cover_neither_points_nor_each_other():
    points = {"deu": (0.1, 1.0), "fra": (0.1, 1.0), "ita": (0.12, 1.1), "jpn": (0.9, 5.0)}
    names = {"deu": "German", "fra": "French", "ita": "Italian", "jpn": "Japanese"}
    labels = place(points, names, [(0.9, 4.9)], (1.0, 5.0))
    assert labels["jpn"][1] == "n"  # there is room for the name, on the left
    assert labels["jpn"] == "2n"
    assert len({label for key, label in labels.items() if key in ("deu", "fra")}) == len({"deu", "fra"} & set(labels))
    crowd = {f"l{number}": (0.5, 3.0) for number in range(20)}
    assert len(place(crowd, dict.fromkeys(crowd, "Language"), [], (1.0, 5.0))) == 4  # one at each corner


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
    for one in facts.comparisons.comparisons:
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
