"""The content of a run's `result.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from distxfer.data import task_type_of
from distxfer.measure import transfer_summary
from distxfer.results.result import SCHEMA, diagnosed, empty_batches, provenance
from distxfer.runs.prepare import Assembled, Prepared
from distxfer.runs.scoring import Scored
from distxfer.training import Cost, Processes

_DISTANCE = ("name", "value", "n_shared", "imputed", "provenance")


def result_data(
    prepared: Prepared,
    assembled: Assembled,
    folder: Path,
    scored: Mapping[str, Scored],
    undefined: Sequence[str],
    cost: Cost,
    started: datetime,
    processes: Processes,
) -> dict[str, Any]:
    """Return the content of `result.json`."""
    scores, summary, status = _scores(prepared, scored)
    of_distance = (*_DISTANCE, "source") if prepared.languages.other_sources else _DISTANCE
    return {
        "schema": SCHEMA,
        "id": prepared.id,
        "recipe": prepared.resolved,
        "seed": prepared.recipe.seed,
        "task_type": prepared.task.task_type,
        "source": prepared.languages.source,
        **({"other_sources": list(prepared.languages.other_sources)} if prepared.languages.other_sources else {}),
        "distances": [
            {"language": key} | {name: getattr(entry, name) for name in of_distance}
            for key, entry in prepared.distances.entries.items()
        ],
        "diagnostics": diagnosed(folder / "log.jsonl"),
        "parallel": prepared.corpus,
        "empty": empty_batches(folder / "log.jsonl"),
        "resolved_values": {name: dict(values) for name, values in assembled.resolved_values.items()},
        "data_issues": [asdict(issue) for issue in prepared.issues],
        "undefined": [*undefined],
        "scores": scores,
        "summary": summary,
        "cost": {
            "seconds": cost.seconds,
            "steps": cost.steps,
            "tokens": cost.tokens,
            "forwards_per_step": cost.forwards / max(1, cost.steps),
            "peak_memory_mb": cost.peak_memory_mb,
            "trainable_parameters": cost.trainable_parameters,
        },
        "provenance": provenance(
            {
                "fingerprints": dict(prepared.fingerprints),
                "device": str(processes.device),
                **processes.arithmetic,
                "processes": processes.size,
                "weights": "sharded" if processes.shards_weights else "whole",  # while training
                "cpu": torch.backends.cpu.get_cpu_capability(),  # vector width, which determines the rounding of sums
                "started": started.isoformat(timespec="seconds"),
                "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        ),
        "status": status,
    }


def _scores(prepared: Prepared, scored: Mapping[str, Scored]) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """Return the scores of all languages, the summary of the test scores, and the status (`done` or `collapsed`)."""
    task_type, source = task_type_of(prepared.task), prepared.languages.source
    scores: list[dict[str, Any]] = []
    for language in prepared.languages.all:
        for split, split_scores in scored.items():
            if language in split_scores.scores:
                n = len(split_scores.examples[language])
                scores += [
                    {"language": language, "split": split, "metric": metric, "value": value, "n": n}
                    for metric, value in split_scores.scores[language].items()
                ]
    metric, test_scored = task_type.metrics[0], scored["test"]
    test = {language: values[metric] for language, values in test_scored.scores.items()}
    between = prepared.distances
    targets = {language: test[language] for language in prepared.languages.targets}
    summary = {
        **transfer_summary(targets, test[source], between.values, between.near, between.far),
        "metric": metric,
        "split": "test",
        "selection": "last",
        "distance": between.name,
        "imputed": between.imputed,
        "near": list(between.near),
        "far": list(between.far),
    }
    collapsed = task_type.collapsed(test_scored.examples[source], test_scored.predictions[source])
    return scores, summary, "collapsed" if collapsed else "done"
