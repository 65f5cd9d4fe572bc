"""The lines of a model card that load the model with transformers or PEFT."""

from collections.abc import Sequence

from distxfer._markdown import markdown
from distxfer.encoders import Encoder, class_to_load

PLACE = 'name = "model"'  # the line with the model's path
_POOLED = {
    "mean": "the mean over its tokens",
    "cls": "that of its first token",
    "last": "that of its last token",
}


def loading(encoder: Encoder, labels: int, adapters: int) -> list[str]:
    """Return the lines that load the saved model: a whole model, one adapter, or stacked adapters."""
    name, lines = class_to_load(encoder)
    auto_class = name.startswith("Auto")  # otherwise PEFT's `Auto` classes would choose another class
    tokenizer = "from transformers import AutoTokenizer"
    end = "tokenizer = AutoTokenizer.from_pretrained(name)"
    if not adapters:
        first = [f"{lines[0]}, AutoTokenizer", *lines[1:]]
        return [*first, PLACE, f"model = {name}.from_pretrained(name)", end]
    classes = {"span": 2, "state": 1}.get(encoder.output, labels)
    if auto_class:
        auto = name.replace("AutoModel", "AutoPeftModel") if adapters == 1 else "AutoPeftModel"
        start = [f"from peft import {auto}", tokenizer, PLACE]
        start += [f"model = {auto}.from_pretrained(name, num_labels={classes})"]
    else:
        start = ["from peft import PeftConfig, PeftModel", f"{lines[0]}, AutoTokenizer", *lines[1:], PLACE]
        start += ["base = PeftConfig.from_pretrained(name).base_model_name_or_path"]
        start += [f"model = PeftModel.from_pretrained({name}.from_pretrained(base, num_labels={classes}), name)"]
    # An adapter is saved without the model's configuration, which a head reads the padding token from.
    ends = [end, "model.config.pad_token_id = tokenizer.pad_token_id"]
    if adapters == 1:
        return [*start, *ends]
    extra_adapters = [f"adapter_{number}" for number in range(2, adapters + 1)]
    names = ", ".join(f'"{adapter}"' for adapter in ["default", *extra_adapters])
    return [
        *start,
        *(f'model.load_adapter(name, "{adapter}", subfolder="{adapter}")' for adapter in extra_adapters),
        f"model.base_model.set_adapter([{names}], inference_mode=True)",
        *ends,
    ]


def meaning(encoder: Encoder, labels: Sequence[str]) -> str:
    """Return the meaning of the loaded model's output."""
    match encoder.output:
        case "state":
            return f"A text's vector is its state in the last layer: {_POOLED[encoder.pooling]}."
        case "span":
            columns = " (columns 0 and 1 of its scores)" if encoder.token_head else ""
            return f"The output: for each token, how well an answer starts or ends there{columns}."
        case "text" if encoder.token_head:
            how = f" The model gives scores per token; for a text, take {_POOLED[encoder.pooling]}."
        case _:
            how = ""
    return f"Labels, in order: {', '.join(map(markdown, labels))}.{how}"
