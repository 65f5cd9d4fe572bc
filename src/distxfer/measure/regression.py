"""Regressions over languages: of the transfer gap on their properties, and of the score on distance for a new language."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import factorial

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from distxfer.errors import InputError
from distxfer.measure.correlation import partial_correlation

Array = npt.NDArray[np.float64]

_MAX_COVARIATES = 10  # the shares need 2^covariates regressions
_FEWEST = 5  # languages of a line: with fewer, it nearly interpolates them, and its interval means little


@dataclass(frozen=True)
class Part:
    """One covariate in a decomposition.

    `r` is its correlation with the scores, with the p value `p`; `partial_r` and `partial_p` are the same given the other
    covariates; `coefficient` is the change of the score, in its standard deviations, per standard deviation of the
    covariate, the others held; `share` its part of R^2; `vif` its variance inflation, 1 when it is uncorrelated with the
    others. The p values are None where the families allow too few rearrangements, and `partial_r` where the other
    covariates explain the scores in full.
    """

    covariate: str
    r: float
    p: float | None
    partial_r: float | None
    partial_p: float | None
    coefficient: float
    share: float
    vif: float


@dataclass(frozen=True)
class Decomposition:
    """The parts of the scores' variance over languages; `r_squared` is the sum of the shares, a fraction."""

    parts: tuple[Part, ...]
    r_squared: float
    adjusted_r_squared: float
    n: int
    notes: tuple[str, ...] = ()


def decompose(
    scores: Mapping[str, float],
    covariates: Mapping[str, Mapping[str, float]],
    *,
    groups: Mapping[str, Hashable | None] | None = None,
    draws: int = 9999,
) -> Decomposition:
    r"""Return the decomposition of the scores of languages over covariates such as distance, script and tokens per word.

    Least squares of the standardised scores on the standardised covariates. The share of covariate j is the rise of
    R^2 when it enters, averaged over all orders in which the q covariates can enter:

    .. math:: \sum_{S \not\ni j} \frac{|S|!\,(q - |S| - 1)!}{q!} \left(R^2(S \cup j) - R^2(S)\right)

    so that the shares sum to R^2 and none is negative. adjusted R^2 = 1 - (1 - R^2)(n - 1)/(n - q - 1). All
    correlations are Pearson's, as the regression is; their p values are those of `correlate` and `partial_correlation`,
    and `groups` gives each language its family for them. Observational: a covariate that predicts the gap need not cause it.

    `scores`: language to score, the targets only; `covariates`: name to language to value (script as 0 or 1), every
    language of `scores`; others are ignored. Invariant under the order of languages (but for the draws) and of
    covariates, and under linear maps of each. `notes` names covariates of variance inflation over 10, whose parts
    cannot be told apart. Cost: 2^q regressions, at most 10 covariates.

    Raises: InputError for no or too many covariates, not more than q + 2 languages, a value that is missing or not
    finite, scores or a covariate that are constant, or covariates of which one is a linear function of others.

    Reference: Lindeman, Merenda and Gold 1980; Grömping 2006, section 2 (the shares); Freedman and Lane 1983.
    """
    if not 1 <= len(covariates) <= _MAX_COVARIATES:
        raise InputError(
            f"`covariates` holds {len(covariates)}; expected 1 to {_MAX_COVARIATES}: choose those with a reason."
        )
    if len(scores) <= len(covariates) + 2:
        raise InputError(
            f"`scores` holds {len(scores)} languages for {len(covariates)} covariates; expected at least "
            f"{len(covariates) + 3}: give more languages or fewer covariates."
        )
    names, languages = list(covariates), list(scores)
    x, y = _standardised(covariates, languages), _standardised({"scores": scores}, languages)[:, 0]
    (n, q), correlations = x.shape, x.T @ x
    if np.linalg.eigvalsh(correlations)[0] < 1e-10:
        raise InputError(
            f"The covariates {', '.join(f'`{name}`' for name in names)} are collinear; expected none to be a linear"
            " function of the others: leave one out."
        )
    coefficients = np.linalg.solve(correlations, x.T @ y)
    inflation = np.diag(np.linalg.inv(correlations))
    explained, shares = _shares(correlations, x.T @ y)
    family = None if groups is None else [groups.get(language) for language in languages]
    parts = []
    for j, name in enumerate(names):
        simple, partial = (
            partial_correlation(x[:, j], y, controls, groups=family, method="pearson", draws=draws)
            for controls in (None, np.delete(x, j, axis=1))
        )
        r, coefficient, vif = (float(value) for value in (x[:, j] @ y, coefficients[j], inflation[j]))
        parts.append(Part(name, r, simple.p, partial.r, partial.p, coefficient, shares[j], vif))
    notes = tuple(
        f"`{part.covariate}` is nearly a function of the other covariates (variance inflation {part.vif:.0f}): "
        "its part cannot be told from theirs"
        for part in parts
        if part.vif > 10
    )
    return Decomposition(tuple(parts), explained, 1 - (1 - explained) * (n - 1) / (n - q - 1), n, notes)


def _standardised(values: Mapping[str, Mapping[str, float]], languages: list[str]) -> Array:
    """Return the values as columns that are centred and of norm 1, one row per language."""
    table = pd.DataFrame(values).reindex(languages).astype(float)
    for name, column in table.items():
        for language in column.index[~np.isfinite(column)]:
            raise InputError(
                f"`{name}` is {column[language]} for `{language}`; expected a finite number for every language that has"
                " a score: leave out the language or the covariate."
            )
    columns = np.ascontiguousarray(table)
    centred = columns - columns.mean(axis=0)
    flat = np.abs(centred).max(axis=0) <= 1e-12 * np.abs(columns).max(axis=0)
    if flat.any():
        raise InputError(
            f"`{table.columns[flat][0]}` is the same for all languages; expected values that differ: "
            "a constant explains nothing."
        )
    return np.asarray(centred / np.linalg.norm(centred, axis=0), dtype=np.float64)


def _shares(correlations: Array, with_scores: Array) -> tuple[float, list[float]]:
    """Return R^2 of all covariates, and the share of each, from correlations alone."""
    q = len(with_scores)
    explained: dict[frozenset[int], float] = {}
    for size in range(q + 1):
        for chosen in combinations(range(q), size):
            some = list(chosen)
            solved = np.linalg.solve(correlations[np.ix_(some, some)], with_scores[some])
            explained[frozenset(chosen)] = float(with_scores[some] @ solved)
    shares = [0.0] * q
    for chosen_set, value in explained.items():
        size = len(chosen_set)
        for j in set(range(q)) - chosen_set:
            weight = factorial(size) * factorial(q - size - 1) / factorial(q)
            shares[j] += weight * (explained[chosen_set | {j}] - value)
    return explained[frozenset(range(q))], shares


@dataclass(frozen=True)
class Prediction:
    """The score to expect in one more language, with its 95 % prediction interval (`low`, `high`).

    `error` is the leave-one-language-out error of the line, and `error_of_mean` that of the mean of the other
    languages, which uses no distance: where the first is not smaller, the distance says nothing here. Both are root
    mean squares in the unit of the scores. `covered` is the share of the measured languages inside the interval that
    the others give them. All but `n` are None where `reason` says why.
    """

    value: float | None
    low: float | None
    high: float | None
    error: float | None
    error_of_mean: float | None
    covered: float | None
    n: int
    reason: str | None = None


def expected_score(distances: Sequence[float], scores: Sequence[float], new: float) -> Prediction:
    """Return the score to expect at the distance `new`, from a least-squares line through measured languages.

    With s^2 the residual variance on n - 2 degrees of freedom and S = sum (x_i - mean)^2, the value is a + b new and the
    95 % interval is +- t_{n-2} s sqrt(1 + 1/n + (new - mean)^2 / S): that of ONE more language, wider than the line's own.

    Shapes: (n,) and (n,), one score a language (averaged over seeds); any unit. It supposes languages that are
    independent and scatter alike at all distances, and is an extrapolation outside their range. None with a reason for
    fewer than 5 languages, or distances that are all the same.

    Raises: InputError for unequal lengths or numbers that are not finite.

    Reference: Draper and Smith 1998, section 3.2 (the interval); Allen 1974 (leaving out).
    """
    x, y = np.asarray(distances, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(new)):
        raise InputError(
            f"`distances` has the shape {x.shape} and `scores` {y.shape}; expected one finite number of each per "
            "language: leave out the languages that lack one."
        )
    n, nothing = len(x), Prediction(None, None, None, None, None, None, len(x))
    if n < _FEWEST:
        return replace(nothing, reason=f"{n} languages are measured, and a line with an interval needs {_FEWEST}")
    if np.ptp(x) <= 1e-12 * np.abs(x).max():
        return replace(nothing, reason="all measured languages are equally far")
    value, half = _line(x, y, new)
    errors, errors_of_mean, inside = [], [], []
    for i in range(n):
        rest_x, rest_y = np.delete(x, i), np.delete(y, i)
        if np.ptp(rest_x) <= 1e-12 * np.abs(x).max():
            return replace(nothing, reason="without one language, all others are equally far")
        guess, width = _line(rest_x, rest_y, x[i])
        errors.append(y[i] - guess)
        errors_of_mean.append(y[i] - rest_y.mean())
        inside.append(abs(y[i] - guess) <= width)
    error, error_of_mean = (float(np.sqrt(np.mean(np.square(left_out)))) for left_out in (errors, errors_of_mean))
    return Prediction(value, value - half, value + half, error, error_of_mean, float(np.mean(inside)), n)


def _line(x: Array, y: Array, new: float) -> tuple[float, float]:
    """Return the line's value at `new` and half the width of its prediction interval."""
    n, centred = len(x), x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread
    residual = y - y.mean() - slope * centred
    error = np.sqrt(float(residual @ residual) / (n - 2))
    half = float(stdtrit(n - 2, 0.975)) * error * np.sqrt(1 + 1 / n + (new - x.mean()) ** 2 / spread)
    return float(y.mean() + slope * (new - x.mean())), float(half)
