"""The verbs that look at encoders and languages: `measure` and `language`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from distxfer._complete import complete_override
from distxfer._console import is_main, notice, width, write
from distxfer.cli._options import RESULTS, AsJson, Parallel, Results, Settings, Text, Verbose, show_tables


def measure(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="The two checkpoints, and settings of a recipe: task=emoji task.targets=jpn model.pooling=cls ...",
            metavar="before=MODEL after=MODEL [KEY=VALUE]...",
            autocompletion=complete_override,
            show_default=False,
        ),
    ] = None,
    biased: Annotated[
        bool, typer.Option("--biased", help="Use the biased estimate of CKA, as Philippy et al. (2023) do.")
    ] = False,
    pearson: Annotated[bool, typer.Option("--pearson", help="Use Pearson's correlation, not Spearman's.")] = False,
    diagonal: Annotated[bool, typer.Option("--diagonal", help="Include the source language in correlations.")] = False,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw a figure: a .png, .svg, .pdf or .html file.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Compare two checkpoints: drift, alignment, transfer, and how these correlate with distance."""
    from distxfer.checkpoints.measure import checkpoints
    from distxfer.checkpoints.measure import measure as run
    from distxfer.reports import check_figure, measure_figure
    from distxfer.reports.measure import measure_tables

    if figure is not None:
        check_figure(figure)
    before, after, settings = checkpoints(overrides or [])
    method: Any = "pearson" if pearson else "spearman"
    measured = run(before, after, settings, unbiased=not biased, method=method, diagonal=diagonal, notice=notice)
    if not is_main():
        return
    if figure is not None:
        measure_figure(measured, figure)
    show_tables(as_json, measured.records, lambda: measure_tables(measured, width()), verbose)


def language(
    code: Annotated[str, typer.Argument(help="The language: an ISO 639, BCP-47 or FLORES code, or a Glottocode.")],
    overrides: Settings = None,
    text: Text = None,
    parallel: Parallel = None,
    results: Results = RESULTS,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Report what is known about a language: data, distances, tokenizer, expected score, detectable effects."""
    from distxfer.config.recipe import load_recipe
    from distxfer.language_facts import language_facts
    from distxfer.reports import fact_records, language_answer, language_tables

    facts = language_facts(code, load_recipe("plain", overrides or []), results, text=text, parallel=parallel)
    if is_main() and not as_json:
        write(f"{language_answer(facts)}\n")
    show_tables(as_json, lambda: fact_records(facts), lambda: language_tables(facts), verbose)
