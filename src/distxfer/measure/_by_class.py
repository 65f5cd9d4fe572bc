"""Scores as ratios of sums over classes, so that any class can be left out; and the items that carry an effect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distxfer.errors import InputError
from distxfer.measure._spans import entities

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BY_CLASS = ("accuracy", "macro_f1", "f1")  # the metrics that are a ratio of sums over classes
_NOTHING = 1e-12  # an effect of this size, relative to the largest without an item, is rounding


def entity_counts(
    labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], types: Sequence[str]
) -> Integers:
    """Return the counts of the entities of each type in n texts, (types, 3): right, in the labels, predicted.

    Texts are the IOB2 tags of their words, entities as in `entities`; right is one of the same type, first and last word.
    """
    places = {name: place for place, name in enumerate(types)}
    counts = np.zeros((len(types), 3), dtype=np.int64)
    for label, prediction in zip(labels, predictions, strict=True):
        gold, predicted = entities(label), entities(prediction)
        for column, spans in enumerate((gold & predicted, gold, predicted)):
            for kind, _, _ in spans:
                counts[places[kind], column] += 1
    return counts


@dataclass(frozen=True)
class ClassRatios:
    """A score as a ratio of sums over classes, sum_c a_c / sum_c b_c; `a` and `b` are (..., classes).

    With H_c right items of class c, L_c in the labels and P_c predicted, and F_c = 2 H_c / (L_c + P_c):

        accuracy   a_c = H_c     b_c = L_c
        f1         a_c = 2 H_c   b_c = L_c + P_c
        macro_f1   a_c = F_c     b_c = 1, both 0 for a class that is neither in the labels nor predicted

    Where the denominator is 0 there is no score: NaN.
    """

    a: Array
    b: Array

    @property
    def score(self) -> Array:
        """The score over all classes, (...)."""
        return _ratio(self.a.sum(axis=-1), self.b.sum(axis=-1))

    @property
    def each(self) -> Array:
        """The score of each class by itself, (..., classes): its recall for accuracy, its F1 otherwise."""
        return _ratio(self.a, self.b)

    @property
    def without(self) -> Array:
        """The score with each class left out, (..., classes): without its items or, for F1, its entities."""
        return _ratio(self.a.sum(axis=-1, keepdims=True) - self.a, self.b.sum(axis=-1, keepdims=True) - self.b)


def class_ratios(counts: npt.ArrayLike, metric: str) -> ClassRatios:
    """Return a score as a ratio of sums over classes, from counts (..., classes, 3) of right, labels and predictions.

    Raises: InputError for a metric that is none of `BY_CLASS`.
    """
    right, labels, predicted = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    if metric == "accuracy":
        return ClassRatios(right, labels)
    either = labels + predicted
    if metric == "f1":
        return ClassRatios(2 * right, either)
    if metric == "macro_f1":
        present = either > 0
        return ClassRatios(np.divide(2 * right, either, out=np.zeros_like(right), where=present), present.astype(float))
    raise InputError(f"`{metric}` is no score that adds up over classes; expected {', '.join(BY_CLASS)}.")


def _ratio(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0.5)  # b counts items or classes


def carriers(effect: float, without: Mapping[str, float], share: float = 0.5) -> tuple[str, ...]:
    """Return the items whose removal flips an effect's sign or takes away more than a share of it, largest loss first.

    Those with (e - e_-i) / e > share, e being the effect with all items and e_-i the one without item i; a change of sign
    is a loss of more than 1. None for an effect of 0. Invariant under the sign and unit of the
    effects.
    """
    largest = max((abs(value) for value in without.values()), default=0.0)
    if abs(effect) <= _NOTHING * largest:
        return ()
    lost = {name: 1 - value / effect for name, value in without.items()}
    return tuple(sorted((name for name in lost if lost[name] > share + 1e-9), key=lambda name: -lost[name]))
