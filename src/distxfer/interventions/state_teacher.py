"""A fixed teacher of states: sentences of the source and their translations are pulled to the teacher's states of the former."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from distxfer.interventions import _shared_keys as shared
from distxfer.interventions._contract import BoundIntervention, Languages, Step, Teacher, Term
from distxfer.languages import Distances

if TYPE_CHECKING:
    from torch import Tensor

    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class StateTeacher:
    """Add `weight` times [|T(s_i) - h(s_i)|^2 + |T(s_i) - h(t_i)|^2] / d, per pair of a sentence s_i and its translation t_i.

    h: the pooled state of the last layer, of width d. T: that of the model as it is when a phase begins, tuned on the source
    by the phases before, without dropout. T does not change in the phase, and costs one pass over the distinct source
    sentences as each such phase begins. Unlike `teacher`, it needs no head.

    Each micro-batch draws one target language, by distance from the source, and `batch_size` pairs of it, which need no labels.

    `weight`: d gives the paper's sum of squares. Its authors' code takes the mean over the entries, as here, and trains on
    nothing else, so that AdamW cancels any factor. Beside the task's loss, use about 1 / v, with v the variance of an entry of T
    over sentences. The default, 100, suits the bundled multilingual-e5-small: on `messages`, v is .010 before training, as is
    |T(s) - h(t)|^2 / d.

    The mean of either part is logged as `term/NAME/source` and `term/NAME/target`.

    Reference: Reimers & Gurevych 2020, eq. 1, where another model, of the source alone, is the teacher.
    """

    weight: Annotated[float, Field(description="factor of the mean squared difference of entries", ge=0)] = 100.0
    languages: shared.LanguageList = "all"
    batch_size: Annotated[int, Field(description="sentence pairs per micro-batch", ge=1)] = 32
    weighting: shared.Weighting = "uniform"
    weighting_by: shared.WeightingBy = "sampling"
    distance: shared.OtherDistance = ""

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the distance as a term, and the states of the pairs' sentences as labels; no parameter is frozen."""
        from distxfer.interventions._losses import rows_of_sources, squared_distance

        choice = shared.language_choice(self, languages, distances)

        def labels(teacher: Teacher) -> Mapping[str, Tensor]:
            return rows_of_sources(teacher, choice.languages, teacher.states)

        def term(step: Step) -> Term:
            language, factor = choice.draw(step.random)
            *sides, taught = step.sample_labelled_pairs(language, self.batch_size)
            source, target = (squared_distance(taught, step.encode(side).pooled(encoder.layers)) for side in sides)
            logs = {"source": source.detach() / len(taught), "target": target.detach() / len(taught)}
            return Term(factor * (source + target), len(taught), "pair", logs)

        return BoundIntervention(
            term=term,
            weight=self.weight,
            needs=frozenset({"pairs"}),
            languages=choice.languages,
            labels=labels,
            labels_are_states=True,
            layers=(encoder.layers,),
            own_passes=True,
        )
