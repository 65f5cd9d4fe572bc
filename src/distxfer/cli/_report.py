"""The verb `report`."""

from pathlib import Path
from typing import Annotated

import typer

from distxfer._console import say, write, write_json
from distxfer.cli._options import RESULTS, AsJson, Results


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to report on, the baseline first: recipes that have results, RECIPE/ID, runs, folders of runs; all"
            " results if none is named.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The page, a .html file that opens offline.")] = Path(
        "report.html"
    ),
    baseline: Annotated[
        str, typer.Option("--baseline", help="What the others are compared with, if not the first.")
    ] = "",
    distance: Annotated[
        list[str] | None,
        typer.Option(
            "--distance",
            help="A distance that the page offers; may be given several times, the first sorts the languages. By default that"
            " of the runs, and all others.",
            show_default=False,
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="A folder for all figures as PNG, SVG and PDF, for a paper.")
    ] = None,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Write one page with all that finished runs say: comparison, transfer, drift, alignment, training, provenance."""
    from distxfer.reports import report as run

    made = run(names or [], out, results=results, baseline=baseline, distances=distance or [], figures=figures)
    if as_json:
        write_json(made.record())
        return
    for note in made.notes:
        say(f"Note: {note}")
    if made.left_out:
        say(f"{len(made.left_out)} left out:")
        for one in made.left_out:
            say(f"- {one}")
    figures_said = f", {len(made.figures)} figure files in {figures}" if figures else ""
    write(f"{out}  ({made.methods} methods, {made.runs} runs, {made.size / 1e6:.1f} MB){figures_said}\n")
