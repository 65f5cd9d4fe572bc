"""Helpers for messages: counts with their nouns, and suggestions."""

import pytest

from distxfer.errors import counted, did_you_mean


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
