"""Languages: codes and names, typological distances with their provenance, and weights from distances."""

from distxfer.languages.codes import canonical, language_name, script, short_code
from distxfer.languages.geographic_areas import areas, group_kind, permutation_groups, permuted_within
from distxfer.languages.kinship import Relation, Relative, families, lineage, relation
from distxfer.languages.language_distances import (
    DISTANCES,
    WEIGHTINGS,
    Distance,
    Distances,
    check_distance,
    coordinates,
    distance,
    distance_warnings,
    distances,
    relatives,
    typological_features,
    weights,
)
from distxfer.languages.matrix import read_covariates

__all__ = [
    "DISTANCES", "WEIGHTINGS", "Distance", "Distances", "Relation", "Relative", "areas", "canonical", "check_distance",
    "coordinates", "distance", "distance_warnings", "distances", "families", "group_kind", "language_name", "lineage",
    "permutation_groups", "permuted_within", "read_covariates", "relation", "relatives", "script", "short_code",
    "typological_features", "weights",
]  # fmt: skip
