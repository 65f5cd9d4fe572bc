"""Finished runs as files, without any training: what a report and its tests read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from distxfer.languages import distance

TARGETS = ("deu", "fra", "rus", "tur", "fin", "jpn")
LAYERS = 3  # and the embeddings' output
STEPS = 60
KINDS = [f"retrieval_{kind}_{way}" for kind in ("weak", "strong", "csls") for way in ("forward", "backward")]
METHODS = ["plain", "align", "lora"]  # of `three_methods`
HOSTILE = "</script><img src=x onerror=alert(1)>{{x}} \"'&amp;`"


def write_run(
    folder: Path,
    name: str = "plain",
    seed: int = 0,
    *,
    identity: str = "",
    gain: float = 0.0,
    targets: Sequence[str] = TARGETS,
    layers: int = LAYERS,
    status: str = "done",
    settings: Mapping[str, object] | None = None,
    log: bool = True,
    terms: Sequence[str] = (),
    source: str = "eng",
) -> Path:
    """Write a run: a target of distance d scores 0.8 - 0.5 d + gain and noise by seed, and drifts by 0.1 layer (1 + d)."""
    unique = name + source.removeprefix("eng")
    identity = identity or f"{sum(map(ord, unique)):08x}"
    run = folder / name.replace("/", "_") / f"{identity}-s{seed}"
    run.mkdir(parents=True)
    far = {code: distance(source, code, "syntactic", imputed=True).value for code in targets}
    draw = np.random.default_rng([seed, *map(ord, unique)])
    accuracy = {source: 0.8} | {code: 0.8 - 0.5 * far[code] + gain + 0.01 * draw.normal() for code in targets}
    result = {
        "schema": 1, "id": identity, "seed": seed, "source": source, "status": status,
        "recipe": {
            "name": name, "seed": seed, "phases": ["finetune"], "model": {"name": "tiny"}, "parallel": {"name": "emoji"},
            "task": {"name": "toy", "source": source, "targets": list(targets), "shots": 0},
            "phase": {"finetune": {"epochs": 3}},
            "intervention": {term: {"kind": term, "weight": 1.0, **(settings or {})} for term in terms},
        },
        "distances": [
            {"language": code, "name": "syntactic", "value": value, "n_shared": 9, "imputed": True, "provenance": "URIEL"}
            for code, value in far.items()
        ],
        "diagnostics": _diagnostics(targets, terms),
        "scores": [
            {"language": code, "split": "test", "metric": "accuracy", "value": value, "n": 200}
            for code, value in accuracy.items()
        ],
        "summary": {"distance": "syntactic", "imputed": True, "metric": "accuracy", "split": "test", "selection": "last"},
        "cost": {
            "seconds": 10.0 + seed, "steps": STEPS, "tokens": 1000, "forwards_per_step": 2.0, "peak_memory_mb": 100.0,
            "trainable_parameters": 1000,
        },
        "provenance": {
            "packages": {"distxfer": "0.1.0", "torch": "2.13.0"}, "python": "3.11.7", "device": "cpu", "dtype": "float32",
            "processes": 1, "git_commit": "0" * 40, "git_dirty": False, "command": ["distxfer", "train", f"recipe={name}"],
            "fingerprints": {"task": "1" * 64, "model": "2" * 64, "parallel": "3" * 64},
            "started": "2026-01-01T10:00:00+00:00", "ended": "2026-01-01T10:03:00+00:00",
        },
    }  # fmt: skip
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    parquet.write_table(pa.Table.from_pylist(_measurements(far, layers, source)), run / "measurements.parquet")
    if log:
        (run / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in _log(terms)), encoding="utf-8")
    return run


def three_methods(folder: Path) -> Path:
    """Write three methods with three seeds each: a baseline, one that helps, and one that has no logs and hurts."""
    for seed in range(3):
        write_run(folder, "plain", seed)
        write_run(folder, "align", seed, gain=0.1, terms=("align", "drift"))
        write_run(folder, "lora", seed, gain=-0.1, log=False)
    return folder


def edit(run: Path, change) -> None:
    """Change a run's result in place."""
    data = json.loads((run / "result.json").read_text(encoding="utf-8"))
    change(data)
    (run / "result.json").write_text(json.dumps(data), encoding="utf-8")


def _measurements(far: Mapping[str, float], layers: int, source: str) -> list[dict]:
    def row(measure: str, layer: int, language: str, value: float, moment: str) -> dict:
        return {"measure": measure, "layer": layer, "language": language, "value": value, "n": 50, "moment": moment}

    rows = []
    for layer in range(layers + 1):
        for language, distant in {source: 0.0, **far}.items():
            for measure in ("drift_cka", "drift_cka_standardised"):
                rows.append(row(measure, layer, language, 0.0, "before"))
                rows.append(row(measure, layer, language, 0.1 * layer * (1 + distant), "after"))
        for language, distant in far.items():
            for kind in KINDS:
                rows.append(row(kind, layer, language, 0.5, "before"))
                rows.append(row(kind, layer, language, 0.6 - 0.1 * distant, "after"))
    return rows


def _diagnostics(targets: Sequence[str], terms: Sequence[str]) -> list[dict]:
    return [
        {"phase": "finetune", "step": step, "gradient/task/share": 0.75}
        | {f"drift/{code}": 0.01 * step for code in targets}
        | {f"gradient/{term}/{what}": value for term in terms for what, value in (("cosine", -0.5), ("share", 0.25))}
        for step in (19, 39, 59)
    ]  # fmt: skip


def _log(terms: Sequence[str]) -> list[dict]:
    return [
        {"phase": "finetune", "phase_number": 0, "step": step, "learning_rate": 1e-3, "gradient_norm": 1.0}
        | {"loss": 3.0 - step / 30, "term/task": 2.0 - step / 30}
        | {f"term/{term}": 1.0 for term in terms}
        | {f"term/{term}/cosine": step / STEPS for term in terms}
        for step in range(STEPS)
    ]  # fmt: skip
