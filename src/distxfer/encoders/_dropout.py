"""Dropout that draws its mask several times faster than torch's on a CPU, where the draws took a tenth of a step."""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as torch_dropout

_VALUES = 2**16  # of a draw


class Dropout(nn.Dropout):
    """Dropout as in `torch.nn.Dropout`, with the draws of `dropout`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in torch
        """Return the input with entries dropped, in training mode."""
        return dropout(input, self.p) if self.training else input


def use_dropout(model: nn.Module) -> None:
    """Have every `torch.nn.Dropout` of a model draw as `dropout` does."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = Dropout


def dropout(states: Tensor, p: float) -> Tensor:
    """Set entries to 0 with probability q, independently, and divide the others by 1 - q; any shape.

    On a CPU, q is `p` rounded to a multiple of 2^-16, since four draws of 16 bits are one of torch's generator; elsewhere this
    is torch's own dropout. Reference: Srivastava et al. 2014.
    """
    dropped = round(p * _VALUES)
    if states.device.type != "cpu" or dropped >= _VALUES:
        return torch_dropout(states, p)
    if not dropped:
        return states
    draws = torch.empty(-(-states.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    factors = torch.empty(states.numel(), dtype=states.dtype)
    torch.ge(draws.view(torch.int16)[: len(factors)], dropped - _VALUES // 2, out=factors)
    return states * factors.mul_(_VALUES / (_VALUES - dropped)).view(states.shape)
