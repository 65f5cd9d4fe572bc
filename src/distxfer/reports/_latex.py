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
from distxfer.reports._methods import By, method_tables
from distxfer.reports._tables import Table
from distxfer.results.tables import sound_scores

if TYPE_CHECKING:
    import pandas as pd

    from distxfer.analysis.comparison import Comparisons

_SETTINGS = re.compile(r"(?P<recipe>.+?) \((?P<settings>.+=.+)\)", re.DOTALL)


def paper_tables(scores: pd.DataFrame, analysis: Comparisons, by: By | None = None) -> list[Table]:
    """Return the tables of a comparison for a paper: first methods x languages, then those of `method_tables`.

    `scores` is the table of `Collection.scores`. Methods that settings tell apart are called `recipe (a)`; a note has the
    settings. The table of differing settings is left out.
    """
    tables = [language_scores(scores, analysis), *(table for table in method_tables(analysis, by) if not table.details)]
    return [with_short_names(table, list(analysis.runs)) for table in tables]


def language_scores(scores: pd.DataFrame, analysis: Comparisons) -> Table:
    """Return a row per method with its score in each language, `mean ± standard deviation` over seeds, in percent if a fraction.

    The source comes first, then the targets by distance, then the mean over those targets that every run has; its deviation
    is that of the means of seeds. Collapsed runs are excluded.
    """
    metric, source, fractions = analysis.metric, analysis.source, analysis.fractions
    sound = sound_scores(scores, metric)
    chosen = sound[sound["method"].isin(list(analysis.runs))].sort_values("distance", kind="stable")
    chosen = chosen.assign(value=chosen["value"] * (100 if fractions else 1))
    targets = chosen[chosen["language"] != source]
    by_run = targets.pivot_table(index=["method", "seed"], columns="language", values="value").dropna(axis="columns")
    languages = [source, *targets["language"].unique()]
    cells = chosen.groupby(["method", "language"])["value"].agg(_cell)
    means = by_run.mean(axis="columns").groupby("method").agg(_cell)
    seeds = chosen.groupby("method")["seed"].nunique()
    rows = [
        (name, *(cells.get((name, code)) for code in languages), means.get(name), int(seeds.get(name, 0)))
        for name in analysis.runs
    ]
    everywhere = "all" if by_run.shape[1] == len(languages) - 1 else f"the {by_run.shape[1]} that every run has"
    notes = (
        f"{listed(f'{code}: {language_name(code)}' for code in languages)}. {source} is the source; targets by"
        f" {analysis.distance} distance. mean: over {everywhere} targets.",
    )
    title = f"Test {metric}{' (%)' if fractions else ''} by language: mean and standard deviation over seeds"
    return Table(("method", *languages, "mean", "seeds"), rows, title, notes)


def with_short_names(table: Table, names: Sequence[str]) -> Table:
    """Return the table with `recipe (a)` for each of the method `names` that has settings, and these in a note."""
    recipes = {name: match["recipe"] for name in names if (match := _SETTINGS.fullmatch(name))}
    counts = Counter(recipes.get(name, name) for name in names)
    short: dict[str, str] = {}
    for name, recipe in recipes.items():
        place = sum(base == recipe for base in list(recipes.values())[: list(recipes).index(name)])
        short[name] = f"{recipe} ({ascii_lowercase[place % 26] * (place // 26 + 1)})" if counts[recipe] > 1 else recipe

    def text(value: Any) -> Any:
        if isinstance(value, str):
            for name in sorted(short, key=len, reverse=True):
                value = value.replace(name, short[name])
        return value

    settings = [f"{label}: {name[len(recipes[name]) + 2 : -1]}" for name, label in short.items()]
    return replace(
        table,
        columns=tuple(map(text, table.columns)),
        rows=[tuple(map(text, row)) for row in table.rows],
        title=text(table.title),
        notes=(*map(text, table.notes), *(f"{line}." for line in settings)),
    )


def _cell(values: pd.Series[float]) -> str:
    deviation = f" ± {values.std():.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{deviation}"
