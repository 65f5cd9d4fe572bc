"""The page: one self-contained HTML file that fetches nothing."""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from distxfer import __version__
from distxfer.reports._report._charts import Choice, Figure, Row, Section, View
from distxfer.reports._report._facts import Facts
from distxfer.reports._report._paper import config
from distxfer.reports._report._verdict import title_of, verdict_of
from distxfer.reports._vega import library
from distxfer.reports.tables import shown

_HERE = Path(__file__).parent
_SHARED = ("method", "distance")  # choices of the whole page


@dataclass(frozen=True)
class _Drawing:
    """A view of a figure in the page and its number among the charts."""

    number: int
    view: View


def page_text(facts: Facts, sections: Sequence[Section]) -> str:
    """Return the HTML of the report.

    Names are escaped in the markup and packed with the chart data. A content security policy allows the one script, by its
    hash, and no requests.
    """
    charts: list[dict[str, Any]] = []
    data: dict[str, Sequence[Row]] = {}
    drawings = {figure.name: _drawn(figure, facts, charts, data) for section in sections for figure in section.figures}
    script = f"{library()}\n{(_HERE / 'page.js').read_text(encoding='utf-8')}"
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = shown
    environment.filters["code"] = _with_code
    return environment.get_template("page.html.jinja").render(
        facts=facts,
        title=title_of(facts),
        verdict=verdict_of(facts),
        runs=sum(len(method.method.runs) for method in facts.methods),
        near=", ".join(language.name for language in facts.languages if language.group == "near"),
        far=", ".join(language.name for language in facts.languages if language.group == "far"),
        sections=sections,
        drawings=drawings,
        numbers={name: place for place, name in enumerate(drawings, start=1)},
        shared=[choice for choice in _choices(sections) if choice.name in _SHARED and len(choice.options) > 1],
        own=lambda figure: [
            choice for choice in figure.choices if choice.name not in _SHARED and len(choice.options) > 1
        ],
        label=lambda name: next(choice for choice in _choices(sections) if choice.name == name),
        version=__version__,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        hash=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_packed({"data": data, "charts": charts, "config": config()}),
    )


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


def _choices(sections: Sequence[Section]) -> list[Choice]:
    """Return the choices of all figures, each once."""
    choices: dict[str, Choice] = {}
    for section in sections:
        for figure in section.figures:
            for choice in figure.choices:
                choices.setdefault(choice.name, choice)
    return list(choices.values())


def _drawn(
    figure: Figure, facts: Facts, charts: list[dict[str, Any]], data: dict[str, Sequence[Row]]
) -> list[_Drawing]:
    """Add the views of a figure to `charts` and its data to `data`, which all charts share."""
    data.update(figure.data)
    drawings = []
    for view in figure.views:
        fixed: Mapping[str, str] = {"baseline": facts.baseline.name, **view.fixed}
        free = [choice for choice in figure.choices if choice.name not in view.fixed]
        spec = figure.spec(fixed, free)
        spec.pop("datasets", None)
        charts.append(
            {
                "spec": {**spec, "width": "container", "description": figure.description},
                "data": list(figure.data),
                "choices": [choice.name for choice in free],
            }
        )
        drawings.append(_Drawing(len(charts) - 1, view))
    return drawings
