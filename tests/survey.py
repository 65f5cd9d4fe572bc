"""Which architectures of transformers distxfer takes, from tiny checkpoints; run as a file, it writes docs/architectures.md."""

import json
import sys
import tempfile
from pathlib import Path
from typing import get_args

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModel
from transformers.models.auto import modeling_auto as auto

from distxfer.encoders import Encoder, Output, load_encoder
from distxfer.errors import InputError
from tiny_configs import tiny_config

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
OUTPUTS = [output for output in get_args(Output) if output != "state"]
KINDS = sorted(
    {
        *auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        *auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        *auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    }
)
_TOO_LARGE = 20_000_000  # parameters: a part of the configuration has not been made small


def write_checkpoint(kind: str, folder: Path) -> None:
    """Write a checkpoint of random weights beside the tokenizer in a folder; weights that are none where none can be made."""
    try:
        config = tiny_config(kind)
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in AutoModel.from_config(config).parameters())
        assert size < _TOO_LARGE, size
        with torch.random.fork_rng():
            torch.manual_seed(0)
            AutoModel.from_config(config).save_pretrained(folder)
    except (ImportError, AssertionError):  # of packages that an architecture needs
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        save_file({f"layer.{number}": torch.zeros(100) for number in range(100)}, folder / "model.safetensors")


def loaded(kind: str, folder: Path, output: Output) -> Encoder | str:
    """Return the encoder of a folder, or why it is refused."""
    try:
        return load_encoder(kind, folder, ("a", "b", "c"), seed=0, output=output)
    except InputError as error:
        return str(error)


def trained(encoder: Encoder, frozen: int) -> dict[str, Tensor]:
    """Return how far each parameter moves in one step on two texts in which a layer is frozen."""
    start = {name: parameter.detach().clone() for name, parameter in encoder.model.named_parameters()}
    for name, parameter in encoder.model.named_parameters():
        parameter.requires_grad_(encoder.place(name) != frozen)
    inputs = encoder.tokenizer(["the cat", "the big old dog"], padding=True, return_tensors="pt")
    encoder.model.train()
    logits = encoder.classify(dict(inputs)).logits
    logits.clamp(-1e3, 1e3).square().sum().backward()  # Splinter's head gives padding the lowest number there is
    torch.optim.SGD([parameter for parameter in encoder.model.parameters() if parameter.requires_grad], lr=1.0).step()
    return {
        name: (parameter.detach() - start[name]).abs().max() for name, parameter in encoder.model.named_parameters()
    }


def reason(message: str) -> str:
    """Return what of a refusal is said of the architecture, without its name."""
    said = message.removesuffix(" Choose another encoder; docs/models.md lists those that are tested.")
    said = said.split("`, which ", 1)[-1] if "`, which " in said else said
    return said.split(". Choose an encoder", 1)[0].split("\n")[0][:160].rstrip(".").replace("|", "/")


def row(kind: str, folder: Path) -> tuple[str, list[Encoder | str]]:
    """Return the row of an architecture in the page, and for each output the encoder, or why it is refused."""
    write_checkpoint(kind, folder)
    answers = [loaded(kind, folder, output) for output in OUTPUTS]
    encoders = [answer for answer in answers if isinstance(answer, Encoder)]
    refusals = [answer.replace(str(folder), "FOLDER") for answer in answers if isinstance(answer, str)]
    cells = " | ".join("yes" if isinstance(answer, Encoder) else "no" for answer in answers)
    order = "" if not encoders else "left to right" if encoders[0].causal else "both ways"
    return f"| `{kind}` | {cells} | {order} | {reason(refusals[0]) if refusals else ''} |", answers


def rows() -> list[str]:
    """Return a row for each architecture."""
    from conftest import save_tiny

    lines = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as name:
            lines.append(row(kind, save_tiny(Path(name), "bert"))[0])
            sys.stderr.write(f"{lines[-1]}\n")
    return lines


def page(lines: list[str]) -> str:
    """Return the page."""
    whole, none = sum("| no |" not in line for line in lines), sum("| yes |" not in line for line in lines)
    some = len(lines) - whole - none
    return f"""# Architectures

What `AutoModelForSequenceClassification`, `AutoModelForTokenClassification` and `AutoModelForQuestionAnswering` of transformers
{transformers.__version__} know, as tiny checkpoints of random weights. Of {len(lines)} architectures, {whole} pass
[the check](models.md#the-check-of-an-architecture) for classes of texts, tags of tokens and answers, {some} for some of these,
and {none} are refused. In those that pass, one step that freezes a layer moves nothing in it. `python tests/survey.py` makes this
page anew, `make torture` tests all of it, and `make test` fifteen rows.

The check runs on the model itself: an architecture may pass in another size, or with other settings, than the tiny one here.

| architecture | texts | tokens | answers | reads | refused because |
|---|---|---|---|---|---|
""" + "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(rows()), encoding="utf-8")
