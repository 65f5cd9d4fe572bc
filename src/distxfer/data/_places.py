"""Which characters of a text stand in which token."""

from collections.abc import Sequence
from typing import Any, cast

from transformers import BatchEncoding, PreTrainedTokenizerBase

from distxfer.errors import InputError

Place = tuple[int, int, int]  # position of a token in its row, and the characters [start, end) that it stands for


def places(encoding: BatchEncoding, row: int = 0, sequence: int = 0) -> list[Place]:
    """Return where the tokens of a text stand: of the first (0) or the second (1) of a row's pair, without special tokens.

    SentencePiece's lone blank is left out: at the start of a text it claims the first character.
    """
    one = cast(Sequence[Any], encoding.encodings)[row]
    read = zip(one.tokens, one.sequence_ids, one.offsets, strict=True)
    return [
        (position, start, end)
        for position, (token, own, (start, end)) in enumerate(read)
        if own == sequence and start < end and token != "▁"
    ]


def read_whole(tokenizer: PreTrainedTokenizerBase, text: str, text_pair: str | None = None) -> BatchEncoding:
    """Return what the tokenizer makes of a text (or pair), however long it is.

    Raises InputError for a tokenizer that does not say where its tokens stand.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"The tokenizer of `{tokenizer.name_or_path}` does not say where in a text its tokens stand, which this kind of"
            " task needs. Choose an encoder with a `tokenizer.json`."
        )
    found: BatchEncoding = tokenizer([text], None if text_pair is None else [text_pair], verbose=False)
    return found


def length(encoding: BatchEncoding) -> int:
    """Return how many tokens the first row has, special ones included."""
    return len(encoding["input_ids"][0])
