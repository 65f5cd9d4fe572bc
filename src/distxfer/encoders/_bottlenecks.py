"""Bottlenecks parallel to the feed-forward layers: trained as separate maps, saved as a plain, wider model.

A feed-forward layer with r more neurons computes its previous output plus W_up f(W_down x).
"""

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from distxfer.encoders._contexts import has_peft_adapters
from distxfer.errors import InputError

NOT_BOTH = (
    "Bottlenecks are saved as a part of the model and PEFT's adapters beside it, so one encoder cannot have both."
    " Give all adapter interventions of the recipe the same `kind`."
)
# The keys of configurations for the width of the feed-forward layers.
_WIDTHS = ("intermediate_size", "hidden_dim")


class _Wider(nn.Module):
    """A frozen linear map with additional trained rows or columns: one more map per bottleneck."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.more = nn.ModuleList()

    def maps(self) -> list[nn.Linear]:
        return [self.base_layer, *(cast(nn.Linear, linear) for linear in self.more)]

    def grow(self, r: int) -> None:
        raise NotImplementedError

    def merged(self) -> nn.Linear:
        """Return one plain linear map that computes the same function."""
        raise NotImplementedError


class _MoreOutputs(_Wider):
    """W_down of the bottlenecks, after the existing outputs; `parts`: 2 where a gate and its input are one map."""

    def __init__(self, base_layer: nn.Linear, parts: int) -> None:
        super().__init__(base_layer)
        self.parts = parts

    def grow(self, r: int) -> None:
        bias = self.base_layer.bias is not None
        self.more.append(nn.Linear(self.base_layer.in_features, self.parts * r, bias).to(self.base_layer.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.unflatten(linear(x), -1, (self.parts, -1)) for linear in self.maps()], dim=-1).flatten(
            -2
        )

    def merged(self) -> nn.Linear:
        rows = [torch.unflatten(linear.weight, 0, (self.parts, -1)) for linear in self.maps()]
        biases = [
            torch.unflatten(linear.bias, 0, (self.parts, -1)) for linear in self.maps() if linear.bias is not None
        ]
        return _linear(torch.cat(rows, dim=1).flatten(0, 1), torch.cat(biases, dim=1).flatten() if biases else None)


class _MoreInputs(_Wider):
    """W_up of the bottlenecks, after the existing inputs."""

    def grow(self, r: int) -> None:
        up = nn.Linear(r, self.base_layer.out_features, bias=False).to(self.base_layer.weight.device)
        nn.init.zeros_(up.weight)
        self.more.append(up)

    def forward(self, x: Tensor) -> Tensor:
        pieces = torch.split(x, [linear.in_features for linear in self.maps()], dim=-1)
        return torch.stack([linear(piece) for linear, piece in zip(self.maps(), pieces, strict=True)]).sum(dim=0)

    def merged(self) -> nn.Linear:
        return _linear(torch.cat([linear.weight for linear in self.maps()], dim=1), self.base_layer.bias)


def add_bottlenecks(
    model: nn.Module, config: PreTrainedConfig, widening: Sequence[str], narrowing: Sequence[str], r: int
) -> frozenset[str]:
    """Add `r` outputs to the linear maps that widen the states, and `r` inputs to those that narrow them.

    Returns the names of the new parameters. Raises InputError where the model has PEFT adapters, or these maps are not
    feed-forward layers of the configuration's width.
    """
    if has_peft_adapters(model):
        raise InputError(NOT_BOTH)
    key = _width_key(config)
    width = getattr(config, key) if key else 0
    modules = dict(model.named_modules())
    outputs = [_plain(modules[name]).out_features for name in widening]
    inputs = [_plain(modules[name]).in_features for name in narrowing]
    if not (width and outputs and set(inputs) == {width} and all(size % width == 0 for size in outputs)):
        raise InputError(
            f"A `{config.model_type}` has no feed-forward layers of one width that can be made wider. Choose adapters of"
            " another `kind`: `lora` fits every encoder."
        )
    before = {name for name, _ in model.named_parameters()}
    for name in (*widening, *narrowing):
        module = modules[name]
        if not isinstance(module, _Wider):
            layer = cast(nn.Linear, module)
            module = _MoreOutputs(layer, layer.out_features // width) if name in widening else _MoreInputs(layer)
            model.set_submodule(name, module)
        module.grow(r)
    return frozenset(name for name, _ in model.named_parameters() if ".more." in name and name not in before)


def with_merged_bottlenecks(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model itself or, with bottlenecks, a plain copy with wider feed-forward layers."""
    if not any(isinstance(module, _Wider) for module in model.modules()):
        return model
    plain = copy.deepcopy(model)
    key = _width_key(plain.config)
    for name, module in list(plain.named_modules()):
        if isinstance(module, _Wider):
            layer = module.merged()
            plain.set_submodule(name, layer)
            if isinstance(module, _MoreInputs):
                setattr(plain.config, key, layer.in_features)
    return plain


def _plain(module: nn.Module) -> nn.Linear:
    return module.base_layer if isinstance(module, _Wider) else cast(nn.Linear, module)


def _width_key(config: PreTrainedConfig) -> str:
    return next((key for key in _WIDTHS if key in config.to_dict()), "")


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return the linear map with these weights."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        linear.weight.copy_(weight)
        if bias is not None:
            linear.bias.copy_(bias)
    return linear
