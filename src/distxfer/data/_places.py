"""Maps tokens to the characters of a text."""

from collections.abc import Sequence
from typing import Any, cast

from transformers import BatchEncoding, PreTrainedTokenizerBase

from distxfer.errors import InputError

Place = tuple[int, int, int]  # a token's position in its row, and its characters [start, end) in the text


def places(encoding: BatchEncoding, row: int = 0, sequence: int = 0) -> list[Place]:
    """Return position and characters of the tokens of a row's first (0) or second (1) text, without special tokens.

    SentencePiece's lone `▁` is left out: at the start of a text it claims the first character.
    """
    row_encoding = cast(Sequence[Any], encoding.encodings)[row]
    tokens = zip(row_encoding.tokens, row_encoding.sequence_ids, row_encoding.offsets, strict=True)
    return [
        (position, start, end)
        for position, (token, token_sequence, (start, end)) in enumerate(tokens)
        if token_sequence == sequence and start < end and token != "▁"
    ]


def read_whole(tokenizer: PreTrainedTokenizerBase, text: str, text_pair: str | None = None) -> BatchEncoding:
    """Return the encoding of a text (or pair) without truncation.

    Raises InputError for a tokenizer without character offsets.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"The tokenizer of `{tokenizer.name_or_path}` gives no character offsets, which this task type needs. Choose an"
            " encoder with a `tokenizer.json`."
        )
    encoding: BatchEncoding = tokenizer([text], None if text_pair is None else [text_pair], verbose=False)
    return encoding


def length(encoding: BatchEncoding) -> int:
    """Return the number of tokens in the first row, including special tokens."""
    return len(encoding["input_ids"][0])
