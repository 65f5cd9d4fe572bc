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


def model_card(data: Mapping[str, Any], prepared: Prepared) -> str:
    """Return the card, in Markdown, of the model that gave the result `data`."""
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
    adapted = any(one["kind"] == "lora" for one in data["recipe"]["intervention"].values())
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
            *(line.format(classes=len(prepared.task.labels)) for line in (_LOAD_ADAPTER if adapted else _LOAD_MODEL)),
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
