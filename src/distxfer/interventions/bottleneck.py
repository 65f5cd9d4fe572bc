"""Train a small non-linear adapter beside each feed-forward layer, and the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from distxfer.interventions._contract import Bound, Languages
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class Bottleneck:
    """Add W_up f(W_down x) to what each feed-forward layer makes of x, with W_down (r, d) and W_up (d, r) trained.

    f is the encoder's own activation, with its gate where it has one. W_up starts at 0, so that nothing moves before the
    first step. It stands beside the feed-forward layer, as r more neurons of it, not after it as in Houlsby et al.
    2019: so the result is saved as a plain model whose feed-forward layers are wider by r, in all blocks alike.

    References: the parallel adapter of He et al. 2022 (table 1, with s = 1); Houlsby et al. 2019 and Pfeiffer et al. 2021
    for adapters in sequence.
    """

    r: Annotated[int, Field(description="width of the adapter", ge=1)] = 48

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> Bound:
        """Put the adapters into the encoder, which lets nothing else but adapters and the head train from then on."""
        return Bound(adapters=encoder.add_bottlenecks(self.r))
