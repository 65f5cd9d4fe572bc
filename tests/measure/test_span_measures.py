"""Entities and answers: known answers, and seqeval as the oracle; the answers' are worked out by SQuAD's definition."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distxfer.measure import (
    answer_f1,
    class_ratios,
    entities,
    entity_counts,
    entity_scores,
    exact_match,
    normalised_answer,
)
from helpers import message

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from seqeval.metrics import f1_score, precision_score, recall_score
    from seqeval.metrics.sequence_labeling import get_entities

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@st.composite
def tagged(draw):
    """The tags of some texts and of as many words predicted."""
    sizes = draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))

    def drawn():
        return [draw(st.lists(st.sampled_from(TAGS), min_size=size, max_size=size)) for size in sizes]

    return drawn(), drawn()


@given(tagged())
def test_entities_and_their_scores_are_those_of_seqeval(texts):
    labels, predictions = texts
    for tags in (*labels, *predictions):
        assert entities(tags) == {(kind, first, last + 1) for kind, first, last in get_entities(tags)}
    scores = entity_scores(labels, predictions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of denominators of 0
        expected = [score(labels, predictions) for score in (precision_score, recall_score, f1_score)]
        macro = f1_score(labels, predictions, average="macro", zero_division=0)
    assert [scores.precision, scores.recall, scores.f1] == pytest.approx(expected)
    types = sorted({kind for text in (*labels, *predictions) for kind, _, _ in entities(text)})
    if types:
        counts = entity_counts(labels, predictions, types)
        assert class_ratios(counts, "macro_f1").score == pytest.approx(macro)


def test_an_entity_counts_whole():
    """One of two is right; the other is found with a word too few, and something is found where nothing is."""
    labels = [["B-LOC", "I-LOC", "O"], ["O", "B-PER", "I-PER", "O"]]
    scores = entity_scores(labels, [["B-LOC", "I-LOC", "O"], ["O", "B-PER", "O", "B-LOC"]])
    assert (scores.precision, scores.recall, scores.f1) == (1 / 3, 1 / 2, 2 / 5)


def test_an_inside_tag_that_continues_nothing_begins_an_entity():
    assert entities(["I-LOC", "I-LOC", "I-PER", "B-PER"]) == {("LOC", 0, 2), ("PER", 2, 3), ("PER", 3, 4)}


def test_texts_of_unequal_lengths_are_refused():
    for labels, predictions in (([["O"]], [["O", "O"]]), ([["O"]], []), ([], [])):
        assert "expected the tags of as many words in each" in message(entity_scores, labels, predictions)


@pytest.mark.parametrize(
    ("answer", "prediction", "exact", "f1"),
    [
        ("the Denver Broncos", "Denver Broncos!", 1.0, 1.0),  # articles and punctuation are no difference
        ("Denver Broncos", "Broncos", 0.0, 2 / 3),
        ("a b b c", "b b d", 0.0, 2 * 2 / (3 + 3)),  # as multisets, and `a` is an article
        ("U.S.", "us", 1.0, 1.0),
        ("1999", "in 1999", 0.0, 2 / 3),
        ("東京都", "東京", 0.0, 0.0),  # one word, in a script without blanks
        ("cat", "", 0.0, 0.0),
    ],
)
def test_answers_compare_as_in_squad(answer, prediction, exact, f1):
    assert exact_match([answer], prediction) == exact
    assert answer_f1([answer], prediction) == pytest.approx(f1)


def test_the_answer_that_fits_best_counts():
    assert answer_f1(["two words", "word"], "word") == exact_match(["two words", "word"], "word") == 1
    assert answer_f1(["one two three", "two three four five"], "one two") == pytest.approx(4 / 5)


def test_a_question_without_an_answer_wants_none():
    assert (exact_match([], ""), answer_f1([], "")) == (1, 1)
    assert (exact_match([], "something"), answer_f1([], "something")) == (0, 0)


def test_what_is_left_of_an_answer():
    assert normalised_answer("  The  quick-brown\nfox, an Ode ") == "quickbrown fox ode"
    assert normalised_answer("athena") == "athena"
