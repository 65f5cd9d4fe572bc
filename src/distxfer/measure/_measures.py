"""The similarity measures by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from torch import Tensor

from distxfer.measure._canonical import pwcca, pwcca_reason, svcca, svcca_reason
from distxfer.measure._geometry import neighbour_overlap, procrustes, procrustes_reason, rsa, rsa_reason
from distxfer.measure._kernels import rbf_cka, rbf_cka_reason
from distxfer.measure._similarity import cka, cka_reason, standardise
from distxfer.measure._similarity_names import SimilarityName
from distxfer.measure._tensors import working_pair


@dataclass(frozen=True)
class Measure:
    """A similarity measure, function(x, y) of (..., n, d1) and (..., n, d2) to (...); larger is more similar.

    `reason(x, y)` says why a value is NaN, or None where all are numbers. The measure needs at least `least_rows` rows.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    reason: Callable[[Tensor, Tensor], str | None]
    least_rows: int


def _standardised_cka(x: Tensor, y: Tensor) -> Tensor:
    x, y = working_pair(x, y)  # whose errors name the argument
    return cka(standardise(x), standardise(y))


def _standardised_reason(x: Tensor, y: Tensor) -> str | None:
    x, y = working_pair(x, y)
    return cka_reason(standardise(x), standardise(y))


def _always_defined(x: Tensor, y: Tensor) -> None:
    return None


_MEASURES: dict[SimilarityName, Measure] = {
    "cka": Measure(cka, cka_reason, 4),
    "cka_biased": Measure(partial(cka, unbiased=False), partial(cka_reason, unbiased=False), 2),
    "cka_standardised": Measure(_standardised_cka, _standardised_reason, 4),
    "rbf_cka": Measure(rbf_cka, rbf_cka_reason, 4),
    "procrustes": Measure(procrustes, procrustes_reason, 3),
    "rsa": Measure(rsa, rsa_reason, 3),
    "svcca": Measure(svcca, svcca_reason, 3),
    "pwcca": Measure(pwcca, pwcca_reason, 3),
    "neighbour_overlap": Measure(neighbour_overlap, _always_defined, 12),
}
MEASURES: Mapping[SimilarityName, Measure] = MappingProxyType(_MEASURES)
