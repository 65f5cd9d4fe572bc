"""The verb `compare`."""

from pathlib import Path
from typing import Annotated

import typer

from distxfer._console import say
from distxfer.cli._options import AsJson, show_tables
from distxfer.errors import InputError


def compare(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Two folders of finished runs, the baseline first: compared on their predictions, as ONE seed allows.",
            metavar="[RUN RUN]",
            show_default=False,
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--table", help="Scores: CSV with model, task, method, seed, language, metric, value."),
    ] = None,
    baseline: Annotated[
        str, typer.Option("--baseline", help="The method of the table that the others are compared with.")
    ] = "",
    metric: Annotated[str, typer.Option("--metric", help="Which metric, where the table has several.")] = "",
    source: Annotated[str, typer.Option("--source", help="The language that the runs were trained on.")] = "eng",
    distance: Annotated[str, typer.Option("--distance", help="Splits near from far languages.")] = "syntactic",
    observed: Annotated[bool, typer.Option("--observed", help="No predicted features in distances.")] = False,
    matrix: Annotated[Path | None, typer.Option("--matrix", help="Your own distances, a CSV file.")] = None,
    paired: Annotated[
        bool, typer.Option("--paired", help="Runs of equal seed share weights and data order at the start.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare methods with a baseline: a table of scores over seeds and languages, or two runs of one seed."""
    given = {"--baseline": baseline, "--metric": metric, "--matrix": matrix, "--paired": paired, "--observed": observed}
    _check_mode(runs or [], table, [name for name, value in given.items() if value])
    if table is None:
        _compare_two(runs or [], as_json)
        return
    from distxfer.experiments import compare as run
    from distxfer.experiments import read_scores
    from distxfer.reports import comparison_tables

    found = run(
        read_scores(table),
        baseline,
        metric=metric,
        source=source,
        distance_name=distance,
        imputed=not observed,
        matrix=matrix,
        paired=paired,
    )
    show_tables(as_json, found.records, lambda: comparison_tables(found))
    for note in () if as_json else found.notes:
        say(f"Note: {note}")


def _check_mode(runs: list[Path], table: Path | None, given: list[str]) -> None:
    """Refuse anything but a table with its baseline, or runs without the options of a table."""
    if (table is None) == (not runs):
        raise InputError(
            "`compare` takes a table or two runs; expected `--table FILE --baseline NAME` (seeds and languages), or the"
            " folders of two finished runs (one seed), the baseline first."
        )
    if table is None and given:
        raise InputError(
            f"`{given[0]}` goes with `--table`; two runs are compared on their accuracy as it is. Leave it out."
        )
    if table is not None and "--baseline" not in given:
        raise InputError(
            "`--table` needs `--baseline NAME`: the method of the table that the others are compared with."
        )


def _compare_two(runs: list[Path], as_json: bool) -> None:
    from distxfer.experiments import compare_runs
    from distxfer.reports import one_seed_table

    if len(runs) != 2:
        raise InputError(f"`compare` was given {len(runs)} runs; expected the folders of two, the baseline first.")
    found = compare_runs(*runs)
    show_tables(as_json, found.records, lambda: [one_seed_table(found)])
