"""Forward passes without padding: the blocks of an encoder read the tokens of a batch as one row.

Linear maps, norms and activations, almost all of the work, run on the tokens alone. Attention alone needs the texts apart,
and pads its queries, keys and values for itself. States and gradients are those of the padded batch, up to rounding.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar, Token
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_outputs import BaseModelOutput

from distxfer.encoders._dropout import dropout as fast_dropout
from distxfer.encoders._packed_types import PACKED_TYPES

Pooling = Literal["mean", "cls", "last"]
_NAME = "distxfer_packed"
_ACTIVE: ContextVar["Packing | None"] = ContextVar("packing", default=None)


@dataclass(frozen=True)
class Packing:
    """The places of a batch's N tokens among its n * width padded ones."""

    mask: Tensor  # (n, width), 1 for a token

    @cached_property
    def places(self) -> Tensor:
        """The token's places in the flattened batch, (N,)."""
        return self.mask.flatten().nonzero().flatten()

    @cached_property
    def rows(self) -> Tensor:
        """The number of each token's text, (N,)."""
        return self.places // self.mask.shape[1]

    @cached_property
    def lengths(self) -> Tensor:
        """The number of tokens of each text, (n,)."""
        return self.mask.sum(dim=1)

    @cached_property
    def firsts(self) -> Tensor:
        """The number of each text's first token, (n,)."""
        return self.lengths.cumsum(0) - self.lengths

    def pad(self, tokens: Tensor) -> Tensor:
        """Return (N, d) as (n, width, d), with 0 for padding."""
        padded: Tensor = _Pad.apply(tokens, self.places, self.mask.numel())  # type: ignore[no-untyped-call]
        return padded.view(*self.mask.shape, -1)

    def pack(self, padded: Tensor) -> Tensor:
        """Return (n, width, d) as (N, d)."""
        packed: Tensor = _Pack.apply(padded.flatten(0, 1), self.places)  # type: ignore[no-untyped-call]
        return packed


class _Pad(torch.autograd.Function):
    """Rows to their places in a larger matrix; the places differ, so that the gradient is a selection of rows."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, places: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(places)
        return tokens.new_zeros(size, tokens.shape[1]).index_copy_(0, places, tokens)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.index_select(0, *ctx.saved_tensors), None, None


class _Pack(torch.autograd.Function):
    """The inverse of `_Pad`, for which autograd would add where copying suffices."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = len(padded)
        return padded.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.size, gradient.shape[1]).index_copy_(0, places, gradient), None


class PackedStates(Sequence[Tensor]):
    """Hidden states of each layer, stored as (N, d) and read as (n, width, d)."""

    def __init__(self, packing: Packing, layers: Sequence[Tensor]) -> None:
        self.packing, self.layers = packing, layers

    def __len__(self) -> int:
        return len(self.layers)

    @overload
    def __getitem__(self, layer: int) -> Tensor: ...
    @overload
    def __getitem__(self, layer: slice) -> tuple[Tensor, ...]: ...
    def __getitem__(self, layer: int | slice) -> Tensor | tuple[Tensor, ...]:
        """Return the states of a layer, (n, width, d), or of some layers."""
        if isinstance(layer, slice):
            return tuple(map(self.packing.pad, self.layers[layer]))
        return self.packing.pad(self.layers[layer])

    def rows(self, rows: slice, width: int) -> "PackedStates":
        """Return the states of consecutive texts of at most `width` tokens."""
        packing = Packing(self.packing.mask[rows, :width])
        first = int(self.packing.lengths[: rows.start].sum())
        last = first + int(packing.lengths.sum())
        return PackedStates(packing, [tokens[first:last] for tokens in self.layers])

    def pooled(self, layer: int, pooling: Pooling) -> Tensor:
        """Return (n, d) of a layer, see `Encoded.pooled`."""
        packing, states = self.packing, self.layers[layer]
        exact = torch.promote_types(states.dtype, torch.float32)
        if pooling == "mean":
            sums = torch.zeros(len(packing.mask), states.shape[1], dtype=exact, device=states.device)
            return sums.index_add(0, packing.rows, states.to(exact)) / packing.lengths[:, None].to(exact)
        place = packing.firsts if pooling == "cls" else packing.firsts + packing.lengths - 1
        return states[place].to(exact)


def packs_texts(model: PreTrainedModel) -> bool:
    """Return whether the blocks of a model can read packed texts; if so, its attention is told about them from now on."""
    config = model.config
    able = config.model_type in PACKED_TYPES and config._attn_implementation == "sdpa" and not config.is_decoder
    if able:
        model.set_attn_implementation(_NAME)
    return able


@contextmanager
def packed(base: nn.Module, blocks: Sequence[nn.Module], mask: Tensor) -> Iterator[PackedStates]:
    """Have the `blocks` of `base` read packed texts in the forward pass of a padded batch with this mask, (n, width).

    The pass adds the states of every layer to what this yields, the embeddings' output first. What precedes and follows the
    blocks reads padded states.
    """
    packing = Packing(mask)
    states = PackedStates(packing, layers := [])

    def pack(module: nn.Module, arguments: object, output: Tensor) -> Tensor:
        layers.append(packing.pack(output))
        return layers[0][None]

    def record(module: nn.Module, arguments: object, output: Tensor) -> None:
        layers.append(output[0])

    def pad(module: nn.Module, arguments: object, output: BaseModelOutput) -> None:
        output.last_hidden_state = packing.pad(layers[-1])

    with ExitStack() as stack:
        hooks: list[tuple[nn.Module, Any]] = [
            (base.get_submodule("embeddings"), pack),
            *((block, record) for block in blocks),
        ]
        for module, hook in [*hooks, (base.get_submodule("encoder"), pad)]:
            stack.callback(module.register_forward_hook(hook).remove)
        stack.enter_context(_Active(packing))
        yield states


class _Active:
    """A context in which attention reads packed texts; it may be entered again, as by a second backward pass."""

    def __init__(self, packing: Packing | None) -> None:
        self._packing, self._tokens = packing, list[Token[Packing | None]]()

    def __enter__(self) -> None:
        self._tokens.append(_ACTIVE.set(self._packing))

    def __exit__(self, *error: object) -> None:
        _ACTIVE.reset(self._tokens.pop())


def recomputing() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of a block's computation and of its recomputation in the backward pass, see `checkpoint`."""
    return nullcontext(), _Active(_ACTIVE.get())


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Return the attention's output, (1, N, heads, d), of packed queries, keys and values, (1, heads, N, d)."""
    packing = _ACTIVE.get()
    if packing is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **settings
        )
    (_, heads, _, width), (n, tokens) = query.shape, packing.mask.shape

    def separate(states: Tensor) -> Tensor:
        return packing.pad(states[0].transpose(0, 1).flatten(1)).view(n, tokens, heads, width).transpose(1, 2)

    query, key, value, mask = separate(query), separate(key), separate(value), packing.mask[:, None, None].bool()
    if dropout:
        scores = (query @ key.mT * (scaling or width**-0.5)).masked_fill(~mask, -torch.inf)
        output = fast_dropout(scores.softmax(dim=-1), dropout) @ value
    else:
        output = scaled_dot_product_attention(query, key, value, mask, scale=scaling)
    return packing.pack(output.transpose(1, 2).flatten(2)).view(1, -1, heads, width), None


def _mask(*arguments: Any, **settings: Any) -> Tensor | None:
    """Return no mask for packed texts, which `_attention` masks by itself.

    For others there is one even where nothing is padded: to find that out, a GPU would have to be waited for.
    """
    return None if _ACTIVE.get() else sdpa_mask(*arguments, **{**settings, "allow_is_bidirectional_skip": False})


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, _mask)
