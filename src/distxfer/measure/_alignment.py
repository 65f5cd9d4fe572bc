"""Do translations find each other in the representation space?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._tensors import check_same_width, row_norms, working_pair


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


@torch.no_grad()
def retrieval(source: Tensor, target: Tensor, *, chunk: int = 1024) -> Retrieval:
    """Return how often the nearest neighbour by cosine is the translation.

    Weak forward: source_i hits when cos(source_i, target_i) > cos(source_i, target_j) for every j != i. Strong forward:
    and also > cos(source_i, source_j) for every j != i, so that sentences may not cluster by language. Backward swaps
    the two languages. Ties are misses: the translation must be strictly nearer than every other candidate, by more than
    rounding, so neither duplicate sentences nor collapsed representations score.

    Shapes: source and target (n, d), row i of one translating row i of the other; n >= 2. Works through `chunk` queries
    at a time, in O(chunk n) memory. Invariant under positive scaling of each row, under one orthogonal map of both
    and one permutation of the rows of both; not under translation.

    Raises: InputError for unequal shapes, fewer than 2 rows, rows of zeros, NaN, infinity, or chunk < 1.

    Reference: Gaschi et al. 2023, weak and strong alignment.
    """
    names = ("source", "target")
    if source.dim() != 2 or source.shape[0] < 2:
        raise InputError(
            f"`source` has the shape {tuple(source.shape)}; expected (sentences, dimensions) with at least 2 "
            "sentences: give more sentences, and one layer at a time."
        )
    if chunk < 1:
        raise InputError(f"`chunk` is {chunk}; expected at least 1: give the number of queries to work on at a time.")
    s, t = working_pair(source, target, names=names)
    check_same_width(s, t, names=names)
    s, t = s / row_norms(s, "source"), t / row_norms(t, "target")
    n = s.shape[0]
    weak_forward, strong_forward = _hits(s, t, chunk)
    weak_backward, strong_backward = _hits(t, s, chunk)
    return Retrieval(weak_forward / n, weak_backward / n, strong_forward / n, strong_backward / n, n)


def _hits(queries: Tensor, others: Tensor, chunk: int) -> tuple[int, int]:
    """Return the numbers of weak and strong hits of unit rows `queries`, row i of `others` being the answer to i."""
    rounding = 64 * torch.finfo(queries.dtype).eps
    weak = strong = 0
    with torch.autocast(queries.device.type, enabled=False):
        for start in range(0, queries.shape[0], chunk):
            part = queries[start : start + chunk]
            row = torch.arange(len(part), device=part.device)
            across, within = part @ others.mT, part @ queries.mT
            gold = across[row, start + row] - rounding
            across[row, start + row] = within[row, start + row] = -torch.inf
            nearest = gold > across.amax(dim=1)
            weak += int(nearest.sum())
            strong += int((nearest & (gold > within.amax(dim=1))).sum())
    return weak, strong
