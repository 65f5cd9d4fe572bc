"""Parallel text of your own: TSV, Moses (two files, as on OPUS) or TMX for each target."""

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
    task_type="",
    keys=("pattern",),
)
_SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("target", pa.string())])


@dataclass(frozen=True)
class _File:
    """A file of sentence pairs of two languages, or of one with any source; for Moses, `sides` are both files."""

    path: Path
    languages: tuple[str, ...]
    sides: Mapping[str, Path] = field(default_factory=dict)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages in the file names."""
    return tuple(dict.fromkeys(language for file in _files(data) for language in file.languages))


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the pairs of the files; a fixed fifth, by hash of the source sentence, is held out for measuring.

    Raises InputError, with file and line, for a TSV line that is not two sentences, Moses files of unequal length,
    invalid XML, and two files of one target.
    """
    corpora: dict[str, Corpus] = {}
    for file in _files(data):
        target = next((language for language in file.languages if language != source), source)
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
    left_out = {(target, reason): n for target in train for reason, n in corpora[target].left_out.items()}
    return ParallelText(name=data.name, train=train, held_out=held, notes=tuple(notes), left_out=left_out)


def _files(data: Data) -> list[_File]:
    """Return the files of sentence pairs in a folder, or those that match the data's pattern.

    Raises InputError for a name without a language, and for one Moses file without the other.
    """
    folder, pattern = Path(data.name).expanduser(), data.pattern or "{language}"
    if "{language}" not in pattern or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise InputError(
            f"`parallel.pattern` is `{pattern}`, but must be a path below the folder that contains `{{language}}`, such as"
            " `en-{language}.tmx` (`*` matches anything)."
        )
    files: list[_File] = []
    for path, holes in matches(folder, pattern):
        if path.suffix in (".tsv", ".tmx"):
            named = holes["language"] if data.pattern else path.stem
            pair = _split(named.rpartition(".")[2]) if path.suffix == ".tmx" else None
            files.append(_File(path, pair or (_language(path, named),)))
        elif sides := _sides(path):
            if not any(path in file.sides.values() for file in files):
                files.append(_File(path, tuple(sides), sides))
        elif data.pattern:
            raise InputError(
                f"`{path}`, which `parallel.pattern` = `{pattern}` matches, is neither .tsv nor .tmx, nor one of two files such"
                " as `GNOME.en-sw.en` and `GNOME.en-sw.sw`."
            )
    if not files:
        raise InputError(
            f"No file in `{folder}` matches `parallel.pattern` = `{pattern}`."
            if data.pattern
            else f"`{folder}` has no parallel text; expected files such as `{folder / 'deu.tsv'}`, `en-de.tmx`, or two such as"
            " `GNOME.en-de.en` and `GNOME.en-de.de`."
        )
    return files


def _sides(path: Path) -> dict[str, Path] | None:
    """Return language -> file for two Moses files, `NAME.en-sw.en` and `NAME.en-sw.sw`, of which `path` is one."""
    stem, _, side = path.name.rpartition(".")
    before, dot, pair = stem.rpartition(".")
    if pair.startswith(f"{side}-"):
        other_code = pair.removeprefix(f"{side}-")
    elif pair.endswith(f"-{side}"):
        other_code = pair.removesuffix(f"-{side}")
    else:
        return None
    sibling = path.with_name(f"{before}{dot}{pair}.{other_code}")
    if not sibling.is_file():
        raise InputError(f"`{path}` has no other side: `{sibling}` does not exist.")
    return {_language(path, side): path, _language(sibling, other_code): sibling}


def _split(name: str) -> tuple[str, str] | None:
    """Return the languages of `en-sw`, or None for a single code such as `zh-TW` (regions and scripts are capitalised)."""
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
    """Return the training pairs and the held-out pairs, and append notes for the user."""
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
        f"`{corpus.path.name}`: {counted(count, reason)} left out." for reason, count in sorted(corpus.left_out.items())
    ]
    if not pairs:
        detail = (
            "Put a source sentence, a tab and its translation on each line."
            if corpus.path.suffix == ".tsv"
            else f"It has no sentence in both `{corpus.source}` and `{corpus.target}`."
        )
        raise InputError(f"`{corpus.path}` has no sentence pairs. {detail}")
    again, first = repeats(hashes)
    if len(again):
        notes.append(
            f"`{corpus.path.name}` repeats {len(again)} of its own pairs (first: {pairs.item(int(again[0])).source.id}, as"
            f" {pairs.item(int(first[0])).source.id}); they are kept."
        )
    parts = np.frombuffer(measured, dtype=bool)
    return Picked(pairs, np.flatnonzero(~parts)), Picked(pairs, np.flatnonzero(parts))
