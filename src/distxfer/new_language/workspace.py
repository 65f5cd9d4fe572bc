"""The folder of a new language: its data, its distances, and recipes that `distxfer train` takes as they are."""

import filecmp
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from statistics import fmean
from typing import Any

from filelock import FileLock

from distxfer.config.files import defaults_file
from distxfer.config.recipe import Recipe, load_recipe
from distxfer.data import Task, task_languages
from distxfer.errors import InputError
from distxfer.languages import Relative, canonical, distance, distance_warnings, language_name, relatives
from distxfer.new_language.language_data import Given, Has
from distxfer.new_language.proposal import Proposal
from distxfer.results.result import RUN_LOCK

_PARTS = ("data", "parallel", "dictionary")
_NO_DISTANCE = 0.5  # any number does: with one target, every weight is 1
# What of a recipe says where the base's data lie; the workspace has its own.
_OF_THE_BASE = {
    *("task", "task.name", "task.folder", "task.revision", "task.kind", "task.pattern", "task.columns"),
    *("parallel", "parallel.name", "parallel.folder", "parallel.revision", "parallel.pattern"),
}


@dataclass(frozen=True)
class DistanceNote:
    """How far the language is: a table of distances, where URIEL does not say; `text` says what it rests on."""

    file: str
    csv: str
    text: str
    known: bool


def distance_note(key: str, source: str, recipe: Recipe, given: Given) -> DistanceNote | None:
    """Return the table of distances that stands in for URIEL, or None where the recipe's own distance is there.

    With relatives, the mean of their distances from the source, and what URIEL says of the task's other languages;
    without, a number that means nothing.

    Raises InputError for a relative that is unknown or has no distance, and for relatives beside the user's own table.
    """
    name, imputed = recipe.distance.name, recipe.distance.imputed
    if recipe.distance.matrix:
        if given.relatives:
            raise InputError("`--relatives` and `distance.matrix` both say how far the language is. Leave one out.")
        return None
    if not given.relatives:
        try:
            distance(source, key, name, imputed=imputed)
        except InputError as error:
            kin = relatives(key, name)
            text = f"no {name} distance, and none is needed: with one target, every weight is 1. {_advice(kin)}"
            return DistanceNote(
                "no-distance-known.csv", f",{source}\n{key},{_NO_DISTANCE}\n", f"{text} ({error})", False
            )
        return None
    keys = tuple(canonical(one) for one in given.relatives)
    if key in keys or source in keys or len(set(keys)) < len(keys):
        raise InputError(
            f"`--relatives` are {', '.join(keys)}; expected other languages than `{key}` and `{source}`, each once."
        )
    entries = {one: distance(source, one, name, imputed=imputed) for one in keys}
    from_source = {one: entry.value for one, entry in entries.items()}
    rows = {key: fmean(from_source.values()), **_others(key, source, recipe)}
    csv = "".join([f",{source}\n", *(f"{one},{value!r}\n" for one, value in rows.items())])
    each = ", ".join(f"{one} ({language_name(one)}) {value:.3f}" for one, value in from_source.items())
    text = f"{rows[key]:.3f}, the mean of the {name} distances of {each}; not measured of the language itself"
    text = " ".join([text, *distance_warnings(entries.values())])
    return DistanceNote(f"{name.replace('@', '-')}-mean-of-{'-'.join(keys)}.csv", csv, text, True)


def _advice(kin: Sequence[Relative]) -> str:
    if not kin:
        return "Name related languages with `--relatives` to have one."
    return f"`--relatives {','.join(one.key for one in kin)}` would take that of its relatives."


def _others(key: str, source: str, recipe: Recipe) -> dict[str, float]:
    """Return the distances of the task's other languages, by which the check guesses a score."""
    found = {}
    for code in task_languages(recipe.task.data):
        if code not in (key, source):
            try:
                found[code] = distance(source, code, recipe.distance.name, imputed=recipe.distance.imputed).value
            except InputError:
                continue  # one that URIEL does not know says nothing of another language
    return found


def workspace_recipe(
    source_file: Path, folder: Path, key: str, words: Sequence[str], has: Has, matrix: Path | None
) -> Recipe:
    """Return a recipe with its data in the folder of a language; `words` are the user's overrides."""
    kind = [] if has.kind == Task.kind else [f"task.kind={has.kind}"]
    recipe = load_recipe(
        str(source_file),
        [
            *(word for word in words if _key(word) not in _OF_THE_BASE and not _key(word).startswith("task.columns.")),
            f"task={folder / 'data'}", *kind, *(f"task.columns.{name}={column}" for name, column in has.columns.items()),
            f"task.targets={key}", f"task.shots={'all' if has.shots else 0}",
            f"parallel={folder / 'parallel' if has.pairs else ''}",
            *([f"distance.matrix={matrix}"] if matrix else []),
        ],
    )  # fmt: skip
    own: list[str] = []
    for name in recipe.interventions:
        if f"intervention.{name}.weighting" in recipe.values:
            own.append(f"intervention.{name}.weighting=uniform")  # there is one target
        if f"intervention.{name}.dictionary" in recipe.values and has.words:
            own.append(f"intervention.{name}.dictionary={folder / 'dictionary'}")
    return _again(recipe, source_file, own) if own else recipe


def _again(recipe: Recipe, file: Path, more: Sequence[str]) -> Recipe:
    """Return a recipe with further overrides."""
    given = [(key, one.value) for key, one in recipe.values.items() if one.origin == "override"]
    return load_recipe(str(file), [*(f"{key}={value}" for key, value in given), *more])


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides for every recipe, and those that only the proposed one can take.

    Raises InputError for what the verb itself decides.
    """
    for word in words:
        if (key := _key(word)) in _DECIDED:
            raise InputError(f"`{word}` is decided by the verb itself: {_DECIDED[key]}")
    own = [
        word
        for word in words
        if (_key(word).startswith(("intervention.", "phase.")) and not _key(word).startswith("phase.finetune."))
        or _key(word) in ("phases", "parallel.mined")
    ]  # fmt: skip
    return [word for word in words if word not in own], own


_DECIDED: Mapping[str, str] = {
    "recipe": "name another recipe with `--recipe`.",
    "seed": "say how many seeds with `--seeds`.",
    "task.targets": "the target is the language.",
    "task.shots": "give labelled sentences to train on with `--few-shot`.",
}


def _key(word: str) -> str:
    return word.partition("=")[0].strip()


def recipe_text(recipe: Recipe, comment: str) -> str:
    """Return a recipe as the text of a file: what it does differently from the defaults."""
    resolved = recipe.resolved()
    changed = {
        key: reduce(lambda table, part: table[part], key.split("."), resolved)
        for key, one in recipe.values.items()
        if not one.origin.startswith((defaults_file().name, "default of"))
    }
    tables: dict[str, list[str]] = {"": []}
    for key, value in changed.items():
        table, _, name = key.rpartition(".")
        tables.setdefault(table, []).append(f"{name} = {_toml(value)}\n")
    for name in recipe.interventions:  # one with its own defaults alone is there all the same
        tables.setdefault(f"intervention.{name}", [])
    parts = [f"# {comment}\n", "".join(tables.pop(""))]
    parts += [f"[{table}]\n{''.join(lines)}" for table, lines in tables.items()]
    return "\n".join(part for part in parts if part)


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def settle(stage: Path, folder: Path, texts: Mapping[str, str], recipes: Sequence[Path]) -> str:
    """Put what lies ready in `stage` in the place of what the folder has of it, and return its `contents`.

    What is the same there is left alone: the same call, once more or in several processes, takes nothing away from one that
    trains.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / RUN_LOCK):
        for part in _PARTS:
            if not _same(stage / part, folder / part):
                shutil.rmtree(folder / part, ignore_errors=True)
                if _files(stage / part):
                    shutil.move(stage / part, folder / part)
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


def _same(one: Path, other: Path) -> bool:
    files = _files(one)
    return files == _files(other) and all(filecmp.cmp(one / name, other / name, shallow=False) for name in files)


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def comment_of(proposal: Proposal | None, key: str) -> str:
    """Return the first line of a recipe's file."""
    what = "Plain fine-tuning on the source" if proposal is None else f"The recipe `{proposal.recipe}`"
    return f"{what}, for `{key}`: `distxfer new-language` writes this file anew; to change it, copy it (`distxfer cp`)."
