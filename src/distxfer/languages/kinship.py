"""Genealogical relations of languages, and the codes under which URIEL lists them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distxfer.languages import uriel
from distxfer.languages.codes import aliases, canonical

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
    return _families(canonical(key))


@cache
def _families(key: str) -> tuple[str, ...]:
    _, families_of = uriel.families()
    return max((families_of[code] for code in aliases(key) if code in families_of), key=len, default=())


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


def nearest(key: str, candidates: Iterable[str], n: int) -> tuple[Relative, ...]:
    """Return the `n` candidates with the most families in common; ties are broken by the smaller number of families."""
    base, own_families = key.partition("_")[0], set(_families(key))
    near = []
    for candidate in candidates:
        candidate_families = _families(candidate)
        n_shared = len(own_families.intersection(candidate_families))
        if n_shared and candidate.partition("_")[0] != base:
            near.append((-n_shared, len(candidate_families), candidate))
    return tuple(Relative(candidate, -negative) for negative, _, candidate in sorted(near)[:n])
