"""Distances between two languages, with their provenance."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distxfer.errors import InputError, listed, unknown
from distxfer.languages import _uriel, _urielplus
from distxfer.languages._codes import canonical, language_name
from distxfer.languages._kinship import Relative, covered, nearest, no_data, row_of
from distxfer.languages._matrix import Matrix, read_matrix
from distxfer.languages._vectors import cosine_distance

DISTANCES = ("syntactic", "phonological", "inventory", "genetic", "geographic", "featural")


@dataclass(frozen=True)
class Distance:
    """A distance between two languages, with its basis.

    `source` and `target` are language keys. `value` is in [0, 1] (a matrix of the user's own: at least 0). `n_shared`
    counts the features observed in both languages, for `genetic` the families they share, and is 1 for `geographic`
    and `matrix`. `imputed`: predicted features were used. `provenance` names the data and their version.
    """

    source: str
    target: str
    name: str
    value: float
    n_shared: int
    imputed: bool
    provenance: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons not to rely on the value: see `distance_warnings`."""
        return distance_warnings([self])


def distance_warnings(entries: Iterable[Distance]) -> tuple[str, ...]:
    """Return a warning for each type of meaningless distance, with its languages.

    - Imputed with `n_shared` = 0: no feature is known of both languages, so only predicted features are compared.
    - Exactly 0 between different languages (not scripts of one): the data do not distinguish them.
    """
    predicted: dict[str, list[str]] = {}
    equal: dict[str, list[str]] = {}
    for entry in entries:
        pair = f"`{entry.source}` and `{entry.target}` ({language_name(entry.target)})"
        if entry.imputed and entry.n_shared == 0:
            predicted.setdefault(entry.name, []).append(pair)
        elif entry.value == 0 and entry.source.partition("_")[0] != entry.target.partition("_")[0]:
            equal.setdefault(entry.name, []).append(pair)
    advice = "Do not rely on it: choose another distance, or give your own (`distance.matrix`)."
    return (
        *(
            f"The {name} distance has no basis for {listed(pairs, '; ')}: no feature is known of both, all are predicted"
            f" (`n_shared` = 0). {advice}"
            for name, pairs in predicted.items()
        ),
        *(
            f"The {name} distance is exactly 0 for {listed(pairs, '; ')}, which are different languages: the data do not"
            f" distinguish them. {advice}"
            for name, pairs in equal.items()
        ),
    )


def distance(
    source: str, target: str, name: str = "syntactic", *, imputed: bool = False, matrix: Path | None = None
) -> Distance:
    r"""Return the distance between two languages.

    - `syntactic`, `phonological`, `inventory`, `featural` (these three together): the cosine distance
      :math:`1 - x \cdot y / (\|x\| \|y\|)` of the URIEL vectors x and y, over the features observed in both languages
      or, with `imputed`, over all features, completed by URIEL's nearest-neighbour prediction.
    - `genetic`: the cosine distance of the binary vectors of membership in the families of Glottolog,
      :math:`1 - s / \sqrt{n_x n_y}` with s shared families. All unrelated languages are at 1.
    - `geographic`: the great circle between their coordinates as a fraction of half the equator.
    - with `@uriel+` after one of these names, such as `syntactic@uriel+`: the distance of URIEL+ instead, the angle
      :math:`2 / \pi \arccos(x \cdot y / (\|x\| \|y\|))` of its vectors: typological ones with what Grambank, BDPROTO and
      the updated SAPHON add, 1 where any source says yes (`featural` includes its morphological features), over the
      features known of both; of families; and of distances to places around the globe. Never imputed. Needs the
      package `urielplus`; its first use takes about 20 seconds and 1.6 GB of memory, and is kept in the cache.
    - with `matrix`, the cell of that table instead, and the name is `matrix` (`read_matrix` has the format).

    Values are in [0, 1], 0 between a language and itself, and symmetric (a matrix need not be). The data of a language are
    those of its code with the most data; its script does not matter. `genetic` and `geographic` are never imputed.
    `Distance.warnings` reports meaningless values.

    Raises InputError for an unknown code or name, a language without data, fewer than 2 shared features, a vector that
    is all 0, or a package that is missing; RunError if URIEL+ cannot be read.

    Source: Littell et al. 2017, "URIEL and lang2vec", EACL; Khan et al. 2025, "URIEL+", COLING.
    """
    table = None if matrix is None else read_matrix(matrix)
    return between(canonical(source), canonical(target), name, imputed, table)


def between(source: str, target: str, name: str, imputed: bool, table: Matrix | None) -> Distance:
    """Return `distance` for canonical keys and a table that has been read."""
    if table is not None:
        return Distance(source, target, "matrix", table.cell(source, target), 1, False, table.provenance)
    check_name(name)
    kind = name.removesuffix(_urielplus.SUFFIX)
    if kind != name:
        value, n_shared = _urielplus.between(source, target, kind, imputed)
        return Distance(source, target, name, value, n_shared, False, _urielplus.provenance())
    if name == "genetic":
        value, n_shared = _genetic(source, target)
    elif name == "geographic":
        value, n_shared = _geographic(source, target), 1
    else:
        value, n_shared = _typological(source, target, name, imputed)
    imputed = imputed and name in _uriel.TYPOLOGICAL
    return Distance(source, target, name, value, n_shared, imputed, _uriel.provenance())


def check_name(name: str, *extra_names: str) -> None:
    """Raise InputError for a name that is neither a distance nor one of `others`."""
    kind = name.removesuffix(_urielplus.SUFFIX)
    if kind in DISTANCES:
        return
    if kind != name:  # without the common suffix, which would make all names similar
        raise unknown("URIEL+ distance", kind, DISTANCES)
    raise unknown("Distance", name, (*DISTANCES, *extra_names))


def check_distance(name: str, matrix: Path | None = None) -> None:
    """Raise InputError for an unknown distance, or an unreadable table of the user."""
    if matrix is None:
        check_name(name)
    else:
        read_matrix(matrix)


def relatives(
    key: str, name: str = "syntactic", n: int = 3, *, among: Iterable[str] | None = None
) -> tuple[Relative, ...]:
    """Return the nearest relatives of a language that have data for a distance, the most closely related first.

    Nearness is the number of families in common (`families`); ties are broken by the smaller number of families, then
    alphabetically. At most `n` are returned, from the languages of `among` if given (such as those already measured),
    never the language itself. Empty for a language without families, and if no relative has data. A single feature counts
    as data: `Distance.n_shared` says how many features a distance to a relative is based on.

    Raises InputError for an unknown code or name, or `n` below 1.
    """
    key = canonical(key)
    if n < 1:
        raise InputError(f"`n` is {n}; expected a number of relatives of at least 1, such as `3`.")
    check_name(name)
    kind = name.removesuffix(_urielplus.SUFFIX)
    candidates = covered(name) if kind == name else _urielplus.covered(kind)
    if among is not None:
        candidates = frozenset(
            candidate for candidate in map(canonical, among) if candidate.partition("_")[0] in candidates
        )
    return nearest(key, candidates, n)


def coordinates(key: str) -> tuple[float, float]:
    """Return the latitude and longitude of a language in degrees, in [-90, 90] and [-180, 180], to about a tenth.

    Raises InputError for an unknown code, or a language without coordinates in URIEL.
    """
    x, y, z = map(float, _position(canonical(key)))
    return math.degrees(math.asin(max(-1.0, min(1.0, z)))), math.degrees(math.atan2(y, x))


def _typological(source: str, target: str, name: str, imputed: bool) -> tuple[float, int]:
    mask = _uriel.known_mask(name)
    a, b = (_described(key, name, imputed) for key in (source, target))
    shared = mask[a] & mask[b]
    n_shared = int(shared.sum())
    vectors = _uriel.features(name, imputed)
    if imputed:
        return cosine_distance(vectors[a], vectors[b], source, target, name), n_shared
    if n_shared < 2:  # the cosine of two positive numbers is always 1, a meaningless distance of 0
        raise InputError(
            f"`{source}` and `{target}` share {n_shared} {name} features in {_uriel.provenance()}, and a cosine needs "
            "2. Set `distance.imputed=true` to use predicted features, or give your own table as `distance.matrix`."
        )
    return cosine_distance(vectors[a][shared], vectors[b][shared], source, target, name), n_shared


def _genetic(source: str, target: str) -> tuple[float, int]:
    member = _uriel.families().values
    a, b = (_described(key, "genetic", imputed=False) for key in (source, target))
    return cosine_distance(member[a], member[b], source, target, "genetic"), int(member[a] @ member[b])


def _geographic(source: str, target: str) -> float:
    chord = float(np.linalg.norm(_position(source) - _position(target)))
    return 2 * math.asin(min(1.0, chord / 2)) / math.pi


def _position(key: str) -> NDArray[np.floating]:
    place: NDArray[np.floating] = _uriel.positions().values[_described(key, "geographic", imputed=False)]
    return place


def _described(key: str, name: str, imputed: bool) -> int:
    """Return the row of a language, or raise an error with alternatives."""
    mask = _uriel.known_mask(name)
    row = row_of(key, _uriel.rows(), mask)
    if row is not None and (imputed or mask[row].any()):
        return row
    predictable = row is not None and name in _uriel.TYPOLOGICAL
    ways = ["set `distance.imputed=true` to use predicted features"] if predictable else []
    raise no_data(key, name, _uriel.provenance(), covered(name), ways)
