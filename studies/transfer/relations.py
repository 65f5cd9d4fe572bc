"""Question 3: does movement go with distance and with lost transfer, and does lost transfer go with distance?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from distxfer.errors import listed
from distxfer.languages import distances, permutation_groups, script
from distxfer.measure import Correlation, partial_correlation
from distxfer.reports.tables import Table
from studies.transfer.outcome import corrected
from studies.transfer.protocol import Protocol, Run
from studies.transfer.records import read_drift
from studies.transfer.runs import Runs

TASKS = ("messages", "intents")
QUESTIONS = (  # the group of Holm's correction, two columns of `by_language`, and those that are held fixed
    ("movement", "drift", "distance", ()),
    ("movement", "drift", "lost", ()),
    ("distance", "lost", "distance", ()),
    ("distance", "lost", "distance", ("script", "tokens")),
)


def by_language(runs: Runs, results: Path) -> pd.DataFrame:
    """Return by test language drift, lost accuracy, distance, another script than the source's, tokens per text, and gains."""
    source, targets = runs.protocol.source, [*runs.targets]
    means = runs.scores("plain").mean()
    drift = pd.concat([read_drift(Run(seed, runs.task, "plain"), results) for seed in runs.right["plain"]], axis=1)
    columns = {
        "drift": drift.mean(axis=1),
        "lost": means[source] - means,
        "distance": pd.Series(distances(source, targets, imputed=True).values),
        "script": pd.Series({code: float(script(code) != script(source)) for code in targets}),
        "tokens": runs.items.groupby("language", observed=True)["tokens"].mean(),
    }
    gains = {
        f"gain of `{method}`": (runs.scores(method) - runs.scores("plain")).mean()
        for method in dict.fromkeys(row.method for row in runs.protocol.contrast if row.claims == "gains")
        if method in runs.right
    }
    return pd.DataFrame(columns | gains).loc[targets]


def relations_table(protocol: Protocol, tasks: Mapping[str, Runs], results: Path) -> Table:
    """Return the registered correlations, each group of both tasks corrected by Holm, and that of each gain with distance.

    A task is there once `plain` has all registered seeds.
    """
    complete = [
        task for task in TASKS if task in tasks and len(tasks[task].right.get("plain", {})) == len(protocol.seeds)
    ]
    tables = {task: by_language(tasks[task], results) for task in complete}
    correlations = {
        (group, task, x, y, covariates): related(tables[task], x, y, covariates) if task in tables else None
        for group, x, y, covariates in QUESTIONS
        for task in TASKS
    }
    p_holm = dict(zip(correlations, corrected([key[0] for key in correlations], [*correlations.values()]), strict=True))
    gains = [(task, column) for task, table in tables.items() for column in table if column.startswith("gain")]
    correlations |= {
        ("", task, gain, "distance", ()): related(tables[task], gain, "distance", ()) for task, gain in gains
    }
    rows = []
    for key, result in correlations.items():
        group, task, x, y, covariates = key
        if result is not None:
            p = p_holm.get(key)
            answer = "" if p is None else "undecided" if p > protocol.alpha else "yes" if (result.r or 0) > 0 else "no"
            question = f"{x}, {y}" + (f", beyond {listed(covariates)}" if covariates else "")
            rows.append(
                (group, task, question, result.n, result.n_groups, result.r, result.p, p, answer, result.detectable)
            )
    columns = ("group", "task", "correlation of", "languages", "groups", "rho", "p", "p (Holm)", "answer", "detectable")
    return Table(columns, [tuple(map(_shown, row)) for row in rows], "distance, movement and lost transfer")


def related(table: pd.DataFrame, x: str, y: str, covariates: Sequence[str]) -> Correlation:
    """Return the correlation of two columns over languages, with others held fixed."""
    fixed = table[[*covariates]].to_numpy() if covariates else None
    groups = permutation_groups([*table.index])
    return partial_correlation(table[x], table[y], fixed, groups=groups)


def _shown(value: float | str | None) -> float | str | None:
    return f"{value:.3f}" if isinstance(value, float) else value
