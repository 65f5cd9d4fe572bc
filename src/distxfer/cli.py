"""The command line: the only file that prints or exits.

Tables go to stdout, progress and notices to stderr. Exit 0: done; 2: the input is wrong, in one clear message; 130:
interrupted, and the same command goes on; 1: anything else. What needs torch is imported inside the commands.
"""

import functools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from distxfer import __version__
from distxfer._complete import complete_override, complete_recipe
from distxfer.errors import InputError, RunError, did_you_mean

Command = TypeVar("Command", bound=Callable[..., None])

app = typer.Typer(
    help="Better cross-lingual transfer to typologically distant languages, measured honestly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="recipe=NAME and KEY=VALUE overrides, such as seed=1 task.targets=jpn,kor intervention.drift.weight=0.5",
        metavar="recipe=NAME [KEY=VALUE]...",
        autocompletion=complete_override,
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")]
Results = Annotated[
    Path,
    typer.Option(
        "--results", envvar="DISTXFER_RESULTS", help="Where results are kept.", file_okay=True, show_default=True
    ),
]
_RESULTS = Path("results")
_KINDS = ("recipes", "tasks", "parallel", "interventions", "distances", "languages", "models", "runs")


def main() -> None:
    """Run the command line."""
    app()


def _command(function: Command) -> Command:
    """Make a function a verb: bad input and broken guards become one message, Ctrl-C a resumable stop."""

    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            function(*arguments, **options)
        except InputError as error:
            _say(f"Error: {error}")
            raise typer.Exit(2) from error
        except RunError as error:
            _say(f"Error: {error}")
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            _say("Interrupted. The same command goes on from the last checkpoint.")
            raise typer.Exit(130) from None

    # `wraps` keeps the signature, which typer reads, but not the type, which mypy does.
    return app.command(name=function.__name__)(guarded)  # type: ignore[return-value]


@_command
def train(
    overrides: Overrides = None,
    results: Results = _RESULTS,
    again: Annotated[bool, typer.Option("--again", help="Run even if the result exists; it is replaced.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print steps, parameters, tokens, disk and time.")
    ] = False,
    log_with: Annotated[
        list[str] | None, typer.Option("--log-with", help="A tracker of Accelerate: tensorboard, wandb, trackio ...")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune with a recipe, score every language, measure, and leave one complete result."""
    recipe = _recipe(overrides)
    if dry_run:
        _outlook(recipe, results, as_json)
        return
    from distxfer.experiments import train as run

    with _progress() as report:
        result = run(recipe, results, again=again, trackers=log_with or (), report=report, notice=_notice)
    if not _is_main():
        return
    if as_json:
        _print_json({**result.data, "folder": str(result.folder)})
        return
    from distxfer.reports import run_table

    _print(run_table(result).text(_width()))
    _print(f"Result: {result.folder}\n")


@_command
def show(overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print a recipe with every value, and where each came from."""
    from distxfer.reports import settings_text

    recipe = _recipe(overrides)
    resolved = recipe.resolved()

    def value(key: str) -> Any:
        return functools.reduce(lambda table, part: table[part], key.split("."), resolved)

    values = {
        key: (value(key), one.origin) for key, one in sorted(recipe.values.items(), key=lambda item: _place(item[0]))
    }
    if as_json:
        _print_json([{"key": key, "value": one, "origin": origin} for key, (one, origin) in values.items()])
    else:
        _print(settings_text(values))


@_command
def validate(overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check a recipe in every way that needs no training: keys, languages, data, encoder, layers."""
    from distxfer.experiments import validate as check

    prepared = check(_recipe(overrides))
    facts = {
        "recipe": prepared.recipe.name,
        "id": prepared.id,
        "source": prepared.languages.source,
        "targets": ", ".join(prepared.languages.targets),
        "train examples": len(prepared.task.examples("train", prepared.languages.source)),
        "labels": len(prepared.task.labels),
        "valid": True,
    }
    _print_facts(facts, as_json)


@_command
def ls(
    kind: Annotated[str | None, typer.Argument(help=", ".join(_KINDS), autocompletion=lambda: list(_KINDS))] = None,
    results: Results = _RESULTS,
    as_json: AsJson = False,
) -> None:
    """List recipes, tasks, parallel text, interventions, distances, languages, models or runs."""
    from distxfer.reports import listing

    if kind is not None and kind not in _KINDS:
        raise InputError(f"`{kind}` cannot be listed.{did_you_mean(kind, _KINDS)} Choose from: {', '.join(_KINDS)}.")
    kinds = [kind] if kind else [one for one in _KINDS if one != "languages"]
    tables = {one: listing(one, results) for one in kinds}
    if as_json:
        _print_json({one: table.records() for one, table in tables.items()} if kind is None else tables[kind].records())
    else:
        for table in tables.values():
            _print(table.text(_width()))


@_command
def cp(
    recipe: Annotated[str, typer.Argument(help="The recipe to copy.", autocompletion=complete_recipe)],
    file: Annotated[Path, typer.Argument(help="Where to, a .toml file that does not exist yet.")],
) -> None:
    """Copy a recipe's file, to change it: `distxfer cp drift_reg mine.toml`, then `distxfer train recipe=mine.toml`."""
    from distxfer.experiments import recipe_path

    source = recipe_path(recipe)
    if file.suffix != ".toml":
        raise InputError(f"`{file}` is no recipe's file name; expected one that ends in `.toml`.")
    if file.exists():
        raise InputError(f"`{file}` exists already. Choose another name, or remove it first.")
    try:
        shutil.copyfile(source, file)
    except OSError as error:
        raise InputError(f"`{file}` cannot be written: {error.strerror}. Choose another folder.") from error
    _print(f"{file}\n")


@_command
def env(results: Results = _RESULTS, as_json: AsJson = False) -> None:
    """Print versions, the device, and the folders that are used."""
    import torch

    from distxfer._cache import cache_folder
    from distxfer.experiments import package_versions

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    facts = {"device": device, "cache": str(cache_folder()), "results": str(results.absolute()), **package_versions()}
    _print_facts(facts, as_json)


def _version(wanted: bool) -> None:
    if wanted:
        _print(f"distxfer {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Better cross-lingual transfer to typologically distant languages, measured honestly."""


def _recipe(overrides: list[str] | None) -> Any:
    """Return the recipe that the words of the command line mean; `recipe=NAME` may stand anywhere among them."""
    from distxfer.experiments import load_recipe, recipe_files

    words = overrides or []
    names = [
        word.split("=", 1)[1].strip() for word in words if word.split("=", 1)[0].strip() == "recipe" and "=" in word
    ]
    if len(names) != 1 or not names[0]:
        said = "no recipe" if not names or not names[0] else f"{len(names)} recipes ({', '.join(names)})"
        raise InputError(f"The command names {said}; expected one `recipe=NAME`. Recipes: {', '.join(recipe_files())}.")
    return load_recipe(names[0], [word for word in words if word.split("=", 1)[0].strip() != "recipe"])


def _place(key: str) -> tuple[int, str]:
    """Return where a key stands in `show`: single keys first, then tables in the order of the defaults."""
    order = ("seed", "phases", "model", "task", "distance", "parallel", "phase", "intervention")
    return order.index(key.split(".")[0]), ".".join(key.split(".")[:-1])


def _outlook(recipe: Any, results: Path, as_json: bool) -> None:
    from distxfer.experiments import outlook

    found = outlook(recipe, results)
    facts: dict[str, Any] = {"folder": str(found.folder), "done already": found.done}
    for plan in found.plans:
        facts[f"{plan.phase}: steps"] = plan.steps
        facts[f"{plan.phase}: parameters that train"] = plan.trainable_parameters
        facts[f"{plan.phase}: parameters"] = plan.parameters
    facts |= {
        "task tokens": found.tokens,
        "disk (MB)": round(found.megabytes),
        "time here (seconds, estimated)": round(found.training_seconds + found.measuring_seconds),
    }
    _print_facts(facts, as_json)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int, float], None]]:
    """Yield what the loop reports to: a bar on a terminal, a line now and then elsewhere."""
    started = time.perf_counter()
    if sys.stderr.isatty() and _is_main():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("loss {task.fields[loss]:.3f}"), console=Console(stderr=True)) as bar:
            tasks: dict[str, Any] = {}

            def advance(phase: str, step: int, steps: int, loss: float) -> None:
                if phase not in tasks:
                    tasks[phase] = bar.add_task(phase, total=steps, loss=loss)
                bar.update(tasks[phase], completed=step, loss=loss)

            yield advance
    else:

        def line(phase: str, step: int, steps: int, loss: float) -> None:
            if step == steps or step % max(1, steps // 10) == 0:
                _say(f"{phase}: step {step} of {steps}, loss {loss:.3f}, {time.perf_counter() - started:.0f} s")

        yield line


def _is_main() -> bool:
    """Return whether this is the process that prints: under `accelerate launch`, only the first one does."""
    return os.environ.get("RANK", "0") == "0"


def _notice(text: str) -> None:
    if _is_main():
        _say(text)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(text: str) -> None:
    sys.stdout.write(text)


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def _print_facts(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(facts)
    else:
        width = max(map(len, facts))
        _print("".join(f"{key:<{width}}  {value}\n" for key, value in facts.items()))


def _width() -> int | None:
    """Return the terminal's width, or None where the output goes to a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
