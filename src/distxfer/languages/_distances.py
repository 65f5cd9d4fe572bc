"""How far two languages are apart, and what the answer rests on."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distxfer.errors import InputError, unknown
from distxfer.languages import _uriel
from distxfer.languages._codes import aliases, canonical, language_name, macrolanguage
from distxfer.languages._matrix import read_matrix

_TYPOLOGICAL = {
    "syntactic": ("S_",),
    "phonological": ("P_",),
    "inventory": ("INV_",),
    "featural": ("S_", "P_", "INV_"),
}
DISTANCES = ("syntactic", "phonological", "inventory", "genetic", "geographic", "featural")


@dataclass(frozen=True)
class Distance:
    """One distance between two languages, with what it rests on.

    `source` and `target` are language keys. `value` is in [0, 1] (a matrix of the user's own: at least 0). `n_shared`
    counts the features observed in both languages, for `genetic` the families they share, and is 1 for `geographic`
    and `matrix`. `imputed` says that predicted features were used. `provenance` names the data and their version.
    """

    source: str
    target: str
    name: str
    value: float
    n_shared: int
    imputed: bool
    provenance: str


def distance(
    source: str, target: str, name: str = "syntactic", *, imputed: bool = False, matrix: Path | None = None
) -> Distance:
    r"""Return the distance between two languages.

    - `syntactic`, `phonological`, `inventory`, `featural` (these three together): the cosine distance
      :math:`1 - x \cdot y / (\|x\| \|y\|)` of the URIEL vectors x and y, over the features observed in both languages
      or, with `imputed`, over all features as URIEL's nearest neighbours predict them.
    - `genetic`: the cosine distance of the binary vectors of membership in the families of Glottolog,
      :math:`1 - s / \sqrt{n_x n_y}` with s shared families. All unrelated languages are at 1.
    - `geographic`: the great circle between their coordinates as a fraction of half the equator.
    - with `matrix`, the cell of that table instead, and the name is `matrix` (`read_matrix` has the format).

    Values are in [0, 1], 0 between a language and itself, symmetric (a matrix need not be). A language's data are those
    of whichever of its codes has the most; its script does not matter. `genetic` and `geographic` are never imputed.

    Raises InputError for an unknown code or name, a language without data, fewer than 2 shared features, or
    a vector that is all 0.

    Source: Littell et al. 2017, "URIEL and lang2vec", EACL.
    """
    source, target = canonical(source), canonical(target)
    if matrix is not None:
        own = read_matrix(matrix)
        return Distance(source, target, "matrix", own.cell(source, target), 1, False, own.provenance)
    if name in _TYPOLOGICAL:
        value, n_shared = _typological(source, target, name, imputed)
    elif name == "genetic":
        value, n_shared = _genetic(source, target)
    elif name == "geographic":
        value, n_shared = _geographic(source, target), 1
    else:
        raise unknown("Distance", name, DISTANCES)
    return Distance(source, target, name, value, n_shared, imputed and name in _TYPOLOGICAL, _uriel.provenance())


def coordinates(key: str) -> tuple[float, float]:
    """Return the latitude and longitude of a language in degrees, in [-90, 90] and [-180, 180], to about a tenth.

    Raises InputError for an unknown code, or a language that URIEL does not place.
    """
    x, y, z = map(float, _position(canonical(key)))
    return math.degrees(math.asin(max(-1.0, min(1.0, z)))), math.degrees(math.atan2(y, x))


def families(key: str) -> tuple[str, ...]:
    """Return the families of a language, from the one with the most languages to the one with the fewest.

    Empty for a language that URIEL gives no family, be it an isolate or one not described.

    Raises InputError for an unknown code.
    """
    table = _uriel.families()
    row = _row(canonical(key), table.values)
    return () if row is None else tuple(table.features[j] for j in np.flatnonzero(table.values[row]))


def _typological(source: str, target: str, name: str, imputed: bool) -> tuple[float, int]:
    table = _uriel.observed()
    columns = table.columns(_TYPOLOGICAL[name])
    known = table.values[:, columns] >= 0
    a, b = (_described(key, name, known, imputed) for key in (source, target))
    shared = known[a] & known[b]
    n_shared = int(shared.sum())
    if imputed:
        vectors = _uriel.predicted().values[:, columns]
        return _cosine_distance(vectors[a], vectors[b], source, target, name), n_shared
    if n_shared < 2:  # the cosine of two positive numbers is 1, whatever they are: a distance of 0 that means nothing
        raise InputError(
            f"`{source}` and `{target}` share {n_shared} {name} features in {_uriel.provenance()}, and a cosine needs "
            "2. Set `distance.imputed=true` to use predicted features, or give your own table as `distance.matrix`."
        )
    vectors = table.values[:, columns]
    return _cosine_distance(vectors[a][shared], vectors[b][shared], source, target, name), n_shared


def _genetic(source: str, target: str) -> tuple[float, int]:
    member = _uriel.families().values
    a, b = (_described(key, "genetic", member, imputed=False) for key in (source, target))
    return _cosine_distance(member[a], member[b], source, target, "genetic"), int(member[a] @ member[b])


def _geographic(source: str, target: str) -> float:
    chord = float(np.linalg.norm(_position(source) - _position(target)))
    return 2 * math.asin(min(1.0, chord / 2)) / math.pi


def _position(key: str) -> NDArray[np.floating]:
    places = _uriel.positions().values
    row = _described(key, "geographic", np.ones((len(places), 1)), imputed=False)
    place: NDArray[np.floating] = places[row]
    return place


def _cosine_distance(x: NDArray[np.floating], y: NDArray[np.floating], source: str, target: str, name: str) -> float:
    """Return 1 - cos(x, y), as half the squared chord between the unit vectors so that equal vectors give exactly 0."""
    units = []
    for key, vector in ((source, x.astype(np.float64)), (target, y.astype(np.float64))):
        norm = float(np.linalg.norm(vector))
        if norm == 0:
            raise InputError(
                f"The {name} features that `{source}` and `{target}` share are all 0 for `{key}`, so their cosine is "
                "not defined. Choose another distance, or give your own table as `distance.matrix`."
            )
        units.append(vector / norm)
    return min(1.0, float(np.sum((units[0] - units[1]) ** 2)) / 2)


def _row(key: str, known: NDArray[np.generic]) -> int | None:
    """Return the row of whichever code of a language has the most known entries (its key first), if URIEL has any."""
    rows = [_uriel.rows()[code] for code in aliases(key) if code in _uriel.rows()]
    return max(rows, key=lambda row: int(np.count_nonzero(known[row])), default=None)


def _described(key: str, name: str, known: NDArray[np.generic], imputed: bool) -> int:
    """Return the row of a language, or raise the error that says what else there is."""
    row = _row(key, known)
    if row is not None and (imputed or known[row].any()):
        return row
    relatives = _relatives(key, np.asarray(known.any(axis=1)))
    kin = ", ".join(f"`{code}`" for code in relatives)
    ways = [f"choose one of its nearest covered relatives ({kin})"] if relatives else []
    if row is not None and name in _TYPOLOGICAL:
        ways.append("set `distance.imputed=true` to use predicted features")
    advice = ", or ".join([*ways, "give your own table as `distance.matrix`"])
    alone = "no relative of it has any" if families(key) else "no families by which to name its relatives"
    raise InputError(
        f"`{key}` ({language_name(key)}) has no {name} data in {_uriel.provenance()}"
        f"{'' if relatives else f', and {alone}'}. {advice[0].upper()}{advice[1:]}."
    )


def _relatives(key: str, covered: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return up to three covered languages with the most families in common, the most closely related first."""
    member = _uriel.families().values
    row = _row(key, member)
    if row is None:
        return ()
    shared, total = member @ member[row], member.sum(axis=1)
    near = [(-shared[i], total[i], code) for code, i in _uriel.rows().items() if covered[i] and shared[i] and i != row]
    return tuple(dict.fromkeys(macrolanguage(code) for _, _, code in sorted(near)))[:3]
