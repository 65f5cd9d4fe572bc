"""Similarity, alignment, transfer and statistics: pure functions, data in and data out.

What works on tensors is imported from torch's side on first use, so that the rest stays cheap to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distxfer.measure._by_class import BY_CLASS, ClassRatios, carriers, class_counts, class_ratios, entity_counts
from distxfer.measure._clusters import MIN_FAMILIES
from distxfer.measure._contrasts import Contrast, contrast, slope_over_seeds
from distxfer.measure._correlation import (
    Correlation,
    Mantel,
    correlate,
    critical_correlation,
    detectable_correlation,
    mantel,
    partial_correlation,
)
from distxfer.measure._decomposition import Decomposition, decompose
from distxfer.measure._order import StochasticOrder, aso
from distxfer.measure._prediction import Prediction, expected_score
from distxfer.measure._single import McNemar, PairedBootstrap, mcnemar, paired_bootstrap, smallest_gain
from distxfer.measure._spans import EntityScores, answer_f1, entities, entity_scores, exact_match, normalised_answer
from distxfer.measure._statistics import Crossed, crossed, crossed_unpaired, holm, interval, two_way_bootstrap
from distxfer.measure._transfer import (
    accuracy,
    is_collapsed,
    is_collapsed_over_texts,
    macro_f1,
    relative_transfer,
    transfer_summary,
)

if TYPE_CHECKING:
    from distxfer.measure._alignment import CSLSRetrieval, Retrieval, csls_retrieval, retrieval, wilson
    from distxfer.measure._canonical import pwcca, svcca
    from distxfer.measure._geometry import neighbour_overlap, procrustes, rsa, transport_distance
    from distxfer.measure._kernels import minibatch_cka, rbf_cka
    from distxfer.measure._measures import MEASURES, Measure
    from distxfer.measure._mining import mutual_neighbours
    from distxfer.measure._moments import Moments
    from distxfer.measure._probe import Probe, alignment_probe
    from distxfer.measure._relational import relational_drift
    from distxfer.measure._similarity import (
        cka,
        cka_reason,
        cosine_drift,
        normalised_mse,
        standardise,
        top_dimension_share,
    )
    from distxfer.measure._uncertainty import BootstrapCKA, PermutationNull, bootstrap_cka, permutation_null

# Where the names of torch's side live.
_HOMES = {
    "BootstrapCKA": "_uncertainty",
    "CSLSRetrieval": "_alignment",
    "MEASURES": "_measures",
    "Measure": "_measures",
    "Moments": "_moments",
    "PermutationNull": "_uncertainty",
    "Probe": "_probe",
    "Retrieval": "_alignment",
    "alignment_probe": "_probe",
    "bootstrap_cka": "_uncertainty",
    "cka": "_similarity",
    "cka_reason": "_similarity",
    "cosine_drift": "_similarity",
    "csls_retrieval": "_alignment",
    "minibatch_cka": "_kernels",
    "mutual_neighbours": "_mining",
    "neighbour_overlap": "_geometry",
    "normalised_mse": "_similarity",
    "permutation_null": "_uncertainty",
    "procrustes": "_geometry",
    "pwcca": "_canonical",
    "rbf_cka": "_kernels",
    "relational_drift": "_relational",
    "retrieval": "_alignment",
    "rsa": "_geometry",
    "standardise": "_similarity",
    "svcca": "_canonical",
    "top_dimension_share": "_similarity",
    "transport_distance": "_geometry",
    "wilson": "_alignment",
}

__all__ = [
    "BY_CLASS",
    "MEASURES",
    "MIN_FAMILIES",
    "BootstrapCKA",
    "CSLSRetrieval",
    "ClassRatios",
    "Contrast",
    "Correlation",
    "Crossed",
    "Decomposition",
    "EntityScores",
    "Mantel",
    "McNemar",
    "Measure",
    "Moments",
    "PairedBootstrap",
    "PermutationNull",
    "Prediction",
    "Probe",
    "Retrieval",
    "StochasticOrder",
    "accuracy",
    "alignment_probe",
    "answer_f1",
    "aso",
    "bootstrap_cka",
    "carriers",
    "cka",
    "cka_reason",
    "class_counts",
    "class_ratios",
    "contrast",
    "correlate",
    "cosine_drift",
    "critical_correlation",
    "crossed",
    "crossed_unpaired",
    "csls_retrieval",
    "decompose",
    "detectable_correlation",
    "entities",
    "entity_counts",
    "entity_scores",
    "exact_match",
    "expected_score",
    "holm",
    "interval",
    "is_collapsed",
    "is_collapsed_over_texts",
    "macro_f1",
    "mantel",
    "mcnemar",
    "minibatch_cka",
    "mutual_neighbours",
    "neighbour_overlap",
    "normalised_answer",
    "normalised_mse",
    "paired_bootstrap",
    "partial_correlation",
    "permutation_null",
    "procrustes",
    "pwcca",
    "rbf_cka",
    "relational_drift",
    "relative_transfer",
    "retrieval",
    "rsa",
    "slope_over_seeds",
    "smallest_gain",
    "standardise",
    "svcca",
    "top_dimension_share",
    "transfer_summary",
    "transport_distance",
    "two_way_bootstrap",
    "wilson",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
