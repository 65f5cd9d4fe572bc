"""The metadata of a model card: the YAML block that the hub reads."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from distxfer.data import About, task_names, task_type_of
from distxfer.encoders import BUNDLED
from distxfer.languages import short_code
from distxfer.runs.prepare import Prepared

_PIPELINES = {
    "text": "text-classification", "token": "token-classification", "span": "question-answering",
    "state": "feature-extraction",
}  # fmt: skip
_BUNDLED_FROM = "intfloat/multilingual-e5-small"


def front_matter(data: Mapping[str, Any], prepared: Prepared, adapters: int) -> str:
    """Return the metadata between two lines of dashes."""
    summary, name, about = data["summary"], prepared.recipe.model.name, about_task(prepared)
    pipeline = _PIPELINES[task_type_of(prepared.task).output]
    base = _BUNDLED_FROM if name == BUNDLED else None if is_path(name) else name
    relation = None if base is None else "adapter" if adapters else "finetune"
    repositories = about.source.split(", ") if about.source else []
    single = len(repositories) == 1  # with two, the source of a score depends on its language and split
    results = [
        EvalResult(
            task_type=pipeline,
            dataset_type=about.source if single else re.sub(r"[^\w.-]+", "-", shown_path(prepared.task.name)),
            dataset_name=f"{shown_path(prepared.task.name)}, {score['language']}",
            dataset_config=score["language"],
            dataset_split=score["split"],
            dataset_revision=(prepared.recipe.task.revision or about.revision) if single else None,
            metric_type=score["metric"],
            metric_value=round(score["value"], 4),
        )
        for score in data["scores"]
        if score["metric"] == summary["metric"] and not by_definition(prepared, score["language"])
    ]
    metadata = ModelCardData(
        language=list(
            dict.fromkeys(short_code(language) for language in (data["source"], *prepared.languages.targets))
        ),
        license=base_licence(prepared.model_folder),
        base_model=base,
        base_model_relation=relation,
        library_name="peft" if adapters else "transformers",
        pipeline_tag=pipeline,
        tags=["distxfer", "cross-lingual-transfer", "multilingual"],
        datasets=repositories or None,
        metrics=[summary["metric"]],
        model_name=f"{prepared.recipe.name}-{data['id']}-s{data['seed']}",
        eval_results=results,
    )
    # The library quotes `no`, but not `nan`, which some readers take for a number.
    quoted = re.sub(r"(?m)^( *(?:- |config: ))nan$", r"\1'nan'", metadata.to_yaml())
    return f"---\n{quoted}\n---\n"


def by_definition(prepared: Prepared, language: str) -> bool:
    """Return whether a language's score is 1 for any model: that of the source in retrieval tasks."""
    return task_type_of(prepared.task).output == "state" and language == prepared.languages.source


def about_task(prepared: Prepared) -> About:
    """Return the description of the task; a generic one for a user's own folder."""
    return task_names().get(prepared.recipe.task.name, About("data of their author's own"))


def base_licence(folder: Path) -> str | None:
    """Return the licence in the metadata of the base model's card, or None."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    metadata = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    licence = re.search(r"(?m)^license: *[\"']?([\w.-]+)[\"']? *$", metadata[1]) if metadata else None
    return licence[1] if licence else None


def is_path(name: str) -> bool:
    """Return whether a name is a local path."""
    return name.startswith(("~", ".")) or os.path.isabs(name) or os.path.exists(name)


def shown_path(name: str) -> str:
    """Return a name, or the last part of a local path, since a card is published."""
    return Path(name).name if is_path(name) else name
