"""The distances from one source to many targets, and among many languages."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from distxfer.errors import InputError, listed
from distxfer.languages._codes import canonical
from distxfer.languages._distances import Distance, between, check_name, distance, distance_warnings
from distxfer.languages._matrix import read_matrix


@dataclass(frozen=True)
class Distances:
    """The distances from `source` to its targets; `entries` is by target key, `imputed` is the requested setting."""

    source: str
    name: str
    imputed: bool
    entries: Mapping[str, Distance]

    @property
    def values(self) -> dict[str, float]:
        """The distance of every target."""
        return {target: entry.value for target, entry in self.entries.items()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons not to rely on some of the distances: see `distance_warnings`."""
        return distance_warnings(self.entries.values())

    @property
    def near(self) -> tuple[str, ...]:
        """The targets whose distance is at most the median of all targets."""
        middle = median(self.values.values())
        return tuple(target for target, value in self.values.items() if value <= middle)

    @property
    def far(self) -> tuple[str, ...]:
        """The targets whose distance is above the median of all targets."""
        near = set(self.near)
        return tuple(target for target in self.entries if target not in near)

    def by(self, name: str) -> "Distances":
        """Return the same languages under another distance: a name as in `distance`, `shuffled`, or empty for `self`.

        `shuffled` is a control: every target gets the distance of another target, along one cycle through all targets that
        depends only on the set of languages (not on their order, the process or a seed).

        Raises InputError for an unknown name, a language without such data, or fewer than 2 targets to shuffle.
        """
        if name in {"", self.name}:
            return self
        if name == "shuffled":
            return self._shuffled()
        check_name(name, "shuffled")
        return distances(self.source, self.entries, name, imputed=self.imputed)

    def _shuffled(self) -> "Distances":
        if len(self.entries) < 2:
            raise InputError(
                f"Distance `shuffled` needs at least 2 targets, and there is `{listed(self.entries)}`. Add targets."
            )
        donors = _cycle(sorted(self.entries))
        entries = {
            target: replace(
                self.entries[donor],
                target=target,
                name="shuffled",
                provenance=f"{self.entries[donor].provenance}, {self.name} distance of {donor}",
            )
            for target, donor in ((target, donors[target]) for target in self.entries)
        }
        return replace(self, name="shuffled", entries=entries)


def distances(
    source: str, targets: Iterable[str], name: str = "syntactic", *, imputed: bool = False, matrix: Path | None = None
) -> Distances:
    """Return the distance from one source to each target, in the order of the targets; `distance` has the definitions.

    Raises InputError for no targets, a repeated language, or any error of `distance`, for all targets at once.
    """
    entries: dict[str, Distance] = {}
    errors: list[str] = []
    for target in targets:
        try:
            entry = distance(source, target, name, imputed=imputed, matrix=matrix)
        except InputError as error:
            errors.append(str(error))
            continue
        if entry.target in entries:
            errors.append(f"Target `{target}` is the language `{entry.target}`, which is listed before. Remove one.")
        entries[entry.target] = entry
    if errors:
        raise InputError("\n".join(dict.fromkeys(errors)))
    if not entries:
        raise InputError("Distances need at least one target language, and there is none. Name the target languages.")
    return Distances(canonical(source), "matrix" if matrix else name, imputed, entries)


@dataclass(frozen=True, eq=False)
class DistanceMatrix:
    """The distances between all pairs of languages.

    `values[i, j]` is the distance from `keys[i]` to `keys[j]`, of shape (n, n) and 0 on the diagonal; `n_shared[i, j]`
    is as in `Distance`. Symmetric, unless the user's own table is not. Both arrays are read-only. `warnings` are those of
    `distance_warnings`.
    """

    keys: tuple[str, ...]
    values: NDArray[np.float64]
    n_shared: NDArray[np.int64]
    name: str
    imputed: bool
    provenance: str
    warnings: tuple[str, ...] = ()

    def csv(self) -> str:
        """Return the values as CSV for `matrix=`, without loss of precision; to be saved as UTF-8."""
        lines = [["language", *self.keys]]
        lines += [[key, *map(repr, row)] for key, row in zip(self.keys, self.values.tolist(), strict=True)]
        return "".join(",".join(line) + "\n" for line in lines)


def distance_matrix(
    languages: Iterable[str], name: str = "syntactic", *, imputed: bool = False, matrix: Path | None = None
) -> DistanceMatrix:
    """Return the distances between all pairs of n languages, in their order; `distance` has the definitions.

    The diagonal is 0 by definition; that of the user's own table is not read. O(n^2) distances.

    Raises InputError for fewer than 2 languages, a repeated one, or any error of `distance`, for all pairs at once.
    """
    keys = _distinct(languages)
    table = None if matrix is None else read_matrix(matrix)
    values, n_shared = np.zeros((len(keys),) * 2), np.ones((len(keys),) * 2, dtype=np.int64)
    errors: dict[str, None] = {}
    entries: list[Distance] = []
    for (i, source), (j, target) in combinations(enumerate(keys), 2):
        try:
            forward = between(source, target, name, imputed, table)
            backward = forward if table is None else between(target, source, name, imputed, table)
        except InputError as error:
            errors[str(error)] = None
            continue
        values[i, j], values[j, i] = forward.value, backward.value
        entries.append(forward)
        n_shared[i, j] = n_shared[j, i] = forward.n_shared
    if errors:
        raise InputError("\n".join(errors))
    if table is None:
        np.fill_diagonal(n_shared, [between(key, key, name, imputed, table).n_shared for key in keys])
    values.setflags(write=False)
    n_shared.setflags(write=False)
    warnings = distance_warnings(entries)
    return DistanceMatrix(keys, values, n_shared, forward.name, forward.imputed, forward.provenance, warnings)


def _distinct(languages: Iterable[str]) -> tuple[str, ...]:
    """Return the keys of at least two distinct languages; raises InputError otherwise."""
    keys: list[str] = []
    errors: list[str] = []
    for language in languages:
        try:
            key = canonical(language)
        except InputError as error:
            errors.append(str(error))
            continue
        if key in keys:
            errors.append(f"`{language}` is the language `{key}`, which is listed before. Remove one.")
        keys.append(key)
    if errors:
        raise InputError("\n".join(dict.fromkeys(errors)))
    if len(keys) < 2:
        count = f"there is `{keys[0]}`" if keys else "there is none"
        raise InputError(f"A matrix of distances needs at least 2 languages, and {count}. Name more languages.")
    return tuple(keys)


def _cycle(keys: list[str]) -> dict[str, str]:
    """Return a cyclic permutation without fixed points (Sattolo's algorithm, fixed seed)."""
    stream, donors = random.Random(0), list(keys)
    for i in range(len(donors) - 1, 0, -1):
        j = int(stream.random() * i)  # only `random()` is guaranteed to be the same in all Python versions
        donors[i], donors[j] = donors[j], donors[i]
    return dict(zip(keys, donors, strict=True))
