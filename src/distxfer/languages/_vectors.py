"""Vectors of typological features, and distances between vectors."""

import math

import numpy as np
from numpy.typing import NDArray

from distxfer.errors import InputError, unknown
from distxfer.languages import _uriel
from distxfer.languages._codes import canonical
from distxfer.languages._kinship import covered, no_data, row_of


def typological_features(key: str, name: str = "syntactic") -> NDArray[np.float64]:
    """Return the features of a language in URIEL, with unknown values predicted from its k nearest neighbours.

    `name` is the set: `syntactic` (103 features), `phonological` (28), `inventory` (158), or `featural` (these three
    together). Each is 0 or 1. They are those of the language's code with the most data, as for `distance` with `imputed`.

    Raises InputError for an unknown code or name, or a language that URIEL does not have.

    Source: Littell et al. 2017, "URIEL and lang2vec", EACL.
    """
    key = canonical(key)
    if name not in _uriel.TYPOLOGICAL:
        raise unknown("Set of typological features", name, tuple(_uriel.TYPOLOGICAL))
    row = row_of(key, _uriel.rows(), _uriel.known_mask(name))
    if row is None:
        raise no_data(key, name, _uriel.provenance(), covered(name), [])
    return np.asarray(_uriel.features(name, imputed=True)[row], dtype=np.float64)


def cosine_distance(x: NDArray[np.generic], y: NDArray[np.generic], source: str, target: str, name: str) -> float:
    """Return 1 - cos(x, y), computed as half the squared chord of the unit vectors, so that equal vectors give exactly 0."""
    u, v = _units(x, y, source, target, name)
    return min(1.0, float(np.sum((u - v) ** 2)) / 2)


def angular_distance(x: NDArray[np.generic], y: NDArray[np.generic], source: str, target: str, name: str) -> float:
    """Return the angle between two non-negative vectors as a fraction of the right angle, in [0, 1].

    Computed from the diagonals of their rhombus (Kahan), which gives exactly 0 for equal vectors, unlike the arc cosine.
    """
    u, v = _units(x, y, source, target, name)
    angle = 2 * math.atan2(float(np.linalg.norm(u - v)), float(np.linalg.norm(u + v)))
    return min(1.0, angle / (math.pi / 2))


def _units(
    x: NDArray[np.generic], y: NDArray[np.generic], source: str, target: str, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    units = []
    for key, vector in ((source, x.astype(np.float64)), (target, y.astype(np.float64))):
        norm = float(np.linalg.norm(vector))
        if norm == 0:
            raise InputError(
                f"The {name} features that `{source}` and `{target}` share are all 0 for `{key}`, so their cosine is "
                "not defined. Choose another distance, or give your own table as `distance.matrix`."
            )
        units.append(vector / norm)
    return units[0], units[1]
