"""Hold the weights near the pretrained ones."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from distxfer.encoders import Encoder, Layers, layer_numbers
from distxfer.interventions._contract import Bound, Languages, Step, Term
from distxfer.languages import Distances


@dataclass(frozen=True)
class L2SP:
    """Add `weight` times |theta - theta0|^2 / 2, over the encoder's weights theta, from the pretrained theta0.

    Not over the head, which nobody has pretrained, nor over the matrix of word embeddings where it does not train.
    `layers`: `all` is the whole encoder, embeddings included; otherwise these blocks alone. Every weight is pulled back
    by `weight` times the way it has gone, so a value means the same for an encoder of any size.

    Reference: L2-SP, Li et al. 2018, section 3.2; `weight` is its alpha, and its beta, for the head, is weight decay.
    """

    weight: Annotated[float, Field(ge=0)] = 0.1
    layers: Layers = "all"

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> Bound:
        """Return the pull as a term, with a copy of the weights as they are now; no parameter is kept from training."""
        layers = layer_numbers(self.layers, encoder.layers, "layers")
        anchored = [
            (parameter, parameter.detach().clone())
            for name, parameter in encoder.model.named_parameters()
            if (encoder.train_word_embeddings or not encoder.is_word_embedding(name))
            and (encoder.place(name) in layers or (self.layers == "all" and encoder.place(name) != "head"))
        ]

        def term(step: Step) -> Term:
            moved = [(now - start.to(now.device)).float().square().sum() for now, start in anchored]
            return Term(torch.stack(moved).sum() / 2, 1, "batch")

        return Bound(term=term, weight=self.weight, needs=frozenset({"weights", "encoder"}))
