"""The expected score in a language without measurements, from the languages with them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from distxfer.errors import InputError

_FEWEST = 5  # languages: with fewer, the line nearly interpolates them, and its interval means little


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
    n = len(x)
    if n < _FEWEST:
        return _none(n, f"{n} languages are measured, and a line with an interval needs {_FEWEST}")
    if np.ptp(x) <= 1e-12 * np.abs(x).max():
        return _none(n, "all measured languages are equally far")
    value, half = _line(x, y, new)
    line, mean, inside = [], [], []
    for i in range(n):
        kept_in = np.arange(n) != i
        mean.append(y[i] - y[kept_in].mean())
        if np.ptp(x[kept_in]) <= 1e-12 * np.abs(x).max():
            return _none(n, "without one language, all others are equally far")
        guess, width = _line(x[kept_in], y[kept_in], x[i])
        line.append(y[i] - guess)
        inside.append(abs(y[i] - guess) <= width)
    return Prediction(
        value=value,
        low=value - half,
        high=value + half,
        error=float(np.sqrt(np.mean(np.square(line)))),
        error_of_mean=float(np.sqrt(np.mean(np.square(mean)))),
        covered=float(np.mean(inside)),
        n=n,
    )


def _line(x: np.ndarray, y: np.ndarray, new: float) -> tuple[float, float]:
    """Return the line's value at `new` and half the width of its prediction interval."""
    n, centred = len(x), x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread
    residual = y - y.mean() - slope * centred
    error = np.sqrt(float(residual @ residual) / (n - 2))
    half = float(stdtrit(n - 2, 0.975)) * error * np.sqrt(1 + 1 / n + (new - x.mean()) ** 2 / spread)
    return float(y.mean() + slope * (new - x.mean())), float(half)


def _none(n: int, reason: str) -> Prediction:
    return Prediction(None, None, None, None, None, None, n, reason)
