"""Frozen layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from distxfer.interventions import _shared_keys as shared
from distxfer.interventions._contract import BoundIntervention, Languages
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class Freeze:
    """Freeze `layers` and, by default, the embeddings.

    `layers`: numbers from 1; a third or a half (`lower`, `middle`, `upper`, `lower_half`, `upper_half`); `guided`: the
    `count` layers whose drift in the runs of `measurement` correlates with `distance` most strongly, with the given `sign`;
    `random`: any `count` layers, others with each seed. `embeddings`: also freeze the embeddings (positions and their
    layer norm; the matrix of word embeddings has the key `model.train_word_embeddings`).

    Reference: Philippy et al. 2023, which froze layers of negative correlation and kept the embeddings trainable; halves
    as in AlignFreeze (Bakos et al. 2025), which froze them while realigning only, and no embeddings.
    """

    layers: shared.ChosenLayers = "lower"
    count: shared.Count = 0
    measurement: shared.Measurement = ()
    sign: shared.Sign = "positive"
    distance: shared.OtherDistance = ""
    embeddings: Annotated[bool, Field(description="also freeze the embeddings")] = True

    def __post_init__(self) -> None:
        """Refuse settings that would have no effect."""
        shared.check_layer_keys(self)

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the parameters that still train; no term is added."""
        layers, record = shared.layer_choice(self, encoder, distances)

        def trains(parameter: str) -> bool:
            place = encoder.place(parameter)
            return place not in layers and not (self.embeddings and place == "embeddings")

        return BoundIntervention(trains=trains, resolved_values=record)
