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


def _labels(prepared: Prepared) -> str:
    """Return in which languages the model has seen labels, and so what kind of transfer its scores are of."""
    source, targets = prepared.languages.source, ", ".join(prepared.languages.targets)
    if not any(phase.task for phase in prepared.recipe.phases.values()):
        return f" without any labels (source `{source}`; targets {targets}): its head is untrained"
    match prepared.recipe.task.shots:
        case 0:
            return f" in `{source}`, for zero-shot transfer to {targets}"
        case "all":
            return f" in `{source}` and on all labelled training examples of {targets}: no zero-shot transfer"
        case shots:
            return f" in `{source}` and on {shots} labelled examples each of {targets}: few-shot transfer"


def model_card(data: Mapping[str, Any], prepared: Prepared, adapters: int) -> str:
    """Return the card, in Markdown, of the model that gave the result `data` and is saved as so many `adapters`, or whole."""
    scores = {one["language"]: one for one in data["scores"] if (one["split"], one["metric"]) == ("test", "accuracy")}
    lines = [
        f"| {language} | {language_name(language)} | {one['value']:.3f} | {one['n']} |"
        for language, one in scores.items()
    ]
    bundled = (
        "\nThe encoder's pretrained weights are 4-bit weights dequantised, not the original ones.\n"
        if prepared.recipe.model.name.startswith("bundled/")
        else ""
    )
    return "\n".join(
        [
            f"# {prepared.recipe.name} on {prepared.task.name}",
            "",
            f"`{prepared.recipe.model.name}`, fine-tuned with distxfer on `{prepared.task.name}`{_labels(prepared)}.",
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
