"""Maps the files of a user's folder to languages and splits."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distxfer.data._examples import SPLITS, Data
from distxfer.data._files import language_in_name, own_folder
from distxfer.data._tables import SUFFIXES
from distxfer.errors import InputError

UNLABELLED = "unlabelled"
PARTS = {**{split: split for split in (*SPLITS, UNLABELLED)}, "validation": "dev"}  # name in a path -> split
_PATTERN = "{language}/{split}.jsonl"  # with any other suffix, too
_HOLE = re.compile(r"\{(\w*)\}|\*")


@dataclass(frozen=True)
class Layout:
    """The files of a folder by language and split; `notes` name files that are ignored."""

    folder: Path
    pattern: str
    paths: Mapping[tuple[str, str], Path]
    notes: tuple[str, ...]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages with a test."""
        return tuple(language for language, split in self.paths if split == "test")

    @property
    def ignored(self) -> str:
        """The notes, each after a blank, for the end of a message."""
        return " ".join(["", *self.notes])

    def path(self, language: str, split: str) -> Path:
        """Return the path of a part, or, for messages, where it is expected."""
        expected = self.folder / self.pattern.replace("{language}", language).replace("{split}", split)
        return self.paths.get((language, split), expected)

    def name(self, path: Path) -> str:
        """Return the name of a file in notes: its path below the folder."""
        return path.relative_to(self.folder).as_posix()


def layout(data: Data) -> Layout:
    """Return the files of a folder: `{language}/{split}` with any supported suffix, or the data's pattern.

    Raises InputError for a pattern without `{language}` and `{split}`, an unknown language, and two files of one part.
    """
    folder, pattern = own_folder(data.name), data.pattern or _PATTERN
    holes = {hole[1] for hole in _HOLE.finditer(pattern)}
    if holes - {None} != {"language", "split"} or not is_below(pattern):
        raise InputError(
            f"`task.pattern` is `{pattern}`, but must be a path below the folder that contains `{{language}}` and `{{split}}`, as"
            " in `{language}/{split}.jsonl` (`*` matches anything)."
        )
    paths: dict[tuple[str, str], Path] = {}
    notes = []
    for path, names in matches(folder, data.pattern or "{language}/{split}.*"):
        split = names["split"] if data.pattern else path.stem
        fault = f"suffix is none of {', '.join(SUFFIXES)}" if path.suffix not in SUFFIXES else ""
        fault = fault or (f"name is none of {', '.join(PARTS)}" if split not in PARTS else "")
        if fault:
            notes.append(f"`{path.relative_to(folder).as_posix()}` is ignored: its {fault}.")
            continue
        part = (language_in_name(path, names["language"]), PARTS[split])
        if part in paths:
            raise InputError(f"`{paths[part]}` and `{path}` are both {part[1]} of the language `{part[0]}`. Keep one.")
        paths[part] = path
    return Layout(folder, pattern, paths, tuple(notes))


def is_below(pattern: str) -> bool:
    """Return whether a pattern is a path below the folder that it is searched in."""
    return not Path(pattern).is_absolute() and ".." not in Path(pattern).parts


def matches(folder: Path, pattern: str) -> list[tuple[Path, dict[str, str]]]:
    """Return the files below a folder that match a pattern, and the text that each `{name}` matches.

    A name that occurs several times matches the same text. Neither a name nor `*` matches `/`.
    """
    expression, last = "", 0
    for hole in _HOLE.finditer(pattern):
        name = hole[1]
        any_text = "[^/]*" if name is None else f"(?P={name})" if f"<{name}>" in expression else f"(?P<{name}>[^/]+?)"
        expression += re.escape(pattern[last : hole.start()]) + any_text
        last = hole.end()
    expression += re.escape(pattern[last:])
    glob = _HOLE.sub("*", re.sub(r"([\[?])", r"[\1]", pattern))
    matching = []
    for path in sorted(folder.glob(glob)):
        match = re.fullmatch(expression, path.relative_to(folder).as_posix())
        names = match.groupdict() if match else {}
        is_hidden = any(name.startswith(".") for name in (path.name, *names.values()))  # `.ipynb_checkpoints`
        if match and path.is_file() and not is_hidden:
            matching.append((path, names))
    return matching
