"""Fuzzed files and words: every reader returns a value, or refuses with one brief message."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from mutations import answer, mutated, report, tally
from pyarrow import parquet

from conftest import scaled
from distxfer.config.recipe import load_recipe
from distxfer.data import load_parallel, load_task
from distxfer.data._examples import Data
from distxfer.languages import canonical, distance
from distxfer.results.result import read_result
from distxfer.results.tables import read_measurements, read_scores
from fake_runs import result

ROWS = [{"id": str(n), "text": f"text {n} \N{DOG FACE}", "label": "ab"[n % 2]} for n in range(6)]
TAGGED = [{"id": str(n), "words": ["one", "two"], "tags": ["B-PER", "O"]} for n in range(4)]
QUESTIONS = [
    {"id": str(n), "question": "who", "context": "he did", "answers": {"text": ["he"], "answer_start": [0]}}
    for n in range(4)
]
PAIRS = [{"id": str(n), "text": f"text {n}"} for n in range(4)]
CONLLU = (
    "# sent_id = 1\n# text = he did\n1\the\the\tPRON\t_\t_\t2\tnsubj\t_\t_\n2\tdid\tdo\tVERB\t_\t_\t0\troot\t_\t_\n\n"
    "# sent_id = 2\n1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_\n1\tde\tde\tADP\t_\t_\t2\tcase\t_\t_\n2\tle\tle\tDET\t_\t_\t0\troot\t_\t_\n\n"
)


def lines(rows: list[dict]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


# What is in each file of a task: the suffix, the kind of task and the text.
TASKS = {
    "rows.jsonl": (".jsonl", "classification", lines(ROWS)),
    "rows.csv": (
        ".csv",
        "classification",
        "id,text,label\n" + "".join(f'{row["id"]},"{row["text"]}",{row["label"]}\n' for row in ROWS),
    ),
    "rows.tsv": (
        ".tsv",
        "classification",
        "id\ttext\tlabel\n" + "".join(f"{row['id']}\t{row['text']}\t{row['label']}\n" for row in ROWS),
    ),
    "words.conllu": (".conllu", "token_classification", CONLLU),
    "words.conll": (".conll", "token_classification", "he PRON\ndid VERB\n\nshe PRON\nran VERB\n\n"),
    "entities.conll": (".conll", "named_entities", "he B-PER\ndid O\n\nshe B-PER\nran O\n\n"),
    "entities.jsonl": (".jsonl", "named_entities", lines(TAGGED)),
    "answers.jsonl": (".jsonl", "question_answering", lines(QUESTIONS)),
    "retrieval.jsonl": (".jsonl", "retrieval", lines(PAIRS)),
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
    "intervention.lora.r=4", "parallel=", "diagnostics.gradients=1", "phase.finetune.batch_size=8", "task.shots=2",
]  # fmt: skip


def fuzz(name: str, count: int, one, *, share: float = 0.05) -> None:
    """Call `one` with `count` draws, each of a number that the message of a failure names.

    The draw None stands for the unchanged input, which is read; so is at least this share of the others.
    """
    counts: dict[str, int] = {}
    assert one(None) == "read"
    for seed in range(count):
        try:
            tally(counts, one(random.Random(f"{name} {seed}")))
        except Exception as error:
            raise AssertionError(f"{name}: draw {seed}") from error
    report(name, counts)
    assert counts.get("refused", 0) > 0
    assert counts.get("read", 0) >= share * count, counts


def fuzzed(data: bytes, draw: random.Random | None) -> bytes:
    """Return the data with mutations, or as they are for the draw None."""
    return data if draw is None else mutated(data, draw)


def read_task(folder: Path, suffix: str, kind: str, files: list[bytes]) -> None:
    """Load a task with these files of training and test data of the source, and test data of the target."""
    for part, data in zip(("eng/train", "eng/test", "deu/test"), files, strict=True):
        path = folder / f"{part}{suffix}"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(data)
    task = load_task(Data(str(folder), type=kind), "eng", ("deu",))
    assert all(task.splits[split]["eng"] for split in ("train", "test"))


@pytest.mark.parametrize("name", TASKS)
def test_files_of_a_task(tmp_path, name):
    suffix, kind, text = TASKS[name]

    def one(draw):
        files = [text.encode()] * 3
        if draw is not None:
            place = draw.randrange(3)
            files[place] = mutated(files[place], draw)
        return answer(lambda: read_task(tmp_path, suffix, kind, files))

    fuzz(name, scaled(40, 6000), one)


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
    path = tmp_path / "made.parquet"
    parquet.write_table(pa.Table.from_pylist(ROWS), path)
    whole = path.read_bytes()

    def one(draw):
        files = [whole] * 3
        if draw is not None:
            parquet.write_table(parquet_of(draw), path)
            data = path.read_bytes()
            files[draw.randrange(3)] = mutated(data, draw) if draw.random() < 0.6 else data
        return answer(lambda: read_task(tmp_path / "task", ".parquet", "classification", files))

    fuzz("rows.parquet", scaled(40, 6000), one)


@pytest.mark.parametrize(("name", "data"), [("en-de.tmx", TMX), ("deu.tsv", "one\teins\ntwo\tzwei\n" * 5)])
def test_parallel_text(tmp_path, name, data):
    def read():
        text = load_parallel(str(tmp_path), "eng", ("deu",))
        assert [*text.train["deu"], *text.held_out["deu"]]

    def one(draw):
        (tmp_path / name).write_bytes(fuzzed(data.encode(), draw))
        return answer(read)

    fuzz(name, scaled(40, 6000), one)


def test_moses(tmp_path):
    def one(draw):
        sides = {"en": b"one\ntwo\nthree\n", "de": b"eins\nzwei\ndrei\n"}
        changed = draw and draw.choice(sorted(sides))
        for side, data in sides.items():
            (tmp_path / f"a.en-de.{side}").write_bytes(fuzzed(data, draw if side == changed else None))
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
        path.write_bytes(fuzzed(data.encode(), draw))
        return answer(lambda: read(path))

    fuzz(name, scaled(60, 10_000), one)


def test_overrides():
    def one(draw):
        if draw is None:
            return answer(lambda: load_recipe("drift_reg", OVERRIDES[:3]))
        changed, *others = draw.sample(OVERRIDES, draw.randint(1, 2))
        words = [fuzzed(changed.encode(), draw).decode("utf-8", "surrogateescape"), *others]
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
        code = (draw.choice(codes) if draw else "zho_Hans").encode()
        return answer(lambda: canonical(fuzzed(code, draw).decode("utf-8", "surrogateescape")))

    fuzz("codes", scaled(100, 10_000), one)


def test_results(tmp_path):
    data = json.dumps(result("plain", "aaaa0000", 0, {"deu": 0.5})).encode()

    def one(draw):
        (tmp_path / "result.json").write_bytes(fuzzed(data, draw))
        return answer(lambda: read_result(tmp_path))

    fuzz("result.json", scaled(60, 6000), one)


def test_measurements(tmp_path):
    path = tmp_path / "measurements.parquet"
    rows = [
        {"measure": "drift", "layer": n, "language": "deu", "value": 0.5, "n": 10, "moment": "after"} for n in range(6)
    ]

    def one(draw):
        table = pa.Table.from_pylist(rows)
        if draw and draw.random() < 0.5:
            place = draw.randrange(6)
            table = table.set_column(place, table.column_names[place], draw.choice(ODD_COLUMNS))
        parquet.write_table(table, path)
        if draw and draw.random() < 0.6:
            path.write_bytes(mutated(path.read_bytes(), draw))
        return answer(lambda: read_measurements(path))

    fuzz("measurements.parquet", scaled(60, 8000), one)
