"""The folders of models and adapters: found or downloaded, safetensors only, and all weights inside the folder."""

import hashlib
import json
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from distxfer._durable import RESULT, check_folder, file_digest
from distxfer.encoders._bundled import BUNDLED, BUNDLED_MODELS, bundled_folder
from distxfer.errors import InputError, did_you_mean, reason

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NOT_NEEDED = ["[!1]*/*", "1*/*/*", "*.bin", "*.pt", "*.pth", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.ckpt"]


def model_folder(name: str, revision: str = "") -> Path:
    """Return the local folder of an encoder: a bundled one, a folder as it stands, or a snapshot from the hub.

    Raises InputError where the folder has no safetensors weights, or the hub does not have or give the model.
    """
    if name in BUNDLED_MODELS:
        return bundled_folder(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        check_folder(folder)
    else:
        if (folder.parent / RESULT).is_file():
            raise InputError(
                f"The model `{name}` does not exist: it was removed from its run. Train the run anew with `--again`, or give"
                " another model."
            )
        if name.startswith((".", "/", "~", "bundled/")) or name.count("/") > 1:
            raise InputError(
                f"The model `{name}` does not exist.{did_you_mean(name, BUNDLED_MODELS)} Give a folder,"
                f" a name on the Hugging Face hub, or `{BUNDLED}`."
            )
        folder = _snapshot(name, revision)
    if not (folder / "config.json").is_file():
        raise InputError(
            f"The model folder `{folder}` has no `config.json`. Save a model there with `save_pretrained`."
        )
    if not shards_of(folder):
        pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
        available = (
            f"only the pickled weights `{pickled[0]}`, which can run code when loaded" if pickled else "no weights"
        )
        raise InputError(
            f"The model folder `{folder}` has {available}; expected `model.safetensors`."
            " Save the model again with `save_pretrained`, which writes safetensors."
        )
    if (folder / ADAPTER_CONFIG).is_file():
        raise InputError(
            f"The model folder `{folder}` has a `config.json` and an `{ADAPTER_CONFIG}`, so that its weights would come from"
            " somewhere else. Keep a whole model and adapters in folders of their own."
        )
    return folder


def _snapshot(name: str, revision: str) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision or None, ignore_patterns=_NOT_NEEDED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"The model `{name}` is no local folder, and the Hugging Face hub did not give it ({reason(error)}.)."
            f"{did_you_mean(name, BUNDLED_MODELS)} Check the name and the connection, or use `{BUNDLED}`."
        ) from error


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of an encoder's files (weights, configuration, tokenizer), by name and content."""
    digest = hashlib.sha256()
    top = {path for path in folder.iterdir() if path.suffix in {".safetensors", ".json", ".model", ".txt"}}
    for path in sorted(top | shards_of(folder)):
        if path.name != "manifest.json":
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(bytes.fromhex(file_digest(path)))
    return digest.hexdigest()


def shards_of(folder: Path) -> set[Path]:
    """Return the files of the weights in a model's folder, including those that its indexes name.

    Raises InputError for weights outside of the folder, which its fingerprint would not cover.
    """
    shards = {*folder.glob("*.safetensors")}
    for index in folder.glob("*.safetensors.index.json"):
        try:
            names = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"`{index}` is no index of a model's weights. Save the model again with `save_pretrained`."
            ) from error
        shards |= {folder / name for name in names}
    for path in sorted(shards):
        _check_inside(path, folder)
        if not path.is_file():
            raise InputError(f"The model folder `{folder}` does not load: No such file or directory: {path}.")
    return shards


def _check_inside(path: Path, folder: Path) -> None:
    """Raise InputError for a file of a model's folder that lies outside of it.

    The links of the hub's cache, whose `snapshots/COMMIT` point into its `blobs`, are inside, also where `folder` is a link to
    such a snapshot.
    """
    places = [folder.resolve()]
    if places[0].parent.name == "snapshots":
        places.append((places[0].parent.parent / "blobs").resolve())
    if not any(path.resolve().is_relative_to(place) for place in places):
        raise InputError(
            f"The weights `{path}` lie outside of the model folder `{folder}`, at `{path.resolve()}`. Put the file itself into"
            " the folder."
        )


def adapter_base(name: str) -> str:
    """Return the base model of the adapters in the folder `name`, or `name` itself where it holds none.

    Raises InputError for adapters without safetensors weights, or that do not name their model.
    """
    folder = Path(name).expanduser()
    path = folder / ADAPTER_CONFIG
    if not path.is_file() or (folder / "config.json").is_file():
        return name
    check_adapter_weights(folder)
    check_folder(folder)
    try:
        base = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"`{path}` is not the configuration of adapters. Save them with `save_pretrained`.") from error
    if not isinstance(base, str) or not base:
        raise InputError(
            f"`{path}` names no `base_model_name_or_path`. Add the name of the model that the adapters are for."
        )
    return base


def adapter_class(folder: Path) -> str | None:
    """Return PEFT's name of the class of models that adapters are for, such as `TOKEN_CLS`."""
    name: str | None = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")).get("task_type")
    return name


def check_adapter_weights(folder: Path) -> None:
    """Refuse adapters without safetensors in their own folder: PEFT would load a pickle, or look on the hub."""
    path = folder / ADAPTER_WEIGHTS
    if not path.is_file():
        raise InputError(f"The adapters in `{folder}` have no `{path.name}`. Save them again with `save_pretrained`.")
    _check_inside(path, folder)
