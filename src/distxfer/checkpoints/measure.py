"""Compares two checkpoints: drift, alignment and transfer per language, and their correlations with distance."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isnan
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, cast

import torch

from distxfer.analysis.relations import Method, Relation, relate
from distxfer.config.files import shipped_folder
from distxfer.config.recipe import Recipe, load_recipe
from distxfer.data import Collator, Example, Task, issue_lines, issues, task_type_of
from distxfer.encoders import (
    Encoder,
    adapter_base,
    adapter_class,
    fingerprint,
    load_encoder,
    model_folder,
    state_cache,
)
from distxfer.errors import InputError, did_you_mean, listed
from distxfer.languages import check_distance
from distxfer.measure import (
    Decomposition,
    relative_transfer,
    top_dimension_share,
)
from distxfer.results.descriptions import corpus_text
from distxfer.results.old_names import current_setting
from distxfer.results.result import result_of_model, unverified
from distxfer.runs.checks import check_pooling
from distxfer.runs.corpus import corpus_record
from distxfer.runs.data_issues import measured_parts
from distxfer.runs.measurements import (
    Moment,
    Row,
    alignment_rows,
    drift_rows,
    similarity_rows,
    undefined_notes,
    undefined_values,
)
from distxfer.runs.prepare import data_notes, data_of
from distxfer.runs.scoring import Scored, score
from distxfer.runs.snapshots import Snapshot, snapshot, texts_to_measure
from distxfer.training import Processes

_MODELS: tuple[Moment, ...] = ("before", "after")
_EXAMPLE = "distxfer measure before=bundled/multilingual-e5-small after=results/plain/0123abcd-s0/model task=emoji"
# The keys of a recipe that have an effect on measuring; the rest concern training.
_READ = ("model.pooling", "task.name", "task.source", "task.targets", "task.max_length", "task.folder", "task.revision",
         "task.type", "task.pattern", "task.columns", "distance.name", "distance.imputed", "distance.matrix",
         "parallel.name", "parallel.folder", "parallel.revision", "parallel.pattern", "measure.similarity")  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """All measurements of two checkpoints; `notes` say what could not be measured, and why.

    `distances` is by name and language (0 for the source); `ordered` has all languages in the order of the recipe's
    distance, beginning with the source. `scores` (of `metric`) and `transfer` (relative, see `relative_transfer`) are empty
    without a head for the task. `decomposition` decomposes transfer into the recipe's distance, a script different from the
    source's, and the number of tokens per test text.
    """

    before: str
    after: str
    task: str
    source: str
    layers: int
    pooling: str
    unbiased: bool
    method: Method
    diagonal: bool
    imputed: bool
    distance: str
    distances: Mapping[str, Mapping[str, float]]
    ordered: tuple[str, ...]
    sizes: Mapping[str, int]
    metric: str
    rows: tuple[Row, ...]
    scores: Mapping[str, float]
    transfer: Mapping[str, float]
    relations: tuple[Relation, ...]
    decomposition: Decomposition | None
    notes: tuple[str, ...]

    def drift(self, language: str) -> dict[int, float]:
        """Return the raw drift (`drift_cka`) by layer, 0 to n."""
        return {
            row.layer: row.value
            for row in self.rows
            if (row.measure, row.language, row.moment) == ("drift_cka", language, "after")
        }

    def relation(self, measure: str, layer: int | None = None) -> Relation:
        """Return one correlation."""
        return next(relation for relation in self.relations if (relation.measure, relation.layer) == (measure, layer))

    def records(self) -> list[dict[str, Any]]:
        """Return one object per row, score and correlation, with the columns of `measurements.parquet`; NaN is None.

        The decomposition has one for its R^2, and one per part, whose `value` is its share of R^2.
        """
        records = [{**asdict(row), "value": None if isnan(row.value) else row.value} for row in self.rows]
        for name, values in ((self.metric, self.scores), ("relative_transfer", self.transfer)):
            records += [_record(name, value, self.sizes[key], language=key) for key, value in values.items()]
        for relation in self.relations:
            correlation = asdict(relation.found)
            r, n, p = (correlation.pop(key) for key in ("r", "n", "p"))
            records.append(_record(relation.measure, r, n, relation.layer, p=p, p_holm=relation.p_holm, **correlation))
        if self.decomposition is not None:
            n = self.decomposition.n
            records.append(_record("decomposition", self.decomposition.r_squared, n))
            for part in map(asdict, self.decomposition.parts):
                name, share = part.pop("covariate"), part.pop("share")
                records.append(_record(f"decomposition_{name}", share, n, **part))
        return records


def _record(
    measure: str, value: float, n: int, layer: int | None = None, language: str | None = None, **columns: Any
) -> dict[str, Any]:
    return {
        "measure": measure,
        "layer": layer,
        "language": language,
        "value": value,
        "n": n,
        "moment": "after",
        **columns,
    }


def checkpoints(words: Sequence[str]) -> tuple[str, str, list[str]]:
    """Return the models of `before=MODEL` and `after=MODEL`, and the remaining words, which are settings of `measure`.

    Raises InputError if one of the two is missing, empty or repeated.
    """
    models: dict[str, list[str]] = {name: [] for name in _MODELS}
    settings = []
    for word in words:
        key, separator, value = (part.strip() for part in word.partition("="))
        if key in _MODELS and separator and value:
            models[key].append(value)
        elif key not in _MODELS:
            settings.append(word)
    for name, values in models.items():
        if len(values) != 1:
            count = f"`{name}` {len(values)} times" if values else f"no `{name}`"
            raise InputError(
                f"The command names {count}; expected one `before=MODEL` and one `after=MODEL`. For example: {_EXAMPLE}"
            )
    return models["before"][0], models["after"][0], settings


def measure(
    before: str,
    after: str,
    settings: Sequence[str] = (),
    *,
    unbiased: bool = True,
    method: Method = "spearman",
    diagonal: bool = False,
    notice: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Compare two checkpoints with the same number of layers: folders, hub names or the bundled encoder.

    On the task's test sentences of the source and every target: drift 1 - CKA(before, after) per layer, raw and
    standardised; the measures of `measure.similarity`; the share of the variance in the largest dimension; retrieval on the
    held-out pairs; the score of `after`, if its head is for exactly the task's labels. Over the targets: correlations of
    drift with each typological distance, of drift with relative transfer, and of transfer with distance, by permutation
    tests that keep families together, with Holm's correction over all cells of each of the three (the source is left out
    unless `diagonal`); the decomposition of transfer. `settings` are overrides of a recipe, such as `task=emoji`.

    Raises InputError for settings that are unknown or about training, and models that do not load or differ in depth.
    Reference: Philippy et al. 2023, whose drift is `unbiased=False` with `model.pooling=cls`.
    """
    recipe = _recipe(settings, before)
    _ = recipe.task.single_source  # distances and correlations are from one
    languages, task, parallel = data_of(recipe)
    keys, max_length, processes = languages.all, recipe.task.max_length, Processes()
    encoders = _encoders(before, after, recipe, task, processes.device)
    tuned, task_type = encoders["after"], task_type_of(task)
    unread, longest = issues(task_type, measured_parts(task, parallel, keys), tuned.tokenizer, max_length)
    results = [result for name in (before, after) if (result := result_of_model(Path(name).expanduser()))]
    lines = issue_lines(unread, max_length, longest, min(encoder.max_tokens for encoder in encoders.values()))
    for note in (*data_notes(task, parallel), *lines, *unverified(results)):
        notice(note)
    has_head = tuned.head_is_loaded or tuned.output == "state"
    parts = texts_to_measure(task, parallel, keys)
    states: dict[Moment, Snapshot] = {}
    for moment, encoder in encoders.items():
        notice(f"Measuring {sum(map(len, parts))} texts with `{encoder.name}`.")
        cache = state_cache(encoder, encoder.fingerprint, max_length, notice)
        collate = Collator(encoder.tokenizer, max_length, encoder.device, task_type)
        states[moment] = snapshot(encoder, collate, parts, processes, cache, logits=moment == "after" and has_head)
    then, now = states["before"], states["after"]
    outputs = {key: now.outputs(task.examples("test", key)) for key in keys}
    scored = score(tuned, collate, task, "test", keys, processes, outputs) if has_head else None
    rows = [row for key in keys for row in drift_rows(then, now, task, key, "after", unbiased=unbiased)]
    for moment, of_moment in states.items():
        rows += _share_rows(of_moment, task, keys, moment)
        rows += (row for key in keys for row in alignment_rows(of_moment, of_moment, parallel, key, moment))
    rows += (row for key in keys for row in similarity_rows(then, now, task, key, recipe.measure.similarity))
    metric = task_type.metrics[0]
    scores = {language: values[metric] for language, values in scored.scores.items()} if scored else {}
    relative = {language: relative_transfer(value, scores[languages.source]) for language, value in scores.items()}
    transfer = {language: value for language, value in relative.items() if value is not None}
    tokens = {key: _mean_tokens(tuned, task.examples("test", key)) for key in keys}
    analysis = relate(rows, transfer, tokens, recipe.distance, languages, tuned.layers, method, diagonal)
    distances = analysis.distances[analysis.distance]
    corpus = corpus_record(recipe.parallel.name, recipe.task.name, parallel)
    notes = [
        *_tokenizer_notes(encoders),
        *undefined_notes(undefined_values(then, now, task, rows, unbiased=unbiased)),
        *([] if corpus else ["No parallel text (`parallel`), so no retrieval."]),
        *_score_notes(scored, task, languages.source),
        *([f"parallel text: {corpus_text(corpus)}."] if corpus else []),
    ]
    return Measured(
        before=before,
        after=after,
        task=task.name,
        source=languages.source,
        layers=tuned.layers,
        pooling=tuned.pooling,
        unbiased=unbiased,
        method=method,
        diagonal=diagonal,
        imputed=recipe.distance.imputed,
        distance=analysis.distance,
        distances=analysis.distances,
        ordered=(languages.source, *sorted(languages.targets, key=lambda key: (distances.get(key, inf), key))),
        sizes={key: len(task.examples("test", key)) for key in keys},
        metric=metric,
        rows=tuple(rows),
        scores=scores,
        transfer=transfer,
        relations=analysis.relations,
        decomposition=analysis.decomposition,
        notes=(*notes, *analysis.notes),
    )


def _recipe(settings: Sequence[str], before: str) -> Recipe:
    """Return the defaults with these settings; raises InputError for settings without effect on measuring.

    The default pooling is that of the family of the model `before`, as in training.
    """
    for word in settings:
        key, separator, _ = (part.strip() for part in word.partition("="))
        key, _ = current_setting(key, "")
        plain = f"{key}.name" if f"{key}.name" in _READ else key
        plain = "task.columns" if key.startswith("task.columns.") else plain
        if key.split(".")[0] in ("recipe", "seed", "phases", "phase", "intervention") or (
            key in ("model", "model.name", "model.revision", "model.train_word_embeddings")
        ):
            hint = (
                "`before` and `after` name the models" if key in ("model", "model.name") else "nothing is trained here"
            )
            raise InputError(
                f"`{key}` has no effect on measuring: {hint}. Remove it; the keys are: {', '.join(_READ)}."
            )
        if separator and key and plain not in _READ:
            raise InputError(f"`{key}` is not a key.{did_you_mean(key, _READ)} The keys are: {', '.join(_READ)}.")
    recipe = load_recipe(str(shipped_folder() / "plain.toml"), [f"model={before}", *settings])
    check_distance(recipe.distance.name, recipe.distance.table)
    return recipe


def _encoders(before: str, after: str, recipe: Recipe, task: Task, device: torch.device) -> dict[Moment, Encoder]:
    """Return both encoders; error messages say which of the two they are about."""
    encoders: dict[Moment, Encoder] = {}
    for moment, name in zip(_MODELS, (before, after), strict=True):
        try:
            base = adapter_base(name)
            folder = model_folder(base)
            recipe = recipe.pooled_as(folder) if moment == "before" else recipe
            encoder = load_encoder(
                base,
                folder,
                task.labels,
                seed=0,
                output=task_type_of(task).output,
                pooling=recipe.model.pooling,
                head=_head(Path(name).expanduser()) if base != name else "auto",
                fingerprint=fingerprint(folder),
                device=device,
            )
            if moment == "before":
                check_pooling(recipe, encoder)
            if base != name:
                from distxfer.encoders import merge_adapters  # needs PEFT

                encoder = merge_adapters(encoder, Path(name).expanduser())
        except InputError as error:
            raise InputError(f"`{moment}`: {error}") from error
        if recipe.task.max_length > encoder.max_tokens:
            raise InputError(
                f"`task.max_length` is `{recipe.task.max_length}`, but `{moment}` reads at most {encoder.max_tokens}"
                f" tokens. Set `task.max_length={encoder.max_tokens}`."
            )
        encoders[moment] = encoder
    layers = {moment: encoder.layers for moment, encoder in encoders.items()}
    if layers["before"] != layers["after"]:
        raise InputError(
            f"`before={before}` has {layers['before']} layers and `after={after}` has {layers['after']}; drift is"
            " measured layer by layer, so both need the same number. Give the checkpoint that `after` was trained from."
        )
    return encoders


def _head(adapters: Path) -> Literal["auto", "architecture"]:
    """Return the kind of head that adapters were trained with; PEFT saves a class of models, but not for stacks."""
    if run := result_of_model(adapters):
        return cast(Literal["auto", "architecture"], run.recipe["model"].get("head", "architecture"))
    return "auto" if adapter_class(adapters) == "TOKEN_CLS" else "architecture"


def _share_rows(now: Snapshot, task: Task, languages: Iterable[str], moment: Moment) -> list[Row]:
    """Return the share of the variance in the largest dimension; if it is large, raw CKA depends mostly on that dimension."""
    return [
        Row("top_dimension_share", layer, language, top_dimension_share(states), len(examples), moment)
        for language in languages
        for examples in [task.examples("test", language)]
        for layer, states in enumerate(now.states(examples))
    ]


def _mean_tokens(encoder: Encoder, examples: Sequence[Example]) -> float:
    """Return the mean number of tokens per text; not per word, since not every script separates words."""
    return fmean(len(encoder.tokenizer(example.text, example.text_pair)["input_ids"]) for example in examples)


def _tokenizer_notes(encoders: Mapping[Moment, Encoder]) -> list[str]:
    before, after = encoders["before"], encoders["after"]
    if before.tokenizer.get_vocab() == after.tokenizer.get_vocab():
        return []
    return ["The two checkpoints have different tokenizers: each read the same sentences with its own."]


def _score_notes(scored: Scored | None, task: Task, source: str) -> list[str]:
    task_type = task_type_of(task)
    metric = task_type.metrics[0].replace("_", " ")
    if scored is None:
        labels = f"exactly the labels of `{task.name}` ({listed(task.labels)})" if task.labels else f"`{task.name}`"
        return [f"`after` has no head for {labels}: no scores, no transfer."]
    if not scored.scores[source][task_type.metrics[0]]:
        return [f"The source's {metric} is 0: relative transfer is not defined."]
    if task_type.collapsed(scored.examples[source], scored.predictions[source]):
        return [
            f"COLLAPSED: the source's {metric} is within noise of the majority class: there is nothing to transfer."
        ]
    return []
