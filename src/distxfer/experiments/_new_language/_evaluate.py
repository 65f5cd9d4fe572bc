"""Does it help? A method against the baseline in one language, with few sentences and few seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import numpy.typing as npt

from distxfer.experiments._comparisons._one_seed import stored_answers
from distxfer.experiments._results._result import Result
from distxfer.measure import Crossed, crossed, smallest_gain, wilson

_MOST = 100_000  # test sentences: nobody labels more to find a small gain


@dataclass(frozen=True)
class MethodScore:
    """What the sound runs of one recipe have in the language: the mean over seeds of the share that is right.

    `low` and `high` are its 95 % interval over sentences (Wilson), `seed_sd` says how seeds differ. `source` is the mean of
    the task's own score in the source language, `seconds` that of a run.
    """

    recipe: str
    accuracy: float
    low: float
    high: float
    seed_sd: float | None
    source: float
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """A method less the baseline, over seeds that both have, with seeds and test sentences both random.

    `smallest` is the smallest gain that so many sentences and seeds show in 4 of 5 cases, `needed` how many sentences would
    show the one found; None where that cannot be. `collapsed` names runs that learnt nothing, which nothing takes in.
    """

    sentences: int
    seeds: tuple[int, ...]
    baseline: MethodScore | None
    method: MethodScore | None
    test: Crossed | None
    smallest: float | None
    needed: int | None
    collapsed: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the interval says so, else `open`."""
        if self.test is None or self.test.low is None or self.test.high is None:
            return "open"
        return "better" if self.test.low > 0 else "worse" if self.test.high < 0 else "open"


def evaluate(key: str, baseline: Mapping[int, Result], method: Mapping[int, Result]) -> Evaluation:
    """Return how a method does against the baseline in a language, from the predictions of their runs by seed.

    The table of (method is right) - (baseline is right), seeds by sentences, is what `crossed` tests, sentences in the place
    of languages: what other sentences and other seeds would give. Fewer than 3 seeds are no claim.
    """
    collapsed = [one for runs in (baseline, method) for one in runs.values() if one.data["status"] != "done"]
    seeds = tuple(
        seed
        for seed in baseline
        if seed in method and not {baseline[seed].folder, method[seed].folder} & _of(collapsed)
    )
    named = tuple(str(one.folder) for one in collapsed)
    if not seeds:
        return Evaluation(0, (), None, None, None, None, None, named)
    tables = [_right(key, [runs[seed] for seed in seeds]) for runs in (baseline, method)]
    before, after = (
        _score(table, [runs[seed] for seed in seeds]) for table, runs in zip(tables, (baseline, method), strict=True)
    )
    differences = tables[1] - tables[0]
    test, sentences = crossed(differences), differences.shape[1]
    design = _Design(before.accuracy, float(np.abs(differences).mean()), _seed_sd(differences), len(seeds))
    needed = None if test.effect <= 0 else design.sentences(test.effect, sentences)
    return Evaluation(sentences, seeds, before, after, test, design.smallest(sentences), needed, named)


def _of(runs: Sequence[Result]) -> set[Path]:
    return {one.folder for one in runs}


def _right(key: str, runs: Sequence[Result]) -> npt.NDArray[np.float64]:
    """Return whether each run is right (1) or wrong (0) on each test sentence of the language, (seeds, sentences)."""
    answers = [stored_answers(run.folder)[key] for run in runs]
    return np.array([[float(one[example][1]) for example in answers[0]] for one in answers])


def _score(table: npt.NDArray[np.float64], runs: Sequence[Result]) -> MethodScore:
    by_seed, accuracy = table.mean(axis=1), float(table.mean())
    low, high = wilson(accuracy, table.shape[1])
    return MethodScore(
        recipe=str(runs[0].data["recipe"]["name"]),
        accuracy=accuracy,
        low=low,
        high=high,
        seed_sd=stdev(by_seed.tolist()) if len(runs) > 1 else None,
        source=fmean(float(one.summary["source"]) for one in runs),
        seconds=fmean(float(one.data["cost"]["seconds"]) for one in runs),
    )


def _seed_sd(differences: npt.NDArray[np.float64]) -> float:
    """Return the standard deviation over seeds of one method's accuracy, beyond what sentences explain.

    That of the seeds' mean differences, less the noise of a mean over n sentences, divided by sqrt 2: two methods.
    """
    seeds, sentences = differences.shape
    if seeds < 2:
        return 0.0
    by_seed = differences.mean(axis=1)
    residual = differences - by_seed[:, None] - differences.mean(axis=0) + differences.mean()
    noise = float((residual**2).sum()) / ((seeds - 1) * (sentences - 1))
    return math.sqrt(max(0.0, float(by_seed.var(ddof=1)) - noise / sentences) / 2)


@dataclass(frozen=True)
class _Design:
    """What decides which gain can be shown; `discordant` is the share of sentences that one method alone gets right."""

    accuracy: float
    discordant: float
    seed_sd: float
    seeds: int

    def smallest(self, sentences: int) -> float | None:
        """Return the smallest gain that so many sentences show; None where there is none."""
        if not (0 < self.accuracy < 1 and 0 < self.discordant < 1):
            return None
        return smallest_gain(
            sentences, self.seeds, accuracy=self.accuracy, discordant=self.discordant, seed_sd=self.seed_sd
        )

    def sentences(self, gain: float, at_least: int) -> int | None:
        """Return how many sentences show such a gain: more than there are, and at most 100,000."""

        def enough(number: int) -> bool:
            found = self.smallest(number)
            return found is not None and found <= gain

        low, high = at_least, 2 * at_least
        while not enough(high):
            low, high = high, 2 * high
            if high > _MOST:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high
