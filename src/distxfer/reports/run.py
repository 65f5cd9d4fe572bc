"""The table of one run, read from its result files."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import pandas as pd

from distxfer.errors import listed
from distxfer.languages import language_name
from distxfer.reports.tables import Table
from distxfer.results.descriptions import corpus_of, stored_warnings
from distxfer.results.result import Result
from distxfer.results.tables import PREDICTIONS, read_measurements, read_predictions

# Data issue -> the note that explains the column `cut off`; `{}` is `task.max_length`.
_CUT = {
    "cut": "cut off: test texts of more than {} tokens.",
    "questions_cut": "cut off: questions of the test of more than half of {} tokens.",
    "words_cut": "cut off: words of the test of more than {} tokens.",
}
_NEARLY_ALL = 0.95  # share of a language's test texts
_MEANS = {
    "source": "source",
    "targets": "target_mean",
    "near": "near_mean",
    "far": "far_mean",
    "gap": "gap",
    "slope on distance": "distance_slope",
}


def run_table(result: Result) -> Table:
    """Return one row per language: distance, test score, drift after training, alignment before and after.

    Drift is 1 - CKA (unbiased, linear), averaged over the blocks. Retrieval is weak, forward, at the last layer.
    """
    measured = read_measurements(result.folder / "measurements.parquet").sort_values("layer")
    retrieval = measured[measured["measure"] == "retrieval_weak_forward"]
    last = retrieval.drop_duplicates(["language", "moment"], keep="last").set_index(["language", "moment"])["value"]
    drift = measured[(measured["measure"] == "drift_cka") & (measured["moment"] == "after") & (measured["layer"] > 0)]
    mean_drift = drift.groupby("language")["value"].agg(lambda values: values.mean(skipna=False)).dropna()
    distances = {distance["language"]: distance["value"] for distance in result.distances}
    scores, cut = result.rows_by_language(), cut_shares(result)
    rows = [
        (
            language,
            language_name(language),
            "source" if language in result.sources else "far" if language in result.summary["far"] else "near",
            distances.get(language),
            scores[language]["value"],
            scores[language]["n"],
            *([cut.get(language, "")] if cut else []),
            mean_drift.get(language),
            *(last.get((language, moment)) for moment in ("before", "after")),
        )
        for language in sorted(scores, key=lambda code: (code not in result.sources, distances.get(code, 0.0), code))
    ]
    cut_off = ["cut off"] if cut else []
    return Table(
        columns=(
            *("language", "name", "group", "distance", result.metric, "n"),
            *(*cut_off, "drift", "retrieval before", "retrieval after"),
        ),
        rows=rows,
        notes=_run_notes(result, measured, retrieval["n"]),
        optional=("n", "retrieval before", "retrieval after", *cut_off, "group"),
    )


def _start(result: Result) -> str:
    """Return where the distances of a run are from."""
    if not result.other_sources:
        return result.source
    over = result.recipe["distance"].get("sources", "nearest")
    return f"{', '.join(result.sources)} ({'the nearest one' if over == 'nearest' else 'mean'})"


def _run_notes(result: Result, measured: pd.DataFrame, pairs: "pd.Series[int]") -> tuple[str, ...]:
    """Return the lines below the table of a run; `pairs` are the numbers of pairs of its retrievals."""
    summary, of_probe = result.summary, measured[measured["measure"] == "probe_accuracy"]
    probe = dict(zip(of_probe["language"], of_probe["value"], strict=True))
    means = [f"{name} {summary[key]:.3f}" for name, key in _MEANS.items() if summary[key] is not None]
    return (
        f"means: {', '.join(means)}. One seed: no ranking of methods.",
        *([_probe_line(probe, result)] if probe else []),
        f"distance: {summary['distance']}{' (imputed)' if summary['imputed'] else ''}, from {_start(result)};"
        f" near and far: split at its median. Checkpoint: {summary['selection']}.",
        "drift: 1 - CKA (unbiased, linear) of the test sentences against the pretrained encoder, mean over the layers.",
        *result.data.get("undefined", ()),
        *stored_warnings([result]),
        f"parallel text: {corpus_of(result)}.",
        *cut_notes(result),
        *_one_class(result),
        *_gradient_lines(result.data.get("diagnostics", [])),
        *([f"retrieval: of the translation, last layer, {_chance(pairs.min(), pairs.max())}."] if len(pairs) else []),
        *(
            ["COLLAPSED: the source score is within noise of the majority class. The run failed; averages exclude it."]
            if result.collapsed
            else []
        ),
    )


def _probe_line(probe: Mapping[str, float], result: Result) -> str:
    """Return the mean accuracies of a linear probe, which fine-tuning should exceed."""
    targets = fmean(value for language, value in probe.items() if language not in result.sources)
    return (
        f"linear probe of the pretrained states: source {probe[result.source]:.3f}, targets {targets:.3f} (accuracy)."
    )


def _one_class(result: Result) -> list[str]:
    """Return a line that names the languages in which the run predicts one class nearly always."""
    if result.task_type != "classification" or not (result.folder / PREDICTIONS).is_file():
        return []
    places = []
    for language, of_language in read_predictions(result.folder).groupby("language", sort=False):
        shares = of_language["prediction"].value_counts(normalize=True)
        label, share = shares.index[0], shares.iloc[0]
        if share >= _NEARLY_ALL and (of_language["label"] == label).mean() < _NEARLY_ALL - 0.15:
            places.append(f"{language} {100 * share:.0f} % `{label}`")
    return [f"One class for nearly all texts, which is no transfer: {listed(places)}."] if places else []


def _chance(smallest: int, largest: int) -> str:
    if smallest == largest:
        return f"n = {largest}, chance = {1 / largest:.4f}"
    return f"n = {smallest} to {largest}, chance = {1 / largest:.4f} to {1 / smallest:.4f}"


def cut_shares(result: Result) -> dict[str, str]:
    """Return language -> share of its test texts, questions or words that are cut off, for languages that have any."""
    return {issue["language"]: _share(issue) for issue in _test_issues(result) if issue["what"] in _CUT}


def cut_notes(result: Result) -> list[str]:
    """Return what `cut_shares` counts, and for each language the share of test texts whose drift covers only their start."""
    if not (issues := _test_issues(result)):
        return []
    length, kinds = result.recipe["task"]["max_length"], {issue["what"] for issue in issues}
    notes = [note.format(length) for kind, note in _CUT.items() if kind in kinds]
    parts = [f"{issue['language']} {_share(issue)}" for issue in issues if issue["what"] == "cut_when_measured"]
    if parts:
        notes.append(f"drift covers only the first {length} tokens of these shares of the test texts: {listed(parts)}.")
    return notes


def _test_issues(result: Result) -> list[Mapping[str, Any]]:
    return [issue for issue in result.data.get("data_issues", ()) if issue["split"] == "test"]


def _share(issue: Mapping[str, Any]) -> str:
    share = issue["n"] / issue["of"]
    return f"{share:.0%}" if share >= 0.005 else "< 1%"


def _gradient_lines(diagnostics: list[dict[str, Any]]) -> list[str]:
    """Return mean cosine and share of each term's gradient in each phase, over the sampled steps."""
    rows = [
        (entry["phase"], *key.removeprefix("gradient/").rsplit("/", 1), value)
        for entry in diagnostics
        for key, value in entry.items()
        if key.startswith("gradient/")
    ]
    frame = pd.DataFrame(rows, columns=["phase", "term", "quantity", "value"])
    lines = []
    for (phase, term), numbers in frame[frame["term"] != "task"].groupby(["phase", "term"], sort=False):
        share, cosine = (numbers.loc[numbers["quantity"] == name, "value"] for name in ("share", "cosine"))
        of_cosine = f"cosine with the task's {cosine.mean():+.2f}, " if len(cosine) else ""
        of_share = f"share of the step {share.mean():.0%}" if len(share) else "share not defined"
        steps = len(share) or len(cosine)
        lines.append(f"gradient of {term} in {phase}: {of_cosine}{of_share} (means of {steps} steps).")
    return lines
