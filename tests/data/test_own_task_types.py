"""A task of your own of every type: words with tags, questions with answers, and sentences to be found again."""

import re

import pytest

from distxfer.data import Answer, Tags, task_type_names
from distxfer.data._forms import FORMS
from distxfer.errors import InputError
from own_files import ROWS, SENTENCES, complains, load, put, text_file

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
    task = load(tags, type="token_classification")
    assert (task.task_type, task.labels) == ("token_classification", ("DET", "NOUN", "VERB"))
    (example,) = task.examples("test", "deu")
    assert (example.text, example.label) == ("日本 new york", Tags(((0, 2), (3, 11)), (1, 0)))
    assert task.examples("train", "eng")[0].label == Tags(((0, 1), (2, 5), (6, 9)), (0, 1, 2))


@pytest.mark.parametrize(
    ("row", "error_message"),
    [
        (
            {"words": ["a", "b"], "tags": ["DET"]},
            "has ['DET'] in `tags`; expected a list of 2 tags, one for each word.",
        ),
        ({"words": ["a"], "tags": "D"}, "has 'D' in `tags`; expected a list of 1 tag, one for each word."),
        ({"words": "a b", "tags": ["DET"]}, "has 'a b' in `words`; expected a list of texts."),
        ({"words": [], "tags": []}, "has no words in `words`."),
        ({"words": ["a", " "], "tags": ["DET", "DET"]}, "has a blank word in `words`: ['a', ' ']."),
        ({"words": ["a"], "tags": [None]}, "has None in `tags`; expected a whole number or a text, not empty."),
    ],
)
def test_words_and_tags_that_do_not_fit(tags, row, error_message):
    path = put(tags, "jsonl", [row])
    complains(f"`{path}:1` {error_message}", tags, type="token_classification")


def universal(folder, **columns):
    for language in ("eng", "deu"):
        for split in ("train", "test"):
            text_file(folder / language / f"{split}.conllu", SENTENCES)
    return load(folder, type="token_classification", columns=columns)


def test_universal_dependencies(tmp_path):
    """What is a word is known from the format's own example; what is none is counted, of each file that is read."""
    task = universal(tmp_path)
    assert task.labels == ("ADP", "ADV", "DET", "NOUN", "PRON", "VERB")
    first, second = task.examples("test", "deu")
    assert (first.id, first.text) == ("s1", "vamos nos a el mar")
    assert [task.labels[tag] for tag in first.label.tags] == ["VERB", "PRON", "ADP", "DET", "NOUN"]
    assert [first.text[slice(*span)] for span in first.label.spans] == ["vamos", "nos", "a", "el", "mar"]
    assert (second.id, second.text) == ("s2", "No")
    counted = [note for note in task.notes if "left out" in note]
    assert counted == [
        f"`{name}`: {count} {noun} left out."
        for name in ("eng/train.conllu", "eng/test.conllu", "deu/test.conllu")
        for count, noun in ((1, "empty node"), (2, "ranges of words"))
    ]
    assert universal(tmp_path, tags="xpos").labels == ("D", "N", "P", "R", "S", "V")


@pytest.mark.parametrize("line", ["1\tword", "x\t_\t_\t_\t_\t_\t_\t_\t_\t_", "1 a a X _ _ 0 root _ _"])
def test_a_line_that_is_no_word(tmp_path, line):
    universal(tmp_path)
    path = text_file(tmp_path / "deu" / "test.conllu", f"{SENTENCES}\n# sent_id = s3\n{line}\n")
    number = len(SENTENCES.splitlines()) + 3
    expected = "CoNLL-U expects 10 tab-separated columns, the first a number."
    complains(f"`{path}:{number}` is {line!r}; {expected}", tmp_path, type="token_classification")


def test_unlabelled_sentences_are_texts(tmp_path):
    text_file(tmp_path / "deu" / "unlabelled.conllu", SENTENCES[: SENTENCES.index("\n\n") + 1])
    assert [example.text for example in universal(tmp_path).unlabelled["deu"]] == ["vámonos al mar"]


def test_words_and_tags_in_two_columns(tmp_path):
    content = "-DOCSTART- -X- O\n\n# O\nEU B-ORG\n\nJack\tX\tB-PER\n \n10\u00a0000  O \n"
    for language, split in (("eng", "train"), ("eng", "test"), ("deu", "test")):
        text_file(tmp_path / language / f"{split}.conll", content)
    task = load(tmp_path, type="named_entities")
    assert [(example.text, [task.labels[tag] for tag in example.label.tags]) for example in task.examples("test", "deu")] == [
        ("# EU", ["O", "B-ORG"]), ("Jack", ["B-PER"]), ("10\u00a0000", ["O"]),
    ]  # fmt: skip
    assert "`deu/test.conll`: 1 mark of documents left out." in task.notes
    path = text_file(tmp_path / "deu" / "test.conll", "a O\nb\n")
    complains(f"`{path}:2` is 'b'; expected a word and its tag.", tmp_path, type="named_entities")


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
    task = load(tmp_path, type="question_answering")
    assert task.labels == ()
    first, second = task.examples("test", "deu")
    assert (first.text, first.text_pair, first.label) == ("who?", "日本 it was he", (Answer("he", 10),))
    assert second.label == (Answer("日本", 0), Answer("he", 10))


@pytest.mark.parametrize(
    ("change", "error_message"),
    [
        (
            {"answers": {"text": ["he"], "answer_start": [14]}},
            "has the answer `he` at character 14 of `context`, where it does not stand; it begins at 10.",
        ),
        (
            {"answers": {"text": ["he"], "answer_start": [None]}},
            "has {'text': ['he'], 'answer_start': [None]} in `answers`; expected a table of",
        ),
        (
            {"answers": {"text": ["he"], "answer_start": []}},
            "has {'text': ['he'], 'answer_start': []} in `answers`; expected a table of",
        ),
        ({"answers": ["he"]}, "has ['he'] in `answers`; expected"),
        ({"context": ""}, "has no text in `context`."),
    ],
)
def test_answers_that_do_not_stand_there(tmp_path, change, error_message):
    put(tmp_path, "jsonl", [question()], "eng", "train")
    put(tmp_path, "jsonl", [question()], "eng")
    path = put(tmp_path, "jsonl", [question(**change)])
    with pytest.raises(InputError, match=f"^{re.escape(f'`{path}:1` {error_message}')}"):
        load(tmp_path, type="question_answering")


def test_sentences_to_be_found_again(tmp_path):
    """No labels, no training text; ids that one language alone has are counted."""
    put(tmp_path, "tsv", [{"id": key, "text": f"text {key}"} for key in "abc"], "eng")
    put(tmp_path, "tsv", [{"id": key, "text": f"Text {key}"} for key in "bcd"])
    task = load(tmp_path, type="retrieval")
    assert (task.task_type, task.labels, task.splits["train"]) == ("retrieval", (), {})
    assert [(example.id, example.label) for example in task.examples("test", "deu")] == [
        ("b", None),
        ("c", None),
        ("d", None),
    ]
    assert task.notes == (
        "`deu/test.tsv` has 1 of its 3 ids alone: they are not in `eng/test.tsv` (first: line 4).",
        "`eng/test.tsv` has 1 of its 3 ids alone: they are not in `deu/test.tsv` (first: line 2).",
    )


# Which types there are


def test_files_of_ones_own_can_have_every_task_type():
    assert set(FORMS) == set(task_type_names())


def test_an_unknown_task_type(tmp_path):
    for language, split in (("eng", "train"), ("eng", "test"), ("deu", "test")):
        put(tmp_path, "jsonl", ROWS, language, split)
    expected = (
        "`task.type` is `token_clasification`, which your own files cannot have. Did you mean `token_classification`?"
        " Choose from:"
    )
    complains(f"{expected} {', '.join(FORMS)}.", tmp_path, type="token_clasification")
