"""Adapters of PEFT: several in one encoder, all of them active; saved ones merged into the weights of their model."""

import warnings
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from peft import IA3Config, LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import ModulesToSaveWrapper
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import PreTrainedModel

from distxfer.encoders._bottlenecks import NOT_BOTH
from distxfer.encoders._contexts import adding_adapters, quiet, without_peft_warnings
from distxfer.encoders._folders import ADAPTER_CONFIG, ADAPTER_WEIGHTS, check_adapter_weights
from distxfer.errors import InputError, reason

if TYPE_CHECKING:
    from distxfer.encoders._encoder import Encoder

_FIRST = "default"


def add_adapters(model: nn.Module, config: LoraConfig | IA3Config, *, has_adapters: bool) -> PeftModel:
    """Return the PEFT model with these adapters added, beside others where it `has_adapters`; all are active and train.

    The first are called `default`, which PEFT saves into the folder itself, the next `adapter_2`, `adapter_3` ..., which
    it saves into sub-folders of these names.

    Raises InputError for adapters that cannot be active together.
    """
    with adding_adapters(model):
        if not has_adapters:
            return get_peft_model(cast(PreTrainedModel, model), config)
        if not isinstance(model, PeftModel):
            raise InputError(NOT_BOTH)
        try:
            # PEFT's classifiers override this method, give each adapter a head, and then allow only one to be active.
            PeftModel.add_adapter(model, _name(len(model.peft_config) + 1), config)
        except ValueError as error:
            raise InputError(
                f"PEFT does not let these adapters act in one encoder: {str(error).strip().split('. ')[0]}."
                " Give all adapter interventions of the recipe the same `kind`."
            ) from error
        _activate(model, list(model.peft_config))
        for loaded_config in model.peft_config.values():
            loaded_config.task_type = None  # so that PEFT also loads them without a head for each
    return model


def _name(number: int) -> str:
    """Return the name of the second, third ... adapters."""
    return f"adapter_{number}"


def _activate(model: PeftModel, adapters: list[str]) -> None:
    """Activate several adapters, which only the tuner inside the PEFT model can do."""
    cast(BaseTuner, model.base_model).set_adapter(adapters)


def merge_adapters(encoder: "Encoder", folder: Path) -> "Encoder":
    """Return the encoder with the adapters in a folder merged into its weights, so that it is a plain model again.

    Those in the sub-folders `adapter_2`, `adapter_3` ... are active with them. Their head counts as not loaded, since PEFT
    does not save its labels. Changes `encoder`.

    Raises InputError where they do not fit the encoder, or are prompts, which cannot be merged.
    """
    names = takewhile(lambda name: (folder / name / ADAPTER_CONFIG).is_file(), map(_name, count(2)))
    folders = {_FIRST: folder, **{name: folder / name for name in names}}
    for adapter_folder in folders.values():
        check_adapter_weights(adapter_folder)
    with quiet(), without_peft_warnings():
        # Missing weights are an error below.
        warnings.filterwarnings("ignore", "Found missing adapter keys|Some weights of PeftModel", UserWarning)
        try:
            adapted = PeftModel.from_pretrained(encoder.model, str(folder), ignore_mismatched_sizes=True)
            for name, adapter_folder in folders.items():
                if name != _FIRST:
                    adapted.load_adapter(str(adapter_folder), name, ignore_mismatched_sizes=True)
                _check_fit(adapted, encoder, adapter_folder, name)
            if len(folders) > 1:
                _activate(adapted, list(folders))
        except InputError:
            raise
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            raise InputError(f"The adapters in `{folder}` do not fit `{encoder.name}`: {reason(error)}.") from error
        for module_name, module in list(adapted.named_modules()):
            if isinstance(module, ModulesToSaveWrapper):  # PEFT 0.21 merges IA3 only where the head is one linear map
                adapted.set_submodule(module_name, module.unload_and_optionally_merge_module(True, False, None))
        merged = adapted.merge_and_unload()
    return replace(
        encoder, name=str(folder), model=merged, base=cast(PreTrainedModel, merged.base_model), head_is_loaded=False
    )


def _check_fit(adapted: PeftModel, encoder: "Encoder", folder: Path, adapter: str) -> None:
    """Raise InputError unless every stored weight except the head's fits: PEFT skips those that do not."""
    if adapted.peft_config[adapter].is_prompt_learning:
        raise InputError(
            f"The adapters in `{folder}` are prompts, which cannot be merged into the weights. Give LoRA or IA3 adapters."
        )
    state = get_peft_model_state_dict(adapted, adapter_name=adapter)
    expected_shapes = {name: list(weights.shape) for name, weights in state.items()}
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as stored:
        stored_shapes = {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # noqa: SIM118 - no mapping
    for name in sorted(expected_shapes.keys() | stored_shapes.keys()):
        if expected_shapes.get(name) != stored_shapes.get(name) and encoder.place(name) != "head":
            stored_shape, expected_shape = (shapes.get(name, "nothing") for shapes in (stored_shapes, expected_shapes))
            raise InputError(
                f"The adapters in `{folder}` do not fit `{encoder.name}`: `{name}` is {stored_shape} in the file and"
                f" {expected_shape} in the model. Give the adapters of this model, or write the right one into"
                " `base_model_name_or_path`."
            )
