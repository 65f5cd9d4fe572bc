"""Tables: columns and rows, and their forms: text for a terminal, Markdown, LaTeX, CSV, and records for JSON."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distxfer._markdown import markdown

_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "{''}", "`": r"\textasciigrave{}", "–": "--", "×": r"$\times$",
    **{mark: f"\\{mark}" for mark in "{}$&#_%"},
}  # fmt: skip
_NUMBER = re.compile(r"(?:< )?[+-]?\d")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would run
_MINUS = re.compile(r"(?<!\w)-(?=\d)")  # a hyphen that is one, as in 2-3 or e5-small, stays


@dataclass(frozen=True)
class Table:
    """Rows under named columns; numbers stay numbers until they are shown. None is shown as a dash."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    title: str = ""
    notes: tuple[str, ...] = ()

    def records(self) -> list[dict[str, Any]]:
        """Return one object per row, for JSON."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def text(self, width: int | None = None) -> str:
        """Return the table for a terminal of `width` columns (None: as wide as it needs to be).

        A table that is too wide comes in several parts below each other, each with the first column.
        """
        from rich import box
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        stream = io.StringIO()
        console = Console(file=stream, width=width or 400, color_system=None)
        title = Text(self.title) if self.title else None
        for places in self._parts(width or 400):
            table = RichTable(box=box.SIMPLE_HEAD, title=title, title_justify="left")
            for place in places:
                numbers = any(isinstance(row[place], int | float) for row in self.rows)
                table.add_column(Text(self.columns[place]), justify="right" if numbers else "left", overflow="fold")
            for row in self.rows:
                table.add_row(*(Text(shown(row[place])) for place in places))
            console.print(table)
            title = None
        for note in self.notes:
            console.print(Text(f"  {note}"))
        return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"

    def _parts(self, width: int) -> list[list[int]]:
        """Return the columns of each part of the text; what is wider than half of it may be folded."""
        from rich.cells import cell_len

        parts: list[list[int]] = [[]]
        room = 0
        for place, column in enumerate(self.columns):
            cells = [column, *(shown(row[place]) for row in self.rows)]
            needed = 3 + min(width // 2, max(map(cell_len, cells)))  # three blanks part two columns
            if place == 0:
                room = first = width - needed - 1
            elif needed > room and len(parts[-1]) > 1:
                parts.append([0])
                room = first
            parts[-1].append(place)
            room -= needed if place else 0
        return parts

    def markdown(self) -> str:
        """Return the table in Markdown; what would be read as markup or HTML is escaped."""

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(markdown(cell, cell=True) for cell in cells) + " |"

        body = [line([shown(value) for value in row]) for row in self.rows]
        return (
            "\n".join([line([shown(column) for column in self.columns]), "|" + "---|" * len(self.columns), *body])
            + "\n"
        )

    def csv(self) -> str:
        """Return columns and rows as CSV (RFC 4180): numbers in full, nothing for None, several values joined by `; `.

        Text that a spreadsheet would run as a formula, as it begins with `=`, `+`, `-` or `@` and is no number, has an
        apostrophe before it (OWASP, CSV injection).
        """
        stream = io.StringIO()
        writer = csv.writer(stream)
        writer.writerow([_plain(column) for column in self.columns])
        writer.writerows([[_plain(value) for value in row] for row in self.rows])
        return stream.getvalue()

    def latex(self) -> str:
        """Return the table as a `table` of LaTeX, with its title and notes; it needs the package `booktabs` and UTF-8."""
        cells = [[latex_text(shown(value)) for value in row] for row in self.rows]
        sides = ["r" if _is_numeric([row[place] for row in self.rows]) else "l" for place in range(len(self.columns))]
        # A row that begins with `[` or `*` would be read as an argument of the `\\` before it.
        lines = [("{}" if row[0][:1] in ("[", "*") else "") + " & ".join(row) + r" \\" for row in cells]
        notes = [r"  \par\smallskip\raggedright\footnotesize", *(f"  {latex_text(note)}\\par" for note in self.notes)]
        return "\n".join(
            [
                r"\begin{table}",
                r"  \centering",
                *([f"  \\caption{{{latex_text(self.title)}}}"] if self.title else []),
                f"  \\begin{{tabular}}{{{''.join(sides)}}}",
                r"    \toprule",
                "    " + " & ".join(map(latex_text, self.columns)) + r" \\",
                r"    \midrule",
                *(f"    {line}" for line in lines),
                r"    \bottomrule",
                r"  \end{tabular}",
                *(notes if self.notes else []),
                r"\end{table}",
                "",
            ]
        )


def table_of(records: Sequence[Mapping[str, Any]]) -> Table:
    """Return records as a table, its columns in the order of their appearance; None where a record has no such key."""
    columns = tuple(dict.fromkeys(key for record in records for key in record))
    return Table(columns, [tuple(record.get(key) for key in columns) for record in records])


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
    parts = re.split(r"`([^`]*)`", line)  # every second part was between two of them
    return "".join(
        rf"\texttt{{{_escaped(part)}}}" if place % 2 else _MINUS.sub("$-$", _escaped(part))
        for place, part in enumerate(parts)
    )


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _is_numeric(column: Sequence[Any]) -> bool:
    filled = [value for value in column if value is not None]
    return bool(filled) and all(_NUMBER.match(shown(value)) for value in filled)


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        value = "; ".join(str(part).lower() if isinstance(part, bool) else str(part) for part in value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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


def settings_text(values: Mapping[str, tuple[Any, str]]) -> str:
    """Return settings as lines of TOML, each with its origin as a comment, grouped by table."""
    width = max((len(f"{key} = {_toml(value)}") for key, (value, _) in values.items()), default=0)
    return "".join(
        f"{f'{key} = {_toml(value)}':<{min(width, 60)}}  # {origin}\n" for key, (value, origin) in values.items()
    )


def _toml(value: Any) -> str:
    import json

    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
