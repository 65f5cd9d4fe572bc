"""The class in which an architecture is loaded for a task: transformers' own, or a token classifier.

A token classifier serves the other tasks too: a linear head commutes with the mean over tokens, and a span's start and
end are two scores per token.
"""

from pathlib import Path
from typing import Any, Literal

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
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
)
from transformers.modeling_layers import GenericForTokenClassification

from distxfer.encoders._contexts import has_peft_adapters
from distxfer.encoders._encoder import Encoder, Output
from distxfer.errors import InputError

Head = Literal["auto", "architecture"]
_TEXT = (MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification, "a classification head")
# By output: the classes with such a head, the `Auto` class that loads them, and the noun.
_HEADS: dict[Output, tuple[Any, Any, str]] = {
    "text": _TEXT,
    "token": (MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, AutoModelForTokenClassification, "a head for tokens"),
    "span": (MODEL_FOR_QUESTION_ANSWERING_MAPPING, AutoModelForQuestionAnswering, "a head for answers"),
    "state": _TEXT,  # which is neither used nor saved
}


def class_for(config: PreTrainedConfig, output: Output, folder: Path, head: Head = "auto") -> tuple[Any, bool]:
    """Return the class of an architecture with a head for an output, and whether that head has an output per token.

    For an output per text, `auto` is a linear map of the pooled state: a token classifier whose scores are pooled, or a
    decoder's classifier of the last token. (ModernBERT's follows its pretrained prediction head.) A checkpoint with a text
    classifier of its own keeps that class. `architecture` is transformers' classifier of texts, which may have further layers
    that no checkpoint holds (BERT's pooler, the hidden layer of XLM-R and DeBERTa).

    For encoder-decoders (T5, mT5), it is the class of the encoder alone. Decoders without a head in transformers get one
    from `GenericForTokenClassification`. Raises InputError for an architecture that has no encoder with such a head.
    """
    config_class = type(config)
    has_decoder = config_class in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    token_class = _token_class(config, has_decoder=has_decoder)
    own_class = None if has_decoder else _HEADS[output][0].get(config_class, None)
    reads_both_ways = getattr(config, "use_bidirectional_attention", None) in (True, "all")
    is_decoder = config_class in MODEL_FOR_CAUSAL_LM_MAPPING and config_class not in MODEL_FOR_MASKED_LM_MAPPING
    is_linear = is_decoder or getattr(own_class, "__name__", "") in (config.architectures or ())
    # A bidirectional decoder's classifier takes the last token, which does not represent a text read in both directions.
    if output == "text" and token_class and (reads_both_ways or (head == "auto" and not is_linear)):
        own_class = None
    # The question-answering classes of Qwen and Llama name their encoder differently from checkpoints: nothing would load.
    if own_class and (not token_class or own_class.base_model_prefix == token_class.base_model_prefix):
        return own_class, output == "token"
    if not token_class:
        raise InputError(
            f"The model in `{folder}` is a `{config.model_type}`, which has no encoder with {_HEADS[output][2]}."
            " Choose an encoder (BERT, XLM-R, DeBERTa, ModernBERT, mT5 ...) or a decoder (Qwen2, Llama ...)."
        )
    return token_class, True


def _token_class(config: PreTrainedConfig, *, has_decoder: bool) -> Any:
    """Return the class with a head per token, or None."""
    config_class = type(config)
    if config_class in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING:
        return MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[config_class]
    if has_decoder or config_class not in MODEL_FOR_CAUSAL_LM_MAPPING or config_class not in MODEL_MAPPING:
        return None
    base: Any = MODEL_MAPPING[config_class]
    prefix = GenericForTokenClassification.base_model_prefix
    if config.get_text_config() is not config or base.base_model_prefix != prefix:
        return None
    return type(
        f"{base.__name__.removesuffix('Model')}ForTokenClassification",
        (GenericForTokenClassification, base.__base__),
        {"__module__": __name__, "__annotations__": {"config": config_class}, "config_class": config_class},
    )


def class_to_load(encoder: Encoder) -> tuple[str, list[str]]:
    """Return the class of plain transformers that loads the saved model, and the lines of code that import it.

    It is an `Auto` class where there is one for the encoder's output; where transformers has no class, the lines define
    it. Adapters are for a model of the same class.
    """
    model = encoder.model.get_base_model() if has_peft_adapters(encoder.model) else encoder.model
    alone = encoder.output == "state" and model is encoder.model
    model_class = type(encoder.base if alone else model)
    having, auto = (
        (MODEL_MAPPING, AutoModel) if alone else _HEADS["token" if encoder.token_head else encoder.output][:2]
    )
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
