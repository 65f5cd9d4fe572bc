"""The table of one run, read from its result files."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from math import isfinite
from statistics import fmean
from typing import Any

from distxfer.errors import listed
from distxfer.languages import language_name
from distxfer.reports._tables import Table
from distxfer.results.corpus import corpus_of
from distxfer.results.distances import stored_warnings
from distxfer.results.measurements import read_measurements
from distxfer.results.result import Result

# Data issue -> the note that explains the column `cut off`; `{}` is `task.max_length`.
_CUT = {
    "cut": "cut off: test texts of more than {} tokens.",
    "questions_cut": "cut off: questions of the test of more than half of {} tokens.",
    "words_cut": "cut off: words of the test of more than {} tokens.",
}


def run_table(result: Result) -> Table:
    """Return one row per language: distance, test score, drift after training, alignment before and after.

    Drift is 1 - CKA (unbiased, linear), averaged over the blocks. Retrieval is weak, forward, at the last layer.
    """
    measured = read_measurements(result.folder / "measurements.parquet").sort_values("layer")
    retrieval = measured[measured["measure"] == "retrieval_weak_forward"]
    drift = measured[(measured["measure"] == "drift_cka") & (measured["moment"] == "after") & (measured["layer"] > 0)]
    summary, source = result.summary, result.source
    distances = {distance["language"]: distance["value"] for distance in result.distances}
    scores = result.rows_by_language()
    cut = cut_shares(result)

    def mean_drift(language: str) -> float | None:
        mean = fmean(drift.loc[drift["language"] == language, "value"])
        return mean if isfinite(mean) else None

    def row(language: str) -> tuple[Any, ...]:
        last = (
            retrieval[retrieval["language"] == language]
            .drop_duplicates("moment", keep="last")
            .set_index("moment")["value"]
        )
        group = "source" if language == source else "far" if language in summary["far"] else "near"
        return (
            language,
            language_name(language),
            group,
            distances.get(language),
            scores[language]["value"],
            scores[language]["n"],
            *([cut.get(language, "")] if cut else []),
            mean_drift(language),
            *(last.get(moment) for moment in ("before", "after")),
        )

    order = sorted(scores, key=lambda language: (language != source, distances.get(language, 0.0), language))
    return Table(
        columns=(
            *("language", "name", "group", "distance", result.metric, "n"),
            *(["cut off"] if cut else []),
            *("drift", "retrieval before", "retrieval after"),
        ),
        rows=[row(language) for language in order],
        notes=_run_notes(result, retrieval["n"].tolist()),
        optional=("n", "retrieval before", "retrieval after", "cut off", "group"),
    )


def _run_notes(result: Result, pairs: Collection[int]) -> tuple[str, ...]:
    """Return the lines below the table of a run; `pairs` are the numbers of pairs of its retrievals."""
    summary = result.summary
    return (
        _summary_line(summary),
        f"distance: {summary['distance']}{' (imputed)' if summary['imputed'] else ''}, from {result.source};"
        f" near and far: split at its median. Checkpoint: {summary['selection']}.",
        "drift: 1 - CKA (unbiased, linear) of the test sentences against the pretrained encoder, mean over the layers.",
        *result.data.get("undefined", ()),
        *stored_warnings([result.data]),
        f"parallel text: {corpus_of(result.data)}.",
        *cut_notes(result),
        *_gradient_lines(result),
        *([f"retrieval: of the translation, last layer, {_pairs(min(pairs), max(pairs))}."] if len(pairs) else []),
        *(
            ["COLLAPSED: the source score is within noise of the majority class. The run failed; averages exclude it."]
            if result.collapsed
            else []
        ),
    )


def cut_shares(result: Result) -> dict[str, str]:
    """Return language -> share of its test texts, questions or words that are cut off, for languages that have any."""
    return {issue["language"]: _share(issue) for issue in _test_issues(result) if issue["what"] in _CUT}


def cut_notes(result: Result) -> list[str]:
    """Return what `cut_shares` counts, and for each language the share of test texts whose drift covers only their start."""
    if not (issues := _test_issues(result)):
        return []
    length = result.recipe["task"]["max_length"]
    notes = [
        note.format(length) for issue_kind, note in _CUT.items() if issue_kind in {issue["what"] for issue in issues}
    ]
    parts = [f"{issue['language']} {_share(issue)}" for issue in issues if issue["what"] == "cut_when_measured"]
    if parts:
        notes.append(f"drift covers only the first {length} tokens of these shares of the test texts: {listed(parts)}.")
    return notes


def _test_issues(result: Result) -> list[Mapping[str, Any]]:
    return [issue for issue in result.data.get("data_issues", ()) if issue["split"] == "test"]


def _share(issue: Mapping[str, Any]) -> str:
    share = issue["n"] / issue["of"]
    return f"{share:.0%}" if share >= 0.005 else "< 1%"


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
    """Return mean cosine and share of each term's gradient in each phase, over the sampled steps."""
    by_term: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for entry in result.data.get("diagnostics", []):
        for key, value in entry.items():
            if key.startswith("gradient/"):
                name, quantity = key.removeprefix("gradient/").rsplit("/", 1)
                by_term[entry["phase"], name][quantity].append(value)
    lines = []
    for (phase, name), numbers in by_term.items():
        if name == "task":
            continue
        steps = len(numbers["share"] or numbers["cosine"])
        cosine = f"cosine with the task's {fmean(numbers['cosine']):+.2f}, " if numbers["cosine"] else ""
        share = f"share of the step {fmean(numbers['share']):.0%}" if numbers["share"] else "share not defined"
        lines.append(f"gradient of {name} in {phase}: {cosine}{share} (means of {steps} steps).")
    return lines


def _pairs(smallest: int, largest: int) -> str:
    if smallest == largest:
        return f"n = {largest}, chance = {1 / largest:.4f}"
    return f"n = {smallest} to {largest}, chance = {1 / largest:.4f} to {1 / smallest:.4f}"
