"""Parallel text of your own: TSV, the two files of Moses as OPUS has them, or TMX, for each target."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from distxfer.data._checks import repeats
from distxfer.data._examples import About, Data, Example, Pair, ParallelText, held_out
from distxfer.data._layout import matches
from distxfer.data._pairs import Corpus
from distxfer.data._rows import Picked, Stored
from distxfer.errors import InputError, counted
from distxfer.languages import canonical

ABOUT = About(
    "your own: FOLDER/{language}.tsv, a source sentence, a tab, its translation; or Moses pairs, or .tmx",
    kind="parallel",
    keys=("pattern",),
)
_SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("target", pa.string())])


@dataclass(frozen=True)
class _File:
    """A file of pairs of two languages, or of one with whatever the source is; of Moses, `sides` are both files."""

    path: Path
    languages: tuple[str, ...]
    sides: Mapping[str, Path] = field(default_factory=dict)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages that the files are named by."""
    return tuple(dict.fromkeys(language for file in _files(data) for language in file.languages))


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the pairs of the files; a fixed fifth, by hash of the source sentence, is held out for measuring.

    Raises InputError, with file and line, for a line of TSV that is not two sentences, files of Moses of unequal length,
    XML that is none, and two files of one target.
    """
    corpora: dict[str, Corpus] = {}
    for file in _files(data):
        target = next((one for one in file.languages if one != source), source)
        if target not in targets or (len(file.languages) == 2 and source not in file.languages):
            continue
        corpus = Corpus(file.sides.get(target, file.path), source, target, file.sides.get(source))
        if target in corpora:
            raise InputError(
                f"`{corpora[target].path}` and `{corpus.path}` are both the language `{target}`. Keep one."
            )
        corpora[target] = corpus
    train: dict[str, Sequence[Pair]] = {}
    held: dict[str, Sequence[Pair]] = {}
    notes: list[str] = []
    for target in (target for target in targets if target in corpora):
        train[target], held[target] = _parts(corpora[target], notes)
    left_out = {(target, what): n for target in train for what, n in corpora[target].left_out.items()}
    return ParallelText(name=data.name, train=train, held_out=held, notes=tuple(notes), left_out=left_out)


def _files(data: Data) -> list[_File]:
    """Return the files of pairs in a folder, or those that the data's pattern names.

    Raises InputError for a name without a language, and a file of Moses without the other one.
    """
    folder, pattern = Path(data.name).expanduser(), data.pattern or "{language}"
    if "{language}" not in pattern or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise InputError(
            f"`parallel.pattern` is `{pattern}`, but must say where below the folder the language stands, such as"
            " `en-{language}.tmx` (`*` stands for anything)."
        )
    found: list[_File] = []
    for path, holes in matches(folder, pattern):
        if path.suffix in (".tsv", ".tmx"):
            named = holes["language"] if data.pattern else path.stem
            pair = _split(named.rpartition(".")[2]) if path.suffix == ".tmx" else None
            found.append(_File(path, pair or (_language(path, named),)))
        elif sides := _sides(path):
            if not any(path in file.sides.values() for file in found):
                found.append(_File(path, tuple(sides), sides))
        elif data.pattern:
            raise InputError(
                f"`{path}`, which `parallel.pattern` = `{pattern}` matches, is neither .tsv nor .tmx, nor one of two files such"
                " as `GNOME.en-sw.en` and `GNOME.en-sw.sw`."
            )
    if not found:
        raise InputError(
            f"No file in `{folder}` is named as `parallel.pattern` = `{pattern}` says."
            if data.pattern
            else f"`{folder}` has no parallel text; expected files such as `{folder / 'deu.tsv'}`, `en-de.tmx`, or two such as"
            " `GNOME.en-de.en` and `GNOME.en-de.de`."
        )
    return found


def _sides(path: Path) -> dict[str, Path] | None:
    """Return language -> file of the two files of Moses, `NAME.en-sw.en` and `NAME.en-sw.sw`, one of which is given."""
    rest, _, side = path.name.rpartition(".")
    before, dot, pair = rest.rpartition(".")
    if pair.startswith(f"{side}-"):
        other = pair.removeprefix(f"{side}-")
    elif pair.endswith(f"-{side}"):
        other = pair.removesuffix(f"-{side}")
    else:
        return None
    sibling = path.with_name(f"{before}{dot}{pair}.{other}")
    if not sibling.is_file():
        raise InputError(f"`{path}` has no other side: `{sibling}` does not exist.")
    return {_language(path, side): path, _language(sibling, other): sibling}


def _split(name: str) -> tuple[str, str] | None:
    """Return the languages of `en-sw`, or None for one language: the region or script of a code, as in `zh-TW`, is capital."""
    for hyphen in (place for place, letter in enumerate(name) if letter == "-"):
        codes = name[:hyphen], name[hyphen + 1 :]
        if codes[1][:1].islower():
            with suppress(InputError):
                return canonical(codes[0]), canonical(codes[1])
    return None


def _language(path: Path, code: str) -> str:
    try:
        return canonical(code)
    except InputError as error:
        raise InputError(f"`{path}` is not named by a language code: {error}") from error


def _parts(corpus: Corpus, notes: list[str]) -> tuple[Sequence[Pair], Sequence[Pair]]:
    """Return the pairs to train on and those held out, and add to the notes what is to be known of them."""
    hashes, measured = array("q"), bytearray()

    def rows() -> Iterator[tuple[str, str, str]]:
        for number, source, target in corpus:
            hashes.append(hash((source, target)))
            measured.append(held_out(source))
            yield number, source, target

    def pair(number: str, source: str, target: str) -> Pair:
        return Pair(Example(number, corpus.source, source), Example(number, corpus.target, target))

    pairs = Stored(rows(), _SCHEMA, pair)
    notes += [
        f"`{corpus.path.name}`: {counted(count, what)} left out." for what, count in sorted(corpus.left_out.items())
    ]
    if not pairs:
        what = (
            "Put a source sentence, a tab and its translation on each line."
            if corpus.path.suffix == ".tsv"
            else f"It has no sentence that is there in both `{corpus.source}` and `{corpus.target}`."
        )
        raise InputError(f"`{corpus.path}` holds no pair. {what}")
    again, first = repeats(hashes)
    if len(again):
        notes.append(
            f"`{corpus.path.name}` repeats {len(again)} of its own pairs (first: {pairs.item(int(again[0])).source.id}, as"
            f" {pairs.item(int(first[0])).source.id}); they are kept."
        )
    parts = np.frombuffer(measured, dtype=bool)
    return Picked(pairs, np.flatnonzero(~parts)), Picked(pairs, np.flatnonzero(parts))
