"""In-domain parallel text: the names of the emoji in the task's `parallel` part, without their labels."""

from distxfer.data._emoji import LANGUAGES, emoji_pairs, names_in
from distxfer.data._examples import About, Data, ParallelText

ABOUT = About(
    "489 emoji names per language that the task `emoji` neither trains on nor tests on; offline",
    task_type="",
    needs="distxfer[offline]",
    size="489 pairs a language",
    licence="BSD-3-Clause, MIT; names: Unicode-3.0",
    citation="Unicode CLDR, emoji short names",
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the corpus."""
    return tuple(LANGUAGES)


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the names in the `parallel` part for training, and those in the `test` part for measuring alignment."""
    return emoji_pairs(data.name, names_in((source, *targets)), source)
