"""A content-addressed cache of pooled hidden states: one forward pass per model and text serves all runs and measures."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from distxfer._cache import cache_folder, is_whole, publish
from distxfer._installed import version
from distxfer.encoders._encoder import Encoder
from distxfer.errors import InputError
from distxfer.results.result import ARITHMETIC

Text = tuple[str, str | None]  # a sentence, and the second one of a pair
_POOLED, _LOGITS, _ABOUT = "pooled.npy", "logits.npy", "about.json"
_LAYOUT = 3  # of the files; another number is another cache
_PACKAGES = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True)
class States:
    """Pooled states (layers + 1, n, d) of `n` texts, and logits (n, classes) or None."""

    pooled: Tensor
    logits: Tensor | None = None


@dataclass
class StateCache:
    """The states of one encoder in `folder`; `identity` is all that they depend on besides the texts.

    One folder per ordered list of texts, `<folder>/<key>`, where the key is the SHA-256 of identity and texts. So no entry is
    ever outdated, and any may be deleted at any time. Rows are memory-mapped: what is read shares its memory with other
    processes, and only the rows in use take memory.
    """

    folder: Path
    identity: Mapping[str, str | int]
    name: str  # of the encoder, for information only: equal weights share an entry under any name
    notice: Callable[[str], None]
    is_writable: bool = True  # as far as is known

    def read(self, texts: Sequence[Text], *, logits: bool = False) -> States | None:
        """Return the states of these texts, or None where the entry is missing or damaged; `logits`: only with logits."""
        states = _read(self._place(texts))
        return None if states is None or (logits and states.logits is None) else states

    def keep(self, texts: Sequence[Text], states: States) -> States:
        """Write the states of these texts, unless they are cached already; return them, memory-mapped if they are cached.

        A cache that cannot be written does not stop a run: `notice` is told why, once, and nothing more is written.
        """
        about = {"name": self.name, **self.identity, "texts": len(texts)}

        def build(folder: Path) -> None:
            np.save(folder / _POOLED, states.pooled.transpose(0, 1).contiguous().numpy())
            if states.logits is not None:
                np.save(folder / _LOGITS, states.logits.contiguous().numpy())
            (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")

        def serves(folder: Path) -> bool:
            return states.logits is None or (folder / _LOGITS).is_file()

        if self.is_writable:
            try:
                return _read(publish(self._place(texts), build, serves, self.notice)) or states
            except InputError as error:
                self.notice(f"Hidden states are not kept for the next time. {error}")
                self.is_writable = False
        return states

    def for_training(self, precision: str) -> Self:
        """Return the cache of the same states for training, from forward passes of this precision.

        Their rounding depends on the number of threads, too, and a run must not depend on who has filled the cache. (It also
        depends on the text's batch: hence an entry is a list of texts, which determines its batches.)
        """
        return replace(self, identity={**self.identity, "passes": precision, "threads": torch.get_num_threads()})

    def _place(self, texts: Sequence[Text]) -> Path:
        key = json.dumps([dict(self.identity), texts], sort_keys=True, ensure_ascii=True)
        return self.folder / hashlib.sha256(key.encode()).hexdigest()


def state_cache(
    encoder: Encoder, fingerprint: str, max_length: int, notice: Callable[[str], None] = lambda text: None
) -> StateCache:
    """Return the cache of the states of this encoder with its present weights.

    They depend on the checkpoint's files (`fingerprint`: weights, configuration, tokenizer), on the encoder's weights
    in memory (so that one that was changed after loading is never taken for the checkpoint), the pooling, the longest
    text in tokens, the device, the version of the arithmetic and those of the packages. The head is included only where it is
    from the checkpoint (`head_is_loaded`), and its logits are then cached too. Adapters are excluded: cache only states
    without them.

    Hashes the weights: about a second per gigabyte.
    """
    adapters = {id(parameter) for name, parameter in encoder.model.named_parameters() if name in encoder.adapters}
    named = (encoder.model if encoder.head_is_loaded else encoder.base).state_dict(keep_vars=True)
    weights = {name: tensor for name, tensor in named.items() if id(tensor) not in adapters}
    return StateCache(
        folder=cache_folder() / "states",
        identity={
            "layout": _LAYOUT,
            "arithmetic": ARITHMETIC,
            "model": fingerprint,
            "weights": tensor_digest(sorted(weights.items())),
            "pooling": encoder.pooling,
            "max_length": max_length,
            "device": encoder.device.type,
            "precision": str(encoder.base.dtype),
            **{package: str(version(package)) for package in _PACKAGES},
        },
        name=encoder.name,
        notice=notice,
    )


def _read(folder: Path) -> States | None:
    """Return the states in a folder, memory-mapped; None where they are missing or damaged."""
    if not is_whole(folder):
        return None
    # Copied on writing, so that torch does not warn of memory that cannot be written.
    pooled, *logits = (
        torch.from_numpy(np.load(folder / name, mmap_mode="c"))
        for name in (_POOLED, _LOGITS)
        if (folder / name).is_file()
    )
    return States(pooled.transpose(0, 1), *logits)


def tensor_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of names, shapes, types and values, in the order in which they come."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        content: Any = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        digest.update(content)
    return digest.hexdigest()
