"""Tests of single runs on their predictions: they generalise to other sentences, never to other seeds."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, nctdtrinc, stdtrit

from distxfer.errors import InputError

Array = npt.NDArray[np.float64]

_POWER = 0.8


@dataclass(frozen=True)
class McNemar:
    """Counts of the examples that only a, and only b, has right, of `n` in all, and the two-sided p."""

    only_a: int
    only_b: int
    n: int
    p: float


@dataclass(frozen=True)
class PairedBootstrap:
    """The difference in accuracy of a and b with its 95 % interval and two-sided p; None where `reason` says why."""

    difference: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    n_blocks: int
    reason: str | None = None


def mcnemar(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> McNemar:
    """Return whether two runs differ on one language, from the examples on which just one of them is right.

    With b = only_a and c = only_b: p = min(1, 2 P(Bin(b + c, 1/2) <= min(b, c))), exact; 1 when no example differs.

    It takes both trained models as given, and says nothing about other seeds of either: two runs of ONE method differ
    significantly often enough. Use `crossed` on at least 3 seeds for a claim about a method. The examples have to be
    independent: one language at a time.

    Shapes: (n,) and (n,), true or 1 where the run is right, the same examples in the same order. Invariant under the
    order of the examples; swapping a and b keeps p. Raises: InputError for no examples, unequal lengths, or a value
    other than 0 and 1. Reference: McNemar 1947, in its exact form.
    """
    difference = _differences(correct_a, correct_b)
    only_a, only_b = int((difference > 0).sum()), int((difference < 0).sum())
    p = min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5))) if only_a + only_b else 1.0
    return McNemar(only_a, only_b, len(difference), p)


def paired_bootstrap(
    correct_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    *,
    draws: int = 10000,
    seed: int = 0,
    blocks: Sequence[Hashable] | None = None,
) -> PairedBootstrap:
    """Return the difference in accuracy of two runs, a - b, resampling the examples they were both tested on.

    Each draw takes as many examples as there are, with replacement; `low` and `high` are the 2.5 and 97.5 % quantiles
    of its differences d*, and p = (1 + #{|d* - d| >= |d|}) / (draws + 1). `blocks` names for each example what it
    belongs to, such as the item that it is a translation of: whole blocks are drawn, so that one item in ten languages
    counts as one observation.

    Like `mcnemar` it takes both trained models as given, and says nothing about other seeds of either.

    Shapes: (n,), (n,) and (n,), true or 1 where the run is right. Range: [-1, 1]. Invariant under the order of the
    examples, and swapping a and b turns the sign (but for the draws). The same `seed` gives the same answer. None with
    a reason when every block differs alike and not at all by 0, so that nothing varies; with no difference anywhere
    p = 1. Raises: as `mcnemar`, and for fewer than 2 blocks, blocks of another length, or fewer than 100 draws.

    Reference: Efron and Tibshirani 1993, sections 13.3 and 16.4; Koehn 2004 (for systems on one test set).
    """
    difference = _differences(correct_a, correct_b)
    n = len(difference)
    if draws < 100:
        raise InputError(f"`draws` is {draws}; expected at least 100: the ends of the interval need that many.")
    if blocks is not None and len(blocks) != n:
        raise InputError(f"`blocks` has {len(blocks)} entries for {n} examples; expected one each: name every block.")
    number = {block: place for place, block in enumerate(dict.fromkeys(range(n) if blocks is None else blocks))}
    where, n_blocks = np.array([number[block] for block in (range(n) if blocks is None else blocks)]), len(number)
    if n_blocks < 2:
        raise InputError(f"There is {n_blocks} block; expected at least 2 to draw from: give more examples.")
    sums, sizes = np.bincount(where, weights=difference), np.bincount(where)
    effect = float(difference.mean())
    # Blocks of one sum and size are alike, so how often each KIND is drawn is all that matters.
    kinds, counts = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    if effect and np.ptp(sums / sizes) == 0:
        reason = "no interval: the runs differ alike everywhere, so nothing varies"
        return PairedBootstrap(effect, None, None, None, n, n_blocks, reason)
    drawn = np.random.default_rng(seed).multinomial(n_blocks, counts / n_blocks, size=draws) @ kinds
    effects = drawn[:, 0] / drawn[:, 1]
    low, high = np.quantile(effects, (0.025, 0.975))
    extreme = int((np.abs(effects - effect) >= abs(effect) - 1e-12).sum())
    return PairedBootstrap(effect, float(low), float(high), (1 + extreme) / (draws + 1), n, n_blocks)


def _differences(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> Array:
    a, b = np.asarray(correct_a), np.asarray(correct_b)
    if a.ndim != 1 or a.shape != b.shape or not a.size:
        raise InputError(
            f"`correct_a` has the shape {a.shape} and `correct_b` {b.shape}; expected one value of each per example, "
            "and at least one example: give both runs' answers to the same examples."
        )
    for name, values in (("correct_a", a), ("correct_b", b)):
        wrong = values[(values != 0) & (values != 1)]
        if wrong.size:
            raise InputError(
                f"`{name}` holds `{wrong[0]}`; expected 1 or true where the prediction is right, else 0: "
                "compare predictions with labels first."
            )
    return a.astype(np.float64) - b.astype(np.float64)


def smallest_gain(
    n_sentences: int,
    n_seeds: int,
    *,
    accuracy: float,
    discordant: float | None = None,
    seed_sd: float = 0.0,
) -> float | None:
    """Return the smallest difference in accuracy of two methods on ONE language that so many sentences and seeds show.

    The mean over k seeds and n sentences of d = (a is right) - (b is right) varies with both:

        Var(gain) = (discordant - gain^2) / n + 2 seed_sd^2 / k

    The first term is NOT divided by k: all seeds are tested on the same sentences, so what these favour stays however
    many seeds there are. Its Satterthwaite degrees of freedom
    are (V_n + V_k)^2 / (V_n^2/(n-1) + V_k^2/(k-1)), which is k - 1 where seeds make the noise and n - 1 where sentences
    do; the gain is that at which the two-sided t test at 0.05 has 80 % power. With ONE seed it is about the sentences
    alone, for these two trained models: `seed_sd` is not used, since one run cannot show it.

    `accuracy` of the baseline; `discordant`: the share of sentences that just one method gets right, 2 p (1 - p) if not
    given, as of independent errors (runs of one encoder agree more, so it is rather too high); `seed_sd`: the standard
    deviation over seeds of one method's accuracy, beyond what sentences explain; for runs paired by seed, that of the
    differences divided by sqrt 2. All fractions, so is the result. None where it would be more than `discordant`: a
    gain that cannot be.

    Raises: InputError for fewer than 2 sentences or 1 seed, or a share outside its range.

    Reference: Connor 1987 (the first term); Satterthwaite 1946, eq. 17 (the degrees of freedom).
    """
    if n_sentences < 2 or n_seeds < 1:
        raise InputError(
            f"`n_sentences` is {n_sentences} and `n_seeds` {n_seeds}; expected at least 2 sentences and 1 seed: "
            "say how many you can have."
        )
    share = 2 * accuracy * (1 - accuracy) if discordant is None else discordant
    for name, value in (("accuracy", accuracy), ("discordant", share)):
        if not 0 < value < 1:
            raise InputError(f"`{name}` is {value}; expected a fraction between 0 and 1: give percent / 100.")
    if not 0 <= seed_sd < 1:
        raise InputError(f"`seed_sd` is {seed_sd}; expected a fraction from 0 to below 1: give percent / 100.")
    of_sentences, of_seeds = share / n_sentences, 2 * seed_sd**2 / n_seeds if n_seeds > 1 else 0.0
    spread = of_sentences**2 / (n_sentences - 1) + (of_seeds**2 / (n_seeds - 1) if of_seeds else 0.0)
    df = (of_sentences + of_seeds) ** 2 / spread
    errors = float(nctdtrinc(df, 1 - _POWER, stdtrit(df, 0.975)))  # the gain, in standard errors
    gain = errors * ((of_sentences + of_seeds) / (1 + errors**2 / n_sentences)) ** 0.5
    return gain if gain <= share else None
