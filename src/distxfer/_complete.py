"""Shell completion of recipe names, keys and languages, from files alone so that it is instant."""

import tomllib
from collections.abc import Iterator, Sequence

import typer


def complete_recipe(incomplete: str) -> list[str]:
    """Return the names of recipes that start with `incomplete`."""
    from distxfer.config.files import recipe_files

    return sorted(name for name in recipe_files() if name.startswith(incomplete))


def complete_override(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the `recipe=NAME`, `KEY=` or languages that complete the word."""
    start = _split_off(ctx.params.get("overrides") or (), incomplete)
    return [word.removeprefix(start) for word in _words(start + incomplete)]


def _split_off(words: Sequence[str], incomplete: str) -> str:
    """Return the `KEY=` before the incomplete word where the shell has split it off, else an empty text.

    Bash splits at `=`, so that `recipe=dr` arrives as `recipe`, `=`, `dr`; of a `recipe=` at the end, click drops the
    `=`. Zsh and fish leave the word whole.
    """
    if list(words[-1:]) == ["="]:
        return "".join(words[-2:])
    is_key = list(words[-2:-1]) != ["="] and not any("=" in word for word in words[-1:])
    return f"{words[-1]}=" if words and is_key and not incomplete else ""


def _words(incomplete: str) -> list[str]:
    """Return the whole words that start with `incomplete`."""
    key, separator, value = incomplete.partition("=")
    if not separator:
        return [
            word for word in ["recipe=", *sorted({f"{key}=" for key in recipe_keys()})] if word.startswith(incomplete)
        ]
    if key == "recipe":
        return [f"recipe={name}" for name in complete_recipe(value)]
    if key in ("task.source", "task.targets"):
        from distxfer.data import task_languages

        *chosen, last = value.split(",")
        start = "".join(f"{language}," for language in chosen)
        matches = [language for language in task_languages("emoji") if language.startswith(last)]
        return [f"{key}={start}{language}" for language in matches if language not in chosen]
    return []


def recipe_keys() -> Iterator[str]:
    """Yield the keys of the defaults and of all recipes that can be named."""
    from distxfer.config.dotted import flatten
    from distxfer.config.files import DEFAULTS, SOURCES, recipe_files

    for path in (DEFAULTS, SOURCES, *recipe_files().values()):
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
            yield from (key for key, value in flatten(table) if value != {})
        except (OSError, ValueError, RecursionError):  # not TOML: `show` reports it, completion must not
            continue
