"""Shared code of the consistency terms: the divergence of predictions on two versions of the same texts."""

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
    """Raise InputError for an encoder whose head does not predict one class per text."""
    if encoder.output != "text":
        raise InputError(
            "it compares one prediction per text, which this task does not have. Leave it out, or choose a task that"
            " classifies texts."
        )


def divergence(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """Return KL(p || q) of each row, with p = softmax(teacher / temperature) and q = softmax(student).

    KL(p || q) = sum_c p_c (log p_c - log q_c). Two tensors of logits (n, classes) give (n,), in nats. Range: [0, inf), 0
    where p = q. The gradient goes through both: detach a constant side.
    """
    p, q = log_probabilities(teacher / temperature), log_probabilities(student)
    return (p.exp() * (p - q)).sum(dim=-1)


def log_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithms of softmax(logits), in float64, or float32 where the device has no float64 (mps).

    A new head predicts nearly the same for all texts, and a divergence of 1e-6 is a difference of numbers near 1: in
    float32 a third of it would be rounding.
    """
    return log_softmax(logits.to(torch.float32 if logits.device.type == "mps" else torch.float64), dim=-1)


def predictions(step: Step, batch: Batch) -> Tensor:
    """Return the logits (n, classes) of a batch, from one more forward pass."""
    return cast(Tensor, step.classify(batch).logits)


def task_predictions(step: Step) -> Tensor:
    """Return the logits (n, classes) of the task's batch, from its own forward pass where that includes the head."""
    logits = step.encoded().logits
    return predictions(step, step.batch) if logits is None else logits


def self_consistency(step: Step, rows: Sequence[int], altered: Callable[[Sequence[int]], Batch]) -> Term:
    """Return the sum over the task's batch of KL(p(x) || p(A(x))), with p(x) as a constant.

    `rows` are those whose text A(x) differs, and `altered` returns their batch; the others add 0 to the sum, without a
    forward pass, and 1 to the count. If none differs there is no gradient, which the loop reports if it lasts. With
    synchronized passes the first row is then run, times 0.
    """
    count = len(step.batch)
    if not rows and not step.synchronized:
        return Term(
            torch.zeros((), device=step.batch.inputs["attention_mask"].device), count, "example", {"altered": 0.0}
        )
    teacher = task_predictions(step).detach()[list(rows) or [0]]
    total = (1 if rows else 0) * divergence(teacher, predictions(step, altered(rows or [0]))).sum()
    return Term(total, count, "example", {"kl": total.item() / count, "altered": len(rows) / count})
