"""What one run found, read from its result files alone."""

from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from distxfer.experiments import Result, corpus_of, read_measurements, stored_warnings
from distxfer.languages import language_name
from distxfer.reports._tables import Table


def run_table(result: Result) -> Table:
    """Return one row per language: distance, test score, drift after training, alignment before and after.

    Drift is 1 - CKA (unbiased, linear), averaged over the blocks. Retrieval is weak, from the source, at the last
    layer.
    """
    measured: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    sizes: dict[str, set[int]] = defaultdict(set)
    for one in read_measurements(result.folder / "measurements.parquet"):
        measured[one.measure, one.language, one.moment][one.layer] = one.value
        sizes[one.measure].add(one.n)
    summary, source = result.summary, result.data["source"]
    distances = {one["language"]: one["value"] for one in result.data["distances"]}
    scores = {one["language"]: one for one in result.scores if (one["split"], one["metric"]) == ("test", result.metric)}

    cut = cut_shares(result)

    def row(language: str) -> tuple[Any, ...]:
        drift = measured["drift_cka", language, "after"]
        found = [_last(measured["retrieval_weak_forward", language, moment]) for moment in ("before", "after")]
        group = "source" if language == source else "far" if language in summary["far"] else "near"
        return (
            language,
            language_name(language),
            group,
            distances.get(language),
            scores[language]["value"],
            scores[language]["n"],
            *([cut.get(language, "")] if cut else []),
            fmean(value for layer, value in drift.items() if layer > 0),
            *found,
        )

    order = sorted(scores, key=lambda language: (language != source, distances.get(language, 0.0), language))
    pairs = sizes["retrieval_weak_forward"]
    return Table(
        columns=(
            *("language", "name", "group", "distance", result.metric, "n"),
            *(["cut off"] if cut else []),
            *("drift", "retrieval before", "after"),
        ),
        rows=[row(language) for language in order],
        notes=(
            _summary_line(summary),
            f"distance: {summary['distance']}{' (imputed)' if summary['imputed'] else ''}, from {source};"
            f" near and far: split at its median. Checkpoint: {summary['selection']}.",
            "drift: 1 - CKA (unbiased, linear) of the test sentences against the pretrained encoder, mean over the layers.",
            *stored_warnings([result.data]),
            f"parallel text: {corpus_of(result.data)}.",
            *([f"cut off: test texts of more than {result.data['recipe']['task']['max_length']} tokens."] if cut else []),
            *_gradient_lines(result),
            *([f"retrieval: of the translation, last layer, {_pairs(min(pairs), max(pairs))}."] if pairs else []),
            *(["COLLAPSED: the source's score is within noise of the majority class; a failed run, no average takes it in."]
              if result.data["status"] == "collapsed" else []),
        ),
    )  # fmt: skip


def cut_shares(result: Result) -> dict[str, str]:
    """Return language -> the share of its test texts that are cut off at `task.max_length`, of those that have any."""
    return {
        one["language"]: f"{one['n'] / one['of']:.0%}" if one["n"] / one["of"] >= 0.005 else "< 1%"
        for one in result.data.get("data_issues", ())
        if (one["split"], one["what"]) == ("test", "cut")
    }


def _summary_line(summary: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {value:.3f}"
        for name, value in (
            ("source", summary["source"]),
            ("targets", summary["target_mean"]),
            ("near", summary["near_mean"]),
            ("far", summary["far_mean"]),
            ("gap", summary["gap"]),
            ("slope on distance", summary["distance_slope"]),
        )
        if value is not None
    ]
    return "means: " + ", ".join(parts) + ". One seed: no ranking of methods."


def _gradient_lines(result: Result) -> list[str]:
    """Return what the gradients of each phase's terms said, averaged over the steps that were looked at."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for entry in result.data.get("diagnostics", []):
        for key, value in entry.items():
            if key.startswith("gradient/"):
                name, what = key.removeprefix("gradient/").rsplit("/", 1)
                found[entry["phase"], name][what].append(value)
    lines = []
    for (phase, name), numbers in found.items():
        if name == "task":
            continue
        steps = len(numbers["share"] or numbers["cosine"])
        cosine = f"cosine with the task's {fmean(numbers['cosine']):+.2f}, " if numbers["cosine"] else ""
        share = f"share of the step {fmean(numbers['share']):.0%}" if numbers["share"] else "share not defined"
        lines.append(f"gradient of {name} in {phase}: {cosine}{share} (means of {steps} steps).")
    return lines


def _pairs(fewest: int, most: int) -> str:
    if fewest == most:
        return f"n = {most}, chance = {1 / most:.4f}"
    return f"n = {fewest} to {most}, chance = {1 / most:.4f} to {1 / fewest:.4f}"


def _last(by_layer: Mapping[int, float]) -> float | None:
    return by_layer[max(by_layer)] if by_layer else None
