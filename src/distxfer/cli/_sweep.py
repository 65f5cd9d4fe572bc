"""The verb `sweep`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from distxfer._complete import complete_override
from distxfer._console import notice, run_progress, span, write
from distxfer.cli._options import RESULTS, AsJson, Results, show_tables
from distxfer.errors import InputError, RunError, unknown

_ENGINES = ("local", "ray")
_MAX_RUNS = 1000


Axes = Annotated[
    list[str] | None,
    typer.Argument(
        help="Axes, with commas between their values: recipe=plain,dist_align seed=0,1,2 intervention.align.weight=0.1,1."
        " A value that is a list has brackets around it. study=FILE reads axes from a file.",
        metavar="recipe=NAME,NAME [KEY=VALUE,VALUE]... [study=FILE] [name=NAME]",
        autocompletion=complete_override,
        show_default=False,
    ),
]
Paired = Annotated[
    list[str] | None,
    typer.Option("--paired", help="Axes that go in step, not all with all.", metavar="KEY,KEY"),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only list the runs, what is done, and estimates of time and disk.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try runs again that failed in an earlier sweep.")]
MaxRuns = Annotated[int, typer.Option("--max-runs", help="Refuse a larger grid.")]
Shard = Annotated[str, typer.Option("--shard", help="Only this part of the runs, for job arrays.", metavar="I/N")]
Engine = Annotated[str, typer.Option("--engine", help="local, or ray.", autocompletion=lambda: list(_ENGINES))]
Workers = Annotated[
    int | None,
    typer.Option("--workers", help="local: runs at once. Default: one a GPU, or 1.", show_default=False),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        help="local: of all workers together, by default all cores; ray: of each run, by default 1.",
        show_default=False,
    ),
]
Gpus = Annotated[
    float | None,
    typer.Option("--gpus", help="ray: of each run. Default: 1 where there are any.", show_default=False),
]
Address = Annotated[
    str,
    typer.Option("--address", help="ray: of the cluster. Default: $RAY_ADDRESS, or this machine alone."),
]


def sweep(
    axes: Axes = None,
    paired: Paired = None,
    results: Results = RESULTS,
    dry_run: DryRun = False,
    retry_failed: RetryFailed = False,
    max_runs: MaxRuns = _MAX_RUNS,
    shard: Shard = "",
    engine: Engine = _ENGINES[0],
    workers: Workers = None,
    threads: Threads = None,
    gpus: Gpus = None,
    address: Address = "",
    as_json: AsJson = False,
) -> None:
    """Train every combination of the axes: what is done is skipped, and one failure stops no other run."""
    chosen = _engine(engine, workers, threads, gpus, address)
    words = axes or []
    if dry_run:
        from distxfer.sweeps.grid import plan_sweep

        plan = plan_sweep(words, results, paired=paired or [], shard=shard, max_runs=max_runs)
        _forecast(plan, results, retry_failed, as_json)
        return
    from distxfer.sweeps.sweep import Progress
    from distxfer.sweeps.sweep import sweep as run

    with run_progress() as report:

        def advance(now: Progress) -> None:
            report(now.total, now.done, now.failed, now.seconds_left, _told(now.last))

        outcomes = run(
            words, results, paired=paired or [], shard=shard, max_runs=max_runs, engine=chosen,
            retry_failed=retry_failed, report=advance, notice=notice,
        )  # fmt: skip
    _show(outcomes, as_json)


def _told(last: Any) -> str:
    """Return in a line what became of the run that has just ended, if any has."""
    if last is None:
        return ""
    name = " ".join((last.run.recipe.name, *last.run.varied, f"seed={last.run.seed}"))
    why = f": {last.reason.splitlines()[0]}" if last.reason else ""
    return f"{name} {last.status}{why} ({span(last.seconds)})"


def _show(outcomes: list[Any], as_json: bool) -> None:
    """Print what became of the runs; raises RunError where not all are done."""
    from distxfer.reports import Table

    columns = ("recipe", "overrides", "seed", "id", "status", "reason")
    records = [one.record() for one in outcomes]
    bad = [one for one in records if not one["status"].startswith("done")]
    table = Table(columns, [tuple(one[key] for key in columns) for one in bad], title="runs that are not done")
    show_tables(as_json, lambda: records, lambda: [table] if bad else [])
    if bad:
        raise RunError(
            f"{len(bad)} of {len(records)} runs are not done; the table says why, and `train.log` in a run's folder has all."
            " `--retry-failed` tries those that failed again."
        )
    before = sum(one["status"] == "done before" for one in records)
    if not as_json:
        what = "1 run is done" if len(records) == 1 else f"{len(records)} runs are done"
        write(f"{what}{f', {before} of them before' if before else ''}. Results: {_common(records)}\n")


def _common(records: list[dict[str, Any]]) -> str:
    folders = sorted({str(Path(one["folder"]).parent) for one in records})
    return ", ".join(folders) or "none"


def _forecast(plan: Any, results: Path, retry_failed: bool, as_json: bool) -> None:
    from distxfer.reports import Table
    from distxfer.results.corpus import corpus_lines
    from distxfer.sweeps.sweep import forecast

    for text in plan.notices:
        notice(text)
    records: list[dict[str, Any]] = [
        {
            "recipe": one.run.recipe.name,
            "overrides": " ".join(one.run.varied),
            "seed": one.run.seed,
            "id": one.run.id,
            "status": one.status,
            "seconds": None if one.seconds is None else round(one.seconds),
            "disk (MB)": None if one.megabytes is None else round(one.megabytes),
            "estimated from": one.basis or None,
            "parallel text": one.parallel or None,
        }
        for one in forecast(plan, results, notice, retry_failed=retry_failed)
    ]
    done, left = (sum(one["status"] == status for one in records) for status in ("done before", "failed before"))
    alone = f", {left} failed and left alone" if left and not retry_failed else ""
    seconds, disk = (sum(one[key] or 0 for one in records) for key in ("seconds", "disk (MB)"))
    columns = ("recipe", "overrides", "seed", "id", "status", "seconds", "disk (MB)")
    texts = {f"{one['recipe']}/{one['id']}": [one["parallel text"]] for one in records if one["parallel text"]}
    table = Table(
        columns,
        [tuple(one[key] for key in columns) for one in records],
        title="what the sweep would do",
        notes=(
            f"{len(records)} runs, {done} done{alone}. The others: about {span(seconds)} here, one after the other, and at most"
            f" {disk:,} MB.",
            *dict.fromkeys(
                f"seconds: estimated, for each id, from {one['estimated from']}." for one in records if one["seconds"]
            ),
            *corpus_lines(texts),
        ),
    )
    show_tables(as_json, lambda: records, lambda: [table])


def _engine(name: str, workers: int | None, threads: int | None, gpus: float | None, address: str) -> Any:
    """Return the engine with its settings; raises InputError for one that another engine alone has."""
    from distxfer.sweeps.engines import LocalEngine
    from distxfer.sweeps.ray_engine import RayEngine

    if name not in _ENGINES:
        raise unknown("The engine", name, _ENGINES)
    if name == "local":
        for option, given in (("gpus", gpus is not None), ("address", bool(address))):
            if given:
                raise InputError(f"`--{option}` is for `--engine ray`. Say so, or leave it out.")
        return LocalEngine(workers, threads)
    if workers is not None:
        raise InputError(
            "`--workers` is for `--engine local`. Ray starts as many runs as `--threads` and `--gpus` leave room for."
        )
    return RayEngine(address or None, 1 if threads is None else threads, gpus)
