"""Compares two checkpoints: drift, alignment and transfer per language, and their correlations with distance."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isnan
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from distxfer.analysis.relations import Method, Relation, relate
from distxfer.checkpoints.notes import notes_of
from distxfer.config.files import shipped_folder
from distxfer.config.recipe import Recipe, load_recipe
from distxfer.data import Collator, Example, ParallelText, Task, issue_lines, issues, load_task, task_type_of
from distxfer.encoders import (
    Encoder,
    adapter_base,
    fingerprint,
    load_encoder,
    merge_adapters,
    model_folder,
    state_cache,
)
from distxfer.errors import InputError, did_you_mean
from distxfer.interventions import Languages
from distxfer.languages import check_distance
from distxfer.measure import (
    Decomposition,
    relative_transfer,
    top_dimension_share,
)
from distxfer.results.old_names import current_setting
from distxfer.results.result import result_of_model, unverified
from distxfer.runs.checks import check_pooling
from distxfer.runs.corpus import corpus_record
from distxfer.runs.data_issues import measured_parts
from distxfer.runs.prepare import data_notes, languages_of, parallel_of
from distxfer.runs.scoring import Scored, score
from distxfer.runs.snapshots import (
    Moment,
    Row,
    Snapshot,
    alignment_rows,
    drift_rows,
    similarity_rows,
    snapshots,
    texts_to_measure,
)
from distxfer.training import Processes

Encoders = Mapping[Moment, tuple[Encoder, str]]  # with the fingerprint of its folder
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
        """Return one object per row, score and correlation, with the columns of `measurements.parquet`; NaN is None."""
        after = {"moment": "after"}
        measured = [{**asdict(row), "value": None if isnan(row.value) else row.value} for row in self.rows]
        scored = [
            {"measure": name, "layer": None, "language": key, "value": value, "n": self.sizes[key], **after}
            for name, values in ((self.metric, self.scores), ("relative_transfer", self.transfer))
            for key, value in values.items()
        ]
        related = []
        for relation in self.relations:
            correlation = asdict(relation.found)
            head = {
                "measure": relation.measure,
                "layer": relation.layer,
                "language": None,
                "value": correlation.pop("r"),
            }
            related.append(
                {
                    **head,
                    "n": correlation.pop("n"),
                    **after,
                    "p": correlation.pop("p"),
                    "p_holm": relation.p_holm,
                    **correlation,
                }
            )
        return [*measured, *scored, *related, *self._parts()]

    def _parts(self) -> list[dict[str, Any]]:
        """Return one object for R^2 of the decomposition, and one per part, whose `value` is its share of R^2."""
        if self.decomposition is None:
            return []
        head = {"layer": None, "language": None}
        tail = {"n": self.decomposition.n, "moment": "after"}
        total = {"measure": "decomposition", **head, "value": self.decomposition.r_squared, **tail}
        parts = [asdict(part) for part in self.decomposition.parts]
        return [
            total,
            *(
                {
                    "measure": f"decomposition_{part.pop('covariate')}",
                    **head,
                    "value": part.pop("share"),
                    **tail,
                    **part,
                }
                for part in parts
            ),
        ]


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
    languages, task, parallel = _data(recipe)
    keys = [languages.source, *languages.targets]
    encoders = _encoders(before, after, recipe, task, device=Processes().device)
    tuned, _ = encoders["after"]
    _notify((before, after), tuned, recipe, task, parallel, keys, notice)
    states = _snapshots(encoders, texts_to_measure(task, parallel, keys, ["test"]), recipe.task.max_length, notice)
    rows = _rows(states, recipe, task, parallel, keys, unbiased)
    scored = _scored(tuned, recipe.task.max_length, task, keys, states["after"])
    metric = task_type_of(task).metrics[0]
    scores = {language: values[metric] for language, values in scored.scores.items()} if scored else {}
    transfer, tokens = _transfer(scores, languages.source), _tokens(tuned, task, keys)
    analysis = relate(rows, transfer, tokens, recipe.distance, languages, tuned.layers, method, diagonal)
    corpus = corpus_record(recipe.parallel.name, recipe.task.name, parallel)
    notes = notes_of(encoders, states, task, corpus, rows, scored, languages.source, unbiased)
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
        ordered=_ordered(languages, analysis.distances[analysis.distance]),
        sizes={key: len(task.examples("test", key)) for key in keys},
        metric=metric,
        rows=tuple(rows),
        scores=scores,
        transfer=transfer,
        relations=analysis.relations,
        decomposition=analysis.decomposition,
        notes=(*notes, *analysis.notes),
    )


def _notify(
    models: Sequence[str],
    encoder: Encoder,
    recipe: Recipe,
    task: Task,
    parallel: ParallelText | None,
    languages: Sequence[str],
    notice: Callable[[str], None],
) -> None:
    """Give notice of defects of the data, of texts that the encoder truncates, and of runs without digests."""
    max_length = recipe.task.max_length
    unread = issues(task_type_of(task), measured_parts(task, parallel, languages), encoder.tokenizer, max_length)
    results = [result for name in models if (result := result_of_model(Path(name).expanduser()))]
    for note in (*data_notes(task, parallel), *issue_lines(unread, max_length), *unverified(results)):
        notice(note)


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
    check_distance(recipe.distance.name, Path(recipe.distance.matrix) if recipe.distance.matrix else None)
    return recipe


def _data(recipe: Recipe) -> tuple[Languages, Task, ParallelText | None]:
    """Return the languages of a recipe, its task after its checks, and its parallel text."""
    languages = languages_of(recipe)
    task = load_task(recipe.task.data, languages.source, languages.targets)
    task_type_of(task).check(task, languages.source)
    return languages, task, parallel_of(recipe, languages)


def _encoders(before: str, after: str, recipe: Recipe, task: Task, device: torch.device) -> Encoders:
    """Return both encoders with their fingerprints; error messages say which of the two they are about."""
    encoders: dict[Moment, tuple[Encoder, str]] = {}
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
                device=device,
            )
            if moment == "before":
                check_pooling(recipe, encoder)
            if base != name:
                encoder = merge_adapters(encoder, Path(name).expanduser())
        except InputError as error:
            raise InputError(f"`{moment}`: {error}") from error
        if recipe.task.max_length > encoder.max_tokens:
            raise InputError(
                f"`task.max_length` is `{recipe.task.max_length}`, but `{moment}` reads at most {encoder.max_tokens}"
                f" tokens. Set `task.max_length={encoder.max_tokens}`."
            )
        encoders[moment] = encoder, fingerprint(folder)
    layers = {moment: encoder.layers for moment, (encoder, _) in encoders.items()}
    if layers["before"] != layers["after"]:
        raise InputError(
            f"`before={before}` has {layers['before']} layers and `after={after}` has {layers['after']}; drift is"
            " measured layer by layer, so both need the same number. Give the checkpoint that `after` was trained from."
        )
    return encoders


def _snapshots(
    encoders: Encoders, parts: Sequence[Sequence[Example]], max_length: int, notice: Callable[[str], None]
) -> dict[Moment, Snapshot]:
    """Return the snapshots of both encoders; with logits only for `after`, if its head is for the task."""
    states: dict[Moment, Snapshot] = {}
    for moment, (encoder, digest) in encoders.items():
        notice(f"Measuring {sum(map(len, parts))} texts with `{encoder.name}`.")
        cache = state_cache(encoder, digest, max_length, notice)
        collate = Collator(encoder.tokenizer, max_length, encoder.device)
        scored = moment == "after" and (encoder.head_is_loaded or encoder.output == "state")
        states[moment] = snapshots(encoder, collate, parts, Processes(), cache, logits=scored)
    return states


def _rows(
    states: Mapping[Moment, Snapshot],
    recipe: Recipe,
    task: Task,
    parallel: ParallelText | None,
    languages: Sequence[str],
    unbiased: bool,
) -> list[Row]:
    rows = drift_rows(states["before"], states["after"], task, languages, "after", unbiased=unbiased)
    for moment, snapshot in states.items():
        rows += _share_rows(snapshot, task, languages, moment) + alignment_rows(snapshot, parallel, moment)
    return rows + similarity_rows(states["before"], states["after"], task, languages, recipe.measure.similarity)


def _share_rows(now: Snapshot, task: Task, languages: Iterable[str], moment: Moment) -> list[Row]:
    """Return the share of the variance in the largest dimension; if it is large, raw CKA depends mostly on that dimension."""
    return [
        Row("top_dimension_share", layer, language, top_dimension_share(states), len(examples), moment)
        for language in languages
        for examples in [task.examples("test", language)]
        for layer, states in enumerate(now.states(examples))
    ]


def _ordered(languages: Languages, distances: Mapping[str, float]) -> tuple[str, ...]:
    """Return the source and the targets in the order of their distance; targets without a distance are last."""
    return languages.source, *sorted(languages.targets, key=lambda key: (distances.get(key, inf), key))


def _tokens(encoder: Encoder, task: Task, languages: Iterable[str]) -> dict[str, float]:
    """Return the mean number of tokens per test text; not per word, since not every script separates words."""

    def mean(examples: Sequence[Example]) -> float:
        return fmean(len(encoder.tokenizer(example.text, example.text_pair)["input_ids"]) for example in examples)

    return {language: mean(task.examples("test", language)) for language in languages}


def _transfer(scores: Mapping[str, float], source: str) -> dict[str, float]:
    """Return the relative transfer of every language, including 0 for the source; empty if it is undefined."""
    relative = {language: relative_transfer(score, scores[source]) for language, score in scores.items()}
    return {language: value for language, value in relative.items() if value is not None}


def _scored(encoder: Encoder, max_length: int, task: Task, languages: Sequence[str], now: Snapshot) -> Scored | None:
    """Return the scores of the tuned encoder, or None if it has no head for the task."""
    if not (encoder.head_is_loaded or encoder.output == "state"):
        return None
    collate = Collator(encoder.tokenizer, max_length, encoder.device, task_type_of(task))
    return score(encoder, collate, task, "test", languages, now, Processes())
