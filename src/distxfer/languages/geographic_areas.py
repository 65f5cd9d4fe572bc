"""The groups of languages within which permutation tests permute: areas and families."""

from collections.abc import Sequence

import numpy as np

from distxfer.languages import uriel
from distxfer.languages.codes import canonical
from distxfer.languages.kinship import lineage, row_of

AREA_KM = 2000.0  # maximum distance between two languages of an area
FEWEST = 30  # languages; fewer leave too few permutations once areas are kept together
_EARTH_KM = 6371.0


def areas(keys: Sequence[str], km: float = AREA_KM) -> tuple[int | None, ...]:
    """Return the number of the area of each language, None for one without coordinates in URIEL.

    Areas are the clusters of complete linkage on great-circle distances, cut at `km`: no two languages of an area are
    farther apart. They are numbered in the order of their first language. Except for ties, areas do not depend on the order
    of the languages.

    Raises InputError for an unknown code. Reference: Sorensen 1948 (complete linkage).
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    vectors = uriel.vectors("geographic")
    rows = [row_of(canonical(key), vectors.rows, vectors.observed) for key in keys]
    placed = [row for row in rows if row is not None]
    labels = [0] * len(placed)
    if len(placed) > 1:
        places = vectors.values[placed]
        upper = np.triu_indices(len(placed), 1)
        kilometres = _EARTH_KM * np.arccos(np.clip(places @ places.T, -1, 1))[upper]
        labels = fcluster(linkage(kilometres, "complete"), km, "distance").tolist()
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    areas_of_placed = (numbers[label] for label in labels)
    return tuple(None if row is None else next(areas_of_placed) for row in rows)


def permutation_groups(keys: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the nested groups of each language for permutation tests, as expected by `measure.correlate`.

    They are family and branch, and from 30 languages on the area (see `areas`) above them, since relatives and neighbours
    share properties that distances do not capture. A language without coordinates in URIEL is in no area.

    Raises InputError for an unknown code.
    """
    if len(keys) < FEWEST:
        return [lineage(key) for key in keys]
    return [
        lineage(key) if area is None else (f"area {area}", *lineage(key))
        for key, area in zip(keys, areas(keys), strict=True)
    ]


def group_kind(n: int) -> str:
    """Return the type of the largest groups of `permutation_groups` for n languages: `families` or `areas`."""
    return "families" if n < FEWEST else "areas"


def permuted_within(n: int) -> str:
    """Return a description of the groups of `permutation_groups` for n languages."""
    if n < FEWEST:
        return "families and their branches"
    return f"areas at most {AREA_KM:,.0f} km across, and the families and branches in them"
