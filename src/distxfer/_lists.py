"""Validators for recipe values that have two forms: lists as comma-separated text, a missing path as empty text."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator


def comma_separated(*words: str) -> Callable[[object], object]:
    """Return a validator that splits a text at its commas, unless it is one of `words`."""
    exceptions: Collection[str] = frozenset(words)

    def split(value: object) -> object:
        if isinstance(value, str) and value not in exceptions:
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    return split


def comma_joined(value: object) -> object:
    """Return a list of texts as one text with commas, and any other value as it is."""
    texts = value if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value) else None
    return value if texts is None else ",".join(texts)


# An optional file or folder in a recipe. TOML has no null, so an empty text means None.
OptionalPath = Annotated[Path | None, BeforeValidator(lambda value: None if value == "" else value)]
