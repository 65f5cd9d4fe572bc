"""Hold the representation space near the pretrained one: a penalty on drift, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from distxfer.data import Batch
from distxfer.encoders import Encoded, Encoder, Layers, layer_numbers
from distxfer.errors import InputError
from distxfer.interventions._choice import LanguageList, Weighting, WeightingBy, language_choice
from distxfer.interventions._contract import Bound, Languages, Need, Step, Term
from distxfer.languages import Distances
from distxfer.measure import cka, cosine_drift, normalised_mse

_FEWEST = 4  # rows that unbiased CKA needs


@dataclass(frozen=True)
class Drift:
    """Add `weight` times the mean over `layers` of how far the pooled states H_l have moved from the pretrained H0_l.

    `cka`: 1 - CKA(H0_l, H_l), unbiased and linear, over the sentences of a batch (the number the report prints as
    drift). `cosine`: 1 - cos(h0, h) per sentence. `mse`: |h - h0|^2 / |h0|^2 per sentence.
    `text` is what is held still: the task's own inputs (no extra forward pass of the trained encoder), or unlabelled
    text of one target language a micro-batch, drawn or scaled by distance.

    References: drift as in Philippy et al. 2023 (1 - CKA); CKA of Kornblith et al. 2019. Holding target text
    alone leaves the source free to move away from it: compare with `text = task` before you trust it.
    """

    weight: Annotated[float, Field(ge=0)] = 4.0
    measure: Literal["cka", "cosine", "mse"] = "cka"
    layers: Layers = "all"
    text: Literal["task", "target"] = "task"
    languages: LanguageList = "all"
    batch_size: Annotated[int, Field(ge=_FEWEST)] = 32
    weighting: Weighting = "uniform"
    weighting_by: WeightingBy = "scaling"
    distance: str = ""

    def __post_init__(self) -> None:
        """Refuse settings that would have no effect."""
        of_target_text = ("languages", "batch_size", "weighting", "weighting_by", "distance")
        unused = [
            one.name for one in fields(self) if one.name in of_target_text and getattr(self, one.name) != one.default
        ]
        if self.text == "task" and unused:
            raise InputError(
                f"`{unused[0]}` = `{getattr(self, unused[0])}` has no effect on the task's inputs, which are all in the"
                " source language. Set `text = target`, or leave it out."
            )

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> Bound:
        """Return the penalty as a term; no parameter is kept from training."""
        layers = list(layer_numbers(self.layers, encoder.layers, "layers"))
        if self.text == "task":

            def task_term(step: Step) -> Term:
                return self._term(step, step.batch, step.encoded(), layers)

            return Bound(term=task_term, weight=self.weight, needs=frozenset({"reference"}))

        choice = language_choice(self, languages, distances)

        def target_term(step: Step) -> Term:
            language, factor = choice.draw(step.random)
            batch = step.text(language, self.batch_size)
            return self._term(step, batch, step.encode(batch), layers, factor)

        needs: frozenset[Need] = frozenset({"reference", "target_text"})
        return Bound(term=target_term, weight=self.weight, needs=needs, languages=choice.languages)

    def _term(self, step: Step, batch: Batch, encoded: Encoded, layers: Sequence[int], factor: float = 1.0) -> Term:
        """Return the sum over the batch: one item for CKA, which is a property of the batch, else one a sentence."""
        per: Literal["batch", "example"] = "batch" if self.measure == "cka" else "example"
        count = len(batch) if per == "example" else int(len(batch) >= _FEWEST)
        if not count:
            return Term(torch.zeros((), device=encoder_device(encoded)), 0, per)
        now = torch.stack([encoded.pooled(layer) for layer in layers])
        before = step.reference(batch)[list(layers)].to(now)
        return Term(factor * self._moved(now, before).mean(dim=0).sum(), count, per)

    def _moved(self, now: Tensor, before: Tensor) -> Tensor:
        """Return how far each layer has moved: (layers, n), or (layers,) for CKA."""
        if self.measure == "cka":
            return 1 - cka(before, now)
        return cosine_drift(now, before) if self.measure == "cosine" else normalised_mse(now, before)


def encoder_device(encoded: Encoded) -> torch.device:
    """Return the device that the states are on."""
    return encoded.mask.device
