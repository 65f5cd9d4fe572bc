"""The verb `compare`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from distxfer._console import say, write, write_json
from distxfer.cli._options import RESULTS, AsJson, Results, Verbose, run_folder, write_tables
from distxfer.errors import InputError

Form = Literal["text", "markdown", "latex", "csv", "json"]
By = Literal["language", "family", "distance", "class"]


Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="What to compare, the baseline first: recipes with results, RECIPE/ID, or folders of runs. Default: all results."
        " The folders of two single runs are compared on their predictions (one seed each).",
        metavar="NAME",
        show_default=False,
    ),
]
Baseline = Annotated[
    str, typer.Option("--baseline", help="The method that the others are compared with. Default: the first.")
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


@dataclass(frozen=True)
class _Output:
    """The form in which tables are written."""

    form: Form
    verbose: bool

    def write(
        self,
        records: Callable[[], Any],
        tables: Callable[[], Sequence[Any]],
        data: Callable[[], Any],
        notes: Iterable[str] = (),
    ) -> None:
        """Write tables in this form; only that form is computed. The notes go to stderr with CSV, which has no place for them."""
        if self.form == "json":
            write_json(records())
        elif self.form == "csv":
            write(data().csv())
            for note in notes:
                say(f"Note: {note}")
        elif self.form == "markdown":
            from distxfer.reports import markdown_text

            write(markdown_text(tables()))
        elif self.form == "latex":
            write("\n".join(table.latex() for table in tables()))
        else:
            write_tables(tables(), self.verbose)


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
    words, output = names or [], _Output("json" if as_json else form, verbose)
    folders = [folder for word in words if (folder := run_folder(word, results))]
    values = {
        "--baseline": baseline, "--by": by, "--ablation": ablation, "--interactions": interactions, "--source": source,
        "--paired": paired, "--metric": metric, "--distance": distance, "--observed": observed, "--matrix": matrix,
    }  # fmt: skip
    options = [name for name, value in values.items() if value]
    for name in ("--distance", "--observed"):
        if name in options and matrix:
            raise InputError(f"`{name}` and `--matrix` both define the distance. Keep one of them.")
    if table is not None:
        _check_table(words, options)
        settings: dict[str, Any] = {
            "metric": metric, "source": source or "eng", "distance_name": distance or "syntactic",
            "imputed": not observed, "matrix": matrix, "paired": paired,
        }  # fmt: skip
        _compare_table(table, baseline, settings, output)
    elif len(words) == len(folders) == 2:
        _compare_two(folders, options, output)
    else:
        from distxfer.results.collect import collect_against

        _check_methods(options)
        collection, baseline = collect_against(words, baseline, results)
        settings = {
            "metric": metric, "distance_name": distance, "imputed": False if observed else None, "matrix": matrix,
        }  # fmt: skip
        if ablation:
            _ablate(collection, baseline, settings, interactions, output)
        else:
            _compare_methods(collection, baseline, settings, by, output)
        _say_unverified(run for method in collection.methods for run in method.runs)


def _say_unverified(results: Iterable[Any]) -> None:
    from distxfer.results.result import unverified

    for line in unverified(results):
        say(line)


def _check_table(words: list[str], options: list[str]) -> None:
    """Refuse a table with names or options of runs, or without its baseline."""
    if words:
        raise InputError(f"`compare` takes names of runs or `--table`, not both. Leave out `{words[0]}` or the table.")
    for name in ("--by", "--ablation", "--interactions"):
        if name in options:
            raise InputError(
                f"`{name}` needs the settings of runs, which a table of scores does not have. Leave it out."
            )
    if "--baseline" not in options:
        raise InputError(
            "`--table` needs `--baseline NAME`: the method in the table that the others are compared with."
        )


def _check_methods(options: list[str]) -> None:
    """Refuse options that have no meaning for runs, or exclude each other."""
    for name in ("--source", "--paired"):
        if name in options:
            raise InputError(f"`{name}` is for `--table`; runs record it themselves. Leave it out.")
    if "--interactions" in options and "--ablation" not in options:
        raise InputError("`--interactions` needs `--ablation`. Add it, or leave `--interactions` out.")
    if "--by" in options and "--ablation" in options:
        raise InputError("`--by` and `--ablation` are two views of the same runs. Choose one.")


def _compare_methods(collection: Any, baseline: str, settings: dict[str, Any], by: By | None, output: _Output) -> None:
    from distxfer.analysis.compare import compare_methods
    from distxfer.reports import method_data, method_tables, paper_tables

    comparison = compare_methods(collection, baseline, **settings)
    notes = (
        *comparison.notes, *comparison.warnings, *comparison.survival_warnings, *comparison.left_out,
    )  # fmt: skip

    def tables() -> Sequence[Any]:
        if output.form == "latex":
            return paper_tables(collection.scores, comparison, by)
        return method_tables(comparison, by)

    output.write(comparison.records, tables, lambda: method_data(comparison, by), notes)


def _ablate(collection: Any, baseline: str, settings: dict[str, Any], interactions: bool, output: _Output) -> None:
    from distxfer.analysis.ablation import ablate
    from distxfer.reports import ablation_data, ablation_tables

    ablation = ablate(collection, baseline, interactions=interactions, **settings)
    notes = (*ablation.warnings, *ablation.notes, *ablation.corpora, *ablation.left_out)
    output.write(ablation.records, lambda: ablation_tables(ablation), lambda: ablation_data(ablation), notes)


def _compare_two(folders: list[Path], options: list[str], output: _Output) -> None:
    from distxfer.analysis.one_seed import compare_runs
    from distxfer.reports import one_seed_table, table_of
    from distxfer.results.result import read_result

    if options:
        raise InputError(
            f"`{options[0]}` does not apply to two single runs, which are compared on their predictions. Leave it out, or name"
            " recipes."
        )
    comparison = compare_runs(*folders)

    def data() -> Any:
        return table_of([{"selection": comparison.selection, **row} for row in comparison.records()["comparisons"]])

    output.write(comparison.records, lambda: [one_seed_table(comparison)], data)
    _say_unverified(result for folder in folders if (result := read_result(folder)))


def _compare_table(table: Path, baseline: str, settings: dict[str, Any], output: _Output) -> None:
    from distxfer.analysis.compare import compare as run
    from distxfer.reports import comparison_tables, flat_record, table_of
    from distxfer.results.score_tables import read_scores

    comparison = run(read_scores(table), baseline, **settings)

    def data() -> Any:
        common = {"metric": comparison.metric, "selection": comparison.selection}
        return table_of([{**common, **flat_record(row)} for row in comparison.records()["comparisons"]])

    output.write(
        comparison.records, lambda: comparison_tables(comparison), data, (*comparison.warnings, *comparison.notes)
    )
