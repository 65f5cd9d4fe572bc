"""Reads files of sentence pairs, one pair at a time: TSV, Moses (two files), TMX."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from distxfer.data._files import decoded_lines, lines
from distxfer.errors import InputError, reason
from distxfer.languages import canonical

Pairs = Iterator[tuple[str, str, str]]
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_LARGEST = 2**24  # bytes of a unit of TMX
# Raised for an unknown or multi-byte encoding, and for elements nested too deeply for Python.
_UNREADABLE = (LookupError, ValueError, RecursionError)
_CODES = frozenset({"bpt", "ept", "ph", "it", "ut"})  # elements of TMX with markup of the original format


@dataclass(frozen=True)
class Corpus:
    """The file or two files with the sentence pairs of a source and a target language, read again on each iteration.

    Yields (number, source sentence, target sentence), where number is that of the line or, in TMX, of the unit.
    `left_out` counts what is skipped. Moses: `path` is the target's file, `source_path` the source's.

    Raises InputError, with file and line, for input that is not UTF-8 or violates the format.
    """

    path: Path
    source: str
    target: str
    source_path: Path | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Pairs:
        self.left_out.clear()
        return (_moses if self.source_path else _READERS[self.path.suffix])(self)


def _tsv(corpus: Corpus) -> Pairs:
    for number, line in lines(corpus.path):
        columns = line.split("\t")
        if len(columns) != 2 or not all(column.strip() for column in columns):
            raise InputError(
                f"`{corpus.path}:{number}` has {len(columns)} columns ({line[:60]!r}), but expected a source sentence, one tab"
                " and its translation."
            )
        yield str(number), columns[0].strip(), columns[1].strip()


def _moses(corpus: Corpus) -> Pairs:
    assert corpus.source_path is not None
    counts = [0, 0]
    files = [_counted(path, counts, place) for place, path in enumerate((corpus.source_path, corpus.path))]
    uneven = False
    for number, (source, target) in enumerate(zip_longest(*files), 1):
        if source is None or target is None:
            uneven = True  # read on, to report the number of lines of both
        elif source.strip() and target.strip():
            yield str(number), source.strip(), target.strip()
        else:
            corpus.left_out["lines that are blank on one side or both"] += 1
    if uneven:
        raise InputError(
            f"`{corpus.source_path}` has {counts[0]} lines and `{corpus.path}` has {counts[1]}, but line n of one must translate"
            " line n of the other. Give files of the same length."
        )


def _counted(path: Path, counts: list[int], place: int) -> Iterator[str]:
    for number, line in decoded_lines(path):
        counts[place] = number
        yield line


def _tmx(corpus: Corpus) -> Pairs:
    """Read the units of a TMX file that have both languages; external DTDs and entities are never fetched."""
    number = 0
    try:
        body = None
        for event, element in _events(corpus.path):
            if event == "start" and _tag(element) == "body":
                body = element
            elif event == "end" and _tag(element) == "tu":
                number += 1
                pair = _unit(corpus, element)
                if body is not None:
                    body.clear()  # keeps memory constant
                if pair is not None:
                    yield str(number), *pair
    except ElementTree.ParseError as error:
        line, column = error.position
        parser_message = re.sub(r": line .*", "", str(error))
        raise InputError(
            f"`{corpus.path}:{line}` is not valid XML: {parser_message} at column {column + 1}."
        ) from error
    except _UNREADABLE as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"`{corpus.path}` cannot be read in unit {number or 1}: {reason(error)}. Save it as UTF-8."
        ) from error
    except OSError as error:
        raise InputError(
            f"`{corpus.path}` cannot be read: {error.strerror}. Check the path and its permissions."
        ) from error


def _events(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the starts and ends of elements; raises InputError for a unit, or a header, larger than 16 MiB."""
    parser: Any = ElementTree.XMLPullParser(events=("start", "end"))
    since = 0
    with path.open("rb") as stream:
        while chunk := stream.read(2**16):
            since += len(chunk)
            parser.feed(chunk)
            for event, element in parser.read_events():
                if event == "end" and _tag(element) == "tu":
                    since = 0
                yield event, element
            if since > _LARGEST:
                raise InputError(
                    f"`{path}` has more than {_LARGEST // 2**20} MiB without the end of a unit (`</tu>`), far more than a"
                    " sentence. Check how the file was made."
                )
    parser.close()
    yield from parser.read_events()


def _unit(corpus: Corpus, unit: ElementTree.Element) -> tuple[str, str] | None:
    """Return both sides of a unit (the first of several per language), or None if one is missing or blank."""
    sides: dict[str, str] = {}
    for variant in unit.iterfind("{*}tuv"):
        language = _language(variant.get(_LANG) or variant.get("lang") or "")
        segment = variant.find("{*}seg")
        if language not in (corpus.source, corpus.target) or segment is None:
            continue
        if language in sides:
            corpus.left_out[f"further sentences in `{language}` of units that have several"] += 1
        else:
            sides[language] = " ".join(_text(segment).split())
    if len(sides) < 2:
        corpus.left_out["units without one of the languages"] += 1
        return None
    if not all(sides.values()):
        corpus.left_out["units that are blank on one side or both"] += 1
        return None
    return sides[corpus.source], sides[corpus.target]


@cache
def _language(code: str) -> str | None:
    try:
        return canonical(code)
    except InputError:
        return None


def _tag(element: ElementTree.Element) -> str:
    """Return the name of an element without its namespace, which only some files have."""
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element) -> str:
    """Return the text of an element without the markup of the original format."""
    inside = (("" if _tag(child) in _CODES else _text(child)) + (child.tail or "") for child in element)
    return (element.text or "") + "".join(inside)


_READERS: dict[str, Callable[[Corpus], Pairs]] = {".tsv": _tsv, ".tmx": _tmx}
