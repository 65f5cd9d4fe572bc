"""A task of your own in every format and of every kind: what comes back, and each complaint with its file and line."""

import csv
import json
import re
import string

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distxfer.data import Answer, Data, Tags, kind_names, load_task, task_languages
from distxfer.data._forms import FORMS
from distxfer.data._tables import Table
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


def put(folder, suffix, rows, language="deu", split="test", writer=None):
    path = folder / language / f"{split}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    (writer or WRITERS[suffix])(path, rows)
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


@pytest.fixture
def task(tmp_path):
    """A task of two languages whose German test is still to be written."""
    put(tmp_path, "jsonl", ROWS, "eng", "train")
    put(tmp_path, "jsonl", ROWS, "eng")
    return tmp_path


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_says_the_same(task, suffix):
    put(task, suffix, ROWS)
    found = load(task)
    assert [(one.id, one.text, found.labels[one.label]) for one in found.examples("test", "deu")] == [
        (row["id"], row["text"], row["label"]) for row in ROWS
    ]
    assert found.examples("test", "deu")[3].text == "null"
    assert {one.text_pair for one in found.examples("test", "deu")} == {None}


@pytest.mark.parametrize("suffix", WRITERS)
def test_columns_are_called_as_the_recipe_says(task, suffix):
    rows = [{"uid": "x", "premise": "a b", "hypothesis": "c", "gold": "no"}]
    columns = {"id": "uid", "text": "premise", "text_pair": "hypothesis", "label": "gold"}
    for language, split in (("eng", "train"), ("eng", "test"), ("deu", "test")):
        (task / language / f"{split}.jsonl").unlink(missing_ok=True)
        put(task, suffix, rows if split == "test" else [*rows, {**rows[0], "uid": "y", "gold": "NA"}], language, split)
    (one,) = load(task, columns=columns).examples("test", "deu")
    assert (one.id, one.text, one.text_pair) == ("x", "a b", "c")
    path = put(task, suffix, [{"uid": "x", "premise": "a b", "gold": "no"}])
    line = 1 if suffix in ("jsonl", "parquet") else 2
    complains(f"`{path}:{line}` has no `hypothesis`, only: uid, premise, gold.", task, columns=columns)


def test_a_column_of_no_field(task):
    put(task, "jsonl", ROWS)
    said = "`task.columns` names `txt`, which is no field of the kind `classification`. Did you mean `text`?"
    complains(f"{said} Fields: id, text, text_pair, label.", task, columns={"txt": "a"})


def test_rows_without_ids_are_numbered(task):
    path = put(task, "csv", [{"text": "a", "label": "no"}, {"text": "b", "label": "NA"}])
    assert [one.id for one in load(task).examples("test", "deu")] == ["1", "2"]
    path.unlink()
    path = text_file(
        task / "deu" / "test.jsonl", '{"text": "a", "label": "no"}\n{"id": 9, "text": "b", "label": "no"}\n'
    )
    said = "has the id `9`, but the first row of the file has none. Give every row one, or none."
    complains(f"`{path}:2` {said}", task)


# Text files


def test_csv_as_spreadsheets_write_it(task):
    """A byte-order mark, CRLF, blank lines, line ends and quotation marks within a text; the place is where the row starts."""
    path = text_file(
        task / "deu" / "test.csv",
        b'\xef\xbb\xbfid,text,label\r\n1,"one, ""two""\r\nthree",no\r\n\r\n2,nan,NA\r\n3,,no\r\n',
    )
    complains(f"`{path}:6` has no text in `text`.", task)
    text_file(path, path.read_bytes().replace(b"3,,no\r\n", b" \r\n"))
    assert [one.text for one in load(task).examples("test", "deu")] == ['one, "two"\r\nthree', "nan"]


def test_a_quotation_mark_in_tsv_is_a_character(task):
    text_file(task / "deu" / "test.tsv", 'id\ttext\tlabel\n1\t"one\tno\n\n2\ttwo "\tno\r\n')
    assert [one.text for one in load(task).examples("test", "deu")] == ['"one', 'two "']


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('id,text,label\n1,"a,no\n2,b,no\n', ":2` is not CSV: unexpected end of data. "),
        ('id,text,label\n1,"a"b,no\n', ":2` is not CSV: ',' expected after '\"'. "),
        ("id,text,label\n1,a\n", ":2` has 2 columns, but the header has 3: id, text, label."),
        ("id,text,text\n1,a,b\n", ":1` names the column `text` twice. Give each a name of its own."),
        (b"id,text,label\n1,a,no\n2,Stra\xdfe,no\n", ":3` is not UTF-8 text (invalid continuation byte at byte 6 "),
        ("id,text, text\n1,a,b\n", ":1` names the column `text` twice. Give each a name of its own."),
        ("id;text;label\n1;a;no\n", ":2` has no `text`, only: id;text;label."),
        ("id,text,label\n", "` is missing or empty, but `deu` is to be scored."),
    ],
)
def test_what_is_no_csv(task, content, said):
    path = text_file(task / "deu" / "test.csv", content)
    with pytest.raises(InputError, match=f"^{re.escape(f'`{path}{said}')}"):
        load(task)


@pytest.mark.parametrize("number", ["9" * 5000, "[" * 100_000])
def test_json_that_nothing_can_read(task, number):
    path = text_file(task / "deu" / "test.jsonl", f'{{"id": {number}')
    with pytest.raises(InputError, match=f"^{re.escape(f'`{path}:1` is not JSON')}"):
        load(task)


# Parquet


def test_parquet_says_the_row(task):
    path = put(task, "parquet", [{"id": 1, "text": "a", "label": "no"}, {"id": 2, "text": None, "label": "no"}])
    complains(f"`{path}:2` has no text in `text`.", task)
    put(task, "parquet", [{"id": 1, "text": "a", "label": "no"}, {"id": None, "text": "b", "label": "no"}])
    complains(f"`{path}:2` has the id None, but ids are texts or whole numbers, and not empty.", task)
    put(task, "parquet", [{"text": "a", "label": None}, {"text": "b", "label": "no"}])
    complains(f"`{path}:1` has the label None, but labels are texts or whole numbers, and not empty.", task)
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
    found = load(task)
    assert found.labels == ("0", "2")
    assert [one.label for one in found.examples("test", "deu")] == [0, 1, 0]


# Words and tags


@pytest.fixture
def tags(tmp_path):
    """A task of words with tags, whose German test is still to be written."""
    for split in ("train", "test"):
        put(
            tmp_path,
            "jsonl",
            [{"id": "a", "words": ["a", "cat", "sat"], "tags": ["DET", "NOUN", "VERB"]}],
            "eng",
            split,
        )
    return tmp_path


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_words_with_tags(tags, suffix):
    put(tags, suffix, [{"id": "b", "words": ["日本", "new york"], "tags": ["NOUN", "DET"]}])
    found = load(tags, kind="tokens")
    assert (found.kind, found.labels) == ("tokens", ("DET", "NOUN", "VERB"))
    (one,) = found.examples("test", "deu")
    assert (one.text, one.label) == ("日本 new york", Tags(((0, 2), (3, 11)), (1, 0)))
    assert found.examples("train", "eng")[0].label == Tags(((0, 1), (2, 5), (6, 9)), (0, 1, 2))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"words": ["a", "b"], "tags": ["DET"]}, "has 2 words in `words`, but 1 tags in `tags`. Give each word one."),
        ({"words": ["a"], "tags": "D"}, "has 1 words in `words`, but no list of tags in `tags`. Give each word one."),
        ({"words": "a b", "tags": ["DET"]}, "has no list of words in `words`."),
        ({"words": [], "tags": []}, "has no list of words in `words`."),
        ({"words": ["a", " "], "tags": ["DET", "DET"]}, "has ' ' as word 2 in `words`: that is no word."),
        ({"words": ["a"], "tags": [None]}, "has the label None, but labels are texts or whole numbers, and not empty."),
    ],
)
def test_words_and_tags_that_do_not_fit(tags, row, said):
    path = put(tags, "jsonl", [row])
    complains(f"`{path}:1` {said}", tags, kind="tokens")


def universal(folder, **columns):
    for language in ("eng", "deu"):
        for split in ("train", "test"):
            text_file(folder / language / f"{split}.conllu", SENTENCES)
    return load(folder, kind="tokens", columns=columns)


def test_universal_dependencies(tmp_path):
    """What is a word is known from the format's own example; what is none is counted, of each file that is read."""
    found = universal(tmp_path)
    assert found.labels == ("ADP", "ADV", "DET", "NOUN", "PRON", "VERB")
    first, second = found.examples("test", "deu")
    assert (first.id, first.text) == ("s1", "vamos nos a el mar")
    assert [found.labels[tag] for tag in first.label.tags] == ["VERB", "PRON", "ADP", "DET", "NOUN"]
    assert [first.text[slice(*span)] for span in first.label.spans] == ["vamos", "nos", "a", "el", "mar"]
    assert (second.id, second.text) == ("s2", "No")
    counted = [note for note in found.notes if "left out" in note]
    assert counted == [
        f"`{name}`: {count} {what} left out."
        for name in ("eng/train.conllu", "eng/test.conllu", "deu/test.conllu")
        for count, what in ((1, "empty nodes"), (2, "ranges of words"))
    ]
    assert universal(tmp_path, tags="xpos").labels == ("D", "N", "P", "R", "S", "V")


@pytest.mark.parametrize("line", ["1\tword", "x\t_\t_\t_\t_\t_\t_\t_\t_\t_", "1 a a X _ _ 0 root _ _"])
def test_a_line_that_is_no_word(tmp_path, line):
    universal(tmp_path)
    path = text_file(tmp_path / "deu" / "test.conllu", f"{SENTENCES}\n# sent_id = s3\n{line}\n")
    number = len(SENTENCES.splitlines()) + 3
    said = "is no line of CoNLL-U: expected 10 columns with tabs between, the first a number, and not"
    complains(f"`{path}:{number}` {said} {line!r}.", tmp_path, kind="tokens")


def test_unlabelled_sentences_are_texts(tmp_path):
    text_file(tmp_path / "deu" / "unlabelled.conllu", SENTENCES[: SENTENCES.index("\n\n") + 1])
    assert [one.text for one in universal(tmp_path).unlabelled["deu"]] == ["vámonos al mar"]


def test_words_and_tags_in_two_columns(tmp_path):
    content = "-DOCSTART- -X- O\n\n# O\nEU B-ORG\n\nJack\tX\tB-PER\n \n10\u00a0000  O \n"
    for language, split in (("eng", "train"), ("eng", "test"), ("deu", "test")):
        text_file(tmp_path / language / f"{split}.conll", content)
    found = load(tmp_path, kind="entities")
    assert [(one.text, [found.labels[tag] for tag in one.label.tags]) for one in found.examples("test", "deu")] == [
        ("# EU", ["O", "B-ORG"]), ("Jack", ["B-PER"]), ("10\u00a0000", ["O"]),
    ]  # fmt: skip
    assert "`deu/test.conll`: 1 marks of documents left out." in found.notes
    path = text_file(tmp_path / "deu" / "test.conll", "a O\nb\n")
    complains(f"`{path}:2` holds 'b', but expected a word and its tag.", tmp_path, kind="entities")


# Answers and retrieval


def question(**change):
    there = {
        "id": "q",
        "question": "who?",
        "context": "日本 it was he",
        "answers": {"text": ["he"], "answer_start": [10]},
    }
    return {**there, **change}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_questions_with_answers(tmp_path, suffix):
    rows = [question(), question(id="r", answers={"text": ["日本", "he"], "answer_start": [0, 10]})]
    for language, split in (("eng", "train"), ("eng", "test"), ("deu", "test")):
        put(tmp_path, suffix, rows, language, split)
    found = load(tmp_path, kind="answers")
    assert found.labels == ()
    first, second = found.examples("test", "deu")
    assert (first.text, first.text_pair, first.label) == ("who?", "日本 it was he", (Answer("he", 10),))
    assert second.label == (Answer("日本", 0), Answer("he", 10))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"answers": {"text": ["he"], "answer_start": [14]}},
            "has the answer `he` at character 14 of `context`, where there",
        ),
        (
            {"answers": {"text": ["he"], "answer_start": [None]}},
            "has the answer 'he' at None, but an answer is a text and",
        ),
        (
            {"answers": {"text": ["he"], "answer_start": []}},
            "has \"{'text': ['he'], 'answer_start': []}\" in `answers`, but",
        ),
        ({"answers": ["he"]}, "has \"['he']\" in `answers`, but expected"),
        ({"context": ""}, "has no text in `context`."),
    ],
)
def test_answers_that_do_not_stand_there(tmp_path, change, said):
    put(tmp_path, "jsonl", [question()], "eng", "train")
    put(tmp_path, "jsonl", [question()], "eng")
    path = put(tmp_path, "jsonl", [question(**change)])
    with pytest.raises(InputError, match=f"^{re.escape(f'`{path}:1` {said}')}"):
        load(tmp_path, kind="answers")


def test_sentences_to_be_found_again(tmp_path):
    """No labels, no training text; ids that one language alone has are counted."""
    put(tmp_path, "tsv", [{"id": key, "text": f"text {key}"} for key in "abc"], "eng")
    put(tmp_path, "tsv", [{"id": key, "text": f"Text {key}"} for key in "bcd"])
    found = load(tmp_path, kind="retrieval")
    assert (found.kind, found.labels, found.splits["train"]) == ("retrieval", (), {})
    assert [(one.id, one.label) for one in found.examples("test", "deu")] == [("b", None), ("c", None), ("d", None)]
    assert found.notes == (
        "`deu/test.tsv` has 1 of the 3 ids alone, without their like in `eng/test.tsv` (first: line 4).",
        "`eng/test.tsv` has 1 of the 3 ids alone, without their like in `deu/test.tsv` (first: line 2).",
    )


def test_every_kind_of_task_can_be_ones_own():
    assert set(FORMS) == set(kind_names())


def test_an_unknown_kind(task):
    put(task, "jsonl", ROWS)
    said = "`task.kind` is `token`, which no files of your own can be. Did you mean `tokens`? Choose from:"
    complains(f"{said} {', '.join(FORMS)}.", task, kind="token")


# Which file is which


def test_files_by_a_pattern(tmp_path):
    """As the treebanks of Universal Dependencies are unpacked: `UD_German-GSD/de_gsd-ud-test.conllu`."""
    for code, name in (("en", "English-EWT"), ("de", "German-GSD"), ("no", "Norwegian-Bokmaal")):
        for split in ("train", "test"):
            corpus = name.split("-")[1].lower()
            text_file(tmp_path / f"UD_{name}" / f"{code}_{corpus}-ud-{split}.conllu", SENTENCES)
        text_file(tmp_path / f"UD_{name}" / "README.md", "no table")
    data = Data(str(tmp_path), kind="tokens", pattern="UD_*/{language}_*-ud-{split}.conllu")
    assert task_languages(data) == ("deu", "eng", "nor")
    found = load_task(data, "eng", ("deu", "nor"))
    assert [one.text for one in found.examples("test", "nor")] == ["vamos nos a el mar", "No"]


@pytest.mark.parametrize("pattern", ["{language}/test.csv", "{split}.csv", "{language}/{split}.{suffix}", "*"])
def test_a_pattern_without_language_or_split(task, pattern):
    said = f"`task.pattern` is `{pattern}`, but must say where the language and the split stand, such as"
    complains(f"{said} `{{language}}/{{split}}.jsonl` (`*` stands for anything).", task, pattern=pattern)


def test_patterns_that_lead_nowhere(task):
    pattern = "../{language}/{split}.csv"
    complains(f"`task.pattern` is `{pattern}`, but must lie below the folder `{task}`.", task, pattern=pattern)
    pattern = "{split}/{language}.csv"
    complains(f"No file in `{task}` is named as `task.pattern` = `{pattern}` says.", task, pattern=pattern)
    path = text_file(task / "test" / "de.txt", "no table")
    said = f"`{path}`, which `task.pattern` = `{{split}}/{{language}}.txt` matches, is of no format that is read:"
    with pytest.raises(InputError, match=f"^{re.escape(said)}"):
        load(task, pattern="{split}/{language}.txt")


def test_two_files_of_one_part(task):
    one, other = put(task, "csv", ROWS), put(task, "jsonl", ROWS)
    complains(f"`{one}` and `{other}` are both test of the language `deu`. Keep one.", task)


def test_validation_is_dev_and_what_is_not_read_is_said(task):
    put(task, "csv", ROWS)
    put(task, "csv", ROWS[:1], split="validation")
    put(task, "jsonl", ROWS, split="test-old")
    found = load(task)
    assert [one.text for one in found.examples("dev", "deu")] == ["nan"]
    said = "`deu/test-old.jsonl` is not read: it is called none of train, dev, test, unlabelled, validation."
    assert said in found.notes


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
