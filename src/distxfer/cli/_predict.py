"""The verb `predict`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from distxfer.cli._options import RESULTS, AsJson, Results, run_folder, show_tables
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
