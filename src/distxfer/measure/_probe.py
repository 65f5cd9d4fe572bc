"""Does what a classifier reads off the source's representations hold in the target's?"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch import Tensor

from distxfer.errors import InputError, RunError
from distxfer.measure._tensors import centre, check_same_width, working

Labels = Sequence[Hashable] | Tensor | NDArray[np.generic]
Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
_CONVERGED = 1e-6  # the largest slope of the mean loss: classes' observed and expected means agree to 1e-6 deviations


@dataclass(frozen=True)
class Probe:
    """Accuracies in [0, 1] of one classifier on held-out source rows and on target rows.

    `majority` is the accuracy on the same target rows of always answering their most frequent class. `n_source` and
    `n_target` count the rows that `source` and `target` are about, `n_classes` the classes of the source.
    """

    source: float
    target: float
    majority: float
    n_source: int
    n_target: int
    n_classes: int


def alignment_probe(
    source: Tensor,
    source_labels: Labels,
    target: Tensor,
    target_labels: Labels,
    *,
    paired: bool = False,
    penalty: float = 1.0,
    held_out: float = 0.2,
    seed: int = 0,
) -> Probe:
    """Return how well a linear classifier that was trained on the source's representations does on the target's.

    Multinomial logistic regression: the minimum over W, b of sum_i -log softmax(W z_i + b)[y_i] + penalty/2 |W|^2, z
    being the columns less the mean, over the standard deviation, of the SOURCE's training rows: the target is not
    centred on itself, so a shift between the languages counts. A share `held_out` of each class (at least one row,
    drawn with `seed`) is not trained on: `source` is the accuracy there, the height from which `target` falls.

    Leakage: where target rows translate source rows, a classifier that has learnt a training row by heart may know its
    translation, and `target` would count as alignment of the classes what is alignment of the sentences. Either give a
    source and a target that have no item in common (their numbers of rows may differ), or, where row i of one
    translates row i of the other, `paired=True`: both accuracies are then over the same held-out items.

    Shapes: source (n, d), target (m, d); a label for each row, of any hashable type. Invariant under one translation
    and one positive scaling of each column, of both; not under rotation. In float64 on the CPU, by L-BFGS: O(n d
    classes) a step.

    Raises: InputError for unequal lengths or widths, fewer than 2 classes, a source class of 1 row, a target label that
    the source has not, rows without a label, NaN or infinity, a penalty that is not positive, a share outside (0, 1);
    RunError where the minimum is not reached.

    Reference: Hua et al. 2024 (mOthello), cross-lingual alignment probe; there with a hidden layer, here without.
    """
    if not 0 < penalty < np.inf:
        raise InputError(f"`penalty` is {penalty}; expected more than 0: without it the best weights may be infinite.")
    if not 0 < held_out < 1:
        raise InputError(f"`held_out` is {held_out}; expected a share between 0 and 1: give 0.2 for a fifth.")
    x, y = _rows_of_both(source, target, paired=paired)
    x_labels, y_labels = _listed(source_labels, len(x), "source"), _listed(target_labels, len(y), "target")
    classes, x_class, y_class = _numbered(x_labels, y_labels)
    tested = _stratified(x_class, classes, held_out, np.random.default_rng(seed))
    if paired:
        y, y_class = y[tested], y_class[tested]
    z_train, z_test, z_target = _standardised(x[~tested], x[tested], y)
    weights = _fit(z_train, x_class[~tested], classes, penalty)
    return Probe(
        source=_accuracy(weights, z_test, x_class[tested]),
        target=_accuracy(weights, z_target, y_class),
        majority=float(np.bincount(y_class).max() / len(y_class)),
        n_source=len(z_test),
        n_target=len(z_target),
        n_classes=classes,
    )


def _rows_of_both(source: Tensor, target: Tensor, *, paired: bool) -> tuple[Floats, Floats]:
    for x, name in ((source, "source"), (target, "target")):
        if x.dim() != 2:
            raise InputError(
                f"`{name}` has the shape {tuple(x.shape)}; expected (rows, dimensions): give one layer at a time."
            )
    x, y = working(source.detach().cpu(), "source"), working(target.detach().cpu(), "target")
    check_same_width(x, y, names=("source", "target"))
    if paired and len(x) != len(y):
        raise InputError(
            f"`source` has {len(x)} rows and `target` {len(y)}; expected as many with `paired`: "
            "row i of one translates row i of the other."
        )
    return x.numpy(), y.numpy()


def _standardised(training: Floats, *others: Floats) -> list[Floats]:
    """Return all in units of the training rows' deviations from their mean; a column that does not vary stays as it is."""
    centred = centre(torch.from_numpy(training)).numpy()
    deviation = np.sqrt(np.square(centred).mean(axis=0))
    deviation[deviation == 0] = 1
    mean = training.mean(axis=0)
    return [centred / deviation, *((rows - mean) / deviation for rows in others)]


def _listed(labels: Labels, n: int, name: str) -> list[Hashable]:
    values: list[Hashable] = labels.tolist() if isinstance(labels, Tensor | np.ndarray) else list(labels)
    if len(values) != n:
        raise InputError(
            f"`{name}_labels` has {len(values)} labels and `{name}` {n} rows; expected as many: give one label per row."
        )
    if None in values:
        raise InputError(f"`{name}_labels` has {values.count(None)} labels that are None: leave out unlabelled rows.")
    return values


def _numbered(source: list[Hashable], target: list[Hashable]) -> tuple[int, Numbers, Numbers]:
    """Return how many classes the source has, and every row's class by its number."""
    sizes = Counter(source)
    number = {label: index for index, label in enumerate(sizes)}
    if len(number) < 2:
        raise InputError(
            f"`source_labels` holds one class, {source[0]!r}; expected at least 2: there is nothing to tell apart."
        )
    for label, size in sizes.items():
        if size < 2:
            raise InputError(
                f"`source_labels` holds {label!r} once; expected each class twice at least, to train on and to hold "
                "out: leave the class out, or give more rows of it."
            )
    for label in target:
        if label not in number:
            raise InputError(
                f"`target_labels` holds {label!r}, which `source_labels` does not; expected the source's classes: "
                "leave out target rows that no classifier of the source can get right."
            )
    source_class, target_class = (np.array([number[label] for label in labels]) for labels in (source, target))
    return len(number), source_class, target_class


def _stratified(labels: Numbers, classes: int, share: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return which rows are held out: `share` of each class, but one row at least, and one at least to train on."""
    tested = np.zeros(len(labels), dtype=bool)
    for number in range(classes):
        members = np.flatnonzero(labels == number)
        size = min(max(round(share * len(members)), 1), len(members) - 1)
        tested[generator.permutation(members)[:size]] = True
    return tested


def _fit(z: Floats, labels: Numbers, classes: int, penalty: float) -> Floats:
    """Return the weights (d + 1, classes), the intercepts last, at the minimum of the penalised loss.

    Nothing but the penalty chooses among weights that differ by a constant over the classes, and from a start at 0 the
    intercepts, which are free of it, sum to 0 throughout: the answer is unique.
    """
    n, d = z.shape
    row = np.arange(n)

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(d + 1, classes)
        scores = z @ weights[:-1] + weights[-1]
        log_probability = scores - logsumexp(scores, axis=1, keepdims=True)
        residual = np.exp(log_probability)
        residual[row, labels] -= 1
        slope = np.vstack([z.T @ residual + penalty * weights[:-1], residual.sum(axis=0)])
        value = penalty / 2 * np.square(weights[:-1]).sum() - log_probability[row, labels].sum()
        return float(value / n), (slope / n).ravel()

    settings = {"maxiter": 10_000, "maxfun": 20_000, "maxcor": 20, "ftol": 0.0, "gtol": _CONVERGED / 100}
    found = minimize(loss, np.zeros((d + 1) * classes), jac=True, method="L-BFGS-B", options=settings)
    steepest = float(np.abs(found.jac).max())
    if not steepest <= _CONVERGED:
        raise RunError(
            f"The probe did not converge: after {found.nit} steps the slope is {steepest:.1e}. Raise `penalty`."
        )
    weights: Floats = found.x.reshape(d + 1, classes)
    return weights


def _accuracy(weights: Floats, z: Floats, labels: Numbers) -> float:
    return float(np.mean((z @ weights[:-1] + weights[-1]).argmax(axis=1) == labels))
