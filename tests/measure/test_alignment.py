"""Alignment: retrieval against brute force, other people's code, and answers known beforehand."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.neighbors import NearestNeighbors

from distxfer import measure
from helpers import given, message, normal, orthogonal

seeds = st.integers(0, 10**6)
chunks = st.sampled_from([1, 3, 7, 1024])


@contextmanager
def blocks_of(chunk):
    """Work on so many queries at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distxfer.measure.alignment._CHUNK", chunk)
        yield


def translations(seed, n, noise, d=6):
    """Noisy copies of one another, the second language away from the first."""
    x = normal(seed, n, d)
    return x, x + noise * normal(seed + 1, n, d) + 0.5 * normal(seed + 2, d)


def unit(x):
    return torch.nn.functional.normalize(x.double(), dim=-1).numpy()


# Retrieval by cosine


def retrieval_oracle(source, target):
    """Every candidate of every query, one by one."""
    pair = [unit(source), unit(target)]
    result, n = [], len(source)
    for strong in (False, True):
        for queries, answers in (pair, pair[::-1]):
            hits = 0
            for i in range(n):
                rivals = [answers[j] for j in range(n) if j != i]
                rivals += [queries[j] for j in range(n) if j != i] if strong else []
                hits += all(queries[i] @ answers[i] > queries[i] @ rival for rival in rivals)
            result.append(hits / n)
    return result


def parts(result):
    return [result.weak_forward, result.weak_backward, result.strong_forward, result.strong_backward]


@given(seed=seeds, n=st.integers(2, 20), noise=st.floats(0.2, 2), chunk=chunks)
def test_retrieval_is_brute_force(seed, n, noise, chunk):
    x, y = translations(seed, n, noise)
    rotation = orthogonal(seed, 6)
    with blocks_of(chunk):
        result, back = measure.retrieval(x, y), measure.retrieval(y, x)
        assert measure.retrieval(3 * x @ rotation, y @ rotation) == result
    assert parts(result) == retrieval_oracle(x, y)
    assert parts(back) == [result.weak_backward, result.weak_forward, result.strong_backward, result.strong_forward]


def test_retrieval_of_known_answers():
    x = normal(0, 50, 16)
    with blocks_of(16):
        identical = measure.retrieval(x, x.clone())
    assert identical == measure.retrieval(x, x) == measure.Retrieval(1, 1, 1, 1, n=50)
    # Sentences that cluster by language: each still finds its translation, but its own language is nearer.
    language = 2 * torch.eye(2, dtype=torch.float64)
    rows = torch.nn.functional.normalize(x)
    source, target = (torch.cat([rows, row.expand(50, 2)], dim=1) for row in language)
    assert parts(measure.retrieval(source, target)) == [1, 1, 0, 0]
    # A cyclic shift of the pairing: nothing is found.
    assert parts(measure.retrieval(x, x.roll(1, 0))) == [0, 0, 0, 0]


def test_retrieval_counts_ties_as_misses():
    assert parts(measure.retrieval(torch.ones(5, 3), torch.ones(5, 3))) == [0, 0, 0, 0]
    x = normal(0, 600, 48, dtype=torch.float32)
    x[7] = 3 * x[400]  # the same direction: neither can tell which of the two translations is its own
    with blocks_of(500):
        assert parts(measure.retrieval(x, x.clone())) == [598 / 600] * 4


@given(seed=seeds, chunk=st.integers(1, 30), d=st.sampled_from([1, 5, 384]), scale=st.floats(1e-3, 1e3))
def test_a_tie_is_a_miss_in_whatever_blocks_its_two_sides_are_computed(seed, chunk, d, scale):
    x, y = normal(seed, 24, d), normal(seed + 1, 24, d)
    x[12:] = scale * x[:12]
    y = x * 1.7 + y  # every translation has a double of its own direction
    y[12:] = scale * y[:12]
    with blocks_of(chunk):
        assert parts(measure.retrieval(x, y)) == [0, 0, 0, 0]
        computed = measure.csls_retrieval(x, y, k=3)
    assert (computed.forward, computed.backward) == (0, 0)


def test_a_lead_that_is_larger_than_rounding_is_a_hit():
    angle = torch.tensor([0.0, 1e-5], dtype=torch.float64)  # cosines of 1 and 1 - 5e-11
    x = torch.stack([angle.cos(), angle.sin()], dim=1)
    assert parts(measure.retrieval(x, x.clone())) == [1, 1, 1, 1]
    computed = measure.csls_retrieval(x, x.clone(), k=2)
    assert (computed.forward, computed.backward) == (1, 1)


def test_retrieval_is_asymmetric():
    source, target = torch.tensor([[1.0, 0], [1, 0.2]]), torch.tensor([[1.0, 0.3], [1, 0.25]])
    result = measure.retrieval(source, target)
    assert (result.weak_forward, result.weak_backward) == (0.5, 0.5)
    source, target = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[1.0, 0.1], [1, 0.2]])
    result = measure.retrieval(source, target)
    assert (result.weak_forward, result.weak_backward) == (1.0, 0.5)


@pytest.mark.parametrize("call", [measure.retrieval, measure.csls_retrieval])
def test_retrieval_refuses(call):
    x = normal(0, 3, 2)
    assert message(call, x[:1], x[:1]) == (
        "`source` has the shape (1, 2); expected (sentences, dimensions) with at least 2 sentences: "
        "give more sentences, and one layer at a time."
    )
    assert message(call, x, x[:2]).startswith("`source` has the shape (3, 2) and `target` (2, 2);")
    assert message(call, x, normal(0, 3, 4)).startswith("`source` has 2 dimensions per row and `target`")
    assert message(call, x, x * 0).startswith("`target` has 3 rows that are all zeros;")
    assert message(call, x, x * torch.nan).startswith("`target` holds 6 values that are NaN or infinite;")


# CSLS


def csls_oracle(source, target, k):
    """The formula, with the neighbours from scikit-learn."""
    s, t = unit(source), unit(target)
    near = [
        1 - NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(a).kneighbors(b)[0].mean(axis=1)
        for a, b in ((t, s), (s, t))
    ]
    csls = 2 * s @ t.T - near[0][:, None] - near[1][None, :]
    rows = np.arange(len(s))
    return [(csls.argmax(axis=axis) == rows).mean() for axis in (1, 0)]


@given(seed=seeds, n=st.integers(2, 20), noise=st.floats(0.2, 3), chunk=chunks, data=st.data())
def test_csls_is_its_formula(seed, n, noise, chunk, data):
    k = data.draw(st.integers(1, n))
    x, y = translations(seed, n, noise)
    rotation = orthogonal(seed, 6)
    with blocks_of(chunk):
        result = measure.csls_retrieval(x, y, k=k)
        assert measure.csls_retrieval(3 * x @ rotation, y @ rotation, k=k) == result
    assert [result.forward, result.backward] == csls_oracle(x, y, k)
    assert (result.n, result.k) == (n, k)


def test_a_hub_wins_by_cosine_and_not_by_csls():
    """Three words have a translation at cosine 0.55; the fourth's lies between them all, at 1/sqrt(3) = 0.577 of each."""
    axes, others = torch.eye(6, dtype=torch.float64)[:3], torch.eye(6, dtype=torch.float64)[3:]
    hub = axes.sum(dim=0, keepdim=True)
    source = torch.cat([axes, hub])
    target = torch.cat([0.55 * axes + (1 - 0.55**2) ** 0.5 * others, hub])
    by_cosine = measure.retrieval(source, target)
    assert (by_cosine.weak_forward, by_cosine.weak_backward) == (0.25, 1)
    by_csls = measure.csls_retrieval(source, target, k=1)
    assert by_csls == measure.CSLSRetrieval(forward=1, backward=1, n=4, k=1)


@pytest.mark.parametrize("k", [0, 6, -1])
def test_csls_refuses_a_neighbourhood_that_is_not_there(k):
    assert message(measure.csls_retrieval, normal(0, 5, 3), normal(1, 5, 3), k=k) == (
        f"`k` is {k}; expected 1 to 5, the number of sentences: give fewer neighbours."
    )


# The interval


@given(n=st.integers(1, 5000), part=st.floats(0, 1))
def test_wilson_is_scipys(n, part):
    hits = round(part * n)
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    low, high = measure.wilson(hits / n, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= hits / n <= high <= 1
    assert measure.wilson(1 - hits / n, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_wilson_at_the_ends():
    z2 = 1.959963984540054**2
    assert measure.wilson(0, 10) == pytest.approx((0, z2 / (10 + z2)), rel=1e-14)
    assert measure.wilson(0, 10)[0] == 0
    assert measure.wilson(1, 10) == pytest.approx((10 / (10 + z2), 1), rel=1e-14)
    assert measure.wilson(1, 10)[1] == 1


def test_wilson_refuses():
    for share in (-0.1, 1.5, float("nan")):
        assert message(measure.wilson, share, 5) == (f"`share` is {share}; expected 0 to 1: give hits divided by `n`.")
    assert message(measure.wilson, 0.5, 0) == (
        "`n` is 0; expected at least 1: give the number of answers behind the share."
    )


@pytest.mark.parametrize("n", [5, 30, 1030])
def test_retrieval_and_csls_together_are_each_alone(n):
    draw = torch.Generator().manual_seed(n)
    source = torch.randn(n, 12, generator=draw)
    target = source + 0.7 * torch.randn(n, 12, generator=draw)
    target[n // 2 :] = target[n // 2]  # ties, which are misses
    k = min(10, n)
    together = measure.retrieval_with_csls(source, target, k=k)
    assert together == (measure.retrieval(source, target), measure.csls_retrieval(source, target, k=k))
    assert 0 < together[0].weak_backward < 1


def test_retrieval_with_csls_refuses_as_each_alone():
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert message(measure.retrieval_with_csls, x, x, k=4).startswith("`k` is 4; expected 1 to 3")
    assert message(measure.retrieval_with_csls, x, x * torch.nan).startswith("`target` holds 12 values")
