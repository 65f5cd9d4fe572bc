"""The verb `report`."""

from pathlib import Path
from typing import Annotated

import typer

from distxfer._console import say, write, write_json
from distxfer.cli._options import RESULTS, AsJson, Baseline, Results


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to report on, the baseline first: recipes with results, RECIPE/ID, runs, or folders of runs. Default: all"
            " results.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The page: an .html file that works offline.")] = Path(
        "report.html"
    ),
    baseline: Baseline = "",
    distance: Annotated[
        list[str] | None,
        typer.Option(
            "--distance",
            help="A distance that the page offers; repeatable, the first one sorts the languages. Default: that of the runs,"
            " then all others.",
            show_default=False,
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="A folder for all figures as PNG, SVG and PDF.")
    ] = None,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Write one page about finished runs: comparison, transfer, drift, alignment, training, provenance."""
    from distxfer.reports import report as run

    page = run(names or [], out, results=results, baseline=baseline, distances=distance or [], figures=figures)
    if as_json:
        write_json(page.record())
        return
    for note in page.notes:
        say(f"Note: {note}")
    if page.left_out:
        say(f"{len(page.left_out)} left out:")
        for reason in page.left_out:
            say(f"- {reason}")
    drawn = f", {len(page.figures)} figure files in {figures}" if figures else ""
    write(f"{out}  ({page.methods} methods, {page.runs} runs, {page.size / 1e6:.1f} MB){drawn}\n")
