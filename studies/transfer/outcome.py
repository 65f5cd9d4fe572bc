"""The registered outcome: accuracy averaged over classes, its differences by item, their test and lower bounds."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from distxfer.analysis.significance import families_of, ranked
from distxfer.measure import Correlation, Crossed, crossed, holm

Array = npt.NDArray[np.float64]


def weighted(items: pd.DataFrame, fewest_items: int) -> pd.DataFrame:
    """Return the items that count, with their `weight` 1 / (K n_c), which sums to 1 in each language.

    K is the number of classes of the language, n_c that of the items of the class; a class of fewer items does not count.
    """
    sizes = items.groupby(["language", "label"], observed=True)["id"].transform("size")
    items = items.assign(size=sizes)[sizes >= fewest_items]
    classes = items.groupby("language", observed=True)["label"].transform("nunique")
    return items.assign(weight=1 / (items["size"] * classes))


def scores(items: pd.DataFrame, right: npt.ArrayLike) -> pd.DataFrame:
    """Return the macro-averaged accuracy, or the mean of differences by item: runs x languages, from runs x items."""
    values = pd.DataFrame((np.asarray(right, dtype=np.float64) * items["weight"].to_numpy()).T, index=items.index)
    return values.groupby(items["language"], observed=True).sum().T


def influences(items: pd.DataFrame, differences: npt.ArrayLike) -> pd.DataFrame:
    """Return how far each item moves the outcome's difference, w_i (d_i - the mean of its class), items x runs.

    They sum to 0 in each class: which share of the items a class has is fixed, which items it has is chance.
    """
    table = pd.DataFrame(np.asarray(differences, dtype=np.float64).T, index=items.index)
    means = table.groupby([items["language"], items["label"]], observed=True).transform("mean")
    return (table - means).mul(items["weight"], axis=0)


def tested(items: pd.DataFrame, differences: npt.ArrayLike, languages: tuple[str, ...]) -> Crossed:
    """Return the test of the mean difference over languages: seeds, languages in families and shared items are random.

    As `distxfer.measure.crossed`, where item i of the n of a language has the difference D + n w_i (d_i - d_c), with D
    that of the language and d_c that of the item's class: their mean is D, and their deviations are `influences`.
    """
    chosen = items["language"].isin(languages).to_numpy()
    items, differences = items[chosen], np.asarray(differences, dtype=np.float64)[:, chosen]
    table = scores(items, differences)[[*languages]]
    sizes = items.groupby("language", observed=True)["id"].transform("size")
    of_item = influences(items, differences).mul(sizes, axis=0).to_numpy().T
    rows, (columns, ids) = table.columns.get_indexer(items["language"]), pd.factorize(items["id"])
    cube = np.full((*table.shape, len(ids)), np.nan)
    cube[:, rows, columns] = table.to_numpy()[:, rows] + of_item
    return ranked(crossed(table.to_numpy(), families=families_of(languages), items=cube))


def sampling_variances(items: pd.DataFrame, differences: npt.ArrayLike, *, templates: bool = False) -> pd.Series:
    """Return by language the variance of the outcome's difference, the mean over runs, from the choice of test items.

    V = U / (U - 1) sum_u (sum of `influences` of unit u)^2 over the U units: items, or templates of several items.
    """
    units = items["id"].str.rpartition("-")[0] if templates else items["id"]
    by_unit = influences(items, differences).mean(axis=1).groupby([items["language"].astype(str), units]).sum()
    by_language = (by_unit**2).groupby(level="language")
    return by_language.sum() * by_language.size() / (by_language.size() - 1)


def lower_bounds(table: pd.DataFrame, sampling: pd.Series | float = 0.0, *, alpha: float = 0.05) -> pd.Series:
    """Return simultaneous one-sided lower bounds of the mean differences of all languages, from seeds x languages.

    d_.l - t sqrt(V + V_l) with the quantile t of 1 - alpha / L (Bonferroni). V = s^2 / S is that of the seeds: s^2 is the
    variance pooled over the L languages, or that of the language itself where it is larger. It has df = (S-1) a / b degrees
    of freedom, with unbiased estimates a of (tr C)^2 and b of tr(C^2) of the covariance C between languages; V_l is
    `sampling`. t has the degrees of freedom of Welch and Satterthwaite, those of V_l being infinite. With one language
    these are S - 1, and without V_l it is the bound of the t test.
    """
    seeds, languages = table.shape
    covariance = np.atleast_2d(np.cov(table.to_numpy(), rowvar=False))
    trace, of_square, df = np.trace(covariance), (covariance**2).sum(), seeds - 1
    b = df**2 / ((df - 1) * (df + 2)) * (of_square - trace**2 / df)
    seed_part = np.maximum(trace / languages, np.diag(covariance)) / seeds
    df_seeds = df * (trace**2 - 2 * b / df) / b if b else df
    total = seed_part + np.asarray(sampling)
    share = np.divide(seed_part, total, out=np.zeros(languages), where=seed_part > 0)
    quantile = stdtrit(
        np.divide(df_seeds, share**2, out=np.full(languages, np.inf), where=share > 0), 1 - alpha / languages
    )
    return table.mean() - quantile * np.sqrt(total)


def corrected(groups: Sequence[str], tests: Sequence[Crossed | Correlation | None]) -> list[float]:
    """Return p after Holm's correction over all registered tests of each group of claims, 1 where there is no p yet."""
    p = pd.Series([1.0 if test is None or test.p is None else test.p for test in tests], dtype=float)
    return p.groupby([*groups]).transform(lambda values: holm(values.tolist())).tolist()
