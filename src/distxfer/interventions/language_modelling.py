"""Language modelling on unlabelled target text: masked tokens for encoders, the next token for decoders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
from pydantic import Field

from distxfer.errors import InputError
from distxfer.interventions import _shared_keys as shared
from distxfer.interventions._contract import BoundIntervention, Languages, Step, Term, empty_term
from distxfer.languages import Distances

if TYPE_CHECKING:
    import numpy.typing as npt

    from distxfer.data import Batch
    from distxfer.encoders import Encoder

_MASKED, _REPLACED = 0.8, 0.1  # of the predicted tokens: masked, and replaced by a random one; the others stay
_LEAST = 60.0  # logits this far below the largest count as that far below it: e^-60 is 0 beside 1


@dataclass(frozen=True)
class LanguageModelling:
    """Add `weight` times -log p(x_i | x'), per predicted token: x is unlabelled text of a target, x' what the encoder reads.

    Encoders predict a random `share` of the tokens, of which 80 % are masked, 10 % replaced by a random token and 10 % left as
    they are (Devlin et al. 2019); decoders predict every next token. p is the softmax over the vocabulary of E g(h_i), with h_i
    the last layer's state, E the word embeddings, and g a linear map, GELU and layer normalisation of its own, trained from
    random weights: checkpoints for sentences have no head for it, and that of others is not used.

    Each micro-batch draws one target language, by distance from the source, and `batch_size` of its texts. Use it in a phase of
    its own before the task, with all weights or with an adapter, or beside the task.

    The mean loss in nats is logged as `term/NAME/loss`, the share of predicted tokens that are right as `term/NAME/accuracy`.

    References: Gururangan et al. 2020, adaptation to a task's own unlabelled text; Alabi et al. 2022, to African languages;
    Pfeiffer et al. 2020 (MAD-X), in adapters.
    """

    weight: Annotated[float, Field(description="factor of the loss", ge=0)] = 1.0
    share: Annotated[float, Field(description="share of an encoder's tokens that are predicted", gt=0, le=1)] = 0.15
    languages: shared.LanguageList = "all"
    batch_size: Annotated[int, Field(description="unlabelled texts per micro-batch", ge=1)] = 32
    weighting: shared.Weighting = "uniform"
    weighting_by: shared.WeightingBy = "sampling"
    distance: shared.OtherDistance = ""

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the loss as a term with its map; no parameter is frozen. Refuses an encoder whose tokenizer has no mask."""
        import torch
        from torch import nn

        embeddings = cast(nn.Embedding, encoder.base.get_input_embeddings())
        mask = encoder.tokenizer.mask_token_id
        if mask is None and not encoder.causal:
            raise InputError(
                f"The tokenizer of `{encoder.name}` has no mask token, which language modelling needs for an encoder. Choose a"
                " model that was pretrained on masked tokens, or a decoder."
            )
        width = embeddings.embedding_dim
        head = nn.Sequential(nn.Linear(encoder.hidden_size, width), nn.GELU(), nn.LayerNorm(width))
        choice = shared.language_choice(self, languages, distances)
        special = np.array(encoder.tokenizer.all_special_ids)

        def term(step: Step) -> Term:
            language, factor = choice.draw(step.random)
            batch = step.sample_texts(language, self.batch_size)
            tokens, padded = batch.on_host("input_ids"), batch.on_host("attention_mask") == 0
            if encoder.causal:
                read, predicted, offset = batch, ~padded[:, 1:], 1
            else:
                predicted = (step.random.random(tokens.shape) < self.share) & ~np.isin(tokens, special) & ~padded
                replaced = corrupted(tokens, predicted, int(mask), embeddings.num_embeddings, step.random)
                read, offset = with_tokens(batch, replaced), 0
            states = step.encode(read).hidden[-1]
            if not predicted.any():
                return empty_term(step, [states], "token")
            places = np.nonzero(predicted)
            rows, columns = (torch.from_numpy(place).to(states.device) for place in places)
            labels = torch.from_numpy(tokens[places[0], places[1] + offset]).to(states.device)
            logits = nn.functional.linear(head(states[rows, columns].float()), embeddings.weight.float())
            # Softmax of lower logits is denormal, which makes products on CPUs 20 times slower.
            logits = torch.maximum(logits, logits.detach().amax(dim=1, keepdim=True) - _LEAST)
            loss_sum = nn.functional.cross_entropy(logits, labels, reduction="sum")
            accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()
            logs = {"loss": loss_sum.detach() / len(labels), "accuracy": accuracy}
            return Term(factor * loss_sum, len(labels), "token", logs)

        return BoundIntervention(
            term=term,
            weight=self.weight,
            module=head,
            needs=frozenset({"target_text", "encoder", "vocabulary"}),
            languages=choice.languages,
            layers=(encoder.layers,),
        )


def corrupted(
    tokens: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.bool_],
    mask: int,
    vocabulary: int,
    random: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Return the tokens with 80 % of the predicted ones masked and 10 % replaced by a random token of the vocabulary."""
    draws, random_tokens = random.random(tokens.shape), random.integers(vocabulary, size=tokens.shape)
    masked = np.where(predicted & (draws < _MASKED), mask, tokens)
    return np.where(predicted & (draws >= _MASKED) & (draws < _MASKED + _REPLACED), random_tokens, masked)


def with_tokens(batch: Batch, tokens: npt.NDArray[np.int64]) -> Batch:
    """Return the batch with other tokens in the same places."""
    import torch

    ids = batch.inputs["input_ids"]
    return replace(
        batch, inputs={**batch.inputs, "input_ids": torch.from_numpy(tokens).to(ids.device, ids.dtype)}, encoding=None
    )
