"""Several PEFT adapters in one encoder, all of them active."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTuner
from torch import nn
from transformers import PreTrainedModel

from distxfer.errors import InputError

FIRST = "default"
NOT_BOTH = (
    "Bottlenecks are saved as a part of the model and PEFT's adapters beside it, so one encoder cannot have both."
    " Give all adapter interventions of the recipe the same `kind`."
)


def add_adapters(model: nn.Module, config: LoraConfig | IA3Config, *, has_adapters: bool) -> PeftModel:
    """Return the PEFT model with these adapters added, beside others where it `has_adapters`; all are active and train.

    The first are called `default`, which PEFT saves into the folder itself, the next `adapter_2`, `adapter_3` ..., which
    it saves into sub-folders of these names.

    Raises InputError for adapters that cannot be active together.
    """
    with without_peft_warnings(), _hidden_checkpointing(model):
        if not has_adapters:
            return get_peft_model(cast(PreTrainedModel, model), config)
        if not isinstance(model, PeftModel):
            raise InputError(NOT_BOTH)
        try:
            # PEFT's classifiers override this method, give each adapter a head, and then allow only one to be active.
            PeftModel.add_adapter(model, adapter_name(len(model.peft_config) + 1), config)
        except ValueError as error:
            raise InputError(
                f"PEFT does not let these adapters act in one encoder: {str(error).strip().split('. ')[0]}."
                " Give all adapter interventions of the recipe the same `kind`."
            ) from error
        activate(model, list(model.peft_config))
        for loaded_config in model.peft_config.values():
            loaded_config.task_type = None  # so that PEFT also loads them without a head for each
    return model


def adapter_name(number: int) -> str:
    """Return the name of the second, third ... adapters."""
    return f"adapter_{number}"


def activate(model: PeftModel, adapters: list[str]) -> None:
    """Activate several adapters, which only the tuner inside the PEFT model can do."""
    cast(BaseTuner, model.base_model).set_adapter(adapters)


@contextmanager
def _hidden_checkpointing(model: nn.Module) -> Iterator[None]:
    """Hide gradient checkpointing from PEFT, which would make the embeddings' output require a gradient."""
    checkpointing: list[Any] = [
        module for module in model.modules() if getattr(module, "gradient_checkpointing", False)
    ]
    for module in checkpointing:
        module.gradient_checkpointing = False
    try:
        yield
    finally:
        for module in checkpointing:
            module.gradient_checkpointing = True


@contextmanager
def without_peft_warnings() -> Iterator[None]:
    """Silence PEFT's use of deprecated names of transformers."""
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 for a property by its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield
