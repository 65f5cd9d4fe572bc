"""Reads the interface messages in the wheel of Home Assistant, and writes and reads the extract in this package."""

import json
import lzma
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from distxfer.data._files import language_or_none
from distxfer.errors import InputError, reason

RELEASE = "2026.11.0"  # of the wheel that the extract was made from
EXTRACT = Path(__file__).with_name("messages.json.xz")
DOWNLOAD = f"pip download --no-deps --only-binary=:all: --python-version 3.14.2 homeassistant=={RELEASE}"
_FILE = re.compile(r"homeassistant/components/([^/]+)/translations/([^/]+)\.json")
_SCRIPT = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z]{4})?")  # codes with a region (`pt-BR`, `es-419`) are other translations
_EXPECTED = f"the wheel `homeassistant`. Run: {DOWNLOAD}"
# Raised for an archive that is truncated, damaged, encrypted or compressed in a way that Python does not support.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)
# Limits against archive bombs: the largest file of translations has 0.3 MB, and the wheel some 60,000 files.
_LARGEST, _LARGEST_EXTRACT = 2**24, 2**27
_MOST = 500_000

T = TypeVar("T")
Texts = Mapping[str, Mapping[str, str]]  # language -> `component:key` -> text


def read_wheel(path: Path) -> Texts:
    """Return the messages in a wheel of Home Assistant by language and `component:key`, such as `abode:title`.

    A key is the path to a text, joined by `::`. Regional translations (`en-GB`, `es-419`, `pt-BR`) are left out. Nothing in
    the wheel is executed.

    Raises InputError for a file that is no wheel of Home Assistant, or is damaged.
    """
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    if not path.is_file():
        raise InputError(f"`{path}` is not a file. Set `task.folder` (`parallel.folder`) to the path of {_EXPECTED}.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MOST:
                raise InputError(f"`{path}` has {len(members):,} files, far more than {_EXPECTED}.")
            for member in members:
                match = _FILE.fullmatch(member.filename)
                if match and _SCRIPT.fullmatch(match[2]) and (language := language_or_none(match[2])):
                    content = _parsed(f"{path}:{member.filename}", _whole(archive, path, member))
                    texts[language].update((f"{match[1]}:{key}", text) for key, text in content.items())
    except _DAMAGED as error:
        raise InputError(f"`{path}` cannot be read ({reason(error)}). Expected {_EXPECTED}.") from error
    if "eng" not in texts:
        raise InputError(f"`{path}` has no `homeassistant/components/NAME/translations/en.json`. Expected {_EXPECTED}.")
    return texts


def write_extract(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of an extract; equal content gives equal bytes."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)


def read_extract(path: Path, build: Callable[[Mapping[str, Any]], T]) -> T:
    """Return what `build` makes of the content of an extract; raises InputError for another file."""
    try:
        with lzma.open(path) as stream:
            text = stream.read(_LARGEST_EXTRACT + 1)
        if len(text) > _LARGEST_EXTRACT:
            raise ValueError(f"more than {_LARGEST_EXTRACT // 2**20} MiB")
        return build(json.loads(text))
    except (lzma.LZMAError, EOFError, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f"`{path}` is not an extract of messages ({reason(error)}). Set `task.folder` to one, or to {_EXPECTED}."
        ) from error


def _whole(archive: zipfile.ZipFile, path: Path, member: zipfile.ZipInfo) -> bytes:
    """Return the content of a file, reading at most `_LARGEST` bytes, whatever size its header states."""
    with archive.open(member) as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InputError(f"`{path}:{member.filename}` is larger than {_LARGEST // 2**20} MiB. Expected {_EXPECTED}.")
    return content


def _parsed(place: str, content: bytes) -> dict[str, str]:
    try:
        return dict(_flat(json.loads(content), ()))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"`{place}` is not a file of translations ({error}). Download the wheel again.") from error


def _flat(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the path and text of every message in nested tables."""
    if not isinstance(table, dict):
        raise TypeError(f"expected a table, not {type(table).__name__}")
    for name, value in table.items():
        if isinstance(value, str):
            yield "::".join((*path, name)), value.strip()
        else:
            yield from _flat(value, (*path, name))
