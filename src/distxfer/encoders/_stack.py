"""Adapters of PEFT's in one encoder, one beside the other: put in, named, and all of them at work."""

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


def add_adapters(model: nn.Module, config: LoraConfig | IA3Config, *, others: bool) -> PeftModel:
    """Return the PEFT model with these adapters in it, beside the `others` if it has any; all of them act, and train.

    The first are called `default`, which PEFT saves into the folder itself, the next `adapter_2`, `adapter_3` ..., which
    it saves into sub-folders of these names.

    Raises InputError for adapters that cannot act together.
    """
    with without_peft_warnings(), _checkpointing_out_of_sight(model):
        if not others:
            return get_peft_model(cast(PreTrainedModel, model), config)
        if not isinstance(model, PeftModel):
            raise InputError(NOT_BOTH)
        try:
            # Not by the method of PEFT's classifier, which gives each of the adapters a head, and then lets no two act.
            PeftModel.add_adapter(model, adapter_name(len(model.peft_config) + 1), config)
        except ValueError as error:
            raise InputError(
                f"PEFT does not let these adapters act in one encoder: {str(error).strip().split('. ')[0]}."
                " Give all adapter interventions of the recipe the same `kind`."
            ) from error
        let_act(model, list(model.peft_config))
        for one in model.peft_config.values():
            one.task_type = None  # so that PEFT loads them without a head for each, too
    return model


def adapter_name(number: int) -> str:
    """Return the name of the second, third ... adapters."""
    return f"adapter_{number}"


def let_act(model: PeftModel, adapters: list[str]) -> None:
    """Let several adapters act at once, which the PEFT model itself does not offer, but the tuner inside it."""
    cast(BaseTuner, model.base_model).set_adapter(adapters)


@contextmanager
def _checkpointing_out_of_sight(model: nn.Module) -> Iterator[None]:
    """Let PEFT see no gradient checkpointing: like Transformers, it would have what leaves the embeddings require a gradient."""
    checkpointing: list[Any] = [one for one in model.modules() if getattr(one, "gradient_checkpointing", False)]
    for module in checkpointing:
        module.gradient_checkpointing = False
    try:
        yield
    finally:
        for module in checkpointing:
            module.gradient_checkpointing = True


@contextmanager
def without_peft_warnings() -> Iterator[None]:
    """Keep quiet about what PEFT asks of transformers."""
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 for a property by its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield
