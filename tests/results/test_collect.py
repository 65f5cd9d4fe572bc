"""Finished runs gathered into methods: by which names, in which order, under which labels, and what is left out."""

import json
import shutil
from pathlib import Path

import pandas
import pytest

from distxfer import load_results
from distxfer.results.collect import collect
from fake_runs import ALIGN, FAR, changed, result, run, write
from helpers import message

REFERENCE = Path(__file__).parents[2] / "results" / "emoji-with-flags" / "reference"
SCORES = dict.fromkeys(FAR, 0.5)


@pytest.fixture
def results(tmp_path):
    """Two seeds of `plain`, in the wrong order, and `align` with three weights and a control."""
    folder = tmp_path / "results"
    for seed in (10, 2):
        run(folder, "plain", "aaaa0000", seed, SCORES)
    for identity, weight in (("bbbb0000", 2.0), ("cccc0000", 0.5), ("dddd0000", 10.0)):
        run(folder, "align", identity, 0, SCORES, {"intervention.align": {**ALIGN, "weight": weight}})
    run(folder, "align", "eeee0000", 0, SCORES, {"intervention.align": {**ALIGN, "distance": "shuffled"}})
    return folder


def names(collection):
    return [method.name for method in collection.methods]


def test_everything_or_what_is_named_in_the_order_asked_for(results):
    collection = collect([], results)
    weights = ("0.5", "0.5", "2.0", "10.0")
    distances = ('""', "shuffled", '""', '""')
    labels = [
        f"align (intervention.align.weight={weight}, intervention.align.distance={distance})"
        for weight, distance in zip(weights, distances, strict=True)
    ]
    assert names(collection) == [*labels, "plain"]  # by the settings that set them apart, numbers as numbers
    assert collection.left_out == ()
    (plain,) = collect(["plain"], results).methods
    assert (plain.name, plain.id, [run.seed for run in plain.runs]) == ("plain", "aaaa0000", [2, 10])
    assert names(collect(["plain", "align"], results)) == ["plain", *labels]
    assert names(collect(["align/dddd0000", "plain"], results)) == ["align", "plain"]  # alone, it needs no settings
    one = results / "plain" / "aaaa0000-s10"
    assert [run.folder for run in collect([str(one)], results / "nowhere").methods[0].runs] == [one]
    assert collect(["plain/aaaa0000-s10"], results).methods[0].runs[0].folder == one
    assert names(collect([str(results)], results / "nowhere")) == names(collection)
    assert names(collect([str(results / "align"), "plain"], results)) == [*labels, "plain"]


def test_settings_are_flat_and_without_seed_and_name(results):
    method = next(one for one in collect([], results).methods if "shuffled" in one.name)
    assert method.settings["intervention.align.layers"] == (2,)
    assert method.settings["intervention.align.distance"] == "shuffled"
    assert method.settings["phase.finetune.learning_rate"] == 5e-5
    assert not {"seed", "name"} & set(method.settings)


def test_an_intervention_that_only_one_has_is_named_by_its_weight_or_kind(tmp_path):
    run(tmp_path, "r", "aaaa0000", 0, SCORES)
    run(tmp_path, "r", "bbbb0000", 0, SCORES, {"intervention.align": ALIGN})
    run(tmp_path, "r", "cccc0000", 0, SCORES, {"intervention.freeze": {"kind": "freeze", "layers": "lower"}})
    assert names(collect(["r"], tmp_path)) == [
        "r",
        "r (intervention.freeze.kind=freeze)",
        "r (intervention.align.weight=0.5)",
    ]


def test_ids_with_the_same_settings_are_told_apart_by_their_ids(tmp_path):
    for identity in ("bbbb0000", "aaaa0000"):  # other data: the fingerprints are part of the id
        run(tmp_path, "plain", identity, 0, SCORES)
    assert names(collect(["plain"], tmp_path)) == ["plain (aaaa0000)", "plain (bbbb0000)"]


def test_a_run_is_there_once_however_often_it_is_named(results):
    one = results / "plain" / "aaaa0000-s2"
    collection = collect([str(one), "plain", "plain/aaaa0000"], results)
    assert [run.seed for run in collection.methods[0].runs] == [2, 10]
    assert (names(collection), collection.left_out) == (["plain"], ())
    copy = write(results / "copies" / "aaaa0000-s2", json.loads((one / "result.json").read_text()))
    assert collect([str(one), str(copy)], results).left_out == (f"`{copy}` is a copy of the run in `{one}`.",)


ADVICE = "Move it away, or run with `--again`."
SCORE = {"language": "deu", "split": "test", "metric": "accuracy", "value": 0.5, "n": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"schema": 1, "id": "a', "is no result of distxfer ("),
        ("[1, 2]", "is no result of distxfer ("),
        ('{"accuracy": 0.5}', "is no result of distxfer ("),
        ('{"schema": 99}', "has the schema 99, made by a newer distxfer; this version knows up to 1."),
        ('{"schema": 1, "id": "a"}', f"is no result of distxfer: `seed` is missing. {ADVICE}"),
        ("[" * 200_000, "is no result of distxfer ("),
    ],
)
def test_a_broken_or_foreign_file_is_named_and_left_out(results, text, expected):
    folder = write(results / "plain" / "ffff0000-s0", text)
    collection = collect(["plain"], results)
    assert (len(collection.methods), len(collection.methods[0].runs)) == (1, 2)
    (line,) = collection.left_out
    assert line.startswith(f"`{folder / 'result.json'}` {expected}")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"recipe": None}, "`recipe` is `None`"),
        ({"seed": "three"}, "`seed` is `three`"),
        ({"seed": True}, "`seed` is `True`"),
        ({"status": "dead"}, "`status` is `dead`"),
        ({"recipe.name": 7}, "`recipe.name` is `7`"),
        ({"recipe.name": "a\nb"}, r"`recipe.name` is `a\nb`"),  # what a terminal would act on
        ({"recipe.name": "lo\ud800ra"}, r"`recipe.name` is `lo\ud800ra`"),
        ({"id": "\x1b[31m"}, r"`id` is `\x1b[31m`"),
        ({"recipe.a\nb": 1}, r"`recipe` has the key `a\nb`"),
        ({"scores": [{"language": "deu"}]}, "`scores.0.split` is missing"),
        *(
            ({"scores": [{**SCORE, "value": value}]}, f"`scores.0.value` is `{str(value)[:40]}`")
            for value in (float("nan"), True, "0.5", 10**400, -1e101)
        ),
        *(({"scores": [{**SCORE, "value": value}]}, f"`scores.0` has {value} for `deu`") for value in (1.5, -0.1)),
        *(({"scores": [{**SCORE, "language": code}]}, f"`scores.0.language` is `{code}`") for code in ("x", "zzz", "eng_Latn")),
        ({"scores": [SCORE, {**SCORE, "value": 0.6}]}, "`scores` has two values for `deu`, `test`, `accuracy`"),
        ({"distances": [{"language": "deu", "value": 0.1}] * 2}, "`distances` has two values for `deu`"),
    ],
)  # fmt: skip
def test_a_file_with_wrong_contents_is_left_out(results, changes, expected):
    folder = write(results / "plain" / "aaaa0000-s3", changed(result("plain", "aaaa0000", 3, SCORES), changes))
    assert collect(["plain"], results).left_out == (
        f"`{folder / 'result.json'}` is no result of distxfer: {expected}. {ADVICE}",
    )


def test_tables_that_are_nested_too_deep_are_left_out(results):
    tables = json.dumps(changed(result("plain", "aaaa0000", 4, SCORES), {"recipe.phase": "deep"}))
    nested = tables.replace('"deep"', '{"a":' * 980 + "1" + "}" * 980)
    folder = write(results / "plain" / "aaaa0000-s4", nested)
    (line,) = collect(["plain"], results).left_out
    assert line.startswith(f"`{folder / 'result.json'}` is no result of distxfer")


def test_settings_are_shown_on_one_line(tmp_path):
    for identity, matrix in (("aaaa0000", "a\x1b\n.csv"), ("bbbb0000", "b.csv")):
        run(tmp_path, "plain", identity, 0, SCORES, {"distance.matrix": matrix})
    assert names(collect([], tmp_path)) == [r"plain (distance.matrix=a\x1b\n.csv)", "plain (distance.matrix=b.csv)"]


def test_a_run_that_is_not_like_the_others_of_its_id_is_left_out(results):
    first = results / "plain" / "aaaa0000-s2"
    for changes, expected in (
        ({"recipe.phase.finetune.epochs": 9}, "`phase.finetune.epochs`"),
        ({"provenance.fingerprints.task": "x"}, "fingerprint of `task`"),
        ({"provenance.fingerprints": {}}, "fingerprint of `task`"),
        ({"source": "deu"}, "source"),
    ):
        folder = write(results / "plain" / "aaaa0000-s3", changed(result("plain", "aaaa0000", 3, SCORES), changes))
        collection = collect(["plain"], results)
        assert collection.left_out == (f"`{folder}` has the id of `{first}`, but another {expected}.",)
        assert [run.seed for run in collection.methods[0].runs] == [2, 10]


def test_a_copy_with_other_scores_is_no_copy(results):
    one = results / "plain" / "aaaa0000-s2"
    other = run(results / "copies", "plain", "aaaa0000", 2, dict.fromkeys(FAR, 0.6))
    assert collect([str(one), str(other)], results).left_out == (
        f"`{other}` has the id and seed of `{one}`, but other scores (another version or machine?).",
    )


def test_a_run_that_is_not_done_is_named(results):
    folder = results / "plain" / "aaaa0000-s4"
    folder.mkdir()
    (folder / "log.jsonl").touch()
    assert collect([], results).left_out == (f"`{folder}` is not finished: it has no `result.json` yet.",)


def test_nothing_to_collect_is_an_error(results, tmp_path, monkeypatch):
    assert message(collect, ["plane"], results) == (
        f"`plane` is neither a recipe with results in `{results}`, nor a run, nor a folder of runs. Did you mean `plain`?"
        " There: align, plain. Say where results are with `--results`."
    )
    start = "`plain` has no finished run, but there are some in"
    assert message(collect, ["plain"], tmp_path) == f"{start} `{results}`. Give `--results {results}`."
    more = tmp_path / "more"
    run(more, "plain", "aaaa0000", 0, SCORES)
    assert message(collect, ["plain"], tmp_path) == f"{start} `{more}`, `{results}`. Give `--results {more}`."
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for name in (".", "~nouser", "../plain"):
        assert message(collect, [name], results).startswith(f"`{name}` is neither a recipe with results")
    cut = f"`{'a' * 300} ... (4,700 more characters)` is neither a recipe with results"
    assert message(collect, ["a" * 5000], results).startswith(cut)
    assert message(collect, [""], results).startswith("`` is neither a recipe with results")
    assert message(collect, ["plain/**"], results).startswith("`plain/**` is neither a recipe with results")
    assert message(collect, [], tmp_path / "none") == (
        f"There is no finished run in `{tmp_path / 'none'}`. Train one, or say where results are with `--results`."
    )
    folder = write(tmp_path / "r" / "mine" / "aaaa0000-s0", "{}")
    assert message(collect, ["mine"], tmp_path / "r").startswith(
        f"`mine` has no finished run; 1 left out:\n  `{folder / 'result.json'}` is no result of distxfer"
    )
    assert message(collect, ["plain", "mine"], tmp_path / "r").startswith("`plain` is neither")


def test_runs_deeper_than_a_recipe_and_an_id_belong_to_another_folder_of_runs(results):
    old = results / "withdrawn" / "reference"
    run(old, "plain", "ffff0000", 0, SCORES)
    (plain,) = collect(["plain"], results).methods
    assert plain.id == "aaaa0000"
    assert "ffff0000" not in {method.id for method in collect([], results).methods}
    assert names(collect([str(results / "plain")], results)) == ["plain"]
    assert [one.id for one in collect([], old).methods] == ["ffff0000"]
    elsewhere = f"but there are some in `{old}`. Give `--results {old}`."
    for names_of_runs in ([], ["plain"]):
        assert message(collect, names_of_runs, results / "withdrawn").endswith(elsewhere)
    deep = results.parent / "deep"
    run(deep / "a" / "b", "plain", "ffff0000", 0, SCORES)
    elsewhere = f"but there are some in `{deep / 'a' / 'b'}`. Give `--results {deep / 'a' / 'b'}`."
    assert message(collect, [], deep) == f"There is no finished run in `{deep}`, {elsewhere}"
    assert message(collect, ["a"], deep) == f"`a` has no finished run, {elsewhere}"


def test_all_scores_are_one_tidy_table(results):
    runs = load_results(str(results), "plain", "align/bbbb0000")
    rows = runs.scores.query("run.str.endswith('aaaa0000-s10') and metric == 'accuracy'")
    assert rows.to_dict("records")[:2] == [
        {
            "run": str(results / "plain" / "aaaa0000-s10"), "method": "plain", "recipe": "plain", "id": "aaaa0000", "seed": 10,
            "source": "eng", "model": "tiny", "task": "toy", "status": "done", "language": "eng", "split": "test",
            "metric": "accuracy", "value": 0.9, "n": 100, "distance": 0.0, "near_or_far": "source",
        },
        {
            "run": str(results / "plain" / "aaaa0000-s10"), "method": "plain", "recipe": "plain", "id": "aaaa0000", "seed": 10,
            "source": "eng", "model": "tiny", "task": "toy", "status": "done", "language": "deu", "split": "test",
            "metric": "accuracy", "value": 0.5, "n": 100, "distance": FAR["deu"], "near_or_far": "near",
        },
    ]  # fmt: skip
    assert dict(zip(rows["language"], rows["near_or_far"], strict=True)) == {
        "eng": "source", "deu": "near", "fra": "near", "tur": "far", "jpn": "far",
    }  # fmt: skip
    assert runs.scores.groupby(["recipe", "id", "seed"]).size().to_dict() == {
        ("plain", "aaaa0000", 2): 10, ("plain", "aaaa0000", 10): 10, ("align", "bbbb0000", 0): 10,
    }  # fmt: skip


def test_measurements_and_predictions_have_the_columns_of_their_run(tmp_path):
    for seed in (0, 1):
        shutil.copytree(next((REFERENCE / "plain").glob(f"*-s{seed}")), tmp_path / "plain" / f"0d6ba955-s{seed}")
    runs = load_results(tmp_path)
    for table, name in ((runs.measurements, "measurements"), (runs.predictions, "predictions")):
        assert list(table)[:9] == list(runs.scores)[:9]
        for folder, rows in table.groupby("run"):
            columns = list(table)[9:]
            stored = pandas.read_parquet(Path(folder) / f"{name}.parquet", columns=columns).astype(
                table.dtypes[columns]
            )
            pandas.testing.assert_frame_equal(rows[columns].reset_index(drop=True), stored)
            assert {str(seed) for seed in rows["seed"]} == {folder[-1]}
    right = runs.predictions.eval("label == prediction").groupby(
        [runs.predictions["run"], runs.predictions["language"]]
    )
    accuracy = runs.scores.query("split == 'test' and metric == 'accuracy'").set_index(["run", "language"])["value"]
    assert right.mean().to_dict() == pytest.approx(accuracy.to_dict())
