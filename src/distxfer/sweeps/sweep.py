"""A sweep: every run of a plan once, whatever becomes of the others, and what became of each."""

import json
import os
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from distxfer._durable import atomic_file
from distxfer.errors import InputError
from distxfer.results.failure import read_failure, write_failure
from distxfer.runs.run import outlook
from distxfer.sweeps.engines import Ended, Engine, Job, LocalEngine, is_done
from distxfer.sweeps.grid import MAX_RUNS, PlannedRun, SweepPlan, plan_sweep

Notice = Callable[[str], None]
Status = Literal["done", "done before", "failed", "failed before", "interrupted", "begun", "waiting"]

_LOG = "log.jsonl"  # of the steps: there from the first one on
_TICK = 0.5  # seconds between two looks at what may start
_AGAIN = 2.0  # seconds until a run that another sweep is at is looked at again


@dataclass(frozen=True)
class Outcome:
    """What became of a run in a sweep, why, and after how many seconds.

    `done before`, `failed before`: there was nothing to do, or a failure was left as it is. `begun`, `waiting`: before a
    sweep, a run that goes on from its checkpoint, if it has one, and one that starts anew.
    """

    run: PlannedRun
    status: Status
    reason: str = ""
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
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
    """How far a sweep is: `done` of `total` runs, `failed` besides, about how many seconds are left, what came last."""

    total: int
    done: int
    failed: int
    seconds_left: float | None
    last: Outcome | None


@dataclass(frozen=True)
class Forecast:
    """What a run will take; `status` is what it would be now, and the numbers are None where there is nothing to do.

    `basis` says what the seconds are estimated from, `parallel` which parallel text the run has.
    """

    run: PlannedRun
    status: Status
    seconds: float | None
    megabytes: float | None
    basis: str = ""
    parallel: str = ""


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
    """Do every run that the words mean, as `train` does it, and return what became of each, in the order of the plan.

    `words`, `paired`, `shard` and `max_runs` are those of `plan_sweep`; `results` is where results are kept, by default
    $DISTXFER_RESULTS or `./results`; `engine` says where runs are carried out, by default one after the other here. A run
    that is done is not done again, one that was interrupted goes on, one that another sweep is at is waited for. One that
    failed in an earlier sweep is left as it is, unless `retry_failed`. A failure stops no other run.

    Raises InputError as `plan_sweep` does, and for a folder that cannot be written; KeyboardInterrupt after all that ran
    has stopped, so that the same sweep goes on from there.
    """
    results = (results or Path(os.environ.get("DISTXFER_RESULTS", "results"))).absolute()
    plan = plan_sweep(words, results, paired=paired, shard=shard, max_runs=max_runs)
    _write_plan(plan, results)
    for text in plan.notices:
        notice(text)
    standing = {run: standing_of(run) for run in plan.runs}
    left_alone = ("done before",) if retry_failed else ("done before", "failed before")
    outcomes = {run: one for run, one in standing.items() if one.status in left_alone}
    to_do = [run for run in plan.runs if run not in outcomes]
    if failed := sum(one.status == "failed before" for one in outcomes.values()):
        notice(
            f"{failed} of the runs failed in an earlier sweep and are left as they are; `--retry-failed` tries them again."
        )
    started = time.monotonic()
    report(_progress(plan, outcomes, to_do, 0.0, None))
    with closing(_carried_out(to_do, results, engine or LocalEngine(), notice)) as ended:
        for outcome in ended:
            outcomes[outcome.run] = outcome
            report(_progress(plan, outcomes, to_do, time.monotonic() - started, outcome))
    return [outcomes[run] for run in plan.runs]


def forecast(
    plan: SweepPlan, results: Path, notice: Notice = lambda text: None, *, retry_failed: bool = False
) -> list[Forecast]:
    """Return what each run of the plan will take, measured as `outlook` does, once for all seeds of an id.

    What is left alone takes nothing: runs that are done, and without `retry_failed` those that have failed before.

    Raises InputError for what only the encoder can tell to be wrong with a run.
    """
    now = {run: standing_of(run) for run in plan.runs}
    left = ("done before",) if retry_failed else ("done before", "failed before")
    ids = list(dict.fromkeys(run.id for run, one in now.items() if one.status not in left))
    known: dict[str, tuple[float, float, str, str]] = {}
    for run in plan.runs:
        if run.id in ids and run.id not in known:
            notice(
                f"Timing a few steps of {' '.join((run.recipe.name, *run.varied))} ({len(known) + 1} of {len(ids)})."
            )
            found = outlook(run.recipe, results)
            seconds = found.training_seconds + found.measuring_seconds
            known[run.id] = (seconds, found.megabytes, found.basis, found.parallel)
    none = (None, None, "", "")
    return [Forecast(run, one.status, *(none if one.status in left else known[run.id])) for run, one in now.items()]


def standing_of(run: PlannedRun) -> Outcome:
    """Return where a run stands before a sweep: `done before`, `failed before`, `begun` or `waiting`."""
    if is_done(run.folder):
        return Outcome(run, "done before")
    if failure := read_failure(run.folder):
        return Outcome(run, "failed before", failure.reason)
    return Outcome(run, "begun" if (run.folder / _LOG).exists() else "waiting")


def _carried_out(
    runs: Sequence[PlannedRun], results: Path, engine: Engine, notice: Notice
) -> Generator[Outcome, None, None]:
    """Yield what becomes of each run, as it does; closing this, or an interrupt, stops those that are at work."""
    if not runs:
        return
    over: set[PlannedRun] = set()
    held = _held_back(runs, over)
    jobs = {run: _job(run, results) for run in runs}
    at_work: dict[Future[Ended], PlannedRun] = {}
    told = False
    with engine.running() as submit:
        while held or at_work:
            for run in [run for run, may_start in held.items() if may_start()]:
                del held[run]
                at_work[submit(jobs[run])] = run
            for future in wait(at_work, timeout=_TICK, return_when=FIRST_COMPLETED).done:
                run = at_work.pop(future)
                ended = _ended(future, run)
                if ended.status != "busy":
                    over.add(run)
                    yield Outcome(run, ended.status, ended.reason, ended.seconds)
                    continue
                held[run] = partial(_is_past, time.monotonic() + _AGAIN)
                if not told:
                    notice(f"Another process is at work on this run: {run.folder}. It is looked at again later.")
                told = True
            if not at_work:
                time.sleep(_TICK)


def _held_back(runs: Sequence[PlannedRun], over: Collection[PlannedRun]) -> dict[PlannedRun, Callable[[], bool]]:
    """Return when each run may start, the first of each kind at once: runs of one kind share the states before training.

    The others start when the first one has kept these states for them, which it has when it trains, or when it is over.
    Adapters keep none, so that a run with few interventions goes first.
    """
    first: dict[str, PlannedRun] = {}
    for run in sorted(runs, key=lambda run: len(run.recipe.interventions)):
        first.setdefault(_kind(run), run)

    def is_open(leader: PlannedRun) -> bool:
        return leader in over or (leader.folder / _LOG).exists()

    leaders = dict.fromkeys(first.values(), lambda: True)
    return leaders | {run: partial(is_open, first[_kind(run)]) for run in runs if run not in leaders}


def _kind(run: PlannedRun) -> str:
    return repr((run.recipe.model, run.recipe.task, run.recipe.parallel))


def _is_past(moment: float) -> bool:
    return time.monotonic() >= moment


def _job(run: PlannedRun, results: Path) -> Job:
    command = ("-m", "distxfer", "train", *run.words, "--results", str(results))
    return Job(command, Path.cwd(), run.folder, read_failure(run.folder))


def _ended(future: Future[Ended], run: PlannedRun) -> Ended:
    """Return how a job ended; where the engine itself gave up on it, that is how it failed."""
    try:
        return future.result()
    except CancelledError:
        return Ended("interrupted")
    except Exception as error:  # whatever an engine meets is the failure of this run, and of no other
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        with suppress(OSError):
            run.folder.mkdir(parents=True, exist_ok=True)
            write_failure(run.folder, reason, 1, run.words)
        return Ended("failed", reason)


def _progress(
    plan: SweepPlan,
    outcomes: Mapping[PlannedRun, Outcome],
    to_do: Sequence[PlannedRun],
    seconds: float,
    last: Outcome | None,
) -> Progress:
    over = sum(run in outcomes for run in to_do)
    return Progress(
        total=len(plan.runs),
        done=sum(one.status in ("done", "done before") for one in outcomes.values()),
        failed=sum(one.status in ("failed", "failed before") for one in outcomes.values()),
        seconds_left=seconds / over * (len(to_do) - over) if over else None,
        last=last,
    )


def _write_plan(plan: SweepPlan, results: Path) -> None:
    """Write which runs a sweep with a name has to `sweeps/NAME.json`, for who wants to look at these runs alone."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        if plan.name:
            path = results / "sweeps" / f"{plan.name}.json"
            path.parent.mkdir(exist_ok=True)
            runs = [
                {"recipe": run.recipe.name, "id": run.id, "seed": run.seed, "overrides": list(run.overrides),
                 "folder": str(run.folder.relative_to(results))}
                for run in plan.whole
            ]  # fmt: skip
            text = json.dumps({"schema": 1, "name": plan.name, "runs": runs}, indent=1, ensure_ascii=False)
            with atomic_file(path, uuid4().hex) as aside:  # all shards of an array write it at once
                aside.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The result folder `{results}` cannot be written: {error.strerror}. Choose another with `--results`."
        ) from error
