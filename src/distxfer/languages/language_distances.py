"""Distances between languages, with their provenance, and weights from distances."""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distxfer.errors import InputError, listed, unknown
from distxfer.languages import uriel, urielplus
from distxfer.languages.codes import canonical, language_name, macrolanguage
from distxfer.languages.kinship import Relative, families, nearest, row_of
from distxfer.languages.matrix import read_matrix

DISTANCES = ("syntactic", "phonological", "inventory", "genetic", "geographic", "featural")
OfSources = Literal["nearest", "mean"]
WEIGHTINGS = ("uniform", "linear", "power", "rank", "softmax")


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
    no_basis = (
        f"The {name} distance has no basis for {listed(pairs, '; ')}: no feature is known of both, all are predicted"
        f" (`n_shared` = 0). {advice}"
        for name, pairs in predicted.items()
    )
    no_difference = (
        f"The {name} distance is exactly 0 for {listed(pairs, '; ')}, which are different languages: the data do not"
        f" distinguish them. {advice}"
        for name, pairs in equal.items()
    )
    return (*no_basis, *no_difference)


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
    `distance_warnings` reports meaningless values.

    Raises InputError for an unknown code or name, a language without data, fewer than 2 shared features, a vector that
    is all 0, or a package that is missing; RunError if URIEL+ cannot be read.

    Source: Littell et al. 2017, "URIEL and lang2vec", EACL; Khan et al. 2025, "URIEL+", COLING.
    """
    source, target = canonical(source), canonical(target)
    if matrix is not None:
        table = read_matrix(matrix)
        return Distance(source, target, "matrix", table.cell(source, target), 1, False, table.provenance)
    check_name(name)
    vectors, base_name = _vectors(name, imputed), _without_suffix(name)
    imputed = imputed and base_name in uriel.TYPOLOGICAL
    predicted = ["set `distance.imputed=true` to use predicted features"] if name in uriel.TYPOLOGICAL else []
    a, b = (_row(key, name, vectors, imputed, predicted) for key in (source, target))
    shared = vectors.observed[a] & vectors.observed[b]
    n_shared = int(shared.sum())
    if name == "geographic":
        chord = float(np.linalg.norm(vectors.values[a] - vectors.values[b]))
        return Distance(
            source, target, name, 2 * math.asin(min(1.0, chord / 2)) / math.pi, 1, False, vectors.provenance
        )
    if imputed or base_name == "genetic":  # all features are known, or predicted
        shared = np.ones_like(shared)
    elif n_shared < 2:  # the angle between two positive numbers is always 0, which would be meaningless
        ways = _or([*predicted, "choose another distance", "give your own table as `distance.matrix`"])
        raise InputError(
            f"`{source}` and `{target}` share {n_shared} {base_name} features in {vectors.provenance}, and an angle needs 2."
            f" {ways}"
        )
    u, v = (_unit(vectors.values[row][shared], key, name, (source, target)) for row, key in ((a, source), (b, target)))
    if base_name == name:  # half the squared chord, which is 0 for equal vectors
        value = float(np.sum((u - v) ** 2)) / 2
    else:  # from the diagonals of their rhombus (Kahan), which gives exactly 0 for equal vectors, unlike the arc cosine
        value = 2 * math.atan2(float(np.linalg.norm(u - v)), float(np.linalg.norm(u + v))) / (math.pi / 2)
    n_shared = 1 if base_name == "geographic" else n_shared
    return Distance(source, target, name, min(1.0, value), n_shared, imputed, vectors.provenance)


def check_name(name: str, *extra_names: str) -> None:
    """Raise InputError for a name that is neither a distance nor one of `extra_names`."""
    base_name = _without_suffix(name)
    if base_name in DISTANCES:
        return
    if base_name != name:  # without the common suffix, which would make all names similar
        raise unknown("URIEL+ distance", base_name, DISTANCES)
    raise unknown("Distance", name, (*DISTANCES, *extra_names))


def check_distance(name: str, matrix: Path | None = None) -> None:
    """Raise InputError for an unknown distance, or an unreadable table of the user."""
    if matrix is None:
        check_name(name)
    else:
        read_matrix(matrix)


def relatives(key: str, name: str = "syntactic") -> tuple[Relative, ...]:
    """Return the 3 nearest relatives of a language that have data for a distance, the most closely related first.

    Nearness is the number of families in common (`families`); ties are broken by the smaller number of families, then
    alphabetically. Never the language itself; empty for a language without families, and if no relative has data. A single
    feature counts as data: `Distance.n_shared` says how many features a distance to a relative is based on.

    Raises InputError for an unknown code or name.
    """
    check_name(name)
    return nearest(canonical(key), _covered(name), 3)


def coordinates(key: str) -> tuple[float, float]:
    """Return the latitude and longitude of a language in degrees, in [-90, 90] and [-180, 180], to about a tenth.

    Raises InputError for an unknown code, or a language without coordinates in URIEL.
    """
    vectors = uriel.vectors("geographic")
    x, y, z = map(float, vectors.values[_row(canonical(key), "geographic", vectors)])
    return math.degrees(math.asin(max(-1.0, min(1.0, z)))), math.degrees(math.atan2(y, x))


def typological_features(key: str, name: str = "syntactic") -> NDArray[np.float64]:
    """Return the features of a language in URIEL, with unknown values predicted from its k nearest neighbours.

    `name` is the set: `syntactic` (103 features), `phonological` (28), `inventory` (158), or `featural` (these three
    together). Each is 0 or 1. They are those of the language's code with the most data, as for `distance` with `imputed`.

    Raises InputError for an unknown code or name, or a language that URIEL does not have.

    Source: Littell et al. 2017, "URIEL and lang2vec", EACL.
    """
    key = canonical(key)
    if name not in uriel.TYPOLOGICAL:
        raise unknown("Set of typological features", name, tuple(uriel.TYPOLOGICAL))
    vectors = uriel.vectors(name, True)
    return np.asarray(vectors.values[_row(key, name, vectors, imputed=True)], dtype=np.float64)


def _without_suffix(name: str) -> str:
    return name.removesuffix(urielplus.SUFFIX)


def _vectors(name: str, imputed: bool = False) -> uriel.Vectors:
    base_name = _without_suffix(name)
    if base_name == name:
        return uriel.vectors(base_name, imputed and base_name in uriel.TYPOLOGICAL)
    if imputed and base_name in uriel.TYPOLOGICAL:
        raise InputError(
            f"`{name}` has no predicted features, since the package `urielplus` does not include any. "
            f"Set `distance.imputed=false`, or name the distance `{base_name}`."
        )
    return urielplus.vectors(base_name)


@cache
def _covered(name: str) -> frozenset[str]:
    """Return the keys of the languages with data: a single feature counts, but URIEL+'s angles need 2."""
    vectors = _vectors(name)
    fewest = 2 if _without_suffix(name) != name and _without_suffix(name) in uriel.TYPOLOGICAL else 1
    n_observed = vectors.observed.sum(axis=1)
    return frozenset(macrolanguage(code) for code, row in vectors.rows.items() if n_observed[row] >= fewest)


def _row(key: str, name: str, vectors: uriel.Vectors, imputed: bool = False, ways: Sequence[str] = ()) -> int:
    """Return the row of a language, or raise an error that suggests its relatives and other `ways`."""
    row = row_of(key, vectors.rows, vectors.observed)
    if row is not None and (imputed or vectors.observed[row].any()):
        return row
    closest = ", ".join(f"`{relative.key}`" for relative in nearest(key, _covered(name), 3))
    alone = "none of its relatives has any" if families(key) else "no families by which to find relatives"
    first = [f"choose one of its nearest covered relatives ({closest})"] if closest else []
    ways = () if row is None else ways
    raise InputError(
        f"`{key}` ({language_name(key)}) has no {_without_suffix(name)} data in {vectors.provenance}"
        f"{'' if closest else f', and {alone}'}. {_or([*first, *ways, 'give your own table as `distance.matrix`'])}"
    )


def _or(ways: Sequence[str]) -> str:
    """Return alternatives as a sentence."""
    text = ", or ".join(ways)
    return f"{text[0].upper()}{text[1:]}."


def _unit(vector: NDArray[np.generic], key: str, name: str, pair: tuple[str, str]) -> NDArray[np.float64]:
    values = vector.astype(np.float64)
    norm = float(np.linalg.norm(values))
    if norm == 0:
        raise InputError(
            f"The {_without_suffix(name)} features that `{pair[0]}` and `{pair[1]}` share are all 0 for `{key}`, so their"
            " cosine is not defined. Choose another distance, or give your own table as `distance.matrix`."
        )
    return values / norm


@dataclass(frozen=True)
class Distances:
    """The distances from `source` to its targets; `entries` is by target key, `imputed` is the requested setting.

    `seed` is that of `shuffled` distances. With `other_sources`, the distance is that to all sources by `of_sources`.
    """

    source: str
    name: str
    imputed: bool
    entries: Mapping[str, Distance]
    seed: int = 0
    other_sources: tuple[str, ...] = ()
    of_sources: OfSources = "nearest"

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

        `shuffled` is a control: every target gets the distance of another target, by a derangement that is drawn with `seed`,
        each as likely as any other. It depends on the set of languages, not on their order.

        Raises InputError for an unknown name, a language without such data, or fewer than 2 targets to shuffle.
        """
        if name in {"", self.name}:
            return self
        if name == "shuffled":
            return self._shuffled()
        check_name(name, "shuffled")
        return distances(
            (self.source, *self.other_sources),
            self.entries,
            name,
            imputed=self.imputed,
            seed=self.seed,
            of_sources=self.of_sources,
        )

    def _shuffled(self) -> "Distances":
        if len(self.entries) < 2:
            raise InputError(
                f"Distance `shuffled` needs at least 2 targets, and there is `{listed(self.entries)}`. Add targets."
            )
        donors = _derangement(sorted(self.entries), self.seed)
        entries = {}
        for target in self.entries:
            donor = self.entries[donors[target]]
            provenance = f"{donor.provenance}, {self.name} distance of {donor.target}"
            entries[target] = replace(donor, target=target, name="shuffled", provenance=provenance)
        return replace(self, name="shuffled", entries=entries)


def distances(
    source: str | Sequence[str],
    targets: Iterable[str],
    name: str = "syntactic",
    *,
    imputed: bool = False,
    matrix: Path | None = None,
    seed: int = 0,
    of_sources: OfSources = "nearest",
) -> Distances:
    """Return the distance from the source to each target, in the order of the targets; `distance` has the definitions.

    With several sources, it is that to the `nearest` one, which the entry names, or the `mean` over all of them, whose
    `n_shared` is the smallest. `seed` is that of `Distances.by("shuffled")`.

    Raises InputError for no targets, a repeated language, or any error of `distance`, for all targets at once.
    """
    sources = [canonical(code) for code in ([source] if isinstance(source, str) else source)]
    entries: dict[str, Distance] = {}
    errors: list[str] = []
    for target in targets:
        try:
            entry = _of_sources(
                [distance(start, target, name, imputed=imputed, matrix=matrix) for start in sources], of_sources
            )
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
    first, *others = sources
    return Distances(first, "matrix" if matrix else name, imputed, entries, seed, tuple(others), of_sources)


def _of_sources(entries: Sequence[Distance], of_sources: OfSources) -> Distance:
    """Return one distance of a target from all sources."""
    nearest_entry = min(entries, key=lambda entry: entry.value)
    if of_sources == "nearest" or len(entries) == 1:
        return nearest_entry
    return replace(
        nearest_entry,
        source=",".join(entry.source for entry in entries),
        value=math.fsum(entry.value for entry in entries) / len(entries),
        n_shared=min(entry.n_shared for entry in entries),
    )


def _derangement(keys: Sequence[str], seed: int) -> dict[str, str]:
    """Return a random permutation without fixed points: the first of the random permutations that has none."""
    stream, donors = random.Random(seed), list(keys)
    while any(key == donor for key, donor in zip(keys, donors, strict=True)):
        # Only `random()` is guaranteed to be the same in all Python versions.
        donors.sort(key=lambda _: stream.random())
    return dict(zip(keys, donors, strict=True))


def weights(
    values: Mapping[str, float], weighting: str, *, temperature: float = 0.1, exponent: float = 2.0
) -> dict[str, float]:
    r"""Return one weight per language from its distance, with mean 1, so that all schemes have the same total.

    With :math:`f` the scheme, :math:`w_l = f(d_l) / \mathrm{mean}_k f(d_k)`, where

    - `uniform`: :math:`f(d) = 1`
    - `linear`: :math:`f(d) = d`
    - `power`: :math:`f(d) = d^\alpha`, with exponent :math:`\alpha`
    - `rank`: :math:`f(d)` is the rank of d, from 1 for the nearest; ties share their average rank
    - `softmax`: :math:`f(d) = \exp(d / \tau)`, with temperature :math:`\tau` in the unit of the distances

    Distances are finite and at least 0; weights are at least 0. Invariant under the order of the languages; `linear`
    and `power` under the scale of the distances, `softmax` under their origin, `rank` under every increasing map.

    Raises InputError for an unknown scheme, no languages, a negative or non-finite distance, a temperature that is not
    positive, an exponent that is not positive, or `linear` or `power` with distances that are all 0.
    """
    if weighting not in WEIGHTINGS:
        raise unknown("Weighting", weighting, WEIGHTINGS)
    if not values:
        raise InputError("Weights need at least one language, and there is none. Name the target languages.")
    for key, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"Distance `{value}` of `{key}` cannot be weighted. Distances are finite and at least 0.")
    raw = _weights_up_to_a_factor(list(values.values()), weighting, temperature, exponent)
    mean = math.fsum(raw) / len(raw)
    if mean == 0:
        raise InputError(
            f"Weighting `{weighting}` needs a distance above 0, and all are 0. Use the weighting `uniform`."
        )
    return {key: value / mean for key, value in zip(values, raw, strict=True)}


def _weights_up_to_a_factor(distances: list[float], weighting: str, temperature: float, exponent: float) -> list[float]:
    for name, number, scheme in (("Exponent", exponent, "power"), ("Temperature", temperature, "softmax")):
        if weighting == scheme and not (math.isfinite(number) and number > 0):
            raise InputError(f"{name} `{number}` is not positive. Give a number above 0, such as `0.1` or `2`.")
    largest = max(distances)
    match weighting:
        case "linear":
            return [value / (largest or 1.0) for value in distances]  # the mean of subnormal numbers would not be exact
        case "power":
            return [float((value / (largest or 1.0)) ** exponent) for value in distances]
        case "rank":
            return [sum(near < value for near in distances) + (distances.count(value) + 1) / 2 for value in distances]
        case "softmax":
            return [math.exp((value - largest) / temperature) for value in distances]
        case _:
            return [1.0] * len(distances)
