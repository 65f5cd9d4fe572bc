"""What lies between two checkpoints: drift, alignment and transfer per language, and how they go with distance."""

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
from distxfer.data import Collator, Example, ParallelText, Task, issue_lines, issues, kind_of, load_task
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
from distxfer.results.corpus import corpus_text
from distxfer.results.result import result_of_model, unverified
from distxfer.runs.checks import check_pooling
from distxfer.runs.corpus import corpus_record
from distxfer.runs.data_issues import measured_parts
from distxfer.runs.prediction import Scored, score
from distxfer.runs.prepare import data_notes, languages_of, parallel_of
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
# What of a recipe says what is measured; the rest is about training.
_READ = ("model.pooling", "task.name", "task.source", "task.targets", "task.max_length", "task.folder", "task.revision",
         "task.kind", "task.pattern", "task.columns", "distance.name", "distance.imputed", "distance.matrix",
         "parallel.name", "parallel.folder", "parallel.revision", "parallel.pattern", "measure.similarity")  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Everything that was measured between two checkpoints; `notes` say what could not be, and why.

    `distances` is by name and language (the source at 0), `ordered` all languages by the recipe's distance, the source
    first. `scores` (of `metric`) and `transfer` (relative, see `relative_transfer`) are empty without a head for the task.
    `decomposition` divides transfer over the recipe's distance, another script than the source's, and the tokens that a
    test text takes.
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
        """Return drift (raw, `drift_cka`) by layer, 0 to n."""
        return {
            row.layer: row.value
            for row in self.rows
            if (row.measure, row.language, row.moment) == ("drift_cka", language, "after")
        }

    def relation(self, measure: str, layer: int | None = None) -> Relation:
        """Return one correlation."""
        return next(one for one in self.relations if (one.measure, one.layer) == (measure, layer))

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
        for one in self.relations:
            found = asdict(one.found)
            head = {"measure": one.measure, "layer": one.layer, "language": None, "value": found.pop("r")}
            related.append({**head, "n": found.pop("n"), **after, "p": found.pop("p"), "p_holm": one.p_holm, **found})
        return [*measured, *scored, *related, *self._parts()]

    def _parts(self) -> list[dict[str, Any]]:
        """Return one object per part of the decomposition, `value` being its share of R^2, and one for R^2."""
        if self.decomposition is None:
            return []
        head = {"layer": None, "language": None}
        tail = {"n": self.decomposition.n, "moment": "after"}
        whole = {"measure": "decomposition", **head, "value": self.decomposition.r_squared, **tail}
        found = [asdict(part) for part in self.decomposition.parts]
        return [
            whole,
            *(
                {"measure": f"decomposition_{one.pop('covariate')}", **head, "value": one.pop("share"), **tail, **one}
                for one in found
            ),
        ]


def checkpoints(words: Sequence[str]) -> tuple[str, str, list[str]]:
    """Return the models that `before=MODEL` and `after=MODEL` name, and the other words, which `measure` takes.

    Raises InputError where one of the two is missing, empty or there twice.
    """
    models: dict[str, list[str]] = {name: [] for name in _MODELS}
    rest = []
    for word in words:
        key, separator, value = (part.strip() for part in word.partition("="))
        if key in _MODELS and separator and value:
            models[key].append(value)
        elif key not in _MODELS:
            rest.append(word)
    for name, values in models.items():
        if len(values) != 1:
            said = f"`{name}` {len(values)} times" if values else f"no `{name}`"
            raise InputError(
                f"The command names {said}; expected one `before=MODEL` and one `after=MODEL`. For example: {_EXAMPLE}"
            )
    return models["before"][0], models["after"][0], rest


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
    """Measure what lies between two checkpoints of as many layers: folders, hub names or the bundled encoder.

    For the source and every target, on the task's test sentences: drift 1 - CKA(before, after) per layer, raw and
    standardised; the similarity measures of `measure.similarity`; the share of the variance in the largest dimension;
    retrieval on the held-out pairs; the score of `after`, where its head is for exactly the task's labels. Over the
    targets: correlations of drift with each typological distance, of drift with relative transfer, and of transfer with
    distance, with permutation tests that keep families together and Holm's correction over all cells of each of the three
    (the source is left out unless `diagonal`); the decomposition of transfer. `settings` are overrides of a recipe, such
    as `task=emoji` or `model.pooling=cls`. One forward pass a model and text, cached.

    Raises InputError for settings that are unknown or about training, and models that do not load or differ in depth.
    Reference: Philippy et al. 2023, whose drift is `unbiased=False` with `model.pooling=cls`.
    """
    recipe = _recipe(settings, before)
    languages, task, parallel = _data(recipe)
    every = [languages.source, *languages.targets]
    encoders = _encoders(before, after, recipe, task, device=Processes().device)
    tokenizer, max_length = encoders["after"][0].tokenizer, recipe.task.max_length
    unread = issues(kind_of(task), measured_parts(task, parallel, every), tokenizer, max_length)
    of_runs = (result_of_model(Path(name).expanduser()) for name in (before, after))
    unchecked = unverified(result for result in of_runs if result)
    for note in (*data_notes(task, parallel), *issue_lines(unread, max_length), *unchecked):
        notice(note)
    taken = _take(encoders, texts_to_measure(task, parallel, every, ["test"]), recipe.task.max_length, notice)
    tuned, _ = encoders["after"]
    rows = _rows(taken, task, parallel, every, unbiased)
    rows += similarity_rows(taken["before"], taken["after"], task, every, recipe.measure.similarity)
    scored = _scored(tuned, recipe.task.max_length, task, every, taken["after"])
    metric = kind_of(task).metrics[0]
    corpus = corpus_record(recipe.parallel.name, recipe.task.name, parallel)
    scores = {language: values[metric] for language, values in scored.scores.items()} if scored else {}
    transfer, tokens = _transfer(scores, languages.source), _tokens(tuned, task, every)
    found = relate(rows, transfer, tokens, recipe.distance, languages, tuned.layers, method, diagonal)
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
        distance=found.distance,
        distances=found.distances,
        ordered=_ordered(languages, found.distances[found.distance]),
        sizes={key: len(task.examples("test", key)) for key in every},
        metric=metric,
        rows=tuple(rows),
        scores=scores,
        transfer=transfer,
        relations=found.relations,
        decomposition=found.decomposition,
        notes=(
            *notes_of(encoders, taken, task, parallel, rows, scored, languages.source, unbiased),
            *([f"parallel text: {corpus_text(corpus)}."] if corpus else []),
            *found.notes,
        ),
    )


def _recipe(settings: Sequence[str], before: str) -> Recipe:
    """Return the recipe that settles what is measured: the defaults with these settings, all of which must count.

    How states are pooled goes by the family of the model `before`, as it does in training.
    """
    for word in settings:
        key, separator, _ = (part.strip() for part in word.partition("="))
        plain = f"{key}.name" if f"{key}.name" in _READ else key
        plain = "task.columns" if key.startswith("task.columns.") else plain
        if key.split(".")[0] in ("recipe", "seed", "phases", "phase", "intervention") or (
            key in ("model", "model.name", "model.revision", "model.train_word_embeddings")
        ):
            why = (
                "`before` and `after` name the models" if key in ("model", "model.name") else "nothing is trained here"
            )
            raise InputError(
                f"`{key}` says nothing about what is measured: {why}. Leave it out; what counts: {', '.join(_READ)}."
            )
        if separator and key and plain not in _READ:
            raise InputError(f"`{key}` is no key.{did_you_mean(key, _READ)} What counts: {', '.join(_READ)}.")
    recipe = load_recipe(str(shipped_folder() / "plain.toml"), [f"model={before}", *settings])
    check_distance(recipe.distance.name, Path(recipe.distance.matrix) if recipe.distance.matrix else None)
    return recipe


def _data(recipe: Recipe) -> tuple[Languages, Task, ParallelText | None]:
    """Return the languages of a recipe, its task, whose kind has checked it, and its parallel text."""
    languages = languages_of(recipe)
    task = load_task(recipe.task.data, languages.source, languages.targets)
    kind_of(task).check(task, languages.source)
    return languages, task, parallel_of(recipe, languages)


def _encoders(before: str, after: str, recipe: Recipe, task: Task, device: torch.device) -> Encoders:
    """Return both encoders with their fingerprints; a complaint says which of the two it is about."""
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
                output=kind_of(task).output,
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
                f" tokens. Say `task.max_length={encoder.max_tokens}`."
            )
        encoders[moment] = encoder, fingerprint(folder)
    layers = {moment: encoder.layers for moment, (encoder, _) in encoders.items()}
    if layers["before"] != layers["after"]:
        raise InputError(
            f"`before={before}` has {layers['before']} layers and `after={after}` has {layers['after']}; drift is"
            " measured layer by layer, so both need as many. Give the checkpoint that `after` was trained from."
        )
    return encoders


def _take(
    encoders: Encoders, parts: Sequence[Sequence[Example]], max_length: int, notice: Callable[[str], None]
) -> dict[Moment, Snapshot]:
    """Return what each encoder makes of the texts; logits only of the tuned one, where its head is for the task."""
    taken: dict[Moment, Snapshot] = {}
    for moment, (encoder, digest) in encoders.items():
        notice(f"Measuring {sum(map(len, parts))} texts with `{encoder.name}`.")
        cache = state_cache(encoder, digest, max_length, notice)
        collate = Collator(encoder.tokenizer, max_length, encoder.device)
        scored = moment == "after" and (encoder.head_is_loaded or encoder.output == "state")
        taken[moment] = snapshots(encoder, collate, parts, Processes(), cache, logits=scored)
    return taken


def _rows(
    taken: Mapping[Moment, Snapshot],
    task: Task,
    parallel: ParallelText | None,
    languages: Sequence[str],
    unbiased: bool,
) -> list[Row]:
    rows = drift_rows(taken["before"], taken["after"], task, languages, "after", unbiased=unbiased)
    for moment, one in taken.items():
        rows += _share_rows(one, task, languages, moment) + alignment_rows(one, parallel, moment)
    return rows


def _share_rows(now: Snapshot, task: Task, languages: Iterable[str], moment: Moment) -> list[Row]:
    """Return how much of the variance the largest dimension holds: where that is much, raw CKA is about it alone."""
    return [
        Row("top_dimension_share", layer, language, top_dimension_share(states), len(examples), moment)
        for language in languages
        for examples in [task.examples("test", language)]
        for layer, states in enumerate(now.states(examples))
    ]


def _ordered(languages: Languages, far: Mapping[str, float]) -> tuple[str, ...]:
    """Return the source, and the targets from the nearest on; those without a distance come last."""
    return languages.source, *sorted(languages.targets, key=lambda key: (far.get(key, inf), key))


def _tokens(encoder: Encoder, task: Task, languages: Iterable[str]) -> dict[str, float]:
    """Return the mean number of tokens of a test text. Per text, since not every script parts words."""

    def mean(examples: Sequence[Example]) -> float:
        return fmean(len(encoder.tokenizer(one.text, one.text_pair)["input_ids"]) for one in examples)

    return {language: mean(task.examples("test", language)) for language in languages}


def _transfer(scores: Mapping[str, float], source: str) -> dict[str, float]:
    """Return the relative transfer of every language, the source's 0 included; nothing where it is not defined."""
    relative = {language: relative_transfer(score, scores[source]) for language, score in scores.items()}
    return {language: value for language, value in relative.items() if value is not None}


def _scored(encoder: Encoder, max_length: int, task: Task, languages: Sequence[str], now: Snapshot) -> Scored | None:
    """Return the scores of the tuned encoder, or None where it has no head for the task."""
    if not (encoder.head_is_loaded or encoder.output == "state"):
        return None
    collate = Collator(encoder.tokenizer, max_length, encoder.device, kind_of(task))
    return score(encoder, collate, task, "test", languages, now, Processes())
