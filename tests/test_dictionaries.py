"""The dictionaries of the study's `code_switch`: how they are made, and that they hold nothing but the parallel text."""

from pathlib import Path

import pytest
import torch

from distxfer import load_recipe
from distxfer.data import Example, Pair, load_parallel, read_dictionary_folder, task_languages
from studies.emoji import dictionaries

ROOT = Path(__file__).parents[1]
TARGETS = tuple(language for language in task_languages("emoji") if language != "eng")
MEANINGS = {
    "cat": 0,
    "katze": 0,
    "猫": 0,
    "red": 1,
    "rote": 1,
    "rot": 1,
    "赤": 1,
    "い": 1,
    "flag": 2,
    "flagge": 2,
    "ok": 3,
    "の": 4,
}


class Reader:
    """An encoder whose states of words are known: one direction a meaning, the same at every layer."""

    max_tokens = 32

    def word_states(self, words, *, max_length):
        assert max_length == self.max_tokens
        states = torch.zeros(9, len(words), 5)
        for number, (text, (start, end)) in enumerate(words):
            states[:, number, MEANINGS[text[start:end].casefold()]] = 2.0
        return states, torch.ones(len(words), dtype=torch.bool)


def pairs(language: str, *texts: tuple[str, str]) -> list[Pair]:
    return [
        Pair(Example(str(number), "eng", source), Example(str(number), language, target))
        for number, (source, target) in enumerate(texts)
    ]


def test_a_word_has_the_translations_that_it_is_linked_with_most_often():
    result = dictionaries.dictionary(
        Reader(), pairs("deu", ("red Cat", "rote Katze"), ("red flag", "rote Flagge"), ("red", "rot"), ("cat", "Katze"))
    )
    assert result == {"cat": ["katze"], "flag": ["flagge"], "red": ["rote"]}
    dictionary = dictionaries.dictionary(Reader(), pairs("deu", ("red", "rote"), ("red", "rot")))
    assert dictionary == {"red": ["rot", "rote"]}


def test_a_word_that_is_spelled_as_its_translation_is_left_out():
    assert dictionaries.dictionary(Reader(), pairs("deu", ("OK cat", "ok Katze"))) == {"cat": ["katze"]}


def test_characters_that_touch_and_mean_the_same_are_one_word():
    result = dictionaries.dictionary(Reader(), pairs("jpn", ("red cat", "赤い猫")))
    assert result == {"cat": ["猫"], "red": ["赤い"]}
    assert dictionaries.dictionary(Reader(), pairs("jpn", ("red", "赤 い"))) == {"red": ["赤"]}


@pytest.mark.parametrize(
    ("place", "nearest", "wanted"),
    [(0, [7, 7, 7], (0, 2)), (1, [3, 7, 3], (1, 1)), (2, [3, 7, 7], (1, 2)), (1, [7, 7, 3], (0, 1))],
)
def test_a_run_ends_where_another_word_is_nearer(place, nearest, wanted):
    assert dictionaries.run_around(place, nearest, [(0, 1), (1, 2), (2, 3)]) == wanted


def test_a_word_that_is_not_read_stops_the_script():
    reader = Reader()
    reader.word_states = lambda words, max_length: (torch.zeros(9, 1, 5), torch.tensor([False]))
    with pytest.raises(SystemExit, match="does not read 1 of the words"):
        dictionaries.dictionary(reader, pairs("deu", ("cat", "Katze")))


def test_the_recipe_is_the_shipped_one_with_what_is_made_of_the_parallel_text_alone():
    """Neither the labelled text nor that of the test part is read: each word stands in the parallel part."""
    own, shipped = load_recipe(str(ROOT / "studies/emoji/recipes/code_switch.toml")), load_recipe("code_switch")
    (ours, theirs) = (recipe.interventions["code_switch"] for recipe in (own, shipped))
    assert ROOT / ours.dictionary == dictionaries.FOLDER
    assert (ours.weight, ours.share, ours.weighting) == (theirs.weight, theirs.share, theirs.weighting)
    folder = read_dictionary_folder(dictionaries.FOLDER, TARGETS)
    assert {path.stem for path in dictionaries.FOLDER.iterdir()} == set(TARGETS) == folder.keys()
    text = load_parallel("emoji", "eng", TARGETS).train
    for language, words in folder.items():
        source, target = (
            "\n".join(getattr(example, side).text.casefold() for example in text[language])
            for side in ("source", "target")
        )
        assert len(words) > 400
        assert all(
            word in source and all(translation in target for translation in translations)
            for word, translations in words.items()
        )
