"""Prediction of typological features: a linear map from a text's state to URIEL's vector of its language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from distxfer.encoders import layer_numbers
from distxfer.errors import RunError
from distxfer.interventions import _shared_keys as shared
from distxfer.interventions._contract import BoundIntervention, Languages, Step, Term
from distxfer.languages import Distances, typological_features

if TYPE_CHECKING:
    from torch import Tensor

    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class Typology:
    """Add `weight` times |W h + b - u_L|^2 / f, per example, with u_L the f typological features of its language L.

    h is the pooled state of the text at one layer, and the linear map (W, b) is trained too.

    u_L holds 0 or 1 for each of URIEL's `syntactic`, `phonological` or `inventory` features, or all (`featural`), imputed
    from the nearest neighbours. The texts are the task's batch (its own forward pass) and `batch_size` unlabelled texts
    of one target language a micro-batch (one more), drawn or scaled by distance: with the source alone u_L would be a
    constant, which the bias can learn. The encoder is trained through h, so the term makes it tell languages apart.

    The mean over the task's texts is logged as `term/NAME/task`, that over the target's as `term/NAME/target`.

    Reference: LinguAlchemy (Adilazuarda et al. 2024), the alignment loss by its formula, with their factor of 10. Their
    released code differs: it casts u_L to row numbers, and no optimiser has its projection.
    """

    weight: Annotated[float, Field(description="factor of the loss", ge=0)] = 10.0
    features: Annotated[
        Literal["syntactic", "phonological", "inventory", "featural"], Field(description="URIEL features")
    ] = "syntactic"
    layer: Annotated[
        int | Literal["last"], Field(description="block whose pooled state predicts: a number, or last")
    ] = "last"
    languages: shared.LanguageList = "all"
    batch_size: Annotated[int, Field(description="target texts per micro-batch", ge=1)] = 32
    weighting: shared.Weighting = "uniform"
    weighting_by: shared.WeightingBy = "sampling"
    distance: shared.OtherDistance = ""

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the loss as a term with its linear map; no parameter is frozen."""
        import torch
        from torch import nn

        (layer,) = layer_numbers((encoder.layers if self.layer == "last" else self.layer,), encoder.layers, "layer")
        choice = shared.language_choice(self, languages, distances)
        vectors = {
            language: torch.tensor(typological_features(language, self.features), dtype=torch.float32)
            for language in languages.all  # with `task.shots`, the batch has all of them
        }
        projection = nn.Linear(encoder.hidden_size, len(vectors[languages.source]))

        def errors(spoken_languages: Sequence[str], states: Tensor) -> Tensor:
            targets = torch.stack([vectors[language] for language in spoken_languages]).to(states.device)
            outputs: Tensor = projection(states)
            return (outputs - targets).square().mean(dim=-1)

        def term(step: Step) -> Term:
            language, factor = choice.draw(step.random)
            text = step.sample_texts(language, self.batch_size)
            source_states, target_states = step.encoded().pooled(layer), step.encode(text).pooled(layer)
            if torch.is_grad_enabled() and not (source_states.requires_grad or target_states.requires_grad):
                raise RunError(
                    "Nothing at or below the `layer` of the typology trains, so the term would train only its own map."
                    " Choose a `layer` above one that trains."
                )
            task = errors([example.language for example in step.batch.examples], source_states)
            target = errors([language] * len(text), target_states)
            logs = {"task": task.detach().mean(), "target": target.detach().mean()}
            return Term(task.sum() + factor * target.sum(), len(task) + len(target), "example", logs)

        return BoundIntervention(
            term=term,
            weight=self.weight,
            module=projection,
            needs=frozenset({"target_text"}),
            languages=choice.languages,
            layers=(layer,),
        )
