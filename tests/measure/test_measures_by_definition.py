"""Every similarity measure by its definition, written another way, or by somebody else's code."""

from functools import partial

import numpy as np
import pytest
import scipy
import torch
from cka import cka_from_features

from distxfer import measure
from helpers import normal, related


def hsic_song(K, L):
    """HSIC_1 exactly as Song et al. 2012 define it, on Gram matrices without their diagonals."""
    n = len(K)
    K, L, ones = K - np.diag(np.diag(K)), L - np.diag(np.diag(L)), np.ones(len(K))
    sums = (ones @ K @ ones) * (ones @ L @ ones) / ((n - 1) * (n - 2))
    return (np.trace(K @ L) + sums - 2 / (n - 2) * (ones @ K @ L @ ones)) / (n * (n - 3))


def hsic_gram(K, L):
    """HSIC_0 = tr(K H L H) / (n-1)^2, Kornblith et al. 2019, eq. 3."""
    H = np.eye(len(K)) - 1 / len(K)
    return np.trace(K @ H @ L @ H) / (len(K) - 1) ** 2


estimators = pytest.mark.parametrize(("hsic", "unbiased"), [(hsic_song, True), (hsic_gram, False)])


@estimators
@pytest.mark.parametrize(("n", "d1", "d2"), [(4, 3, 2), (5, 60, 40), (12, 5, 7), (64, 6, 3), (32, 384, 384)])
def test_cka_is_its_definition_in_feature_and_in_gram_space(n, d1, d2, hsic, unbiased):
    x = normal(0, n, d1)
    x, y = x + 3, x @ normal(1, d1, d2) + normal(2, n, d2) - 1
    K, L = (x @ x.T).numpy(), (y @ y.T).numpy()
    expected = hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))
    assert measure.cka(x, y, unbiased=unbiased).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("n", "bandwidth"), [(7, 1.0), (30, 0.3), (30, 2.0)])
def test_rbf_cka_is_its_definition(n, bandwidth):
    def gram(x):
        distances = scipy.spatial.distance.pdist(x.numpy())
        median = np.quantile(distances, 0.5, method="lower")
        return np.exp(-(scipy.spatial.distance.squareform(distances) ** 2) / (2 * (bandwidth * median) ** 2))

    x, y = related(1, n)
    K, L = gram(x), gram(y[:, :4])
    expected = hsic_song(K, L) / np.sqrt(hsic_song(K, K) * hsic_song(L, L))
    value = measure.rbf_cka(x, y[:, :4], bandwidth=bandwidth)
    assert value.item() == pytest.approx(expected, abs=1e-10)


def test_rbf_cka_of_a_large_bandwidth_is_linear_cka():
    x, y = related()
    assert measure.rbf_cka(x, y, bandwidth=300).item() == pytest.approx(measure.cka(x, y).item(), abs=1e-4)


def test_rbf_cka_sees_what_linear_cka_does_not():
    angle = 2 * torch.pi * torch.arange(400, dtype=torch.float64) / 400
    x = torch.stack([angle.cos(), angle.sin()], dim=1)
    twice = torch.stack([(2 * angle).cos(), (2 * angle).sin()], dim=1)
    assert abs(measure.cka(x, twice)) < 0.01
    assert measure.rbf_cka(x, twice, bandwidth=0.3) > 0.1


def test_cka_agrees_with_pytorch_cka():
    x, y = (torch.stack(side) for side in zip(related(0, 50), related(9, 50), strict=True))
    x, y = x - x.mean(-2, keepdim=True), y - y.mean(-2, keepdim=True)
    assert torch.allclose(measure.cka(x, y), cka_from_features(x, y).diagonal(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(60, 6), (20, 30)])
def test_procrustes_is_the_best_rotation(n, d):
    x, y = related(1, n, d)
    a, b = ((z - z.mean(0)).numpy() for z in (x, y))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    rotation, scale = scipy.linalg.orthogonal_procrustes(a, b)
    value = measure.procrustes(x, y).item()
    assert value == pytest.approx(scale, abs=1e-12)
    assert 2 - 2 * value == pytest.approx(np.linalg.norm(a @ rotation - b) ** 2, abs=1e-12)


def test_rsa_is_spearman_with_mean_ranks():
    for x, y in (related(1), (related(1)[0].round(), related(1)[1].round())):  # on a grid, many distances tie
        distances = [scipy.spatial.distance.pdist(z.numpy()) for z in (x, y[:, :4])]
        expected = scipy.stats.spearmanr(*(d.round(9) for d in distances)).statistic  # ties of irrational ones
        assert measure.rsa(x, y[:, :4]).item() == pytest.approx(expected, abs=1e-12)


def canonical(x, y):
    """Canonical correlations and x's canonical variables, by the eigenvalues of Cxx^-1 Cxy Cyy^-1 Cyx."""
    x, y = ((z - z.mean(0)).numpy() for z in (x, y))
    middle = np.linalg.solve(x.T @ x, x.T @ y) @ np.linalg.solve(y.T @ y, y.T @ x)
    squares, vectors = np.linalg.eig(middle)
    order = np.argsort(-squares.real)[: min(x.shape[1], y.shape[1])]
    variables = x @ vectors.real[:, order]
    return np.sqrt(squares.real[order]), variables / np.linalg.norm(variables, axis=0), x


def test_svcca_is_the_mean_canonical_correlation_of_the_directions_kept():
    x, y = related(1, 80)
    y = y[:, :4]
    assert measure.svcca(x, y, variance=1).item() == pytest.approx(canonical(x, y)[0].mean(), abs=1e-10)
    wide = x * torch.tensor([10, 5, 1, 0.3, 0.2, 0.1])  # 100 + 25 of about 126: two directions hold 95 %, not 99.99 %
    u, s, _ = np.linalg.svd((wide - wide.mean(0)).numpy(), full_matrices=False)
    n_kept = int(np.searchsorted(np.cumsum(s**2) / np.sum(s**2), 0.95)) + 1
    assert n_kept == 2
    expected = canonical(torch.from_numpy(u[:, :2] * s[:2]), y)[0].mean()
    assert measure.svcca(wide, y, variance=1).item() == pytest.approx(canonical(x, y)[0].mean(), abs=1e-10)
    kept_y = torch.linalg.svd(y - y.mean(0), full_matrices=False)
    shares = (kept_y.S**2).cumsum(0) / (kept_y.S**2).sum()
    reduced = (kept_y.U * kept_y.S)[:, : int((shares < 0.95).sum()) + 1]
    expected = canonical(torch.from_numpy(u[:, :2] * s[:2]), reduced)[0].mean()
    assert measure.svcca(wide, y, variance=0.95).item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("d2", [4, 6])
def test_pwcca_weights_by_the_original_neurons(d2):
    x, y = related(1, 80)
    x, y = x * torch.tensor([30, 10, 3, 1, 0.3, 0.1]), y[:, :d2]
    correlations, variables, neurons = canonical(x, y)
    weights = np.abs(variables.T @ neurons).sum(axis=1)
    value = measure.pwcca(x, y).item()
    assert value == pytest.approx(weights @ correlations / weights.sum(), abs=1e-10)
    assert abs(value - correlations.mean()) > 0.005


def test_canonical_correlations_of_noise_are_not_reported_as_similarity():
    x, y = normal(0, 21, 10), normal(1, 21, 10)
    for function in (partial(measure.svcca, variance=1), measure.pwcca):
        assert 0.5 < function(x, y) < 1 - 1e-6
        assert function(x[:20], y[:20]).isnan()
        assert function(x[:, :3].repeat(1, 5), y[:, :3].repeat(1, 5)) < 0.7  # the rank counts, not the width


@pytest.mark.parametrize("k", [1, 5])
def test_neighbour_overlap_by_brute_force(k):
    x, y = related(1, 1100, 3)  # more than a chunk
    x, y = x[:, :2], y

    def neighbours(z):
        unit = (z / z.norm(dim=1, keepdim=True)).numpy()
        cosines = unit @ unit.T
        np.fill_diagonal(cosines, -np.inf)
        return [set(row) for row in np.argsort(-cosines, axis=1)[:, :k].tolist()]

    overlaps = [len(a & b) / len(a | b) for a, b in zip(neighbours(x), neighbours(y), strict=True)]
    assert measure.neighbour_overlap(x, y, k=k).item() == pytest.approx(np.mean(overlaps), abs=1e-12)


def test_neighbour_overlap_takes_in_ties():
    x = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]])
    y = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1], [-1, 0], [-1, 0]])
    # x: the two others of its three; y: its one twin. In common: rows 0, 1, 4, 5 one of two; row 2 and 3 none of three.
    assert measure.neighbour_overlap(x, y, k=1).item() == pytest.approx((4 * 1 / 2) / 6)
