"""Mixout: dropout on the change of every linear map from its pretrained weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from distxfer.errors import InputError
from distxfer.interventions._contract import BoundIntervention, Languages
from distxfer.languages import Distances

if TYPE_CHECKING:
    from torch import Tensor

    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class Mixout:
    """Replace, in training, every weight W (out, in) of the blocks' linear maps by a mixture with the pretrained W0.

    W' = (W_mix - p W0) / (1 - p), where each column of W_mix is that of W0 with probability `p`, else that of W; so W' is
    W in expectation, and W0 as long as W is. One mixture serves all forward passes of a micro-batch. Biases, layer norms,
    embeddings and the head are left alone, and measuring uses W. It takes memory for one more copy of these weights.

    Reference: Lee et al. 2020, mixout(w_pre), whose mask is one entry an input unit. The encoder's own dropout stays as it
    is, which the paper's code sets to 0. `p` defaults to what its examples use; the paper tries 0.7 to 0.9 on BERT-large.
    """

    p: Annotated[float, Field(description="probability of a pretrained column", gt=0, lt=1)] = 0.9

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the mixture, which training uses in place of the weights; no term is added.

        Raises InputError for an encoder whose blocks have no `nn.Linear`.
        """
        from torch.nn.functional import dropout

        names = {f"{module}.weight" for module in encoder.linear_modules(range(1, encoder.layers + 1))}
        if not names:
            raise InputError(
                f"`mixout` acts on linear maps, and the blocks of `{encoder.name}` have none. Leave it out of the recipe."
            )
        # With adapters the model's names are longer, but then `needs` refuses this intervention.
        pretrained = {
            name: parameter.detach().clone() for name, parameter in encoder.model.named_parameters() if name in names
        }

        def mixed(name: str, weight: Tensor) -> Tensor:
            if name not in pretrained:
                return weight
            scale = dropout(weight.new_ones(weight.shape[-1]), self.p)  # 0, or 1 / (1 - p)
            return pretrained[name] + scale * (weight - pretrained[name])

        return BoundIntervention(replace_weight=mixed, needs=frozenset({"weights"}))
