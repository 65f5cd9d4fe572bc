"""Values of recipes that are given in more than one form: a list as words with commas between them, no path as nothing."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator


def comma_separated(*words: str) -> Callable[[object], object]:
    """Return a validator that splits a text at its commas, unless it is one of `words`, which then stays as it is."""
    kept: Collection[str] = frozenset(words)

    def split(value: object) -> object:
        if isinstance(value, str) and value not in kept:
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    return split


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


# A file or folder that a recipe may name; the empty text, which TOML has in place of nothing, is none.
OptionalPath = Annotated[Path | None, BeforeValidator(_none_if_empty)]
