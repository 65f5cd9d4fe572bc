"""The verb `sweep`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from distxfer._complete import complete_override
from distxfer._console import notice, run_progress, span, write
from distxfer.cli._options import RESULTS, AsJson, Results, Verbose, show_tables
from distxfer.errors import InputError, RunError, unknown

_ENGINES = ("local", "ray")
_MAX_RUNS = 1000


Axes = Annotated[
    list[str] | None,
    typer.Argument(
        help="Axes, values separated by commas: recipe=plain,dist_align seed=0,1,2 intervention.align.weight=0.1,1."
        " Put brackets around a value that is a list. study=FILE reads axes from a file.",
        metavar="recipe=NAME,NAME [KEY=VALUE,VALUE]... [study=FILE] [name=NAME]",
        autocompletion=complete_override,
        show_default=False,
    ),
]
Paired = Annotated[
    list[str] | None,
    typer.Option("--paired", help="Axes whose values are paired, not crossed.", metavar="KEY,KEY"),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only list the runs, their status, and estimates of time and disk.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Retry runs that failed in an earlier sweep.")]
MaxRuns = Annotated[int, typer.Option("--max-runs", help="Refuse a larger grid.")]
Shard = Annotated[str, typer.Option("--shard", help="Run only this part of the grid, for job arrays.", metavar="I/N")]
Engine = Annotated[str, typer.Option("--engine", help="local, or ray.", autocompletion=lambda: list(_ENGINES))]
Workers = Annotated[
    int | None,
    typer.Option("--workers", help="local: concurrent runs. Default: one per GPU, else per core.", show_default=False),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        help="Threads of each run. Default: 1; local, with GPUs, `--workers` or a single run: its share of the cores.",
        show_default=False,
    ),
]
Gpus = Annotated[
    float | None,
    typer.Option("--gpus", help="ray: GPUs of each run. Default: 1 if there are any.", show_default=False),
]
Address = Annotated[
    str,
    typer.Option("--address", help="ray: address of the cluster. Default: $RAY_ADDRESS, or this machine alone."),
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
    verbose: Verbose = False,
) -> None:
    """Train every combination of the axes; finished runs are skipped, and a failure does not stop the other runs."""
    backend = _engine(engine, workers, threads, gpus, address)
    grid: dict[str, Any] = {"paired": paired or [], "shard": shard, "max_runs": max_runs}
    if dry_run:
        _forecast(axes or [], results, grid, retry_failed, as_json, verbose)
        return
    from distxfer.sweeps.sweep import Progress
    from distxfer.sweeps.sweep import sweep as run

    with run_progress() as report:

        def advance(now: Progress) -> None:
            report(now.total, now.done, now.failed, now.seconds_left, _ended(now.last))

        outcomes = run(
            axes or [], results, **grid, engine=backend, retry_failed=retry_failed, report=advance, notice=notice
        )
    _show(outcomes, as_json, verbose)


def _ended(last: Any) -> str:
    """Return one line about the run that has just ended, if any has."""
    if last is None:
        return ""
    name = " ".join((last.run.recipe.name, *last.run.varied, f"seed={last.run.seed}"))
    why = f": {last.reason.splitlines()[0]}" if last.reason else ""
    return f"{name} {last.status}{why} ({span(last.seconds)})"


def _show(outcomes: list[Any], as_json: bool, verbose: bool) -> None:
    """Print the outcomes of the runs, and a warning for those that collapsed; raises RunError if any is not done."""
    from distxfer.reports.tables import Table
    from distxfer.results.result import read_result

    columns = ("recipe", "overrides", "seed", "id", "status", "reason")
    records = [outcome.record() for outcome in outcomes]
    failed = [record for record in records if not record["status"].startswith("done")]
    results = (read_result(Path(record["folder"])) for record in records if record not in failed)
    collapsed = [str(result.folder) for result in results if result and result.collapsed]
    if collapsed:
        notice(
            f"Warning: {len(collapsed)} of {len(records)} runs collapsed: the source language scores no better than chance."
            f" `compare` leaves them out of means and tests: {', '.join(collapsed)}."
        )
    rows = [tuple(record[key] for key in columns) for record in failed]
    table = Table(columns, rows, title="runs that are not done", optional=("id",))
    show_tables(as_json, lambda: records, lambda: [table] if failed else [], verbose)
    if failed:
        raise RunError(
            f"{len(failed)} of {len(records)} runs are not done. The table gives the reasons; each run's folder has the full"
            " output in `train.log`. `--retry-failed` retries failed runs."
        )
    if not as_json:
        before = sum(record["status"] == "done before" for record in records)
        runs = "1 run is done" if len(records) == 1 else f"{len(records)} runs are done"
        folders = ", ".join(sorted({str(Path(record["folder"]).parent) for record in records})) or "none"
        write(f"{runs}{f', {before} of them before' if before else ''}. Results: {folders}\n")


def _forecast(
    words: list[str], results: Path, grid: dict[str, Any], retry_failed: bool, as_json: bool, verbose: bool
) -> None:
    """Print the runs of a sweep with their status, and estimates of time and disk."""
    from distxfer.reports.tables import Table
    from distxfer.results.descriptions import corpus_lines
    from distxfer.sweeps.grid import plan_sweep
    from distxfer.sweeps.sweep import forecast

    plan = plan_sweep(words, results, **grid)
    for text in plan.notices:
        notice(text)
    records: list[dict[str, Any]] = [
        {
            **{key: state.record()[key] for key in ("recipe", "overrides", "seed", "id", "status")},
            "seconds": round(outlook.training_seconds + outlook.measuring_seconds) if outlook else None,
            "disk (MB)": round(outlook.megabytes) if outlook else None,
            "estimated from": outlook.basis if outlook else None,
            "parallel text": (outlook.parallel or None) if outlook else None,
        }
        for state, outlook in forecast(plan, results, notice, retry_failed=retry_failed)
    ]
    states = [record["status"] for record in records]
    failed = states.count("failed before")
    skipped = f", {failed} failed and not retried" if failed and not retry_failed else ""
    seconds, disk = (sum(record[key] or 0 for record in records) for key in ("seconds", "disk (MB)"))
    bases = dict.fromkeys(record["estimated from"] for record in records if record["seconds"])
    texts = {f"{record['recipe']}/{record['id']}": record["parallel text"] for record in records}
    columns = ("recipe", "overrides", "seed", "id", "status", "seconds", "disk (MB)")
    table = Table(
        columns,
        [tuple(record[key] for key in columns) for record in records],
        title="planned runs",
        optional=("id", "disk (MB)"),
        notes=(
            f"{len(records)} runs, {states.count('done before')} done{skipped}. The others take about {span(seconds)} here, one"
            f" after another, and at most {disk:,} MB.",
            *(f"seconds: estimated from {basis}." for basis in bases),
            *corpus_lines({name: [text] for name, text in texts.items() if text}),
        ),
    )
    show_tables(as_json, lambda: records, lambda: [table], verbose)


def _engine(name: str, workers: int | None, threads: int | None, gpus: float | None, address: str) -> Any:
    """Return the engine with its settings; raises InputError for an option of another engine."""
    from distxfer.sweeps.engines import LocalEngine
    from distxfer.sweeps.ray_engine import RayEngine

    if name not in _ENGINES:
        raise unknown("The engine", name, _ENGINES)
    if name == "local":
        for option, is_set in (("gpus", gpus is not None), ("address", bool(address))):
            if is_set:
                raise InputError(f"`--{option}` needs `--engine ray`. Add it, or leave `--{option}` out.")
        return LocalEngine(workers, threads)
    if workers is not None:
        raise InputError(
            "`--workers` needs `--engine local`. With Ray, `--threads` and `--gpus` determine how many runs start at once."
        )
    return RayEngine(address or None, 1 if threads is None else threads, gpus)
