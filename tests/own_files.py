"""Files of a task of your own: written in every format, loaded with German as the target, and complained of."""

import csv
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distxfer.data import Data, load_task
from distxfer.errors import InputError

WORDS = [
    "nan",
    "NA",
    "no",
    "null",
    "None",
    "yes",
    "true",
    "1e5",
    "-",
    "0",
]  # what tables like to take for something else
ROWS = [{"id": f"{place}", "text": word, "label": word} for place, word in enumerate(WORDS)]


def as_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def as_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def as_tsv(path, rows):
    path.write_text("".join("\t".join(line) + "\n" for line in [rows[0].keys(), *(row.values() for row in rows)]))


def as_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS = {"jsonl": as_jsonl, "csv": as_csv, "tsv": as_tsv, "parquet": as_parquet}
SENTENCES = """\
# sent_id = s1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\tV\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tP\t_\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\tS\t_\t5\tcase\t_\t_
4\tel\tel\tDET\tD\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\tN\t_\t1\tobl\t_\t_

# sent_id = s2
1\tNo\tno\tADV\tR\t_\t0\troot\t_\t_
1.1\tes\tser\tAUX\tX\t_\t_\t_\t_\t_
"""


def put(folder, suffix, rows, language="deu", split="test"):
    path = folder / language / f"{split}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    WRITERS[suffix](path, rows)
    return path


def text_file(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(folder, **data):
    return load_task(Data(str(folder), **data), "eng", ("deu",))


def complains(said, folder, **data):
    with pytest.raises(InputError, match=f"^{re.escape(said)}$"):
        load(folder, **data)
