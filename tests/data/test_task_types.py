"""The task types on their own: windows, targets, losses, readings and predictions, with known answers."""

import math
import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import save_tiny
from distxfer.data import Answer, Collator, Example, Tags, Task, task_type_named, task_type_names
from distxfer.encoders import load_tokenizer, model_folder
from distxfer.encoders._encoded import tokens_of_words
from helpers import message

ACROSS = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = ("cat", "the", "neko", "東京都", "ไทย", "extraordinarily", "1", "don't", ".", "Ünïcödé")
TYPES = ("token_classification", "named_entities", "question_answering", "retrieval")
TOKENS, ENTITIES, ANSWERS, RETRIEVAL = map(task_type_named, TYPES)


@pytest.fixture(scope="session")
def sentencepiece():
    """The tokenizer of XLM-R, by the bundled encoder: it puts a lone blank before what begins no piece."""
    return load_tokenizer(model_folder("bundled/multilingual-e5-small"))


@pytest.fixture(scope="session")
def tokenizers(sentencepiece, tiny, tmp_path_factory):
    """It, one of whole words, and one of bytes, several of which are one character."""
    return sentencepiece, load_tokenizer(tiny), load_tokenizer(save_tiny(tmp_path_factory.mktemp("q"), "qwen2"))


def spans(text):
    return tuple(match.span() for match in re.finditer(r"\S+", text))


def tagged(text, tags=None, key="a"):
    result = spans(text)
    return Example(key, "eng", text, None, Tags(result, tuple(tags or range(len(result)))))


def task(task_type, labels=(), train=(), **languages):
    return Task("t", labels, {"train": {"eng": train}, "test": languages}, task_type=task_type)


def batch(task_type, tokenizer, *examples, max_length=128):
    return Collator(tokenizer, max_length, task_type=task_type_named(task_type))(examples)


def predicted(task_type, task, readings, source="eng"):
    return task_type_named(task_type).predictions(task, task.splits["test"], readings, source)


def test_all_task_types_are_found_by_the_names_of_their_files():
    assert {name: task_type_named(name).metrics[0] for name in task_type_names()} == {
        "classification": "accuracy",
        "named_entities": "f1",
        "question_answering": "f1",
        "retrieval": "accuracy",
        "token_classification": "accuracy",
    }


def test_a_tag_stands_at_the_first_piece_of_its_word(sentencepiece):
    """Not at the lone blank, which claims the first character of the text."""
    result = batch("token_classification", sentencepiece, tagged("東京都 extraordinarily ."), tagged("cat"))
    tokens = [sentencepiece.convert_ids_to_tokens(ids) for ids in result.inputs["input_ids"].tolist()]
    assert tokens[0] == ["<s>", "▁", "東京都", "▁extraordinar", "ily", "▁", ".", "</s>"]
    assert result.labels.tolist() == [
        [-100, -100, 0, 1, -100, -100, 2, -100],
        [-100, 0, *6 * [-100]],
    ]


def test_words_that_share_a_token_or_have_none(sentencepiece):
    """The second of two words in one token learns nothing and is predicted as the first; what is cut off is `O`."""
    shared = Example("a", "jpn", "東京都", None, Tags(((0, 1), (1, 3)), (1, 2)))
    lost = tagged("cat the neko", (1, 2, 2))
    predictions = batch("token_classification", sentencepiece, shared, lost, max_length=4)
    assert predictions.labels.tolist() == [[-100, -100, 1, -100], [-100, 1, 2, -100]]
    output = torch.zeros(2, 4, 3)
    output[..., 1] = 1.0
    readings = TOKENS.readings(output, predictions)
    assert [reading.tolist() for reading in readings] == [[1, 1], [1, 1, -1]]
    tagging = task("token_classification", ("X", "O", "Y"), eng=(shared, lost))
    predictions = predicted("token_classification", tagging, {"eng": [[reading] for reading in readings]})["eng"]
    assert [(example.label, example.prediction) for example in predictions] == [("O Y", "O O"), ("O Y Y", "O O O")]
    without = task("token_classification", ("X", "Z", "Y"), eng=(lost,))
    assert predicted("token_classification", without, {"eng": [[readings[1]]]})["eng"][0].prediction == "Z Z X"


@ACROSS
@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=60), max_length=st.integers(12, 40))
def test_windows_hold_every_word_exactly_once(tokenizers, words, max_length):
    example = tagged(" ".join(words))
    for tokenizer in tokenizers:
        result = TOKENS.windows(example, tokenizer, max_length)
        assert [tag for example in result for tag in example.label.tags] == list(range(len(words)))
        read = [example.text[start:end] for example in result for start, end in example.label.spans]
        assert read == words
        assert len({window.id for window in result}) == len(result)
        for window in result:
            assert len(tokenizer(window.text)["input_ids"]) <= max_length or len(window.label.tags) == 1
        if len(tokenizer(example.text)["input_ids"]) <= max_length:
            assert result == (example,)


def test_windows_are_put_together_again(sentencepiece):
    example = tagged(" ".join(WORDS * 6), [place % 2 for place in range(len(WORDS) * 6)])
    windows = TOKENS.windows(example, sentencepiece, 16)
    assert len(windows) > 5
    result = batch("token_classification", sentencepiece, *windows, max_length=16)
    output = torch.zeros(*result.labels.shape, 2)
    output[..., 1] = (result.labels == 1) * 2.0 - 1  # the head says what is right
    readings = TOKENS.readings(output, result)
    tagging = task("token_classification", ("A", "B"), eng=(example,))
    (prediction,) = predicted("token_classification", tagging, {"eng": [list(readings)]})["eng"]
    assert prediction.prediction == prediction.label == " ".join("AB"[place % 2] for place in range(len(WORDS) * 6))


def test_the_loss_of_words_is_a_sum_over_those_that_have_a_token():
    output = torch.tensor([[[0.0, 0.0], [math.log(3), 0.0], [9.0, 1.0]]])
    total, count = TOKENS.loss(output, torch.tensor([[1, 0, -100]]))
    assert count == 2
    assert float(total) == pytest.approx(math.log(2) + math.log(4 / 3))
    total, count = TOKENS.loss(output, torch.full((1, 3), -100))
    assert (float(total), count) == (0, 0)


def test_words_are_scored_over_all_texts_and_entities_whole():
    labels = ("O", "B-LOC", "I-LOC")
    texts = (tagged("a b c", (1, 2, 0), "1"), tagged("d", (0,), "2"))
    readings = {"eng": [[torch.tensor([1, 2, 0])], [torch.tensor([1])]]}
    for task_type, expected in {
        "token_classification": {"accuracy": 3 / 4, "macro_f1": (2 / 3 + 2 / 3 + 1) / 3},
        "named_entities": {"f1": 2 / 3, "precision": 1 / 2, "recall": 1.0, "accuracy": 3 / 4, "macro_f1": 2 / 3},
    }.items():
        labelled = task(task_type, labels, eng=texts)
        predictions = predicted(task_type, labelled, readings)["eng"]
        assert task_type_named(task_type).scores(labelled, texts, predictions) == pytest.approx(expected)
        assert tuple(expected) == task_type_named(task_type).metrics


def test_one_tag_for_all_words_is_a_collapse():
    texts = tuple(tagged("a b c d", (0, 0, 1, 0), str(key)) for key in range(20))
    tagging = task("token_classification", ("X", "Y"), eng=texts)
    for tags, collapsed in (((0, 0, 0, 0), True), ((0, 0, 1, 0), False)):
        predictions = predicted("token_classification", tagging, {"eng": [[torch.tensor(tags)]] * 20})["eng"]
        assert TOKENS.collapsed(texts, predictions) is collapsed


def test_tags_that_do_not_fit_are_refused():
    check = ENTITIES.check
    check(task("named_entities", ("O", "B-LOC", "I-LOC")), "eng")
    assert message(check, task("named_entities", ("O", "S-LOC")), "eng").startswith(
        "The task `t` has the tag `S-LOC`; the task type `named_entities` expects IOB2"
    )
    assert "the tag `a b`" in message(TOKENS.check, task("token_classification", ("a b",)), "eng")
    assert "has no word labels" in message(TOKENS.check, task("token_classification"), "eng")


def test_words_of_sentencepiece(sentencepiece):
    """A blank belongs to the token after it, and alone claims the first character of a text."""
    sentence, words = "The cat is sleeping unimaginably deeply.", ("cat", "sleeping", "unimaginably", "deeply")
    places = [[(sentence.index(word), sentence.index(word) + len(word)) for word in words], [(0, 1)]]
    inputs, positions_of = tokens_of_words(sentencepiece, [sentence, "猫がいる"], places, 32)
    tokens = [sentencepiece.convert_ids_to_tokens(row) for row in inputs["input_ids"].tolist()]
    spelled = ["".join(tokens[row][position] for position in positions) for row, positions in positions_of]
    assert spelled == [*(f"▁{word}" for word in words), "猫"]
    assert len(positions_of[2][1]) > 2
    assert tokens[1][1:3] == ["▁", "猫"]


# Answers.


def asked(context, *answers, key="q", question="the cat ?"):
    result = tuple(Answer(answer, context.index(answer)) for answer in answers)
    return Example(key, "eng", question, context, result)


def test_the_answer_is_marked_at_its_first_and_last_token(sentencepiece):
    """Everything in the text and token 0 is a candidate: neither question nor padding, nor the lone blank."""
    examples = asked("東京都 extraordinarily big .", "extraordinarily"), asked("cat", key="r")
    result = batch("question_answering", sentencepiece, *examples)
    tokens = sentencepiece.convert_ids_to_tokens(result.inputs["input_ids"][0].tolist())
    start, end = tokens.index("▁extraordinar"), tokens.index("ily")
    text = range(tokens.index("東京都"), len(tokens) - 1)
    assert {place for place, (target, _) in enumerate(result.labels[0].tolist()) if target != -100} == {0, *text} - {
        place for place, token in enumerate(tokens) if token == "▁"
    }
    assert result.labels[0].argmax(dim=0).tolist() == [start, end]
    assert result.labels[1].argmax(dim=0).tolist() == [0, 0]
    assert result.labels[1].eq(1).sum() == 2


def test_the_loss_of_answers_does_not_depend_on_padding(sentencepiece):
    example = asked("neko big dog", "big")
    alone = batch("question_answering", sentencepiece, example)
    beside = batch("question_answering", sentencepiece, example, asked("dog " * 30, key="long"))
    output = torch.randn(2, beside.labels.shape[1], 2, generator=torch.Generator().manual_seed(0))
    width = alone.labels.shape[1]
    total, count = ANSWERS.loss(output[:1, :width], alone.labels)
    again, _ = ANSWERS.loss(output[:1], beside.labels[:1])
    assert count == 1
    assert float(total) == pytest.approx(float(again))
    even, _ = ANSWERS.loss(torch.zeros(1, width, 2), alone.labels)
    assert float(even) == pytest.approx(math.log(4))  # three words and none


@ACROSS
@given(
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=80),
    max_length=st.integers(24, 48),
    first=st.integers(0, 79),
    more=st.integers(0, 1),
)
def test_windows_of_a_text_lose_no_answer_that_fits(tokenizers, words, max_length, first, more):
    context, first = " ".join(words), min(first, len(words) - 1)
    at = [span for word, span in enumerate(spans(context)) if first <= word <= first + more]
    answer = Answer(context[at[0][0] : at[-1][1]], at[0][0])
    example = Example("q", "eng", "the cat ?", context, (answer,))
    for tokenizer in tokenizers:
        result = ANSWERS.windows(example, tokenizer, max_length)
        room = max_length - len(tokenizer("the cat ?", "")["input_ids"])
        for window in result:
            assert window.text_pair in context
            assert len(tokenizer(window.text, window.text_pair)["input_ids"]) <= max_length
            for span_answer in window.label:
                assert window.text_pair[span_answer.start : span_answer.start + len(span_answer.text)] == answer.text
        if len(tokenizer(answer.text, add_special_tokens=False)["input_ids"]) <= room // 2 - 2:
            assert any(example.label for example in result)
        seen = "".join(example.text_pair for example in result)
        assert set("".join(words)) <= set(seen)
        assert len({window.id for window in result}) == len(result)


def test_a_question_that_is_too_long_is_cut_and_its_text_is_read(sentencepiece):
    example = asked("neko " * 30 + "dog", "dog", question="cat " * 100)
    result = ANSWERS.windows(example, sentencepiece, 32)
    assert {len(sentencepiece(example.text)["input_ids"]) for example in result} == {16 + 2}
    assert result[-1].label == (Answer("dog", len(result[-1].text_pair) - 3),)


def test_the_best_answer_of_all_windows_is_predicted_in_its_own_characters(sentencepiece):
    example = asked("neko  Big-dog , the cat runs", "Big-dog")
    result = batch("question_answering", sentencepiece, example, asked("the cat", key="other"))
    output = torch.zeros(*result.labels.shape)
    right = result.labels[0].argmax(dim=0)
    output[0, right[0], 0] = output[0, right[1], 1] = 3.0
    output[0, 2, 0] = 9.0  # in the question
    output[1, 0] = 1.0  # no answer
    readings = ANSWERS.readings(output, result)
    assert readings[0] == [(6.0, "Big-dog")]
    assert readings[1][0][0] == -2.0
    examples = {"eng": (example, asked("the cat", key="other"))}
    answering = Task("t", (), {"test": examples}, task_type="question_answering")
    predictions = ANSWERS.predictions(answering, examples, {"eng": [[readings[1], readings[0]], [readings[1]]]}, "eng")[
        "eng"
    ]
    assert (predictions[0].label, predictions[0].prediction) == ("Big-dog", "Big-dog")
    assert predictions[1].label == ""
    assert predictions[1].prediction != ""  # nobody has taught that there may be none
    taught = Task("t", (), {"train": {"eng": (asked("cat"),)}, "test": examples}, task_type="question_answering")
    predictions = ANSWERS.predictions(taught, examples, {"eng": [[readings[1], readings[0]], [readings[1]]]}, "eng")[
        "eng"
    ]
    assert [prediction.prediction for prediction in predictions] == ["Big-dog", ""]
    assert ANSWERS.scores(taught, examples["eng"], predictions) == {"f1": 1.0, "exact_match": 1.0}


def test_an_answer_has_at_most_thirty_tokens(tiny):
    tokenizer = load_tokenizer(tiny)
    result = batch("question_answering", tokenizer, asked("cat " * 50))
    output = torch.zeros(*result.labels.shape)
    first = int(result.labels[0, 1:, 0].eq(0).nonzero()[0]) + 1
    output[0, first, 0] = output[0, -2, 1] = 5.0  # the whole text
    ((score, text),) = ANSWERS.readings(output, result)[0]
    assert score == 5.0
    assert len(text.split()) <= 30


def test_an_answer_that_is_not_there_is_refused():
    wrong = Example("q7", "eng", "?", "the cat", (Answer("cat", 3),))
    assert message(ANSWERS.check, task("question_answering", eng=(wrong,)), "eng") == (
        "The answer `cat` to the question `q7` of `eng` in the task `t` is not at character 3 of its text, where there is"
        " ` ca`. Count Unicode code points from 0."
    )


def test_the_same_answer_to_all_is_a_collapse():
    texts = tuple(asked("one two three", word, key=str(place)) for place, word in enumerate(["one", "one", "two"] * 10))
    answering = Task("t", (), {"test": {"eng": texts}}, task_type="question_answering")
    for answers, collapsed in ((["one"] * 30, True), (["one", "one", "two"] * 10, False)):
        predictions = predicted("question_answering", answering, {"eng": [[[(1.0, text)]] for text in answers]})["eng"]
        assert ANSWERS.collapsed(texts, predictions) is collapsed


# Retrieval.


def test_a_translation_is_looked_for_among_those_that_the_language_has():
    def sentences(language, keys):
        return tuple(Example(key, language, key) for key in keys)

    retrieving = task("retrieval", eng=sentences("eng", "abcd"), deu=sentences("deu", "ba"), jpn=sentences("jpn", "dx"))
    states = {
        "eng": [[1.0, 0.0], [0.0, 1.0], [3.0, 3.0], [-1.0, 0.0]],
        "deu": [[0.4, 0.6], [0.1, 5.0]],  # `c` is nearer to the first, but has no translation into German
        "jpn": [[-2.0, 1.0], [-1.0, 0.0]],  # `x` has none into English: it is not found
    }
    result = predicted(
        "retrieval", retrieving, {key: [[torch.tensor(row)] for row in rows] for key, rows in states.items()}
    )
    assert [(example.label, example.prediction) for example in result["deu"]] == [("b", "b"), ("a", "b")]
    assert [(example.label, example.prediction) for example in result["jpn"]] == [("d", "d"), ("x", "d")]
    scores = {key: RETRIEVAL.scores(retrieving, retrieving.examples("test", key), result[key]) for key in result}
    assert scores == {"eng": {"accuracy": 1.0}, "deu": {"accuracy": 0.5}, "jpn": {"accuracy": 0.5}}
    assert not RETRIEVAL.collapsed(retrieving.examples("test", "eng"), result["eng"])


def test_ids_that_translate_nothing_or_occur_twice_are_refused():
    check = RETRIEVAL.check
    alone = task("retrieval", eng=(Example("a", "eng", "x"),), deu=(Example("b", "deu", "y"),))
    assert message(check, alone, "eng").startswith(
        "No sentence in `test` of `deu` in the task `t` has the id of a sentence in"
    )
    twice = task("retrieval", eng=(Example("a", "eng", "x"),), deu=2 * (Example("a", "deu", "y"),))
    assert message(check, twice, "eng").startswith("The id `a` occurs 2 times in `test` of `deu` in the task `t`.")


def test_a_tokenizer_that_cannot_say_where_its_tokens_stand_is_refused(sentencepiece):
    class Slow:
        is_fast = False
        name_or_path = "slow"

    for task_type, example in ((TOKENS, tagged("a b")), (ANSWERS, asked("cat", "cat"))):
        assert message(task_type.windows, example, Slow(), 8) == (
            "The tokenizer of `slow` gives no character offsets, which this task type needs. Choose an encoder with a"
            " `tokenizer.json`."
        )
