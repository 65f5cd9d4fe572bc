"""Loading an encoder: the bundled one, a local folder, or a name on the hub; safetensors only, no remote code ever."""

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
_UNKNOWN = "\U000f0000"  # for private use: no tokenizer knows it as a word
_ENDS = ("start", "end")  # what the head scores of a token, where the output is a span
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
        found = f"only the pickled weights `{pickled[0]}`, which can run code when loaded" if pickled else "no weights"
        raise InputError(
            f"The model folder `{folder}` has {found}; expected `model.safetensors`."
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

    `output` is what the head says: one of the labels for each text or each token, or where a span starts and ends.

    `drop_last_layers` of its uppermost blocks are left out, as if the encoder ended below them. With
    `gradient_checkpointing` a block keeps its input alone for the way back, and computes the rest again there.
    `fingerprint` is kept with it, to tell what was measured of another one.

    Raises InputError where the folder holds no encoder that Transformers can load whole with such a head, or none of its
    blocks would be left.
    """
    labels = _ENDS if output == "span" else labels or ["none"]  # without labels, the head is one that nobody looks at
    head_class = _head_of(folder, output)
    model, head, kept = _whole_model(folder, labels, seed, head_class)
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
        embeddings=next(key for key, one in model.named_parameters() if one is base.get_input_embeddings().weight),
        head=head,
        head_is_loaded=kept,
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
    except Exception as error:  # whatever a configuration's own class raises over odd values; the cause is kept
        raise InputError(f"`{folder / 'config.json'}` is not a model's configuration: {reason(error)}.") from error
    head = head_for(config, output)
    if head is None:
        raise InputError(
            f"The model in `{folder}` is a `{config.model_type}`, which has no encoder with {_NO_HEAD[output]}."
            " Choose an encoder (BERT, XLM-R, DeBERTa, ModernBERT, mT5 ...) or a decoder (Qwen2, Llama ...)."
        )
    return head


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a folder, padding on the right; raises InputError where there is none that knows a word."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        words = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
        inputs = tokenizer(_UNKNOWN)  # without a token for what is unknown, some tokenizers raise
    except Exception as error:  # tokenizers raises the bare class; the cause is kept
        raise InputError(
            f"The model folder `{folder}` has no tokenizer that loads: {reason(error)}."
            " Save it there with `tokenizer.save_pretrained`."
        ) from error
    if not words:  # Transformers makes one up without files
        raise InputError(
            f"The model folder `{folder}` has no tokenizer that knows any word."
            " Save it there with `tokenizer.save_pretrained`."
        )
    if missing := {"input_ids", "attention_mask"} - inputs.keys():
        raise InputError(
            f"The tokenizer in `{folder}` returns no `{min(missing)}`. Set `model_input_names` in `tokenizer_config.json` to"
            ' `["input_ids", "attention_mask"]`.'
        )
    tokenizer.padding_side = "right"  # the first token is a token, and positions do not depend on the padding
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
        name: sum(one.numel() for one in module.parameters())
        for name, module in base.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    }
    if sizes:  # a list inside a block, or beside the blocks, holds less than they do
        return f"{max(sizes, key=lambda name: sizes[name])}."
    blocks = f"list of {depth} blocks" if isinstance(depth, int) and depth > 0 else "single list of blocks"
    raise InputError(f"`{base.config.model_type}` has no {blocks}, so its layers cannot be told apart.")


def _below(model: PreTrainedModel, blocks: str) -> frozenset[str]:
    """Return the names of the parameters that stand before the blocks."""
    order = [key for key, _ in model.named_parameters()]
    first = next(place for place, key in enumerate(order) if key.startswith(blocks))
    return frozenset(order[:first])


def _drop_last(model: PreTrainedModel, base: PreTrainedModel, blocks: str, count: int) -> None:
    """Leave out the uppermost blocks, and say so in the configuration, so that the saved model has none of them."""
    if not count:
        return
    depth = int(model.config.num_hidden_layers)
    if count >= depth:
        raise InputError(
            f"`drop_last_layers` is `{count}`, but this encoder has {depth} blocks. Leave it at least one of them."
        )
    del cast(nn.ModuleList, base.get_submodule(blocks.rstrip(".")))[depth - count :]
    for config in (model.config, base.config):
        config.num_hidden_layers = depth - count
        if getattr(config, "layer_types", None):  # which attention each block has, where they differ
            config.layer_types = config.layer_types[: depth - count]


def _checkpoint_gradients(model: PreTrainedModel) -> None:
    """Let the blocks be computed again on the way back; raises InputError for an architecture that cannot do that."""
    if not model.supports_gradient_checkpointing:
        raise InputError(
            f"`model.gradient_checkpointing` is `true`, but a `{model.config.model_type}` cannot compute its blocks again on"
            " the way back. Set it to false, and lower `phase.finetune.batch_size` (with more `accumulation`)."
        )
    if getattr(model.config, "use_cache", False):  # of keys and values, which only generating needs
        model.config.use_cache = False
    with warnings.catch_warnings():
        # Transformers 5.23 has a new name for it, which 5.0 does not know.
        warnings.filterwarnings("ignore", "`gradient_checkpointing_enable` is deprecated", FutureWarning)
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if hasattr(model, "_require_grads_hook"):
        # Transformers has what leaves the embeddings require a gradient, as reentrant checkpointing needs it. Here, it would go
        # back through blocks that do not train, and a term whose layer lies below all that trains would seem to train something.
        model.disable_input_require_grads()


def _head(model: PreTrainedModel, info: dict[str, Any]) -> frozenset[str]:
    """Return the parameters that the checkpoint did not bring (or in another shape), and all outside the base."""
    prefix = f"{model.base_model_prefix}."
    outside = {name for name, _ in model.named_parameters() if not name.startswith(prefix)}
    return frozenset(_new(info) | outside)


def _whole_model(
    folder: Path, labels: Sequence[str], seed: int, head: Head
) -> tuple[PreTrainedModel, frozenset[str], bool]:
    """Return the classifier in a folder, the parameters that no checkpoint brought, and whether its head is the checkpoint's."""
    model, info = _load_model(folder, labels, seed, head)
    new = _head(model, info)
    kept = _renew_head(model, info, folder, labels, seed, head)
    _check_whole(model, new, info, folder)
    return model, new, kept


def _load_model(folder: Path, labels: Sequence[str], seed: int, head: Head) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return the classifier in a folder, its new weights drawn from `seed`, and what loading said of its weights."""
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
        except Exception as error:  # whatever an architecture's own code raises over odd values; the cause is kept
            raise InputError(f"The model folder `{folder}` does not load: {reason(error)}.") from error
    return model, info


def _new(info: dict[str, Any]) -> set[str]:
    """Return the parameters that the checkpoint did not bring, or in another shape."""
    mismatched = (key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"])
    return {str(key) for key in (*info["missing_keys"], *mismatched)}


def _renew_head(
    model: PreTrainedModel, info: dict[str, Any], folder: Path, labels: Sequence[str], seed: int, head: Head
) -> bool:
    """Replace a head that the checkpoint brought, unless it is one for these very labels, or for answers.

    The labels go by their names: of a head for the same ones in another order, the output's rows are put in this order.
    Returns whether the model now has the checkpoint's head, whole.
    """
    new = _new(info)
    prefix = f"{model.base_model_prefix}."
    brought = [name for name, _ in model.named_parameters() if not name.startswith(prefix) and name not in new]
    if not brought:
        return False
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    answers = labels is _ENDS and not head.of_tokens  # whatever its two scores are called
    known = [str(config.id2label[key]) for key in sorted(config.id2label)]
    if answers or known == list(labels) or (not new and _reorder(model, brought[-1], known, labels)):
        return not new
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        fresh = dict(head.fresh(model.config).named_parameters())
        for name in brought:
            model.get_parameter(name).copy_(fresh[name])
    return False


def _reorder(model: PreTrainedModel, last: str, known: Sequence[str], labels: Sequence[str]) -> bool:
    """Put the rows of a head's output, which has the parameter `last`, from the order `known` into that of `labels`.

    Returns False, with nothing changed, where these are not the same labels, each once, or the rows are not theirs.
    """
    output = model.get_submodule(last.rpartition(".")[0])
    rows = list(output.parameters(recurse=False))
    if sorted(known) != sorted(labels) or len({*known}) < len(known) or any(len(one) != len(known) for one in rows):
        return False
    with torch.no_grad():
        for one in rows:
            one.copy_(one[[known.index(label) for label in labels]].clone())
    return True


def _max_tokens(base: PreTrainedModel) -> int:
    """Return how many positions an encoder has; RoBERTa and its kin count theirs from behind the padding."""
    positions = int(getattr(base.config, "max_position_embeddings", None) or 0)
    positions = positions if positions > 0 else 2**31 - 1  # XLNet says -1
    for name, module in base.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return positions - module.padding_idx - 1
    return positions


def _check_whole(model: PreTrainedModel, head: frozenset[str], info: dict[str, Any], folder: Path) -> None:
    """Refuse weights that lack a part of the encoder, or have more blocks; only a pooler may be new: it is the head's."""
    blocks = _blocks(cast(PreTrainedModel, model.base_model))
    more = sorted(key for key in map(str, info["unexpected_keys"]) if blocks in key)
    if more:
        raise InputError(
            f"The weights in `{folder}` have `{more[0]}` ({len(more)} such parameters), which its `config.json` knows"
            f" nothing of: it says {model.config.num_hidden_layers} layers. Check that the two belong together."
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
