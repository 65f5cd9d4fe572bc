"""Configuration, provenance, and the commands that reproduce the report."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from distxfer.reports.comparison import difference_tables
from distxfer.reports.page.facts import Facts, Studied
from distxfer.reports.page.figures import Section
from distxfer.reports.tables import Table
from distxfer.results.descriptions import corpora
from distxfer.results.result import Result

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def configuration(facts: Facts) -> Section:
    """Return the settings that differ and the full recipe of each method."""
    differences = difference_tables(facts.comparisons) if facts.comparisons else []
    return Section(
        "configuration",
        "Configuration",
        (
            "Settings that differ from the baseline, and the full recipe of each method with all defaults. The id is a hash of"
            " the recipe without its seed and of the fingerprints of model and data.",
        ),
        tables=tuple(differences),
        listings={
            f"{method.method.name}: {_recipe_file(facts, method)} (id {method.method.id})": recipe_text(
                method.method.runs[0].recipe
            )
            for method in facts.methods
        },
    )


def provenance(facts: Facts) -> Section:
    """Return what produced every run, and how to reproduce it."""
    runs = [(method, run) for method in facts.methods for run in method.method.runs]
    shared, differing = _versions(runs)
    return Section(
        "provenance",
        "Provenance and reproduction",
        (
            "All numbers come from the files of the runs below: scores, cost and diagnostics from result.json, drift and"
            " alignment from measurements.parquet, curves from log.jsonl. The command below a figure prints its underlying"
            " numbers; relative transfer and Holm over distances are computed for this page. The first command of the list"
            " rebuilds the page; it needs no model or GPU.",
            "To reproduce a run, save its recipe (above) under its name and run its command from the list. The same packages,"
            " data and device give the same numbers; equal fingerprints show that model and data are the same.",
            f"Packages of all runs: {', '.join(shared)}." if shared else "",
        ),
        tables=[_runs(runs), *differing],
        listings={
            "Commands": "\n".join([_report_command(facts), *(_train_command(facts, *run) for run in runs)]) + "\n"
        },
    )


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """Return a resolved recipe as TOML for `distxfer train recipe=FILE`, without name and seed."""
    lines = [
        f"{'.'.join(key if _BARE.fullmatch(key) else json.dumps(key) for key in keys)} = {json.dumps(value, ensure_ascii=False)}"
        for keys, value in _flat(recipe, ())
        if keys not in (("name",), ("seed",)) and value is not None
    ]
    return "\n".join(lines) + "\n"


def _flat(table: Mapping[str, Any], before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, (*before, key))
        else:
            yield (*before, key), value


def _recipe_file(facts: Facts, method: Studied) -> str:
    """Return the path at which to save a recipe; recipes of the same name go into folders named by id."""
    name, *other_names = (str(each_method.method.runs[0].recipe["name"]) for each_method in (method, *facts.methods))
    return f"recipes/{method.method.id}/{name}.toml" if other_names.count(name) > 1 else f"recipes/{name}.toml"


def _report_command(facts: Facts) -> str:
    words = ["distxfer", "report", *facts.words, "--baseline", facts.baseline.method.name]
    for name in facts.distances:
        words += ["--distance", name]
    return shlex.join([*words, "--out", "report.html"])


def _train_command(facts: Facts, method: Studied, run: Result) -> str:
    command = shlex.join(["distxfer", "train", f"recipe={_recipe_file(facts, method)}", f"seed={run.seed}"])
    stored = run.provenance.get("command")
    original = shlex.join(map(str, stored)) if isinstance(stored, list) else ""
    comment = "" if original in ("", command) else f"  # originally: {original}"
    return command + comment.replace("\n", " ")


def _runs(runs: Sequence[tuple[Studied, Result]]) -> Table:
    rows = []
    for method, run in runs:
        origin = run.provenance
        prints = run.fingerprints
        commit = origin.get("git_commit")
        rows.append(
            (
                method.name,
                run.seed,
                run.status,
                str(run.folder),
                origin.get("started"),
                _minutes(origin),
                origin.get("device"),
                origin.get("dtype"),
                origin.get("processes"),
                None if commit is None else f"{str(commit)[:10]}{' (changed)' if origin.get('git_dirty') else ''}",
                str(prints.get("model", ""))[:8] or None,
                str(prints.get("task", ""))[:8] or None,
                str(prints.get("parallel", ""))[:8] or None,
            )
        )
    return Table(
        (
            "method", "seed", "status", "folder", "started", "minutes", "device", "dtype", "processes", "commit", "model", "task",
            "parallel",
        ),
        rows,
        title="Runs",
        notes=(
            "model, task, parallel: the first 8 digits of the fingerprints. minutes: wall-clock time, including measurement.",
            *corpora({method.name: [run for run_method, run in runs if run_method is method] for method, _ in runs}),
        ),
    )  # fmt: skip


def _minutes(origin: Mapping[str, Any]) -> str | None:
    try:
        seconds = (datetime.fromisoformat(origin["ended"]) - datetime.fromisoformat(origin["started"])).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None
    return f"{seconds / 60:.1f}"


def _versions(runs: Sequence[tuple[Studied, Result]]) -> tuple[list[str], list[Table]]:
    """Return `name version` of the packages (and Python) that all runs share, and a table of those that differ."""
    versions = pd.DataFrame(
        [{**run.provenance["packages"], "python": run.provenance.get("python", "")} for _, run in runs]
    ).astype(object)
    is_shared = versions.astype(str).nunique() == 1
    shared = [f"{name} {versions[name].iloc[0]}" for name in versions.columns[is_shared]]
    different = versions.loc[:, ~is_shared]
    rows = [
        (method.name, run.seed, *row)
        for (method, run), row in zip(runs, different.itertuples(index=False), strict=True)
    ]
    table = Table(("method", "seed", *different), rows, title="Packages that differ between runs")
    return shared, [table] if len(different.columns) else []
