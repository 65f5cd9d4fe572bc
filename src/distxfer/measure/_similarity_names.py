"""The names of the similarity measures: what `measure.similarity` may list. Without torch, for the check of recipes."""

from typing import Literal

SimilarityName = Literal[
    "cka", "cka_biased", "cka_standardised", "rbf_cka", "procrustes", "rsa", "svcca", "pwcca", "neighbour_overlap"
]  # fmt: skip
