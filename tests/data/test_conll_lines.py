"""Lines of CoNLL and CoNLL-U files that are no words, or words that stand for none: comments, blanks, unspecified tags."""

import re

import pytest

from distxfer.data import Data, Issue, _tables, load_task
from distxfer.errors import InputError
from own_files import text_file

# As MultiCoNER 2 has it: a comment with the sentence's id, then a word, two empty columns and its tag.
COMMENTED = """\
# id 11aa-22bb\tdomain=xx
Kofi _ _ B-PER
lives _ _ O
in _ _ O
Accra _ _ B-LOC

# id 33cc-44dd\tdomain=xx
#Ama _ _ B-PER
sings _ _ O
"""


def write(folder, text, suffix="conll", target=None):
    for path, content in (("eng/train", text), ("eng/test", text), ("deu/test", target or text)):
        text_file(folder / f"{path}.{suffix}", content)
    return folder


def read(folder, **settings):
    return load_task(Data(str(folder), type="token_classification", **settings), "eng", ("deu",))


def sentences(task):
    return [
        [
            (example.text[start:end], task.labels[tag])
            for (start, end), tag in zip(example.label.spans, example.label.tags, strict=True)
        ]
        for example in task.examples("train", "eng")
    ]


def complains(expected, folder):
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        read(folder)


def test_comments_are_left_out_and_counted_and_a_word_may_begin_as_one(tmp_path):
    task = read(write(tmp_path, COMMENTED))
    assert sentences(task) == [
        [("Kofi", "B-PER"), ("lives", "O"), ("in", "O"), ("Accra", "B-LOC")],
        [("#Ama", "B-PER"), ("sings", "O")],
    ]
    assert "`eng/train.conll`: 2 comment lines left out." in task.notes
    assert Issue("deu", "test", "comment lines", 2, 8) in task.issues


@pytest.mark.parametrize(
    "comment",
    [
        "# sent_id = 12",
        "# id 12",
        "# newdoc",
        "#",
        "# text = nobody reads O",
        "#begin document (bc/cnn/00); part 000",
        "# id 11aa\tdomain=xx",
        "#sent_id = 12",
        "# a remark of many words, one after the other",
        "# x",
    ],
)
@pytest.mark.parametrize("mark", ["\t", " "])
def test_what_is_a_comment(tmp_path, comment, mark):
    text = f"{comment}\nKofi{mark}P\nlives{mark}O\n\n{comment}\nAma{mark}P\nsings{mark}O\n"
    assert sentences(read(write(tmp_path, text))) == [[("Kofi", "P"), ("lives", "O")], [("Ama", "P"), ("sings", "O")]]


@pytest.mark.parametrize("mark", ["\t", " "])
def test_what_is_a_word(tmp_path, mark):
    text = f"#{mark}O\n1{mark}P\n#hashtag{mark}O\n\n#one{mark}O\n\nKofi{mark}P\nsings{mark}O\n#{mark}O\n"
    assert sentences(read(write(tmp_path, text))) == [
        [("#", "O"), ("1", "P"), ("#hashtag", "O")],
        [("#one", "O")],
        [("Kofi", "P"), ("sings", "O"), ("#", "O")],
    ]


def test_a_word_of_a_file_without_any_others(tmp_path):
    assert sentences(read(write(tmp_path, "#a\tX\n\n#b\tY\n")))[0] == [("#a", "X")]


def test_comments_without_words_do_not_read_the_file_once_each(tmp_path, monkeypatch):
    passes = []
    read_lines = _tables.lines
    monkeypatch.setattr(_tables, "lines", lambda path: passes.append(path) or read_lines(path))
    table = _tables.Table(text_file(tmp_path / "a.conll", "# note\n\n" * 50 + "a O\n"))
    assert [record for _, record in table] == [{"words": ["a"], "tags": ["O"]}]
    assert table.left_out == {"comment lines": 50}
    assert len(passes) == 1  # for the tags of all words


@pytest.mark.parametrize(("line", "columns"), [("#Ama B-PER", 2), ("#a b c d e", 5)])
def test_a_line_that_may_be_either_is_refused(tmp_path, line, columns):
    folder = write(tmp_path, COMMENTED.replace("# id 11aa-22bb\tdomain=xx", line))
    path = folder / "eng" / "train.conll"
    complains(
        f"`{path}:1` begins with `#` and has {columns} columns, but words have 4. It is neither a word nor a comment (`# key"
        f" = value` before a sentence). Correct or remove the line.",
        folder,
    )


def test_a_comment_within_a_sentence_is_refused(tmp_path):
    folder = write(tmp_path, COMMENTED.replace("in _ _ O", "# id 5\nin _ _ O"))
    with pytest.raises(
        InputError, match=re.escape(f"`{folder / 'eng' / 'train.conll'}:4` begins with `#` and has 3 columns")
    ):
        read(folder)


@pytest.mark.parametrize("comment", ["# O", "# a remark O"])
def test_words_in_columns_of_tabs_are_not_found_in_comments_with_blanks(tmp_path, comment):
    text = f"{comment}\nKofi\tP\nsings\tO\n"
    assert sentences(read(write(tmp_path, text))) == [[("Kofi", "P"), ("sings", "O")]]


@pytest.mark.parametrize("text", ["#remark written\nKofi\tP\nsings\tO\n", "Ama P\n\nKofi _ P\n# remark\nsings _ O\n"])
def test_a_remark_of_other_columns_than_its_sentence_is_no_word(tmp_path, text):
    with pytest.raises(InputError, match="It is neither a word nor a comment"):
        read(write(tmp_path, text))


def conllu(*sentences):
    rows = [
        "\n".join(f"{place}\t{form}\t_\t{tag}" + "\t_" * 6 for place, (form, tag) in enumerate(words, 1))
        for words in sentences
    ]
    return "\n\n".join(rows) + "\n"


WORDS = [("Kofi", "PROPN"), ("sings", "VERB")]


@pytest.mark.parametrize("suffix", ["conllu", "conll"])
def test_blanked_sentences_are_left_out_and_counted(tmp_path, suffix):
    blanked = [("_", "PROPN"), ("_", "VERB")]
    text = conllu(WORDS, blanked, WORDS) if suffix == "conllu" else "Kofi P\nsings V\n\n_ P\n_ V\n\nKofi P\nsings V\n"
    task = read(write(tmp_path, text, suffix))
    assert len(task.examples("train", "eng")) == 2
    assert f"`deu/test.{suffix}`: 1 sentence whose words are all blanked (`_`) left out." in task.notes
    assert Issue("deu", "test", "sentences whose words are all blanked (`_`)", 1, 5) in task.issues


def test_a_treebank_without_its_text_is_refused(tmp_path):
    folder = write(
        tmp_path, conllu(WORDS, WORDS), "conllu", conllu([("_", "PROPN"), ("_", "VERB")], [("_", "VERB"), ("_", "X")])
    )
    complains(
        f"`{folder / 'deu' / 'test.conllu'}` has no usable rows; left out: 2 sentences whose words are all blanked"
        " (`_`). Give a file with its text.",
        folder,
    )


def test_single_blanked_words_and_unspecified_tags_are_counted(tmp_path):
    task = read(write(tmp_path, conllu(WORDS, [("_", "PROPN"), ("sings", "_")]), "conllu"))
    assert "`eng/test.conllu`: 1 blanked word (`_`), read as it stands." in task.notes
    assert "`eng/test.conllu`: 1 word with the tag `_` (not specified), read as a label." in task.notes
    assert Issue("deu", "test", "blanked words (`_`), read as they stand", 1, 4) in task.issues


def test_comments_of_conllu_are_fields_or_nothing(tmp_path):
    text = "# newdoc\n# text = Kofi sings\n" + conllu(WORDS, [("#", "SYM"), ("sings", "VERB")])
    task = read(write(tmp_path, text, "conllu"))
    assert sentences(task)[1] == [("#", "SYM"), ("sings", "VERB")]
    assert not [note for note in task.notes if "comment" in note]
