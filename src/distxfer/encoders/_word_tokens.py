"""The tokens of words in a text."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor
from transformers import PreTrainedTokenizerBase


def tokens_of_words(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], spans: list[list[tuple[int, int]]], max_length: int
) -> tuple[dict[str, Tensor], list[tuple[int, list[int]]]]:
    """Return the padded batch and, for each span, its text's number and its tokens' positions: none if any was cut."""
    settings = {"return_offsets_mapping": True, "verbose": False}
    uncut = tokenizer(texts, **settings)
    batch = tokenizer(texts, truncation=True, max_length=max_length, padding=True, return_tensors="pt", **settings)
    offsets = batch.pop("offset_mapping").tolist()
    places = []
    for row, ids in enumerate(batch["input_ids"].tolist()):
        all_tokens = (
            cast(list[str], tokenizer.convert_ids_to_tokens(uncut["input_ids"][row])),
            uncut["offset_mapping"][row],
        )
        kept_tokens = cast(list[str], tokenizer.convert_ids_to_tokens(ids)), offsets[row]
        for span in spans[row]:
            positions = _overlapping(*kept_tokens, span)
            places.append((row, positions if len(positions) == len(_overlapping(*all_tokens, span)) else []))
    return dict(batch), places


def _overlapping(tokens: list[str], offsets: Sequence[Sequence[int]], span: tuple[int, int]) -> list[int]:
    """Return the positions of the tokens that share a character with the span.

    SentencePiece's lone blank is not part of a word, although at the start of a text it covers the first character.
    """
    return [
        position
        for position, (token, (start, end)) in enumerate(zip(tokens, offsets, strict=True))
        if max(start, span[0]) < min(end, span[1]) and token != "▁"
    ]
