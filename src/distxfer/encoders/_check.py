"""Checks of an architecture before its layers are numbered, pooled, frozen and trained, on two short texts.

Transformers guarantees none of these properties, so they are tested: one forward pass of each text, one of both in a
batch, and one backward pass. Weights, gradients and random state are restored.
"""

import inspect
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from distxfer.encoders._contexts import evaluating, quiet
from distxfer.encoders._encoded import Encoded
from distxfer.encoders._encoder import Encoder
from distxfer.encoders._folders import shards_of
from distxfer.errors import InputError, listed, reason

_TEXTS: tuple[tuple[str, str | None], ...] = (
    ("The old boat has left.", None),
    ("A bird sings in the tall green tree.", "Nobody reads 7 letters."),
)
_TOKENS = 24  # of a text at most
_TOLERANCE = 1e-3  # relative, between a text alone and in a padded batch; rounding gives 1e-6
_LARGER = 2  # the largest ratio of a configuration's parameters to the stored numbers
_LANGUAGE_INPUTS = ("lang_ids", "langs")
_NUMBERED = re.compile(r"(?:^|\.)\d+(?:\.|$)")


class _Unfit(Exception):
    """The architecture lacks a property that distxfer relies on."""


@contextmanager
def _naming(name: str, config: PreTrainedConfig) -> Iterator[None]:
    """Turn _Unfit into an InputError that names the model and its architecture."""
    try:
        yield
    except _Unfit as error:
        raise InputError(
            f"The model in `{name}` is a `{config.model_type}`, which {error}."
            " Choose another encoder; docs/models.md lists those that are tested."
        ) from error


def check_inputs(base: PreTrainedModel, name: str) -> None:
    """Raise InputError for an encoder that reads no text, or needs the language of each text."""
    config, reads = base.config, inspect.signature(base.forward).parameters
    with _naming(name, config):
        if "input_ids" not in reads or "attention_mask" not in reads:
            raise _Unfit("does not read token ids with an attention mask")
        if not isinstance(getattr(config, "hidden_size", None), int):
            raise _Unfit("has no single `hidden_size`")
        if not words_of(base):
            raise _Unfit("has no single matrix of word embeddings")
        languages = next((key for key in _LANGUAGE_INPUTS if key in reads), "")
        number = len(getattr(config, "languages", ())) or int(getattr(config, "n_langs", 1))
        if languages and number > 1:
            raise _Unfit(
                f"needs the language of each text (`{languages}`, {number} languages), which is not passed to it"
            )


def words_of(base: PreTrainedModel) -> int:
    """Return the number of word embeddings of an encoder; 0 where it has no single matrix of them."""
    try:
        words = base.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return 0
    return words.num_embeddings if isinstance(words, nn.Embedding) else 0


def check_size(folder: Path, config: PreTrainedConfig, model_class: Any) -> None:
    """Raise InputError for a configuration whose model would be far larger than the stored weights."""
    tensors, elements = 0, 0
    for path in shards_of(folder):
        with safe_open(path, framework="pt") as stored:
            for key in stored.keys():  # noqa: SIM118 - no mapping
                tensors, elements = tensors + 1, elements + math.prod(stored.get_slice(key).get_shape())
    layers = getattr(config, "num_hidden_layers", 0)
    mismatch = f"`{folder / 'config.json'}` and the weights beside it do not belong together: the configuration"
    if isinstance(layers, int) and layers > tensors:
        raise InputError(f"{mismatch} has {layers} layers, and the weights {tensors} tensors. Save the model again.")
    with torch.device("meta"), quiet():
        needed = sum(parameter.numel() for parameter in model_class._from_config(config).base_model.parameters())
    if needed > _LARGER * elements + 10**6:
        raise InputError(f"{mismatch} needs {needed} numbers, and the weights hold {elements}. Save the model again.")


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, base: PreTrainedModel, name: str) -> None:
    """Restrict the tokenizer to the encoder's inputs: no token types where it has at most one type.

    Raises InputError for a tokenizer with tokens that have no embedding.
    """
    reads = {*inspect.signature(base.forward).parameters}
    if int(getattr(base.config, "type_vocab_size", 0) or 0) < 2:
        reads.discard("token_type_ids")
    tokenizer.model_input_names = [key for key in tokenizer.model_input_names if key in reads]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # the saved configuration
    rows = words_of(base)
    rare = {key for key, token in tokenizer.added_tokens_decoder.items() if token.special}
    produced = {token for texts in _TEXTS for token in tokenizer(*texts)["input_ids"]} | {tokenizer.pad_token_id}
    beyond = [(number, token) for token, number in tokenizer.get_vocab().items() if number >= rows]
    for number, token in sorted(beyond, reverse=True):
        if number not in rare or number in produced:
            raise InputError(
                f"The tokenizer of `{name}` has the token `{token[:40]}` with the id {number}, and the encoder has embeddings"
                f" for the ids 0 to {rows - 1} alone. Save the tokenizer that belongs to these weights."
            )


def pad_apart(tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Pad with a token that ends no text: a decoder's head reads the last token that is not the padding token.

    Without another special token, `check_architecture` reports the consequence.
    """
    token_ids = [tokenizer(*texts)["input_ids"] for texts in _TEXTS]
    unknown = tokenizer.pad_token_id == tokenizer.unk_token_id  # which may end a text as well
    if not unknown and all(ids and ids[-1] != tokenizer.pad_token_id for ids in token_ids):
        return
    used = {token for ids in token_ids for token in ids}
    for token in tokenizer.all_special_tokens:
        number = cast(int, tokenizer.convert_tokens_to_ids(token))
        if number not in used and number < rows and number != tokenizer.unk_token_id:
            tokenizer.pad_token = token
            return


def check_architecture(encoder: Encoder) -> bool:
    """Return whether the encoder is causal, so that no state of a token depends on a later token.

    With n blocks, two short texts (the second a pair) and every output pooled:

    - Every parameter with a number in its name belongs to the block of that number alone.
    - There are n + 1 hidden states, (texts, tokens, d); that of layer k < n is the output of block k.
    - Gradients reach every block, the head, and layer 0 from the output. All weights are finite.
    - A text's states and logits do not depend on a longer text in its batch, within 0.001 of their norm.
    - The head for texts reads a token that depends on the text; with `last`, the pooled token.

    Raises InputError, in one line that names the architecture, where a property does not hold.
    """
    for name, weights in encoder.model.named_parameters():
        if weights.numel() and not all(bool(end.isfinite()) for end in torch.aminmax(weights.detach())):
            raise InputError(
                f"The weights of `{encoder.name}` are damaged: `{name}` has NaN or infinity. Get the model again."
            )
    encoder = replace(encoder, packs=False)  # the blocks' outputs are compared as they are without packing
    with torch.random.fork_rng(), evaluating(encoder.model), _naming(encoder.name, encoder.base.config):
        _check_places(encoder)
        return _check_passes(encoder)


def _check_places(encoder: Encoder) -> None:
    """Raise _Unfit unless the names of parameters match their blocks, as freezing by layers needs."""
    blocks = [{id(parameter) for parameter in block.parameters()} for block in encoder.block_modules()]
    if len(blocks) != encoder.layers or sum(map(len, blocks)) != len(set().union(*blocks)):
        raise _Unfit("shares weights between its layers, so that they cannot be frozen or measured separately")
    for name, parameter in encoder.model.named_parameters():
        place = encoder.place(name)
        inside = [number for number, ids in enumerate(blocks, 1) if id(parameter) in ids]
        if inside != ([place] if isinstance(place, int) else []):
            raise _Unfit(
                f"has the parameter `{name}` in block {listed(inside) or 'none'}, but its name means `{place}`"
            )
        if place in ("embeddings", "final") and _NUMBERED.search(name):
            raise _Unfit(f"has the numbered parameter `{name}` outside of its {encoder.layers} layers")


def _check_passes(encoder: Encoder) -> bool:
    alone = [_inputs(encoder, [text]) for text in _TEXTS]
    with _returned(encoder.block_modules()) as returned:
        together = _classified(encoder, _inputs(encoder, _TEXTS))
    _check_hidden(encoder, together, returned)
    mask = together.mask
    for row, inputs in enumerate(alone):
        single = _classified(encoder, inputs, gradient=False)
        length = int(mask[row].sum())
        if inputs["input_ids"].shape[1] != length:
            raise _Unfit("has a tokenizer that does not mark its padding in the attention mask")
        pairs = list(zip(single.pooled_layers()[:, 0], together.pooled_layers()[:, row], strict=True))
        logits, padded_logits = cast(Tensor, single.logits)[0], cast(Tensor, together.logits)[row]
        pairs.append((logits, padded_logits[:length] if encoder.output in ("token", "span") else padded_logits))
        if not all(_close(first.detach(), second.detach()) for first, second in pairs):
            raise _Unfit(
                "gives a text other states in a batch with a longer one, so that padding would change measurements"
            )
    causal = not _reaches(together.hidden[-1][1, 0], together.hidden[0])[1, 1:].any()
    if not _reaches(together.hidden[-1][1, -1], together.hidden[0])[1, :-1].any():  # the longer text
        raise _Unfit("has a last token that does not depend on the others")
    _check_head(encoder, together, causal=causal)
    _check_gradients(encoder, cast(Tensor, together.logits))
    return causal


def _inputs(encoder: Encoder, texts: Any) -> dict[str, Tensor]:
    cut = {"truncation": True, "max_length": min(_TOKENS, encoder.max_tokens)}
    rows = [encoder.tokenizer(*text, **cut) for text in texts]
    encoded = encoder.tokenizer.pad({key: [row[key] for row in rows] for key in rows[0]}, return_tensors="pt")
    if encoded["attention_mask"].sum(1).min() < 1:
        raise InputError(f"The tokenizer of `{encoder.name}` makes no token of `{_TEXTS[0][0]}`.")
    return {name: tensor.to(encoder.device) for name, tensor in encoded.items()}


def _classified(encoder: Encoder, inputs: Mapping[str, Tensor], *, gradient: bool = True) -> Encoded:
    try:
        with torch.set_grad_enabled(gradient):
            return encoder.classify(inputs)
    except Exception as error:  # an architecture's code may raise anything; the cause is kept
        raise _Unfit(f"cannot read two short texts ({type(error).__name__}: {reason(error)[:200]})") from error


def _check_hidden(encoder: Encoder, encoded: Encoded, returned: Mapping[int, Tensor]) -> None:
    shape = (*encoded.mask.shape, encoder.hidden_size)
    if [tuple(states.shape) for states in encoded.hidden] != [shape] * (encoder.layers + 1):
        raise _Unfit(f"does not give {encoder.layers + 1} hidden states of the shape (texts, tokens, {shape[-1]})")
    for number in range(1, encoder.layers):
        block = returned.get(number)
        # A block may return more tokens: Longformer pads to whole windows.
        block = None if block is None else block.detach()[:, : shape[1]]
        if block is None or block.shape != shape or not _close(block, encoded.hidden[number].detach()):
            raise _Unfit(f"returns other hidden states for layer {number} than its block {number}")


def _check_head(encoder: Encoder, encoded: Encoded, *, causal: bool) -> None:
    """Raise _Unfit where a head for texts reads a state that does not depend on the text, or not the pooled one."""
    if encoder.output != "text":
        return
    lengths = encoded.mask.sum(1).tolist()
    for row, length in enumerate(lengths):
        read = _reaches(cast(Tensor, encoded.logits)[row], encoded.hidden[-1])[row].nonzero().flatten().tolist()
        if not read:
            raise _Unfit("has a head that does not read the states of the last layer")
        if causal and read == [0]:
            raise _Unfit("classifies the first token, which does not depend on the others")
        if encoder.pooling == "last" and read != [length - 1]:
            tokens = f"token {read[0] + 1}" if len(read) == 1 else f"{len(read)} tokens"
            raise _Unfit(
                f"has a head that reads {tokens} of a text of {length}, but `model.pooling` = `last` pools the last token, so"
                " that the pooled state would not be the classified one"
            )
    if causal and encoder.pooling == "cls":
        raise _Unfit(
            "reads from left to right, so that the first token, which `model.pooling` = `cls` pools, does not depend on the text"
        )


def _check_gradients(encoder: Encoder, logits: Tensor) -> None:
    """Raise _Unfit unless the gradient of the output reaches every block and the head; gradients are dropped.

    The embeddings get none: that of the words is the largest tensor of all, and `_check_passes` has shown the way to layer 0.
    """
    reached: set[object] = set()
    head = {name for name in encoder.head if encoder.output != "state"}
    places = {id(parameter): encoder.place(name) for name, parameter in encoder.model.named_parameters()}

    def record(parameter: Tensor) -> None:
        gradient = cast(Tensor, parameter.grad)
        ends = torch.stack(torch.aminmax(gradient))  # NaN where any is
        if bool(ends.isfinite().all()) and bool(ends.any()):
            reached.add(places[id(parameter)])
        parameter.grad = None

    weights: list[Any] = [
        parameter
        for parameter in encoder.model.parameters()
        if parameter.requires_grad and places[id(parameter)] != "embeddings"
    ]
    hooks = [parameter.register_post_accumulate_grad_hook(record) for parameter in weights]
    try:
        _weighed(logits).backward(inputs=weights)  # type: ignore[no-untyped-call]
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in weights:
            parameter.grad = None
    for place in (*range(1, encoder.layers + 1), *(["head"] if head else [])):
        if place not in reached:
            raise _Unfit(f"has no gradient in {f'layer {place}' if place != 'head' else 'its head'}")


def _reaches(output: Tensor, states: Tensor) -> Tensor:
    """Return which tokens' states an output depends on, (texts, tokens)."""
    (gradient,) = torch.autograd.grad(_weighed(output), states, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise _Unfit("computes its output from other states than it returns")
    return gradient.abs().sum(-1) > 0


def _weighed(output: Tensor) -> Tensor:
    """Return a weighted sum that a final normalisation does not make constant."""
    return (output * torch.linspace(-1, 1, output.shape[-1] + 1, device=output.device)[1:] ** 3).sum()


def _close(first: Tensor, second: Tensor) -> bool:
    return bool((first - second).norm() <= _TOLERANCE * second.norm() + 1e-6)


@contextmanager
def _returned(blocks: list[nn.Module]) -> Iterator[dict[int, Tensor]]:
    """Collect the output of each block, by its number from 1."""
    outputs: dict[int, Tensor] = {}

    def keep(number: int, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) else output
        if isinstance(first, Tensor):
            outputs[number] = first

    hooks = [
        block.register_forward_hook(lambda _, __, output, number=number: keep(number, output))
        for number, block in enumerate(blocks, 1)
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
