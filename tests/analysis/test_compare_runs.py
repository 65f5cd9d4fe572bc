"""Methods against a baseline, from the files of their runs: the numbers, those of runs with gaps too, and the tests of others."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from scipy import stats

from distxfer import measure
from distxfer.analysis import scores as scores_of_methods
from distxfer.analysis.compare import compare_methods
from distxfer.languages import lineage
from distxfer.reports.comparison import comparison_tables, main_table
from distxfer.results import tables
from distxfer.results.collect import collect
from fake_runs import FAR, compared, plain_and_align, result, run, runs, scores, write
from helpers import message

REFERENCE = Path(__file__).parents[2] / "results" / "emoji-with-flags" / "reference"


@pytest.fixture
def results(tmp_path):
    return plain_and_align(tmp_path / "results")


# --- the numbers --------------------------------------------------------------------------------------------------


def test_the_effects_of_the_reference_runs_are_those_of_their_files():
    """Joined by hand from the result files: the same effects, near, far and Holm over the methods."""
    names = ["plain", "dist_align", "mined_align", "drift_reg", "freeze_lower", "lora"]
    cells = []
    for path in (path for name in names for path in REFERENCE.glob(f"{name}/*/result.json")):
        data = json.loads(path.read_text())
        cells += [
            (data["recipe"]["name"], data["seed"], entry["language"], entry["value"])
            for entry in data["scores"]
            if (entry["split"], entry["metric"]) == ("test", "accuracy") and entry["language"] != "eng"
        ]
    frame = pandas.DataFrame(cells, columns=["method", "seed", "language", "value"])
    wide = frame.pivot_table(index=["method", "seed"], columns="language", values="value")
    summary = data["summary"]
    comparisons = compare_methods(collect(names, REFERENCE))
    assert (comparisons.baseline, comparisons.metric, comparisons.selected) == ("plain", "accuracy", "last")
    assert comparisons.distance == "syntactic (imputed)"
    for subset, languages in {"all": list(wide.columns), "near": summary["near"], "far": summary["far"]}.items():
        tests = {}
        for name in names[1:]:
            difference = (wide.loc[name] - wide.loc["plain"]).dropna()[languages]
            families = [lineage(code) for code in languages]
            seeds = sorted(difference.index)
            right = np.stack([answered(name, seed, languages) - answered("plain", seed, languages) for seed in seeds])
            tests[name] = measure.crossed(difference.loc[seeds].to_numpy(), families=families, items=right)
            assert tests[name].n_items == 381
        by_method = {entry.method: entry for entry in comparisons.comparisons if entry.subset == subset}
        assert list(by_method) == names[1:]
        adjusted = measure.holm([entry.p for entry in tests.values()])
        for (name, expected), p in zip(tests.items(), adjusted, strict=True):
            test = by_method[name].test
            assert (test.effect, test.low, test.high) == pytest.approx((expected.effect, expected.low, expected.high))
            assert by_method[name].p_holm == pytest.approx(p)
            assert (test.n_seeds, test.n_languages) == (expected.n_seeds, len(languages))


def test_predictions_are_read_once_and_effects_by_part_are_computed_when_asked_for(monkeypatch):
    reads, tests = [], []
    read, crossed = tables.read_table, scores_of_methods.crossed
    monkeypatch.setattr(tables, "read_table", lambda path, *columns: reads.append(path) or read(path, *columns))
    monkeypatch.setattr(scores_of_methods, "crossed", lambda *a, **k: tests.append(a) or crossed(*a, **k))
    comparisons = compare_methods(collect(["plain", "drift_reg"], REFERENCE))
    assert len(reads) == len(set(reads)) == sum(comparisons.runs.values())
    assert len(tests) == 6  # on all, near and far languages, of accuracy and macro F1
    assert len(comparisons.by_family) == len(tests) - 6


def test_the_committed_runs_give_the_same_numbers_as_ever():
    compared = compare_methods(collect(["plain", "drift_reg"], REFERENCE))
    (row,) = (row for row in compared.comparisons if row.subset == "all")
    (german,) = (part.test for part in compared.by_language if part.part == "deu")
    (flags,) = (part for part in compared.by_class if part.part == "Flags")
    without_flags = row.left_out["class"].lowest[1]
    plain, _ = compared.transfers
    assert [
        (row.test.effect, row.test.low, row.test.high, row.test.p),
        (row.macro.test.effect, without_flags.effect, without_flags.p),
        (german.effect, german.p, flags.test.effect, flags.effect_without),
        (compared.slopes[0].test.effect, compared.slopes[0].test.p),
        (plain.mean, plain.by_distance.r, plain.by_distance.p),
    ] == [
        pytest.approx((0.050353321219462954, 0.02725942961350321, 0.0734472128254227, 0.007268360265908961), rel=1e-12),
        pytest.approx((0.03594278041385921, 0.011997177134791811, 0.11065251272949975), rel=1e-12),
        pytest.approx(
            (0.10761154855643043, 0.0022033826270443303, 0.28262108262108265, 0.011997177134791648), rel=1e-12
        ),
        pytest.approx((-0.12378090063301947, 0.0474328879875196), rel=1e-12),
        pytest.approx((0.6339995962043207, -0.011004136957614603, 0.973), rel=1e-12),
    ]


def answered(method, seed, languages):
    """Which items a run got right, (languages, items), joined by hand from its predictions."""
    (path,) = REFERENCE.glob(f"{method}/*-s{seed}/predictions.parquet")
    rows = pandas.read_parquet(path)
    rows["right"] = (rows.label == rows.prediction).astype(float)
    wide = rows.pivot_table(index="language", columns="example_id", values="right", aggfunc="first")
    return wide.loc[languages].to_numpy()


def test_seeds_are_paired_by_number_and_the_rest_is_named(results):
    comparisons = compared(results)
    entry = comparisons.comparisons[0]
    difference = scores(0.1, 3, 1) - scores()[:3]
    assert entry.test.effect == pytest.approx(difference.mean())
    assert entry.test.p == pytest.approx(measure.crossed(difference).p)
    assert (entry.test.n_seeds, entry.dropped) == (3, ("seed 3 of `plain` (no pair)",))


def test_by_language_is_a_t_test_over_seeds(results):
    comparisons = compared(results)
    assert [entry.part for entry in comparisons.by_language] == ["deu", "fra", "tur", "jpn"]  # from the nearest on
    before, after = scores()[:3], scores(0.1, 3, 1)
    expected = [stats.ttest_rel(after[:, place], before[:, place]) for place in range(4)]
    for place, entry in enumerate(comparisons.by_language):
        assert (entry.method, entry.languages, entry.distance) == ("align", (entry.part,), FAR[entry.part])
        assert (entry.mean_baseline, entry.mean) == pytest.approx((before[:, place].mean(), after[:, place].mean()))
        assert entry.test.p == pytest.approx(expected[place].pvalue)
        between = expected[place].confidence_interval()
        assert (entry.test.low, entry.test.high) == pytest.approx((between.low, between.high))
    assert [entry.p_holm for entry in comparisons.by_language] == pytest.approx(
        measure.holm([entry.pvalue for entry in expected])
    )


def test_by_family_tests_the_languages_of_a_family_together(results):
    comparisons = compared(results)
    families = {entry.part: entry for entry in comparisons.by_family}
    assert {name: entry.languages for name, entry in families.items()} == {
        "Indo-European": ("deu", "fra"), "Turkic": ("tur",), "Japonic": ("jpn",)
    }  # fmt: skip
    difference = (scores(0.1, 3, 1) - scores()[:3])[:, :2]
    assert families["Indo-European"].test.effect == pytest.approx(difference.mean())
    assert families["Indo-European"].test.p is None  # two languages are no sample
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
        comparisons = compared(results, **options)
        return comparisons.distance, {
            entry.subset: entry.test.n_languages for entry in comparisons.comparisons
        }, comparisons.by_language[0].part  # fmt: skip

    assert far() == ("syntactic (imputed)", {"all": 4, "near": 2, "far": 2}, "deu")
    assert far(distance_name="genetic")[0] == "genetic"
    assert far(imputed=False)[0] == "syntactic"
    matrix = tmp_path / "own.csv"
    matrix.write_text(",eng\ndeu,0.9\nfra,0.8\njpn,0.1\n")
    label, sizes, nearest = far(matrix=matrix)
    assert (label, sizes, nearest) == ("matrix", {"all": 4, "near": 2, "far": 1}, "jpn")
    assert compared(results, matrix=matrix).notes[0].startswith("`tur` is neither near nor far: ")


def test_runs_whose_own_matrix_is_asked_for_under_another_option(results):
    other = results / "other"
    for name, table in (("plain", scores()), ("align", scores(0.1))):
        for seed, row in enumerate(table):
            data = result(name, "abcd0000", seed, dict(zip(FAR, row, strict=True)), summary__distance="matrix")
            write(other / name / f"abcd0000-s{seed}", data)
    assert compared(other).distance == "matrix"
    assert message(compared, other, imputed=False) == (
        "The runs have distances from a matrix of the user's own. Give it with `--matrix`, or choose `--distance`."
    )


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
    for entry in data["scores"]:
        entry["value"] += 0.05 * (entry["metric"] == "macro_f1")
    path.write_text(json.dumps(data))
    gained = compared(results, metric="macro_f1").comparisons[0].test.effect
    assert gained == pytest.approx(compared(results).comparisons[0].test.effect + 0.05 / 3)
    assert message(compared, results, metric="bleu") == "Metric `bleu` is not known. Choose from: accuracy, macro_f1."


def test_one_seed_says_why_there_is_no_interval_by_distance(results):
    run(results, "one", "cccc0000", 0, dict.fromkeys(FAR, 0.5))
    (note,) = [
        entry
        for entry in comparison_tables(compared(results, "plain", "one"), "distance")[0].notes
        if "ranking" in entry
    ]
    assert note.startswith("no ranking: 1 seed")
    assert any("Holm over 1 method." in entry for entry in comparison_tables(compared(results))[0].notes)


# --- gaps ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def gaps(results):
    """As `results`, where seed 2 of `align` has no German, and `third` is whole."""
    path = results / "align" / "bbbb0000-s2" / "result.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "scores": [entry for entry in data["scores"] if entry["language"] != "deu"]}))
    runs(results, "third", "cccc0000", scores(0.05, seed=2), {"phase.finetune.epochs": 3})
    return results


def test_each_part_is_balanced_over_its_own_languages_alone(gaps):
    comparisons = compared(gaps)
    parts = {entry.part: entry for entry in comparisons.by_language}
    lost = ("seed 2 of `align` (without `deu`)", "seed 2 of `plain` (no pair)", "seed 3 of `plain` (no pair)")
    assert (parts["deu"].test.n_seeds, set(parts["deu"].dropped)) == (2, set(lost))
    assert parts["deu"].mean == pytest.approx(scores(0.1, 3, 1)[:2, 0].mean())
    assert (parts["fra"].test.n_seeds, parts["fra"].dropped) == (3, ("seed 3 of `plain` (no pair)",))
    families = {entry.part: entry for entry in comparisons.by_family}
    assert families["Indo-European"].dropped == ("seed 3 of `plain` (no pair)", "`deu` (missing in 1 of 6 runs)")
    assert families["Turkic"].dropped == ("seed 3 of `plain` (no pair)",)
    records = comparisons.records()
    assert records["by_language"][0]["dropped"] == list(parts["deu"].dropped)
    assert records["slopes"][0]["dropped"] == list(comparisons.slopes[0].dropped)


def test_one_row_of_the_table_is_on_the_same_seeds_and_languages(gaps):
    comparisons = compared(gaps)
    sizes = {entry.subset: (entry.test.n_seeds, entry.test.n_languages) for entry in comparisons.comparisons}
    assert sizes == {"all": (3, 3), "near": (3, 1), "far": (3, 2)}
    assert len({entry.dropped for entry in comparisons.comparisons}) == 1
    assert (comparisons.slopes[0].test.n_seeds, comparisons.slopes[0].test.n_languages) == (3, 3)


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
    comparisons = compared(gaps, "plain", "align", "third")
    first = main_table(comparisons) if by is None else comparison_tables(comparisons, by)[0]
    assert [sorted(entry[10:-1].split("; ")) for entry in first.notes if entry.startswith("left out: ")] == [
        sorted(expected[10:-1].split("; "))
    ]


def test_what_the_means_leave_out_is_said_where_it_is_not_that_of_all(gaps):
    notes = [entry for entry in main_table(compared(gaps)).notes if entry.startswith("mean and r")]
    assert notes == ["mean and r exclude, for all methods: `deu` (missing in 1 of 7 runs)."]
    notes = [entry for entry in main_table(compared(gaps, "plain", "third")).notes if entry.startswith("mean and r")]
    assert notes == []
    short = gaps / "third" / "cccc0000-s3" / "result.json"
    short.unlink()
    notes = [entry for entry in main_table(compared(gaps, "plain", "third")).notes if entry.startswith("mean and r")]
    assert notes == ["mean and r include all runs and languages, also these."]


def test_a_language_without_a_pair_is_named(results):
    for seed, codes in enumerate((["deu", "fra"], ["fra"], ["fra"])):
        run(results, "part", "cccc0000", seed + 1, dict.fromkeys(codes, 0.5))
    path = results / "plain" / "aaaa0000-s1" / "result.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "scores": [entry for entry in data["scores"] if entry["language"] != "deu"]}))
    comparisons = compared(results, "plain", "part")
    assert "`part` and `plain` have no seed in common on `deu`" in comparisons.notes
    for by in (None, "language", "family", "distance"):
        assert "`part` and `plain` have no seed in common on `deu`" in comparison_tables(comparisons, by)[0].notes
