"""The model card of a run: metadata for the hub, code that loads the model, and information for readers."""

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from distxfer._markdown import markdown, markdown_code
from distxfer.config.dotted import flatten
from distxfer.config.files import DEFAULTS, SOURCES
from distxfer.data import About, parallel_names, task_names, task_type_of
from distxfer.encoders import BUNDLED_MODELS, Encoder, class_to_load
from distxfer.interventions import BoundIntervention
from distxfer.languages import language_name, short_code
from distxfer.results.descriptions import corpus_text
from distxfer.runs.citations import bibtex
from distxfer.runs.intervals import is_share, score_interval
from distxfer.runs.prepare import Prepared
from distxfer.runs.scoring import Scored

PIPELINES = {
    "text": "text-classification", "token": "token-classification", "span": "question-answering",
    "state": "feature-extraction",
}  # fmt: skip
_SMALL = 500  # test examples; fewer give an accuracy of 0.5 an interval wider than 4.4 points to each side
PLACE = 'name = "model"'  # the line with the model's path
_POOLED = {
    "mean": "the mean over its tokens",
    "cls": "that of its first token",
    "last": "that of its last token",
}
_POOLED_SCORES = {"mean": "their mean", "cls": "those of its first token", "last": "those of its last token"}


def model_card(
    data: Mapping[str, Any],
    prepared: Prepared,
    bounds: Mapping[str, BoundIntervention],
    scored: Mapping[str, Scored],
    encoder: Encoder,
    adapters: int,
) -> str:
    """Return the card, in Markdown, of the model `encoder` with the result `data`; `adapters` is the number of saved adapters.

    The same run gives the same card.
    """
    recipe = prepared.recipe
    task, model = shown_path(prepared.task.name), shown_path(recipe.model.name)
    collapsed = (
        "> **Collapsed:** judging by its score in the source language, this model has learned nothing. It is a failed run,"
        " not a model to use.\n"
        if data["status"] == "collapsed"
        else ""
    )
    parts = [
        front_matter(data, prepared, adapters),
        f"# {markdown(recipe.name)} on {markdown(task)}\n",
        collapsed,
        f"{markdown_code(model)}, fine-tuned with distxfer on {markdown_code(task)}{_labels(prepared)}\n",
        f"The task: {about_task(prepared).description}. Recipe {markdown_code(recipe.name)}, id `{data['id']}`, seed"
        f" {data['seed']}.\n",
        "```python\n"
        + "\n".join(loading(encoder, len(prepared.task.labels), adapters, recipe.task.max_length))
        + f"\n```\n\n{meaning(encoder, prepared.task.labels)}\n",
        _scores(data, prepared, bounds, scored),
        "## Recipe\n\nThe settings that differ from distxfer's defaults. `result.json` has all settings and the versions of"
        f" packages. Only the last part of a path is shown.\n\n```toml\n{_settings(prepared)}```\n",
        "## Limits\n\n" + "".join(f"- {line}\n" for line in _limits(data, prepared, scored)),
        _licences(prepared, bounds),
        _citation(prepared),
    ]
    return "\n".join(part for part in parts if part)


def _labels(prepared: Prepared) -> str:
    """Return the languages with labels in training, and the type of transfer that the scores measure."""
    source, targets = "`, `".join(prepared.languages.sources), ", ".join(prepared.languages.targets)
    if not any(phase.task for phase in prepared.recipe.phases.values()):
        head = "it has no head" if task_type_of(prepared.task).output == "state" else "its head is untrained"
        return f" without any labels (source `{source}`; targets {targets}): {head}."
    match prepared.recipe.task.shots:
        case 0:
            return f" in `{source}`, for zero-shot transfer to {targets}."
        case "all":
            return f" in `{source}` and on all labelled training examples of {targets}: no zero-shot transfer."
        case shots:
            return f" in `{source}` and on {shots} labelled examples each of {targets}: few-shot transfer."


def _read(prepared: Prepared, bounds: Mapping[str, BoundIntervention]) -> dict[str, list[str]]:
    """Return the types of data that training has read, by language."""
    recipe, source = prepared.recipe, prepared.languages.source
    read_by_language: dict[str, list[str]] = {language: [] for language in prepared.languages.all}
    if any(phase.task for phase in recipe.phases.values()):
        for language in prepared.languages.sources:
            read_by_language[language].append("labels")
        for language in prepared.languages.targets if recipe.task.shots else ():
            read_by_language[language].append("labels" if recipe.task.shots == "all" else f"{recipe.task.shots} labels")
    pairs = {language for bound in bounds.values() if "pairs" in bound.needs for language in bound.languages}
    texts = {language for bound in bounds.values() if "target_text" in bound.needs for language in bound.languages}
    pair_text = "mined pairs" if recipe.parallel.mined else "parallel text"
    for language, kinds in read_by_language.items():
        if language in pairs or (language == source and pairs):
            kinds.append(pair_text)
        if language in texts:
            kinds.append("unlabelled text" if prepared.task.unlabelled.get(language) else f"its side of {pair_text}")
    return read_by_language


def _scores(
    data: Mapping[str, Any], prepared: Prepared, bounds: Mapping[str, BoundIntervention], scored: Mapping[str, Scored]
) -> str:
    """Return the table of scores: one row per language, beginning with the source."""
    metric, between = data["summary"]["metric"], prepared.distances
    distances = {entry["language"]: f"{entry['value']:.3f}" for entry in data["distances"]}
    splits = [split for split in ("test", "dev") if scored[split].scores]

    def cell(language: str, split: str) -> str:
        of_split = scored[split]
        if language not in of_split.scores:
            return "– | 0"
        examples = of_split.examples[language]
        if by_definition(prepared, language):
            return f"1 by definition | {len(examples)}"
        interval = score_interval(prepared.task, examples, of_split.predictions[language], metric)
        shown = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
        return f"{of_split.scores[language][metric]:.3f}{shown} | {len(examples)}"

    rows = [["language", "name", "distance", "read in training", *(f"{split} {metric} | n" for split in splits)]]
    for language, data_types in _read(prepared, bounds).items():
        name, read = markdown(language_name(language), cell=True), ", ".join(data_types) or "nothing"
        rows.append([language, name, distances.get(language, "–"), read, *(cell(language, split) for split in splits)])
    lines = [f"| {' | '.join(row)} |\n" for row in rows]
    lines.insert(1, "|---" * (4 + 2 * len(splits)) + "|\n")
    method = "Wilson's" if is_share(prepared.task, metric) else "the jackknife's, over groups of examples"
    return (
        "## Scores\n\n"
        + "".join(lines)
        + f"\nIn brackets: the 95 % interval ({method}) over other examples of the same kind, "
        "for this one trained model; none if there are too few. Distance: "
        f"{between.name}{' (gaps imputed)' if between.imputed else ''}, from `{data['source']}`. One seed: no ranking of methods,"
        " and other seeds can differ by more than these intervals. The weights are those at the end of training; no score"
        " chose them.\n"
    )


def _settings(prepared: Prepared) -> str:
    """Return the settings that differ from the defaults as TOML, one dotted key per line."""
    defaults = dict(
        entry for path in (DEFAULTS, SOURCES) for entry in flatten(tomllib.loads(path.read_text(encoding="utf-8")))
    )
    of_defaults = ("default of the intervention", f"{DEFAULTS.name}, auto")
    lines = []
    for key, value in flatten(prepared.recipe.resolved()):
        origin = prepared.recipe.values[key].origin if key in prepared.recipe.values else ""
        default = defaults.get(re.sub(r"^phase\.[^.]+\.", "phase.finetune.", key))
        chosen = origin and value != default and not origin.startswith(of_defaults)
        if chosen or (key.startswith("intervention.") and key.endswith(".kind")):
            parts = (part if re.fullmatch(r"[\w-]+", part, re.ASCII) else json.dumps(part) for part in key.split("."))
            lines.append(f"{'.'.join(parts)} = {_toml(value)}\n")
    return "".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(shown_path(value) if isinstance(value, str) and value else value, ensure_ascii=False)


def _limits(data: Mapping[str, Any], prepared: Prepared, scored: Mapping[str, Scored]) -> list[str]:
    sizes = [len(examples) for examples in scored["test"].examples.values()]
    corpus = corpus_text(prepared.corpus and {**prepared.corpus, "name": shown_path(prepared.corpus["name"])})
    metrics = " and ".join(metric.replace("_", " ") for metric in task_type_of(prepared.task).metrics)
    lines = [
        f"Measured: {metrics} on the test part of this task, in the languages above. Other tasks, domains and languages,"
        " and bias, were not measured.",
        f"Texts were read in pieces of at most {prepared.recipe.task.max_length} tokens.",
        f"Parallel text for training or for measuring alignment: {corpus}.",
    ]
    if min(sizes) < _SMALL:
        span = " to ".join(map(str, sorted({min(sizes), max(sizes)})))
        lines.append(
            f"The test sets are small, {span} examples per language: mind the intervals when comparing scores."
        )
    if by_definition(prepared, prepared.languages.source):
        lines.append("In the source each sentence is its own translation, so its score is 1 by definition.")
    elif not any(phase.task for phase in prepared.recipe.phases.values()):
        lines.append("The head is untrained: its predictions are meaningless.")
    if bundled := BUNDLED_MODELS.get(prepared.recipe.model.name):
        lines.append(f"The encoder's pretrained weights are {bundled.weights}, not the original ones.")
    if (frozen := prepared.recipe.model.frozen_weights) != "float32":
        lines.append(
            f"Scored with frozen weights in {frozen}; the code above loads them in float32, so scores may differ."
        )
    if data["provenance"].get("git_dirty"):
        lines.append("Made with a version of distxfer that had uncommitted changes.")
    notes = (re.sub("`([^`]+)`", lambda part: f"`{shown_path(part[1])}`", note) for note in prepared.notes)
    return [*lines, *(markdown(f"Of the data: {note}") for note in notes)]


def _licences(prepared: Prepared, bounds: Mapping[str, BoundIntervention]) -> str:
    """Return the licences of model and data as far as they are stated; missing ones are not guessed."""
    base, parallel = base_licence(prepared.model_folder), prepared.recipe.parallel
    stated = {f"the base model {markdown_code(shown_path(prepared.recipe.model.name))}": base or ""}
    stated[f"the task's data {markdown_code(shown_path(prepared.task.name))}"] = about_task(prepared).licence
    if any("pairs" in bound.needs for bound in bounds.values()) and not parallel.mined:
        about = parallel_names().get(parallel.name)
        stated[f"the parallel text {markdown_code(shown_path(parallel.name))}"] = about.licence if about else ""
    lines = [f"- {source}: {licence or 'not stated; ask its source'}\n" for source, licence in stated.items()]
    bundled = BUNDLED_MODELS.get(prepared.recipe.model.name)
    lines += [f"\n{bundled.terms}.\n"] if bundled and bundled.terms else []
    return "## Licence\n\nThe licences of the model's sources apply to it:\n\n" + "".join(lines)


def _citation(prepared: Prepared) -> str:
    task = about_task(prepared).citation
    model = prepared.recipe.model.name
    lines = [f"The task: {task}.\n"] if task else []
    if model not in BUNDLED_MODELS and not is_path(model):
        lines.append(f"The base model: see the card of {markdown_code(model)}.\n")
    entries = "\n\n".join(bibtex(prepared.resolved))
    return "\n".join(["## Citation\n", *lines, f"The methods:\n\n```bibtex\n{entries}\n```\n"])


# Metadata


def front_matter(data: Mapping[str, Any], prepared: Prepared, adapters: int) -> str:
    """Return the metadata between two lines of dashes."""
    summary, name, about = data["summary"], prepared.recipe.model.name, about_task(prepared)
    pipeline = PIPELINES[task_type_of(prepared.task).output]
    bundled = BUNDLED_MODELS.get(name)
    base = bundled.original if bundled else None if is_path(name) else name
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
        language=list(dict.fromkeys(map(short_code, prepared.languages.all))),
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


# Code that loads the model


# The scores of texts from those of their tokens, by `model.pooling`.
_POOLING = {
    "mean": "(model(**batch).logits * mask).sum(1) / mask.sum(1)",
    "cls": "model(**batch).logits[:, 0]",
    "last": "model(**batch).logits[range(len(mask)), mask.sum((1, 2)) - 1]",
}


def loading(encoder: Encoder, labels: int, adapters: int, max_length: int) -> list[str]:
    """Return the lines that load the saved model, and define the scores of texts where it has scores of tokens."""
    lines = _loading(encoder, labels, adapters)
    if encoder.output != "text" or not encoder.token_head:
        return lines
    return [
        *lines,
        "",
        "def scores(texts):",
        f'    batch = tokenizer(texts, padding=True, truncation=True, max_length={max_length}, return_tensors="pt")',
        '    mask = batch["attention_mask"].unsqueeze(-1)',
        f"    return {_POOLING[encoder.pooling]}",
    ]


def _loading(encoder: Encoder, labels: int, adapters: int) -> list[str]:
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
            how = (
                f" The model gives scores per token; those of a text are {_POOLED_SCORES[encoder.pooling]}."
                " (`scores` takes pairs of texts as tuples. The pipelines of transformers do not pool scores.)"
            )
        case _:
            how = ""
    return f"Labels, in order: {', '.join(map(markdown, labels))}.{how}"
