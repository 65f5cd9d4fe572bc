"""The page of a report: its sections, charts and numbers, that they are of the same files the same, and that names are text."""

import base64
import gzip
import hashlib
import json
import re
import tomllib
from dataclasses import replace

import pandas as pd
import pytest
import vl_convert

import distxfer
from distxfer.config.recipe import load_recipe
from distxfer.languages import language_name
from distxfer.reports.page import sections_of
from distxfer.reports.page.effects import title_of, verdict_of
from distxfer.reports.page.facts import facts_of, targets
from distxfer.reports.page.figures import paper_spec
from distxfer.reports.page.html import page_text
from distxfer.reports.page.labels import placed
from distxfer.reports.page.provenance import recipe_text
from distxfer.results.collect import collect
from finished_runs import HOSTILE, LAYERS, METHODS, TARGETS, write_run
from helpers import Elements


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
                finding
                for finding in verdict_of(facts)
                if f"`{method.method}` {100 * method.test.effect:+.1f}" in finding.text
            ]
            assert finding.kind == kind
    alone = replace(facts, methods=facts.methods[:1], comparisons=None)
    assert title_of(alone) == "plain on toy"
    assert [finding.text for finding in verdict_of(alone)] == [
        "`plain` is the only method, so there is nothing to compare it with."
    ]


def test_one_extreme_method_does_not_stretch_the_axis_of_the_others(tmp_path):
    for seed in range(3):
        for name, gain in (("plain", 0.0), ("align", 0.02), ("lora", 0.03), ("drift", 0.01), ("typology", -0.45)):
            write_run(tmp_path, name, seed, gain=gain)
    sections = {section.key: section for section in sections_of(facts_of(collect([], tmp_path), baseline="plain"))}
    [figure] = sections["comparison"].figures
    assert "Off the axis, with arrows: typology." in figure.description
    effects = figure.data["effects"]
    assert set(effects["method"][effects["out"] != ""]) == {"typology"}
    low, high = next(layer["encoding"]["x"]["scale"]["domain"] for layer in figure.spec({}, ())["layer"][1:])
    ends = effects.loc[effects["method"] != "typology", ["low", "high"]]
    assert (low, high) == (ends["low"].min(), ends["high"].max())
    grids = paper_spec(sections["languages"].figures[0], "plain")["vconcat"]
    assert [len(grid["concat"]) for grid in grids] == [3, 1]
    assert grids[0]["resolve"]["scale"]["x"] == "shared"
    assert "typology" in json.dumps(grids[1]["concat"][0]["title"])


def test_labels_cover_neither_points_nor_each_other():
    def plot(points):
        rows = [("align", code, name, x, y) for (code, name), (x, y) in points.items()]
        rows.append(("plain", "jpn", "Japanese", 0.9, 4.9))
        return pd.DataFrame(rows, columns=["method", "code", "name", "x", "y"])

    points = {("deu", "German"): (0.1, 1.0), ("ita", "Italian"): (0.12, 1.1), ("jpn", "Japanese"): (0.9, 5.0)}
    labels = placed(plot(points), "plain").query("method == 'align'").set_index("code")
    assert labels.loc["jpn", ["label", "corner"]].tolist() == ["Japanese", 2]  # there is room on the left
    crowd = {(f"l{number}", "Language"): (0.5, 3.0) for number in range(20)}
    labels = placed(plot(crowd), "plain").query("method == 'align' and label != ''")
    assert sorted(labels["corner"]) == [0, 1, 2, 3]


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
    sections = {section.key: section for section in sections_of(facts)}
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
            drawn = figure.draw({name: name for name in ("baseline", *(choice.name for choice in figure.choices))})
            drawn.to_dict(validate=True)
            for spec in (*(view for view, _ in figure.views("plain")), paper_spec(figure, "plain")):
                vl_convert.vegalite_to_vega({"datasets": figure.records, **spec, "width": 300})


def test_the_numbers_of_the_charts_are_those_of_the_tables(page, facts):
    data = data_of(page)["data"]
    effects = {(row["method"], row["on"]): row["effect"] for row in data["effects"]}
    for row in facts.comparisons.comparisons:
        assert effects[row.method, row.subset] == pytest.approx(100 * row.test.effect, rel=1e-3)
    means = targets(facts, facts.scores).set_index(["method", "code"])
    for row in data["transfer-by-distance-points"]:
        assert row["y"] == pytest.approx(means.loc[(row["method"], row["code"]), row["measure"]], rel=1e-3)
        assert row["x"] == pytest.approx(facts.languages.loc[row["code"], row["against"]], rel=1e-3)
    drift = {row["layer"]: row["value"] for row in data["drift"]
             if (row["method"], row["measure"]) == ("plain", "drift_cka") and row["language"].startswith("Japanese")}  # fmt: skip
    stored = facts.layers.query(
        "method == 'plain' and measure == 'drift_cka' and moment == 'after' and language == 'jpn'"
    )
    assert list(drift) == list(range(LAYERS + 1))
    assert list(drift.values()) == pytest.approx(stored["value"].tolist(), rel=1e-3)


def test_with_fewer_than_three_seeds_there_is_no_ranking(tmp_path):
    for seed in range(2):
        write_run(tmp_path, "plain", seed)
        write_run(tmp_path, "align", seed, gain=0.1)
    facts = facts_of(collect(["plain", "align"], tmp_path))
    section = sections_of(facts)[0]
    assert "align: no ranking: 2 seeds, and at least 3 are needed. Effects are shown without intervals." in section.text
    effects = section.figures[0].data["effects"]
    assert effects["low"].isna().all()
    assert effects["effect"].notna().all()


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
    found = facts_of(collect([], tmp_path), baseline="plain", words=[HOSTILE])
    named = replace(found, languages=found.languages.assign(name=HOSTILE))
    page = page_text(replace(named, left_out=(HOSTILE,)), sections_of(named))
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    parsed = Elements(page)
    assert not {"img", "iframe", "object", "link"} & set(parsed.tags)
    assert parsed.tags.count("script") == page.lower().count("</script") == 2
    assert not [name for name in parsed.attributes if name.startswith("on") or name in ("src", "srcset", "formaction")]


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
