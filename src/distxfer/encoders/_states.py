"""Pooled hidden states on disk, kept by content: one forward pass a model and text serves every run and measure."""

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
from safetensors import safe_open
from safetensors.torch import save
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
    """What an encoder makes of `n` texts: pooled states (layers + 1, n, d), and logits (n, classes) or None."""

    pooled: Tensor
    logits: Tensor | None = None


@dataclass(frozen=True)
class StateCache:
    """The states of one encoder in `folder`; `identity` is all that they depend on besides the texts.

    One file for one list of texts in one order, `<folder>/<key>/states.safetensors`, where the key is the SHA-256 of
    identity and texts: nothing is ever out of date, and what nobody asks for any more may be deleted at any time. More
    states than fit into the memory lie as rows of `states.npy`, and are mapped from there.
    """

    folder: Path
    identity: Mapping[str, str | int]
    name: str  # of the encoder, for who looks into a file; equal weights share a file whatever they are called
    notice: Callable[[str], None]

    def read(self, texts: Sequence[Text], *, logits: bool = False) -> States | None:
        """Return the states of these texts, or None where they are not there whole; `logits`: only with logits."""
        found = _read(self._place(texts))
        return None if found is None or (logits and found.logits is None) else found

    def keep(self, texts: Sequence[Text], states: States) -> bool:
        """Write the states of these texts, unless they are there already; returns whether they are there now.

        A cache that cannot be written does not stop a run: `notice` is told why, and the states are computed anew next time.
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
        """Return whether the rows that `key` names, with what else they depend on, are there, as they were written."""
        return is_whole(self._place(key))

    def rows(self, key: str) -> npt.NDArray[np.float32]:
        """Return these rows, which stay on the disk. Raises InputError where they are not there."""
        place = self._place(key)
        try:
            return cast(npt.NDArray[np.float32], np.load(place / _ROWS, mmap_mode="r"))
        except OSError as error:
            raise InputError(
                f"`{place / _ROWS}`, which the main process has written, cannot be read: {error.strerror or error}. Set"
                " the environment variable DISTXFER_CACHE to a folder that all processes share, or `model.reference=live`."
            ) from error

    def write_rows(self, key: str, shape: tuple[int, ...], parts: Iterable[Tensor]) -> None:
        """Write the float32 rows of `parts`, one after the other, in all an array of this `shape`, unless they are there.

        They need not fit into the memory. Raises InputError where the cache cannot be written.
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
    """Return where the states of this encoder, as its weights are now, are kept.

    They depend on the checkpoint's files (`fingerprint`: weights, configuration, tokenizer), on the encoder's weights
    in memory (so that one that was changed after loading is never taken for the checkpoint), the pooling, the longest
    text in tokens, the device and the versions of what computes them. The head is a part of that only where the
    checkpoint brought it (`head_is_loaded`): its logits are then worth keeping too. Adapters are no part of it: what is
    kept of an encoder that has some must be its states without them.

    Hashes the weights: about a second a gigabyte.
    """
    adapters = {id(one) for name, one in encoder.model.named_parameters() if name in encoder.adapters}
    named = (encoder.model if encoder.head_is_loaded else encoder.base).state_dict(keep_vars=True)
    weights = {name: one for name, one in named.items() if id(one) not in adapters}
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
    """Return what a folder holds; None where there is nothing, or not what was written there."""
    if not is_whole(folder):
        return None
    with safe_open(folder / _FILE, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (safe_open is no mapping)
    return States(tensors["pooled"], tensors.get("logits"))


def tensor_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of names, shapes, types and values, in the order in which they come."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        content: Any = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        digest.update(content)
    return digest.hexdigest()
