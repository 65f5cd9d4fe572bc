"""Finished runs, grouped into methods: the seeds of one recipe on the same data and model."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from glob import escape
from os.path import expanduser, isdir, isfile  # those of `Path` raise where a name is too long, or has no such user
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distxfer._durable import RESULT
from distxfer.errors import InputError, did_you_mean, listed
from distxfer.results.result import Result, read_result
from distxfer.results.settings import differing, printable, setting_text, settings_of, sortable

if TYPE_CHECKING:
    import pandas as pd

_RUN = re.compile(r"(.+)-s\d+")  # how a run's folder is named: its id and its seed
_LEVELS = ("[!.]*", "*/[!.]*")  # where they lie in a folder of runs; a hidden one is a run that is being made again


@dataclass(frozen=True)
class Method:
    """The runs of one id, in the order of their seeds.

    `name` is the recipe's name, followed by distinguishing settings if several ids share it:
    `dist_align (intervention.align.distance=shuffled)`. Names are unique in a collection. `settings` is the resolved recipe with
    dotted keys (`intervention.align.weight` -> 0.5), without seed and name; lists are tuples.
    """

    name: str
    id: str
    settings: Mapping[str, Any]
    runs: tuple[Result, ...]

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return str(self.runs[0].recipe["name"])

    @property
    def collapsed(self) -> str:
        """Which runs collapsed, if all of them did; else empty."""
        if not all(run.collapsed for run in self.runs):
            return ""
        folders = listed(f"`{run.folder}`" for run in self.runs)
        if len(self.runs) == 1:
            return f"its run {folders} collapsed"
        return f"all its {len(self.runs)} runs collapsed ({folders})"


@dataclass(frozen=True)
class Collection:
    """Finished runs as methods, in the order asked for, and as tidy tables.

    `left_out` has one line for each folder that holds no finished or no readable result. Every table has the columns of the
    run: `run` (its folder), `method` (unique; see `Method.name`), `recipe`, `id`, `seed`, `source`, `model`, `task` and
    `status` (`done` or `collapsed`).
    """

    methods: tuple[Method, ...]
    left_out: tuple[str, ...]

    @cached_property
    def scores(self) -> "pd.DataFrame":
        """One row per run, `language`, `split` and `metric`: `value` (a fraction), `n`, `distance` and `near_or_far`.

        `distance` is the language's from the source, as stored in the run (0 for the source, NaN where it is unknown);
        `near_or_far` is `near` up to the median over the run's targets, else `far`, and `source` for the source.
        """
        from distxfer.results.tables import score_table

        return score_table(self.methods)

    @cached_property
    def measurements(self) -> "pd.DataFrame":
        """One row per run, `measure`, `layer`, `language` and `moment` (`before` or `after` training): `value` and `n`."""
        from distxfer.results.tables import read_measurements, with_runs

        return with_runs(self.methods, lambda folder: read_measurements(folder / "measurements.parquet"))

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """One row per run and test example: `language`, `example_id`, `label`, `prediction`."""
        from distxfer.results.tables import read_predictions, with_runs

        return with_runs(self.methods, read_predictions)


def load_results(results: str | Path = "results", *names: str) -> Collection:
    """Return the finished runs below a folder, or those selected by names, as tidy pandas tables.

    The tables are `scores`, `measurements` and `predictions` (see `Collection`). Names are as in `distxfer compare`.

        runs = distxfer.load_results("results")
        test = runs.scores.query("split == 'test' and metric == 'accuracy' and status == 'done'")
        test.pivot_table(index="method", columns="near_or_far", values="value")

    Raises InputError if there are no finished runs, or none for a name.
    """
    return collect(names, Path(results))


def collect(names: Sequence[str], results: Path) -> Collection:
    """Return the finished runs with these names, by default all in `results`.

    A name is a recipe (all ids in `results/NAME`), `NAME/ID`, a run's folder, or a folder of runs. A folder of runs holds
    `RECIPE/ID-sSEED` or `ID-sSEED`; deeper folders are not read. The ids of one recipe are sorted by the settings in which they
    differ. Unreadable results are listed in `left_out`.

    Raises InputError for a name without finished runs.
    """
    runs: dict[tuple[str, str], dict[int, Result]] = {}
    left_out: dict[str, None] = {}
    for name in names or (None,):
        groups: dict[tuple[str, str], list[Result]] = {}
        reasons = []
        for folder in _folders(name, results):
            result = read_run(folder)
            if isinstance(result, str):
                reasons.append(result)
            else:
                groups.setdefault((result.recipe["name"], result.id), []).append(result)
        if not groups:
            raise InputError(_nothing(name, results, reasons))
        for key in _in_order(groups):
            reasons += _add(runs.setdefault(key, {}), groups[key])
        left_out |= dict.fromkeys(reasons)
    return Collection(_named(runs), tuple(left_out))


def collect_against(names: Sequence[str], baseline: str, results: Path) -> tuple[Collection, str]:
    """Return the finished runs of these names and of the baseline, and the baseline's name.

    Without names and baseline, the baseline is the recipe `plain`, if it has runs.
    """
    if baseline and names and baseline not in names and isdir(results / baseline.partition("/")[0]):
        names = [baseline, *names]
    collection = collect(names, results)
    if not names and not baseline and any(method.recipe == "plain" for method in collection.methods):
        baseline = "plain"
    return collection, baseline


def _folders(name: str | None, results: Path) -> list[Path]:
    """Return the folders of all runs that a name selects, finished or not."""
    if name is None:
        return _below(results)
    if not name.strip():
        return []  # the folder of that name would be the one that we are in
    inside = Path(name).parts
    below = results / name
    if ".." not in inside and len(inside) == 1 and isdir(below):
        return _below(below)
    if ".." not in inside and len(inside) == 2:
        if _holds_run(below):
            return [below]
        of_id = [path for path in (results / inside[0]).glob(f"{escape(inside[1])}-s*") if _is_run(path)]
        if of_id:
            return sorted(of_id, key=_by_seed)
    folder = Path(expanduser(name))
    return [folder] if _holds_run(folder) else _below(folder)


def _holds_run(folder: Path) -> bool:
    return isfile(folder / RESULT) or _is_run(folder)


def _is_run(path: Path) -> bool:
    return isdir(path) and _RUN.fullmatch(path.name) is not None


def _below(folder: Path) -> list[Path]:
    """Return the runs in a folder (`RECIPE/ID-sSEED` or `ID-sSEED`), those of one recipe and id by seed.

    Deeper folders are ignored, so that runs kept below a user's own folder are not mixed with it.
    """
    if not isdir(folder):
        return []
    finished = {path.parent for level in _LEVELS for path in folder.glob(f"{level}/{RESULT}")}
    begun = {path.parent for level in _LEVELS for path in folder.glob(f"{level}/log.jsonl") if _is_run(path.parent)}
    return sorted(finished | begun, key=_by_seed)


def _by_seed(path: Path) -> tuple[Path, str, int, str]:
    identity, _, seed = path.name.rpartition("-s")
    return path.parent, identity, int(seed) if seed.isdecimal() else 0, path.name


def read_run(folder: Path) -> Result | str:
    """Return the result in a run's folder, or one line that says why there is none."""
    try:
        result = read_result(folder)
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"`{folder / RESULT}` cannot be read: {error.strerror}."
    return f"`{folder}` is not finished: it has no `{RESULT}` yet." if result is None else result


def _nothing(name: str | None, results: Path, reasons: Sequence[str]) -> str:
    """Return the message for a name without finished runs."""
    problem = f"`{name}` has no finished run" if name else f"There is no finished run in `{results}`"
    if reasons:
        return f"{problem}; {len(reasons)} left out:\n" + "\n".join(f"  {reason}" for reason in reasons)
    single = name is not None and len(Path(name).parts) == 1 and name.strip() != "" and name != ".."
    others = sorted({path.parents[2] for path in results.rglob(f"*/*/{RESULT}")} - {results, *results.parents})
    if name is not None:
        inside = results / name
        others = [path for path in others if single and (isdir(path / name) or inside in (path, *path.parents))]
    if others:
        return (
            f"{problem}, but there are some in {listed(f'`{path}`' for path in others)}. Give `--results {others[0]}`."
        )
    if name is None:
        return f"{problem}. Train one, or say where results are with `--results`."
    folders = sorted(path.name for path in results.iterdir() if path.is_dir()) if results.is_dir() else []
    return (
        f"`{name}` is neither a recipe with results in `{results}`, nor a run, nor a folder of runs."
        f"{did_you_mean(name, folders)} There: {listed(folders) or 'nothing'}. Say where results are with `--results`."
    )


def _add(runs: dict[int, Result], results: Sequence[Result]) -> list[str]:
    """Add runs to those of a method, by seed; return a line for each copy or mismatch."""
    left_out = []
    for run in results:
        first = next(iter(runs.values()), run)
        difference = _unlike(first, run)
        if difference:
            left_out.append(f"`{run.folder}` has the id of `{first.folder}`, but another {difference}.")
            continue
        earlier = runs.setdefault(run.seed, run)
        if earlier.folder.resolve() != run.folder.resolve():
            left_out.append(
                f"`{run.folder}` is a copy of the run in `{earlier.folder}`."
                if earlier.scores == run.scores
                else f"`{run.folder}` has the id and seed of `{earlier.folder}`, but other scores (another version or machine?)."
            )
    return left_out


def _unlike(first: Result, second: Result) -> str | None:
    """Return in which part two runs of one id differ although they must not, or None."""
    recipes = [settings_of(run.recipe) for run in (first, second)]
    if recipes[0] != recipes[1]:
        return f"`{differing(recipes)[0]}`" if differing(recipes) else "recipe"
    prints = [run.fingerprints for run in (first, second)]
    unlike = [key for key in {**prints[0], **prints[1]} if prints[0].get(key) != prints[1].get(key)]
    if unlike:
        return f"fingerprint of `{printable(unlike[0])}`"
    return "source" if first.sources != second.sources else None


def _in_order(groups: Mapping[tuple[str, str], Sequence[Result]]) -> list[tuple[str, str]]:
    """Return the recipes in order of appearance, the ids of each sorted by the settings in which they differ."""
    names = list(dict.fromkeys(name for name, _ in groups))
    settings = {key: settings_of(runs[0].recipe) for key, runs in groups.items()}
    apart = {name: differing([settings[key] for key in groups if key[0] == name]) for name in names}

    def place(key: tuple[str, str]) -> tuple[Any, ...]:
        values = [sortable(settings[key].get(setting)) for setting in apart[key[0]]]
        return names.index(key[0]), values, key[1]

    return sorted(groups, key=place)


def _named(runs_of: Mapping[tuple[str, str], Mapping[int, Result]]) -> tuple[Method, ...]:
    """Return the methods with unique names."""
    methods = [
        Method(
            name, identity, settings_of(next(iter(runs.values())).recipe), tuple(runs[seed] for seed in sorted(runs))
        )
        for (name, identity), runs in runs_of.items()
    ]
    named = []
    for method in methods:
        keys = differing([partner.settings for partner in methods if partner.name == method.name])
        texts = [f"{key}={setting_text(method.settings[key])}" for key in keys if key in method.settings]
        named.append(replace(method, name=f"{method.name} ({', '.join(texts)})" if texts else method.name))
    times = Counter(method.name for method in named)
    return tuple(
        replace(method, name=f"{method.name} ({method.id})") if times[method.name] > 1 else method for method in named
    )
