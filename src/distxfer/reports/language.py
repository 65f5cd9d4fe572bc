"""Facts about a language, one table per section."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from distxfer.languages import language_name
from distxfer.reports.tables import Table

if TYPE_CHECKING:
    from distxfer.language_facts import Fact


_LONG = 60  # characters: longer notes stand below the table


def language_answer(facts: Sequence["Fact"]) -> str:
    """Return the sentence that says whether the language is usable, and what is missing."""
    return next(str(fact.value) for fact in facts if fact.measure == "answer")


def language_tables(facts: Sequence["Fact"]) -> list[Table]:
    """Return one table per section: fact, value with interval, sample size, note.

    Long notes stand below their table. The answer (`language_answer`) is in none.
    """
    tables = []
    shown = (fact for fact in facts if fact.measure != "answer")
    for section, group in groupby(shown, key=lambda fact: fact.section):
        section_facts = list(group)
        several = len({fact.language for fact in section_facts}) > 1
        rows: list[tuple[Any, ...]] = []
        for fact in section_facts:
            measure = fact.measure.replace("_", " ")
            name = (f"{fact.language} ({language_name(fact.language)})",) if several else ()
            rows.append((measure, *name, _value(fact), fact.n, fact.note if len(fact.note) <= _LONG else ""))
        columns = ("what", *(("language",) if several else ()), "value", "n", "")
        notes = tuple(
            f"{fact.measure.replace('_', ' ')}: {fact.note}" for fact in section_facts if len(fact.note) > _LONG
        )
        tables.append(Table(columns, rows, title=section, notes=notes))
    return tables


def fact_records(facts: Sequence["Fact"]) -> list[dict[str, Any]]:
    """Return the facts as JSON data, with the columns of `measurements.parquet` first."""
    return [
        {
            "measure": fact.measure,
            "layer": None,
            "language": fact.language,
            "value": fact.value,
            "n": fact.n,
            "moment": None,
            "low": fact.low,
            "high": fact.high,
            "section": fact.section,
            "note": fact.note,
        }
        for fact in facts
    ]


def _value(fact: "Fact") -> str | None:
    if fact.value is None or isinstance(fact.value, str):
        return fact.value
    if fact.section == "parallel":
        return f"{fact.value:.0f}"
    shown = f"{fact.value:.3f}"
    return shown if fact.low is None or fact.high is None else f"{shown} [{fact.low:.3f}, {fact.high:.3f}]"
