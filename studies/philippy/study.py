"""The analysis of Philippy et al. (2023) on all languages of `emoji`, from committed measurements of every pair of languages.

`python -m studies.philippy.study FOLDER` reads the finished runs of `study.toml` below a folder, of one pooling, and stores their
pairs as `pairs-POOLING.parquet` here. Without a folder, it writes the tables of docs/studies/philippy.md and its figures.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

import pandas as pd
import pyarrow as pa
from pyarrow import parquet
from transformers import AutoTokenizer

from distxfer import load_results
from distxfer.analysis.transfer_matrix import Pairs, TransferMatrix, pairs_of, transfer_matrix
from distxfer.data import load_task, task_languages
from distxfer.encoders import BUNDLED, model_folder
from distxfer.reports.tables import Table
from distxfer.reports.transfer_matrix import matrix_figure, matrix_tables
from studies.pages import put

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "studies" / "philippy.md"
IMAGES = ROOT / "docs" / "images"
COVARIATES = HERE / "covariates.csv"
COLUMNS = {"mean": False, "cls": True}  # by pooling, whether drift is biased: our default, and the paper's


def main() -> None:
    """Store the pairs of a folder of runs, or write the page."""
    if len(sys.argv) > 1:
        results = load_results(sys.argv[1])
        (pooling,) = {run.recipe["model"]["pooling"] for method in results.methods for run in method.runs}
        store(pairs_of(results), stored(pooling))
        COVARIATES.write_text(tokens_per_name(), encoding="utf-8")
        return
    for name, text in tables().items():
        put(PAGE, text, name)
    for pooling, biased in COLUMNS.items():
        if stored(pooling).is_file():
            matrix_figure(transfer_matrix(read(stored(pooling)), biased=biased), IMAGES / f"philippy-{pooling}.svg")


def tokens_per_name() -> str:
    """Return the mean number of tokens of the test names, which have the same content in all languages, as CSV."""
    languages = task_languages("emoji")
    task = load_task("emoji", "eng", tuple(code for code in languages if code != "eng"))
    tokenizer = AutoTokenizer.from_pretrained(model_folder(BUNDLED))
    rows = []
    for code in sorted(languages):
        encoded = tokenizer([example.text for example in task.examples("test", code)], add_special_tokens=False)
        rows.append(f"{code},{fmean(map(len, encoded['input_ids'])):.3f}")
    return "\n".join(["language,tokens", *rows]) + "\n"


def stored(pooling: str) -> Path:
    """Return the file of the pairs of runs with this pooling."""
    return HERE / f"pairs-{pooling}.parquet"


def store(pairs: Pairs, path: Path) -> None:
    """Write pairs as a table, with what else they hold as its metadata."""
    rows = pairs.rows.astype(dict.fromkeys(("source", "target", "measure"), "category"))
    rows = rows.astype({"seed": "int8", "layer": "int8", "value": "float32", "n": "int16"})
    facts = {key: value for key, value in asdict(pairs).items() if key not in ("rows", "left_out")}
    table = pa.Table.from_pandas(rows, preserve_index=False)
    metadata = {key: str(value) for key, value in facts.items()}
    parquet.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")


def read(path: Path) -> Pairs:
    """Return the pairs that `store` wrote."""
    table = parquet.read_table(path)
    facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    rows = table.to_pandas().astype(dict.fromkeys(("source", "target", "measure"), str) | {"value": float})
    imputed = facts.pop("imputed") == "True"
    return Pairs(rows=rows, imputed=imputed, **facts)


def tables() -> dict[str, str]:
    """Return the tables of the page by name."""
    matrices = {
        f"{pooling}, {'biased' if biased else 'unbiased'}": transfer_matrix(
            read(stored(pooling)), biased=biased, covariates=COVARIATES
        )
        for pooling in COLUMNS
        for biased in (False, True)
        if stored(pooling).is_file()
    }
    _, _, effects, rules = matrix_tables(next(iter(matrices.values())))
    return {
        "correlations": correlations(matrices).markdown(),
        "variants": variants().markdown(),
        "effects": effects.markdown(),
        "sources": rules.markdown(),
    }


def correlations(matrices: dict[str, TransferMatrix]) -> Table:
    """Return the correlations over the mean of the layers, a column for each pooling and estimate of CKA."""
    rows = []
    overall = {name: matrix.correlations.query("layer == 0") for name, matrix in matrices.items()}
    for relation, distance in next(iter(overall.values()))[["relation", "distance"]].itertuples(index=False):
        cells = [
            cell(table[(table["relation"] == relation) & (table["distance"] == distance)].iloc[0])
            for table in overall.values()
        ]
        rows.append((relation.replace("distance", distance), *cells))
    return Table(("correlation of", *matrices), rows)


def variants() -> Table:
    """Return the correlations with the syntactic distance, by type and with or without the pairs of a language with itself."""
    columns = ("pooling, CKA", "correlation", "pairs", "drift, transfer", "drift, syntactic", "transfer, syntactic")
    rows = []
    for pooling, biased in COLUMNS.items():
        if not stored(pooling).is_file():
            continue
        pairs = read(stored(pooling))
        for method in ("spearman", "pearson"):
            for diagonal in (False, True):
                matrix = transfer_matrix(
                    pairs, distance_name="syntactic", biased=biased, method=method, diagonal=diagonal
                )
                overall = matrix.correlations.query("layer == 0")
                label = f"{pooling}, {'biased' if biased else 'unbiased'}"
                with_itself = f"{overall['n'].iloc[0]}{', a language with itself too' if diagonal else ''}"
                rows.append(
                    (label, method.capitalize(), with_itself, *map(cell, (row for _, row in overall.iterrows())))
                )
    return Table(columns, rows)


def cell(row: "pd.Series[float]") -> str:
    """Return r and the corrected p of a correlation."""
    return f"{row['r']:.2f} ({row['p_holm']:.3f})" if pd.notna(row["p_holm"]) else f"{row['r']:.2f}"


if __name__ == "__main__":
    main()
