"""Finding a task or a parallel corpus by name: a file in `tasks/` or `parallel/`, or else a folder of the user's."""

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from distxfer.data import parallel, tasks
from distxfer.data._examples import ParallelText, Task
from distxfer.errors import InputError, did_you_mean


class _TaskSource(Protocol):
    DESCRIPTION: str

    def languages(self, name: str) -> tuple[str, ...]: ...
    def load(self, name: str, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task: ...


class _ParallelSource(Protocol):
    DESCRIPTION: str

    def languages(self, name: str) -> tuple[str, ...]: ...
    def load(self, name: str, source: str, targets: tuple[str, ...]) -> ParallelText: ...


def task_names() -> dict[str, str]:
    """Return the name of every built-in task with a one-line description."""
    return _descriptions(tasks.__name__, list(tasks.__path__))


def parallel_names() -> dict[str, str]:
    """Return the name of every built-in parallel corpus with a one-line description."""
    return _descriptions(parallel.__name__, list(parallel.__path__))


def task_languages(name: str) -> tuple[str, ...]:
    """Return the languages of a task, in alphabetical order."""
    return tuple(sorted(cast(_TaskSource, _find("task", tasks.__name__, name, task_names())).languages(name)))


def parallel_languages(name: str) -> tuple[str, ...]:
    """Return the languages of a parallel corpus, in alphabetical order."""
    found = cast(_ParallelSource, _find("parallel text", parallel.__name__, name, parallel_names()))
    return tuple(sorted(found.languages(name)))


def load_task(name: str, source: str, targets: tuple[str, ...], *, target_labels: bool = False) -> Task:
    """Return the task called `name` (a built-in one, or a folder) with the source's labels and every target's test.

    `target_labels`: with the targets' labelled training text, too; it is not even read otherwise.

    Raises InputError for an unknown name, or a language the task does not have.
    """
    known = task_languages(name)
    for language in (source, *targets):
        if language not in known:
            raise InputError(
                f"The task `{name}` has no data for the language `{language}`.{did_you_mean(language, known)}"
                f" It has: {', '.join(known)}."
            )
    return cast(_TaskSource, _find("task", tasks.__name__, name, task_names())).load(
        name, source, targets, target_labels=target_labels
    )


def load_parallel(name: str, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the parallel corpus called `name` (a built-in one, or a folder) for the targets that it has.

    Raises InputError for an unknown name, or a built-in corpus that does not have the source language.
    """
    if name in parallel_names() and source not in (known := parallel_languages(name)):
        raise InputError(
            f"The parallel text `{name}` has nothing in the source language `{source}`. Use a folder of your own, or"
            f" one of its languages: {', '.join(known)}."
        )
    found = _find("parallel text", parallel.__name__, name, parallel_names())
    return cast(_ParallelSource, found).load(name, source, targets)


def _find(what: str, package: str, name: str, known: dict[str, str]) -> object:
    if name in known:
        return import_module(f"{package}.{name}")
    if Path(name).expanduser().is_dir():
        return import_module(f"{package}.folder")
    raise InputError(
        f"The {what} `{name}` is neither built in ({', '.join(known)}) nor a folder.{did_you_mean(name, known)}"
    )


def _descriptions(package: str, path: list[str]) -> dict[str, str]:
    names = [module.name for module in pkgutil.iter_modules(path) if module.name != "folder"]
    return {name: import_module(f"{package}.{name}").DESCRIPTION for name in sorted(names)}
