"""The verb `measure`: its tables, its JSON, its figure, and everything it refuses, word for word."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conftest import LAYERS, save_tiny
from distxfer.languages import DISTANCES
from distxfer.reports.measure import measure_tables
from distxfer.reports.measure_figure import measure_figure

EXAMPLE = "distxfer measure before=bundled/multilingual-e5-small after=results/plain/0123abcd-s0/model task=emoji"
EXPECTED = f"; expected one `before=MODEL` and one `after=MODEL`. For example: {EXAMPLE}"
COUNTS = (
    "model.pooling, task.name, task.source, task.targets, task.max_length, task.folder, task.revision, task.type,"
    " task.pattern, task.columns, distance.name, distance.imputed, distance.matrix, parallel.name, parallel.folder,"
    " parallel.revision, parallel.pattern, measure.similarity"
)


# The command line


def test_json_is_one_list_with_the_columns_of_the_measurements(cli, tiny, tuned, seven, measurement):
    shown = cli("measure", f"before={tiny}", "--json", f"after={tuned}", f"task={seven}", "parallel=")
    assert shown.exit_code == 0
    repeated = "`eng/test.jsonl` repeats 24 training texts of `eng/train.jsonl` (first: line 1)."
    assert shown.stderr.splitlines() == [repeated, *(f"Measuring 168 texts with `{model}`." for model in (tiny, tuned))]
    records = json.loads(shown.stdout, parse_constant=lambda word: pytest.fail(word))
    assert records == measurement.records()
    columns = ["measure", "layer", "language", "value", "n", "moment"]
    extra_columns = ["p", "p_holm", "n_groups", "method", "detectable", "reason"]
    of_parts = ["p", "r", "partial_r", "partial_p", "coefficient", "vif"]
    for record in records:
        assert list(record)[:6] == columns
        extra = extra_columns if record["measure"].startswith("correlation") else []
        extra = of_parts if record["measure"].startswith("decomposition_") else extra
        assert sorted(list(record)[6:]) == sorted(extra)
    kinds = {record["measure"] for record in records}
    assert kinds == {
        "drift_cka", "drift_cka_standardised", "top_dimension_share", "accuracy", "relative_transfer",
        "correlation_drift_transfer", *(f"correlation_{kind}_{name}" for kind in ("drift", "transfer") for name in DISTANCES),
        "decomposition", "decomposition_distance", "decomposition_script", "decomposition_tokens",
    }  # fmt: skip
    score = next(record for record in records if (record["measure"], record["language"]) == ("accuracy", "jpn"))
    assert score == dict(zip(columns, ["accuracy", None, "jpn", measurement.scores["jpn"], 24, "after"], strict=True))
    mean = [
        record for record in records if record["measure"] == "correlation_drift_genetic" and record["layer"] is None
    ]
    assert len(mean) == 1
    assert mean[0]["language"] is None


def test_the_tables(cli, tiny, tuned, seven, measurement):
    shown = cli("measure", f"before={tiny}", f"after={tuned}", f"task={seven}", "parallel=").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["language", "name", "syntactic", "accuracy", "transfer", "n", "drift", "1", "2", "3", "4"] in lines
    rows = [line for line in lines if line and line[0] in measurement.ordered and len(line) == 11]
    assert [row[0] for row in rows] == list(measurement.ordered)
    assert rows[0][:4] == ["eng", "English", "–", f"{measurement.scores['eng']:.3f}"]
    far = [float(row[2]) for row in rows[1:]]
    assert far == sorted(far)
    assert rows[1][7] == f"{measurement.drift(rows[1][0])[1]:.3f}"
    assert ["drift", "at", *measurement.distances, "transfer"] in lines
    place = 1 + list(measurement.distances).index("syntactic")
    for head, layer in (("mean", None), ("1", 1), ("4", 4)):
        (row,) = [line for line in lines if line[:1] == [head]]
        correlation = measurement.relation("correlation_drift_syntactic", layer).found
        assert row[place].rstrip("*") == f"{correlation.r:+.2f}"
    assert (
        "n = 6 languages in 5 families; the source `eng` (the diagonal) is excluded; unbiased CKA, mean pooling"
        in shown
    )
    biased = cli(
        "measure", f"before={tiny}", f"after={tuned}", f"task={seven}", "parallel=", "--biased", "--pearson", "--diagonal",
        "model.pooling=cls", "distance.imputed=false", "distance=genetic",
    ).stdout  # fmt: skip
    for words in (
        "n = 7 languages in 5 families; the source `eng` (the diagonal) is included; biased CKA, cls pooling",
        "Pearson correlation of drift with each distance",
        # of one and the same first token, before the first layer
        "No drift for eng, deu, fin, fra, jpn, kor, tur at layer 0: the self-similarity",
        "language   name       genetic",
    ):
        assert words in biased
    assert "gaps imputed" not in biased


def test_a_star_needs_holm(measurement):
    sure = replace(measurement.relations[0], p_holm=0.04)
    table = measure_tables(replace(measurement, relations=(sure, *measurement.relations[1:])))[1]
    row = next(row for row in table.rows if row[0] == "1")
    assert row[table.columns.index("syntactic")] == f"{sure.found.r:+.2f}*"
    assert [cell for row in table.rows for cell in row if cell and cell.endswith("*")] == [f"{sure.found.r:+.2f}*"]


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_tables_fit_their_terminal(measurement, width):
    deep = replace(
        measurement,
        layers=12,
        rows=tuple(replace(row, layer=layer) for row in measurement.rows for layer in range(13) if row.layer == 1),
        relations=tuple(
            replace(relation, layer=layer)
            for relation in measurement.relations
            for layer in ([relation.layer] if relation.layer is None else range(1, 13) if relation.layer == 1 else [])
        ),
    )
    drift, related, parts = measure_tables(deep, width)
    assert drift.columns[-3:] == ("lower", "middle", "upper")
    assert [row[0] for row in related.rows] == ["transfer", "mean", *map(str, range(1, 13))]
    assert all(len(line) <= width for table in (drift, related, parts) for line in table.text(width).splitlines())
    assert measure_tables(deep, 200)[0].columns[-12:] == tuple(map(str, range(1, 13)))


def test_one_dimension_that_holds_the_variance_is_said(measurement):
    rows = [
        replace(row, value=0.9) if (row.measure, row.layer, row.language, row.moment) == (
            "top_dimension_share", 2, "jpn", "before") else row
        for row in measurement.rows if row.measure != "top_dimension_share" or row.language == "jpn"
    ]  # fmt: skip
    notes = measure_tables(replace(measurement, rows=tuple(rows)))[0].notes
    assert (
        "One dimension holds up to 0.90 of the variance (layer 2, jpn, before): compare `drift_cka_standardised` (--json)."
        in notes
    )


# What is refused

REFUSED = {
    "": f"The command names no `before`{EXPECTED}",
    "before=x": f"The command names no `after`{EXPECTED}",
    "before=x after=": (
        f"The command names no `after`{EXPECTED}"
    ),
    "before=x after=y before=z": (
        f"The command names `before` 2 times{EXPECTED}"
    ),
    "before=x after=y model=z": (
        f"`model` has no effect on measuring: `before` and `after` name the models. Remove it; the keys are: {COUNTS}."
    ),
    "before=x after=y recipe=plain": (
        f"`recipe` has no effect on measuring: nothing is trained here. Remove it; the keys are: {COUNTS}."
    ),
    "before=x after=y phase.finetune.epochs=3": (
        "`phase.finetune.epochs` has no effect on measuring: nothing is trained here. Remove it; the keys are:"
        f" {COUNTS}."
    ),
    "before=x after=y modle.pooling=cls": (
        f"`modle.pooling` is not a key. Did you mean `model.pooling`? The keys are: {COUNTS}."
    ),
    "before=/nowhere after=y": (
        "`before`: The model `/nowhere` does not exist. Give a folder, a name on the Hugging Face hub, or"
        " `bundled/multilingual-e5-small`."
    ),
    "before=x after=y model.pooling=max": (
        "The recipe `plain` has 1 mistake:\n  `model.pooling` is `max`, but it should be 'mean', 'cls' or 'last'."
    ),
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_wrong_is_said_once(cli, words, seven):
    arguments = words.split()
    if "task" not in words:
        arguments += [f"task={seven}", "parallel="]
    wrong = cli("measure", *arguments)
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr == f"Error: {REFUSED[words]}\n"


def test_as_many_layers_are_needed(cli, tiny, tmp_path, seven):
    deeper = save_tiny(tmp_path / "deeper", num_hidden_layers=LAYERS + 1)
    wrong = cli("measure", f"before={tiny}", f"after={deeper}", f"task={seven}", "parallel=")
    assert wrong.exit_code == 2
    assert wrong.stderr == (
        f"Error: `before={tiny}` has 4 layers and `after={deeper}` has 5; drift is measured layer by layer, so both need the"
        f" same number. Give the checkpoint that `after` was trained from.\n"
    )


def test_more_tokens_than_positions(cli, tiny, tmp_path, seven):
    short = save_tiny(tmp_path / "short", max_position_embeddings=20)
    wrong = cli("measure", f"before={tiny}", f"after={short}", f"task={seven}", "parallel=")
    assert wrong.stderr == (
        "Error: `task.max_length` is `128`, but `after` reads at most 20 tokens. Set `task.max_length=20`.\n"
    )


# The figure


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<svg"), ("a.html", b"<!DOCTYPE html>")]
)
def test_a_figure_of_every_kind(measurement, tmp_path, name, start):
    measure_figure(measurement, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


HOSTILE = "</script><img src=x onerror=alert(1)>&amp;{{x}} $</text>"


def test_a_hostile_name_is_shown_as_text(measurement, tmp_path):
    hostile = replace(
        measurement,
        before=HOSTILE,
        after="b",
        distances={**measurement.distances, "<i>": measurement.distances["genetic"]},
    )
    measure_figure(hostile, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.lower().count("</script") == page.lower().count("<script") == 1
    assert "<img" not in page.split("window.embed=")[1]
    measure_figure(hostile, tmp_path / "a.svg")
    drawing = ElementTree.parse(tmp_path / "a.svg")
    texts = [element.text for element in drawing.iter() if element.text]
    assert any(HOSTILE[-20:] in text for text in texts)
    assert not [element for element in drawing.iter() if element.tag.endswith(("img", "image", "script"))]


def test_the_page_needs_no_network(measurement, tmp_path):
    measure_figure(measurement, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "src=" not in page.split("<script")[0] + page.split("</script>")[1]
    assert "<link" not in page.split("<script")[0]
    script = page.split('<script type="module">')[1].split("</script>")[0]
    assert "window.embed=" in script.replace(" ", "")
    assert "cdn.jsdelivr" not in script
    spec = json.loads(script.split('embed("#figure", ')[1].rsplit(', {"actions"', 1)[0])
    drift, related = spec["hconcat"]
    values = {(row["language"], row["layer"]): row["drift"] for row in spec["datasets"][drift["data"]["name"]]}
    assert values["Japanese (0.50)", 2] == pytest.approx(measurement.drift("jpn")[2])
    assert len(values) == 7 * (LAYERS + 1)
    assert sorted(len(spec["datasets"][layer["data"]["name"]]) for layer in related["layer"])[-1] == 7 * LAYERS


def test_what_is_not_defined_leaves_a_gap_in_the_figure(measurement, tmp_path):
    rows = [
        replace(row, value=math.nan) if row.layer == 2 and row.language == "jpn" else row for row in measurement.rows
    ]
    undefined = [
        replace(relation, found=replace(relation.found, r=None, p=None, reason="x"), p_holm=None)
        if relation.layer == 3
        else relation
        for relation in measurement.relations
    ]
    measure_figure(replace(measurement, rows=tuple(rows), relations=tuple(undefined)), tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert '"layer": 2, "language": "Japanese (0.50)", "drift": null' in page
    assert "NaN" not in page.split('embed("#figure", ')[1]


def test_a_figure_that_cannot_be_drawn_is_refused_before_anything_is_measured(cli, tmp_path, monkeypatch):
    for name, message in (
        ("a.gif", "`a.gif` is not a figure format; expected one of: .png, .svg, .pdf, .html."),
        ("no/a.png", "The folder of `no/a.png` does not exist. Create it first, or choose another."),
    ):
        wrong = cli("measure", "before=x", "after=y", "--figure", name)
        assert (wrong.exit_code, wrong.stdout, wrong.stderr) == (2, "", f"Error: {message}\n")
    for package in ("altair", "vl_convert"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            wrong = cli("measure", "before=x", "after=y", "--figure=a.png")
        assert wrong.stderr == (
            f"Error: A figure needs the package `{package}`, which is not installed."
            ' Run: pip install "distxfer[figures]"\n'
        )


def test_the_verb_draws_too(cli, tiny, tuned, seven):
    shown = cli("measure", f"before={tiny}", f"after={tuned}", f"task={seven}", "parallel=", "--figure", "a.svg")
    assert shown.exit_code == 0
    assert "Finnish" in Path("a.svg").read_text(encoding="utf-8")
