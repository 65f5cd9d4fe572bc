"""Helpers for messages: brevity, lists, counts with their nouns, and suggestions."""

import pytest

from distxfer.errors import InputError, brief, counted, did_you_mean, listed, reason


@pytest.mark.parametrize(
    ("count", "nouns", "expected"),
    [
        (1, "sentences", "1 sentence"),
        (0, "sentences", "0 sentences"),
        (1200, "ranges of words", "1,200 ranges of words"),
        (1, "ranges of words", "1 range of words"),
        (1, "further sentences in `eng` of units that have several", "1 further sentence in `eng` of units that have several"),
        (1, "lines that are blank on one side or both", "1 line that is blank on one side or both"),
        (1, "sentences whose words are all blanked (`_`)", "1 sentence whose words are all blanked (`_`)"),
        (1, "blanked words (`_`), read as they stand", "1 blanked word (`_`), read as it stands"),
    ],
)  # fmt: skip
def test_one_is_singular(count, nouns, expected):
    assert counted(count, nouns) == expected


@pytest.mark.parametrize(
    ("name", "suggestion"), [("tok", " Did you mean `tokens`?"), ("entites", " Did you mean `entities`?"), ("ner", "")]
)
def test_short_names_are_suggested_only_if_close(name, suggestion):
    assert did_you_mean(name, ("answers", "classification", "entities", "tokens")) == suggestion


def test_messages_are_brief():
    assert brief("`a` and `b`\nnext") == "`a` and `b`\nnext"
    assert brief("The label `a\x1b[31m` is odd.") == "The label `a\\x1b[31m` is odd."
    assert brief(f"`{'x' * 1000}` is no code.") == f"`{'x' * 300} ... (700 more characters)` is no code."
    assert brief("y" * 10_000) == f"{'y' * 1900} ... (8,100 more characters)"
    assert str(InputError("\ud800")) == "\\ud800"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", "ValueError"),
        ("\n", "ValueError"),
        ("It fails.\nHere.", "It fails"),
        ("Expected one of:\n a, b\n c", "Expected one of: a, b"),
    ],
)
def test_the_reason_of_an_error_is_its_first_line_or_its_name(message, expected):
    assert reason(ValueError(message)) == expected


def test_lists_are_cut_with_a_count():
    assert listed(["a", "b"]) == "a, b"
    assert listed([]) == ""
    numbers = listed(range(20_000))
    assert numbers.startswith("0, 1, 2, ")
    assert numbers.endswith(", ... (20,000 in all)")
    assert len(numbers) < 750
    assert listed(["x" * 5000, "y"]).endswith(" ... (4,700 more characters), ... (2 in all)")
