"""Listings: recipes, tasks, parallel text, interventions, distances, languages, models and runs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from os.path import isfile
from pathlib import Path
from typing import Any

from distxfer.config.files import description, recipe_files
from distxfer.data import About, parallel_languages, parallel_names, task_languages, task_names
from distxfer.encoders import BUNDLED
from distxfer.errors import InputError, did_you_mean, listed
from distxfer.languages import DISTANCES, distances, language_name
from distxfer.reports._tables import Table
from distxfer.results.collect import read_run
from distxfer.results.result import Result
from distxfer.results.settings import differing, setting_text, settings_of

_ABOUT_DISTANCES = {
    "syntactic": "cosine of URIEL's syntactic features",
    "phonological": "cosine of URIEL's phonological features",
    "inventory": "cosine of URIEL's phoneme inventories",
    "genetic": "cosine of the families in the tree; 1 for unrelated languages",
    "geographic": "great circle, as a fraction of half the equator",
    "featural": "cosine of all of URIEL's features",
}
_NAMES = {"tasks": task_names, "parallel": parallel_names}
_LANGUAGES = {"tasks": task_languages, "parallel": parallel_languages}
_FOLDER = {"tasks": "your own: {language}/{train,dev,test}.jsonl", "parallel": "your own: {language}.tsv"}


@dataclass(frozen=True)
class _Data(Table):
    """Tasks or corpora: short rows for the terminal, full `entries` for JSON."""

    entries: tuple[Mapping[str, Any], ...] = ()

    def records(self) -> list[dict[str, Any]]:
        """Return the full entries."""
        return [dict(entry) for entry in self.entries]


def listing(kind: str, results: Path, *, short: bool = False) -> Table:
    """Return the listing of one kind (`short`: one row per entry); raises InputError for an unknown kind."""
    if kind == "languages":
        return _languages()
    if kind == "runs":
        return _runs(results)
    if kind in _NAMES:
        return _data(kind, short)
    rows: dict[str, Callable[[], dict[str, str]]] = {
        "recipes": lambda: {name: description(path) for name, path in recipe_files().items()},
        "interventions": _interventions,
        "distances": lambda: {
            **{name: _ABOUT_DISTANCES[name] for name in DISTANCES},
            "NAME@uriel+": "the same of URIEL+: pip install 'distxfer[urielplus]'",
        },
        "models": lambda: {
            BUNDLED: "12 layers of 384, 4-bit weights dequantised; offline",
            "FOLDER or NAME": "a folder with safetensors, or a name on the Hugging Face hub",
        },
    }
    if kind not in rows:
        raise InputError(f"`{kind}` cannot be listed. Choose from: {', '.join([*rows, *_NAMES, 'languages', 'runs'])}.")
    return Table(columns=("name", "what it is"), rows=list(rows[kind]().items()), title=kind)


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
    rows = [(key.name, f"{key.meaning or '–'} ({key.type}; {_default(key.default)})") for key in chosen]
    return _Data(
        columns=("key", "what it is"),
        rows=rows,
        title="keys",
        notes=("Keys of an intervention apply if the recipe has it. Every phase has the keys of `phase.finetune`.",),
        entries=tuple(asdict(key) for key in chosen),
    )


def _default(value: Any) -> str:
    if value is None:
        return "no default"
    return (
        f"default {setting_text(tuple(value) if isinstance(value, list) else value)}"
        if value not in ("", [], {}, ())
        else "default none"
    )


def facts(kind: str, name: str) -> dict[str, Any]:
    """Return the details of a task or a parallel corpus; raises InputError for one that is not listed."""
    if kind not in _NAMES:
        raise InputError(f"`{kind} {name}`: only tasks and parallel text have details. Leave out `{name}`.")
    available = _NAMES[kind]()
    if name not in available:
        raise InputError(
            f"`{name}` is not among {kind}.{did_you_mean(name, available)} Choose from: {', '.join(available)}."
        )
    return _facts(kind, name, available[name])


def _facts(kind: str, name: str, about: About) -> dict[str, Any]:
    fields = {"what it is" if key == "description" else key: value for key, value in asdict(about).items()}
    try:
        languages = sorted(_LANGUAGES[kind](name))
    except InputError:
        languages = []  # unknown without the file that `needs` names
    return {"name": name, **fields, "languages": languages}


def _data(kind: str, short: bool) -> Table:
    """Return the tasks or the corpora, one or a few rows each."""
    entries = [_facts(kind, name, about) for name, about in _NAMES[kind]().items()]
    folder = {"name": "FOLDER", "what it is": _FOLDER[kind]}
    rows = [row for entry in entries for row in _rows(entry, short)]
    return _Data(
        columns=("name", "type", "languages", "what it is"),
        rows=[*rows, (folder["name"], None, None, folder["what it is"])],
        title=kind,
        notes=(
            f"`distxfer ls {kind}{'' if short else ' NAME'}` says more{'' if short else ': its languages and source'}.",
        ),
        entries=(*entries, folder),
    )


def _rows(entry: Mapping[str, Any], short: bool) -> Iterator[tuple[Any, ...]]:
    yield entry["name"], entry["task_type"] or "parallel text", len(entry["languages"]) or None, entry["what it is"]
    for keys in () if short else (("needs", "size"), ("licence",), ("citation",)):
        if details := "; ".join(f"{key}: {entry[key]}" for key in keys if entry[key]):
            yield "", "", "", details


def _interventions() -> dict[str, str]:
    from distxfer.interventions import intervention_class, intervention_names

    return {name: (intervention_class(name).__doc__ or "").strip().split("\n")[0] for name in intervention_names()}


def _languages() -> Table:
    """Return the languages of all tasks and corpora, with their syntactic distance from English.

    Offline tasks and corpora have a column each; those on the hub are counted.
    """
    have = {(kind, name): _facts(kind, name, about) for kind in _NAMES for name, about in _NAMES[kind]().items()}
    embedded = {
        key: set(entry["languages"]) for key, entry in have.items() if not entry["source"] and entry["languages"]
    }
    hub = {
        kind: [entry["languages"] for (group, _), entry in have.items() if group == kind and entry["source"]]
        for kind in _NAMES
    }
    rows = []
    for key in sorted({key for entry in have.values() for key in entry["languages"]}):
        try:
            far = distances("eng", [key], "syntactic", imputed=True).values[key]
        except InputError:
            far = None  # not in URIEL
        counts = (sum(key in languages for languages in hub[kind]) for kind in _NAMES)
        rows.append((key, language_name(key), far, *(key in languages for languages in embedded.values()), *counts))
    columns = [f"{kind.removesuffix('s')} {name}" for kind, name in embedded]
    return Table(
        columns=("language", "name", "syntactic from eng", *columns, "tasks on the hub", "parallel on the hub"),
        rows=rows,
        title="languages",
        optional=("parallel on the hub", "tasks on the hub", *reversed(columns)),
    )


def _runs(results: Path) -> Table:
    """Return the runs below `results`, including unreadable ones, with a note on each of these."""
    rows: list[tuple[Any, ...]] = []
    notes = []
    settings: dict[tuple[str, str], dict[str, Any]] = {}
    for folder in sorted(path for path in results.glob("*/*-s*") if path.is_dir()):
        identity, _, seed = folder.name.rpartition("-s")
        if not seed.isdecimal():
            continue
        result = read_run(folder) if isfile(folder / "result.json") else None
        status = "not done" if result is None else "unreadable" if isinstance(result, str) else result.status
        notes += [result] if isinstance(result, str) else []
        summary = result.summary if isinstance(result, Result) else {}
        means = (summary.get(key) for key in ("source", "target_mean", "far_mean"))
        if isinstance(result, Result):
            prints = result.fingerprints
            data = {f"data.{key}": str(value)[:8] for key, value in prints.items()}
            settings[folder.parent.name, identity] = settings_of(result.data) | data
        rows.append((folder.parent.name, identity, int(seed), status, *means))
    apart = _apart(settings)
    columns = ("recipe", "id", "seed", "status", "source", "targets", "far", "differs in")
    rows = [(*row, apart.get((row[0], row[1]))) for row in rows]
    return Table(
        columns=columns,
        rows=rows,
        title=f"runs in {results}",
        notes=tuple(notes),
        optional=("far", "source"),
        details=("differs in",),
    )


def _apart(settings: Mapping[tuple[str, str], Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Return the settings, or else data fingerprints, in which the ids of one recipe differ, by recipe and id.

    Keys are shortened to their last part where that is unambiguous.
    """
    texts = {}
    for recipe in dict.fromkeys(name for name, _ in settings):
        ids = {identity: values for (name, identity), values in settings.items() if name == recipe}
        every = differing(list(ids.values()))
        keys = [
            key for key in every if not key.startswith("data.")
        ] or every  # data differ with settings, as targets do
        ends = [key.rpartition(".")[2] for key in keys]
        short = {
            key: end if ends.count(end) == 1 and end != "name" else key for key, end in zip(keys, ends, strict=True)
        }
        for identity, values in ids.items():
            texts[recipe, identity] = listed(f"{short[key]}={setting_text(values.get(key))}" for key in keys) or None
    return {key: text for key, text in texts.items() if text}
