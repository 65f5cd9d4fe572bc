"""Adapters that PEFT saved: the encoder that they belong to, with them merged into its weights."""

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
from distxfer.encoders._stack import FIRST, adapter_name, let_act, without_peft_warnings
from distxfer.errors import InputError

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_base(name: str) -> str:
    """Return the model that the adapters in the folder `name` were made for, or `name` itself where it holds none.

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
        raise InputError(f"`{path}` names no `base_model_name_or_path`. Write there which model the adapters are for.")
    return base


def _check_weights(folder: Path) -> None:
    """Refuse adapters without safetensors in their own folder: PEFT would look for a pickle, or on the hub."""
    path = folder / _WEIGHTS
    if not path.is_file():
        raise InputError(f"The adapters in `{folder}` have no `{_WEIGHTS}`. Save them again with `save_pretrained`.")
    check_inside(path, folder)


def merge_adapters(encoder: Encoder, folder: Path) -> Encoder:
    """Return the encoder with the adapters in a folder merged into its weights, so that it is a plain model again.

    Those in the sub-folders `adapter_2`, `adapter_3` ... act with them. Their head counts as not loaded: PEFT does not
    save which labels it is for. Changes the encoder that it is given.

    Raises InputError where they do not fit the encoder, or are prompts, which no weights can take up.
    """
    more = [
        folder / name
        for name in takewhile(lambda name: (folder / name / _CONFIG).is_file(), map(adapter_name, count(2)))
    ]
    for adapters in (folder, *more):
        _check_weights(adapters)
    with quiet(), without_peft_warnings():
        # What PEFT leaves out is an error below.
        warnings.filterwarnings("ignore", "Found missing adapter keys|Some weights of PeftModel", UserWarning)
        try:
            adapted = PeftModel.from_pretrained(encoder.model, str(folder), ignore_mismatched_sizes=True)
            _check_fit(adapted, encoder, folder, FIRST)
            for one in more:
                adapted.load_adapter(str(one), one.name, ignore_mismatched_sizes=True)
                _check_fit(adapted, encoder, one, one.name)
            if more:
                let_act(adapted, [FIRST, *(one.name for one in more)])
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
    """Put the head that acts in the place of PEFT's wrapper: PEFT 0.21 merges IA3 only where it is one linear map."""
    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            model.set_submodule(name, module.unload_and_optionally_merge_module(True, False, None))


def _check_fit(adapted: PeftModel, encoder: Encoder, folder: Path, adapter: str) -> None:
    """Raise InputError unless every stored weight but the head's has its place: PEFT leaves out what does not fit."""
    if adapted.peft_config[adapter].is_prompt_learning:
        raise InputError(
            f"The adapters in `{folder}` are prompts, which cannot be merged into the weights. Give LoRA or IA3 adapters."
        )
    state = get_peft_model_state_dict(adapted, adapter_name=adapter)
    places = {name: list(weights.shape) for name, weights in state.items()}
    with safe_open(folder / _WEIGHTS, framework="pt") as stored:
        found = {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # noqa: SIM118 - no mapping
    for name in sorted(places.keys() | found.keys()):
        if places.get(name) != found.get(name) and encoder.place(name) != "head":
            there, here = (one.get(name, "nothing") for one in (found, places))
            raise InputError(
                f"The adapters in `{folder}` do not fit `{encoder.name}`: `{name}` is {there} in the file and {here} in the"
                " model. Give the adapters of this model, or write the right one into `base_model_name_or_path`."
            )
