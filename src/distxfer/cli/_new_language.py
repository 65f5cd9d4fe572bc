"""The verb `new-language`: from the data that a language has to a model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from distxfer._complete import complete_recipe
from distxfer._console import is_main, notice, progress, write, write_json
from distxfer.cli._options import RESULTS, AsJson, Parallel, Results, Settings, Text, Verbose, write_tables
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
    Path | None, typer.Option("--dictionary", help="Word pairs, one per line: source, tab, translation.")
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
    from distxfer.reports import plan_record, to_try

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
    from distxfer.reports import language_report, outcome_record, outcome_tables, plan_record, recommendation

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
    from distxfer.reports import plan_tables

    write_tables(plan_tables(plan, estimate), verbose)
    write(f"Recipes and data: {plan.folder}\n")
