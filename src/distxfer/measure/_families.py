"""The rearrangements of languages that keep families, and branches within them, together."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby, permutations, product
from math import factorial, prod

import numpy as np
import numpy.typing as npt

from distxfer.errors import InputError

Groups = Sequence[Hashable | None]  # one per language: a family, a path (family, branch, ...), or None
Orders = npt.NDArray[np.intp]

MIN_ORDERS = 20  # With fewer, no p value can be 0.05 or less, whatever the data.


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


@dataclass(frozen=True)
class Rearrangements:
    """What `rearrangements` returns: `orders` (count, n), `exact` if it is all there are, and the number of groups."""

    orders: Orders
    exact: bool
    n_groups: int

    @property
    def reason(self) -> str | None:
        """Why there is no p value, or None."""
        if self.exact and len(self.orders) < MIN_ORDERS:
            return (
                f"no p: the families can be rearranged in {len(self.orders)} ways only, and a p of 0.05 needs "
                f"{MIN_ORDERS}"
            )
        return None

    def p(self, statistics: npt.NDArray[np.float64], observed: float) -> float:
        """Return the two-sided p of `observed` among the statistics of all `orders`."""
        extreme = int((np.abs(statistics) >= abs(observed) - 1e-12).sum())  # ties differ by rounding alone
        return extreme / len(statistics) if self.exact else (1 + extreme) / (len(statistics) + 1)


def rearrangements(n: int, groups: Groups | None, draws: int, seed: int) -> Rearrangements:
    """Return the orders p of n languages under which the tree of `groups` maps onto itself.

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
    paths = [
        tuple(part for part in (label if isinstance(label, tuple) else (label,)) if part is not None)
        for label in labels
    ]
    n_groups = len({path[0] for path in paths if path}) + sum(not path for path in paths)
    tree = _node(paths, list(range(n)), 0)
    exact = tree.count() <= draws
    leaf_orders = np.array(tree.all()) if exact else tree.draw(draws, np.random.default_rng(seed))
    orders = np.empty_like(leaf_orders)
    orders[:, tree.leaves()] = leaf_orders
    return Rearrangements(orders, exact, n_groups)
