"""The files of finished runs beside their scores, as tables: measurements by layer, and curves over steps."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from distxfer._durable import check_file
from distxfer.errors import InputError, reason
from distxfer.results.result import Result
from distxfer.results.tables import read_measurements

Runs = Mapping[str, Sequence[Result]]  # by method, without collapsed ones
Points = list[tuple[float, float]]  # (step, value)
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
_PARTS = 25  # points of a curve: enough for its shape, few enough for a hundred runs on one page
_LAYERS = ["method", "measure", "moment", "language", "layer"]
_GRADIENTS = {"cosine": "cosine of its gradient with the task's", "share": "its gradient's share of the step"}
_SAMPLES = {
    "drift": "drift of a sample, mean of the targets",
    "retrieval": "retrieval of a sample, mean of the targets",
}


def layer_table(runs_of: Runs) -> tuple[pd.DataFrame, list[str]]:
    """Return `method`, `measure`, `moment`, `language`, `layer` (0: the embeddings), `value`, `n`; and what is unreadable.

    `value` is the mean over the seeds that have the deepest layer, NaN if one is undefined; `n` counts sentences or pairs.
    """
    tables, left_out = [], []
    for method, runs in runs_of.items():
        for run in runs:
            try:
                table = read_measurements(run.folder / "measurements.parquet")
                tables.append(table.assign(method=method, seed=run.seed))
            except InputError as error:
                left_out.append(str(error))
    if not tables:
        return pd.DataFrame(columns=[*_LAYERS, "value", "n"]), left_out
    rows = pd.concat(tables, ignore_index=True)
    depth = rows.groupby([*_LAYERS[:-1], "seed"], sort=False)["layer"].transform("max")
    deepest = rows.groupby(_LAYERS[:-1], sort=False)["layer"].transform("max")
    seeds = rows[depth == deepest].groupby(_LAYERS, sort=False)
    means = pd.DataFrame({"value": seeds["value"].mean(skipna=False), "n": seeds["n"].first()})
    return means.reset_index().sort_values("layer", kind="stable"), left_out


def curve_table(runs_of: Runs, targets: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return `method`, `name`, `step`, `mean`, `low`, `high`, `seeds` of what training logged; and what is unreadable.

    Names are `objective`, `TERM`, `TERM: QUANTITY`, the samples' mean over targets, and two of each gradient. A point of the
    log is the mean over one of 25 equal parts of the training, with steps that continue across phases. Diagnostics of several
    phases, each of which counts its steps from 0, are named `NAME in PHASE`. `mean`, `low` and `high` are over the seeds with the
    most points.
    """
    rows: list[tuple[Any, ...]] = []
    left_out = []
    for method, runs in runs_of.items():
        for run in runs:
            log = run.folder / "log.jsonl"
            curves: dict[str, Points] = {}
            try:
                curves |= _logged(log) if log.is_file() else {}
            except InputError as error:
                left_out.append(str(error))
            except _UNREADABLE as error:
                left_out.append(f"`{log}` cannot be read ({reason(error)}).")
            try:
                curves |= _diagnostics(run, targets)
            except _UNREADABLE as error:
                left_out.append(f"`diagnostics` of `{run.folder / 'result.json'}` cannot be read ({reason(error)}).")
            for name, points in curves.items():
                rows += [(method, name, len(points), place, *point) for place, point in enumerate(points)]
    if not rows:
        return pd.DataFrame(columns=["method", "name", "step", "mean", "low", "high", "seeds"]), left_out
    table = pd.DataFrame(rows, columns=["method", "name", "points", "place", "step", "value"])
    complete = table[table["points"] == table.groupby(["method", "name"])["points"].transform("max")]
    seeds = complete.groupby(["method", "name", "place"], sort=False)
    columns = {"step": ("step", "mean"), "seeds": ("value", "size")}
    columns |= {name: ("value", how) for name, how in (("mean", "mean"), ("low", "min"), ("high", "max"))}
    return seeds.agg(**columns).reset_index().drop(columns="place"), left_out


def has_log(runs: Sequence[Result]) -> bool:
    """Return whether one of the runs has its log beside its result."""
    return any((run.folder / "log.jsonl").is_file() for run in runs)


def huge_costs(runs: Sequence[Result]) -> list[str]:
    """Return a line for each cost that is too large for a float."""
    return [
        f"`cost.{name}` of `{run.folder / 'result.json'}` is left out: the number is too large."
        for run in runs
        for name, value in run.cost.items()
        if isinstance(value, int | float) and as_float(value) is None
    ]


def as_float(value: object) -> float | None:
    """Return a number as a float; None if it is no number or too large."""
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None


def _logged(path: Path) -> dict[str, Points]:
    """Return the objective and the terms of a log, averaged over equal parts of the training."""
    check_file(path)
    curves = {}
    for key, points in _points(_entries(path), ("loss", "term/")).items():
        parts = np.array_split(np.array(points), min(_PARTS, len(points)))
        name, _, quantity = key.removeprefix("term/").rpartition("/")
        name = "objective" if key == "loss" else f"{name}: {quantity}" if name else quantity
        curves[name] = [(float(step), float(value)) for step, value in (part.mean(axis=0) for part in parts)]
    return curves


def _diagnostics(run: Result, targets: Sequence[str]) -> dict[str, Points]:
    """Return the diagnostics of one run, with samples averaged over the targets."""
    curves = {}
    stored = run.data.get("diagnostics")
    entries = [entry for entry in stored if isinstance(entry, dict)] if isinstance(stored, list) else []
    phases = list(dict.fromkeys(str(entry.get("phase")) for entry in entries))
    for phase in phases:
        with_means = [{**entry, **_sampled(entry, targets)} for entry in entries if str(entry.get("phase")) == phase]
        for name, points in _points(with_means, ("gradient/", *_SAMPLES.values())).items():
            _, _, term = name.partition("gradient/")
            term, _, quantity = term.rpartition("/")
            label = f"{term}: {_GRADIENTS.get(quantity, quantity)}" if term else name
            curves[f"{label} in {phase}" if len(phases) > 1 else label] = points
    return curves


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a log, with steps that continue across phases."""
    before, last, phase = 0, 0, None
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if phase is not None and entry["phase_number"] != phase:
            before += last + 1
        phase, last = entry["phase_number"], entry["step"]
        yield {**entry, "step": before + last}


def _points(entries: Iterable[dict[str, Any]], starts: tuple[str, ...]) -> dict[str, Points]:
    """Return the points of every finite number whose key starts with one of `starts`."""
    points: dict[str, Points] = {}
    for entry in entries:
        for key, value in entry.items():
            finite = isinstance(value, int | float) and isfinite(value) and "step" in entry
            if finite and key.startswith(starts):
                points.setdefault(key, []).append((float(entry["step"]), float(value)))
    return points


def _sampled(entry: Mapping[str, Any], targets: Sequence[str]) -> dict[str, float]:
    means: dict[str, float] = {}
    for measure, name in _SAMPLES.items():
        values = [entry.get(f"{measure}/{code}") for code in targets]
        numbers = [value for value in values if isinstance(value, int | float)]
        means |= {name: fmean(numbers)} if numbers else {}
    return means
