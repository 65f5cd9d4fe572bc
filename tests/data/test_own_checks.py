"""What is said of a task of your own before it trains, what lies on the disk in place of the memory, and how it is shown."""

import json
import random
import subprocess
import sys
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distxfer.data import (
    Data,
    Example,
    Joined,
    Pair,
    ParallelText,
    Parts,
    Picked,
    Tags,
    Task,
    epoch_order,
    leaks,
    load_task,
)
from distxfer.data._batches import _BUCKET
from distxfer.data._checks import repeats
from distxfer.data._rows import _BATCH, Stored
from distxfer.errors import InputError


def write(folder, files):
    """Write {"eng/train": [(text, label), ...]}; a text may be a pair."""
    for name, rows in files.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        records = []
        for text, label in rows:
            text, pair = text if isinstance(text, tuple) else (text, None)
            records.append({"text": text, "text_pair": pair, "label": label})
        path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return folder


def notes(folder, files, *, target_labels=False, **data):
    return load_task(Data(str(write(folder, files)), **data), "eng", ("deu",), target_labels=target_labels).notes


CLEAN = {
    "eng/train": [("a", "x"), ("b", "y"), ("c", "x")],
    "eng/test": [("d", "x"), ("e", "y")],
    "deu/test": [("f", "x"), ("g", "y")],
}


def test_nothing_is_said_of_clean_data(tmp_path):
    assert notes(tmp_path, CLEAN) == ()


def test_texts_that_a_file_has_twice(tmp_path):
    train = [("a", "x"), ("b", "y"), ("a", "x"), ("b", "x"), ("a", "x"), (("a", "b"), "x")]
    assert notes(tmp_path, {**CLEAN, "eng/train": train}) == (
        "`eng/train.jsonl` repeats 3 texts of its own (first: line 3, as line 1).",
        "`eng/train.jsonl` gives different labels to 1 text (first: line 2 and line 4).",
    )


def test_pairs_of_texts_are_the_same_where_both_are(tmp_path):
    train = [(("a", "b"), "x"), (("a", "c"), "y"), (("b", "a"), "x"), (("a", "b"), "x")]
    (note,) = notes(tmp_path, {**CLEAN, "eng/train": train})
    assert note == "`eng/train.jsonl` repeats 1 text of its own (first: line 4, as line 1)."


def test_a_test_that_repeats_what_is_trained_on(tmp_path):
    files = {
        **CLEAN,
        "eng/dev": [("c", "x")],
        "deu/test": [("f", "x"), ("b", "y"), ("g", "x"), ("h", "x"), ("a", "x")],
        "deu/train": [("g", "x"), ("z", "y")],
        "deu/unlabelled": [("h", None)],
    }
    labels = (
        "`eng/dev.jsonl` repeats 1 training text of `eng/train.jsonl` (first: line 1).",
        "`deu/test.jsonl` repeats 2 training texts of `eng/train.jsonl` (first: line 2).",
    )
    unlabelled = "`deu/test.jsonl` repeats 1 text of `deu/unlabelled.jsonl` (first: line 4)."
    assert notes(tmp_path, files) == (*labels, unlabelled)
    target = "`deu/test.jsonl` repeats 1 training text of `deu/train.jsonl` (first: line 3)."
    assert notes(tmp_path, files, target_labels=True) == (*labels, target, unlabelled)


def test_labels_that_are_never_tested(tmp_path):
    files = {**CLEAN, "eng/train": [("a", "x"), ("b", "y"), ("c", "z")], "deu/test": [("f", "y"), ("g", "y")]}
    assert notes(tmp_path, files) == (
        "`eng/test.jsonl` never has 1 of the 3 labels of `eng/train.jsonl`: `z`.",
        "`deu/test.jsonl` has a single label, `y`: its scores say little.",
    )


@pytest.mark.parametrize("same", [1, 2])
def test_a_target_with_mostly_the_texts_of_the_source_is_most_likely_not_translated(tmp_path, same):
    source = [("d", "x"), ("e", "y"), ("z", "x")]
    files = {**CLEAN, "eng/test": source, "deu/test": [("f", "x"), ("g", "y"), ("h", "x")][same:] + source[:same]}
    note = (
        "`deu/test.jsonl` has 2 of its 3 texts in common with `eng/test.jsonl` (first: line 2): they are most likely not"
        " translated."
    )
    assert notes(tmp_path, files) == ((note,) if same == 2 else ())


@pytest.mark.parametrize("part", ["eng/train", "deu/test"])
def test_the_first_of_repeated_ids_is_named_whatever_else_repeats(tmp_path, part):
    path = write(tmp_path, {**CLEAN, "eng/dev": CLEAN["eng/test"]}) / f"{part}.jsonl"
    rows = [{"id": key, "text": text, "label": "x"} for key, text in (("1", "a"), ("2", "b"), ("2", "c"), (1, "d"))]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    with pytest.raises(
        InputError, match=f"^`{path}:5` repeats the id `2`. Give each example of a file a distinct id.$"
    ):
        load_task(str(tmp_path), "eng", ("deu",))


@given(st.lists(st.integers(0, 5)))
def test_repeats_are_what_a_dictionary_finds(values):
    first_of, expected = {}, []
    for place, value in enumerate(values):
        if value in first_of:
            expected.append((place, first_of[value]))
        first_of.setdefault(value, place)
    again, first = repeats(values)
    assert list(zip(again.tolist(), first.tolist(), strict=True)) == expected


def test_test_texts_in_the_pairs_that_train(tmp_path):
    def pair(number, source, target):
        return Pair(Example(str(number), "eng", source), Example(str(number), "deu", target))

    task = load_task(
        str(write(tmp_path, {**CLEAN, "deu/test": [(("f", "F"), "x"), ("g", "y"), ("d", "y")]})), "eng", ("deu",)
    )
    train = [pair(1, "d", "nothing"), pair(2, "d", "F"), pair(3, "f", "f"), pair(4, "d", "d")]
    result = leaks(task, ParallelText("mine", {"deu": train}, {"deu": [pair(5, "e", "g")]}))
    where = f"of the task `{tmp_path}` occur{{}} in the training pairs for `deu` of `mine`."
    assert result == (
        f"1 of the 2 test texts in `eng` {where.format('s')}",
        f"2 of the 3 test texts in `deu` {where.format('')}",
    )
    assert leaks(task, ParallelText("mine", {"deu": train[2:3]}, {})) == (
        f"1 of the 3 test texts in `deu` {where.format('s')}",
    )
    assert leaks(task, ParallelText("mine", {"deu": []}, {})) == ()


def test_what_is_said_reaches_the_user(cli, tiny_settings, task_folder, tmp_path):
    """By `validate` and by `train`, on stderr; the data itself is as it was."""
    rows = [json.loads(line) for line in (task_folder / "eng" / "train.jsonl").read_text().splitlines()]
    rows = list({row["text"]: row for row in rows}.values())
    tests = [{**row, "id": f"t{number}"} for number, row in enumerate(rows[:4])]
    for name, examples in {"eng/train": rows, "eng/test": tests[:2], "deu/test": tests}.items():
        path = tmp_path / "task" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(row)}\n" for row in examples))
    note = "`deu/test.jsonl` repeats 4 training texts of `eng/train.jsonl` (first: line 1)."
    words = ["recipe=plain", *tiny_settings, f"task={tmp_path / 'task'}", "parallel=", "task.targets=deu"]
    for verb in ("validate", "train"):
        completed = cli(verb, *words, "phase.finetune.epochs=1")
        assert completed.exit_code == 0, completed.output
        assert completed.stderr.splitlines().count(note) == 1
        assert note not in completed.stdout


# Lazy sequences


ROWS = [(f"{number}", f"text {number}") for number in range(2 * _BATCH + 3)]


def stored():
    return Stored(ROWS, pa.schema([("a", pa.string()), ("b", pa.string())]), lambda a, b: (a, b))


def cut(row):
    """Cut a row into none, one or two."""
    return [(f"{row[0]}.{part}", row[1]) for part in range(int(row[0]) % 3)]


SLICES = [
    slice(None),
    slice(5),
    slice(None, None, 7),
    slice(_BATCH - 1, _BATCH + 2),
    slice(-3, None),
    slice(None, None, -1),
]


@pytest.mark.parametrize(
    ("lazy", "eager"),
    [
        (stored, ROWS),
        (lambda: Joined([ROWS[:3], [], stored()]), [*ROWS[:3], *ROWS]),
        (lambda: Picked(stored(), np.array([5, 0, 5, 600])), [ROWS[5], ROWS[0], ROWS[5], ROWS[600]]),
        (lambda: Parts(stored(), cut), [part for row in ROWS for part in cut(row)]),
    ],
)
def test_a_lazy_sequence_is_as_a_list(lazy, eager):
    result = lazy()
    assert len(result) == len(eager)
    assert list(result) == eager
    for part in SLICES:
        assert list(result[part]) == eager[part]
    for place in (0, 1, len(eager) - 1, -1, -len(eager)):
        assert result[place] == eager[place]
    for place in (len(eager), -len(eager) - 1):
        with pytest.raises(IndexError):
            result[place]
    assert result == lazy()
    assert result != result[:-1]
    assert result[0] in result


def test_a_task_is_the_same_wherever_it_lies(tmp_path):
    """Lazily read or held in tuples: one fingerprint, since runs that are done are known by it."""
    rows = [{"id": f"{n}", "words": [f"w{n}", "x"], "tags": [f"t{n % 3}", "O"]} for n in range(700)]
    for name in ("eng/train", "eng/test", "deu/test"):
        path = tmp_path / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    task = load_task(Data(str(tmp_path), type="token_classification"), "eng", ("deu",))

    def example(row, language):
        first, second = row["words"]
        spans = ((0, len(first)), (len(first) + 1, len(first) + 1 + len(second)))
        return Example(row["id"], language, " ".join(row["words"]), None, Tags(spans, (1 + int(row["id"]) % 3, 0)))

    held = {"train": {"eng": ()}, "dev": {}, "test": {"deu": ()}}
    for split, language in (("train", "eng"), ("test", "eng"), ("test", "deu")):
        held[split][language] = tuple(example(row, language) for row in rows)
    assert task.labels == ("O", "t0", "t1", "t2")
    assert task.fingerprint() == Task("mine", task.labels, held).fingerprint()


MEASURE = """
import json, sys
from pathlib import Path
from distxfer.data import load_task

def peak():  # not `getrusage`: what it says begins with the peak of the process that started this one
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 2**10

peaks = []
for folder in sys.argv[1:]:
    task = load_task(folder, "eng", ("deu",))
    task.fingerprint()
    train = task.examples("train", "eng")
    train[-1], train[0]
    peaks.append(peak())
print(json.dumps(peaks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_text_does_not_lie_in_memory(tmp_path):
    """What is held of a row are a few numbers: 20,000 more rows of 4 kB cost a small part of their 80 MB."""
    for folder, size in (("small", 5_000), ("large", 25_000)):
        write(tmp_path / folder, CLEAN)
        rows = (f'{{"id": {n}, "text": "{"lorem " * 680}{n}", "label": "{"xy"[n % 2]}"}}\n' for n in range(size))
        with (tmp_path / folder / "eng" / "train.jsonl").open("w") as stream:
            stream.writelines(rows)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "small"), str(tmp_path / "large")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    small, large = json.loads(done.stdout)
    assert large - small < 25


@pytest.mark.parametrize(("size", "batch_size", "seed"), [*product((0, 1, 7, 256, 1000), (1, 4, 32), (0,))])
def test_the_order_of_an_epoch_is_that_of_lists(size, batch_size, seed):
    """The plain words of the docstring, as a list of lists: runs that are done went through their examples so."""
    draw = random.Random(seed)
    lengths = [draw.randint(1, 9) for _ in range(size)]
    generator = np.random.default_rng(seed)
    shuffled, width = generator.permutation(size).tolist(), batch_size * _BUCKET
    buckets = [sorted(shuffled[low : low + width], key=lengths.__getitem__) for low in range(0, size, width)]
    batches = [bucket[low : low + batch_size] for bucket in buckets for low in range(0, len(bucket), batch_size)]
    full_batches = [batch for batch in batches if len(batch) == batch_size]
    expected = [full_batches[place] for place in generator.permutation(len(full_batches))]
    expected += [batch for batch in batches if len(batch) < batch_size]
    assert list(epoch_order(lengths, batch_size, np.random.default_rng(seed))) == expected
