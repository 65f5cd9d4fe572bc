"""Adapters saved by PEFT: their base model, and the encoder with the adapters merged into its weights."""

import json
import warnings
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path
from typing import cast

from peft import PeftModel, get_peft_model_state_dict
from peft.utils import ModulesToSaveWrapper
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from distxfer._durable import check_folder
from distxfer.encoders._encoder import Encoder
from distxfer.encoders._quiet import quiet
from distxfer.encoders._shards import check_inside
from distxfer.encoders._stack import FIRST, activate, adapter_name, without_peft_warnings
from distxfer.errors import InputError

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_base(name: str) -> str:
    """Return the base model of the adapters in the folder `name`, or `name` itself where it holds none.

    Raises InputError for adapters without safetensors weights, or that do not name their model.
    """
    folder = Path(name).expanduser()
    path = folder / _CONFIG
    if not path.is_file() or (folder / "config.json").is_file():
        return name
    _check_weights(folder)
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


def _check_weights(folder: Path) -> None:
    """Refuse adapters without safetensors in their own folder: PEFT would load a pickle, or look on the hub."""
    path = folder / _WEIGHTS
    if not path.is_file():
        raise InputError(f"The adapters in `{folder}` have no `{_WEIGHTS}`. Save them again with `save_pretrained`.")
    check_inside(path, folder)


def merge_adapters(encoder: Encoder, folder: Path) -> Encoder:
    """Return the encoder with the adapters in a folder merged into its weights, so that it is a plain model again.

    Those in the sub-folders `adapter_2`, `adapter_3` ... are active with them. Their head counts as not loaded, since PEFT
    does not save its labels. Changes `encoder`.

    Raises InputError where they do not fit the encoder, or are prompts, which cannot be merged.
    """
    additional = [
        folder / name
        for name in takewhile(lambda name: (folder / name / _CONFIG).is_file(), map(adapter_name, count(2)))
    ]
    for adapters in (folder, *additional):
        _check_weights(adapters)
    with quiet(), without_peft_warnings():
        # Missing weights are an error below.
        warnings.filterwarnings("ignore", "Found missing adapter keys|Some weights of PeftModel", UserWarning)
        try:
            adapted = PeftModel.from_pretrained(encoder.model, str(folder), ignore_mismatched_sizes=True)
            _check_fit(adapted, encoder, folder, FIRST)
            for adapters in additional:
                adapted.load_adapter(str(adapters), adapters.name, ignore_mismatched_sizes=True)
                _check_fit(adapted, encoder, adapters, adapters.name)
            if additional:
                activate(adapted, [FIRST, *(adapters.name for adapters in additional)])
        except InputError:
            raise
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(f"The adapters in `{folder}` do not fit `{encoder.name}`: {reason}") from error
        _unwrap_head(adapted)
        merged = adapted.merge_and_unload()
    return replace(
        encoder, name=str(folder), model=merged, base=cast(PreTrainedModel, merged.base_model), head_is_loaded=False
    )


def _unwrap_head(model: PeftModel) -> None:
    """Replace PEFT's wrapper by the active head: PEFT 0.21 merges IA3 only where the head is one linear map."""
    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            model.set_submodule(name, module.unload_and_optionally_merge_module(True, False, None))


def _check_fit(adapted: PeftModel, encoder: Encoder, folder: Path, adapter: str) -> None:
    """Raise InputError unless every stored weight except the head's fits: PEFT skips those that do not."""
    if adapted.peft_config[adapter].is_prompt_learning:
        raise InputError(
            f"The adapters in `{folder}` are prompts, which cannot be merged into the weights. Give LoRA or IA3 adapters."
        )
    state = get_peft_model_state_dict(adapted, adapter_name=adapter)
    expected_shapes = {name: list(weights.shape) for name, weights in state.items()}
    with safe_open(folder / _WEIGHTS, framework="pt") as stored:
        stored_shapes = {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # noqa: SIM118 - no mapping
    for name in sorted(expected_shapes.keys() | stored_shapes.keys()):
        if expected_shapes.get(name) != stored_shapes.get(name) and encoder.place(name) != "head":
            stored_shape, expected_shape = (shapes.get(name, "nothing") for shapes in (stored_shapes, expected_shapes))
            raise InputError(
                f"The adapters in `{folder}` do not fit `{encoder.name}`: `{name}` is {stored_shape} in the file and"
                f" {expected_shape} in the model. Give the adapters of this model, or write the right one into"
                " `base_model_name_or_path`."
            )
