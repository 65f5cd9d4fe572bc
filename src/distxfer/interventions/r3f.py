"""Consistency of predictions under noise on the word embeddings (R3F)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from distxfer.data import Example
from distxfer.errors import InputError
from distxfer.interventions._contract import BoundIntervention, Languages, Step, Term
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.data import Batch
    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class R3F:
    """Add `weight` times KL(p || q) + KL(q || p) per example of the task: the predictions without and with noise.

    p are the head's predictions on the task's batch, from its own forward pass; q those of one more, with noise drawn
    from U(-epsilon, epsilon) on every entry of every word embedding. The sum of the two divergences is
    sum_c (p_c - q_c) (log p_c - log q_c), in nats, range [0, inf); the gradient goes through both.

    Each pass draws its own dropout, as in the authors' code. At their `epsilon` that is most of the difference between
    p and q: with dropout, this is close to R-Drop (Liang et al. 2021), and without (ModernBERT), next to nothing is left
    of it: there, raise `epsilon`.

    Reference: Aghajanyan et al. 2020, Better Fine-Tuning by Reducing Representational Collapse, eq. 5: uniform noise.
    """

    weight: Annotated[float, Field(description="factor of the divergence", ge=0)] = 1.0
    epsilon: Annotated[float, Field(description="largest noise on a word embedding", gt=0)] = 1e-5

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the divergence as a term; refuses an encoder that does not take word embeddings for its input."""
        from distxfer.interventions._losses import (
            check_predicts_texts,
            log_probabilities,
            predictions,
            task_predictions,
        )

        check_predicts_texts(encoder)
        _check(encoder)

        def term(step: Step) -> Term:
            clean, noised = task_predictions(step), predictions(step, noisy(encoder, step.batch, self.epsilon))
            p, q = log_probabilities(clean), log_probabilities(noised)
            total = ((p.exp() - q.exp()) * (p - q)).sum()
            return Term(total, len(step.batch), "example", {"kl": total.detach() / len(step.batch)})

        return BoundIntervention(term=term, weight=self.weight, needs=frozenset({"encoder", "predictions"}))


def noisy(encoder: Encoder, batch: Batch, epsilon: float) -> Batch:
    """Return the batch with word embeddings in place of tokens, and noise from U(-epsilon, epsilon) on each entry."""
    import torch

    inputs = dict(batch.inputs)
    embeddings = encoder.base.get_input_embeddings()(inputs.pop("input_ids"))
    noise = torch.empty_like(embeddings).uniform_(-epsilon, epsilon)
    return replace(batch, inputs={**inputs, "inputs_embeds": embeddings + noise})


def _check(encoder: Encoder) -> None:
    """Refuse an encoder whose outputs differ between tokens and their word embeddings.

    Decoders do: their head finds the padding by the tokens, and reads the padding's state without them.
    """
    import torch

    from distxfer.data import Collator

    texts = [Example("short", "eng", "a"), Example("long", "eng", "a b c d e f g")]
    batch = Collator(encoder.tokenizer, 16, encoder.device)(texts)
    with torch.no_grad(), suppress(TypeError, ValueError):  # raised where `inputs_embeds` is no argument
        embedded = noisy(encoder, batch, 0.0)
        states: list[Any] = [encoder.states([inputs]) for inputs in (batch.inputs, embedded.inputs)]
        if all(torch.allclose(first, second, rtol=1e-4, atol=1e-6) for first, second in zip(*states, strict=True)):
            return
    raise InputError(
        f"The encoder `{encoder.name}` (`{encoder.base.config.model_type}`) does not give the same outputs for word"
        " embeddings as for their tokens, so noise on them cannot be compared. Choose an encoder that does: BERT,"
        " XLM-R, DeBERTa, ModernBERT ..."
    )
