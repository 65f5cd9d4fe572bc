"""What verbs share: options, the recipe that the words of the command line name, and the output of tables."""

from collections.abc import Callable, Collection, Iterable, Iterator
from os.path import isfile  # `Path.is_file` raises where a name is too long
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from distxfer._complete import complete_override, recipe_keys
from distxfer._console import width, write, write_json
from distxfer.errors import InputError, listed

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="A recipe, and KEY=VALUE settings that override it: recipe=drift_reg seed=1 task.targets=jpn,kor",
        metavar="recipe=NAME [KEY=VALUE]...",
        autocompletion=complete_override,
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        help="Settings of a recipe: task=NAME or a folder, model=MODEL, task.targets=jpn distance.name=genetic ...",
        metavar="[KEY=VALUE]...",
        autocompletion=complete_override,
        show_default=False,
    ),
]
Baseline = Annotated[
    str, typer.Option("--baseline", help="The method that the others are compared with. Default: the first.")
]
Text = Annotated[Path | None, typer.Option("--text", help="Text in the language, one sentence per line.")]
Parallel = Annotated[
    Path | None, typer.Option("--parallel", help="Sentence pairs, one per line: source, tab, translation.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show all columns, in several parts if they do not fit, and all notes.")
]
Results = Annotated[
    Path,
    typer.Option(
        "--results", envvar="DISTXFER_RESULTS", help="The folder of results.", file_okay=True, show_default=True
    ),
]
RESULTS = Path("results")


# The keys that people change first, each with an example; `--help` shows them.
KEY_EXAMPLES = {
    "seed=1": "random seed",
    "model=xlm-roberta-base": "encoder: a folder, or a name on the hub",
    "task=FOLDER": "your data: FOLDER/{language}/train.csv ...",
    "task.columns.text=sentence": "the column with the text; likewise .label",
    "task.source=eng": "language with training labels",
    "task.targets=jpn,kor": "languages to transfer to; all,-jpn: all but one",
    "phase.finetune.epochs=3": "likewise .batch_size=8 .learning_rate=1e-5",
    "intervention.drift.weight=0.5": "a key of an intervention of the recipe",
}
_KEYS_HELP = """
 Settings, for example:
{}
 All keys, with meaning and default: distxfer ls keys
 All values of a recipe: distxfer show recipe=NAME
""".format("\n".join(f"   {example:<31}{meaning}" for example, meaning in KEY_EXAMPLES.items()))


class SettingsCommand(TyperCommand):
    """A command with KEY=VALUE settings, which also takes them as options: `--seed 1`, `--recipe=plain`, `--lr 1e-5`."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, then the keys that people change first."""
        super().format_help(ctx, formatter)
        typer.echo(_KEYS_HELP)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line, `--KEY VALUE` as `KEY=VALUE` unless KEY is an option of the verb."""
        options = {option for parameter in self.params for option in (*parameter.opts, *parameter.secondary_opts)}
        return super().parse_args(ctx, list(_settings(args, {*options, *ctx.help_option_names})))


def _settings(words: Iterable[str], options: Collection[str]) -> Iterator[str]:
    remaining = iter(words)
    for word in remaining:
        option, equals, value = word.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if option in options or not option.startswith("--") or not _is_setting(name):
            yield word
        elif equals:
            yield f"{name}={value}"
        elif (value := next(remaining, "--")).startswith("--"):
            yield from (word, value) if value != "--" else (word,)
        else:
            yield f"{name}={value}"


def _is_setting(name: str) -> bool:
    """Return whether a word names the recipe, one of its tables or keys, or a key without its table."""
    from distxfer.config.dotted import is_short_name

    keys = {*recipe_keys()}
    return (
        name == "recipe" or any(key.startswith(f"{name}.") for key in keys) or name in keys or is_short_name(name, keys)
    )


def recipe_of(overrides: list[str] | None) -> Any:
    """Return the recipe that the words of the command line name, as `recipe=NAME` anywhere or as a word without `=`.

    The name is looked up before anything heavy is imported. Raises InputError unless there is exactly one.
    """
    from distxfer.config.files import recipe_files, recipe_path

    words = [(word, *(part.strip() for part in word.partition("="))) for word in overrides or []]
    names = [value for _, key, _, value in words if key == "recipe"] or [
        key for _, key, equals, _ in words if not equals
    ]
    if len(names) != 1 or not names[0]:
        count = "no recipe" if not names or not names[0] else f"{len(names)} recipes ({listed(names)})"
        raise InputError(f"The command names {count}; expected one `recipe=NAME`. Recipes: {listed(recipe_files())}.")
    recipe_path(names[0])
    from distxfer.config.recipe import load_recipe

    return load_recipe(
        names[0], [word for word, key, equals, _ in words if key != "recipe" and (equals or key != names[0])]
    )


def run_folder(word: str, results: Path) -> Path | None:
    """Return the folder of the one finished run that a word names, below the results or anywhere; None for other words."""
    return next((folder for folder in (results / word, Path(word)) if isfile(folder / "result.json")), None)


def show_tables(
    as_json: bool, records: Callable[[], Any], tables: Callable[[], Iterable[Any]], verbose: bool = False
) -> None:
    """Write tables, or their records as JSON; only the form that is printed is computed."""
    if as_json:
        write_json(records())
    else:
        write_tables(tables(), verbose)


def write_tables(tables: Iterable[Any], verbose: bool = False) -> None:
    """Write tables to stdout, as wide as the terminal is, with a blank line between them."""
    color = width() is not None
    write("\n".join(table.text(width(), verbose=verbose, color=color) for table in tables))
