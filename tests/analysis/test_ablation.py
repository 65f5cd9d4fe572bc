"""What settings contribute: contrasts against ordinary least squares, and designs read off the settings of runs."""

import csv
import io
import itertools
import json

import numpy as np
import pandas
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st

from distxfer import measure
from distxfer.analysis.ablation import ablate
from distxfer.analysis.compare import compare_methods
from distxfer.reports.ablation import ablation_tables
from distxfer.results.collect import collect
from fake_runs import ALIGN, FAR, run, runs
from helpers import message

# --- contrasts, on arrays -----------------------------------------------------------------------------------------

GRID = [(a, b, c) for a in "xy" for b in (0, 1, 2) for c in (False, True)]


def frame(levels, scores):
    """One row per cell, seed and language."""
    rows = [
        (*effects, seed, language, scores[cell, seed, language])
        for cell, effects in enumerate(levels)
        for seed, language in itertools.product(range(scores.shape[1]), range(scores.shape[2]))
    ]
    return pandas.DataFrame(rows, columns=["a", "b", "c", "seed", "language", "y"])


@pytest.fixture(scope="module")
def scores():
    """A full factorial with known effects: b adds 0.1 a level, c 0.05, and 0.2 more where a is `y`."""
    draw = np.random.default_rng(0)
    noise = 0.02 * draw.normal(size=(len(GRID), 4, 5))
    shared = draw.normal(size=(1, 4, 1)) + draw.normal(size=(1, 1, 5))
    effects = np.array([0.1 * b + 0.05 * c + 0.2 * (a == "y" and c) for a, b, c in GRID])
    return effects[:, None, None] + shared + noise


def test_main_effects_of_a_full_design_are_those_of_least_squares(scores):
    fit = smf.ols("y ~ C(a) + C(b) + C(c) + C(seed) + C(language)", frame(GRID, scores)).fit()
    for axis, value, reference, term in (
        (0, "y", "x", "C(a)[T.y]"), (1, 1, 0, "C(b)[T.1]"), (1, 2, 0, "C(b)[T.2]"), (2, True, False, "C(c)[T.True]")
    ):  # fmt: skip
        outcome = measure.contrast(GRID, {axis: (value, reference)})
        test = measure.crossed(outcome.of(scores))
        assert test.effect == pytest.approx(fit.params[term], abs=1e-12)
    assert measure.contrast(GRID, {1: (2, 0)}).matches == 4


def test_interactions_of_a_full_design_are_those_of_least_squares(scores):
    fit = smf.ols("y ~ C(a) * C(c) + C(b) + C(seed) + C(language)", frame(GRID, scores)).fit()
    outcome = measure.contrast(GRID, {0: ("y", "x"), 2: (True, False)})
    assert outcome.matches == 3
    test = measure.crossed(outcome.of(scores))
    assert test.effect == pytest.approx(fit.params["C(a)[T.y]:C(c)[T.True]"], abs=1e-12)
    assert test.low < 0.2 < test.high  # what was put in


def test_known_effects_without_noise():
    """Four cells: 1, 3, 4 and 11; the second axis adds 3 and 8."""
    levels, table = [("r", 0), ("v", 0), ("r", 1), ("v", 1)], np.array([1.0, 3.0, 4.0, 11.0])[:, None, None]
    assert measure.contrast(levels, {0: ("v", "r")}).of(table).item() == 4.5
    assert measure.contrast(levels, {1: (1, 0)}).of(table).item() == 5.5
    assert measure.contrast(levels, {0: ("v", "r"), 1: (1, 0)}).of(table).item() == 5.0
    assert measure.contrast(levels[:3], {0: ("v", "r")}).weights.tolist() == [-1, 1, 0]  # the third has no match
    assert measure.contrast(levels[:3], {0: ("v", "r"), 1: (1, 0)}).matches == 0


def test_an_axis_that_does_not_apply_matches_whatever_the_other_has():
    """A baseline without the intervention, and three forms of it: the effect is their mean less the baseline."""
    levels = [("absent", None), ("there", "p"), ("there", "q"), ("there", "r")]
    outcome = measure.contrast(levels, {0: ("there", "absent")})
    assert (outcome.weights.tolist(), outcome.matches) == ([-1, 1 / 3, 1 / 3, 1 / 3], 3)
    assert measure.contrast(levels, {1: ("q", "p")}).weights.tolist() == [0, -1, 1, 0]


@given(st.permutations(range(len(GRID))), st.sets(st.integers(0, len(GRID) - 1), max_size=6))
def test_weights_sum_to_nothing_and_do_not_depend_on_the_order_of_the_cells(order, absent):
    levels = [GRID[cell] for cell in order if cell not in absent]
    for changes in ({0: ("y", "x")}, {1: (2, 0)}, {0: ("y", "x"), 2: (True, False)}):
        weights = measure.contrast(levels, changes).weights
        assert weights.sum() == pytest.approx(0)
        by_cell = dict(zip(levels, weights, strict=True))
        again = measure.contrast(sorted(levels), changes).weights
        assert [by_cell[entry] for entry in sorted(levels)] == pytest.approx(list(again))


def test_a_contrast_of_nothing_is_refused():
    assert message(measure.contrast, GRID, {3: (1, 0)}) == (
        "The axis 3 is not there; expected 0 to 2: give each cell a level for it."
    )
    assert message(measure.contrast, GRID, {0: ("x", "x")}) == (
        "The axis 0 is to change from `x` to itself; expected two values."
    )


# --- designs, from the settings of runs ---------------------------------------------------------------------------


def table(mean, seed, n=4):
    return mean + 0.01 * np.random.default_rng(seed).normal(size=(n, len(FAR)))


def align(**settings):
    return {"intervention.align": {**ALIGN, **settings}}


@pytest.fixture
def results(tmp_path):
    """`plain`, and `align` with three weights for each of two learning rates, one cell of which is missing."""
    runs(tmp_path, "plain", "aaaa0000", table(0.50, 0))
    for place, (weight, rate) in enumerate([(0.5, 5e-5), (1.0, 5e-5), (2.0, 5e-5), (0.5, 1e-4), (1.0, 1e-4)]):
        settings = {**align(weight=weight), "phase.finetune.learning_rate": rate}
        mean = 0.60 + 0.02 * weight + 0.03 * (rate > 5e-5)
        runs(tmp_path, "align", f"bbbb000{place}", table(mean, 1 + place), settings)
    return tmp_path


def ablated(results, *names, **options):
    return ablate(collect(names or ["plain", "align"], results), **options)


def changes_of(outcome):
    return {entry.changes: entry for entry in outcome.effects}


def test_every_value_of_an_axis_against_the_baselines(results):
    outcome = ablated(results)
    assert [(axis.key, axis.reference, axis.values, axis.along) for axis in outcome.axes] == [
        ("phase.finetune.learning_rate", 5e-5, (5e-5, 1e-4), ()),
        ("intervention.align.weight", None, (None, 0.5, 1.0, 2.0), ()),
    ]
    effects = changes_of(outcome)
    assert len(effects) == 4
    rate = effects[("phase.finetune.learning_rate", 1e-4, 5e-5),]
    expected = (table(0.64, 4) + table(0.65, 5) - table(0.61, 1) - table(0.62, 2)) / 2
    assert (rate.test.effect, rate.test.p) == pytest.approx((expected.mean(), measure.crossed(expected).p))
    assert rate.matches == 2
    weight = effects[("intervention.align.weight", 2.0, None),]
    assert weight.test.effect == pytest.approx((table(0.64, 3) - table(0.50, 0)).mean())
    assert (weight.matches, weight.test.n_seeds, weight.test.n_languages) == (1, 4, 4)
    assert [entry.p_holm for entry in outcome.effects] == pytest.approx(
        measure.holm([entry.test.p for entry in outcome.effects])
    )


def test_a_single_change_is_what_compare_says(results):
    effect = ablated(results, "plain", "align/bbbb0001").effects[0]
    compared = compare_methods(collect(["plain", "align/bbbb0001"], results)).comparisons[0]
    assert effect.test == compared.test


def test_the_parallel_text_is_named(results):
    outcome = ablated(results)
    assert outcome.corpora == ("parallel text: `toy`, of unknown size.",)
    assert outcome.corpora[0] in ablation_tables(outcome)[0].notes
    assert outcome.records()["corpora"] == list(outcome.corpora)


def test_what_has_no_match_is_named(results):
    outcome = ablated(results)
    rate = changes_of(outcome)[("phase.finetune.learning_rate", 1e-4, 5e-5),]
    assert set(rate.alone) == {"plain", "align (phase.finetune.learning_rate=5e-05, intervention.align.weight=2.0)"}
    notes = " ".join(ablation_tables(outcome)[0].notes)
    assert "left out of an effect because no method differs from them in that setting alone: " in notes
    gaps = ablated(results, "align/bbbb0001", "align/bbbb0003", "align/bbbb0004")
    assert gaps.unmatched == ()
    assert {entry.changes[0][0]: entry.alone for entry in gaps.effects} == {
        "phase.finetune.learning_rate": (one_rate(0.5, 1e-4),),
        "intervention.align.weight": (one_rate(1.0, 5e-5),),
    }


def one_rate(weight, rate):
    rate = f"{rate:g}" if rate < 1e-4 else "0.0001"
    return f"align (phase.finetune.learning_rate={rate}, intervention.align.weight={weight})"


def test_settings_that_never_change_apart_are_one_axis(results):
    """The learning rate changes with the weight 0.5 only: what the two do there cannot be told apart, elsewhere it can."""
    outcome = ablated(results, "plain", "align/bbbb0001", "align/bbbb0003")
    ((axis),) = outcome.axes
    assert (axis.key, axis.along) == ("intervention.align.weight", ("phase.finetune.learning_rate",))
    assert [(entry.changes[0][1], entry.along) for entry in outcome.effects] == [
        (0.5, ("phase.finetune.learning_rate",)),
        (1.0, ()),
    ]
    shown = ablation_tables(outcome)[0]
    assert [row[:3] for row in shown.rows] == [
        ("intervention.align.weight + phase.finetune.learning_rate", "0.5", "absent"),
        ("intervention.align.weight", "1.0", "absent"),
    ]
    assert "a + b: b changes with a in every match, so their effects cannot be separated." in shown.notes
    assert outcome.responses == ()
    assert outcome.notes == ("no response to intervention.align.weight: phase.finetune.learning_rate changes with it",)


def test_interactions_when_asked(results):
    assert ablated(results).interactions == ()
    outcome = ablated(results, "align", baseline="align/bbbb0000", interactions=True)
    (entry,) = outcome.interactions  # of the four cells with weights 0.5 and 1; weight 2 has one rate
    assert entry.changes == (
        ("phase.finetune.learning_rate", 1e-4, 5e-5), ("intervention.align.weight", 1.0, 0.5)
    )  # fmt: skip
    expected = (table(0.65, 5) - table(0.62, 2)) - (table(0.64, 4) - table(0.61, 1))
    assert entry.test.effect == pytest.approx(expected.mean())
    assert entry.test.low == pytest.approx(measure.crossed(expected).low)


def test_interactions_that_cannot_be_read_off_are_named(results):
    assert not any("no interaction" in entry for entry in ablated(results).notes)
    none = ablated(results, "plain", "align/bbbb0000", interactions=True)
    assert none.notes == (
        "no interaction: this takes four methods that differ in two settings only, with both values of each",
    )
    assert none.notes[0] in ablation_tables(none)[0].notes
    some = ablated(results, "align", baseline="align/bbbb0000", interactions=True)
    assert some.notes == ("no interaction of 1 other pair of changes: no four methods match",)


def test_what_is_left_out_of_interactions_is_said(results):
    (results / "align" / "bbbb0003-s3" / "result.json").unlink()
    outcome = ablated(results, "align", baseline="align/bbbb0000", interactions=True)
    assert outcome.interactions[0].test.n_seeds == 3
    assert any("seed 3 (not in `align (" in entry for entry in ablation_tables(outcome)[1].notes)


def test_the_response_to_a_weight_is_over_the_same_settings_and_sorted(results):
    outcome = ablated(results)
    weights = [entry for entry in outcome.responses if entry.axis == "intervention.align.weight"]
    assert [entry.value for entry in weights] == [None, 0.5, 1.0, 2.0]  # 5e-5 alone has all three
    for entry, effects in zip(weights, (table(0.50, 0), table(0.61, 1), table(0.62, 2), table(0.64, 3)), strict=True):
        assert (entry.mean, entry.low, entry.high) == pytest.approx(measure.interval(effects))
        assert (entry.settings, entry.n_seeds, entry.n_languages) == (1, 4, 4)
    rates = [entry for entry in outcome.responses if entry.axis == "phase.finetune.learning_rate"]
    assert [entry.settings for entry in rates] == [2, 2]
    assert rates[0].mean == pytest.approx((table(0.61, 1) + table(0.62, 2)).mean() / 2)


def test_seeds_that_not_all_have_are_left_out_and_named(results):
    runs(results, "short", "cccc0000", table(0.7, 9, n=3), {"phase.finetune.epochs": 9})
    (effect,) = ablated(results, "plain", "short").effects
    assert (effect.test.n_seeds, effect.dropped) == (3, ("seed 3 of `plain` (no pair)",))
    (note,) = [
        entry
        for entry in ablation_tables(ablated(results, "plain", "short"))[0].notes
        if entry.startswith("left out: ")
    ]
    assert note == "left out: seed 3 of `plain` (no pair)."


def test_a_seed_that_some_of_many_lack_is_named_once(results):
    rate = {"phase.finetune.learning_rate": 5e-5}
    run(results, "align", "bbbb0000", 4, dict.fromkeys(FAR, 0.5), {**align(weight=0.5), **rate})
    (note,) = [entry for entry in ablation_tables(ablated(results))[0].notes if entry.startswith("left out: ")]
    of_rate, of_weight = note.removeprefix("left out: ").split("; ")
    assert (of_rate[:15], of_rate.count("`align (")) == ("seed 4 (not in ", 3)
    assert of_rate.endswith(") from phase.finetune.learning_rate 0.0001")
    assert of_weight.endswith(" (no pair) from intervention.align.weight 0.5.")  # of two methods, the one that has it


def test_methods_without_a_common_seed_are_no_effect(results):
    for seed in (7, 8, 9):
        run(results, "late", "cccc0000", seed, dict.fromkeys(FAR, 0.5), {"phase.finetune.epochs": 9})
    assert ablated(results, "plain", "align/bbbb0000", "late").unmatched == (
        "phase.finetune.epochs 9 against 2 (the methods have no seed or no language in common)",
    )


def test_nothing_that_differs_in_one_thing_alone_is_an_error(results):
    runs(results, "again", "cccc0000", table(0.5, 9))
    assert message(ablated, results, "plain", "again") == (
        "No two of the 2 methods differ in one setting alone, so no effect can be told from another (their settings are the"
        " same). Add methods that do, or leave out `--ablation`."
    )


# --- controls -----------------------------------------------------------------------------------------------------


def test_controls_stand_beside_the_real_thing(tmp_path):
    runs(tmp_path, "real", "aaaa0000", table(0.60, 0), align())
    runs(tmp_path, "shuffled", "bbbb0000", table(0.55, 1), align(distance="shuffled"))
    runs(tmp_path, "uniform", "cccc0000", table(0.57, 2), align(weighting="uniform", weighting_by="scaling"))
    runs(tmp_path, "heavy", "dddd0000", table(0.60, 3), align(weight=2.0))
    outcome = ablated(tmp_path, "real", "shuffled", "uniform", "heavy")
    assert [
        (entry.key, entry.comparisons[0].method, entry.comparisons[0].baseline, entry.also)
        for entry in outcome.controls
    ] == [
        ("intervention.align.distance", "real", "shuffled", ()),
        ("intervention.align.weighting", "real", "uniform", ()),
    ]
    shuffled = outcome.controls[0]
    difference = table(0.60, 0) - table(0.55, 1)
    assert (shuffled.mean, shuffled.mean_control) == pytest.approx((table(0.60, 0).mean(), table(0.55, 1).mean()))
    assert [entry.subset for entry in shuffled.comparisons] == ["all", "near", "far"]
    assert [entry.test.effect for entry in shuffled.comparisons] == pytest.approx(
        [difference.mean(), difference[:, :2].mean(), difference[:, 2:].mean()]
    )
    assert shuffled.comparisons[0].test.p == pytest.approx(measure.crossed(difference).p)
    assert [entry.comparisons[0].p_holm for entry in outcome.controls] == pytest.approx(
        measure.holm([entry.comparisons[0].test.p for entry in outcome.controls])
    )
    shown = ablation_tables(outcome)[-1]
    assert shown.rows[0][:5] == ("intervention.align.distance", "real", f"{100 * table(0.60, 0).mean():.1f}", "shuffled",
                                 f"{100 * table(0.55, 1).mean():.1f}")  # fmt: skip


def test_random_layers_are_a_control_and_what_else_differs_is_said(tmp_path):
    freeze = {"kind": "freeze", "layers": "lower", "count": 0, "embeddings": True}
    runs(tmp_path, "lower", "aaaa0000", table(0.60, 0), {"intervention.freeze": freeze})
    random = {**freeze, "layers": "random", "count": 2, "embeddings": False}
    runs(tmp_path, "random", "bbbb0000", table(0.58, 1), {"intervention.freeze": random})
    outcome = ablated(tmp_path, "lower", "random")
    ((key, also),) = [(entry.key, entry.also) for entry in outcome.controls]
    assert (key, also) == ("intervention.freeze.layers", ("intervention.freeze.embeddings",))
    assert (
        "no clean control: `random` also differs in intervention.freeze.embeddings."
        in ablation_tables(outcome)[-1].notes
    )
    runs(tmp_path, "guided", "cccc0000", table(0.61, 2), {"intervention.freeze": {**random, "layers": "guided"}})
    outcome = ablated(tmp_path, "lower", "random", "guided")
    assert [(entry.comparisons[0].method, entry.also) for entry in outcome.controls] == [("guided", ())]


def test_random_layers_of_another_number_are_no_clean_control(tmp_path):
    guided = {"kind": "freeze", "layers": "guided", "count": 3, "embeddings": True}
    runs(tmp_path, "guided", "aaaa0000", table(0.60, 0), {"intervention.freeze": guided})
    runs(
        tmp_path,
        "random",
        "bbbb0000",
        table(0.58, 1, n=3),
        {"intervention.freeze": {**guided, "layers": "random", "count": 2}},
    )
    outcome = ablated(tmp_path, "guided", "random")
    assert [entry.also for entry in outcome.controls] == [("intervention.freeze.count",)]
    notes = ablation_tables(outcome)[-1].notes
    assert "no clean control: `random` also differs in intervention.freeze.count." in notes
    assert "left out: seed 3 of `guided` (no pair)." in notes


# --- the command line ---------------------------------------------------------------------------------------------


def test_the_verb(cli, results):
    words = ("compare", "plain", "align", "--results", str(results), "--ablation")
    outcome = ablated(results)
    text = cli(*words).stdout
    assert [title in text for title in ("effect of each setting", "response to each", "interactions", "controls")] == [
        True, True, False, False
    ]  # fmt: skip
    assert text.count("Checkpoint: last.") == 2
    data = json.loads(cli(*words, "--json").stdout)
    assert data == json.loads(json.dumps(outcome.records()))
    assert data["effects"][0]["effect"] == outcome.effects[0].test.effect
    rows = list(csv.DictReader(io.StringIO(cli(*words, "--interactions", "--format", "csv").stdout)))
    assert [row["part"] for row in rows] == ["effects"] * 4 + ["responses"] * 6
    assert float(rows[0]["effect"]) == outcome.effects[0].test.effect
    words_of_both = ("compare", "align", "--results", str(results), "--ablation", "--interactions", "--format", "csv")
    (row,) = [row for row in csv.DictReader(io.StringIO(cli(*words_of_both).stdout)) if row["part"] == "interactions"]
    assert (row["axis_1"], row["value_2"]) == ("phase.finetune.learning_rate", "1.0")
    assert cli(*words, "--format", "latex").stdout.count(r"\begin{table}") == 2


def test_a_target_that_chose_the_checkpoint_is_a_warning_on_every_table(results):
    runs(results, "chosen", "cccc0000", table(0.5, 9), {"phase.finetune.epochs": 9}, selection="target_dev")
    for entry in ablation_tables(ablated(results, "plain", "align", "chosen")):
        assert entry.notes[0].startswith("WARNING: the checkpoint of `chosen` was selected on a target's dev set")
