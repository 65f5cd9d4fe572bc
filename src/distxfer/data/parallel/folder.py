"""Parallel text of your own: one `{language}.tsv` per target, a source sentence, a tab, its translation a line."""

from pathlib import Path

from distxfer.data._examples import About, Data, Example, Pair, ParallelText, held_out
from distxfer.data._files import language_paths, lines
from distxfer.errors import InputError

ABOUT = About("your own: FOLDER/{language}.tsv, a source sentence, a tab, its translation", kind="parallel")


def languages(data: Data) -> tuple[str, ...]:
    """Return the targets that have a file."""
    return tuple(language_paths(Path(data.name).expanduser(), "*.tsv"))


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the pairs of the files; a fixed fifth, by hash of the source sentence, is held out for measuring.

    Raises InputError, with file and line, for a line that is not two sentences.
    """
    paths = language_paths(Path(data.name).expanduser(), "*.tsv")
    train: dict[str, tuple[Pair, ...]] = {}
    held: dict[str, tuple[Pair, ...]] = {}
    for target in (target for target in targets if target in paths):
        pairs = [_pair(f"{paths[target]}:{number}", line, source, target) for number, line in lines(paths[target])]
        if not pairs:
            raise InputError(
                f"`{paths[target]}` holds no pair. Put a source sentence, a tab and its translation on each line."
            )
        train[target] = tuple(pair for pair in pairs if not held_out(pair.source.text))
        held[target] = tuple(pair for pair in pairs if held_out(pair.source.text))
    return ParallelText(name=data.name, train=train, held_out=held)


def _pair(place: str, line: str, source: str, target: str) -> Pair:
    columns = line.split("\t")
    if len(columns) != 2 or not all(column.strip() for column in columns):
        raise InputError(
            f"`{place}` has {len(columns)} columns ({line[:60]!r}), but expected a source sentence, one tab and its translation."
        )
    number = place.rsplit(":", 1)[1]
    return Pair(Example(number, source, columns[0].strip()), Example(number, target, columns[1].strip()))
