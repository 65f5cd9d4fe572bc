"""What a report gathers from result files, and its relation with distance: means, effects, curves and correlations."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from statsmodels.api import OLS, add_constant

from distxfer.languages import distance
from distxfer.measure import crossed
from distxfer.reports.page import sections_of
from distxfer.reports.page.facts import facts_of, targets
from distxfer.reports.page.html import page_text
from distxfer.reports.page.relations import by_distance, drift_relations, fit_line
from distxfer.results.collect import collect
from finished_runs import LAYERS, STEPS, TARGETS, write_run


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
    names = {name for name in facts.curves.query("method == 'align'")["name"] if "/" not in name and "," not in name}
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
    cosine = curve_of(facts, "align", "gradient/align/cosine")
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
    assert "1 collapsed: 3" in page_text(facts, sections_of(facts))


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
    oracle = model.get_prediction(add_constant(fit["x"].to_numpy()))
    assert slope == pytest.approx(model.params[1])
    assert (fit["x"].min(), fit["x"].max()) == (x.min(), x.max())
    assert fit["y"].to_numpy() == pytest.approx(oracle.predicted_mean)
    assert fit[["lower", "upper"]].to_numpy() == pytest.approx(oracle.conf_int())


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
    section = sections_of(facts)[1]
    assert "Lines and ρ use what all methods have, as in `compare`; they exclude: Japanese." in section.text
    table = pd.DataFrame(section.tables[0].rows, columns=section.tables[0].columns)
    assert set(table["languages"]) == {5}
    compared = {row.method: row.by_distance.r for row in facts.comparisons.transfers}
    shown = table[(table["measure"] == "test accuracy, %") & (table["distance"] == "syntactic")]
    assert dict(zip(shown["method"], shown["ρ"], strict=True)) == pytest.approx(compared)
