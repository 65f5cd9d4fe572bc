"""One trained factor per feature of the keys, the values and the feed-forward layers (IA3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from distxfer.encoders import Layers, layer_numbers
from distxfer.errors import InputError
from distxfer.interventions._contract import BoundIntervention, Languages
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.encoders import Encoder

# What encoders call the maps to keys and values: key, k_proj, v_lin, value_proj, Wqkv, query_key_value ...
_KEYS_AND_VALUES = re.compile(r"\.(k|v|key|value)(_\w+)?$|qkv$|query_key_value$")


@dataclass(frozen=True)
class Ia3:
    """Multiply keys by l_k, values by l_v and the activations inside the feed-forward layers by l_ff, feature by feature.

    In the chosen `layers`; the factors are all that is trained beside the head, and start at 1. Where one map makes
    queries, keys and values, its queries are multiplied as well: the same as doing it to the keys once more.
    Weight decay would pull the factors to 0: set `weight_decay = 0.0` in the phase, as the shipped recipe does.

    Reference: Liu et al. 2022 ((IA)^3), section 3.3, by PEFT.
    """

    layers: Annotated[Layers, Field(description="blocks with factors: numbers or a band")] = "all"

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Add the factors to the encoder, which then trains only adapters and the head."""
        from peft import IA3Config

        layers = layer_numbers(self.layers, encoder.layers, "layers")
        attention = [name for name in encoder.attention_modules(layers) if _KEYS_AND_VALUES.search(name)]
        _, feed_forward = encoder.feed_forward_modules(layers)
        if not (attention and feed_forward):
            raise InputError(
                f"A `{encoder.base.config.model_type}` has no known linear maps of keys and values, or of feed-forward"
                " layers. Choose adapters of another `kind`: `lora` fits every encoder."
            )
        config = IA3Config(target_modules=[*attention, *feed_forward], feedforward_modules=feed_forward)
        return BoundIntervention(adapters=encoder.adapt(config))
