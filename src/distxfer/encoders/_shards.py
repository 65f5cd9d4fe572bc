"""The files of a model's weights, all of them in its own folder."""

import json
from pathlib import Path

from distxfer.errors import InputError


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
        check_inside(path, folder)
        if not path.is_file():
            raise InputError(f"The model folder `{folder}` does not load: No such file or directory: {path}.")
    return shards


def check_inside(path: Path, folder: Path) -> None:
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
