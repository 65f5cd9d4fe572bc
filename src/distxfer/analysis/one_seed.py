"""Two finished runs against each other, on their stored predictions: what ONE seed of each can say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyarrow import ArrowException, Table

from distxfer._durable import read_table
from distxfer.data import Task
from distxfer.errors import InputError, listed
from distxfer.measure import McNemar, PairedBootstrap, holm, mcnemar, paired_bootstrap
from distxfer.results.corpus import corpora
from distxfer.results.result import Result, read_result
from distxfer.results.selection import selection_of, selection_warnings

_COLUMNS = ["language", "example_id", "label", "prediction"]
Answers = Mapping[str, Mapping[str, tuple[str, str]]]  # by language and example: its label, and what was predicted


@dataclass(frozen=True)
class OneLanguage:
    """The second run less the first in one language, or in all targets (`language` is None).

    `exact` is McNemar's test, None for all targets, where an item counts once however many languages it is in; `p_holm`
    is its p, corrected over the target languages, and None for the source.
    """

    language: str | None
    accuracy_baseline: float
    accuracy: float
    exact: McNemar | None
    p_holm: float | None
    bootstrap: PairedBootstrap


@dataclass(frozen=True)
class TwoRuns:
    """All comparisons of two runs: the source first, all targets last; `collapsed` names runs that learnt nothing.

    `metric` is what is compared: `accuracy`, or where an example holds several words, or an answer, `whole_example`: the
    share of examples whose prediction is the (first) label as a whole. `selection` is what chose the checkpoints, and
    `warnings` what to know of that; empty where both are the last ones. `corpora` say which parallel text they had.
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
            "comparisons": [self._record(one) for one in self.rows],
        }

    def _record(self, one: OneLanguage) -> dict[str, Any]:
        exact, drawn = one.exact, one.bootstrap
        return {
            "baseline": self.baseline,
            "method": self.method,
            "subset": "all" if one.language is None else one.language,
            "effect": drawn.difference,
            "low": drawn.low,
            "high": drawn.high,
            "p": drawn.p if exact is None else exact.p,
            "p_holm": one.p_holm,
            "p_bootstrap": drawn.p,
            "n_seeds": 1,
            "n_languages": 1 if one.language else sum(row.language not in (None, self.source) for row in self.rows),
            "n": drawn.n,
            "n_items": drawn.n_blocks,
            "only_baseline": None if exact is None else exact.only_b,
            "only_method": None if exact is None else exact.only_a,
            "reason": drawn.reason,
        }


def compare_runs(baseline: Path, method: Path) -> TwoRuns:
    """Compare two runs on the test examples that both have answered, language by language and over all targets.

    Exact McNemar and a paired bootstrap per language, Holm over the targets; over all targets a bootstrap of whole items
    (`example_id`), since one item in ten languages is one observation. Both take the two trained models as given: they say
    whether other sentences would favour the same one, and nothing about other seeds of either recipe.

    Raises InputError for a folder without a finished run, predictions that cannot be read, sources, languages or examples
    that differ, or labels that do.
    """
    results = [_finished(folder) for folder in (baseline, method)]
    sources = [str(one.data["source"]) for one in results]
    if sources[0] != sources[1]:
        raise InputError(
            f"`{baseline}` was trained on `{sources[0]}` and `{method}` on `{sources[1]}`; expected one source."
            " Compare runs that differ in nothing but what is to be compared."
        )
    first, second = (stored_answers(folder) for folder in (baseline, method))
    _check_same(first, second, baseline, method)
    targets = [language for language in first if language != sources[0]]
    rows = [_of_language(language, first, second) for language in (sources[0], *targets)]
    corrected = iter(holm([row.exact.p for row in rows[1:] if row.exact is not None]))
    rows = [rows[0], *(replace(row, p_holm=next(corrected)) for row in rows[1:])]
    selection = {str(one.folder): selection_of([one]) for one in results}
    return TwoRuns(
        baseline=str(baseline),
        method=str(method),
        source=sources[0],
        metric=_metric(results[0]),
        selection=" / ".join(dict.fromkeys(selection.values())),
        warnings=selection_warnings(selection),
        seeds=(int(results[0].data["seed"]), int(results[1].data["seed"])),
        collapsed=tuple(str(one.folder) for one in results if one.data["status"] == "collapsed"),
        corpora=tuple(corpora({str(run.folder): [run.data] for run in results})),
        rows=(*rows, _of_all(targets, first, second)),
    )


def _metric(result: Result) -> str:
    """Return what it is that an example is got right: its one class, or all words of it, or an answer as it stands."""
    from distxfer.data import kind_named  # needs torch, which comparing and reporting otherwise do not

    kind = kind_named(result.data.get("kind", Task.kind))  # an old result does not say it: there was no other kind
    one_class = kind.output in ("text", "state")
    return "accuracy" if one_class else "whole_example"


def _finished(folder: Path) -> Result:
    result = read_result(folder)
    if result is None:
        raise InputError(
            f"`{folder}` holds no finished run; expected a folder with a `result.json`. `distxfer ls runs` lists them."
        )
    return result


def stored_answers(folder: Path) -> Answers:
    """Return what a run answered to every test example; raises InputError where that cannot be read."""
    answers: dict[str, dict[str, tuple[str, str]]] = {}
    for row in stored_predictions(folder).to_pylist():
        answers.setdefault(row["language"], {})[row["example_id"]] = row["label"], row["prediction"]
    return answers


def stored_predictions(folder: Path) -> Table:
    """Return the table of a run's test predictions; raises InputError where it cannot be read or lacks a column."""
    path = folder / "predictions.parquet"
    try:
        table = read_table(path, _COLUMNS)
    except (OSError, ArrowException, KeyError) as error:
        raise InputError(f"`{path}` cannot be read ({error}). Run the recipe again with `--again`.") from error
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise InputError(
            f"`{path}` has no column {listed(f'`{name}`' for name in missing)}; expected"
            f" {listed(f'`{name}`' for name in _COLUMNS)}. Run the recipe again with `--again`."
        )
    return table


def _check_same(first: Answers, second: Answers, baseline: Path, method: Path) -> None:
    """Raise InputError unless both runs answered the same examples, with the same labels."""
    for one, other, here, there in ((first, second, baseline, method), (second, first, method, baseline)):
        for language, answers in one.items():
            if language not in other:
                raise InputError(
                    f"`{language}` is tested in `{here}` and not in `{there}`. Compare runs on the same languages."
                )
            for example, (label, _) in answers.items():
                if example not in other[language]:
                    raise InputError(
                        f"The example `{example}` of `{language}` is in `{here}` and not in `{there}`; expected the same"
                        " examples in both. Compare runs on the same data."
                    )
                if other[language][example][0] != label:
                    raise InputError(
                        f"The example `{example}` of `{language}` has the label `{label}` in `{here}` and"
                        f" `{other[language][example][0]}` in `{there}`. Compare runs on the same data."
                    )


def _right(answers: Answers, examples: Sequence[tuple[str, str]]) -> list[bool]:
    found = (answers[language][example] for language, example in examples)
    return [label == prediction for label, prediction in found]


def _of_language(language: str, first: Answers, second: Answers) -> OneLanguage:
    examples = [(language, example) for example in first[language]]
    before, after = _right(first, examples), _right(second, examples)
    shares = (sum(before) / len(before), sum(after) / len(after))
    return OneLanguage(language, *shares, mcnemar(after, before), None, _drawn(after, before, list(first[language])))


def _of_all(targets: Sequence[str], first: Answers, second: Answers) -> OneLanguage:
    examples = [(language, example) for language in targets for example in first[language]]
    before, after = _right(first, examples), _right(second, examples)
    shares = (sum(before) / len(before), sum(after) / len(after))
    return OneLanguage(None, *shares, None, None, _drawn(after, before, [example for _, example in examples]))


def _drawn(after: list[bool], before: list[bool], items: list[str]) -> PairedBootstrap:
    """Return the paired bootstrap of whole items; one item alone has a difference and no interval."""
    if len(set(items)) < 2:
        difference = (sum(after) - sum(before)) / len(after)
        return PairedBootstrap(difference, None, None, None, len(after), 1, "no interval: there is one item")
    return paired_bootstrap(after, before, blocks=items)
