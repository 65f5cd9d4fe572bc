"""Predict the same of a text whose words are cut into other sub-words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
from pydantic import Field

from distxfer.errors import InputError
from distxfer.interventions._contract import Bound, Languages, Step, Term
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.data import Batch
    from distxfer.encoders import Encoder

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a byte of a character that has no piece; its name is not what it spells


@dataclass(frozen=True)
class SubwordSampling:
    """Add `weight` times KL(p(x) || p(A(x))), per example of the task, with A(x) the text x in other sub-words.

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

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> Bound:
        """Return the divergence as a term; no parameter is kept from training."""
        from distxfer.interventions._consistency import check_predicts_texts, taught_by_the_original

        check_predicts_texts(encoder)
        splitter = splitter_of(encoder)

        def term(step: Step) -> Term:
            batch, altered = step.batch, []
            for row, there in enumerate(batch.inputs["attention_mask"].bool()):
                ids = batch.inputs["input_ids"][row][there].tolist()
                parts = splitter.resegment(ids, self.share, encoder.max_tokens, step.random)
                altered.append(parts)
            rows = [row for row, parts in enumerate(altered) if any(len(some) > 1 for some in parts)]
            return taught_by_the_original(
                step, rows, lambda rows: _batch(batch, {row: altered[row] for row in rows}, splitter.padding)
            )

        return Bound(term=term, weight=self.weight, needs=frozenset({"predictions"}))


@dataclass(frozen=True)
class Splitter:
    """A vocabulary of sub-words, and how it writes that one goes on within a word (`##`) or ends it (`</w>`).

    A mark of a word's beginning (SentencePiece's, or that of byte-level BPE) is a character like any other.
    """

    vocabulary: Mapping[str, int]
    names: Mapping[int, str]
    kept: frozenset[str]  # what is no spelling: special and added tokens, bytes by their names
    inside: str
    ending: str
    padding: int

    def options(self, token: str) -> list[tuple[str, str]]:
        """Return every two sub-words that together spell what this one spells."""
        if token in self.kept:
            return []
        start = len(self.inside) if token.startswith(self.inside) else 0
        stop = len(token) - (len(self.ending) if token.endswith(self.ending) else 0)
        both = [(token[:cut], f"{self.inside}{token[cut:]}") for cut in range(start + 1, stop)]
        return [pair for pair in both if all(one in self.vocabulary and one not in self.kept for one in pair)]

    def split(self, token: str, share: float, random: np.random.Generator) -> list[str]:
        """Return the token or, with probability `share`, what becomes of two that spell the same."""
        options = self.options(token) if random.random() < share else []
        if not options:
            return [token]
        first, second = options[int(random.integers(len(options)))]
        return [*self.split(first, share, random), *self.split(second, share, random)]

    def resegment(self, ids: Sequence[int], share: float, most: int, random: np.random.Generator) -> list[list[int]]:
        """Return, for each sub-word of a text, those that take its place: not more than `most` in all."""
        room, found = most - len(ids), []
        for one in ids:
            parts = [self.vocabulary[part] for part in self.split(self.names[one], share, random)]
            found.append(parts if len(parts) - 1 <= room else [one])
            room -= len(found[-1]) - 1
        return found


def splitter_of(encoder: Encoder) -> Splitter:
    """Return the splitter of an encoder's vocabulary. Raises InputError where that has no sub-words to be split."""
    from tokenizers import models
    from transformers import PreTrainedTokenizerFast

    tokenizer = encoder.tokenizer
    model = tokenizer.backend_tokenizer.model if isinstance(tokenizer, PreTrainedTokenizerFast) else None
    inside = ending = ""
    if isinstance(model, models.WordPiece | models.BPE):
        inside = model.continuing_subword_prefix or ""
    if isinstance(model, models.BPE):
        ending = model.end_of_word_suffix or ""
    vocabulary = tokenizer.get_vocab()
    splitter = Splitter(
        vocabulary=vocabulary,
        names={number: name for name, number in vocabulary.items()},
        kept=frozenset(
            {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab(), *filter(_BYTE.fullmatch, vocabulary)}
        ),
        inside=inside,
        ending=ending,
        padding=cast(int, tokenizer.pad_token_id),
    )
    known = isinstance(model, models.WordPiece | models.BPE | models.Unigram)
    if not known or not any(splitter.options(token) for token in vocabulary):
        raise InputError(
            f"The tokenizer of `{encoder.name}` has no sub-words (WordPiece, BPE or Unigram) that two others spell, so no text"
            " has another segmentation. Choose an encoder whose tokenizer has."
        )
    return splitter


def _batch(batch: Batch, altered: Mapping[int, list[list[int]]], padding: int) -> Batch:
    """Return rows with their new sub-words; what else goes in with a sub-word goes in with its parts."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from distxfer.data import Batch

    inputs = {}
    for name, tensor in batch.inputs.items():
        rows = []
        for row, parts in altered.items():
            there = batch.inputs["attention_mask"][row].bool()
            counts = torch.tensor([len(some) for some in parts], device=tensor.device)
            flat = torch.tensor([part for some in parts for part in some], device=tensor.device)
            rows.append(flat if name == "input_ids" else tensor[row][there].repeat_interleave(counts))
        inputs[name] = pad_sequence(rows, batch_first=True, padding_value=padding if name == "input_ids" else 0)
    return Batch(tuple(batch.examples[row] for row in altered), inputs, None)
