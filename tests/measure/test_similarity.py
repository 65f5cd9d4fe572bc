"""Similarity: against definitions written out again, known answers and declared invariances."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from distxfer import measure
from helpers import given, message, normal

seeds = st.integers(0, 2**32 - 1)
either = pytest.mark.parametrize("unbiased", [True, False])


def related(seed, n=12, d1=5, d2=7):
    """Two representations that share structure, away from the origin."""
    x = normal(seed, n, d1)
    return x + 3, x @ normal(seed + 1, d1, d2) + normal(seed + 2, n, d2) - 1


def test_cka_of_the_bias_that_the_unbiased_form_removes():
    pairs = [(normal(2 * i, 32, 384), normal(2 * i + 1, 32, 384)) for i in range(20)]
    unbiased = torch.stack([measure.cka(x, y) for x, y in pairs])
    assert unbiased.abs().max() < 0.12
    assert abs(unbiased.mean()) < 0.03
    assert unbiased.min() < 0  # legitimate, and never clamped
    assert min(measure.cka(x, y, unbiased=False) for x, y in pairs) > 0.9


@either
def test_cka_in_float32_far_from_the_origin(unbiased):
    x, y = (torch.round(z * 256) / 256 for z in related(3, 32, 16, 16))  # multiples of 1/256: the shift is exact
    expected = measure.cka(x, y, unbiased=unbiased)
    shifted = measure.cka((x + 1000).float(), (y - 3000).float(), unbiased=unbiased)
    assert shifted.dtype == torch.float64
    assert shifted.item() == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("much", [1e37, 1e90])
def test_cka_of_rows_that_grow_by_many_orders_of_magnitude(unbiased, much):
    """The first rows do not tell how large the others are: sums of their fourth powers overflow."""
    x, y = normal(0, 600, 3) + 1, normal(1, 600, 3) + 1
    x[:300], y[:300] = x[:300] / much, y[:300] / much
    large = much * x[300:], much * y[300:]
    whole = [torch.cat([side[:300], big]) for side, big in zip((x, y), large, strict=True)]
    expected = measure.cka(*(side.clone().requires_grad_() for side in whole), unbiased=unbiased).item()
    assert measure.cka(*whole, unbiased=unbiased).item() == pytest.approx(expected, abs=1e-10)


def test_cka_of_booleans_is_that_of_0_and_1():
    x, y = normal(0, 500, 4) > 0, normal(1, 500, 4) > 0
    assert measure.cka(x, y).item() == pytest.approx(measure.cka(x.double(), y.double()).item(), abs=1e-12)


def test_cka_of_layers_leaves_torchs_threads_as_they_were():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        measure.cka(normal(0, 5, 600, 4), normal(1, 5, 600, 4))
        later = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert (torch.get_num_threads(), later) == (3, [3])
    finally:
        torch.set_num_threads(threads)


def test_cka_survives_extreme_scales():
    x, y = related(1)
    expected = measure.cka(x, y).item()
    assert measure.cka(x * 1e-120, y * 1e120).item() == pytest.approx(expected, abs=1e-12)


@either
@pytest.mark.parametrize("shape", [(6, 3, 2), (5, 8, 9)])
def test_cka_gradient(unbiased, shape):
    x, y = (z.requires_grad_() for z in related(0, *shape))
    assert torch.autograd.gradcheck(lambda a, b: measure.cka(a, b, unbiased=unbiased), (x, y))


@either
@pytest.mark.parametrize("shape", [(12, 5), (8, 40)])
def test_cka_gradient_is_zero_where_both_are_equal(unbiased, shape):
    x = normal(0, *shape, dtype=torch.float32).requires_grad_()
    value = measure.cka(x, x.detach().clone(), unbiased=unbiased)
    value.backward()
    assert value.item() == 1.0
    assert x.grad.abs().max() < 1e-6  # finite, and the maximum


def test_cka_gradient_of_a_batch_survives_an_undefined_layer():
    x = normal(0, 2, 8, 4)
    x[0] = 1.0
    x.requires_grad_()
    value = measure.cka(x, normal(1, 2, 8, 4))
    assert value.isnan().tolist() == [True, False]
    value[1].backward()
    assert x.grad.isfinite().all()
    assert x.grad[1].abs().max() > 0


def test_standardise_defuses_an_outlier_dimension():
    x, y = normal(0, 200, 20), normal(1, 200, 20)
    x[:, 3] = y[:, 7] = 60 * normal(2, 200)
    assert measure.cka(x, y) > 0.99
    assert measure.top_dimension_share(x) > 0.98
    assert abs(measure.cka(measure.standardise(x), measure.standardise(y))) < 0.1
    assert measure.top_dimension_share(measure.standardise(x)) == pytest.approx(1 / 20)


@given(seed=seeds)
def test_standardise(seed):
    x = normal(seed, 3, 9, 4) * torch.tensor([1e-3, 1, 50, 0]) + 0.1
    z = measure.standardise(x)
    assert torch.allclose(z.mean(-2), torch.zeros(3, 4, dtype=z.dtype), atol=1e-12)
    assert torch.allclose(z.var(-2, correction=0)[:, :3], torch.ones(3, 3, dtype=z.dtype))
    assert z[..., 3].eq(0).all()
    assert torch.allclose(measure.standardise(x * 7 - 2), z, atol=1e-9)


def test_standardise_gradient():
    x = normal(0, 5, 3).requires_grad_()
    assert torch.autograd.gradcheck(measure.standardise, (x,))
    constant = torch.ones(5, 3, requires_grad=True)
    measure.standardise(constant).sum().backward()
    assert constant.grad.eq(0).all()


def test_top_dimension_share():
    x = torch.tensor([[1.0, 3, 9], [-1, -3, 9]])
    assert measure.top_dimension_share(x) == pytest.approx(0.9)
    assert np.isnan(measure.top_dimension_share(torch.ones(4, 3)))
    assert message(measure.top_dimension_share, torch.ones(2, 4, 3)) == (
        "`x` has the shape (2, 4, 3); expected (rows, dimensions): give one layer at a time."
    )


def test_cosine_drift():
    x = torch.tensor([[1.0, 0], [1, 0], [1, 0], [2, 2]])
    y = torch.tensor([[5.0, 0], [0, 3], [-1, 0], [1, 0]])
    expected = torch.tensor([0, 1, 2, 1 - 0.5**0.5], dtype=torch.float64)
    assert torch.allclose(measure.cosine_drift(x, y), expected)
    a, b = normal(0, 6, 9), normal(1, 6, 9)
    assert torch.allclose(measure.cosine_drift(a, b), 1 - torch.cosine_similarity(a, b))
    assert measure.cosine_drift(a, a.clone()).eq(0).all()
    assert torch.autograd.gradcheck(measure.cosine_drift, (a.requires_grad_(), b.requires_grad_()))


def test_normalised_mse():
    x, y = torch.tensor([[3.0, 4], [0, 1], [2, 0]]), torch.tensor([[3.0, 4], [0, 2], [0, 1]])
    assert measure.normalised_mse(x, y).tolist() == [0, 0.25, 5]
    assert measure.normalised_mse(normal(0, 4, 6, 9), normal(1, 4, 6, 9)).shape == (4, 6)
    a, b = normal(0, 6, 9).requires_grad_(), normal(1, 6, 9).requires_grad_()
    assert torch.autograd.gradcheck(measure.normalised_mse, (a, b))


def test_drifts_refuse():
    x = normal(0, 3, 2)
    zero = x.clone()
    zero[1] = 0
    assert message(measure.normalised_mse, x, zero) == (
        "`y` has 1 rows that are all zeros; expected rows with a direction: "
        "look for a sentence without tokens in the pooling."
    )
    assert measure.normalised_mse(zero, x)[1].item() == pytest.approx(1)
    assert message(measure.cosine_drift, zero, x).startswith("`x` has 1 rows that are all zeros;")
    assert message(measure.cosine_drift, x, normal(0, 3, 4)) == (
        "`x` has 2 dimensions per row and `y` has 4; expected the same: compare layers of one width, or use cka."
    )


@pytest.mark.parametrize("name", ["cka", "procrustes", "rsa", "svcca", "cosine_drift", "relational_drift", "retrieval"])
def test_measures_accept_numpy_arrays(name):
    x, y = normal(0, 30, 6), normal(1, 30, 6)
    function = getattr(measure, name)
    of_arrays, of_tensors = function(x.numpy(), y.numpy()), function(x, y)
    assert torch.equal(of_arrays, of_tensors) if isinstance(of_tensors, torch.Tensor) else of_arrays == of_tensors
