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
    from distxfer.encoders._adapters import merge_adapters as merge_adapters
    from distxfer.encoders._contexts import evaluating as evaluating
    from distxfer.encoders._contexts import has_peft_adapters as has_peft_adapters
    from distxfer.encoders._encoded import Encoded as Encoded
    from distxfer.encoders._encoded import Pooling as Pooling
    from distxfer.encoders._encoder import Encoder as Encoder
    from distxfer.encoders._encoder import LowerStates as LowerStates
    from distxfer.encoders._encoder import Output as Output
    from distxfer.encoders._encoder import Place as Place
    from distxfer.encoders._folders import adapter_base as adapter_base
    from distxfer.encoders._folders import adapter_class as adapter_class
    from distxfer.encoders._folders import fingerprint as fingerprint
    from distxfer.encoders._folders import model_folder as model_folder
    from distxfer.encoders._heads import class_to_load as class_to_load
    from distxfer.encoders._load import load_config as load_config
    from distxfer.encoders._load import load_encoder as load_encoder
    from distxfer.encoders._load import load_tokenizer as load_tokenizer
    from distxfer.encoders._reference import Reference as Reference
    from distxfer.encoders._states import StateCache as StateCache
    from distxfer.encoders._states import States as States
    from distxfer.encoders._states import state_cache as state_cache
    from distxfer.encoders._states import tensor_digest as tensor_digest

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
