"""What a table of seeds by languages can and cannot say about a method.

Cells of one seed, and cells of one language, move together: a test that pools the cells calls noise a finding in 4 of
10 cases. Nothing here pools them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

from distxfer.errors import InputError

Table = npt.NDArray[np.float64]

MIN_SEEDS = 3  # Below this, there is no ranking: one or two runs cannot show how much runs differ.
_LEVEL = 0.05


@dataclass(frozen=True)
class Crossed:
    """The mean difference between two methods, with its uncertainty over seeds and languages.

    `effect`, `standard_error`, `low` and `high` (95 %) are in the unit of the differences, `p` is two-sided.
    `seed_share`, in [0, 1], is the part of the error's variance that more seeds would reduce; the rest needs more
    languages. All but the effect and the counts are None when `reason` says why there is no ranking.
    """

    effect: float
    standard_error: float | None
    seed_share: float | None
    low: float | None
    high: float | None
    p: float | None
    n_seeds: int
    n_languages: int
    reason: str | None = None


@dataclass(frozen=True)
class _Source:
    """One source of uncertainty: its part of the variance of the mean, estimated on so many degrees of freedom."""

    variance: float
    df: float


def crossed(differences: npt.ArrayLike) -> Crossed:
    r"""Return the mean difference and its test, with seeds and languages both random and crossed.

    Model: d_sl = effect + seed_s + language_l + error_sl, all three random. With the mean squares MS_S = L sum_s
    (d_s. - d..)^2 / (S-1), MS_L likewise and MS_E of the residuals, the variance of d.. is estimated in two parts,

        V_S = MS_S / (S L)  on S - 1 degrees of freedom,    V_L = max(MS_L - MS_E, 0) / (S L)  on L - 1,

    so that the noise, which is in both mean squares, counts once (it stays with the factor that has fewer levels: for
    S > L, V_S is cut instead). With t = effect / sqrt(V_S + V_L) and the shares w_S = V_S / (V_S + V_L), w_L = 1 - w_S,

        p = w_S P(|t_{S-1}| >= |t|) + w_L P(|t_{L-1}| >= |t|),

    the t tests of the two factors in the proportion in which they make up the error. The interval is its inverse: all
    effects with p > 0.05. The usual alternative, one t test with the degrees of freedom of Satterthwaite (1946, eq. 17),
    finds too much with few seeds (up to 8 % at 3); this one finds, at a nominal 5 %, 2.5 to 5.5 % for 3 to 10 seeds by
    8 to 34 languages and any proportion of the variances (`scripts/error_rates.py`).

    Shape: (n_seeds, n_languages), every cell filled: method less baseline, same seed and language. With one language,
    the ordinary t test over the seeds: it speaks of that language alone. With fewer than 3 seeds there is no ranking,
    nor when differences that are not 0 do not vary at all: only the effect and the reason are given. All differences 0
    gives p = 1.

    Invariant under permutation of seeds or languages and, but for the unit, under scaling.

    Raises: InputError for another shape, or for a cell that is not finite.

    Reference: Searle, Casella and McCulloch 1992, chapter 4 (mean squares of the crossed random model); Cochran 1964,
    "Approximate significance levels of the Behrens-Fisher test" (the weighting, there of the quantiles).
    """
    table = _table(differences)
    seeds, languages = table.shape
    effect = float(table.mean())
    if seeds < MIN_SEEDS:
        return _unranked(effect, _too_few(seeds), seeds, languages)
    ms_seed, ms_language, ms_error = _mean_squares(table)
    cells = seeds * languages
    by_seed, by_language = _noise_once((ms_seed / cells,), ms_language / cells, (ms_error / cells,), seeds <= languages)
    sources = [_Source(by_seed[0], seeds - 1.0), _Source(by_language, languages - 1.0)]
    return _tested(effect, sources, float(np.abs(table).max()), seeds, languages)


def crossed_unpaired(method: npt.ArrayLike, baseline: npt.ArrayLike) -> Crossed:
    """Return the difference between two methods and its test, for runs that do not share their seeds.

    As `crossed`, where each method has seeds of its own and only the languages are shared: with y = effect_m +
    language_l + interaction_ml + seed_ms + error_msl, the seeds of each method add V_m = MS_S(m) / (S_m L) on S_m - 1
    degrees of freedom, and the two together have Welch's, (V_m + V_b)^2 / (V_m^2 / (S_m-1) + V_b^2 / (S_b-1)). The
    languages add V_L = max(var_l(D_l) / L - noise, 0) on L - 1, with D_l the difference of the means of language l and
    noise = sum_m MS_E(m) / (S_m L), which V_m has counted already. p and interval follow as for `crossed`.

    Shapes: (S_m, L) and (S_b, L), the same languages in the same order; `n_seeds` is the smaller number of seeds. With
    one language it is Welch's t test. False positives at a nominal 5 %: 2.4 to 6 % for 3 to 10 seeds each
    (`scripts/error_rates.py`); up to 7 % where one method has three times the other's seeds.

    Raises: InputError for another shape, a cell that is not finite, or unequal numbers of languages.

    Reference: as `crossed`; Welch 1947 (the degrees of freedom of the seeds).
    """
    a, b = _table(method), _table(baseline)
    if a.shape[1] != b.shape[1]:
        raise InputError(
            f"The method has {a.shape[1]} languages and the baseline {b.shape[1]}; expected the same ones: "
            "keep the languages that both have."
        )
    effect, languages = float(a.mean() - b.mean()), a.shape[1]
    seeds = min(len(a), len(b))
    if seeds < MIN_SEEDS:
        return _unranked(effect, _too_few(seeds), seeds, languages)
    squares = [(_mean_squares(one), one.size) for one in (a, b)]
    by_seed = tuple(seed / cells for (seed, _, _), cells in squares)
    noise = tuple(error / cells for (_, _, error), cells in squares)
    means = a.mean(axis=0) - b.mean(axis=0)
    by_language = float(means.var(ddof=1)) / languages if languages > 1 else 0.0
    by_seed, by_language = _noise_once(by_seed, by_language, noise, seeds <= languages)
    spread = by_seed[0] ** 2 / (len(a) - 1) + by_seed[1] ** 2 / (len(b) - 1)
    welch = sum(by_seed) ** 2 / spread if spread else seeds - 1.0
    sources = [_Source(sum(by_seed), welch), _Source(by_language, languages - 1.0)]
    return _tested(effect, sources, max(float(np.abs(a).max()), float(np.abs(b).max())), seeds, languages)


def _mean_squares(table: Table) -> tuple[float, float, float]:
    """Return the mean squares of seeds, languages and residuals; with one language, only seeds vary."""
    seeds, languages = table.shape
    by_seed = table.mean(axis=1)
    if languages == 1:
        return float(by_seed.var(ddof=1)), 0.0, 0.0
    by_language = table.mean(axis=0)
    residual = table - by_seed[:, None] - by_language + table.mean()
    df_error = max(1, (seeds - 1) * (languages - 1))
    ms_seed = languages * float(by_seed.var(ddof=1)) if seeds > 1 else 0.0
    return ms_seed, seeds * float(by_language.var(ddof=1)), float((residual**2).sum()) / df_error


def _noise_once(
    by_seed: tuple[float, ...], by_language: float, noise: tuple[float, ...], of_seeds: bool
) -> tuple[tuple[float, ...], float]:
    """Return the parts of the variance of a mean, with the noise that each has taken out of one side."""
    if of_seeds:
        return by_seed, max(by_language - sum(noise), 0.0)
    return tuple(max(part - own, 0.0) for part, own in zip(by_seed, noise, strict=True)), by_language


def _tested(effect: float, sources: Sequence[_Source], largest: float, seeds: int, languages: int) -> Crossed:
    """Return the test of a mean whose error has these sources, the seeds first."""
    variance = sum(one.variance for one in sources)
    error = float(np.sqrt(variance))
    if error <= 1e-12 * largest:
        if abs(effect) <= 1e-12 * largest:
            return Crossed(0.0, 0.0, None, 0.0, 0.0, 1.0, seeds, languages)
        return _unranked(
            effect, "all differences are the same, so there is no noise to compare the effect with", seeds, languages
        )
    # A difference of mean squares that is only their rounding is no variance: it would leave no room between the quantiles.
    parts = [(one.variance / variance, one.df) for one in sources if one.variance > 1e-12 * variance]

    def chance(t: float) -> float:
        return float(sum(2 * share * stdtr(df, -abs(t)) for share, df in parts))

    quantiles = [float(stdtrit(df, 1 - _LEVEL / 2)) for _, df in parts]
    low, high = min(quantiles), max(quantiles)
    critical = low if high - low < 1e-9 else float(brentq(lambda t: chance(t) - _LEVEL, low, high, xtol=1e-10))
    half = critical * error
    return Crossed(
        effect,
        error,
        sources[0].variance / variance,
        effect - half,
        effect + half,
        chance(effect / error),
        seeds,
        languages,
    )


def _too_few(seeds: int) -> str:
    return f"{seeds} seed{'' if seeds == 1 else 's'}, and at least {MIN_SEEDS} are needed"


def _unranked(effect: float, reason: str, seeds: int, languages: int) -> Crossed:
    return Crossed(effect, None, None, None, None, None, seeds, languages, f"no ranking: {reason}")


def two_way_bootstrap(
    differences: npt.ArrayLike, *, draws: int = 2000, seed: int = 0
) -> tuple[float | None, float | None]:
    """Return the 95 % percentile interval (low, high) of the mean, resampling seeds and languages independently.

    Each draw takes S seeds and L languages with replacement and averages the S x L cells where they cross. It assumes
    no normality, and is narrow for few seeds (about 10 % errors at 3, 7 % at 5): a companion of `crossed`, not a test.

    Shape: (n_seeds, n_languages); the unit is that of the differences; (None, None) for fewer than 3 seeds. The same
    `seed` gives the same interval. Raises: InputError for another shape, a cell that is not finite, or draws < 100.

    Reference: Owen 2007, the pigeonhole bootstrap.
    """
    table = _table(differences)
    if draws < 100:
        raise InputError(f"`draws` is {draws}; expected at least 100: the ends of the interval need that many.")
    seeds, languages = table.shape
    if seeds < MIN_SEEDS:
        return None, None
    generator = np.random.default_rng(seed)
    times_seed = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    times_language = generator.multinomial(languages, np.full(languages, 1 / languages), size=draws) / languages
    means = ((times_seed @ table) * times_language).sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def holm(p: Sequence[float]) -> list[float]:
    """Return the p values adjusted for how many there are, in the order given.

    Sorted ascending, p~_(i) = max over j <= i of min(1, (m - j + 1) p_(j)): rejecting where p~ <= 0.05 keeps the chance
    of any false finding among all m at 0.05, under any dependence. Range: [0, 1]. Raises: InputError for a value
    outside [0, 1] or NaN. Reference: Holm 1979.
    """
    adjusted, running = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if not 0 <= p[index] <= 1:
            raise InputError(
                f"`{p[index]}` is not a p value; expected a number from 0 to 1: leave out comparisons without a test."
            )
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = running
    return adjusted


def interval(table: npt.ArrayLike) -> tuple[float, float | None, float | None]:
    """Return the mean of one method's own scores and its 95 % interval (mean, low, high) over seeds.

    mean +- t_{S-1, 0.975} sd(seed means) / sqrt(S), the languages being fixed: what another run on the same languages
    would give. For display only: comparing two such intervals is no test, use `crossed` on the differences.

    Shape: (n_seeds, n_languages); the unit is that of the scores; low and high are None for one seed. Raises:
    InputError for another shape, or for a cell that is not finite.
    """
    seed_means = _table(table).mean(axis=1)
    mean, seeds = float(seed_means.mean()), len(seed_means)
    if seeds == 1:
        return mean, None, None
    half = float(stdtrit(seeds - 1, 0.975)) * float(seed_means.std(ddof=1)) / seeds**0.5
    return mean, mean - half, mean + half


def _table(values: npt.ArrayLike) -> Table:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise InputError(
            f"The table has the shape {table.shape}; expected (seeds, languages), at least one of each: "
            "give one row per seed and one column per language."
        )
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise InputError(
            f"The cell of row {row} and column {column} is `{table[row, column]}`; expected a finite number in every "
            "cell: leave out the seed or the language that is incomplete."
        )
    return table
