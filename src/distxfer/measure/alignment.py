"""Retrieval of translations in the representation space, and mining of pairs from unaligned sentences."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._tensors import Array, check_same_width, row_norms, working, working_pair

_CHUNK = 1024  # queries worked on at a time


@dataclass(frozen=True)
class Retrieval:
    """Shares in [0, 1] of the n sentences that find their translation; `forward` asks from source to target.

    Guessing gives 1 / n (weak) and 1 / (2n - 1) (strong).
    """

    weak_forward: float
    weak_backward: float
    strong_forward: float
    strong_backward: float
    n: int


@dataclass(frozen=True)
class CSLSRetrieval:
    """Shares in [0, 1] of the n sentences that find their translation by CSLS with `k` neighbours; guessing gives 1 / n."""

    forward: float
    backward: float
    n: int
    k: int


@torch.no_grad()
def retrieval(source: Array, target: Array) -> Retrieval:
    """Return how often the nearest neighbour by cosine is the translation.

    Weak forward: source_i hits when cos(source_i, target_i) > cos(source_i, target_j) for every j != i. Strong forward:
    and also > cos(source_i, source_j) for every j != i, so that sentences may not cluster by language. Backward swaps
    the two languages. Ties are misses: the translation must be strictly nearer than every other candidate, by more than
    rounding can account for (2 d times the precision: 2e-13 for 384 dimensions, 1e-4 on a device without float64), so
    neither duplicate sentences nor collapsed representations score.

    Shapes: source and target (n, d), row i of one translating row i of the other; n >= 2. Invariant under positive
    scaling of each row, under one orthogonal map of both and one permutation of the rows of both; not under
    translation. Cost: 4 n^2 d operations in float32, in blocks of 1,024 x 1,024 cosines, which serve both directions, and 2 n d
    in float64 for each sentence whose translation is as near as another candidate within the rounding of float32; memory
    for the two inputs in both precisions and one block.

    Raises: InputError for unequal shapes, fewer than 2 rows, rows of zeros, NaN or infinity.

    Reference: Gaschi et al. 2023, weak and strong alignment.
    """
    s, t = _unit_pair(source, target)
    gold = (s * t).sum(dim=1) - 2 * _error(s)
    forward, backward = _nearer_than_rivals(gold, s, t)
    return Retrieval(
        weak_forward=_share(forward),
        weak_backward=_share(backward),
        strong_forward=_share(torch.stack([forward, *_nearer_than_rivals(gold, s, s)]).all(dim=0)),
        strong_backward=_share(torch.stack([backward, *_nearer_than_rivals(gold, t, t)]).all(dim=0)),
        n=s.shape[0],
    )


@torch.no_grad()
def csls_retrieval(source: Array, target: Array, *, k: int = 10) -> CSLSRetrieval:
    """Return how often the nearest neighbour is the translation by CSLS, which penalises hubs (points near to all others).

    CSLS(x, y) = 2 cos(x, y) - r_T(x) - r_S(y), with r_T(x) the mean cosine of x to its k nearest targets (including its
    translation where that is near), and r_S(y) that of y to its k nearest sources. Forward: source_i hits when
    CSLS(source_i, target_i) > CSLS(source_i, target_j) for every j != i; backward swaps the two languages. Ties are
    misses, as in `retrieval`. There is no strong form: r_T and r_S are corrections between two languages, and the
    formula defines none within one.

    Shapes: source and target (n, d), row i of one translating row i of the other; n >= 2 and 1 <= k <= n. With k = n
    every neighbourhood is the whole language. Invariances as `retrieval`. Cost: 4 n^2 d operations (two passes over
    blocks of 1,024 x 1,024 cosines); memory for the two inputs in float64, one block and 2 n k cosines.

    Raises: InputError for k out of range, or as `retrieval` does.

    Reference: Conneau et al. 2018, section 2.3, eq. 3.
    """
    s, t = _unit_pair(source, target)
    n = s.shape[0]
    if not 1 <= k <= n:
        raise InputError(f"`k` is {k}; expected 1 to {n}, the number of sentences: give fewer neighbours.")
    near_source, near_target = _mean_of_nearest(s, t, k)
    gold = 2 * (s * t).sum(dim=1) - near_source - near_target
    forward, backward = (torch.full_like(gold, -torch.inf) for _ in range(2))
    for rows, columns, block in _blocks(s, t):
        block.mul_(2).sub_(near_source[rows, None]).sub_(near_target[columns])
        _raise_to_largest(forward, backward, rows, columns, block)
    # 2 cos and two means of k: four errors of a cosine, and the roundings of the sums, on either side of the ">".
    gold = gold - 2 * (4 * _error(s) + (k + 8) * torch.finfo(s.dtype).eps)
    return CSLSRetrieval(_share(gold > forward), _share(gold > backward), n, k)


@torch.no_grad()
def retrieval_with_csls(source: Array, target: Array, *, k: int = 10) -> tuple[Retrieval, CSLSRetrieval]:
    """Return `retrieval` and `csls_retrieval` of the same arguments, which share the cosines up to 1,024 sentences."""
    if len(source) > _CHUNK:
        return retrieval(source, target), csls_retrieval(source, target, k=k)
    s, t = _unit_pair(source, target)
    n = len(s)
    if not 1 <= k <= n:
        raise InputError(f"`k` is {k}; expected 1 to {n}, the number of sentences: give fewer neighbours.")
    with torch.autocast(s.device.type, enabled=False):
        between, within_source, within_target = s @ t.mT, s @ s.mT, t @ t.mT
    csls = 2 * between - _largest_mean(between, k)[:, None] - _largest_mean(between.mT, k)
    gold = between.diagonal() - 2 * _error(s)
    gold_csls = csls.diagonal() - 2 * (4 * _error(s) + (k + 8) * torch.finfo(s.dtype).eps)
    for cosines in (between, within_source, within_target, csls):
        cosines.fill_diagonal_(-torch.inf)
    forward, backward = gold > between.amax(dim=1), gold > between.amax(dim=0)
    return (
        Retrieval(
            weak_forward=_share(forward),
            weak_backward=_share(backward),
            strong_forward=_share(forward & (gold > within_source.amax(dim=1))),
            strong_backward=_share(backward & (gold > within_target.amax(dim=1))),
            n=n,
        ),
        CSLSRetrieval(_share(gold_csls > csls.amax(dim=1)), _share(gold_csls > csls.amax(dim=0)), n, k),
    )


@torch.no_grad()
def mutual_neighbours(source: Array, target: Array, *, k: int = 10) -> Tensor:
    """Return the pairs (i, j) of rows that are each other's nearest neighbour by CSLS, in the order of i: (pairs, 2).

    CSLS(x, y) = 2 cos(x, y) - r_T(x) - r_S(y), with r_T(x) the mean cosine of x to its k nearest targets and r_S(y) that
    of y to its k nearest sources. i and j are a pair when j maximises CSLS(source_i, .) and i maximises
    CSLS(., target_j); of equal values the first counts. A row is in one pair at most, and in none where its neighbour
    prefers another.

    Shapes: source (n, d) and target (m, d), 1 <= k <= min(n, m). Invariant under positive scaling of each row and under
    one orthogonal map of both. Cost: 4 n m d operations; memory for the inputs in float64 and 1,024 rows of
    cosines at a time.

    Raises: InputError for unequal widths, no rows, rows of zeros, NaN, infinity, or k out of range.

    Reference: CSLS of Conneau et al. 2018, eq. 3; mining of parallel sentences by margin as in Artetxe & Schwenk 2019.
    """
    if source.ndim != 2 or target.ndim != 2 or not len(source) or not len(target):
        raise InputError(
            f"`source` and `target` have the shapes {tuple(source.shape)} and {tuple(target.shape)}; expected (sentences,"
            " dimensions) with one sentence at least: give one layer at a time."
        )
    if not 1 <= k <= min(len(source), len(target)):
        raise InputError(
            f"`k` is {k}; expected 1 to {min(len(source), len(target))}, the number of sentences: give fewer neighbours."
        )
    s, t = working(source, "source"), working(target, "target")
    check_same_width(s, t, names=("source", "target"))
    s, t = s / row_norms(s, "source"), t / row_norms(t, "target")
    near_target = torch.cat([(rows @ s.mT).topk(k, dim=1).values.mean(dim=1) for rows in torch.split(t, _CHUNK)])
    forward, of_target = [], (t.new_full((len(t),), -torch.inf), torch.zeros(len(t), dtype=torch.long, device=t.device))
    for low in range(0, len(s), _CHUNK):
        cosines = s[low : low + _CHUNK] @ t.mT
        csls = 2 * cosines - cosines.topk(k, dim=1).values.mean(dim=1, keepdim=True) - near_target
        forward.append(csls.argmax(dim=1))
        largest, row = csls.max(dim=0)
        better = largest > of_target[0]
        of_target = torch.where(better, largest, of_target[0]), torch.where(better, row + low, of_target[1])
    best, rows = torch.cat(forward), torch.arange(len(s), device=s.device)
    mutual = of_target[1][best] == rows
    return torch.stack([rows[mutual], best[mutual]], dim=1).cpu()


def _unit_pair(source: Array, target: Array) -> tuple[Tensor, Tensor]:
    """Return both with rows of length 1, in the working precision."""
    names = ("source", "target")
    if source.ndim != 2 or source.shape[0] < 2:
        raise InputError(
            f"`source` has the shape {tuple(source.shape)}; expected (sentences, dimensions) with at least 2 "
            "sentences: give more sentences, and one layer at a time."
        )
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


def _blocks(rows: Tensor, columns: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield the cosines of unit rows, block by block; of rows with themselves, the upper half and the diagonal."""
    starts = range(0, len(rows), _CHUNK)
    for row_start, column_start in product(starts, starts):
        if rows is not columns or column_start >= row_start:
            down, across = slice(row_start, row_start + _CHUNK), slice(column_start, column_start + _CHUNK)
            # Autocast would take float32 down to 16 bits on the devices where that is the working precision.
            with torch.autocast(rows.device.type, enabled=False):
                block = rows[down] @ columns[across].mT
            yield down, across, block


def _nearer_than_rivals(gold: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether `gold` exceeds every cosine of each row, and of each column, to any but its partner.

    The cosines are taken in float32, and again in the working precision where `gold` is within their rounding.
    """
    coarse = rows.float()
    of_rows, of_columns = _nearest_rivals(coarse, coarse if rows is columns else columns.float())
    hits = []
    for queries, candidates, nearest in ((rows, columns, of_rows), (columns, rows, of_columns)):
        rivals = nearest.to(gold.dtype)
        doubtful = ((gold - rivals).abs() <= 2 * _error(coarse)).nonzero()[:, 0]
        for part in torch.split(doubtful, _CHUNK):
            rivals[part] = -torch.inf
            for start in range(0, len(candidates), _CHUNK):
                cosines = queries[part] @ candidates[start : start + _CHUNK].mT
                cosines[part[:, None] == torch.arange(start, start + cosines.shape[1], device=part.device)] = -torch.inf
                rivals[part] = torch.maximum(rivals[part], cosines.amax(dim=1))
        hits.append(gold > rivals)
    return hits[0], hits[1]


def _nearest_rivals(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest cosine of each row, and of each column, to any but its partner (of rows alone: itself)."""
    of_rows, of_columns = (torch.full_like(rows[:, 0], -torch.inf) for _ in range(2))
    for down, across, block in _blocks(rows, columns):
        _raise_to_largest(of_rows, of_columns, down, across, block)
    return of_rows, of_columns


def _raise_to_largest(of_rows: Tensor, of_columns: Tensor, down: slice, across: slice, block: Tensor) -> None:
    """Raise, in place, what is below the largest entry of its row or column in this block; partners are left out."""
    if down == across:
        block.fill_diagonal_(-torch.inf)
    of_rows[down] = torch.maximum(of_rows[down], block.amax(dim=1))
    of_columns[across] = torch.maximum(of_columns[across], block.amax(dim=0))


def _mean_of_nearest(rows: Tensor, columns: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the mean cosine of each row to its k nearest columns, and of each column to its k nearest rows."""
    of_rows, of_columns = (rows.new_full((len(rows), k), -torch.inf) for _ in range(2))
    for down, across, block in _blocks(rows, columns):
        of_rows[down] = _largest(of_rows[down], block, k)
        of_columns[across] = _largest(of_columns[across], block.mT.contiguous(), k)
    return of_rows.mean(dim=1), of_columns.mean(dim=1)


def _largest_mean(cosines: Tensor, k: int) -> Tensor:
    """Return the mean of each row's k largest."""
    return cosines.topk(k, dim=1).values.mean(dim=1)


def _largest(so_far: Tensor, block: Tensor, k: int) -> Tensor:
    """Return the k largest of each row's largest so far and of its entries in this block."""
    new = block.topk(min(k, block.shape[1]), dim=1).values
    return torch.cat([so_far, new], dim=1).topk(k, dim=1).values
