"""The class in which an architecture is loaded for a task: transformers' own, or else a token classifier.

A token classifier serves the other tasks too: a linear head commutes with the mean over tokens, and a span's start and
end are two scores per token.
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

_OWN: dict[Output, tuple[Any, Any]] = {  # the architectures with such a head, and the class that loads it
    "text": (MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification),
    "token": (MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, AutoModelForTokenClassification),
    "span": (MODEL_FOR_QUESTION_ANSWERING_MAPPING, AutoModelForQuestionAnswering),
    # The encoder is saved without its head, which is never used.
    "state": (MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification),
}


@dataclass(frozen=True)
class Head:
    """Functions that load a model with a head, and create one; `of_tokens`: the head has an output per token."""

    load: Callable[..., Any]
    fresh: Callable[[PreTrainedConfig], PreTrainedModel]
    of_tokens: bool


def head_for(config: PreTrainedConfig, output: Output) -> Head | None:
    """Return the head of an architecture for an output, or None where it has no encoder with one.

    For encoder-decoders (T5, mT5), it is the head of the encoder alone. Decoders without a head in transformers get one
    from `GenericForTokenClassification`.
    """
    kind = type(config)
    having, auto = _OWN[output]
    has_decoder = kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    tokens = _of_tokens(config, has_decoder=has_decoder)
    model_class = having[kind] if kind in having and not has_decoder else None
    if output == "text" and getattr(config, "use_bidirectional_attention", None) in (True, "all") and tokens:
        model_class = None  # it would classify the last token, which does not represent a text read in both directions
    # The question-answering classes of Qwen and Llama name their encoder differently from checkpoints: nothing would load.
    if model_class is not None and (tokens is None or model_class.base_model_prefix == tokens[0]):
        return Head(auto.from_pretrained, auto.from_config, output == "token")
    return tokens[1] if tokens else None


def _of_tokens(config: PreTrainedConfig, *, has_decoder: bool) -> tuple[str, Head] | None:
    """Return the token classifier, and the name of its encoder attribute."""
    kind, auto = type(config), AutoModelForTokenClassification
    if kind in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING:
        model_class: Any = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[kind]
        return model_class.base_model_prefix, Head(auto.from_pretrained, auto.from_config, of_tokens=True)
    if has_decoder or kind not in MODEL_FOR_CAUSAL_LM_MAPPING or kind not in MODEL_MAPPING:
        return None
    base: Any = MODEL_MAPPING[kind]
    if (
        config.get_text_config() is not config
        or base.base_model_prefix != GenericForTokenClassification.base_model_prefix
    ):
        return None
    generic_class: Any = type(
        f"{base.__name__.removesuffix('Model')}ForTokenClassification",
        (GenericForTokenClassification, base.__base__),
        {"__module__": __name__, "__annotations__": {"config": kind}, "config_class": kind},
    )
    head = Head(generic_class.from_pretrained, generic_class._from_config, of_tokens=True)
    return generic_class.base_model_prefix, head


def class_to_load(encoder: Encoder) -> tuple[str, list[str]]:
    """Return the class of plain transformers that loads the saved model, and the lines of code that import it.

    It is an `Auto` class where there is one for the encoder's output; where transformers has no class, the lines define
    it. Adapters are for a model of the same class.
    """
    model = encoder.model.get_base_model() if isinstance(encoder.model, PeftModel) else encoder.model
    alone = encoder.output == "state" and model is encoder.model
    model_class = type(encoder.base if alone else model)
    having, auto = (MODEL_MAPPING, AutoModel) if alone else _OWN[encoder.output]
    config = type(encoder.base.config)
    if config in having and having[config] is model_class:
        return auto.__name__, [f"from transformers import {auto.__name__}"]
    if model_class.__module__ != __name__:
        return model_class.__name__, [f"from transformers import {model_class.__name__}"]
    generic, parent = (parent_class.__name__ for parent_class in model_class.__bases__)
    return model_class.__name__, [
        f"from transformers import {config.__name__}, {parent}",
        f"from transformers.modeling_layers import {generic}",
        "",
        f"class {model_class.__name__}({generic}, {parent}):",
        f"    config: {config.__name__}",
        "",
    ]
