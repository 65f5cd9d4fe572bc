"""Self-training: target text is labelled by the model, as it is when a phase begins, and trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from distxfer.interventions import _shared_keys as shared
from distxfer.interventions._contract import BoundIntervention, Languages, Teacher
from distxfer.languages import Distances

if TYPE_CHECKING:
    from torch import Tensor

    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class SelfTraining:
    """Add `weight` times -log p(c_i | x_i), per text: x_i is unlabelled text of a target, c_i the label of the model itself.

    As a phase begins, the model labels all unlabelled text x of the targets, without dropout: c = argmax_c z_c(x). Of the
    texts of each language and class, the `share` with the highest probability keep their label, and one at least; the others
    are left out. So each class keeps its part, not only the easy ones. A second round is a second phase.

    `centre`: z is shifted by language L, z(x) - mean_L z + mean_S z, so that its mean over a language's texts is that over the
    source's S (its training texts, where it has no unlabelled ones). With a linear head this is to centre the pooled states by
    language: it takes out what distinguishes the languages, and shifted class priors. A target without unlabelled text has the
    translations of its pairs: mean_L is then of the parallel text, and mean_S of the task's.

    Each micro-batch draws one target language, by distance from the source, and `batch_size` of its labelled texts.

    The mean loss is logged as `term/NAME/kl`, the share of texts that the present model labels alike as
    `term/NAME/agreement`.

    References: Zou et al. 2018, whose class-balanced self-training this is (theirs alternates labels and training, and lets the
    share grow); Xian, Ji & Zhao 2022 for the shift of class priors between languages, which they weight classes by.
    """

    weight: Annotated[float, Field(description="factor of the cross-entropy", ge=0)] = 1.0
    share: Annotated[float, Field(description="share of each predicted class that keeps its label", gt=0, le=1)] = 0.5
    centre: Annotated[bool, Field(description="shift each language's logits to the source's mean")] = True
    languages: shared.LanguageList = "all"
    batch_size: Annotated[int, Field(description="unlabelled texts per micro-batch", ge=1)] = 32
    weighting: shared.Weighting = "uniform"
    weighting_by: shared.WeightingBy = "sampling"
    distance: shared.OtherDistance = ""

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the cross-entropy as a term, and what labels the text; no parameter is frozen."""
        from distxfer.interventions._losses import check_predicts_texts, confident_labels, labelled_term

        check_predicts_texts(encoder)
        choice = shared.language_choice(self, languages, distances)

        def labels(teacher: Teacher) -> Mapping[str, Tensor]:
            logits = {language: teacher.logits(teacher.texts[language]) for language in choice.languages}
            if self.centre:
                mean = teacher.logits(teacher.texts[languages.source]).mean(dim=0)
                logits = {language: rows - rows.mean(dim=0) + mean for language, rows in logits.items()}
            return {language: confident_labels(rows, self.share) for language, rows in logits.items()}

        return BoundIntervention(
            term=labelled_term(choice, self.batch_size),
            weight=self.weight,
            needs=frozenset({"target_text", "predictions"}),
            languages=choice.languages,
            labels=labels,
            own_passes=True,
        )
