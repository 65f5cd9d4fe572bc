"""Reads text files; every error message names the file and the line."""

from collections.abc import Iterator
from pathlib import Path

from distxfer.errors import InputError
from distxfer.languages import canonical

_LONGEST = 2**26  # bytes of a line; longer lines are no text and would fill the memory


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) as `decoded_lines`, without line ends and blank lines."""
    for number, line in decoded_lines(path):
        if line.strip():
            yield number, line.rstrip("\r\n")


def decoded_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text with its line end) of a UTF-8 file, with or without a byte-order mark.

    Raises InputError if the file cannot be read or is not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(iter(lambda: stream.readline(_LONGEST), b""), 1):
                if len(raw) == _LONGEST:
                    raise InputError(
                        f"`{path}:{number}` is longer than {_LONGEST:,} bytes. Put each text on its own line."
                    )
                yield number, _decoded(raw, path, number)
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}. Check the path and its permissions.") from error


def _decoded(raw: bytes, path: Path, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"`{path}:{number}` is not UTF-8 text ({error.reason} at byte {error.start} of the line). Save the file as UTF-8."
        ) from error


def language_paths(folder: Path, pattern: str) -> dict[str, Path]:
    """Return language key -> path for the entries of `folder` that match `pattern`.

    Raises InputError if the folder is missing, a name is not a language code, or two names mean the same language.
    """
    if folder.is_file():
        raise InputError(
            f"`{folder}` is a file. Give its folder, which holds one file per language, named by the language's code."
        )
    if not folder.is_dir():
        raise InputError(
            f"The folder `{folder}` does not exist. Give the path of a folder, or a name that `distxfer ls` lists."
        )
    paths: dict[str, Path] = {}
    for path in sorted(folder.glob(pattern)):
        if path.name.startswith("."):
            continue
        try:
            key = canonical(path.stem if path.is_file() else path.name)
        except InputError as error:
            raise InputError(f"`{path}` is not named by a language code: {error}") from error
        if key in paths:
            raise InputError(f"`{paths[key]}` and `{path}` are both the language `{key}`. Keep one.")
        paths[key] = path
    return paths
