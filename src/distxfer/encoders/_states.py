"""A content-addressed cache of pooled hidden states: one forward pass per model and text serves all runs and measures."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from distxfer._cache import cache_folder, is_whole, publish
from distxfer.encoders._encoder import Encoder
from distxfer.errors import InputError

Text = tuple[str, str | None]  # a sentence, and the second one of a pair
_FILE = "states.safetensors"
_ROWS, _ABOUT = "states.npy", "about.json"
_LAYOUT = 2  # of the file; another number is another cache
_PACKAGES = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True)
class States:
    """Pooled states (layers + 1, n, d) of `n` texts, and logits (n, classes) or None."""

    pooled: Tensor
    logits: Tensor | None = None


@dataclass(frozen=True)
class StateCache:
    """The states of one encoder in `folder`; `identity` is all that they depend on besides the texts.

    One file per ordered list of texts, `<folder>/<key>/states.safetensors`, where the key is the SHA-256 of identity and
    texts. So no entry is ever outdated, and any may be deleted at any time. States that may not fit into memory are rows of
    `states.npy`, which is memory-mapped.
    """

    folder: Path
    identity: Mapping[str, str | int]
    name: str  # of the encoder, for information only: equal weights share a file under any name
    notice: Callable[[str], None]

    def read(self, texts: Sequence[Text], *, logits: bool = False) -> States | None:
        """Return the states of these texts, or None where the entry is missing or damaged; `logits`: only with logits."""
        states = _read(self._place(texts))
        return None if states is None or (logits and states.logits is None) else states

    def keep(self, texts: Sequence[Text], states: States) -> bool:
        """Write the states of these texts, unless they are cached already; returns whether they are cached now.

        A cache that cannot be written does not stop a run: `notice` is told why, and the states are computed again later.
        """
        tensors = {"pooled": states.pooled.contiguous()}
        if states.logits is not None:
            tensors["logits"] = states.logits.contiguous()
        about = {"name": self.name, **{name: str(value) for name, value in self.identity.items()}}
        metadata = {**about, "texts": str(len(texts))}

        def build(folder: Path) -> None:
            (folder / _FILE).write_bytes(save(tensors, metadata))  # a full disk is no `OSError` to `save_file`

        def serves(folder: Path) -> bool:
            stored = _read(folder)
            return stored is not None and (states.logits is None or stored.logits is not None)

        try:
            publish(self._place(texts), build, serves, self.notice)
        except InputError as error:
            self.notice(f"Hidden states are not kept for the next time. {error}")
            return False
        return True

    def has_rows(self, key: str) -> bool:
        """Return whether the rows for `key` and this identity are in the cache, undamaged."""
        return is_whole(self._place(key))

    def rows(self, key: str) -> npt.NDArray[np.float32]:
        """Return these rows, memory-mapped. Raises InputError where they are missing."""
        place = self._place(key)
        try:
            return cast(npt.NDArray[np.float32], np.load(place / _ROWS, mmap_mode="r"))
        except OSError as error:
            raise InputError(
                f"`{place / _ROWS}`, which the main process has written, cannot be read: {error.strerror or error}. Set"
                " the environment variable DISTXFER_CACHE to a folder that all processes share, or `model.reference=live`."
            ) from error

    def write_rows(self, key: str, shape: tuple[int, ...], parts: Iterable[Tensor]) -> None:
        """Write the float32 rows of `parts`, in total an array of this `shape`, unless they are cached.

        They need not fit into memory. Raises InputError where the cache cannot be written.
        """

        def build(folder: Path) -> None:
            with (folder / _ROWS).open("wb") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for part in parts:
                    file.write(part.contiguous().numpy().tobytes())
            about = {"name": self.name, **self.identity}
            (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")

        publish(self._place(key), build, notice=self.notice)

    def _place(self, texts: Sequence[Text] | str) -> Path:
        key = json.dumps([dict(self.identity), texts], sort_keys=True, ensure_ascii=True)
        return self.folder / hashlib.sha256(key.encode()).hexdigest()


def state_cache(
    encoder: Encoder, fingerprint: str, max_length: int, notice: Callable[[str], None] = lambda text: None
) -> StateCache:
    """Return the cache of the states of this encoder with its present weights.

    They depend on the checkpoint's files (`fingerprint`: weights, configuration, tokenizer), on the encoder's weights
    in memory (so that one that was changed after loading is never taken for the checkpoint), the pooling, the longest
    text in tokens, the device and the versions of the packages. The head is included only where it is from the
    checkpoint (`head_is_loaded`), and its logits are then cached too. Adapters are excluded: cache only states without
    them.

    Hashes the weights: about a second per gigabyte.
    """
    adapters = {id(parameter) for name, parameter in encoder.model.named_parameters() if name in encoder.adapters}
    named = (encoder.model if encoder.head_is_loaded else encoder.base).state_dict(keep_vars=True)
    weights = {name: tensor for name, tensor in named.items() if id(tensor) not in adapters}
    return StateCache(
        folder=cache_folder() / "states",
        identity={
            "layout": _LAYOUT,
            "model": fingerprint,
            "weights": tensor_digest(sorted(weights.items())),
            "pooling": encoder.pooling,
            "max_length": max_length,
            "device": encoder.device.type,
            "precision": str(encoder.base.dtype),
            **{package: version(package) for package in _PACKAGES},
        },
        name=encoder.name,
        notice=notice,
    )


def _read(folder: Path) -> States | None:
    """Return the states in a folder; None where they are missing or damaged."""
    return States(**load_file(folder / _FILE)) if is_whole(folder) else None


def tensor_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of names, shapes, types and values, in the order in which they come."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        content: Any = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        digest.update(content)
    return digest.hexdigest()
