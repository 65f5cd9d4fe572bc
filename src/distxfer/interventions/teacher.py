"""A fixed teacher: the model's labels of the source's sentences are trained on with their translations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from distxfer.interventions import _shared_keys as shared
from distxfer.interventions._contract import BoundIntervention, Languages, Teacher
from distxfer.languages import Distances

if TYPE_CHECKING:
    from torch import Tensor

    from distxfer.data import Example
    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class FixedTeacher:
    """Add `weight` times KL(y_i || p(t_i)), per pair: y_i is the teacher's distribution on s_i, of which t_i is a translation.

    The teacher is the model as it is when a phase begins, tuned on the source by the phases before: without dropout,
    y_i = softmax(z(s_i) / temperature). A `temperature` below 1 sharpens it. Unlike in `consistency`, it does not
    change in the phase, and costs one pass over the distinct source sentences as each such phase begins.

    Each micro-batch draws one target language, by distance from the source, and `batch_size` pairs of it, which need no labels.

    The mean KL is logged as `term/NAME/kl`, the share of texts whose most probable class is the teacher's as
    `term/NAME/agreement`.

    References: Xu & Yang 2017, whose cross-lingual distillation this is, without their adversarial part; Reimers & Gurevych
    2020 carry a teacher's embeddings over parallel sentences, Karamanolakis et al. 2020 its labels over translated words.
    """

    weight: Annotated[float, Field(description="factor of the divergence", ge=0)] = 1.0
    temperature: Annotated[float, Field(description="temperature of the teacher's prediction", gt=0)] = 1.0
    languages: shared.LanguageList = "all"
    batch_size: Annotated[int, Field(description="sentence pairs per micro-batch", ge=1)] = 32
    weighting: shared.Weighting = "uniform"
    weighting_by: shared.WeightingBy = "sampling"
    distance: shared.OtherDistance = ""

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the divergence as a term, and what labels the pairs; no parameter is frozen."""
        from distxfer.interventions._losses import check_predicts_texts, labelled_term, rows_of_sources

        check_predicts_texts(encoder)
        choice = shared.language_choice(self, languages, distances)

        def labels(teacher: Teacher) -> Mapping[str, Tensor]:
            def distributions(texts: Sequence[Example]) -> Tensor:
                return (teacher.logits(texts) / self.temperature).softmax(dim=-1)

            return rows_of_sources(teacher, choice.languages, distributions)

        return BoundIntervention(
            term=labelled_term(choice, self.batch_size),
            weight=self.weight,
            needs=frozenset({"pairs", "predictions"}),
            languages=choice.languages,
            labels=labels,
            own_passes=True,
        )
