"""Losses that interventions share: of two sides' states, and the divergence of predictions on two versions of texts."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, log_softmax, normalize

from distxfer.data import Batch, Example
from distxfer.encoders import Encoder
from distxfer.errors import InputError
from distxfer.interventions._contract import Step, Teacher, Term
from distxfer.interventions._shared_keys import LanguageChoice

_BLUR, _DIAMETER = 0.05, 2.0  # of the Sinkhorn divergence; no two unit vectors are farther apart than 2


def info_nce(
    source: Tensor, target: Tensor, temperature: float, *, strong: bool = False, shared_text: Tensor | None = None
) -> Tensor:
    """Return -1/2 [log p(t_i | s_i) + log p(s_i | t_i)], summed over the n pairs of two sides (n, d) and (n, d).

    With c the cosine: p(t_i | s_i) = exp(c(s_i, t_i) / temperature) / Z_i, where Z_i = sum_j exp(c(s_i, t_j) /
    temperature), and if `strong` also + sum_{j != i} exp(c(s_i, s_j) / temperature); p(s_i | t_i) with s and t swapped.
    Where `shared_text`, (n, n), marks pairs i and j != i with a text in common, j is no negative of i: Z_i leaves it out.

    Range: [0, inf). Invariant under positive scaling of each row and under one orthogonal map of both sides.
    Reference: van den Oord et al. 2018, eq. 4; the strong form is the contrastive loss of Gaschi et al. 2023.
    """
    gold = torch.arange(len(source), device=source.device)
    # In bf16, cosines near 1 are .004 apart, and logits ten times that.
    with torch.autocast(source.device.type, enabled=False):
        source, target = normalize(in_full(source), dim=-1), normalize(in_full(target), dim=-1)
        similarity = source @ target.T / temperature
        forward, backward = similarity, similarity.T
        if strong:
            forward = torch.cat([forward, _cosines_within(source) / temperature], dim=1)
            backward = torch.cat([backward, _cosines_within(target) / temperature], dim=1)
        if shared_text is not None:
            positives = shared_text & ~torch.eye(len(source), dtype=torch.bool, device=source.device)
            positives = positives.repeat(1, forward.shape[1] // len(source))
            forward, backward = (logits.masked_fill(positives, -torch.inf) for logits in (forward, backward))
        return (cross_entropy(forward, gold, reduction="sum") + cross_entropy(backward, gold, reduction="sum")) / 2


def mean_cosine(sides: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the mean cosine of n pairs of states, the mean over layers."""
    return torch.stack([cosine_similarity(first.detach(), second.detach()).mean() for first, second in sides]).mean()


def same_texts(batch: Batch) -> Tensor:
    """Return which texts of a batch have equal tokens, (n, n)."""
    ids = batch.inputs["input_ids"].masked_fill(batch.inputs["attention_mask"] == 0, -1)
    return (ids[:, None] == ids).all(dim=-1)


def squared_distance(source: Tensor, target: Tensor) -> Tensor:
    """Return |s_i - t_i|^2 / d, summed over the n pairs of two sides (n, d) and (n, d). Range: [0, inf)."""
    return (in_full(source) - in_full(target)).square().mean(dim=-1).sum()


def sinkhorn_divergence(x: Tensor, y: Tensor, weights: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Return the debiased Sinkhorn divergence of two clouds of unit vectors (n, d) and (m, d), p = 2.

    Of B pairs of clouds, (B, n, d) and (B, m, d), it is (B,). `weights`, (B, n) and (B, m), sum to 1 in each cloud; a
    point of weight 0 is ignored. Without them, all points have equal weights.

    Range: [0, inf) up to rounding, 0 for equal clouds. Invariant under permutations of either cloud and under
    isometries of both. Reference: Feydy et al. 2019, eq. 3, by geomloss.
    """
    from geomloss import SamplesLoss

    # With a diameter, geomloss does not fail where all points coincide (jeanfeydy/geomloss#51). It switches autograd on
    # inside `no_grad`, and leaves it on (jeanfeydy/geomloss#57).
    enabled = torch.is_grad_enabled()
    x, y = in_full(x), in_full(y)
    clouds = (x, y) if weights is None else (weights[0].to(x), x, weights[1].to(y), y)
    try:
        # geomloss expands |x - y|^2, whose error in 16 bits is as large as the distance of near clouds.
        with torch.autocast(x.device.type, enabled=False):
            divergence: Tensor = SamplesLoss("sinkhorn", p=2, blur=_BLUR, diameter=_DIAMETER, backend="tensorized")(
                *clouds
            )
    finally:
        torch.set_grad_enabled(enabled)
    return divergence if enabled else divergence.detach()


def in_full(states: Tensor) -> Tensor:
    """Return 16-bit states in float32, and others unchanged."""
    return states.float() if states.dtype in (torch.bfloat16, torch.float16) else states


def _cosines_within(unit: Tensor) -> Tensor:
    """Return the cosines between unit rows, (n, n), with -inf on the diagonal."""
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    return (unit @ unit.T).masked_fill(itself, -torch.inf)


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


def confident_labels(logits: Tensor, share: float) -> Tensor:
    """Return one-hot labels (n, classes) of the most confident texts, by logits (n, classes); the other rows are zero.

    Of the n_c texts whose most probable class is c, those with the highest probability are labelled: round(share * n_c),
    and at least one. Of equal texts, the first.
    """
    confidence, classes = log_probabilities(logits).max(dim=-1)
    labels = torch.zeros_like(logits)
    for predicted in range(logits.shape[1]):
        rows = (classes == predicted).nonzero().flatten()
        order = confidence[rows].argsort(descending=True, stable=True)
        labels[rows[order[: max(1, round(share * len(rows)))]], predicted] = 1
    return labels


def labelled_term(choice: LanguageChoice, batch_size: int) -> Callable[[Step], Term]:
    """Return the term KL(y || p(x)), summed over texts x of one language, with y the labels that `BoundIntervention.labels` gave.

    Where y is one class, it is the cross-entropy. Logs: `kl`, and `agreement`, the share of texts whose most probable class
    is that of y.
    """

    def term(step: Step) -> Term:
        language, factor = choice.draw(step.random)
        batch, labels = step.sample_labelled(language, batch_size)
        student = predictions(step, batch)
        log_q = log_probabilities(student)
        p = labels.to(log_q)
        each = (torch.xlogy(p, p) - p * log_q).sum(dim=-1)
        agreed = p.argmax(dim=-1) == student.argmax(dim=-1)
        logs = {"kl": each.detach().mean(), "agreement": agreed.float().mean()}
        return Term(factor * each.sum(), len(batch), "example", logs)

    return term


def rows_of_sources(
    teacher: Teacher, languages: Sequence[str], rows_of: Callable[[Sequence[Example]], Tensor]
) -> dict[str, Tensor]:
    """Return for each language the row of each pair's source sentence; `rows_of` is called once, for the distinct sentences."""
    sources = {language: [pair.source for pair in teacher.pairs[language]] for language in languages}
    distinct = {(text.text, text.text_pair): text for texts in sources.values() for text in texts}
    rows, place = rows_of([*distinct.values()]), {key: row for row, key in enumerate(distinct)}
    return {language: rows[[place[text.text, text.text_pair] for text in texts]] for language, texts in sources.items()}


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
    return Term(total, count, "example", {"kl": total.detach() / count, "altered": len(rows) / count})
