"""Transfer from the source language to the targets, and runs that learnt nothing."""

from collections.abc import Collection, Mapping, Sequence
from math import fsum, isfinite, nan
from statistics import fmean

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, stdtrit

from distxfer.errors import InputError, unknown

Array = npt.NDArray[np.float64]


def transfer_summary(
    scores: Mapping[str, float],
    source_score: float,
    distances: Mapping[str, float],
    near: Collection[str],
    far: Collection[str],
) -> dict[str, float | None]:
    """Return six numbers that summarise the transfer of one run.

    source: the source score; target_mean, near_mean, far_mean: unweighted means over all, the near and the far target
    languages; gap = source - target_mean; distance_slope = cov(distance, score) / var(distance) over the targets, the
    change of score per unit of distance (negative when transfer falls with distance).

    `scores` holds the targets only, `distances` at least these; scores in any unit, which the results keep. All values
    are finite floats; None stands for the mean of an empty `near` or `far`, and for the slope of fewer than 3 targets
    or of targets that are all equally far.

    Raises: InputError for no targets, a score or distance that is missing or not finite, or an unknown language in
    `near` or `far`.
    """
    if not scores:
        raise InputError("`scores` is empty; expected the score of each target language: give at least one.")
    far_away = {language: distances.get(language, nan) for language in scores}
    _check_finite("score", {"source": source_score, **scores})
    _check_finite("distance", far_away)
    for language in (*near, *far):
        if language not in scores:
            raise unknown("Target language", language, scores)
    target_mean = float(np.mean(list(scores.values())))
    slope = distance_slopes(np.array([*scores.values()]), np.array([*far_away.values()]))
    return {
        "source": float(source_score),
        "target_mean": target_mean,
        "near_mean": float(np.mean([scores[language] for language in near])) if near else None,
        "far_mean": float(np.mean([scores[language] for language in far])) if far else None,
        "gap": float(source_score) - target_mean,
        "distance_slope": None if slope is None else float(slope),
    }


def _check_finite(quantity: str, values: Mapping[str, float]) -> None:
    for name, value in values.items():
        if not isfinite(value):
            raise InputError(
                f"The {quantity} of `{name}` is {value}; expected a finite number: leave the language out, or run it again."
            )


def distance_slopes(values: Array, distances: Array) -> Array | None:
    """Return the least-squares slopes of values (..., n) on n distances; None for n < 3 or distances that are all equal."""
    centred = distances - distances.mean()
    if len(centred) < 3 or np.abs(centred).max() <= 1e-12 * np.abs(distances).max():
        return None
    return np.asarray(values @ centred / (centred @ centred))


def relative_transfer(target: float, source: float) -> float | None:
    """Return the relative change of the score from source to target, (target - source) / source.

    Range: [-1, inf) for scores >= 0, -1 when nothing carries over and 0 when everything does; None for a source of 0.
    Invariant under the unit of the scores. Raises: InputError for a score that is not finite. Reference: Gaschi et al.
    2023.
    """
    _check_finite("score", {"target": target, "source": source})
    return (target - source) / source if source else None


def is_collapsed_over_texts(gains: Sequence[int]) -> bool:
    """Return whether a run is within noise of always giving each word the majority label.

    `gains[i]` is how many more words of text i the run got right than the majority label gets, for n texts. One-sided t-test
    at 0.05 of their mean: collapsed unless mean * sqrt(n) / s > t(0.95, n - 1). The texts are the observations, since the
    words of one are not independent: a test over words would take a run for better than it is. Fewer than 2 texts are too
    few to tell, and count as collapsed, as in `is_collapsed`.
    """
    n = len(gains)
    if n < 2:
        return True
    mean = fmean(gains)
    spread = fsum((gain - mean) ** 2 for gain in gains) / (n - 1)
    return mean <= 0 or mean <= float(stdtrit(n - 1, 0.95)) * (spread / n) ** 0.5


def is_collapsed(correct: int, n: int, majority: int) -> bool:
    """Return whether a run is within noise of always answering the majority class.

    One-sided exact binomial test at 0.05: with q = majority / n, collapsed when P(Bin(n, q) >= correct) > 0.05, that is
    unless the accuracy is significantly above the majority rate. So too few examples to tell (or one class only) count
    as collapsed: a run has to show that it learnt something.

    `correct` of `n` examples were right; `majority` of the same n have the most frequent label. Raises: InputError
    unless 0 <= correct <= n and 1 <= majority <= n.
    """
    if not (0 <= correct <= n and 1 <= majority <= n):
        raise InputError(
            f"`correct` is {correct}, `majority` is {majority} and `n` is {n}; expected 0 <= correct <= n and "
            "1 <= majority <= n: count all three on the same examples."
        )
    if correct == 0:
        return True
    return bool(betainc(correct, n - correct + 1, majority / n) > 0.05)  # = P(Bin(n, majority / n) >= correct)
