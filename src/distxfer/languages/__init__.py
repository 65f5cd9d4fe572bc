"""Languages: codes and names, typological distances with their provenance, and weights from distances."""

from distxfer.languages._areas import areas, group_kind, permutation_groups, permuted_within
from distxfer.languages._codes import canonical, language_name, script, short_code
from distxfer.languages._distances import (
    DISTANCES,
    Distance,
    check_distance,
    coordinates,
    distance,
    distance_warnings,
    relatives,
)
from distxfer.languages._kinship import Relation, Relative, families, lineage, relation
from distxfer.languages._many import DistanceMatrix, Distances, distance_matrix, distances
from distxfer.languages._vectors import typological_features
from distxfer.languages._weights import WEIGHTINGS, weights

__all__ = [
    "DISTANCES",
    "WEIGHTINGS",
    "Distance",
    "DistanceMatrix",
    "Distances",
    "Relation",
    "Relative",
    "areas",
    "canonical",
    "check_distance",
    "coordinates",
    "distance",
    "distance_matrix",
    "distance_warnings",
    "distances",
    "families",
    "group_kind",
    "language_name",
    "lineage",
    "permutation_groups",
    "permuted_within",
    "relation",
    "relatives",
    "script",
    "short_code",
    "typological_features",
    "weights",
]
