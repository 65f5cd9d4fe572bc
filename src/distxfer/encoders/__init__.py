"""Encoders: loading, layers by number, pooled hidden states, the pretrained reference."""

from typing import TYPE_CHECKING, Any

from distxfer.encoders._bundled import BUNDLED as BUNDLED
from distxfer.encoders._layers import Layers as Layers
from distxfer.encoders._layers import layer_numbers as layer_numbers

if TYPE_CHECKING:
    from distxfer.encoders._adapters import adapter_base as adapter_base
    from distxfer.encoders._adapters import merge_adapters as merge_adapters
    from distxfer.encoders._encoded import Encoded as Encoded
    from distxfer.encoders._encoded import Pooling as Pooling
    from distxfer.encoders._encoder import Encoder as Encoder
    from distxfer.encoders._encoder import Output as Output
    from distxfer.encoders._heads import class_to_load as class_to_load
    from distxfer.encoders._load import fingerprint as fingerprint
    from distxfer.encoders._load import load_encoder as load_encoder
    from distxfer.encoders._load import load_tokenizer as load_tokenizer
    from distxfer.encoders._load import model_folder as model_folder
    from distxfer.encoders._reference import Reference as Reference
    from distxfer.encoders._states import StateCache as StateCache
    from distxfer.encoders._states import States as States
    from distxfer.encoders._states import state_cache as state_cache
    from distxfer.encoders._states import tensor_digest as tensor_digest


def __getattr__(name: str) -> Any:
    """Import the modules that need torch and transformers on first use."""
    if name in {"Encoded", "Pooling"}:
        from distxfer.encoders import _encoded

        return getattr(_encoded, name)
    if name in {"Encoder", "Output", "Reference"}:
        from distxfer.encoders import _encoder

        return getattr(_encoder, name)
    if name == "class_to_load":
        from distxfer.encoders import _heads

        return _heads.class_to_load
    if name in {"fingerprint", "load_encoder", "load_tokenizer", "model_folder"}:
        from distxfer.encoders import _load

        return getattr(_load, name)
    if name in {"adapter_base", "merge_adapters"}:
        from distxfer.encoders import _adapters

        return getattr(_adapters, name)
    if name in {"StateCache", "States", "state_cache", "tensor_digest"}:
        from distxfer.encoders import _states

        return getattr(_states, name)
    raise AttributeError(f"module `{__name__}` has no `{name}`")
