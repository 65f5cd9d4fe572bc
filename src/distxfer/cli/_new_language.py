"""The verb that takes a language from what there is of it to a model: `new-language`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from distxfer._complete import complete_override, complete_recipe
from distxfer._console import is_main, notice, progress, width, write, write_json
from distxfer.cli._options import RESULTS, AsJson, Results

Code = Annotated[str, typer.Argument(help="The language; one without a code may use `qaa` to `qtz`.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Of every run: task=NAME or a folder, model=MODEL, phase.finetune.epochs=8 ...",
        metavar="[KEY=VALUE]...",
        autocompletion=complete_override,
        show_default=False,
    ),
]
Labelled = Annotated[
    Path | None,
    typer.Option("--labelled", help="Labelled sentences to test on, in a file as of your own tasks (test.jsonl)."),
]
FewShot = Annotated[
    Path | None, typer.Option("--few-shot", help="Labelled sentences to train on; others than those to test on.")
]
Text = Annotated[Path | None, typer.Option("--text", help="Text in the language, a sentence a line.")]
Parallel = Annotated[
    Path | None, typer.Option("--parallel", help="Pairs: a source sentence, a tab, its translation a line.")
]
Dictionary = Annotated[
    Path | None, typer.Option("--dictionary", help="Words: one of the source, a tab, a translation a line.")
]
Relatives = Annotated[
    str | None, typer.Option("--relatives", help="Related languages whose distance stands in: cym,gle.")
]
ARecipe = Annotated[
    str | None,
    typer.Option("--recipe", help="A recipe in place of the proposed one.", autocompletion=complete_recipe),
]
Seeds = Annotated[int, typer.Option("--seeds", help="Runs of each recipe; fewer than 3 support no claim.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check, lay the data down and propose.")]


def new_language(
    code: Code,
    overrides: Overrides = None,
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
) -> None:
    """Take a new language from a few test sentences to a model, a recommendation and a report."""
    from distxfer.new_language.language_data import Given
    from distxfer.new_language.plan import carry_out, estimate_language, plan_language
    from distxfer.reports import plan_record, plan_tables, to_try

    kin = tuple(code.strip() for code in relatives.split(",") if code.strip()) if relatives else ()
    given = Given(labelled, few_shot, text, parallel, dictionary, kin)
    plan = plan_language(code, given, overrides or [], results, seeds=seeds, recipe=recipe or "")
    estimate = estimate_language(plan, results)
    if dry_run:
        if is_main() and as_json:
            write_json(plan_record(plan, estimate))
        elif is_main():
            write(f"{to_try(plan, estimate)}\n")
            _show_plan(plan_tables(plan, estimate), plan.folder)
        return
    notice(to_try(plan, estimate))
    with progress() as report:
        outcome = carry_out(plan, report=report, notice=notice)
    if is_main():
        _show(outcome, estimate, as_json)


def _show(outcome: Any, estimate: Any, as_json: bool) -> None:
    """Write the report, and print what came of a plan, the recommendation first."""
    from distxfer.reports import (
        language_report,
        outcome_record,
        outcome_tables,
        plan_record,
        plan_tables,
        recommendation,
    )

    path = language_report(outcome)
    if as_json:
        write_json({**plan_record(outcome.plan, estimate), **outcome_record(outcome), "report": str(path)})
        return
    write(f"{recommendation(outcome)}\n")
    for table in outcome_tables(outcome):
        write(table.text(width()))
    _show_plan(plan_tables(outcome.plan, estimate), outcome.plan.folder)
    if outcome.model is not None:
        write(f"Model: {outcome.model}\n")
    write(f"Report: {path}\n")


def _show_plan(tables: Sequence[Any], folder: Path) -> None:
    for table in tables:
        write(table.text(width()))
    write(f"Recipes and data: {folder}\n")
