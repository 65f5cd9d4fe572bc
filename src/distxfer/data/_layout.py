"""Maps the files of a user's folder to languages and splits."""

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
_PARTS = {**{split: split for split in (*SPLITS, UNLABELLED)}, "validation": "dev"}  # file stem -> split
_HOLE = re.compile(r"\{(\w*)\}|\*")


@dataclass(frozen=True)
class Layout:
    """The files of a folder by language and split; `notes` name files that are ignored."""

    folder: Path
    paths: Mapping[tuple[str, str], Path]
    notes: tuple[str, ...] = ()
    pattern: str = ""
    folders: Mapping[str, Path] | None = None  # by language, without a pattern

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages with a test."""
        return tuple(language for language, split in self.paths if split == "test")

    def path(self, language: str, split: str) -> Path:
        """Return the path of a part, or, for messages, where it is expected."""
        if path := self.paths.get((language, split)):
            return path
        if self.folders is not None:
            return self.folders.get(language, self.folder / language) / f"{split}.jsonl"
        return self.folder / self.pattern.replace("{language}", language).replace("{split}", split)

    def name(self, path: Path) -> str:
        """Return the name of a file in notes: its path below the folder."""
        return path.relative_to(self.folder).as_posix()


def layout(data: Data) -> Layout:
    """Return the files of a folder: `{language}/{split}` with any supported suffix, or the data's pattern.

    Raises InputError for a pattern without `{language}` and `{split}`, a file with an unknown language or suffix, and two
    files of one part.
    """
    folder = Path(data.name).expanduser()
    if data.pattern:
        return _patterned(folder, data.pattern)
    folders = language_paths(folder, "*/")
    files = [
        (path, language, path.stem)
        for language, below in folders.items()
        for path in sorted(below.iterdir())
        if not path.name.startswith(".") and (path.is_file() or (path.stem in _PARTS and path.suffix in SUFFIXES))
    ]
    paths, notes = _parts(folder, files)
    return Layout(folder, paths, notes, folders=folders)


def _patterned(folder: Path, pattern: str) -> Layout:
    holes = [hole[1] for hole in _HOLE.finditer(pattern)]
    if "language" not in holes or "split" not in holes or {*holes} - {"language", "split", None}:
        raise InputError(
            f"`task.pattern` is `{pattern}`, but must contain `{{language}}` and `{{split}}`, as in"
            " `{language}/{split}.jsonl` (`*` matches anything)."
        )
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise InputError(f"`task.pattern` is `{pattern}`, but must lie below the folder `{folder}`.")
    files = []
    for path, holes_filled in matches(folder, pattern):
        if path.suffix not in SUFFIXES:
            raise InputError(
                f"`{path}`, which `task.pattern` = `{pattern}` matches, has none of the supported formats:"
                f" {', '.join(SUFFIXES)}."
            )
        try:
            language = canonical(holes_filled["language"])
        except InputError as error:
            raise InputError(f"`{path}` is not named by a language code: {error}") from error
        files.append((path, language, holes_filled["split"]))
    if not files:
        raise InputError(f"No file in `{folder}` matches `task.pattern` = `{pattern}`.")
    paths, notes = _parts(folder, files)
    return Layout(folder, paths, notes, pattern)


def matches(folder: Path, pattern: str) -> list[tuple[Path, dict[str, str]]]:
    """Return the files below a folder that match a pattern, and the text that each `{name}` matches.

    A name that occurs several times matches the same text. Neither a name nor `*` matches `/`.
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
    matching = []
    for path in sorted(folder.glob(glob)):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.name.startswith(".") and (match := re.fullmatch(expression, name)):
            matching.append((path, match.groupdict()))
    return matching


def _parts(folder: Path, files: Sequence[tuple[Path, str, str]]) -> tuple[dict[tuple[str, str], Path], tuple[str, ...]]:
    """Return (language, split) -> path for these (path, language, stem), and notes on ignored files."""
    paths: dict[tuple[str, str], Path] = {}
    notes = []
    for path, language, stem in files:
        if stem not in _PARTS or path.suffix not in SUFFIXES:
            fault = (
                f"suffix is none of {', '.join(SUFFIXES)}"
                if path.suffix not in SUFFIXES
                else f"name is none of {', '.join(_PARTS)}"
            )
            notes.append(f"`{path.relative_to(folder).as_posix()}` is ignored: its {fault}.")
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
