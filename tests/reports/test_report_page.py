"""The report of finished runs: what it gathers from their files, its numbers, charts and sections, and that names are text."""

import base64
import gzip
import hashlib
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vl_convert
from scipy.stats import spearmanr
from statsmodels.api import OLS, add_constant

import distxfer
from distxfer.config.recipe import load_recipe
from distxfer.languages import distance, language_name
from distxfer.measure import crossed
from distxfer.reports.page import sections_of
from distxfer.reports.page.distance import transfer
from distxfer.reports.page.effects import by_language, comparison, title_of, verdict_of
from distxfer.reports.page.facts import facts_of, targets
from distxfer.reports.page.figures import paper_spec
from distxfer.reports.page.html import page_text
from distxfer.reports.page.labels import placed
from distxfer.reports.page.provenance import recipe_text
from distxfer.reports.page.relations import by_distance, drift_relations, fit_line
from distxfer.reports.vega import library
from distxfer.results.collect import collect
from finished_runs import HOSTILE, LAYERS, METHODS, STEPS, TARGETS, three_methods, write_run
from helpers import Elements


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return three_methods(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def facts(runs):
    return facts_of(collect(METHODS, runs), words=METHODS)


@pytest.fixture(scope="module")
def sections(facts):
    return sections_of(facts)


@pytest.fixture(scope="module")
def rows(facts):
    """The means of every method and target."""
    return targets(facts, facts.scores).set_index(["method", "code"])


def stored(runs: Path, name: str) -> np.ndarray:
    """The scores of one method, (seeds, languages), the targets in the order of TARGETS."""
    results = [json.loads(path.read_text()) for path in sorted(runs.glob(f"{name}/*/result.json"))]
    scores = [{row["language"]: row["value"] for row in result["scores"]} for result in results]
    return np.array([[by_language[code] for code in TARGETS] for by_language in scores])


def layers_of(facts, method, moment, language):
    """The drift of one method and language, by layer."""
    layers = facts.layers.set_index(["measure", "method", "moment", "language"]).loc[
        "drift_cka", method, moment, language
    ]
    assert list(layers["layer"]) == list(range(LAYERS + 1))
    return list(layers["value"])


def curve_of(facts, method, name):
    return facts.curves[(facts.curves["method"] == method) & (facts.curves["name"] == name)]


# What is gathered


def test_scores_and_transfer_are_means_over_seeds(runs, rows):
    align, scores = rows.loc["align"].loc[list(TARGETS)], stored(runs, "align")
    assert list(align["score"]) == pytest.approx(100 * scores.mean(axis=0))
    assert list(align["transfer"]) == pytest.approx(100 * ((scores - 0.8) / 0.8).mean(axis=0))
    assert set(align["seeds"]) == {3}


def test_languages_come_from_the_nearest_to_the_farthest_and_are_split_at_the_median(facts):
    far = {code: distance("eng", code, imputed=True).value for code in TARGETS}
    order = sorted(TARGETS, key=far.get)
    assert list(facts.languages.index) == order
    assert list(facts.languages["group"]) == ["near"] * 3 + ["far"] * 3
    assert facts.main_distance == "syntactic"
    assert dict(facts.languages["syntactic"]) == pytest.approx(far)
    assert facts.languages.loc[order[0], "genetic"] == distance("eng", order[0], "genetic").value


def test_effects_by_language_are_paired_by_seed(runs, facts, rows):
    differences = stored(runs, "align") - stored(runs, "plain")
    effects = {part.part: part.test for part in facts.comparisons.by_language if part.method == "align"}
    for place, code in enumerate(TARGETS):
        expected = crossed(differences[:, [place]])
        effect = effects[code]
        assert (effect.effect, effect.low, effect.high) == pytest.approx((expected.effect, expected.low, expected.high))
        assert rows.loc[("align", code), "gain"] == pytest.approx(100 * expected.effect)
    assert rows.loc["plain", "gain"].isna().all()


def test_drift_is_read_by_layer(facts, rows):
    far = distance("eng", "jpn", imputed=True).value
    drift = [0.1 * layer * (1 + far) for layer in range(LAYERS + 1)]
    assert layers_of(facts, "plain", "after", "jpn") == pytest.approx(drift)
    assert layers_of(facts, "plain", "before", "jpn") == [0] * (LAYERS + 1)
    assert rows.loc[("plain", "jpn"), "drift"] == pytest.approx(np.mean(drift[1:]))
    assert set(facts.layers["n"]) == {50}


def test_curves_are_means_of_equal_parts(facts):
    names = {
        name
        for name in facts.curves.query("method == 'align'")["name"]
        if "gradient" not in name and "sample" not in name
    }
    assert names == {"objective", "task", "align", "drift", "align: cosine", "drift: cosine"}
    parts, task = np.array_split(np.arange(STEPS), 25), curve_of(facts, "align", "task")
    assert list(task["mean"]) == pytest.approx([2 - part.mean() / 30 for part in parts])
    assert list(task["step"]) == pytest.approx([part.mean() for part in parts])
    assert set(task["seeds"]) == {3}
    assert curve_of(facts, "lora", "task").empty


def test_steps_of_a_second_phase_count_on(tmp_path):
    run = write_run(tmp_path)
    lines = [
        {"phase": name, "phase_number": number, "step": step, "loss": float(number)}
        for number, name in enumerate(("realign", "finetune"))
        for step in range(10)
    ]
    (run / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    curve = curve_of(facts_of(collect(["plain"], tmp_path)), "plain", "objective")
    assert list(curve["step"]) == pytest.approx(range(20))
    assert list(curve["mean"]) == pytest.approx([0.0] * 10 + [1.0] * 10)


def test_diagnostics_are_read_from_the_result(facts):
    cosine = curve_of(facts, "align", "align: cosine of its gradient with the task's")
    assert (list(cosine["step"]), list(cosine["mean"])) == ([19, 39, 59], [-0.5] * 3)
    sample = curve_of(facts, "align", "drift of a sample, mean of the targets")
    assert list(sample["mean"]) == pytest.approx([0.19, 0.39, 0.59])


def test_a_collapsed_run_is_counted_and_in_no_mean(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "plain", seed)
        write_run(tmp_path, "align", seed, gain=0.1)
    write_run(tmp_path, "align", 3, gain=-0.3, status="collapsed")
    facts = facts_of(collect(["plain", "align"], tmp_path))
    align = facts.methods[1]
    assert (align.collapsed, len(align.sound)) == ([3], 3)
    expected = 100 * stored(tmp_path, "align")[:3].mean(axis=0)
    scores = targets(facts, facts.scores).set_index(["method", "code"]).loc["align", "score"]
    assert list(scores[list(TARGETS)]) == pytest.approx(expected)
    assert "1 collapsed: 3" in page_text(facts, [])


def test_settings_are_named_as_shortly_as_they_can_be_told_apart(tmp_path):
    for number, (weight, layers) in enumerate(((1.0, "all"), (2.0, "all"), (2.0, "upper"))):
        write_run(
            tmp_path, "align", identity=f"{number:08x}", terms=("align",), settings={"weight": weight, "layers": layers}
        )
    facts = facts_of(collect([], tmp_path))
    assert [method.name for method in facts.methods] == [
        "align (weight=1.0, layers=all)",
        "align (weight=2.0, layers=all)",
        "align (weight=2.0, layers=upper)",
    ]
    full = "align (intervention.align.weight=1.0, intervention.align.layers=all)"
    assert facts.baseline.method.name == full


# Relations with distance


def test_the_fit_and_its_interval_are_those_of_ordinary_least_squares():
    draw = np.random.default_rng(0)
    x = draw.uniform(size=9)
    y = 2 - x + 0.1 * draw.normal(size=9)
    slope, fit = fit_line(x, y)
    model = OLS(y, add_constant(x)).fit()
    oracle = model.get_prediction(add_constant(fit["x"]))
    assert slope == pytest.approx(model.params[1])
    assert (fit["x"].min(), fit["x"].max()) == (x.min(), x.max())
    assert fit["y"] == pytest.approx(oracle.predicted_mean)
    assert np.column_stack([fit["lower"], fit["upper"]]) == pytest.approx(oracle.conf_int())


@pytest.mark.parametrize("x", [[0.1, 0.2, 0.3], [0.5] * 5])
def test_there_is_no_line_through_fewer_than_four_languages_or_one_distance(x):
    assert fit_line(np.array(x), np.arange(len(x), dtype=float))[1] is None


def test_transfer_goes_with_distance_as_the_scores_say(facts, rows):
    related = by_distance(facts, facts.scores, ["score"]).set_index(["method", "against"])
    plain = rows.loc["plain"]
    assert related.loc[("plain", "geographic"), "r"] == pytest.approx(
        spearmanr(plain["geographic"], plain["score"]).statistic
    )
    assert set(related.loc["plain"].index) == set(facts.distances)
    assert (related["p_holm"].dropna() >= related["p"].dropna()).all()


def test_drift_that_is_a_function_of_distance_correlates_perfectly_at_every_layer(facts):
    related = drift_relations(facts).query("method == 'plain'")
    assert set(related["layer"]) == set(range(LAYERS + 1))  # 0: the mean of the others
    assert list(related.query("against == 'syntactic'")["r"]) == pytest.approx([1] * (LAYERS + 1))
    assert (related.query("against == 'transfer'")["r"] < -0.8).all()


def test_a_drift_that_is_not_defined_is_left_out_of_its_layer_alone(facts):
    hole = facts.layers.eval("measure == 'drift_cka' and moment == 'after' and language == 'jpn' and layer == 2")
    layers = facts.layers.assign(value=facts.layers["value"].mask(hole))
    related = drift_relations(replace(facts, layers=layers)).query("method == 'plain' and against == 'syntactic'")
    assert dict(zip(related["layer"], related["n"], strict=True)) == {0: 5, 1: 6, 2: 5, 3: 6}


def test_correlations_with_distance_are_over_the_languages_that_all_methods_have(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "plain", seed)
        write_run(tmp_path, "align", seed, gain=0.1, targets=TARGETS[:-1])
    facts = facts_of(collect(["plain", "align"], tmp_path))
    section = transfer(facts)
    assert "Lines and ρ use what all methods have, as in `compare`; they exclude: Japanese." in section.text
    table = pd.DataFrame(section.tables[0].rows, columns=section.tables[0].columns)
    assert set(table["languages"]) == {5}
    compared = {row.method: row.by_distance.r for row in facts.comparisons.transfers}
    shown = table[(table["measure"] == "test accuracy, %") & (table["distance"] == "syntactic")]
    assert dict(zip(shown["method"], shown["ρ"], strict=True)) == pytest.approx(compared)


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    distxfer.report(METHODS, out, results=runs)
    return out.read_text(encoding="utf-8")


def data_of(page: str) -> dict:
    """The numbers of the charts, unpacked."""
    packed = re.search(r'id="report-data">([^<]*)<', page)
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


# The page


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
    facts = facts_of(collect([], tmp_path), baseline="plain")
    [figure] = comparison(facts).figures
    assert "Off the axis, with arrows: typology." in figure.description
    effects = figure.data["effects"]
    assert set(effects["method"][effects["out"] != ""]) == {"typology"}
    low, high = next(layer["encoding"]["x"]["scale"]["domain"] for layer in figure.spec({}, ())["layer"][1:])
    ends = effects.loc[effects["method"] != "typology", ["low", "high"]]
    assert (low, high) == (ends["low"].min(), ends["high"].max())
    grids = paper_spec(by_language(facts).figures[0], "plain")["vconcat"]
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


def test_every_section_is_there_with_charts_and_tables(sections):
    assert [section.key for section in sections] == [
        "comparison", "transfer", "languages", "drift", "drift-against", "alignment", "curves", "cost",
        "configuration", "provenance",
    ]  # fmt: skip
    for section in sections:
        assert section.tables, section.key
        assert bool(section.figures) == (section.key not in ("configuration", "provenance"))
        assert bool(section.commands) == bool(section.figures)


def test_every_chart_is_valid_and_compiles_as_a_page_and_on_paper(sections):
    for section in sections:
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
    section = comparison(facts)
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


def test_the_script_of_vega_is_bundled_once_and_again_where_it_is_damaged(tmp_path, monkeypatch):
    bundles = []
    monkeypatch.setenv("DISTXFER_CACHE", str(tmp_path))
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: bundles.append(snippet) or "a</script>")
    for damaged, times in ((False, 1), (False, 1), (True, 2)):
        for script in tmp_path.glob("vega/*/*.js") if damaged else ():
            script.write_text("b")
        library.cache_clear()
        assert (library(), len(bundles)) == ("a<\\/script>", times)
    library.cache_clear()
