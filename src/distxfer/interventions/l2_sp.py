"""Penalty on the distance of the weights from the pretrained ones (L2-SP)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from distxfer.interventions import _shared_keys as shared
from distxfer.interventions._contract import LATER, BoundIntervention, Languages, Need, Step, Term
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class L2SP:
    """Add `weight` times |theta - theta0|^2 / 2, over the encoder's weights theta, from the pretrained theta0.

    Not over the head, which is not pretrained, nor over the matrix of word embeddings where it does not train.
    `layers`: `all` is the whole encoder, embeddings included; otherwise these blocks alone. The gradient of each
    weight is `weight` times its change, so a value means the same for encoders of any size. `layers` can be chosen as
    `freeze` has it: `guided` by the drift in the runs of `measurement`, or `random`.

    Reference: L2-SP, Li et al. 2018, section 3.2; `weight` is its alpha, and its beta, for the head, is weight decay.
    """

    weight: Annotated[float, Field(description="factor of the penalty", ge=0)] = 0.1
    layers: shared.ChosenLayers = "all"
    count: shared.Count = field(default=0, metadata=LATER)
    measurement: shared.Measurement = field(default=(), metadata=LATER)
    sign: shared.Sign = field(default="positive", metadata=LATER)
    distance: shared.OtherDistance = field(default="", metadata=LATER)

    def __post_init__(self) -> None:
        """Refuse settings that would have no effect."""
        shared.check_layer_keys(self)

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the penalty as a term, with a copy of the present weights; no parameter is frozen."""
        import torch

        layers, record = shared.layer_choice(self, encoder, distances)
        anchored = [
            (parameter, parameter.detach().clone())
            for name, parameter in encoder.model.named_parameters()
            if (encoder.train_word_embeddings or not encoder.is_word_embedding(name))
            and (encoder.place(name) in layers or (self.layers == "all" and encoder.place(name) != "head"))
        ]

        def term(step: Step) -> Term:
            squares = [(now - start.to(now.device)).float().square().sum() for now, start in anchored]
            return Term(torch.stack(squares).sum() / 2, 1, "batch")

        needs: frozenset[Need] = frozenset({"weights", "encoder"})
        return BoundIntervention(term=term, weight=self.weight, needs=needs, resolved_values=record)
