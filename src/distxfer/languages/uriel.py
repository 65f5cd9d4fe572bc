"""The URIEL tables inside the `lang2vec` wheel, read directly and on demand.

`import lang2vec` fails on current setuptools, and its learned vectors are a pickle, so neither is used.

Source: Littell et al. 2017, "URIEL and lang2vec", EACL; the data are licensed CC BY-SA 4.0.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distxfer.errors import InputError

TYPOLOGICAL = {
    "syntactic": ("S_",),
    "phonological": ("P_",),
    "inventory": ("INV_",),
    "featural": ("S_", "P_", "INV_"),
}


@dataclass(frozen=True)
class Vectors:
    """What a distance compares: `values[i]` and which of them are `observed`, for the language code of row i of `rows`.

    `provenance` names the data and their version.
    """

    rows: Mapping[str, int]
    values: NDArray[Any]
    observed: NDArray[np.bool_]
    provenance: str


@cache
def vectors(name: str, imputed: bool = False) -> Vectors:
    """Return the vectors of a distance: features in [0, 1], membership in families, or places on the globe.

    With `imputed`, typological features are completed by URIEL's k-nearest-neighbour prediction; `observed` says which ones
    are not predicted.
    """
    row_of_code, provenance = rows(), f"URIEL@lang2vec-{version('lang2vec')}"
    if name == "geographic":
        return Vectors(
            row_of_code, _positions(), np.ones((len(row_of_code), 1), dtype=bool), provenance
        )  # all have a place
    if name == "genetic":
        member = _membership()
        return Vectors(row_of_code, member, member, provenance)
    features, observed = _features("feature_averages")  # unknown values are -1
    chosen = [feature.startswith(TYPOLOGICAL[name]) for feature in features]
    values = _features("feature_predictions")[1] if imputed else observed
    return Vectors(row_of_code, values[:, chosen], observed[:, chosen] >= 0, provenance)


@cache
def rows() -> dict[str, int]:
    """Return the row of each of URIEL's 7,970 language codes, the same in every table."""
    with np.load(_folder() / "feature_averages.npz", allow_pickle=False) as file:
        return {str(code): i for i, code in enumerate(file["langs"])}


@cache
def families() -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Return all families in URIEL's order, and those of each language code that has some, from the widest to the narrowest."""
    paths: dict[str, tuple[str, ...]] = {}
    families_of: dict[str, tuple[str, ...]] = {}
    for line in files("distxfer.languages").joinpath("families.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            family, _, codes = line.partition(":")
            name, _, parent = family.partition(" < ")
            paths[name] = (*paths.get(parent, ()), name)
            families_of |= dict.fromkeys(codes.split(), paths[name])
    return [*paths], families_of


def _membership() -> NDArray[np.bool_]:
    """Return which languages are in which families, the largest first: the rounding of distances depends on their order."""
    names, families_of = families()
    sizes = Counter(name for path in families_of.values() for name in path)
    place = {name: column for column, name in enumerate(sorted(names, key=lambda name: -sizes[name]))}
    member = np.zeros((len(rows()), len(names)), dtype=np.bool_, order="F")
    for code, path in families_of.items():
        member[rows()[code], [place[name] for name in path]] = True
    return member


def _positions() -> NDArray[np.floating]:
    r"""Return each language's place on the globe as a unit vector `(x, y, z)`.

    URIEL gives the angles :math:`\pi g_{ij}` between language i and 299 anchors with unit vectors :math:`a_j`, so the
    vector solves :math:`a_j \cdot u_i = \cos \pi g_{ij}` by least squares. The anchors are named in whole degrees,
    which bounds the error to about a tenth of a degree.
    """
    features, values = _table("geocoord_features")
    latitude, longitude = np.radians([[float(part) for part in name.split("_")[1:]] for name in features]).T
    axes = (np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude))
    angles = values.astype(np.float64)
    angles *= np.pi
    unit = np.cos(angles, out=angles) @ np.linalg.pinv(np.stack(axes, axis=1)).T
    return np.asarray(unit / np.linalg.norm(unit, axis=1, keepdims=True))


@cache  # several distances share them
def _features(name: str) -> tuple[list[str], NDArray[Any]]:
    return _table(name)


def _table(name: str) -> tuple[list[str], NDArray[Any]]:
    """Return the names of a table's features, and their values with one row per language in the order of `rows`."""
    with np.load(_folder() / f"{name}.npz", allow_pickle=False) as file:
        place = {str(code): i for i, code in enumerate(file["langs"])}
        order = [place[code] for code in rows()]
        return list(map(str, file["feats"])), file["data"][:, :, 0].astype(np.float32, copy=False)[order]


def _folder() -> Path:
    # Not `find_spec`: the wheel also installs a script `lang2vec.py`, which hides the package from console scripts.
    try:
        return Path(str(distribution("lang2vec").locate_file("lang2vec/data")))
    except PackageNotFoundError:
        raise InputError(
            "Package `lang2vec` holds the URIEL data and is not installed. Run `pip install lang2vec==1.1.2`."
        ) from None
