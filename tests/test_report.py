"""The report: what it gathers from result files, its charts and its page, and everything it leaves out or refuses."""

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import vl_convert
from scipy.stats import spearmanr
from statsmodels.api import OLS, add_constant

import distxfer
from distxfer.experiments import collect, load_recipe
from distxfer.languages import distance, language_name
from distxfer.measure import crossed
from distxfer.reports._report import sections_of
from distxfer.reports._report._facts import facts_of
from distxfer.reports._report._page import page_text
from distxfer.reports._report._paper import paper_spec
from distxfer.reports._report._provenance import recipe_text
from distxfer.reports._report._relations import by_distance, drift_relations, fit_line
from finished_runs import LAYERS, STEPS, TARGETS, edit, write_run
from helpers import message

HOSTILE = "</script><img src=x onerror=alert(1)>{{x}} \"'&amp;`"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Three methods with three seeds each: a baseline, one that helps, and one that has no logs and hurts."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        write_run(folder, "plain", seed)
        write_run(folder, "align", seed, gain=0.1, terms=("align", "drift"))
        write_run(folder, "lora", seed, gain=-0.1, log=False)
    return folder


@pytest.fixture(scope="module")
def facts(runs):
    return facts_of(collect(["plain", "align", "lora"], runs), names=["plain", "align", "lora"])


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    distxfer.report(["plain", "align", "lora"], out, results=runs)
    return out.read_text(encoding="utf-8")


def data_of(page: str) -> dict:
    """The numbers of the charts, unpacked."""
    packed = re.search(r'id="report-data">([^<]*)<', page)
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def stored(runs: Path, name: str) -> np.ndarray:
    """The scores of one method, (seeds, languages), the targets in the order of TARGETS."""
    results = [json.loads(path.read_text()) for path in sorted(runs.glob(f"{name}/*/result.json"))]
    scores = [{one["language"]: one["value"] for one in result["scores"]} for result in results]
    return np.array([[own[code] for code in TARGETS] for own in scores])


# What is gathered


def test_scores_and_transfer_are_means_over_seeds(runs, facts):
    scores = stored(runs, "align")
    align = facts.methods[1]
    for place, code in enumerate(TARGETS):
        assert align.score(code) == pytest.approx(scores[:, place].mean())
        assert align.transfer(code) == pytest.approx(((scores[:, place] - 0.8) / 0.8).mean())
    assert align.transfer("xho") is None


def test_languages_come_from_the_nearest_to_the_farthest_and_are_split_at_the_median(facts):
    far = {code: distance("eng", code, imputed=True).value for code in TARGETS}
    order = sorted(TARGETS, key=far.get)
    assert [one.key for one in facts.languages] == order
    assert [one.group for one in facts.languages] == ["near"] * 3 + ["far"] * 3
    assert facts.main_distance == "syntactic"
    assert {one.key: one.far["syntactic"] for one in facts.languages} == pytest.approx(far)
    assert facts.languages[0].far["genetic"] == distance("eng", order[0], "genetic").value


def test_effects_by_language_are_paired_by_seed(runs, facts):
    differences = stored(runs, "align") - stored(runs, "plain")
    for place, code in enumerate(TARGETS):
        expected = crossed(differences[:, [place]])
        found = facts.methods[1].effects[code].test
        assert (found.effect, found.low, found.high) == pytest.approx((expected.effect, expected.low, expected.high))
    assert not facts.baseline.effects


def test_drift_is_read_by_layer(facts):
    far = distance("eng", "jpn", imputed=True).value
    assert facts.baseline.drift("jpn") == pytest.approx([0.1 * layer * (1 + far) for layer in range(LAYERS + 1)])
    assert facts.baseline.measured("drift_cka", "before", "jpn") == pytest.approx(np.zeros(LAYERS + 1))
    assert facts.baseline.layers.sizes["drift_cka"] == (50, 50)


def test_curves_are_means_of_equal_parts(facts):
    curves = {one.name: one for one in facts.methods[1].curves}
    assert set(curves) == {"objective", "task", "align", "drift", "align: cosine", "drift: cosine"}
    parts = np.array_split(np.arange(STEPS), 25)
    assert curves["task"].mean == pytest.approx([2 - part.mean() / 30 for part in parts])
    assert curves["task"].steps == pytest.approx([part.mean() for part in parts])
    assert curves["task"].n_seeds == 3
    assert not facts.methods[2].curves


def test_steps_of_a_second_phase_count_on(tmp_path):
    run = write_run(tmp_path)
    lines = [
        {"phase": name, "phase_number": number, "step": step, "loss": float(number)}
        for number, name in enumerate(("realign", "finetune"))
        for step in range(10)
    ]
    (run / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    curve = facts_of(collect(["plain"], tmp_path)).baseline.curves[0]
    assert curve.steps == pytest.approx(range(20))
    assert curve.mean == pytest.approx([0.0] * 10 + [1.0] * 10)


def test_diagnostics_are_read_from_the_result(facts):
    found = {one.name: one for one in facts.methods[1].diagnostics}
    assert found["gradient/align/cosine"].mean == (-0.5, -0.5, -0.5)
    assert found["sample/drift"].mean == pytest.approx((0.19, 0.39, 0.59))
    assert found["gradient/align/cosine"].steps == (19, 39, 59)


def test_a_collapsed_run_is_counted_and_in_no_mean(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "plain", seed)
        write_run(tmp_path, "align", seed, gain=0.1)
    write_run(tmp_path, "align", 3, gain=-0.3, status="collapsed")
    facts = facts_of(collect(["plain", "align"], tmp_path))
    align = facts.methods[1]
    assert (align.collapsed, len(align.sound)) == ((3,), 3)
    assert align.score("jpn") == pytest.approx(stored(tmp_path, "align")[:3, TARGETS.index("jpn")].mean())
    assert "1 collapsed: 3" in page_text(facts, sections_of(facts))


def test_settings_are_named_as_shortly_as_they_can_be_told_apart(tmp_path):
    for number, (weight, layers) in enumerate(((1.0, "all"), (2.0, "all"), (2.0, "upper"))):
        write_run(
            tmp_path, "align", identity=f"{number:08x}", terms=("align",), settings={"weight": weight, "layers": layers}
        )
    found = facts_of(collect([], tmp_path))
    assert [one.name for one in found.methods] == [
        "align (weight=1.0, layers=all)",
        "align (weight=2.0, layers=all)",
        "align (weight=2.0, layers=upper)",
    ]
    assert found.baseline.full_name == "align (intervention.align.weight=1.0, intervention.align.layers=all)"


# What goes with distance


def test_the_fit_and_its_interval_are_those_of_ordinary_least_squares():
    draw = np.random.default_rng(0)
    x = draw.uniform(size=9)
    y = 2 - x + 0.1 * draw.normal(size=9)
    fit = fit_line(x, y)
    at = np.linspace(fit.low, fit.high, 5)
    oracle = OLS(y, add_constant(x)).fit().get_prediction(add_constant(at))
    found = np.array([fit.at(one) for one in at])
    assert found[:, 0] == pytest.approx(oracle.predicted_mean)
    assert found[:, 1:] == pytest.approx(oracle.conf_int())


def test_there_is_no_line_through_fewer_than_four_languages_or_one_distance():
    assert fit_line([0.1, 0.2, 0.3], [1.0, 2.0, 3.0]) is None
    assert fit_line([0.5] * 5, range(5)) is None


def test_transfer_goes_with_distance_as_the_scores_say(runs, facts):
    values = {one.key: facts.baseline.score(one.key) for one in facts.languages}
    related = by_distance(facts, values)
    far = [one.far["geographic"] for one in facts.languages]
    assert related["geographic"].found.r == pytest.approx(spearmanr(far, list(values.values())).statistic)
    assert set(related) == set(facts.distances)
    assert all(one.p_holm is None or one.p_holm >= one.found.p for one in related.values())


def test_drift_that_is_a_function_of_distance_correlates_perfectly_at_every_layer(facts):
    related = drift_relations(facts, facts.baseline)
    for layer in (None, *range(1, LAYERS + 1)):
        assert related["syntactic", layer].found.r == pytest.approx(1)
        assert related["transfer", layer].found.r < -0.8
    assert ("syntactic", 0) not in related


def test_a_drift_that_is_not_defined_is_left_out_of_its_layer_alone(facts):
    holes = dict(facts.baseline.layers.values)
    key = ("drift_cka", "after", "jpn")
    holes[key] = np.where(np.arange(LAYERS + 1) == 2, np.nan, holes[key])
    method = replace(facts.baseline, layers=replace(facts.baseline.layers, values=holes))
    related = drift_relations(facts, method)
    assert [related["syntactic", layer].found.n for layer in (1, 2, 3, None)] == [6, 5, 6, 5]


# The page


def test_the_page_says_what_it_is_about(page):
    for text in (
        "3 methods, 9 runs",
        "distxfer compare plain align lora",
        "No log.jsonl is beside the results of lora",
        "0000000000",
        "distxfer train recipe=recipes/align.toml seed=2",
        *map(language_name, TARGETS),
    ):
        assert text in page


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
    distxfer.report(["plain", "align", "lora"], tmp_path / "a.html", results=runs)
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == page


class Tags(HTMLParser):
    """Collects the elements and the attributes of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_hostile_names_are_text(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "plain", seed)
        write_run(tmp_path, HOSTILE, seed, gain=0.1, terms=(HOSTILE,))
    found = facts_of(collect([], tmp_path), baseline="plain", names=[HOSTILE])
    named = replace(found, languages=tuple(replace(one, name=HOSTILE) for one in found.languages))
    page = page_text(replace(named, left_out=(HOSTILE,)), sections_of(named))
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    parsed = Tags(page)
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


# For a paper


def test_figures_are_written_in_three_kinds_without_the_colours_of_the_page(tmp_path, runs):
    folder = tmp_path / "figures"
    made = distxfer.report(
        ["plain", "align"], tmp_path / "a.html", results=runs, distances=["syntactic"], figures=folder
    )
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in made.figures}
    assert {path.stem for path in made.figures} == {
        "effects", "transfer-by-distance", "effects-by-language", "drift-by-layer", "drift-correlations-by-layer",
        "drift-by-distance", "alignment-by-layer", "learning-curves", "gradient-cosines", "cost",
    }  # fmt: skip
    for path in made.figures:
        start = {".png": b"\x89PNG", ".svg": b"<svg", ".pdf": b"%PDF"}[path.suffix]
        assert path.read_bytes().startswith(start)
        assert b"var(--" not in path.read_bytes()
    assert "Japanese" in (folder / "drift-by-layer.svg").read_text(encoding="utf-8")


# What is left out


def test_what_is_broken_or_foreign_is_named_and_left_out(tmp_path):
    results = tmp_path / "results"
    for seed in range(3):
        write_run(results, "plain", seed)
    (write_run(results, "broken") / "result.json").write_text("{")
    (write_run(results, "foreign") / "result.json").write_text('{"schema": 1}')
    edit(write_run(results, "alien"), lambda data: data["scores"].append({**data["scores"][0], "language": HOSTILE}))
    edit(write_run(results, "shapeless"), lambda data: data.update(distances=[{"language": "deu"}]))
    (write_run(results, "torn", 0) / "measurements.parquet").write_bytes(b"no")
    (write_run(results, "cut", 0) / "log.jsonl").write_text('{"phase_number": 0, "step": 0, "loss": 1.0}\n{"ph')
    made = distxfer.report([], tmp_path / "a.html", results=results)
    assert made.methods == 3  # plain, torn, cut
    assert len(made.left_out) == 6
    for part in ("broken", "foreign", "alien", "shapeless", "torn", "cut"):
        assert sum(f"/{part}/" in one for one in made.left_out) == 1, part
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "6 left out" in page
    assert "img" not in Tags(page).tags


def test_correlations_with_distance_are_over_the_languages_that_all_methods_have(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "plain", seed)
        write_run(tmp_path, "align", seed, gain=0.1, targets=TARGETS[:-1])
    facts = facts_of(collect(["plain", "align"], tmp_path))
    section = sections_of(facts)[1]
    assert "Lines and ρ are over what all methods have, as in compare; left out of them: Japanese." in section.text
    assert {row[7] for row in section.tables[0].rows} == {5}
    compared = {one.method: one.by_distance.r for one in facts.comparisons.comparisons.transfers}
    shown = {row[0]: row[4] for row in section.tables[0].rows if row[1:3] == ("test accuracy, %", "syntactic")}
    assert shown == pytest.approx(compared)


def test_a_text_that_utf8_does_not_have_is_replaced(tmp_path):
    edit(write_run(tmp_path), lambda data: data["provenance"].update(device="a\ud800b"))
    distxfer.report(["plain"], tmp_path / "a.html", results=tmp_path, distances=["syntactic"])
    assert "a?b" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.part"))


def test_nothing_half_written_is_left_behind(tmp_path, runs, monkeypatch):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(RuntimeError):
        distxfer.report(["plain"], tmp_path / "a.html", results=runs, distances=["syntactic"])
    assert not list(tmp_path.iterdir())


def test_numbers_that_cannot_be_read_are_named_and_left_out(tmp_path):
    huge = 10**400
    costly = write_run(tmp_path, "plain", 0)
    edit(costly, lambda data: data["cost"].update(tokens=huge))
    stepless = write_run(tmp_path, "plain", 1)
    edit(stepless, lambda data: data["diagnostics"][0].update(step="a"))
    sampled = write_run(tmp_path, "plain", 2)
    edit(sampled, lambda data: data["diagnostics"][0].update({"drift/jpn": huge}))
    logged = write_run(tmp_path, "plain", 3)
    (logged / "log.jsonl").write_text(json.dumps({"phase_number": 0, "step": 0, "loss": huge}))
    made = distxfer.report(["plain"], tmp_path / "a.html", results=tmp_path, distances=["syntactic"])
    assert made.runs == 4
    assert sorted(made.left_out) == sorted(
        [
            f"`cost.tokens` of `{costly / 'result.json'}` is left out: the number is too large.",
            f"`diagnostics` of `{stepless / 'result.json'}` cannot be read (could not convert string to float: 'a').",
            f"`diagnostics` of `{sampled / 'result.json'}` cannot be read (int too large to convert to float).",
            f"`{logged / 'log.jsonl'}` cannot be read (int too large to convert to float).",
        ]
    )


def test_an_empty_selection_is_refused(tmp_path):
    out = tmp_path / "a.html"
    assert message(distxfer.report, [], out, results=tmp_path) == (
        f"There is no finished run below `{tmp_path}`. Train one, or say where results are with `--results`."
    )
    run = write_run(tmp_path)
    edit(run, lambda data: data.update(source="English"))
    assert message(distxfer.report, [], out, results=tmp_path).startswith(
        f"Nothing is left to report; 1 left out:\n  `{run / 'result.json'}` is left out: Language code `English` is not known."
    )
    edit(run, lambda data: data.update(status="collapsed", source="eng"))
    assert message(distxfer.report, [], out, results=tmp_path) == (
        "All 1 runs of `plain` collapsed: they learnt nothing to report. Choose other runs, or train it with other settings."
    )
    assert not out.exists()


def test_what_cannot_be_written_is_refused_before_anything_is_read(cli, runs, monkeypatch):
    for words, said in (
        (["--out", "a.pdf"], "`a.pdf` is no name of a page; expected one that ends in `.html`."),
        (["--out", "no/a.html"], "The folder of `no/a.html` does not exist. Make it first, or choose another."),
        (["--figures", "no/a"], "The folder of `no/a` does not exist. Make it first, or choose another."),
        (["--figures", __file__], f"`{__file__}` is not a folder; expected one for the figures. Choose another."),
    ):
        wrong = cli("report", *words)
        assert (wrong.exit_code, wrong.stdout, wrong.stderr) == (2, "", f"Error: {said}\n")
    for package in ("altair", "vl_convert"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            wrong = cli("report", "--results", str(runs))
        assert wrong.stderr == (
            f"Error: A report needs the package `{package}`, which is not installed."
            ' Run: pip install "distxfer[figures]"\n'
        )
    assert not list(Path.cwd().iterdir())


def test_an_unknown_distance_or_baseline_is_refused(cli, runs):
    wrong = cli("report", "--results", str(runs), "--distance", "syntatic")
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("Error: Distance `syntatic` is not known. Did you mean `syntactic`?")
    wrong = cli("report", "--results", str(runs), "--baseline", "plane")
    assert wrong.stderr.startswith("Error: Baseline `plane` is not known. Did you mean `plain`?")


def test_the_verb_says_what_it_wrote(cli, runs):
    begun = runs / "plain" / "00000000-s9"
    begun.mkdir()
    (begun / "log.jsonl").touch()
    made = cli("report", "--results", str(runs), "--distance", "syntactic")
    assert made.exit_code == 0
    assert re.fullmatch(r"report\.html  \(3 methods, 9 runs, \d\.\d MB\)\n", made.stdout)
    assert made.stderr.startswith("1 left out:\n- ")
    assert [path.name for path in Path.cwd().iterdir()] == ["report.html"]
    assert "<dd>plain</dd>" in Path("report.html").read_text(encoding="utf-8")  # without a name, plain is the baseline
    shutil.rmtree(begun)


def test_json_says_it_too(cli, runs):
    made = json.loads(cli("report", "plain", "align", "--results", str(runs), "--distance", "genetic", "--json").stdout)
    assert made == {
        "page": "report.html", "size": Path("report.html").stat().st_size, "figures": [], "methods": 2, "runs": 6,
        "left_out": [], "notes": [],
    }  # fmt: skip


def test_no_torch_is_imported(runs, tmp_path):
    code = (
        "import sys\nsys.modules['torch'] = sys.modules['transformers'] = None\nfrom distxfer.cli import app\n"
        f"app(['report', '--results', {str(runs)!r}, '--out', {str(tmp_path / 'a.html')!r}, '--distance', 'syntactic'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.html").stat().st_size > 9e5


def test_a_hundred_runs_fit_in_five_megabytes(tmp_path):
    targets = ("ara", "deu", "fas", "fra", "ind", "ita", "jpn", "kor", "por", "rus", "spa", "tur", "zho")
    for number in range(20):
        for seed in range(5):
            name, terms = ("plain", ()) if number == 0 else (f"method_{number}", ("align", "drift"))
            write_run(tmp_path, name, seed, gain=0.01 * number, targets=targets, layers=12, terms=terms)
    made = distxfer.report([], tmp_path / "a.html", results=tmp_path)
    assert made.runs == 100
    assert made.size < 5e6
