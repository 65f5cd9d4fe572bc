"""Finished runs that nobody trained: result files with the scores and settings that a test is about."""

import json
from copy import deepcopy

import numpy as np

from distxfer.analysis.compare import compare_methods
from distxfer.results.collect import collect

FAR = {"deu": 0.1, "fra": 0.2, "tur": 0.5, "jpn": 0.6}  # the distances that these runs have stored
RECIPE = {
    "phases": ["finetune"],
    "model": {"name": "tiny", "pooling": "mean"},
    "task": {"name": "toy", "source": "eng", "targets": list(FAR), "shots": 0},
    "distance": {"name": "syntactic", "imputed": True, "matrix": ""},
    "parallel": {"name": "toy", "mined": False},
    "phase": {"finetune": {"epochs": 2, "learning_rate": 5e-5}},
    "intervention": {},
}
ALIGN = {"kind": "align", "weight": 0.5, "loss": "infonce", "layers": [2], "weighting": "linear", "weighting_by": "sampling",
         "distance": ""}  # fmt: skip
WITH_ALIGN = {"intervention.align": ALIGN}


def changed(data, changes):
    """A copy with values set by dotted keys: `{"intervention.align": {...}, "phase.finetune.epochs": 4}`."""
    data = deepcopy(data)
    for key, value in changes.items():
        *parents, leaf = key.split(".")
        table = data
        for parent in parents:
            table = table.setdefault(parent, {})
        table[leaf] = deepcopy(value)
    return data


def result(name, identity, seed, scores, settings=(), /, **changes):
    """What a `result.json` holds; `scores` is language -> test accuracy of the targets, `changes` are of its own keys."""
    recipe = changed({"name": name, "seed": seed, **RECIPE}, dict(settings))
    rows = [
        {"language": language, "split": "test", "metric": metric, "value": value, "n": 100}
        for language, value in {"eng": 0.9, **scores}.items()
        for metric in ("accuracy", "macro_f1")
    ]
    made = {
        "schema": 1,
        "id": identity,
        "recipe": recipe,
        "seed": seed,
        "source": "eng",
        "distances": [{"language": language, "name": "syntactic", "value": far} for language, far in FAR.items()],
        "scores": rows,
        "summary": {"metric": "accuracy", "distance": "syntactic", "imputed": True, "selection": "last"},
        "cost": {},
        "provenance": {
            "fingerprints": {"task": "t", "model": "m", "parallel": "p", "distances": "d", "files": ""},
            "device": "cpu", "dtype": "float32", "processes": 1, "packages": {"torch": "2.9"},
        },
        "status": "done",
    }  # fmt: skip
    return changed(made, {key.replace("__", "."): value for key, value in changes.items()})


def write(folder, data):
    """Write a result file and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return folder


def run(results, name, identity, seed, scores, settings=(), /, **changes):
    """Write one run where it belongs below `results`, and return its folder."""
    made = result(name, identity, seed, scores, settings, **changes)
    return write(results / name / f"{identity}-s{seed}", made)


def runs(results, name, identity, table, settings=(), /, **changes):
    """Write a run for each row of a table, (seeds, languages in the order of `FAR`), seeds from 0."""
    return [
        run(results, name, identity, seed, dict(zip(FAR, map(float, row), strict=True)), settings, **changes)
        for seed, row in enumerate(table)
    ]


def scores(gain=0.0, seeds=4, seed=0):
    """A table of accuracies, (seeds, languages), with some noise; the gain is the same everywhere."""
    return 0.5 + gain + 0.02 * np.random.default_rng(seed).normal(size=(seeds, len(FAR)))


def plain_and_align(folder):
    """Write `plain` with 4 seeds and `align` with 3 of them, and return the folder."""
    runs(folder, "plain", "aaaa0000", scores())
    runs(folder, "align", "bbbb0000", scores(0.1, seeds=3, seed=1), WITH_ALIGN)
    return folder


def compared(results, *names, **options):
    """The methods of these names, or those two, compared."""
    return compare_methods(collect(names or ["plain", "align"], results), **options)
