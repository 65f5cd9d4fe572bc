"""Reads Unicode CLDR's annotations: JSON or XML, in a folder, a .zip file or a tarball."""

import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Self
from xml.etree import ElementTree

from distxfer.errors import InputError

# Raised for an archive that is truncated, damaged, encrypted or compressed in a way that Python does not support.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
# Limits against archive bombs: CLDR's files are far smaller, and a release has some 10,000 files.
_LARGEST = 2**25  # bytes of a file
_MOST = 100_000  # files in an archive
_LONGEST_NAME = 2**16  # bytes of an extended header of a tarball
_EXPECTED = "the tarball of the npm package `cldr-annotations-full`, or a release of CLDR as a folder or a .zip file"
_FOLDER = "annotations"  # the JSON: annotations/LOCALE/annotations.json; the XML: annotations/LOCALE.xml


@dataclass(frozen=True)
class Annotation:
    """The name and keywords of one character or emoji in a locale; a few entries of CLDR have several names."""

    characters: str
    name: tuple[str, ...]
    keywords: tuple[str, ...]


def read_annotations(path: Path) -> dict[str, tuple[Annotation, ...]]:
    """Return locale (`sr-Latn`) -> its annotations, wherever they are in the file or folder.

    If a locale occurs twice (as in releases with a `seed`), the one with more annotations is returned.

    Raises InputError for a file that is neither a .zip file nor a tarball, is damaged or too large, or has no annotations.
    """
    annotations_by_locale: dict[str, tuple[Annotation, ...]] = {}
    try:
        for name, content in _files(path):
            locale = _locale(PurePosixPath(name))
            annotations = _parsed(f"{path}:{name}", content)
            if len(annotations) >= len(annotations_by_locale.get(locale, ())):
                annotations_by_locale[locale] = annotations
    except _DAMAGED as error:
        raise InputError(
            f"`{path}` cannot be read ({str(error).partition(':')[0]}). Expected CLDR's annotations: {_EXPECTED}."
        ) from error
    if not annotations_by_locale:
        raise InputError(
            f"`{path}` has no annotations: neither `annotations/LOCALE/annotations.json` nor `annotations/LOCALE.xml`. Give"
            f" {_EXPECTED}."
        )
    return annotations_by_locale


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of every annotation file."""
    if path.is_dir():
        root = path.resolve()  # the folder given may be `annotations` itself
        for file in sorted(root.rglob("*")):
            place = PurePosixPath(root.name, *file.relative_to(root).parts)
            if _locale(place) and file.is_file():
                with file.open("rb") as stream:
                    yield str(place), _whole(f"{path}:{place}", stream)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for number, name in enumerate(archive.namelist()):
                _count(path, number)
                if _locale(PurePosixPath(name)):
                    with archive.open(name) as stream:
                        yield name, _whole(f"{path}:{name}", stream)
    else:
        with tarfile.open(path, tarinfo=_Member) as archive:
            for number, member in enumerate(archive):
                _count(path, number)
                is_annotations = member.isfile() and _locale(PurePosixPath(member.name))
                if is_annotations and (content := archive.extractfile(member)) is not None:
                    yield member.name, _whole(f"{path}:{member.name}", content)


class _Member(tarfile.TarInfo):
    """A member of a tarball. Its extended header, which tarfile reads into memory at once, is bounded."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the member of a header; raises ReadError for an oversized extended header."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENDED and member.size > _LONGEST_NAME:
            raise tarfile.ReadError(f"a header of {member.size} bytes")
        return member


def _count(path: Path, number: int) -> None:
    if number >= _MOST:
        raise InputError(
            f"`{path}` has more than {_MOST:,} files, far more than any release of CLDR. Expected {_EXPECTED}."
        )


def _whole(place: str, stream: IO[bytes]) -> bytes:
    """Return the content of a file, reading at most `_LARGEST` bytes, whatever size its header states."""
    content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InputError(
            f"`{place}` is larger than {_LARGEST // 2**20} MiB, far larger than any annotation file of CLDR."
            f" Expected {_EXPECTED}."
        )
    return content


def _locale(path: PurePosixPath) -> str:
    """Return the locale of an annotation file, or "" for any other file (`annotationsDerived` is derived data)."""
    parts = path.parts
    if path.name == "annotations.json" and parts[-3:-2] == (_FOLDER,):
        return parts[-2]
    return path.stem.replace("_", "-") if path.suffix == ".xml" and parts[-2:-1] == (_FOLDER,) else ""


def _parsed(place: str, content: bytes) -> tuple[Annotation, ...]:
    try:
        return _from_xml(content) if place.endswith(".xml") else _from_json(content)
    except (ElementTree.ParseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"`{place}` is not an annotation file of CLDR ({error}). Download it again.") from error


def _from_json(content: bytes) -> tuple[Annotation, ...]:
    table = json.loads(content)["annotations"].get("annotations", {})
    return tuple(
        Annotation(characters, _distinct(entry.get("tts", [])), _distinct(entry.get("default", [])))
        for characters, entry in table.items()
    )


def _from_xml(content: bytes) -> tuple[Annotation, ...]:
    names: dict[str, tuple[str, ...]] = {}
    keywords: dict[str, tuple[str, ...]] = {}
    for annotation in ElementTree.fromstring(content).iter("annotation"):
        target = names if annotation.get("type") == "tts" else keywords
        target[annotation.attrib["cp"]] = _distinct((annotation.text or "").split("|"))
    characters_seen = dict.fromkeys((*names, *keywords))
    return tuple(
        Annotation(characters, names.get(characters, ()), keywords.get(characters, ()))
        for characters in characters_seen
    )


def _distinct(parts: list[str]) -> tuple[str, ...]:
    if not isinstance(parts, list):
        raise TypeError(f"expected a list, not {parts!r}")
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
