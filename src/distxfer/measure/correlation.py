"""Correlations over languages: one value per language, with families as exchangeable blocks.

Related languages are not independent observations, and neither are runs of one language. Every p value here comes from
permutations of the languages that keep families together.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby, permutations, product
from math import factorial, prod
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from distxfer.errors import InputError, unknown

Method = Literal["spearman", "pearson"]
Array = npt.NDArray[np.float64]
Groups = Sequence[Hashable | None]  # one per language: a family, a path (family, branch, ...), or None
Orders = npt.NDArray[np.intp]
Arrangement = tuple[Orders, bool, int]  # orders (count, n), whether they are all, and the number of groups

_MIN_LANGUAGES = 4
_MIN_ORDERS = 20  # With fewer, no p value can be 0.05 or less, whatever the data.
_CHUNK = 2**22  # cells of permuted values held at a time: 32 MiB


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
    no evidence. What languages share below the groups that are given, and with neighbours, counts as their own: give
    `languages.permutation_groups`. False positives: docs/statistics.md.

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
    values = _columns(x, y, covariates)
    return _tested(values, 1, 1, _rearrangements(len(values), groups, draws, seed), method)[0][0]


def correlate_columns(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    groups: Groups | None = None,
    method: Method = "spearman",
    draws: int = 9999,
    seed: int = 0,
) -> list[list[Correlation]]:
    """Return `correlate` of each column of x (outer list) with each column of y, which share ranks and rearrangements.

    Shapes: (n, columns of x) and (n, columns of y), over the same languages. Raises: as `correlate`.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    for column in x.T:
        _columns(column, y[:, 0], None)
    for column in y.T:
        _columns(x[:, 0], column, None)
    return _tested(
        np.column_stack([x, y]), x.shape[1], y.shape[1], _rearrangements(len(x), groups, draws, seed), method
    )


def correlate_pairs(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    covariates: npt.ArrayLike | None = None,
    *,
    sources: Sequence[str],
    targets: Sequence[str],
    groups: Mapping[str, Hashable | None] | None = None,
    method: Method = "spearman",
    draws: int = 1999,
    seed: int = 0,
) -> Correlation:
    """Return the correlation of two values per ordered pair of languages, such as distance and transfer.

    Pairs that share a language are not independent, so whole languages are rearranged, rows and columns at once (the
    quadratic assignment procedure; without covariates, Mantel's test): those that are both a source and a target with each
    other, those that are only one of the two with each other, and all as `groups`, by language, allows (see `correlate`).
    p = (1 + #) / (draws + 1) of random rearrangements. With covariates, r and p are those of `partial_correlation`.

    Shapes: (pairs,) for x, y, `sources` and `targets`, (pairs,) or (pairs, covariates). Every source with every target, the
    pairs of a language with itself all or none. `n` counts pairs, `n_groups` families; `detectable` is None.

    None with a reason: as `correlate`. Raises: as `correlate`, and InputError for a missing or repeated pair.

    Source: Mantel 1967; Krackhardt 1988; Dekker, Krackhardt and Snijders 2007.
    """
    values = _columns(x, y, covariates)
    arrangement = _rearranged_pairs(sources, targets, groups or {}, draws, seed)
    return replace(_tested(values, 1, 1, arrangement, method)[0][0], detectable=None)


def _rearranged_pairs(
    sources: Sequence[str], targets: Sequence[str], groups: Mapping[str, Hashable | None], draws: int, seed: int
) -> Arrangement:
    """Return the orders of pairs when their languages are rearranged."""
    pairs = list(zip(sources, targets, strict=True))
    with_itself = any(source == target for source, target in pairs)
    expected = {(source, target) for source in sources for target in targets if with_itself or source != target}
    if odd := expected.symmetric_difference(pairs):
        raise InputError(f"The pair `{'` and `'.join(min(odd))}` is missing. Leave one of the two languages out.")
    if len(pairs) > len(expected):
        raise InputError(f"{len(pairs) - len(expected)} pairs of languages are given twice; expected one value each.")
    languages = sorted({*sources, *targets})
    kinds = [(language in sources, language in targets) for language in languages]
    generator, ways = np.random.default_rng(seed), 1
    nodes = np.empty((draws, len(languages)), dtype=np.intp)
    for kind in sorted({*kinds}):
        members = np.array([place for place, of_language in enumerate(kinds) if of_language == kind])
        orders = _rearrangements(len(members), [groups.get(languages[place]) for place in members], draws, seed)[0]
        ways *= len(orders)
        nodes[:, members] = members[orders[generator.integers(len(orders), size=draws)]]
    rows, columns = (np.searchsorted(languages, side) for side in (sources, targets))
    cells = np.empty((len(languages), len(languages)), dtype=np.intp)
    cells[rows, columns] = np.arange(len(pairs))
    moved = cells[nodes[:, rows], nodes[:, columns]]
    n_groups = len({_path(groups.get(language))[:1] or language for language in languages})
    return (moved, False, n_groups) if ways >= _MIN_ORDERS else (moved[:ways], True, n_groups)


def _tested(values: Array, n_x: int, n_y: int, arrangement: Arrangement, method: Method) -> list[list[Correlation]]:
    """Return the correlation of each x with each y; the columns of `values` are those of x, of y, and the covariates."""
    if method not in ("spearman", "pearson"):
        raise unknown("Method", method, ("spearman", "pearson"))
    n, n_covariates = len(values), values.shape[1] - n_x - n_y
    orders, exact, n_groups = arrangement
    if method == "spearman":
        values = np.array([_ranks(column) for column in values.T]).T
    detectable = detectable_correlation(n - n_covariates)

    def without(reason: str, r: float | None = None) -> Correlation:
        return Correlation(r, None, n, n_groups, method, detectable, reason)

    if n - n_covariates < _MIN_LANGUAGES:
        over = f" and {n_covariates} covariates" if n_covariates else ""
        needed = _MIN_LANGUAGES + n_covariates
        few = without(f"no correlation: {n} languages{over}, and at least {needed} languages are needed")
        return [[few] * n_y for _ in range(n_x)]
    basis, both = _basis(values[:, n_x + n_y :]), values[:, : n_x + n_y]
    residuals = both - basis @ (basis.T @ both)
    flat = np.abs(residuals).max(axis=0) <= 1e-12 * np.abs(both).max(axis=0)
    norms = np.where(flat, 1.0, np.linalg.norm(residuals, axis=0))
    scaled = (residuals / norms).T
    first, second, correlations = scaled[:n_x], scaled[n_x:], []
    for column in range(n_y):
        permuted = np.abs(_permuted(first, second[column], basis, orders))
        for row in range(n_x):
            if flat[row] or flat[n_x + column]:
                adjusted = " after the covariates are taken out" if n_covariates else ""
                name = "x" if flat[row] else "y"
                correlations.append(without(f"no correlation: `{name}` is the same for all languages{adjusted}"))
                continue
            r = _r(both.T[[row, n_x + column]].T, basis)
            if exact and len(orders) < _MIN_ORDERS:
                ways = f"the families can be rearranged in {len(orders)} ways only"
                correlations.append(without(f"no p: {ways}, and a p of 0.05 needs {_MIN_ORDERS}", r))
            else:
                extreme = int((permuted[:, row] >= abs(r) - 1e-12).sum())  # ties differ by rounding alone
                p = extreme / len(orders) if exact else (1 + extreme) / (len(orders) + 1)
                correlations.append(Correlation(r, p, n, n_groups, method, detectable))
    return [correlations[row::n_x] for row in range(n_x)]


def _r(pair: Array, basis: Array) -> float:
    """Return the correlation of two columns without `basis`; other columns beside them would round a 0 to another sign."""
    residuals = pair - basis @ (basis.T @ pair)
    first, second = (residuals / np.linalg.norm(residuals, axis=0)).T
    return float(first @ second)


def _columns(x: npt.ArrayLike, y: npt.ArrayLike, covariates: npt.ArrayLike | None) -> Array:
    """Return x, y and the covariates as the columns of one table, checked."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(
            f"`x` has the shape {x.shape} and `y` {y.shape}; expected one value of each per language: "
            "average over seeds first."
        )
    z = np.asarray(np.empty((len(x), 0)) if covariates is None else covariates, dtype=np.float64)
    z = z[:, None] if z.ndim == 1 else z
    if z.ndim != 2 or len(z) != len(x):
        raise InputError(
            f"`covariates` has the shape {z.shape} for {len(x)} languages; expected (languages,) or "
            "(languages, covariates): give one row per language."
        )
    for name, values in (("x", x), ("y", y), ("covariates", z)):
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise InputError(
                f"`{name}` is not finite at position {row}; expected a finite number for every language: "
                "leave the language out."
            )
    return np.column_stack([x, y, z])


def _ranks(values: Array) -> Array:
    """Return the ranks of values, from 1; ties share their average. In place of `scipy.stats`, whose import takes a second."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = counts.cumsum() - (counts - 1) / 2
    return ranks[places]


def _basis(covariates: Array) -> Array:
    """Return orthonormal columns that span the covariates and a constant, whatever is collinear among them."""
    centred = covariates - covariates.mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    centred = centred[:, norms > 1e-12 * np.linalg.norm(covariates, axis=0)]
    vectors, sizes, _ = np.linalg.svd(centred / np.linalg.norm(centred, axis=0), full_matrices=False)
    constant = np.full((len(covariates), 1), len(covariates) ** -0.5)
    return np.column_stack([constant, vectors[:, sizes > 1e-10]])


def _permuted(first: Array, second: Array, basis: Array, orders: Orders) -> Array:
    """Return corr(x, M P second), (orders, x), for each order P and row x of `first`, where M takes out `basis`.

    `second` and all x have norm 1 and are in M, or are 0.
    """
    correlations = np.empty((len(orders), len(first)))
    step = max(1, _CHUNK // len(second))
    for start in range(0, len(orders), step):
        moved = second[orders[start : start + step]]
        products = correlations[start : start + step]
        if basis.shape[1] == 1:  # a constant, which no order changes: mean and norm stay
            np.matmul(moved, first.T, out=products)
            continue
        moved = moved - (moved @ basis) @ basis.T
        norm = np.linalg.norm(moved, axis=1)[:, None]
        # A permutation that the covariates explain in full has no correlation: count it as 0, never as extreme.
        np.divide(moved @ first.T, norm, out=products, where=norm > 1e-12)
        products[norm[:, 0] <= 1e-12] = 0.0
    return correlations


@dataclass(frozen=True)
class _Node:
    """A language (no classes), or a group whose members are sorted into classes of the same shape."""

    leaf: int
    classes: tuple[tuple["_Node", ...], ...]
    shape: str

    def leaves(self) -> list[int]:
        if not self.classes:
            return [self.leaf]
        return [leaf for alike in self.classes for node in alike for leaf in node.leaves()]

    def count(self) -> int:
        return prod(factorial(len(alike)) * prod(node.count() for node in alike) for alike in self.classes)

    def draw(self, draws: int, generator: np.random.Generator) -> Orders:
        """Return random orders of the leaves, (draws, leaves), uniform over all that keep the shape."""
        if not self.classes:
            return np.full((draws, 1), self.leaf)
        parts = []
        for alike in self.classes:
            blocks = np.stack([node.draw(draws, generator) for node in alike], axis=1)
            order = generator.random((draws, len(alike))).argsort(axis=1)
            parts.append(np.take_along_axis(blocks, order[:, :, None], axis=1).reshape(draws, -1))
        return np.concatenate(parts, axis=1)

    def all(self) -> list[tuple[int, ...]]:
        """Return every order of the leaves that keeps the shape."""
        if not self.classes:
            return [(self.leaf,)]
        ways = []
        for alike in self.classes:
            inner = product(*(node.all() for node in alike))
            ways.append([sum(order, ()) for blocks in inner for order in permutations(blocks)])
        return [sum(parts, ()) for parts in product(*ways)]


def _node(paths: Sequence[tuple[Hashable, ...]], members: list[int], depth: int) -> _Node:
    """Return the tree of `members`, whose paths agree up to `depth`."""
    if len(members) == 1:
        return _Node(members[0], (), ".")  # a group of one member is that member, whatever its name
    below: dict[Hashable, list[int]] = {}
    alone = [member for member in members if len(paths[member]) == depth]
    for member in members:
        if len(paths[member]) > depth:
            below.setdefault(paths[member][depth], []).append(member)
    children = [_node(paths, [member], depth) for member in alone]
    children += [_node(paths, group, depth + 1) for group in below.values()]
    children.sort(key=lambda child: child.shape)
    classes = tuple(tuple(alike) for _, alike in groupby(children, key=lambda child: child.shape))
    return _Node(-1, classes, f"({''.join(child.shape for child in children)})")


def _rearrangements(n: int, groups: Groups | None, draws: int, seed: int) -> Arrangement:
    """Return orders (count, n) that map the tree of `groups` onto itself, whether they are all, and the number of groups.

    Languages change places within the smallest group that both are in, and whole groups of the same inner structure
    change places within the next larger one; languages in no group, or alone in theirs, with each other. All of them
    where there are at most `draws`, else `draws` at random.
    """
    if draws < 99:
        raise InputError(f"`draws` is {draws}; expected at least 99: p values are multiples of 1 / (draws + 1).")
    labels = [None] * n if groups is None else list(groups)
    if len(labels) != n:
        raise InputError(
            f"`groups` has {len(labels)} entries for {n} languages; expected one each: give None for none."
        )
    paths = [_path(label) for label in labels]
    n_groups = len({path[0] for path in paths if path}) + sum(not path for path in paths)
    return *_orders(tuple(paths), draws, seed), n_groups


def _path(label: Hashable | None) -> tuple[Hashable, ...]:
    return tuple(part for part in (label if isinstance(label, tuple) else (label,)) if part is not None)


@lru_cache(maxsize=8)  # correlations of many measures and layers are over the same languages
def _orders(paths: tuple[tuple[Hashable, ...], ...], draws: int, seed: int) -> tuple[Orders, bool]:
    """Return the orders of `_rearrangements`, and whether they are all."""
    tree = _node(paths, list(range(len(paths))), 0)
    exact = tree.count() <= draws
    leaf_orders = np.array(tree.all()) if exact else tree.draw(draws, np.random.default_rng(seed))
    orders = np.empty_like(leaf_orders)
    orders[:, tree.leaves()] = leaf_orders
    orders.flags.writeable = False
    return orders, exact


def detectable_correlation(n: int) -> float | None:
    """Return the smallest true |rho| that a two-sided test at 0.05 finds with 80 % power among n independent languages.

    The rho with atanh(rho) + rho / (2 (n - 1)) = atanh(r_critical) + z_0.8 / sqrt(n - 3), by Fisher's transformation with
    its correction for bias: 0.72 for 12 languages, 0.46 for 34. r_critical = t / sqrt(t^2 + n - 2), with t the 0.975
    quantile of Student's t on n - 2 degrees of freedom, is the |r| that is just significant (0.58 for 12); a true
    correlation of that size is found half of the time only. For Pearson's r of normal values; Spearman's rho needs about
    3 % more, and families more than that. None for fewer than 4 languages.

    Reference: Fisher 1921; Cohen 1988, section 12.7.
    """
    if n < _MIN_LANGUAGES:
        return None
    t = float(stdtrit(n - 2, 0.975))
    critical = float(t / (t * t + n - 2) ** 0.5)
    reached = float(np.arctanh(critical) + ndtri(0.8) / (n - 3) ** 0.5)
    rho = critical
    for _ in range(30):  # each step leaves at most 1/6 of the error
        rho = float(np.tanh(reached - rho / (2 * (n - 1))))
    return rho
