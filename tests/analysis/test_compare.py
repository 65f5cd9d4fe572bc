"""Comparing methods from a table of scores: published results, known answers, gaps, and bad tables."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from scipy import stats

from distxfer import measure
from distxfer.analysis.compare import compare
from distxfer.languages import distance, lineage
from distxfer.reports.comparison import comparison_tables
from distxfer.results.tables import read_scores
from helpers import message

PUBLISHED = Path(__file__).parents[2] / "examples" / "alignfreeze" / "udpos.csv"
COLUMNS = ["model", "task", "method", "seed", "language", "metric", "value"]
TARGETS = ["deu", "fra", "rus", "tur", "jpn", "kor"]
MODELS = {
    "distilbert-base-multilingual-cased": ("last_half", 73.9, 77.7, 77.3, 77.5, -0.89),
    "bert-base-multilingual-cased": ("last_half", 77.0, 79.6, 79.2, 79.3, -0.84),
    "xlm-roberta-base": ("last_6", 80.9, 81.3, 81.7, 80.9, -0.82),
}


@pytest.fixture(scope="module")
def published():
    return compare(read_scores(PUBLISHED), "baseline")


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return path


def frame(rows):
    return pandas.DataFrame(rows, columns=COLUMNS)


def on_all(comparisons):
    """The comparisons on all targets, by method."""
    return {row.method: row for row in comparisons.comparisons if row.subset == "all"}


def table(seeds=4, methods=("plain", "better"), languages=("eng", *TARGETS), seed=0, gain=0.05):
    """Rows of a made-up study: the second method is better by `gain` and some noise."""
    draw = np.random.default_rng(seed)
    return [
        ["tiny", "toy", method, str(run), language, "accuracy", 0.5 + gain * number + 0.01 * draw.normal()]
        for number, method in enumerate(methods)
        for run in range(seeds)
        for language in languages
    ]


# --- what is published -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_published_means_and_their_correlation_with_distance(published, model):
    half, *expected, r = MODELS[model]
    comparisons = {row.method: row for row in published.transfers if row.model == model}
    names = ("baseline", "before_dico", "freeze_realign_unfreeze_dico", f"freeze_realign_unfreeze_{half}_dico")
    rows = pandas.read_csv(PUBLISHED, keep_default_na=False)
    rows = rows[(rows.model == model) & (rows.language != "en")]
    for name, mean in zip(names, expected, strict=True):
        assert comparisons[name].mean == pytest.approx(rows[rows.method == name].value.mean(), abs=1e-12)
        # Five of the twelve are rounded in print; 73.846 is printed as 73.9, hence the 0.055.
        assert 100 * comparisons[name].mean == pytest.approx(mean, abs=0.055)
    scores = rows[rows.method == "baseline"].groupby("language").value.mean()
    far = [distance("eng", code, imputed=True).value for code in scores.index]
    assert comparisons["baseline"].by_distance.r == pytest.approx(stats.spearmanr(far, scores).statistic)
    assert comparisons["baseline"].by_distance.r == pytest.approx(r, abs=0.01)
    assert comparisons["baseline"].by_distance.n == 34


def test_published_methods_that_really_help(published):
    def really(model):
        rows = [row for row in published.comparisons if row.model == model and row.subset == "all"]
        return {row.method: np.sign(row.test.effect) for row in rows if row.p_holm <= 0.05}, len(rows)

    # Half of the 34 languages are Indo-European, and families gain differently. With languages as independent units, 18, 11
    # and 2 methods would be shown to differ.
    assert really("distilbert-base-multilingual-cased") == ({}, 18)
    assert really("bert-base-multilingual-cased") == ({}, 18)
    assert really("xlm-roberta-base") == ({}, 12)
    assert {row.test.n_families for row in published.comparisons if row.subset == "all"} == {10}
    assert all("has no basis" in note for note in published.notes)  # of Slovak, no feature is known
    assert all(not row.dropped and row.test.n_seeds == 5 for row in published.comparisons)
    assert {row.test.n_languages for row in published.comparisons if row.subset != "all"} == {17}


# --- known answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paired", [True, False])
def test_compare_is_the_test_on_the_table(paired):
    rows = table(methods=("plain", "better", "same"))
    comparisons = compare(frame(rows), "plain", paired=paired)
    values = {
        name: np.array([[r[6] for r in rows if r[2] == name and r[3] == str(s) and r[4] != "eng"] for s in range(4)])
        for name in ("plain", "better", "same")
    }
    every = on_all(comparisons)
    assert list(every) == ["better", "same"]
    for name, row in every.items():
        if paired:
            expected = measure.crossed(values[name] - values["plain"], families=[lineage(code) for code in TARGETS])
        else:
            families = [lineage(code) for code in TARGETS]
            expected = measure.crossed_unpaired(values[name], values["plain"], families=families)
        assert row.test.effect == pytest.approx(expected.effect)
        assert row.test.p == pytest.approx(expected.p)
        assert (row.bootstrap[0] is None) is not paired
    assert [row.p_holm for row in every.values()] == measure.holm([row.test.p for row in every.values()])
    far = {code: distance("eng", code, imputed=True).value for code in TARGETS}
    middle = np.median(list(far.values()))
    near = [code for code in TARGETS if far[code] <= middle]
    row = next(row for row in comparisons.comparisons if (row.method, row.subset) == ("better", "near"))
    columns = [TARGETS.index(code) for code in near]
    assert row.test.effect == pytest.approx((values["better"] - values["plain"])[:, columns].mean())
    assert row.test.n_languages == len(near)


def test_gaps_are_left_out_and_named():
    rows = [row for row in table() if not (row[2] == "better" and row[3] == "1" and row[4] == "jpn")]
    rows = [row for row in rows if not (row[2] == "plain" and row[3] == "2" and row[4] != "deu")]
    rows[0][6] = np.nan  # English is the source: its score is not compared
    comparisons = compare(frame(rows), "plain")
    every = on_all(comparisons)["better"]
    assert every.dropped == ("seed 2 of `plain` (without 5 of 6 languages)", "`jpn` (missing in 1 of 7 runs)")
    assert (every.test.n_seeds, every.test.n_languages) == (3, 5)
    assert comparisons.notes == ("seed `0` of `plain` has no score for `eng`",)
    every = on_all(compare(frame(rows), "plain", paired=True))["better"]
    assert (every.test.n_seeds, every.test.n_languages) == (3, 5)


def test_paired_runs_without_a_partner_are_left_out():
    rows = [row for row in table(seeds=5) if (row[2], row[3]) not in {("plain", "4"), ("better", "0")}]
    every = on_all(compare(frame(rows), "plain", paired=True))["better"]
    assert every.dropped == ("seed 4 of `better` (no pair)", "seed 0 of `plain` (no pair)")
    assert every.test.n_seeds == 3


def test_two_seeds_give_no_ranking(tmp_path, cli):
    path = write(tmp_path / "t.csv", table(seeds=2))
    answer = cli("compare", "--table", str(path), "--baseline", "plain")
    assert answer.exit_code == 0
    assert "`better`: no ranking: 2 seeds, and at least 3 are needed." in answer.stdout
    data = json.loads(cli("compare", "--table", str(path), "--baseline", "plain", "--json").stdout)
    assert [row["p_holm"] for row in data["comparisons"]] == [None] * 3
    assert data["comparisons"][0]["effect"] == pytest.approx(0.05, abs=0.02)


def test_languages_keep_their_names(tmp_path):
    rows = table(languages=("en", "no", "nan", "yes", "swh", "zh-Hant"))
    comparisons = read_scores(write(tmp_path / "t.csv", rows))
    assert sorted(set(comparisons["language"])) == ["eng", "nan", "nor", "swa", "yes", "zho_Hant"]


def test_a_language_without_a_distance_is_in_all_but_neither_near_nor_far(tmp_path):
    matrix = tmp_path / "far.csv"
    matrix.write_text(",eng\n" + "".join(f"{code},{i / 10}\n" for i, code in enumerate(TARGETS) if code != "kor"))
    comparisons = compare(frame(table()), "plain", matrix=matrix)
    assert [row.test.n_languages for row in comparisons.comparisons] == [6, 3, 2]
    assert comparisons.notes[0].startswith("`kor` is neither near nor far: ")
    assert comparisons.distance == "matrix"


def test_a_comparison_of_which_nothing_is_left_is_named(tmp_path, cli):
    rows = table(methods=("plain", "better", "far"))
    rows = [row for row in rows if row[2] != "far" or row[4] in ("jpn", "kor", "eng")]
    rows = [row for row in rows if row[2] == "far" or row[4] not in ("jpn", "kor")]
    path = write(tmp_path / "t.csv", rows)
    answer = cli("compare", "--table", str(path), "--baseline", "plain")
    assert answer.exit_code == 0
    assert "tiny, toy: `far` on all is left out: no paired scores remain without " in answer.stdout
    assert "better than `plain` only if languages of one family are independent: better." in answer.stdout
    apart = [[*row[:3], str(int(row[3]) + 10 * (row[2] == "better")), *row[4:]] for row in table()]
    answer = cli("compare", "--table", str(write(path, apart)), "--baseline", "plain", "--paired")
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert answer.stderr.startswith(
        "Error: Nothing is left to compare with `plain`: tiny, toy: `better` on all is left out: "
    )
    assert answer.stderr.endswith("Give scores of the same languages (paired: and seeds).\n")


def test_the_unit_is_that_of_the_scores(tmp_path, cli):
    """Percent stay percent, and means are over the tested languages, also where no language has a distance."""
    matrix = tmp_path / "far.csv"
    matrix.write_text(",eng\nswa,0.5\n")
    for factor, shown in ((1, "+5."), (100, "+5.")):
        rows = [[*row[:6], factor * row[6]] for row in table()]
        words = ["--table", str(write(tmp_path / "t.csv", rows)), "--baseline", "plain", "--matrix", str(matrix)]
        lines = [line.split() for line in cli("compare", *words).stdout.splitlines()]
        (cells,) = [line for line in lines if line[:1] == ["better"] and len(line) > 4 and line[2][0] == "+"]
        assert cells[2].startswith(shown), cells


def test_means_are_over_the_languages_of_the_test():
    """A language that one run of the baseline lacks is in no method's mean: means that differ say what the test says."""
    rows = [row for row in table(gain=0.02) if not (row[2] == "plain" and row[3] == "0" and row[4] == "jpn")]
    for row in rows:
        row[6] -= 0.4 * (row[4] == "jpn")
    comparisons = compare(frame(rows), "plain")
    means = {row.method: row.mean for row in comparisons.transfers}
    effect = on_all(comparisons)["better"].test.effect
    assert means["better"] - means["plain"] == pytest.approx(effect)
    assert {row.by_distance.n for row in comparisons.transfers} == {5}


@pytest.mark.parametrize("paired", [False, True])
def test_near_and_far_are_those_of_the_baseline_whatever_else_is_compared(paired):
    """A method that was tested in eight more near languages moves no median."""
    rows = table()
    wide = table(methods=("wide",), languages=("nld", "swe", "dan", "ita", "por", "spa", "cat", *TARGETS))
    alone, beside = (compare(frame(some), "plain", paired=paired) for some in (rows, [*rows, *wide]))
    first, second = (
        {row.subset: row.test for row in comparisons.comparisons if row.method == "better"}
        for comparisons in (alone, beside)
    )
    assert first == second
    assert first["far"].n_languages == 3
    assert {row.subset: row.test.n_languages for row in beside.comparisons if row.method == "wide"} == {
        "all": 6, "near": 3, "far": 3,
    }  # fmt: skip


def test_where_runs_are_paired_so_is_the_gain_that_goes_with_distance():
    rows = table(seeds=4)
    fewer = [row for row in rows if not (row[2] == "better" and row[3] == "3")]
    shared = [row for row in rows if row[3] != "3"]
    gains = [
        next(row.gain_by_distance for row in compare(frame(some), "plain", paired=True).transfers
             if row.method == "better")
        for some in (fewer, shared)
    ]  # fmt: skip
    assert gains[0] == gains[1]
    apart = [row for row in rows if (row[2] == "plain") == (row[3] in "01")]  # no seed is in both
    others = [row for row in table(methods=("plain", "other")) if row[2] == "other"]
    comparisons = compare(frame([*apart, *others]), "plain", paired=True)
    known = {row.method: row.gain_by_distance is not None for row in comparisons.transfers}
    assert known == {"plain": False, "better": False, "other": True}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--distance", "syntactic", "--matrix", "m.csv"],
            "`--distance` and `--matrix` both define the distance. Keep one of them.",
        ),
        (
            ["--observed", "--matrix", "m.csv"],
            "`--observed` and `--matrix` both define the distance. Keep one of them.",
        ),
        (["--distance", "syn"], "Distance `syn` is not known."),
        (["--matrix", "none.csv"], "Distance table `none.csv` is not a file."),
        (["--source", "tur"], None),
    ],
)
def test_a_wrong_distance_is_one_error(tmp_path, cli, words, expected):
    answer = cli("compare", "--table", str(write(tmp_path / "t.csv", table())), "--baseline", "plain", *words)
    assert answer.exit_code == (2 if expected else 0)
    if expected:
        assert answer.stderr.startswith(f"Error: {expected}")
        assert (answer.stdout, answer.stderr.count("\n")) == ("", 1)


def test_tables_of_nothing_but_the_source():
    scores = frame(table(languages=("eng",)))
    assert message(compare, scores, "plain") == (
        "The table has no scores of `accuracy` but in the source `eng`. Add scores of target languages, or say which language"
        " the runs were trained on with `--source`."
    )


# --- the command line --------------------------------------------------------------------------------------------


def test_command_line(tmp_path, cli):
    path = write(tmp_path / "t.csv", table(methods=("plain", "better", "same"), gain=0.05))
    answer = cli("compare", "--table", str(path), "--baseline", "plain")
    assert answer.exit_code == 0
    assert "better than `plain`: better, same." in answer.stdout
    assert "accuracy; seeds not paired; 6 target languages, from eng" in answer.stdout
    data = json.loads(cli("compare", "--table", str(path), "--baseline", "plain", "--paired", "--json").stdout)
    assert (data["metric"], data["selection"], data["paired"]) == ("accuracy", "not known", True)
    row = data["comparisons"][0]
    assert {"baseline", "method", "subset", "effect", "low", "high", "p", "p_holm", "n_seeds", "n_languages",
            "collapsed", "dropped"} <= set(row)  # fmt: skip
    assert (row["baseline"], row["method"], row["subset"]) == ("plain", "better", "all")
    assert row["low"] < row["effect"] < row["high"]
    assert row["bootstrap_low"] < row["bootstrap_high"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: [], "The table `{path}` has no scores. Put one line below the header for each score."),
        (lambda rows: [*rows, rows[3]], "The table `{path}` has two lines for model `tiny`, task `toy`, method `plain`, seed `0`,"
         " language `rus`, metric `accuracy`. Keep one of them, or tell the runs apart by their seed."),
        (lambda rows: [[*rows[0][:6], "high"]], "`{path}:2` has the value `high`; expected a number of at most 1e+100, or nothing"
         " where the score is missing."),
        (lambda rows: [rows[0], [*rows[1][:6], "inf"]], "`{path}:3` has the value `inf`; "),
        (lambda rows: [[*rows[0][:6], "1e200"]], "`{path}:2` has the value `1e200`; expected a number of at most 1e+100"),
        (lambda rows: [[*rows[0][:4], "english", *rows[0][5:]]], "`{path}:2`: Language code `english` is not known."),
        (lambda rows: [["tiny", "toy", "", *rows[0][3:]]], "`{path}:2` has no method. Name the method that the score is of."),
        (lambda rows: [[*rows[0][:3], "9" * 5000, *rows[0][4:]]], "`{path}:2` has a seed of 5,000 characters; expected 20"),
        (lambda rows: [["a", "b", "c"]], "`{path}:2` has 3 cells where the first line has 7."),
    ],
)  # fmt: skip
def test_bad_tables(tmp_path, change, expected):
    path = write(tmp_path / "t.csv", change(table()))
    assert message(read_scores, path).startswith(expected.format(path=path))


def test_files_that_are_no_tables(tmp_path):
    path, columns = tmp_path / "t.csv", ", ".join(COLUMNS)
    assert message(read_scores, path) == (
        f"The table `{path}` is not a file. Give the path of a CSV file with the columns {columns}."
    )
    path.write_text("model,task,methods,seed,language,metric,value\n")
    assert message(read_scores, path) == (
        f"The table `{path}` has no column `method`. Did you mean `methods`? Expected: {columns}; found:"
        f" {columns.replace('method', 'methods', 1)}."
    )
    path.write_text("model,task,method,seed,language,metric,value,value\n")
    assert message(read_scores, path) == (f"The table `{path}` has 2 columns `value`. Rename or remove all but one.")
    path.write_text("")
    assert message(read_scores, path).endswith(f"Expected: {columns}; found: nothing.")
    path.write_bytes(b"\xff\xfe\x00")
    assert message(read_scores, path).startswith(f"The table `{path}` cannot be read (")


def test_nothing_to_compare():
    rows = table()
    scores = frame(rows)
    assert (
        message(compare, scores, "plane")
        == "Baseline `plane` is not known. Did you mean `plain`? Choose from: better, plain."
    )
    assert message(compare, scores[scores["method"] == "plain"], "plain") == (
        "The table has no method beside the baseline `plain`. Add the scores of another method."
    )
    assert message(compare, scores, "plain", metric="f1") == "Metric `f1` is not known. Choose from: accuracy."
    both = frame([*rows, *([*row[:5], "f1", row[6]] for row in rows)])
    assert message(compare, both, "plain") == "The table has the metrics accuracy, f1. Choose one with `--metric`."
    assert compare(both, "plain", metric="f1").metric == "f1"


def test_the_notes_say_what_is_random_and_how_often_the_test_errs():
    comparisons = compare(frame(table()), "plain", paired=True)
    notes = comparison_tables(comparisons)[0].notes
    assert "random: seeds and languages in 4 families (the independent units); test items fixed." in notes
    row = on_all(comparisons)["better"]
    mean = row.test.by_family
    assert (row.test.n_families, mean.n_languages) == (4, 4)
    (by_family,) = (note for note in notes if note.startswith("by family (mean over families"))
    assert f"`better` {100 * mean.effect:+.1f} [{100 * mean.low:+.1f}, {100 * mean.high:+.1f}]" in by_family
    (rates,) = (note for note in notes if note.startswith("False positives in simulation"))
    assert rates.startswith(
        "False positives in simulation at p <= 0.05 (nearest setting: 13 languages in 7 families, 5 seeds): "
    )
    measured = comparisons.records()["comparisons"][0]["false_positive_rates"]
    assert (measured["n_languages"], measured["n_seeds"]) == (13, 5)
    assert measured["n_families"] == 7
    for structure, rate in measured["rates"].items():
        assert f"{100 * rate:.1f} % where {structure}" in rates
    record = comparisons.records()["comparisons"][0]
    assert record["by_family"]["effect"] == pytest.approx(mean.effect)
    assert record["n_families"] == 4
