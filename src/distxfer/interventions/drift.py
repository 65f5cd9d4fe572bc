"""Hold the representation space near the pretrained one: a penalty on drift, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from distxfer.errors import InputError
from distxfer.interventions._choice import LanguageList, OtherDistance, Weighting, WeightingBy, language_choice
from distxfer.interventions._contract import (
    CKA_ROWS,
    BoundIntervention,
    Languages,
    Need,
    Step,
    Term,
    distinct_texts,
    empty_term,
)
from distxfer.interventions._layer_choice import ChosenLayers, Count, Measurement, Sign, check_layer_keys, layer_choice
from distxfer.languages import Distances

if TYPE_CHECKING:
    from torch import Tensor

    from distxfer.data import Batch
    from distxfer.encoders import Encoded, Encoder

_FEWEST = {"cka": CKA_ROWS, "relational": 2, "cosine": 1, "mse": 1}  # distinct texts per batch that a measure needs


@dataclass(frozen=True)
class Drift:
    """Add `weight` times the mean over `layers` of the drift of the pooled states H_l from the pretrained H0_l.

    Per batch: `cka`: 1 - CKA(H0_l, H_l), unbiased and linear (the drift of the report), over the distinct texts; batches of
    fewer than 16 count 0. `relational`: the mean over pairs of rows of (cos(h_i, h_j) - cos(h0_i, h0_j))^2. Per sentence:
    `cosine`: 1 - cos(h0, h); `mse`: |h - h0|^2 / |h0|^2.

    `text` is `task`: the task's own inputs, without another forward pass; or text of one target language per micro-batch,
    drawn or scaled by distance: `batch_size` unlabelled texts (`target`), or both sides of as many `pairs` as rows of one
    batch. CKA of each side alone would let the sides move apart as a whole; in one batch it also holds their relative
    position. (The rows are then not independent, so unbiased CKA is a penalty, not an estimate.)

    `layers` can be chosen as in `freeze`: `guided` by the drift in the runs of `measurement`, or `random`.

    References: drift as in Philippy et al. 2023 (1 - CKA); CKA of Kornblith et al. 2019; relations as in Park et al. 2019.
    A penalty on target text alone lets the source move away from it: compare with `task` or `pairs`.
    """

    weight: Annotated[float, Field(description="factor of the penalty", ge=0)] = 1.0
    measure: Annotated[Literal["cka", "relational", "cosine", "mse"], Field(description="measure of drift")] = "cka"
    layers: ChosenLayers = "all"
    count: Count = 0
    measurement: Measurement = ()
    sign: Sign = "positive"
    text: Annotated[
        Literal["task", "target", "pairs"],
        Field(description="texts that are held; pairs: both sides"),
    ] = "task"
    languages: LanguageList = "all"
    batch_size: Annotated[int, Field(description="texts or pairs per micro-batch, unless text=task", ge=4)] = 32
    weighting: Weighting = "uniform"
    weighting_by: WeightingBy = "scaling"
    distance: OtherDistance = ""

    def __post_init__(self) -> None:
        """Refuse settings that would have no effect."""
        check_layer_keys(self)
        drawing = ["languages", "batch_size", "weighting", "weighting_by"]
        of_target_text = drawing if self.layers == "guided" else [*drawing, "distance"]  # which guides, too
        unused = [
            key.name for key in fields(self) if key.name in of_target_text and getattr(self, key.name) != key.default
        ]
        if self.text == "task" and unused:
            raise InputError(
                f"`{unused[0]}` = `{getattr(self, unused[0])}` has no effect on the task's inputs, which are all in the"
                " source language. Set `text` to `target` or `pairs`, or leave it out."
            )
        if self.text != "task" and self._rows < _FEWEST[self.measure]:
            least = -(-_FEWEST[self.measure] // (self._rows // self.batch_size))
            raise InputError(
                f"`batch_size` = `{self.batch_size}` is too small for the measure `{self.measure}` on `{self.text}`, which"
                f" needs {_FEWEST[self.measure]} texts per batch. Give at least {least}."
            )

    @property
    def _rows(self) -> int:
        """The number of texts in a drawn batch."""
        return self.batch_size * (2 if self.text == "pairs" else 1)

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the penalty as a term; no parameter is frozen."""
        chosen = layer_choice(self, encoder, distances)
        if self.text == "task":

            def task_term(step: Step) -> Term:
                return self._term(step, step.batch, step.encoded(), chosen.layers)

            needs: frozenset[Need] = frozenset({"reference"})
            fewest = _FEWEST[self.measure]
            return BoundIntervention(
                term=task_term,
                weight=self.weight,
                needs=needs,
                resolved_values=chosen.resolved_values,
                min_distinct_texts=fewest,
            )

        guides_only = self.layers == "guided" and self.weighting == "uniform"  # then `distance` weighs no language
        choice = language_choice(replace(self, distance="") if guides_only else self, languages, distances)

        def target_term(step: Step) -> Term:
            language, factor = choice.draw(step.random)
            batch = self._batch(step, language)
            return self._term(step, batch, step.encode(batch), chosen.layers, factor)

        text: Need = "pairs" if self.text == "pairs" else "target_text"
        return BoundIntervention(
            term=target_term,
            weight=self.weight,
            needs=frozenset({"reference", text}),
            languages=choice.languages,
            resolved_values=chosen.resolved_values,
            min_distinct_texts=_FEWEST[self.measure] // (self._rows // self.batch_size),
        )

    def _batch(self, step: Step, language: str) -> Batch:
        """Return text of a language, or both sides of pairs as one batch, with one mean and one pass."""
        if self.text == "target":
            return step.sample_texts(language, self.batch_size)
        source, target = step.sample_pairs(language, self.batch_size)
        return step.collate([*source.examples, *target.examples])

    def _term(self, step: Step, batch: Batch, encoded: Encoded, layers: Sequence[int], factor: float = 1.0) -> Term:
        """Return the sum over the batch: one item for a measure of the batch, else one per sentence."""
        import torch

        per: Literal["batch", "example"] = "batch" if self.measure in ("cka", "relational") else "example"
        # Unbiased CKA assumes independent rows, so equal texts count once.
        rows = distinct_texts(batch) if self.measure == "cka" else list(range(len(batch)))
        if len(rows) < _FEWEST[self.measure]:
            return empty_term(step, [encoded.pooled(layer) for layer in layers], per)
        now = torch.stack([encoded.pooled(layer) for layer in layers])[:, rows]
        before = step.reference(batch)[list(layers)][:, rows].to(now)
        drift = self._drift(now, before).mean(dim=0)
        return Term(factor * drift.sum(), 1 if per == "batch" else len(batch), per)

    def _drift(self, now: Tensor, before: Tensor) -> Tensor:
        """Return the drift of each layer: (layers,), or (layers, n) for a measure of each sentence."""
        from distxfer.measure import cka, cosine_drift, normalised_mse, relational_drift

        match self.measure:
            case "cka":
                return 1 - cka(before, now)
            case "relational":
                return relational_drift(now, before)
            case "cosine":
                return cosine_drift(now, before)
            case "mse":
                return normalised_mse(now, before)
