"""Which languages may change places in a permutation test: neighbours, and relatives."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distxfer.errors import InputError
from distxfer.languages._distances import coordinates
from distxfer.languages._kinship import lineage

AREA_KM = 2000.0  # how far apart two languages of an area may be
FEWEST = 30  # languages; fewer leave too few permutations once areas are kept together
_EARTH_KM = 6371.0


def areas(keys: Sequence[str], km: float = AREA_KM) -> tuple[int | None, ...]:
    """Return the number of the area of each language, None for one that URIEL does not place.

    Areas are the clusters of complete linkage of great-circle distances, cut at `km`: no two languages of an area are farther
    apart. They are numbered in the order of their first language. The same languages give the same areas, whatever their order
    (but for distances that are equal).

    Raises InputError for an unknown code. Reference: Sorensen 1948 (complete linkage).
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    places: dict[int, NDArray[np.float64]] = {}
    for number, key in enumerate(keys):
        try:
            latitude, longitude = np.radians(coordinates(key))
        except InputError:
            lineage(key)  # an unknown code is an error, a language without a place is not
            continue
        axes = np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)
        places[number] = np.array(axes)
    found: list[int | None] = [None] * len(keys)
    if len(places) < 2:
        return tuple(0 if number in places else None for number in range(len(keys)))
    units = np.stack(list(places.values()))
    upper = np.triu_indices(len(units), 1)
    far = _EARTH_KM * np.arccos(np.clip(units @ units.T, -1, 1))[upper]
    labels = fcluster(linkage(far, "complete"), km, "distance").tolist()
    order = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    for number, label in zip(places, labels, strict=True):
        found[number] = order[label]
    return tuple(found)


def permutation_groups(keys: Sequence[str]) -> list[tuple[str, ...]]:
    """Return what keeps languages together in a permutation test, as `measure.correlate` takes it, and `group_kind` names it.

    The family and branch of each; from 30 languages on its area (see `areas`) before them: relatives and neighbours share
    much that no distance says. A language that URIEL does not place is in no area.

    Raises InputError for an unknown code.
    """
    if len(keys) < FEWEST:
        return [lineage(key) for key in keys]
    return [
        lineage(key) if area is None else (f"area {area}", *lineage(key))
        for key, area in zip(keys, areas(keys), strict=True)
    ]


def group_kind(n: int) -> str:
    """Return what the largest groups of `permutation_groups` are for n languages: `families` or `areas`."""
    return "families" if n < FEWEST else "areas"


def permuted_within(n: int) -> str:
    """Return within what `permutation_groups` lets n languages change places, in words."""
    if n < FEWEST:
        return "families and their branches"
    return f"areas at most {AREA_KM:,.0f} km across, and the families and branches in them"
