"""The verbs around a recipe: `ls`, `show`, `cp`, `validate`, `train`, `env`."""

import dataclasses
import functools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from distxfer._complete import complete_recipe
from distxfer._console import is_main, notice, progress, write, write_facts, write_json
from distxfer._lazy import preload
from distxfer.cli._options import RESULTS, AsJson, Overrides, Results, Verbose, recipe_of, show_tables, write_tables
from distxfer.errors import InputError, did_you_mean

# How `show` orders keys: single keys first, then tables in the order of the defaults.
_ORDER = (
    "seed", "phases", "model", "task", "distance", "parallel", "diagnostics", "measure", "phase", "intervention",
)  # fmt: skip
_KINDS = ("recipes", "tasks", "parallel", "interventions", "keys", "distances", "languages", "models", "runs")


def ls(
    kind: Annotated[str | None, typer.Argument(help=", ".join(_KINDS), autocompletion=lambda: list(_KINDS))] = None,
    name: Annotated[
        str | None, typer.Argument(help="A task or corpus, for all its details; or a table of keys.")
    ] = None,
    results: Results = RESULTS,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """List recipes, tasks, parallel text, interventions, keys of recipes, distances, languages, models or runs."""
    from distxfer.reports.listing import facts, key_listing, listing

    if kind is not None and kind not in _KINDS:
        raise InputError(f"`{kind}` cannot be listed.{did_you_mean(kind, _KINDS)} Choose from: {', '.join(_KINDS)}.")
    if kind is None:
        tables = {name: listing(name, results, short=True) for name in _KINDS if name not in ("languages", "keys")}
        records = {name: table.records() for name, table in tables.items()}
        show_tables(as_json, lambda: records, tables.values, verbose)
    elif name is None or kind == "keys":
        table = key_listing(name or "") if kind == "keys" else listing(kind, results)
        show_tables(as_json, table.records, lambda: [table], verbose)
    else:
        details = facts(kind, name)
        lists = {key: " ".join(value) for key, value in details.items() if isinstance(value, list | tuple)}
        write_facts(details if as_json else {**details, **lists}, as_json)


def show(overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print a recipe with every value and its origin."""
    from distxfer.config.families import text_layout
    from distxfer.encoders import BUNDLED_MODELS

    recipe = recipe_of(overrides)
    resolved = recipe.resolved()
    keys = sorted(recipe.values, key=lambda key: (_ORDER.index(key.split(".")[0]), key.rpartition(".")[0]))
    rows = [
        {
            "key": key,
            "value": functools.reduce(lambda table, part: table[part], key.split("."), resolved),
            "origin": recipe.values[key].origin,
        }
        for key in keys
    ]
    model = recipe.model.name
    terms = BUNDLED_MODELS[model].terms if model in BUNDLED_MODELS else ""
    for row in rows:
        if row["key"] == "model.name":
            row["origin"] = ", ".join(filter(None, (row["origin"], text_layout(model), terms)))
    if as_json:
        write_json(rows)
    else:
        write(settings_text({row["key"]: (row["value"], row["origin"]) for row in rows}))


def settings_text(values: Mapping[str, tuple[Any, str]]) -> str:
    """Return settings as lines of TOML, each with its origin as a comment."""
    lines = {f"{key} = {json.dumps(value, ensure_ascii=False)}": origin for key, (value, origin) in values.items()}
    width = min(60, max(map(len, lines), default=0))
    return "".join(f"{line:<{width}}  # {origin}\n" for line, origin in lines.items())


def cp(
    recipe: Annotated[str, typer.Argument(help="The recipe to copy.", autocompletion=complete_recipe)],
    file: Annotated[Path, typer.Argument(help="The new file, which ends in .toml.")],
) -> None:
    """Copy a recipe to a file that you can edit: `cp drift_reg mine.toml`, then `train recipe=mine.toml`."""
    from distxfer.config.files import recipe_path

    source = recipe_path(recipe)
    if file.suffix != ".toml":
        raise InputError(f"`{file}` is no recipe's file name; expected one that ends in `.toml`.")
    if file.exists():
        raise InputError(f"`{file}` exists already. Choose another name, or remove it first.")
    try:
        shutil.copyfile(source, file)
    except OSError as error:
        raise InputError(f"`{file}` cannot be written: {error.strerror}. Choose another folder.") from error
    write(f"{file}\n")


def validate(overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check a recipe without training: keys, languages, data, encoder, layers."""
    recipe = recipe_of(overrides)  # wrong keys are reported before torch is imported, which takes seconds
    from distxfer.results.descriptions import corpus_text

    preload("distxfer.runs.run")
    from distxfer.runs.run import validate as check

    prepared = check(recipe)
    for note in prepared.notes:
        notice(note)
    facts: dict[str, Any] = {
        "recipe": prepared.recipe.name,
        "id": prepared.id,
        "source": ", ".join(prepared.languages.sources),
        "targets": ", ".join(prepared.languages.targets),
        "train examples": len(prepared.labelled),
        "labels": len(prepared.task.labels),
        "parallel text": corpus_text(prepared.corpus),
        "valid": True,
    }
    if as_json:
        facts["data_issues"] = [dataclasses.asdict(issue) for issue in prepared.issues]
    write_facts(facts, as_json)


def train(
    overrides: Overrides = None,
    results: Results = RESULTS,
    again: Annotated[bool, typer.Option("--again", help="Run even if a result exists, and replace it.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only estimate steps, parameters, tokens, disk and time.")
    ] = False,
    log_with: Annotated[
        list[str] | None,
        typer.Option("--log-with", help="A tracker of Accelerate, such as tensorboard, wandb or trackio."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", help="Threads on the CPU. Default: OMP_NUM_THREADS, or one per core.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Fine-tune with a recipe, score every language, and measure drift and alignment."""
    from distxfer.sweeps.engines import end_with_parent, set_threads

    end_with_parent()
    recipe = recipe_of(overrides)
    if threads is not None:
        set_threads(threads)
    if dry_run:
        _outlook(recipe, results, as_json)
        return
    preload("distxfer.runs.run")
    from distxfer.runs.run import train as run

    with progress() as report:
        result = run(recipe, results, again=again, trackers=log_with or (), report=report, notice=notice)
    if not is_main():
        return
    if as_json:
        write_json({**result.data, "folder": str(result.folder)})
        return
    from distxfer.reports.run import run_table

    write_tables([run_table(result)], verbose)
    write(f"Result: {result.folder}\n")


def env(results: Results = RESULTS, as_json: AsJson = False) -> None:
    """Print versions, the device and the folders in use."""
    import torch

    from distxfer._cache import cache_folder
    from distxfer.results.result import package_versions

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    facts = {"device": device, "cache": str(cache_folder()), "results": str(results.absolute()), **package_versions()}
    write_facts(facts, as_json)


def _outlook(recipe: Any, results: Path, as_json: bool) -> None:
    preload("distxfer.runs.run")
    from distxfer.runs.run import outlook

    estimate = outlook(recipe, results)
    for note in estimate.notes:
        notice(note)
    facts: dict[str, Any] = {
        "folder": str(estimate.folder),
        "done already": estimate.done,
        "parallel text": estimate.parallel,
    }
    for plan in estimate.plans:
        facts[f"{plan.phase}: steps"] = plan.steps
        facts[f"{plan.phase}: parameters that train"] = plan.trainable_parameters
        facts[f"{plan.phase}: parameters"] = plan.parameters
    facts |= {
        "task tokens": estimate.tokens,
        "disk (MB)": round(estimate.megabytes),
        "time here (seconds, estimated)": round(estimate.training_seconds + estimate.measuring_seconds),
        "estimated from": estimate.basis,
    }
    if as_json:
        facts["data_issues"] = [dataclasses.asdict(issue) for issue in estimate.issues]
    write_facts(facts, as_json)
