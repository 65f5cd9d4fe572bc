"""The verbs that look at encoders and languages: `measure`, `language` and `new-language`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from distxfer._complete import complete_override, complete_recipe
from distxfer._console import is_main, notice, progress, width, write, write_json
from distxfer._lazy import preload
from distxfer.cli._options import RESULTS, AsJson, Parallel, Results, Settings, Text, Verbose, show_tables, write_tables
from distxfer.errors import counted

Code = Annotated[str, typer.Argument(help="The language code; a language without one may use `qaa` to `qtz`.")]
Labelled = Annotated[
    Path | None,
    typer.Option("--labelled", help="Labelled sentences to test on, in the format of a task folder (test.jsonl)."),
]
FewShot = Annotated[
    Path | None, typer.Option("--few-shot", help="Labelled sentences to train on; none of those to test on.")
]
Dictionary = Annotated[
    Path | None,
    typer.Option("--dictionary", help="Word pairs, one per line: source, tab, translation; or FreeDict's NAME.index."),
]
Relatives = Annotated[
    str | None, typer.Option("--relatives", help="Related languages whose distances are used instead: cym,gle.")
]
ARecipe = Annotated[
    str | None,
    typer.Option("--recipe", help="A recipe to use instead of the proposed one.", autocompletion=complete_recipe),
]
Seeds = Annotated[int, typer.Option("--seeds", help="Runs of each recipe; fewer than 3 do not support a claim.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check the data, write it out and propose a recipe.")]


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
    preload("distxfer.checkpoints.measure")
    from distxfer.checkpoints.measure import checkpoints
    from distxfer.checkpoints.measure import measure as run
    from distxfer.reports.measure import measure_tables
    from distxfer.reports.measure_figure import measure_figure
    from distxfer.reports.vega import check_figure

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
    candidates: Annotated[
        str,
        typer.Option(
            "--candidates",
            help="Languages to rank as sources for it, such as eng,hin; `all`: those with labels.",
            show_default=False,
        ),
    ] = "",
    results: Results = RESULTS,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Report what is known about a language: data, distances, tokenizer, expected score, detectable effects."""
    from distxfer.config.recipe import load_recipe
    from distxfer.language_facts import language_facts
    from distxfer.reports.language import fact_records, language_answer, language_tables

    facts = language_facts(
        code,
        load_recipe("plain", overrides or []),
        results,
        text=text,
        parallel=parallel,
        candidates=[word.strip() for word in candidates.split(",") if word.strip()],
    )
    if is_main() and not as_json:
        write(f"{language_answer(facts)}\n")
    show_tables(as_json, lambda: fact_records(facts), lambda: language_tables(facts), verbose)


def new_language(
    code: Code,
    overrides: Settings = None,
    labelled: Labelled = None,
    few_shot: FewShot = None,
    text: Text = None,
    parallel: Parallel = None,
    dictionary: Dictionary = None,
    relatives: Relatives = None,
    recipe: ARecipe = None,
    seeds: Seeds = 3,
    dry_run: DryRun = False,
    results: Results = RESULTS,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Train and evaluate a model for a new language; recommend a recipe and write a report."""
    from distxfer.new_language.language_data import LanguageFiles
    from distxfer.new_language.plan import carry_out, estimate_language, plan_language
    from distxfer.reports.new_language import plan_record, to_try

    kin = tuple(code.strip() for code in relatives.split(",") if code.strip()) if relatives else ()
    data = LanguageFiles(labelled, few_shot, text, parallel, dictionary, kin)
    plan = plan_language(code, data, overrides or [], results, seeds=seeds, recipe=recipe or "")
    notice(f"Timing a few steps of {counted(len(plan.recipes), 'recipes')}.")
    estimate = estimate_language(plan, results)
    if dry_run:
        if is_main() and as_json:
            write_json(plan_record(plan, estimate))
        elif is_main():
            write(f"{to_try(plan, estimate)}\n")
            _show_plan(plan, estimate, verbose)
        return
    notice(to_try(plan, estimate))
    with progress() as report:
        outcome = carry_out(plan, report=report, notice=notice)
    if is_main():
        _show(outcome, estimate, as_json, verbose)


def _show(outcome: Any, estimate: Any, as_json: bool, verbose: bool) -> None:
    """Write the report, and print the outcome of a plan, the recommendation first."""
    from distxfer.reports.new_language import (
        language_report,
        outcome_record,
        outcome_tables,
        plan_record,
        recommendation,
    )

    path = language_report(outcome)
    if as_json:
        write_json({**plan_record(outcome.plan, estimate), **outcome_record(outcome), "report": str(path)})
        return
    write(f"{recommendation(outcome)}\n")
    write_tables(outcome_tables(outcome), verbose)
    _show_plan(outcome.plan, estimate, verbose)
    if outcome.model is not None:
        write(f"Model: {outcome.model}\n")
    write(f"Report: {path}\n")


def _show_plan(plan: Any, estimate: Any, verbose: bool) -> None:
    from distxfer.reports.new_language import plan_tables

    write_tables(plan_tables(plan, estimate), verbose)
    write(f"Recipes and data: {plan.folder}\n")
