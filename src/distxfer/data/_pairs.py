"""Reads files of sentence pairs, one pair at a time: TSV, Moses (two files), TMX."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from distxfer.data._files import decoded_lines, language_or_none, lines
from distxfer.errors import InputError, reason

Pairs = Iterator[tuple[str, str, str]]
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_LARGEST = 2**24  # bytes of a unit of TMX
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
    files = (corpus.source_path, corpus.path)
    for number, sides in enumerate(zip_longest(*map(decoded_lines, files)), 1):
        if None in sides:
            shorter, longer = files if sides[0] is None else files[::-1]
            raise InputError(
                f"`{shorter}` has {number - 1} lines and `{longer}` has more, but line n of one must translate line n of the"
                " other. Give files of the same length."
            )
        (_, source), (_, target) = sides
        if source.strip() and target.strip():
            yield str(number), source.strip(), target.strip()
        else:
            corpus.left_out["lines that are blank on one side or both"] += 1


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
        fault = re.sub(r": line .*", "", str(error))
        raise InputError(f"`{corpus.path}:{line}` is not valid XML: {fault} at column {column + 1}.") from error
    except InputError:
        raise
    except (
        LookupError,
        ValueError,
        RecursionError,
        OSError,
    ) as error:  # encodings, elements nested too deeply, the disk
        raise InputError(
            f"`{corpus.path}` cannot be read in unit {number or 1}: {reason(error)}. Save it as UTF-8."
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
        language = language_or_none(variant.get(_LANG) or variant.get("lang") or "")
        segment = variant.find("{*}seg")
        if language not in (corpus.source, corpus.target) or segment is None:
            continue
        if language in sides:
            corpus.left_out[f"further sentences in `{language}` of units that have several"] += 1
        else:
            sides[language] = " ".join(_text(segment).split())
    if len(sides) == 2 and all(sides.values()):
        return sides[corpus.source], sides[corpus.target]
    corpus.left_out[
        "units that are blank on one side or both" if len(sides) == 2 else "units without one of the languages"
    ] += 1
    return None


def _tag(element: ElementTree.Element) -> str:
    """Return the name of an element without its namespace, which only some files have."""
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element) -> str:
    """Return the text of an element without the markup of the original format."""
    inside = (("" if _tag(child) in _CODES else _text(child)) + (child.tail or "") for child in element)
    return (element.text or "") + "".join(inside)


_READERS: dict[str, Callable[[Corpus], Pairs]] = {".tsv": _tsv, ".tmx": _tmx}
