"""Lists in recipes: a TOML list, or words with commas between them, as on the command line."""

from collections.abc import Callable, Collection


def comma_separated(*words: str) -> Callable[[object], object]:
    """Return a validator that splits a text at its commas, unless it is one of `words`, which then stays as it is."""
    kept: Collection[str] = frozenset(words)

    def split(value: object) -> object:
        if isinstance(value, str) and value not in kept:
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    return split
