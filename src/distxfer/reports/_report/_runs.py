"""The files of finished runs beside `result.json`: measurements by layer, and curves over steps."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from distxfer._durable import check_file
from distxfer.errors import InputError, reason
from distxfer.results.measurements import read_measurements
from distxfer.results.result import Result

Array = npt.NDArray[np.float64]
Key = tuple[str, str, str]  # measure, moment, language
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
_BINS = 25  # points of a curve: enough for its shape, few enough for a hundred runs on one page


@dataclass(frozen=True)
class Curve:
    """One quantity during training: mean, minimum and maximum over seeds at some steps."""

    name: str
    steps: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    n_seeds: int


@dataclass(frozen=True)
class Layers:
    """Values by layer (0: the embeddings), averaged over seeds; `sizes` are the fewest and most sentences or pairs."""

    values: Mapping[Key, Array]
    sizes: Mapping[str, tuple[int, int]]


def layers_of(runs: Sequence[Result]) -> tuple[Layers, list[str]]:
    """Return the measurements of a method, and a line for each run whose measurements cannot be read."""
    by_key: dict[Key, list[Array]] = defaultdict(list)
    sizes: dict[str, set[int]] = defaultdict(set)
    left_out = []
    for run in runs:
        try:
            rows = read_measurements(run.folder / "measurements.parquet")
        except InputError as error:
            left_out.append(str(error))
            continue
        by_layer: dict[Key, dict[int, float]] = defaultdict(dict)
        for measure, layer, language, value, n, moment in rows.itertuples(index=False, name=None):
            by_layer[measure, moment, language][layer] = value
            sizes[measure].add(n)
        for key, values in by_layer.items():
            by_key[key].append(np.array([values.get(layer, np.nan) for layer in range(max(values) + 1)]))
    depth = {key: max(len(array) for array in arrays) for key, arrays in by_key.items()}
    means = {
        key: np.mean([array for array in arrays if len(array) == depth[key]], axis=0) for key, arrays in by_key.items()
    }
    return Layers(means, {name: (min(all_of), max(all_of)) for name, all_of in sizes.items()}), left_out


def curves_of(runs: Sequence[Result]) -> tuple[list[Curve], list[str]]:
    """Return the objective and every term of a method over the steps, and a line for each unreadable log.

    A point is the mean over one of 25 equal parts of the training. Runs without a log are skipped; steps continue across
    phases.
    """
    by_name: dict[str, list[tuple[Array, Array]]] = defaultdict(list)
    left_out = []
    for run in runs:
        path = run.folder / "log.jsonl"
        if not path.is_file():
            continue
        try:
            check_file(path)
            for name, points in _points(_entries(path), ("loss", "term/")).items():
                by_name[_curve_name(name)].append(_binned(points))
        except InputError as error:
            left_out.append(str(error))
        except _UNREADABLE as error:
            left_out.append(f"`{path}` cannot be read ({reason(error)}).")
    return [_over_seeds(name, of_runs) for name, of_runs in by_name.items()], left_out


def diagnostics_of(runs: Sequence[Result], targets: Sequence[str]) -> tuple[list[Curve], list[str]]:
    """Return the diagnostics of training, and a line for each run whose diagnostics cannot be read.

    They are `gradient/TERM/cosine`, `gradient/TERM/share`, `sample/drift` and `sample/retrieval` (means over targets), with
    ` in PHASE` if a run has several phases, each of which counts its steps from 0.
    """
    by_name: dict[str, list[tuple[Array, Array]]] = defaultdict(list)
    left_out = []
    for run in runs:
        try:
            diagnostics = _diagnostics(run, targets)
        except _UNREADABLE as error:
            left_out.append(f"`diagnostics` of `{run.folder / 'result.json'}` cannot be read ({reason(error)}).")
            continue
        for name, points in diagnostics.items():
            by_name[name].append(points)
    return [_over_seeds(name, of_runs) for name, of_runs in by_name.items()], left_out


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


def _diagnostics(run: Result, targets: Sequence[str]) -> dict[str, tuple[Array, Array]]:
    """Return steps and values of the diagnostics of one run."""
    by_name = {}
    stored = run.data.get("diagnostics")
    entries = [entry for entry in stored if isinstance(entry, dict)] if isinstance(stored, list) else []
    phases = list(dict.fromkeys(str(entry.get("phase")) for entry in entries))
    for phase in phases:
        phase_entries = [{**entry, **_means(entry, targets)} for entry in entries if str(entry.get("phase")) == phase]
        for name, points in _points(phase_entries, ("gradient/", "sample/")).items():
            steps, values = zip(*points, strict=True)
            named = f"{name} in {phase}" if len(phases) > 1 else name
            by_name[named] = np.array(steps, dtype=float), np.array(values)
    return by_name


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a log, with steps that continue across phases."""
    before, last, phase = 0, 0, None
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if phase is not None and entry["phase_number"] != phase:
            before += last + 1
        phase, last = entry["phase_number"], entry["step"]
        yield {**entry, "step": before + last}


def _points(entries: Iterable[dict[str, Any]], starts: tuple[str, ...]) -> dict[str, list[tuple[float, float]]]:
    """Return the (step, value) pairs of every number whose key starts with one of `starts`."""
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for entry in entries:
        for key, value in entry.items():
            finite = isinstance(value, int | float) and isfinite(value) and "step" in entry
            if finite and key.startswith(starts):
                points[key].append((float(entry["step"]), float(value)))
    return points


def _means(entry: Mapping[str, Any], targets: Sequence[str]) -> dict[str, float]:
    """Return the mean drift and retrieval of an entry over the targets."""
    means = {}
    for measure in ("drift", "retrieval"):
        values = [
            entry[f"{measure}/{code}"] for code in targets if isinstance(entry.get(f"{measure}/{code}"), int | float)
        ]
        if values:
            means[f"sample/{measure}"] = fmean(values)
    return means


def _curve_name(key: str) -> str:
    """Return the display name of a key of the log: `term/align/cosine` is `align: cosine`."""
    if not key.startswith("term/"):
        return "objective"
    name, _, quantity = key.removeprefix("term/").rpartition("/")
    return f"{name}: {quantity}" if name else quantity


def _binned(points: Sequence[tuple[float, float]]) -> tuple[Array, Array]:
    steps, values = (np.array(axis) for axis in zip(*points, strict=True))
    parts = np.array_split(np.arange(len(steps)), min(_BINS, len(steps)))
    return np.array([steps[part].mean() for part in parts]), np.array([values[part].mean() for part in parts])


def _over_seeds(name: str, runs: Sequence[tuple[Array, Array]]) -> Curve:
    """Return the curve over the runs with the most points."""
    longest = max(len(steps) for steps, _ in runs)
    complete = [run for run in runs if len(run[0]) == longest]
    steps = np.mean([steps for steps, _ in complete], axis=0)
    values = np.array([values for _, values in complete])
    return Curve(
        name,
        _floats(steps),
        mean=_floats(values.mean(axis=0)),
        low=_floats(values.min(axis=0)),
        high=_floats(values.max(axis=0)),
        n_seeds=len(complete),
    )


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(map(float, values))
