"""The linear probe: a minimum that an independent implementation confirms, and what it is invariant under."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from distxfer.measure import fit_probe


def clusters(seed=0, n=120, width=6, classes=3, spread=1.0):
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return random.normal(size=(classes, width))[labels] * 2 + spread * random.normal(size=(n, width)) + 5, labels


def by_scikit_learn(states, labels):
    """The scores of its logistic regression on states that are centred and scaled as the definition has it."""
    scaled = (states - states.mean(0)) / np.sqrt(((states - states.mean(0)) ** 2).sum(1).mean())
    return LogisticRegression(C=10, tol=1e-8, max_iter=10_000).fit(scaled, labels).decision_function(scaled)


def scores(probe, states):
    return states @ probe.weights.T + probe.bias


def differences(scores):
    """The scores up to a constant, which no class gains by."""
    return scores - scores.mean(axis=1, keepdims=True)


def test_it_is_the_minimum_of_the_penalised_loss():
    states, labels = clusters(spread=2)
    probe = fit_probe(states, labels, 3)
    np.testing.assert_allclose(
        differences(scores(probe, states)), differences(by_scikit_learn(states, labels)), atol=2e-4
    )
    assert 0.6 < probe.accuracy(states, labels) < 1


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.01, 100), seed=st.integers(0, 9))
def test_scale_rotation_and_place_do_not_matter(scale, seed):
    states, labels = clusters(seed)
    random = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(random.normal(size=(6, 6)))
    moved = scale * (states @ rotation) + random.normal(size=6)
    expected = differences(scores(fit_probe(states, labels, 3), states))
    np.testing.assert_allclose(differences(scores(fit_probe(moved, labels, 3), moved)), expected, atol=2e-3)


def test_without_a_bias_no_class_has_one():
    states, labels = clusters()
    probe = fit_probe(states - 5, labels, 3, bias=False)
    assert (probe.bias == 0).all()
    assert probe.accuracy(states - 5, labels) > 0.9


def test_a_class_without_examples_is_never_predicted():
    states, labels = clusters()
    probe = fit_probe(states, labels, 4)
    assert scores(probe, states).argmax(axis=1).max() < 3


@pytest.mark.parametrize("n", [1, 2])
def test_few_or_equal_states_give_finite_weights(n):
    probe = fit_probe(np.ones((n, 4)), np.arange(n), 2)
    assert np.isfinite(probe.weights).all()
    assert np.isfinite(probe.bias).all()
