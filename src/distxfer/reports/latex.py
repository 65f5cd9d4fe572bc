"""LaTeX for a paper: mean and standard deviation of each method in each language, and short names for methods."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from distxfer.errors import listed
from distxfer.languages import language_name
from distxfer.reports.comparison import By, comparison_tables
from distxfer.reports.tables import Table
from distxfer.results.tables import sound_scores

if TYPE_CHECKING:
    import pandas as pd

    from distxfer.analysis.comparison import Comparisons

_SETTINGS = re.compile(r"(?P<recipe>.+?) \((?P<settings>.+=.+)\)", re.DOTALL)


def paper_tables(scores: pd.DataFrame, analysis: Comparisons, by: By | None = None) -> list[Table]:
    """Return the tables of a comparison for a paper: first methods x languages, then those of `comparison_tables`.

    `scores` is the table of `Collection.scores`. Methods that settings tell apart are called `recipe (a)`; a note has the
    settings. The table of differing settings is left out.
    """
    tables = [
        _language_scores(scores, analysis),
        *(table for table in comparison_tables(analysis, by) if not table.details),
    ]
    return [_with_short_names(table, list(analysis.runs)) for table in tables]


def _language_scores(scores: pd.DataFrame, analysis: Comparisons) -> Table:
    """Return a row per method with its score in each language, `mean ± standard deviation` over seeds, in percent if a fraction.

    The source comes first, then the targets by distance, then the mean over those targets that every run has; its deviation
    is that of the means of seeds. Collapsed runs are excluded.
    """
    metric, source, fractions = analysis.metric, analysis.source, analysis.fractions
    chosen = sound_scores(scores, metric).sort_values("distance", kind="stable")
    chosen["value"] *= 100 if fractions else 1
    targets = chosen[chosen["language"] != source]
    languages = [source, *targets["language"].unique()]
    by_run = targets.pivot_table(index=["method", "seed"], columns="language", values="value").dropna(axis="columns")
    table = chosen.pivot_table(index="method", columns="language", values="value", aggfunc=_cell).reindex(
        columns=languages
    )
    table["mean"] = by_run.mean(axis="columns").groupby("method").agg(_cell)
    table["seeds"] = chosen.groupby("method")["seed"].nunique()
    table = table.reindex(list(analysis.runs)).astype(object)
    everywhere = "all" if by_run.shape[1] == len(languages) - 1 else f"the {by_run.shape[1]} that every run has"
    note = (
        f"{listed(f'{code}: {language_name(code)}' for code in languages)}. {source} is the source; targets by"
        f" {analysis.distance} distance. mean: over {everywhere} targets."
    )
    title = f"Test {metric}{' (%)' if fractions else ''} by language: mean and standard deviation over seeds"
    rows = table.where(table.notna(), None).itertuples(name=None)
    return Table(("method", *table.columns), list(rows), title, (note,))


def _with_short_names(table: Table, names: Sequence[str]) -> Table:
    """Return the table with `recipe (a)` for each of the method `names` that has settings, and these in a note."""
    matches = {name: match for name in names if (match := _SETTINGS.fullmatch(name))}
    recipes = {name: match["recipe"] for name, match in matches.items()}
    counts = Counter(recipes.get(name, name) for name in names)
    used: Counter[str] = Counter()
    short: dict[str, str] = {}
    for name, recipe in recipes.items():
        letter = ascii_lowercase[used[recipe] % 26] * (used[recipe] // 26 + 1)
        short[name] = f"{recipe} ({letter})" if counts[recipe] > 1 else recipe
        used[recipe] += 1

    def text(value: Any) -> Any:
        for name in sorted(short, key=len, reverse=True) if isinstance(value, str) else ():
            value = value.replace(name, short[name])
        return value

    return replace(
        table,
        columns=tuple(map(text, table.columns)),
        rows=[tuple(map(text, row)) for row in table.rows],
        title=text(table.title),
        notes=(*map(text, table.notes), *(f"{label}: {matches[name]['settings']}." for name, label in short.items())),
    )


def _cell(values: pd.Series[float]) -> str:
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")
