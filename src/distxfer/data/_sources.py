"""Finds a task or a parallel corpus: a file in `tasks/` or `parallel/`, an entry point, or a user's folder."""

import pkgutil
from dataclasses import fields
from importlib import import_module, metadata
from pathlib import Path
from typing import Protocol, cast

from distxfer.data import parallel, tasks
from distxfer.data._examples import About, Data, ParallelText, Task
from distxfer.errors import InputError, did_you_mean, listed

TASKS, PARALLEL = "distxfer.tasks", "distxfer.parallel"  # the groups of entry points
_PACKAGES = {TASKS: tasks, PARALLEL: parallel}
_NOUNS = {TASKS: "task", PARALLEL: "parallel text"}
_SECTIONS = {TASKS: "task", PARALLEL: "parallel"}  # of a recipe
_FOLDER = "folder"  # the module that reads a user's own data


class TaskSource(Protocol):
    """The interface of a module in `tasks/`, or of an entry point in the group `distxfer.tasks`."""

    ABOUT: About

    def languages(self, data: Data) -> tuple[str, ...]:
        """Return the languages of the task."""

    def load(self, data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
        """Return the task in these languages; labelled training text of the targets only with `target_labels`."""


class ParallelSource(Protocol):
    """The interface of a module in `parallel/`, or of an entry point in the group `distxfer.parallel`."""

    ABOUT: About

    def languages(self, data: Data) -> tuple[str, ...]:
        """Return the languages of the corpus."""

    def load(self, data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
        """Return the sentence pairs for those targets that the corpus has."""


def task_names() -> dict[str, About]:
    """Return name -> description of every task: built-in, or from an entry point."""
    return _all(TASKS)


def parallel_names() -> dict[str, About]:
    """Return name -> description of every parallel corpus: built-in, or from an entry point."""
    return _all(PARALLEL)


def task_languages(data: str | Data) -> tuple[str, ...]:
    """Return the languages of a task, in alphabetical order."""
    data = _data(data)
    return tuple(sorted(cast(TaskSource, _find(TASKS, data)).languages(data)))


def parallel_languages(data: str | Data) -> tuple[str, ...]:
    """Return the languages of a parallel corpus, in alphabetical order."""
    data = _data(data)
    return tuple(sorted(cast(ParallelSource, _find(PARALLEL, data)).languages(data)))


def load_task(data: str | Data, source: str, targets: tuple[str, ...], *, target_labels: bool = False) -> Task:
    """Return a task (the name of a built-in one, or a folder) with the source's labels and every target's test part.

    `target_labels`: also read the labelled training text of the targets.

    Raises InputError for an unknown name, or a language that the task does not have.
    """
    data = _data(data)
    languages = task_languages(data)
    for language in (source, *targets):
        if language not in languages:
            raise InputError(
                f"The task `{data.name}` has no data for the language `{language}`.{did_you_mean(language, languages)}"
                f" It has: {listed(languages)}."
            )
    return cast(TaskSource, _find(TASKS, data)).load(data, source, targets, target_labels=target_labels)


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
    return cast(ParallelSource, _find(PARALLEL, data)).load(data, source, targets)


def _data(data: str | Data) -> Data:
    return Data(data) if isinstance(data, str) else data


def _find(group: str, data: Data) -> object:
    """Return the module that reads this data; raises InputError if there is none, or if it ignores a given field."""
    source = _source(group, data)
    keys = source.ABOUT.keys
    for name in (field.name for field in fields(Data) if field.name != "name"):
        if getattr(data, name) and name not in keys:
            section = _SECTIONS[group]
            reads = listed(f"`{section}.{key}`" for key in keys)
            raise InputError(
                f"`{section}.{name}` has no effect on the {_NOUNS[group]} `{data.name}`. Remove it"
                f"{f'; the keys that have one are {reads}' if keys else ''}."
            )
    if data.folder and data.revision:
        section = _SECTIONS[group]
        raise InputError(
            f"`{section}.revision` is `{data.revision}`, which has no effect together with `{section}.folder` ="
            f" `{data.folder}`: a local copy is read as it is. Remove one of the two."
        )
    return source


def _source(group: str, data: Data) -> TaskSource | ParallelSource:
    points = {point.name: point for point in metadata.entry_points(group=group)}
    shipped = _shipped(group)
    if data.name in points:
        return _loaded(group, points[data.name])
    if data.name in shipped:
        return _shipped_source(group, data.name)
    if Path(data.name).expanduser().is_dir():
        return _shipped_source(group, _FOLDER)
    names = sorted({*shipped, *points})
    raise InputError(
        f"The {_NOUNS[group]} `{data.name}` is neither built in ({listed(names)}) nor a folder."
        f"{did_you_mean(data.name, names)}"
    )


def _all(group: str) -> dict[str, About]:
    sources = {name: _shipped_source(group, name).ABOUT for name in _shipped(group)}
    sources |= {point.name: _loaded(group, point).ABOUT for point in metadata.entry_points(group=group)}
    return dict(sorted(sources.items()))


def _shipped_source(group: str, name: str) -> TaskSource | ParallelSource:
    return cast(TaskSource | ParallelSource, import_module(f"{_PACKAGES[group].__name__}.{name}"))


def _shipped(group: str) -> set[str]:
    names = {module.name for module in pkgutil.iter_modules(_PACKAGES[group].__path__)}
    return {name for name in names if name != _FOLDER and name[0] != "_"}


def _loaded(group: str, point: metadata.EntryPoint) -> TaskSource | ParallelSource:
    """Return the module of an entry point; raises InputError if it lacks a part of the interface."""
    if point.name in _shipped(group):
        raise InputError(
            f"`{point.value}` defines the {_NOUNS[group]} `{point.name}`, but distxfer has one of that name. Rename it."
        )
    try:
        source = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"The {_NOUNS[group]} `{point.name}`, `{point.value}`, does not load: {error}.") from error
    if missing := [name for name in ("ABOUT", "languages", "load") if name not in dir(source)]:
        raise InputError(f"The {_NOUNS[group]} `{point.name}`, `{point.value}`, has no `{missing[0]}`.")
    return cast(TaskSource | ParallelSource, source)
