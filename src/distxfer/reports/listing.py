"""Listings: recipes, tasks, parallel text, interventions, distances, languages, models and runs."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distxfer.config.files import description, recipe_files
from distxfer.data import About, parallel_languages, parallel_names, task_languages, task_names
from distxfer.encoders import BUNDLED_MODELS
from distxfer.errors import InputError, did_you_mean, listed
from distxfer.languages import distances, language_name
from distxfer.reports.tables import Table, table_of
from distxfer.results.collect import read_run
from distxfer.results.descriptions import arithmetic_notes
from distxfer.results.result import Result
from distxfer.results.settings import differing, setting_text, settings_of

_DISTANCES = {
    "syntactic": "cosine of URIEL's syntactic features",
    "phonological": "cosine of URIEL's phonological features",
    "inventory": "cosine of URIEL's phoneme inventories",
    "genetic": "cosine of the families in the tree; 1 for unrelated languages",
    "geographic": "great circle, as a fraction of half the equator",
    "featural": "cosine of all of URIEL's features",
    "NAME@uriel+": "the same of URIEL+: pip install 'distxfer[urielplus]'",
}
_MODELS = {
    **{name: model.description for name, model in BUNDLED_MODELS.items()},
    "FOLDER or NAME": "a folder with safetensors, or a name on the Hugging Face hub",
}
_DATA = {"tasks": (task_names, task_languages), "parallel": (parallel_names, parallel_languages)}
_FOLDER = {"tasks": "your own: {language}/{train,dev,test}.jsonl", "parallel": "your own: {language}.tsv"}


def listing(kind: str, results: Path, *, short: bool = False) -> Table:
    """Return the listing of one kind, with one row per entry if `short`."""
    match kind:
        case "languages":
            return _languages()
        case "runs":
            return _runs(results)
        case "tasks" | "parallel":
            return _data(kind, short)
        case "recipes":
            entries = {name: description(path) for name, path in recipe_files().items()}
        case "interventions":
            from distxfer.interventions import intervention_class, intervention_names

            classes = {name: intervention_class(name) for name in intervention_names()}
            entries = {name: (cls.__doc__ or "").strip().split("\n")[0] for name, cls in classes.items()}
        case _:
            entries = {"distances": _DISTANCES, "models": _MODELS}[kind]
    return Table(("name", "what it is"), list(entries.items()), kind)


def key_listing(table: str) -> Table:
    """Return the keys of recipes, with type, default and meaning: all, or those of a table such as `phase` or `task`.

    Raises InputError for a table that has no keys.
    """
    from distxfer.config.keys import recipe_keys

    keys = list(recipe_keys())
    chosen = [key for key in keys if not table or f"{key.name}.".startswith(f"{table}.")]
    if not chosen:
        parts = [key.name.split(".") for key in keys]
        tables = {".".join(part[:depth]): None for part in parts for depth in range(1, len(part) + 1)}
        raise InputError(
            f"`{table}` is no key or table of keys.{did_you_mean(table, tables)} `distxfer ls keys` lists all."
        )
    return Table(
        columns=("key", "what it is"),
        rows=[(key.name, f"{key.meaning or '–'} ({key.type}; {_default(key.default)})") for key in chosen],
        title="keys",
        notes=("Keys of an intervention apply if the recipe has it. Every phase has the keys of `phase.finetune`.",),
        data=[asdict(key) for key in chosen],
    )


def _default(value: Any) -> str:
    if value is None:
        return "no default"
    text = setting_text(tuple(value) if isinstance(value, list) else value)
    return "default none" if value in ("", [], {}, ()) else f"default {text}"


def facts(kind: str, name: str) -> dict[str, Any]:
    """Return the details of a task or a parallel corpus; raises InputError for one that is not listed."""
    if kind not in _DATA:
        raise InputError(f"`{kind} {name}`: only tasks and parallel text have details. Leave out `{name}`.")
    available = _DATA[kind][0]()
    if name not in available:
        raise InputError(
            f"`{name}` is not among {kind}.{did_you_mean(name, available)} Choose from: {', '.join(available)}."
        )
    return _facts(kind, name, available[name])


def _facts(kind: str, name: str, about: About) -> dict[str, Any]:
    fields = {"what it is" if key == "description" else key: value for key, value in asdict(about).items()}
    try:
        languages = sorted(_DATA[kind][1](name))
    except InputError:
        languages = []  # unknown without the file that `needs` names
    return {"name": name, **fields, "task_type": about.task_type or "parallel text", "languages": languages}


def _all_facts(kind: str) -> list[dict[str, Any]]:
    return [_facts(kind, name, about) for name, about in _DATA[kind][0]().items()]


def _data(kind: str, short: bool) -> Table:
    """Return the tasks or the corpora, one or a few rows each."""
    entries = _all_facts(kind)
    rows: list[tuple[Any, ...]] = []
    for entry in entries:
        rows.append((entry["name"], entry["task_type"], len(entry["languages"]) or None, entry["what it is"]))
        for keys in () if short else (("needs", "size"), ("licence",), ("citation",)):
            details = "; ".join(f"{key}: {entry[key]}" for key in keys if entry[key])
            rows += [("", "", "", details)] if details else []
    more = (
        f"`distxfer ls {kind}` says more."
        if short
        else f"`distxfer ls {kind} NAME` says more: its languages and source."
    )
    return Table(
        columns=("name", "type", "languages", "what it is"),
        rows=[*rows, ("FOLDER", None, None, _FOLDER[kind])],
        title=kind,
        notes=(more,),
        data=[*entries, {"name": "FOLDER", "what it is": _FOLDER[kind]}],
    )


def _languages() -> Table:
    """Return the languages of all tasks and corpora, with their syntactic distance from English.

    Offline tasks and corpora have a column each; those on the hub are counted.
    """
    entries = [(kind, entry) for kind in _DATA for entry in _all_facts(kind)]
    offline = {
        f"{kind.removesuffix('s')} {entry['name']}": entry["languages"]
        for kind, entry in entries
        if not entry["source"] and entry["languages"]
    }
    records = []
    for key in sorted({key for _, entry in entries for key in entry["languages"]}):
        try:
            far = distances("eng", [key], "syntactic", imputed=True).values[key]
        except InputError:
            far = None  # not in URIEL
        on_hub = [kind for kind, entry in entries if entry["source"] and key in entry["languages"]]
        records.append(
            {
                "language": key,
                "name": language_name(key),
                "syntactic from eng": far,
                **{column: key in languages for column, languages in offline.items()},
                **{f"{kind} on the hub": on_hub.count(kind) for kind in _DATA},
            }
        )
    optional = (*(f"{kind} on the hub" for kind in reversed(_DATA)), *reversed(offline))
    return table_of(records, title="languages", optional=optional)


def _runs(results: Path) -> Table:
    """Return the runs below `results`, including unreadable ones, with a note on each of these."""
    rows: list[tuple[Any, ...]] = []
    notes = []
    settings: dict[str, dict[str, dict[str, Any]]] = {}  # by recipe and id
    finished: dict[str, list[Result]] = {}  # by recipe/id
    for folder in sorted(path for path in results.glob("*/*-s*") if path.is_dir()):
        recipe, (identity, _, seed) = folder.parent.name, folder.name.rpartition("-s")
        if not seed.isdecimal():
            continue
        result = read_run(folder) if (folder / "result.json").is_file() else None
        means: tuple[Any, ...] = (None, None, None)
        if isinstance(result, Result):
            status = str(result.status)
            finished.setdefault(f"{recipe}/{identity}", []).append(result)
            means = tuple(result.summary.get(key) for key in ("source", "target_mean", "far_mean"))
            prints = {f"data.{key}": str(value)[:8] for key, value in result.fingerprints.items()}
            settings.setdefault(recipe, {})[identity] = settings_of(result.recipe) | prints
        else:
            status = "unreadable" if result else "not done"
            notes += [result] if result else []
        rows.append((recipe, identity, int(seed), status, *means))
    notes += [note for name, runs in finished.items() for note in arithmetic_notes({name: runs})]
    apart = {recipe: _apart(ids) for recipe, ids in settings.items()}
    return Table(
        columns=("recipe", "id", "seed", "status", "source", "targets", "far", "differs in"),
        rows=[(*row, apart.get(row[0], {}).get(row[1])) for row in rows],
        title=f"runs in {results}",
        notes=tuple(notes),
        optional=("far", "source"),
        details=("differs in",),
    )


def _apart(ids: Mapping[str, Mapping[str, Any]]) -> dict[str, str | None]:
    """Return the settings, or else data fingerprints, in which the ids of one recipe differ, by id.

    Keys are shortened to their last part where that is unambiguous.
    """
    differ = differing(list(ids.values()))  # data differ with settings, as targets do
    keys = [key for key in differ if not key.startswith("data.")] or differ
    ends = [key.rpartition(".")[2] for key in keys]
    short = [end if ends.count(end) == 1 and end != "name" else key for key, end in zip(keys, ends, strict=True)]
    return {
        identity: listed(f"{name}={setting_text(values.get(key))}" for key, name in zip(keys, short, strict=True))
        or None
        for identity, values in ids.items()
    }
