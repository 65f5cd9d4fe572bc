"""In which class an architecture is loaded for a task: transformers' own for it, or else a classifier of tokens.

A classifier of tokens serves the other tasks too: a linear head says the same of the mean of the tokens as the mean of what
it says of each, and a span's start and end are two scores a token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peft import PeftModel
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_QUESTION_ANSWERING_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_layers import GenericForTokenClassification

from distxfer.encoders._encoder import Encoder, Output

_OWN: dict[Output, tuple[Any, Any]] = {  # the architectures that have it, and what loads it
    "text": (MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification),
    "token": (MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, AutoModelForTokenClassification),
    "span": (MODEL_FOR_QUESTION_ANSWERING_MAPPING, AutoModelForQuestionAnswering),
    # The encoder is saved alone; the head that it is loaded in is never looked at.
    "state": (MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification),
}


@dataclass(frozen=True)
class Head:
    """How a model is loaded with a head, and made anew; `of_tokens`: the head says something of each token."""

    load: Callable[..., Any]
    fresh: Callable[[PreTrainedConfig], PreTrainedModel]
    of_tokens: bool


def head_for(config: PreTrainedConfig, output: Output) -> Head | None:
    """Return the head of an architecture for an output, or None where it has no encoder with one.

    Of an encoder and a decoder (T5, mT5), it is that of the encoder alone. Decoders for which transformers has no head get
    one of `GenericForTokenClassification`.
    """
    kind = type(config)
    having, auto = _OWN[output]
    both = kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    tokens = _of_tokens(config, both=both)
    own = having[kind] if kind in having and not both else None
    if output == "text" and getattr(config, "use_bidirectional_attention", None) in (True, "all") and tokens:
        own = (
            None  # it would classify the last token, though no token stands for a text that is read in both directions
        )
    # Those of Qwen and Llama for answers call their encoder otherwise than the checkpoints do: nothing would load.
    if own is not None and (tokens is None or own.base_model_prefix == tokens[0]):
        return Head(auto.from_pretrained, auto.from_config, output == "token")
    return tokens[1] if tokens else None


def _of_tokens(config: PreTrainedConfig, *, both: bool) -> tuple[str, Head] | None:
    """Return the classifier of tokens, and what it calls its encoder."""
    kind, auto = type(config), AutoModelForTokenClassification
    if kind in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING:
        found: Any = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[kind]
        return found.base_model_prefix, Head(auto.from_pretrained, auto.from_config, of_tokens=True)
    if both or kind not in MODEL_FOR_CAUSAL_LM_MAPPING or kind not in MODEL_MAPPING:
        return None
    base: Any = MODEL_MAPPING[kind]
    if (
        config.get_text_config() is not config
        or base.base_model_prefix != GenericForTokenClassification.base_model_prefix
    ):
        return None
    made: Any = type(
        f"{base.__name__.removesuffix('Model')}ForTokenClassification",
        (GenericForTokenClassification, base.__base__),
        {"__module__": __name__, "__annotations__": {"config": kind}, "config_class": kind},
    )
    return made.base_model_prefix, Head(made.from_pretrained, made._from_config, of_tokens=True)


def class_to_load(encoder: Encoder) -> tuple[str, list[str]]:
    """Return the class of plain transformers that loads what the encoder saves as a whole, and the lines that bring it.

    It is an `Auto` class where there is one for the encoder's output; where transformers has none at all, the lines put it
    together. Adapters are for a model of the same class.
    """
    wrapped = encoder.model
    whole = wrapped.get_base_model() if isinstance(wrapped, PeftModel) else wrapped
    alone = encoder.output == "state" and whole is wrapped
    found = type(encoder.base if alone else whole)
    having, auto = (MODEL_MAPPING, AutoModel) if alone else _OWN[encoder.output]
    config = type(encoder.base.config)
    if config in having and having[config] is found:
        return auto.__name__, [f"from transformers import {auto.__name__}"]
    if found.__module__ != __name__:
        return found.__name__, [f"from transformers import {found.__name__}"]
    generic, parent = (one.__name__ for one in found.__bases__)
    return found.__name__, [
        f"from transformers import {config.__name__}, {parent}",
        f"from transformers.modeling_layers import {generic}",
        "",
        f"class {found.__name__}({generic}, {parent}):",
        f"    config: {config.__name__}",
        "",
    ]
