"""The URIEL tables inside the `lang2vec` wheel, read directly and on demand.

`import lang2vec` fails on current setuptools, and its learned vectors are a pickle, so neither is used.

Source: Littell et al. 2017, "URIEL and lang2vec", EACL; the data are licensed CC BY-SA 4.0.
"""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

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
class Table:
    """One URIEL table: `values[i, j]` is the value of `features[j]` for the language in row i of `rows()`."""

    features: tuple[str, ...]
    values: NDArray[np.floating]

    def columns(self, prefixes: tuple[str, ...]) -> NDArray[np.intp]:
        """Return the indices of the features whose names start with one of `prefixes`."""
        return np.array([j for j, feature in enumerate(self.features) if feature.startswith(prefixes)], dtype=np.intp)


@cache
def provenance() -> str:
    """Return the name and version of the data, such as `URIEL@lang2vec-1.1.2`."""
    return f"URIEL@lang2vec-{version('lang2vec')}"


@cache
def rows() -> dict[str, int]:
    """Return the row of each of URIEL's 7,970 language codes, the same in every table."""
    with np.load(_folder() / "feature_averages.npz", allow_pickle=False) as file:
        return {str(code): i for i, code in enumerate(file["langs"])}


@cache
def observed() -> Table:
    """Return the typological features averaged over their sources: in [0, 1], or -1 for unknown values."""
    return _table("feature_averages")


@cache
def predicted() -> Table:
    """Return the typological features completed by URIEL's k-nearest-neighbour prediction: 0 or 1."""
    return _table("feature_predictions")


@cache
def features(name: str, imputed: bool) -> NDArray[np.floating]:
    """Return the columns of `observed` (or `predicted`) that a typological distance compares."""
    table = predicted() if imputed else observed()
    return table.values[:, table.columns(TYPOLOGICAL[name])]


@cache
def known_mask(name: str) -> NDArray[np.bool_]:
    """Return where a distance has data: `known_mask(name)[i]` is over its features, for the language in row i of `rows()`."""
    if name == "geographic":
        return np.ones((len(rows()), 1), dtype=bool)  # URIEL places every language
    if name == "genetic":
        return families().values > 0
    return features(name, imputed=False) >= 0


@cache
def families() -> Table:
    """Return the membership of languages in families, columns from the widest family to the narrowest: 0 or 1."""
    table = _table("family_features")
    widest_first = np.argsort(-table.values.sum(axis=0), kind="stable")
    names = tuple(table.features[j].removeprefix("F_") for j in widest_first)
    return Table(names, table.values[:, widest_first])


@cache
def positions() -> Table:
    r"""Return each language's place on the globe as a unit vector `(x, y, z)`.

    URIEL gives the angles :math:`\pi g_{ij}` between language i and 299 anchors with unit vectors :math:`a_j`, so the
    vector solves :math:`a_j \cdot u_i = \cos \pi g_{ij}` by least squares. The anchors are named in whole degrees,
    which bounds the error to about a tenth of a degree.
    """
    table = _table("geocoord_features")
    anchors = np.radians([[float(part) for part in name.split("_")[1:]] for name in table.features])
    latitude, longitude = anchors.T
    axes = (np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude))
    unit = np.cos(np.pi * table.values.astype(np.float64)) @ np.linalg.pinv(np.stack(axes, axis=1)).T
    return Table(("x", "y", "z"), unit / np.linalg.norm(unit, axis=1, keepdims=True))


def _table(name: str) -> Table:
    with np.load(_folder() / f"{name}.npz", allow_pickle=False) as file:
        place = {str(code): i for i, code in enumerate(file["langs"])}
        order = [place[code] for code in rows()]
        return Table(tuple(map(str, file["feats"])), file["data"][order, :, 0].astype(np.float32))


def _folder() -> Path:
    # Not `find_spec`: the wheel also installs a script `lang2vec.py`, which hides the package from console scripts.
    try:
        return Path(str(distribution("lang2vec").locate_file("lang2vec/data")))
    except PackageNotFoundError:
        raise InputError(
            "Package `lang2vec` holds the URIEL data and is not installed. Run `pip install lang2vec==1.1.2`."
        ) from None
