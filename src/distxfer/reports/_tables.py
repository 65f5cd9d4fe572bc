"""Tables: columns and rows, and their three forms: text for a terminal, Markdown, and records for JSON."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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
        """Return the table for a terminal of `width` columns (None: as wide as it needs to be)."""
        from rich import box
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=box.SIMPLE_HEAD, title=Text(self.title) if self.title else None, title_justify="left")
        for index, column in enumerate(self.columns):
            numbers = any(isinstance(row[index], int | float) for row in self.rows)
            table.add_column(Text(column), justify="right" if numbers else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(shown(value)) for value in row))
        stream = io.StringIO()
        console = Console(file=stream, width=width or 400, color_system=None)
        console.print(table)
        for note in self.notes:
            console.print(Text(f"  {note}"))
        return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"

    def markdown(self) -> str:
        """Return the table in Markdown; a bar inside a cell is escaped."""

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        body = [line([shown(value) for value in row]) for row in self.rows]
        return "\n".join([line(self.columns), "|" + "---|" * len(self.columns), *body]) + "\n"


def shown(value: Any) -> str:
    """Return a cell's text: three decimals for a fraction, a dash for what is missing."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


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
