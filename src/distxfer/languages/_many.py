"""The distances from one source to many targets."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from distxfer.errors import InputError, unknown
from distxfer.languages._codes import canonical
from distxfer.languages._distances import DISTANCES, Distance, distance


@dataclass(frozen=True)
class Distances:
    """The distances from `source` to its targets; `entries` is by target key, `imputed` is what was asked for."""

    source: str
    name: str
    imputed: bool
    entries: Mapping[str, Distance]

    @property
    def values(self) -> dict[str, float]:
        """The distance of every target."""
        return {target: entry.value for target, entry in self.entries.items()}

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
        """Return the same languages under another distance: a name of `DISTANCES`, `shuffled`, or empty for these.

        `shuffled` is the control: every target gets the distance of another target, along one cycle through all of
        them that depends on nothing but which languages they are (not on their order, the process or a seed).

        Raises InputError for an unknown name, a language without such data, or fewer than 2 targets to shuffle.
        """
        if name in {"", self.name}:
            return self
        if name == "shuffled":
            return self._shuffled()
        if name not in DISTANCES:
            raise unknown("Distance", name, (*DISTANCES, "shuffled"))
        return distances(self.source, self.entries, name, imputed=self.imputed)

    def _shuffled(self) -> "Distances":
        if len(self.entries) < 2:
            raise InputError(
                f"Distance `shuffled` needs at least 2 targets, and there is `{', '.join(self.entries)}`. Add targets."
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

    Raises InputError for no targets, one language given twice, or whatever `distance` raises, for all targets at once.
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
            errors.append(f"Target `{target}` is the language `{entry.target}`, which is there already. Remove one.")
        entries[entry.target] = entry
    if errors:
        raise InputError("\n".join(dict.fromkeys(errors)))
    if not entries:
        raise InputError("Distances need at least one target language, and there is none. Name the target languages.")
    return Distances(canonical(source), "matrix" if matrix else name, imputed, entries)


def _cycle(keys: list[str]) -> dict[str, str]:
    """Return a permutation that is one cycle, so that nothing stays in place (Sattolo's algorithm, fixed seed)."""
    stream, donors = random.Random(0), list(keys)
    for i in range(len(donors) - 1, 0, -1):
        j = int(stream.random() * i)  # `random()` alone is promised to be the same in every Python version
        donors[i], donors[j] = donors[j], donors[i]
    return dict(zip(keys, donors, strict=True))
