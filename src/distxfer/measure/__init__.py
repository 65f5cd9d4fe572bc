"""Similarity, alignment, transfer and statistics: pure functions, data in and data out.

A module is imported when one of its names is first used: some need torch or scipy, which are slow to import.
"""

from typing import TYPE_CHECKING, Literal

from distxfer._lazy import lazy

if TYPE_CHECKING:
    from distxfer.measure._tensors import unchecked_values as unchecked_values
    from distxfer.measure.alignment import *
    from distxfer.measure.contrasts import *
    from distxfer.measure.correlation import *
    from distxfer.measure.drift import *
    from distxfer.measure.kernel_alignment import *
    from distxfer.measure.moments import *
    from distxfer.measure.probe import *
    from distxfer.measure.random_effects import *
    from distxfer.measure.regression import *
    from distxfer.measure.scores import *
    from distxfer.measure.similarity import *
    from distxfer.measure.single_runs import *
    from distxfer.measure.source_choice import *
    from distxfer.measure.transfer import *
    from distxfer.measure.variance_parts import MIN_FAMILIES as MIN_FAMILIES

# What `measure.similarity` may list; here, since the check of recipes does without torch.
SimilarityName = Literal[
    "cka", "cka_biased", "cka_standardised", "rbf_cka", "procrustes", "rsa", "svcca", "pwcca", "neighbour_overlap"
]  # fmt: skip

__getattr__, __dir__ = lazy(
    __name__,
    {
        "_tensors": "unchecked_values",
        "alignment": "CSLSRetrieval Retrieval csls_retrieval mutual_neighbours retrieval retrieval_with_csls",
        "contrasts": "Contrast contrast",
        "correlation": "Correlation correlate correlate_columns correlate_pairs detectable_correlation partial_correlation",
        "drift": "cosine_drift normalised_mse relational_drift standardise top_dimension_share",
        "kernel_alignment": "cka cka_reason cka_with_standardised rbf_cka",
        "moments": "Moments",
        "probe": "Probe fit_probe",
        "random_effects": "Crossed crossed crossed_unpaired holm interval slope_over_seeds two_way_bootstrap",
        "regression": "Decomposition Prediction decompose expected_score",
        "scores": "ClassRatios EntityScores accuracy answer_f1 carriers class_ratios entities entity_counts entity_scores"
        " exact_match macro_accuracy macro_f1 normalised_answer wilson",
        "similarity": "MEASURES Measure neighbour_overlap procrustes pwcca rsa svcca",
        "single_runs": "McNemar PairedBootstrap mcnemar paired_bootstrap smallest_gain",
        "source_choice": "centroid_distances neighbour_shares",
        "transfer": "is_collapsed is_collapsed_over_texts relative_transfer transfer_summary",
        "variance_parts": "MIN_FAMILIES",
    },
)
