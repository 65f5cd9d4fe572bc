"""Loading an encoder from its folder: never remote code, and only a whole encoder."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from distxfer.encoders._bundled import BUNDLED_MODELS
from distxfer.encoders._check import check_architecture, check_inputs, check_size, fit_tokenizer, pad_apart, words_of
from distxfer.encoders._contexts import quiet
from distxfer.encoders._dropout import use_dropout
from distxfer.encoders._encoded import Pooling
from distxfer.encoders._encoder import Encoder, Output
from distxfer.encoders._heads import Head, class_for
from distxfer.encoders._packing import packs_texts, recomputing
from distxfer.errors import InputError, reason

_UNKNOWN = "\U000f0000"  # a private-use character, unknown to every tokenizer
_ENDS = ("start", "end")  # the two scores of a token, where the output is a span


def load_encoder(
    name: str,
    folder: Path,
    labels: Sequence[str],
    *,
    seed: int,
    output: Output = "text",
    pooling: Pooling = "mean",
    head: Head = "auto",
    train_word_embeddings: bool = False,
    drop_last_layers: int = 0,
    gradient_checkpointing: bool = False,
    fingerprint: str = "",
    device: torch.device | None = None,
) -> Encoder:
    """Load the encoder in `folder` with a head for `labels`; the head's initial weights depend on `seed` alone.

    `output` is the head's output: one of the labels for each text or each token, or the start and end of a span; `head` is
    the kind of head for texts (`class_for`). The
    uppermost `drop_last_layers` blocks are dropped. With `gradient_checkpointing` blocks keep only their input, and are
    recomputed in the backward pass. `fingerprint` is stored, to recognise measurements of other files.

    Raises InputError where the folder holds no encoder that Transformers can load in full with such a head, or no block
    would be left.
    """
    labels = _ENDS if output == "span" else labels or ["none"]  # without labels, the head is not used
    model, new, head_is_loaded, token_head = _classifier(folder, output, labels, seed, head)
    base = cast(PreTrainedModel, model.base_model)
    check_inputs(base, name)
    blocks = _blocks(base)
    _drop_last(model, base, blocks, drop_last_layers)
    if gradient_checkpointing:
        _checkpoint_gradients(model)
    tokenizer = load_tokenizer(folder)
    fit_tokenizer(tokenizer, base, name)
    if output == "text" and not token_head:
        pad_apart(tokenizer, words_of(base))
    model.config.pad_token_id = tokenizer.pad_token_id
    if name not in BUNDLED_MODELS and not Path(name).expanduser().is_dir():
        model.name_or_path = name
    blocks = f"{base.base_model_prefix}.{blocks}"
    names = {id(weight): key for key, weight in model.named_parameters()}
    order = list(names.values())
    first = next(place for place, key in enumerate(order) if key.startswith(blocks))
    device = device or torch.device("cpu")
    encoder = Encoder(
        name=name,
        model=cast(nn.Module, model).to(device),
        tokenizer=tokenizer,
        base=base,
        layers=int(model.config.num_hidden_layers),
        blocks=blocks,
        below=frozenset(order[:first]),
        max_tokens=_max_tokens(base),
        embeddings=names[id(base.get_input_embeddings().weight)],
        head=new,
        head_is_loaded=head_is_loaded,
        output=output,
        token_head=token_head,
        pooling=pooling,
        train_word_embeddings=train_word_embeddings,
        gradient_checkpointing=gradient_checkpointing,
        fingerprint=fingerprint,
        dropped=drop_last_layers,
        device=device,
    )
    encoder.causal = check_architecture(encoder)
    encoder.packs = packs_texts(model)
    use_dropout(model)
    return encoder


def load_config(folder: Path) -> Any:
    """Return the configuration of the model in a folder; raises InputError for a file that is none."""
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a configuration's class may raise anything for odd values; the cause is kept
        raise InputError(f"`{folder / 'config.json'}` is not a model's configuration: {reason(error)}.") from error


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a folder, padding on the right; raises InputError for one that is missing or has no words."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        inputs = tokenizer(_UNKNOWN)  # without a token for unknown words, some tokenizers raise
        special = {*tokenizer.all_special_tokens}
        # Words are listed only where they are few: 250,000 take a quarter of a second.
        if len(tokenizer) <= 2 * len(special) and not tokenizer.get_vocab().keys() - special:
            raise ValueError("it has no words")  # Transformers creates an empty one without files
    except Exception as error:  # tokenizers raises the bare class; the cause is kept
        raise InputError(
            f"The model folder `{folder}` has no tokenizer that loads: {reason(error)}."
            " Save it there with `tokenizer.save_pretrained`."
        ) from error
    if missing := {"input_ids", "attention_mask"} - inputs.keys():
        raise InputError(
            f"The tokenizer in `{folder}` returns no `{min(missing)}`. Set `model_input_names` in `tokenizer_config.json` to"
            ' `["input_ids", "attention_mask"]`.'
        )
    tokenizer.padding_side = "right"  # the first token is no padding, and positions do not depend on padding
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise InputError(
            f"The tokenizer in `{folder}` has neither a padding nor an end token. Set `pad_token` and save it."
        )
    return tokenizer


def _blocks(base: PreTrainedModel) -> str:
    """Return the name of the list of transformer blocks, with a dot: `encoder.layer.`, `transformer.layer.`, `layers.`"""
    depth = getattr(base.config, "num_hidden_layers", 0)
    sizes = {
        name: sum(parameter.numel() for parameter in module.parameters())
        for name, module in base.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    }
    if sizes:  # other lists of this length hold fewer parameters than the blocks
        return f"{max(sizes, key=lambda name: sizes[name])}."
    blocks = f"list of {depth} blocks" if isinstance(depth, int) and depth > 0 else "single list of blocks"
    raise InputError(f"`{base.config.model_type}` has no {blocks}, so its layers cannot be told apart.")


def _drop_last(model: PreTrainedModel, base: PreTrainedModel, blocks: str, count: int) -> None:
    """Drop the uppermost blocks, in the configuration too, so that the saved model has none of them."""
    if not count:
        return
    depth = int(model.config.num_hidden_layers)
    if count >= depth:
        raise InputError(
            f"`drop_last_layers` is `{count}`, but this encoder has {depth} blocks. Keep at least one of them."
        )
    del cast(nn.ModuleList, base.get_submodule(blocks.rstrip(".")))[depth - count :]
    for config in (model.config, base.config):
        config.num_hidden_layers = depth - count
        if getattr(config, "layer_types", None):  # the attention of each block, where they differ
            config.layer_types = config.layer_types[: depth - count]


def _checkpoint_gradients(model: PreTrainedModel) -> None:
    """Switch gradient checkpointing on; raises InputError for an architecture that does not support it."""
    if not model.supports_gradient_checkpointing:
        raise InputError(
            f"`model.gradient_checkpointing` is `true`, but a `{model.config.model_type}` does not support it."
            " Set it to false, and lower `phase.finetune.batch_size` (with more `accumulation`)."
        )
    if getattr(model.config, "use_cache", False):  # of keys and values, for generation only
        model.config.use_cache = False
    with warnings.catch_warnings():
        # Transformers 5.23 has a new name for it, which 5.0 does not know.
        warnings.filterwarnings("ignore", "`gradient_checkpointing_enable` is deprecated", FutureWarning)
        model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": recomputing})
    if hasattr(model, "_require_grads_hook"):
        # Transformers makes the embeddings' output require a gradient, for reentrant checkpointing. Here, gradients would pass
        # through frozen blocks, and a term below all trainable layers would seem to have an effect.
        model.disable_input_require_grads()


def _classifier(
    folder: Path, output: Output, labels: Sequence[str], seed: int, head: Head
) -> tuple[PreTrainedModel, frozenset[str], bool, bool]:
    """Return the classifier in a folder, with new weights drawn from `seed`, and three facts about its head.

    These are the parameters that are not the checkpoint's or not the encoder's, whether the head is the checkpoint's, and
    whether it has an output per token.
    """
    config = load_config(folder)
    model_class, token_head = class_for(config, output, folder, head)
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        try:
            check_size(folder, config, model_class)
            model, info = model_class.from_pretrained(
                folder,
                id2label=dict(enumerate(labels)),
                label2id={label: index for index, label in enumerate(labels)},
                num_labels=len(labels),
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except InputError:
            raise
        except Exception as error:  # an architecture's code may raise anything for odd values; the cause is kept
            raise InputError(f"The model folder `{folder}` does not load: {reason(error)}.") from error
    mismatched = (key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"])
    new = {str(key) for key in (*info["missing_keys"], *mismatched)}
    _check_whole(model, new, [str(key) for key in info["unexpected_keys"]], folder)
    prefix = f"{model.base_model_prefix}."
    outside = [name for name, _ in model.named_parameters() if not name.startswith(prefix)]
    stored = [name for name in outside if name not in new]
    is_whole = bool(stored) and not new
    stored_labels = [str(config.id2label[key]) for key in sorted(config.id2label)]
    is_for_labels = (
        stored_labels == list(labels)
        or (labels is _ENDS and not token_head)  # whatever the names of the two scores
        or (is_whole and _reorder(model, stored[-1], stored_labels, labels))
    )
    if stored and not is_for_labels:
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            fresh = dict(model_class._from_config(model.config).named_parameters())
            for name in stored:
                model.get_parameter(name).copy_(fresh[name])
    return model, frozenset({*new, *outside}), is_whole and is_for_labels, token_head


def _check_whole(model: PreTrainedModel, new: set[str], unexpected: Sequence[str], folder: Path) -> None:
    """Refuse weights that lack a part of the encoder, or have more blocks; only the pooler, a part of the head, may be new."""
    blocks = _blocks(cast(PreTrainedModel, model.base_model))
    surplus = sorted(key for key in unexpected if blocks in key)
    if surplus:
        raise InputError(
            f"The weights in `{folder}` have `{surplus[0]}` ({len(surplus)} such parameters), which its `config.json`"
            f" does not have: it says {model.config.num_hidden_layers} layers. Check that the two belong together."
        )
    prefix = f"{model.base_model_prefix}."
    missing = sorted(name for name in new if name.startswith(prefix) and not name.startswith(f"{prefix}pooler."))
    if missing:
        raise InputError(
            f"The weights in `{folder}` lack `{missing[0]}` ({len(missing)} such parameters, or in other shapes), so they are"
            f" not those of a whole `{model.config.model_type}`. Check that `config.json` and the weights belong together."
        )


def _reorder(model: PreTrainedModel, last: str, stored_labels: Sequence[str], labels: Sequence[str]) -> bool:
    """Put the rows of a head's output, which has the parameter `last`, into the order of `labels`.

    Returns False, with nothing changed, where these are not the stored labels, each once, or the rows are not theirs.
    """
    output = model.get_submodule(last.rpartition(".")[0])
    rows = list(output.parameters(recurse=False))
    n = len(stored_labels)
    if sorted(stored_labels) != sorted(labels) or len({*labels}) < n or any(len(parameter) != n for parameter in rows):
        return False
    with torch.no_grad():
        for parameter in rows:
            parameter.copy_(parameter[[stored_labels.index(label) for label in labels]].clone())
    return True


def _max_tokens(base: PreTrainedModel) -> int:
    """Return how many positions an encoder has; RoBERTa and similar models start theirs after the padding index."""
    positions = int(getattr(base.config, "max_position_embeddings", None) or 0)
    positions = positions if positions > 0 else 2**31 - 1  # XLNet's configuration has -1
    for name, module in base.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return positions - module.padding_idx - 1
    return positions
