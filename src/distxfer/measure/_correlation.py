"""Correlations over languages: one value per language, with families as exchangeable blocks.

Related languages are not independent observations, and neither are runs of one language. Every p value here comes from
permutations of the languages that keep families together.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from distxfer.errors import InputError, unknown
from distxfer.measure._families import Groups, Orders, rearrangements

Method = Literal["spearman", "pearson"]
Array = npt.NDArray[np.float64]

MIN_LANGUAGES = 4
CHUNK = 2**22  # cells of permuted values held at a time: 32 MiB


@dataclass(frozen=True)
class Correlation:
    """A correlation over languages.

    `p` is two-sided; `n` counts languages and `n_groups` the families among them, a language without one being its own.
    `detectable` is the smallest |r| that n independent languages show with 80 % power. `r` and `p` are None where
    `reason` says why.
    """

    r: float | None
    p: float | None
    n: int
    n_groups: int
    method: Method
    detectable: float | None
    reason: str | None = None


def correlate(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    groups: Groups | None = None,
    method: Method = "spearman",
    draws: int = 9999,
    seed: int = 0,
) -> Correlation:
    r"""Return the correlation of two values per language, with a p value that accounts for families.

    r = cov(x, y) / (sd(x) sd(y)), of the values (`pearson`) or of their ranks, ties sharing the average (`spearman`).

    `groups` gives each language its family, or a path (family, branch, ...) from the largest group to the smallest, as
    `lineage` does; None or () is a language on its own. y is rearranged as the tree of the groups allows:
    languages within their smallest group, and whole groups of the same structure with each other. p is the share of
    rearrangements with :math:`|r^*| \ge |r|`: all of them where there are at most `draws`, else
    :math:`(1 + \#) / (draws + 1)` of random ones. So p is exact, at any number and sizes of families, if the languages
    of one smallest group are exchangeable; what differs between groups that cannot change places counts in r, but is
    no evidence. False positives at 0.05 (studies/simulations/correlation_error_rates.py): without `groups` 11 to 49 % where the
    family makes most of the value; with them 4 to 7 %; with families alone where branches matter 14 to 19 %, so give
    branches. What languages share below the groups that are given counts as their own, and
    so does what neighbours share: with 80 % of the variance areal, 13 to 19 % for 113 languages, and 9 to 11 % with
    `languages.permutation_groups`, which keep areas together.

    One value per LANGUAGE, shapes (n,) and (n,): average over seeds first, and leave the source language out. Range of
    r: [-1, 1], of p: (0, 1]. Symmetric in x and y but for the draws; invariant under linear (`spearman`: increasing)
    maps of either. Time and memory grow with draws x n. `detectable` supposes independent languages: families raise
    it.

    None with a reason: fewer than 4 languages, a constant x or y, or families that allow fewer than 20 rearrangements
    (p alone). Raises: InputError for shapes that differ, values that are not finite, an unknown method, groups of
    another length, or fewer than 99 draws.

    Reference: Winkler et al. 2015, Multi-level block permutation (the rearrangements); Phipson and Smyth 2010 (the p).
    """
    return partial_correlation(x, y, None, groups=groups, method=method, draws=draws, seed=seed)


def partial_correlation(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    covariates: npt.ArrayLike | None,
    *,
    groups: Groups | None = None,
    method: Method = "spearman",
    draws: int = 9999,
    seed: int = 0,
) -> Correlation:
    """Return the correlation of what the covariates leave of x and of y.

    With M = I - Z (Z'Z)^-1 Z' and Z the covariates and a constant, r = corr(M x, M y), all replaced by their ranks
    first under `spearman`. The p value rearranges the residuals of y and takes the covariates out of them again:
    r* = corr(M x, M P M y) for each rearrangement P of `correlate`, which says what `groups`, p and None mean. It is
    exact without covariates and approximate with them.

    Shapes: (n,), (n,) and (n,) or (n, covariates); one value per language. Range of r: [-1, 1]. Invariant under linear
    maps of x and y and (`pearson`) of the covariates among themselves. `detectable` counts each covariate as a language
    less.

    None with a reason: as `correlate`, with x or y constant once the covariates are out; and fewer than 4 languages
    more than covariates. Raises: as `correlate`.

    Reference: Freedman and Lane 1983; Winkler et al. 2014, Permutation inference for the general linear model.
    """
    columns = np.empty((np.size(x), 0)) if covariates is None else np.asarray(covariates, dtype=np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    values = _columns({"x": x, "y": y}, columns)
    _check_method(method)
    moves = rearrangements(len(values), groups, draws, seed)
    if method == "spearman":
        values = np.apply_along_axis(ranks, 0, values)
    n, n_covariates = len(values), columns.shape[1]
    detectable = detectable_correlation(n - n_covariates)
    if n - n_covariates < MIN_LANGUAGES:
        over = f" and {n_covariates} covariates" if n_covariates else ""
        reason = (
            f"no correlation: {n} languages{over}, and at least {MIN_LANGUAGES + n_covariates} languages are needed"
        )
        return Correlation(None, None, n, moves.n_groups, method, detectable, reason)
    basis = _basis(values[:, 2:])
    residuals = values[:, :2] - basis @ (basis.T @ values[:, :2])
    flat = np.abs(residuals).max(axis=0) <= 1e-12 * np.abs(values[:, :2]).max(axis=0)
    if flat.any():
        name = "x" if flat[0] else "y"
        adjusted = " after the covariates are taken out" if n_covariates else ""
        reason = f"no correlation: `{name}` is the same for all languages{adjusted}"
        return Correlation(None, None, n, moves.n_groups, method, detectable, reason)
    first, second = (residuals / np.linalg.norm(residuals, axis=0)).T
    r = float(first @ second)
    p = None if moves.reason else moves.p(_permuted(first, second, basis, moves.orders), r)
    return Correlation(r, p, n, moves.n_groups, method, detectable, moves.reason)


def _columns(named: dict[str, npt.ArrayLike], covariates: Array) -> Array:
    """Return x, y and the covariates as the columns of one table, checked."""
    x, y = (np.asarray(values, dtype=np.float64) for values in named.values())
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(
            f"`x` has the shape {x.shape} and `y` {y.shape}; expected one value of each per language: "
            "average over seeds first."
        )
    if covariates.ndim != 2 or len(covariates) != len(x):
        raise InputError(
            f"`covariates` has the shape {covariates.shape} for {len(x)} languages; expected (languages,) or "
            "(languages, covariates): give one row per language."
        )
    for name, values in (("x", x), ("y", y), ("covariates", covariates)):
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise InputError(
                f"`{name}` is not finite at position {row}; expected a finite number for every language: "
                "leave the language out."
            )
    return np.column_stack([x, y, covariates])


def _basis(covariates: Array) -> Array:
    """Return orthonormal columns that span the covariates and a constant, whatever is collinear among them."""
    centred = covariates - covariates.mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    centred = centred[:, norms > 1e-12 * np.linalg.norm(covariates, axis=0)]
    vectors, sizes, _ = np.linalg.svd(centred / np.linalg.norm(centred, axis=0), full_matrices=False)
    constant = np.full((len(covariates), 1), len(covariates) ** -0.5)
    return np.column_stack([constant, vectors[:, sizes > 1e-10]])


def _permuted(first: Array, second: Array, basis: Array, orders: Orders) -> Array:
    """Return corr(first, M P second) for each order P, where M takes out `basis`, and first has norm 1 and is in M."""
    correlations = np.empty(len(orders))
    step = max(1, CHUNK // len(first))
    for start in range(0, len(orders), step):
        moved = second[orders[start : start + step]]
        moved = moved - (moved @ basis) @ basis.T
        norm = np.linalg.norm(moved, axis=1)
        # A permutation that the covariates explain in full has no correlation: count it as 0, never as extreme.
        correlations[start : start + step] = np.divide(moved @ first, norm, out=np.zeros_like(norm), where=norm > 1e-12)
    return correlations


def ranks(values: Array) -> Array:
    """Return the ranks from 1 of a vector, ties sharing their average."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[where], dtype=np.float64)


def _check_method(method: str) -> None:
    if method not in ("spearman", "pearson"):
        raise unknown("Method", method, ("spearman", "pearson"))


def critical_correlation(n: int, *, alpha: float = 0.05) -> float | None:
    """Return the smallest |r| that a two-sided test calls significant with n independent languages.

    t / sqrt(t^2 + n - 2), with t the 1 - alpha/2 quantile of Student's t on n - 2 degrees of freedom: 0.58 for 12
    languages. A true correlation of this size is found half of the time only: see `detectable_correlation`. None for
    fewer than 4 languages. Raises: InputError for an alpha outside (0, 1).
    """
    _check_share("alpha", alpha)
    if n < MIN_LANGUAGES:
        return None
    t = float(stdtrit(n - 2, 1 - alpha / 2))
    return float(t / (t * t + n - 2) ** 0.5)


def detectable_correlation(n: int, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Return the smallest true |rho| that a two-sided test finds with the given power among n independent languages.

    The rho with atanh(rho) + rho / (2 (n - 1)) = atanh(r_critical) + z_power / sqrt(n - 3), by Fisher's transformation
    with its correction for bias: 0.72 for 12 languages, 0.46 for 34. More than the r that is just significant
    (`critical_correlation`), which is found half of the time. For Pearson's r of normal values; Spearman's rho needs
    about 3 % more, and families more than that. None for fewer than 4 languages. Raises: InputError for an alpha or
    power outside (0, 1). Reference: Fisher 1921; Cohen 1988, section 12.7.
    """
    _check_share("power", power)
    critical = critical_correlation(n, alpha=alpha)
    if critical is None:
        return None
    reached = float(np.arctanh(critical) + ndtri(power) / (n - 3) ** 0.5)
    rho = critical
    for _ in range(30):  # each step leaves at most 1/6 of the error
        rho = float(np.tanh(reached - rho / (2 * (n - 1))))
    return rho


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise InputError(f"`{name}` is {value}; expected a number between 0 and 1: give one such as 0.05 or 0.8.")
