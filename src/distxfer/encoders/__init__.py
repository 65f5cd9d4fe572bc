"""Encoders: loading, layers by number, pooled hidden states, the pretrained reference."""

from typing import TYPE_CHECKING

from distxfer._lazy import lazy
from distxfer.encoders._bundled import BUNDLED as BUNDLED
from distxfer.encoders._bundled import BUNDLED_MODELS as BUNDLED_MODELS
from distxfer.encoders._layers import Band as Band
from distxfer.encoders._layers import Layers as Layers
from distxfer.encoders._layers import layer_numbers as layer_numbers
from distxfer.encoders._packed_types import PACKED_TYPES as PACKED_TYPES

if TYPE_CHECKING:
    from distxfer.encoders._adapters import *
    from distxfer.encoders._contexts import *
    from distxfer.encoders._encoded import *
    from distxfer.encoders._encoder import *
    from distxfer.encoders._folders import *
    from distxfer.encoders._heads import *
    from distxfer.encoders._load import *
    from distxfer.encoders._reference import *
    from distxfer.encoders._states import *

# These need torch and transformers.
__getattr__, __dir__ = lazy(
    __name__,
    {
        "_adapters": "merge_adapters",
        "_contexts": "evaluating has_peft_adapters",
        "_encoded": "Encoded Pooling",
        "_encoder": "Encoder LowerStates Output Place",
        "_folders": "adapter_base adapter_class fingerprint model_folder",
        "_heads": "class_to_load",
        "_load": "load_config load_encoder load_tokenizer",
        "_reference": "Reference",
        "_states": "StateCache States state_cache tensor_digest",
    },
)
