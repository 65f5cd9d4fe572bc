"""The verb `compare`."""

from collections.abc import Callable, Iterable, Sequence
from os.path import isfile  # that of `Path` raises where a name is too long
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from distxfer._console import say, width, write, write_json
from distxfer.cli._options import RESULTS, AsJson, Results
from distxfer.errors import InputError

Form = Literal["text", "markdown", "latex", "csv", "json"]
By = Literal["language", "family", "distance", "class"]


Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="What to compare, the baseline first: recipes that have results, RECIPE/ID, folders of runs; all results if"
        " none is named. The folders of two runs are compared on their predictions, as ONE seed allows.",
        metavar="NAME",
        show_default=False,
    ),
]
Baseline = Annotated[str, typer.Option("--baseline", help="What the others are compared with, if not the first.")]
ByPart = Annotated[
    By | None,
    typer.Option("--by", help="Effects by language, family or class, or near, far and slope.", show_default=False),
]
Ablation = Annotated[
    bool, typer.Option("--ablation", help="What each setting contributes in which the methods differ.")
]
Interactions = Annotated[
    bool, typer.Option("--interactions", help="With --ablation: how settings depend on each other.")
]
Scores = Annotated[
    Path | None,
    typer.Option("--table", help="Scores from elsewhere: CSV with model, task, method, seed, language, metric, value."),
]
Source = Annotated[
    str, typer.Option("--source", help="Of a table: the language that the runs were trained on; eng if not given.")
]
Paired = Annotated[
    bool, typer.Option("--paired", help="Of a table: runs of equal seed share weights and data order at the start.")
]
Metric = Annotated[str, typer.Option("--metric", help="Which metric, where there are several.")]
Distance = Annotated[
    str,
    typer.Option("--distance", help="Splits near from far languages; by default that of the runs, or syntactic."),
]
Observed = Annotated[bool, typer.Option("--observed", help="No predicted features in distances.")]
Matrix = Annotated[Path | None, typer.Option("--matrix", help="Your own distances, a CSV file.")]
Format = Annotated[Form, typer.Option("--format", help="How to write the tables; csv has all digits.")]


def compare(
    names: Names = None,
    baseline: Baseline = "",
    by: ByPart = None,
    ablation: Ablation = False,
    interactions: Interactions = False,
    results: Results = RESULTS,
    table: Scores = None,
    source: Source = "",
    paired: Paired = False,
    metric: Metric = "",
    distance: Distance = "",
    observed: Observed = False,
    matrix: Matrix = None,
    form: Format = "text",
    as_json: AsJson = False,
) -> None:
    """Compare methods with a baseline over seeds and languages: finished runs, or a table of scores; or two single runs."""
    if as_json and form not in ("text", "json"):
        raise InputError(f"`--json` and `--format {form}` are two forms of the same tables. Ask for one at a time.")
    words, form = names or [], "json" if as_json else form
    single = [folder for word in words if (folder := _single_run(word, results))]
    given = {
        "--baseline": baseline, "--by": by, "--ablation": ablation, "--interactions": interactions, "--source": source,
        "--paired": paired, "--metric": metric, "--distance": distance, "--observed": observed, "--matrix": matrix,
    }  # fmt: skip
    options = [name for name, value in given.items() if value]
    for name in ("--distance", "--observed"):
        if name in options and matrix:
            raise InputError(f"`{name}` and `--matrix` both say what is near. Keep one of them.")
    if table is not None:
        _check_table(words, options)
        _compare_table(
            table, baseline, metric, source or "eng", distance or "syntactic", not observed, matrix, paired, form
        )
    elif len(words) == len(single) == 2:
        _compare_two(single, options, form)
    else:
        from distxfer.results.collect import collect_against

        _check_methods(options)
        collection, baseline = collect_against(words, baseline, results)
        asked: dict[str, Any] = {
            "metric": metric, "distance_name": distance, "imputed": False if observed else None, "matrix": matrix,
        }  # fmt: skip
        if ablation:
            _ablate(collection, baseline, asked, interactions, form)
        else:
            _compare_methods(collection, baseline, asked, by, form)
        _say_unverified(run for method in collection.methods for run in method.runs)


def _say_unverified(results: Iterable[Any]) -> None:
    from distxfer.results.result import unverified

    for line in unverified(results):
        say(line)


def _single_run(word: str, results: Path) -> Path | None:
    """Return the folder of the one finished run that a word names, below the results or anywhere; None for other words."""
    return next((folder for folder in (results / word, Path(word)) if isfile(folder / "result.json")), None)


def _check_table(words: list[str], options: list[str]) -> None:
    """Refuse a table with names of runs, with options of theirs, or without its baseline."""
    if words:
        raise InputError(f"`compare` was given a table and `{words[0]}`; expected one of the two. Leave the other out.")
    for name in ("--by", "--ablation", "--interactions"):
        if name in options:
            raise InputError(
                f"`{name}` goes with recipes and runs, whose settings are known; a table has none. Leave it out."
            )
    if "--baseline" not in options:
        raise InputError(
            "`--table` needs `--baseline NAME`: the method of the table that the others are compared with."
        )


def _check_methods(options: list[str]) -> None:
    """Refuse options that mean nothing for runs, or together."""
    for name in ("--source", "--paired"):
        if name in options:
            raise InputError(f"`{name}` goes with `--table`; runs say of themselves what it says. Leave it out.")
    if "--interactions" in options and "--ablation" not in options:
        raise InputError("`--interactions` goes with `--ablation`. Add that, or leave it out.")
    if "--by" in options and "--ablation" in options:
        raise InputError("`--by` and `--ablation` are two views of the same runs. Ask for one at a time.")


def _compare_methods(collection: Any, baseline: str, asked: dict[str, Any], by: By | None, form: Form) -> None:
    from distxfer.analysis.methods import compare_methods
    from distxfer.reports import method_data, method_tables

    found = compare_methods(collection, baseline, **asked)
    _show(form, found.records, lambda: method_tables(found, by), lambda: method_data(found, by))
    _tell(form, (*found.comparisons.notes, *found.warnings, *found.survival_warnings, *found.left_out))


def _ablate(collection: Any, baseline: str, asked: dict[str, Any], interactions: bool, form: Form) -> None:
    from distxfer.analysis.ablation import ablate
    from distxfer.reports import ablation_data, ablation_tables

    found = ablate(collection, baseline, interactions=interactions, **asked)
    _show(form, found.records, lambda: ablation_tables(found), lambda: ablation_data(found))
    _tell(form, (*found.warnings, *found.notes, *found.corpora, *found.left_out))


def _compare_two(folders: list[Path], options: list[str], form: Form) -> None:
    from distxfer.analysis.one_seed import compare_runs
    from distxfer.reports import one_seed_table, table_of
    from distxfer.results.result import read_result

    if options:
        raise InputError(
            f"`{options[0]}` does not go with two single runs, which are compared on their predictions as they are. Leave it out,"
            " or name recipes."
        )
    found = compare_runs(*folders)

    def data() -> Any:
        return table_of([{"selection": found.selection, **one} for one in found.records()["comparisons"]])

    _show(form, found.records, lambda: [one_seed_table(found)], data)
    _say_unverified(result for folder in folders if (result := read_result(folder)))


def _compare_table(
    table: Path,
    baseline: str,
    metric: str,
    source: str,
    distance: str,
    imputed: bool,
    matrix: Path | None,
    paired: bool,
    form: Form,
) -> None:
    from distxfer.analysis.compare import compare as run
    from distxfer.reports import comparison_tables, flat_record, table_of
    from distxfer.results.score_tables import read_scores

    found = run(
        read_scores(table),
        baseline,
        metric=metric,
        source=source,
        distance_name=distance,
        imputed=imputed,
        matrix=matrix,
        paired=paired,
    )

    def data() -> Any:
        common = {"metric": found.metric, "selection": found.selection}
        return table_of([{**common, **flat_record(one)} for one in found.records()["comparisons"]])

    _show(form, found.records, lambda: comparison_tables(found), data)
    _tell(form, (*found.warnings, *found.notes))


def _show(form: Form, records: Callable[[], Any], tables: Callable[[], Sequence[Any]], data: Callable[[], Any]) -> None:
    """Write tables in a form; only what is asked for is made."""
    from distxfer.reports import markdown_text

    if form == "json":
        write_json(records())
    elif form == "csv":
        write(data().csv())
    elif form == "markdown":
        write(markdown_text(tables()))
    else:
        write(
            "\n".join(one.latex() for one in tables())
            if form == "latex"
            else "".join(one.text(width()) for one in tables())
        )


def _tell(form: Form, notes: Sequence[str]) -> None:
    """Write the notes of tables to stderr with CSV, which has no place for them; the other forms have them."""
    for note in notes if form == "csv" else ():
        say(f"Note: {note}")
