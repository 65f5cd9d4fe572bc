"""Context managers that change how models of Transformers and PEFT run, and restore it."""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers.utils import logging as transformers_logging
from typing_extensions import TypeIs

if TYPE_CHECKING:
    from peft import PeftModel


def has_peft_adapters(model: nn.Module) -> "TypeIs[PeftModel]":
    """Return whether a model is a PEFT model, without importing PEFT, which takes seconds: where it is not imported, none is."""
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Transformers' progress bars and its report on new weights."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shown:
            transformers_logging.enable_progress_bar()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout off, and back on for the modules that had it on."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class _Stopped(Exception):
    """The forward pass has run all blocks that it needs."""


@contextmanager
def stopping(blocks: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """End the forward pass inside after these blocks, and yield the list to which it adds the states that each returns."""
    states: list[Tensor] = []

    def record(block: nn.Module, _: object, output: Tensor | tuple[Tensor, ...]) -> None:
        states.append(output if isinstance(output, Tensor) else output[0])
        if block is blocks[-1]:
            raise _Stopped

    handles = [block.register_forward_hook(record) for block in blocks]
    try:
        with suppress(_Stopped):
            yield states
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def skipping(blocks: Sequence[nn.Module], states: Tensor) -> Iterator[None]:
    """Do not compute these blocks in forward passes; the last of them returns `states`."""
    for block in blocks:
        block.forward = lambda *_, **__: states
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


@contextmanager
def adapters_off(model: "PeftModel") -> Iterator[None]:
    """Run the pretrained weights alone, in evaluation mode, and restore which parameters are trainable.

    PEFT's `disable_adapter` marks all adapter weights trainable when it ends (huggingface/peft#3447), which would undo a
    freeze.
    """
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        with evaluating(model), model.disable_adapter():
            yield
    finally:
        for parameter, requires_grad in trainable:
            parameter.requires_grad_(requires_grad)


@contextmanager
def adding_adapters(model: nn.Module) -> Iterator[None]:
    """Hide gradient checkpointing from PEFT, which would make the embeddings' output require a gradient."""
    checkpointing: list[Any] = [
        module for module in model.modules() if getattr(module, "gradient_checkpointing", False)
    ]
    for module in checkpointing:
        module.gradient_checkpointing = False
    try:
        with without_peft_warnings():
            yield
    finally:
        for module in checkpointing:
            module.gradient_checkpointing = True


@contextmanager
def without_peft_warnings() -> Iterator[None]:
    """Silence PEFT's use of deprecated names of Transformers."""
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 for a property by its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield
