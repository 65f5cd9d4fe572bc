"""Checks of a run before training, given its data and its encoder."""

from collections.abc import Sequence

from distxfer.config.recipe import Recipe
from distxfer.data import Example, Pair, Task
from distxfer.encoders import Encoder
from distxfer.errors import InputError, listed
from distxfer.interventions import CKA_ROWS, BoundIntervention


def check_pooling(recipe: Recipe, encoder: Encoder) -> None:
    """Raise InputError if the pooling is a default (or guessed from the model's name) that does not fit the encoder."""
    pooling = recipe.model.pooling
    if recipe.chooses_pooling or encoder.causal == (pooling == "last"):
        return
    fit = "last" if encoder.causal else "mean"
    reason = (
        "the encoder reads from left to right, so only the last token has seen the whole text"
        if encoder.causal
        else "the encoder reads in both directions, so no single token represents the text"
    )
    raise InputError(
        f"`model.pooling` = `{pooling}` is a default ({recipe.values['model.pooling'].origin}), and {reason}. Set"
        f" `model.pooling={fit}`, or `model.pooling={pooling}` to keep it anyway."
    )


def few_texts(task: Task) -> list[str]:
    """Return a note on the languages with too few distinct test texts for a good estimate of drift."""
    numbers = {key: texts_that_differ(group, CKA_ROWS) for key, group in task.splits.get("test", {}).items()}
    few = [f"`{key}` ({number})" for key, number in numbers.items() if number < CKA_ROWS]
    if not few:
        return []
    return [
        f"The test part has fewer than {CKA_ROWS} different texts in {listed(few)}, so drift (1 - CKA) is a poor estimate"
        " there: at 4 texts CKA is biased by half."
    ]


def texts_that_differ(examples: Sequence[Example], fewest: int) -> int:
    """Return the number of texts or, if a batch needs `fewest` > 1 distinct texts, the number of distinct ones up to that."""
    if fewest <= 1:
        return len(examples)
    seen: set[tuple[str, str | None]] = set()
    for example in examples:
        seen.add((example.text, example.text_pair))
        if len(seen) == fewest:
            break
    return len(seen)


def pairs_that_differ(pairs: Sequence[Pair], bound: BoundIntervention) -> int:
    """Return `texts_that_differ` for the side of the pairs that has fewer."""
    sides = [pair.source for pair in pairs], [pair.target for pair in pairs]
    return min(texts_that_differ(side, bound.min_distinct_texts) for side in sides)
