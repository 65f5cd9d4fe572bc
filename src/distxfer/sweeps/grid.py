"""Plans a sweep: expands its arguments into runs with recipes, overrides, seeds and folders."""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from pathlib import Path

from distxfer.config.dotted import flatten
from distxfer.config.files import DEFAULTS, recipe_path
from distxfer.config.recipe import Recipe, load_recipe
from distxfer.errors import InputError, listed, mistakes_text
from distxfer.results.settings import optional_table
from distxfer.runs.prepare import Prepared, prepare
from distxfer.sweeps.axes import Axis, read_axes

MAX_RUNS = 1000
_OPTIONAL = ("intervention", "phase")  # tables that a recipe may lack
_DATA_SECTIONS = ("model", "task", "distance", "parallel")  # sections that determine a run's data and fingerprints


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One run of a sweep: the recipe's name on the command line, its overrides without the seed, and its folder.

    `varied` are the overrides that differ between the runs of the sweep.
    """

    name: str
    overrides: tuple[str, ...]
    varied: tuple[str, ...]
    recipe: Recipe
    folder: Path

    @property
    def seed(self) -> int:
        """The seed."""
        return self.recipe.seed

    @property
    def id(self) -> str:
        """The id, which is the same for runs that differ only in their seed."""
        return self.folder.name.rpartition("-s")[0]

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments of `distxfer train` for this run."""
        return (f"recipe={self.name}", *self.overrides, f"seed={self.seed}")


@dataclass(frozen=True)
class SweepPlan:
    """The name of a sweep, its distinct runs in the order of their seeds, and notices for the user.

    `runs` are those of this shard, `all_runs` those of all shards.
    """

    name: str
    runs: tuple[PlannedRun, ...]
    all_runs: tuple[PlannedRun, ...]
    notices: tuple[str, ...]


def plan_sweep(
    words: Sequence[str], results: Path, *, paired: Sequence[str] = (), shard: str = "", max_runs: int = MAX_RUNS
) -> SweepPlan:
    """Return the planned runs: all combinations of the axes, except that `paired` keys vary together.

    `words` are `recipe=NAME,NAME`, `KEY=VALUE,VALUE`, `study=FILE` and `name=NAME`. A key of an intervention (or phase)
    does not apply to recipes without that intervention. Runs are in the order of their seeds, so that a sweep that is
    stopped has compared all methods on some seeds. `shard` is the part `I/N` of the runs, counted from 1.

    Reads the data of every recipe, since a run's id depends on it; trains and writes nothing.

    Raises InputError for invalid arguments, for more runs than `max_runs`, and with all mistakes of all runs.
    """
    name, axes, recipes = read_axes(words, paired)
    combinations, notices = _combinations(axes, recipes, max_runs)
    runs = _runs(combinations, results.absolute())
    notices += _about_lists(axes, runs)
    unique = {run.folder: run for run in reversed(runs)}
    ordered = sorted((run for run in runs if unique[run.folder] is run), key=lambda run: run.seed)
    if len(ordered) < len(runs):
        notices.append(f"{len(runs) - len(ordered)} of {len(runs)} combinations are the same run as another one.")
    return SweepPlan(name, tuple(_part(ordered, shard)), tuple(ordered), tuple(notices))


def _combinations(
    axes: Sequence[Axis], study_recipes: Sequence[str], max_runs: int
) -> tuple[list[dict[str, str]], list[str]]:
    """Return every combination of values by key (including `recipe`), and notices about them.

    `study_recipes` are further recipes to which the axes may apply.
    """
    (recipes,) = (axis for axis in axes if "recipe" in axis)
    varied_axes = [axis for axis in axes if axis is not recipes]
    tables = {name: _tables(name) for name in recipes["recipe"]}
    all_tables = set[str]().union(*tables.values(), *map(_tables, study_recipes))
    grids, notices = [], []
    for row in _rows(recipes):
        missing = all_tables - tables[row["recipe"]]
        grids.append([_without(missing, row_choices) for row_choices in ([row], *map(_rows, varied_axes))])
        unused = [key for axis in axes for key in axis if optional_table(key) in missing]
        notices += [
            f"The recipe `{row['recipe']}` has no `{optional_table(key)}`, so `{key}` does not apply to it."
            for key in unused
        ]
    named_tables = dict.fromkeys(
        optional_table(key) for axis in axes for key in axis if key.startswith(f"{_OPTIONAL[0]}.")
    )
    notices += [
        f"None of the recipes has `{table}`, so it is added to {'each' if len(tables) > 1 else 'it'}."
        for table in named_tables
        if table not in all_tables
    ]
    size = sum(math.prod(map(len, grid)) for grid in grids)
    if size > max_runs:
        raise InputError(
            f"The grid has {size:,} runs, more than `--max-runs` = {max_runs:,}. Remove values, vary axes together with"
            " `--paired`, or raise `--max-runs`."
        )
    joined = (reduce(lambda merged, row: {**merged, **row}, rows) for grid in grids for rows in product(*grid))
    return list(joined), list(dict.fromkeys(notices))


def _rows(axis: Axis) -> list[dict[str, str]]:
    return [dict(zip(axis, values, strict=True)) for values in zip(*axis.values(), strict=True)]


def _without(tables: set[str], rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the distinct rows that are left without the keys of some tables."""
    kept = [{key: value for key, value in row.items() if optional_table(key) not in tables} for row in rows]
    return list({tuple(row.items()): row for row in kept}.values())


def _tables(recipe: str) -> set[str]:
    """Return the optional tables of a recipe; errors in its file are reported later."""
    tables = set[str]()
    try:
        for path in (DEFAULTS, recipe_path(recipe)):
            data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
            tables |= {f"{kind}.{name}" for kind in _OPTIONAL for name in dict(data.get(kind, {}))}
    except (InputError, OSError, ValueError, TypeError, RecursionError):
        pass
    return tables


def _runs(combinations: Sequence[Mapping[str, str]], results: Path) -> list[PlannedRun]:
    """Return the run of each combination; raises InputError with the mistakes of all combinations."""
    runs: list[PlannedRun] = []
    prepared: dict[str, Prepared] = {}
    mistakes: dict[str, list[str]] = {}
    keys = dict.fromkeys(key for combination in combinations for key in combination)
    varied = {key for key in keys if len({combination.get(key) for combination in combinations}) > 1}
    for combination in combinations:
        words = {key: f"{key}={value}" for key, value in combination.items() if key != "recipe"}
        label = " ".join((f"recipe={combination['recipe']}", *(words[key] for key in words if key in varied)))
        try:
            recipe = load_recipe(combination["recipe"], tuple(words.values()))
            folder = _prepared(recipe, prepared).folder(results)
        except InputError as error:
            lines = str(error).split("\n")
            for line in lines[1:] or lines:
                mistakes.setdefault(line.strip(), []).append(label)
        else:
            overrides = tuple(word for key, word in words.items() if key != "seed")
            varied_overrides = tuple(word for key, word in words.items() if key in varied - {"seed"})
            runs.append(PlannedRun(combination["recipe"], overrides, varied_overrides, recipe, folder))
    if mistakes:
        total = len(combinations)
        lines = [
            f"{line}" + (f" (in {len(names)} of {total} runs, such as `{names[0]}`)" if len(names) < total else "")
            for line, names in mistakes.items()
        ]
        raise InputError(mistakes_text("The sweep", lines))
    return runs


def _prepared(recipe: Recipe, prepared: dict[str, Prepared]) -> Prepared:
    """Return what `prepare` does; data that another recipe of the sweep has too is read once, and kept in `prepared`."""
    # Files are part of the id.
    files = [intervention for intervention in recipe.interventions.values() if "Path(" in repr(intervention)]
    key = repr([*(getattr(recipe, section) for section in _DATA_SECTIONS), recipe.task.shots, files])
    if key not in prepared:
        prepared[key] = prepare(recipe)
    same_data = prepared[key]
    recipe = recipe.pooled_as(same_data.model_folder)
    resolved = {**recipe.resolved(complete=False), "task": same_data.resolved["task"]}
    return replace(same_data, recipe=recipe, resolved=resolved)


def _about_lists(axes: Sequence[Axis], runs: Sequence[PlannedRun]) -> list[str]:
    """Return a notice for each key with list values that is given single words, in case one list was meant."""
    resolved = dict(flatten(runs[0].recipe.resolved()))
    return [
        f"`{key}` is a list, but here commas separate runs: each run has one of {listed(values)}."
        f" For one run with all of them, write `{key}=[{','.join(values)}]`."
        for axis in axes
        for key, values in axis.items()
        if len(values) > 1 and "all" not in values and not any("," in value for value in values)
        if isinstance(resolved.get(key), list)
    ]


def _part(runs: Sequence[PlannedRun], shard: str) -> Sequence[PlannedRun]:
    """Return the part `I/N` of the runs, which are consecutive, so that each part has all recipes; sizes differ by <= 1."""
    if not shard:
        return runs
    number, _, count = shard.partition("/")
    if not (re.fullmatch("[0-9]{1,9}/[0-9]{1,9}", shard) and 1 <= int(number) <= int(count)):
        raise InputError(f"`--shard` is `{shard}`; expected I/N with I from 1 to N, such as `--shard 1/4`.")
    start, stop = (len(runs) * part // int(count) for part in (int(number) - 1, int(number)))
    return runs[start:stop]
