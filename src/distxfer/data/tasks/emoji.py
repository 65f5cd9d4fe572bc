"""The task `emoji`: which of eight categories does the emoji with this name belong to?"""

from distxfer.data._emoji import LANGUAGES, emoji_task, names_in
from distxfer.data._examples import About, Data, Task

ABOUT = About(
    "the category (of 8) of an emoji's name, in 14 languages; from packages, offline",
    needs="distxfer[offline]",
    size="651 to train, 162 dev, 327 to test",
    licence="BSD-3-Clause, MIT; names: Unicode-3.0",
    citation="Unicode CLDR, emoji short names",
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task."""
    return tuple(LANGUAGES)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task: training labels in the source only (or in all languages), the same test emoji in every language."""
    return emoji_task(data.name, names_in((source, *targets)), source, target_labels=target_labels)
