"""A report as it is asked for: the files it writes and says it wrote, and everything it leaves out or refuses."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import distxfer
from finished_runs import HOSTILE, edit, three_methods, write_run
from helpers import Elements, message


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return three_methods(tmp_path_factory.mktemp("runs"))


# What it writes


def test_the_verb_says_what_it_wrote(cli, runs):
    begun = runs / "plain" / "00000000-s9"
    begun.mkdir()
    (begun / "log.jsonl").touch()
    report = cli("report", "--results", str(runs), "--distance", "syntactic")
    assert report.exit_code == 0
    assert re.fullmatch(r"report\.html  \(3 methods, 9 runs, \d\.\d MB\)\n", report.stdout)
    assert "\n1 left out:\n- " in report.stderr
    assert [path.name for path in Path.cwd().iterdir()] == ["report.html"]
    # Without a name, plain is the baseline.
    assert "<li>plain (baseline): 3 seeds" in Path("report.html").read_text(encoding="utf-8")
    shutil.rmtree(begun)


def test_json_says_it_too(cli, runs):
    report = json.loads(
        cli("report", "plain", "align", "--results", str(runs), "--distance", "genetic", "--json").stdout
    )
    assert report == {
        "page": "report.html", "size": Path("report.html").stat().st_size, "figures": [], "methods": 2, "runs": 6,
        "left_out": [], "notes": [
            "Unverified: 6 of 6 results have no digests (an earlier version wrote them). Damage to their files would go"
        " unnoticed."
        ],
    }  # fmt: skip


def test_no_torch_is_imported(runs, tmp_path):
    code = (
        "import sys\nsys.modules['torch'] = sys.modules['transformers'] = None\nfrom distxfer.cli import app\n"
        f"app(['report', '--results', {str(runs)!r}, '--out', {str(tmp_path / 'a.html')!r}, '--distance', 'syntactic'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.html").stat().st_size > 9e5


def test_a_hundred_runs_fit_in_five_megabytes(tmp_path):
    targets = ("ara", "deu", "fas", "fra", "ind", "ita", "jpn", "kor", "por", "rus", "spa", "tur", "zho")
    for number in range(20):
        for seed in range(5):
            name, terms = ("plain", ()) if number == 0 else (f"method_{number}", ("align", "drift"))
            write_run(tmp_path, name, seed, gain=0.01 * number, targets=targets, layers=12, terms=terms)
    report = distxfer.report([], tmp_path / "a.html", results=tmp_path)
    assert report.runs == 100
    assert report.size < 5e6


def test_figures_are_written_in_three_kinds_without_the_colours_of_the_page(tmp_path, runs):
    folder = tmp_path / "figures"
    report = distxfer.report(
        ["plain", "align"], tmp_path / "a.html", results=runs, distances=["syntactic"], figures=folder
    )
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in report.figures}
    assert {path.stem for path in report.figures} == {
        "effects", "transfer-by-distance", "effects-by-language", "drift-by-layer", "drift-correlations-by-layer",
        "drift-by-distance", "alignment-by-layer", "learning-curves", "cost",
    }  # fmt: skip
    for path in report.figures:
        start = {".png": b"\x89PNG", ".svg": b"<svg", ".pdf": b"%PDF"}[path.suffix]
        assert path.read_bytes().startswith(start)
        assert b"var(--" not in path.read_bytes()
    assert "Japanese" in (folder / "drift-by-layer.svg").read_text(encoding="utf-8")


# What is left out


def test_what_is_broken_or_foreign_is_named_and_left_out(tmp_path):
    results = tmp_path / "results"
    for seed in range(3):
        write_run(results, "plain", seed)
    (write_run(results, "broken") / "result.json").write_text("{")
    (write_run(results, "foreign") / "result.json").write_text('{"schema": 1}')
    edit(write_run(results, "alien"), lambda data: data["scores"].append({**data["scores"][0], "language": HOSTILE}))
    edit(write_run(results, "shapeless"), lambda data: data.update(distances=[{"language": "deu"}]))
    (write_run(results, "torn", 0) / "measurements.parquet").write_bytes(b"no")
    (write_run(results, "cut", 0) / "log.jsonl").write_text('{"phase_number": 0, "step": 0, "loss": 1.0}\n{"ph')
    report = distxfer.report([], tmp_path / "a.html", results=results)
    assert report.methods == 3  # plain, torn, cut
    assert len(report.left_out) == 6
    for part in ("broken", "foreign", "alien", "shapeless", "torn", "cut"):
        assert sum(f"/{part}/" in line for line in report.left_out) == 1, part
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "6 left out" in page
    assert "img" not in Elements(page).tags


def test_a_text_that_utf8_does_not_have_is_replaced(tmp_path):
    edit(write_run(tmp_path), lambda data: data["provenance"].update(device="a\ud800b"))
    distxfer.report(["plain"], tmp_path / "a.html", results=tmp_path, distances=["syntactic"])
    assert "a?b" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.part"))


def test_nothing_half_written_is_left_behind(tmp_path, runs, monkeypatch):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(RuntimeError):
        distxfer.report(["plain"], tmp_path / "a.html", results=runs, distances=["syntactic"])
    assert not list(tmp_path.iterdir())


def test_numbers_that_cannot_be_read_are_named_and_left_out(tmp_path):
    huge = 10**400
    costly = write_run(tmp_path, "plain", 0)
    edit(costly, lambda data: data["cost"].update(tokens=huge))
    stepless = write_run(tmp_path, "plain", 1)
    edit(stepless, lambda data: data["diagnostics"][0].update(step="a"))
    sampled = write_run(tmp_path, "plain", 2)
    edit(sampled, lambda data: data["diagnostics"][0].update({"drift/jpn": huge}))
    logged = write_run(tmp_path, "plain", 3)
    (logged / "log.jsonl").write_text(json.dumps({"phase_number": 0, "step": 0, "loss": huge}))
    report = distxfer.report(["plain"], tmp_path / "a.html", results=tmp_path, distances=["syntactic"])
    assert report.runs == 4
    assert sorted(report.left_out) == sorted(
        [
            f"`cost.tokens` of `{costly / 'result.json'}` is left out: the number is too large.",
            f"`diagnostics` of `{stepless / 'result.json'}` cannot be read (could not convert string to float: 'a').",
            f"`diagnostics` of `{sampled / 'result.json'}` cannot be read (int too large to convert to float).",
            f"`{logged / 'log.jsonl'}` cannot be read (int too large to convert to float).",
        ]
    )


# What is refused


def test_an_empty_selection_is_refused(tmp_path):
    out = tmp_path / "a.html"
    assert message(distxfer.report, [], out, results=tmp_path) == (
        f"There is no finished run in `{tmp_path}`. Train one, or say where results are with `--results`."
    )
    run = write_run(tmp_path)
    edit(run, lambda data: data.update(source="English"))
    assert message(distxfer.report, [], out, results=tmp_path).startswith(
        f"No runs remain to report; 1 left out:\n  `{run / 'result.json'}` is left out: Language code `English` is not known."
    )
    edit(run, lambda data: data.update(status="collapsed", source="eng"))
    assert message(distxfer.report, [], out, results=tmp_path) == (
        "All 1 runs of `plain` collapsed, so there is nothing to report. Choose other runs, or train it with other settings."
    )
    assert not out.exists()


def test_what_cannot_be_written_is_refused_before_anything_is_read(cli, runs, monkeypatch):
    for words, expected in (
        (["--out", "a.pdf"], "`a.pdf` is not the name of a page; expected one that ends in `.html`."),
        (["--out", "no/a.html"], "The folder of `no/a.html` does not exist. Create it first, or choose another."),
        (["--figures", "no/a"], "The folder of `no/a` does not exist. Create it first, or choose another."),
        (["--figures", __file__], f"`{__file__}` is not a folder; expected one for the figures. Choose another."),
    ):
        wrong = cli("report", *words)
        assert (wrong.exit_code, wrong.stdout, wrong.stderr) == (2, "", f"Error: {expected}\n")
    for package in ("altair", "vl_convert"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            wrong = cli("report", "--results", str(runs))
        assert wrong.stderr == (
            f"Error: A report needs the package `{package}`, which is not installed."
            ' Run: pip install "distxfer[figures]"\n'
        )
    assert not list(Path.cwd().iterdir())


def test_an_unknown_distance_or_baseline_is_refused(cli, runs):
    wrong = cli("report", "--results", str(runs), "--distance", "syntatic")
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("Error: Distance `syntatic` is not known. Did you mean `syntactic`?")
    wrong = cli("report", "--results", str(runs), "--baseline", "plane")
    assert wrong.stderr.startswith("Error: Baseline `plane` is not known. Did you mean `plain`?")
