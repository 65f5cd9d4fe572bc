"""How sure a similarity is: over other sentences, and against no relation at all. No model has to run again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._hsic import Similarities, floored, ratio, unit_scale
from distxfer.measure._layers import paired_rows
from distxfer.measure._measures import Measure
from distxfer.measure._similarity import cka, cka_reason
from distxfer.measure._tensors import centre

_ROWS = 512  # of the n x n kernels, held at a time


@dataclass(frozen=True)
class BootstrapCKA:
    """Unbiased CKA with its uncertainty over sentences; all but `draws` are None when `reason` says why.

    `low` and `high` bound the interval, which may reach beyond 1.
    """

    value: float | None
    low: float | None
    high: float | None
    standard_error: float | None
    draws: int
    reason: str | None = None


@torch.no_grad()
def bootstrap_cka(x: Tensor, y: Tensor, *, draws: int = 1000, seed: int = 0, level: float = 0.95) -> BootstrapCKA:
    """Return unbiased linear CKA with an interval for what other sentences of the same kind would give.

    Each draw weights the sentences by how often a sample of n with replacement has them, w, and takes the U-statistic
    over four **different** sentences, K and L being the Gram matrices:

        HSIC_w ~ sum over distinct i, j, q, r of  w_i w_j w_q w_r K_ij (L_ij + L_qr - 2 L_iq)

    which is Song's for w = 1. Sentences that were drawn twice never meet themselves: in a sample that repeats rows, the
    self-similarities leave the diagonal and push CKA up, by .1 to .3 for n = 30 and CKA around .2.

    The interval is value -+ z standard_error, the standard deviation of the draws: in simulation (n of 30 to 300, 8 and
    64 dimensions, CKA from 0 to .999, with and without heavy tails) it held the truth in 89 to 100 % of cases at `level`
    .95, where percentile and basic intervals fell to 82 %. Around 0 it is wide, for HSIC is degenerate there: whether
    there is any relation is a question for `permutation_null`.

    Shapes: x (n, d1), y (n, d2). Time O(n^2 draws), memory O(n draws). The same seed gives the same draws. Invariances
    as of `cka`; what is done to the columns (`standardise`) is done before, not anew in each draw.

    With a reason and no number where CKA is NaN, or where it is in some draw, as may happen for very few sentences.

    Raises: InputError for another shape, fewer than 4 rows, fewer than 2 draws, level not in (0, 1), unequal numbers of
    rows, NaN or infinity.

    Reference: Song et al. 2012, eq. 4 (the U-statistic); Efron and Tibshirani 1993, chapter 12 (the interval).
    """
    _check_flat(x, y)
    if draws < 2:
        raise InputError(f"`draws` is {draws}; expected at least 2: give the number of samples to draw.")
    if not 0 < level < 1:
        raise InputError(f"`level` is {level:g}; expected between 0 and 1: give the share of cases to hold the truth.")
    a, b = paired_rows(x, y, least=4, what="unbiased CKA")
    reason = cka_reason(a, b)
    if reason:
        return BootstrapCKA(None, None, None, None, draws, reason)
    n = a.shape[0]
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    drawn = ratio(_weighted_similarities(a, b, torch.from_numpy(counts.T.copy()).to(a)))
    undefined = int((~drawn.isfinite()).sum())
    if undefined:
        reason = f"CKA is undefined in {undefined} of {draws} draws: {n} rows are too few to draw from"
        return BootstrapCKA(None, None, None, None, draws, reason)
    value, error = float(cka(a, b)), float(drawn.std())
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    return BootstrapCKA(value, value - reach, value + reach, error, draws)


@dataclass(frozen=True)
class PermutationNull:
    """A similarity beside what it is when the rows are paired at random; all but `draws` None when `reason` says why.

    `mean` and `extreme` are of the values without a relation, `extreme` the one that only 5 % of them reach or pass
    towards similarity. `p` is the one-sided probability of at least this much similarity without a relation.
    """

    value: float | None
    mean: float | None
    extreme: float | None
    p: float | None
    draws: int
    reason: str | None = None


@torch.no_grad()
def permutation_null(
    measure: Measure | Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, *, draws: int = 199, seed: int = 0
) -> PermutationNull:
    """Return whether two representations of the same sentences are more similar than if their rows were not paired.

    The rows of y are put in random order `draws` times, all else left as it is:

        p = (1 + number of orders that are at least as similar) / (draws + 1)

    which is exact at any n and for any measure, also one whose chance level is far from 0 (biased CKA, SVCCA). Values
    within rounding of each other count as equal.

    `measure`: one of `MEASURES`, or a function of x and y, of which larger values are taken to be more similar. Shapes:
    x (n, d1), y (n, d2). Time: draws + 1 times the measure's. The same seed gives the same orders.

    With a reason and no number where the measure is NaN.

    Raises: InputError for a measure that does not use the rows as pairs, another shape, draws < 1, or as the measure.

    Reference: Phipson and Smyth 2010, eq. 2 (the p value).
    """
    _check_flat(x, y)
    if draws < 1:
        raise InputError(f"`draws` is {draws}; expected at least 1: give the number of random orders.")
    if not isinstance(measure, Measure):
        function, sign = measure, 1.0
    else:
        if "unpaired_rows" in measure.invariances:
            raise InputError(
                f"`{measure.name}` does not use the rows as pairs; expected a measure that changes with their order: "
                "choose another one."
            )
        function, sign = measure.function, 1.0 if measure.larger_is_more_similar else -1.0
    value = float(function(x, y))
    generator = torch.Generator().manual_seed(seed)
    orders = (torch.randperm(y.shape[0], generator=generator).to(y.device) for _ in range(draws))
    null = np.array([float(function(x, y[order])) for order in orders])
    undefined = int(np.isnan(null).sum()) + int(np.isnan(value))
    if undefined:
        why = measure.reason(x, y) if isinstance(measure, Measure) else None
        reason = why or f"the measure is undefined in {undefined} of {draws + 1} orders of the rows"
        return PermutationNull(None, None, None, None, draws, reason)
    at_least = sign * null >= sign * value - 1e-12 * abs(value)
    extreme = float(sign * np.quantile(sign * null, 0.95))
    return PermutationNull(value, float(null.mean()), extreme, (1 + int(at_least.sum())) / (draws + 1), draws)


def _check_flat(x: Tensor, y: Tensor) -> None:
    for name, side in (("x", x), ("y", y)):
        if side.dim() != 2:
            raise InputError(
                f"`{name}` has the shape {tuple(side.shape)}; expected (rows, dimensions): give one layer at a time."
            )


def _weighted_similarities(x: Tensor, y: Tensor, weights: Tensor) -> Similarities:
    """Return the three HSIC_w for every column of `weights` (n, draws), each (draws), up to a common factor."""
    sides = [unit_scale(centre(side)) for side in (x, y)]
    n, draws = weights.shape
    powers = torch.cat([weights, weights.square(), weights**3], dim=1)
    sums = [_WeightedSum(weights) for _ in range(3)]
    with torch.autocast(x.device.type, enabled=False):
        for start in range(0, n, _ROWS):
            rows = slice(start, start + _ROWS)
            kernels = [side[rows] @ side.mT for side in sides]
            for kernel in kernels:
                kernel.diagonal(start).zero_()
            means = [torch.split(kernel @ powers[:, : 2 * draws], draws, dim=1) for kernel in kernels]
            for total, (i, j) in zip(sums, ((0, 1), (0, 0), (1, 1)), strict=True):
                products = torch.split((kernels[i] * kernels[j]) @ powers, draws, dim=1)
                total.add(weights[rows], means[i], means[j], products)
    cross, own_x, own_y = (total.hsic() for total in sums)
    largest, largest_x, largest_y = (total.largest for total in sums)
    # Of fewer than four different sentences nothing but rounding is left.
    return floored((cross, own_x, own_y), (largest, largest_x, largest_y), n)


class _WeightedSum:
    """HSIC_w of one pair of kernels for all draws at once, from chunks of their rows.

    The sum over distinct i, j, q, r is that over all, less what falls on equal ones. With zero diagonals, P = K o L,
    a = Kw, b = Lw, a2 = K w^2, b2 = L w^2, p = Pw, p2 = P w^2, p3 = P w^3 and s2 = sum w^2, its three parts are

        A = sum_i (n^2 - s2) w_i p_i - 4 n w_i^2 p_i + 4 w_i^3 p_i + 2 w_i^2 p2_i
        B = (w'Kw)(w'Lw) - 4 sum_i w_i^2 a_i b_i + 2 sum_i w_i^2 p2_i
        C = sum_i w_i [ (n - w_i)(a_i b_i - p2_i) - (a2_i b_i - p3_i) - (a_i b2_i - p3_i) ]

    and HSIC_w ~ A + B - 2C. For K = L no part is larger than n^2 w'Pw: `largest`, the measure of rounding.
    """

    def __init__(self, weights: Tensor) -> None:
        self._n = weights.shape[0]
        self._squares = weights.square().sum(dim=0)
        self._sum, self._first, self._second, self.largest = (torch.zeros_like(self._squares) for _ in range(4))

    def add(self, w: Tensor, first: Sequence[Tensor], second: Sequence[Tensor], products: Sequence[Tensor]) -> None:
        """Add some rows: their weights w, (a, a2), (b, b2) and (p, p2, p3), each (rows, draws)."""
        n, ((a, a2), (b, b2), (p, p2, p3)) = self._n, (first, second, products)
        w2 = w.square()
        part_a = ((n * n - self._squares) * w - 4 * n * w2 + 4 * w2 * w) * p + 2 * w2 * p2
        part_b = 2 * w2 * p2 - 4 * w2 * a * b
        part_c = w * ((n - w) * (a * b - p2) - (a2 * b - p3) - (a * b2 - p3))
        self._sum += (part_a + part_b - 2 * part_c).sum(dim=0)
        self.largest += n * n * (w * p).sum(dim=0)
        self._first += (w * a).sum(dim=0)
        self._second += (w * b).sum(dim=0)

    def hsic(self) -> Tensor:
        return self._sum + self._first * self._second
