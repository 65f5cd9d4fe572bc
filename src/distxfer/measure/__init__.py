"""Similarity, alignment, transfer and statistics: pure functions, data in and data out.

A module is imported when one of its names is first used: some need torch or scipy, which are slow to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distxfer.measure._alignment import CSLSRetrieval as CSLSRetrieval
    from distxfer.measure._alignment import Retrieval as Retrieval
    from distxfer.measure._alignment import csls_retrieval as csls_retrieval
    from distxfer.measure._alignment import retrieval as retrieval
    from distxfer.measure._alignment import wilson as wilson
    from distxfer.measure._by_class import BY_CLASS as BY_CLASS
    from distxfer.measure._by_class import ClassRatios as ClassRatios
    from distxfer.measure._by_class import carriers as carriers
    from distxfer.measure._by_class import class_ratios as class_ratios
    from distxfer.measure._by_class import entity_counts as entity_counts
    from distxfer.measure._canonical import pwcca as pwcca
    from distxfer.measure._canonical import svcca as svcca
    from distxfer.measure._clusters import MIN_FAMILIES as MIN_FAMILIES
    from distxfer.measure._contrasts import Contrast as Contrast
    from distxfer.measure._contrasts import contrast as contrast
    from distxfer.measure._contrasts import slope_over_seeds as slope_over_seeds
    from distxfer.measure._correlation import Correlation as Correlation
    from distxfer.measure._correlation import correlate as correlate
    from distxfer.measure._correlation import critical_correlation as critical_correlation
    from distxfer.measure._correlation import detectable_correlation as detectable_correlation
    from distxfer.measure._correlation import partial_correlation as partial_correlation
    from distxfer.measure._decomposition import Decomposition as Decomposition
    from distxfer.measure._decomposition import decompose as decompose
    from distxfer.measure._geometry import neighbour_overlap as neighbour_overlap
    from distxfer.measure._geometry import procrustes as procrustes
    from distxfer.measure._geometry import rsa as rsa
    from distxfer.measure._kernels import rbf_cka as rbf_cka
    from distxfer.measure._measures import MEASURES as MEASURES
    from distxfer.measure._measures import Measure as Measure
    from distxfer.measure._mining import mutual_neighbours as mutual_neighbours
    from distxfer.measure._moments import Moments as Moments
    from distxfer.measure._prediction import Prediction as Prediction
    from distxfer.measure._prediction import expected_score as expected_score
    from distxfer.measure._relational import relational_drift as relational_drift
    from distxfer.measure._similarity import cka as cka
    from distxfer.measure._similarity import cka_reason as cka_reason
    from distxfer.measure._similarity import cosine_drift as cosine_drift
    from distxfer.measure._similarity import normalised_mse as normalised_mse
    from distxfer.measure._similarity import standardise as standardise
    from distxfer.measure._similarity import top_dimension_share as top_dimension_share
    from distxfer.measure._similarity_names import SimilarityName as SimilarityName
    from distxfer.measure._single import McNemar as McNemar
    from distxfer.measure._single import PairedBootstrap as PairedBootstrap
    from distxfer.measure._single import mcnemar as mcnemar
    from distxfer.measure._single import paired_bootstrap as paired_bootstrap
    from distxfer.measure._single import smallest_gain as smallest_gain
    from distxfer.measure._spans import EntityScores as EntityScores
    from distxfer.measure._spans import answer_f1 as answer_f1
    from distxfer.measure._spans import entities as entities
    from distxfer.measure._spans import entity_scores as entity_scores
    from distxfer.measure._spans import exact_match as exact_match
    from distxfer.measure._spans import normalised_answer as normalised_answer
    from distxfer.measure._statistics import Crossed as Crossed
    from distxfer.measure._statistics import crossed as crossed
    from distxfer.measure._statistics import crossed_unpaired as crossed_unpaired
    from distxfer.measure._statistics import holm as holm
    from distxfer.measure._statistics import interval as interval
    from distxfer.measure._statistics import two_way_bootstrap as two_way_bootstrap
    from distxfer.measure._transfer import accuracy as accuracy
    from distxfer.measure._transfer import is_collapsed as is_collapsed
    from distxfer.measure._transfer import is_collapsed_over_texts as is_collapsed_over_texts
    from distxfer.measure._transfer import macro_f1 as macro_f1
    from distxfer.measure._transfer import relative_transfer as relative_transfer
    from distxfer.measure._transfer import transfer_summary as transfer_summary

_MODULES = {
    "_alignment": "CSLSRetrieval Retrieval csls_retrieval retrieval wilson",
    "_by_class": "BY_CLASS ClassRatios carriers class_ratios entity_counts",
    "_canonical": "pwcca svcca",
    "_clusters": "MIN_FAMILIES",
    "_contrasts": "Contrast contrast slope_over_seeds",
    "_correlation": "Correlation correlate critical_correlation detectable_correlation partial_correlation",
    "_decomposition": "Decomposition decompose",
    "_geometry": "neighbour_overlap procrustes rsa",
    "_kernels": "rbf_cka",
    "_measures": "MEASURES Measure",
    "_mining": "mutual_neighbours",
    "_moments": "Moments",
    "_prediction": "Prediction expected_score",
    "_relational": "relational_drift",
    "_similarity": "cka cka_reason cosine_drift normalised_mse standardise top_dimension_share",
    "_similarity_names": "SimilarityName",
    "_single": "McNemar PairedBootstrap mcnemar paired_bootstrap smallest_gain",
    "_spans": "EntityScores answer_f1 entities entity_scores exact_match normalised_answer",
    "_statistics": "Crossed crossed crossed_unpaired holm interval two_way_bootstrap",
    "_transfer": "accuracy is_collapsed is_collapsed_over_texts macro_f1 relative_transfer transfer_summary",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
