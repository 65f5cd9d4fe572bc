"""Parallel text of your own: TSV, Moses (two files, as on OPUS) or TMX for each target."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa

from distxfer.data._checks import repeats
from distxfer.data._examples import About, Data, Example, Pair, ParallelText, held_out
from distxfer.data._files import language_in_name
from distxfer.data._layout import is_below, matches
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
# Language -> file. One language with any source, or two; these have one file, or two of Moses.
_Sides = Mapping[str, Path]


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages in the file names."""
    return tuple(dict.fromkeys(language for sides in _files(data) for language in sides))


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the pairs of the files; a fixed fifth, by hash of the source sentence, is held out for measuring.

    Raises InputError, with file and line, for a TSV line that is not two sentences, Moses files of unequal length,
    invalid XML, and two files of one target.
    """
    corpora: dict[str, Corpus] = {}
    for sides in _files(data):
        target = next((language for language in sides if language != source), source)
        if target not in targets or (len(sides) == 2 and source not in sides):
            continue
        path, source_path = sides[target], sides.get(source)
        corpus = Corpus(path, source, target, source_path if source_path != path else None)
        if target in corpora:
            raise InputError(f"`{corpora[target].path}` and `{path}` are both the language `{target}`. Keep one.")
        corpora[target] = corpus
    train: dict[str, Sequence[Pair]] = {}
    held: dict[str, Sequence[Pair]] = {}
    notes: list[str] = []
    for target in (target for target in targets if target in corpora):
        train[target], held[target] = _parts(corpora[target], notes)
    left_out = {(target, reason): n for target in train for reason, n in corpora[target].left_out.items()}
    return ParallelText(name=data.name, train=train, held_out=held, notes=tuple(notes), left_out=left_out)


def _files(data: Data) -> list[_Sides]:
    """Return the files of sentence pairs in a folder, or those that match the data's pattern.

    Raises InputError for a name without a language, and for one Moses file without the other.
    """
    folder, pattern = Path(data.name).expanduser(), data.pattern or "{language}"
    if "{language}" not in pattern or not is_below(pattern):
        raise InputError(
            f"`parallel.pattern` is `{pattern}`, but must be a path below the folder that contains `{{language}}`, such as"
            " `en-{language}.tmx` (`*` matches anything)."
        )
    files: list[_Sides] = []
    for path, holes in matches(folder, pattern):
        sides = _sides(path, holes["language"] if data.pattern else path.stem)
        if sides and sides not in files:
            files.append(sides)
    if not files:
        where = f" that match `parallel.pattern` = `{pattern}`" if data.pattern else ""
        raise InputError(
            f"`{folder}` has no files of parallel text{where}; expected files such as `{folder / 'deu.tsv'}`, `en-de.tmx`, or two"
            " such as `GNOME.en-de.en` and `GNOME.en-de.de`."
        )
    return files


def _sides(path: Path, code: str) -> _Sides:
    """Return language -> file for a file of sentence pairs, `code` being the language in its name; {} for any other file."""
    if path.suffix == ".tmx" and (pair := _pair_of_codes(code.rpartition(".")[2])):
        return dict.fromkeys(pair, path)
    if path.suffix in (".tsv", ".tmx"):
        return {language_in_name(path, code): path}
    stem, _, side = path.name.rpartition(".")  # NAME.en-sw and en, or sw
    codes = stem.rpartition(".")[2]
    if codes.startswith(f"{side}-"):
        other = codes.removeprefix(f"{side}-")
    elif codes.endswith(f"-{side}"):
        other = codes.removesuffix(f"-{side}")
    else:
        return {}
    sibling = path.with_name(f"{stem}.{other}")
    if not sibling.is_file():
        raise InputError(f"`{path}` has no other side: `{sibling}` does not exist.")
    return {language_in_name(path, side): path, language_in_name(sibling, other): sibling}


def _pair_of_codes(name: str) -> tuple[str, str] | None:
    """Return the languages of `en-sw`, or None for a single code such as `zh-TW` (regions and scripts are capitalised)."""
    for hyphen in (place for place, letter in enumerate(name) if letter == "-"):
        codes = name[:hyphen], name[hyphen + 1 :]
        if codes[1][:1].islower():
            with suppress(InputError):
                return canonical(codes[0]), canonical(codes[1])
    return None


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
    name = f"`{corpus.path.name}`"
    notes += [f"{name}: {counted(count, reason)} left out." for reason, count in sorted(corpus.left_out.items())]
    if not pairs:
        raise InputError(f"`{corpus.path}` has no sentence pairs of `{corpus.source}` and `{corpus.target}`.")
    again, first = repeats(hashes)
    if len(again):
        repeated, original = (pairs.item(int(places[0])).source.id for places in (again, first))
        notes.append(f"{name} repeats {len(again)} of its own pairs (first: {repeated}, as {original}); they are kept.")
    parts = np.frombuffer(measured, dtype=bool)
    return Picked(pairs, np.flatnonzero(~parts)), Picked(pairs, np.flatnonzero(parts))
