"""Which file of a folder of the user's own holds which language and split."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distxfer.data._examples import SPLITS, Data
from distxfer.data._files import language_paths
from distxfer.data._tables import SUFFIXES
from distxfer.errors import InputError
from distxfer.languages import canonical

UNLABELLED = "unlabelled"
_PARTS = {
    **{split: split for split in (*SPLITS, UNLABELLED)},
    "validation": "dev",
}  # how files are named -> what they are
_HOLE = re.compile(r"\{(\w*)\}|\*")


@dataclass(frozen=True)
class Layout:
    """The files of a folder by language and split; `notes` say which lie there and are not read."""

    folder: Path
    paths: Mapping[tuple[str, str], Path]
    notes: tuple[str, ...] = ()
    pattern: str = ""
    folders: Mapping[str, Path] | None = None  # of the languages, where each has one

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages with a test."""
        return tuple(language for language, split in self.paths if split == "test")

    def path(self, language: str, split: str) -> Path:
        """Return where a part lies, or, for a message, where it was looked for."""
        if found := self.paths.get((language, split)):
            return found
        if self.folders is not None:
            return self.folders.get(language, self.folder / language) / f"{split}.jsonl"
        return self.folder / self.pattern.replace("{language}", language).replace("{split}", split)

    def name(self, path: Path) -> str:
        """Return how a note calls a file: by its path below the folder."""
        return path.relative_to(self.folder).as_posix()


def layout(data: Data) -> Layout:
    """Return the files of a folder: `{language}/{split}` with any suffix of those that can be read, or the data's pattern.

    Raises InputError for a pattern without a place for language and split, a file whose language or suffix is none, and
    for two files of one part.
    """
    folder = Path(data.name).expanduser()
    if data.pattern:
        return _patterned(folder, data.pattern)
    folders = language_paths(folder, "*/")
    found = [
        (path, language, path.stem)
        for language, below in folders.items()
        for path in sorted(below.iterdir())
        if not path.name.startswith(".") and (path.is_file() or (path.stem in _PARTS and path.suffix in SUFFIXES))
    ]
    paths, notes = _parts(folder, found)
    return Layout(folder, paths, notes, folders=folders)


def _patterned(folder: Path, pattern: str) -> Layout:
    holes = [hole[1] for hole in _HOLE.finditer(pattern)]
    if "language" not in holes or "split" not in holes or {*holes} - {"language", "split", None}:
        raise InputError(
            f"`task.pattern` is `{pattern}`, but must say where the language and the split stand, such as"
            " `{language}/{split}.jsonl` (`*` stands for anything)."
        )
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise InputError(f"`task.pattern` is `{pattern}`, but must lie below the folder `{folder}`.")
    found = []
    for path, holes_filled in matches(folder, pattern):
        if path.suffix not in SUFFIXES:
            raise InputError(
                f"`{path}`, which `task.pattern` = `{pattern}` matches, is of no format that is read: {', '.join(SUFFIXES)}."
            )
        try:
            language = canonical(holes_filled["language"])
        except InputError as error:
            raise InputError(f"`{path}` is not named by a language code: {error}") from error
        found.append((path, language, holes_filled["split"]))
    if not found:
        raise InputError(f"No file in `{folder}` is named as `task.pattern` = `{pattern}` says.")
    paths, notes = _parts(folder, found)
    return Layout(folder, paths, notes, pattern)


def matches(folder: Path, pattern: str) -> list[tuple[Path, dict[str, str]]]:
    """Return the files below a folder that fit a pattern, and what stands in the place of each `{name}`.

    A name may stand in several places with the same text. Neither it nor `*` goes beyond one part of a path.
    """
    glob = _HOLE.sub("*", re.sub(r"([\[?])", r"[\1]", pattern))
    expression, last = "", 0
    for hole in _HOLE.finditer(pattern):
        name = hole[1]
        expression += re.escape(pattern[last : hole.start()])
        expression += (
            "[^/]*" if name is None else f"(?P={name})" if f"<{name}>" in expression else f"(?P<{name}>[^/]+?)"
        )
        last = hole.end()
    expression += re.escape(pattern[last:])
    found = []
    for path in sorted(folder.glob(glob)):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.name.startswith(".") and (match := re.fullmatch(expression, name)):
            found.append((path, match.groupdict()))
    return found


def _parts(folder: Path, found: Sequence[tuple[Path, str, str]]) -> tuple[dict[tuple[str, str], Path], tuple[str, ...]]:
    """Return (language, split) -> path of these (path, language, how the file is named), and notes on what is neither."""
    paths: dict[tuple[str, str], Path] = {}
    notes = []
    for path, language, stem in found:
        if stem not in _PARTS or path.suffix not in SUFFIXES:
            why = (
                f"it ends in none of {', '.join(SUFFIXES)}"
                if path.suffix not in SUFFIXES
                else f"it is called none of {', '.join(_PARTS)}"
            )
            notes.append(f"`{path.relative_to(folder).as_posix()}` is not read: {why}.")
            continue
        part = (language, _PARTS[stem])
        if not path.is_file():
            raise InputError(
                f"`{path}` is not a regular file. Put a file with the {part[1]} data of `{language}` there."
            )
        if part in paths:
            raise InputError(f"`{paths[part]}` and `{path}` are both {part[1]} of the language `{language}`. Keep one.")
        paths[part] = path
    return paths, tuple(notes)
