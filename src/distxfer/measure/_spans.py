"""How well spans are found: entities among tagged words, and answers in a text."""

import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from distxfer.errors import InputError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class EntityScores:
    """Precision, recall and F1 of the entities of many texts together (micro-averaged), each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def entities(tags: Sequence[str]) -> frozenset[tuple[str, int, int]]:
    """Return the entities among the IOB2 tags of a text's words: (type, first word, last word + 1).

    An entity of type X is a run of `B-X` or `I-X` and the `I-X` that follow it. A `B-X` always begins one; so does an
    `I-X` that follows no `B-X` or `I-X`, as in the conlleval script and the default mode of seqeval. All else is outside.

    Invariant under a renaming of the types. Reference: Tjong Kim Sang and De Meulder 2003, section 2.
    """
    return frozenset(_entities(tags))


def _entities(tags: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    begun: tuple[str, int] | None = None
    for place, tag in enumerate([*tags, "O"]):
        begins, kind = tag[:2] == "B-", tag[2:] if tag[:2] in ("B-", "I-") else None
        if begun and (begins or kind != begun[0]):
            yield begun[0], begun[1], place
            begun = None
        if kind is not None and begun is None:
            begun = kind, place


def entity_scores(labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> EntityScores:
    """Return precision, recall and F1 of the entities in n texts, each given as the IOB2 tags of its words.

    An entity is right where one of the same type has the same first and last word. With R right ones, P predicted and L
    in the labels: precision = R / P, recall = R / L, F1 = 2 R / (P + L); 0 where the denominator is 0.

    Invariant under one permutation of both. Raises: InputError for no texts, or texts of unequal lengths. Reference:
    seqeval in its default mode.
    """
    if not labels or [*map(len, labels)] != [*map(len, predictions)]:
        raise InputError(
            f"`labels` holds {len(labels)} texts and `predictions` {len(predictions)}; expected the tags of as many words in"
            " each, and at least one text: check which texts were scored."
        )
    right = predicted = expected = 0
    for gold_tags, predicted_tags in zip(labels, predictions, strict=True):
        gold, guessed = entities(gold_tags), entities(predicted_tags)
        right, predicted, expected = right + len(gold & guessed), predicted + len(guessed), expected + len(gold)
    either = predicted + expected
    return EntityScores(
        precision=right / predicted if predicted else 0.0,
        recall=right / expected if expected else 0.0,
        f1=2 * right / either if either else 0.0,
    )


def normalised_answer(text: str) -> str:
    """Return an answer as it is compared: in lower case, without ASCII punctuation and English articles, single blanks.

    Reference: the evaluation script of Rajpurkar et al. 2016 (SQuAD 1.1).
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answers: Sequence[str], prediction: str) -> float:
    """Return 1 where the prediction is one of the right answers, after `normalised_answer`, else 0.

    No `answers`: the question has none, and only an empty prediction is right. Reference: Rajpurkar et al. 2016, section 6.1;
    for questions without an answer Rajpurkar et al. 2018.
    """
    return float(normalised_answer(prediction) in {normalised_answer(answer) for answer in answers or [""]})


def answer_f1(answers: Sequence[str], prediction: str) -> float:
    """Return the largest F1 of the prediction with one of the right answers, in [0, 1].

    F1 = 2 S / (A + P) with A and P the words (parted by blanks, after `normalised_answer`) of answer and prediction as
    multisets and S the size of what they share; 1 where both are empty. In scripts without blanks a text is one word,
    and F1 is exact match. No `answers`: as in `exact_match`.

    Reference: Rajpurkar et al. 2016, section 6.1; for questions without an answer Rajpurkar et al. 2018.
    """
    return max(
        _overlap(normalised_answer(answer).split(), normalised_answer(prediction).split()) for answer in answers or [""]
    )


def _overlap(answer: Sequence[str], prediction: Sequence[str]) -> float:
    if not answer and not prediction:
        return 1.0
    return 2 * (Counter(answer) & Counter(prediction)).total() / (len(answer) + len(prediction))
