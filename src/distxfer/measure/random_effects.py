"""Tests of a table of seeds by languages.

Cells of one seed, and cells of one language, are correlated. A test that pools the cells finds an effect in 4 of 10
tables of noise; no test here pools them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from distxfer.errors import InputError
from distxfer.measure.correlation import Groups
from distxfer.measure.transfer import distance_slopes
from distxfer.measure.variance_parts import (
    Labels,
    Part,
    by_family,
    check_items,
    family_labels,
    family_weights,
    item_part,
    languages_part,
)

Table = npt.NDArray[np.float64]

MIN_SEEDS = 3  # Below this, there is no ranking: one or two runs cannot show how much runs differ.
_LEVEL = 0.05
_PRECISION = 1e-10  # of a critical value


@dataclass(frozen=True)
class Crossed:
    """The mean difference between two methods, with its uncertainty over seeds, languages and their families, and items.

    `effect`, `standard_error`, `low` and `high` (95 %) are in the unit of the differences, `p` is two-sided.
    `seed_share` and `item_share`, in [0, 1], are the parts of the error's variance that more seeds and more items would
    reduce; the rest needs more languages. All but the effect and the counts are None when `reason` says why there is no
    ranking. `n_families` and `by_family`, the mean over families with the families as units, are None where the families
    were not given; `n_items` and `item_share` where the items were not. `note` says why families were not taken as random.
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
    n_families: int | None = None
    n_items: int | None = None
    item_share: float | None = None
    by_family: "Crossed | None" = None
    note: str | None = None


def crossed(
    differences: npt.ArrayLike, *, families: Groups | None = None, items: npt.ArrayLike | None = None
) -> Crossed:
    r"""Return the mean difference and its test, with seeds and languages both random and crossed.

    Model: d_sl = effect + seed_s + family_f(l) + language_l + error_sl, all random, and with `items` an item_i that all
    languages share. With the mean squares MS_S = L sum_s (d_s. - d..)^2 / (S-1) of the seeds and MS_E of the residuals,
    the variance of d.. is estimated in up to three parts,

        V_S = MS_S / (S L)  on S - 1 degrees of freedom,    V_L = max(V_F - MS_E / (S L), 0)  on df_F,
        V_I = `item_part`   on n - 1,

    where V_F and df_F are those of `family_part` for the means d_.l: cluster-robust, with the families as the independent
    units; where each language is its own family, or `families` is not given, the variance of the d_.l divided by L on
    L - 1. The noise is in both V_S and V_F, and counts once: it stays with the part that has fewer degrees of freedom
    (if df_F < S - 1, V_S is cut instead). With V their sum, t = effect / sqrt(V) and the shares w = V_x / V,

        p = sum_x w_x P(|t_{df_x}| >= |t|),

    the t tests of the parts in the proportion in which they make up the error. The interval is its inverse: all
    effects with p > 0.05. False positives at a nominal 5 %: docs/statistics.md.

    With fewer than 4 families of several languages, the test takes languages as independent, and `note` says so: it
    then speaks of other languages of these families.

    Shape: (n_seeds, n_languages), every cell filled: method less baseline, same seed and language. `families` has one
    entry per language, as `correlate` takes them; of a path the family counts. `items` has the shape (n_seeds,
    n_languages, n_items): the difference of each item, NaN where a language has not the item; its means are the table.
    With one language, the ordinary t test over the seeds: it speaks of that language alone. With fewer than 3 seeds there
    is no ranking, nor when differences that are not 0 do not vary at all: only the effect and the reason are given. All
    differences 0 gives p = 1.

    Invariant under permutation of seeds or languages and, but for the unit, under scaling.

    Raises: InputError for another shape, or for a cell that is not finite.

    Reference: Searle, Casella and McCulloch 1992, chapter 4 (mean squares of the crossed random model); Cochran 1964,
    "Approximate significance levels of the Behrens-Fisher test" (the weighting, there of the quantiles); Bell and
    McCaffrey 2002 (the families); Cameron, Gelbach and Miller 2011 (variances of crossed clusters add up).
    """
    table = _table(differences)
    cube = None if items is None else check_items(items, table)
    languages = table.shape[1]
    over_items = None if cube is None else item_part(cube, np.full(languages, 1 / languages))
    if families is None:
        return _tested([table], float(table.mean()), table.mean(axis=0), None, over_items)
    labels = family_labels(families, languages)
    grouped = by_family(table, labels)
    over_items_of_families = None if cube is None else item_part(cube, family_weights(labels))
    return replace(
        _tested([table], float(table.mean()), table.mean(axis=0), labels, over_items),
        by_family=_tested([grouped], float(grouped.mean()), grouped.mean(axis=0), None, over_items_of_families),
    )


def crossed_unpaired(method: npt.ArrayLike, baseline: npt.ArrayLike, *, families: Groups | None = None) -> Crossed:
    """Return the difference between two methods and its test, for runs that do not share their seeds.

    As `crossed`, where each method has seeds of its own and only the languages are shared: with y = effect_m +
    language_l + interaction_ml + seed_ms + error_msl, the seeds of each method add V_m = MS_S(m) / (S_m L) on S_m - 1
    degrees of freedom, and the two together have Welch's, (V_m + V_b)^2 / (V_m^2 / (S_m-1) + V_b^2 / (S_b-1)). The
    languages add V_L = max(V_F - noise, 0), with V_F and its degrees of freedom those of `family_part` for the
    differences D_l between the means of each language, and noise = sum_m MS_E(m) / (S_m L), which V_m has counted
    already (where V_F has fewer degrees of freedom than the seeds of either method, V_m is cut instead). p and interval
    follow as for `crossed`.

    Shapes: (S_m, L) and (S_b, L), the same languages in the same order; `n_seeds` is the smaller number of seeds. With
    one language it is Welch's t test. Up to 7 % false positives where one method has three times the other's seeds.

    Raises: InputError for another shape, a cell that is not finite, or unequal numbers of languages.

    Reference: as `crossed`; Welch 1947 (the degrees of freedom of the seeds).
    """
    a, b = _table(method), _table(baseline)
    if a.shape[1] != b.shape[1]:
        raise InputError(
            f"The method has {a.shape[1]} languages and the baseline {b.shape[1]}; expected the same ones: "
            "keep the languages that both have."
        )
    labels = None if families is None else family_labels(families, a.shape[1])
    result = _unpaired(a, b, labels)
    return (
        result if labels is None else replace(result, by_family=_unpaired(by_family(a, labels), by_family(b, labels)))
    )


def _unpaired(a: Table, b: Table, labels: Labels | None = None) -> Crossed:
    return _tested([a, b], float(a.mean() - b.mean()), a.mean(axis=0) - b.mean(axis=0), labels)


def _mean_squares(table: Table) -> tuple[float, float]:
    """Return the mean squares of seeds and of residuals over the number of cells; with one language, only seeds vary."""
    seeds, languages = table.shape
    by_seed = table.mean(axis=1)
    if languages == 1:
        return float(by_seed.var(ddof=1)) / seeds, 0.0
    residual = table - by_seed[:, None] - table.mean(axis=0) + table.mean()
    df_error = (seeds - 1) * (languages - 1)
    return languages * float(by_seed.var(ddof=1)) / table.size, float((residual**2).sum()) / df_error / table.size


def _tested(
    tables: Sequence[Table],
    effect: float,
    gains: npt.NDArray[np.float64],
    labels: Labels | None,
    over_items: Part | None = None,
) -> Crossed:
    """Return the test of an effect, but for `by_family`: of one table of differences, or of the tables of two methods."""
    seeds, largest = min(map(len, tables)), max(float(np.abs(table).max()) for table in tables)
    over_languages, note = languages_part(gains, labels)
    result = Crossed(
        effect, None, None, None, None, None, seeds, gains.size,
        n_families=None if labels is None else int(labels.max()) + 1,
        n_items=None if over_items is None else over_items.n, note=note,
    )  # fmt: skip
    if seeds < MIN_SEEDS:
        reason = f"no ranking: {seeds} seed{'' if seeds == 1 else 's'}, and at least {MIN_SEEDS} are needed"
        return replace(result, reason=reason)
    by_seed, noise = zip(*(_mean_squares(table) for table in tables), strict=True)
    by_language = over_languages.variance
    if seeds - 1 <= over_languages.df + 1e-9:
        by_language = max(by_language - sum(noise), 0.0)
    else:
        by_seed = tuple(max(part - error, 0.0) for part, error in zip(by_seed, noise, strict=True))
    spread = sum(part**2 / (len(table) - 1) for part, table in zip(by_seed, tables, strict=True))
    df = sum(by_seed) ** 2 / spread if len(tables) > 1 and spread else seeds - 1.0
    sources = [Part(sum(by_seed), df, seeds), replace(over_languages, variance=by_language)]
    sources += [] if over_items is None else [over_items]
    variance = sum(source.variance for source in sources)
    error = float(np.sqrt(variance))
    if error <= 1e-12 * largest:
        if abs(effect) <= 1e-12 * largest:
            return replace(result, effect=0.0, standard_error=0.0, low=0.0, high=0.0, p=1.0)
        reason = "no ranking: all differences are the same, so there is no noise to compare the effect with"
        return replace(result, reason=reason)
    # A variance within rounding of 0 is left out: its quantile would not bracket the root.
    parts = [(source.variance / variance, source.df) for source in sources if source.variance > 1e-12 * variance]

    def chance(t: float) -> float:
        return float(sum(2 * share * stdtr(df, -abs(t)) for share, df in parts))

    quantiles = [float(stdtrit(df, 1 - _LEVEL / 2)) for _, df in parts]
    low, high = min(quantiles), max(quantiles)
    while high - low > _PRECISION:  # bisection: importing `scipy.optimize` takes longer than all of these
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) > _LEVEL else (low, middle)
    critical = (low + high) / 2
    return replace(
        result,
        standard_error=error,
        seed_share=sources[0].variance / variance,
        low=effect - critical * error,
        high=effect + critical * error,
        p=chance(effect / error),
        item_share=None if over_items is None else over_items.variance / variance,
    )


def two_way_bootstrap(
    differences: npt.ArrayLike, *, draws: int = 2000, seed: int = 0
) -> tuple[float | None, float | None]:
    """Return the 95 % percentile interval (low, high) of the mean, resampling seeds and languages independently.

    Each draw takes S seeds and L languages with replacement and averages the S x L cells where they cross. It assumes no
    normality, and is far too narrow for few seeds (16 to 22 % false positives at 3): a companion of `crossed`, not a test.

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


def slope_over_seeds(differences: npt.ArrayLike, distances: npt.ArrayLike) -> Crossed | None:
    """Return the slope of the gain on distance, with its uncertainty over seeds, the languages being fixed.

    For each seed, the least-squares slope b_s = cov_l(distance, d_sl) / var_l(distance) over the languages; then the t
    test of their mean. It says what another run on the same languages would give, and nothing of other languages: for
    these, `correlate` the mean gain with distance.

    Shapes: (n_seeds, n_languages) and (n_languages,); the unit is that of the differences per unit of distance. None for
    fewer than 3 languages, or where all are equally far. Raises: InputError for shapes that do not fit.
    """
    table, far = np.asarray(differences, dtype=np.float64), np.asarray(distances, dtype=np.float64)
    if table.ndim != 2 or far.shape != table.shape[1:]:
        raise InputError(
            f"The differences have the shape {table.shape} and the distances {far.shape}; expected (seeds, languages) and"
            " (languages,): give the distance of each language."
        )
    slopes = distance_slopes(table, far)
    return None if slopes is None else replace(crossed(slopes[:, None]), n_languages=far.size)


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
