"""Languages: codes and names, typological distances with their provenance, and weights from distances."""

from distxfer.languages._codes import canonical, language_name
from distxfer.languages._distances import DISTANCES, Distance, coordinates, distance, families
from distxfer.languages._many import Distances, distances
from distxfer.languages._weights import WEIGHTINGS, weights

__all__ = [
    "DISTANCES",
    "WEIGHTINGS",
    "Distance",
    "Distances",
    "canonical",
    "coordinates",
    "distance",
    "distances",
    "families",
    "language_name",
    "weights",
]
