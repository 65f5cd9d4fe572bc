"""A task of your own in every format: what comes back, which file is which, and each complaint with its file and line."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distxfer.data import SUFFIXES, Data, load_task, task_languages
from distxfer.data._tables import Table
from distxfer.errors import InputError
from own_files import ROWS, SENTENCES, WRITERS, as_csv, complains, load, put, text_file


@pytest.fixture
def task(tmp_path):
    """A task of two languages whose German test is still to be written."""
    put(tmp_path, "jsonl", ROWS, "eng", "train")
    put(tmp_path, "jsonl", ROWS, "eng")
    return tmp_path


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_says_the_same(task, suffix):
    put(task, suffix, ROWS)
    loaded = load(task)
    assert [(example.id, example.text, loaded.labels[example.label]) for example in loaded.examples("test", "deu")] == [
        (row["id"], row["text"], row["label"]) for row in ROWS
    ]
    assert loaded.examples("test", "deu")[3].text == "null"
    assert {example.text_pair for example in loaded.examples("test", "deu")} == {None}


@pytest.mark.parametrize("suffix", WRITERS)
def test_columns_are_called_as_the_recipe_says(task, suffix):
    rows = [{"uid": "x", "premise": "a b", "hypothesis": "c", "gold": "no"}]
    columns = {"id": "uid", "text": "premise", "text_pair": "hypothesis", "label": "gold"}
    for language, split in (("eng", "train"), ("eng", "test"), ("deu", "test")):
        (task / language / f"{split}.jsonl").unlink(missing_ok=True)
        put(task, suffix, rows if split == "test" else [*rows, {**rows[0], "uid": "y", "gold": "NA"}], language, split)
    (example,) = load(task, columns=columns).examples("test", "deu")
    assert (example.id, example.text, example.text_pair) == ("x", "a b", "c")
    path = put(task, suffix, [{"uid": "x", "premise": "a b", "gold": "no"}])
    line = 1 if suffix in ("jsonl", "parquet") else 2
    advice = "Set `task.columns.text_pair=COLUMN` if that column holds it, or another `task.type`."
    complains(f"`{path}:{line}` has no column `hypothesis`, only: uid, premise, gold. {advice}", task, columns=columns)


def test_a_column_of_no_field(task):
    put(task, "jsonl", ROWS)
    expected = "`task.columns` has `txt`, which is not a field of the task type `classification`. Did you mean `text`?"
    complains(f"{expected} Fields: id, text, text_pair, label.", task, columns={"txt": "a"})


def test_rows_without_ids_are_numbered(task):
    path = put(task, "csv", [{"text": "a", "label": "no"}, {"text": "b", "label": "NA"}])
    assert [example.id for example in load(task).examples("test", "deu")] == ["1", "2"]
    path.unlink()
    path = text_file(
        task / "deu" / "test.jsonl", '{"text": "a", "label": "no"}\n{"id": 9, "text": "b", "label": "no"}\n'
    )
    expected = "has the id `9`, but the first row of the file has none. Give an id to all rows or to none."
    complains(f"`{path}:2` {expected}", task)


# Text files


def test_csv_as_spreadsheets_write_it(task):
    """A byte-order mark, CRLF, blank lines, line ends and quotation marks within a text; the place is where the row starts."""
    path = text_file(
        task / "deu" / "test.csv",
        b'\xef\xbb\xbfid,text,label\r\n1,"one, ""two""\r\nthree",no\r\n\r\n2,nan,NA\r\n3,,no\r\n',
    )
    complains(f"`{path}:6` has no text in `text`.", task)
    text_file(path, path.read_bytes().replace(b"3,,no\r\n", b" \r\n"))
    assert [example.text for example in load(task).examples("test", "deu")] == ['one, "two"\r\nthree', "nan"]


def test_a_quotation_mark_in_tsv_is_a_character(task):
    text_file(task / "deu" / "test.tsv", 'id\ttext\tlabel\n1\t"one\tno\n\n2\ttwo "\tno\r\n')
    assert [example.text for example in load(task).examples("test", "deu")] == ['"one', 'two "']


@pytest.mark.parametrize(
    ("content", "error_message"),
    [
        ('id,text,label\n1,"a,no\n2,b,no\n', ":2` is not valid CSV: unexpected end of data. "),
        ('id,text,label\n1,"a"b,no\n', ":2` is not valid CSV: ',' expected after '\"'. "),
        ("id,text,label\n1,a\n", ":2` has 2 columns, but the header has 3: id, text, label."),
        ("id,text,text\n1,a,b\n", ":1` names the column `text` twice. Give columns distinct names."),
        (b"id,text,label\n1,a,no\n2,Stra\xdfe,no\n", ":3` is not UTF-8 text (invalid continuation byte at byte 6 "),
        ("id,text, text\n1,a,b\n", ":1` names the column `text` twice. Give columns distinct names."),
        ("id;text;label\n1;a;no\n", ":2` has no column `text`, only: id;text;label."),
        ("id,text,label\n", "` is missing or empty, but is needed to score `deu`."),
    ],
)
def test_what_is_no_csv(task, content, error_message):
    path = text_file(task / "deu" / "test.csv", content)
    with pytest.raises(InputError, match=f"^{re.escape(f'`{path}{error_message}')}"):
        load(task)


@pytest.mark.parametrize("number", ["9" * 5000, "[" * 100_000])
def test_json_that_nothing_can_read(task, number):
    path = text_file(task / "deu" / "test.jsonl", f'{{"id": {number}')
    with pytest.raises(InputError, match=f"^{re.escape(f'`{path}:1` is not valid JSON')}"):
        load(task)


# Parquet


def test_parquet_says_the_row(task):
    path = put(task, "parquet", [{"id": 1, "text": "a", "label": "no"}, {"id": 2, "text": None, "label": "no"}])
    complains(f"`{path}:2` has no text in `text`.", task)
    put(task, "parquet", [{"id": 1, "text": "a", "label": "no"}, {"id": None, "text": "b", "label": "no"}])
    complains(f"`{path}:2` has None in `id`; expected a whole number or a text, not empty.", task)
    put(task, "parquet", [{"text": "a", "label": None}, {"text": "b", "label": "no"}])
    complains(f"`{path}:1` has None in `label`; expected a whole number or a text, not empty.", task)
    text_file(path, "no Parquet at all")
    with pytest.raises(InputError, match=f"^{re.escape(f'`{path}` cannot be read as Parquet after row 0: ')}"):
        load(task)


def test_numbers_of_classes(task):
    for language, split in (("eng", "train"), ("eng", "test"), ("deu", "test")):
        (task / language / f"{split}.jsonl").unlink(missing_ok=True)
        put(
            task,
            "parquet",
            [{"text": "a", "label": 0}, {"text": "b", "label": 2}, {"text": "c", "label": 0}],
            language,
            split,
        )
    loaded = load(task)
    assert loaded.labels == ("0", "2")
    assert [example.label for example in loaded.examples("test", "deu")] == [0, 1, 0]


# Which file is which


def test_files_by_a_pattern(tmp_path):
    """As the treebanks of Universal Dependencies are unpacked: `UD_German-GSD/de_gsd-ud-test.conllu`."""
    for code, name in (("en", "English-EWT"), ("de", "German-GSD"), ("no", "Norwegian-Bokmaal")):
        for split in ("train", "test"):
            corpus = name.split("-")[1].lower()
            text_file(tmp_path / f"UD_{name}" / f"{code}_{corpus}-ud-{split}.conllu", SENTENCES)
        text_file(tmp_path / f"UD_{name}" / "README.md", "no table")
    data = Data(str(tmp_path), type="token_classification", pattern="UD_*/{language}_*-ud-{split}.conllu")
    assert task_languages(data) == ("deu", "eng", "nor")
    task = load_task(data, "eng", ("deu", "nor"))
    assert [example.text for example in task.examples("test", "nor")] == ["vamos nos a el mar", "No"]


@pytest.mark.parametrize(
    "pattern", ["{language}/test.csv", "{split}.csv", "{language}/{split}.{suffix}", "*", "../{language}/{split}.csv"]
)
def test_a_pattern_without_language_or_split_or_outside_of_the_folder(task, pattern):
    expected = (
        "must be a path below the folder that contains `{language}` and `{split}`, as in `{language}/{split}.jsonl`"
    )
    complains(f"`task.pattern` is `{pattern}`, but {expected} (`*` matches anything).", task, pattern=pattern)


@pytest.mark.parametrize(
    ("suffix", "note"),
    [("csv", ""), ("txt", " `test/de.txt` is ignored: its suffix is none of {}.")],
)
def test_patterns_that_lead_nowhere(task, suffix, note):
    text_file(task / "test" / "de.txt", "no table")
    suffixes = ", ".join(SUFFIXES)
    complains(
        f"`{task}` has no test file in any language; expected files such as `{task}/test/eng.{suffix}` ({suffixes})."
        f"{note.format(suffixes)}",
        task,
        pattern=f"{{split}}/{{language}}.{suffix}",
    )


def test_two_files_of_one_part(task):
    first, second = put(task, "csv", ROWS), put(task, "jsonl", ROWS)
    complains(f"`{first}` and `{second}` are both test of the language `deu`. Keep one.", task)


def test_validation_is_dev_and_what_is_not_read_is_said(task):
    put(task, "csv", ROWS)
    put(task, "csv", ROWS[:1], split="validation")
    put(task, "jsonl", ROWS, split="test-old")
    loaded = load(task)
    assert [example.text for example in loaded.examples("dev", "deu")] == ["nan"]
    expected = "`deu/test-old.jsonl` is ignored: its name is none of train, dev, test, unlabelled, validation."
    assert expected in loaded.notes


# Whatever the text


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), min_size=1)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1))
def test_csv_reads_what_csv_wrote(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    as_csv(path, [dict(zip(("a", "b"), row, strict=True)) for row in rows])
    assert [tuple(record.values()) for _, record in Table(path)] == rows


@given(st.lists(st.text(string.printable, min_size=1), min_size=1))
def test_every_complaint_about_a_text_file_is_one(tmp_path_factory, lines):
    """Whatever lies in a file, reading it ends with rows or with one InputError that names the file."""
    folder = tmp_path_factory.mktemp("any")
    for suffix in ("jsonl", "csv", "tsv", "conllu", "conll"):
        path = folder / f"table.{suffix}"
        path.write_text("\n".join(lines), encoding="utf-8", newline="")
        try:
            assert all(isinstance(record, dict) for _, record in Table(path))
        except InputError as error:
            assert str(error).startswith(f"`{path}:")  # noqa: PT017
