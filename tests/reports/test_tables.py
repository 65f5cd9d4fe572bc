"""The forms of a table, by known answers: LaTeX that prints what was meant, CSV that reads back to the same numbers."""

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distxfer.reports.tables import Table, latex_text, markdown_text, p_phrase, table_of


def test_latex_is_a_booktabs_table_with_title_and_notes():
    table = Table(
        ("method", "effect [95 %]", "n", "why"),
        [("drift_reg", "-3.2 [-4.0, +1.0]", 5, None), ("e5-small", None, 13, "R&D")],
        title="tiny · toy",
        notes=("better than `a_b`: x.", "p < 0.05"),
    )
    assert table.latex() == "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}",
            r"\begin{table}",
            r"  \centering",
            r"  \caption{tiny $\cdot$ toy}",
            r"  \label{tab:tiny-toy}",
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            r"  \begin{tabular}{lrrl}",
            r"    \toprule",
            r"    method & effect [95 \%] & n & why \\",
            r"    \midrule",
            r"    drift\_reg & $-$3.2 [$-$4.0, +1.0] & 5 & -- \\",
            r"    e5-small & -- & 13 & R\&D \\",
            r"    \bottomrule",
            r"  \end{tabular}}",
            r"  \par\smallskip\raggedright\footnotesize",
            r"  better than \texttt{a\_b}: x.\par",
            r"  p \textless{} 0.05\par",
            r"\end{table}",
            "",
        ]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\ { } $ & # _ %", r"\textbackslash{} \{ \} \$ \& \# \_ \%"),
        ("~ ^ < > |", r"\textasciitilde{} \textasciicircum{} \textless{} \textgreater{} \textbar{}"),
        (r"\{", r"\textbackslash{}\{"),
        ("5 × 13 – x", r"5 $\times$ 13 -- x"),
        ("-0.5 to 2-3, s-1, x=-1", "$-$0.5 to 2-3, s-1, x=$-$1"),
        ("`a_b` and `c`", r"\texttt{a\_b} and \texttt{c}"),
        ("a ` alone", r"a \textasciigrave{} alone"),
        ('""', "{''}{''}"),
        ("日本語 é", "日本語 é"),
    ],
)
def test_latex_prints_special_characters(text, expected):
    assert latex_text(text) == expected


@given(st.text())
@example("a\n\nb\x07 100 % of $x$ & #1 ~ ^ {} <b> `c")
def test_no_character_of_a_cell_can_act_in_latex(text):
    """What is left once the commands that are written for characters are taken away has nothing that LaTeX acts on."""
    left = latex_text(text)
    assert left.isprintable()
    names = [
        "textbackslash",
        "textasciitilde",
        "textasciicircum",
        "textless",
        "textgreater",
        "textbar",
        "textasciigrave",
    ]
    symbols = ["times", "pm", "cdot", "rightarrow", "leq", "rho"]
    commands = [*(f"\\{name}{{}}" for name in names), "$-$", *(f"$\\{name}$" for name in symbols), "{''}"]
    for command in (*commands, *(f"\\{mark}" for mark in "{}$&#_%")):
        left = left.replace(command, "")
    left = left.replace("\\texttt{", "").replace("}", "")  # opened and closed by the same split
    assert not set(left) & set('\\{$&#_%~^<>|"`')


@pytest.mark.parametrize("first", ["[x]", "*"])
def test_a_row_that_starts_like_an_argument_is_no_argument(first):
    lines = Table(("a", "b"), [("x", "1"), (first, "2")]).latex().splitlines()
    assert f"    {{}}{first} & 2 \\\\" in lines


def test_csv_reads_back_in_full():
    values = (1 / 3, 1e-300, -7, True, None, ("a", "b"), 'say "x", twice\nand more', "no", "")
    text = Table(tuple("abcdefghi"), [values]).csv()
    assert text.startswith("a,b,c,d,e,f,g,h,i\r\n")
    _, row = csv.reader(io.StringIO(text, newline=""))
    assert (float(row[0]), float(row[1])) == (1 / 3, 1e-300)
    assert row[2:] == ["-7", "true", "", "a; b", 'say "x", twice\nand more', "no", ""]
    assert text.endswith('"say ""x"", twice\nand more",no,\r\n')


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-x", "@SUM(A1)", "\t=1"])
def test_a_text_that_a_spreadsheet_would_run_is_quoted_in_csv(text):
    _, row = csv.reader(io.StringIO(Table(("a", "b", "c"), [(text, (text, "b"), "+1.5")]).csv(), newline=""))
    assert row == [f"'{text}", f"'{text}; b", "+1.5"]


def test_a_cell_is_one_line_in_markdown_and_latex():
    table = Table(("a\nb",), [("x\n\ny",)])
    assert table.markdown() == "| a b |\n|---|\n| x y |\n"
    assert r"    x y \\" in table.latex().splitlines()


def test_small_p_values_are_numbers_to_latex():
    assert r"\begin{tabular}{r}" in Table(("p",), [("< 0.001",), ("0.012",)]).latex()


def test_records_become_a_table_of_all_their_keys():
    table = table_of([{"a": 1, "b": 2}, {"b": 3, "c": 4}])
    assert (table.columns, table.rows) == (("a", "b", "c"), [(1, 2, None), (None, 3, 4)])
    assert table_of([]).csv() == "\r\n"


def test_markdown_of_a_document_has_titles_and_notes_and_no_html():
    tables = [
        Table(
            ("a", "b|c"), [("<b>x</b>", 0.5), ("< 0.001", None)], title="<i>", notes=("* p <= 0.05", "<a> and `<code>`")
        ),
        Table(("d",), [("y",)]),
    ]
    assert markdown_text(tables) == (
        "**\\<i>**\n\n| a | b\\|c |\n|---|---|\n| \\<b>x\\</b> | 0.500 |\n| < 0.001 | – |\n\n\\* p <= 0.05\n\n"
        "\\<a> and `<code>`\n\n| d |\n|---|\n| y |\n"
    )


def test_a_p_value_is_never_said_to_be_nothing():
    assert [p_phrase(p) for p in (0.0, 0.00099, 0.001, 0.0456)] == ["p < 0.001", "p < 0.001", "p = 0.001", "p = 0.046"]


def test_a_narrow_terminal_drops_optional_columns_and_cuts_no_name():
    row = (
        "drift_regularisation",
        "Yucatec Maya",
        "a meaning of several words that wraps",
        0.5,
        "weight=0.1",
        "0123abcd",
    )
    names = ("method", "language", "meaning", "score", "settings", "id")
    table = Table(names, [row], optional=("id", "score"), details=("settings",))
    wide, narrow, whole = table.text(120), table.text(68), table.text(68, verbose=True)
    assert "Not shown: settings. `--verbose` shows all columns." in wide
    assert "Not shown: score, settings, id. `--verbose` shows all columns." in narrow
    assert all(name in whole for name in names)
    assert "Not shown" not in whole
    for text in (narrow, whole):
        assert "drift_regularisation   Yucatec Maya" in text
        assert max(map(len, text.splitlines())) <= 68
    assert table.records() == [dict(zip(names, row, strict=True))]


def test_a_table_that_is_too_wide_comes_in_parts_with_the_first_column():
    names = ("method", *(f"column {number}" for number in range(8)))
    table = Table(names, [("plain", *range(8)), ("align", *range(8, 16))], "title", ("a note",))
    assert table.text(400).count("plain") == 1
    narrow = table.text(60)
    assert max(map(len, narrow.splitlines())) <= 60
    assert (narrow.count("plain"), narrow.count("title"), narrow.count("a note")) == (2, 1, 1)
    assert all(narrow.count(name) == 1 for name in names[1:])


def test_colour_marks_failed_runs_and_warnings_unless_no_color_is_set(monkeypatch):
    table = Table(("run", "status"), [("a", "done"), ("b", "collapsed")], notes=("WARNING: few seeds.",))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;31mcollapsed" in table.text(80, color=True)
    assert "\x1b[33mWARNING: few seeds." in table.text(80, color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in table.text(80, color=True)
    assert "\x1b" not in table.text(80)


def test_background_notes_are_shown_on_request_and_outside_of_terminals():
    table = Table(("a",), [("x",)], notes=("first", "more " * 30), background=("more " * 30,))
    assert table.text(80) == "\n  a\n ───\n  x\n\n  `--verbose` explains more.\n  first\n"
    assert "more more" in table.text(80, verbose=True)
    assert "--verbose" not in table.text(80, verbose=True)
    assert max(map(len, table.text(80, verbose=True).splitlines())) <= 80
    assert "more more" in table.latex()
    assert "more more" in markdown_text([table])
