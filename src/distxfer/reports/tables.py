"""Tables: columns and rows, and their forms: text for a terminal, Markdown, LaTeX, CSV, and records for JSON."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from distxfer._markdown import markdown

_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "{''}", "`": r"\textasciigrave{}", "–": "--", "×": r"$\times$",
    "±": r"$\pm$", "·": r"$\cdot$", "→": r"$\rightarrow$", "−": "$-$", "≤": r"$\leq$", "ρ": r"$\rho$",
    **{mark: f"\\{mark}" for mark in "{}$&#_%"},
}  # fmt: skip
# How cells and the beginnings of notes are shown on a terminal with colours.
_STYLES = dict.fromkeys(("collapsed", "failed", "unreadable", "COLLAPSED"), "bold red") | {"WARNING": "yellow"}
_WRAPPED = 24  # the narrowest column in which text is wrapped
_DEVIATION = re.compile(r" \$\\pm\$ ([\d.]+)$")
_NUMBER = re.compile(r"(?:< )?[+-]?\d")
_FORMULA = re.compile(r"[=@\t\r]|[+-](?!\.?\d[\d.]*(?:e[+-]?\d+)?$)")  # how text begins that a spreadsheet would run
_MINUS = re.compile(r"(?<!\w)-(?=\d)")  # the hyphen in 2-3 or e5-small is none


@dataclass(frozen=True)
class Table:
    """Rows under named columns; numbers stay numbers until they are shown. None is shown as a dash.

    Only the form for a terminal leaves anything out: `optional` names columns that a narrow terminal drops, the first one
    first; `details` names columns, and `background` has those of the `notes`, that only `--verbose` shows. `data` are records
    with more than the rows, for JSON.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    title: str = ""
    notes: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    data: Sequence[dict[str, Any]] | None = None

    def records(self) -> list[dict[str, Any]]:
        """Return one object per row, for JSON."""
        return (
            [dict(zip(self.columns, row, strict=True)) for row in self.rows] if self.data is None else list(self.data)
        )

    def text(self, width: int | None = None, *, verbose: bool = False, color: bool = False) -> str:
        """Return the table for a terminal of `width` columns (None: 400).

        Where the columns do not fit, those named in `optional` are dropped, the first one first. If the others still do not
        fit, they come in parts below each other, each with the first column. Cells wrap between words; only a word that is
        wider than the terminal is cut. `verbose` shows every column and note. `color`: with ANSI codes for runs that failed
        or collapsed, and for warnings, unless NO_COLOR is set.
        """
        from rich import box
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        limit = width or 400
        console = Console(file=io.StringIO(), width=limit, force_terminal=color, color_system="auto" if color else None)
        columns = [_Column(name, [row[place] for row in self.rows]) for place, name in enumerate(self.columns)]
        hidden = [] if verbose else self._hidden(columns, limit)
        if len(hidden) == len(columns):
            return f"  {self.title}: `--verbose` shows them.\n"
        title = Text(self.title) if self.title else None
        for part in _parts([column for column in columns if column.name not in hidden], limit):
            table = RichTable(box=box.SIMPLE_HEAD, title=title, title_justify="left")
            for column, room in zip(part, _widths(part, limit), strict=True):
                side: Any = "right" if column.is_number else "left"
                table.add_column(Text(column.name), justify=side, overflow="fold", width=room)
            for cells in zip(*(column.cells for column in part), strict=True):
                table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in cells))
            console.print(table)
            title = None
        notes = [note for note in self.notes if verbose or note not in self.background]
        without = [f"Not shown: {', '.join(hidden)}."] if hidden else []
        if without or len(notes) < len(self.notes):
            of_notes = ["explains more"] if len(notes) < len(self.notes) else []
            shows = " and ".join([*(["shows all columns"] if hidden else []), *of_notes])
            notes.insert(0, " ".join([*without, f"`--verbose` {shows}."]))
        for note in notes:
            lines = fill(note, limit - 2, subsequent_indent="    ", break_on_hyphens=False)
            console.print(Text.assemble("  ", (lines, _STYLES.get(note.partition(":")[0], ""))))
        return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"  # type: ignore[attr-defined]

    def _hidden(self, columns: Sequence["_Column"], width: int) -> list[str]:
        """Return the names of the columns that are not shown: the details, and as many optional ones as do not fit."""
        hidden = list(self.details)
        for name in self.optional:
            if _room([column for column in columns if column.name not in hidden], width) >= 0:
                break
            hidden.append(name)
        return [name for name in self.columns if name in hidden]

    def markdown(self) -> str:
        """Return the table in Markdown; what would be read as markup or HTML is escaped."""
        header, *rows = [
            f"| {' | '.join(markdown(shown(cell), cell=True) for cell in row)} |\n"
            for row in (self.columns, *self.rows)
        ]
        return "".join([header, f"|{'---|' * len(self.columns)}\n", *rows])

    def csv(self) -> str:
        """Return columns and rows as CSV (RFC 4180): numbers in full, nothing for None, several values joined by `; `.

        Text that a spreadsheet would run as a formula, as it begins with `=`, `+`, `-` or `@` and is no number, has an
        apostrophe before it (OWASP, CSV injection).
        """
        stream = io.StringIO()
        csv.writer(stream).writerows([_plain(value) for value in row] for row in (self.columns, *self.rows))
        return stream.getvalue()

    def latex(self) -> str:
        """Return the table as a floating `table` with title, label and notes, shrunk to the width of the text if necessary.

        It needs the packages `booktabs` and `graphicx`, and UTF-8. A cell `mean ± deviation` has the deviation as a subscript.
        """
        cells = [[_DEVIATION.sub(r"$_{\\pm \1}$", latex_text(shown(value))) for value in row] for row in self.rows]
        sides = ["r" if _is_numeric([row[place] for row in self.rows]) else "l" for place in range(len(self.columns))]
        # A row that begins with `[` or `*` would be read as an argument of the `\\` before it.
        lines = [("{}" if row[0][:1] in ("[", "*") else "") + " & ".join(row) for row in cells]
        label = re.sub(r"[^a-z0-9]+", "-", self.title.lower().split(": ")[0]).strip("-")
        heading = [rf"  \caption{{{latex_text(self.title)}}}", rf"  \label{{tab:{label}}}"] if self.title else []
        notes = [r"  \par\smallskip\raggedright\footnotesize", *(rf"  {latex_text(note)}\par" for note in self.notes)]
        return "\n".join(
            [
                r"% needs \usepackage{booktabs,graphicx}",
                r"\begin{table}",
                r"  \centering",
                *heading,
                r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
                rf"  \begin{{tabular}}{{{''.join(sides)}}}",
                r"    \toprule",
                rf"    {' & '.join(map(latex_text, self.columns))} \\",
                r"    \midrule",
                *(rf"    {line} \\" for line in lines),
                r"    \bottomrule",
                r"  \end{tabular}}",
                *(notes if self.notes else []),
                r"\end{table}",
                "",
            ]
        )


class _Column:
    """A column of a table on a terminal: its cells as text, its longest word, and the least and greatest width that suit it."""

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        from rich.cells import cell_len

        self.name = name
        self.cells = [shown(value) for value in values]
        self.is_number = any(isinstance(value, int | float) for value in values)
        self.word = max((cell_len(word) for text in (name, *self.cells) for word in text.split()), default=0)
        body = max(map(cell_len, self.cells), default=0)
        least = max(self.word, min(body, _WRAPPED))
        self.least = max(least, cell_len(name)) if cell_len(name) <= least + 2 else least
        self.greatest = max(body, cell_len(name))


def _room(columns: Sequence[_Column], width: int) -> int:
    """Return how many characters are left where every column has its least width; three blanks separate two columns."""
    return width - 1 - sum(3 + column.least for column in columns)


def _widths(columns: Sequence[_Column], width: int) -> list[int]:
    """Return the width of each column: what suits it, the narrowest first; in a narrow terminal at least its longest word."""
    widths = [column.word for column in columns]
    for size in ("least", "greatest"):
        wanted = [getattr(column, size) for column in columns]
        for place in sorted(range(len(columns)), key=wanted.__getitem__):
            room = width - 1 - sum(3 + wide for wide in widths)
            widths[place] += max(0, min(room, wanted[place] - widths[place]))
    return [min(wide, width - 4) for wide in widths]


def _parts(columns: Sequence[_Column], width: int) -> list[list[_Column]]:
    """Return the columns of each part of the text, each part with the first column."""
    parts: list[list[_Column]] = [list(columns[:1])]
    for column in columns[1:]:
        if _room([*parts[-1], column], width) < 0 and len(parts[-1]) > 1:
            parts.append([columns[0]])
        parts[-1].append(column)
    return parts


def table_of(records: Sequence[Mapping[str, Any]], **options: Any) -> Table:
    """Return records as a table, its columns in the order of their appearance; None where a record has no such key.

    `options` are the further fields of `Table`.
    """
    columns = tuple(dict.fromkeys(key for record in records for key in record))
    return Table(columns, [tuple(record.get(key) for key in columns) for record in records], **options)


def markdown_text(tables: Sequence[Table]) -> str:
    """Return tables in Markdown with their titles and notes, for a document."""
    parts = []
    for table in tables:
        parts += [f"**{markdown(table.title)}**\n"] if table.title else []
        parts += [table.markdown(), *(f"{markdown(note)}\n" for note in table.notes)]
    return "\n".join(parts)


def latex_text(text: str) -> str:
    """Return text as LaTeX that prints it: special characters escaped, `words` in typewriter, minus signs before numbers."""
    line = "".join(mark if mark.isprintable() else "\ufffd" for mark in re.sub(r"\s+", " ", text))
    plain = re.split(r"`([^`]*)`", line)  # every second part was between two of them
    parts = ["".join(_LATEX.get(mark, mark) for mark in part) for part in plain]
    return "".join(rf"\texttt{{{part}}}" if place % 2 else _MINUS.sub("$-$", part) for place, part in enumerate(parts))


def _is_numeric(column: Sequence[Any]) -> bool:
    filled = [value for value in column if value is not None]
    return bool(filled) and all(_NUMBER.match(shown(value)) for value in filled)


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        value = "; ".join(str(_plain(part)) for part in value)
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def shown(value: Any) -> str:
    """Return a cell's text on one line: three decimals for a fraction, a dash for what is missing."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else re.sub(r"\s+", " ", str(value))


def p_phrase(p: float) -> str:
    """Return a p value as text: `p = 0.012`, or `p < 0.001`, since no test says that anything is impossible."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
