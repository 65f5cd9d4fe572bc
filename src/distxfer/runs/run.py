"""One run, from a recipe to its result: measured before, trained, scored and measured after, written once."""

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow
import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from distxfer._durable import atomic_file, atomic_folder, check_run, write_table
from distxfer.config.recipe import Recipe
from distxfer.data import Example, Issue, kind_of
from distxfer.encoders import state_cache
from distxfer.errors import InputError, counted, enough_memory
from distxfer.interventions import CKA_ROWS
from distxfer.measure import transfer_summary
from distxfer.results.corpus import corpus_text
from distxfer.results.failure import forget_failure
from distxfer.results.predictions import PREDICTIONS, PROBABILITY, encode_labels
from distxfer.results.result import (
    SCHEMA,
    Result,
    diagnosed,
    empty_batches,
    provenance,
    read_result,
    score_rows,
    unverified,
    write_result,
)
from distxfer.runs.data_issues import with_issues
from distxfer.runs.interrupted import alone, replace_result, settle, work_folder
from distxfer.runs.model_card import model_card
from distxfer.runs.prediction import Scored, score
from distxfer.runs.prepare import Assembled, Prepared, assemble, prepare
from distxfer.runs.published import far_below
from distxfer.runs.snapshots import (
    Row,
    Snapshot,
    alignment_rows,
    check_finite,
    drift_rows,
    encoding_seconds,
    similarity_rows,
    snapshots,
    texts_to_measure,
    watcher,
)
from distxfer.runs.undefined import undefined_notes
from distxfer.training import Cost, Plan, Processes, Report, remove_checkpoint

Notice = Callable[[str], None]

_SCORED = ("dev", "test")
_LESS_MEMORY = "Lower `task.max_length`, set `model.precision=bf16`, or use a smaller model."
# What a folder or its disk is to blame for; of any other trouble with files, the folder knows nothing.
_OF_THE_DISK = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR,
    errno.EEXIST, errno.ENAMETOOLONG, errno.EIO,
}  # fmt: skip


@dataclass(frozen=True)
class Outlook:
    """What a run will be: its folder, whether it is done, its parallel text, the plan of each phase, and estimates.

    `tokens` are those of the task's texts that the loss on the labels reads; not those of pairs and other text that terms
    draw, nor of more passes over the task's. `megabytes` is the most that the folder holds at once: two checkpoints while
    one takes the place of the other, or one and the model; not the tables. The seconds leave out what `[diagnostics]` asks
    for, and mining; `basis` says what they are estimated from. `notes` and `issues` are those of `validate`.
    """

    folder: Path
    done: bool
    parallel: str
    plans: Sequence[Plan]
    tokens: int
    training_seconds: float
    measuring_seconds: float
    basis: str
    megabytes: float
    notes: tuple[str, ...]
    issues: tuple[Issue, ...]


def validate(recipe: Recipe) -> Prepared:
    """Do all that can be checked without training: read the data, load the encoder, bind the interventions.

    Raises InputError as `prepare` and `assemble` do.
    """
    prepared = prepare(recipe)
    assembled = assemble(prepared, Processes(precision=recipe.model.precision))
    assembled.training.check_reference()
    return with_issues(prepared, assembled)


def outlook(recipe: Recipe, results: Path) -> Outlook:
    """Return what `train` would do, having timed a few steps and batches of measuring; nothing is written."""
    prepared, processes = prepare(recipe), Processes(precision=recipe.model.precision)
    folder = prepared.folder(results)
    assembled = assemble(prepared, processes)
    prepared = with_issues(prepared, assembled)
    # The test before and after training, after it with dev; where windows are scored, the test once more.
    splits = ("test",), _SCORED, *(() if assembled.encoder.output in ("text", "state") else (("test",),))
    passes = [[text for part in _texts(prepared, chosen) for text in part] for chosen in splits]
    measuring, encoded = encoding_seconds(assembled.encoder, assembled.collate, passes, processes)
    training, steps = assembled.training.estimate()
    plans = assembled.training.plan()
    examples = assembled.training.data.examples
    read = examples[:: max(1, len(examples) // 200)]
    tokens = sum(assembled.collate([example]).tokens for example in read) / len(read)
    encoder = assembled.encoder
    kept = encoder.adapters if isinstance(encoder.model, PeftModel) else None  # all weights, if not adapters alone
    saved: list[Tensor] = [one for name, one in encoder.model.named_parameters() if kept is None or name in kept]
    saved += assembled.training.own_weights().values()
    model = sum(one.numel() * one.element_size() for one in saved)
    checkpoint = max(plan.checkpoint_bytes for plan in plans)
    return Outlook(
        folder=folder,
        done=read_result(folder) is not None,
        parallel=corpus_text(prepared.corpus),
        plans=plans,
        tokens=round(tokens * sum(plan.examples for plan in plans)),
        training_seconds=training,
        measuring_seconds=measuring,
        basis=f"{counted(steps, 'warm steps')} of training and {counted(encoded, 'warm encodings')} on this machine",
        megabytes=(checkpoint + max(checkpoint, model)) / 2**20,
        notes=prepared.notes,
        issues=prepared.issues,
    )


def train(
    recipe: Recipe,
    results: Path | None = None,
    *,
    again: bool = False,
    trackers: Sequence[object] = (),
    report: Report = lambda phase, step, steps, loss: None,
    notice: Notice = lambda text: None,
) -> Result:
    """Run a recipe and return its result; a run that is done is not run again, an interrupted one goes on.

    `results` is where results are kept: by default $DISTXFER_RESULTS, or `./results`. `report` is told of every step,
    `notice` of what is going on.

    Raises InputError for what is wrong with the recipe or the folder, RunError for a run that could not go on.
    """
    results = results or Path(os.environ.get("DISTXFER_RESULTS", "results"))
    processes = Processes(trackers, results, recipe.model.precision)
    notice = notice if processes.is_main else lambda text: None
    if processes.lacks_processes:
        notice("`accelerate launch` started one process only, as it does without a GPU. For more, add `--multi_gpu`.")
    prepared = prepare(recipe)
    folder = prepared.folder(results)
    try:
        if processes.is_main:
            settle(folder)
        done = processes.broadcast(read_result(folder) if processes.is_main and not again else None)
        if done is not None:
            return _told(done, notice)
        assembled = assemble(
            prepared, processes, notice
        )  # before anything is written: it may still find a mistake in the recipe
        if processes.is_main:
            folder.mkdir(parents=True, exist_ok=True)
        with alone(folder, notice) if processes.is_main else nullcontext():
            done = processes.broadcast(read_result(folder) if processes.is_main and not again else None)
            if done is not None:
                return _told(done, notice)
            place = work_folder(folder) if again else folder
            _run(prepared, assembled, place, processes, trackers, report, notice)
            if again and processes.is_main:
                replace_result(folder)
            processes.wait()
        return _read_back(folder, notice)
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno not in _OF_THE_DISK:
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(
            f"The result folder `{folder}` cannot be written: {reason}. Free some space or choose another with `--results`;"
            " what was written before is kept, and the same command goes on from there."
        ) from error


def _read_back(folder: Path, notice: Notice) -> Result:
    result = read_result(folder)
    assert result is not None
    for line in (*empty_notes(result.data["empty"]), *far_below(result)):
        notice(line)
    return result


def _told(done: Result, notice: Notice) -> Result:
    """Say that a run is done, having made sure that its files are as it left them, and cleaned up after a kill."""
    digests = done.data.get("digests", {})
    check_run(done.folder, digests)
    remove_checkpoint(done.folder)
    notice(f"This run is done already: {done.folder}. Use `--again` to do it anew.")
    for line in unverified([done]):
        notice(line)
    if not (done.folder / "model").is_dir() and any(name.startswith("model/") for name in digests):
        notice("Its model has been removed. `--again` trains it anew.")
    if work_folder(done.folder).is_dir():
        notice(f"A repeat was started in {work_folder(done.folder)}; `--again` continues it.")
    return done


def _run(
    prepared: Prepared,
    assembled: Assembled,
    folder: Path,
    processes: Processes,
    trackers: Sequence[object],
    report: Report,
    notice: Notice,
) -> None:
    started = datetime.now(UTC)
    if processes.is_main:
        prepared = with_issues(prepared, assembled)
        folder.mkdir(exist_ok=True)
    for note in prepared.notes:
        notice(note)
    languages = [prepared.languages.source, *prepared.languages.targets]
    texts, encoder = _texts(prepared, ["test"]), assembled.encoder
    notice(f"Measuring {sum(map(len, texts))} texts in {len(languages)} languages before training.")
    # Not with adapters, whose own new weights the states may depend on, and which differ from seed to seed.
    cache = None if encoder.adapters else state_cache(
        encoder, prepared.fingerprints["model"], prepared.recipe.task.max_length, notice
    )  # fmt: skip
    with enough_memory("measuring before training", _LESS_MEMORY):
        before = snapshots(encoder, assembled.collate, texts, processes, cache, logits=False)
    if trackers:
        processes.start_trackers(
            f"{prepared.recipe.name}-{prepared.id}-s{prepared.recipe.seed}",
            {key: one.value for key, one in prepared.recipe.values.items()},
        )
    watch = watcher(before, encoder, assembled.collate, prepared.task, prepared.parallel, languages, processes)
    cost = assembled.training.run(folder, report, watch, notice)
    notice("Scoring and measuring after training.")
    # Where the head says something of each token, what is scored alone is not encoded here: its windows are, in `score`.
    whole = _SCORED if encoder.output in ("text", "state") else ("test",)
    with enough_memory("measuring after training", _LESS_MEMORY):
        after = snapshots(encoder, assembled.collate, _texts(prepared, whole), processes)
    check_finite(after, [*prepared.recipe.phases][-1])
    rows_after = _measure(prepared, before, after, "after")
    rows_after += similarity_rows(before, after, prepared.task, languages, prepared.recipe.measure.similarity)
    rows = _measure(prepared, before, before, "before") + rows_after
    undefined = undefined_notes(before, after, prepared.task, rows_after)
    if trackers:
        processes.stop_trackers()
    scored = {
        split: score(encoder, assembled.collate, prepared.task, split, languages, after, processes) for split in _SCORED
    }
    if processes.is_main:
        _write(prepared, assembled, folder, scored, rows, undefined, cost, started, processes)
    processes.wait()


def _measure(prepared: Prepared, before: Snapshot, now: Snapshot, moment: Any) -> list[Row]:
    languages = [prepared.languages.source, *prepared.languages.targets]
    return drift_rows(before, now, prepared.task, languages, moment) + alignment_rows(now, prepared.parallel, moment)


def _write(
    prepared: Prepared,
    assembled: Assembled,
    folder: Path,
    scored: Mapping[str, Scored],
    rows: Sequence[Row],
    undefined: Sequence[str],
    cost: Cost,
    started: datetime,
    processes: Processes,
) -> None:
    """Write everything else, then `result.json`, then drop the checkpoint, which nobody needs any more."""
    scores, summary, status = _scores(prepared, scored)
    data = {
        "schema": SCHEMA,
        "id": prepared.id,
        "recipe": prepared.resolved,
        "seed": prepared.recipe.seed,
        "kind": prepared.task.kind,
        "source": prepared.languages.source,
        "distances": _distances(prepared),
        "diagnostics": diagnosed(folder / "log.jsonl"),
        "parallel": prepared.corpus,
        "empty": empty_batches(folder / "log.jsonl"),
        "settled": {name: dict(one) for name, one in assembled.settled.items()},
        "data_issues": [asdict(one) for one in prepared.issues],
        "undefined": [*undefined],
        "scores": scores,
        "summary": summary,
        "cost": {
            "seconds": cost.seconds,
            "steps": cost.steps,
            "tokens": cost.tokens,
            "forwards_per_step": cost.forwards / max(1, cost.steps),
            "peak_memory_mb": cost.peak_memory_mb,
            "trainable_parameters": cost.trainable_parameters,
        },
        "provenance": provenance(
            {
                "fingerprints": dict(prepared.fingerprints),
                "device": str(processes.device),
                "dtype": processes.precision,
                "processes": processes.size,
                "weights": "divided"
                if processes.shards_weights
                else "whole",  # among or in the processes, while training
                "cpu": torch.backends.cpu.get_cpu_capability(),  # what sums are cut by, and so how they are rounded
                "threads": torch.get_num_threads(),
                "started": started.isoformat(timespec="seconds"),
                "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        ),
        "status": status,
    }
    write_table(pyarrow.Table.from_pylist([asdict(row) for row in rows]), folder / "measurements.parquet")
    predictions = _predictions(scored["test"], probabilities=prepared.recipe.diagnostics.probabilities)
    write_table(predictions, folder / PREDICTIONS)
    with atomic_folder(folder / "model") as model:
        assembled.encoder.save(model)
        adapters = len([*model.rglob("adapter_config.json")])
        card = model_card(data, prepared, assembled.bounds, scored, assembled.encoder, adapters)
        (model / "README.md").write_text(card, encoding="utf-8")
    if own := assembled.training.own_weights():
        with atomic_file(folder / "interventions.safetensors") as aside:
            save_file(own, aside)
    write_result(folder, data)
    forget_failure(folder)
    remove_checkpoint(folder)


def _distances(prepared: Prepared) -> list[dict[str, Any]]:
    return [
        {
            "language": key,
            "name": one.name,
            "value": one.value,
            "n_shared": one.n_shared,
            "imputed": one.imputed,
            "provenance": one.provenance,
        }
        for key, one in prepared.distances.entries.items()
    ]


def _scores(prepared: Prepared, scored: Mapping[str, Scored]) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """Return every language's scores, the summary of the test scores, and whether the run collapsed."""
    kind, source = kind_of(prepared.task), prepared.languages.source
    scores: list[dict[str, Any]] = []
    for language in (source, *prepared.languages.targets):
        for split, one in scored.items():
            if language in one.scores:
                scores += score_rows(language, split, one.scores[language], len(one.examples[language]))
    metric, ours = kind.metrics[0], scored["test"]
    test = {language: values[metric] for language, values in ours.scores.items()}
    between = prepared.distances
    targets = {language: test[language] for language in prepared.languages.targets}
    summary = {
        **transfer_summary(targets, test[source], between.values, between.near, between.far),
        "metric": metric,
        "split": "test",
        "selection": "last",
        "distance": between.name,
        "imputed": between.imputed,
        "near": list(between.near),
        "far": list(between.far),
    }
    return scores, summary, "collapsed" if kind.collapsed(ours.examples[source], ours.predictions[source]) else "done"


def _predictions(scored: Scored, *, probabilities: bool) -> pyarrow.Table:
    """Return one row for each example, with the probability of each class on request."""
    rows = [
        {"language": language, "example_id": example.id, "label": one.label, "prediction": one.prediction}
        | ({f"{PROBABILITY}{label}": chance for label, chance in one.probabilities.items()} if probabilities else {})
        for language, examples in scored.examples.items()
        for example, one in zip(examples, scored.predictions[language], strict=True)
    ]
    table = pyarrow.Table.from_pylist(rows)
    types = [pyarrow.float32() if one.name.startswith(PROBABILITY) else one.type for one in table.schema]
    return encode_labels(table.cast(pyarrow.schema(zip(table.column_names, types, strict=True))))


def _texts(prepared: Prepared, splits: Sequence[str]) -> list[list[Example]]:
    languages = [prepared.languages.source, *prepared.languages.targets]
    return texts_to_measure(prepared.task, prepared.parallel, languages, splits)


def empty_notes(empty: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return what users are told of `empty_batches`."""
    return [
        f"The term `{name}` counted nothing in {one['micro_batches']} micro-batches, in {one['steps']} of its {one['of']} steps:"
        f" they held too little for it, such as fewer than {CKA_ROWS} different texts for CKA."
        for name, one in empty.items()
    ]
