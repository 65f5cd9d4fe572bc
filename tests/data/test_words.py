"""Words that translate each other: found by dictionary or alignment, and their vectors as sums of sub-words."""

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from transformers import ByT5Tokenizer

from conftest import LAYERS, WORDS, save_tiny
from distxfer import measure
from distxfer.data import (
    Example,
    Pair,
    WordPair,
    aligned_pairs,
    dictionary_pairs,
    read_alignments,
    read_dictionary,
)
from distxfer.encoders import Encoded, load_encoder
from helpers import message

CAFE = "cafe\u0301"  # decomposed: five characters


def pair(source, target, languages=("eng", "deu")):
    return Pair(Example("1", languages[0], source), Example("1", languages[1], target))


def matches(source, target, dictionary):
    """Return the words that a dictionary finds in one sentence pair, as they are spelled there."""
    return spelled(dictionary_pairs([pair(source, target)], dictionary))


def spelled(words):
    return [(w.source.text[slice(*w.source_span)], w.target.text[slice(*w.target_span)]) for w in words]


# By dictionary


def test_dictionary_pairs_say_where_the_words_stand():
    sentence = pair("The cat sees a dog.", "Ein Hund sieht die Katze!")
    assert dictionary_pairs([pair("nothing", "nichts"), sentence], {"cat": ["katze"], "dog": {"hund", "köter"}}) == [
        WordPair(sentence.source, (4, 7), sentence.target, (19, 24)),
        WordPair(sentence.source, (15, 18), sentence.target, (4, 8)),
    ]


@pytest.mark.parametrize(
    ("source", "target", "dictionary", "expected"),
    [
        # The same word twice, or two of its translations, or two words with one translation: no single right answer.
        ("cat and cat", "Katze", {"cat": ["katze"]}, []),
        ("cat", "Katze, Katze", {"cat": ["katze"]}, []),
        ("cat", "Katze, Kater", {"cat": ["katze", "kater"]}, []),
        ("cat", "Katze, Kater", {"cat": ["katze"]}, [("cat", "Katze")]),
        ("bank, shore", "Ufer", {"bank": ["ufer"], "shore": ["ufer"]}, []),
        ("bank, money", "Ufer", {"bank": ["ufer"], "shore": ["ufer"]}, [("bank", "Ufer")]),
        # What is ambiguous leaves the rest of the sentence alone.
        ("cat cat dog", "Katze Hund", {"cat": ["katze"], "dog": ["hund"]}, [("dog", "Hund")]),
        # Whole words only, and the boundaries of Unicode: an apostrophe within a word, marks on a letter.
        ("category", "Kategorie", {"cat": ["kate"]}, []),
        ("Don’t!", "Nicht", {"don't": ["nicht"]}, [("Don’t", "Nicht")]),
        ("don't", "nicht", {"don": ["nicht"]}, []),
        ("'cat'", "„Katze“", {"cat": ["katze"]}, [("cat", "Katze")]),
        ("Hindi", "मैं हिन्दी बोलता हूँ", {"hindi": ["हिन्दी"]}, [("Hindi", "हिन्दी")]),
        ("He", "हिन्दी", {"he": ["ह", "हि", "न"]}, []),
        ("water", "می\u200cخواهم آب", {"water": ["آب"], "want": ["می\u200cخواهم"]}, [("water", "آب")]),
        # Case and composition do not tell words apart; the spans are those of the text as it stands.
        ("STREET", "Straße", {"street": ["STRASSE"]}, [("STREET", "Straße")]),
        (f"a {CAFE} b", "Café", {"café": [CAFE]}, [(CAFE, "Café")]),
        ("co\u00adop", "Genossenschaft", {"coop": ["genossenschaft"]}, [("co\u00adop", "Genossenschaft")]),
        # Entries of several words, or with a hyphen, are matched whole and before their parts.
        (
            "in New  York",
            "in Nueva York",
            {"new york": ["nueva york"], "york": ["york"]},
            [("New  York", "Nueva York")],
        ),
        ("my e-mail", "meine Post", {"e-mail": ["post"], "mail": ["meine"]}, [("e-mail", "Post")]),
        # Scripts without spaces: anywhere in the run, the longest entry first, no half of a cluster.
        ("cat", "猫がいる", {"cat": ["猫"]}, [("cat", "猫")]),
        ("Japan", "日本語を話す", {"japan": ["日本"], "japanese": ["日本語"]}, []),
        ("Japanese", "日本語を話す", {"japan": ["日本"], "japanese": ["日本語"]}, [("Japanese", "日本語")]),
        ("Japan", "語日本", {"japan": ["日本"], "japanese": ["日本語"]}, [("Japan", "日本")]),
        ("guitar", "か\u3099ギター", {"guitar": ["ギター"], "moth": ["か"]}, [("guitar", "ギター")]),
        ("moth", "か\u3099", {"moth": ["か"]}, []),
        ("moth", "か\u3099", {"moth": ["が"]}, [("moth", "か\u3099")]),
        ("Python", "我喜欢Python语言", {"python": ["python"], "on": ["on"]}, [("Python", "Python")]),
        ("cat sleeps", "แมวนอน", {"cat": ["แมว"], "sleeps": ["นอน"]}, [("cat", "แมว"), ("sleeps", "นอน")]),
        ("come", "มา\u200bนา", {"come": ["มา"], "field": ["มานา"]}, [("come", "มา")]),
        ("water", "ນ້ໍາ", {"water": ["ນ"]}, []),
        ("mother", "ខ្មែរ", {"mother": ["ខ"]}, []),
        ("Khmer", "ភាសាខ្មែរ", {"khmer": ["ខ្មែរ"]}, [("Khmer", "ខ្មែរ")]),
        ("book", "မြန်မာစာအုပ်", {"book": ["စာအုပ်"]}, [("book", "စာအုပ်")]),
        # The source may be in any of these scripts, too.
        ("猫がいる", "the cat", {"猫": ["cat"]}, [("猫", "cat")]),
    ],
)
def test_dictionary_pairs(source, target, dictionary, expected):
    assert matches(source, target, dictionary) == expected


letters = st.text(st.characters(categories=["L", "M", "P", "Zs"]), max_size=30)


@hypothesis.given(source=letters, target=letters, data=st.data())
@hypothesis.settings(max_examples=25, deadline=None)
def test_what_a_dictionary_finds_is_in_the_dictionary_and_has_one_partner(source, target, data):
    parts = st.sampled_from(["cat", "Hund", "猫", "猫が好き", "แมว", "NEW", "NEW YORK", "e-mail", "が"])
    source, target = (f"{' '.join(data.draw(st.lists(parts, max_size=6)))} {text}" for text in (source, target))
    dictionary = {
        word: [word, "hund"] for word in ("cat", "hund", "猫", "猫が好き", "แมว", "new york", "new", "e-mail", "が")
    }
    words = dictionary_pairs([pair(source, target)], dictionary)
    for source_word, target_word in spelled(words):
        assert target_word.casefold() in dictionary[source_word.casefold()]
    for spans in ([word.source_span for word in words], [word.target_span for word in words]):
        assert len(set(spans)) == len(spans)
    starts = [word.source_span for word in words]
    assert starts == sorted(starts)


def test_dictionary_pairs_refuse():
    assert message(dictionary_pairs, [], {"cat": "katze"}) == (
        "`dictionary['cat']` is the string 'katze'; expected a collection of words: give ['katze']."
    )
    assert message(dictionary_pairs, [], {"cat": [" "]}) == ("`dictionary` has the invisible word ' '. Remove it.")


TWO_WORDS = "expected a source word, a tab or a blank, and a target word, both visible."


def test_read_dictionary(tmp_path):
    path = tmp_path / "en-de.txt"
    path.write_text("\ufeffcat katze\ncat kater\n\ndog   hund\nNew York\tNueva York\n", encoding="utf-8")
    assert read_dictionary(path) == {"cat": ["katze", "kater"], "dog": ["hund"], "New York": ["Nueva York"]}
    assert matches("New York", "nueva york", read_dictionary(path)) == [("New York", "nueva york")]
    path.write_text("aa \u093e\n", encoding="utf-8")  # a vowel sign by itself can be seen
    assert read_dictionary(path) == {"aa": ["\u093e"]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("cat katze\ncat\n", f"`{{path}}:2` is 'cat'; {TWO_WORDS}"),
        ("a b c\n", f"`{{path}}:1` is 'a b c'; {TWO_WORDS}"),
        ("cat\t\n", f"`{{path}}:1` is 'cat\\t'; {TWO_WORDS}"),
        ("dog hund\ncat\t\u200b\n", f"`{{path}}:2` is 'cat\\t\\u200b'; {TWO_WORDS}"),
        ("\u00ad\tkatze\n", f"`{{path}}:1` is '\\xad\\tkatze'; {TWO_WORDS}"),
        (
            "cat katze\n\ncat kater\ncat\tkatze\n",
            "`{path}:4` repeats 'cat' and 'katze' of line 1. Remove one of the two lines.",
        ),
        ("\n", "`{path}` has no words. Put a source word, a tab and a target word on each line."),
    ],
)
def test_read_dictionary_names_the_line(tmp_path, content, expected):
    path = tmp_path / "words.txt"
    path.write_text(content, encoding="utf-8")
    assert message(read_dictionary, path) == expected.format(path=path)
    missing = tmp_path / "none.txt"
    assert message(read_dictionary, missing).startswith(f"`{missing}` cannot be read: No such file or directory.")


# By alignment


def test_aligned_pairs_take_links_that_are_one_to_one():
    sentences = [pair("the  big cat .", "die dicke Katze ."), pair("cats run", "Katzen"), pair("a b", "c d")]
    words = aligned_pairs(sentences, ["2-2 0-0 1-1 1-2 2-2", "0-0 1-0", ""])
    assert spelled(words) == [("the", "die")]
    assert spelled(aligned_pairs(sentences[:1], ["3-3 2-2 2-2 1-1"])) == [
        ("big", "dicke"),
        ("cat", "Katze"),
        (".", "."),
    ]
    assert words[0] == WordPair(sentences[0].source, (0, 3), sentences[0].target, (0, 3))


def test_read_alignments_keeps_blank_lines_for_sentences_without_links(tmp_path):
    path = tmp_path / "forward.align"
    path.write_text("0-0 1-2\n\n2-1\n\n", encoding="utf-8")
    assert read_alignments(path) == ["0-0 1-2", "", "2-1", ""]
    path.write_text("0-0\n0-1 1_2\n", encoding="utf-8")
    assert message(read_alignments, path) == (
        f"`{path}:2` has '1_2'; expected links such as 0-0 1-2: "
        "the number of a source token, a hyphen, the number of a target token."
    )


def test_aligned_pairs_refuse():
    sentences = [pair("a b", "c")]
    assert message(aligned_pairs, sentences, []) == (
        "`alignments` has 0 lines and `pairs` 1. Give one line per sentence pair, blank if nothing is aligned."
    )
    assert message(aligned_pairs, sentences, ["0-0 1-1"]) == (
        "`alignments[0]` links the token 1 of the target, which has 1, counted from 0. Split the sentences as for the aligner."
    )
    assert message(aligned_pairs, sentences, ["2-0"]).startswith("`alignments[0]` links the token 2 of the source,")
    assert message(aligned_pairs, sentences, ["0--1"]) == (
        "`alignments[0]` has '0--1'; expected links such as 0-0 1-2: "
        "the number of a source token, a hyphen, the number of a target token."
    )


# Their vectors


@pytest.fixture(scope="module", params=["bert", "deberta-v2", "qwen2"])
def encoder(request, tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp(request.param), request.param, initializer_range=0.2)
    return load_encoder(str(folder), folder, ["a", "b"], seed=0)


TEXTS = ["the cat sees the big old dog", "katze", "neko tori ki bara"]
PLACES = [(0, (4, 7)), (2, (10, 12)), (0, (0, 3)), (1, (0, 5)), (0, (25, 28)), (0, (4, 12))]  # the last: two words


def by_hand(encoder, text, span):
    """Return (layers + 1, d): the sum over the span's tokens, of the text encoded alone."""
    inputs = encoder.tokenizer([text], return_tensors="pt", return_offsets_mapping=True)
    offsets = inputs.pop("offset_mapping")[0].tolist()
    at = [n for n, (start, end) in enumerate(offsets) if start >= span[0] and end <= span[1] and start < end]
    with torch.no_grad():
        return torch.stack([layer[0, at].sum(dim=0) for layer in encoder.encode(dict(inputs)).hidden])


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_word_states_are_sums_of_sub_words(encoder, batch_size):
    words = [(TEXTS[text], span) for text, span in PLACES]
    encoder.model.train()
    states, present = encoder.word_states(words, max_length=128, batch_size=batch_size)
    assert encoder.model.training
    assert states.shape == (LAYERS + 1, len(words), encoder.hidden_size)
    assert present.all()
    assert not states.requires_grad
    encoder.model.eval()
    for number, word in enumerate(words):
        torch.testing.assert_close(states[:, number], by_hand(encoder, *word), atol=1e-5, rtol=1e-5)
    (states * torch.ones(1, requires_grad=True)).sum().backward()  # ordinary tensors, not inference's


def test_a_word_that_was_cut_off_is_not_there(encoder):
    text = TEXTS[0]
    offsets = encoder.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    end = len(offsets) - 1
    # One token less than it takes: the last sub-word of the last word, and with it the word, is cut off.
    states, present = encoder.word_states([(text, (25, 28)), (text, (4, 7))], max_length=end, batch_size=2)
    assert present.tolist() == [False, True]
    assert states[:, 0].isnan().all()
    assert states[:, 1].isfinite().all()
    nothing, none = encoder.word_states([(text, (25, 28)), (text, (3, 4))], max_length=3)
    assert none.tolist() == [False, False]
    assert nothing.isnan().all()


def test_no_words_have_no_states(encoder):
    states, present = encoder.word_states([], max_length=8)
    assert (states.shape, present.shape) == ((LAYERS + 1, 0, encoder.hidden_size), (0,))


def test_words_of_an_encoded_batch():
    hidden = torch.arange(24.0).reshape(2, 4, 3).requires_grad_()
    encoded = Encoded((hidden, hidden * 2), torch.ones(2, 4), "mean")
    words = encoded.words(1, [(1, [0, 2]), (0, [3])])
    assert words.tolist() == [[60, 64, 68], [18, 20, 22]]
    words.sum().backward()
    assert hidden.grad.sum(dim=2).tolist() == [[0, 0, 0, 6], [6, 0, 6, 0]]
    assert encoded.words(0, []).shape == (0, 3)
    assert message(encoded.words, 0, [(0, [1]), (1, [])]) == (
        "`places[1]` has no position; expected one at least: leave the word out."
    )


def test_word_states_refuse(tiny):
    encoder = load_encoder(str(tiny), tiny, ["a", "b"], seed=0)
    for start, end in ((0, 4), (-1, 2), (2, 2)):
        assert message(encoder.word_states, [("cat", (0, 3)), ("cat", (start, end))], max_length=8) == (
            f"`words[1]` is the characters {start} to {end} of a text of 3; expected 0 <= start < end <= length: "
            "give the place of a word in its own text."
        )
    assert message(encoder.word_states, [("cat", (0, 3))], max_length=513) == (
        "`max_length` is 513, but this encoder reads at most 512 tokens."
    )
    encoder.tokenizer = ByT5Tokenizer()
    assert message(encoder.word_states, [("cat", (0, 3))], max_length=8) == (
        f"The tokenizer of `{tiny}` does not return the offsets of its tokens, which words need: "
        "choose an encoder with a `tokenizer.json`."
    )


def test_words_that_are_the_same_find_each_other(tiny):
    """From a dictionary to retrieval: in an encoder that sees the same text twice, each word is its own translation."""
    encoder = load_encoder(str(tiny), tiny, ["a", "b"], seed=0)
    sentences = [
        pair(text, text, ("eng", "eng")) for text in ("the big cat", "two old birds", "dog sees tree", "red rose")
    ]
    words = dictionary_pairs(sentences, {word: [word] for word in WORDS["eng"]})
    assert len(words) == 10
    sides = [
        encoder.word_states([(word.source.text, word.source_span) for word in words], max_length=16),
        encoder.word_states([(word.target.text, word.target_span) for word in words], max_length=16),
    ]
    assert all(present.all() for _, present in sides)
    result = measure.retrieval(sides[0][0][-1], sides[1][0][-1])
    assert (result.weak_forward, result.weak_backward, result.strong_forward, result.strong_backward) == (1, 1, 1, 1)
