"""The verbs for finished runs: `predict`, `merge`, `report` and `publish`."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from distxfer._console import say, write, write_json
from distxfer._lazy import preload
from distxfer.cli._options import RESULTS, AsJson, Baseline, Results, run_folder, show_tables, write_tables
from distxfer.errors import InputError


def predict(
    run: Annotated[
        Path, typer.Argument(help="A run: its folder, or RECIPE/ID-sSEED below the results.", show_default=False)
    ],
    file: Annotated[
        Path | None,
        typer.Argument(help="Texts, one per line; two texts of a pair are separated by a tab.", show_default=False),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="A text, instead of a file; repeatable.", show_default=False)
    ] = None,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Predict labels of new texts with the model of a finished run."""
    if (file is None) == (not text):
        raise InputError("`predict` needs texts: a file with one per line, or `--text TEXT`. Give one of the two.")
    from distxfer.data import lines
    from distxfer.reports.tables import Table
    from distxfer.runs.predict import predict as run_model

    inputs = [line for _, line in lines(file)] if file else text or []
    texts = [(parts[0], parts[1]) if len(parts := line.split("\t", 1)) == 2 else line for line in inputs]
    predictions = run_model(run_folder(str(run), results) or run, texts)
    records = [dataclasses.asdict(prediction) for prediction in predictions]
    rows = [
        (prediction.label, prediction.probabilities.get(prediction.label), prediction.text)
        for prediction in predictions
    ]
    show_tables(as_json, lambda: records, lambda: [Table(("label", "probability", "text"), rows)])


def merge(
    models: Annotated[
        list[str],
        typer.Argument(
            help="The models: runs (a folder, or RECIPE/ID-sSEED below the results), merged models, or encoders such as the"
            " pretrained one.",
            metavar="MODEL",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the model.", show_default=False)],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="A number per model, 0.5,0.5, that sum to 1; may be negative. Default: equal.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        str,
        typer.Option(
            "--layers", help="Layers to take from one model: embeddings,1,2 or lower,upper ...", show_default=False
        ),
    ] = "",
    layers_from: Annotated[
        str | None, typer.Option("--layers-from", help="The model that has these layers.", show_default=False)
    ] = None,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Merge models into one without training: a mean of their weights, task arithmetic, layers of another model."""
    preload("distxfer.checkpoints.merge")
    from distxfer.checkpoints.merge import merge as run

    numbers = None if weights is None else _numbers(weights)
    sources = [run_folder(model, results) or model for model in models]
    donor = layers_from and (run_folder(layers_from, results) or layers_from)
    words = [word.strip() for word in layers.split(",") if word.strip()]
    folder = run(sources, out, weights=numbers, layers=words, layers_from=donor)
    if as_json:
        write_json(json.loads((folder / "merge.json").read_text(encoding="utf-8")))
    else:
        write(f"{folder}\n")


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"`weights` = `{text}` is no list of numbers. Give one per model, such as `0.5,0.5`."
        ) from error


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to report on, the baseline first: recipes with results, RECIPE/ID, runs, or folders of runs. Default: all"
            " results.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The page: an .html file that works offline.")] = Path(
        "report.html"
    ),
    baseline: Baseline = "",
    distance: Annotated[
        list[str] | None,
        typer.Option(
            "--distance",
            help="A distance that the page offers; repeatable, the first one sorts the languages. Default: that of the runs,"
            " then all others.",
            show_default=False,
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="A folder for all figures as PNG, SVG and PDF.")
    ] = None,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Write one page about finished runs: comparison, transfer, drift, alignment, training, provenance."""
    preload("distxfer.reports.page")
    from distxfer.reports.page import report as run

    page = run(names or [], out, results=results, baseline=baseline, distances=distance or [], figures=figures)
    if as_json:
        write_json(page.record())
        return
    for note in page.notes:
        say(f"Note: {note}")
    if page.left_out:
        say(f"{len(page.left_out)} left out:")
        for reason in page.left_out:
            say(f"- {reason}")
    drawn = f", {len(page.figures)} figure files in {figures}" if figures else ""
    write(f"{out}  ({page.methods} methods, {page.runs} runs, {page.size / 1e6:.1f} MB){drawn}\n")


def publish(
    run: Annotated[Path, typer.Argument(help="A run's folder, such as results/plain/0123abcd-s0.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="The repository: NAMESPACE/NAME.", show_default=False)],
    push: Annotated[bool, typer.Option("--push", help="Push; without it, only print what would be pushed.")] = False,
    public: Annotated[bool, typer.Option("--public", help="Make the repository public. Default: private.")] = False,
    predictions: Annotated[
        bool,
        typer.Option("--predictions", help="Include predictions.parquet, which holds the labels of the test examples."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Push a run's model with its card and result to the Hugging Face hub; without --push, print what would be pushed."""
    from distxfer.publishing import publication
    from distxfer.publishing import push as send
    from distxfer.reports.tables import Table

    plan = publication(run, to, private=not public, predictions=predictions)
    if not as_json:
        sizes = plan.sizes()
        table = Table(("file", "bytes"), [*sizes.items(), ("all", sum(sizes.values()))], f"{plan.title}, to {to}")
        write_tables([table])
    for warning in plan.warnings:
        say(f"Warning: {warning}")
    commit, private = send(plan) if push else (None, plan.private)
    visibility = "private" if private else "public"
    if as_json:
        files = [{"path": path, "bytes": size} for path, size in plan.sizes().items()]
        write_json({"repository": to, "private": private, "files": files, "warnings": plan.warnings, "commit": commit})
    elif commit is None:
        write(f"Nothing was pushed. `--push` pushes this to {to}, {visibility}, in one commit.\n")
    else:
        write(f"Pushed, {visibility}: {commit}\n")
