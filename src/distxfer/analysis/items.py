"""Which test items each run got right: items that languages share are a source of uncertainty of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pyarrow import compute

from distxfer._durable import Damaged
from distxfer.analysis.one_seed import stored_predictions
from distxfer.errors import InputError
from distxfer.results.result import read_result

if TYPE_CHECKING:
    from distxfer.analysis.cells import Cells

Array = npt.NDArray[np.float64]

# Tasks whose test sets are translations of each other: there, the same number of a row is the same item. Elsewhere an id
# that is a bare number may be the number of a row, which says nothing of the row of that number in another language.
_PARALLEL_TASKS = frozenset({"americasnli", "cldr", "emoji", "flores", "massive", "pawsx", "sib200", "xnli", "xquad"})


@dataclass(frozen=True)
class Items:
    """Whether each run is right (1) or wrong (0), by method and seed: (languages, items), NaN where there is no such item.

    `missing` says of runs that are not here why; empty where none is here.
    """

    languages: tuple[str, ...]
    right: Mapping[tuple[str, str], Array]
    missing: tuple[str, ...] = ()

    def differences(
        self, weights: Mapping[str, float], languages: Sequence[str], seeds: Mapping[str, Sequence[str]]
    ) -> Array | None:
        """Return the weighted sum over methods, (seeds, languages, items), each with its seeds in this order.

        None where a run is not known here, or has other items than the rest.
        """
        if not all((name, seed) in self.right for name in weights for seed in seeds[name]):
            return None
        places = [self.languages.index(code) for code in languages]
        tables = {name: np.stack([self.right[name, seed][places] for seed in seeds[name]]) for name in weights}
        there = [np.isfinite(table) for table in tables.values()]
        if not all((one == there[0][0]).all() for one in there):
            return None
        return np.asarray(sum(weight * tables[name] for name, weight in weights.items()), dtype=np.float64)


def read_items(
    folders: Mapping[tuple[str, str], Mapping[str, Path]],
    scores: Mapping[str, Cells],
    *,
    unit: float = 1.0,
    without: str = "",
) -> Items:
    """Return which items the runs got right: `folders` has the run that each method and seed has a language's score from.

    Items of the class `without` are left out, as they must be in the scores. A run is missing whose predictions cannot
    be read, or whose means, times `unit`, are not its scores: only what is compared with it is then tested without items.
    Raises Damaged for predictions that the run did not write.
    """
    languages = tuple(sorted({code for by_language in folders.values() for code in by_language}))
    columns: dict[str, int] = {}
    found: dict[tuple[str, str], list[tuple[int, Array, Array]]] = {}
    missing = []
    for (method, seed), by_language in folders.items():
        try:
            answers = {folder: _right(folder, without) for folder in set(by_language.values())}
        except Damaged:  # without its items the test would be another one, and nobody would know why
            raise
        except InputError as error:
            missing.append(_without_items(method, seed, str(error).rstrip(".")))
            continue
        rows = []
        for code, folder in by_language.items():
            names, right = answers[folder].get(code, (np.empty(0, dtype=object), np.empty(0)))
            if not right.size or abs(unit * right.mean() - scores[method][seed][code]) > 1e-6 * unit:
                reason = f"`{folder / 'predictions.parquet'}` does not have the run's accuracy in `{code}`"
                missing.append(_without_items(method, seed, reason))
                break
            places = np.array([columns.setdefault(name, len(columns)) for name in names])
            rows.append((languages.index(code), places, unit * right))
        else:
            found[method, seed] = rows
    tables = {key: np.full((len(languages), len(columns)), np.nan) for key in found}
    for key, rows in found.items():
        for row, places, right in rows:
            tables[key][row, places] = right
    return Items(languages, tables, tuple(missing) if found else ())


def _without_items(method: str, seed: str, reason: str) -> str:
    return f"test items are fixed where seed `{seed}` of `{method}` is compared: {reason}"


def _right(folder: Path, without: str) -> dict[str, tuple[npt.NDArray[np.object_], Array]]:
    """Return the items of each language that a run was tested in and that are not of a class, and whether it was right."""
    table = stored_predictions(folder)
    if without:
        table = table.filter(compute.field("label") != without)
    codes, names, label, prediction = (
        table[name].to_numpy() for name in ("language", "example_id", "label", "prediction")
    )
    right = (label == prediction).astype(np.float64)
    if not _shared_ids(folder, names):
        names = np.array([f"{code} {name}" for code, name in zip(codes, names, strict=True)], dtype=object)
    kinds, rows = np.unique(codes.astype(str), return_inverse=True)
    return {str(code): (names[rows == number], right[rows == number]) for number, code in enumerate(kinds)}


def _shared_ids(folder: Path, names: npt.NDArray[np.object_]) -> bool:
    """Return whether one id means one item in all languages: in a parallel task, or where ids are more than row numbers."""
    result = read_result(folder)
    task = result.data["recipe"].get("task", {}).get("name") if result else None
    return task in _PARALLEL_TASKS or not any(str(name).isdecimal() for name in names)
