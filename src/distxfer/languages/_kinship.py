"""Which languages are related, and which of their codes URIEL knows them by."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distxfer.errors import InputError
from distxfer.languages import _uriel
from distxfer.languages._codes import aliases, canonical, language_name, macrolanguage

# What Glottolog lists beside its families: labels for languages that are not known to descend from one another.
_NO_DESCENT = frozenset({
    "Artificial Language", "Mixed Language", "Pidgin", "Sign Language", "Speech Register", "Unattested",
    "Unclassifiable",
})  # fmt: skip

Relation = Literal["language", "branch", "family", "none"]


@dataclass(frozen=True)
class Relative:
    """A language with data, and the number of families (a family, its branches, theirs ...) shared with another one."""

    key: str
    n_shared: int


def families(key: str) -> tuple[str, ...]:
    """Return the families of a language, from the one with the most languages to the one with the fewest.

    Empty for a language that URIEL gives no family, be it an isolate or one not described.

    Raises InputError for an unknown code.
    """
    table = _uriel.families()
    row = row_of(canonical(key), _uriel.rows(), table.values)
    return () if row is None else tuple(table.features[j] for j in np.flatnonzero(table.values[row]))


@cache
def lineage(key: str) -> tuple[str, ...]:
    """Return the family of a language and its branch of it, such as (`Indo-European`, `Germanic`) for `eng`.

    It is what statistics group languages by: the two widest of `families`, or one where there is no branch (`kor`).
    Empty for an isolate, for a language that URIEL does not classify (`nno`), and where Glottolog has a label that is no
    descent (`Artificial Language`, `Mixed Language`, `Pidgin`, `Sign Language`, `Speech Register`, `Unattested`,
    `Unclassifiable`): every such language is a group of its own.

    Raises InputError for an unknown code.
    """
    tree = families(key)
    return () if tree[:1] and tree[0] in _NO_DESCENT else tree[:2]


def relation(key: str, others: Iterable[str]) -> Relation:
    """Return the closest relation of a language to any of the others, by the top two levels of Glottolog's classification.

    - `language`: it is one of them, be it in another script.
    - `branch`: one of them is in the same first branch of the same family (`swe` and `deu`: Germanic).
    - `family`: one of them is in the same family, but none in the same branch (`spa` and `deu`: Indo-European), or the
      family has no branches for one of both (`hun`).
    - `none`: none of them is in the same family. That includes isolates, and languages that `lineage` has nothing on.

    Raises InputError for an unknown code.
    """
    keys = [canonical(other) for other in others]
    if canonical(key).partition("_")[0] in {other.partition("_")[0] for other in keys}:
        return "language"
    own, theirs = lineage(key), [lineage(other) for other in keys]
    if len(own) > 1 and own in theirs:
        return "branch"
    return "family" if own and own[:1] in [other[:1] for other in theirs] else "none"


def row_of(key: str, rows: Mapping[str, int], known: NDArray[np.generic]) -> int | None:
    """Return the row of whichever code of a language has the most known entries (its key first), if there is any."""
    chosen = [rows[code] for code in aliases(key) if code in rows]
    return max(chosen, key=lambda row: int(np.count_nonzero(known[row])), default=None)


@cache
def covered(name: str) -> frozenset[str]:
    """Return the keys of the languages that have data for a distance of URIEL, be it a single feature."""
    has_data = np.asarray(_uriel.known(name).any(axis=1))
    return frozenset(macrolanguage(code) for code, row in _uriel.rows().items() if has_data[row])


def nearest(key: str, candidates: Collection[str], n: int) -> tuple[Relative, ...]:
    """Return the `n` of `candidates` with the most families in common, of equals the one with the fewest families."""
    member = _uriel.families().values
    row = row_of(key, _uriel.rows(), member)
    if row is None or not member[row].any():
        return ()
    shared, total = member @ member[row], member.sum(axis=1)
    rows, base = _described_by(), key.partition("_")[0]
    near = []
    for candidate in candidates:
        own = candidate.partition("_")[0]
        if own != base and own in rows and shared[rows[own]]:
            near.append((-int(shared[rows[own]]), int(total[rows[own]]), candidate))
    return tuple(Relative(candidate, -negative) for negative, _, candidate in sorted(near)[:n])


@cache
def _described_by() -> dict[str, int]:
    """Return, for every key, the row that says most about its families."""
    member = _uriel.families().values
    rows = {key: row_of(key, _uriel.rows(), member) for key in dict.fromkeys(map(macrolanguage, _uriel.rows()))}
    return {key: row for key, row in rows.items() if row is not None}


def no_data(key: str, name: str, provenance: str, candidates: Collection[str], ways: Sequence[str]) -> InputError:
    """Return the error for a language without data, which says what else there is: its relatives, and other `ways`."""
    kin = nearest(key, candidates, 3)
    first = [f"choose one of its nearest covered relatives ({', '.join(f'`{one.key}`' for one in kin)})"] if kin else []
    advice = ", or ".join([*first, *ways, "give your own table as `distance.matrix`"])
    alone = "no relative of it has any" if families(key) else "no families by which to name its relatives"
    return InputError(
        f"`{key}` ({language_name(key)}) has no {name} data in {provenance}"
        f"{'' if kin else f', and {alone}'}. {advice[0].upper()}{advice[1:]}."
    )
