"""What the consistency terms share: the divergence of a head's predictions on two forms of the same texts."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from distxfer.data import Batch
from distxfer.encoders import Encoder
from distxfer.errors import InputError
from distxfer.interventions._contract import Step, Term


def check_predicts_texts(encoder: Encoder) -> None:
    """Refuse an encoder whose head does not predict one class a text: there is nothing to compare text by text.

    Raises InputError.
    """
    if encoder.output != "text":
        raise InputError(
            "it compares predictions text by text, and this task predicts something else. Leave it out, or choose a task that"
            " classifies texts."
        )


def divergence(taught: Tensor, learning: Tensor, temperature: float = 1.0) -> Tensor:
    """Return KL(p || q) of each row, with p = softmax(taught / temperature) and q = softmax(learning).

    KL(p || q) = sum_c p_c (log p_c - log q_c). Two tensors of logits (n, classes) give (n,), in nats. Range: [0, inf), 0
    where p = q. The gradient goes through both: detach what is to be constant.
    """
    p, q = log_probabilities(taught / temperature), log_probabilities(learning)
    return (p.exp() * (p - q)).sum(dim=-1)


def log_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithms of softmax(logits), in float64, or float32 where the device has no float64 (mps).

    A new head says nearly the same of all texts, and a divergence of 1e-6 is the difference of numbers near 1: in float32,
    a third of it would be rounding.
    """
    return log_softmax(logits.to(torch.float32 if logits.device.type == "mps" else torch.float64), dim=-1)


def predictions(step: Step, batch: Batch) -> Tensor:
    """Return the logits (n, classes) of some text: one more forward pass."""
    return cast(Tensor, step.classify(batch).logits)


def task_predictions(step: Step) -> Tensor:
    """Return the logits (n, classes) of the task's batch: from its own forward pass, where that went through the head."""
    logits = step.encoded().logits
    return predictions(step, step.batch) if logits is None else logits


def taught_by_the_original(step: Step, rows: Sequence[int], altered: Callable[[Sequence[int]], Batch]) -> Term:
    """Return the sum over the task's batch of KL(p(x) || p(A(x))), with p(x) as a constant.

    `rows` are those whose text A(x) differs, and `altered` makes a batch of rows; the others are 0 without a forward
    pass, and all count. If none differs there is no gradient, which the loop notices where it goes on for long; where the
    processes make their passes together, the first row makes one, times 0.
    """
    count = len(step.batch)
    if not rows and not step.together:
        return Term(
            torch.zeros((), device=step.batch.inputs["attention_mask"].device), count, "example", {"altered": 0.0}
        )
    taught = task_predictions(step).detach()[list(rows) or [0]]
    total = (1 if rows else 0) * divergence(taught, predictions(step, altered(rows or [0]))).sum()
    return Term(total, count, "example", {"kl": total.item() / count, "altered": len(rows) / count})
