"""Small non-linear adapters beside each feed-forward layer, trained with the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from distxfer.interventions._contract import BoundIntervention, Languages
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class Bottleneck:
    """Add W_up f(W_down x) to the output of each feed-forward layer for x, with W_down (r, d) and W_up (d, r) trained.

    f is the encoder's own activation, with its gate where it has one. W_up starts at 0, so nothing changes before the
    first step. The adapter is parallel to the feed-forward layer, as r more neurons of it, not after it as in Houlsby et
    al. 2019. So the result is saved as a plain model whose feed-forward layers are wider by r in all blocks.

    References: the parallel adapter of He et al. 2022 (table 1, with s = 1); Houlsby et al. 2019 and Pfeiffer et al. 2021
    for adapters in sequence.
    """

    r: Annotated[int, Field(description="width of the adapter", ge=1)] = 48

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Add the adapters to the encoder, which then trains only adapters and the head."""
        return BoundIntervention(adapters=encoder.add_bottlenecks(self.r))
