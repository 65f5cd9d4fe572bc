"""The frozen pretrained encoder that drift is measured from, with a memory of its states."""

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from distxfer.encoders._contexts import adapters_off, has_peft_adapters
from distxfer.encoders._encoded import Encoded

if TYPE_CHECKING:
    from peft import PeftModel

    from distxfer.encoders._encoder import Encoder

_SEEN_BYTES = 16  # of a digest
_MEMO_BYTES = 2 * 1024**3  # of states kept in memory; more are computed again


class Reference:
    """The frozen pretrained encoder in evaluation mode.

    With PEFT adapters it is the same model with the adapters off. Otherwise it is a copy outside of the optimiser, which
    shares the parameters that never change. Its states are kept in memory, up to 2 GiB, and the other texts of a batch are
    encoded. `forwards` counts its passes, without those that a resumed run repeats because its memory is empty.
    """

    def __init__(self, encoder: "Encoder", moves: Callable[[str], bool]) -> None:
        self.forwards = 0
        self._encoder = encoder
        self._memo: dict[Hashable, Tensor] = {}
        self._seen: dict[bytes, None] = {}  # digests of the texts whose states are, or before a stop were, in memory
        self._copy: Encoder | None = None
        if not has_peft_adapters(encoder.model):
            prefix = encoder.base_name
            shared = {id(p): p for name, p in encoder.base.named_parameters() if not moves(f"{prefix}.{name}")}
            base = copy.deepcopy(encoder.base, memo=dict(shared)).eval()
            self._copy = replace(encoder, model=base, base=base)
            for parameter in base.parameters():
                if id(parameter) not in shared:
                    parameter.requires_grad_(False)

    def states(self, keys: Sequence[Hashable], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the pooled states (layers + 1, n, d) of `n` texts, without a gradient; `keys` name the texts."""
        states = {key: self._memo[key] for key in keys if key in self._memo}
        if missing := [row for row, key in enumerate(keys) if key not in states]:
            digests = [blake2b(repr(keys[row]).encode(), digest_size=_SEEN_BYTES).digest() for row in missing]
            pooled = self.encode({name: tensor[missing] for name, tensor in inputs.items()}).pooled_layers()
            if all(digest in self._seen for digest in digests):
                self.forwards -= 1
            size = pooled[:, 0].numel() * pooled.element_size()
            for row, digest, state in zip(missing, digests, pooled.unbind(dim=1), strict=True):
                if digest not in self._seen and (len(self._seen) + 1) * size <= _MEMO_BYTES:
                    self._seen[digest] = None
                if digest in self._seen:
                    self._memo[keys[row]] = state.clone()
                states[keys[row]] = state
        return torch.stack([states[key] for key in keys], dim=1)

    def seen(self) -> bytes:
        """Return the digests of the texts in memory, for `restore`."""
        return b"".join(self._seen)

    def restore(self, seen: bytes) -> None:
        """Count passes as if the states of these texts were in memory."""
        self._seen = dict.fromkeys(seen[low : low + _SEEN_BYTES] for low in range(0, len(seen), _SEEN_BYTES))

    def encode(self, inputs: Mapping[str, Tensor]) -> Encoded:
        """Return the states of every token, computed anew, without a gradient."""
        self.forwards += 1
        with torch.no_grad():
            if self._copy is None:
                with adapters_off(cast("PeftModel", self._encoder.model)):
                    return self._encoder.encode(inputs)
            return self._copy.encode(inputs)
