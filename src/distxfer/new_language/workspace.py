"""The folder of a new language: its data, its distances, and recipes for `distxfer train`."""

import filecmp
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from statistics import fmean

from filelock import FileLock

from distxfer.config.files import DEFAULTS, SOURCES
from distxfer.config.recipe import Recipe, load_recipe
from distxfer.data import Task, task_languages
from distxfer.errors import InputError
from distxfer.languages import canonical, distance_warnings, language_name, relatives
from distxfer.new_language.language_data import LanguageData, LanguageFiles
from distxfer.results.old_names import current_setting
from distxfer.results.result import RUN_LOCK

_PARTS = ("data", "parallel", "dictionary")
_NO_DISTANCE = 0.5  # arbitrary: with one target, every weight is 1
# The keys for the data of the base recipe, which the workspace replaces.
_BASE_KEYS = {
    *("task", "task.name", "task.folder", "task.revision", "task.type", "task.pattern", "task.columns"),
    *("parallel", "parallel.name", "parallel.folder", "parallel.revision", "parallel.pattern"),
}


@dataclass(frozen=True)
class DistanceNote:
    """A table of distances for a language without one in URIEL; `text` describes its basis."""

    file: str
    csv: str
    text: str
    usable: bool


def distance_note(key: str, source: str, recipe: Recipe, files: LanguageFiles) -> DistanceNote | None:
    """Return the table of distances that replaces URIEL, or None if the recipe's distance is available.

    With relatives, it has the mean of their distances from the source, and URIEL's distances of the task's other languages;
    without, an arbitrary number.

    Raises InputError for a relative that is unknown or has no distance, and for relatives together with the user's table.
    """
    name = recipe.distance.name
    if recipe.distance.matrix:
        if files.relatives:
            raise InputError("`--relatives` and `distance.matrix` both set the distance of the language. Remove one.")
        return None
    if not files.relatives:
        try:
            recipe.distance.between(source, key)
        except InputError as error:
            kin = relatives(key, name)
            advice = (
                f"`--relatives {','.join(relative.key for relative in kin)}` would take that of its relatives."
                if kin
                else "Name related languages with `--relatives` to have one."
            )
            text = f"no {name} distance, and none is needed: with one target, every weight is 1. {advice}"
            return DistanceNote(
                "no-distance-known.csv", f",{source}\n{key},{_NO_DISTANCE}\n", f"{text} ({error})", False
            )
        return None
    keys = tuple(canonical(relative) for relative in files.relatives)
    if key in keys or source in keys or len(set(keys)) < len(keys):
        raise InputError(
            f"`--relatives` are {', '.join(keys)}; expected distinct languages other than `{key}` and `{source}`."
        )
    entries = {relative: recipe.distance.between(source, relative) for relative in keys}
    from_source = {relative: entry.value for relative, entry in entries.items()}
    rows = {key: fmean(from_source.values()), **_others(key, source, recipe)}
    csv = "".join([f",{source}\n", *(f"{language},{value!r}\n" for language, value in rows.items())])
    each = ", ".join(f"{relative} ({language_name(relative)}) {value:.3f}" for relative, value in from_source.items())
    text = f"{rows[key]:.3f}, the mean of the {name} distances of {each}; not measured of the language itself"
    text = " ".join([text, *distance_warnings(entries.values())])
    return DistanceNote(f"{name.replace('@', '-')}-mean-of-{'-'.join(keys)}.csv", csv, text, True)


def _others(key: str, source: str, recipe: Recipe) -> dict[str, float]:
    """Return the distances of the task's other languages, from which a score is extrapolated."""
    distances = {}
    for code in task_languages(recipe.task.data):
        if code not in (key, source):
            try:
                distances[code] = recipe.distance.between(source, code).value
            except InputError:
                continue  # languages without a distance do not contribute to the extrapolation
    return distances


def workspace_recipe(
    source_file: Path, folder: Path, key: str, words: Sequence[str], data: LanguageData, matrix: Path | None
) -> Recipe:
    """Return a recipe with its data in the folder of a language; `words` are the user's overrides."""
    task_type = [] if data.task_type == Task.task_type else [f"task.type={data.task_type}"]
    recipe = load_recipe(
        str(source_file),
        [
            *(word for word in words if _key(word) not in _BASE_KEYS and not _key(word).startswith("task.columns.")),
            f"task={folder / 'data'}", *task_type, *(f"task.columns.{name}={column}" for name, column in data.columns.items()),
            f"task.targets={key}", f"task.shots={'all' if data.shots else 0}",
            f"parallel={folder / 'parallel' if data.pairs else ''}",
            *([f"distance.matrix={matrix}"] if matrix else []),
        ],
    )  # fmt: skip
    settings: list[str] = []
    for name in recipe.interventions:
        if f"intervention.{name}.weighting" in recipe.values:
            settings.append(f"intervention.{name}.weighting=uniform")  # there is one target
        if f"intervention.{name}.dictionary" in recipe.values and data.words:
            settings.append(f"intervention.{name}.dictionary={folder / 'dictionary'}")
    overrides = [f"{key}={entry.value}" for key, entry in recipe.values.items() if entry.origin == "override"]
    return load_recipe(str(source_file), [*overrides, *settings]) if settings else recipe


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides for both recipes, and those that apply only to the proposed recipe.

    Raises InputError for keys that the verb sets itself.
    """
    for word in words:
        if (key := _key(word)) in _FIXED:
            raise InputError(f"`{word}` is set by the verb itself: {_FIXED[key]}")
    proposal_words = [
        word
        for word in words
        if (_key(word).startswith(("intervention.", "phase.")) and not _key(word).startswith("phase.finetune."))
        or _key(word) in ("phases", "parallel.mined")
    ]  # fmt: skip
    return [word for word in words if word not in proposal_words], proposal_words


_FIXED: Mapping[str, str] = {
    "recipe": "name another recipe with `--recipe`.",
    "seed": "say how many seeds with `--seeds`.",
    "task.targets": "the target is the language.",
    "task.shots": "give labelled sentences to train on with `--few-shot`.",
}


def _key(word: str) -> str:
    return current_setting(word.partition("=")[0].strip(), "")[0]


def recipe_text(recipe: Recipe, key: str) -> str:
    """Return a recipe for a language as the text of a file, with the differences from the defaults."""
    resolved = recipe.resolved()
    changed = {
        key: reduce(lambda table, part: table[part], key.split("."), resolved)
        for key, entry in recipe.values.items()
        if not entry.origin.startswith((DEFAULTS.name, SOURCES.name, "default of"))
    }
    tables: dict[str, list[str]] = {"": []}
    for key, value in changed.items():
        table, _, name = key.rpartition(".")
        tables.setdefault(table, []).append(f"{name} = {json.dumps(value, ensure_ascii=False)}\n")
    for name in recipe.interventions:  # also interventions with only default values
        tables.setdefault(f"intervention.{name}", [])
    comment = f"# Written for `{key}` by `distxfer new-language`, again in each call; to change it, copy it (`distxfer cp`).\n"
    parts = [comment, "".join(tables.pop(""))]
    parts += [f"[{table}]\n{''.join(lines)}" for table, lines in tables.items()]
    return "\n".join(part for part in parts if part)


def replace_changed(stage: Path, folder: Path, texts: Mapping[str, str], recipes: Sequence[Path]) -> str:
    """Replace the parts of the folder that differ from those in `stage`, and return its `contents`.

    Equal parts are not touched, so that a repeated or concurrent call does not disturb a run that trains on them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / RUN_LOCK):
        for part in _PARTS:
            new, old, files = stage / part, folder / part, _files(stage / part)
            if files == _files(old) and all(filecmp.cmp(new / name, old / name, shallow=False) for name in files):
                continue
            shutil.rmtree(old, ignore_errors=True)
            if files:
                shutil.move(new, old)
        for name, text in texts.items():
            if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode():
                (folder / name).write_text(text, encoding="utf-8", newline="\n")
        return contents(folder, recipes)


def contents(folder: Path, recipes: Sequence[Path]) -> str:
    """Return the hash of a language's data and of these recipes."""
    digest = hashlib.sha256()
    for path in [*recipes, *(folder / part / name for part in _PARTS for name in sorted(_files(folder / part)))]:
        text = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(folder)}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
