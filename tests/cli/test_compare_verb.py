"""`distxfer compare` of runs: every form and view of the tables, its defaults, what it leaves out, and wrong words."""

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from distxfer.analysis.one_seed import compare_runs
from distxfer.reports.comparison import comparison_tables
from fake_runs import ALIGN, compared, plain_and_align, runs, scores, write

REFERENCE = Path(__file__).parents[2] / "results" / "emoji-with-flags" / "reference"


@pytest.fixture
def results(tmp_path):
    return plain_and_align(tmp_path / "results")


def test_the_verb_writes_every_form(cli, results):
    words = ("compare", "plain", "align", "--results", str(results))
    comparisons = compared(results)
    text = cli(*words)
    assert (text.exit_code, text.stderr) == (
        0,
        "Unverified: 7 of 7 results have no digests (an earlier version wrote them). Damage to their files would go"
        " unnoticed.\n",
    )
    assert "better than `plain` only if languages of one family are independent: align." in text.stdout
    data = json.loads(cli(*words, "--json").stdout)
    assert data == json.loads(cli(*words, "--format", "json").stdout) == json.loads(json.dumps(comparisons.records()))
    assert {"baseline", "method", "subset", "effect", "low", "high", "p", "p_holm", "n_seeds", "n_languages", "collapsed",
            "dropped"} <= set(data["comparisons"][0])  # fmt: skip
    assert (data["metric"], data["selection"]) == ("accuracy", "last")
    markdown = cli(*words, "--format", "markdown").stdout
    assert markdown.startswith("**tiny · toy**\n\n| method | mean |")
    rows = list(csv.DictReader(io.StringIO(cli(*words, "--format", "csv").stdout)))
    assert [row["subset"] for row in rows] == ["all", "near", "far"]
    assert float(rows[0]["effect"]) == comparisons.comparisons[0].test.effect
    assert {(row["selection"], row["metric"], row["baseline"]) for row in rows} == {("last", "accuracy", "plain")}


def test_latex_has_methods_by_languages_and_no_settings_in_a_cell(cli, results, tmp_path):
    strong = {"intervention.align": {**ALIGN, "weight": 2.0}}
    table = scores(0.2, seed=5)
    runs(results, "align", "dddd0000", table, strong)
    latex = cli("compare", "plain", "align", "--results", str(results), "--format", "latex").stdout
    labels = re.findall(r"\\label\{(.+)\}", latex)
    assert labels == ["tab:test-accuracy-by-language", "tab:tiny-toy", "tab:leave-one-out-effects"]
    for sides, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}\n(.+?)\\end\{tabular\}", latex, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {row.count(" & ") for row in rows} == {len(sides) - 1}
        assert "=" not in body
    means, deviations = 100 * table.mean(axis=0), 100 * table.std(axis=0, ddof=1)
    average = 100 * table.mean(axis=1)
    cells = [rf"{mean:.1f}$_{{\pm {sd:.1f}}}$" for mean, sd in zip(means, deviations, strict=True)]
    cells += [rf"{average.mean():.1f}$_{{\pm {average.std(ddof=1):.1f}}}$", r"4 \\"]
    assert " & ".join(["align (b)", r"90.0$_{\pm 0.0}$", *cells]) in latex
    assert "align (b): intervention.align.weight=2.0." in latex
    if shutil.which("pdflatex"):
        document = (
            rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{latex}\end{{document}}"
        )
        (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
        words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        made = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
        assert made.returncode == 0, made.stdout


@pytest.mark.parametrize(
    ("by", "first", "rows"), [("language", "deu", 4), ("family", "Indo-European", 3), ("distance", "align", 1)]
)
def test_the_views(cli, results, by, first, rows):
    words = ("compare", "plain", "align", "--results", str(results), "--by", by)
    comparisons = compared(results)
    main, *_ = comparison_tables(comparisons, by)
    assert len(main.rows) == rows
    lines = [line.split() for line in cli(*words).stdout.splitlines()]
    assert any(line[:1] == [first] for line in lines)
    numbers = list(csv.DictReader(io.StringIO(cli(*words, "--format", "csv").stdout)))
    assert len(numbers) == (3 if by == "distance" else rows)  # near, far and slope
    effects = {
        "language": comparisons.by_language,
        "family": comparisons.by_family,
        "distance": comparisons.comparisons[1:],
    }[by]
    assert float(numbers[0]["effect"]) == effects[0].test.effect


def test_nothing_named_is_everything_with_plain_as_the_baseline(cli, results):
    data = json.loads(cli("compare", "--results", str(results), "--json").stdout)
    assert (data["baseline"], [row["method"] for row in data["comparisons"]]) == ("plain", ["align"] * 3)
    data = json.loads(cli("compare", "align", "--baseline", "plain", "--results", str(results), "--json").stdout)
    assert data["baseline"] == "plain"


def test_a_plain_of_several_ids_is_no_baseline_of_its_own_accord(cli, results):
    runs(results, "plain", "cccc0000", scores(), {"phase.finetune.epochs": 9})
    for verb in ("compare", "report"):
        answer = cli(verb, "--results", str(results))
        assert (answer.exit_code, answer.stdout) == (2, "")
        assert answer.stderr.startswith("Error: Baseline `plain` is 2 methods. Say which: `plain/aaaa0000` is plain (")


def test_what_is_left_out_is_counted(cli, results):
    folder = write(results / "align" / "eeee0000-s0", "nonsense")
    words = ("compare", "plain", "align", "--results", str(results))
    lines = [line.strip() for line in cli(*words).stdout.splitlines()]
    place = lines.index("1 left out:")
    assert lines[place + 1].startswith(f"- `{folder / 'result.json'}` is no result of distxfer (")
    assert len(json.loads(cli(*words, "--json").stdout)["left_out"]) == 1
    assert f"\nNote: `{folder / 'result.json'}` is no result" in cli(*words, "--format", "csv").stderr


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
    below = [str(Path(folder).relative_to(REFERENCE)) for folder in folders]
    assert json.loads(cli("compare", *below, "--results", str(REFERENCE), "--json").stdout) == expected.records()
    three = cli("compare", *folders, str(next(REFERENCE.glob("lora/*-s0"))), "--json")
    assert [row["n_seeds"] for row in json.loads(three.stdout)["comparisons"]] == [1] * 6


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--by", "language", "--table", "x.csv"], "`--by` needs the settings of runs, which a table of scores"
         " does not have. Leave it out."),
        (["plain", "--table", "x.csv", "--baseline", "plain"], "`compare` takes names of runs or `--table`, not both."
         " Leave out `plain` or the table."),
        (["plain", "align", "--paired"], "`--paired` is for `--table`; runs record it themselves. Leave it out."),
        (["plain", "align", "--interactions"], "`--interactions` needs `--ablation`. Add it, or leave `--interactions` out."),
        (["plain", "align", "--ablation", "--by", "family"], "`--by` and `--ablation` are two views of the same runs. Choose"
         " one."),
        (["plain", "align", "--json", "--format", "csv"], "`--json` and `--format csv` name two formats. Choose one."),
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
