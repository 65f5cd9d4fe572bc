"""The test items that each run got right: items shared between languages are a random factor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from distxfer._durable import Damaged
from distxfer.errors import InputError
from distxfer.results.result import read_result
from distxfer.results.tables import read_predictions

Array = npt.NDArray[np.float64]

# Tasks whose test sets are translations of each other: there, the same number of a row is the same item. Elsewhere an id
# that is a bare number may be the number of a row, which says nothing of the row of that number in another language.
_PARALLEL_TASKS = frozenset({"americasnli", "cldr", "emoji", "flores", "massive", "pawsx", "sib200", "xnli", "xquad"})


@dataclass(frozen=True)
class Items:
    """Whether each run is right (1) or wrong (0), by method and seed: (languages, items), NaN if a language lacks the item.

    All arrays have the same languages and items. `missing` explains which runs have no table, unless none has.
    """

    languages: Sequence[str]
    right: Mapping[tuple[str, str], Array]
    missing: tuple[str, ...] = ()

    def differences(
        self, weights: Mapping[str, float], languages: Sequence[str], seeds: Mapping[str, Sequence[str]]
    ) -> Array | None:
        """Return the weighted sum over methods, (seeds, languages, items), with the seeds of each in the given order.

        None if the items of a run are unknown or differ from those of the others.
        """
        if not all((name, seed) in self.right for name in weights for seed in seeds[name]):
            return None
        places = [self.languages.index(code) for code in languages]
        tables = {name: np.stack([self.right[name, seed][places] for seed in seeds[name]]) for name in weights}
        exists = [np.isfinite(table) for table in tables.values()]
        if not all((mask == exists[0][0]).all() for mask in exists):
            return None
        return np.asarray(sum(weight * tables[name] for name, weight in weights.items()), dtype=np.float64)


def read_items(scores: pd.DataFrame, *, unit: float = 1.0, without: str = "") -> Items:
    """Return the items that runs got right. `scores` has the columns `method`, `seed`, `language`, `value` and `run` (a folder).

    Items of the class `without` are left out, as they must be in the scores. A run has no items if its predictions cannot be read
    or if `unit` times their mean is not its score; comparisons with it are then tested with fixed items.
    Raises Damaged for predictions that the run did not write.
    """
    right: dict[tuple[str, str], pd.Series] = {}
    missing = []
    for (method, seed), rows in scores.groupby(["method", "seed"], sort=False):
        try:
            right[str(method), str(seed)] = unit * _right(rows, unit, without)
        except Damaged:  # without its items the test would be another one, and nobody would know why
            raise
        except InputError as error:
            reason = str(error).rstrip(".")
            missing.append(f"test items are taken as fixed for seed `{seed}` of `{method}`: {reason}")
    languages = sorted(scores["language"].unique())
    items = list(dict.fromkeys(item for run in right.values() for item in run.index.get_level_values("item")))
    tables = {
        key: run[~run.index.duplicated(keep="last")].unstack("item").reindex(index=languages, columns=items).to_numpy()
        for key, run in right.items()
    }
    return Items(languages, tables, tuple(missing) if right else ())


def _right(scores: pd.DataFrame, unit: float, without: str) -> pd.Series:
    """Return whether a run is right by language and item, in the order of its scores.

    Raises InputError if the predictions cannot be read, or do not reproduce the scores.
    """
    of_run = {folder: _right_in(Path(folder), without) for folder in scores["run"].unique()}
    parts: dict[str, pd.Series] = {}
    for folder, language, value in zip(scores["run"], scores["language"], scores["value"], strict=True):
        right = of_run[folder].get(language)
        if right is None or abs(unit * right.mean() - value) > 1e-6 * unit:
            path = Path(folder) / "predictions.parquet"
            raise InputError(f"`{path}` does not have the run's accuracy in `{language}`")
        parts[language] = right
    series: pd.Series = pd.concat(parts, names=["language"])
    return series


def _right_in(folder: Path, without: str) -> dict[str, pd.Series]:
    """Return by language whether a run is right on each item, without the items of one class."""
    predictions = read_predictions(folder)
    predictions = predictions[predictions["label"] != without] if without else predictions
    item = predictions["example_id"]
    if not _shared_ids(folder, item):
        item = predictions["language"] + " " + item
    right = (predictions["label"] == predictions["prediction"]).astype(float).set_axis(pd.Index(item, name="item"))
    return {str(language): part for language, part in right.groupby(predictions["language"].to_numpy())}


def _shared_ids(folder: Path, ids: pd.Series) -> bool:
    """Return whether an id is the same item in all languages: in a parallel task, or if ids are not mere row numbers."""
    result = read_result(folder)
    task = result.recipe.get("task", {}).get("name") if result else None
    return task in _PARALLEL_TASKS or not ids.str.isdecimal().any()
