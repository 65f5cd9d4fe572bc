"""Loading an encoder: the bundled one, a local folder, or a name on the hub; safetensors only, never remote code."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import snapshot_download
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from distxfer._durable import RESULT, check_folder, file_digest
from distxfer.encoders._bundled import BUNDLED, bundled_folder
from distxfer.encoders._check import check_architecture, check_inputs, check_size, fit_tokenizer, pad_apart, words_of
from distxfer.encoders._encoded import Pooling
from distxfer.encoders._encoder import Encoder, Output
from distxfer.encoders._heads import Head, head_for
from distxfer.encoders._quiet import quiet
from distxfer.encoders._shards import shards_of
from distxfer.errors import InputError, did_you_mean, reason

_NO_HEAD: dict[Output, str] = {
    "text": "a classification head",
    "token": "a head for tokens",
    "span": "a head for answers",
    "state": "a classification head",
}
_UNKNOWN = "\U000f0000"  # a private-use character, unknown to every tokenizer
_ENDS = ("start", "end")  # the two scores of a token, where the output is a span
_NOT_NEEDED = ["[!1]*/*", "1*/*/*", "*.bin", "*.pt", "*.pth", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.ckpt"]


def model_folder(name: str, revision: str = "") -> Path:
    """Return the local folder of an encoder: the bundled one, a folder as it stands, or a snapshot from the hub.

    Raises InputError where the folder has no safetensors weights, or the hub does not have or give the model.
    """
    if name == BUNDLED:
        return bundled_folder()
    folder = Path(name).expanduser()
    if folder.is_dir():
        check_folder(folder)
    else:
        if (folder.parent / RESULT).is_file():
            raise InputError(
                f"The model `{name}` does not exist: it was removed from its run. Train the run anew with `--again`, or give"
                " another model."
            )
        if name.startswith((".", "/", "~", "bundled/")) or name.count("/") > 1:
            raise InputError(
                f"The model `{name}` does not exist.{did_you_mean(name, [BUNDLED])} Give a folder,"
                f" a name on the Hugging Face hub, or `{BUNDLED}`."
            )
        folder = _snapshot(name, revision)
    if not (folder / "config.json").is_file():
        raise InputError(
            f"The model folder `{folder}` has no `config.json`. Save a model there with `save_pretrained`."
        )
    if not shards_of(folder):
        pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
        available = (
            f"only the pickled weights `{pickled[0]}`, which can run code when loaded" if pickled else "no weights"
        )
        raise InputError(
            f"The model folder `{folder}` has {available}; expected `model.safetensors`."
            " Save the model again with `save_pretrained`, which writes safetensors."
        )
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"The model folder `{folder}` has a `config.json` and an `adapter_config.json`, so that its weights would come from"
            " somewhere else. Keep a whole model and adapters in folders of their own."
        )
    return folder


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of an encoder's files (weights, configuration, tokenizer), by name and content."""
    digest = hashlib.sha256()
    top = {path for path in folder.iterdir() if path.suffix in {".safetensors", ".json", ".model", ".txt"}}
    for path in sorted(top | shards_of(folder)):
        if path.name != "manifest.json":
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(bytes.fromhex(file_digest(path)))
    return digest.hexdigest()


def load_encoder(
    name: str,
    folder: Path,
    labels: Sequence[str],
    *,
    seed: int,
    output: Output = "text",
    pooling: Pooling = "mean",
    train_word_embeddings: bool = False,
    drop_last_layers: int = 0,
    gradient_checkpointing: bool = False,
    fingerprint: str = "",
    device: torch.device | None = None,
) -> Encoder:
    """Load the encoder in `folder` with a head for `labels`; the head's initial weights depend on `seed` alone.

    `output` is the head's output: one of the labels for each text or each token, or the start and end of a span.

    The uppermost `drop_last_layers` blocks are dropped. With `gradient_checkpointing` blocks keep only their input, and are
    recomputed in the backward pass. `fingerprint` is stored, to recognise measurements of other files.

    Raises InputError where the folder holds no encoder that Transformers can load in full with such a head, or no block
    would be left.
    """
    labels = _ENDS if output == "span" else labels or ["none"]  # without labels, the head is not used
    head_class = _head_of(folder, output)
    model, head, head_is_loaded = _whole_model(folder, labels, seed, head_class)
    base = cast(PreTrainedModel, model.base_model)
    check_inputs(base, name)
    blocks = _blocks(base)
    _drop_last(model, base, blocks, drop_last_layers)
    if gradient_checkpointing:
        _checkpoint_gradients(model)
    tokenizer = load_tokenizer(folder)
    fit_tokenizer(tokenizer, base, name)
    if output == "text" and not head_class.of_tokens:
        pad_apart(tokenizer, words_of(base))
    model.config.pad_token_id = tokenizer.pad_token_id
    if name != BUNDLED and not Path(name).expanduser().is_dir():
        model.name_or_path = name
    device = device or torch.device("cpu")
    encoder = Encoder(
        name=name,
        model=cast(nn.Module, model).to(device),
        tokenizer=tokenizer,
        base=base,
        layers=int(model.config.num_hidden_layers),
        blocks=f"{base.base_model_prefix}.{blocks}",
        below=_below(model, f"{base.base_model_prefix}.{blocks}"),
        max_tokens=_max_tokens(base),
        embeddings=next(
            key for key, weight in model.named_parameters() if weight is base.get_input_embeddings().weight
        ),
        head=head,
        head_is_loaded=head_is_loaded,
        output=output,
        token_head=head_class.of_tokens,
        pooling=pooling,
        train_word_embeddings=train_word_embeddings,
        gradient_checkpointing=gradient_checkpointing,
        fingerprint=fingerprint,
        dropped=drop_last_layers,
        device=device,
    )
    encoder.causal = check_architecture(encoder)
    return encoder


def _head_of(folder: Path, output: Output) -> Head:
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a configuration's class may raise anything for odd values; the cause is kept
        raise InputError(f"`{folder / 'config.json'}` is not a model's configuration: {reason(error)}.") from error
    head = head_for(config, output)
    if head is None:
        raise InputError(
            f"The model in `{folder}` is a `{config.model_type}`, which has no encoder with {_NO_HEAD[output]}."
            " Choose an encoder (BERT, XLM-R, DeBERTa, ModernBERT, mT5 ...) or a decoder (Qwen2, Llama ...)."
        )
    return head


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a folder, padding on the right; raises InputError for one that is missing or has no words."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        words = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
        inputs = tokenizer(_UNKNOWN)  # without a token for unknown words, some tokenizers raise
    except Exception as error:  # tokenizers raises the bare class; the cause is kept
        raise InputError(
            f"The model folder `{folder}` has no tokenizer that loads: {reason(error)}."
            " Save it there with `tokenizer.save_pretrained`."
        ) from error
    if not words:  # Transformers creates an empty one without files
        raise InputError(
            f"The model folder `{folder}` has no tokenizer that knows any word."
            " Save it there with `tokenizer.save_pretrained`."
        )
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


def _below(model: PreTrainedModel, blocks: str) -> frozenset[str]:
    """Return the names of the parameters before the blocks."""
    order = [key for key, _ in model.named_parameters()]
    first = next(place for place, key in enumerate(order) if key.startswith(blocks))
    return frozenset(order[:first])


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
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if hasattr(model, "_require_grads_hook"):
        # Transformers makes the embeddings' output require a gradient, for reentrant checkpointing. Here, gradients would pass
        # through frozen blocks, and a term below all trainable layers would seem to have an effect.
        model.disable_input_require_grads()


def _head(model: PreTrainedModel, info: dict[str, Any]) -> frozenset[str]:
    """Return the parameters that are not in the checkpoint (or in another shape), and all outside the base."""
    prefix = f"{model.base_model_prefix}."
    outside = {name for name, _ in model.named_parameters() if not name.startswith(prefix)}
    return frozenset(_new(info) | outside)


def _whole_model(
    folder: Path, labels: Sequence[str], seed: int, head: Head
) -> tuple[PreTrainedModel, frozenset[str], bool]:
    """Return the classifier in a folder, the parameters that are not from it, and whether its head is the checkpoint's."""
    model, info = _load_model(folder, labels, seed, head)
    new = _head(model, info)
    head_is_loaded = _renew_head(model, info, folder, labels, seed, head)
    _check_whole(model, new, info, folder)
    return model, new, head_is_loaded


def _load_model(folder: Path, labels: Sequence[str], seed: int, head: Head) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return the classifier in a folder, with new weights drawn from `seed`, and Transformers' loading report."""
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        try:
            check_size(folder, AutoConfig.from_pretrained(folder, trust_remote_code=False), head.fresh)
            model, info = head.load(
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
    return model, info


def _new(info: dict[str, Any]) -> set[str]:
    """Return the parameters that are not in the checkpoint, or in another shape."""
    mismatched = (key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"])
    return {str(key) for key in (*info["missing_keys"], *mismatched)}


def _renew_head(
    model: PreTrainedModel, info: dict[str, Any], folder: Path, labels: Sequence[str], seed: int, head: Head
) -> bool:
    """Replace the checkpoint's head, unless it is for these labels, or for question answering.

    Labels are compared by name; the rows of a head for the same labels in another order are reordered. Returns whether the
    model has the checkpoint's complete head.
    """
    new = _new(info)
    prefix = f"{model.base_model_prefix}."
    stored = [name for name, _ in model.named_parameters() if not name.startswith(prefix) and name not in new]
    if not stored:
        return False
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    answers = labels is _ENDS and not head.of_tokens  # whatever the names of its two scores
    stored_labels = [str(config.id2label[key]) for key in sorted(config.id2label)]
    if answers or stored_labels == list(labels) or (not new and _reorder(model, stored[-1], stored_labels, labels)):
        return not new
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        fresh = dict(head.fresh(model.config).named_parameters())
        for name in stored:
            model.get_parameter(name).copy_(fresh[name])
    return False


def _reorder(model: PreTrainedModel, last: str, stored_labels: Sequence[str], labels: Sequence[str]) -> bool:
    """Put the rows of a head's output, which has the parameter `last`, from the order `known` into that of `labels`.

    Returns False, with nothing changed, where these are not the same labels, each once, or the rows are not theirs.
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
    positions = positions if positions > 0 else 2**31 - 1  # XLNet says -1
    for name, module in base.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return positions - module.padding_idx - 1
    return positions


def _check_whole(model: PreTrainedModel, head: frozenset[str], info: dict[str, Any], folder: Path) -> None:
    """Refuse weights that lack a part of the encoder, or have more blocks; only the pooler, a part of the head, may be new."""
    blocks = _blocks(cast(PreTrainedModel, model.base_model))
    unexpected = sorted(key for key in map(str, info["unexpected_keys"]) if blocks in key)
    if unexpected:
        raise InputError(
            f"The weights in `{folder}` have `{unexpected[0]}` ({len(unexpected)} such parameters), which its `config.json`"
            f" does not have: it says {model.config.num_hidden_layers} layers. Check that the two belong together."
        )
    prefix = f"{model.base_model_prefix}."
    new = sorted(name for name in head if name.startswith(prefix) and not name.startswith(f"{prefix}pooler."))
    if new:
        raise InputError(
            f"The weights in `{folder}` lack `{new[0]}` ({len(new)} such parameters, or in other shapes), so they are not"
            f" those of a whole `{model.config.model_type}`. Check that `config.json` and the weights belong together."
        )


def _snapshot(name: str, revision: str) -> Path:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision or None, ignore_patterns=_NOT_NEEDED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"The model `{name}` is no local folder, and the Hugging Face hub did not give it ({reason(error)}.)."
            f"{did_you_mean(name, [BUNDLED])} Check the name and the connection, or use `{BUNDLED}`."
        ) from error
