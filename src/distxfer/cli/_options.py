"""What verbs share: options, and how a recipe is read from the words of the command line and tables are shown."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from distxfer._complete import complete_override
from distxfer._console import width, write, write_json
from distxfer.errors import InputError, listed

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
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show all columns, in several parts if they do not fit.")
]
Results = Annotated[
    Path,
    typer.Option(
        "--results", envvar="DISTXFER_RESULTS", help="Where results are kept.", file_okay=True, show_default=True
    ),
]
RESULTS = Path("results")


def recipe_of(overrides: list[str] | None) -> Any:
    """Return the recipe that the words of the command line mean; `recipe=NAME` may stand anywhere among them."""
    from distxfer.config.files import recipe_files
    from distxfer.config.recipe import load_recipe

    words = overrides or []
    names = [
        word.split("=", 1)[1].strip() for word in words if word.split("=", 1)[0].strip() == "recipe" and "=" in word
    ]
    if len(names) != 1 or not names[0]:
        said = "no recipe" if not names or not names[0] else f"{len(names)} recipes ({listed(names)})"
        raise InputError(f"The command names {said}; expected one `recipe=NAME`. Recipes: {listed(recipe_files())}.")
    return load_recipe(names[0], [word for word in words if word.split("=", 1)[0].strip() != "recipe"])


def show_tables(
    as_json: bool, records: Callable[[], Any], tables: Callable[[], Iterable[Any]], verbose: bool = False
) -> None:
    """Write tables, or their records as JSON; only the form that is printed is computed."""
    if as_json:
        write_json(records())
    else:
        write_tables(tables(), verbose)


def write_tables(tables: Iterable[Any], verbose: bool = False) -> None:
    """Write tables to stdout, as wide as the terminal is."""
    for table in tables:
        write(table.text(width(), verbose=verbose))
