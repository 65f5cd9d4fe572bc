"""What the shell is offered: recipe names, keys and languages, read from files alone so that it is instant."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def complete_recipe(incomplete: str) -> list[str]:
    """Return the recipes whose name starts like this."""
    return sorted(name for name in _recipes() if name.startswith(incomplete))


def complete_override(incomplete: str) -> list[str]:
    """Return `recipe=NAME`, keys with their `=`, or languages, whichever continues what is typed."""
    key, separator, value = incomplete.partition("=")
    if not separator:
        return [word for word in ["recipe=", *sorted({f"{key}=" for key in _keys()})] if word.startswith(incomplete)]
    if key == "recipe":
        return [f"recipe={name}" for name in complete_recipe(value)]
    if key in ("task.source", "task.targets"):
        from distxfer.data import task_languages

        *said, last = value.split(",")
        start = "".join(f"{one}," for one in said)
        return [f"{key}={start}{one}" for one in task_languages("emoji") if one.startswith(last) and one not in said]
    return []


def _recipes() -> dict[str, Path]:
    from distxfer.experiments import recipe_files

    return recipe_files()


def _keys() -> Iterator[str]:
    from distxfer.experiments import defaults_file

    for path in (defaults_file(), *_recipes().values()):
        yield from _flat(tomllib.loads(path.read_text(encoding="utf-8")), "")


def _flat(table: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
