"""Compares a method with the baseline in one language, with few sentences and few seeds."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from distxfer.data import Answer, Example, Output
from distxfer.measure import Crossed, crossed, exact_match, normalised_answer, smallest_gain, wilson
from distxfer.results.result import Result
from distxfer.results.tables import read_predictions

_MOST = 100_000  # test sentences; more are never labelled just to detect a small gain
_FEWEST_SEEDS = 3  # for any claim
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Commonest:
    """The majority baseline: the most frequent answer, the share of sentences for which it is correct, and chance.

    Classification: the most frequent class. Word labels: the most frequent label for every word, correct if a whole
    sentence has it. Question answering: the most frequent accepted answer. `chance` is 1 / number of classes, or None.
    """

    answer: str
    share: float
    chance: float | None


@dataclass(frozen=True)
class MethodScore:
    """The accuracy of a recipe's runs in the language, without collapsed runs: the mean over seeds.

    `low` and `high` are its 95 % interval over sentences (Wilson), `seed_sd` is the standard deviation over seeds. `works`:
    it is significantly better than the majority baseline. `source` is the mean of the task's own score in the source
    language, `seconds` that of the duration of a run.
    """

    recipe: str
    seeds: tuple[int, ...]
    accuracy: float
    low: float
    high: float
    seed_sd: float | None
    works: bool
    source: float
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """The difference between a method and the baseline over their common seeds; seeds and test sentences are both random.

    Without a common seed, `test` is None, and each recipe's score is that of its own runs, or None if all collapsed.
    `texts` is the number of texts if the sentences are questions, since questions on one text are dependent. `smallest` is
    the smallest gain that this many sentences and seeds detect in 4 of 5 cases, `needed` the number of sentences that would
    show the observed gain; None if there is no such number. `collapsed` names collapsed runs, which are excluded.
    """

    sentences: int
    texts: int | None
    seeds: tuple[int, ...]
    commonest: Commonest | None
    baseline: MethodScore | None
    method: MethodScore | None
    test: Crossed | None
    smallest: float | None
    needed: int | None
    collapsed: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """`better` or `worse` if the interval excludes 0, else `open`."""
        if self.test is None or self.test.low is None or self.test.high is None:
            return "open"
        return "better" if self.test.low > 0 else "worse" if self.test.high < 0 else "open"

    @property
    def advice(self) -> Literal["method", "baseline", "nothing"]:
        """The recommended recipe, among those that work: the method if it is better or all baseline runs collapsed.

        With fewer than 3 seeds, never the method.
        """
        if self.method is not None and self.method.works:
            alone = self.baseline is None and len(self.method.seeds) >= _FEWEST_SEEDS
            if alone or self.verdict == "better":
                return "method"
        return "baseline" if self.baseline is not None and self.baseline.works else "nothing"

    @property
    def source_change(self) -> float | None:
        """The difference between the method's and the baseline's score in the source language, a fraction."""
        if self.method is None or self.baseline is None:
            return None
        return self.method.source - self.baseline.source


def evaluate(
    key: str,
    baseline: Mapping[int, Result],
    method: Mapping[int, Result],
    questions: Mapping[str, Example] | None = None,
    *,
    output: Output = "text",
    classes: int = 0,
) -> Evaluation:
    """Return how a method does against the baseline in a language, from the predictions of their runs by seed.

    The table of (method is right) - (baseline is right), seeds by sentences, is what `crossed` tests, sentences in the place
    of languages: what other sentences and other seeds would give. With fewer than 3 seeds nothing can be claimed.

    Right is what is predicted as the label, all words of it. `questions`, by their ids, are the test of a task of answers:
    there, exact match with any of the right ones, and the texts that they are on, not the questions, are in the place of
    languages (see `_by_text`). `output` is the shape of the head's output, `classes` the number of classes, if it has any.
    """
    sound = [{seed: run for seed, run in runs.items() if not run.collapsed} for runs in (baseline, method)]
    collapsed = [run for runs in (baseline, method) for run in runs.values() if run.collapsed]
    seeds = tuple(seed for seed in sound[0] if seed in sound[1])
    chosen = [{seed: run for seed, run in runs.items() if not seeds or seed in seeds} for runs in sound]
    named = tuple(str(run.folder) for run in collapsed)
    if not any(chosen):
        return Evaluation(0, None, (), None, None, None, None, None, None, named)
    stored = [[_stored(run, key) for run in runs.values()] for runs in chosen]
    labels = next(table["label"] for tables in stored for table in tables)
    accepted = None if not questions else [_accepted(questions[example]) for example in labels.index]
    texts = [str(questions[example].text_pair) for example in labels.index] if questions else list(labels.index)
    commonest, always = _commonest(labels.tolist(), accepted, output, classes)
    tables = [np.array([_right(table.loc[labels.index], accepted) for table in tables]) for tables in stored]
    before, after = (
        _score(table, always, texts, runs) if runs else None for table, runs in zip(tables, chosen, strict=True)
    )
    sentences, count = len(labels), len(set(texts)) if questions else None
    if not seeds or before is None or after is None:
        return Evaluation(sentences, count, (), commonest, before, after, None, None, None, named)
    differences = tables[1] - tables[0]
    by_text = _by_text(differences, texts)
    test, discordant = crossed(by_text), float(np.abs(differences).mean())
    worth, seed_sd = _independent(differences, texts) / sentences, _seed_sd(by_text)

    def smallest(number: int) -> float | None:
        """Return the smallest gain that this many sentences detect, or None."""
        independent = round(worth * number)
        if independent < 2 or not (0 < before.accuracy < 1 and 0 < discordant < 1):
            return None
        return smallest_gain(independent, len(seeds), accuracy=before.accuracy, discordant=discordant, seed_sd=seed_sd)

    def detects(number: int) -> bool:
        gain = smallest(number)
        return gain is not None and gain <= test.effect

    larger = range(sentences + 1, _MOST + 1)
    place = bisect_left(larger, True, key=detects) if test.effect > 0 else len(larger)
    needed = larger[place] if place < len(larger) else None
    return Evaluation(sentences, count, seeds, commonest, before, after, test, smallest(sentences), needed, named)


def _stored(run: Result, language: str) -> pd.DataFrame:
    """Return label and prediction by example id, of a run's test examples in one language."""
    rows = read_predictions(run.folder)
    return rows[rows["language"] == language].set_index("example_id")


def _accepted(question: Example) -> list[str] | None:
    """Return the accepted answers of a question, or None if it has no label of that type."""
    label = question.label
    return [answer.text for answer in label if isinstance(answer, Answer)] if isinstance(label, tuple) else None


def _right(stored: pd.DataFrame, accepted: Sequence[list[str] | None] | None) -> Array:
    """Return whether a run is correct (1) or wrong (0) on each test sentence."""
    right: Array = (stored["label"] == stored["prediction"]).to_numpy().astype(float)
    for place, answers in enumerate(accepted or ()):
        if answers is not None:
            right[place] = exact_match(answers, stored["prediction"].iloc[place])
    return right


def _commonest(
    labels: Sequence[str], accepted: Sequence[list[str] | None] | None, output: Output, classes: int
) -> tuple[Commonest, Array]:
    """Return the majority baseline, and for each sentence (n,) whether it is correct (1 or 0)."""
    if accepted:
        answers = [texts or [""] for texts in accepted]
        answer = Counter(
            text for texts in answers for text in dict.fromkeys(map(normalised_answer, texts))
        ).most_common(1)[0][0]
        right = [exact_match(texts, answer) for texts in answers]
    elif output == "token":
        answer = Counter(tag for label in labels for tag in label.split()).most_common(1)[0][0]
        right = [float(set(label.split()) <= {answer}) for label in labels]
    else:
        answer = Counter(labels).most_common(1)[0][0]
        right = [float(label == answer) for label in labels]
    return Commonest(answer, fmean(right), 1 / classes if classes else None), np.array(right)


def _by_text(table: Array, texts: Sequence[str]) -> Array:
    """Aggregate (seeds, sentences) to (seeds, texts) with the same mean per seed; unchanged with one sentence per text.

    For text t with n_t sentences whose values sum to S_t, and the mean m of all n sentences on T texts (per seed):

        m + (S_t - m n_t) T / n

    A mean over sentences is a ratio of two sums over texts; to first order, it is the mean of these values. An effect of a
    seed on all sentences is the same effect on all texts.

    Reference: Cochran 1977, chapter 9A (clusters of unequal sizes, the ratio to size).
    """
    counts = Counter(texts)
    if len(counts) == len(texts):
        return table
    places = {text: place for place, text in enumerate(counts)}
    members = np.zeros((len(texts), len(counts)))
    members[range(len(texts)), [places[text] for text in texts]] = len(counts) / len(texts)
    mean = table.mean(axis=1, keepdims=True)
    means: Array = mean + (table - mean) @ members
    return means


def _independent(table: Array, texts: Sequence[str]) -> float:
    """Return the effective number of independent sentences: n divided by the design effect (Kish 1965).

    At most n; at least n^2 / sum n_t^2 with n_t sentences on text t, as if all sentences on a text were identical. The
    minimum is also returned if all sentences are equal, so that the correlation within texts is unknown.
    """
    counts = Counter(texts)
    sentences = len(texts)
    if len(counts) == sentences:
        return sentences
    least = sentences**2 / sum(count**2 for count in counts.values())
    if not np.ptp(table.mean(axis=0)):
        return least
    independent, clustered = (
        values.mean(axis=0).var(ddof=1) / values.shape[1] for values in (table, _by_text(table, texts))
    )
    return float(max(least, sentences * independent / clustered)) if clustered > independent else sentences


def _score(table: Array, always: Array, texts: Sequence[str], runs: Mapping[int, Result]) -> MethodScore:
    by_seed, accuracy = table.mean(axis=1), float(table.mean())
    low, high = wilson(accuracy, round(_independent(table, texts)))
    above = crossed(_by_text(table - always, texts))
    first = next(iter(runs.values()))
    return MethodScore(
        recipe=str(first.recipe["name"]),
        seeds=tuple(runs),
        accuracy=accuracy,
        low=low,
        high=high,
        seed_sd=stdev(by_seed.tolist()) if len(runs) > 1 else None,
        works=low > float(always.mean()) if above.low is None else above.low > 0,
        source=fmean(float(run.summary["source"]) for run in runs.values()),
        seconds=fmean(float(run.cost["seconds"]) for run in runs.values()),
    )


def _seed_sd(differences: Array) -> float:
    """Return the standard deviation over seeds of one method's accuracy, without the noise of sentences.

    The variance of the seeds' mean differences, minus the noise of a mean over n sentences, is that of two methods, so it is
    halved.
    """
    seeds, sentences = differences.shape
    if seeds < 2:
        return 0.0
    by_seed = differences.mean(axis=1)
    residual = differences - by_seed[:, None] - differences.mean(axis=0) + differences.mean()
    noise = float((residual**2).sum()) / ((seeds - 1) * (sentences - 1))
    return math.sqrt(max(0.0, float(by_seed.var(ddof=1)) - noise / sentences) / 2)
