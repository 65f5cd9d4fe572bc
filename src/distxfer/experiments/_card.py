"""The model card that stands beside a run's model."""

from collections.abc import Mapping
from typing import Any

from distxfer.experiments._prepare import Prepared
from distxfer.languages import language_name

_LOAD_MODEL = (
    "from transformers import AutoModelForSequenceClassification",
    'model = AutoModelForSequenceClassification.from_pretrained("model")',
)
_LOAD_ADAPTER = (
    "from peft import AutoPeftModelForSequenceClassification",
    'model = AutoPeftModelForSequenceClassification.from_pretrained("model", num_labels={classes})',
)
_LOAD_STACK = (
    "from peft import AutoPeftModel",
    'model = AutoPeftModel.from_pretrained("model", num_labels={classes})',
)


def _loading(adapters: int) -> list[str]:
    """Return the lines that load the model: a whole one, one adapter, or adapters on top of each other."""
    if adapters < 2:
        return list(_LOAD_ADAPTER if adapters else _LOAD_MODEL)
    others = [f"adapter_{number}" for number in range(2, adapters + 1)]
    names = ", ".join(f'"{name}"' for name in ["default", *others])
    return [
        *_LOAD_STACK,
        *(f'model.load_adapter("model/{name}", "{name}")' for name in others),
        f"model.base_model.set_adapter([{names}], inference_mode=True)",
    ]


def model_card(data: Mapping[str, Any], prepared: Prepared, adapters: int) -> str:
    """Return the card, in Markdown, of the model that gave the result `data` and is saved as so many `adapters`, or whole."""
    scores = {one["language"]: one for one in data["scores"] if (one["split"], one["metric"]) == ("test", "accuracy")}
    lines = [
        f"| {language} | {language_name(language)} | {one['value']:.3f} | {one['n']} |"
        for language, one in scores.items()
    ]
    targets = ", ".join(prepared.languages.targets)
    bundled = (
        "\nThe encoder's pretrained weights are 4-bit weights dequantised, not the original ones.\n"
        if prepared.recipe.model.name.startswith("bundled/")
        else ""
    )
    return "\n".join(
        [
            f"# {prepared.recipe.name} on {prepared.task.name}",
            "",
            f"`{prepared.recipe.model.name}`, fine-tuned with distxfer on `{prepared.task.name}` in"
            f" `{prepared.languages.source}`, for zero-shot transfer to {targets}.",
            bundled,
            f"Recipe `{prepared.recipe.name}`, id `{data['id']}`, seed {data['seed']}. One seed: no ranking of methods.",
            "",
            "```python",
            *(line.format(classes=len(prepared.task.labels)) for line in _loading(adapters)),
            "```",
            "",
            "| language | name | test accuracy | n |",
            "|---|---|---|---|",
            *lines,
            "",
            f"Labels, in order: {', '.join(prepared.task.labels)}. Everything else is in `result.json` beside this folder.",
            "",
        ]
    )
