"""Which runs may be compared with which baseline: what is refused or warned of, and why, whatever stands in their files."""

import json
from copy import deepcopy

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distxfer.errors import InputError
from distxfer.reports.comparison import comparison_data, comparison_tables
from distxfer.reports.listing import listing
from fake_runs import ALIGN, FAR, WITH_ALIGN, compared, plain_and_align, result, run, runs, scores, write
from helpers import message


@pytest.fixture
def results(tmp_path):
    return plain_and_align(tmp_path / "results")


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
        ({"status": "collapsed"}, "all its 3 runs collapsed ({runs})"),
    ],
)
def test_what_cannot_be_compared_says_why(results, changes, expected):
    runs(results, "other", "cccc0000", scores(seeds=3), **changes)
    comparisons = compared(results, "plain", "align", "other")
    folders = ", ".join(f"`{results / 'other' / f'cccc0000-s{seed}'}`" for seed in range(3))
    expected = expected.replace("{runs}", folders)
    assert comparisons.left_out == (f"`other` cannot be compared with `plain`: {expected}.",)
    assert {row.method for row in comparisons.comparisons} == {"align"}
    assert message(compared, results, "plain", "other") == (
        f"Nothing is left to compare with `plain`; 1 left out:\n  `other` cannot be compared with `plain`: {expected}.\n"
        "Name methods that have runs of the same task, data, model and source."
    )


def test_methods_without_a_common_seed_or_language(results):
    for seed in (7, 8):
        run(results, "late", "cccc0000", seed, dict.fromkeys(FAR, 0.5))
        run(results, "fin", "dddd0000", seed - 7, {"fin": 0.5})
    assert compared(results, "plain", "align", "late", "fin").left_out == (
        "`late` cannot be compared with `plain`: no seed in common, it has 7, 8 and the baseline 0, 1, 2, 3.",
        "`fin` cannot be compared with `plain`: it has no target language in common with the baseline.",
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
    row = compared(results, "plain", "few").comparisons[0]
    assert row.dropped[:2] == ("`deu` (not tested by `few`)", "`fra` (not tested by `few`)")
    assert (row.test.n_languages, row.test.n_seeds) == (2, 3)
    few = np.array([[0.6 + seed / 100, 0.7] for seed in range(3)])
    assert row.test.effect == pytest.approx((few - scores()[:3, 2:]).mean())
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
    assert compared(results, "plain", "few").comparisons[0].test.n_languages == 2
    (results / "few" / "cccc0000-s0" / "predictions.parquet").unlink()
    text = message(compared, results, "plain", "few")
    assert "whether its test examples are the baseline's cannot be checked: `" in text
    for path in results.glob("few/*/result.json"):
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, "provenance": {**data["provenance"], "fingerprints": {}}}))
    text = message(compared, results, "plain", "few")
    assert "whether its model `tiny` is the baseline's cannot be checked: there is no fingerprint of it" in text


def test_collapsed_runs_are_counted_and_in_no_mean(results):
    run(results, "align", "bbbb0000", 3, dict.fromkeys(FAR, 0.01), WITH_ALIGN, status="collapsed")
    comparisons = compared(results)
    row = comparisons.comparisons[0]
    assert (row.collapsed, comparisons.collapsed, comparisons.runs) == (
        1,
        {"plain": (), "align": (3,)},
        {"plain": 4, "align": 4},
    )
    assert row.test.effect == pytest.approx((scores(0.1, 3, 1) - scores()[:3]).mean())
    (main, _, _) = comparison_tables(comparisons)
    assert main.rows[1][-1] == "1 of 4"
    assert "collapsed runs, excluded from means and tests: `align`: seed 3." in main.notes


def test_a_baseline_that_collapsed_is_an_error(results):
    runs(results, "dead", "cccc0000", scores(), status="collapsed")
    assert message(compared, results, "dead", "align") == (
        "All 4 runs of the baseline `dead` collapsed: they learnt nothing to compare with. Choose another with `--baseline`,"
        " or train it with other settings."
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"arithmetic": 2, "dtype": "bf16"},
            "the same seed gives other trajectories: version 1, float32: `plain` seed 0 to 3, `align` seed 0, 2; version 2, bf16:"
            " `align` seed 1.",
        ),
        (
            {"threads": [2, 1]},
            "sums are rounded differently: 1 thread: `plain` seed 0 to 3, `align` seed 0, 2; 2 and 1 threads: `align` seed 1.",
        ),
    ],
)
def test_runs_of_two_arithmetics_are_averaged_and_paired_with_a_note(tmp_path, changes, expected):
    first = {"provenance__threads": 1}
    runs(tmp_path, "plain", "aaaa0000", scores(), **first)
    runs(tmp_path, "align", "bbbb0000", scores(0.1, seeds=3), WITH_ALIGN, **first)
    assert not any("arithmetic" in note for note in compared(tmp_path).notes)
    other = first | {f"provenance__{key}": value for key, value in changes.items()}
    run(tmp_path, "align", "bbbb0000", 1, FAR, WITH_ALIGN, **other)
    comparisons = compared(tmp_path)
    (note,) = [note for note in comparisons.notes if "arithmetics" in note]
    assert expected in note
    assert any(note in table.notes for table in comparison_tables(comparisons))
    (listed,) = listing("runs", tmp_path).notes
    assert "`align/bbbb0000` seed 0, 2" in listed
    assert "plain" not in listed


def test_a_method_that_caches_frozen_layers_is_paired_with_a_note(results):
    runs(results, "cached", "cccc0000", scores(0.1), {"phase.finetune.cache_frozen": True})
    (note,) = [note for note in compared(results, "plain", "cached").notes if "cache_frozen" in note]
    assert note.startswith("`cache_frozen` = true in `cached`: frozen layers have no dropout")
    assert not any("cache_frozen" in note for note in compared(results, "plain", "align").notes)


def test_how_methods_differ_is_listed(results):
    runs(results, "long", "cccc0000", scores(), {"phase.finetune.epochs": 4}, provenance__packages__torch="2.10")
    comparisons = compared(results, "plain", "align", "long")
    of_long = {row.key: (row.baseline, row.value) for row in comparisons.differences if row.method == "long"}
    assert of_long == {"phase.finetune.epochs": (2, 4), "package.torch": ("2.9", "2.10")}
    of_align = {row.key: (row.baseline, row.value) for row in comparisons.differences if row.method == "align"}
    assert of_align["intervention.align.layers"] == (None, (2,))
    assert len(of_align) == len(ALIGN)
    table = comparison_tables(comparisons)[-1]
    assert table.title == "settings that differ from plain"
    assert table.rows == [
        ("align", "intervention.align", None, "weight=0.5, loss=infonce, layers=2, weighting=linear, weighting_by=sampling"),
        ("long", "phase.finetune.epochs", "2", "4"),
        ("long", "package.torch", "2.9", "2.10"),
    ]  # fmt: skip


def test_methods_of_the_same_settings_say_so(results):
    runs(results, "again", "cccc0000", scores(seed=5))
    assert comparison_tables(compared(results, "plain", "again"))[-1].notes == ("`again` has the settings of `plain`.",)


def test_what_chose_the_checkpoint_is_on_every_table_and_a_target_is_a_warning(results):
    runs(results, "chosen", "cccc0000", scores(), selection="target_dev")
    comparisons = compared(results, "plain", "align", "chosen")
    assert comparisons.selection == {"plain": "last", "align": "last", "chosen": "target_dev"}
    assert comparisons.warnings == (
        "WARNING: the checkpoint of `chosen` was selected on a target's dev set (`target_dev`), with labels of that target: its"
        " transfer is not zero-shot.",
        "WARNING: checkpoints were selected differently (`plain` by last; `align` by last; `chosen` by target_dev): part of an"
        " effect may be due to this.",
    )
    for by in (None, "language", "family", "distance"):
        for table in comparison_tables(comparisons, by)[:-1]:
            assert table.notes[:2] == comparisons.warnings
            assert any("Checkpoint: last" in note for note in table.notes)
        selections = zip(*_columns(comparison_data(comparisons, by), "method", "selection"), strict=True)
        assert dict(selections) == {"align": "last", "chosen": "target_dev"}
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


# --- whatever stands in a file ------------------------------------------------------------------------------------


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
        comparisons = compared(results, "plain", str(results))
    except InputError as error:
        text = str(error)
    else:
        json.dumps(comparisons.records())
        for by in (None, "language", "family", "distance"):
            assert all(table.text() for table in comparison_tables(comparisons, by))
        included = sum(number for name, number in comparisons.runs.items() if name != comparisons.baseline)
        assert included + len(comparisons.left_out) >= 3 or (not included and comparisons.left_out)
        assert {row.method for row in comparisons.comparisons} == set(comparisons.runs) - {comparisons.baseline}
        return
    assert "left out:" in text
