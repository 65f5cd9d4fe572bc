"""What there is: recipes, tasks, parallel text, interventions, distances, languages, models and runs."""

from collections.abc import Callable
from pathlib import Path

from distxfer.data import parallel_languages, parallel_names, task_languages, task_names
from distxfer.encoders import BUNDLED
from distxfer.errors import InputError
from distxfer.experiments import Result, description, read_result, recipe_files
from distxfer.languages import DISTANCES, distances, language_name
from distxfer.reports._tables import Table

_ABOUT_DISTANCES = {
    "syntactic": "cosine of URIEL's syntactic features",
    "phonological": "cosine of URIEL's phonological features",
    "inventory": "cosine of URIEL's phoneme inventories",
    "genetic": "cosine of the families in the tree; 1 for unrelated languages",
    "geographic": "great circle, as a fraction of half the equator",
    "featural": "cosine of all of URIEL's features",
}


def listing(kind: str, results: Path) -> Table:
    """Return the table of one kind of thing; raises InputError for a kind that cannot be listed."""
    if kind == "languages":
        return _languages()
    if kind == "runs":
        return _runs(results)
    rows: dict[str, Callable[[], dict[str, str]]] = {
        "recipes": lambda: {name: description(path) for name, path in recipe_files().items()},
        "tasks": lambda: {
            **{name: about.description for name, about in task_names().items()},
            "FOLDER": "your own: {language}/{train,dev,test}.jsonl",
        },
        "parallel": lambda: {
            **{name: about.description for name, about in parallel_names().items()},
            "FOLDER": "your own: {language}.tsv",
        },
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
        raise InputError(f"`{kind}` cannot be listed. Choose from: {', '.join([*rows, 'languages', 'runs'])}.")
    return Table(columns=("name", "what it is"), rows=list(rows[kind]().items()), title=kind)


def _interventions() -> dict[str, str]:
    from distxfer.interventions import intervention_class, intervention_names

    return {name: (intervention_class(name).__doc__ or "").strip().split("\n")[0] for name in intervention_names()}


def _languages() -> Table:
    """Return the languages of the built-in tasks and corpora, with their syntactic distance from English."""
    tasks = {name: task_languages(name) for name in task_names()}
    parallel = {name: parallel_languages(name) for name in parallel_names()}
    rows = []
    for key in sorted({key for keys in (*tasks.values(), *parallel.values()) for key in keys}):
        try:
            far = distances("eng", [key], "syntactic", imputed=True).values[key]
        except InputError:
            far = None  # URIEL has no data for it; `distxfer train` would say so and name its relatives
        rows.append((key, language_name(key), far, *(key in keys for keys in (*tasks.values(), *parallel.values()))))
    columns = [*(f"task {name}" for name in tasks), *(f"parallel {name}" for name in parallel)]
    return Table(columns=("language", "name", "syntactic from eng", *columns), rows=rows, title="languages")


def _runs(results: Path) -> Table:
    """Return the runs below `results`; one whose result cannot be read is listed too, and a note says why."""
    rows, notes = [], []
    for folder in sorted(path for path in results.glob("*/*-s*") if path.is_dir()):
        identity, _, seed = folder.name.rpartition("-s")
        if not seed.isdecimal():
            continue
        result: Result | None = None
        try:
            result = read_result(folder)
            status = result.data["status"] if result else "not done"
        except InputError as error:
            status = "unreadable"
            notes.append(str(error))
        summary = result.summary if result else {}
        means = (summary.get(key) for key in ("source", "target_mean", "far_mean"))
        rows.append((folder.parent.name, identity, int(seed), status, *means))
    columns = ("recipe", "id", "seed", "status", "source", "targets", "far")
    return Table(columns=columns, rows=rows, title=f"runs in {results}", notes=tuple(notes))
