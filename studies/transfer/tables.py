"""The tables of the registered study: `python -m studies.transfer.study --tables` writes `table.md` of the finished runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from distxfer.measure import Crossed, holm
from distxfer.measure.random_effects import MIN_SEEDS
from distxfer.reports.tables import Table
from studies.transfer.outcome import lower_bounds, sampling_variances, scores, tested, weighted
from studies.transfer.protocol import Contrast, Protocol, Registration, Run, registration
from studies.transfer.records import KEYS, RESULTS, read_items, read_right, read_runs

PAGE = Path(__file__).parent / "table.md"
NOTE = """\
- Accuracy is averaged over classes (`macro_accuracy`), then over languages and seeds; *far* are the test languages above the
  median distance.
- *gain*: over the method's baseline on the far languages, in points, with the 95 % interval of the family-aware crossed test on
  common seeds; *gap*: the share of the distance from baseline to ceiling that this is.
- *English ≥*, *lowest ≥*: one-sided 95 % lower bound of the gain in English, and the least of the simultaneous ones of all
  test languages: of other seeds on these test items, and of other items too.
- *without twins*: without test items that share half of their words with a text that training may read."""


@dataclass(frozen=True)
class Runs:
    """The runs of a task by method and seed, as whether each item is right; `twins`: whether items with a twin count."""

    protocol: Protocol
    task: str
    all_items: pd.DataFrame
    right: Mapping[str, Mapping[int, npt.NDArray[np.bool_]]]
    twins: bool = True

    @cached_property
    def items(self) -> pd.DataFrame:
        """The items that count, with their weights."""
        items = self.all_items if self.twins else self.all_items[~self.all_items["twin"]]
        return weighted(items, self.protocol.task[self.task].fewest_items)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """The test languages in which some class counts."""
        return tuple(code for code in self.protocol.targets(self.task) if code in set(self.items["language"]))

    @cached_property
    def far(self) -> tuple[str, ...]:
        """The far half of the test languages."""
        return tuple(code for code in self.protocol.far(self.task) if code in self.targets)

    def scores(self, method: str) -> pd.DataFrame:
        """Return the outcome of a method, seeds x languages."""
        return scores(self.items, np.stack([*self.right[method].values()])[:, self.items.index])

    def differences(self, method: str, baseline: str) -> npt.NDArray[np.float64]:
        """Return the differences of two methods by item, (common seeds, items)."""
        seeds = [seed for seed in self.right.get(method, {}) if seed in self.right.get(baseline, {})]
        pairs = [self.right[method][seed].astype(float) - self.right[baseline][seed] for seed in seeds]
        return np.reshape(pairs, (len(seeds), len(self.all_items)))[:, self.items.index]

    def test(self, method: str, baseline: str) -> Crossed | None:
        """Return the test on the far half; None without enough common seeds."""
        differences = self.differences(method, baseline)
        return tested(self.items, differences, self.far) if len(differences) >= MIN_SEEDS else None

    def bounds(self, method: str, baseline: str) -> list[float | None]:
        """Return the lower bounds of English, then the lowest of all targets: each of other seeds, and of other items too."""
        differences = self.differences(method, baseline)
        if len(differences) < MIN_SEEDS:
            return [None] * 4
        table, alpha = scores(self.items, differences), self.protocol.alpha
        sampling = sampling_variances(self.items, differences, templates=self.protocol.task[self.task].templates)
        return [
            100 * lower_bounds(table[[*languages]], variances, alpha=alpha).min()
            for languages in ([self.protocol.source], self.targets)
            for variances in (0.0, sampling[[*languages]])
        ]

    def closed(self, method: str) -> float | None:
        """Return the share of the gap from baseline to ceiling that a method closes on the far half; None without a gap."""
        of = self.protocol.method[method]
        if method == of.baseline or of.baseline not in self.right or of.ceiling not in self.right:
            return None
        low, mean, high = (self.scores(name)[[*self.far]].mean(axis=None) for name in (of.baseline, method, of.ceiling))
        return (mean - low) / (high - low) if high > low else None

    def table(self) -> Table:
        """Return the means and gains of all methods."""
        columns = (
            "method",
            "given",
            "seeds",
            "English",
            "all",
            "far",
            "gap",
            "gain (far)",
            "p",
            "English ≥",
            "lowest ≥",
        )
        rows: list[tuple[Any, ...]] = []
        for method, right in self.right.items():
            of, means = self.protocol.method[method], 100 * self.scores(method).mean()
            shown = [f"{means[[*part]].mean():.1f}" for part in ([self.protocol.source], self.targets, self.far)]
            closed = self.closed(method)
            test = None if method == of.baseline else self.test(method, of.baseline)
            bounds = [_points(bound) for bound in ([None] * 4 if test is None else self.bounds(method, of.baseline))]
            english, lowest = f"{bounds[0]} / {bounds[1]}", f"{bounds[2]} / {bounds[3]}"
            gap = None if closed is None else f"{closed:.0%}"
            rows.append(
                (method, of.given, len(right), *shown, gap, _effect(test), _p(test and test.p), english, lowest)
            )
        left_out = len(self.all_items if self.twins else self.all_items[~self.all_items["twin"]]) - len(self.items)
        title = f"{self.task}{'' if self.twins else ' without twins'}: {len(self.items):,} test items"
        title += (
            f", and {left_out:,} of classes with fewer than {self.protocol.task[self.task].fewest_items} in a language"
        )
        title += f"; {len(self.targets)} languages, {len(self.far)} far"
        return Table(columns, rows, title)


def page(protocol: Protocol, results: Path = RESULTS, registered: Registration | None = None) -> str:
    """Return the page of all tables; raises InputError unless the protocol is registered."""
    registered = registered or registration()
    every = read_runs(results)
    recorded = every[every["protocol"] == registered.hash]
    tasks = {
        task: read_task(protocol, task, recorded, results) for task in protocol.task if task in set(recorded["task"])
    }
    without = {task: replace(runs, twins=False) for task, runs in tasks.items()}
    tables = [contrast_table(protocol, tasks, without)]
    tables += [runs.table() for task in tasks for runs in (tasks[task], without[task])]
    return (
        "\n\n".join(
            [
                "# Results of the study `transfer`",
                f"Protocol `{registered.hash}`, registered by the commit `{registered.commit}` of {registered.date}."
                f" Finished: {len(recorded)} of {len(protocol.runs())} runs.",
                *_named("Collapsed, and counted as they are", recorded[recorded["status"] == "collapsed"]),
                *_named("Trained under another protocol, and left out", every[every["protocol"] != registered.hash]),
                NOTE,
                *(f"## {table.title[0].upper()}{table.title[1:]}\n\n{table.markdown().rstrip()}" for table in tables),
                *(f"Far languages of {task}: {', '.join(runs.far)}." for task, runs in tasks.items()),
            ]
        )
        + "\n"
    )


def read_task(protocol: Protocol, task: str, recorded: pd.DataFrame, results: Path = RESULTS) -> Runs:
    """Return the recorded runs of a task."""
    items = read_items(task, results)
    of_task = recorded[recorded["task"] == task].sort_values("seed")
    right: dict[str, dict[int, npt.NDArray[np.bool_]]] = {method: {} for method in protocol.method}
    for method, seed, digest in of_task[["method", "seed", "predictions"]].itertuples(index=False):
        right[method][seed] = read_right(Run(seed, task, method), digest, items, results)
    return Runs(protocol, task, items, {method: by_seed for method, by_seed in right.items() if by_seed})


def contrast_table(protocol: Protocol, tasks: Mapping[str, Runs], without: Mapping[str, Runs]) -> Table:
    """Return the registered contrasts; one without a test has p = 1 in Holm's correction."""

    def tests(of: Mapping[str, Runs]) -> list[Crossed | None]:
        return [of[row.task].test(row.method, row.baseline) if row.task in of else None for row in protocol.contrast]

    tests_of_all, tests_without = tests(tasks), tests(without)
    adjusted = corrected(protocol.contrast, tests_of_all)
    rows = [
        (
            row.name, row.claims, row.task, f"{row.method} - {row.baseline}", test and test.n_seeds,
            _effect(test), _p(test and test.p), _p(p_holm if test else None),
            "" if test is None else "yes" if p_holm <= protocol.alpha and test.effect > 0 else "no",
            test and test.n_families, _effect(other), _p(other and other.p),
        )
        for row, test, p_holm, other in zip(protocol.contrast, tests_of_all, adjusted, tests_without, strict=True)
    ]  # fmt: skip
    columns = ("contrast", "claims", "task", "methods", "seeds", "gain (far)", "p", "p (Holm)", "shown", "families")
    return Table((*columns, "without twins", "p without twins"), rows, "registered contrasts")


def corrected(contrasts: Sequence[Contrast], tests: Sequence[Crossed | None]) -> list[float]:
    """Return p after Holm's correction over all registered contrasts of each group of claims, 1 where there is no test yet."""
    p = pd.Series([1.0 if test is None or test.p is None else test.p for test in tests], dtype=float)
    groups = [contrast.claims for contrast in contrasts]
    return p.groupby(groups).transform(lambda values: holm(values.tolist())).tolist()


def _named(what: str, runs: pd.DataFrame) -> list[str]:
    names = ["`{}`, `{}`, seed {}".format(*run) for run in runs[KEYS].itertuples(index=False)]
    return [f"{what}: {'; '.join(names)}."] if names else []


def _effect(test: Crossed | None) -> str | None:
    if test is None:
        return None
    interval = (
        "" if test.low is None or test.high is None else f" [{_points(100 * test.low)}, {_points(100 * test.high)}]"
    )
    return f"{_points(100 * test.effect)}{interval}"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"


def _p(p: float | None) -> str | None:
    return None if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
