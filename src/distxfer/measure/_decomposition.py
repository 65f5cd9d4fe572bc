"""The transfer gap regressed on properties of the languages, and the share that each accounts for."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import factorial, isfinite

import numpy as np
import numpy.typing as npt

from distxfer.errors import InputError
from distxfer.measure._correlation import partial_correlation

Array = npt.NDArray[np.float64]

MAX_COVARIATES = 10  # the shares need 2^covariates regressions


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
    seed: int = 0,
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
    names, languages = list(covariates), list(scores)
    _check(scores, covariates)
    y = np.array([scores[language] for language in languages], dtype=np.float64)
    x = np.array([[covariates[name][language] for name in names] for language in languages], dtype=np.float64)
    x, y = _standardised(x, names), _standardised(y[:, None], ["scores"])[:, 0]
    (n, q), correlations = x.shape, x.T @ x
    if np.linalg.eigvalsh(correlations)[0] < 1e-10:
        raise InputError(
            f"The covariates {_listed(names)} are collinear; expected none to be a linear function of the others: "
            "leave one out."
        )
    coefficients = np.linalg.solve(correlations, x.T @ y)
    inflation = np.diag(np.linalg.inv(correlations))
    explained, shares = _shares(correlations, x.T @ y)
    family = None if groups is None else [groups.get(language) for language in languages]
    parts = []
    for j, name in enumerate(names):
        simple, partial = (
            partial_correlation(x[:, j], y, controls, groups=family, method="pearson", draws=draws, seed=seed)
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


def _check(scores: Mapping[str, float], covariates: Mapping[str, Mapping[str, float]]) -> None:
    if not 1 <= len(covariates) <= MAX_COVARIATES:
        raise InputError(
            f"`covariates` holds {len(covariates)}; expected 1 to {MAX_COVARIATES}: choose those with a reason."
        )
    if len(scores) <= len(covariates) + 2:
        raise InputError(
            f"`scores` holds {len(scores)} languages for {len(covariates)} covariates; expected at least "
            f"{len(covariates) + 3}: give more languages or fewer covariates."
        )
    for name, values in {"scores": scores, **covariates}.items():
        for language in scores:
            if language not in values:
                raise InputError(
                    f"`{name}` has no value for `{language}`; expected one for every language that has a score: "
                    "leave out the language or the covariate."
                )
            if not isfinite(values[language]):
                raise InputError(
                    f"`{name}` is {values[language]} for `{language}`; expected a finite number: "
                    "leave out the language or the covariate."
                )


def _standardised(columns: Array, names: list[str]) -> Array:
    """Return the columns centred and of norm 1."""
    centred = columns - columns.mean(axis=0)
    flat = np.abs(centred).max(axis=0) <= 1e-12 * np.abs(columns).max(axis=0)
    if flat.any():
        raise InputError(
            f"`{names[int(flat.argmax())]}` is the same for all languages; expected values that differ: "
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


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
