"""The task `slots`: the words of requests to a smart home, tagged with the lists that they were taken from."""

import re
from collections import Counter, defaultdict

import pytest

from distxfer.data import load_task, task_languages
from distxfer.measure import entity_scores

pytest.importorskip("home_assistant_intents")
TARGETS = ("deu", "zho", "fin", "kor")
PARTS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def task():
    return load_task("slots", "eng", TARGETS, target_labels=True)


def tagged(task, example):
    """The words of an example with their tags."""
    spans = zip(example.label.spans, example.label.tags, strict=True)
    return [(example.text[start:end], task.labels[tag]) for (start, end), tag in spans]


@pytest.mark.parametrize(
    ("language", "text", "tags"),
    [
        ("eng", "color temperature to warm white", "O O O B-COLOR I-COLOR"),
        ("eng", "set timer for 80-hour 74 minute", "O O O B-HOURS B-MINUTES O"),
        ("eng", "the color of my Spica to black", "O O O O B-NAME O B-COLOR"),
        ("zho", "将这里射灯的亮度13%", "O O O O O O O O B-BRIGHTNESS"),  # a word for each Chinese character
        ("kor", "Bellatrix에 있는 모든 불 종료", "B-PLACE O O O O"),  # with its suffix
    ],
)
def test_words_have_the_tags_of_their_lists(task, language, text, tags):
    (example,) = (example for example in task.examples("test", language) if example.text == text)
    assert " ".join(tag for _, tag in tagged(task, example)) == tags


def test_requests_are_those_of_intents_in_the_same_parts(task):
    intents = load_task("intents", "eng", TARGETS, target_labels=True)
    for part in PARTS:
        for language in ("eng", *TARGETS):
            requests = [(example.id, example.text) for example in task.examples(part, language)]
            assert requests == [(example.id, example.text) for example in intents.examples(part, language)]
    assert task.unlabelled == intents.unlabelled
    assert set(task_languages("intents")) - set(task_languages("slots")) == {"tha"}


def test_tags_are_iob2_and_words_the_whole_text(task):
    for part in PARTS:
        for language in ("eng", *TARGETS):
            for example in task.examples(part, language):
                words = tagged(task, example)
                assert "".join(word for word, _ in words) == re.sub(r"\s", "", example.text)
                for before, (_, tag) in zip(["O", *(tag for _, tag in words)], words, strict=False):
                    assert not tag.startswith("I-") or before[2:] == tag[2:]


def test_words_and_their_shape_do_not_give_the_slot(task):
    """The tag that a word, or else any word of its shape, most often has in training: F1 far from what context gives."""

    def form(word):
        return re.sub(r"\d+", "0", word)

    def shape(word):
        return re.sub(r"[a-z]+", "x", form(word)) if word.isascii() else ""

    counts: dict[str, Counter] = defaultdict(Counter)
    for example in task.examples("train", "eng"):
        for word, tag in tagged(task, example):
            counts[form(word)][tag] += 1
            counts[shape(word)][tag] += 1
    counts[""]["O"] += 1
    for language in ("eng", *TARGETS):
        texts = [tagged(task, example) for example in task.examples("test", language)]
        tags = [
            [
                counts[next((key for key in (form(word), shape(word)) if key in counts), "")].most_common(1)[0][0]
                for word, _ in text
            ]
            for text in texts
        ]
        assert entity_scores([[tag for _, tag in text] for text in texts], tags).f1 < 0.62, language
