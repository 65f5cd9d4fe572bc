"""Publishes the model of a finished run on the Hugging Face hub, in one commit."""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from distxfer._durable import check_file, check_folder
from distxfer.errors import InputError, RunError, listed
from distxfer.results.result import Result, read_result, unverified
from distxfer.runs.model_card import PLACE

_MODEL, _CARD, _RESULT, _MEASUREMENTS, _PREDICTIONS = (
    "model", "README.md", "result.json", "measurements.parquet", "predictions.parquet",
)  # fmt: skip
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"}
# Files of these types in the repository would be loaded together with the run's own.
_LOADED = {".json", ".safetensors", ".model", ".txt", ".jinja", ".parquet", ".py", *_PICKLES}


@dataclass(frozen=True)
class Publication:
    """A planned push: path in the repository -> content, or a local file with it.

    `warnings` are shown to the user before the push.
    """

    repository: str
    private: bool
    title: str
    files: Mapping[str, bytes | Path]
    warnings: tuple[str, ...]

    def sizes(self) -> dict[str, int]:
        """Return path -> bytes."""
        return {
            path: len(content) if isinstance(content, bytes) else content.stat().st_size
            for path, content in sorted(self.files.items())
        }


def publication(run: Path, repository: str, *, private: bool = True, predictions: bool = False) -> Publication:
    """Return the plan for pushing a run to `NAMESPACE/NAME`, without any network access.

    The root of the repository is the run's model with its card, so that `from_pretrained` loads it by name. It also gets
    `result.json` and `measurements.parquet`, and with `predictions` the labels and predictions of the test examples. The
    card's code names the repository instead of the folder.

    Raises InputError for an invalid name, a folder that is not a finished run, and a missing or pickled model.
    """
    _check_name(repository)
    result = _finished(run)
    files: dict[str, bytes | Path] = dict(_model_files(run / _MODEL))
    for name in (_RESULT, _MEASUREMENTS, *([_PREDICTIONS] if predictions else [])):
        if not (run / name).is_file():
            raise InputError(f"The run `{run}` has no `{name}`. Run it again with `--again`, or publish another run.")
        files[name] = check_file(_no_link(run / name))
    card = ""
    if _CARD in files:
        card = _text(run / _MODEL / _CARD)
        # Only the whole line: the card's recipe may contain `model.name = "model"`.
        files[_CARD] = re.sub(f"(?m)^{re.escape(PLACE)}$", f'name = "{repository}"', card, count=1).encode()
    data = result.data
    title = f"{data['recipe']['name']} {data['id']}, seed {data['seed']}"
    return Publication(repository, private, title, files, tuple(_warnings(run, data, card, files)))


def push(plan: Publication) -> tuple[str, bool]:
    """Create the repository if necessary, and push all files in one commit: return its URL, and whether it is private.

    Raises InputError without a login, without write access, for a public repository if the plan is private, and for a
    repository with conflicting files. Raises RunError if the hub fails.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if not get_token():
        raise InputError(
            "There is no token for the Hugging Face hub. Log in with `hf auth login`, or set `HF_TOKEN`, with a token that may"
            f" write to `{plan.repository}`."
        )
    api = HfApi()
    with _translated_errors(plan.repository, api.endpoint):
        api.create_repo(plan.repository, private=plan.private, exist_ok=True)
        model = api.model_info(plan.repository)
        _check_repository(plan, bool(model.private), [sibling.rfilename for sibling in model.siblings or ()])
        operations = [CommitOperationAdd(path, content) for path, content in sorted(plan.files.items())]
        with warnings.catch_warnings():  # the measurements belong to the model and are not a dataset
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            commit = api.create_commit(
                plan.repository, operations, commit_message=f"distxfer: {plan.title}", parent_commit=model.sha
            )
    return commit.commit_url, bool(model.private)


def _check_name(repository: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    fault = (
        "it must name both your namespace (user or organisation) and the model" if repository.count("/") != 1 else ""
    )
    try:
        validate_repo_id(repository)
    except HFValidationError:
        fault = (
            fault or "it may have up to 96 letters, digits, `-`, `_` and `.`, without `--`, `..` or `.git` at its end"
        )
    if fault:
        raise InputError(f"`{repository}` is not a valid repository name: {fault}. Give `--to NAMESPACE/NAME`.")


def _finished(run: Path) -> Result:
    result = read_result(run)
    if result is None:
        raise InputError(
            f"The run `{run}` is not finished: it has no `{_RESULT}` yet. Repeat its `distxfer train` command to resume it."
            if (run / "log.jsonl").is_file()
            else f"`{run}` is not the folder of a run: it has no `{_RESULT}`. Give one such as `results/plain/0123abcd-s0`."
        )
    return result


def _model_files(folder: Path) -> dict[str, Path]:
    """Return the files of a run's model by their path in its folder, without hidden files."""
    if not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        raise InputError(
            f"The run `{folder.parent}` has no `model/`: it was removed, as in the committed runs of the studies. Train it"
            " again with `distxfer train ... --again`."
        )
    check_folder(_no_link(folder))
    files = {}
    for path in map(_no_link, sorted(folder.rglob("*"))):
        name = path.relative_to(folder)
        if not path.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        if path.suffix.lower() in _PICKLES:
            raise InputError(
                f"`{path}` may be a pickle, which can run code when loaded. Only safetensors are published: remove `{name}`."
            )
        files[name.as_posix()] = path
    return files


def _no_link(path: Path) -> Path:
    """Return a path of the run; raise InputError for a link, whose target the run did not write and may be private."""
    if path.is_symlink():
        raise InputError(
            f"`{path}` is a link to `{path.resolve()}`, not a file of the run. Remove the link, or replace it with a copy of"
            " the file."
        )
    return path


def _warnings(run: Path, data: Mapping[str, Any], card: str, files: Mapping[str, object]) -> Iterator[str]:
    if data["status"] == "collapsed":
        yield "The run collapsed: it has learned nothing, judging by its source score."
    if not card.startswith("---\n"):
        yield "The model has no card with metadata, which `distxfer train` writes: the hub cannot tell what it is."
    elif not re.search(r"(?m)^license: ", card.split("\n---", 1)[0]):
        yield "The licence of the base model is unknown, so the card states none. Add `license:` to it if you know it."
    adapters = [run / _MODEL / name for name in files if PurePosixPath(name).name == "adapter_config.json"]
    for base in dict.fromkeys(base for path in adapters if (base := _base(path))):
        yield (
            f"The model is an adapter on `{base}`, a folder on this machine: nobody else can load it."
            if Path(base).expanduser().exists()
            else f"The model is an adapter on `{base}`, which users need, too."
        )
    if data["provenance"].get("git_dirty"):
        yield "The code had uncommitted changes (`git_dirty`): others cannot reproduce this run."
    if paths := list(dict.fromkeys(_paths([data["recipe"], data["provenance"].get("command", [])]))):
        yield f"`{_RESULT}` contains paths of this machine: {listed(f'`{path}`' for path in paths)}."
    yield from unverified([Result.of(run, data)])


def _base(path: Path) -> str:
    """Return the base model of an adapter; raises InputError for an invalid configuration."""
    try:
        base = json.loads(_text(path)).get("base_model_name_or_path")
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"`{path}` is not an adapter configuration: {error}. Train the run again.") from error
    return str(base or "")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"`{path}` is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error


def _paths(value: Any) -> Iterator[str]:
    """Yield the absolute paths in a result."""
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _paths(child)
    elif isinstance(value, str):
        path = value.rpartition("=")[2]
        if path.startswith("~") or Path(path).is_absolute():
            yield path


def _check_repository(plan: Publication, private: bool, present: list[str]) -> None:
    """Raise InputError for a repository that is public against the plan, or has files that conflict with the model."""
    if plan.private and not private:
        raise InputError(
            f"The repository `{plan.repository}` exists and is public, so nothing was pushed. Pushing to a public repository"
            " requires `--public`; or choose another name."
        )
    conflicting = [name for name in present if name not in plan.files and PurePosixPath(name).suffix.lower() in _LOADED]
    if conflicting:
        raise InputError(
            f"The repository `{plan.repository}` has `{conflicting[0]}`, which conflicts with the files of this run; nothing"
            " was pushed. Remove it there, or choose another name."
        )


@contextmanager
def _translated_errors(repository: str, endpoint: str) -> Iterator[None]:
    """Translate the errors of the hub into messages for users; none contains the token."""
    from huggingface_hub import errors

    retry = "A push is one commit, so nothing was pushed partially: run the command again."
    try:
        yield
    except InputError:
        raise
    except errors.OfflineModeIsEnabled as error:
        raise InputError(
            "`HF_HUB_OFFLINE` is set, so the hub cannot be reached. Nothing was pushed: unset it first."
        ) from error
    except errors.HfHubHTTPError as error:
        status, server_message = error.response.status_code, error.server_message or "no reason given"
        if status == 401:
            raise InputError(
                f"The hub does not accept the token ({server_message}). Nothing was pushed. Log in again with `hf auth login`."
            ) from error
        if status in (402, 403, 404):
            raise InputError(
                f"The hub refuses `{repository}` ({server_message}). Nothing was pushed. Choose a namespace that is yours or"
                " your organisation's, and a token that may write there: `hf auth login`."
            ) from error
        raise RunError(f"The hub failed: {status}, {server_message}. {retry}") from error
    except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:  # type: ignore[attr-defined]
        why = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error  # what an upload failed of
        raise RunError(
            f"`{endpoint}` cannot be reached, or does not answer as the hub does ({type(why).__name__}: {why}). {retry}"
        ) from error
