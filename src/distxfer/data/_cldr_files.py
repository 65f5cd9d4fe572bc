"""Reading Unicode CLDR's annotations: JSON or XML, in a folder, a .zip file or a tarball."""

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

# What reading an archive raises that is cut off, damaged, encrypted or packed in a way that Python does not know.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_LARGEST = 2**25  # bytes of a file: those of CLDR have far less, and an archive of a few kB can hold gigabytes
_MOST = 100_000  # files in an archive: a release of CLDR has some 10,000, and a million fit into a megabyte
_LONGEST_NAME = 2**16  # bytes of what a tarball says of a file
_FOLDER = "annotations"  # the JSON: annotations/LOCALE/annotations.json; the XML: annotations/LOCALE.xml


@dataclass(frozen=True)
class Annotation:
    """What a locale calls one character or emoji; more than one `name` is the data's own oddity."""

    characters: str
    name: tuple[str, ...]
    keywords: tuple[str, ...]


def read_annotations(path: Path) -> dict[str, tuple[Annotation, ...]]:
    """Return locale (`sr-Latn`) -> its annotations, wherever in the file or folder they lie.

    Of a locale that is there twice (as in releases with a `seed`), the one with more annotations.

    Raises InputError for a file that is neither a .zip file nor a tarball, is damaged, has no annotations, or one that is
    larger than any of CLDR's.
    """
    found: dict[str, tuple[Annotation, ...]] = {}
    try:
        for name, content in _files(path):
            locale = _locale(PurePosixPath(name))
            annotations = _parsed(f"{path}:{name}", content)
            if len(annotations) >= len(found.get(locale, ())):
                found[locale] = annotations
    except _DAMAGED as error:
        raise InputError(
            f"`{path}` cannot be read ({str(error).partition(':')[0]}). Expected CLDR's annotations: the tarball of the npm"
            " package `cldr-annotations-full`, or a release of CLDR, as a folder or a .zip file."
        ) from error
    if not found:
        raise InputError(
            f"`{path}` has no annotations: neither `annotations/LOCALE/annotations.json` nor `annotations/LOCALE.xml`. Give"
            " the tarball of the npm package `cldr-annotations-full`, or a release of CLDR, as a folder or a .zip file."
        )
    return found


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file of annotations."""
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
                wanted = member.isfile() and _locale(PurePosixPath(member.name))
                if wanted and (content := archive.extractfile(member)) is not None:
                    yield member.name, _whole(f"{path}:{member.name}", content)


class _Member(tarfile.TarInfo):
    """A member of a tarball, whose extended header (a long name) is bounded: it would be read into memory at once."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the member of a header; raises ReadError where it announces an extended header beyond all names."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENDED and member.size > _LONGEST_NAME:
            raise tarfile.ReadError(f"a header of {member.size} bytes")
        return member


def _count(path: Path, number: int) -> None:
    if number >= _MOST:
        raise InputError(
            f"`{path}` has more than {_MOST:,} files, and no release of CLDR has nearly as many. Get the tarball of the npm"
            " package `cldr-annotations-full`, or a release of CLDR, anew."
        )


def _whole(place: str, stream: IO[bytes]) -> bytes:
    """Return what a file holds, of which no more is read than one of CLDR may have, whatever its header says."""
    content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InputError(
            f"`{place}` holds more than {_LARGEST // 2**20} MiB, and no file of CLDR's annotations is nearly as large. Get the"
            " tarball of the npm package `cldr-annotations-full`, or a release of CLDR, anew."
        )
    return content


def _locale(path: PurePosixPath) -> str:
    """Return the locale whose annotations a file has, or nothing: those in `annotationsDerived` are made of others."""
    parts = path.parts
    if path.name == "annotations.json" and parts[-3:-2] == (_FOLDER,):
        return parts[-2]
    return path.stem.replace("_", "-") if path.suffix == ".xml" and parts[-2:-1] == (_FOLDER,) else ""


def _parsed(place: str, content: bytes) -> tuple[Annotation, ...]:
    try:
        return _from_xml(content) if place.endswith(".xml") else _from_json(content)
    except (
        ElementTree.ParseError,
        UnicodeDecodeError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ) as error:
        raise InputError(f"`{place}` is not what CLDR's annotations look like ({error}). Get the file anew.") from error


def _from_json(content: bytes) -> tuple[Annotation, ...]:
    table = json.loads(content)["annotations"].get("annotations", {})
    return tuple(
        Annotation(characters, _distinct(entry.get("tts", [])), _distinct(entry.get("default", [])))
        for characters, entry in table.items()
    )


def _from_xml(content: bytes) -> tuple[Annotation, ...]:
    names: dict[str, tuple[str, ...]] = {}
    keywords: dict[str, tuple[str, ...]] = {}
    for one in ElementTree.fromstring(content).iter("annotation"):
        into = names if one.get("type") == "tts" else keywords
        into[one.attrib["cp"]] = _distinct((one.text or "").split("|"))
    every = dict.fromkeys((*names, *keywords))
    return tuple(
        Annotation(characters, names.get(characters, ()), keywords.get(characters, ())) for characters in every
    )


def _distinct(parts: list[str]) -> tuple[str, ...]:
    if not isinstance(parts, list):
        raise TypeError(f"expected a list, not {parts!r}")
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
