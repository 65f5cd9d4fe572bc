"""The model card of a run: metadata for the hub, and information for readers."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distxfer._markdown import markdown, markdown_code
from distxfer.config.files import defaults_file
from distxfer.data import parallel_names, task_type_of
from distxfer.encoders import BUNDLED, Encoder
from distxfer.interventions import BoundIntervention
from distxfer.languages import language_name
from distxfer.results.descriptions import corpus_text
from distxfer.runs.card_loading import loading, meaning
from distxfer.runs.card_metadata import (
    about_task,
    base_licence,
    by_definition,
    front_matter,
    is_path,
    shown_path,
)
from distxfer.runs.citations import bibtex
from distxfer.runs.intervals import is_share, score_interval
from distxfer.runs.prepare import Prepared
from distxfer.runs.scoring import Scored

_SMALL = 500  # test examples; fewer give an accuracy of 0.5 an interval wider than 4.4 points to each side


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
        + "\n".join(loading(encoder, len(prepared.task.labels), adapters))
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
    source, targets = prepared.languages.source, ", ".join(prepared.languages.targets)
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
    read_by_language: dict[str, list[str]] = {language: [] for language in (source, *prepared.languages.targets)}
    if any(phase.task for phase in recipe.phases.values()):
        read_by_language[source].append("labels")
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
    metric, distances = data["summary"]["metric"], {entry["language"]: entry["value"] for entry in data["distances"]}
    splits = [split for split in ("test", "dev") if scored[split].scores]
    header = ["language", "name", "distance", "read in training", *(f"{split} {metric} | n" for split in splits)]

    def cell(language: str, split: str) -> str:
        split_scores = scored[split]
        if language not in split_scores.scores:
            return "– | 0"
        examples, predictions = split_scores.examples[language], split_scores.predictions[language]
        if by_definition(prepared, language):
            return f"1 by definition | {len(examples)}"
        interval = score_interval(prepared.task, examples, predictions, metric)
        shown = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
        return f"{split_scores.scores[language][metric]:.3f}{shown} | {len(examples)}"

    rows = [
        [
            language,
            markdown(language_name(language), cell=True),
            "–" if language not in distances else f"{distances[language]:.3f}",
            ", ".join(kinds) or "nothing",
            *(cell(language, split) for split in splits),
        ]
        for language, kinds in _read(prepared, bounds).items()
    ]
    lines = ["| " + " | ".join(row) + " |" for row in [header, *rows]]
    lines.insert(1, "|---" * (4 + 2 * len(splits)) + "|")
    between = prepared.distances
    method = "Wilson's" if is_share(prepared.task, metric) else "the jackknife's, over groups of examples"
    return (
        "## Scores\n\n"
        + "\n".join(lines)
        + f"\n\nIn brackets: the 95 % interval ({method}) over other examples of the same kind, "
        "for this one trained model; none if there are too few. Distance: "
        f"{between.name}{' (gaps imputed)' if between.imputed else ''}, from `{data['source']}`. One seed: no ranking of methods,"
        " and other seeds can differ by more than these intervals. The weights are those at the end of training; no score"
        " chose them.\n"
    )


def _settings(prepared: Prepared) -> str:
    """Return the settings that differ from the defaults as TOML, one dotted key per line."""
    defaults = dict(_flat(tomllib.loads(defaults_file().read_text(encoding="utf-8"))))

    def default(key: str) -> Any:
        return defaults.get(re.sub(r"^phase\.[^.]+\.", "phase.finetune.", key))

    lines = []
    for key, value in _flat(prepared.recipe.resolved()):
        origin = prepared.recipe.values[key].origin if key in prepared.recipe.values else ""
        chosen = (
            origin
            and value != default(key)
            and not origin.startswith(("default of the intervention", f"{defaults_file().name}, auto"))
        )
        if chosen or (key.startswith("intervention.") and key.endswith(".kind")):
            name = ".".join(
                part if re.fullmatch(r"[\w-]+", part, re.ASCII) else json.dumps(part) for part in key.split(".")
            )
            lines.append(f"{name} = {_toml(value)}\n")
    return "".join(lines)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(shown_path(value) if isinstance(value, str) and value else value, ensure_ascii=False)


def _limits(data: Mapping[str, Any], prepared: Prepared, scored: Mapping[str, Scored]) -> list[str]:
    sizes = [len(examples) for examples in scored["test"].examples.values()]
    metrics = " and ".join(metric.replace("_", " ") for metric in task_type_of(prepared.task).metrics)
    lines = [
        f"Measured: {metrics} on the test part of this task, in the languages above. Other tasks, domains and languages,"
        " and bias, were not measured.",
        f"Texts were read in pieces of at most {prepared.recipe.task.max_length} tokens.",
        f"Parallel text for training or for measuring alignment: {_corpus(prepared)}.",
    ]
    if min(sizes) < _SMALL:
        lines.append(
            f"The test sets are small, {_span(sizes)} examples per language: mind the intervals when comparing scores."
        )
    if by_definition(prepared, prepared.languages.source):
        lines.append("In the source each sentence is its own translation, so its score is 1 by definition.")
    elif not any(phase.task for phase in prepared.recipe.phases.values()):
        lines.append("The head is untrained: its predictions are meaningless.")
    if prepared.recipe.model.name == BUNDLED:
        lines.append("The encoder's pretrained weights are dequantised 4-bit weights, not the original ones.")
    if data["provenance"].get("git_dirty"):
        lines.append("Made with a version of distxfer that had uncommitted changes.")
    notes = (re.sub("`([^`]+)`", lambda part: f"`{shown_path(part[1])}`", note) for note in prepared.notes)
    return [*lines, *(markdown(f"Of the data: {note}") for note in notes)]


def _corpus(prepared: Prepared) -> str:
    return corpus_text(prepared.corpus and {**prepared.corpus, "name": shown_path(prepared.corpus["name"])})


def _span(sizes: Sequence[int]) -> str:
    return str(min(sizes)) if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"


def _licences(prepared: Prepared, bounds: Mapping[str, BoundIntervention]) -> str:
    """Return the licences of model and data as far as they are stated; missing ones are not guessed."""
    base, parallel = base_licence(prepared.model_folder), prepared.recipe.parallel
    stated = {f"the base model {markdown_code(shown_path(prepared.recipe.model.name))}": base or ""}
    stated[f"the task's data {markdown_code(shown_path(prepared.task.name))}"] = about_task(prepared).licence
    if any("pairs" in bound.needs for bound in bounds.values()) and not parallel.mined:
        about = parallel_names().get(parallel.name)
        stated[f"the parallel text {markdown_code(shown_path(parallel.name))}"] = about.licence if about else ""
    lines = [f"- {source}: {licence or 'not stated; ask its source'}\n" for source, licence in stated.items()]
    return "## Licence\n\nThe licences of the model's sources apply to it:\n\n" + "".join(lines)


def _citation(prepared: Prepared) -> str:
    task = about_task(prepared).citation
    model = prepared.recipe.model.name
    lines = [f"The task: {task}.\n"] if task else []
    if model != BUNDLED and not is_path(model):
        lines.append(f"The base model: see the card of {markdown_code(model)}.\n")
    entries = "\n\n".join(bibtex(prepared.resolved))
    return "\n".join(["## Citation\n", *lines, f"The methods:\n\n```bibtex\n{entries}\n```\n"])
