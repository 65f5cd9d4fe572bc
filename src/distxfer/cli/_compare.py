"""The verb `compare`."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from distxfer._console import say, write, write_json
from distxfer._lazy import preload
from distxfer.cli._options import RESULTS, AsJson, Baseline, Results, Verbose, run_folder, write_tables
from distxfer.errors import InputError

Form = Literal["text", "markdown", "latex", "csv", "json"]
By = Literal["language", "family", "distance", "class"]
# An analysis; its tables and its numbers for CSV, of which only the form that is written is computed; notes for stderr with CSV.
_Compared = tuple[Any, Callable[[], Sequence[Any]], Callable[[], Any], Iterable[str]]

Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="What to compare, the baseline first: recipes with results, RECIPE/ID, or folders of runs. Default: all results."
        " The folders of two single runs are compared on their predictions (one seed each).",
        metavar="NAME",
        show_default=False,
    ),
]
ByPart = Annotated[
    By | None,
    typer.Option(
        "--by",
        help="Break effects down by language, family or class; `distance`: near, far and slope.",
        show_default=False,
    ),
]
Ablation = Annotated[
    bool, typer.Option("--ablation", help="Estimate what each setting contributes in which the methods differ.")
]
Interactions = Annotated[
    bool, typer.Option("--interactions", help="With --ablation: also estimate interactions between settings.")
]
Scores = Annotated[
    Path | None,
    typer.Option(
        "--table",
        help="Scores from elsewhere: a CSV file with the columns model, task, method, seed, language, metric, value.",
    ),
]
Source = Annotated[
    str, typer.Option("--source", help="With --table: the language that the runs were trained on. Default: eng.")
]
Paired = Annotated[
    bool,
    typer.Option("--paired", help="With --table: runs of the same seed start from the same weights and data order."),
]
Metric = Annotated[str, typer.Option("--metric", help="The metric to compare, if there are several.")]
Distance = Annotated[
    str,
    typer.Option(
        "--distance", help="The distance that splits near from far languages. Default: that of the runs, or syntactic."
    ),
]
Observed = Annotated[
    bool, typer.Option("--observed", help="Use only observed features in distances, none that are imputed.")
]
Matrix = Annotated[Path | None, typer.Option("--matrix", help="A CSV file with your own distances.")]
Format = Annotated[Form, typer.Option("--format", help="The format of the tables; csv has all digits.")]


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
    verbose: Verbose = False,
) -> None:
    """Compare methods with a baseline over seeds and languages: finished runs, a table of scores, or two single runs."""
    if as_json and form not in ("text", "json"):
        raise InputError(f"`--json` and `--format {form}` name two formats. Choose one.")
    words = names or []
    folders = [folder for word in words if (folder := run_folder(word, results))]
    values = {
        "--baseline": baseline, "--by": by, "--ablation": ablation, "--interactions": interactions, "--source": source,
        "--paired": paired, "--metric": metric, "--distance": distance, "--observed": observed, "--matrix": matrix,
    }  # fmt: skip
    options = [name for name, value in values.items() if value]
    settings = {"metric": metric, "distance_name": distance, "matrix": matrix, "imputed": False if observed else None}
    runs: Iterable[Any] = ()
    if matrix and (distance or observed):
        name = "--distance" if distance else "--observed"
        raise InputError(f"`{name}` and `--matrix` both define the distance. Keep one of them.")
    if table is not None:
        _check_table(words, options)
        settings |= {"distance_name": distance or "syntactic", "imputed": not observed}
        compared = _of_table(table, baseline, {**settings, "source": source or "eng", "paired": paired})
    elif len(words) == len(folders) == 2:
        compared, runs = _of_two_runs(folders, options)
    else:
        preload("distxfer.analysis.compare")
        from distxfer.results.collect import collect_against

        _check_methods(options)
        collection, baseline = collect_against(words, baseline, results)
        runs = [run for method in collection.methods for run in method.runs]
        if ablation:
            compared = _of_settings(collection, baseline, settings, interactions)
        else:
            compared = _of_methods(collection, baseline, settings, by, form == "latex")
    _write(compared, "json" if as_json else form, verbose)
    from distxfer.results.result import unverified

    for line in unverified(runs):
        say(line)


def _write(compared: _Compared, form: Form, verbose: bool) -> None:
    analysis, tables, data, notes = compared
    match form:
        case "json":
            write_json(analysis.records())
        case "csv":
            write(data().csv())
            for note in notes:
                say(f"Note: {note}")
        case "markdown":
            from distxfer.reports.tables import markdown_text

            write(markdown_text(tables()))
        case "latex":
            write("\n".join(table.latex() for table in tables()))
        case "text":
            write_tables(tables(), verbose)


def _check_table(words: list[str], options: list[str]) -> None:
    """Refuse a table with names or options of runs, or without its baseline."""
    if words:
        raise InputError(f"`compare` takes names of runs or `--table`, not both. Leave out `{words[0]}` or the table.")
    for name in {"--by", "--ablation", "--interactions"}.intersection(options):
        raise InputError(f"`{name}` needs the settings of runs, which a table of scores does not have. Leave it out.")
    if "--baseline" not in options:
        raise InputError(
            "`--table` needs `--baseline NAME`: the method in the table that the others are compared with."
        )


def _check_methods(options: list[str]) -> None:
    """Refuse options that have no meaning for runs, or exclude each other."""
    for name in {"--source", "--paired"}.intersection(options):
        raise InputError(f"`{name}` is for `--table`; runs record it themselves. Leave it out.")
    if "--interactions" in options and "--ablation" not in options:
        raise InputError("`--interactions` needs `--ablation`. Add it, or leave `--interactions` out.")
    if "--by" in options and "--ablation" in options:
        raise InputError("`--by` and `--ablation` are two views of the same runs. Choose one.")


def _of_methods(collection: Any, baseline: str, settings: dict[str, Any], by: By | None, for_paper: bool) -> _Compared:
    from distxfer.analysis.compare import compare_methods
    from distxfer.reports.comparison import comparison_data, comparison_tables
    from distxfer.reports.latex import paper_tables

    analysis = compare_methods(collection, baseline, **settings)

    def tables() -> Sequence[Any]:
        return paper_tables(collection.scores, analysis, by) if for_paper else comparison_tables(analysis, by)

    notes = (*analysis.notes, *analysis.warnings, *analysis.survival_warnings, *analysis.left_out)
    return analysis, tables, lambda: comparison_data(analysis, by), notes


def _of_settings(collection: Any, baseline: str, settings: dict[str, Any], interactions: bool) -> _Compared:
    from distxfer.analysis.ablation import ablate
    from distxfer.reports.ablation import ablation_data, ablation_tables

    analysis = ablate(collection, baseline, interactions=interactions, **settings)
    notes = (*analysis.warnings, *analysis.notes, *analysis.corpora, *analysis.left_out)
    return analysis, lambda: ablation_tables(analysis), lambda: ablation_data(analysis), notes


def _of_two_runs(folders: list[Path], options: list[str]) -> tuple[_Compared, list[Any]]:
    from distxfer.analysis.one_seed import compare_runs
    from distxfer.reports.comparison import one_seed_table
    from distxfer.reports.tables import table_of
    from distxfer.results.result import read_result

    if options:
        raise InputError(
            f"`{options[0]}` does not apply to two single runs, which are compared on their predictions. Leave it out, or name"
            " recipes."
        )
    analysis = compare_runs(*folders)

    def data() -> Any:
        return table_of([{"selection": analysis.selection, **row} for row in analysis.records()["comparisons"]])

    return (analysis, lambda: [one_seed_table(analysis)], data, ()), [read_result(folder) for folder in folders]


def _of_table(table: Path, baseline: str, settings: dict[str, Any]) -> _Compared:
    from distxfer.analysis.compare import compare as run
    from distxfer.reports.comparison import comparison_data, comparison_tables
    from distxfer.results.tables import read_scores

    analysis = run(read_scores(table), baseline, **settings)
    notes = (*analysis.survival_warnings, *analysis.notes)
    return analysis, lambda: comparison_tables(analysis), lambda: comparison_data(analysis), notes
