"""The verbs that look at encoders and languages: `measure` and `language`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from distxfer._complete import complete_override
from distxfer._console import is_main, notice, width, write
from distxfer.cli._options import RESULTS, AsJson, Results, show_tables


def measure(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="The two checkpoints, and what of a recipe says where: task=emoji task.targets=jpn model.pooling=cls ...",
            metavar="before=MODEL after=MODEL [KEY=VALUE]...",
            autocompletion=complete_override,
            show_default=False,
        ),
    ] = None,
    biased: Annotated[bool, typer.Option("--biased", help="Biased CKA, as Philippy et al. (2023).")] = False,
    pearson: Annotated[bool, typer.Option("--pearson", help="Pearson's correlations in place of Spearman's.")] = False,
    diagonal: Annotated[bool, typer.Option("--diagonal", help="Correlate over the source too.")] = False,
    figure: Annotated[Path | None, typer.Option("--figure", help="Draw it: a .png, .svg, .pdf or .html file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what lies between two checkpoints: drift, alignment, transfer, and how they go with distance."""
    from distxfer.checkpoints.measure import checkpoints
    from distxfer.checkpoints.measure import measure as run
    from distxfer.reports import check_figure, measure_figure, measure_tables

    if figure is not None:
        check_figure(figure)
    before, after, settings = checkpoints(overrides or [])
    method: Any = "pearson" if pearson else "spearman"
    found = run(before, after, settings, unbiased=not biased, method=method, diagonal=diagonal, notice=notice)
    if not is_main():
        return
    if figure is not None:
        measure_figure(found, figure)
    show_tables(as_json, found.records, lambda: measure_tables(found, width()))


def language(
    code: Annotated[str, typer.Argument(help="The language: an ISO 639, BCP-47 or FLORES code, or a Glottocode.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="What of a recipe says for what: model=MODEL task=NAME task.source=eng distance.name=genetic ...",
            metavar="[KEY=VALUE]...",
            autocompletion=complete_override,
            show_default=False,
        ),
    ] = None,
    text: Annotated[Path | None, typer.Option("--text", help="Text in the language, a sentence a line.")] = None,
    parallel: Annotated[
        Path | None, typer.Option("--parallel", help="Pairs: a source sentence, a tab, its translation a line.")
    ] = None,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Say whether a language can be worked on: data, distances, tokenizer, expected score, what can be shown."""
    from distxfer.config.recipe import load_recipe
    from distxfer.language_facts import language_facts
    from distxfer.reports import fact_records, language_answer, language_tables

    facts = language_facts(code, load_recipe("plain", overrides or []), results, text=text, parallel=parallel)
    if is_main() and not as_json:
        write(f"{language_answer(facts)}\n")
    show_tables(as_json, lambda: fact_records(facts), lambda: language_tables(facts))
