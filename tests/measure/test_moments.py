"""Similarity from sums over rows: the number of the whole, whatever the split."""

import itertools
import pickle

import pytest
import torch
from hypothesis import strategies as st

from distxfer import measure
from distxfer.measure import Moments
from helpers import given, message, normal

either = pytest.mark.parametrize("unbiased", [True, False])


def related(seed=0, n=60, d1=6, d2=4, leading=()):
    x = normal(seed, *leading, n, d1)
    return x + 3, x @ normal(seed + 1, d1, d2) + normal(seed + 2, *leading, n, d2) - 1


def moments(*batches):
    result = Moments()
    for x, y in batches:
        result.update(x, y)
    return result


def definition(x, y, *, unbiased):
    """CKA of centred Gram matrices, Song et al. 2012 or Kornblith et al. 2019: no code in common."""
    n = len(x)
    K, L = ((z - z.mean(0)) @ (z - z.mean(0)).T for z in (x, y))
    if not unbiased:
        return (K * L).sum() / ((K * K).sum() * (L * L).sum()).sqrt()
    K, L = (G - torch.diag(G.diagonal()) for G in (K, L))

    def hsic(A, B):
        return (A * B).sum() + A.sum() * B.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (A.sum(0) @ B.sum(0))

    return hsic(K, L) / (hsic(K, K) * hsic(L, L)).sqrt()


@either
@given(
    seed=st.integers(0, 10**6),
    cuts=st.lists(st.integers(1, 39), max_size=6, unique=True),
    groups=st.integers(1, 4),
    order=st.randoms(use_true_random=False),
)
def test_any_split_and_any_order_of_merging_is_the_whole(unbiased, seed, cuts, groups, order):
    x, y = related(seed, 40)
    y[:7] += 5  # what comes first lies elsewhere
    edges = [0, *sorted(cuts), 40]
    shards = [slice(*edge) for edge in itertools.pairwise(edges)]
    order.shuffle(shards)
    parts = [moments(*((x[rows], y[rows]) for rows in shards[start::groups])) for start in range(groups)]
    order.shuffle(parts)
    total = Moments()
    for part in parts:
        total.merge(part)
    assert total.n == 40
    assert total.cka(unbiased=unbiased).item() == pytest.approx(definition(x, y, unbiased=unbiased).item(), abs=1e-10)
    assert total.cka(unbiased=unbiased).item() == pytest.approx(measure.cka(x, y, unbiased=unbiased).item(), abs=1e-10)
    assert total.procrustes().item() == pytest.approx(measure.procrustes(x, y).item(), abs=1e-10)


@either
@pytest.mark.parametrize(("n", "d1", "d2"), [(4, 2, 3), (5, 30, 20), (2500, 6, 4)])
def test_narrow_wide_and_more_than_a_chunk(unbiased, n, d1, d2):
    x, y = related(1, n, d1, d2)
    value = moments((x, y)).cka(unbiased=unbiased)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(definition(x, y, unbiased=unbiased).item(), abs=1e-10)


@either
def test_the_streamed_number_is_the_differentiable_one(unbiased):
    for seed, dtype in enumerate((torch.float32, torch.float64, torch.bfloat16)):
        x, y = (side.to(dtype) for side in related(seed, 2100, 40, 24, (3,)))
        streamed = measure.cka(x, y, unbiased=unbiased)
        differentiable = measure.cka(x.clone().requires_grad_(), y, unbiased=unbiased)
        assert not streamed.requires_grad
        assert differentiable.requires_grad
        assert torch.allclose(streamed, differentiable, rtol=0, atol=1e-13)


@either
def test_what_has_not_moved_is_exactly_one(unbiased):
    x = normal(0, 3, 300, 20).float()
    assert measure.cka(x, x.clone(), unbiased=unbiased).eq(1).all()


@either
@pytest.mark.parametrize("far", [30.0, 1e3, 1e4])
@pytest.mark.parametrize("first", [1, 20])
def test_rows_that_begin_far_from_the_others(unbiased, far, first):
    x, y = related(11, 400)
    x[:first] -= far
    total = moments((x[:first], y[:first]), (x[first:], y[first:]))
    merged = moments((x[first:], y[first:]))
    merged.merge(moments((x[:first], y[:first])))
    expected = definition(x, y, unbiased=unbiased).item()
    for combined in (total, merged):
        assert combined.cka(unbiased=unbiased).item() == pytest.approx(expected, abs=1e-10)
    # And where the far ones weigh nothing, the numbers of the others are still there.
    ahead = moments((x[:first], y[:first]), (x[:first], -y[:first]))
    behind = moments(*((x[i : i + 40], y[i : i + 40]) for i in range(first, 400, 40)))
    ahead.merge(behind)
    rows = torch.cat([x[:first], x[:first], x[first:]])
    value = definition(rows, torch.cat([y[:first], -y[:first], y[first:]]), unbiased=unbiased).item()
    assert ahead.cka(unbiased=unbiased).item() == pytest.approx(value, abs=1e-10)


def test_layers_are_each_by_itself():
    x, y = related(0, 30, leading=(2, 3))
    y[1, 2] *= 100
    total = moments((x[..., :11, :], y[..., :11, :]), (x[..., 11:, :], y[..., 11:, :]))
    assert total.cka().shape == total.procrustes().shape == (2, 3)
    assert torch.allclose(total.cka(), measure.cka(x, y), rtol=0, atol=1e-12)
    assert torch.allclose(total.procrustes(), measure.procrustes(x, y), rtol=0, atol=1e-12)


@either
def test_float32_with_a_mean_of_a_thousand_spreads(unbiased):
    x, y = (torch.round(side * 4096) / 4096 for side in related(3, 200))  # on a grid: the shift is exact in float32
    expected = definition(x, y, unbiased=unbiased).item()
    x, y = (x + 1000).float(), (y - 2000).float()
    streamed = moments(*((x[i : i + 9], y[i : i + 9]) for i in range(0, 200, 9)))
    assert streamed.cka(unbiased=unbiased).item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_extreme_scales(scale):
    x, y = related(4)
    total = moments((x[:20] * scale, y[:20] / scale), (x[20:] * scale, y[20:] / scale))
    assert total.cka().item() == pytest.approx(measure.cka(x, y).item(), abs=1e-12)
    assert total.procrustes().item() == pytest.approx(measure.procrustes(x, y).item(), abs=1e-12)
    expected = measure.cka(torch.cat([x[:20], 1e6 * x[:20]]), torch.cat([y[:20], y[:20]])).item()
    for first, second in ((0, 1), (1, 0)):  # they began at different scales
        pair = [moments((x[:20] * scale, y[:20] / scale)), moments((x[:20] * scale * 1e6, y[:20] / scale))]
        pair[first].merge(pair[second])
        assert pair[first].cka().item() == pytest.approx(expected, abs=1e-9)


@either
@pytest.mark.parametrize("value", [0.1, 1e8 + 0.3, 0.0])
def test_without_structure_is_nan_with_the_reason_of_cka(unbiased, value):
    x, y = related(5, 30)
    still = torch.full((30, 4), value, dtype=torch.float64)
    for a, b in ((x, still), (still, x)):
        total = moments((a[:10], b[:10]), (a[10:], b[10:]))
        first_row = moments((a[:1], b[:1]))
        total.merge(first_row)
        assert total.cka(unbiased=unbiased).isnan()
        assert total.procrustes().isnan()
        assert measure.cka(a, b, unbiased=unbiased).isnan()
    alike = torch.eye(30, dtype=torch.float64)
    assert moments((alike[:9], y[:9]), (alike[9:], y[9:])).cka(unbiased=unbiased).isnan() == unbiased


def test_moments_cross_processes():
    x, y = related(7, 50, leading=(2,))
    first, second = moments((x[:, :20], y[:, :20])), moments((x[:, 20:], y[:, 20:]))
    before, copy = second.cka(), pickle.loads(pickle.dumps(second))
    assert copy.cka().equal(before)
    first.merge(copy)
    assert torch.allclose(first.cka(), measure.cka(x, y), rtol=0, atol=1e-12)
    empty = Moments()
    empty.merge(second)
    empty.update(x, y)
    second.merge(Moments())
    assert second.cka().equal(before)  # neither the copy nor what took it in shares its memory
    assert (second.n, empty.n, Moments().n) == (30, 80, 0)


def test_itself_merged_counts_twice():
    x, y = related(8)
    total = moments((x, y))
    total.merge(total)
    twice = measure.cka(x.repeat(2, 1), y.repeat(2, 1)).item()
    assert (total.n, total.cka().item()) == (120, pytest.approx(twice, abs=1e-12))


def test_memory_does_not_grow_with_the_rows():
    total = moments(related(0, 10))
    size = len(pickle.dumps(total))
    total.update(*related(1, 3000))
    assert len(pickle.dumps(total)) == size


def test_what_was_begun_in_inference_mode_goes_on_outside_it():
    x, y = related(3)
    with torch.inference_mode():
        total = moments((x[:20] + 0, y[:20] + 0))
    total.update(x[20:40], y[20:40])
    total.merge(moments((x[40:], y[40:])))
    assert total.cka().item() == pytest.approx(measure.cka(x, y).item(), abs=1e-12)


def test_refuses():
    x, y = related()
    total = moments((x, y))
    assert message(total.update, x[:, :5], y) == (
        "`x` has the shape (60, 5) and `y` (60, 4); expected batches of layers () of 6 and 4 dimensions: "
        "give every batch the layers and dimensions of the first."
    )
    assert message(total.update, x.expand(2, -1, -1), y.expand(2, -1, -1)).startswith("`x` has the shape (2, 60, 6)")
    assert message(total.merge, moments((x.expand(2, -1, -1), y.expand(2, -1, -1)))) == (
        "`second` holds layers (2,) of 6 and 4 dimensions; expected layers () of 6 and 4 dimensions: "
        "merge moments of the same layers."
    )
    assert message(total.update, x, y[:-1]).startswith("`x` has the shape (60, 6) and `y` (59, 4); expected the same")
    y[0, 0] = torch.nan
    assert message(total.update, x, y).startswith("`y` holds 1 values that are NaN or infinite;")
    assert total.cka().isfinite()  # what was refused left no trace
    few = moments((x[:3], x[:3]))
    assert message(few.cka) == "`Moments` has 3 rows; unbiased CKA needs at least 4: give more sentences."
    assert message(Moments().cka, unbiased=False) == (
        "`Moments` has 0 rows; biased CKA needs at least 2: give more sentences."
    )
    assert message(moments((x[:2], x[:2])).procrustes) == (
        "`Moments` has 2 rows; Procrustes similarity needs at least 3: give more sentences."
    )
