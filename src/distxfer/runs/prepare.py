"""From a recipe to everything that can be known without training: languages, data, encoder, what acts on what."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distxfer.config.recipe import Recipe
from distxfer.data import (
    COUNTED,
    Collator,
    Example,
    Issue,
    Joined,
    Kind,
    Pair,
    ParallelText,
    Parts,
    Picked,
    Task,
    issue_lines,
    kind_of,
    leaks,
    load_parallel,
    load_task,
    task_languages,
)
from distxfer.encoders import Encoder, fingerprint, load_encoder, model_folder, state_cache
from distxfer.errors import InputError, listed
from distxfer.interventions import Bound, Languages
from distxfer.languages import Distances, canonical, distances
from distxfer.runs.checks import check_pooling, few_texts, pairs_that_differ, texts_that_differ
from distxfer.runs.corpus import corpus_record
from distxfer.runs.mining import mined_pairs
from distxfer.runs.needs import PARALLEL, require
from distxfer.training import Processes, Training, TrainingData, stream_seed, torch_stream


@dataclass(frozen=True)
class Prepared:
    """A recipe with its languages resolved and its data read; `id` names what it is, whatever the seed."""

    recipe: Recipe
    resolved: Mapping[str, Any]
    languages: Languages
    distances: Distances
    task: Task
    parallel: ParallelText | None
    model_folder: Path
    fingerprints: Mapping[str, str]
    issues: tuple[Issue, ...] = ()  # what of the data is not read, once the encoder's tokenizer has seen it

    @property
    def id(self) -> str:
        """The first 8 hex digits of the SHA-256 of the resolved recipe without its seed, and of data and model."""
        settled = {key: value for key, value in self.resolved.items() if key != "seed"}
        canonical_form = json.dumps({"recipe": settled, **self.fingerprints}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical_form.encode()).hexdigest()[:8]

    @property
    def corpus(self) -> dict[str, Any] | None:
        """The parallel text, as `result.json` has it."""
        return corpus_record(self.recipe.parallel.name, self.recipe.task.name, self.parallel)

    @property
    def notes(self) -> tuple[str, ...]:
        """What users are to know of the data."""
        counted = [one for one in self.issues if one.what in COUNTED]  # the notes of the data say the others
        return (
            *data_notes(self.task, self.parallel),
            *issue_lines(counted, self.recipe.task.max_length),
            *_distance_notes(self.recipe, self.distances),
        )

    def folder(self, results: Path) -> Path:
        """Return where this run's result belongs: `results/<recipe>/<id>-s<seed>`."""
        return results / self.recipe.name / f"{self.id}-s{self.recipe.seed}"


@dataclass(frozen=True)
class Assembled:
    """A prepared recipe with its encoder in memory and its interventions bound to it."""

    encoder: Encoder
    collate: Collator
    bounds: Mapping[str, Bound]
    training: Training
    settled: Mapping[str, Mapping[str, Any]]  # what was found out on the way, for the result


def prepare(recipe: Recipe) -> Prepared:
    """Read the data of a recipe and settle its languages.

    Raises InputError for a language given twice, a source that is a target, a language that the task or the distance
    has no data for, an unknown task, distance, parallel text or model.
    """
    languages = languages_of(recipe)
    matrix = Path(recipe.distance.matrix) if recipe.distance.matrix else None
    between = distances(
        languages.source, languages.targets, recipe.distance.name, imputed=recipe.distance.imputed, matrix=matrix
    )
    labelled = recipe.task.shots != 0
    task = load_task(recipe.task.data, languages.source, languages.targets, target_labels=labelled)
    kind_of(task).check(task, languages.source)
    parallel = parallel_of(recipe, languages)
    if parallel:
        parallel = replace(parallel, notes=(*parallel.notes, *leaks(task, parallel)))
    folder = model_folder(recipe.model.name, recipe.model.revision)
    recipe = recipe.pooled_as(folder)
    resolved = recipe.resolved(whole=False)
    resolved["task"] |= {"source": languages.source, "targets": list(languages.targets)}
    return Prepared(
        recipe=recipe,
        resolved=resolved,
        languages=languages,
        distances=between,
        task=task,
        parallel=parallel,
        model_folder=folder,
        fingerprints={
            "task": task.fingerprint(),
            "parallel": parallel.fingerprint() if parallel else "",
            "distances": _digest(between),
            "files": _files_digest(recipe),
            "model": fingerprint(folder),
        },
    )


def _distance_notes(recipe: Recipe, between: Distances) -> list[str]:
    """Return the warnings on the distances of the recipe and of its interventions, with what they decide."""
    notes = list(between.warnings)
    weighed: dict[str, list[str]] = {}
    for name, intervention in recipe.interventions.items():
        if getattr(intervention, "weighting", "uniform") != "uniform":
            by = between.by(getattr(intervention, "distance", ""))
            for warning in () if by.name == "shuffled" else by.warnings:
                weighed.setdefault(warning, []).append(f"`intervention.{name}.weighting`")
    decides = "It decides the weights of these languages in"
    notes += [f"{warning} {decides} {', '.join(keys)}." for warning, keys in weighed.items()]
    return [note for note in notes if not any(other != note and other.startswith(note) for other in notes)]


def assemble(prepared: Prepared, processes: Processes, notice: Callable[[str], None] = lambda text: None) -> Assembled:
    """Load the encoder and bind the interventions to it.

    Raises InputError for what only the encoder can tell: a layer it does not have, a phase in which nothing may train,
    text that an intervention needs and the recipe does not provide.
    """
    recipe, kind = prepared.recipe, kind_of(prepared.task)
    encoder = _load(prepared, kind, processes)
    bounds: dict[str, Bound] = {}
    for name, intervention in recipe.interventions.items():
        # New weights (adapters, heads) are drawn in there.
        with torch_stream(processes.device, recipe.seed, "bind", name), _blaming(name):
            bounds[name] = intervention.bind(encoder, prepared.languages, prepared.distances)
    if recipe.model.frozen_weights == "bf16":
        encoder.freeze_in_bf16()
    encoder.move_to(processes.device)
    if recipe.parallel.mined and not any("pairs" in bound.needs for bound in bounds.values()):
        raise InputError(
            "`parallel.mined` = `true` has no effect, since no intervention of the recipe reads pairs. Leave it out, or add one"
            " that does, such as `intervention.align.weight=0.5`."
        )
    collate = Collator(encoder.tokenizer, recipe.task.max_length, encoder.device, kind)
    pairs = _pairs(prepared, encoder, collate, processes, notice)
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
            sizes = {key: texts_that_differ(group, bound.distinct) for key, group in texts.items()}
            require(name, "unlabelled text", bound, sizes, recipe)
        if bound.checks is not None:
            with _blaming(name):
                bound.checks(pairs)
    data = TrainingData(_examples(prepared, encoder, kind, pairs), pairs, texts, collate)
    cached = recipe.model.reference == "cached"
    states = state_cache(encoder, prepared.fingerprints["model"], recipe.task.max_length, notice) if cached else None
    training = Training(encoder, data, bounds, recipe.phases, processes, recipe.seed, recipe.diagnostics, states)
    return Assembled(encoder, collate, bounds, training, _settled(bounds, pairs if recipe.parallel.mined else {}))


def _load(prepared: Prepared, kind: Kind, processes: Processes) -> Encoder:
    """Load the encoder, onto the CPU where part of its weights is to be halved before a GPU has to hold them."""
    recipe = prepared.recipe
    halved = recipe.model.frozen_weights == "bf16"
    if halved and processes.precision != "bf16":
        raise InputError(
            f"`model.frozen_weights` is `bf16`, but the forward passes are in {processes.precision}, for which the weights would"
            " be too coarse. Set `model.precision=bf16`, or leave it at float32."
        )
    encoder = load_encoder(
        recipe.model.name,
        prepared.model_folder,
        prepared.task.labels,
        seed=stream_seed(recipe.seed, "head"),
        output=kind.output,
        pooling=recipe.model.pooling,
        train_word_embeddings=recipe.model.train_word_embeddings,
        drop_last_layers=recipe.model.drop_last_layers,
        gradient_checkpointing=recipe.model.gradient_checkpointing,
        fingerprint=prepared.fingerprints["model"],
        device=torch.device("cpu") if halved else processes.device,
    )
    check_pooling(recipe, encoder)
    if recipe.task.max_length > encoder.max_tokens:
        raise InputError(
            f"`task.max_length` is `{recipe.task.max_length}`, but this encoder reads at most {encoder.max_tokens} tokens."
        )
    return encoder


def data_notes(task: Task, parallel: ParallelText | None) -> tuple[str, ...]:
    """Return what users are to know of a task and its parallel text."""
    return tuple(dict.fromkeys((*task.notes, *(parallel.notes if parallel else ()), *few_texts(task))))


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Say of which intervention an error is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"`intervention.{name}`: {error}") from error


def _pairs(
    prepared: Prepared, encoder: Encoder, collate: Collator, processes: Processes, notice: Callable[[str], None]
) -> Mapping[str, Sequence[Pair]]:
    """Return the pairs that terms draw from, by target language."""
    if not prepared.recipe.parallel.mined:
        return prepared.parallel.train if prepared.parallel else {}
    source, targets = prepared.languages.source, prepared.languages.targets
    texts = {language: prepared.task.unlabelled.get(language, ()) for language in (source, *targets)}
    # With adapters or dropped layers too: their states are those of the pretrained encoder, and new adapters do nothing.
    cache = state_cache(encoder, prepared.fingerprints["model"], prepared.recipe.task.max_length, notice)
    return mined_pairs(encoder, collate, texts, source, processes, None if encoder.adapters else cache)


def _settled(bounds: Mapping[str, Bound], mined: Mapping[str, Sequence[Pair]]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {name: bound.settled for name, bound in bounds.items() if bound.settled}
    return found | ({"parallel.mined": {key: len(pairs) for key, pairs in mined.items()}} if mined else {})


def _examples(
    prepared: Prepared, encoder: Encoder, kind: Kind, pairs: Mapping[str, Sequence[Pair]]
) -> Sequence[Example]:
    """Return what a step draws its batch from, and an epoch goes through once: labelled text, cut where it is too long.

    The source's side of the pairs where the kind has no labels. Raises InputError where labels are asked for that it has
    not, or there is no such text.
    """
    recipe, task = prepared.recipe, prepared.task
    if kind.output != "state":
        labelled = _labelled(prepared)
        if type(kind).windows is Kind.windows:  # nothing is cut up, so nothing has to be held
            return labelled
        return Parts(labelled, lambda one: kind.windows(one, encoder.tokenizer, recipe.task.max_length))
    what = f"The task `{task.name}` is of the kind `{task.kind}`, which has no labels to train on"
    if asked := [name for name, phase in recipe.phases.items() if phase.task]:
        raise InputError(f"{what}. Say `phase.{asked[0]}.task=false`, and let interventions train the encoder.")
    if recipe.task.shots:
        raise InputError(f"{what}: `task.shots` = `{recipe.task.shots}` has no effect. Leave it out.")
    unlabelled = {one.text: one for found in pairs.values() for one in (pair.source for pair in found)}
    texts = list(unlabelled.values()) or prepared.task.unlabelled.get(prepared.languages.source, ())
    if not texts:
        raise InputError(
            f"{what}, and there is no other text in `{prepared.languages.source}`. Give `parallel=FOLDER`."
        )
    return texts


def _labelled(prepared: Prepared) -> Sequence[Example]:
    """Return the examples to train on: the source's, and `task.shots` of each target, drawn anew with each seed.

    Raises InputError for a target that has not as many.
    """
    recipe, task = prepared.recipe, prepared.task
    parts = [task.examples("train", prepared.languages.source)]
    for language in prepared.languages.targets if recipe.task.shots else ():
        there = task.examples("train", language)
        shots = len(there) if recipe.task.shots == "all" else recipe.task.shots
        if not 0 < shots <= len(there):
            raise InputError(
                f"`task.shots` is `{recipe.task.shots}`, but the task `{task.name}` has {len(there)} labelled training"
                f" examples of `{language}`. Lower it, or keep to `task.targets` that have more."
            )
        random = np.random.default_rng(stream_seed(recipe.seed, "shots", language))
        parts.append(Picked(there, np.sort(random.choice(len(there), size=shots, replace=False))))
    return Joined(parts)


def languages_of(recipe: Recipe) -> Languages:
    """Return the languages by their keys, the targets in the recipe's order."""
    source = canonical(recipe.task.source)
    known = task_languages(recipe.task.data)
    if recipe.task.targets == "all":
        targets = tuple(language for language in known if language != source)
        if not targets:
            raise InputError(
                f"The task `{recipe.task.name}` has a test in no language but `{source}`. Add one in another."
            )
    else:
        targets = tuple(canonical(code) for code in recipe.task.targets)
    if not targets:
        raise InputError(f"`task.targets` is empty. Name at least one of: {listed(known)}.")
    for target in targets:
        if targets.count(target) > 1:
            spellings = [code for code in recipe.task.targets if canonical(code) == target]
            raise InputError(f"`task.targets` has the language `{target}` twice ({listed(spellings)}). Name it once.")
    if source in targets:
        raise InputError(f"`{source}` is both `task.source` and one of `task.targets`. Take it out of one of them.")
    return Languages(source, targets)


def parallel_of(recipe: Recipe, languages: Languages) -> ParallelText | None:
    """Return the recipe's parallel text, None where it names none.

    Raises InputError where it cannot be had, or there are keys of it and no name.
    """
    chosen = recipe.parallel
    if not chosen.name:
        for key in ("folder", "revision", "pattern"):
            if getattr(chosen, key):
                raise InputError(f"`parallel.{key}` has no effect without parallel text. Name it: `parallel=NAME`.")
        return None
    return load_parallel(chosen.data, languages.source, languages.targets)


def _files_digest(recipe: Recipe) -> str:
    """Return the SHA-256 of all files that keys of interventions name, or empty where there are none.

    A key is a file's where its value is a Path (or holds some); of a folder, it is the files directly in it.

    Raises InputError, naming the key, for what is not there.
    """
    digest, found = hashlib.sha256(), False
    for name, intervention in recipe.interventions.items():
        for key, value in vars(intervention).items():
            for path in value if isinstance(value, tuple) else (value,):
                if not isinstance(path, Path):
                    continue
                if not path.expanduser().exists():
                    raise InputError(
                        f"`intervention.{name}.{key}` is `{path}`, which does not exist. Give the path of a file or folder."
                    )
                found = True
                files = sorted(path.expanduser().iterdir()) if path.expanduser().is_dir() else [path.expanduser()]
                for file in files:
                    if file.is_file() and not file.name.startswith("."):
                        digest.update(repr((name, key, file.name)).encode())
                        digest.update(file.read_bytes())
    return digest.hexdigest() if found else ""


def _digest(between: Distances) -> str:
    values = sorted((key, entry.value, entry.provenance) for key, entry in between.entries.items())
    return hashlib.sha256(repr(values).encode()).hexdigest()
