"""Two runs against each other on their stored predictions: published counts, other people's tests, and what does not pair."""

import json
import shutil
from pathlib import Path

import pandas
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from distxfer.analysis.one_seed import compare_runs
from distxfer.reports.comparison import one_seed_table

REFERENCE = Path(__file__).parents[2] / "results" / "emoji-with-flags" / "reference"
PLAIN, ALIGN, AGAIN = (
    next((REFERENCE / recipe).glob(f"*-s{seed}")) for recipe, seed in (("plain", 0), ("dist_align", 0), ("plain", 1))
)


@pytest.fixture(scope="module")
def pair():
    return compare_runs(PLAIN, ALIGN)


@pytest.fixture(scope="module")
def joined_runs():
    """Whether each run is right, joined by hand on language and example."""
    frames = [pandas.read_parquet(run / "predictions.parquet") for run in (PLAIN, ALIGN)]
    joined = frames[0].merge(frames[1], on=["language", "example_id"], suffixes=("_first", "_second"))
    assert len(joined) == len(frames[0]) == len(frames[1])
    return joined.assign(
        first=joined.label_first == joined.prediction_first, second=joined.label_second == joined.prediction_second
    )


def test_every_language_is_statsmodels_exact_mcnemar(pair, joined_runs):
    assert [row.language for row in pair.rows[:2]] == ["eng", "ara"]
    assert len(pair.rows) == 15
    expected = {}
    for row in pair.rows[:-1]:
        rows = joined_runs[joined_runs.language == row.language]
        assert (row.accuracy_baseline, row.accuracy) == pytest.approx((rows["first"].mean(), rows["second"].mean()))
        counts = pandas.crosstab(rows["first"], rows["second"])
        assert (row.exact.only_a, row.exact.only_b) == (counts.loc[False, True], counts.loc[True, False])
        expected[row.language] = mcnemar(counts.to_numpy(), exact=True).pvalue
        assert row.exact.p == pytest.approx(expected[row.language])
        assert row.bootstrap.difference == pytest.approx(row.accuracy - row.accuracy_baseline)
        assert row.bootstrap.low < row.bootstrap.difference < row.bootstrap.high
    assert pair.rows[0].p_holm is None
    holm = multipletests([expected[row.language] for row in pair.rows[1:-1]], method="holm")[1]
    assert [row.p_holm for row in pair.rows[1:-1]] == pytest.approx(list(holm))


def test_all_targets_are_drawn_by_whole_items(pair, joined_runs):
    whole, targets = pair.rows[-1], joined_runs[joined_runs.language != "eng"]
    assert (whole.language, whole.exact, whole.p_holm) == (None, None, None)
    assert (whole.bootstrap.n, whole.bootstrap.n_blocks) == (len(targets), 381)
    assert whole.accuracy == pytest.approx(targets["second"].mean())
    per_item = (targets["second"].astype(float) - targets["first"]).groupby(targets.example_id).mean()
    half = (whole.bootstrap.high - whole.bootstrap.low) / 2
    assert half == pytest.approx(1.96 * per_item.std() / 381**0.5, rel=0.05)


def test_a_run_does_not_differ_from_itself():
    rows = compare_runs(PLAIN, PLAIN).rows
    assert {row.bootstrap.difference for row in rows} == {0.0}
    assert {row.bootstrap.p for row in rows} == {row.exact.p for row in rows[:-1]} == {1.0}


def test_two_seeds_of_one_recipe_compare_like_any_two_runs_and_the_table_says_what_that_means():
    pair = compare_runs(PLAIN, AGAIN)
    assert {row.bootstrap.n for row in pair.rows[:-1]} == {381}
    assert "ONE seed: p and interval describe other test sentences for these two trained models," in " ".join(
        one_seed_table(pair).notes
    )


def test_the_verb(cli, pair):
    shown = cli("compare", str(PLAIN), str(ALIGN), "--json")
    assert shown.exit_code == 0
    assert shown.stderr.startswith("Unverified: 2 of 2 results")
    data = json.loads(shown.stdout)
    assert data == pair.records()
    assert (data["metric"], data["selection"], data["source"]) == ("accuracy", "last", "eng")
    first, last = data["comparisons"][1], data["comparisons"][-1]
    assert (first["subset"], first["n_seeds"], first["n_languages"], first["n"]) == ("ara", 1, 1, 381)
    assert (last["subset"], last["n_languages"], last["n_items"], last["only_method"]) == ("all", 13, 381, None)
    lines = [line.split() for line in cli("compare", str(PLAIN), str(ALIGN)).stdout.splitlines()]
    row = next(row for row in pair.rows if row.language == "rus")
    effect = [f"{100 * value:+.1f}" for value in (row.bootstrap.difference, row.bootstrap.low, row.bootstrap.high)]
    line = next(line for line in lines if line[:1] == ["rus"])
    assert line[:8] == [
        "rus", "Russian", "381", f"{100 * row.accuracy_baseline:.1f}", f"{100 * row.accuracy:.1f}", effect[0],
        f"[{effect[1]},", f"{effect[2]}]",
    ]  # fmt: skip
    assert line[8:11] == [str(row.exact.only_a), "/", str(row.exact.only_b)]


def test_a_language_with_one_example_has_no_interval(tmp_path):
    for run in (PLAIN, ALIGN):
        frame = pandas.read_parquet(shutil.copytree(run, tmp_path / run.name) / "predictions.parquet")
        first = frame.example_id.iloc[0]
        frame = frame[(frame.language != "kor") | (frame.example_id == first)]
        frame.to_parquet(tmp_path / run.name / "predictions.parquet")
    rows = {row.language: row for row in compare_runs(tmp_path / PLAIN.name, tmp_path / ALIGN.name).rows}
    assert (rows["kor"].bootstrap.low, rows["kor"].bootstrap.reason) == (None, "no interval: there is one item")
    assert rows["kor"].exact.n == 1
    assert rows["ara"].bootstrap.low is not None


def test_a_collapsed_run_is_named(tmp_path):
    run = shutil.copytree(ALIGN, tmp_path / "run")
    data = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**data, "status": "collapsed"}))
    pair = compare_runs(PLAIN, run)
    assert (pair.collapsed, pair.seeds) == ((str(run),), (0, 0))
    assert (
        f"COLLAPSED: `{run}` scores within noise of the majority class; the comparison is meaningless."
        in one_seed_table(pair).notes
    )


@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        (None, "accuracy"), ("classification", "accuracy"), ("retrieval", "accuracy"),
        ("token_classification", "whole_example"), ("named_entities", "whole_example"), ("question_answering", "whole_example"),
    ],
)  # fmt: skip
def test_what_is_compared_is_that_of_the_kind_of_task(tmp_path, kind, metric):
    """Results of old runs do not say a kind: all were of classification."""
    run = shutil.copytree(PLAIN, tmp_path / "run")
    data = json.loads((run / "result.json").read_text())
    assert "task_type" not in data
    (run / "result.json").write_text(json.dumps(data if kind is None else {**data, "task_type": kind}))
    assert compare_runs(run, ALIGN).metric == metric


def test_what_chose_the_checkpoints_is_said_of_both_runs(tmp_path):
    run = shutil.copytree(ALIGN, tmp_path / "run")
    data = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**data, "selection": "target_dev"}))
    pair = compare_runs(PLAIN, run)
    assert pair.selection == "last / target_dev"
    notes = one_seed_table(pair).notes
    assert notes[0].startswith(f"WARNING: the checkpoint of `{run}` was selected on a target's dev set (`target_dev`)")
    assert notes[:2] == pair.warnings
    assert compare_runs(PLAIN, ALIGN).warnings == ()


# What does not pair


def changed(run, folder, **edits):
    """A copy of a run whose predictions were changed: `drop` the rows of, `rename` or `relabel` one example."""
    shutil.copytree(run, folder)
    frame = pandas.read_parquet(folder / "predictions.parquet")
    if "drop" in edits:
        frame = frame[frame.language != edits["drop"]]
    if "rename" in edits:
        frame.loc[frame.language == "jpn", "example_id"] = frame.example_id.replace(*edits["rename"])
    if "relabel" in edits:
        frame.loc[(frame.language == "jpn") & (frame.example_id == edits["relabel"]), "label"] = "Objects"
    frame.to_parquet(folder / "predictions.parquet")
    return folder


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"drop": "kor"}, "`kor` is tested in `{plain}` and not in `{other}`. Compare runs on the same languages."),
        (
            {"rename": ("002A-FE0F-20E3", "x")},
            "The example `002A-FE0F-20E3` of `jpn` is in `{plain}` and not in `{other}`; expected the same examples in"
            " both. Compare runs on the same data.",
        ),
        (
            {"relabel": "002A-FE0F-20E3"},
            "The example `002A-FE0F-20E3` of `jpn` has the label `Symbols` in `{plain}` and `Objects` in `{other}`."
            " Compare runs on the same data.",
        ),
    ],
)
def test_runs_that_do_not_pair_are_refused(cli, tmp_path, edit, expected):
    other = changed(ALIGN, tmp_path / "other", **edit)
    shown = cli("compare", str(PLAIN), str(other))
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert shown.stderr == f"Error: {expected.format(plain=PLAIN, other=other)}\n"
    assert cli("compare", str(other), str(PLAIN)).exit_code == 2


def test_what_is_no_run_is_refused(cli, tmp_path):
    wrong = {
        (str(PLAIN),): "Nothing is left to compare with `plain`. Name methods that have runs of the same task, data, model and"
        " source.",
        (str(PLAIN), str(ALIGN), "--metric", "f1"): "`--metric` does not apply to two single runs, which are compared on their"
        " predictions. Leave it out, or name recipes.",
        ("--table", "x.csv"): "`--table` needs `--baseline NAME`: the method in the table that the others are compared with.",
    }  # fmt: skip
    for words, expected in wrong.items():
        shown = cli("compare", *words)
        assert (shown.exit_code, shown.stderr) == (2, f"Error: {expected}\n")
    assert cli("compare", str(PLAIN), "nothing").stderr.startswith(
        "Error: `nothing` is neither a recipe with results in `results`, nor a run, nor a folder of runs."
    )
    broken = shutil.copytree(ALIGN, tmp_path / "broken")
    (broken / "predictions.parquet").write_bytes(b"PAR1")
    assert cli("compare", str(PLAIN), str(broken)).stderr.startswith(
        f"Error: `{broken}/predictions.parquet` cannot be read ("
    )
    other = shutil.copytree(ALIGN, tmp_path / "other")
    data = json.loads((other / "result.json").read_text())
    (other / "result.json").write_text(json.dumps({**data, "source": "deu"}))
    assert cli("compare", str(PLAIN), str(other)).stderr == (
        f"Error: `{PLAIN}` was trained on `eng` and `{other}` on `deu`; expected one source."
        " Compare runs that differ in nothing but what is to be compared.\n"
    )
