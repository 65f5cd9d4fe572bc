"""Comparison of two finished runs on their stored predictions, with one seed each."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from distxfer.errors import InputError
from distxfer.measure import McNemar, PairedBootstrap, holm, mcnemar, paired_bootstrap
from distxfer.results.descriptions import arithmetic_notes, corpora, selection_of, selection_warnings
from distxfer.results.result import Result, read_result
from distxfer.results.tables import read_predictions


@dataclass(frozen=True)
class OneLanguage:
    """The second run minus the first in one language, or over all targets (`language` is None).

    `exact` is McNemar's test (None over all targets, where an item counts once); `p_holm` is its p, corrected over the targets
    (None for the source).
    """

    language: str | None
    accuracy_baseline: float
    accuracy: float
    exact: McNemar | None
    p_holm: float | None
    bootstrap: PairedBootstrap


@dataclass(frozen=True)
class TwoRuns:
    """All comparisons of two runs: the source first, all targets last. `collapsed` lists collapsed runs.

    `metric` is `accuracy`, or `whole_example` if an example has several words or is a question: the share of examples whose whole
    prediction is the (first) label. `selection` is how checkpoints were selected, with `warnings` if they are not all the last
    ones. `corpora` describes the parallel text.
    """

    baseline: str
    method: str
    source: str
    metric: str
    selection: str
    warnings: tuple[str, ...]
    seeds: tuple[int, int]
    collapsed: tuple[str, ...]
    corpora: tuple[str, ...]
    rows: tuple[OneLanguage, ...]

    def records(self) -> dict[str, Any]:
        """Return the comparisons as JSON data; effects as fractions."""
        return {
            "metric": self.metric,
            "selection": self.selection,
            "warnings": list(self.warnings),
            "source": self.source,
            "seeds": list(self.seeds),
            "collapsed": list(self.collapsed),
            "corpora": list(self.corpora),
            "comparisons": [self._record(row) for row in self.rows],
        }

    def _record(self, row: OneLanguage) -> dict[str, Any]:
        exact, drawn = row.exact, row.bootstrap
        return {
            "baseline": self.baseline,
            "method": self.method,
            "subset": "all" if row.language is None else row.language,
            "effect": drawn.difference,
            "low": drawn.low,
            "high": drawn.high,
            "p": drawn.p if exact is None else exact.p,
            "p_holm": row.p_holm,
            "p_bootstrap": drawn.p,
            "n_seeds": 1,
            "n_languages": 1 if row.language else len({each.language for each in self.rows} - {None, self.source}),
            "n": drawn.n,
            "n_items": drawn.n_blocks,
            "only_baseline": None if exact is None else exact.only_b,
            "only_method": None if exact is None else exact.only_a,
            "reason": drawn.reason,
        }


def compare_runs(baseline: Path, method: Path) -> TwoRuns:
    """Compare two runs on their test examples, by language and over all targets.

    Exact McNemar tests and paired bootstraps by language, with Holm's correction over the targets; over all targets, a
    bootstrap of whole items (`example_id`), since an item in ten languages is one observation. Both are conditional
    on the two trained models: they generalise to other sentences, not to other seeds.

    Raises InputError for a folder without a finished run, unreadable predictions, or different sources, languages, examples or
    labels.
    """
    results = []
    for folder in (baseline, method):
        result = read_result(folder)
        if result is None:
            raise InputError(
                f"`{folder}` holds no finished run; expected a folder with a `result.json`. `distxfer ls runs` lists them."
            )
        results.append(result)
    sources = [", ".join(run.sources) for run in results]
    if sources[0] != sources[1]:
        raise InputError(
            f"`{baseline}` was trained on `{sources[0]}` and `{method}` on `{sources[1]}`; expected one source."
            " Compare runs that differ in nothing but what is to be compared."
        )
    right = _right(baseline, method)
    source = results[0].source
    targets = right[~right["language"].isin(results[0].sources)]
    languages = [source, *targets["language"].unique()]
    rows = [_compared(language, right[right["language"] == language]) for language in languages]
    corrected = iter(holm([row.exact.p for row in rows[1:] if row.exact is not None]))
    rows = [rows[0], *(replace(row, p_holm=next(corrected)) for row in rows[1:])]
    selection = {str(run.folder): selection_of([run]) for run in results}
    return TwoRuns(
        baseline=str(baseline),
        method=str(method),
        source=source,
        metric=_metric(results[0]),
        selection=" / ".join(dict.fromkeys(selection.values())),
        warnings=(*selection_warnings(selection), *arithmetic_notes({str(run.folder): [run] for run in results})),
        seeds=(results[0].seed, results[1].seed),
        collapsed=tuple(str(run.folder) for run in results if run.collapsed),
        corpora=tuple(corpora({str(run.folder): [run] for run in results})),
        rows=(*rows, _compared(None, targets)),
    )


def _metric(result: Result) -> str:
    """Return the name of the share of correct examples: of one label each, or of several words or an answer each."""
    from distxfer.data import task_type_named  # needs torch, which comparing and reporting otherwise do not

    task_type = task_type_named(result.task_type)
    return "accuracy" if task_type.output in ("text", "state") else "whole_example"


def _right(baseline: Path, method: Path) -> pd.DataFrame:
    """Return whether each run is right on each example: `language`, `example_id`, `before` (the baseline) and `after`.

    Raises InputError unless both runs have the same examples with the same labels.
    """
    keys = ["language", "example_id"]
    first, second = (read_predictions(folder).drop_duplicates(keys, keep="last") for folder in (baseline, method))
    every = first.merge(second, "outer", on=keys, suffixes=("", "_other"), indicator="found")
    for row in every[(every["found"] != "both") | (every["label"] != every["label_other"])].itertuples():
        here, there, other = (method, baseline, first) if row.found == "right_only" else (baseline, method, second)
        if row.language not in set(other["language"]):
            raise InputError(
                f"`{row.language}` is tested in `{here}` and not in `{there}`. Compare runs on the same languages."
            )
        if row.found != "both":
            raise InputError(
                f"The example `{row.example_id}` of `{row.language}` is in `{here}` and not in `{there}`; expected the"
                " same examples in both. Compare runs on the same data."
            )
        raise InputError(
            f"The example `{row.example_id}` of `{row.language}` has the label `{row.label}` in `{here}` and"
            f" `{row.label_other}` in `{there}`. Compare runs on the same data."
        )
    joined = first.merge(second, on=keys, suffixes=("", "_other"))
    return joined[keys].assign(
        before=joined["prediction"] == joined["label"], after=joined["prediction_other"] == joined["label"]
    )


def _compared(language: str | None, right: pd.DataFrame) -> OneLanguage:
    """Return the comparison on the examples of one language, or of all targets (None)."""
    before, after, items = (right[name].tolist() for name in ("before", "after", "example_id"))
    shares = (sum(before) / len(before), sum(after) / len(after))
    if right["example_id"].nunique() < 2:
        reason = "no interval: there is one item"
        drawn = PairedBootstrap(shares[1] - shares[0], None, None, None, len(after), 1, reason)
    else:
        drawn = paired_bootstrap(after, before, blocks=items)
    return OneLanguage(language, *shares, mcnemar(after, before) if language else None, None, drawn)
