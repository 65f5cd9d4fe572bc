"""Fuzzed files and words: every reader returns a value, or refuses with one brief message."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from mutations import answer, mutated, report, tally
from pyarrow import parquet

from conftest import scaled
from distxfer.data import load_parallel, load_task
from distxfer.experiments import load_recipe, read_result
from distxfer.experiments._results._rows import read_measurements
from distxfer.experiments._results._scores import read_scores
from distxfer.languages import canonical, distance

ROWS = [{"id": str(n), "text": f"text {n} \N{DOG FACE}", "label": "ab"[n % 2]} for n in range(6)]
TAGGED = [{"id": str(n), "words": ["one", "two"], "tags": ["B-PER", "O"]} for n in range(4)]
ASKED = [
    {"id": str(n), "question": "who", "context": "he did", "answers": {"text": ["he"], "answer_start": [0]}}
    for n in range(4)
]
JSONL = {
    "classification": "".join(f"{json.dumps(row)}\n" for row in ROWS),
    "entities": "".join(f"{json.dumps(row)}\n" for row in TAGGED),
    "answers": "".join(f"{json.dumps(row)}\n" for row in ASKED),
}
CONLLU = (
    "# sent_id = 1\n# text = he did\n1\the\the\tPRON\t_\t_\t2\tnsubj\t_\t_\n2\tdid\tdo\tVERB\t_\t_\t0\troot\t_\t_\n\n"
    "1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_\n1\tde\tde\tADP\t_\t_\t2\tcase\t_\t_\n2\tle\tle\tDET\t_\t_\t0\troot\t_\t_\n\n"
)
TEXTS = {
    ".jsonl": JSONL["classification"],
    ".csv": "id,text,label\n" + "".join(f'{row["id"]},"{row["text"]}",{row["label"]}\n' for row in ROWS),
    ".tsv": "id\ttext\tlabel\n" + "".join(f"{row['id']}\t{row['text']}\t{row['label']}\n" for row in ROWS),
    ".conllu": CONLLU,
    ".conll": "he PRON\ndid VERB\n\nshe PRON\nran VERB\n\n",
}
TMX = """<?xml version="1.0"?><!DOCTYPE tmx [<!ENTITY e "e">]><tmx version="1.4"><header/><body>
<tu><tuv xml:lang="en"><seg>one &e; <ph>x</ph></seg></tuv><tuv xml:lang="de"><seg>eins</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>two</seg></tuv><tuv xml:lang="de"><seg>zwei</seg></tuv></tu></body></tmx>
"""
SCORES = "model,task,method,seed,language,metric,value\n" + "".join(
    f"m,t,{method},{seed},{language},accuracy,0.{seed}5\n"
    for method in ("plain", "lora") for seed in (1, 2) for language in ("eng", "deu", "jpn")
)  # fmt: skip
MATRIX = ",deu,jpn\neng,0.1,0.9\njpn,,0\n"
RECIPE = """# a recipe
seed = 3
phases = ["first", "finetune"]
model = "bundled/multilingual-e5-small"
[task]
name = "emoji"
source = "eng"
targets = ["deu", "jpn"]
[phase.first]
epochs = 1
learning_rate = 1e-5
[intervention.drift]
weight = 0.5
layers = [1, 2]
"""
OVERRIDES = [
    "seed=1", "task.targets=deu,jpn", "intervention.drift.weight=0.5", "intervention.align.layers=1,2", "phases=a,b",
    "phase.finetune.learning_rate=1e-3", "phase.finetune.epochs=2", "model=x", "distance=genetic", "task.columns.text=t",
    "intervention.lora.rank=4", "parallel=", "diagnostics.gradients=1", "phase.finetune.batch_size=8", "task.shots=2",
]  # fmt: skip


def fuzz(name: str, count: int, one) -> None:
    """Call `one` with `count` draws, each of a number that the message of a failure names."""
    counts: dict[str, int] = {}
    for seed in range(count):
        try:
            tally(counts, one(random.Random(f"{name} {seed}")))
        except Exception as error:
            raise AssertionError(f"{name}: draw {seed}") from error
    report(name, counts)
    assert counts.get("refused", 0) > 0


def task_of(folder: Path, suffix: str, data: bytes) -> None:
    """Load a task whose training file holds these bytes, and read all of it."""
    for part in ("eng/train", "eng/test", "deu/test"):
        path = folder / f"{part}{suffix}"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(data)
    task = load_task(str(folder), "eng", ("deu",))
    for split in ("train", "test"):
        list(task.examples(split, "eng"))


@pytest.mark.parametrize("suffix", TEXTS)
def test_rows_of_texts(tmp_path, suffix):
    data = TEXTS[suffix].encode()
    folder = tmp_path / "task"
    fuzz(suffix, scaled(40, 6000), lambda draw: answer(lambda: task_of(folder, suffix, mutated(data, draw))))


@pytest.mark.parametrize("kind", ["entities", "answers"])
def test_rows_of_other_kinds(tmp_path, kind):
    from distxfer.data._examples import Data

    def one(draw):
        for part in ("eng/train", "eng/test", "deu/test"):
            path = tmp_path / f"{part}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(mutated(JSONL[kind].encode(), draw))
        return answer(lambda: load_task(Data(str(tmp_path), kind=kind), "eng", ("deu",)))

    fuzz(kind, scaled(40, 6000), one)


ODD_COLUMNS = [
    pa.array([2**62] * 6, pa.timestamp("us")), pa.array([-(2**62)] * 6, pa.timestamp("us", "Europe/Berlin")),
    pa.array([2**31 - 1] * 6, pa.date32()), pa.array([2**62] * 6, pa.date64()), pa.array([2**62] * 6, pa.duration("s")),
    pa.array([b"\xff"] * 6, pa.binary()), pa.array([None] * 6, pa.null()), pa.array([float("nan")] * 6), pa.array([[1]] * 6),
    pa.array([{"a": 1}] * 6), pa.array([2**63] * 6, pa.uint64()), pa.array([True] * 6), pa.array(["x"] * 6).dictionary_encode(),
    pa.array(["\ud7ff"] * 6), pa.array([1.5] * 6, pa.float16()), pa.array([86_399] * 6, pa.time32("s")),
    pa.array([[("k", 1)]] * 6, pa.map_(pa.string(), pa.int32())), pa.array([1] * 6, pa.decimal128(38, 5)),
]  # fmt: skip


def parquet_of(draw: random.Random) -> pa.Table:
    """Return a table of rows with odd columns beside those that are read, or in their place."""
    table = pa.Table.from_pylist(ROWS)
    for column in draw.sample(ODD_COLUMNS, draw.randint(0, 2)):
        name = draw.choice(["other", "when", "label", "text", "id", "text_pair", "", "a\n"])
        column = column.slice(0, 6)
        table = (
            table.set_column(table.column_names.index(name), name, column)
            if name in table.column_names
            else table.append_column(name, column)
        )
    return table


def test_rows_of_parquet(tmp_path):
    def one(draw):
        path = tmp_path / "made.parquet"
        parquet.write_table(parquet_of(draw), path)
        data = path.read_bytes()
        return answer(
            lambda: task_of(tmp_path / "task", ".parquet", mutated(data, draw) if draw.random() < 0.6 else data)
        )

    fuzz(".parquet", scaled(40, 8000), one)


@pytest.mark.parametrize(("name", "data"), [("en-de.tmx", TMX), ("deu.tsv", "one\teins\ntwo\tzwei\n" * 5)])
def test_parallel_text(tmp_path, name, data):
    def one(draw):
        (tmp_path / name).write_bytes(mutated(data.encode(), draw))

        def read():
            text = load_parallel(str(tmp_path), "eng", ("deu",))
            list(text.train["deu"])

        return answer(read)

    fuzz(name, scaled(40, 8000), one)


def test_moses(tmp_path):
    def one(draw):
        for side in ("en", "de"):
            (tmp_path / f"a.en-de.{side}").write_bytes(mutated(b"one\ntwo\n\nthree\n", draw))
        return answer(lambda: load_parallel(str(tmp_path), "eng", ("deu",)))

    fuzz("moses", scaled(40, 4000), one)


@pytest.mark.parametrize(
    ("name", "data", "read"),
    [
        ("scores.csv", SCORES, read_scores),
        ("matrix.csv", MATRIX, lambda path: distance("eng", "jpn", matrix=path)),
        ("recipe.toml", RECIPE, lambda path: load_recipe(str(path), [])),
    ],
)
def test_tables_and_recipes(tmp_path, name, data, read):
    path = tmp_path / name

    def one(draw):
        path.write_bytes(mutated(data.encode(), draw))
        return answer(lambda: read(path))

    fuzz(name, scaled(60, 10_000), one)


def test_overrides():
    def one(draw):
        words = [
            mutated(draw.choice(OVERRIDES).encode(), draw).decode("utf-8", "surrogateescape")
            for _ in range(draw.randint(1, 3))
        ]
        return answer(lambda: load_recipe(draw.choice(["plain", "drift_reg", "lora"]), words))

    fuzz("overrides", scaled(60, 15_000), one)


def test_language_codes():
    codes = [
        "eng",
        "zh-Hant",
        "zho_Hans",
        "sr-Latn-RS",
        "nucl1643",
        "qaa",
        "Japanese",
        "de-1996",
        "x-private",
        "cmn-CN",
    ]

    def one(draw):
        return answer(lambda: canonical(mutated(draw.choice(codes).encode(), draw).decode("utf-8", "surrogateescape")))

    fuzz("codes", scaled(100, 10_000), one)


def test_results(tmp_path):
    data = json.dumps(
        {
            "schema": 1, "id": "0", "recipe": {"seed": 0}, "seed": 0, "source": "eng", "distances": {}, "scores": [],
            "summary": {"metric": "accuracy"}, "cost": {}, "provenance": {}, "status": "ok",
        }
    ).encode()  # fmt: skip

    def one(draw):
        (tmp_path / "result.json").write_bytes(mutated(data, draw))
        return answer(lambda: read_result(tmp_path))

    fuzz("result.json", scaled(60, 6000), one)


def test_measurements(tmp_path):
    path = tmp_path / "measurements.parquet"
    rows = [
        {"measure": "drift", "layer": n, "language": "deu", "value": 0.5, "n": 10, "moment": "after"} for n in range(6)
    ]

    def one(draw):
        table = pa.Table.from_pylist(rows)
        if draw.random() < 0.5:
            place = draw.randrange(6)
            table = table.set_column(place, table.column_names[place], draw.choice(ODD_COLUMNS))
        parquet.write_table(table, path)
        if draw.random() < 0.6:
            path.write_bytes(mutated(path.read_bytes(), draw))
        return answer(lambda: read_measurements(path))

    fuzz("measurements.parquet", scaled(60, 8000), one)
