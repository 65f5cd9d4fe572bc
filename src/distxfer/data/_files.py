"""Reads text files, and the language codes in the names of files; every error message names the file and the line."""

import gzip
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from distxfer._cache import cache_folder
from distxfer.errors import InputError, reason
from distxfer.languages import canonical

IN_MEMORY = "memory/"  # begins the name of a task that was given in Python, and lies in the cache
_LONGEST = 2**26  # bytes of a line; longer lines are no text and would fill the memory


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) as `decoded_lines`, without line ends and blank lines."""
    for number, line in decoded_lines(path):
        if line.strip():
            yield number, line.rstrip("\r\n")


def decoded_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text with its line end) of a UTF-8 file, with or without a byte-order mark; `.gz` is unpacked.

    Raises InputError if the file cannot be read or is not UTF-8.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            for number, raw in enumerate(iter(lambda: stream.readline(_LONGEST), b""), 1):
                if len(raw) == _LONGEST:
                    raise InputError(
                        f"`{path}:{number}` is longer than {_LONGEST:,} bytes. Put each text on its own line."
                    )
                yield number, _decoded(raw, path, number)
    except (OSError, EOFError, zlib.error) as error:
        fault = getattr(error, "strerror", None) or reason(error)
        raise InputError(f"`{path}` cannot be read: {fault}. Check the file and its permissions.") from error


def _decoded(raw: bytes, path: Path, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"`{path}:{number}` is not UTF-8 text ({error.reason} at byte {error.start} of the line). Save the file as UTF-8."
        ) from error


def own_folder(name: str) -> Path:
    """Return the folder of a task or of parallel text of the user's own."""
    return cache_folder() / name if name.startswith(IN_MEMORY) else Path(name).expanduser()


@cache
def language_or_none(code: str) -> str | None:
    """Return the key of a language, or None if the code is not that of a language."""
    try:
        return canonical(code)
    except InputError:
        return None


def language_in_name(path: Path, code: str) -> str:
    """Return the key of the language that `code`, a part of a path, stands for; raises InputError if it is none."""
    try:
        return canonical(code)
    except InputError as error:
        raise InputError(f"`{path}` is not named by a language code: {error}") from error


def language_paths(folder: Path, pattern: str) -> dict[str, Path]:
    """Return language key -> path for the files of `folder` that match `pattern`.

    Raises InputError if the folder is missing, a name is not a language code, or two names mean the same language.
    """
    if not folder.is_dir():
        raise InputError(f"`{folder}` is not a folder. Give a folder with a file per language, named by its code.")
    paths: dict[str, Path] = {}
    for path in sorted(folder.glob(pattern)):
        if path.name.startswith("."):
            continue
        key = language_in_name(path, path.stem)
        if key in paths:
            raise InputError(f"`{paths[key]}` and `{path}` are both the language `{key}`. Keep one.")
        paths[key] = path
    return paths
