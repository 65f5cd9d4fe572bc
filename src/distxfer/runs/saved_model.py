"""Models as runs and `distxfer merge` save them: where they are, and the settings that their predictions depend on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distxfer._durable import RESULT, check_folder
from distxfer.config.settings import TaskSettings
from distxfer.data import load_task, task_type_named
from distxfer.encoders import Encoder, adapter_base, load_config, load_encoder, model_folder
from distxfer.errors import InputError, reason
from distxfer.results.result import read_result

MERGED = "merge.json"  # in the folder of merged models: from what they were merged, and how they predict
_MODEL = "model"


@dataclass(frozen=True)
class SavedModel:
    """A model in a folder, and the settings that its predictions depend on.

    `recipe` is that of its run (with the language `source`), or, of merged models, the part of a recipe that predicting needs;
    `has_head` tells whether the model's head was trained on labels, for a task of `task_type`.
    """

    folder: Path
    name: str
    task_type: str
    has_head: bool
    recipe: Mapping[str, Any]
    source: str = ""

    @property
    def max_length(self) -> int:
        """The number of tokens after which texts are cut."""
        return int(self.recipe["task"]["max_length"])

    def labels(self) -> tuple[str, ...]:
        """Return the names of the head's labels in order."""
        # Adapters are saved without the names of their head's labels.
        if adapter_base(str(self.folder)) != str(self.folder):
            return load_task(TaskSettings(**self.recipe["task"]).data, self.source, ()).labels
        names = load_config(self.folder).id2label
        return tuple(str(names[number]) for number in sorted(names))

    def load(self, labels: Sequence[str], device: torch.device, like: "SavedModel | None" = None) -> Encoder:
        """Return the encoder with a head for these labels; adapters are merged into its weights.

        Output, pooling and kind of head are those of the model `like`, by default its own.
        """
        like = like or self
        base, location = adapter_base(str(self.folder)), self.folder
        if base != str(self.folder):
            location = model_folder(base, self.recipe["model"]["revision"])
        encoder = load_encoder(
            base,
            location,
            labels,
            seed=0,
            output=task_type_named(like.task_type).output,
            pooling=like.recipe["model"]["pooling"],
            head=like.recipe["model"].get("head", "architecture"),
            device=device,
        )
        if location == self.folder:
            return encoder
        from distxfer.encoders import merge_adapters  # needs PEFT

        return merge_adapters(encoder, self.folder)


def saved_model(folder: Path) -> SavedModel | None:
    """Return the model of a finished run, or the merged one in a folder; None for other folders.

    Raises InputError for a run whose model was removed or damaged, and an unreadable `merge.json`.
    """
    if (folder / MERGED).is_file():
        return _merged(folder)
    result = read_result(folder)
    if result is None:
        return None
    model = folder / _MODEL
    if not model.is_dir():
        raise InputError(f"The run `{folder}` has no `model` any more. `distxfer train` with `--again` trains it anew.")
    check_folder(model)
    trains = any(phase.get("task", True) for phase in result.recipe["phase"].values())
    has_head = trains and task_type_named(result.task_type).output != "state"
    name = f"{result.recipe['name']}/{result.id}-s{result.seed}"
    return SavedModel(model, name, result.task_type, has_head, result.recipe, result.source)


def _merged(folder: Path) -> SavedModel:
    path = folder / MERGED
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        task_type, recipe = record["task_type"], record["recipe"]
        return SavedModel(folder, folder.name, task_type or "", has_head=task_type is not None, recipe=recipe or {})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"`{path}` is no record of merged models: {reason(error)}. Merge the models again.") from error


def run_of_model(folder: Path) -> Path:
    """Return the run that a folder is the model of, or the folder itself."""
    is_model = folder.absolute().name == _MODEL and (folder.absolute().parent / RESULT).is_file()
    return folder.absolute().parent if is_model else folder
