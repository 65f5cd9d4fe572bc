"""Putting a finished run's model on the Hugging Face hub: what would go there, and the push, which is one commit."""

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
from distxfer.runs.card_loading import PLACE

_MODEL, _CARD, _RESULT, _MEASUREMENTS, _PREDICTIONS = (
    "model", "README.md", "result.json", "measurements.parquet", "predictions.parquet",
)  # fmt: skip
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"}
_OURS = {".json", ".safetensors", ".model", ".txt", ".jinja", ".parquet", ".py", *_PICKLES}  # what would be mixed up


@dataclass(frozen=True)
class Publication:
    """What a push would do: the files by their path in the repository, the bytes of each or where these lie.

    `warnings` are what a person should know before it is done.
    """

    repository: str
    private: bool
    title: str
    files: Mapping[str, bytes | Path]
    warnings: tuple[str, ...]

    def sizes(self) -> dict[str, int]:
        """Return path -> bytes."""
        return {
            path: len(one) if isinstance(one, bytes) else one.stat().st_size for path, one in sorted(self.files.items())
        }


@dataclass(frozen=True)
class Pushed:
    """Where it is now: the address of the commit, and whether others can see the repository."""

    commit: str
    private: bool


def publication(run: Path, repository: str, *, private: bool = True, predictions: bool = False) -> Publication:
    """Return what pushing the run in a folder to `NAMESPACE/NAME` would do; nothing is sent, and no network is asked.

    The root of the repository is the run's model with its card, so that `from_pretrained` loads it by its name;
    `result.json` and `measurements.parquet` lie beside it, and with `predictions` the labels and predictions of the test
    examples. The card's code names the repository in place of the folder.

    Raises InputError for a name that is none, a folder that is no finished run, or a model that is not there or pickled.
    """
    _check_name(repository)
    result = _finished(run)
    files: dict[str, bytes | Path] = dict(_model_files(run / _MODEL))
    for name in (_RESULT, _MEASUREMENTS, *([_PREDICTIONS] if predictions else [])):
        if not (run / name).is_file():
            raise InputError(f"The run `{run}` has no `{name}`. Run it again with `--again`, or publish another.")
        files[name] = check_file(_no_link(run / name))
    card = ""
    if _CARD in files:
        card = _text(run / _MODEL / _CARD)
        # The whole line alone: `model.name = "model"` in the card's recipe is another thing.
        files[_CARD] = re.sub(f"(?m)^{re.escape(PLACE)}$", f'name = "{repository}"', card, count=1).encode()
    data = result.data
    title = f"{data['recipe']['name']} {data['id']}, seed {data['seed']}"
    return Publication(repository, private, title, files, tuple(_warnings(run, data, card, files)))


def push(plan: Publication) -> Pushed:
    """Create the repository where there is none and commit all files at once: either all of them are there, or none.

    Raises InputError where nobody is logged in, the name is not theirs, the repository is visible where it should not be,
    or has files that would be loaded together with these; RunError where the hub does not answer as it should.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if not get_token():
        raise InputError(
            "No token of the Hugging Face hub is known here. Log in with `hf auth login`, or set `HF_TOKEN`, to one that may"
            f" write to `{plan.repository}`."
        )
    api = HfApi()
    with _told(plan.repository, api.endpoint):
        api.create_repo(plan.repository, private=plan.private, exist_ok=True)
        there = api.model_info(plan.repository)
        _check_there(plan, bool(there.private), [one.rfilename for one in there.siblings or ()])
        operations = [CommitOperationAdd(path, one) for path, one in sorted(plan.files.items())]
        with warnings.catch_warnings():  # measurements belong to the model here, and are no data set
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            done = api.create_commit(
                plan.repository, operations, commit_message=f"distxfer: {plan.title}", parent_commit=there.sha
            )
    return Pushed(done.commit_url, bool(there.private))


def _check_name(repository: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    wrong = (
        "" if repository.count("/") == 1 else "it has to name both your namespace (user or organisation) and the model"
    )
    try:
        validate_repo_id(repository)
    except HFValidationError:
        wrong = (
            wrong
            or "letters, digits, `-`, `_` and `.` may be in it, 96 at most, but not `--`, `..` or `.git` at its end"
        )
    if wrong:
        raise InputError(f"`{repository}` is no name of a repository: {wrong}. Give `--to NAMESPACE/NAME`.")


def _finished(run: Path) -> Result:
    if not run.is_dir():
        raise InputError(f"`{run}` is no folder. Give that of a run, such as `results/plain/0123abcd-s0`.")
    result = read_result(run)
    if result is None:
        begun = (run / "log.jsonl").is_file()
        raise InputError(
            f"The run `{run}` is not finished: it has no `{_RESULT}` yet. The same `distxfer train` goes on with it."
            if begun
            else f"`{run}` is not the folder of a run: it has no `{_RESULT}`. Give one such as `results/plain/0123abcd-s0`."
        )
    return result


def _model_files(folder: Path) -> dict[str, Path]:
    """Return the files of a run's model by their path in its folder; hidden ones are none."""
    if not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        raise InputError(
            f"The run `{folder.parent}` has no `model/`: it was removed, as of the runs that distxfer ships its scores of."
            " Train it anew with `distxfer train ... --again`."
        )
    check_folder(_no_link(folder))
    found = {
        path.relative_to(folder).as_posix(): path
        for path in map(_no_link, sorted(folder.rglob("*")))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    for name, path in found.items():
        if path.suffix.lower() in _PICKLES:
            raise InputError(
                f"`{path}` may be a pickle, which can run code when it is loaded. Publish safetensors alone: take `{name}` out."
            )
    return found


def _no_link(path: Path) -> Path:
    """Return a path of the run, unless it is a link: what that leads to was not made by the run, and may be private."""
    if path.is_symlink():
        raise InputError(
            f"`{path}` is a link to `{path.resolve()}`, and no file of the run. Remove the link, or put a copy of the file in"
            " its place."
        )
    return path


def _warnings(run: Path, data: Mapping[str, Any], card: str, files: Mapping[str, object]) -> Iterator[str]:
    if data["status"] == "collapsed":
        yield "The run collapsed: its source score is that of a model that has learned nothing."
    if not card.startswith("---\n"):
        yield "The model has no card with metadata, which `distxfer train` writes: the hub cannot tell what it is."
    elif not re.search(r"(?m)^license: ", card.split("\n---", 1)[0]):
        yield "The licence of the base model is unknown, so the card states none. Add `license:` to it if you know it."
    for base in _bases(run / _MODEL, files):
        yield (
            f"The model is an adapter on `{base}`, a folder of this machine: nobody else can load it."
            if Path(base).expanduser().exists()
            else f"The model is an adapter on `{base}`, which whoever loads it needs, too."
        )
    if data["provenance"].get("git_dirty"):
        yield "The code was changed since its last commit (`git_dirty`): others cannot make this run again."
    if paths := list(dict.fromkeys(_paths([data["recipe"], data["provenance"].get("command", [])]))):
        yield f"`{_RESULT}` shows paths of this machine: {listed(f'`{path}`' for path in paths)}."
    yield from unverified([Result(run, data)])


def _bases(model: Path, files: Mapping[str, object]) -> list[str]:
    """Return what the model's adapters are on; nothing for a whole model."""
    adapters = [model / name for name in files if PurePosixPath(name).name == "adapter_config.json"]
    return list(dict.fromkeys(base for path in adapters if (base := _base(path))))


def _base(path: Path) -> str:
    """Return what an adapter is on; raises InputError for a configuration that is none."""
    try:
        found = json.loads(_text(path)).get("base_model_name_or_path")
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"`{path}` is no configuration of an adapter: {error}. Train the run anew.") from error
    return str(found or "")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"`{path}` is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error


def _paths(value: Any) -> Iterator[str]:
    """Yield the absolute paths in a result."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _paths(one)
    elif isinstance(value, str):
        path = value.rpartition("=")[2]
        if path.startswith("~") or Path(path).is_absolute():
            yield path


def _check_there(plan: Publication, private: bool, present: list[str]) -> None:
    """Refuse a repository that is visible where it should not be, or in which the model would not be what is loaded."""
    if plan.private and not private:
        raise InputError(
            f"The repository `{plan.repository}` is there and public, and nothing was pushed. Say `--public` if all may see it,"
            " or choose another name."
        )
    others = [name for name in present if name not in plan.files and PurePosixPath(name).suffix.lower() in _OURS]
    if others:
        raise InputError(
            f"The repository `{plan.repository}` has `{others[0]}`, which this run would be mixed up with; nothing was pushed."
            " Remove it there, or choose another name."
        )


@contextmanager
def _told(repository: str, endpoint: str) -> Iterator[None]:
    """Say of each way in which the hub refuses or fails what it means; no message has a token in it."""
    from huggingface_hub import errors

    nothing, again = (
        "Nothing was pushed",
        "A push is one commit, of which no part is there alone: give the command again.",
    )
    try:
        yield
    except InputError:
        raise
    except errors.OfflineModeIsEnabled as error:
        raise InputError(
            f"`HF_HUB_OFFLINE` is set, so the hub cannot be reached. {nothing}: unset it first."
        ) from error
    except errors.HfHubHTTPError as error:
        status, said = error.response.status_code, error.server_message or "no reason given"
        if status == 401:
            raise InputError(
                f"The hub does not accept the token ({said}). {nothing}. Log in anew with `hf auth login`."
            ) from error
        if status in (402, 403, 404):
            raise InputError(
                f"The hub refuses `{repository}` ({said}). {nothing}. Choose a namespace that is yours or your organisation's,"
                " and a token that may write there: `hf auth login`."
            ) from error
        raise RunError(f"The hub failed: {status}, {said}. {again}") from error
    except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:  # type: ignore[attr-defined]
        why = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error  # what an upload failed of
        raise RunError(
            f"`{endpoint}` cannot be reached, or does not answer as the hub does ({type(why).__name__}: {why}). {again}"
        ) from error
