"""One run, from a recipe to its result: measure, train, measure again, score, write."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from distxfer._durable import atomic_file, atomic_folder, check_run, write_table
from distxfer.config.recipe import Recipe, load_recipe
from distxfer.data import Example, Issue
from distxfer.encoders import has_peft_adapters
from distxfer.errors import LESS_MEMORY, InputError, counted, enough_memory
from distxfer.interventions import CKA_ROWS
from distxfer.results.descriptions import corpus_text
from distxfer.results.failure import forget_failure
from distxfer.results.result import (
    ARITHMETIC,
    Result,
    read_result,
    unverified,
    write_result,
)
from distxfer.results.tables import PREDICTIONS
from distxfer.runs.data_issues import with_issues
from distxfer.runs.head_start import probe_rows, probed_examples, start_head
from distxfer.runs.interactive import message_line, step_bar
from distxfer.runs.interrupted import alone, finish_replacement, replace_result, work_folder
from distxfer.runs.measurements import (
    Moment,
    Row,
    Undefined,
    alignment_rows,
    drift_at_rest,
    drift_rows,
    similarity_rows,
    undefined_notes,
    undefined_values,
    watcher,
)
from distxfer.runs.model_card import model_card
from distxfer.runs.prepare import Assembled, Prepared, assemble, prepare
from distxfer.runs.published import far_below
from distxfer.runs.record import result_data
from distxfer.runs.scoring import Scored, score, tabulate
from distxfer.runs.snapshots import Snapshot, check_finite, encoding_seconds, snapshot, texts_to_measure
from distxfer.training import Plan, Processes, Report, remove_checkpoint

Notice = Callable[[str], None]

_SCORED = ("dev", "test")
# Errors that the result folder or its disk causes; other errors of the file system have other causes.
_DISK_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR,
    errno.EEXIST, errno.ENAMETOOLONG, errno.EIO,
}  # fmt: skip


@dataclass(frozen=True)
class Outlook:
    """The forecast of a run: its folder, whether it is done, its parallel text, the plan of each phase, and estimates.

    `tokens` counts the task's texts that the loss on labels reads, without the texts that terms draw and further passes
    over the task's texts. `megabytes` is the peak size of the folder without tables: two checkpoints while one replaces
    the other, or one and the model. The seconds do not include `[diagnostics]` and mining; `basis` says what they are
    estimated from. `notes` and `issues` are those of `validate`.
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
    """Check everything that needs no training: read the data, load the encoder, bind the interventions.

    Raises InputError as `prepare` and `assemble` do.
    """
    prepared = prepare(recipe)
    assembled = assemble(prepared, Processes(precision=recipe.model.precision))
    assembled.training.check_reference()
    return with_issues(prepared, assembled)


def outlook(recipe: Recipe, results: Path) -> Outlook:
    """Return a forecast of `train`, from timing a few training steps and batches of measuring; writes nothing."""
    prepared, processes = prepare(recipe), Processes(precision=recipe.model.precision)
    folder = prepared.folder(results)
    assembled = assemble(prepared, processes)
    prepared = with_issues(prepared, assembled)
    # test before training, dev and test after it; if windows are scored, test once more; the texts of a probe, and those
    # whose labels interventions ask for.
    measured = [text for part in _texts(prepared) for text in part]
    scored = _SCORED if assembled.encoder.output not in ("text", "state") else ("dev",)
    task, languages = prepared.task, prepared.languages.all
    passes = [
        measured,
        measured,
        *([text for language in languages for text in task.examples(split, language)] for split in scored),
        probed_examples(prepared, assembled),
        *assembled.training.texts_for_labels(),
    ]
    measuring, encoded = encoding_seconds(assembled.encoder, assembled.collate, passes, processes)
    training, steps = assembled.training.estimate()
    plans = assembled.training.plan()
    examples = assembled.training.data.examples
    sample = examples[:: max(1, len(examples) // 200)]
    tokens = sum(assembled.collate([example]).tokens for example in sample) / len(sample)
    encoder = assembled.encoder
    adapters = encoder.adapters if has_peft_adapters(encoder.model) else None  # a whole model is saved otherwise
    saved: list[Tensor] = [
        parameter for name, parameter in encoder.model.named_parameters() if adapters is None or name in adapters
    ]
    saved += assembled.training.own_weights().values()
    model = sum(tensor.numel() * tensor.element_size() for tensor in saved)
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
    recipe: Recipe | str | Path,
    results: str | Path | None = None,
    *,
    again: bool = False,
    trackers: Sequence[object] = (),
    report: Report | None = None,
    notice: Notice | None = None,
    **settings: Any,
) -> Result:
    """Run a recipe and return its result. A finished run is not repeated, an interrupted one is resumed.

    `recipe` is a recipe, or the name or file of one, with `settings` as `load_recipe` takes them: `train("plain", seed=1)`.
    `results` is the folder of results, by default $DISTXFER_RESULTS or `./results`. `report` is called in every step,
    `notice` with messages on progress and warnings; by default both show in notebooks and interactive sessions, and nowhere
    else.

    Raises InputError for errors in the recipe or the folder, RunError for a run that cannot continue.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, settings)
    elif settings:
        raise InputError(f"`{next(iter(settings))}` would change a loaded recipe. Give it to `load_recipe`.")
    results = Path(results or os.environ.get("DISTXFER_RESULTS", "results"))
    report, notice = report or step_bar(), notice or message_line()
    processes = Processes(trackers, results, recipe.model.precision)
    notice = notice if processes.is_main else lambda text: None
    if processes.lacks_processes:
        notice("`accelerate launch` started one process only, as it does without a GPU. For more, add `--multi_gpu`.")
    prepared = prepare(recipe)
    folder = prepared.folder(results)
    with _disk_errors_named(folder):
        if processes.is_main:
            finish_replacement(folder)
        done = processes.broadcast(read_result(folder) if processes.is_main and not again else None)
        if done is not None:
            return _existing(done, processes, notice)
        assembled = assemble(prepared, processes, notice)  # before writing: it may still find errors in the recipe
        if processes.is_main:
            folder.mkdir(parents=True, exist_ok=True)
        with alone(folder, notice) if processes.is_main else nullcontext():
            done = processes.broadcast(read_result(folder) if processes.is_main and not again else None)
            if done is not None:
                return _existing(done, processes, notice)
            place = work_folder(folder) if again else folder
            _run(prepared, assembled, place, processes, trackers, report, notice)
            if again and processes.is_main:
                replace_result(folder)
            processes.wait()
        result = read_result(folder)
        assert result is not None
        for line in (*empty_notes(result.data["empty"]), *far_below(result)):
            notice(line)
        return result


@contextmanager
def _disk_errors_named(folder: Path) -> Iterator[None]:
    """Raise InputError with what to do where the result folder cannot be written."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno not in _DISK_ERRORS:
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(
            f"The result folder `{folder}` cannot be written: {reason}. Free some space or choose another with `--results`;"
            " files written before are kept, and the same command resumes from them."
        ) from error


def _existing(done: Result, processes: Processes, notice: Notice) -> Result:
    """Check the files of a finished run, remove a checkpoint left by a kill, and notify that the run is done."""
    digests = done.data.get("digests", {})
    check_run(done.folder, digests)
    remove_checkpoint(done.folder)
    notice(f"This run is done already: {done.folder}. Use `--again` to repeat it.")
    dtype = done.provenance.get("dtype", processes.precision)
    if (done.arithmetic, dtype) != (ARITHMETIC, processes.precision):
        notice(
            f"Its arithmetic is {done.arithmetic} in {dtype}, and a repeat would have {ARITHMETIC} in {processes.precision}."
            " Repeat it before you compare it with runs that have that one."
        )
    for line in unverified([done]):
        notice(line)
    if not (done.folder / "model").is_dir() and any(name.startswith("model/") for name in digests):
        notice("Its model has been removed. `--again` trains it again.")
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
    with ThreadPoolExecutor(1) as second_core:  # hashes the weights meanwhile
        # With adapters, states may depend on their new weights, which differ between seeds.
        cache = None if assembled.encoder.adapters else second_core.submit(assembled.states)
        if processes.is_main:
            prepared = with_issues(prepared, assembled)
            folder.mkdir(exist_ok=True)
    for note in prepared.notes:
        notice(note)
    recipe, task, languages = prepared.recipe, prepared.task, prepared.languages.all
    encoder, collate = assembled.encoder, assembled.collate
    texts = _texts(prepared)
    notice(f"Measuring {sum(map(len, texts))} texts in {len(languages)} languages before training.")
    with enough_memory("measuring before training", LESS_MEMORY):
        before = snapshot(encoder, collate, texts, processes, cache.result() if cache else None, logits=False)
    if trackers:
        name = f"{recipe.name}-{prepared.id}-s{recipe.seed}"
        processes.start_trackers(name, {key: entry.value for key, entry in recipe.values.items()})
    with enough_memory("measuring before training", LESS_MEMORY):
        probe = start_head(prepared, assembled, processes, cache.result() if cache else None, notice)
    watch = watcher(before, encoder, collate, task, prepared.parallel, languages, processes)
    cost = assembled.training.run(folder, report, watch, notice)
    notice("Scoring and measuring after training.")
    rows, undefined, outputs = _measured(prepared, assembled, before, texts, processes)
    rows += probe_rows(probe, before, prepared) if probe else []
    if trackers:
        processes.stop_trackers()
    scored = {
        split: score(encoder, collate, task, split, languages, processes, outputs if split == "test" else {})
        for split in _SCORED
    }
    if processes.is_main:
        data = result_data(prepared, assembled, folder, scored, undefined_notes(undefined), cost, started, processes)
        _write(prepared, assembled, folder, scored, rows, data)
    processes.wait()


def _measured(
    prepared: Prepared,
    assembled: Assembled,
    before: Snapshot,
    texts: Sequence[Sequence[Example]],
    processes: Processes,
) -> tuple[list[Row], list[Undefined], dict[str, Tensor | None]]:
    """Return the measurements of both moments, those that are undefined, and the outputs for the test texts by language.

    Only the states of one language are in memory at a time, beside those of the source.
    """
    task, parallel = prepared.task, prepared.parallel
    drift: dict[Moment, list[Row]] = {"before": [], "after": []}
    alignment: dict[Moment, list[Row]] = {"before": [], "after": []}
    similarity: list[Row] = []
    undefined: list[Undefined] = []
    outputs: dict[str, Tensor | None] = {}
    of_source = None
    for language in prepared.languages.all:  # the source first
        of_language = [[text for text in part if text.language == language] for part in texts]
        with enough_memory("measuring after training", LESS_MEMORY):
            after = snapshot(assembled.encoder, assembled.collate, of_language, processes)
        check_finite(after, [*prepared.recipe.phases][-1])
        of_source = of_source or after
        drifted = drift_rows(before, after, task, language, "after")
        drift["after"] += drifted
        drift["before"] += drift_at_rest(drifted, before, task)
        alignment["before"] += alignment_rows(before, before, parallel, language, "before")
        alignment["after"] += alignment_rows(of_source, after, parallel, language, "after")
        similar = similarity_rows(before, after, task, language, prepared.recipe.measure.similarity)
        similarity += similar
        undefined += undefined_values(before, after, task, [*drifted, *similar])
        outputs[language] = after.outputs(task.examples("test", language))
    rows = [*drift["before"], *alignment["before"], *drift["after"], *alignment["after"], *similarity]
    return rows, undefined, outputs


def _write(
    prepared: Prepared,
    assembled: Assembled,
    folder: Path,
    scored: Mapping[str, Scored],
    rows: Sequence[Row],
    data: Mapping[str, Any],
) -> None:
    """Write tables and model, then `result.json`, and finally remove the checkpoint."""
    write_table(pyarrow.Table.from_pylist([asdict(row) for row in rows]), folder / "measurements.parquet")
    predictions = tabulate(scored["test"], probabilities=prepared.recipe.diagnostics.probabilities)
    write_table(predictions, folder / PREDICTIONS)
    with atomic_folder(folder / "model") as model:
        assembled.encoder.save(model)
        adapters = len([*model.rglob("adapter_config.json")])
        card = model_card(data, prepared, assembled.bounds, scored, assembled.encoder, adapters)
        (model / "README.md").write_text(card, encoding="utf-8")
    if intervention_weights := assembled.training.own_weights():
        with atomic_file(folder / "interventions.safetensors") as aside:
            save_file(intervention_weights, aside)
    write_result(folder, data)
    forget_failure(folder)
    remove_checkpoint(folder)


def _texts(prepared: Prepared) -> list[list[Example]]:
    return texts_to_measure(prepared.task, prepared.parallel, prepared.languages.all)


def empty_notes(empty: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return notes for the user on `empty_batches`."""
    return [
        f"The term `{name}` counted nothing in {counts['micro_batches']} micro-batches, in {counts['steps']} of its"
        f" {counts['of']} steps: they were too small for it, such as with fewer than {CKA_ROWS} different texts for CKA."
        for name, counts in empty.items()
    ]
