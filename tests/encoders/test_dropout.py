"""Dropout with few draws: the distribution of torch's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distxfer.encoders import load_encoder
from distxfer.encoders._dropout import Dropout, dropout


@given(st.floats(0.01, 0.9), st.integers(0, 2**31), st.sampled_from([(7, 11), (1,), (3, 5, 2)]))
def test_an_entry_is_dropped_or_divided_and_its_gradient_is_the_same_factor(p, seed, shape):
    torch.manual_seed(seed)
    states = torch.full(shape, 2.0, requires_grad=True)
    result = dropout(states, p)
    result.sum().backward()
    assert torch.equal(result, 2 * states.grad)
    kept = states.grad[states.grad > 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_entries_are_dropped_independently_with_probability_p(p):
    torch.manual_seed(0)
    n = 2**20
    is_dropped = (dropout(torch.ones(n), p) == 0).double()
    deviation = (p * (1 - p) / n) ** 0.5
    assert abs(float(is_dropped.mean()) - p) < 4 * deviation
    for lag in (1, 2, 3, 4, 8, 384):  # four neighbours share one draw of the generator
        both = float((is_dropped[lag:] * is_dropped[:-lag]).mean())
        assert abs(both - p**2) < 4 * (p**2 * (1 - p**2) / n) ** 0.5


def test_the_mask_follows_torchs_seed_and_differs_from_call_to_call():
    torch.manual_seed(5)
    first, second = dropout(torch.ones(100), 0.5), dropout(torch.ones(100), 0.5)
    torch.manual_seed(5)
    assert torch.equal(dropout(torch.ones(100), 0.5), first)
    assert not torch.equal(first, second)


def test_an_encoder_drops_with_it_in_training_only(tiny):
    encoder = load_encoder("tiny", tiny, ("a", "b"), seed=0)
    layers = [module for module in encoder.model.modules() if isinstance(module, torch.nn.Dropout)]
    assert {type(layer) for layer in layers} == {Dropout}
    states = torch.ones(50)
    encoder.model.train()
    assert (layers[0](states) == 0).any()
    encoder.model.eval()
    assert torch.equal(layers[0](states), states)
    assert torch.equal(dropout(states, 0.0), states)
