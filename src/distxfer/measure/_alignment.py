"""Retrieval of translations in the representation space."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._tensors import Array, check_same_width, row_norms, working_pair


@dataclass(frozen=True)
class Retrieval:
    """Shares in [0, 1] of the n sentences that find their translation; `forward` asks from source to target."""

    weak_forward: float
    weak_backward: float
    strong_forward: float
    strong_backward: float
    n: int

    @property
    def chance_weak(self) -> float:
        """The accuracy of guessing among the n sentences of the other language."""
        return 1 / self.n

    @property
    def chance_strong(self) -> float:
        """The accuracy of guessing among them and the n - 1 other sentences of the query's own language."""
        return 1 / (2 * self.n - 1)


@dataclass(frozen=True)
class CSLSRetrieval:
    """Shares in [0, 1] of the n sentences that find their translation by CSLS with `k` neighbours."""

    forward: float
    backward: float
    n: int
    k: int

    @property
    def chance(self) -> float:
        """The accuracy of guessing among the n sentences of the other language."""
        return 1 / self.n


@torch.no_grad()
def retrieval(source: Array, target: Array, *, chunk: int = 1024) -> Retrieval:
    """Return how often the nearest neighbour by cosine is the translation.

    Weak forward: source_i hits when cos(source_i, target_i) > cos(source_i, target_j) for every j != i. Strong forward:
    and also > cos(source_i, source_j) for every j != i, so that sentences may not cluster by language. Backward swaps
    the two languages. Ties are misses: the translation must be strictly nearer than every other candidate, by more than
    rounding can account for (2 d times the precision: 2e-13 for 384 dimensions, 1e-4 on a device without float64), so
    neither duplicate sentences nor collapsed representations score.

    Shapes: source and target (n, d), row i of one translating row i of the other; n >= 2. Invariant under positive
    scaling of each row, under one orthogonal map of both and one permutation of the rows of both; not under
    translation. Cost: 4 n^2 d operations in blocks of `chunk` x `chunk` cosines, which serve both directions; memory for
    the two inputs in float64 and one block.

    Raises: InputError for unequal shapes, fewer than 2 rows, rows of zeros, NaN, infinity, or chunk < 1.

    Reference: Gaschi et al. 2023, weak and strong alignment.
    """
    s, t = _unit_pair(source, target, chunk)
    gold = (s * t).sum(dim=1) - 2 * _error(s)
    among_targets, among_sources = _nearest_rivals(s, t, chunk)
    forward, backward = gold > among_targets, gold > among_sources
    return Retrieval(
        weak_forward=_share(forward),
        weak_backward=_share(backward),
        strong_forward=_share(forward & (gold > torch.maximum(*_nearest_rivals(s, s, chunk)))),
        strong_backward=_share(backward & (gold > torch.maximum(*_nearest_rivals(t, t, chunk)))),
        n=s.shape[0],
    )


@torch.no_grad()
def csls_retrieval(source: Array, target: Array, *, k: int = 10, chunk: int = 1024) -> CSLSRetrieval:
    """Return how often the nearest neighbour is the translation by CSLS, which penalises hubs (points near to all others).

    CSLS(x, y) = 2 cos(x, y) - r_T(x) - r_S(y), with r_T(x) the mean cosine of x to its k nearest targets (including its
    translation where that is near), and r_S(y) that of y to its k nearest sources. Forward: source_i hits when
    CSLS(source_i, target_i) > CSLS(source_i, target_j) for every j != i; backward swaps the two languages. Ties are
    misses, as in `retrieval`. There is no strong form: r_T and r_S are corrections between two languages, and the
    formula defines none within one.

    Shapes: source and target (n, d), row i of one translating row i of the other; n >= 2 and 1 <= k <= n. With k = n
    every neighbourhood is the whole language. Invariances as `retrieval`. Cost: 4 n^2 d operations (two passes over
    blocks of `chunk` x `chunk` cosines); memory for the two inputs in float64, one block and 2 n k cosines.

    Raises: InputError for k out of range, or as `retrieval` does.

    Reference: Conneau et al. 2018, section 2.3, eq. 3.
    """
    s, t = _unit_pair(source, target, chunk)
    n = s.shape[0]
    if not 1 <= k <= n:
        raise InputError(f"`k` is {k}; expected 1 to {n}, the number of sentences: give fewer neighbours.")
    near_source, near_target = _mean_of_nearest(s, t, k, chunk)
    gold = 2 * (s * t).sum(dim=1) - near_source - near_target
    forward, backward = (torch.full_like(gold, -torch.inf) for _ in range(2))
    for rows, columns, block in _blocks(s, t, chunk):
        block.mul_(2).sub_(near_source[rows, None]).sub_(near_target[columns])
        _raise_to_largest(forward, backward, rows, columns, block)
    # 2 cos and two means of k: four errors of a cosine, and the roundings of the sums, on either side of the ">".
    gold = gold - 2 * (4 * _error(s) + (k + 8) * torch.finfo(s.dtype).eps)
    return CSLSRetrieval(_share(gold > forward), _share(gold > backward), n, k)


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share of n, such as an accuracy.

    The two p with (share - p)^2 = z^2 p (1 - p) / n, z = 1.96; within [0, 1], and of positive width at 0 and at 1 too.
    It assumes n independent answers. The queries of one retrieval share their candidates, and the sentences of one
    document their subject, so the interval is a lower bound on the uncertainty.

    Raises: InputError for a share outside [0, 1] (NaN included) or n < 1.

    Reference: Wilson 1927.
    """
    if not 0 <= share <= 1:
        raise InputError(f"`share` is {share}; expected 0 to 1: give hits divided by `n`.")
    if n < 1:
        raise InputError(f"`n` is {n}; expected at least 1: give the number of answers behind the share.")
    # From the product of the quadratic's roots: nothing cancels, so the ends are exactly 0 and 1 where they should be.
    a = NormalDist().inv_cdf(0.975) ** 2 / n
    low, below = (p**2 / (p + a / 2 + math.sqrt(a * (p * (1 - p) + a / 4))) for p in (share, 1 - share))
    return low, 1 - below


def _unit_pair(source: Array, target: Array, chunk: int) -> tuple[Tensor, Tensor]:
    """Return both with rows of length 1, in the working precision."""
    names = ("source", "target")
    if source.ndim != 2 or source.shape[0] < 2:
        raise InputError(
            f"`source` has the shape {tuple(source.shape)}; expected (sentences, dimensions) with at least 2 "
            "sentences: give more sentences, and one layer at a time."
        )
    if chunk < 1:
        raise InputError(f"`chunk` is {chunk}; expected at least 1: give the number of queries to work on at a time.")
    s, t = working_pair(source, target, names=names)
    check_same_width(s, t, names=names)
    return s / row_norms(s, "source"), t / row_norms(t, "target")


def _share(hits: Tensor) -> float:
    return int(hits.sum()) / len(hits)


def _error(unit: Tensor) -> float:
    """Return a bound on the rounding error of one cosine, whatever block (and so order of summing) it comes from.

    d / 2 eps for the product, d / 4 + 1 eps for the length of either row: a tie is a tie in any two blocks.
    """
    return (unit.shape[1] + 2) * torch.finfo(unit.dtype).eps


def _blocks(rows: Tensor, columns: Tensor, chunk: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield the cosines of unit rows, block by block; of rows with themselves, the upper half and the diagonal."""
    starts = range(0, len(rows), chunk)
    for row_start in starts:
        for column_start in starts:
            if rows is not columns or column_start >= row_start:
                down, across = slice(row_start, row_start + chunk), slice(column_start, column_start + chunk)
                # Autocast would take float32 down to 16 bits on the devices where that is the working precision.
                with torch.autocast(rows.device.type, enabled=False):
                    block = rows[down] @ columns[across].mT
                yield down, across, block


def _nearest_rivals(rows: Tensor, columns: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Return the largest cosine of each row, and of each column, to any but its partner (of rows alone: itself)."""
    of_rows, of_columns = (torch.full_like(rows[:, 0], -torch.inf) for _ in range(2))
    for down, across, block in _blocks(rows, columns, chunk):
        _raise_to_largest(of_rows, of_columns, down, across, block)
    return of_rows, of_columns


def _raise_to_largest(of_rows: Tensor, of_columns: Tensor, down: slice, across: slice, block: Tensor) -> None:
    """Raise, in place, what is below the largest entry of its row or column in this block; partners are left out."""
    if down == across:
        block.fill_diagonal_(-torch.inf)
    of_rows[down] = torch.maximum(of_rows[down], block.amax(dim=1))
    of_columns[across] = torch.maximum(of_columns[across], block.amax(dim=0))


def _mean_of_nearest(rows: Tensor, columns: Tensor, k: int, chunk: int) -> tuple[Tensor, Tensor]:
    """Return the mean cosine of each row to its k nearest columns, and of each column to its k nearest rows."""
    of_rows, of_columns = (rows.new_full((len(rows), k), -torch.inf) for _ in range(2))
    for down, across, block in _blocks(rows, columns, chunk):
        of_rows[down] = _largest(of_rows[down], block, k)
        of_columns[across] = _largest(of_columns[across], block.mT.contiguous(), k)
    return of_rows.mean(dim=1), of_columns.mean(dim=1)


def _largest(so_far: Tensor, block: Tensor, k: int) -> Tensor:
    """Return the k largest of each row's largest so far and of its entries in this block."""
    new = block.topk(min(k, block.shape[1]), dim=1).values
    return torch.cat([so_far, new], dim=1).topk(k, dim=1).values
