"""Genealogical relations of languages, and the codes under which URIEL lists them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distxfer.languages import uriel
from distxfer.languages.codes import aliases, canonical, macrolanguage

# Labels that Glottolog lists like families, but for languages that do not descend from one another.
_NO_DESCENT = frozenset({
    "Artificial Language", "Mixed Language", "Pidgin", "Sign Language", "Speech Register", "Unattested",
    "Unclassifiable",
})  # fmt: skip

Relation = Literal["language", "branch", "family", "none"]


@dataclass(frozen=True)
class Relative:
    """A language with data, and the number of families (including branches at all levels) shared with another one."""

    key: str
    n_shared: int


def families(key: str) -> tuple[str, ...]:
    """Return the families of a language in decreasing order of size.

    Empty for a language without a family in URIEL: an isolate, or a language that is not described.

    Raises InputError for an unknown code.
    """
    names, member = uriel.families()
    row = row_of(canonical(key), uriel.rows(), member)
    return () if row is None else tuple(names[j] for j in np.flatnonzero(member[row]))


@cache
def lineage(key: str) -> tuple[str, ...]:
    """Return the family and the branch of a language, such as (`Indo-European`, `Germanic`) for `eng`.

    Statistics group languages by it. It has the two largest of `families`, or one if there is no branch (`kor`). Empty for
    an isolate, for a language that URIEL does not classify (`nno`), and for labels of Glottolog that are not about descent
    (`Artificial Language`, `Mixed Language`, `Pidgin`, `Sign Language`, `Speech Register`, `Unattested`, `Unclassifiable`):
    every such language is a group of its own.

    Raises InputError for an unknown code.
    """
    tree = families(key)
    return () if tree[:1] and tree[0] in _NO_DESCENT else tree[:2]


def relation(key: str, other_keys: Iterable[str]) -> Relation:
    """Return the closest relation of a language to any other, by the top two levels of Glottolog's classification.

    - `language`: it is one of them, possibly in another script.
    - `branch`: one of them is in the same first-level branch (`swe` and `deu`: Germanic).
    - `family`: one of them is in the same family, but none in the same branch (`spa` and `deu`: Indo-European), or one of
      the two has no branch (`hun`).
    - `none`: none of them is in the same family. That includes isolates and languages without `lineage`.

    Raises InputError for an unknown code.
    """
    keys = [canonical(code) for code in other_keys]
    if canonical(key).partition("_")[0] in {base.partition("_")[0] for base in keys}:
        return "language"
    branch, branches = lineage(key), [lineage(code) for code in keys]
    if len(branch) > 1 and branch in branches:
        return "branch"
    return "family" if branch and branch[:1] in [candidate[:1] for candidate in branches] else "none"


def row_of(key: str, rows: Mapping[str, int], values: NDArray[np.generic]) -> int | None:
    """Return the row of a language's code with the most non-zero entries in `values`, or None if it has no row."""
    chosen = [rows[code] for code in aliases(key) if code in rows]
    return max(chosen, key=lambda row: int(np.count_nonzero(values[row])), default=None)


def nearest(key: str, candidates: Collection[str], n: int) -> tuple[Relative, ...]:
    """Return the `n` candidates with the most families in common; ties are broken by the smaller number of families."""
    member = uriel.families()[1]
    row = row_of(key, uriel.rows(), member)
    if row is None or not member[row].any():
        return ()
    shared, total = member @ member[row], member.sum(axis=1)
    rows, base = _described_by(), key.partition("_")[0]
    near = []
    for candidate in candidates:
        candidate_base = candidate.partition("_")[0]
        if candidate_base != base and candidate_base in rows and shared[rows[candidate_base]]:
            near.append((-int(shared[rows[candidate_base]]), int(total[rows[candidate_base]]), candidate))
    return tuple(Relative(candidate, -negative) for negative, _, candidate in sorted(near)[:n])


@cache
def _described_by() -> dict[str, int]:
    """Return for every key the row with the most families."""
    member = uriel.families()[1]
    rows = {key: row_of(key, uriel.rows(), member) for key in dict.fromkeys(map(macrolanguage, uriel.rows()))}
    return {key: row for key, row in rows.items() if row is not None}
