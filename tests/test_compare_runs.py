"""Methods against a baseline, from the files of their runs: what is paired, what is refused, and the tests of others."""

import csv
import io
import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from distxfer import measure
from distxfer.errors import InputError
from distxfer.experiments import collect, compare_methods, compare_runs
from distxfer.reports import method_data, method_tables
from fake_runs import ALIGN, FAR, result, run, runs, write
from helpers import message

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
WITH_ALIGN = {"intervention.align": ALIGN}


def scores(gain=0.0, seeds=4, seed=0):
    """A table of accuracies, (seeds, languages), with some noise; the gain is the same everywhere."""
    return 0.5 + gain + 0.02 * np.random.default_rng(seed).normal(size=(seeds, len(FAR)))


@pytest.fixture
def results(tmp_path):
    """`plain` with 4 seeds and `align` with 3 of them."""
    folder = tmp_path / "results"
    runs(folder, "plain", "aaaa0000", scores())
    runs(folder, "align", "bbbb0000", scores(0.1, seeds=3, seed=1), WITH_ALIGN)
    return folder


def compared(results, *names, **options):
    return compare_methods(collect(names or ["plain", "align"], results), **options)


# --- the numbers --------------------------------------------------------------------------------------------------


def test_the_effects_of_the_reference_runs_are_those_of_their_files():
    """Joined by hand from the result files: the same effects, near, far and Holm over the methods."""
    names = ["plain", "dist_align", "mined_align", "drift_reg", "freeze_lower", "lora"]
    cells = []
    for path in (path for name in names for path in REFERENCE.glob(f"{name}/*/result.json")):
        data = json.loads(path.read_text())
        cells += [
            (data["recipe"]["name"], data["seed"], one["language"], one["value"])
            for one in data["scores"]
            if (one["split"], one["metric"]) == ("test", "accuracy") and one["language"] != "eng"
        ]
    frame = pandas.DataFrame(cells, columns=["method", "seed", "language", "value"])
    wide = frame.pivot_table(index=["method", "seed"], columns="language", values="value")
    summary = data["summary"]
    found = compare_methods(collect(names, REFERENCE))
    assert (found.baseline, found.comparisons.metric, found.comparisons.selection) == ("plain", "accuracy", "last")
    assert found.comparisons.distance == "syntactic (imputed)"
    for subset, languages in {"all": list(wide.columns), "near": summary["near"], "far": summary["far"]}.items():
        tests = {}
        for name in names[1:]:
            difference = (wide.loc[name] - wide.loc["plain"]).dropna()[languages]
            tests[name] = measure.crossed(difference.to_numpy())
        own = {one.method: one for one in found.comparisons.comparisons if one.subset == subset}
        assert list(own) == names[1:]
        adjusted = measure.holm([one.p for one in tests.values()])
        for (name, expected), p in zip(tests.items(), adjusted, strict=True):
            test = own[name].test
            assert (test.effect, test.low, test.high) == pytest.approx((expected.effect, expected.low, expected.high))
            assert own[name].p_holm == pytest.approx(p)
            assert (test.n_seeds, test.n_languages) == (expected.n_seeds, len(languages))


def test_seeds_are_paired_by_number_and_the_rest_is_named(results):
    found = compared(results)
    one = found.comparisons.comparisons[0]
    difference = scores(0.1, 3, 1) - scores()[:3]
    assert one.test.effect == pytest.approx(difference.mean())
    assert one.test.p == pytest.approx(measure.crossed(difference).p)
    assert (one.test.n_seeds, one.dropped) == (3, ("seed 3 of `plain` (no pair)",))


def test_by_language_is_a_t_test_over_seeds(results):
    found = compared(results)
    assert [one.part for one in found.by_language] == ["deu", "fra", "tur", "jpn"]  # from the nearest on
    before, after = scores()[:3], scores(0.1, 3, 1)
    expected = [stats.ttest_rel(after[:, place], before[:, place]) for place in range(4)]
    for place, one in enumerate(found.by_language):
        assert (one.method, one.languages, one.distance) == ("align", (one.part,), FAR[one.part])
        assert (one.mean_baseline, one.mean) == pytest.approx((before[:, place].mean(), after[:, place].mean()))
        assert one.test.p == pytest.approx(expected[place].pvalue)
        between = expected[place].confidence_interval()
        assert (one.test.low, one.test.high) == pytest.approx((between.low, between.high))
    assert [one.p_holm for one in found.by_language] == pytest.approx(measure.holm([one.pvalue for one in expected]))


def test_by_family_tests_the_languages_of_a_family_together(results):
    found = compared(results)
    families = {one.part: one for one in found.by_family}
    assert {name: one.languages for name, one in families.items()} == {
        "Indo-European": ("deu", "fra"), "Turkic": ("tur",), "Japonic": ("jpn",)
    }  # fmt: skip
    difference = (scores(0.1, 3, 1) - scores()[:3])[:, :2]
    assert families["Indo-European"].test.p == pytest.approx(measure.crossed(difference).p)
    assert families["Indo-European"].distance == pytest.approx(0.15)


def test_the_slope_is_that_of_each_seed_tested_over_seeds(results):
    (slope,) = compared(results).slopes
    difference = scores(0.1, 3, 1) - scores()[:3]
    each = [np.polyfit(list(FAR.values()), row, 1)[0] for row in difference]
    assert slope.test.effect == pytest.approx(np.mean(each))
    assert slope.test.p == pytest.approx(stats.ttest_1samp(each, 0).pvalue)
    assert (slope.test.n_seeds, slope.test.n_languages) == (3, 4)


def test_near_and_far_are_by_the_stored_distance_unless_another_is_asked_for(results, tmp_path):
    def far(**options):
        found = compared(results, **options)
        return found.comparisons.distance, {
            one.subset: one.test.n_languages for one in found.comparisons.comparisons
        }, found.by_language[0].part  # fmt: skip

    assert far() == ("syntactic (imputed)", {"all": 4, "near": 2, "far": 2}, "deu")
    assert far(distance_name="genetic")[0] == "genetic"
    assert far(imputed=False)[0] == "syntactic"
    matrix = tmp_path / "own.csv"
    matrix.write_text(",eng\ndeu,0.9\nfra,0.8\njpn,0.1\n")
    label, sizes, nearest = far(matrix=matrix)
    assert (label, sizes, nearest) == ("matrix", {"all": 4, "near": 2, "far": 1}, "jpn")
    assert compared(results, matrix=matrix).comparisons.notes[0].startswith("`tur` is neither near nor far: ")


def test_a_slope_needs_three_languages_of_different_distance():
    assert measure.slope_over_seeds(np.ones((3, 2)), [0.1, 0.2]) is None
    assert measure.slope_over_seeds(np.ones((3, 4)), [0.5] * 4) is None
    assert message(measure.slope_over_seeds, np.ones((3, 4)), [0.1, 0.2]) == (
        "The differences have the shape (3, 4) and the distances (2,); expected (seeds, languages) and (languages,): give the"
        " distance of each language."
    )


def test_another_metric(results):
    path = results / "align" / "bbbb0000-s0" / "result.json"
    data = json.loads(path.read_text())
    for one in data["scores"]:
        one["value"] += 0.05 * (one["metric"] == "macro_f1")
    path.write_text(json.dumps(data))
    gained = compared(results, metric="macro_f1").comparisons.comparisons[0].test.effect
    assert gained == pytest.approx(compared(results).comparisons.comparisons[0].test.effect + 0.05 / 3)
    assert message(compared, results, metric="bleu") == "Metric `bleu` is not known. Choose from: accuracy, macro_f1."


# --- gaps ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def gaps(results):
    """As `results`, where seed 2 of `align` has no German, and `third` is whole."""
    path = results / "align" / "bbbb0000-s2" / "result.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "scores": [one for one in data["scores"] if one["language"] != "deu"]}))
    runs(results, "third", "cccc0000", scores(0.05, seed=2), {"phase.finetune.epochs": 3})
    return results


def test_each_part_is_balanced_over_its_own_languages_alone(gaps):
    found = compared(gaps)
    parts = {one.part: one for one in found.by_language}
    lost = ("seed 2 of `align` (without `deu`)", "seed 2 of `plain` (no pair)", "seed 3 of `plain` (no pair)")
    assert (parts["deu"].test.n_seeds, set(parts["deu"].dropped)) == (2, set(lost))
    assert parts["deu"].mean == pytest.approx(scores(0.1, 3, 1)[:2, 0].mean())
    assert (parts["fra"].test.n_seeds, parts["fra"].dropped) == (3, ("seed 3 of `plain` (no pair)",))
    families = {one.part: one for one in found.by_family}
    assert families["Indo-European"].dropped == ("seed 3 of `plain` (no pair)", "`deu` (missing in 1 of 6 runs)")
    assert families["Turkic"].dropped == ("seed 3 of `plain` (no pair)",)
    records = found.records()
    assert records["by_language"][0]["dropped"] == list(parts["deu"].dropped)
    assert records["slopes"][0]["dropped"] == list(found.slopes[0].dropped)


def test_one_row_of_the_table_is_on_the_same_seeds_and_languages(gaps):
    found = compared(gaps)
    sizes = {one.subset: (one.test.n_seeds, one.test.n_languages) for one in found.comparisons.comparisons}
    assert sizes == {"all": (3, 3), "near": (3, 1), "far": (3, 2)}
    assert len({one.dropped for one in found.comparisons.comparisons}) == 1
    assert (found.slopes[0].test.n_seeds, found.slopes[0].test.n_languages) == (3, 3)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (None, "left out: seed 3 of `plain` (no pair) from `align`; `deu` (missing in 1 of 6 runs) from `align`."),
        ("language", "left out: seed 3 of `plain` (no pair); seed 2 of `align` (without `deu`) from `deu`;"
         " seed 2 of `plain` (no pair) from `deu`."),
        ("family", "left out: seed 3 of `plain` (no pair); `deu` (missing in 1 of 6 runs) from `Indo-European`."),
        ("distance", "left out: seed 3 of `plain` (no pair) from `align`; `deu` (missing in 1 of 6 runs) from `align`."),
    ],
)  # fmt: skip
def test_every_view_says_what_is_left_out(gaps, by, expected):
    first = method_tables(compared(gaps, "plain", "align", "third"), by)[0]
    assert [sorted(one[10:-1].split("; ")) for one in first.notes if one.startswith("left out: ")] == [
        sorted(expected[10:-1].split("; "))
    ]


def test_what_the_means_leave_out_is_said_where_it_is_not_that_of_all(gaps):
    said = [one for one in method_tables(compared(gaps))[0].notes if one.startswith("mean and r")]
    assert said == ["mean and r leave out, for all methods alike: `deu` (missing in 1 of 7 runs)."]
    said = [one for one in method_tables(compared(gaps, "plain", "third"))[0].notes if one.startswith("mean and r")]
    assert said == []
    short = gaps / "third" / "cccc0000-s3" / "result.json"
    short.unlink()
    said = [one for one in method_tables(compared(gaps, "plain", "third"))[0].notes if one.startswith("mean and r")]
    assert said == ["mean and r are over all runs and languages, these too."]


def test_a_language_without_a_pair_is_named(results):
    for seed, codes in enumerate((["deu", "fra"], ["fra"], ["fra"])):
        run(results, "part", "cccc0000", seed + 1, dict.fromkeys(codes, 0.5))
    path = results / "plain" / "aaaa0000-s1" / "result.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "scores": [one for one in data["scores"] if one["language"] != "deu"]}))
    found = compared(results, "plain", "part")
    assert "`part` and `plain` have no seed in common on `deu`" in found.comparisons.notes
    for by in (None, "language", "family", "distance"):
        assert "`part` and `plain` have no seed in common on `deu`" in method_tables(found, by)[0].notes


# --- what is matched ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": "deu"}, "it was trained on `deu`, the baseline on `eng`"),
        ({"recipe__task__name": "news"}, "its task is `news`, the baseline's is `toy`"),
        (
            {"recipe__model__name": "big", "provenance__fingerprints__model": "x"},
            "its model is `big`, the baseline's is `tiny`",
        ),
        (
            {"provenance__fingerprints__model": "x"},
            "its model `tiny` is of other files than the baseline's, by their fingerprints",
        ),
        ({"provenance__fingerprints__task": "x"}, "its task has other data, by the fingerprints"),
        ({"scores": []}, "its runs have no `accuracy` of targets"),
        ({"status": "collapsed"}, "all its 3 runs collapsed"),
    ],
)
def test_what_cannot_be_compared_says_why(results, changes, expected):
    runs(results, "other", "cccc0000", scores(seeds=3), **changes)
    found = compared(results, "plain", "align", "other")
    assert found.left_out == (f"`other` cannot be compared with `plain`: {expected}.",)
    assert {one.method for one in found.comparisons.comparisons} == {"align"}
    assert message(compared, results, "plain", "other") == (
        f"Nothing is left to compare with `plain`; 1 left out:\n  `other` cannot be compared with `plain`: {expected}.\n"
        "Name methods that have runs of the same task, data, model and source."
    )


def test_methods_without_a_common_seed_or_language(results):
    for seed in (7, 8):
        run(results, "late", "cccc0000", seed, dict.fromkeys(FAR, 0.5))
        run(results, "fin", "dddd0000", seed - 7, {"fin": 0.5})
    assert compared(results, "plain", "align", "late", "fin").left_out == (
        "`fin` cannot be compared with `plain`: it has no target language in common with the baseline.",
        "`late` cannot be compared with `plain`: no seed in common, it has 7, 8 and the baseline 0, 1, 2, 3.",
    )


def fewer_targets(results, labels):
    """`few`, trained on two of the targets, so that its data have another fingerprint; and predictions of both methods."""
    two = {"task.targets": ["tur", "jpn"]}
    for seed in range(3):
        few = {"tur": 0.6 + seed / 100, "jpn": 0.7}
        run(results, "few", "cccc0000", seed, few, two, provenance__fingerprints__task="x")
    for folder, language_labels in (("plain/aaaa0000-s0", ["a", "b"]), ("few/cccc0000-s0", labels)):
        rows = [
            {"language": language, "example_id": str(place), "label": label, "prediction": "a"}
            for language in ("tur", "jpn")
            for place, label in enumerate(language_labels)
        ]
        pandas.DataFrame(rows).to_parquet(results / folder / "predictions.parquet")


def test_other_targets_are_compared_on_the_shared_ones_if_their_examples_are_the_same(results):
    fewer_targets(results, ["a", "b"])
    one = compared(results, "plain", "few").comparisons.comparisons[0]
    assert one.dropped[:2] == ("`deu` (not tested by `few`)", "`fra` (not tested by `few`)")
    assert (one.test.n_languages, one.test.n_seeds) == (2, 3)
    few = np.array([[0.6 + seed / 100, 0.7] for seed in range(3)])
    assert one.test.effect == pytest.approx((few - scores()[:3, 2:]).mean())
    fewer_targets(results, ["a", "c"])
    assert "its test examples of `jpn` are not the baseline's" in message(compared, results, "plain", "few")
    (results / "few" / "cccc0000-s0" / "predictions.parquet").unlink()
    assert "whether its test examples are the baseline's cannot be checked: `" in message(
        compared, results, "plain", "few"
    )


def test_without_fingerprints_the_test_examples_are_compared(results):
    fewer_targets(results, ["a", "b"])
    for path in results.glob("few/*/result.json"):
        data = json.loads(path.read_text())
        del data["provenance"]["fingerprints"]["task"]
        path.write_text(json.dumps(data))
    assert compared(results, "plain", "few").comparisons.comparisons[0].test.n_languages == 2
    (results / "few" / "cccc0000-s0" / "predictions.parquet").unlink()
    said = message(compared, results, "plain", "few")
    assert "whether its test examples are the baseline's cannot be checked: `" in said
    for path in results.glob("few/*/result.json"):
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, "provenance": {**data["provenance"], "fingerprints": {}}}))
    said = message(compared, results, "plain", "few")
    assert "whether its model `tiny` is the baseline's cannot be checked: there is no fingerprint of it" in said


def test_collapsed_runs_are_counted_and_in_no_mean(results):
    run(results, "align", "bbbb0000", 3, dict.fromkeys(FAR, 0.01), WITH_ALIGN, status="collapsed")
    found = compared(results)
    one = found.comparisons.comparisons[0]
    assert (one.collapsed, found.collapsed, found.runs) == (1, {"plain": (), "align": (3,)}, {"plain": 4, "align": 4})
    assert one.test.effect == pytest.approx((scores(0.1, 3, 1) - scores()[:3]).mean())
    (main, _) = method_tables(found)
    assert main.rows[1][-1] == "1 of 4"
    assert "collapsed runs, in no mean or test: `align`: seed 3." in main.notes


def test_a_baseline_that_collapsed_is_an_error(results):
    runs(results, "dead", "cccc0000", scores(), status="collapsed")
    assert message(compared, results, "dead", "align") == (
        "All 4 runs of the baseline `dead` collapsed: they learnt nothing to compare with. Choose another with `--baseline`,"
        " or train it with other settings."
    )


def test_how_methods_differ_is_listed(results):
    runs(results, "long", "cccc0000", scores(), {"phase.finetune.epochs": 4}, provenance__packages__torch="2.10")
    found = compared(results, "plain", "align", "long")
    of_long = {one.key: (one.baseline, one.value) for one in found.differences if one.method == "long"}
    assert of_long == {"phase.finetune.epochs": (2, 4), "package.torch": ("2.9", "2.10")}
    of_align = {one.key: (one.baseline, one.value) for one in found.differences if one.method == "align"}
    assert of_align["intervention.align.layers"] == (None, (2,))
    assert len(of_align) == len(ALIGN)
    table = method_tables(found)[-1]
    assert table.title == "how the methods differ from plain"
    assert table.rows == [
        ("align", "intervention.align", None, "weight=0.5, loss=infonce, layers=2, weighting=linear, weighting_by=sampling"),
        ("long", "phase.finetune.epochs", "2", "4"),
        ("long", "package.torch", "2.9", "2.10"),
    ]  # fmt: skip


def test_methods_of_the_same_settings_say_so(results):
    runs(results, "again", "cccc0000", scores(seed=5))
    assert method_tables(compared(results, "plain", "again"))[-1].notes == ("`again` has the settings of `plain`.",)


def test_what_chose_the_checkpoint_is_on_every_table_and_a_target_is_a_warning(results):
    runs(results, "chosen", "cccc0000", scores(), selection="target_dev")
    found = compared(results, "plain", "align", "chosen")
    assert found.selection == {"plain": "last", "align": "last", "chosen": "target_dev"}
    assert found.warnings == (
        "WARNING: a target's dev set chose the checkpoint of `chosen` (selection `target_dev`): it has seen labels of the"
        " targets, so its transfer is not zero-shot.",
        "WARNING: the checkpoints were not chosen alike (`plain` by last; `align` by last; `chosen` by target_dev): part of an"
        " effect may be the choice.",
    )
    for by in (None, "language", "family", "distance"):
        for table in method_tables(found, by)[:-1]:
            assert table.notes[:2] == found.warnings
            assert any("Checkpoint: last" in note for note in table.notes)
        assert {row[0]: row[-1] for row in zip(*_columns(method_data(found, by), "method", "selection"), strict=True)} == {
            "align": "last", "chosen": "target_dev"
        }  # fmt: skip
    assert compared(results).warnings == ()


def _columns(table, *names):
    return [[row[table.columns.index(name)] for row in table.rows] for name in names]


# --- the baseline -------------------------------------------------------------------------------------------------


def test_the_baseline_is_the_first_or_the_one_that_is_named(results):
    runs(results, "align", "cccc0000", scores(0.2), {"intervention.align": {**ALIGN, "weight": 2.0}})
    assert compared(results, "plain", "align").baseline == "plain"
    assert compared(results, "align", "plain").baseline == "align (intervention.align.weight=0.5)"
    assert compared(results, "align", "plain", baseline="align/cccc0000").baseline.endswith("=2.0)")
    assert compared(results, "align", baseline="align (intervention.align.weight=2.0)").baseline.endswith("=2.0)")
    assert message(compared, results, "plain", "align", baseline="align") == (
        "Baseline `align` is 2 methods. Say which: `align/bbbb0000` is align (intervention.align.weight=0.5);"
        " `align/cccc0000` is align (intervention.align.weight=2.0)."
    )
    assert message(compared, results, "plain", "align/bbbb0000", baseline="plane") == (
        "Baseline `plane` is not known. Did you mean `plain`? Choose from: align, plain."
    )


# --- the command line ---------------------------------------------------------------------------------------------


def test_the_verb_writes_every_form(cli, results):
    words = ("compare", "plain", "align", "--results", str(results))
    found = compared(results)
    text = cli(*words)
    assert (text.exit_code, text.stderr) == (0, "")
    assert "better than `plain`: align." in text.stdout
    data = json.loads(cli(*words, "--json").stdout)
    assert data == json.loads(cli(*words, "--format", "json").stdout) == json.loads(json.dumps(found.records()))
    assert {"baseline", "method", "subset", "effect", "low", "high", "p", "p_holm", "n_seeds", "n_languages", "collapsed",
            "dropped"} <= set(data["comparisons"][0])  # fmt: skip
    assert (data["metric"], data["selection"]) == ("accuracy", "last")
    markdown = cli(*words, "--format", "markdown").stdout
    assert markdown.startswith("**tiny · toy**\n\n| method | mean |")
    latex = cli(*words, "--format", "latex").stdout
    assert (latex.count(r"\toprule"), latex.count(r"\end{table}")) == (2, 2)
    rows = list(csv.DictReader(io.StringIO(cli(*words, "--format", "csv").stdout)))
    assert [row["subset"] for row in rows] == ["all", "near", "far"]
    assert float(rows[0]["effect"]) == found.comparisons.comparisons[0].test.effect
    assert {(row["selection"], row["metric"], row["baseline"]) for row in rows} == {("last", "accuracy", "plain")}


@pytest.mark.parametrize(
    ("by", "first", "rows"), [("language", "deu", 4), ("family", "Indo-European", 3), ("distance", "align", 1)]
)
def test_the_views(cli, results, by, first, rows):
    words = ("compare", "plain", "align", "--results", str(results), "--by", by)
    found = compared(results)
    main, *_ = method_tables(found, by)
    assert len(main.rows) == rows
    lines = [line.split() for line in cli(*words).stdout.splitlines()]
    assert any(line[:1] == [first] for line in lines)
    numbers = list(csv.DictReader(io.StringIO(cli(*words, "--format", "csv").stdout)))
    assert len(numbers) == (3 if by == "distance" else rows)  # near, far and slope
    effects = {"language": found.by_language, "family": found.by_family, "distance": found.comparisons.comparisons[1:]}[
        by
    ]
    assert float(numbers[0]["effect"]) == effects[0].test.effect


def test_nothing_named_is_everything_with_plain_as_the_baseline(cli, results):
    data = json.loads(cli("compare", "--results", str(results), "--json").stdout)
    assert (data["baseline"], [one["method"] for one in data["comparisons"]]) == ("plain", ["align"] * 3)
    data = json.loads(cli("compare", "align", "--baseline", "plain", "--results", str(results), "--json").stdout)
    assert data["baseline"] == "plain"


def test_a_plain_of_several_ids_is_no_baseline_of_its_own_accord(cli, results):
    runs(results, "plain", "cccc0000", scores(), {"phase.finetune.epochs": 9})
    answer = cli("compare", "--results", str(results))
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert answer.stderr.startswith("Error: Baseline `plain` is 2 methods. Say which: `plain/aaaa0000` is plain (")


def test_one_seed_says_why_there_is_no_interval_by_distance(results):
    run(results, "one", "cccc0000", 0, dict.fromkeys(FAR, 0.5))
    (note,) = [one for one in method_tables(compared(results, "plain", "one"), "distance")[0].notes if "ranking" in one]
    assert note.startswith("no ranking: 1 seed")
    assert any("Holm over 1 method." in one for one in method_tables(compared(results))[0].notes)


def test_what_is_left_out_is_counted(cli, results):
    folder = write(results / "align" / "eeee0000-s0", "nonsense")
    words = ("compare", "plain", "align", "--results", str(results))
    lines = [line.strip() for line in cli(*words).stdout.splitlines()]
    place = lines.index("1 left out:")
    assert lines[place + 1].startswith(f"- `{folder / 'result.json'}` is no result of distxfer (")
    assert len(json.loads(cli(*words, "--json").stdout)["left_out"]) == 1
    assert cli(*words, "--format", "csv").stderr.startswith(f"Note: `{folder / 'result.json'}` is no result")


def test_fewer_than_three_seeds_are_an_effect_and_no_ranking(cli, results):
    runs(results, "two", "cccc0000", scores(seeds=2))
    answer = cli("compare", "plain", "two", "--results", str(results))
    assert "`two`: no ranking: 2 seeds, and at least 3 are needed." in answer.stdout


def test_two_single_runs_are_still_compared_on_their_predictions(cli):
    folders = [str(next(REFERENCE.glob(f"{name}/*-s0"))) for name in ("plain", "dist_align")]
    expected = compare_runs(*map(Path, folders))
    assert json.loads(cli("compare", *folders, "--json").stdout) == expected.records()
    rows = list(csv.DictReader(io.StringIO(cli("compare", *folders, "--format", "csv").stdout)))
    assert float(rows[-1]["effect"]) == expected.rows[-1].bootstrap.difference
    below = [str(Path(one).relative_to(REFERENCE)) for one in folders]
    assert json.loads(cli("compare", *below, "--results", str(REFERENCE), "--json").stdout) == expected.records()
    three = cli("compare", *folders, str(next(REFERENCE.glob("lora/*-s0"))), "--json")
    assert [one["n_seeds"] for one in json.loads(three.stdout)["comparisons"]] == [1] * 6


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--by", "language", "--table", "x.csv"], "`--by` goes with recipes and runs, whose settings are known; a table has"
         " none. Leave it out."),
        (["plain", "--table", "x.csv", "--baseline", "plain"], "`compare` was given a table and `plain`; expected one of the two."
         " Leave the other out."),
        (["plain", "align", "--paired"], "`--paired` goes with `--table`; runs say of themselves what it says. Leave it out."),
        (["plain", "align", "--interactions"], "`--interactions` goes with `--ablation`. Add that, or leave it out."),
        (["plain", "align", "--ablation", "--by", "family"], "`--by` and `--ablation` are two views of the same runs. Ask for one"
         " at a time."),
        (["plain", "align", "--json", "--format", "csv"], "`--json` and `--format csv` are two forms of the same tables. Ask for"
         " one at a time."),
        (["~nouser", "plain"], None),
        (["a" * 5000, "plain"], None),
        (["plain", "align", "--distance", "syn"], None),
        (["plain"], "Nothing is left to compare with `plain`. Name methods that have runs of the same task, data, model and"
         " source."),
        (["plain", "none"], None),
    ],
)  # fmt: skip
def test_wrong_words_are_one_message(cli, results, words, expected):
    answer = cli("compare", *words, "--results", str(results))
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert answer.stderr.startswith(f"Error: {expected}\n" if expected else "Error: ")


def test_runs_whose_own_matrix_is_asked_for_under_another_option(results):
    other = results / "other"
    for name, table in (("plain", scores()), ("align", scores(0.1))):
        for seed, row in enumerate(table):
            made = result(name, "abcd0000", seed, dict(zip(FAR, row, strict=True)), summary__distance="matrix")
            write(other / name / f"abcd0000-s{seed}", made)
    assert compared(other).comparisons.distance == "matrix"
    assert message(compared, other, imputed=False) == (
        "The runs have distances from a matrix of the user's own. Give it with `--matrix`, or choose `--distance`."
    )


def places(data, path=()):
    """Every place in JSON data, down to two entries of each list."""
    yield path
    entries = data.items() if isinstance(data, dict) else enumerate(data[:2]) if isinstance(data, list) else ()
    for key, value in entries:
        yield from places(value, (*path, key))


GOOD = result("align", "bbbb0000", 0, dict.fromkeys(FAR, 0.6), WITH_ALIGN)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(places(GOOD))[1:]), st.sampled_from([None, 1, "x", [], {}, [[1]], [{"a": []}], -1.5]))
def test_no_nonsense_in_a_result_file_ends_in_a_traceback(tmp_path_factory, path, nonsense):
    """Whatever stands anywhere in a result file: it is compared, or named and left out."""
    results, data = tmp_path_factory.mktemp("results"), deepcopy(GOOD)
    table = data
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = nonsense
    runs(results, "plain", "aaaa0000", scores(seeds=3))
    for seed in range(3):
        write(results / "align" / f"bbbb0000-s{seed}", data if path == ("seed",) else {**data, "seed": seed})
    try:
        found = compared(results, "plain", str(results))
    except InputError as error:
        said = str(error)
    else:
        json.dumps(found.records())
        for by in (None, "language", "family", "distance"):
            assert all(table.text() for table in method_tables(found, by))
        taken = sum(number for name, number in found.runs.items() if name != found.baseline)
        assert taken + len(found.left_out) >= 3 or (not taken and found.left_out)
        assert {one.method for one in found.comparisons.comparisons} == set(found.runs) - {found.baseline}
        return
    assert "left out:" in said
