"""What each similarity measure declares about itself: a test checks every word of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from distxfer.measure._canonical import pwcca, pwcca_reason, svcca, svcca_reason
from distxfer.measure._geometry import (
    neighbour_overlap,
    procrustes,
    procrustes_reason,
    rsa,
    rsa_reason,
    transport_distance,
    transport_reason,
)
from distxfer.measure._kernels import minibatch_cka, minibatch_cka_reason, rbf_cka, rbf_cka_reason
from distxfer.measure._moments import Moments
from distxfer.measure._similarity import cka, cka_reason, standardise
from distxfer.measure._tensors import working_pair

Invariance = Literal[
    "orthogonal",  # another rotation or reflection of each side
    "common_orthogonal",  # the same rotation or reflection of both
    "isotropic_scale",  # another positive factor for each side
    "common_scale",  # the same positive factor for both
    "translation",  # another shift of each side
    "common_translation",  # the same shift of both
    "column_scale",  # a positive factor for every column of each side
    "linear_of_y",  # any invertible linear map of y
    "row_scale",  # a positive factor for every row of each side
    "row_permutation",  # another order of the sentences, the same on both sides
    "unpaired_rows",  # another order of the rows of one side alone: the rows are not used as pairs
]


@dataclass(frozen=True)
class Measure:
    """A similarity measure, function(x, y) of (..., n, d1) and (..., n, d2) to (...), and what holds for it.

    `invariances` are all that hold of those in `Invariance`; `low` and `high` bound its values; `itself` is the value
    for x = y; `independent` the limit for independent x and y as n grows beyond d, or None where there is none.
    `reason(x, y)` says why a value is NaN, or None where none can be. `streamed` gives the same number from `Moments`,
    or is None where sums over rows do not hold it. `least_rows` is the smallest n that it takes.
    """

    name: str
    function: Callable[[Tensor, Tensor], Tensor]
    reason: Callable[[Tensor, Tensor], str | None]
    invariances: frozenset[Invariance]
    low: float
    high: float
    larger_is_more_similar: bool
    itself: float
    independent: float | None
    least_rows: int
    symmetric: bool
    differentiable: bool
    streamed: Callable[[Moments], Tensor] | None
    cost: str
    reference: str

    @property
    def streams(self) -> bool:
        """Whether it can be had batch by batch, exactly."""
        return self.streamed is not None


_SCALES: frozenset[Invariance] = frozenset({"isotropic_scale", "common_scale"})
_TRANSLATIONS: frozenset[Invariance] = frozenset({"translation", "common_translation"})
_ROTATIONS: frozenset[Invariance] = frozenset({"orthogonal", "common_orthogonal"})
_COMMON: frozenset[Invariance] = frozenset({"common_orthogonal", "common_scale", "common_translation"})
_SHAPE: frozenset[Invariance] = _SCALES | _TRANSLATIONS | _ROTATIONS


def _standardised_cka(x: Tensor, y: Tensor) -> Tensor:
    a, b = working_pair(x, y)  # which names the side that is wrong
    return cka(standardise(a), standardise(b))


def _standardised_reason(x: Tensor, y: Tensor) -> str | None:
    a, b = working_pair(x, y)
    return cka_reason(standardise(a), standardise(b))


def _never(x: Tensor, y: Tensor) -> None:
    return None


_BATCH = 32

_ALL = (
    Measure(
        name="cka", function=cka, reason=cka_reason, invariances=_SHAPE | {"row_permutation"}, low=-1.0, high=1.0,
        larger_is_more_similar=True, itself=1.0, independent=0.0, least_rows=4, symmetric=True, differentiable=True,
        streamed=Moments.cka, cost="O(n d^2)", reference="Kornblith et al. 2019; Song et al. 2012",
    ),
    Measure(
        name="cka_biased", function=partial(cka, unbiased=False), reason=partial(cka_reason, unbiased=False),
        invariances=_SHAPE | {"row_permutation"}, low=0.0, high=1.0, larger_is_more_similar=True, itself=1.0,
        independent=0.0, least_rows=2, symmetric=True, differentiable=True,
        streamed=partial(Moments.cka, unbiased=False), cost="O(n d^2)", reference="Kornblith et al. 2019",
    ),
    Measure(
        name="cka_standardised", function=_standardised_cka, reason=_standardised_reason,
        invariances=_SCALES | _TRANSLATIONS | {"column_scale", "row_permutation"}, low=-1.0, high=1.0,
        larger_is_more_similar=True, itself=1.0, independent=0.0, least_rows=4, symmetric=True, differentiable=True,
        streamed=None, cost="O(n d^2)", reference="Kornblith et al. 2019; Song et al. 2012; columns of variance 1",
    ),
    Measure(
        name="rbf_cka", function=rbf_cka, reason=rbf_cka_reason, invariances=_SHAPE | {"row_permutation"}, low=-1.0,
        high=1.0, larger_is_more_similar=True, itself=1.0, independent=0.0, least_rows=4, symmetric=True,
        differentiable=True, streamed=None, cost="O(n^2 d)", reference="Kornblith et al. 2019; Song et al. 2012",
    ),
    Measure(
        name="minibatch_cka", function=partial(minibatch_cka, batch_size=_BATCH),
        reason=partial(minibatch_cka_reason, batch_size=_BATCH), invariances=_SHAPE, low=-1.0, high=1.0,
        larger_is_more_similar=True, itself=1.0, independent=0.0, least_rows=_BATCH, symmetric=True,
        differentiable=True, streamed=None, cost="O(n d^2)", reference="Nguyen et al. 2021",
    ),
    Measure(
        name="procrustes", function=procrustes, reason=procrustes_reason, invariances=_SHAPE | {"row_permutation"},
        low=0.0, high=1.0, larger_is_more_similar=True, itself=1.0, independent=0.0, least_rows=3, symmetric=True,
        differentiable=True, streamed=Moments.procrustes, cost="O(n d^2 + d^3)", reference="Ding et al. 2021",
    ),
    Measure(
        name="rsa", function=rsa, reason=rsa_reason, invariances=_SHAPE | {"row_permutation"}, low=-1.0, high=1.0,
        larger_is_more_similar=True, itself=1.0, independent=0.0, least_rows=3, symmetric=True, differentiable=False,
        streamed=None, cost="O(n^2 (d + log n))", reference="Kriegeskorte et al. 2008",
    ),
    Measure(
        name="svcca", function=svcca, reason=svcca_reason, invariances=_SHAPE | {"row_permutation"}, low=0.0, high=1.0,
        larger_is_more_similar=True, itself=1.0, independent=0.0, least_rows=3, symmetric=True, differentiable=False,
        streamed=None, cost="O(n d^2)", reference="Raghu et al. 2017",
    ),
    Measure(
        name="pwcca", function=pwcca, reason=pwcca_reason,
        invariances=_SCALES | _TRANSLATIONS | {"linear_of_y", "row_permutation"}, low=0.0, high=1.0,
        larger_is_more_similar=True, itself=1.0, independent=0.0, least_rows=3, symmetric=False, differentiable=False,
        streamed=None, cost="O(n d^2)", reference="Morcos et al. 2018",
    ),
    Measure(
        name="neighbour_overlap", function=neighbour_overlap, reason=_never,
        invariances=_SCALES | _ROTATIONS | {"row_scale", "row_permutation"}, low=0.0, high=1.0,
        larger_is_more_similar=True, itself=1.0, independent=0.0, least_rows=12, symmetric=True, differentiable=False,
        streamed=None, cost="O(n^2 d)", reference="Schumacher et al. 2021; Klabunde et al. 2023",
    ),
    Measure(
        name="transport_distance", function=transport_distance, reason=transport_reason,
        invariances=_COMMON | {"row_permutation", "unpaired_rows"}, low=0.0, high=inf,
        larger_is_more_similar=False, itself=0.0, independent=None, least_rows=2, symmetric=True, differentiable=True,
        streamed=None, cost="O(n^2 d)", reference="Feydy et al. 2019",
    ),
)  # fmt: skip

MEASURES: Mapping[str, Measure] = MappingProxyType({measure.name: measure for measure in _ALL})
