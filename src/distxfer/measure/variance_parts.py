"""The contributions of related languages, and of items that languages share, to the variance of a mean."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distxfer.errors import InputError
from distxfer.measure.correlation import Groups

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]  # the number of the family of each language, from 0

MIN_FAMILIES = 4  # With fewer, the variance between families would rest on 1 or 2 degrees of freedom.


@dataclass(frozen=True)
class Part:
    """One part of the variance of a mean, estimated on `df` degrees of freedom, from `n` units."""

    variance: float
    df: float
    n: int


def family_labels(families: Groups, n: int) -> Labels:
    """Return the number of the family of each language; a language without one is a family of its own.

    An entry is a family, a path (family, branch, ...) of which the first counts, or None or () for none.

    Raises: InputError for another number of entries than `n`.
    """
    if len(families) != n:
        raise InputError(
            f"`families` has {len(families)} entries for {n} languages; expected one each: give None for none."
        )
    tops = [(path[0] if path else None) if isinstance(path, tuple) else path for path in families]
    keys = [("family", top) if top is not None else ("language", place) for place, top in enumerate(tops)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=np.intp)


def family_part(values: Array, labels: Labels) -> Part:
    r"""Return the variance of the mean of one value per language, families being the independent units.

    The cluster-robust estimate with the bias correction CR2, for a model that has only a mean. With L languages, n_f of
    them in family f, h_f = n_f / L, and the means y_f. of a family and y.. of all,

        V  = sum_f h_f^2 (y_f. - y..)^2 / (1 - h_f),
        df = 1 / (sum_f h_f^2 + (sum_f a_f)^2 - sum_f a_f^2),    a_f = h_f^2 / (1 - h_f).

    V has no bias where languages are independent, and `df` are its degrees of freedom there (Satterthwaite). With every
    language in a family of its own these are var(y) / L and L - 1. With families that share much, V is too small for
    families of very different sizes, and `df`, which one large family makes few, allows for it.

    Shapes: (n_languages,) and (n_languages,), the latter from `family_labels`. Invariant under permutation of the
    languages. With one family, variance and df are 0.

    Reference: Bell and McCaffrey 2002, "Bias reduction in standard errors for linear regression with multi-stage
    samples"; Pustejovsky and Tipton 2018 (CR2 in general).
    """
    share = np.bincount(labels) / len(values)
    if len(share) == 1:
        return Part(0.0, 0.0, 1)
    means = np.bincount(labels, weights=values) / (share * len(values))
    leverage = share**2 / (1 - share)
    variance = float(leverage @ (means - values.mean()) ** 2)
    df = 1 / float((share**2).sum() + leverage.sum() ** 2 - (leverage**2).sum())
    return Part(variance, df, len(share))


def by_family(table: Array, labels: Labels) -> Array:
    """Return the mean of each family's languages, (seeds, families), of a table (seeds, languages)."""
    member = labels[:, None] == np.arange(labels.max() + 1)
    return np.asarray(table @ (member / member.sum(axis=0)), dtype=np.float64)


def family_weights(labels: Labels) -> Array:
    """Return the weight of each language in the mean over families; they sum to 1."""
    sizes = np.bincount(labels)
    return np.asarray(1 / (len(sizes) * sizes[labels]), dtype=np.float64)


def item_part(cube: Array, weights: Array) -> Part | None:
    r"""Return what items that several languages share add to the variance of the mean over seeds and languages.

    An item (a sentence and its translations) that favours a method in all languages and seeds favours it in the whole
    table, where no variance between seeds or languages shows it. Model: d_sli = mean_sl + item_i + error_sli, with
    errors that may be correlated between the seeds of one language, and between the languages of one seed. With
    w_l = v_l / n_l, where v_l is the weight of a language in the mean (`weights`), the residuals e_sli = d_sli -
    d_sl. and the places N_l of the n_l items of language l,

        A = sum_i (sum_{l: i in N_l} w_l)^2,    B = sum_l n_l w_l^2,
        V = A / (A - B) 1 / (S (S-1)) sum_{s != s'} sum_{l != l'} w_l w_l' sum_i e_sli e_s'l'i :

    only products of different seeds *and* different languages count, because the rest of the errors is in the mean
    squares of seeds and languages already. V is cut at 0, and corrected by n / (n - 1) with the number n of items that two
    languages share.

    Shape: (n_seeds, n_languages, n_items), NaN where a language has not the item, in all seeds alike. None where no item
    is in two languages, or with fewer than 2 seeds.

    Reference: the crossed random model of Searle, Casella and McCulloch 1992, chapter 4, with seeds, languages and
    items; Cameron, Gelbach and Miller 2011 (clusters that cross). Items as a random factor: Clark 1973.
    """
    has_item = np.isfinite(cube[0])
    shared = int((has_item.sum(axis=0) > 1).sum())
    if len(cube) < 2 or shared < 2:
        return None
    weight = has_item * (weights / has_item.sum(axis=1))[:, None]
    total, alone = float((weight.sum(axis=0) ** 2).sum()), float((weight**2).sum())
    residual = np.where(has_item, cube - np.nanmean(cube, axis=2, keepdims=True), 0.0) * weight
    over_languages, over_seeds = residual.sum(axis=1), residual.sum(axis=0)
    products = (
        (over_seeds.sum(axis=0) ** 2).sum() - (over_languages**2).sum() - (over_seeds**2).sum() + (residual**2).sum()
    )
    seeds = len(cube)
    variance = float(products) / (seeds * (seeds - 1)) * total / (total - alone) * shared / (shared - 1)
    return Part(max(variance, 0.0), shared - 1.0, shared)


def languages_part(values: Array, labels: Labels | None) -> tuple[Part, str | None]:
    """Return `family_part`, or that of independent languages and a note where related languages are in too few families."""
    independent = np.arange(len(values), dtype=np.intp)
    if labels is None:
        return family_part(values, independent), None
    families = int(labels.max()) + 1
    if families >= min(len(values), MIN_FAMILIES):
        return family_part(values, labels), None
    note = (
        f"only {families} {'family' if families == 1 else 'families'}. Families count as random from {MIN_FAMILIES} on, so p and"
        " interval treat these languages as independent"
    )
    return family_part(values, independent), note


def check_items(items: npt.ArrayLike, table: Array) -> Array:
    """Return the differences of items as an array; raises InputError unless its means over the items are the table."""
    cube = np.asarray(items, dtype=np.float64)
    if cube.ndim != 3 or cube.shape[:2] != table.shape:
        raise InputError(
            f"`items` has the shape {cube.shape} and the table {table.shape}; expected (seeds, languages, items) and"
            " (seeds, languages): give the difference of each item."
        )
    has_item = np.isfinite(cube)
    if not (has_item == has_item[0]).all() or not has_item.any(axis=2).all():
        raise InputError(
            "`items` has other gaps in one seed than in another, or a language without items; expected the same items in"
            " all seeds: leave out what is incomplete."
        )
    if np.abs(np.nanmean(cube, axis=2) - table).max() > 1e-6 * max(1.0, float(np.abs(table).max())):
        raise InputError(
            "The means of `items` over the items are not the table; expected the same differences: give `items` in the"
            " table's unit, or leave them out."
        )
    return cube
