"""Finds a task or a parallel corpus: in `tasks/`, `parallel/` or `hub.toml`, by an entry point, or in a user's folder."""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from importlib import import_module, metadata
from importlib.util import find_spec
from types import ModuleType
from typing import Protocol, cast

from distxfer._installed import entry_points
from distxfer.data import parallel, tasks
from distxfer.data._examples import About, Data, ParallelText, Task
from distxfer.data._files import own_folder
from distxfer.errors import InputError, did_you_mean, listed


@dataclass(frozen=True)
class _Group:
    """A group of entry points with the package of its built-in sources, and its section of a recipe."""

    name: str
    section: str
    noun: str
    package: ModuleType

    def points(self) -> dict[str, metadata.EntryPoint]:
        """Return the entry points of other packages, by name."""
        return entry_points(self.name)

    @cached_property
    def modules(self) -> frozenset[str]:
        """The names of the modules of the package."""
        return frozenset(module.name for module in pkgutil.iter_modules(self.package.__path__)) - {_FOLDER}

    @cached_property
    def built_in(self) -> frozenset[str]:
        """The names of the modules, and of the tasks that `hub.toml` declares."""
        from distxfer.data._hub import hub_tasks  # needs pyarrow, which `--help` and completion must not import

        declared = (name for name, task in hub_tasks().items() if task.ABOUT.task_type)
        return self.modules.union(declared if self.package is tasks else ())


_FOLDER = "folder"  # the module that reads a user's own data
_TASKS = _Group("distxfer.tasks", "task", "task", tasks)
_PARALLEL = _Group("distxfer.parallel", "parallel", "parallel text", parallel)


class Source(Protocol):
    """What a module in `tasks/` or `parallel/` has, or an entry point in `distxfer.tasks` or `distxfer.parallel`."""

    @property
    def ABOUT(self) -> About:  # noqa: N802 - a constant of a module
        """What `distxfer ls` prints of it."""

    def languages(self, data: Data) -> tuple[str, ...]:
        """Return the languages of the task or corpus."""


class TaskSource(Source, Protocol):
    """The interface of a task."""

    def load(self, data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
        """Return the task in these languages; labelled training text of the targets only with `target_labels`."""


class ParallelSource(Source, Protocol):
    """The interface of a parallel corpus."""

    def load(self, data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
        """Return the sentence pairs for those targets that the corpus has."""


def task_names() -> dict[str, About]:
    """Return name -> description of every task: built-in, or from an entry point."""
    return _all(_TASKS)


def parallel_names() -> dict[str, About]:
    """Return name -> description of every parallel corpus: built-in, or from an entry point."""
    return _all(_PARALLEL)


def task_languages(data: str | Data) -> tuple[str, ...]:
    """Return the languages of a task, in alphabetical order."""
    data = _data(data)
    return tuple(sorted(_find(_TASKS, data).languages(data)))


def parallel_languages(data: str | Data) -> tuple[str, ...]:
    """Return the languages of a parallel corpus, in alphabetical order."""
    data = _data(data)
    return tuple(sorted(_find(_PARALLEL, data).languages(data)))


def load_task(data: str | Data, source: str, targets: tuple[str, ...], *, target_labels: bool = False) -> Task:
    """Return a task (the name of a built-in one, or a folder) with the source's labels and every target's test part.

    `target_labels`: also read the labelled training text of the targets.

    Raises InputError for an unknown name, or a language that the task does not have.
    """
    data = _data(data)
    languages = task_languages(data)
    for language in (source, *targets):
        if language not in languages:
            from distxfer.data._layout import layout  # needs pyarrow

            ignored = "" if data.name in task_names() else layout(data).ignored
            raise InputError(
                f"The task `{data.name}` has no data for the language `{language}`.{did_you_mean(language, languages)}"
                f" It has: {listed(languages)}.{ignored}"
            )
    return cast(TaskSource, _find(_TASKS, data)).load(data, source, targets, target_labels=target_labels)


def load_parallel(data: str | Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return a parallel corpus (the name of a built-in one, or a folder) for the targets that it has.

    Raises InputError for an unknown name, or a built-in corpus without the source language.
    """
    data = _data(data)
    if data.name in parallel_names() and source not in (languages := parallel_languages(data)):
        raise InputError(
            f"The parallel text `{data.name}` has nothing in the source language `{source}`. Use a folder of your own, or"
            f" one of its languages: {listed(languages)}."
        )
    return cast(ParallelSource, _find(_PARALLEL, data)).load(data, source, targets)


def _data(data: str | Data) -> Data:
    return Data(data) if isinstance(data, str) else data


def _all(group: _Group) -> dict[str, About]:
    points = group.points()
    return {name: _source(group, name, points).ABOUT for name in sorted({*group.built_in, *points})}


def _find(group: _Group, data: Data) -> Source:
    """Return the source of this data; raises InputError if there is none, or if it ignores a given field."""
    points = group.points()
    name = data.name
    if name not in points and name not in group.modules and name not in group.built_in:
        if not own_folder(name).is_dir():
            names = sorted(group.built_in.union(points))
            raise InputError(
                f"The {group.noun} `{name}` is neither built in ({listed(names)}) nor a folder.{did_you_mean(name, names)}"
            )
        name = _FOLDER
    source, section = _source(group, name, points), group.section
    for key in (field.name for field in fields(Data) if field.name != "name"):
        if getattr(data, key) and key not in source.ABOUT.keys:
            keys = listed(f"`{section}.{effective}`" for effective in source.ABOUT.keys)
            raise InputError(
                f"`{section}.{key}` has no effect on the {group.noun} `{data.name}`. Remove it"
                f"{f'; the keys that have one are {keys}' if keys else ''}."
            )
    if data.folder and data.revision:
        raise InputError(
            f"`{section}.revision` is `{data.revision}`, which has no effect together with `{section}.folder` ="
            f" `{data.folder}`: a local copy is read as it is. Remove one of the two."
        )
    return source


def _source(group: _Group, name: str, points: Mapping[str, metadata.EntryPoint]) -> Source:
    """Return the source called `name`; raises InputError for an entry point that lacks a part of the interface."""
    if point := points.get(name):
        return _loaded(group, point)
    if find_spec(module := f"{group.package.__name__}.{name}"):
        return cast(Source, import_module(module))
    from distxfer.data._hub import hub_tasks

    return hub_tasks()[name]


def _loaded(group: _Group, point: metadata.EntryPoint) -> Source:
    place = f"The {group.noun} `{point.name}`, `{point.value}`,"
    if point.name in group.built_in:
        raise InputError(f"{place} has the name of one that is built in. Rename it.")
    try:
        source = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"{place} does not load: {error}.") from error
    if missing := [name for name in ("ABOUT", "languages", "load") if name not in dir(source)]:
        raise InputError(f"{place} has no `{missing[0]}`.")
    return cast(Source, source)
