"""Reads bilingual dictionaries of FreeDict in dictd's format: an index, and entries in a compressed file beside it."""

import gzip
import re
import unicodedata
import zlib
from collections.abc import Collection, Iterator
from itertools import takewhile
from pathlib import Path

from distxfer.data._files import language_or_none, lines
from distxfer.errors import InputError, reason

_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_METADATA = ("00database", "00-database")
_MOST_WORDS = 3  # longer translations are explanations
# Grammar, domains and remarks. Parentheses inside a word, as in `Lehrer(in)`, are part of its spelling.
_REMARK = re.compile(r"<[^<>]*>|\[[^][]*\]|\{[^{}]*\}|(?<!\w)\([^()]*\)(?!\w)")
_SEPARATOR = re.compile("[,;،，、]")
_PLAIN = frozenset("-'’·\u200c\u200d")  # in words, beside letters, marks and digits


def read_freedict(index: Path) -> dict[str, list[str]]:
    """Return source word -> target words of a FreeDict dictionary, from `NAME.index` and `NAME.dict.dz` (or `NAME.dict`).

    A line of the index is a headword, a tab, the entry's offset in bytes, a tab, its length: numbers in base 64 with the
    digits A-Z a-z 0-9 + /. An entry's first line has its headwords, separated by commas, before pronunciation and grammar
    (those of the index are without commas, hyphens and capitals: `trod trodden`, `southsouthwest`); each further line that
    is not indented is a sense: translations separated by commas or semicolons. Lines of examples, notes and
    cross-references are not read, nor are remarks in brackets.

    A sense is read up to the first translation with other characters than letters, digits, blanks, hyphens and
    apostrophes (a full stop may end it), since phrases and explanations follow. Translations of more than three words are
    left out. The same holds for headwords: an entry of `and/or` alone is not read. Nor are entries of metadata.

    Raises InputError, naming file and line, for another format, an entry beyond the end of the file or not in UTF-8; and
    for a file that cannot be read or has no translations.

    Source: dictd's manual, `dictfmt(1)` and `dictzip(1)`.
    """
    dictionary: dict[str, dict[str, None]] = {}
    for entry in _entries(index):
        first, *rest = entry.splitlines() or [""]
        headwords = _words(re.split(r"\s/|[<(\[{]", first)[0])
        translations = dict.fromkeys(word for line in rest for word in _sense(line))
        for word in headwords if translations else ():
            dictionary.setdefault(word, {}).update(translations)
    if not dictionary:
        raise InputError(f"`{index}` has no translations. Give the index of a bilingual dictionary of FreeDict.")
    return {word: list(translations) for word, translations in dictionary.items()}


def freedict_paths(folder: Path, source: str) -> dict[str, Path]:
    """Return target language -> index, for the `freedict-{source}-{target}.index` of a folder, such as Debian's."""
    paths = {}
    for path in sorted(folder.glob("freedict-*-*.index")):
        _, source_code, target_code = path.stem.split("-", 2)
        target = language_or_none(target_code)
        if target and language_or_none(source_code) == source:
            paths[target] = path
    return paths


def unread_dictionaries(folder: Path, source: str, targets: Collection[str]) -> set[Path]:
    """Return the files of a folder's dictionaries in dictd's format that are not FreeDict's of these languages."""
    read = {path for language, path in freedict_paths(folder, source).items() if language in targets}
    others = (index for index in folder.glob("*.index") if index not in read and _content_path(index).exists())
    return {path for index in others for path in (index, _content_path(index))}


def number_of(digits: str) -> int | None:
    """Return the number that digits in base 64 write, the most significant first, or None for other characters."""
    number = 0
    for digit in digits:
        value = _DIGITS.find(digit)
        if value < 0:
            return None
        number = number * len(_DIGITS) + value
    return number if digits else None


def _entries(index: Path) -> Iterator[str]:
    """Yield each entry of the dictionary once; several headwords may point to it."""
    path = _content_path(index)
    content = _content(path)
    places = set()
    for line_number, line in lines(index):
        headword, *numbers = line.split("\t")
        place = tuple(map(number_of, numbers[:2]))
        if len(place) != 2 or place[0] is None or place[1] is None:
            raise InputError(
                f"`{index}:{line_number}` is {line[:60]!r}; expected a headword, an offset and a length, separated by tabs, the"
                " numbers in base 64 as in an index of dictd."
            )
        start, end = place[0], place[0] + place[1]
        if end > len(content):
            raise InputError(
                f"`{index}:{line_number}` is the entry of bytes {start} to {end}, but `{path}` has {len(content)} bytes. Use the"
                " two files of one version of the dictionary."
            )
        if place in places or headword.startswith(_METADATA):
            continue
        places.add(place)
        try:
            yield content[start:end].decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"`{index}:{line_number}` is the entry of bytes {start} to {end} of `{path}`, which is not UTF-8 text"
                f" ({error.reason}). Use the two files of one version of the dictionary."
            ) from error


def _content_path(index: Path) -> Path:
    packed = index.with_suffix(".dict.dz")
    return packed if packed.exists() else index.with_suffix(".dict")


def _content(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".dz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        fault = getattr(error, "strerror", None) or reason(error)
        raise InputError(f"`{path}` cannot be read: {fault}. Put the entries of the dictionary there.") from error


def _sense(line: str) -> list[str]:
    """Return the translations in a line of an entry; none if it is indented, as notes are, unless by a domain."""
    match = re.fullmatch(r"(?:\d+\.\s*| (?=\[))?(\S.*)", line)
    return _words(match[1]) if match else []


def _words(text: str) -> list[str]:
    """Return the short words and phrases of a list, up to the first with other characters than words have."""
    texts = (" ".join(part.split()) for part in _SEPARATOR.split(_REMARK.sub(" ", text).replace("~", " ")))
    words = takewhile(_is_plain, (re.sub(r"\s?[.!?]$", "", text) for text in texts if text))
    return [word for word in words if len(word.split()) <= _MOST_WORDS and any(map(str.isalpha, word))]


def _is_plain(text: str) -> bool:
    return all(
        character.isspace() or character in _PLAIN or unicodedata.category(character)[0] in "LMN" for character in text
    )
