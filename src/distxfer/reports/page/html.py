"""The page: one self-contained HTML file that fetches nothing."""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from distxfer import __version__
from distxfer.reports.page.effects import title_of, verdict_of
from distxfer.reports.page.facts import Facts
from distxfer.reports.page.figures import Choice, Section, config
from distxfer.reports.tables import shown
from distxfer.reports.vega import library

_HERE = Path(__file__).parent
_SHARED = ("method", "distance")  # choices of the whole page


def page_text(facts: Facts, sections: Sequence[Section]) -> str:
    """Return the HTML of the report.

    Names are escaped in the markup and packed with the chart data. A content security policy allows the one script, by its
    hash, and no requests.
    """
    figures = [figure for section in sections for figure in section.figures]
    charts: list[dict[str, Any]] = []
    drawings: dict[str, range] = {}
    for figure in figures:
        views = figure.views(facts.baseline.name)
        drawings[figure.name] = range(len(charts), len(charts) + len(views))
        charts += [{"spec": spec, "choices": choices, "data": list(figure.data)} for spec, choices in views]
    data = {name: rows for figure in figures for name, rows in figure.records.items()}
    choices = {choice.name: choice for figure in figures for choice in figure.choices}
    script = f"{library()}\n{(_HERE / 'page.js').read_text(encoding='utf-8')}"
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = lambda value: shown(None if value != value else value)  # NaN is shown as a dash
    environment.filters["code"] = _with_code
    return environment.get_template("page.html.jinja").render(
        facts=facts,
        title=title_of(facts),
        verdict=verdict_of(facts),
        runs=sum(len(method.method.runs) for method in facts.methods),
        groups={group: ", ".join(table["name"]) for group, table in facts.languages.groupby("group")},
        sections=sections,
        drawings=drawings,
        numbers={name: place for place, name in enumerate(drawings, start=1)},
        shared=_offered([choices[name] for name in _SHARED if name in choices]),
        own=lambda figure: _offered([choice for choice in figure.choices if choice.name not in _SHARED]),
        version=__version__,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        hash=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_packed({"data": data, "charts": charts, "config": config()}),
    )


def _offered(choices: Sequence[Choice]) -> list[Choice]:
    """Return the choices between several values."""
    return [choice for choice in choices if len(choice.options) > 1]


def _packed(content: Mapping[str, Any]) -> str:
    """Return data as gzip in base64, which browsers unpack; a hundred runs are megabytes of JSON."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _with_code(text: str) -> Markup:
    """Return escaped text with backticked parts set as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # unbalanced: a name contains a backtick
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )
