"""Finding a task or a parallel corpus by name: a file in `tasks/` or `parallel/`, another package's, or a folder."""

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
_WHAT = {TASKS: "task", PARALLEL: "parallel text"}
_SECTIONS = {TASKS: "task", PARALLEL: "parallel"}  # of a recipe
_FOLDER = "folder"  # the file that reads data of the user's own


class TaskSource(Protocol):
    """What a file in `tasks/`, or the module that an entry point of the group `distxfer.tasks` names, has."""

    ABOUT: About

    def languages(self, data: Data) -> tuple[str, ...]:
        """Return the languages that the task has."""

    def load(self, data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
        """Return the task in these languages; labelled training text of the targets only where it is asked for."""


class ParallelSource(Protocol):
    """What a file in `parallel/`, or the module that an entry point of the group `distxfer.parallel` names, has."""

    ABOUT: About

    def languages(self, data: Data) -> tuple[str, ...]:
        """Return the languages that the corpus has."""

    def load(self, data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
        """Return the pairs of the targets that the corpus has."""


def task_names() -> dict[str, About]:
    """Return the name of every built-in task, and of those of other packages, with what there is to know of it."""
    return _all(TASKS)


def parallel_names() -> dict[str, About]:
    """Return the name of every built-in parallel corpus, and of those of other packages."""
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
    """Return a task (a built-in one by its name, or a folder) with the source's labels and every target's test.

    `target_labels`: with the targets' labelled training text, too; it is not even read otherwise.

    Raises InputError for an unknown name, or a language the task does not have.
    """
    data = _data(data)
    known = task_languages(data)
    for language in (source, *targets):
        if language not in known:
            raise InputError(
                f"The task `{data.name}` has no data for the language `{language}`.{did_you_mean(language, known)}"
                f" It has: {listed(known)}."
            )
    return cast(TaskSource, _find(TASKS, data)).load(data, source, targets, target_labels=target_labels)


def load_parallel(data: str | Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return a parallel corpus (a built-in one by its name, or a folder) for the targets that it has.

    Raises InputError for an unknown name, or a built-in corpus that does not have the source language.
    """
    data = _data(data)
    if data.name in parallel_names() and source not in (known := parallel_languages(data)):
        raise InputError(
            f"The parallel text `{data.name}` has nothing in the source language `{source}`. Use a folder of your own, or"
            f" one of its languages: {listed(known)}."
        )
    return cast(ParallelSource, _find(PARALLEL, data)).load(data, source, targets)


def _data(data: str | Data) -> Data:
    return Data(data) if isinstance(data, str) else data


def _find(group: str, data: Data) -> object:
    """Return what reads this data; raises InputError where there is none, or it would not read a field that is given."""
    found = _source(group, data)
    keys = found.ABOUT.keys
    for name in (field.name for field in fields(Data) if field.name != "name"):
        if getattr(data, name) and name not in keys:
            section = _SECTIONS[group]
            reads = listed(f"`{section}.{key}`" for key in keys)
            raise InputError(
                f"`{section}.{name}` has no effect on the {_WHAT[group]} `{data.name}`. Leave it out"
                f"{f'; of such keys, it reads {reads}' if keys else ''}."
            )
    if data.folder and data.revision:
        section = _SECTIONS[group]
        raise InputError(
            f"`{section}.revision` is `{data.revision}`, which has no effect beside `{section}.folder` = `{data.folder}`: a copy"
            " on this machine is read as it is. Leave one of the two out."
        )
    return found


def _source(group: str, data: Data) -> TaskSource | ParallelSource:
    points = {point.name: point for point in metadata.entry_points(group=group)}
    shipped = _shipped(group)
    if data.name in points:
        return _loaded(group, points[data.name])
    if data.name in shipped:
        return _shipped_source(group, data.name)
    if Path(data.name).expanduser().is_dir():
        return _shipped_source(group, _FOLDER)
    known = sorted({*shipped, *points})
    raise InputError(
        f"The {_WHAT[group]} `{data.name}` is neither built in ({listed(known)}) nor a folder."
        f"{did_you_mean(data.name, known)}"
    )


def _all(group: str) -> dict[str, About]:
    found = {name: _shipped_source(group, name).ABOUT for name in _shipped(group)}
    found |= {point.name: _loaded(group, point).ABOUT for point in metadata.entry_points(group=group)}
    return dict(sorted(found.items()))


def _shipped_source(group: str, name: str) -> TaskSource | ParallelSource:
    return cast(TaskSource | ParallelSource, import_module(f"{_PACKAGES[group].__name__}.{name}"))


def _shipped(group: str) -> set[str]:
    names = {module.name for module in pkgutil.iter_modules(_PACKAGES[group].__path__)}
    return {name for name in names if name != _FOLDER and name[0] != "_"}


def _loaded(group: str, point: metadata.EntryPoint) -> TaskSource | ParallelSource:
    """Return what an entry point names; raises InputError where that has not what a task or a corpus has."""
    if point.name in _shipped(group):
        raise InputError(
            f"`{point.value}` brings the {_WHAT[group]} `{point.name}`, but distxfer ships one of that name. Rename it."
        )
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"The {_WHAT[group]} `{point.name}`, `{point.value}`, does not load: {error}.") from error
    if missing := [name for name in ("ABOUT", "languages", "load") if name not in dir(found)]:
        raise InputError(f"The {_WHAT[group]} `{point.name}`, `{point.value}`, has no `{missing[0]}`.")
    return cast(TaskSource | ParallelSource, found)
