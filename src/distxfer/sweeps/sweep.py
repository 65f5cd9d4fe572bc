"""Runs a sweep: carries out every planned run, independently of failures of others, and reports the outcomes."""

import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from distxfer._durable import atomic_file
from distxfer.encoders import model_folder
from distxfer.errors import InputError
from distxfer.results.failure import read_failure, write_failure
from distxfer.results.result import ARITHMETIC, read_result
from distxfer.runs.run import Outlook, outlook
from distxfer.sweeps.engines import Ended, Engine, Job, LocalEngine, is_done
from distxfer.sweeps.grid import MAX_RUNS, PlannedRun, SweepPlan, plan_sweep

Notice = Callable[[str], None]
Status = Literal["done", "done before", "failed", "failed before", "interrupted", "begun", "waiting"]

_LOG = "log.jsonl"  # of training steps, created in the first step
_TICK = 0.5  # seconds between polls for runs that may start
_RETRY = 2.0  # seconds until a run in progress in another sweep is tried again


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run in a sweep, the reason, and the seconds it took.

    `done before`, `failed before`: not carried out, since it was finished or had failed. Before a sweep, `begun` is a run
    that resumes from its checkpoint, if it has one, and `waiting` a run that starts from the beginning.
    """

    run: PlannedRun
    status: Status
    reason: str = ""
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """Return the outcome as plain data."""
        return {
            "recipe": self.run.recipe.name,
            "overrides": " ".join(self.run.varied),
            "seed": self.run.seed,
            "id": self.run.id,
            "folder": str(self.run.folder),
            "status": self.status,
            "reason": self.reason,
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True)
class Progress:
    """The progress of a sweep: numbers of runs, an estimate of the remaining seconds, and the last outcome."""

    total: int
    done: int
    failed: int
    seconds_left: float | None
    last: Outcome | None


def sweep(
    words: Sequence[str],
    results: Path | None = None,
    *,
    paired: Sequence[str] = (),
    shard: str = "",
    max_runs: int = MAX_RUNS,
    engine: Engine | None = None,
    retry_failed: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
    notice: Notice = lambda text: None,
) -> list[Outcome]:
    """Carry out all runs of a sweep as `train` does, and return their outcomes in the order of the plan.

    `words`, `paired`, `shard` and `max_runs` are those of `plan_sweep`; `results` is the folder of results, by default
    $DISTXFER_RESULTS or `./results`; `engine` carries out the runs, by default `LocalEngine()`.
    Finished runs are not repeated, interrupted ones are resumed, and a run in progress in another sweep is waited for. A
    run that failed in an earlier sweep is skipped unless `retry_failed`. A failure does not stop other runs.

    Raises InputError as `plan_sweep` does, and for a folder that cannot be written. On KeyboardInterrupt, all running
    processes are stopped first; the same sweep then resumes.
    """
    results = (results or Path(os.environ.get("DISTXFER_RESULTS", "results"))).absolute()
    plan = plan_sweep(words, results, paired=paired, shard=shard, max_runs=max_runs)
    _write_plan(plan, results)
    for text in plan.notices:
        notice(text)
    left_alone = _left_alone(retry_failed)
    outcomes = {run: state for run in plan.runs if (state := state_of(run)).status in left_alone}
    pending = [run for run in plan.runs if run not in outcomes]
    if failed := sum(outcome.status == "failed before" for outcome in outcomes.values()):
        notice(f"{failed} of the runs failed in an earlier sweep and are skipped; `--retry-failed` tries them again.")
    finished = [read_result(run.folder) for run, state in outcomes.items() if state.status == "done before"]
    if older := sum(result is not None and result.arithmetic != ARITHMETIC for result in finished):
        notice(
            f"{older} of the finished runs are of another arithmetic than {ARITHMETIC}; `train --again` repeats a run."
        )
    started = time.monotonic()
    report(_progress(plan, outcomes, pending, 0.0, None))
    with closing(_carried_out(pending, results, engine or LocalEngine(), notice, plan.runs)) as results_in_order:
        for outcome in results_in_order:
            outcomes[outcome.run] = outcome
            report(_progress(plan, outcomes, pending, time.monotonic() - started, outcome))
    return [outcomes[run] for run in plan.runs]


def forecast(
    plan: SweepPlan, results: Path, notice: Notice = lambda text: None, *, retry_failed: bool = False
) -> list[tuple[Outcome, Outlook | None]]:
    """Return the state of each run of the plan, and its `outlook`, measured once for all seeds and single sources.

    None for finished runs, and for runs that failed before, unless `retry_failed`.

    Raises InputError for errors that only loading the encoder reveals.
    """
    states = [state_of(run) for run in plan.runs]
    pending = [state.run for state in states if state.status not in _left_alone(retry_failed)]
    keys = {run: _apart_from_languages(run) for run in pending}
    number = len(set(keys.values()))
    outlooks: dict[str, Outlook] = {}
    for run, key in keys.items():
        if key not in outlooks:
            name = " ".join((run.recipe.name, *run.varied))
            notice(f"Timing a few steps of {name} ({len(outlooks) + 1} of {number}).")
            outlooks[key] = outlook(run.recipe, results)
    return [(state, outlooks[keys[state.run]] if state.run in pending else None) for state in states]


def _apart_from_languages(run: PlannedRun) -> str:
    """Return the settings of a run without its seed and its language if it has one source: such runs take about as long."""
    settings = run.recipe.resolved()
    task = settings["task"]
    if "," not in task["source"]:
        task = {**task, "source": "", "targets": len(task["targets"])}
    return json.dumps({**settings, "seed": 0, "task": task}, sort_keys=True)


def _fit_into_memory(runs: Iterable[PlannedRun]) -> int:
    """Return how many runs fit into three quarters of the memory: about four times the weights' files each, and 1 GB."""
    models = {run.recipe.model for run in runs}
    folders = [model_folder(model.name, model.revision) for model in models]
    largest = max((sum(path.stat().st_size for path in folder.glob("*.safetensors")) for folder in folders), default=0)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, int(0.75 * memory / (4 * largest + 1e9)))


def _left_alone(retry_failed: bool) -> tuple[Status, ...]:
    return ("done before",) if retry_failed else ("done before", "failed before")


def state_of(run: PlannedRun) -> Outcome:
    """Return the state of a run before a sweep: `done before`, `failed before`, `begun` or `waiting`."""
    if is_done(run.folder):
        return Outcome(run, "done before")
    if failure := read_failure(run.folder):
        return Outcome(run, "failed before", failure.reason)
    return Outcome(run, "begun" if (run.folder / _LOG).exists() else "waiting")


def _carried_out(
    runs: Sequence[PlannedRun], results: Path, engine: Engine, notice: Notice, planned: Sequence[PlannedRun]
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of runs as they finish; closing the generator, or an interrupt, stops the running ones.

    Runs with the same model and data share the cached states before training, so the first of them starts at once and the
    others once it trains (and has cached them) or has ended. Runs with adapters cache no states, so a run with the fewest
    interventions is first. A run that another sweep is working on is tried again later.
    """
    if not runs:
        return
    leaders: dict[str, PlannedRun] = {}
    for run in sorted(runs, key=lambda run: len(run.recipe.interventions)):
        leaders.setdefault(_shared(run), run)
    waiting = [*leaders.values(), *(run for run in runs if run not in leaders.values())]
    jobs = {run: _job(run, results) for run in runs}
    finished: set[PlannedRun] = set()
    not_before: dict[PlannedRun, float] = {}  # of runs that another sweep is working on

    def may_start(run: PlannedRun) -> bool:
        leader = leaders[_shared(run)]
        is_open = leader is run or leader in finished or (leader.folder / _LOG).exists()
        return is_open and time.monotonic() >= not_before.get(run, 0.0)

    running: dict[Future[Ended], PlannedRun] = {}
    # Of all planned runs, so that the last ones get the threads of the first.
    with engine.running(min(len(planned), _fit_into_memory(planned))) as submit:
        while waiting or running:
            started = [run for run in waiting if may_start(run)]
            running |= {submit(jobs[run]): run for run in started}
            waiting = [run for run in waiting if run not in started]
            for future in wait(running, timeout=_TICK, return_when=FIRST_COMPLETED).done:
                run = running.pop(future)
                ended = _ended(future, run)
                if ended.status != "busy":
                    finished.add(run)
                    yield Outcome(run, ended.status, ended.reason, ended.seconds)
                    continue
                if not not_before:
                    notice(f"Another process is working on this run: {run.folder}. It is tried again later.")
                waiting.append(run)
                not_before[run] = time.monotonic() + _RETRY
            if not running:
                time.sleep(_TICK)


def _shared(run: PlannedRun) -> str:
    """Return what runs with the same cached states have in common."""
    return repr((run.recipe.model, run.recipe.task, run.recipe.parallel))


def _job(run: PlannedRun, results: Path) -> Job:
    command = ("-m", "distxfer", "train", *run.words, "--results", str(results))
    return Job(command, Path.cwd(), run.folder, read_failure(run.folder))


def _ended(future: Future[Ended], run: PlannedRun) -> Ended:
    """Return how a job ended; an error of the engine counts as a failure of the run."""
    try:
        return future.result()
    except CancelledError:
        return Ended("interrupted")
    except Exception as error:  # any error of an engine is a failure of this run only
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        with suppress(OSError):
            run.folder.mkdir(parents=True, exist_ok=True)
            write_failure(run.folder, reason, 1, run.words)
        return Ended("failed", reason)


def _progress(
    plan: SweepPlan,
    outcomes: Mapping[PlannedRun, Outcome],
    pending: Sequence[PlannedRun],
    seconds: float,
    last: Outcome | None,
) -> Progress:
    finished = sum(run in outcomes for run in pending)
    return Progress(
        total=len(plan.runs),
        done=sum(outcome.status in ("done", "done before") for outcome in outcomes.values()),
        failed=sum(outcome.status in ("failed", "failed before") for outcome in outcomes.values()),
        seconds_left=seconds / finished * (len(pending) - finished) if finished else None,
        last=last,
    )


def _write_plan(plan: SweepPlan, results: Path) -> None:
    """Write the runs of a named sweep to `sweeps/NAME.json`, by which they can be selected later."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        if plan.name:
            path = results / "sweeps" / f"{plan.name}.json"
            path.parent.mkdir(exist_ok=True)
            runs = [
                {"recipe": run.recipe.name, "id": run.id, "seed": run.seed, "overrides": list(run.overrides),
                 "folder": str(run.folder.relative_to(results))}
                for run in plan.all_runs
            ]  # fmt: skip
            text = json.dumps({"schema": 1, "name": plan.name, "runs": runs}, indent=1, ensure_ascii=False)
            with atomic_file(path, uuid4().hex) as aside:  # the shards of an array job write it at the same time
                aside.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The result folder `{results}` cannot be written: {error.strerror}. Choose another with `--results`."
        ) from error
