"""Frozen linear maps in 8 bits."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class Int8Linear(nn.Module):
    """A frozen linear map whose weights are rounded to 8 bits: a byte a weight, and one scale a row.

    W_ij is s_i Q_ij with integers Q in -127 to 127 and s_i = max_j |W_ij| / 127, so that a weight moves by at most s_i / 2.
    The product is computed in the precision of its input, from weights that are dequantised for each pass.

    References: Dettmers et al. 2022, section 2.1 (absmax, by row); adapters on such weights: Dettmers et al. 2023.
    """

    quantised: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weights = linear.weight.detach()
        scale = weights.abs().amax(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny) / 127
        self.register_buffer("quantised", (weights / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:
        """The dequantised weights, (out, in)."""
        return self.quantised * self.scale

    def forward(self, states: Tensor) -> Tensor:
        """Return W x + b for states (..., in)."""
        product: Tensor = _Product.apply(states, self)  # type: ignore[no-untyped-call]
        return product


class _Product(torch.autograd.Function):
    """The map of an Int8Linear; the backward pass dequantises anew, so that no float weights are kept for it."""

    @staticmethod
    def forward(context: Any, states: Tensor, linear: Int8Linear) -> Tensor:
        context.linear = linear
        return functional.linear(states, linear.weight, linear.bias)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ context.linear.weight.to(gradient.dtype), None
