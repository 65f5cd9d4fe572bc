"""What an effect survives: classes, languages and families left out, in runs where it is known what carries the effect."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn.metrics import f1_score, recall_score

from distxfer import measure
from distxfer.analysis.compare import compare, compare_methods
from distxfer.analysis.scores import classes_of
from distxfer.languages import permuted_within
from distxfer.reports.comparison import comparison_data, comparison_tables
from distxfer.reports.page.effects import by_language, comparison
from distxfer.reports.page.facts import facts_of
from distxfer.reports.page.relations import permutations
from distxfer.results.collect import collect
from distxfer.results.result import Result
from distxfer.results.tables import read_scores
from fake_runs import WITH_ALIGN, result, write
from helpers import message

REFERENCE = Path(__file__).parents[2] / "results" / "emoji-with-flags" / "reference"
REFERENCE_120 = REFERENCE.with_name("reference-120")
CLASSES = ["cat", "dog", "sun"]
TARGETS = ["deu", "fra", "nld", "fin", "est", "jpn"]  # three Indo-European, two Uralic, one Japonic
N = 40  # items of a class in a language


def predicted(right):
    """Labels and predictions in which `right[class]` of N items are right, and the others of the next class; None: no items."""
    present = [place for place, name in enumerate(CLASSES) if right[name] is not None]
    labels = np.repeat(present, N)
    wrong = np.concatenate([np.arange(N) >= right[CLASSES[place]] for place in present])
    return labels, np.where(wrong, (labels + 1) % len(CLASSES), labels)


def make_run(results, name, seed, right, settings=(), targets=TARGETS):
    """Write a run with predictions; `right(class, language)` says how many of N items it gets right."""
    rows, scores = [], []
    for language in ("eng", *targets):
        labels, predictions = predicted({entry: right(entry, language) for entry in CLASSES})
        named = [[CLASSES[place] for place in each] for each in (labels, predictions)]
        rows += [
            {"language": language, "example_id": f"e{place}", "label": label, "prediction": prediction}
            for place, (label, prediction) in enumerate(zip(*named, strict=True))
        ]
        values = {
            "accuracy": measure.accuracy(labels, predictions),
            "macro_f1": measure.macro_f1(labels, predictions, 3),
        }
        scores += [
            {"language": language, "split": "test", "metric": metric, "value": value, "n": len(labels)}
            for metric, value in values.items()
        ]
    data = result(name, {"plain": "aaaa0000"}.get(name, "bbbb0000"), seed, {}, settings)
    data["recipe"]["task"]["targets"] = list(targets)
    data["distances"] = [
        {"language": entry, "name": "syntactic", "value": place / 10} for place, entry in enumerate(targets)
    ]
    folder = write(results / name / f"{data['id']}-s{seed}", {**data, "scores": scores})
    parquet.write_table(pa.Table.from_pylist(rows), folder / "predictions.parquet")
    return folder


def two_methods(results, gain, seeds=3, targets=TARGETS):
    """Write `plain` and `align`, which gets `gain(class, language)` more items right of N; seeds differ by an item or two."""
    generator = np.random.default_rng(0)
    for seed in range(seeds):
        noise = {(entry, language): int(generator.integers(3)) for entry in CLASSES for language in ("eng", *targets)}
        make_run(results, "plain", seed, lambda entry, language: 20 + noise[entry, language] + seed, targets=targets)  # noqa: B023
        extra = {key: int(generator.integers(3)) - 1 for key in noise}
        make_run(results, "align", seed, lambda entry, language: 20 + noise[entry, language] + seed + extra[entry, language]  # noqa: B023
                 + gain(entry, language), WITH_ALIGN, targets)  # fmt: skip
    return compare_methods(collect(["plain", "align"], results))


def overall(compared, method="align"):
    return next(entry for entry in compared.comparisons if (entry.method, entry.subset) == (method, "all"))


# --- which class, language or family carries an effect ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "carried"),
    [
        (lambda entry, language: 12 * (entry == "dog"), {"class": "dog"}),
        (lambda entry, language: 12 * (language == "fin"), {"language": "fin", "family": "Uralic"}),
        (lambda entry, language: 12 * (language in ("deu", "fra", "nld")), {"family": "Indo-European"}),
        (lambda entry, language: 8, {}),
        (lambda entry, language: -8, {}),
        (lambda entry, language: -12 * (entry == "sun"), {"class": "sun"}),
    ],
)
def test_what_carries_an_effect_is_named(tmp_path, gain, carried):
    """One class, one language, one family that has all of the effect; and nothing, where all have their part."""
    compared = two_methods(tmp_path, gain)
    entry = overall(compared)
    assert {kind: next(iter(ranges.carriers)) for kind, ranges in entry.left_out.items() if ranges.carriers} == carried
    warnings = [line for line in compared.survival_warnings if line.startswith("WARNING: ")]
    assert bool(warnings) == bool(carried)
    assert all(any(f"without the {kind} `{item}`" in line for line in warnings) for kind, item in carried.items())
    assert compared.records()["warnings"] == list(compared.survival_warnings)


def test_the_ranges_are_what_is_left_when_the_table_is_cut_by_hand(tmp_path):
    compared = two_methods(tmp_path, lambda entry, language: 12 * (entry == "dog") + 3 * (language == "jpn"))
    entry = overall(compared)
    tables = {}
    for name in ("plain", "align"):
        for seed in range(3):
            (folder,) = (tmp_path / name).glob(f"*-s{seed}")
            tables[name, seed] = parquet.read_table(folder / "predictions.parquet").to_pandas()

    def effect(keep):
        """The mean difference of accuracy over seeds and languages, on the rows that are kept."""

        def scores(table):
            table = table[(table.language != "eng") & keep(table)]
            return (table.label == table.prediction).groupby(table.language).mean()

        return np.mean([scores(tables["align", seed]) - scores(tables["plain", seed]) for seed in range(3)])

    families = {"deu": "Indo-European", "fra": "Indo-European", "nld": "Indo-European", "fin": "Uralic", "est": "Uralic",
                "jpn": "Japonic"}  # fmt: skip
    assert entry.test.effect == pytest.approx(effect(lambda table: table.label != ""))
    expected = {
        "class": {item: effect(lambda table: table.label != item) for item in CLASSES},  # noqa: B023
        "language": {item: effect(lambda table: table.language != item) for item in TARGETS},  # noqa: B023
        "family": {
            item: effect(lambda table: table.language.map(families) != item)  # noqa: B023
            for item in ("Indo-European", "Uralic", "Japonic")
        },
    }
    for kind, values in expected.items():
        ranges = entry.left_out[kind]
        assert ranges.n == len(values)
        assert (ranges.lowest[0], ranges.highest[0]) == (min(values, key=values.get), max(values, key=values.get))
        assert (ranges.lowest[1].effect, ranges.highest[1].effect) == pytest.approx(
            (min(values.values()), max(values.values()))
        )
    by_class = {part.part: part for part in compared.by_class}
    assert {item: part.effect_without for item, part in by_class.items()} == pytest.approx(expected["class"])
    assert by_class["dog"].test.effect == pytest.approx(effect(lambda table: table.label == "dog"))
    assert (by_class["dog"].n_least, by_class["dog"].n_most) == (N, N)


def test_the_flags_carry_the_reference_runs():
    """The figures of the audit: five effects with the class `Flags` and without it."""
    names = ["plain", "drift_reg", "dist_align", "mined_align", "align_consistency", "freeze_lower"]
    compared = compare_methods(collect(names, REFERENCE))
    expected = {
        "drift_reg": (5.0, 1.2), "dist_align": (10.7, 5.9), "mined_align": (9.6, 4.7), "align_consistency": (12.5, 8.0),
        "freeze_lower": (0.3, -1.5),
    }  # fmt: skip
    for name, numbers in expected.items():
        entry = overall(compared, name)
        item, test = entry.left_out["class"].lowest
        assert item == "Flags"
        assert (round(100 * entry.test.effect, 1), round(100 * test.effect, 1)) == numbers
    assert re.sub(r" \[[^]]*\]", "", compared.survival_warnings[0]) == (
        "WARNING: without the class `Flags`, more than half of the effect is lost, or its sign: `mined_align` +4.7"
        " instead of +9.6; `drift_reg` +1.2 instead of +5.0; `freeze_lower` -1.5 instead of +0.3."
        " More than a third: `align_consistency` +8.0 instead of +12.5; `dist_align` +5.9 instead of +10.7."
    )


def test_runs_on_118_languages_without_probabilities():
    compared = compare_methods(collect(["plain", "dist_align"], REFERENCE_120))
    ranges = overall(compared, "dist_align").left_out
    assert {kind: entry.n for kind, entry in ranges.items()} == {"class": 9, "language": 118, "family": 19}


# --- the macro-averaged score ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_macro_f1_is_that_of_scikit_learn(seed):
    """With classes that are only predicted, only in the labels, or in neither; so is the score from the counts."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, size=30)
    predictions = np.where(generator.random(30) < 0.5, labels, generator.integers(2, 6, size=30))
    expected = f1_score(labels, predictions, average="macro", zero_division=0.0)
    assert measure.macro_f1(labels, predictions, 9) == pytest.approx(expected)
    items = (labels[labels == predictions], labels, predictions)
    counts = np.stack([np.bincount(classes, minlength=9) for classes in items], axis=-1)[np.newaxis]
    compared = measure.class_ratios(counts, "macro_f1")
    assert compared.score == pytest.approx([expected])
    each = f1_score(labels, predictions, average=None, labels=range(9), zero_division=np.nan)
    assert compared.each[0] == pytest.approx(each, nan_ok=True)


@pytest.mark.parametrize("seed", range(20))
def test_macro_accuracy_is_the_macro_averaged_recall_of_scikit_learn(seed):
    def recall(labels, predictions):
        return recall_score(labels, predictions, average="macro", labels=np.unique(labels))

    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, size=30)
    predictions = np.where(generator.random(30) < 0.5, labels, generator.integers(0, 4, size=30))
    expected = recall(labels, predictions)
    assert measure.macro_accuracy(labels, predictions) == pytest.approx(expected)
    items = (labels[labels == predictions], labels, predictions)
    counts = np.stack([np.bincount(classes, minlength=9) for classes in items], axis=-1)
    compared = measure.class_ratios(counts, "macro_accuracy")
    assert compared.score == pytest.approx(expected)
    others = labels != 1
    assert compared.without[1] == pytest.approx(recall(labels[others], predictions[others]))


def test_the_macro_effect_is_that_of_the_macro_scores(tmp_path):
    compared = two_methods(tmp_path, lambda entry, language: 12 * (entry == "dog"))
    expected = overall(compare_methods(collect(["plain", "align"], tmp_path), metric="macro_f1"))
    macro, test = overall(compared).macro, expected.test
    assert (macro.test.effect, macro.test.low, macro.test.high, macro.p_holm) == pytest.approx(
        (test.effect, test.low, test.high, expected.p_holm)
    )
    assert expected.macro is None
    assert next(iter(expected.left_out["class"].carriers)) == "dog"


# --- what is not defined, and why --------------------------------------------------------------------------------------


def test_without_predictions_there_are_no_classes_and_a_note_says_why(tmp_path, cli):
    compared = two_methods(tmp_path, lambda entry, language: 8)
    (folder,) = (tmp_path / "align").glob("*-s1")
    (folder / "predictions.parquet").unlink()
    compared = compare_methods(collect(["plain", "align"], tmp_path))
    reason = overall(compared).left_out["class"]
    assert reason.startswith(f"`{folder / 'predictions.parquet'}` cannot be read (")
    assert reason.endswith("Run the recipe again with `--again`")
    assert overall(compared).left_out["language"].n == len(TARGETS)
    assert f"no class is left out: {reason}." in comparison_tables(compared)[1].notes
    answer = cli("compare", "plain", "align", "--results", str(tmp_path), "--by", "class")
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert answer.stderr == f"Error: `--by class` has no classes to show: {reason}. Choose another view.\n"


def test_one_method_without_predictions_takes_none_from_the_others(tmp_path):
    two_methods(tmp_path, lambda entry, language: 12 * (entry == "dog"))
    for seed in range(3):
        (make_run(tmp_path, "other", seed, lambda entry, language: 20) / "predictions.parquet").unlink()
    compared = compare_methods(collect(["plain", "align", "other"], tmp_path))
    assert overall(compared).left_out["class"].lowest[0] == "dog"
    assert "cannot be read" in overall(compared, "other").left_out["class"]
    assert {part.method for part in compared.by_class} == {"align"}
    assert any(note.startswith("no class is left out of `other`: ") for note in comparison_tables(compared)[1].notes)


def test_predictions_of_another_run_are_not_taken(tmp_path):
    two_methods(tmp_path, lambda entry, language: 8)
    (folder,) = (tmp_path / "align").glob("*-s1")
    (foreign,) = (tmp_path / "plain").glob("*-s1")
    (folder / "predictions.parquet").write_bytes((foreign / "predictions.parquet").read_bytes())
    compared = compare_methods(collect(["plain", "align"], tmp_path))
    assert overall(compared).left_out["class"].endswith("they are not of one run")


def test_entities_are_counted_by_type():
    labels = [["B-LOC", "I-LOC", "O", "B-PER"], ["O", "B-PER"]]
    predictions = [["B-LOC", "I-LOC", "O", "O"], ["B-LOC", "B-PER"]]
    counts = measure.entity_counts(labels, predictions, ["LOC", "PER"])
    assert counts.tolist() == [[1, 1, 2], [1, 2, 1]]
    compared = measure.class_ratios(counts, "f1")
    assert compared.score == pytest.approx(measure.entity_scores(labels, predictions).f1)
    assert compared.without == pytest.approx([2 / 3, 2 / 3])
    assert message(measure.class_ratios, counts, "bleu") == (
        "`bleu` is no score that adds up over classes; expected accuracy, macro_accuracy, macro_f1, f1."
    )


@pytest.mark.parametrize(
    ("kind", "metric", "names", "without"),
    [
        ("token_classification", "accuracy", ("B-LOC", "B-PER", "O"), [4 / 5, 4 / 5, 2 / 4]),
        ("token_classification", "macro_f1", ("B-LOC", "B-PER", "O"), [(2 / 3 + 3 / 4) / 2] * 2 + [2 / 3]),
        ("named_entities", "f1", ("LOC", "PER"), [2 / 3, 2 / 3]),
    ],
)
def test_the_classes_of_words_are_tags_and_those_of_entities_are_types(tmp_path, kind, metric, names, without):
    rows = [("O B-PER O B-PER B-LOC", "O O O B-PER B-LOC"), ("B-LOC O", "O O")]
    texts = [{"language": "deu", "example_id": str(place), "label": label, "prediction": prediction}
             for place, (label, prediction) in enumerate(rows)]  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(texts), tmp_path / "predictions.parquet")
    right = {"accuracy": 5 / 7, "f1": 4 / 6, "macro_f1": (2 / 3 + 2 / 3 + 3 / 4) / 3}
    score = {"language": "deu", "split": "test", "metric": metric, "value": right[metric]}
    run = Result.of(tmp_path, result("plain", "aaaa0000", 0, {}, task_type=kind, scores=[score]))
    compared = classes_of({"plain": {"0": run}}, metric)
    assert compared.names == names
    assert measure.class_ratios(compared.table("plain", ["0"], ["deu"]), metric).without[0, 0] == pytest.approx(without)


def test_a_task_without_classes_says_so(tmp_path):
    run = Result.of(tmp_path, result("plain", "aaaa0000", 0, {}, task_type="retrieval"))
    assert classes_of({"plain": {"0": run}}, "accuracy") == (
        "the `accuracy` of a task of type `retrieval` is not a sum over classes"
    )


def test_carriers_lose_more_than_half_or_the_sign():
    assert measure.carriers(4.0, {"a": 1.9, "b": 2.0, "c": -1.0, "d": 9.0}) == ("c", "a")
    assert measure.carriers(-4.0, {"a": -1.9, "b": -2.0, "c": 1.0, "d": -9.0}) == ("c", "a")
    assert measure.carriers(4.0, {"a": 2.5, "b": 3.0}, 1 / 3) == ("a",)
    assert measure.carriers(0.0, {"a": 1.0}) == measure.carriers(1e-17, {"a": 0.3}) == ()


# --- tables --------------------------------------------------------------------------------------------------------


def test_every_form_has_what_the_effects_survive(tmp_path, cli):
    two_methods(tmp_path, lambda entry, language: 12 * (entry == "dog"))
    words = ("compare", "plain", "align", "--results", str(tmp_path))
    text = cli(*words).stdout
    assert "leave-one-out effects" in text
    assert "WARNING: without the class `dog`" in text
    assert "of these, driven by one class, language or family (see leave-one-out effects): align." in text
    data = json.loads(cli(*words, "--json").stdout)
    ranges = data["comparisons"][0]["leave_out"]
    assert ranges["class"]["lowest"]["without"] == ranges["class"]["carriers"][0]["without"] == "dog"
    assert {"effect", "low", "high", "p", "p_holm"} == set(data["comparisons"][0]["macro"])
    assert {entry["part"] for entry in data["by_class"]} == set(CLASSES)
    (row, *_) = csv.DictReader(io.StringIO(cli(*words, "--format", "csv").stdout))
    assert (row["class_lowest_without"], row["class_carriers"], row["language_carriers"]) == ("dog", "dog", "")
    assert float(row["class_lowest_effect"]) == ranges["class"]["lowest"]["effect"]
    assert "WARNING: without the class `dog`" in cli(*words, "--format", "csv").stderr
    by_class = cli(*words, "--by", "class", "--format", "csv").stdout
    assert next(csv.DictReader(io.StringIO(by_class)))["part"] == "dog"
    table = comparison_tables(compare_methods(collect(["plain", "align"], tmp_path)))[1]
    assert max(map(len, table.text(80).splitlines())) <= 80


def test_a_table_of_scores_has_languages_and_families(tmp_path, cli):
    compared = two_methods(tmp_path / "runs", lambda entry, language: 12 * (language == "fin"))
    lines = ["model,task,method,seed,language,metric,value"]
    for path in (tmp_path / "runs").rglob("result.json"):
        data = json.loads(path.read_text())
        lines += [f"m,t,{data['recipe']['name']},{data['seed']},{entry['language']},accuracy,{entry['value']}"
                  for entry in data["scores"] if entry["metric"] == "accuracy"]  # fmt: skip
    table = tmp_path / "scores.csv"
    table.write_text("\n".join(lines))
    scored = compare(read_scores(table), "plain", paired=True)
    ranges, of_table = (overall(entry).left_out for entry in (compared, scored))
    for kind in ("language", "family"):
        assert of_table[kind].carriers == pytest.approx(ranges[kind].carriers)
        assert of_table[kind].lowest[0] == ranges[kind].lowest[0] == {"language": "fin", "family": "Uralic"}[kind]
    assert of_table["class"] == "a table of scores has no predictions"
    assert "WARNING: " in cli("compare", "--table", str(table), "--baseline", "plain").stdout


# --- fewer than four targets --------------------------------------------------------------------------------------------


def test_few_targets_lead_with_each_language(tmp_path, cli):
    compared = two_methods(tmp_path, lambda entry, language: 6 + 8 * (language == "deu"), targets=["deu", "jpn"])
    entry = overall(compared)
    assert {entry.test.low, entry.test.high, entry.test.p, entry.p_holm, *entry.bootstrap} == {None}
    assert entry.test.reason == "no ranking over 2 languages, at least 4 are needed: read each one by itself"
    assert [part.part for part in entry.each] == ["deu", "jpn"]
    assert entry.each == compared.by_language
    assert [part.p_holm for part in entry.each] == pytest.approx(measure.holm([part.test.p for part in entry.each]))
    first, main, *_ = comparison_tables(compared)
    assert [row[:2] for row in first.rows] == [("align", "deu German"), ("align", "jpn Japanese")]
    assert all("[" in row[4] for row in first.rows)
    assert "[" not in main.rows[1][2]
    data = json.loads(cli("compare", "plain", "align", "--results", str(tmp_path), "--json").stdout)
    assert [part["part"] for part in data["comparisons"][0]["each"]] == ["deu", "jpn"]
    assert "each" not in comparison_data(compared).columns


def test_holm_is_over_all_languages_and_methods_where_targets_are_few(tmp_path):
    two_methods(tmp_path, lambda entry, language: 6, targets=["deu", "jpn"])
    for seed in range(3):
        make_run(tmp_path, "other", seed, lambda entry, language: 25 + 5 * seed % 3, targets=["deu", "jpn"])  # noqa: B023
    compared = compare_methods(collect(["plain", "align", "other"], tmp_path))
    parts = [part for name in ("align", "other") for part in overall(compared, name).each]
    assert len(parts) == 4
    assert [part.p_holm for part in parts] == pytest.approx(measure.holm([part.test.p for part in parts]))


def test_two_or_three_languages_have_no_interval_in_any_subset_family_or_class(tmp_path):
    """Five targets, the two farthest of them far; a class in three of them alone: the interval would span hundreds of points."""
    targets = TARGETS[:5]

    def right(entry, language):
        return None if entry == "sun" and language in targets[3:] else 20 + int(generator.integers(3))

    generator = np.random.default_rng(0)
    for seed in range(3):
        make_run(tmp_path, "plain", seed, right, targets=targets)
        make_run(tmp_path, "align", seed, right, WITH_ALIGN, targets)
    compared = compare_methods(collect(["plain", "align"], tmp_path))
    subsets = {entry.subset: entry for entry in compared.comparisons}
    tests = {
        **{name: entry.test for name, entry in subsets.items()},
        **{part.part: part.test for part in (*compared.by_family, *compared.by_class)},
    }
    languages = {name: test.n_languages for name, test in tests.items()}
    assert languages == {
        "all": 5, "near": 3, "far": 2, "Indo-European": 3, "Uralic": 2, "cat": 5, "dog": 5, "sun": 3
    }  # fmt: skip
    for name, test in tests.items():
        few = languages[name] < 4
        assert (test.low is None, test.high is None, test.p is None) == (few, few, few), name
        expected = f"no ranking over {languages[name]} languages, at least 4 are needed: read each one by itself"
        assert test.reason == (expected if few else None)
    assert (subsets["far"].p_holm, subsets["far"].bootstrap, subsets["far"].each) == (None, (None, None), ())


def test_effects_in_too_few_families_have_no_star_and_the_rates_of_too_few_families(tmp_path):
    """Near and far are two families each; all targets are four, so that the effect on these keeps its star."""
    targets = ["deu", "fra", "nld", "fin", "jpn", "kor", "kir", "tur"]
    compared = two_methods(tmp_path, lambda entry, language: 9, targets=targets)
    near, far = (one for one in compared.comparisons if one.subset != "all")
    assert (near.test.n_families, far.test.n_families) == (2, 3)
    assert max(near.p_holm, far.p_holm, near.macro.p_holm, overall(compared).p_holm) <= 0.05
    assert compared.records()["comparisons"][1]["p_holm"] == near.p_holm
    main = comparison_tables(compared)[0]
    near_far = [main.rows[1][main.columns.index(name)] for name in ("near", "far")]
    assert ([text[-1] == "*" for text in near_far], main.rows[1][4][-1]) == ([False, False], "*")
    assert "better than `plain`: align." in main.notes
    assert (
        "near: only 2 families. Families count as random from 4 on, so p and interval treat these languages as independent."
        in main.notes
    )
    by_distance = comparison_tables(compared, "distance")[0].notes
    for notes in (main.notes, by_distance):
        (rates,) = (note for note in notes if "nearest setting: 7 languages in 2 families, 3 seeds" in note)
        assert "51.8 % where families share 90 % of the language variance" in rates
        for subset, test in (("near", near.test), ("far", far.test)):
            (line,) = (note for note in notes if note.startswith(f"by family, {subset}"))
            assert f"`align` {100 * test.by_family.effect:+.1f}." in line
            assert test.by_family.p is None
    (figure,) = by_language(facts_of(collect(["plain", "align"], tmp_path))).figures
    marks = figure.data["parts"].query("kind == 'summary'")
    assert set(marks.loc[marks["sure"], "language"]) == {"all targets"}
    assert set(marks["language"]) == {"near targets", "far targets", "all targets"}


def test_a_run_without_predictions_fixes_the_items_of_its_own_method_alone(tmp_path):
    two_methods(tmp_path, lambda entry, language: 6)
    for seed in range(3):
        make_run(tmp_path, "other", seed, lambda entry, language: 25 + 5 * seed % 3)  # noqa: B023
    path = next((tmp_path / "other").glob("*-s1")) / "predictions.parquet"
    table = parquet.read_table(path)
    for damage, reason in (
        (
            lambda: parquet.write_table(table.drop_columns(["prediction"]), path),
            f"`{path}` has no column `prediction`; expected `language`, `example_id`, `label`, `prediction`. Run the recipe"
            " again with `--again`",
        ),
        (path.unlink, f"`{path}` cannot be read"),
    ):
        damage()
        compared = compare_methods(collect(["plain", "align", "other"], tmp_path))
        assert overall(compared).test.n_items == 3 * N
        assert overall(compared, "other").test.n_items is None
        start = f"test items are taken as fixed for seed `1` of `other`: {reason}"
        assert any(note.startswith(start) for note in compared.notes)


def test_one_target_is_itself_and_four_are_a_sample(tmp_path):
    entry = overall(two_methods(tmp_path / "one", lambda entry, language: 6, targets=["deu"]))
    assert entry.test == entry.each[0].test
    assert set(entry.left_out) == {"class", "language", "family"}
    assert entry.left_out["language"] == "there is one language"
    four = overall(two_methods(tmp_path / "four", lambda entry, language: 6, targets=TARGETS[:4]))
    assert (four.each, four.test.low is None) == ((), False)


def test_the_report_has_what_the_effects_survive_and_few_targets_have_no_chart_of_all(tmp_path):
    for name, targets, leads in (("many", TARGETS, False), ("few", ["deu", "jpn"], True)):
        two_methods(tmp_path / name, lambda entry, language: 12 * (entry == "dog"), targets=targets)
        facts = facts_of(collect(["plain", "align"], tmp_path / name))
        section = comparison(facts)
        titles = [table.title for table in section.tables]
        assert ("effect on each language, against plain" in titles[: section.open_tables]) == leads
        assert "leave-one-out effects" in titles[: section.open_tables]
        assert "align minus plain, by class" in " ".join(titles)
        assert bool(section.figures) != leads
        assert any(note.startswith("WARNING: without the class `dog`") for note in facts.notes)


def test_the_page_names_the_permutations_of_the_correlations_that_it_shows():
    """Thirty languages of which one has no value: its correlation, over 29, is permuted within families and not within areas."""
    related = pd.DataFrame({"p": [0.01, 0.5, None, 0.01], "n": [30, 29, 31, 30]})
    assert permutations(related[1:3]) == permuted_within(29) != permuted_within(30)
    assert permutations(related) == f"{permuted_within(29)} or {permuted_within(30)}"


def test_row_numbers_are_no_shared_items_unless_the_task_is_parallel(tmp_path):
    two_methods(tmp_path, lambda entry, language: 6)
    paths = list(tmp_path.glob("*/*/predictions.parquet"))
    for path in paths:
        table = parquet.read_table(path)
        numbers = pa.array([name.removeprefix("e") for name in table["example_id"].to_pylist()])
        parquet.write_table(table.set_column(1, "example_id", numbers), path)
    for task, shared in (("mine", None), ("udpos", None), ("xnli", 3 * N)):
        for path in paths:
            data = json.loads((path.parent / "result.json").read_text())
            data["recipe"]["task"]["name"] = task
            (path.parent / "result.json").write_text(json.dumps(data))
        assert overall(compare_methods(collect(["plain", "align"], tmp_path))).test.n_items == shared
