"""The command line: its verbs, and how they end.

Tables go to stdout, progress and notices to stderr. Exit 0: done; 2: the input is wrong, in one clear message; 130:
interrupted, and the same command goes on; 1: anything else. What needs torch is imported inside the commands.
"""

import functools
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from distxfer import __version__
from distxfer._complete import complete_override, complete_recipe
from distxfer._console import is_main, notice, progress, say, width, write, write_facts, write_json
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
            say(f"Error: {error}")
            raise typer.Exit(2) from error
        except RunError as error:
            say(f"Error: {error}")
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            say("Interrupted. The same command goes on from the last checkpoint.")
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

    with progress() as report:
        result = run(recipe, results, again=again, trackers=log_with or (), report=report, notice=notice)
    if not is_main():
        return
    if as_json:
        write_json({**result.data, "folder": str(result.folder)})
        return
    from distxfer.reports import run_table

    write(run_table(result).text(width()))
    write(f"Result: {result.folder}\n")


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
        write_json([{"key": key, "value": one, "origin": origin} for key, (one, origin) in values.items()])
    else:
        write(settings_text(values))


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
    write_facts(facts, as_json)


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
        write_json({one: table.records() for one, table in tables.items()} if kind is None else tables[kind].records())
    else:
        for table in tables.values():
            write(table.text(width()))


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
    write(f"{file}\n")


@_command
def env(results: Results = _RESULTS, as_json: AsJson = False) -> None:
    """Print versions, the device, and the folders that are used."""
    import torch

    from distxfer._cache import cache_folder
    from distxfer.experiments import package_versions

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    facts = {"device": device, "cache": str(cache_folder()), "results": str(results.absolute()), **package_versions()}
    write_facts(facts, as_json)


@_command
def compare(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Two folders of finished runs, the baseline first: compared on their predictions, as ONE seed allows.",
            metavar="[RUN RUN]",
            show_default=False,
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--table", help="Scores: CSV with model, task, method, seed, language, metric, value."),
    ] = None,
    baseline: Annotated[
        str, typer.Option("--baseline", help="The method of the table that the others are compared with.")
    ] = "",
    metric: Annotated[str, typer.Option("--metric", help="Which metric, where the table has several.")] = "",
    source: Annotated[str, typer.Option("--source", help="The language that the runs were trained on.")] = "eng",
    distance: Annotated[str, typer.Option("--distance", help="Splits near from far languages.")] = "syntactic",
    observed: Annotated[bool, typer.Option("--observed", help="No predicted features in distances.")] = False,
    matrix: Annotated[Path | None, typer.Option("--matrix", help="Your own distances, a CSV file.")] = None,
    paired: Annotated[
        bool, typer.Option("--paired", help="Runs of equal seed share weights and data order at the start.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare methods with a baseline: a table of scores over seeds and languages, or two runs of one seed."""
    given = {"--baseline": baseline, "--metric": metric, "--matrix": matrix, "--paired": paired, "--observed": observed}
    _check_mode(runs or [], table, [name for name, value in given.items() if value])
    if table is None:
        _compare_two(runs or [], as_json)
        return
    from distxfer.experiments import compare as run
    from distxfer.experiments import read_scores
    from distxfer.reports import comparison_tables

    found = run(
        read_scores(table),
        baseline,
        metric=metric,
        source=source,
        distance_name=distance,
        imputed=not observed,
        matrix=matrix,
        paired=paired,
    )
    _show(as_json, found.records, lambda: comparison_tables(found))
    for note in () if as_json else found.notes:
        say(f"Note: {note}")


@_command
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
    from distxfer.experiments import checkpoints
    from distxfer.experiments import measure as run
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
    _show(as_json, found.records, lambda: measure_tables(found, width()))


@_command
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
    results: Results = _RESULTS,
    as_json: AsJson = False,
) -> None:
    """Say whether a language can be worked on: data, distances, tokenizer, expected score, what can be shown."""
    from distxfer.experiments import language_facts, load_recipe
    from distxfer.reports import fact_records, language_tables

    facts = language_facts(code, load_recipe("plain", overrides or []), results, text=text, parallel=parallel)
    _show(as_json, lambda: fact_records(facts), lambda: language_tables(facts))


def _version(wanted: bool) -> None:
    if wanted:
        write(f"distxfer {__version__}\n")
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
    order = ("seed", "phases", "model", "task", "distance", "parallel", "diagnostics", "phase", "intervention")
    return order.index(key.split(".")[0]), ".".join(key.split(".")[:-1])


def _show(as_json: bool, records: Callable[[], Any], tables: Callable[[], Iterable[Any]]) -> None:
    if as_json:
        write_json(records())
        return
    for table in tables():
        write(table.text(width()))


def _check_mode(runs: list[Path], table: Path | None, given: list[str]) -> None:
    """Refuse anything but a table with its baseline, or runs without the options of a table."""
    if (table is None) == (not runs):
        raise InputError(
            "`compare` takes a table or two runs; expected `--table FILE --baseline NAME` (seeds and languages), or the"
            " folders of two finished runs (one seed), the baseline first."
        )
    if table is None and given:
        raise InputError(
            f"`{given[0]}` goes with `--table`; two runs are compared on their accuracy as it is. Leave it out."
        )
    if table is not None and "--baseline" not in given:
        raise InputError(
            "`--table` needs `--baseline NAME`: the method of the table that the others are compared with."
        )


def _compare_two(runs: list[Path], as_json: bool) -> None:
    from distxfer.experiments import compare_runs
    from distxfer.reports import one_seed_table

    if len(runs) != 2:
        raise InputError(f"`compare` was given {len(runs)} runs; expected the folders of two, the baseline first.")
    found = compare_runs(*runs)
    _show(as_json, found.records, lambda: [one_seed_table(found)])


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
    write_facts(facts, as_json)
