"""What a report gathers from result files, and how it goes with distance: means, effects, curves and correlations."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from statsmodels.api import OLS, add_constant

from distxfer.languages import distance
from distxfer.measure import crossed
from distxfer.reports._report import sections_of
from distxfer.reports._report._facts import facts_of
from distxfer.reports._report._page import page_text
from distxfer.reports._report._relations import by_distance, drift_relations, fit_line
from distxfer.results.collect import collect
from finished_runs import LAYERS, METHODS, STEPS, TARGETS, three_methods, write_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return three_methods(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def facts(runs):
    return facts_of(collect(METHODS, runs), names=METHODS)


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
    assert related["geographic"].correlation.r == pytest.approx(spearmanr(far, list(values.values())).statistic)
    assert set(related) == set(facts.distances)
    assert all(one.p_holm is None or one.p_holm >= one.correlation.p for one in related.values())


def test_drift_that_is_a_function_of_distance_correlates_perfectly_at_every_layer(facts):
    related = drift_relations(facts, facts.baseline)
    for layer in (None, *range(1, LAYERS + 1)):
        assert related["syntactic", layer].correlation.r == pytest.approx(1)
        assert related["transfer", layer].correlation.r < -0.8
    assert ("syntactic", 0) not in related


def test_a_drift_that_is_not_defined_is_left_out_of_its_layer_alone(facts):
    holes = dict(facts.baseline.layers.values)
    key = ("drift_cka", "after", "jpn")
    holes[key] = np.where(np.arange(LAYERS + 1) == 2, np.nan, holes[key])
    method = replace(facts.baseline, layers=replace(facts.baseline.layers, values=holes))
    related = drift_relations(facts, method)
    assert [related["syntactic", layer].correlation.n for layer in (1, 2, 3, None)] == [6, 5, 6, 5]


def test_correlations_with_distance_are_over_the_languages_that_all_methods_have(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "plain", seed)
        write_run(tmp_path, "align", seed, gain=0.1, targets=TARGETS[:-1])
    facts = facts_of(collect(["plain", "align"], tmp_path))
    section = sections_of(facts)[1]
    assert "Lines and ρ use what all methods have, as in `compare`; they exclude: Japanese." in section.text
    assert {row[7] for row in section.tables[0].rows} == {5}
    compared = {one.method: one.by_distance.r for one in facts.comparisons.transfers}
    shown = {row[0]: row[4] for row in section.tables[0].rows if row[1:3] == ("test accuracy, %", "syntactic")}
    assert shown == pytest.approx(compared)
