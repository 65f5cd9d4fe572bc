"""Mining of translation pairs from unaligned sentences of two languages."""

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._tensors import Array, check_same_width, row_norms, working


@torch.no_grad()
def mutual_neighbours(source: Array, target: Array, *, k: int = 10, chunk: int = 1024) -> Tensor:
    """Return the pairs (i, j) of rows that are each other's nearest neighbour by CSLS, in the order of i: (pairs, 2).

    CSLS(x, y) = 2 cos(x, y) - r_T(x) - r_S(y), with r_T(x) the mean cosine of x to its k nearest targets and r_S(y) that
    of y to its k nearest sources. i and j are a pair when j maximises CSLS(source_i, .) and i maximises
    CSLS(., target_j); of equal values the first counts. A row is in one pair at most, and in none where its neighbour
    prefers another.

    Shapes: source (n, d) and target (m, d), 1 <= k <= min(n, m). Invariant under positive scaling of each row and under
    one orthogonal map of both. Cost: 4 n m d operations; memory for the inputs in float64 and `chunk` rows of cosines at
    a time.

    Raises: InputError for unequal widths, no rows, rows of zeros, NaN, infinity, k out of range or chunk < 1.

    Reference: CSLS of Conneau et al. 2018, eq. 3; mining of parallel sentences by margin as in Artetxe & Schwenk 2019.
    """
    names = ("source", "target")
    if source.ndim != 2 or target.ndim != 2 or not len(source) or not len(target):
        raise InputError(
            f"`source` and `target` have the shapes {tuple(source.shape)} and {tuple(target.shape)}; expected (sentences,"
            " dimensions) with one sentence at least: give one layer at a time."
        )
    if not 1 <= k <= min(len(source), len(target)):
        raise InputError(
            f"`k` is {k}; expected 1 to {min(len(source), len(target))}, the number of sentences: give fewer neighbours."
        )
    if chunk < 1:
        raise InputError(f"`chunk` is {chunk}; expected at least 1: give the number of queries to work on at a time.")
    s, t = working(source, "source"), working(target, "target")
    check_same_width(s, t, names=names)
    s, t = s / row_norms(s, "source"), t / row_norms(t, "target")
    near_target = _mean_of_nearest(t, s, k, chunk)
    forward, of_target = [], (t.new_full((len(t),), -torch.inf), torch.zeros(len(t), dtype=torch.long, device=t.device))
    for low in range(0, len(s), chunk):
        cosines = s[low : low + chunk] @ t.mT
        csls = 2 * cosines - cosines.topk(k, dim=1).values.mean(dim=1, keepdim=True) - near_target
        forward.append(csls.argmax(dim=1))
        largest, row = csls.max(dim=0)
        better = largest > of_target[0]
        of_target = torch.where(better, largest, of_target[0]), torch.where(better, row + low, of_target[1])
    best, rows = torch.cat(forward), torch.arange(len(s), device=s.device)
    mutual = of_target[1][best] == rows
    return torch.stack([rows[mutual], best[mutual]], dim=1).cpu()


def _mean_of_nearest(rows: Tensor, columns: Tensor, k: int, chunk: int) -> Tensor:
    """Return the mean cosine of each row to its k nearest columns."""
    starts = range(0, len(rows), chunk)
    return torch.cat([(rows[low : low + chunk] @ columns.mT).topk(k, dim=1).values.mean(dim=1) for low in starts])
