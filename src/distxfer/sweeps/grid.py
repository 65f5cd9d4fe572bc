"""From the words of a sweep to the runs that it means: which recipes, with what, with which seeds, in which folders."""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

from distxfer.config.files import defaults_file, recipe_path
from distxfer.config.recipe import Recipe, load_recipe
from distxfer.errors import InputError, listed
from distxfer.runs.prepare import Prepared, prepare
from distxfer.sweeps.axes import Axis, read_axes

MAX_RUNS = 1000
_MAY_LACK = ("intervention", "phase")  # tables of a recipe that another recipe need not have
_SHARED = ("model", "task", "distance", "parallel")  # what the data and the fingerprints of a run depend on


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """One run of a sweep: the recipe as the command line names it, its overrides without the seed, and its folder.

    `varied` are those of the overrides that not all runs of the sweep have.
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
        """The id, which runs that differ in their seed alone share."""
        return self.folder.name.rpartition("-s")[0]

    @property
    def words(self) -> tuple[str, ...]:
        """The words with which `distxfer train` does this run."""
        return (f"recipe={self.name}", *self.overrides, f"seed={self.seed}")


@dataclass(frozen=True)
class SweepPlan:
    """The runs of a sweep, each folder once, seed by seed; `name` is the sweep's, `notices` what its user should know.

    `runs` are those of this shard, and `whole` are those of all shards.
    """

    name: str
    runs: tuple[PlannedRun, ...]
    whole: tuple[PlannedRun, ...]
    notices: tuple[str, ...]


def plan_sweep(
    words: Sequence[str], results: Path, *, paired: Sequence[str] = (), shard: str = "", max_runs: int = MAX_RUNS
) -> SweepPlan:
    """Return the runs that the words mean: all combinations of the axes, except that `paired` keys go in step.

    `words` are `recipe=NAME,NAME`, `KEY=VALUE,VALUE`, `study=FILE` and `name=NAME`. A key of an intervention (or phase)
    that one recipe has and another has not does nothing to the other. Runs are in the order of their seeds, so that a
    sweep that is stopped has compared all methods on some seeds. `shard` is the part `I/N` of the runs, from 1.

    Reads the data of every recipe, since a run's id depends on it; trains and writes nothing.

    Raises InputError for words that are no axes, for more runs than `max_runs`, and with all that is wrong with any run.
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


def _combinations(axes: Sequence[Axis], known: Sequence[str], max_runs: int) -> tuple[list[dict[str, str]], list[str]]:
    """Return every combination, key -> value with `recipe` among the keys, and what there is to say about them.

    `known` are recipes that the axes may be about, besides those of the sweep.
    """
    (recipes,) = (axis for axis in axes if "recipe" in axis)
    others = [axis for axis in axes if axis is not recipes]
    tables = {name: _tables(name) for name in recipes["recipe"]}
    somewhere = set[str]().union(*tables.values(), *map(_tables, known))
    grids, notices = [], []
    for row in _rows(recipes):
        lacks = somewhere - tables[row["recipe"]]
        grids.append([_unlike(_without(lacks, one)) for one in ([row], *map(_rows, others))])
        unused = [key for axis in axes for key in axis if _table(key) in lacks]
        notices += [
            f"The recipe `{row['recipe']}` has no `{_table(key)}`, so `{key}` does not apply to it." for key in unused
        ]
    asked = dict.fromkeys(_table(key) for axis in axes for key in axis if key.startswith(f"{_MAY_LACK[0]}."))
    notices += [
        f"None of the recipes has `{table}`, so it is added to {'each' if len(tables) > 1 else 'it'}."
        for table in asked
        if table not in somewhere
    ]
    size = sum(math.prod(map(len, grid)) for grid in grids)
    if size > max_runs:
        raise InputError(
            f"The grid has {size:,} runs, more than `--max-runs` = {max_runs:,}. Take values out, let axes go in step with"
            " `--paired`, or raise `--max-runs`."
        )
    joined = (reduce(lambda left, right: {**left, **right}, rows) for grid in grids for rows in product(*grid))
    return list(joined), list(dict.fromkeys(notices))


def _rows(axis: Axis) -> list[dict[str, str]]:
    return [dict(zip(axis, values, strict=True)) for values in zip(*axis.values(), strict=True)]


def _without(tables: set[str], rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if _table(key) not in tables} for row in rows]


def _unlike(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return list({tuple(row.items()): row for row in rows}.values())


def _table(key: str) -> str:
    """Return the table that a recipe may lack and the key is in, such as `intervention.align`; empty for other keys."""
    parts = key.split(".")
    return ".".join(parts[:2]) if parts[0] in _MAY_LACK and len(parts) > 2 else ""


def _tables(recipe: str) -> set[str]:
    """Return the tables that this recipe has and another may lack; whatever is wrong with the file is said later."""
    found = set[str]()
    try:
        for path in (defaults_file(), recipe_path(recipe)):
            data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
            found |= {f"{kind}.{name}" for kind in _MAY_LACK for name in dict(data.get(kind, {}))}
    except (InputError, OSError, ValueError, TypeError, RecursionError):
        pass
    return found


def _runs(combinations: Sequence[Mapping[str, str]], results: Path) -> list[PlannedRun]:
    """Return the run of each combination; raises InputError with every mistake of all of them."""
    runs: list[PlannedRun] = []
    known: dict[str, Prepared] = {}
    wrong: dict[str, list[str]] = {}
    keys = dict.fromkeys(key for one in combinations for key in one)
    varied = {key for key in keys if len({one.get(key) for one in combinations}) > 1}
    for one in combinations:
        words = {key: f"{key}={value}" for key, value in one.items() if key != "recipe"}
        own = tuple(word for key, word in words.items() if key in varied)
        try:
            recipe = load_recipe(one["recipe"], tuple(words.values()))
            folder = _prepared(recipe, known).folder(results)
        except InputError as error:
            lines = str(error).split("\n")
            for line in lines[1:] or lines:
                wrong.setdefault(line.strip(), []).append(" ".join((f"recipe={one['recipe']}", *own)))
        else:
            overrides, shown = (tuple(word for word in some if not word.startswith("seed="))
                                for some in (words.values(), own))  # fmt: skip
            runs.append(PlannedRun(one["recipe"], overrides, shown, recipe, folder))
    if wrong:
        raise InputError(_mistakes(wrong, len(combinations)))
    return runs


def _mistakes(wrong: Mapping[str, Sequence[str]], total: int) -> str:
    """Return the message about what is wrong, line -> the runs in which it is."""
    lines = [
        f"  {line}" + (f" (in {len(runs)} of {total} runs, such as `{runs[0]}`)" if len(runs) < total else "")
        for line, runs in wrong.items()
    ]
    return f"The sweep has {len(lines)} mistake{'s' * (len(lines) > 1)}:\n" + "\n".join(lines)


def _prepared(recipe: Recipe, known: dict[str, Prepared]) -> Prepared:
    """Return what `prepare` does; data that another recipe of the sweep has too is read once, and kept in `known`."""
    files = [one for one in recipe.interventions.values() if "Path(" in repr(one)]  # whose files are part of the id
    key = repr([*(getattr(recipe, section) for section in _SHARED), recipe.task.shots, files])
    if key not in known:
        known[key] = prepare(recipe)
    there = known[key]
    recipe = recipe.pooled_as(there.model_folder)
    return replace(there, recipe=recipe, resolved={**recipe.resolved(whole=False), "task": there.resolved["task"]})


def _about_lists(axes: Sequence[Axis], runs: Sequence[PlannedRun]) -> list[str]:
    """Return a notice for each key that takes a list, and whose values are single words: was one list meant?"""
    resolved = runs[0].recipe.resolved()
    return [
        f"`{key}` is a list, and a comma separates runs here: each run has one of {listed(values)}."
        f" One run with all of them is `{key}=[{','.join(values)}]`."
        for axis in axes
        for key, values in axis.items()
        if len(values) > 1 and "all" not in values and not any("," in value for value in values)
        if isinstance(_at(resolved, key), list)
    ]


def _at(resolved: Any, key: str) -> Any:
    for part in key.split("."):
        resolved = resolved.get(part) if isinstance(resolved, dict) else None
    return resolved


def _part(runs: Sequence[PlannedRun], shard: str) -> Sequence[PlannedRun]:
    """Return the part `I/N` of the runs: neighbours, so that each part has all recipes; parts differ by one run at most."""
    if not shard:
        return runs
    number, _, count = shard.partition("/")
    if not (re.fullmatch("[0-9]{1,9}/[0-9]{1,9}", shard) and 1 <= int(number) <= int(count)):
        raise InputError(f"`--shard` is `{shard}`; expected I/N with I from 1 to N, such as `--shard 1/4`.")
    start, stop = (len(runs) * part // int(count) for part in (int(number) - 1, int(number)))
    return runs[start:stop]
