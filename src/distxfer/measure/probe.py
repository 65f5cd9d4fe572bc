"""A linear probe of hidden states."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import logsumexp

Array = npt.NDArray[np.float64]

_STRENGTH = (
    10.0  # C of the states scaled to a mean square norm of 1; English dev of `emoji` and `intents`, of 1 to 1000
)
_TOLERANCE, _ITERATIONS = 1e-6, 1000  # of L-BFGS: largest entry of the gradient, steps


@dataclass(frozen=True)
class Probe:
    """A linear classifier of states h (d): its scores are `weights` (classes, d) @ h + `bias` (classes)."""

    weights: Array
    bias: Array

    def accuracy(self, states: npt.ArrayLike, labels: npt.ArrayLike) -> float:
        """Return the share of states (n, d) whose highest score is that of their label (n)."""
        scores = np.asarray(states, dtype=np.float64) @ self.weights.T + self.bias
        return float((scores.argmax(axis=1) == np.asarray(labels)).mean())


def fit_probe(states: npt.ArrayLike, labels: npt.ArrayLike, classes: int, *, bias: bool = True) -> Probe:
    """Return the multinomial logistic regression of `labels` (n, from 0 to classes - 1) on `states` (n, d).

    With states z scaled to a mean square norm of 1, it is the minimum over V (classes, d) and b (classes) of the convex

        1/n sum_i [logsumexp(V z_i + b) - (V z_i + b)_{y_i}] + |V|^2 / (2 C n),   C = 10,

    given as weights and bias for the states themselves. With a `bias`, the states are centred first, which changes only the
    scale. Its scores are invariant under rotation and scaling of the states.

    Reference: Alain & Bengio 2017, Understanding intermediate layers using linear classifier probes.
    """
    states, labels = np.asarray(states, dtype=np.float64), np.asarray(labels)
    n, width = states.shape
    mean = states.mean(axis=0) * bias
    scale = np.sqrt(((states - mean) ** 2).sum(axis=1).mean()) or 1.0
    scaled, one_hot = (states - mean) / scale, np.eye(classes)[labels]

    def loss(flat: Array) -> tuple[float, Array]:
        weights, intercept = flat[: classes * width].reshape(classes, width), flat[classes * width :]
        scores = scaled @ weights.T + (intercept if bias else 0.0)
        normaliser = logsumexp(scores, axis=1, keepdims=True)
        errors = (np.exp(scores - normaliser) - one_hot) / n
        value = (normaliser[:, 0] - (scores * one_hot).sum(axis=1)).mean() + (weights**2).sum() / (2 * _STRENGTH * n)
        by_weights = errors.T @ scaled + weights / (_STRENGTH * n)
        return float(value), np.concatenate([by_weights.ravel(), errors.sum(axis=0) * bias])

    options = {"maxiter": _ITERATIONS, "ftol": 0, "gtol": _TOLERANCE}
    flat = minimize(loss, np.zeros(classes * (width + 1)), jac=True, method="L-BFGS-B", options=options).x
    weights = flat[: classes * width].reshape(classes, width) / scale
    return Probe(weights, (flat[classes * width :] - weights @ mean) * bias)
