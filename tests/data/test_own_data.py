"""A task and parallel text of your own, from files: what is read, and each complaint with its file and line."""

import json
import os
import re

import pytest

from distxfer.data import Data, load_parallel, load_task, parallel_languages, parallel_names, task_languages, task_names
from distxfer.errors import InputError

TRAIN = [{"id": "a", "text": "one", "label": "yes"}, {"id": "b", "text": "two", "label": "no"}]
TEST = [{"id": "a", "text": "three", "label": "no"}]
SHAPE = "expected a source sentence, one tab and its translation."


def complains(message, act, *arguments):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        act(*arguments)


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def task(tmp_path):
    """A task of two languages, to be spoilt."""
    write(tmp_path / "eng" / "train.jsonl", TRAIN)
    for language in ("eng", "deu"):
        write(tmp_path / language / "test.jsonl", TEST)
    return tmp_path


def load(folder, source="eng", targets=("deu",)):
    return load_task(str(folder), source, targets)


def spoil(folder, row, line=2, language="deu", split="test"):
    """Add a line after the others, and return the path."""
    path = folder / language / f"{split}.jsonl"
    with path.open("a", encoding="utf-8") as stream:
        stream.write((row if isinstance(row, str) else json.dumps(row)) + "\n")
    assert len(path.read_text(encoding="utf-8").splitlines()) == line
    return path


def test_a_task_comes_back_as_it_was_written(task):
    write(task / "deu" / "dev.jsonl", [{"id": 7, "text": "vier", "text_pair": "fünf", "label": "yes"}])
    write(task / "deu" / "train.jsonl", [{"id": "a", "text": "not read: no label of a target is", "label": "?"}])
    write(task / "deu" / "unlabelled.jsonl", [{"id": "u", "text": "sechs"}])
    loaded = load(task)
    assert loaded.labels == ("no", "yes")
    assert [
        (example.id, example.text, example.text_pair, example.label) for example in loaded.examples("train", "eng")
    ] == [
        ("a", "one", None, 1),
        ("b", "two", None, 0),
    ]
    (dev,) = loaded.examples("dev", "deu")
    assert (dev.id, dev.language, dev.text, dev.text_pair, dev.label) == ("7", "deu", "vier", "fünf", 1)
    assert loaded.examples("train", "deu") == loaded.examples("dev", "eng") == ()
    (unlabelled,) = loaded.unlabelled["deu"]
    assert (unlabelled.text, unlabelled.label) == ("sechs", None)


def test_whole_numbers_are_labels_in_their_own_order(task):
    write(task / "eng" / "train.jsonl", [{"id": n, "text": "x", "label": n} for n in (10, 9, 2)])
    for language in ("eng", "deu"):
        write(task / language / "test.jsonl", [{"id": "a", "text": "x", "label": "10"}])
    loaded = load(task)
    assert loaded.labels == ("2", "9", "10")
    assert [example.label for example in loaded.examples("train", "eng")] == [2, 1, 0]
    assert loaded.examples("test", "deu")[0].label == 2


def test_byte_order_mark_windows_line_ends_and_blank_lines_are_no_text(task):
    path = task / "deu" / "test.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join([json.dumps(TEST[0]).encode(), b"", b"  ", b""]))
    assert [example.text for example in load(task).examples("test", "deu")] == ["three"]
    spoil(task, "{", line=4)
    message = f"`{path}:4` is not valid JSON: Expecting property name enclosed in double quotes at column 2."
    complains(message, load, task)  # the line counts as an editor counts it


def test_line_separators_within_a_text_do_not_end_the_line(task):
    text = "a\u2028b\x85c\x0bd"
    write(task / "deu" / "test.jsonl", [{"id": "a", "text": text, "label": "no"}])
    assert load(task).examples("test", "deu")[0].text == text


def test_languages_that_look_like_nothing_survive(task):
    for language in ("no", "nan", "yes"):
        write(task / language / "test.jsonl", TEST)
    assert task_languages(str(task)) == ("deu", "eng", "nan", "nor", "yes")
    loaded = load(task, targets=("nor", "nan", "yes"))
    assert list(loaded.splits["test"]) == ["eng", "nor", "nan", "yes"]


def test_folders_are_named_by_any_code_of_the_language(task):
    (task / "eng").rename(task / "en")
    (task / "deu").rename(task / "deu_Latn")
    write(task / "zho_Hant" / "test.jsonl", TEST)
    write(task / "zh" / "test.jsonl", TEST)
    (task / ".git").mkdir()
    (task / "README.md").write_text("no language")
    assert task_languages(str(task)) == ("deu", "eng", "zho", "zho_Hant")
    assert load(task).examples("test", "deu")[0].language == "deu"


def test_a_folder_in_the_home_directory(task, monkeypatch):
    """A shell does not expand the tilde of `task=~/folder`."""
    monkeypatch.setenv("HOME", str(task.parent))
    assert load(f"~/{task.name}") == load(task).__class__(**{**vars(load(task)), "name": f"~/{task.name}"})
    (task / "deu.tsv").write_text("a\tb\n")
    assert parallel_languages(f"~/{task.name}") == ("deu",)
    assert tuple(load_parallel(f"~/{task.name}", "eng", ("deu",)).train) == ("deu",)


def test_a_folder_that_is_no_language(task):
    write(task / "results!" / "test.jsonl", TEST)
    with pytest.raises(
        InputError, match=f"^{re.escape(f'`{task}/results!/test.jsonl` is not named by a language code: ')}"
    ):
        load(task)


def test_other_files_in_other_folders_are_ignored_with_a_notice(task):
    (task / "pairs").mkdir()
    (task / "pairs" / "deu.tsv").write_text("a\tb\n")
    assert "`pairs/deu.tsv` is ignored: its name is none of" in " ".join(load(task).notes)


def test_hidden_folders_are_not_read(task):
    write(task / ".ipynb_checkpoints" / "train-checkpoint.jsonl", TRAIN)
    assert len(load(task).examples("train", "eng")) == 2


def test_two_folders_of_one_language(task):
    write(task / "de" / "test.jsonl", TEST)
    parts = f"`{task}/de/test.jsonl` and `{task}/deu/test.jsonl`"
    complains(f"{parts} are both test of the language `deu`. Keep one.", load, task)


def test_a_source_without_training_data(task):
    (task / "eng" / "train.jsonl").rename(task / "eng" / "training.jsonl")
    message = (
        f"`{task}/eng/train.jsonl` does not exist, but the source `eng` needs labelled text to train on."
        " `eng/training.jsonl` is ignored: its name is none of train, dev, test, unlabelled, validation."
    )
    complains(message, load, task)


@pytest.mark.parametrize("kind", ["classification", "retrieval"])
def test_a_source_with_an_empty_training_file(task, kind):
    (task / "eng" / "train.jsonl").write_text("\n")
    message = f"`{task}/eng/train.jsonl` has no rows, but is the training data of the source `eng`. Add rows."
    complains(message, load_task, Data(str(task), type=kind), "eng", ("deu",))


def test_a_target_without_tests(task):
    (task / "deu" / "test.jsonl").write_text("\n")
    complains(f"`{task}/deu/test.jsonl` is missing or empty, but is needed to score `deu`.", load, task)
    suffixes = ".jsonl, .csv, .tsv, .parquet, .conllu, .conll"
    (task / "deu" / "test.jsonl").rename(task / "deu" / "test.txt")
    unread = f"`deu/test.txt` is ignored: its suffix is none of {suffixes}."
    complains(f"The task `{task}` has no data for the language `deu`. It has: eng. {unread}", load, task)
    (task / "deu" / "test.txt").unlink()
    complains(f"The task `{task}` has no data for the language `deu`. It has: eng.", load, task)
    (task / "eng" / "test.jsonl").rename(task / "eng" / "test.txt")
    expected = f"expected files such as `{task}/eng/test.jsonl` ({suffixes})."
    unread = f"`eng/test.txt` is ignored: its suffix is none of {suffixes}."
    complains(f"`{task}` has no test file in any language; {expected} {unread}", load, task)


NAMES = "expected a whole number or a text, not empty."


@pytest.mark.parametrize("make", ["mkdir", "fifo"])
def test_a_part_that_is_no_file(task, make):
    path = task / "deu" / "test.jsonl"
    path.unlink()
    path.mkdir() if make == "mkdir" else os.mkfifo(path)
    complains(f"The task `{task}` has no data for the language `deu`. It has: eng.", load, task)


@pytest.mark.parametrize(
    ("row", "error_message"),
    [
        (
            {"id": "b", "text": "x", "lable": "no"},
            "has no column `label`, only: id, text, lable."
            " Set `task.columns.label=lable` if that column holds it, or another `task.type`.",
        ),
        (
            {"id": "b", "sentence": "x", "label": "no"},
            "has no column `text`, only: id, sentence, label."
            " Set `task.columns.text=sentence` if that column holds it, or another `task.type`.",
        ),
        (
            {"text": "x", "label": "no"},
            "has no column `id`, only: text, label."
            " Set `task.columns.id=COLUMN` if that column holds it, or another `task.type`.",
        ),
        ({"id": "a", "text": "x", "label": "no"}, "repeats the id `a`. Give each example of a file a distinct id."),
        ({"id": "b", "text": " ", "label": "no"}, "has no text in `text`."),
        ({"id": "b", "text": 3, "label": "no"}, "has 3 in `text`; expected a text."),
        ({"id": "b", "text": "x", "text_pair": ["y"], "label": "no"}, "has ['y'] in `text_pair`; expected a text."),
        ({"id": "b", "text": "x", "text_pair": " ", "label": "no"}, "has no text in `text_pair`."),
        ({"id": {"n": 1}, "text": "x", "label": "no"}, f"has {{'n': 1}} in `id`; {NAMES}"),
        ({"id": "", "text": "x", "label": "no"}, f"has '' in `id`; {NAMES}"),
        ({"id": "b", "text": "x", "label": ""}, f"has '' in `label`; {NAMES}"),
        ({"id": "b", "text": "x", "label": None}, f"has None in `label`; {NAMES}"),
        ({"id": "b", "text": "x", "label": True}, f"has True in `label`; {NAMES}"),
        ({"id": "b", "text": "x", "label": 1.0}, f"has 1.0 in `label`; {NAMES}"),
        ("[1, 2]", 'is \'[1, 2]\'; expected a JSON object such as {"id": ..., "text": ...}.'),
        ("{'id': 1}", "is not valid JSON: Expecting property name enclosed in double quotes at column 2."),
    ],
)
def test_a_line_that_is_no_example(task, row, error_message):
    path = spoil(task, row)
    complains(f"`{path}:2` {error_message}", load, task)


def test_a_label_that_training_does_not_have(task):
    path = spoil(task, {"id": "b", "text": "x", "label": "yess"})
    message = (
        f"`{path}:2` has the label `yess`, which `{task}/eng/train.jsonl` does not have. Did you mean `yes`?"
        " Expected one of: no, yes."
    )
    complains(message, load, task)


def test_one_label_alone(task):
    path = write(task / "eng" / "train.jsonl", TRAIN[:1])
    complains(f"`{path}` has 1 different label, but classification needs at least 2.", load, task)


@pytest.mark.parametrize(
    ("lines_before", "encoding", "fault"),
    [
        (0, "latin-1", "invalid continuation byte at byte 25"),
        (2000, "latin-1", "invalid continuation byte at byte 25"),  # beyond what a reader takes in at once
        (0, "utf-16", "invalid start byte at byte 0"),
    ],
)
def test_a_file_that_is_not_utf8(task, lines_before, encoding, fault):
    path = task / "deu" / "test.jsonl"
    before = [json.dumps({"id": n, "text": "x", "label": "no"}).encode() + b"\n" for n in range(lines_before)]
    path.write_bytes(b"".join(before) + '{"id": "z", "text": "Stra\xdfe", "label": "no"}\n'.encode(encoding))
    place = f"`{path}:{lines_before + 1}`"
    complains(f"{place} is not UTF-8 text ({fault} of the line). Save the file as UTF-8.", load, task)


def test_a_folder_that_does_not_exist(tmp_path):
    message = f"The task `{tmp_path}/none` is neither built in ({', '.join(task_names())}) nor a folder."
    complains(message, load, tmp_path / "none")
    message = f"The parallel text `{tmp_path}/none` is neither built in ({', '.join(parallel_names())}) nor a folder."
    complains(message, load_parallel, f"{tmp_path}/none", "eng", ("deu",))


# Parallel text


def test_parallel_text_comes_back_as_it_was_written(tmp_path):
    written = [(f"sentence {n}", f"Satz {n}") for n in range(200)]
    (tmp_path / "de.tsv").write_bytes(
        b"\xef\xbb\xbf" + "".join(f"{source}\t {target} \r\n\r\n" for source, target in written).encode()
    )
    (tmp_path / "no.tsv").write_text("".join(f"{source}\tnan\n" for source, _ in written))
    (tmp_path / "notes.txt").write_text("no language")
    assert parallel_languages(str(tmp_path)) == ("deu", "nor")
    corpus = load_parallel(str(tmp_path), "eng", ("deu", "nor", "jpn"))
    assert list(corpus.train) == list(corpus.held_out) == ["deu", "nor"]
    pairs = {"train": corpus.train["deu"], "held out": corpus.held_out["deu"]}
    assert sorted((p.source.text, p.target.text) for part in pairs.values() for p in part) == sorted(written)
    assert 20 <= len(pairs["held out"]) <= 60
    assert {(p.source.language, p.target.language) for part in pairs.values() for p in part} == {("eng", "deu")}
    assert [pair.source.text for pair in corpus.held_out["nor"]] == [
        pair.source.text for pair in corpus.held_out["deu"]
    ]
    assert {pair.target.text for pair in corpus.train["nor"]} == {"nan"}


def test_a_sentence_said_twice_is_in_one_part_only(tmp_path):
    (tmp_path / "deu.tsv").write_text("".join(f"sentence {n % 20}\tSatz {n}\n" for n in range(100)))
    corpus = load_parallel(str(tmp_path), "eng", ("deu",))
    train, held = ({p.source.text for p in part["deu"]} for part in (corpus.train, corpus.held_out))
    assert held
    assert not train & held


@pytest.mark.parametrize(
    ("line", "columns"),
    [("one", 1), ("one\t", 2), ("\tone", 2), ("one\ttwo\tthree", 3), ("one\t\ttwo", 3), (" \tone", 2)],
)
def test_a_line_that_is_no_pair(tmp_path, line, columns):
    path = tmp_path / "deu.tsv"
    path.write_text(f"a\tb\n{line}\n")
    complains(
        f"`{path}:2` has {columns} columns ({line!r}), but {SHAPE}", load_parallel, str(tmp_path), "eng", ("deu",)
    )


def test_an_empty_file_of_pairs(tmp_path):
    path = tmp_path / "deu.tsv"
    path.write_text("\n \n")
    message = f"`{path}` has no sentence pairs of `eng` and `deu`."
    complains(message, load_parallel, str(tmp_path), "eng", ("deu",))


def test_two_files_of_one_language(tmp_path):
    for name in ("de.tsv", "deu.tsv"):
        (tmp_path / name).write_text("a\tb\n")
    message = f"`{tmp_path}/de.tsv` and `{tmp_path}/deu.tsv` are both the language `deu`. Keep one."
    complains(message, load_parallel, str(tmp_path), "eng", ("deu",))


def test_fingerprints_see_every_field_of_every_example(task):
    def fingerprint(**change):
        write(task / "deu" / "test.jsonl", [{"id": "1", "text": "a", "text_pair": "b", "label": "no"} | change])
        return load(task).fingerprint()

    changes = [{}, {"id": "2"}, {"text": "c"}, {"text_pair": "c"}, {"text_pair": None}, {"label": "yes"}]
    assert len({fingerprint(**change) for change in changes}) == len(changes)
    assert fingerprint() == fingerprint()
    (task / "deu").rename(task / "fra")
    renamed = load(task, targets=("fra",)).fingerprint()
    assert renamed not in {fingerprint(**change) for change in changes}
