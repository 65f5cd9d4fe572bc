"""Scores of predictions: of classes, entities and answers; and as ratios of sums over classes, any of which can be left out."""

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from distxfer.errors import InputError

Array = npt.NDArray[np.float64]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_BY_CLASS = ("accuracy", "macro_accuracy", "macro_f1", "f1")  # the metrics that are a ratio of sums over classes
_ROUNDING = 1e-12  # an effect of this size, relative to the largest without an item, is rounding


def accuracy(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Return the share of examples whose prediction is their label.

    Shapes: (n,) and (n,), of anything that compares. Range: [0, 1]. Invariant under one permutation of both and one
    renaming of the classes. Raises: InputError for no examples or unequal lengths.
    """
    gold, predicted = _paired(labels, predictions)
    return float(np.mean(gold == predicted))


def macro_accuracy(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Return the unweighted mean over classes of their accuracy: right predictions in c / labels in c (balanced accuracy).

    The mean is over the classes that occur among the labels. Unlike accuracy it does not depend on how many examples each
    class has, so languages with other shares of the classes can be compared; chance is 1 / classes.

    Shapes: (n,) and (n,), of anything that compares. Range: [0, 1]. Invariant under one permutation of both and one
    renaming of the classes. Raises: InputError for no examples or unequal lengths.
    """
    gold, predicted = _paired(labels, predictions)
    classes, numbers, counts = np.unique(gold, return_inverse=True, return_counts=True)
    return float(np.mean(np.bincount(numbers[gold == predicted], minlength=len(classes)) / counts))


def macro_f1(labels: npt.ArrayLike, predictions: npt.ArrayLike, n_classes: int) -> float:
    """Return the unweighted mean over classes of F1_c = 2 TP_c / (labels in c + predictions in c).

    The mean is over the classes that occur among labels or predictions; one that occurs in neither has no F1.

    Shapes: (n,) and (n,), integers in [0, n_classes). Range: [0, 1]. Invariant under one permutation of both and one
    renaming of the classes. Raises: InputError for no examples, unequal lengths, or a class out of range.
    """
    gold, predicted = _paired(labels, predictions)
    for name, values in (("labels", gold), ("predictions", predicted)):
        wrong = values[(values < 0) | (values >= n_classes) | (values != np.floor(values))]
        if wrong.size:
            raise InputError(
                f"`{name}` holds the class `{wrong[0]}`; expected an integer from 0 to {n_classes - 1}: "
                "check that labels and predictions number the same classes."
            )
    gold, predicted = gold.astype(np.int64), predicted.astype(np.int64)
    hits = np.bincount(gold[gold == predicted], minlength=n_classes)
    either = np.bincount(gold, minlength=n_classes) + np.bincount(predicted, minlength=n_classes)
    return float(np.mean(2 * hits[either > 0] / either[either > 0]))


def _paired(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    gold, predicted = np.asarray(labels), np.asarray(predictions)
    if gold.ndim != 1 or gold.shape != predicted.shape or not gold.size:
        raise InputError(
            f"`labels` has the shape {gold.shape} and `predictions` {predicted.shape}; "
            "expected one of each per example, and at least one example: check which examples were scored."
        )
    return gold, predicted


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share of n, such as an accuracy.

    The two p with (share - p)^2 = z^2 p (1 - p) / n, z = 1.96; within [0, 1], and of positive width at 0 and at 1 too.
    It assumes n independent answers. The queries of one retrieval share their candidates, and the sentences of one
    document their subject, so the interval is a lower bound on the uncertainty.

    Raises: InputError for a share outside [0, 1] (NaN included) or n < 1.

    Reference: Wilson 1927.
    """
    if not 0 <= share <= 1:
        raise InputError(f"`share` is {share}; expected 0 to 1: give hits divided by `n`.")
    if n < 1:
        raise InputError(f"`n` is {n}; expected at least 1: give the number of answers behind the share.")
    # From the product of the quadratic's roots: nothing cancels, so the ends are exactly 0 and 1 where they should be.
    a = NormalDist().inv_cdf(0.975) ** 2 / n
    low, below = (p**2 / (p + a / 2 + math.sqrt(a * (p * (1 - p) + a / 4))) for p in (share, 1 - share))
    return low, 1 - below


@dataclass(frozen=True)
class EntityScores:
    """Precision, recall and F1 of the entities of many texts together (micro-averaged), each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def entities(tags: Sequence[str]) -> frozenset[tuple[str, int, int]]:
    """Return the entities among the IOB2 tags of a text's words: (type, first word, last word + 1).

    An entity of type X is a run of `B-X` or `I-X` and the `I-X` that follow it. A `B-X` always begins one; so does an
    `I-X` that follows no `B-X` or `I-X`, as in the conlleval script and the default mode of seqeval. All else is outside.

    Invariant under a renaming of the types. Reference: Tjong Kim Sang and De Meulder 2003, section 2.
    """
    spans: set[tuple[str, int, int]] = set()
    current: str | None = None
    first = 0
    for place, tag in enumerate([*tags, "O"]):
        entity_type = tag[2:] if tag[:2] in ("B-", "I-") else None
        if entity_type == current and tag[:2] != "B-":
            continue
        if current is not None:
            spans.add((current, first, place))
        current, first = entity_type, place
    return frozenset(spans)


def entity_scores(labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> EntityScores:
    """Return precision, recall and F1 of the entities in n texts, each given as the IOB2 tags of its words.

    An entity is right where one of the same type has the same first and last word. With R right ones, P predicted and L
    in the labels: precision = R / P, recall = R / L, F1 = 2 R / (P + L); 0 where the denominator is 0.

    Invariant under one permutation of both. Raises: InputError for no texts, or texts of unequal lengths. Reference:
    seqeval in its default mode.
    """
    if not labels or [*map(len, labels)] != [*map(len, predictions)]:
        raise InputError(
            f"`labels` holds {len(labels)} texts and `predictions` {len(predictions)}; expected the tags of as many words in"
            " each, and at least one text: check which texts were scored."
        )
    types = {tag[2:]: None for text in (*labels, *predictions) for tag in text}
    right, expected, predicted = entity_counts(labels, predictions, [*types]).sum(axis=0).tolist()
    either = predicted + expected
    return EntityScores(
        precision=right / predicted if predicted else 0.0,
        recall=right / expected if expected else 0.0,
        f1=2 * right / either if either else 0.0,
    )


def entity_counts(
    labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], types: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Return the counts of the entities of each type in n texts, (types, 3): right, in the labels, predicted.

    Texts are the IOB2 tags of their words, entities as in `entities`; right is one of the same type, first and last word.
    """
    places = {name: place for place, name in enumerate(types)}
    counts = np.zeros((len(types), 3), dtype=np.int64)
    for label, prediction in zip(labels, predictions, strict=True):
        gold, predicted = entities(label), entities(prediction)
        for column, spans in enumerate((gold & predicted, gold, predicted)):
            for entity_type, _, _ in spans:
                counts[places[entity_type], column] += 1
    return counts


def normalised_answer(text: str) -> str:
    """Return an answer as it is compared: in lower case, without ASCII punctuation and English articles, single blanks.

    Reference: the evaluation script of Rajpurkar et al. 2016 (SQuAD 1.1).
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answers: Sequence[str], prediction: str) -> float:
    """Return 1 where the prediction is one of the right answers, after `normalised_answer`, else 0.

    No `answers`: the question has none, and only an empty prediction is right. Reference: Rajpurkar et al. 2016, section 6.1;
    for questions without an answer Rajpurkar et al. 2018.
    """
    return float(normalised_answer(prediction) in {normalised_answer(answer) for answer in answers or [""]})


def answer_f1(answers: Sequence[str], prediction: str) -> float:
    """Return the largest F1 of the prediction with one of the right answers, in [0, 1].

    F1 = 2 S / (A + P) with A and P the words (parted by blanks, after `normalised_answer`) of answer and prediction as
    multisets and S the size of what they share; 1 where both are empty. In scripts without blanks a text is one word,
    and F1 is exact match. No `answers`: as in `exact_match`.

    Reference: Rajpurkar et al. 2016, section 6.1; for questions without an answer Rajpurkar et al. 2018.
    """
    return max(
        _overlap(normalised_answer(answer).split(), normalised_answer(prediction).split()) for answer in answers or [""]
    )


def _overlap(answer: Sequence[str], prediction: Sequence[str]) -> float:
    if not answer and not prediction:
        return 1.0
    return 2 * (Counter(answer) & Counter(prediction)).total() / (len(answer) + len(prediction))


@dataclass(frozen=True)
class ClassRatios:
    """A score as a ratio of sums over classes, sum_c a_c / sum_c b_c; `a` and `b` are (..., classes).

    With H_c right items of class c, L_c in the labels and P_c predicted, and F_c = 2 H_c / (L_c + P_c):

        accuracy         a_c = H_c         b_c = L_c
        macro_accuracy   a_c = H_c / L_c   b_c = 1, both 0 for a class that is not in the labels
        f1               a_c = 2 H_c       b_c = L_c + P_c
        macro_f1         a_c = F_c         b_c = 1, both 0 for a class that is neither in the labels nor predicted

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
        """The score of each class by itself, (..., classes): its recall for the accuracies, its F1 otherwise."""
        return _ratio(self.a, self.b)

    @property
    def without(self) -> Array:
        """The score with each class left out, (..., classes): without its items or, for F1, its entities."""
        return _ratio(self.a.sum(axis=-1, keepdims=True) - self.a, self.b.sum(axis=-1, keepdims=True) - self.b)


def class_ratios(counts: npt.ArrayLike, metric: str) -> ClassRatios:
    """Return a score as a ratio of sums over classes, from counts (..., classes, 3) of right, labels and predictions.

    Raises: InputError for a metric that is none of accuracy, macro_accuracy, macro_f1 and f1.
    """
    right, labels, predicted = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    if metric == "accuracy":
        return ClassRatios(right, labels)
    either = labels + predicted
    if metric == "f1":
        return ClassRatios(2 * right, either)
    if metric in ("macro_accuracy", "macro_f1"):
        above, below = (right, labels) if metric == "macro_accuracy" else (2 * right, either)
        present = below > 0
        return ClassRatios(np.divide(above, below, out=np.zeros_like(right), where=present), present.astype(float))
    raise InputError(f"`{metric}` is no score that adds up over classes; expected {', '.join(_BY_CLASS)}.")


def _ratio(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0.5)  # b counts items or classes


def carriers(effect: float, without: Mapping[str, float], share: float = 0.5) -> tuple[str, ...]:
    """Return the items whose removal flips an effect's sign or takes away more than a share of it, largest loss first.

    Those with (e - e_-i) / e > share, e being the effect with all items and e_-i the one without item i; a change of sign
    is a loss of more than 1. None for an effect of 0. Invariant under the sign and unit of the
    effects.
    """
    largest = max((abs(value) for value in without.values()), default=0.0)
    if abs(effect) <= _ROUNDING * largest:
        return ()
    lost = {name: 1 - value / effect for name, value in without.items()}
    return tuple(sorted((name for name in lost if lost[name] > share + 1e-9), key=lambda name: -lost[name]))
