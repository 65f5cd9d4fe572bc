"""From a recipe to a run that is ready to train: languages, distances, data, encoder, bound interventions."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distxfer.config.recipe import Recipe
from distxfer.data import (
    Collator,
    Example,
    Issue,
    Joined,
    Pair,
    ParallelText,
    Parts,
    Picked,
    Task,
    TaskType,
    leaks,
    load_parallel,
    load_task,
    task_languages,
    task_type_of,
    unread_dictionaries,
)
from distxfer.encoders import Encoder, StateCache, fingerprint, load_encoder, model_folder, state_cache
from distxfer.errors import InputError, listed
from distxfer.interventions import BoundIntervention, Languages
from distxfer.languages import Distances, canonical, distances
from distxfer.results.old_names import original_recipe
from distxfer.runs.checks import (
    PARALLEL,
    check_head,
    check_pooling,
    few_texts,
    pairs_that_differ,
    require,
    shots_of_one_class,
    texts_that_differ,
)
from distxfer.runs.corpus import corpus_record
from distxfer.runs.snapshots import mined_pairs
from distxfer.runs.sources import mixed, with_labels_of_sources
from distxfer.training import Processes, Training, TrainingData, stream_seed, torch_stream


@dataclass(frozen=True)
class Prepared:
    """A recipe with its languages resolved and its data read; `id` identifies it independently of the seed."""

    recipe: Recipe
    resolved: Mapping[str, Any]
    languages: Languages
    distances: Distances
    task: Task
    labelled: Sequence[Example]  # what training may read with labels; none in tasks without labels
    parallel: ParallelText | None
    model_folder: Path
    fingerprints: Mapping[str, str]
    # Known once the encoder is loaded: data that it does not read, and notes on these and on its head.
    issues: tuple[Issue, ...] = ()
    encoder_notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The first 8 hex digits of the SHA-256 of the resolved recipe without its seed, the data and the model."""
        recipe = original_recipe({key: value for key, value in self.resolved.items() if key != "seed"})
        canonical_form = json.dumps({"recipe": recipe, **self.fingerprints}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical_form.encode()).hexdigest()[:8]

    @property
    def corpus(self) -> dict[str, Any] | None:
        """The parallel text, as in `result.json`."""
        return corpus_record(self.recipe.parallel.name, self.recipe.task.name, self.parallel)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on the data, the distances and the encoder."""
        return (
            *data_notes(self.task, self.parallel),
            *_distance_notes(self.recipe, self.distances),
            *self.encoder_notes,
        )

    def folder(self, results: Path) -> Path:
        """Return the folder of this run's result: `results/<recipe>/<id>-s<seed>`."""
        return results / self.recipe.name / f"{self.id}-s{self.recipe.seed}"


@dataclass(frozen=True)
class Assembled:
    """A prepared recipe with its encoder in memory and its interventions bound to it."""

    encoder: Encoder
    collate: Collator
    bounds: Mapping[str, BoundIntervention]
    training: Training
    resolved_values: Mapping[str, Mapping[str, Any]]  # values that were determined while binding, for the result
    states: Callable[[], StateCache]  # the cache of the encoder's states, to be called before the first step


def prepare(recipe: Recipe) -> Prepared:
    """Read the data of a recipe and resolve its languages.

    Raises InputError for a repeated language, a source that is also a target, a language without data in the task or the
    distance, an unknown task, distance, parallel text or model, and too few labels.
    """
    languages, task, parallel = data_of(recipe)
    labelled = {} if task_type_of(task).output == "state" else _labelled(recipe, languages, task)
    task = replace(task, notes=(*task.notes, *shots_of_one_class(task, labelled, languages.targets)))
    chosen = recipe.distance
    between = distances(
        languages.sources,
        languages.targets,
        chosen.name,
        imputed=chosen.imputed,
        matrix=chosen.table,
        seed=recipe.seed,
        of_sources=chosen.sources,
    )
    if parallel:
        parallel = replace(parallel, notes=(*parallel.notes, *leaks(task, parallel)))
    folder = model_folder(recipe.model.name, recipe.model.revision)
    recipe = recipe.pooled_as(folder)
    resolved = recipe.resolved(complete=False)
    resolved["task"] |= {"source": ",".join(languages.sources), "targets": list(languages.targets)}
    return Prepared(
        recipe=recipe,
        resolved=resolved,
        languages=languages,
        distances=between,
        task=task,
        labelled=Joined(labelled.values()),
        parallel=parallel,
        model_folder=folder,
        fingerprints={
            "task": task.fingerprint(),
            "parallel": parallel.fingerprint() if parallel else "",
            "distances": _digest(between),
            "files": _files_digest(recipe, languages),
            "model": fingerprint(folder),
        },
    )


def data_of(recipe: Recipe) -> tuple[Languages, Task, ParallelText | None]:
    """Return the languages of a recipe, its task after its checks, and its parallel text."""
    languages = languages_of(recipe)
    labelled, others = recipe.task.shots != 0, languages.other_sources
    task = load_task(
        recipe.task.data, languages.source, (*others, *languages.targets), target_labels=labelled or bool(others)
    )
    if others:
        task = with_labels_of_sources(task, languages, keep_targets=labelled)
    task_type_of(task).check(task, languages.source)
    return languages, task, parallel_of(recipe, languages)


def _distance_notes(recipe: Recipe, between: Distances) -> list[str]:
    """Return the warnings on the distances of the recipe and its interventions, with the keys that depend on them."""
    notes = list(between.warnings)
    weightings: dict[str, list[str]] = {}
    for name, intervention in recipe.interventions.items():
        if getattr(intervention, "weighting", "uniform") != "uniform":
            by = between.by(getattr(intervention, "distance", ""))
            for warning in () if by.name == "shuffled" else by.warnings:
                weightings.setdefault(warning, []).append(f"`intervention.{name}.weighting`")
    effect = "It determines the weights of these languages in"
    notes += [f"{warning} {effect} {', '.join(keys)}." for warning, keys in weightings.items()]
    return [note for note in notes if not any(longer != note and longer.startswith(note) for longer in notes)]


def assemble(prepared: Prepared, processes: Processes, notice: Callable[[str], None] = lambda text: None) -> Assembled:
    """Load the encoder and bind the interventions to it.

    Raises InputError for a layer that the encoder does not have, a phase in which nothing may train, and text that an
    intervention needs but the recipe does not provide.
    """
    recipe, task_type = prepared.recipe, task_type_of(prepared.task)
    encoder = _load(prepared, task_type, processes)
    bounds: dict[str, BoundIntervention] = {}
    for name, intervention in recipe.interventions.items():
        # Binding may draw new weights (adapters, heads).
        with torch_stream(processes.device, recipe.seed, "bind", name), _naming_intervention(name):
            bounds[name] = intervention.bind(encoder, prepared.languages, prepared.distances)
    if recipe.model.frozen_weights != "float32":
        encoder.store_frozen(recipe.model.frozen_weights)
    encoder.move_to(processes.device)
    if recipe.parallel.mined and not any("pairs" in bound.needs for bound in bounds.values()):
        raise InputError(
            "`parallel.mined` = `true` has no effect, since no intervention of the recipe reads pairs. Remove it, or add one"
            " that does, such as `intervention.align.weight=0.5`."
        )
    collate = Collator(encoder.tokenizer, recipe.task.max_length, encoder.device, task_type)

    @cache
    def states() -> StateCache:
        return state_cache(encoder, prepared.fingerprints["model"], recipe.task.max_length, notice)

    pairs = _pairs(prepared, encoder, collate, processes, states)
    texts = {
        language: prepared.task.unlabelled.get(language) or [pair.target for pair in pairs.get(language, ())]
        for language in prepared.languages.targets
    }
    for name, bound in bounds.items():
        if "pairs" in bound.needs:
            require(
                name, PARALLEL, bound, {key: pairs_that_differ(group, bound) for key, group in pairs.items()}, recipe
            )
        if "target_text" in bound.needs:
            sizes = {key: texts_that_differ(group, bound.min_distinct_texts) for key, group in texts.items()}
            require(name, "unlabelled text", bound, sizes, recipe)
        if bound.checks is not None:
            with _naming_intervention(name):
                bound.checks(pairs)
    check_head(recipe, bounds, encoder, task_type.output)
    texts |= {
        source: prepared.task.unlabelled.get(source) or prepared.task.examples("train", source)
        for source in prepared.languages.sources
    }
    data = TrainingData(_examples(prepared, encoder, task_type, pairs), pairs, texts, collate)
    training = Training(
        encoder,
        data,
        bounds,
        recipe.phases,
        processes,
        recipe.seed,
        recipe.diagnostics,
        lambda: states().for_training(processes.precision),
        cached=recipe.model.reference == "cached",
    )
    values = {name: bound.resolved_values for name, bound in bounds.items() if bound.resolved_values}
    if recipe.parallel.mined:
        values["parallel.mined"] = {language: len(group) for language, group in pairs.items()}
    return Assembled(encoder, collate, bounds, training, values, states)


def _load(prepared: Prepared, task_type: TaskType, processes: Processes) -> Encoder:
    """Load the encoder; with frozen weights in fewer bits, onto the CPU first, so that a GPU never holds them in float32."""
    recipe = prepared.recipe
    if recipe.model.frozen_weights == "bf16" and processes.precision != "bf16":
        raise InputError(
            f"`model.frozen_weights` is `bf16`, which is too coarse for forward passes in {processes.precision}. Set"
            " `model.precision=bf16`, or `model.frozen_weights=float32`."
        )
    encoder = load_encoder(
        recipe.model.name,
        prepared.model_folder,
        prepared.task.labels,
        seed=stream_seed(recipe.seed, "head"),
        output=task_type.output,
        pooling=recipe.model.pooling,
        head=recipe.model.head,
        train_word_embeddings=recipe.model.train_word_embeddings,
        drop_last_layers=recipe.model.drop_last_layers,
        gradient_checkpointing=recipe.model.gradient_checkpointing,
        fingerprint=prepared.fingerprints["model"],
        device=torch.device("cpu") if recipe.model.frozen_weights != "float32" else processes.device,
    )
    check_pooling(recipe, encoder)
    if recipe.task.max_length > encoder.max_tokens:
        raise InputError(
            f"`task.max_length` is `{recipe.task.max_length}`, but this encoder reads at most {encoder.max_tokens} tokens."
        )
    return encoder


def data_notes(task: Task, parallel: ParallelText | None) -> tuple[str, ...]:
    """Return the notes for the user on a task and its parallel text."""
    return tuple(dict.fromkeys((*task.notes, *(parallel.notes if parallel else ()), *few_texts(task))))


@contextmanager
def _naming_intervention(name: str) -> Iterator[None]:
    """Prefix input errors with the name of the intervention."""
    try:
        yield
    except InputError as error:
        raise InputError(f"`intervention.{name}`: {error}") from error


def _pairs(
    prepared: Prepared, encoder: Encoder, collate: Collator, processes: Processes, states: Callable[[], StateCache]
) -> Mapping[str, Sequence[Pair]]:
    """Return the pairs that terms draw from, by target language."""
    if not prepared.recipe.parallel.mined:
        return prepared.parallel.train if prepared.parallel else {}
    texts = {language: prepared.task.unlabelled.get(language, ()) for language in prepared.languages.all}
    # With adapters, states may depend on their new weights, which differ between seeds.
    kept = None if encoder.adapters else states().for_training("float32")
    return mined_pairs(encoder, collate, texts, prepared.languages.source, processes, kept)


def _examples(
    prepared: Prepared, encoder: Encoder, task_type: TaskType, pairs: Mapping[str, Sequence[Pair]]
) -> Sequence[Example]:
    """Return the training examples: labelled text, split into windows if it is too long.

    Task types without labels train on the source side of the pairs. Raises InputError if a phase trains on labels that do
    not exist, or there is no text.
    """
    recipe, task = prepared.recipe, prepared.task
    if task_type.output != "state":
        if type(task_type).windows is TaskType.windows:  # there is one window per example, so none need be counted
            return prepared.labelled
        return Parts(
            prepared.labelled, lambda example: task_type.windows(example, encoder.tokenizer, recipe.task.max_length)
        )
    fault = f"The task `{task.name}` is of type `{task.task_type}`, which has no labels to train on"
    if labelled_phases := [name for name, phase in recipe.phases.items() if phase.task]:
        raise InputError(
            f"{fault}. Set `phase.{labelled_phases[0]}.task=false`, so that only interventions train the encoder."
        )
    if recipe.task.shots:
        raise InputError(f"{fault}: `task.shots` = `{recipe.task.shots}` has no effect. Remove it.")
    unlabelled = {example.text: example for group in pairs.values() for example in (pair.source for pair in group)}
    texts = list(unlabelled.values()) or prepared.task.unlabelled.get(prepared.languages.source, ())
    if not texts:
        raise InputError(
            f"{fault}, and there is no other text in `{prepared.languages.source}`. Give `parallel=FOLDER`."
        )
    return texts


def _labelled(recipe: Recipe, languages: Languages, task: Task) -> dict[str, Sequence[Example]]:
    """Return the training examples by language: those of the sources, mixed, and a sample of `task.shots` of each target.

    Both samples depend on the seed.

    Raises InputError for a target with fewer examples.
    """
    of_sources = {source: task.examples("train", source) for source in languages.sources}
    mix = mixed(of_sources, recipe.task.mixing, recipe.task.budget, recipe.seed)
    parts = dict(zip(languages.sources, mix, strict=True))
    for language in languages.targets if recipe.task.shots else ():
        candidates = task.examples("train", language)
        shots = len(candidates) if recipe.task.shots == "all" else recipe.task.shots
        if not 0 < shots <= len(candidates):
            raise InputError(
                f"`task.shots` is `{recipe.task.shots}`, but the task `{task.name}` has {len(candidates)} labelled training"
                f" examples of `{language}`. Lower it, or restrict `task.targets` to languages with more."
            )
        random = np.random.default_rng(stream_seed(recipe.seed, "shots", language))
        parts[language] = Picked(candidates, np.sort(random.choice(len(candidates), size=shots, replace=False)))
    return parts


def languages_of(recipe: Recipe) -> Languages:
    """Return the keys of the source and of the targets, in the recipe's order."""
    sources = tuple(canonical(code) for code in recipe.task.sources)
    available = task_languages(recipe.task.data)
    named: Sequence[str] = ["all"] if recipe.task.targets == "all" else recipe.task.targets
    if "all" in named:
        named = _all_but(named, available)
        targets = tuple(language for language in named if language not in sources)
        if not targets:
            raise InputError(
                f"The task `{recipe.task.name}` has a test part only in `{listed(sources)}`. Add another language."
            )
    else:
        targets = tuple(canonical(code) for code in named)
    if not targets:
        raise InputError(f"`task.targets` is empty. Name at least one of: {listed(available)}.")
    for key, codes in (("source", recipe.task.sources), ("targets", named)):
        keys = [canonical(code) for code in codes]
        for language in keys:
            if keys.count(language) > 1:
                spellings = [code for code in codes if canonical(code) == language]
                raise InputError(
                    f"`task.{key}` has the language `{language}` twice ({listed(spellings)}). Name it once."
                )
    for source in sources:
        if source in targets:
            raise InputError(f"`{source}` is both `task.source` and one of `task.targets`. Remove it from one of them.")
    return Languages(sources[0], targets, sources[1:])


def _all_but(named: Sequence[str], available: Sequence[str]) -> list[str]:
    """Return all languages but those that `named`, such as `all,-deu`, leaves out."""
    others = [code for code in named if code != "all"]
    if included := [code for code in others if not code.startswith("-")]:
        raise InputError(
            f"`task.targets` names `all` and `{included[0]}`; behind `all`, `-{included[0]}` leaves one out."
        )
    left_out = [canonical(code.removeprefix("-")) for code in others]
    if missing := set(left_out).difference(available):
        raise InputError(
            f"`task.targets` leaves out `{min(missing)}`, which the task does not have. It has: {listed(available)}."
        )
    return [language for language in available if language not in left_out]


def parallel_of(recipe: Recipe, languages: Languages) -> ParallelText | None:
    """Return the recipe's parallel text, or None if it names none.

    Raises InputError if it cannot be read, or if other keys of `parallel` are set without a name.
    """
    chosen = recipe.parallel
    if not chosen.name:
        for key in ("folder", "revision", "pattern"):
            if getattr(chosen, key):
                raise InputError(f"`parallel.{key}` has no effect without parallel text. Name it: `parallel=NAME`.")
        return None
    return load_parallel(chosen.data, languages.source, languages.targets)


def _files_digest(recipe: Recipe, languages: Languages) -> str:
    """Return the SHA-256 of all files named by keys of interventions, or "" if there are none.

    A key names files if its value is a Path or a tuple with Paths. A folder stands for the files directly in it,
    without those of dictionaries in dictd's format of other languages, such as in `/usr/share/dictd`.

    Raises InputError, naming the key, for a missing path.
    """
    digest, any_file = hashlib.sha256(), False
    for name, intervention in recipe.interventions.items():
        for key, value in vars(intervention).items():
            for given in value if isinstance(value, tuple) else (value,):
                if not isinstance(given, Path):
                    continue
                path = given.expanduser()
                if not path.exists():
                    raise InputError(
                        f"`intervention.{name}.{key}` is `{given}`, which does not exist. Give the path of a file or folder."
                    )
                any_file = True
                unread = unread_dictionaries(path, languages.source, languages.targets)
                for file in sorted({*path.iterdir()} - unread) if path.is_dir() else [path]:
                    if file.is_file() and not file.name.startswith("."):
                        digest.update(repr((name, key, file.name)).encode())
                        digest.update(file.read_bytes())
    return digest.hexdigest() if any_file else ""


def _digest(between: Distances) -> str:
    values = sorted((key, entry.value, entry.provenance) for key, entry in between.entries.items())
    return hashlib.sha256(repr(values).encode()).hexdigest()
