"""Consistency of predictions under another segmentation into sub-words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
from pydantic import Field

from distxfer.errors import InputError
from distxfer.interventions._contract import BoundIntervention, Languages, Step, Term
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.data import Batch
    from distxfer.encoders import Encoder

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # the name of a single byte, which does not spell it


@dataclass(frozen=True)
class SubwordSampling:
    """Add `weight` times KL(p(x) || p(A(x))), per example of the task, with A(x) the text x in another segmentation.

    KL(p || q) = sum_c p_c (log p_c - log q_c), in nats, range [0, inf). Each sub-word is replaced with probability `share`
    by two of the vocabulary that spell the same, any such two with equal chances, and each of these in turn with the
    same probability. p(x), which has the label's loss, is a constant here: it teaches p(A(x)). One more forward pass, of
    the texts in which a sub-word was replaced; the others are 0.

    The mean KL is logged as `term/NAME/kl`, the share of texts with other sub-words as `term/NAME/altered`.

    Reference: example consistency of xTune (Zheng et al. 2021) by subword sampling, which samples from a unigram
    language model (Kudo 2018) and has both directions of the KL; splits work with any vocabulary of sub-words.
    """

    weight: Annotated[float, Field(description="factor of the divergence", ge=0)] = 5.0
    share: Annotated[float, Field(description="probability that a sub-word is split", gt=0, le=1)] = 0.2

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the divergence as a term; no parameter is frozen."""
        from distxfer.interventions._losses import check_predicts_texts, self_consistency

        check_predicts_texts(encoder)
        splitter = Splitter(encoder)

        def term(step: Step) -> Term:
            batch, altered = step.batch, []
            for row, is_token in enumerate(batch.inputs["attention_mask"].bool()):
                tokens = batch.inputs["input_ids"][row][is_token].tolist()
                parts = splitter.resegment(tokens, self.share, encoder.max_tokens, step.random)
                altered.append(parts)
            rows = [row for row, parts in enumerate(altered) if any(len(ids) > 1 for ids in parts)]
            return self_consistency(
                step, rows, lambda rows: _batch(batch, {row: altered[row] for row in rows}, splitter.padding)
            )

        return BoundIntervention(term=term, weight=self.weight, needs=frozenset({"predictions", "vocabulary"}))


class Splitter:
    """A vocabulary of sub-words, with its marks for the inside (`##`) and the end (`</w>`) of a word.

    A mark at the start of a word (of SentencePiece or byte-level BPE) is a character like any other.
    """

    def __init__(self, encoder: Encoder) -> None:
        """Read the vocabulary of an encoder. Raises InputError where that has no sub-words to be split."""
        from tokenizers import models
        from transformers import PreTrainedTokenizerFast

        tokenizer = encoder.tokenizer
        model = tokenizer.backend_tokenizer.model if isinstance(tokenizer, PreTrainedTokenizerFast) else None
        inside = model.continuing_subword_prefix if isinstance(model, models.WordPiece | models.BPE) else None
        ending = model.end_of_word_suffix if isinstance(model, models.BPE) else None
        self.inside, self.ending = inside or "", ending or ""
        self.padding = cast(int, tokenizer.pad_token_id)
        self.vocabulary: dict[str, int] = tokenizer.get_vocab()
        self.names = {number: name for name, number in self.vocabulary.items()}
        special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        self.unsplittable = special | {*filter(_BYTE.fullmatch, self.vocabulary)}
        is_supported = isinstance(model, models.WordPiece | models.BPE | models.Unigram)
        if not is_supported or not any(self.options(token) for token in self.vocabulary):
            raise InputError(
                f"The tokenizer of `{encoder.name}` has no sub-words (WordPiece, BPE or Unigram) that can be split, so no"
                " text has another segmentation. Choose an encoder whose tokenizer has."
            )

    def options(self, token: str) -> list[tuple[str, str]]:
        """Return all pairs of sub-words that together spell this one."""
        if token in self.unsplittable:
            return []
        start = len(self.inside) if token.startswith(self.inside) else 0
        stop = len(token) - (len(self.ending) if token.endswith(self.ending) else 0)
        splits = [(token[:cut], f"{self.inside}{token[cut:]}") for cut in range(start + 1, stop)]
        return [
            pair for pair in splits if all(part in self.vocabulary and part not in self.unsplittable for part in pair)
        ]

    def split(self, token: str, share: float, random: np.random.Generator) -> list[str]:
        """Return the token or, with probability `share`, the splits of two sub-words that spell it."""
        options = self.options(token) if random.random() < share else []
        if not options:
            return [token]
        first, second = options[int(random.integers(len(options)))]
        return [*self.split(first, share, random), *self.split(second, share, random)]

    def resegment(self, ids: Sequence[int], share: float, limit: int, random: np.random.Generator) -> list[list[int]]:
        """Return the sub-words that replace each sub-word of a text, at most `limit` in all."""
        room, replaced = limit - len(ids), []
        for token in ids:
            parts = [self.vocabulary[part] for part in self.split(self.names[token], share, random)]
            replaced.append(parts if len(parts) - 1 <= room else [token])
            room -= len(replaced[-1]) - 1
        return replaced


def _batch(batch: Batch, altered: Mapping[int, list[list[int]]], padding: int) -> Batch:
    """Return rows with their new sub-words; other inputs of a sub-word are repeated for its parts."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from distxfer.data import Batch

    inputs = {}
    for name, tensor in batch.inputs.items():
        rows = []
        for row, parts in altered.items():
            is_token = batch.inputs["attention_mask"][row].bool()
            counts = torch.tensor([len(ids) for ids in parts], device=tensor.device)
            flat = torch.tensor([part for ids in parts for part in ids], device=tensor.device)
            rows.append(flat if name == "input_ids" else tensor[row][is_token].repeat_interleave(counts))
        inputs[name] = pad_sequence(rows, batch_first=True, padding_value=padding if name == "input_ids" else 0)
    return Batch(tuple(batch.examples[row] for row in altered), inputs, None)
