"""Low-rank adapters, trained with the head; the pretrained weights are frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from distxfer.encoders import Layers, layer_numbers
from distxfer.errors import InputError
from distxfer.interventions._contract import BoundIntervention, Languages
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class Lora:
    """Replace each linear map W of the chosen `layers` by W + (alpha / r) B A, with A (r, in) and B (out, r) trained.

    B starts at 0, so nothing changes before the first step. `dora`: the map is m_i V_i / |V_i| for each of its rows
    V_i of V = W + (alpha / r) B A, and the lengths m (out) are trained beside the directions; they start at those of W.
    Several in one recipe, under labels of their own, add up; each trains in the phases that name it.

    References: Hu et al. 2022, eq. 3; Liu et al. 2024 (DoRA), eq. 5; by PEFT. One adapter for a language and one for the
    task, in turn: MAD-X, Pfeiffer et al. 2020.
    """

    r: Annotated[int, Field(description="rank", ge=1)] = 16
    alpha: Annotated[int, Field(description="scale is alpha / r", ge=1)] = 32
    dropout: Annotated[float, Field(description="dropout before the adapter", ge=0, lt=1)] = 0.0
    dora: Annotated[bool, Field(description="train magnitudes apart from directions (DoRA)")] = False
    layers: Annotated[Layers, Field(description="blocks with adapters: numbers or a band")] = "all"

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Add the adapters to the encoder, which then trains only adapters and the head."""
        from peft import LoraConfig

        layers = layer_numbers(self.layers, encoder.layers, "layers")
        if self.dora and encoder.adapters:
            raise InputError(
                "`dora` = `true` also scales the earlier adapters, so the two do not add up. Put the intervention"
                " with `dora` first in the recipe, or leave it out."
            )
        config = LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            use_dora=self.dora,
            target_modules=encoder.linear_modules(layers),
        )
        return BoundIntervention(adapters=encoder.adapt(config))
