"""Consistency of predictions on translations: the source's prediction is the teacher of the target's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from distxfer.interventions import _shared_keys as shared
from distxfer.interventions._contract import BoundIntervention, Languages, Step, Term
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class Consistency:
    """Add `weight` times KL(p(s_i) || p(t_i)), per pair: the head's predictions on sentences and on their translations.

    KL(p || q) = sum_c p_c (log p_c - log q_c), in nats, range [0, inf). Each micro-batch draws one target language, by
    distance from the source, and `batch_size` pairs (s_i, t_i) of it, which need no labels. The
    source's p(s_i) = softmax(logits / temperature) is the teacher: 1 leaves it as it is, below 1 sharpens it.
    `stop_gradient`: the teacher is a constant; otherwise the gradient goes through both, and a less confident
    source lowers the term too.

    Beside `align` with the same languages, weighting and batch size, both use the same pairs and passes.

    The mean KL is logged as `term/NAME/kl`, the share of pairs whose most probable labels agree as
    `term/NAME/agreement`.

    Reference: example consistency of xTune (Zheng et al. 2021, section 3.1, with machine translation as the
    augmentation; theirs is symmetric), on parallel text in place of the task's own.
    """

    weight: Annotated[float, Field(description="factor of the divergence", ge=0)] = 1.0
    stop_gradient: Annotated[bool, Field(description="treat the source's prediction as a constant")] = True
    temperature: Annotated[float, Field(description="temperature of the source's prediction", gt=0)] = 1.0
    languages: shared.LanguageList = "all"
    batch_size: Annotated[int, Field(description="sentence pairs per micro-batch", ge=1)] = 32
    weighting: shared.Weighting = "linear"
    weighting_by: shared.WeightingBy = "sampling"
    distance: shared.OtherDistance = ""

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the divergence as a term; no parameter is frozen."""
        from distxfer.interventions._losses import check_predicts_texts, divergence, predictions

        check_predicts_texts(encoder)
        choice = shared.language_choice(self, languages, distances)

        def term(step: Step) -> Term:
            language, factor = choice.draw(step.random)
            source, target = step.sample_pairs(language, self.batch_size)
            teacher, student = predictions(step, source), predictions(step, target)
            if self.stop_gradient:
                teacher = teacher.detach()
            each = divergence(teacher, student, self.temperature)
            agreed = teacher.argmax(dim=-1) == student.argmax(dim=-1)
            logs = {"kl": each.detach().mean(), "agreement": agreed.float().mean()}
            return Term(factor * each.sum(), len(source), "pair", logs)

        return BoundIntervention(
            term=term,
            weight=self.weight,
            needs=frozenset({"pairs", "predictions"}),
            languages=choice.languages,
            constant_source=self.stop_gradient,
            own_passes=True,
        )
