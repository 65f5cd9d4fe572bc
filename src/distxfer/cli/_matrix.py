"""The verb `matrix`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from distxfer._console import write, write_json
from distxfer._lazy import preload
from distxfer.cli._options import RESULTS, AsJson, Results, Verbose, write_tables
from distxfer.errors import InputError


def matrix(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Runs of one recipe on several sources: recipes with results, RECIPE/ID, folders of runs. Default: all results.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    results: Results = RESULTS,
    metric: Annotated[str, typer.Option("--metric", help="The metric, if there are several.")] = "",
    distance: Annotated[
        str, typer.Option("--distance", help="The distance to correlate with. Default: all of URIEL's.")
    ] = "",
    observed: Annotated[bool, typer.Option("--observed", help="Use only observed features in distances.")] = False,
    distances: Annotated[Path | None, typer.Option("--matrix", help="A CSV file with your own distances.")] = None,
    covariates: Annotated[
        Path | None,
        typer.Option(
            "--covariates", help="A CSV file that describes languages, such as by the size of pretraining text."
        ),
    ] = None,
    method: Annotated[
        Literal["spearman", "pearson"], typer.Option("--method", help="The type of correlation.")
    ] = "spearman",
    diagonal: Annotated[
        bool, typer.Option("--diagonal", help="Correlate over pairs of a language with itself, too.")
    ] = False,
    biased: Annotated[
        bool,
        typer.Option("--biased", help="Drift by the biased CKA of Philippy et al. (2023), where the runs measured it."),
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Draw heat maps, and correlations by layer: a .png, .svg, .pdf or .html file."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every pair and layer as CSV.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show transfer between all pairs of source and target, and its correlations with drift and distance."""
    if distances and (distance or observed):
        raise InputError(
            f"`{'--distance' if distance else '--observed'}` and `--matrix` both define the distance. Keep one of them."
        )
    if figure is not None:
        from distxfer.reports.vega import check_figure

        check_figure(figure)
    preload("distxfer.analysis.transfer_matrix")
    from distxfer.analysis.transfer_matrix import pairs_of, transfer_matrix
    from distxfer.reports.transfer_matrix import cells_table, matrix_figure, matrix_tables
    from distxfer.results.collect import collect

    transfer = transfer_matrix(
        pairs_of(collect(names or [], results), metric),
        distance_name=distance,
        imputed=False if observed else None,
        matrix=distances,
        covariates=covariates,
        biased=biased,
        method=method,
        diagonal=diagonal,
    )
    if figure is not None:
        matrix_figure(transfer, figure)
    if as_json:
        write_json(transfer.records())
    elif as_csv:
        write(cells_table(transfer).csv())
    else:
        write_tables(matrix_tables(transfer), verbose)
