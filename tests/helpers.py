"""What tests of functions share: random tensors by their seed, and the message of an error."""

import pytest
import torch

from distxfer.errors import InputError


def normal(seed, *shape, dtype=torch.float64):
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def orthogonal(seed, d):
    """A random orthogonal matrix."""
    return torch.linalg.qr(normal(seed, d, d))[0]


def related(seed=0, n=60, d=6):
    """Two representations of one width that share structure, near the same place but not at the origin."""
    x = normal(seed, n, d) + 0.5
    return x, 0.5 * x + 0.7 * normal(seed + 1, n, d) @ normal(seed + 2, d, d) / d**0.5


def message(call, *args, **kwargs):
    """The message with which a call refuses its input."""
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return str(caught.value)
