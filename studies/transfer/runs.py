"""The finished runs of a task: scores, differences to a baseline, and what is tested of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from distxfer.analysis.significance import families_of
from distxfer.measure import Crossed
from studies.transfer.outcome import lower_bounds, sampling_variances, scores, tested, weighted
from studies.transfer.protocol import Protocol, Run, run_hash
from studies.transfer.records import KEYS, RESULTS, read_items, read_right, read_runs


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
        table = scores(self.items, np.stack([*self.right[method].values()])[:, self.items.index])
        return table.set_axis([*self.right[method]])

    def differences(self, method: str, baseline: str) -> npt.NDArray[np.float64]:
        """Return the differences of two methods by item, (common seeds, items)."""
        seeds = [seed for seed in self.right.get(method, {}) if seed in self.right.get(baseline, {})]
        pairs = [self.right[method][seed].astype(float) - self.right[baseline][seed] for seed in seeds]
        return np.reshape(pairs, (len(seeds), len(self.all_items)))[:, self.items.index]

    def test(self, method: str, baseline: str) -> Crossed | None:
        """Return the test on the far half; None before all registered seeds are there, or without items that count."""
        differences = self.differences(method, baseline)
        is_complete = len(differences) == len(self.protocol.method[method].seeds or self.protocol.seeds)
        return tested(self.items, differences, self.far) if is_complete and self.far else None

    def bounds(self, method: str, baseline: str) -> list[float]:
        """Return the lower bounds of English, then the lowest of all targets: each of other seeds, and of other items too."""
        differences = self.differences(method, baseline)
        table, alpha = scores(self.items, differences), self.protocol.alpha
        sampling = sampling_variances(self.items, differences, templates=self.protocol.task[self.task].templates)
        bounds = []
        for languages in ([self.protocol.source], [*self.targets]):
            of_seeds = lower_bounds(table[languages], alpha=alpha).min()
            of_items = lower_bounds(table[languages], sampling[languages], alpha=alpha).min()
            # with three seeds, the degrees of freedom that items add can outweigh their variance
            bounds += [100 * of_seeds, 100 * min(of_seeds, of_items)]
        return bounds

    def lowest_without(self, method: str, baseline: str) -> dict[str, float]:
        """Return the lowest mean difference on the far half that is left without any one class, language or family."""
        differences = pd.DataFrame(self.differences(method, baseline).mean(axis=0), index=self.items.index)[0]
        far = self.items[self.items["language"].isin(self.far)]
        groups = {"class": far["label"], "language": far["language"]}
        groups["family"] = far["language"].map(dict(zip(self.far, families_of(self.far), strict=True)))
        effects: dict[str, list[float]] = {kind: [] for kind in groups}
        for kind, values in groups.items():
            for value in values.unique():
                items = weighted(far[values != value], self.protocol.task[self.task].fewest_items)
                effects[kind].append(float(scores(items, differences[items.index].to_numpy()[None]).mean(axis=None)))
        return {kind: min(values) for kind, values in effects.items()}

    def gain_in_classes_of(self, other: "Runs", method: str, baseline: str) -> float:
        """Return the mean difference on the far half over the classes that count in `other`, with all of their items."""
        keys = ["language", "label"]
        counted = pd.MultiIndex.from_frame(other.items[keys])
        items = self.items[pd.MultiIndex.from_frame(self.items[keys]).isin(counted)]
        items = weighted(items, self.protocol.task[self.task].fewest_items)
        differences = pd.DataFrame(self.differences(method, baseline).T, index=self.items.index).loc[items.index]
        return float(scores(items, differences.to_numpy().T)[[*other.far]].mean(axis=None))

    def closed(self, method: str) -> float | None:
        """Return the share of the gap from `plain` to `ceiling` that a method closes on the far half, on their common seeds."""
        names = ("plain", method, "ceiling")
        seeds = set.intersection(*(set(self.right.get(name, {})) for name in names))
        if method == "plain" or self.protocol.method[method].baseline != "plain" or not seeds:
            return None
        low, mean, high = (self.scores(name).loc[sorted(seeds), [*self.far]].mean(axis=None) for name in names)
        return (mean - low) / (high - low) if high > low else None


def finished_runs(protocol: Protocol, results: Path = RESULTS) -> pd.DataFrame:
    """Return the recorded runs whose settings, recipes and defaults are those of the protocol."""
    of_protocol = pd.DataFrame(protocol.runs(), columns=KEYS)
    of_protocol["inputs"] = [run_hash(protocol, run) for run in protocol.runs()]
    return of_protocol.merge(read_runs(results))


def read_task(protocol: Protocol, task: str, recorded: pd.DataFrame, results: Path = RESULTS) -> Runs:
    """Return the recorded runs of a task."""
    items = read_items(task, results)
    of_task = recorded[recorded["task"] == task].sort_values("seed")
    right: dict[str, dict[int, npt.NDArray[np.bool_]]] = {method: {} for method in protocol.method}
    for method, seed, digest in of_task[["method", "seed", "predictions"]].itertuples(index=False):
        right[method][seed] = read_right(Run(seed, task, method), digest, items, results)
    return Runs(protocol, task, items, {method: by_seed for method, by_seed in right.items() if by_seed})
